#include <string.h>

#include "cluster_inside.h"

#define MAGIC "CWCL"

const char *const cw_cluster_reason_names[CW_CLUSTER_REASONS] = {
#define X(name, text, remedy) #name,
#include "cluster_reasons.def"
#undef X
};

static const char *const texts[CW_CLUSTER_REASONS] = {
#define X(name, text, remedy) text,
#include "cluster_reasons.def"
#undef X
};

static const char *const remedies[CW_CLUSTER_REASONS] = {
#define X(name, text, remedy) remedy,
#include "cluster_reasons.def"
#undef X
};

const char *cw_cluster_reason_text(unsigned reason)
{
	return reason < CW_CLUSTER_REASONS ? texts[reason] : "a reason that this version does not know";
}

const char *cw_cluster_reason_remedy(unsigned reason)
{
	return reason < CW_CLUSTER_REASONS ? remedies[reason] : "install the same version on both";
}

static unsigned take16(const unsigned char *bytes)
{
	return (unsigned)bytes[0] << 8 | bytes[1];
}

static void put16(unsigned char *to, unsigned number)
{
	to[0] = (unsigned char)(number >> 8);
	to[1] = (unsigned char)number;
}

uint64_t cw_number_take(const unsigned char bytes[8])
{
	uint64_t number = 0;

	for (int i = 0; i < 8; i++)
		number = number << 8 | bytes[i];
	return number;
}

void cw_number_put(unsigned char to[8], uint64_t number)
{
	for (int i = 7; i >= 0; i--, number >>= 8)
		to[i] = (unsigned char)number;
}

void cw_frame_head(unsigned char *to, enum cw_frame_kind kind, size_t length)
{
	put16(to, (unsigned)length);
	to[2] = (unsigned char)kind;
	to[3] = 0;
}

ssize_t cw_frame_take(unsigned char *buffer, size_t have, size_t most, struct cw_frame *frame)
{
	size_t length;

	if (have < CW_FRAME_HEAD)
		return 0;
	length = take16(buffer);
	if (buffer[2] == 0 || buffer[2] >= CW_FRAME_KINDS || buffer[3] || length + CW_FRAME_HEAD > most)
		return -1;
	if (have < CW_FRAME_HEAD + length)
		return 0;
	*frame = (struct cw_frame){.kind = (enum cw_frame_kind)buffer[2], .bytes = buffer + CW_FRAME_HEAD, .length = length};
	return (ssize_t)(CW_FRAME_HEAD + length);
}

void cw_preamble_make(unsigned char to[CW_PREAMBLE], const unsigned char cluster[16])
{
	memset(to, 0, CW_PREAMBLE);
	memcpy(to, MAGIC, 4);
	put16(to + 4, CW_CLUSTER_PROTOCOL);
	memcpy(to + 8, cluster, 16);
}

enum cw_cluster_reason cw_preamble_check(const unsigned char *bytes, size_t length, const unsigned char own[CW_PREAMBLE])
{
	if (length < CW_PREAMBLE || memcmp(bytes, own, 4) != 0)
		return CW_REFUSED_nonsense;
	if (memcmp(bytes + 4, own + 4, 2) != 0)
		return CW_REFUSED_other_protocol;
	if (memcmp(bytes + 6, own + 6, 2) != 0)
		return CW_REFUSED_nonsense;
	return memcmp(bytes + 8, own + 8, 16) == 0 ? CW_REFUSED_none : CW_REFUSED_other_cluster;
}

void cw_refusal_make(unsigned char to[CW_REFUSAL], enum cw_cluster_reason reason)
{
	put16(to, reason);
	put16(to + 2, CW_CLUSTER_PROTOCOL);
}

enum cw_cluster_reason cw_refusal_take(const unsigned char *bytes, size_t length)
{
	unsigned reason = length >= 2 ? take16(bytes) : 0;

	return reason > 0 && reason < CW_CLUSTER_REASONS ? (enum cw_cluster_reason)reason : CW_REFUSED_nonsense;
}

void cw_hello_make(unsigned char to[CW_HELLO_RECORD], const struct cw_hello *hello)
{
	cw_number_put(to, hello->map_version);
	cw_number_put(to + 8, hello->instance);
	memcpy(to + 16, hello->map_hash, 16);
	memcpy(to + 32, hello->id, CW_ID);
	memcpy(to + 48, hello->version, 16);
}

/* The version is printed on terminals. */
bool cw_hello_take(const unsigned char *bytes, size_t length, struct cw_hello *hello)
{
	if (length < CW_HELLO_RECORD)
		return false;
	hello->map_version = cw_number_take(bytes);
	hello->instance = cw_number_take(bytes + 8);
	memcpy(hello->map_hash, bytes + 16, 16);
	memcpy(hello->id, bytes + 32, CW_ID);
	memcpy(hello->version, bytes + 48, 16);
	hello->version[15] = 0;
	for (char *c = hello->version; *c; c++)
		if (*c < '!' || *c > '~')
			*c = '?';
	return true;
}

size_t cw_record_seal(struct cw_cipher *cipher, uint16_t type, const void *bytes, size_t length, unsigned char *to)
{
	unsigned char *record = to + CW_FRAME_HEAD;

	cw_frame_head(to, CW_FRAME_RECORD, CW_RECORD_HEAD + length + CW_TAG);
	put16(record, type);
	put16(record + 2, 0);
	if (length)
		memcpy(record + CW_RECORD_HEAD, bytes, length);
	cw_cipher_seal(cipher, record, CW_RECORD_HEAD + length);
	return length + CW_RECORD_ROOM;
}

bool cw_record_open(struct cw_cipher *cipher, const struct cw_frame *frame, uint16_t *type, unsigned char **bytes, size_t *length)
{
	if (frame->kind != CW_FRAME_RECORD || frame->length < CW_RECORD_HEAD + CW_TAG ||
	    !cw_cipher_open(cipher, frame->bytes, frame->length) || take16(frame->bytes + 2) != 0)
		return false;
	*type = (uint16_t)take16(frame->bytes);
	*bytes = frame->bytes + CW_RECORD_HEAD;
	*length = frame->length - CW_RECORD_HEAD - CW_TAG;
	return true;
}
