/* A question to another node's service, over a channel of its own (cluster_inside.h); waits for the answer. */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "command_cluster.h"
#include "sync/cpu.h"

#define LIMIT_MS   20000
#define CONNECT_MS 5000

struct line {
	int fd;
	uint64_t end;
	unsigned char in[CW_FRAME_MOST];
	size_t have, taken;
	struct cw_noise noise;
	struct cw_cipher sending, receiving;
};

static bool await(int fd, short events, uint64_t end)
{
	struct pollfd look = {.fd = fd, .events = events};
	uint64_t now;

	while ((now = cw_monotonic_ns()) < end)
		if (poll(&look, 1, (int)((end - now) / 1000000 + 1)) > 0)
			return true;
	errno = ETIMEDOUT;
	return false;
}

static int dial(const struct sockaddr_storage *address)
{
	int fd = socket(address->ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), error = 0;
	socklen_t size = sizeof(error);

	if (fd < 0)
		return -1;
	if (connect(fd, (const struct sockaddr *)address, cw_address_length(address)) == 0)
		return fd;
	if (errno == EINPROGRESS && await(fd, POLLOUT, cw_monotonic_ns() + CONNECT_MS * 1000000ull) &&
	    getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) == 0) {
		if (!error)
			return fd;
		errno = error;
	}
	error = errno;
	close(fd);
	errno = error;
	return -1;
}

static bool put(struct line *line, const unsigned char *bytes, size_t length)
{
	while (length) {
		ssize_t sent = send(line->fd, bytes, length, MSG_NOSIGNAL);

		if (sent < 0 && errno != EAGAIN && errno != EINTR)
			return false;
		if (sent < 0 && !await(line->fd, POLLOUT, line->end))
			return false;
		if (sent > 0) {
			bytes += sent;
			length -= (size_t)sent;
		}
	}
	return true;
}

static bool put_frame(struct line *line, enum cw_frame_kind kind, const unsigned char *bytes, size_t length)
{
	unsigned char frame[CW_FRAME_HEAD + CW_PREAMBLE + CW_NOISE_MORE];

	cw_frame_head(frame, kind, length);
	memcpy(frame + CW_FRAME_HEAD, bytes, length);
	return put(line, frame, CW_FRAME_HEAD + length);
}

/* The next frame; it is good until the one after it. */
static bool get(struct line *line, struct cw_frame *frame)
{
	line->have -= line->taken;
	memmove(line->in, line->in + line->taken, line->have);
	line->taken = 0;
	for (;;) {
		ssize_t size = cw_frame_take(line->in, line->have, sizeof(line->in), frame), got;

		if (size > 0) {
			line->taken = (size_t)size;
			return true;
		}
		errno = EPROTO;
		if (size < 0 || !await(line->fd, POLLIN, line->end))
			return false;
		got = recv(line->fd, line->in + line->have, sizeof(line->in) - line->have, 0);
		if (got == 0)
			errno = ECONNRESET;
		if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR))
			return false;
		line->have += got > 0 ? (size_t)got : 0;
	}
}

/* 0, -1 with errno, or the reason of a refusal. */
static int shake_hands(struct line *line, const struct cw_key_pair *keys, const unsigned char cluster[16], const unsigned char *host)
{
	unsigned char words[CW_PREAMBLE + CW_NOISE_MORE], nothing[CW_FRAME_MOST], digest[16];
	struct cw_frame frame;
	ssize_t length;

	cw_preamble_make(words, cluster);
	cw_noise_begin(&line->noise, true, keys, words, CW_PREAMBLE);
	length = cw_noise_write(&line->noise, NULL, 0, words + CW_PREAMBLE);
	if (!put_frame(line, CW_FRAME_OPENING, words, CW_PREAMBLE + (size_t)length) || !get(line, &frame))
		return -1;
	if (frame.kind == CW_FRAME_REFUSAL)
		return (int)cw_refusal_take(frame.bytes, frame.length);
	errno = EPROTO;
	if (frame.kind != CW_FRAME_ANSWER || cw_noise_read(&line->noise, frame.bytes, frame.length, nothing) < 0)
		return -1;
	cw_digest16(digest, line->noise.other, CW_KEY);
	errno = EKEYREJECTED;
	if (host && memcmp(host, digest, sizeof(digest)) != 0)
		return -1;
	length = cw_noise_write(&line->noise, NULL, 0, words);
	if (length < 0 || !put_frame(line, CW_FRAME_PROOF, words, (size_t)length))
		return -1;
	cw_noise_split(&line->noise, &line->sending, &line->receiving);
	return 0;
}

static bool put_record(struct line *line, uint16_t type, const json_t *question)
{
	char *text = question ? json_dumps(question, JSON_COMPACT) : strdup("");
	size_t length = text ? strlen(text) : 0;
	unsigned char *room = text ? malloc(length + CW_RECORD_ROOM) : NULL;
	bool fine = room && put(line, room, cw_record_seal(&line->sending, type, text, length, room));

	free(room);
	free(text);
	return fine;
}

/* The other's HELLO comes first, and isn't for us. */
static bool get_answer(struct line *line, struct cw_far *far)
{
	struct cw_frame frame;
	unsigned char *bytes;

	do {
		if (!get(line, &frame))
			return false;
		errno = EPROTO;
		if (!cw_record_open(&line->receiving, &frame, &far->type, &bytes, &far->length))
			return false;
	} while (far->type == CW_RECORD_HELLO);
	far->bytes = malloc(far->length + 1);
	if (!far->bytes)
		return false;
	memcpy(far->bytes, bytes, far->length);
	return true;
}

static int refused(char why[CW_WHY], const char *where, unsigned reason)
{
	snprintf(why, CW_WHY, "%s refuses: %s (%s)", where, cw_cluster_reason_text(reason), cw_cluster_reason_remedy(reason));
	return -1;
}

static int broken(char why[CW_WHY], const char *where)
{
	snprintf(why, CW_WHY, "%s: %s", where,
		 errno == EKEYREJECTED ? "another node answers there than the one that made the invitation: is the address right?"
		 : errno == EPROTO     ? "what answers there is no node service of the same version"
				       : strerror(errno));
	return -1;
}

static int talk(struct line *line, struct cw_far *far, json_t *(*question)(void *context, const struct sockaddr_storage *own),
		void *context, uint16_t type)
{
	socklen_t length = sizeof(far->own);
	json_t *json;
	bool fine;

	if (getsockname(line->fd, (struct sockaddr *)&far->own, &length) < 0)
		return -1;
	json = question ? question(context, &far->own) : NULL;
	fine = put_record(line, type, json) && get_answer(line, far);
	json_decref(json);
	return fine ? 0 : -1;
}

int cw_far_ask(struct cw_far *far, const struct sockaddr_storage *address, const struct cw_key_pair *keys, const unsigned char cluster[16],
	       const unsigned char *host, json_t *(*question)(void *context, const struct sockaddr_storage *own), void *context,
	       uint16_t type, char why[CW_WHY])
{
	struct line *line = calloc(1, sizeof(*line));
	char where[CW_ADDRESS_TEXT];
	int result;

	*far = (struct cw_far){0};
	cw_address_write(address, where);
	if (!line || (line->fd = dial(address)) < 0) {
		free(line);
		return broken(why, where);
	}
	line->end = cw_monotonic_ns() + LIMIT_MS * 1000000ull;
	result = shake_hands(line, keys, cluster, host);
	if (result > 0)
		result = refused(why, where, (unsigned)result);
	else if (result < 0 || talk(line, far, question, context, type) < 0)
		result = broken(why, where);
	else if (far->type == CW_RECORD_REFUSED)
		result = refused(why, where, cw_refusal_take(far->bytes, far->length));
	close(line->fd);
	free(line);
	return result;
}
