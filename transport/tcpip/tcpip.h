/*
 * The TCP/IP core: one instance a queue, and pure. What comes in is frames, the time and what sockets did; what goes out is frames, what
 * happened to sockets, and the time at which it wants to be asked again. It makes no system call, has no global, takes no lock and
 * allocates nothing after cw_tcpip_init: all memory is one block given by the caller, cut into pools whose sizes are the caller's.
 *
 *	cw_tcpip_input	 a frame came
 *	cw_tcpip_advance timers up to `now` run
 *	cw_tcp_*	 what a socket did
 *	cw_tcpip_output	 take the next frame to be sent; false: there is none
 *	cw_tcpip_event	 take the next thing that a socket has to know; false: there is none
 *	cw_tcpip_timer	 when cw_tcpip_advance wants to be called next
 *
 * Frames are pulled: a device whose ring is full isn't asked for more, acknowledgements of a batch become one, and connections that have
 * something to send take turns. Time is in microseconds and never goes back (an earlier `now` counts as the last one).
 *
 * A frame is one IP packet, in pieces, up to 64 KiB long, without link header or, if the configuration says so, behind an Ethernet header.
 * Three properties spare work: whether its transport checksum is complete, partial or known to be right, and the size into which its
 * payload is to be cut, or from which it was merged. A frame out has its headers in memory of the caller and its payload in the socket's
 * ring: the pieces hold until the next call of cw_tcpip_input, cw_tcpip_advance, cw_tcp_* or cw_udp_*.
 *
 * A connection's buffers are two rings of the caller's, each a power of two in size. Places in them are offsets of the stream, counted from
 * its first byte: byte n is at n % size. The program writes the send ring up to `written` and the core frees it up to `acknowledged`;
 * the core fills the receive ring up to `received` and the program frees it up to `read`. Bytes beyond `received` may be written by
 * the core at any time (data out of order goes straight to its place). The core never reads an index from shared memory: it is told, and
 * checks.
 */
#ifndef CW_TCPIP_H
#define CW_TCPIP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cw_tcpip;
struct cw_tcp;
struct cw_tcp_listener;

#define CW_NEVER        UINT64_MAX
#define CW_FRAME_PIECES 20u    /* 64 KiB in pages, and headers */
#define CW_FRAME_MAX    65535u /* an IPv4 packet's */
#define CW_HEADER_ROOM  128u

enum cw_checksum {
	CW_CHECKSUM_COMPLETE, /* in: the core checks it. Out: computed */
	CW_CHECKSUM_PARTIAL,  /* the field holds the pseudo header's sum. In: from a neighbour in the same memory, not checked */
	CW_CHECKSUM_VALID     /* in: the device has checked it */
};

struct cw_piece {
	const unsigned char *at;
	uint32_t length;
};

struct cw_frame {
	uint32_t pieces;
	uint32_t length;         /* of all pieces */
	uint32_t segment_size;   /* 0: one packet. Else payload bytes of each packet to be made of it, or that it was merged from */
	uint16_t checksum_start; /* out, PARTIAL: where the sum begins, and where the field is from there */
	uint16_t checksum_offset;
	enum cw_checksum checksum;
	struct cw_piece piece[CW_FRAME_PIECES]; /* in: IP and transport headers lie in the first piece */
};

/* What is in front of IP. With Ethernet the core resolves neighbours itself (ARP, ND). */
enum cw_link { CW_LINK_NONE, CW_LINK_ETHERNET };

/* IPv4 addresses are v4-mapped. */
struct cw_ip_address {
	uint8_t octet[16];
};

struct cw_ip_endpoint {
	struct cw_ip_address address;
	uint16_t port; /* host order; so is every number in this interface */
};

struct cw_tcpip_config {
	uint32_t connections;
	uint32_t listeners;
	uint32_t half_open;  /* SYN-RECEIVED of listeners; beyond it SYN cookies (RFC 4987) */
	uint32_t time_waits; /* beyond it the oldest goes early */
	uint32_t sent;       /* records of what is in flight, for all connections */
	uint32_t blocks;     /* blocks of data out of order, for all connections */
	uint32_t replies;    /* segments that belong to no connection, waiting to be sent; beyond it they are dropped */
	uint16_t mtu;
	uint16_t frame_max;         /* largest frame out; above mtu if the device cuts segments */
	bool checksum_offload;      /* frames out may have partial checksums */
	uint8_t secret[32];         /* random: keys of tables, sequence numbers, cookies */
	uint32_t challenge_rate;    /* challenge ACKs a second in all (RFC 5961 section 7); 0: 1000 */
	uint32_t sent_a_connection; /* bounds on what one connection takes of the pools; 0: an eighth, at least 64 */
	uint32_t blocks_a_connection;

	/* The network layer and UDP (udp.h). What is 0 isn't there. */
	uint32_t addresses;     /* the core's own (cw_tcpip_own): those it answers for */
	uint32_t control_bytes; /* answers of ICMP, reports of membership and the like, waiting to be sent; beyond it they are dropped */
	uint32_t icmp_rate;     /* errors, and echo replies, a second (RFC 1812 4.3.2.8, 4443 2.4); 0: 1000 */
	uint32_t reassemblies;  /* datagrams of which fragments are awaited, 64 KiB each; beyond it the oldest goes */
	uint32_t reassemblies_a_source; /* 0: an eighth, at least 4 */
	uint32_t path_mtus;             /* paths with a smaller MTU than the link's, for UDP; beyond it the oldest goes */
	uint32_t udp_sockets;
	bool udp_segmentation; /* the device cuts frames of UDP, too */
	uint32_t memberships;  /* a socket in a multicast group */
	uint32_t groups;       /* of all sockets together */
	enum cw_link link;
	uint8_t link_address[6];
	uint32_t neighbours;        /* beyond it the one that wasn't used for longest goes */
	uint32_t neighbour_packets; /* waiting for a neighbour's address, of an MTU each; 3 of one at most */
};

/* RFC 4821: are larger packets tried? If the size had to be lowered, by ICMP or for want of any answer; from a small one upwards; never. */
enum cw_tcp_mtu_probing { CW_TCP_MTU_PROBES_LATER, CW_TCP_MTU_PROBES, CW_TCP_MTU_NO_PROBES };

/* DCTCP is for networks of one owner, whose switches mark early; it asks for ECN. */
enum cw_tcp_congestion { CW_TCP_CUBIC, CW_TCP_NEWRENO, CW_TCP_DCTCP };

/* 0 means the default everywhere. */
struct cw_tcp_settings {
	enum cw_tcp_congestion congestion;
	bool no_delay;      /* no Nagle */
	bool no_timestamps; /* don't offer */
	bool no_sack;
	bool no_window_scale;
	bool ecn;
	bool keep_alive;
	uint32_t keep_idle_s, keep_interval_s, keep_count; /* 7200, 75, 9 */
	uint32_t user_timeout_ms;                          /* RFC 9293 3.9.1.1; 0: by the number of retransmissions */
	uint32_t rto_min_us;                               /* 200,000 */
	uint32_t delayed_ack_us;                           /* 40,000 */
	uint32_t time_wait_ms;                             /* 60,000: 2 MSL */
	uint32_t fin_wait_2_ms;   /* 60,000: so long a closed connection waits for the peer's FIN; UINT32_MAX: not at all, it is reset */
	bool user_timeout_option; /* RFC 5482: tell the peer, and if user_timeout_ms is 0 take what it tells */
	uint16_t mss;             /* largest to be offered and used */
	uint32_t backlog;         /* listeners: half-open connections of its own; 0: all of the pool */
	uint32_t receive_size;    /* listeners: receive ring that will be supplied; for the window scale */
	bool no_hystart;          /* CUBIC without HyStart++ */
	bool pacing;              /* spread what is sent over the round trip */
	uint64_t pacing_rate;     /* bytes a second at most, if it is paced; 0: no bound */
	enum cw_tcp_mtu_probing mtu_probing;
	uint32_t mtu_age_s;               /* 600: so long a path MTU is believed (RFC 1191 6.3, 8201 section 4) */
	uint32_t receive_most, send_most; /* rings may be grown so far, which CW_TCP_GROW asks for; 0: they stay as they are */
};

struct cw_tcp_rings {
	unsigned char *send;
	uint32_t send_size;
	unsigned char *receive;
	uint32_t receive_size;
	void *owner; /* told with every event */
};

enum cw_tcp_events {
	CW_TCP_CONNECTED = 1u << 0,   /* by cw_tcp_connect */
	CW_TCP_ACCEPTED = 1u << 1,    /* a supplied connection is in use */
	CW_TCP_READABLE = 1u << 2,    /* `received` rose */
	CW_TCP_WRITABLE = 1u << 3,    /* `acknowledged` rose */
	CW_TCP_PEER_CLOSED = 1u << 4, /* nothing comes behind `received` */
	CW_TCP_FAILED = 1u << 5,      /* `error` says why */
	CW_TCP_SOFT_ERROR = 1u << 6,  /* an ICMP error that didn't end the connection (RFC 5927) */
	CW_TCP_URGENT = 1u << 7,      /* `urgent` is behind the peer's urgent byte (RFC 6093) */
	CW_TCP_UNSUPPLIED = 1u << 8,  /* a listener had no rings for a connection that was made; there is no connection with this event */
	CW_TCP_GONE = 1u << 9,        /* the last event: the core uses neither rings nor connection any more */
	CW_TCP_GROW = 1u << 10,       /* a ring is what limits the stream: advice, for cw_tcp_grow_* */
	CW_TCP_LINGERED =
		1u << 11, /* the FIN was acknowledged; or not in time, and `error` is EWOULDBLOCK. The connection goes on to its end */
};

struct cw_tcp_event {
	struct cw_tcp *connection;
	void *owner;
	unsigned events;
	uint64_t received, acknowledged, urgent;
	uint32_t receive_wanted, send_wanted; /* sizes of rings that would do; 0: as they are */
	int error;                            /* errno, with FAILED, SOFT_ERROR, LINGERED */
};

size_t cw_tcpip_size(const struct cw_tcpip_config *config);
/* `memory` is zeroed, aligned to 64, of cw_tcpip_size bytes. */
struct cw_tcpip *cw_tcpip_init(void *memory, const struct cw_tcpip_config *config, uint64_t now);

void cw_tcpip_input(struct cw_tcpip *core, const struct cw_frame *frame, uint64_t now);
void cw_tcpip_advance(struct cw_tcpip *core, uint64_t now);
bool cw_tcpip_output(struct cw_tcpip *core, struct cw_frame *frame, unsigned char header[CW_HEADER_ROOM], uint64_t now);
bool cw_tcpip_event(struct cw_tcpip *core, struct cw_tcp_event *event);
uint64_t cw_tcpip_timer(const struct cw_tcpip *core);

/* An address of this core's own, in a network of this prefix: it answers echo requests to it, says that ports are unreachable, reports
 * memberships from it. With a link it is probed first (RFC 5227, 4862) if that is wanted. False: no room. Addresses of others are served
 * too, as sockets have them, but nothing is answered that a socket doesn't. */
bool cw_tcpip_own(struct cw_tcpip *core, const struct cw_ip_address *address, unsigned prefix, bool probe, uint64_t now);
void cw_tcpip_disown(struct cw_tcpip *core, const struct cw_ip_address *address);
/* Somebody else has it too. */
bool cw_tcpip_duplicate(const struct cw_tcpip *core, const struct cw_ip_address *address);
/* Where packets for hosts of no network of ours go: for the family of this address. */
void cw_tcpip_set_router(struct cw_tcpip *core, const struct cw_ip_address *router);

/* NULL: no connection is left in the pool, or the flow exists. Both ports are the caller's choice. */
struct cw_tcp *cw_tcp_connect(struct cw_tcpip *core, const struct cw_ip_endpoint *local, const struct cw_ip_endpoint *remote,
			      const struct cw_tcp_rings *rings, const struct cw_tcp_settings *settings, uint64_t now);

/* An address of all zeroes listens on every address of both families. NULL: no listener is left, or that endpoint is taken. */
struct cw_tcp_listener *cw_tcp_listen(struct cw_tcpip *core, const struct cw_ip_endpoint *local, const struct cw_tcp_settings *settings);
/* Rings for one connection more: what is supplied is the room that is left in the accept queue. */
bool cw_tcp_supply(struct cw_tcp_listener *listener, const struct cw_tcp_rings *rings);
/* Half-open connections are dropped; supplied ones that aren't in use come back with GONE. */
void cw_tcp_unlisten(struct cw_tcp_listener *listener, uint64_t now);

/* The program has written up to `written`. An index that can't be ends the connection with a reset and EPROTO. `more`: it will go on
 * (cork). */
void cw_tcp_written(struct cw_tcp *connection, uint64_t written, bool more, uint64_t now);
void cw_tcp_read(struct cw_tcp *connection, uint64_t read, uint64_t now);
/* A larger ring, into which the core copies what is kept: all that is written and not acknowledged, or that has come and isn't read, in
 * order or not. The program must neither read nor write meanwhile. The old ring isn't used any more. False: it stays. */
bool cw_tcp_grow_send(struct cw_tcp *connection, unsigned char *ring, uint32_t size, uint64_t now);
bool cw_tcp_grow_receive(struct cw_tcp *connection, unsigned char *ring, uint32_t size, uint64_t now);
/* FIN behind what is written. */
void cw_tcp_shutdown(struct cw_tcp *connection, uint64_t now);
/* Nobody reads any more: FIN behind what is written, or a reset if something is unread (RFC 9293 3.6, 1122 4.2.2.13). GONE comes when done.
 */
void cw_tcp_close(struct cw_tcp *connection, uint64_t now);
/* The same, and who closes waits so long for all to arrive (SO_LINGER): CW_TCP_LINGERED or CW_TCP_GONE tells when. 0: reset. */
void cw_tcp_linger(struct cw_tcp *connection, uint32_t ms, uint64_t now);
/* Reset. */
void cw_tcp_abort(struct cw_tcp *connection, uint64_t now);
/* The byte before `written` is urgent. */
void cw_tcp_urgent(struct cw_tcp *connection, uint64_t now);
void cw_tcp_set_no_delay(struct cw_tcp *connection, bool on, uint64_t now);
/* Acknowledgements aren't delayed, which is known for a while only: as TCP_QUICKACK. */
void cw_tcp_set_quick_ack(struct cw_tcp *connection, bool on, uint64_t now);
/* 0: as it is. */
void cw_tcp_set_keep_alive_times(struct cw_tcp *connection, uint32_t idle_s, uint32_t interval_s, uint32_t count, uint64_t now);
/* Bytes a second at most; 0: no bound but the window's. */
void cw_tcp_set_pacing(struct cw_tcp *connection, bool on, uint64_t rate, uint64_t now);
/* The window stays. False: not from or to DCTCP, whose peer has been told another meaning of marks. */
bool cw_tcp_set_congestion(struct cw_tcp *connection, enum cw_tcp_congestion congestion, uint64_t now);
void cw_tcp_set_keep_alive(struct cw_tcp *connection, bool on, uint64_t now);
void cw_tcp_set_user_timeout(struct cw_tcp *connection, uint32_t ms, uint64_t now);

struct cw_tcp_info {
	unsigned state; /* as in RFC 9293, in the order of Linux's TCP_* */
	uint64_t sent, acknowledged, received;
	uint32_t congestion_window, slow_start_threshold, mss, send_window, receive_window;
	uint32_t smoothed_rtt_us, rtt_variation_us, rto_us;
	uint64_t in_flight, retransmissions, bytes_retransmitted;
	bool recovering;
};
void cw_tcp_info(const struct cw_tcp *connection, struct cw_tcp_info *info);

enum cw_tcpip_counter {
#define CW_COUNTER(name, text) CW_TCPIP_##name,
#include "transport/tcpip/counters.def"
#undef CW_COUNTER
	CW_TCPIP_COUNTERS
};
uint64_t cw_tcpip_counter(const struct cw_tcpip *core, enum cw_tcpip_counter which);
const char *cw_tcpip_counter_name(enum cw_tcpip_counter which);

#endif
