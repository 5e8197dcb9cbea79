/* The Internet checksum (RFC 1071). A sum is kept unfolded in 64 bits, in the byte order of the machine, until cw_checksum_fold. */
#ifndef CW_TCPIP_CHECKSUM_H
#define CW_TCPIP_CHECKSUM_H

#include <stddef.h>
#include <stdint.h>

struct cw_frame;
struct cw_ip_address;

/* The sum of these bytes; `odd`: they begin at an odd place of the whole. */
uint64_t cw_checksum_add(uint64_t sum, const void *bytes, size_t length, int odd);
uint64_t cw_checksum_frame(uint64_t sum, const struct cw_frame *frame, uint32_t offset, uint32_t length);
/* The pseudo header's (RFC 9293 3.1, 8200 8.1): both families. */
uint64_t cw_checksum_pseudo(const struct cw_ip_address *source, const struct cw_ip_address *destination, uint8_t protocol, uint32_t length);

static inline uint16_t cw_checksum_fold(uint64_t sum)
{
	sum = (sum >> 32) + (sum & 0xffffffff);
	sum = (sum >> 32) + (sum & 0xffffffff);
	sum = (sum >> 16) + (sum & 0xffff);
	sum = (sum >> 16) + (sum & 0xffff);
	return (uint16_t)sum;
}

#endif
