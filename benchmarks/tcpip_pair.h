/* Two TCP/IP cores in one process, one after the other on one processor, frames handed over in memory: a frame out of one is a frame into
 * the other, and nothing is copied between but what the cores copy (the payload, once, into the receive ring). */
#ifndef CW_BENCHMARKS_TCPIP_PAIR_H
#define CW_BENCHMARKS_TCPIP_PAIR_H

#include "benchmarks/common.h"
#include "transport/tcpip/tcpip.h"

#define PAIR_RING (1u << 20)

struct pair_end {
	struct cw_tcpip *core;
	void *memory;
	struct cw_tcp *connection;
	unsigned char *send, *receive;
	uint64_t written, acknowledged, received, read, gone, accepted;
};

void pair_make(struct pair_end *end, const struct cw_tcpip_config *config, bool rings, uint64_t now);
void pair_unmake(struct pair_end *end);
struct cw_ip_endpoint pair_endpoint(unsigned host, uint16_t port);
void pair_take_events(struct pair_end *end);
/* All that one core has to send goes into the other; returns how many frames. */
uint64_t pair_hand_over(struct pair_end *from, struct pair_end *to, uint64_t now);
/* One connection, from `a` to `b`, over rings of PAIR_RING bytes. */
void pair_connect(struct pair_end *a, struct pair_end *b, uint64_t now);
/* What all measurements begin with: room for a few connections, packets of 1500. */
struct cw_tcpip_config pair_config(void);

#endif
