/* UDP sockets of a scenario: their rings, and what they were told. */
#ifndef CW_TESTS_TCPIP_DATAGRAMS_SOCKET_H
#define CW_TESTS_TCPIP_DATAGRAMS_SOCKET_H

#include "datagrams.h"
#include "transport/tcpip/udp.h"

#define SOCKETS 8u

struct udp_end {
	char name[16];
	struct cw_udp *udp;
	unsigned char *send, *receive;
	uint32_t size;
	uint64_t written, read, received, sent, dropped;
	unsigned events;
	int error, refusal;
};

struct udp_ends {
	struct cw_tcpip *core;
	struct udp_end end[SOCKETS];
};

/* False: it isn't a line about sockets, or it doesn't hold; `why` says what is wrong. */
bool udp_line(struct udp_ends *ends, const struct words *words, uint64_t now, char *why, size_t size, bool *known);
void udp_ends_free(struct udp_ends *ends);

#endif
