/* An event set goes to sleep in the kernel, and wakes. */
#include "ready.h"
#include "set_item.h"
#include "switch.h"

#define IDLE_LOOKS  5
#define IDLE_SLEEPS 3 /* a stream without bytes in so many sleeps of its set is no longer looked at */

static void rise(struct cw_set *set)
{
	struct cw_item *item;
	bool nested;

	if (--set->sleepers > 0)
		return;
	set->sleepers = 0;
	for (item = set->hot; item; item = item->hot_next)
		if (cw_item_rx_lock(item->stream, item->fd, &nested)) {
			if (!cw_switch_others_asleep(item->stream))
				cw_ready_rise(item->stream);
			cw_rx_unlock(item->stream, nested);
		}
}

static void rise_nested(struct cw_set *set, struct cw_item *until)
{
	for (struct cw_item *item = set->nested ? set->items : NULL; item && item != until; item = item->next)
		if (item->inner)
			cw_set_rise(item->inner);
}

static bool settle_item(struct cw_item *item)
{
	uint64_t edge, roff;
	bool nested, fine;

	if (!item->armed || !(item->events & (EPOLLIN | EPOLLRDNORM)))
		return true;
	if (cw_item_ready(item, &edge))
		return false;
	if (!cw_item_rx_lock(item->stream, item->fd, &nested))
		return true;
	fine = cw_ready_settle(item->stream, item->seen, item->events & EPOLLET);
	roff = atomic_load_explicit(&item->stream->rx->roff, memory_order_relaxed);
	item->idle = roff == item->roff ? item->idle + 1 : 0;
	item->roff = roff;
	cw_rx_unlock(item->stream, nested);
	return fine;
}

/* All of them together. */
static void linger(struct cw_set *set)
{
	set->lingers = true;
	for (struct cw_item *item = set->hot; item; item = item->hot_next)
		if (item->stream->slot)
			cw_switch_lingers(item->stream);
}

void cw_item_doze(struct cw_item *item)
{
	uint64_t roff;

	if (!item->stream->slot)
		return;
	roff = atomic_load_explicit(&item->stream->rx->roff, memory_order_relaxed);
	item->idle = roff == item->roff ? item->idle + 1 : 0;
	item->roff = roff;
	if (item->idle >= IDLE_LOOKS && settle_item(item) && !cw_item_awake(item->stream))
		cw_item_cool(item);
}

static bool settle(struct cw_set *set, int depth)
{
	struct cw_item *item, *next;

	cw_set_flush(set);
	set->sleepers++;
	for (item = set->hot; item; item = next) {
		next = item->hot_next;
		if (item->stream->slot && cw_switch_lingers(item->stream)) {
			linger(set);
			rise(set);
			return false;
		}
		if (!settle_item(item)) {
			cw_item_look(item);
			rise(set);
			return false;
		}
		/* Cold ones stay with the kernel; those that had bytes lately are woken with the set, or offered again. */
		if (item->idle >= IDLE_SLEEPS && !cw_item_awake(item->stream))
			cw_item_cool(item);
	}
	for (item = set->nested && depth < CW_SET_DEPTH ? set->items : NULL; item; item = item->next) {
		bool locked;

		if (!item->inner)
			continue;
		locked = cw_set_lock(item->inner);
		if (!settle(item->inner, depth + 1)) {
			cw_set_unlock(item->inner, locked);
			rise_nested(set, item);
			rise(set);
			return false;
		}
		cw_set_unlock(item->inner, locked);
	}
	return true;
}

bool cw_set_settle(struct cw_set *set)
{
	bool locked = cw_set_lock(set), fine = settle(set, 0);

	cw_set_unlock(set, locked);
	return fine;
}

void cw_set_rise(struct cw_set *set)
{
	bool locked = cw_set_lock(set);

	rise_nested(set, NULL);
	rise(set);
	cw_set_unlock(set, locked);
}
