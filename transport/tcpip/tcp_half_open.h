/* Listeners, and connections that a SYN has begun: small until the handshake is done, and bounded; beyond the bound cookies (RFC 4987 3.6).
 */
#ifndef CW_TCPIP_TCP_HALF_OPEN_H
#define CW_TCPIP_TCP_HALF_OPEN_H

#include "transport/tcpip/tcp.h"

struct cw_tcp_listener {
	struct cw_list list;
	struct cw_tcpip *core;
	struct cw_ip_endpoint local;
	struct cw_tcp_settings settings;
	struct cw_list supply;    /* connections with rings, for handshakes to come */
	struct cw_list half_open; /* oldest first */
	uint32_t half_opens;
	bool closed;
};

struct cw_half_open {
	struct cw_flow flow;
	struct cw_timer timer;
	struct cw_list list;
	struct cw_tcp_listener *listener;
	uint64_t since;
	uint32_t isn, irs;
	uint16_t window;
	struct cw_tcp_options ours, theirs;
	uint8_t retransmissions;
	bool ecn;
};

struct cw_tcp_listener *cw_tcp_listener_find(struct cw_tcpip *core, const struct cw_flow_key *key);
/* A segment of no flow, for a listener (RFC 9293 3.10.7.2). */
void cw_tcp_listener_input(struct cw_tcp_listener *listener, const struct cw_segment *segment, const uint32_t *last);
void cw_half_open_input(struct cw_half_open *half, const struct cw_segment *segment);
void cw_half_open_expired(struct cw_half_open *half);
void cw_half_open_drop(struct cw_half_open *half);

/* A handshake is complete. NULL: no rings were supplied. */
struct cw_tcp *cw_tcp_accept(struct cw_tcp_listener *listener, const struct cw_segment *segment, const struct cw_tcp_options *ours,
			     const struct cw_tcp_options *theirs, uint32_t isn, uint32_t irs, bool ecn);

/* tcp_syn_cookie.c */
void cw_syn_cookie_send(struct cw_tcp_listener *listener, const struct cw_segment *segment);
/* False: it is no cookie of ours. */
bool cw_syn_cookie_check(struct cw_tcp_listener *listener, const struct cw_segment *segment, struct cw_tcp_options *ours,
			 struct cw_tcp_options *theirs);

#endif
