/* Protocols, addresses and pseudo headers, as the tests have them: without the core's own code. */
#ifndef CW_TESTS_TCPIP_DATAGRAMS_BYTES_H
#define CW_TESTS_TCPIP_DATAGRAMS_BYTES_H

#include <stdbool.h>
#include <string.h>

#include "packet_bytes.h"
#include "transport/tcpip/tcpip.h"

enum { ICMP = 1, IGMP = 2, UDP = 17, ICMP6 = 58, FRAGMENT = 44, DESTINATION = 60 };

static inline bool is_4(const struct cw_ip_address *address)
{
	static const unsigned char mapped[12] = {[10] = 0xff, [11] = 0xff};

	return memcmp(address->octet, mapped, 12) == 0;
}

static inline uint32_t pseudo(const struct cw_ip_address *source, const struct cw_ip_address *destination, uint32_t protocol,
			      uint32_t length)
{
	uint32_t from = is_4(source) ? 12 : 0;

	return add(add(protocol + (length >> 16) + (length & 0xffff), source->octet + from, 16 - from), destination->octet + from,
		   16 - from);
}

#endif
