/*
 * The list of a stream's registrations. A stream may be in several sets, and each set has a lock of its own, so lists have locks too: taken
 * last, with nothing locked within.
 */
#include "set_item.h"
#include "sync/cpu.h"

#define LOCKS 64 /* of so many lists' turn */

static struct {
	_Alignas(CW_CACHE_LINE) struct cw_lock lock;
} locks[LOCKS] CW_TABLE;

static bool lock_list(const struct cw_stream *stream)
{
	return cw_lock_own(&locks[stream->number % LOCKS].lock, cw_thread_id(), NULL) != CW_LOCK_NESTED;
}

static void unlock_list(const struct cw_stream *stream, bool locked)
{
	if (locked)
		cw_unlock(&locks[stream->number % LOCKS].lock);
}

void cw_list_after_fork(void)
{
	for (int i = 0; i < LOCKS; i++)
		cw_lock_after_fork(&locks[i].lock);
}

struct cw_item *cw_item_first(const struct cw_stream *stream)
{
	return atomic_load_explicit(&stream->items, memory_order_acquire);
}

struct cw_set *cw_item_hold(const struct cw_item *item, const struct cw_stream *stream, bool *locked)
{
	struct cw_set *set = item->set;

	*locked = cw_set_lock(set);
	/* In this order: in another set by now, it was given the set before the stream. */
	if (item->stream == stream && item->set == set)
		return set;
	cw_set_unlock(set, *locked);
	return NULL;
}

void cw_item_each(struct cw_stream *stream, void (*act)(struct cw_item *))
{
	struct cw_item *item = cw_item_first(stream);
	bool locked;

	while (item) {
		struct cw_set *set = cw_item_hold(item, stream, &locked);

		if (!set) {
			item = cw_item_first(stream);
			continue;
		}
		act(item);
		item = item->of_stream;
		cw_set_unlock(set, locked);
	}
}

void cw_item_attach(struct cw_item *item)
{
	struct cw_stream *stream = item->stream;
	bool locked = lock_list(stream);

	atomic_store_explicit(&item->of_stream, cw_item_first(stream), memory_order_relaxed);
	atomic_store_explicit(&stream->items, item, memory_order_seq_cst);
	unlock_list(stream, locked);
}

void cw_item_detach(struct cw_item *item)
{
	struct cw_item *_Atomic *place = &item->stream->items;
	bool locked = lock_list(item->stream);
	struct cw_item *at;

	while ((at = atomic_load_explicit(place, memory_order_relaxed)) != NULL && at != item)
		place = &at->of_stream;
	if (at)
		atomic_store_explicit(place, item->of_stream, memory_order_seq_cst);
	unlock_list(item->stream, locked);
}

struct cw_item *cw_item_find(const struct cw_stream *stream, const struct cw_set *set, int fd)
{
	bool locked = lock_list(stream);
	struct cw_item *item = cw_item_first(stream);

	while (item && (item->set != set || item->fd != fd))
		item = item->of_stream;
	unlock_list(stream, locked);
	return item;
}

bool cw_set_alone(const struct cw_stream *stream)
{
	const struct cw_item *item = cw_item_first(stream);

	return !item || (!item->of_stream && cw_item_first(stream) == item);
}

/* Is it so of any of them? A single one is looked at without the lock; what was taken away meanwhile may be in another list by now. */
static inline __attribute__((always_inline)) bool any(const struct cw_stream *stream, bool (*is_so)(const struct cw_item *))
{
	const struct cw_item *item = cw_item_first(stream);
	bool locked, found;

	if (!item)
		return false;
	found = is_so(item);
	if (cw_set_alone(stream) && cw_item_first(stream) == item)
		return found;
	locked = lock_list(stream);
	for (item = cw_item_first(stream); item && !is_so(item); item = item->of_stream)
		;
	unlock_list(stream, locked);
	return item != NULL;
}

static inline bool is_shared(const struct cw_item *item)
{
	return item->set->shared;
}

static inline bool is_asleep(const struct cw_item *item)
{
	return item->set->sleepers || item->set->shared;
}

static inline bool is_cold(const struct cw_item *item)
{
	return !item->hot;
}

bool cw_set_asleep(const struct cw_stream *stream)
{
	return any(stream, is_asleep);
}

bool cw_set_shared(const struct cw_stream *stream)
{
	return any(stream, is_shared);
}

bool cw_set_hot_or_none(const struct cw_stream *stream)
{
	return !any(stream, is_cold);
}
