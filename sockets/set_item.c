#include "set_item.h"

#include <string.h>

#define MAX_ITEMS 65536

#define KEPT offsetof(struct cw_item, inner) /* set, of_stream, stream */

_Static_assert(KEPT == 3 * sizeof(void *), "they come first");

static struct cw_item items[MAX_ITEMS] CW_TABLE;
static struct cw_item *free_items;
static _Atomic uint32_t used;
static struct cw_lock lock;

void cw_item_after_fork(void)
{
	cw_lock_after_fork(&lock);
}

static struct cw_item *fresh(void)
{
	uint32_t number = atomic_load_explicit(&used, memory_order_relaxed);

	while (number < MAX_ITEMS)
		if (atomic_compare_exchange_weak_explicit(&used, &number, number + 1, memory_order_relaxed, memory_order_relaxed))
			return &items[number];
	return NULL;
}

struct cw_item *cw_item_new(void)
{
	struct cw_item *item = NULL;
	bool locked = cw_lock_own(&lock, cw_thread_id(), NULL) != CW_LOCK_NESTED;

	if (locked && free_items) { /* below a handler somebody may be about to take that one */
		item = free_items;
		free_items = item->next;
	} else {
		item = fresh();
	}
	if (locked)
		cw_unlock(&lock);
	if (item)
		memset((char *)item + KEPT, 0, sizeof(*item) - KEPT);
	return item;
}

void cw_item_free(struct cw_item *item)
{
	if (cw_lock_own(&lock, cw_thread_id(), NULL) == CW_LOCK_NESTED)
		return; /* one less */
	item->next = free_items;
	free_items = item;
	cw_unlock(&lock);
}
