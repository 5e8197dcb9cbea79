/* Chains of flows. The table is sized for all pools at the start, so it never grows. */
#include "transport/tcpip/flow_table.h"

#include <string.h>

uint32_t cw_flow_table_buckets(uint32_t flows)
{
	uint32_t buckets = 16;

	while (buckets < flows && buckets < 1u << 30)
		buckets *= 2;
	return buckets;
}

uint32_t cw_flow_hash(const struct cw_flow_table *table, const struct cw_flow_key *key)
{
	return (uint32_t)cw_siphash_short(&table->secret, key, sizeof(*key));
}

struct cw_flow *cw_flow_find(const struct cw_flow_table *table, const struct cw_flow_key *key, uint32_t hash)
{
	struct cw_flow *flow = table->bucket[hash & table->mask];

	while (flow && (flow->hash != hash || memcmp(&flow->key, key, sizeof(*key)) != 0))
		flow = flow->next;
	return flow;
}

void cw_flow_add(struct cw_flow_table *table, struct cw_flow *flow)
{
	struct cw_flow **bucket = &table->bucket[flow->hash & table->mask];

	flow->next = *bucket;
	*bucket = flow;
	flow->in_table = 1;
}

void cw_flow_remove(struct cw_flow_table *table, struct cw_flow *flow)
{
	struct cw_flow **link = &table->bucket[flow->hash & table->mask];

	if (!flow->in_table)
		return;
	while (*link != flow)
		link = &(*link)->next;
	*link = flow->next;
	flow->in_table = 0;
}
