/* The hot list of an event set: the streams that it looks at while it is awake (set.h). */
#include "kernel.h"
#include "looking.h"
#include "ready.h"
#include "service.h"
#include "set_item.h"
#include "switch.h"

#define WATCH_FROM 24 /* so many lines of memory are looked at faster than marks are made */
#define WATCH_TO   8  /* and from so few on no longer */

static void unwatch_all(struct cw_set *set)
{
	for (struct cw_item *item = set->hot; item; item = item->hot_next)
		cw_item_unwatch(item);
}

void cw_item_cool(struct cw_item *item)
{
	struct cw_set *set = item->set;

	if (!item->hot)
		return;
	item->hot = false;
	cw_item_unwatch(item);
	cw_item_unlook(item);
	if (set->views && set->hot_count < WATCH_TO)
		unwatch_all(set);
	*item->hot_before = item->hot_next;
	if (item->hot_next)
		item->hot_next->hot_before = item->hot_before;
	set->hot_count--;
}

/* Many: from here on by boards. */
static void watch(struct cw_set *set, struct cw_item *item)
{
	if (set->hot_count < WATCH_FROM)
		return;
	if (set->hot_count > WATCH_FROM) {
		cw_item_watch(item);
		return;
	}
	for (item = set->hot; item; item = item->hot_next)
		cw_item_watch(item);
}

void cw_item_heat(struct cw_item *item)
{
	struct cw_set *set = item->set;

	item->idle = 0;
	if (item->hot)
		return;
	item->hot_next = set->hot;
	if (set->hot)
		set->hot->hot_before = &item->hot_next;
	set->hot = item;
	item->hot_before = &set->hot;
	item->hot = true;
	set->hot_count++;
	cw_item_look(item);
	watch(set, item);
}

bool cw_set_enter(struct cw_stream *stream, struct cw_item **in_set)
{
	struct cw_item *item = cw_item_first(stream);
	struct cw_set *set;
	bool locked;

	*in_set = NULL;
	if (!item)
		return true;
	set = cw_item_hold(item, stream, &locked);
	if (!set)
		return false;
	if (locked && cw_set_alone(stream) && !set->sleepers && !set->shared &&
	    (item->hot || set->hot_count < (uint32_t)cw_policy.number[CW_OPTION_hot])) {
		*in_set = item;
		return true;
	}
	cw_set_unlock(set, locked);
	return false;
}

void cw_set_leave(struct cw_item *in_set)
{
	cw_set_unlock(in_set->set, true);
}

void cw_set_heat(struct cw_item *in_set)
{
	cw_item_heat(in_set);
}

bool cw_item_rx_lock(struct cw_stream *stream, int fd, bool *nested)
{
	return stream->slot && !stream->broken && cw_rx_lock(stream, fd, nested);
}

/* A thread sleeps in the set already: the stream must be with the kernel, and if it has bytes in its ring that the sleeper would be told
 * of, the sleeper must be woken. */
void cw_item_settle_for_sleepers(struct cw_item *item)
{
	struct cw_stream *stream = item->stream;
	bool nested, fine = true;

	if (!cw_item_rx_lock(stream, cw_item_descriptor(item), &nested))
		return;
	fine = cw_ready_settle(stream, cw_item_seen(item), item->events & EPOLLET);
	cw_rx_unlock(stream, nested);
	if (!fine && (item->events & (EPOLLIN | EPOLLRDNORM)) && item->armed)
		cw_set_kick(item->set);
}

bool cw_item_awake(const struct cw_stream *stream)
{
	enum cw_state state;

	if (!stream->slot)
		return false;
	state = cw_state_of(atomic_load_explicit(&stream->rx->state, memory_order_seq_cst));
	return state == CW_CONSENT || state == CW_LIVE || state == CW_SEALED;
}

bool cw_item_stays(const struct cw_stream *stream)
{
	return stream->slot && cw_state_of(atomic_load_explicit(&stream->rx->state, memory_order_relaxed)) == CW_TAKEN && cw_is_sparse();
}

void cw_item_admit(struct cw_item *item)
{
	if (!cw_item_awake(item->stream) && !cw_ready_left(item->stream))
		return;
	cw_item_heat(item);
	if (item->set->sleepers)
		cw_item_settle_for_sleepers(item);
}

void cw_set_notice(struct cw_stream *stream)
{
	cw_item_each(stream, cw_item_admit);
}
