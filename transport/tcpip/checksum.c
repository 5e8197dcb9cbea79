/* Sums of 32-bit words into 64 bits: no carry is lost in 16 GiB, and the order of bytes doesn't matter (RFC 1071 section 2). */
#include "transport/tcpip/checksum.h"

#include <arpa/inet.h>
#include <string.h>

#include "transport/tcpip/bytes.h"
#include "transport/tcpip/tcpip.h"

static uint64_t sum_of(const unsigned char *bytes, size_t length)
{
	uint64_t sum = 0, other = 0;

	for (; length >= 32; length -= 32, bytes += 32) {
		uint64_t word[4];

		memcpy(word, bytes, 32);
		sum += (word[0] & 0xffffffff) + (word[0] >> 32) + (word[1] & 0xffffffff) + (word[1] >> 32);
		other += (word[2] & 0xffffffff) + (word[2] >> 32) + (word[3] & 0xffffffff) + (word[3] >> 32);
	}
	for (; length >= 4; length -= 4, bytes += 4) {
		uint32_t word;

		memcpy(&word, bytes, 4);
		sum += word;
	}
	if (length) {
		unsigned char last[4] = {0};
		uint32_t word;

		memcpy(last, bytes, length);
		memcpy(&word, last, 4);
		sum += word;
	}
	return sum + other;
}

uint64_t cw_checksum_add(uint64_t sum, const void *bytes, size_t length, int odd)
{
	uint64_t more = sum_of(bytes, length);

	if (odd) {
		uint16_t folded = cw_checksum_fold(more);

		more = (uint16_t)(folded << 8 | folded >> 8);
	}
	return sum + more;
}

uint64_t cw_checksum_frame(uint64_t sum, const struct cw_frame *frame, uint32_t offset, uint32_t length)
{
	uint32_t done = 0;

	for (uint32_t i = 0; i < frame->pieces && length; i++) {
		const struct cw_piece *piece = &frame->piece[i];
		uint32_t take;

		if (offset >= piece->length) {
			offset -= piece->length;
			continue;
		}
		take = piece->length - offset < length ? piece->length - offset : length;
		sum = cw_checksum_add(sum, piece->at + offset, take, done & 1);
		done += take;
		length -= take;
		offset = 0;
	}
	return sum;
}

/* Both families' pseudo headers have the same sum for the same fields: zeroes add nothing, and the order of words doesn't matter. */
uint64_t cw_checksum_pseudo(const struct cw_ip_address *source, const struct cw_ip_address *destination, uint8_t protocol, uint32_t length)
{
	size_t from = cw_ip_is_4(source) ? 12 : 0;
	uint64_t sum = (uint64_t)htonl(length) + htons(protocol);

	sum = cw_checksum_add(sum, source->octet + from, 16 - from, 0);
	return cw_checksum_add(sum, destination->octet + from, 16 - from, 0);
}
