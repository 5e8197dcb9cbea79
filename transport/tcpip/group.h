/*
 * Multicast groups: which sockets are in them, and what routers are told (IGMPv3, RFC 3376; MLDv2, RFC 3810; and before them IGMPv2 and
 * MLDv1 while a router speaks only those).
 *
 * What the network is asked for is the sum of the sockets' filters. A group that nobody is in any more stays until that has been told as
 * often as the robustness variable says.
 */
#ifndef CW_TCPIP_GROUP_H
#define CW_TCPIP_GROUP_H

#include "transport/tcpip/list.h"
#include "transport/tcpip/packet.h"
#include "transport/tcpip/pool.h"
#include "transport/tcpip/udp.h"
#include "transport/tcpip/wheel.h"

#define CW_GROUP_BUCKETS 64u

struct cw_membership {
	struct cw_list of_socket, of_group;
	struct cw_udp *udp;
	struct cw_group *group;
	bool exclude;
	uint32_t count;
	struct cw_ip_address source[CW_GROUP_SOURCES];
};

/* A source in the filter of a group, or that was: it is to be told still. */
struct cw_group_source {
	struct cw_ip_address address;
	bool current;
	uint8_t allow_left, block_left; /* how often it is still to be told */
};

struct cw_group {
	struct cw_list bucket, all, members;
	struct cw_tcpip *core;
	struct cw_ip_address address;
	uint32_t held; /* by the network layer itself */
	bool exclude;  /* and none of the sources: the filter */
	uint8_t mode_left;
	bool responding;
	uint64_t response_at;
	struct cw_timer change, response;
	uint32_t count;
	struct cw_group_source source[CW_GROUP_SOURCES];
	uint32_t asked; /* sources that a query asked for; none: it asked for the group */
	struct cw_ip_address asked_source[CW_GROUP_SOURCES];
};

/* What routers of one family have said. */
struct cw_group_family {
	struct cw_tcpip *core;
	bool ip4;
	uint8_t robustness;
	uint8_t version;              /* spoken last: of IGMP 3, 2, 1; MLDv2 counts as 3, MLDv1 as 2 */
	uint64_t old_until, v1_until; /* a router of IGMPv2 or MLDv1, or of IGMPv1, is there */
	uint32_t query_interval_s;
	bool responding;
	uint64_t response_at;
	struct cw_timer general;
};

struct cw_groups {
	struct cw_pool pool, memberships;
	struct cw_list all;
	struct cw_list bucket[CW_GROUP_BUCKETS];
	struct cw_group_family family[2]; /* IPv6, IPv4 */
};

void cw_groups_init(struct cw_tcpip *core, void *groups, void *memberships);
struct cw_group *cw_group_find(const struct cw_tcpip *core, const struct cw_ip_address *address);
/* Does this socket want what this source sends to this group? */
bool cw_group_takes(const struct cw_udp *udp, const struct cw_ip_address *group, const struct cw_ip_address *source);
void cw_group_leave_all(struct cw_udp *udp);
/* The network layer itself wants it, whatever the source. False: no room. */
bool cw_group_hold(struct cw_tcpip *core, const struct cw_ip_address *address);
void cw_group_release(struct cw_tcpip *core, const struct cw_ip_address *address);
/* Nobody is in it, and nothing is to be told any more. */
void cw_group_free_if_idle(struct cw_group *group);

/* Reports: group_report.c. */
struct cw_group_family *cw_group_family(struct cw_tcpip *core, bool ip4);
/* Which version is spoken now. A change of it ends what was pending. */
unsigned cw_group_version(struct cw_group_family *family);
bool cw_group_is_wanted(const struct cw_group *group);
/* The filter changed, and what is to be told of it is in the counts. */
void cw_group_tell_change(struct cw_group *group, bool was_wanted);
void cw_group_change_expired(struct cw_group *group);
void cw_group_response_expired(struct cw_group *group);
void cw_group_general_expired(struct cw_group_family *family);

/* Queries: group_query.c. */
void cw_igmp_input(struct cw_tcpip *core, const struct cw_frame *frame, const struct cw_packet *packet);
/* Types 130 to 132; the sum has been checked. */
void cw_mld_input(struct cw_tcpip *core, const struct cw_frame *frame, const struct cw_packet *packet);

#endif
