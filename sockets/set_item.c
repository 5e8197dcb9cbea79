#include "set_item.h"

#include <string.h>

#define MAX_ITEMS 65536

#define KEPT offsetof(struct cw_item, inner) /* set, of_stream, stream */

_Static_assert(KEPT == 3 * sizeof(void *), "they come first");

static struct cw_item items[MAX_ITEMS] CW_TABLE;
static struct cw_item *free_items;
static uint32_t used;
static struct cw_lock lock;

void cw_item_after_fork(void)
{
	cw_lock_after_fork(&lock);
}

struct cw_item *cw_item_new(void)
{
	struct cw_item *item = NULL;
	uint64_t ignored = 0;
	bool locked = cw_lock(&lock, cw_thread_id(), &ignored) != CW_LOCK_NESTED;

	if (free_items) {
		item = free_items;
		free_items = item->next;
	} else if (used < MAX_ITEMS) {
		item = &items[used++];
	}
	if (locked)
		cw_unlock(&lock);
	if (item)
		memset((char *)item + KEPT, 0, sizeof(*item) - KEPT);
	return item;
}

void cw_item_free(struct cw_item *item)
{
	uint64_t ignored = 0;
	bool locked = cw_lock(&lock, cw_thread_id(), &ignored) != CW_LOCK_NESTED;

	item->next = free_items;
	free_items = item;
	if (locked)
		cw_unlock(&lock);
}
