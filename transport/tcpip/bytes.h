/* Numbers in network order at any place, and addresses. */
#ifndef CW_TCPIP_BYTES_H
#define CW_TCPIP_BYTES_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "transport/tcpip/tcpip.h"

static inline uint16_t cw_get16(const unsigned char *at)
{
	return (uint16_t)(at[0] << 8 | at[1]);
}

static inline uint32_t cw_get32(const unsigned char *at)
{
	return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static inline void cw_put16(unsigned char *at, uint32_t value)
{
	at[0] = (unsigned char)(value >> 8);
	at[1] = (unsigned char)value;
}

static inline void cw_put32(unsigned char *at, uint32_t value)
{
	cw_put16(at, value >> 16);
	cw_put16(at + 2, value);
}

static inline bool cw_ip_is_4(const struct cw_ip_address *address)
{
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};

	return memcmp(address->octet, mapped, 12) == 0;
}

static inline void cw_ip_set_4(struct cw_ip_address *address, const unsigned char octets[4])
{
	memset(address->octet, 0, 10);
	address->octet[10] = address->octet[11] = 0xff;
	memcpy(address->octet + 12, octets, 4);
}

static inline bool cw_ip_is_any(const struct cw_ip_address *address)
{
	static const struct cw_ip_address any;

	return memcmp(address, &any, sizeof(any)) == 0;
}

static inline uint32_t cw_min32(uint32_t a, uint32_t b)
{
	return a < b ? a : b;
}

static inline uint32_t cw_max32(uint32_t a, uint32_t b)
{
	return a > b ? a : b;
}

static inline uint64_t cw_min64(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static inline uint64_t cw_max64(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

#endif
