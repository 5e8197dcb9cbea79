/* One end of a connection whose other end is a script: the core, or this kernel's TCP behind a TUN device. Numbers are relative to the
 * first one of each side. */
#ifndef CW_TESTS_TCPIP_ALIKE_END_H
#define CW_TESTS_TCPIP_ALIKE_END_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "transport/tcpip/tcpip.h"

#define ALIKE_RING 65536u

/* What an end lets see. */
struct told {
	unsigned state;    /* Linux's TCP_*; 0: there is no connection yet, 7: there is none any more */
	uint32_t received; /* by the program; all right so far */
	uint32_t acknowledged;
	uint32_t sent; /* behind the last number that it used */
	unsigned resets;
	bool eof, wrong;
	int error;
	uint32_t urgent;      /* behind the urgent byte, when the program has come to it */
	uint32_t urgent_sent; /* the same, of what it sends itself */
	bool closed;          /* its program: nothing but segments is seen from now on */
	bool lingered;        /* who closed has been told that all has arrived, or that nothing will */
	unsigned blocks;      /* that the last acknowledgement told (RFC 2018), without duplicates (RFC 2883) */
	uint32_t block[4][2];
};

struct segment {
	unsigned flags;
	uint32_t seq, length;
	int32_t ack; /* from what the end has sent */
	uint16_t window, urgent;
	bool bad_sum, sack, has_stamp;
	uint32_t stamp; /* and the end's last one is told back */
};

struct end {
	const char *name;
	struct told told;
	uint32_t isn, stamp;
	bool knows_isn, ip6;
	uint16_t port, peer_port;

	int tun, listener, socket; /* the kernel's */
	pthread_t closer;          /* who closes and lingers waits */
	bool closing;
	_Atomic bool has_lingered;

	struct cw_tcpip *core;
	void *memory;
	struct cw_tcp *connection;
	unsigned char send[ALIKE_RING], receive[ALIKE_RING];
	uint64_t now, written, received;
};

unsigned char alike_content(uint32_t position);
#define ALIKE_FIRST 0xfffff000u /* of the script's numbers: they wrap soon */

enum alike_close { ALIKE_CLOSE, ALIKE_RESET, ALIKE_LINGER };

/* They listen at `port`, or connect from there to the script's. */
void end_open_core(struct end *end, bool connects, uint32_t seed);
void end_open_kernel(struct end *end, bool connects);
void end_free(struct end *end);

void end_input(struct end *end, const struct segment *segment);
void end_observe(struct end *end);
void end_write(struct end *end, uint32_t length, bool urgent);
void end_shutdown(struct end *end);
/* Its program closes: SO_LINGER off, on without time, on with more time than there is. */
void end_close(struct end *end, enum alike_close how);

#endif
