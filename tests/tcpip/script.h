/* clang-format off */
/*
 * The language of conformance scenarios: what a peer sends to one core, what the core must answer, and what a socket does, a line each.
 * Numbers of sequences are relative to each side's first one, as tcpdump shows them; times are in milliseconds.
 *
 *	== RFC 5961 3.2: name	a scenario begins: a new core, MTU 1040, no time stamps, SACK and window scale as the peer's SYN offers
 *	set NAME VALUE		before it opens: sack, scale, stamps, nodelay, ecn, cubic, receive, mss, half, supply, ip6, keep, user, rate, dctcp, hystart, pacing (1, or a rate), uto (the option), finwait (2, in ms),
 *				waits, records (of what is in flight), mtu, probing (of larger packets: 1, 0 later), age (of a path MTU),
 *				receivemost, sendmost, sendring, frame (the largest), offload (of checksums), link (Ethernet)
 *	listen | connect | established	the last one is a handshake to a listener, with the peer's MSS 1000 and window 65535
 *	again [PORT]		another connect of the same core; lines from now on are about it
 *	< FLAGS SEQ[(BYTES)] [ack N] [win N] [mss N] [ws N] [sackok] [ts N N] [uto N] [urg N] [ce] [IP] [sack A-B ...]
 *				a segment comes; "ts N echo": what we said last. IP: ip HEX, bytes behind the IP header; next N, the header
 *				that it names; version N; total N, added to its length; pad N, bytes behind it; badsum, badipsum
 *	> FLAGS SEQ[(BYTES)] [ack N] [win N] ... [ect] [noect] [df]
 *				this must be what is sent next; what isn't named isn't compared
 *	> none			nothing must be sent
 *	asks all | asks one	with a link: the next frame asks for the peer's link address, all or the peer alone
 *	answers | moves		the peer tells its address, for it was asked; it tells that it has another one now
 *	skip N			so many segments must be sent, whatever they are
 *	icmp TYPE CODE SEQ [MTU]	an ICMP error that quotes this sequence number of ours
 *	write N | read N | shutdown | close | linger MS | abort | userto MS | urgent | cork N | nodelay | quickack 1 or 0 | keeptimes S | pace BYTES (a second; 0: off) | becubic 1 or 0 (and whether that may be) | unlisten | cwndis N (as if it had grown so far)
 *	+ MS			time passes; what timers do is seen by the next lines. "+ MS none": and nothing is sent meanwhile
 *	grow receive N | grow send N	the caller has a larger ring
 *	event NAME...		connected accepted readable peer failed gone soft urgent grow lingered: these came since the last such line, no
 *				others but writable
 *	error NAME | state NAME | wanted RECEIVE SEND | alpha (DCTCP's, in thousandths) N | cwnd N | ssthresh N | received N | acknowledged N | counter NAME N
 *	note			the first sequence number of ours is kept; isn N: the one of now is N above that; isn other: it isn't near
 *
 * FLAGS: S F R P A U E C; a P is only compared if it is expected.
 */
/* clang-format on */
#ifndef CW_TESTS_TCPIP_SCRIPT_H
#define CW_TESTS_TCPIP_SCRIPT_H

#include <stdbool.h>

#include "transport/tcpip/tcp.h"

struct script {
	struct cw_tcpip *core;
	void *memory;
	struct cw_tcpip_config config;
	struct cw_tcp_settings settings;
	struct cw_tcp_listener *listener;
	struct cw_tcp *connection;
	unsigned char send[1 << 18], receive[1 << 20];
	uint32_t supply, receive_size, send_size;
	unsigned char grown_send[1 << 18], grown_receive[1 << 20], *receive_now;
	uint32_t receive_wanted, send_wanted; /* as the last event said */
	uint64_t now, written, read, received, acknowledged;
	unsigned events;
	int error;
	bool ip6, opened, gone;
	bool moved; /* the peer has another link address */
	bool knows_isn;
	uint16_t port;                                          /* the peer's */
	uint32_t isn, noted_isn, their_isn, stamp, first_stamp; /* time stamps of ours: the last one, and that of the first data */
	char why[512];
};

/* The words of a segment line, as numbers on the wire. */
struct wanted {
	unsigned flags;
	uint32_t seq, bytes, ack, window, mss, scale, stamp, echo, urgent, user_timeout;
	bool has_ack, has_window, has_mss, has_scale, has_sackok, has_stamp, has_urgent, echo_last, echo_first, mark, none;
	uint32_t sacks;
	struct cw_sack_range sack[4];
	unsigned char ip[128]; /* options or extension headers, between the IP header and TCP's */
	uint32_t ip_bytes, next, version, pad;
	int total;
	bool bad_sum, bad_ip_sum, ect, no_ect, df;
};

void script_open(struct script *script);
void script_connect(struct script *script, uint16_t port);
void script_input(struct script *script, const struct wanted *segment);
void script_icmp(struct script *script, unsigned type, unsigned code, uint32_t seq, uint32_t mtu);
bool script_expect(struct script *script, const struct wanted *wanted);
bool script_skip(struct script *script, uint32_t count);
void script_events(struct script *script);
bool wanted_parse(char *line, struct wanted *wanted);

#endif
