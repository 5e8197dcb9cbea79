/* Things of one size, from memory given at the start. What was never used is never touched: memory costs nothing until it is needed. */
#ifndef CW_TCPIP_POOL_H
#define CW_TCPIP_POOL_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct cw_pool {
	unsigned char *memory;
	void *free;
	uint32_t size, limit, fresh, used;
};

static inline void cw_pool_init(struct cw_pool *pool, void *memory, size_t size, uint32_t limit)
{
	*pool = (struct cw_pool){.memory = memory, .size = (uint32_t)size, .limit = limit};
}

/* Zeroed; NULL: none is left. */
static inline void *cw_pool_take(struct cw_pool *pool)
{
	void *thing = pool->free;

	if (thing)
		memcpy(&pool->free, thing, sizeof(void *));
	else if (pool->fresh < pool->limit)
		thing = pool->memory + (size_t)pool->size * pool->fresh++;
	else
		return NULL;
	pool->used++;
	return memset(thing, 0, pool->size);
}

static inline void cw_pool_give(struct cw_pool *pool, void *thing)
{
	memcpy(thing, &pool->free, sizeof(void *));
	pool->free = thing;
	pool->used--;
}

#endif
