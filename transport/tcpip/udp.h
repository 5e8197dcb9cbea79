/*
 * UDP (RFC 768, 8085): sockets of a core, and their memberships in multicast groups.
 *
 * A socket has two rings of the caller's, powers of two of at least 4096 bytes, in which records lie one behind the other, each at a
 * multiple of CW_UDP_RECORD_ALIGN: a struct cw_udp_record, which never wraps, and behind it the bytes, which may. Places are offsets,
 * counted from the first byte ever written: offset n is at n % size. The core writes the receive ring up to `received`, the program frees
 * it up to `read`; the program writes the send ring up to `written`, the core frees it up to `sent`. A datagram that finds no room is
 * dropped and counted. `read` and `written` are ends of records. What is read from the send ring is copied once and checked; a record that
 * can't be ends the socket with EPROTO.
 *
 * `sent` rises when a record's last frame has been taken by cw_tcpip_output: whoever takes frames hands them to the device before it tells
 * the program of an event that it took later.
 */
#ifndef CW_UDP_H
#define CW_UDP_H

#include "transport/tcpip/tcpip.h"

struct cw_udp;

#define CW_UDP_RECORD_ALIGN  64u
#define CW_UDP_DEFAULT_CLASS 0xffu /* out: the socket's */

struct cw_udp_record {
	uint64_t time;                      /* in: when it came */
	struct cw_ip_address remote, local; /* out: all zeroes means the socket's own */
	uint32_t length;                    /* bytes that follow */
	uint32_t datagram;                  /* in: what it was long; longer than `length`: it was truncated */
	uint16_t remote_port;
	uint16_t segment_size; /* several datagrams of this size, the last one may be shorter, each within the path MTU; 0: one */
	uint8_t hop_limit;     /* out, 0: the socket's */
	uint8_t traffic_class;
	uint8_t unused[2];
};

_Static_assert(sizeof(struct cw_udp_record) == 56, "the record is in memory that is shared");

static inline uint64_t cw_udp_record_space(uint32_t length)
{
	return (sizeof(struct cw_udp_record) + (uint64_t)length + CW_UDP_RECORD_ALIGN - 1) & ~(uint64_t)(CW_UDP_RECORD_ALIGN - 1);
}

struct cw_udp_settings {
	bool reuse;     /* others may have this endpoint too: a datagram for one host goes to one of them, chosen by a hash of who sends */
	bool only_ip6;  /* an address of all zeroes takes no IPv4 */
	bool broadcast; /* may be sent to */
	bool fragment;  /* datagrams above the path MTU are fragmented (RFC 8085 3.2 would rather they weren't). Else they are refused:
			   EMSGSIZE */
	bool merged;    /* several datagrams of one sender may come as one record with a segment size */
	bool only_joined;                   /* of groups, only those that this socket has joined; else of all that somebody here has */
	bool no_loop;                       /* what is sent to a group doesn't come back to sockets here */
	uint8_t hop_limit, group_hop_limit; /* 0: 64, 1 */
	uint8_t traffic_class;
	uint32_t truncate; /* longer datagrams are cut to this; 0: never */
};

enum cw_udp_events {
	CW_UDP_READABLE = 1u << 0, /* `received` rose */
	CW_UDP_WRITABLE = 1u << 1, /* `sent` rose */
	CW_UDP_ERROR = 1u << 2,    /* `error`: by ICMP, if the socket is connected */
	CW_UDP_DROPPED = 1u << 3,  /* there was no room */
	CW_UDP_REFUSED = 1u << 4,  /* the record before `sent` wasn't sent: `refusal`. No other is until this event is taken */
	CW_UDP_GONE = 1u << 5,     /* the last event: rings and socket aren't used any more */
};

struct cw_udp_event {
	struct cw_udp *socket;
	void *owner;
	unsigned events;
	uint64_t received, sent, dropped;
	int error, refusal; /* errno */
};

struct cw_udp_rings {
	unsigned char *send;
	uint32_t send_size;
	unsigned char *receive;
	uint32_t receive_size;
	void *owner;
};

/* An address of all zeroes takes datagrams of both families, a v4-mapped one of zeroes those of IPv4. NULL: no socket is left, or the
 * endpoint is taken. */
struct cw_udp *cw_udp_open(struct cw_tcpip *core, const struct cw_ip_endpoint *local, const struct cw_udp_rings *rings,
			   const struct cw_udp_settings *settings);
/* Only from there, and there by default; `local` is the address that is sent from. `remote` NULL: any again. False: no such address. */
bool cw_udp_connect(struct cw_udp *udp, const struct cw_ip_address *local, const struct cw_ip_endpoint *remote);
void cw_udp_written(struct cw_udp *udp, uint64_t written, uint64_t now);
void cw_udp_read(struct cw_udp *udp, uint64_t read, uint64_t now);
/* What is written is still sent; then GONE comes. */
void cw_udp_close(struct cw_udp *udp, uint64_t now);
bool cw_udp_event(struct cw_tcpip *core, struct cw_udp_event *event);
/* Of packets from us to there, as far as is known. */
uint32_t cw_tcpip_path_mtu(const struct cw_tcpip *core, const struct cw_ip_address *remote);

#define CW_GROUP_SOURCES 64u

/* The filter of a socket for a group (RFC 3376 section 2, 3810 section 3): include nothing is to leave. 0, or an errno: EADDRNOTAVAIL, the
 * address is no group; ENOBUFS, no room, or more
 * than CW_GROUP_SOURCES sources. */
int cw_udp_filter(struct cw_udp *udp, const struct cw_ip_address *group, bool exclude, const struct cw_ip_address *sources, uint32_t count,
		  uint64_t now);
static inline int cw_udp_join(struct cw_udp *udp, const struct cw_ip_address *group, uint64_t now)
{
	return cw_udp_filter(udp, group, true, NULL, 0, now);
}
static inline int cw_udp_leave(struct cw_udp *udp, const struct cw_ip_address *group, uint64_t now)
{
	return cw_udp_filter(udp, group, false, NULL, 0, now);
}

#endif
