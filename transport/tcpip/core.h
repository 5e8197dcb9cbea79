/* Inside an instance. */
#ifndef CW_TCPIP_CORE_H
#define CW_TCPIP_CORE_H

#include "transport/tcpip/address.h"
#include "transport/tcpip/bytes.h"
#include "transport/tcpip/control.h"
#include "transport/tcpip/flow_table.h"
#include "transport/tcpip/group.h"
#include "transport/tcpip/limit.h"
#include "transport/tcpip/link.h"
#include "transport/tcpip/list.h"
#include "transport/tcpip/path_mtu.h"
#include "transport/tcpip/pool.h"
#include "transport/tcpip/reassembly.h"
#include "transport/tcpip/tcp_segment.h"
#include "transport/tcpip/tcpip.h"
#include "transport/tcpip/wheel.h"

#define CW_LISTENER_BUCKETS 64u
#define CW_IDENTIFICATIONS  256u
#define CW_UDP_BUCKETS      256u

/* What a timer lies in; the others are kinds of flows. */
enum cw_timer_owner {
	CW_TIMER_REASSEMBLY = 16,
	CW_TIMER_ADDRESS,
	CW_TIMER_GROUP_CHANGE,
	CW_TIMER_GROUP_RESPONSE,
	CW_TIMER_GROUP_GENERAL,
	CW_TIMER_NEIGHBOUR
};

/* A segment without payload that belongs to no connection: resets, SYN-ACKs of half-open ones and cookies, answers of TIME-WAIT. */
struct cw_reply {
	struct cw_flow_key key;
	uint32_t seq, ack;
	uint16_t window;
	uint8_t flags;
	uint8_t options_length;
	unsigned char options[40];
};

struct cw_tcpip {
	struct cw_tcpip_config config;
	uint64_t now;
	struct cw_wheel wheel;
	struct cw_flow_table table;
	struct cw_list transmit;  /* connections that may have something to send, in turns */
	struct cw_list events;    /* connections whose owner has to be told something */
	struct cw_list time_wait; /* oldest first */
	struct cw_list listeners[CW_LISTENER_BUCKETS];
	struct cw_pool connection_pool, listener_pool, half_open_pool, time_wait_pool, sent_pool, block_pool;
	struct cw_reply *reply; /* a ring */
	uint32_t reply_first, replies;
	struct cw_siphash_key isn_secret, cookie_secret;
	uint32_t challenges; /* left in this second (RFC 5961 section 7) */
	uint64_t challenges_until;
	uint64_t cookies_until; /* the last cookie is valid */
	uint32_t random;        /* for the challenge limit's noise, seeded by the secret */
	uint32_t unsupplied;
	struct cw_control control;
	struct cw_siphash_key identification_secret;
	uint32_t identification[CW_IDENTIFICATIONS]; /* how often each hash of source and destination was asked for */
	struct cw_siphash_key random_secret;
	uint64_t random_count;
	struct cw_addresses addresses;
	struct cw_reassemblies reassemblies;
	struct cw_limit error_limit, echo_limit;
	struct cw_paths paths;
	struct cw_pool udp_pool;
	struct cw_flow_table udp_table; /* connected ones */
	struct cw_list udp_ports[CW_UDP_BUCKETS];
	struct cw_list udp_bound[CW_UDP_BUCKETS]; /* connected ones, too */
	struct cw_list udp_transmit, udp_events;
	struct cw_groups groups;
	struct cw_link_layer link;
	bool udp_turn; /* of those that have something to send, it is UDP's turn */
	uint64_t counter[CW_TCPIP_COUNTERS];
};

static inline void cw_count(struct cw_tcpip *core, enum cw_tcpip_counter which)
{
	core->counter[which]++;
}

/* Numbers that nobody outside can foresee. */
static inline uint64_t cw_random(struct cw_tcpip *core)
{
	core->random_count++;
	return cw_siphash(&core->random_secret, &core->random_count, sizeof(core->random_count));
}

/* Which of so many buckets an address belongs to; nobody outside can foresee it. */
static inline size_t cw_core_bucket(const struct cw_tcpip *core, const struct cw_ip_address *address, size_t buckets)
{
	return cw_siphash_short(&core->table.secret, address, sizeof(*address)) % buckets;
}

static inline void cw_core_clock(struct cw_tcpip *core, uint64_t now)
{
	if (now > core->now)
		core->now = now;
}

static inline struct cw_list *cw_core_listeners(struct cw_tcpip *core, uint16_t port)
{
	return &core->listeners[port % CW_LISTENER_BUCKETS];
}

#endif
