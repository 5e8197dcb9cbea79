/* TIME-WAIT (RFC 9293 3.6.1, 6191, 1337): what is left of a connection for 2 MSL, small, and bounded in number. */
#ifndef CW_TCPIP_TCP_TIME_WAIT_H
#define CW_TCPIP_TCP_TIME_WAIT_H

#include "transport/tcpip/tcp.h"

struct cw_time_wait {
	struct cw_flow flow;
	struct cw_timer timer;
	struct cw_list list;
	struct cw_tcpip *core;
	uint64_t lasts;
	uint32_t snd_nxt, rcv_nxt, ts_recent, ts_offset;
	uint16_t window;
	bool timestamps;
};

/* The connection has left the flow table. */
void cw_time_wait_enter(struct cw_tcp *tcp);
/* True: it makes room for this SYN, which goes to the listener; numbers of ours begin behind `last` then. */
bool cw_time_wait_input(struct cw_time_wait *wait, const struct cw_segment *segment, uint32_t *last);
void cw_time_wait_expired(struct cw_time_wait *wait);

#endif
