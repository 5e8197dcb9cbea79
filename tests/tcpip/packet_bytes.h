/* Bytes of packets, as the tests read, write and sum them: without the core's own code. */
#ifndef CW_TESTS_TCPIP_PACKET_BYTES_H
#define CW_TESTS_TCPIP_PACKET_BYTES_H

#include <stdint.h>

static inline uint32_t get16(const unsigned char *at)
{
	return (uint32_t)at[0] << 8 | at[1];
}

static inline uint32_t get32(const unsigned char *at)
{
	return get16(at) << 16 | get16(at + 2);
}

static inline void put16(unsigned char *at, uint32_t value)
{
	at[0] = (unsigned char)(value >> 8);
	at[1] = (unsigned char)value;
}

static inline void put32(unsigned char *at, uint32_t value)
{
	put16(at, value >> 16);
	put16(at + 2, value);
}

static inline uint32_t add(uint32_t sum, const unsigned char *at, uint32_t length)
{
	for (; length > 1; length -= 2, at += 2)
		sum += get16(at);
	if (length)
		sum += (uint32_t)at[0] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

#endif
