/* Packets for fuzz_datagrams: made of nothing, or of what came out last; and what comes out, checked. */
#ifndef CW_TESTS_TCPIP_FUZZ_PACKETS_H
#define CW_TESTS_TCPIP_FUZZ_PACKETS_H

#include "world.h"

#define PORT 7u

/* Which network: hosts 1 and 2 may be the core's own. */
enum host { HOST_4, HOST_6, HOST_LINK };

struct packets {
	struct world *random; /* for its numbers alone */
	bool ethernet;
	unsigned char bytes[70100];
	unsigned char last[70100]; /* what came out, without link header */
	uint32_t last_length;
	unsigned char datagram[9000]; /* that comes in fragments */
	uint32_t datagram_length, datagram_id;
	bool datagram_4;
};

struct cw_ip_address packets_host(unsigned number, enum host kind);
/* Mostly hosts, else groups, broadcast and the like. */
struct cw_ip_address packets_address(struct packets *packets, bool ip4);
struct cw_ip_address packets_group(struct packets *packets, bool ip4);
/* The next one to come in, in `bytes`. */
uint32_t packets_make(struct packets *packets, struct cw_frame *frame);
/* NULL: what comes out is well formed. It is kept, to be mirrored and quoted. */
const char *packets_check(struct packets *packets, const struct cw_tcpip_config *config, const struct cw_frame *frame);

#endif
