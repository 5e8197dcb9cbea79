/* Flows by their four-tuple, under a keyed hash (SipHash-1-3), so that nobody outside can fill one chain. */
#ifndef CW_TCPIP_FLOW_TABLE_H
#define CW_TCPIP_FLOW_TABLE_H

#include <stdint.h>

#include "transport/tcpip/siphash.h"
#include "transport/tcpip/tcpip.h"

struct cw_flow_key {
	struct cw_ip_address local, remote;
	uint16_t local_port, remote_port;
};

_Static_assert(sizeof(struct cw_flow_key) == 36, "the key is hashed and compared as bytes");

enum cw_flow_kind { CW_FLOW_TCP, CW_FLOW_HALF_OPEN, CW_FLOW_TIME_WAIT, CW_FLOW_UDP };

/* The first member of what is found: a connection, a half-open one, a TIME-WAIT. */
struct cw_flow {
	struct cw_flow *next;
	struct cw_flow_key key;
	uint32_t hash;
	uint8_t kind;
	uint8_t in_table;
};

struct cw_flow_table {
	struct cw_flow **bucket;
	uint32_t mask;
	struct cw_siphash_key secret;
};

/* How many buckets (pointers) a table of this many flows wants: a power of two. */
uint32_t cw_flow_table_buckets(uint32_t flows);
uint32_t cw_flow_hash(const struct cw_flow_table *table, const struct cw_flow_key *key);
struct cw_flow *cw_flow_find(const struct cw_flow_table *table, const struct cw_flow_key *key, uint32_t hash);
void cw_flow_add(struct cw_flow_table *table, struct cw_flow *flow);
void cw_flow_remove(struct cw_flow_table *table, struct cw_flow *flow);

#endif
