/* An event set goes to sleep in the kernel, and wakes. */
#include "ready.h"
#include "set_item.h"
#include "switch.h"

#define IDLE_LOOKS  5
#define IDLE_SLEEPS 3 /* a stream without bytes in so many sleeps of its set is no longer looked at */

static void rise(struct cw_set *set);

static void leave_inner(struct cw_item *item, uint32_t sleepers)
{
	bool locked;

	if (item->carried <= sleepers)
		return;
	locked = cw_set_lock(item->inner);
	for (; item->carried > sleepers; item->carried--)
		rise(item->inner);
	cw_set_unlock(item->inner, locked);
}

static void rise(struct cw_set *set)
{
	struct cw_item *item;
	bool nested;

	set->sleepers -= set->sleepers > 0;
	for (item = set->nested ? set->items : NULL; item; item = item->next)
		leave_inner(item, (uint32_t)set->sleepers);
	if (set->sleepers) /* who sleeps on has yet to be woken by a kick */
		return;
	cw_set_undo_kick(set);
	cw_set_rise_datagrams(set);
	for (item = set->hot; item; item = item->hot_next)
		if (item->stream->slot && cw_ready_rises(item->stream) &&
		    cw_item_rx_lock(item->stream, cw_item_descriptor(item), &nested)) {
			/* In another set too, it may not be hot there. Whoever reads it rouses it in all of them. */
			if (!cw_switch_others_asleep(item->stream) && cw_set_alone(item->stream))
				cw_ready_rise(item->stream);
			cw_rx_unlock(item->stream, nested);
		}
}

static bool settle_item(struct cw_item *item)
{
	uint64_t edge, roff;
	bool nested, fine;

	if (!item->armed || !(item->events & (EPOLLIN | EPOLLRDNORM)))
		return true;
	if (cw_item_ready(item, &edge))
		return false;
	if (!cw_item_rx_lock(item->stream, cw_item_descriptor(item), &nested))
		return true;
	fine = cw_ready_settle(item->stream, cw_item_seen(item), item->events & EPOLLET);
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
	if (!cw_set_settle_datagrams(set)) {
		rise(set);
		return false;
	}
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
		/* Cold ones stay with the kernel; those that had bytes lately are woken with the set, or offered again, but by who sleeps
		 * between all its messages (receive_offer.c). */
		if (item->idle >= IDLE_SLEEPS ? !cw_item_awake(item->stream) : cw_item_stays(item->stream))
			cw_item_cool(item);
	}
	for (item = set->nested && depth < CW_SET_DEPTH ? set->items : NULL; item; item = item->next) {
		bool locked, fine;

		if (!cw_item_waits_for_inner(item))
			continue;
		locked = cw_set_lock(item->inner);
		fine = settle(item->inner, depth + 1);
		cw_set_unlock(item->inner, locked);
		if (!fine) {
			rise(set);
			return false;
		}
		item->carried++;
	}
	return true;
}

/* A thread sleeps around the set already: what it would be told of must wake it. */
static void settle_for_sleeper(struct cw_set *set)
{
	bool locked = cw_set_lock(set);
	struct cw_item *item, *next;

	cw_set_flush(set);
	set->sleepers++;
	for (item = set->hot; item; item = next) {
		next = item->hot_next;
		cw_item_settle_for_sleepers(item);
	}
	for (item = set->datagrams; item; item = next) {
		next = item->next_datagram;
		cw_item_admit_datagram(item);
	}
	for (item = set->nested ? set->items : NULL; item; item = item->next)
		if (item->inner)
			cw_item_admit_inner(item);
	cw_set_unlock(set, locked);
}

void cw_item_admit_inner(struct cw_item *item)
{
	uint32_t sleepers = cw_item_waits_for_inner(item) ? (uint32_t)item->set->sleepers : 0;

	leave_inner(item, sleepers);
	while (item->carried < sleepers) {
		item->carried++;
		settle_for_sleeper(item->inner);
	}
}

void cw_item_release_inner(struct cw_item *item)
{
	leave_inner(item, 0);
}

bool cw_set_settle(struct cw_set *set)
{
	bool locked = cw_set_lock(set), fine = settle(set, 0);

	cw_set_looked(set, fine);
	cw_set_unlock(set, locked);
	return fine;
}

void cw_set_rise(struct cw_set *set)
{
	bool locked = cw_set_lock(set);

	rise(set);
	cw_set_unlock(set, locked);
}
