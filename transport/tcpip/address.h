/* The addresses that are this core's own: what it answers for. */
#ifndef CW_TCPIP_ADDRESS_H
#define CW_TCPIP_ADDRESS_H

#include "transport/tcpip/list.h"
#include "transport/tcpip/pool.h"
#include "transport/tcpip/tcpip.h"
#include "transport/tcpip/wheel.h"

enum cw_address_state { CW_ADDRESS_USABLE, CW_ADDRESS_PROBED, CW_ADDRESS_DUPLICATE };

struct cw_address {
	struct cw_list all;
	struct cw_tcpip *core;
	struct cw_ip_address address;
	uint8_t prefix;
	uint8_t state;
	uint8_t left;  /* probes, then announcements, still to be sent */
	bool in_group; /* its solicited-node group is held */
	uint64_t defended_until;
	struct cw_timer timer;
};

struct cw_addresses {
	struct cw_pool pool;
	struct cw_list all;
};

void cw_addresses_init(struct cw_addresses *addresses, void *pool, uint32_t limit);
/* NULL: it isn't ours. */
struct cw_address *cw_address_find(const struct cw_tcpip *core, const struct cw_ip_address *address);
/* Ours, and in use. */
bool cw_address_is_own(const struct cw_tcpip *core, const struct cw_ip_address *address);
/* 255.255.255.255, or that of a network of ours (RFC 1122 3.2.1.3). */
bool cw_address_is_broadcast(const struct cw_tcpip *core, const struct cw_ip_address *address);
/* In a network of ours. */
bool cw_address_is_near(const struct cw_tcpip *core, const struct cw_ip_address *address);
/* What to send from: of the same family and scope, and nearest (RFC 6724 section 5, rules 2 and 8). NULL: we have none. */
const struct cw_ip_address *cw_address_source(const struct cw_tcpip *core, const struct cw_ip_address *destination);

#endif
