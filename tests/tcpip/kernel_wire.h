/* What goes by between the core and the kernel, seen from the wire, and what a router with ECN does to it. */
#ifndef CW_TESTS_TCPIP_KERNEL_WIRE_H
#define CW_TESTS_TCPIP_KERNEL_WIRE_H

#include <stdbool.h>
#include <stdint.h>

enum from { FROM_CORE, FROM_KERNEL };

struct seen { /* by who sent it */
	uint32_t ack[2];
	unsigned probes[2];  /* the number before the first that isn't acknowledged, without data: keep-alive and window probes */
	unsigned capable[2]; /* ECT */
	unsigned marked[2];  /* by us */
	unsigned echoes[2], reduced[2]; /* ECE and CWR of segments that aren't SYNs */
};

/* A TCP packet whose IP and TCP header lie at `bytes`. */
void wire_seen(struct seen *seen, enum from from, const unsigned char *bytes, uint32_t length);
/* RFC 3168 5: Congestion Experienced, if it is ECN capable. */
void wire_mark(struct seen *seen, enum from from, unsigned char *bytes);

#endif
