/*
 * Ethernet in front of IP: neighbours are found by ARP (RFC 826) and ND (RFC 4861), and watched as RFC 4861 7.3 says, in both families.
 *
 * A packet for who isn't known yet is copied and waits, three for one neighbour at most; what waits for nobody that answers is dropped, and
 * its socket told. Whoever makes us ask for neighbours that aren't there takes half of the table at most (RFC 6583), and whoever tells of
 * itself takes nothing from those that we send to.
 * Frames' link headers are written in front of what the network layer has written.
 */
#ifndef CW_TCPIP_LINK_H
#define CW_TCPIP_LINK_H

#include "transport/tcpip/list.h"
#include "transport/tcpip/packet.h"
#include "transport/tcpip/pool.h"
#include "transport/tcpip/wheel.h"

#define CW_NEIGHBOUR_BUCKETS 256u
#define CW_ETHERNET_HEADER   14u
#define CW_LINK_ROOM         16u /* in front of the IP header */
#define CW_ARP_MESSAGES      64u

enum cw_neighbour_state { CW_NEIGHBOUR_INCOMPLETE, CW_NEIGHBOUR_REACHABLE, CW_NEIGHBOUR_STALE, CW_NEIGHBOUR_DELAY, CW_NEIGHBOUR_PROBE };

struct cw_neighbour {
	struct cw_list bucket, age, waiting;
	struct cw_tcpip *core;
	struct cw_ip_address address;
	struct cw_ip_address source; /* of the packet that made us ask */
	uint8_t link[6];
	uint8_t state, solicits, waits;
	bool used; /* by a packet of ours */
	uint64_t reachable_until;
	uint64_t since; /* it has had this link address */
	struct cw_timer timer;
};

/* A frame that waits; its bytes are in a buffer of its own, with room for the link header. */
struct cw_waiting {
	struct cw_list entry;
	uint32_t length;
	enum cw_checksum checksum;
	uint16_t checksum_start, checksum_offset;
};

struct cw_arp_message {
	uint16_t operation;
	uint8_t to[6], target_link[6];
	uint8_t sender[4], target[4];
};

struct cw_link_layer {
	struct cw_pool neighbours, waiting;
	unsigned char *buffers;
	uint32_t buffer_size;
	struct cw_list age;        /* least needed first */
	struct cw_list unanswered; /* who is asked for the first time, longest ago first */
	uint32_t unanswered_count;
	struct cw_list ready; /* waited for long enough: their link headers are written */
	struct cw_list sent;  /* their bytes are the caller's until it calls again */
	struct cw_list bucket[CW_NEIGHBOUR_BUCKETS];
	struct cw_ip_address router[2]; /* IPv6, IPv4 */
	bool has_router[2];
	struct cw_arp_message arp[CW_ARP_MESSAGES];
	uint32_t arp_first, arps;
};

uint32_t cw_link_buffer(const struct cw_tcpip_config *config);
void cw_link_init(struct cw_tcpip *core, void *neighbours, void *waiting, unsigned char *buffers);
void cw_link_input(struct cw_tcpip *core, const struct cw_frame *frame);
bool cw_link_output(struct cw_tcpip *core, struct cw_frame *frame, unsigned char *header);
/* What was sent to this destination then has arrived, so whoever it went through is there (RFC 4861 7.3.1, 1122 2.3.2.1). */
bool cw_link_confirm(struct cw_tcpip *core, const struct cw_ip_address *destination, uint64_t sent);
/* The caller is done with frames that it took. */
void cw_link_reclaim(struct cw_tcpip *core);

/* Neighbours: neighbour.c. */
struct cw_neighbour *cw_neighbour_find(const struct cw_tcpip *core, const struct cw_ip_address *address);
/* Someone of the link has told us its address; `create`: we shall need it, if there is room. */
void cw_neighbour_learn(struct cw_tcpip *core, const struct cw_ip_address *address, const uint8_t link[6], bool create);
/* An answer: solicited ones confirm, and only `override` changes what is known (RFC 4861 7.2.5). `link` may be NULL. */
void cw_neighbour_answer(struct cw_tcpip *core, const struct cw_ip_address *address, const uint8_t *link, bool solicited, bool override);
/* Where packets for it go; NULL: not known, so this one waits, or is dropped. */
const uint8_t *cw_neighbour_resolve(struct cw_tcpip *core, const struct cw_ip_address *address, const struct cw_ip_address *source,
				    const struct cw_frame *frame);
/* What was sent to it then has arrived; false: that says nothing of it. */
bool cw_neighbour_confirm(struct cw_tcpip *core, const struct cw_ip_address *address, uint64_t sent);
void cw_neighbour_expired(struct cw_neighbour *neighbour);

/* ARP: arp.c. */
void cw_arp_input(struct cw_tcpip *core, const struct cw_frame *frame);
/* `to` NULL: to all. */
void cw_arp_request(struct cw_tcpip *core, const struct cw_ip_address *sender, const struct cw_ip_address *target, const uint8_t *to);
bool cw_arp_output(struct cw_tcpip *core, struct cw_frame *frame, unsigned char *header);

/* ND: nd.c. `to` NULL: to the target's solicited-node group; `source` NULL: from nobody, as duplicates are looked for. */
void cw_nd_solicit(struct cw_tcpip *core, const struct cw_ip_address *source, const struct cw_ip_address *target, bool unicast);
/* Solicitations and advertisements of neighbours; the sum has been checked. */
void cw_nd_input(struct cw_tcpip *core, const struct cw_frame *frame, const struct cw_packet *packet);
struct cw_ip_address cw_nd_group(const struct cw_ip_address *address);

#endif
