/* What the rings have for an event set. */
#include "kernel.h"
#include "ready.h"
#include "set_item.h"

/* Level-triggered, and the ring would take bytes: no need to ask the kernel, which may not even have been told of the interest. */
static bool item_writable(const struct cw_item *item)
{
	return item->armed && (item->events & (EPOLLOUT | EPOLLWRNORM)) && !(item->events & EPOLLET) && !item->stream->broken &&
	       cw_ready_to_send(item->stream);
}

/* Who has left bytes unread in the kernel is told of those that came behind them by ring: an edge. */
static bool more_behind(const struct cw_item *item)
{
	struct cw_direction *rx = item->stream->rx;
	uint64_t up = atomic_load_explicit(&rx->up, memory_order_relaxed);

	return cw_state_of(atomic_load_explicit(&rx->state, memory_order_acquire)) == CW_LIVE &&
	       (int64_t)(up - atomic_load_explicit(&rx->roff, memory_order_relaxed)) > 0 &&
	       atomic_load_explicit(&rx->widx, memory_order_acquire) != up && cw_raw_poll(cw_item_descriptor(item), POLLIN) > 0;
}

static uint32_t offers(const struct cw_item *item)
{
	return item->stream ? atomic_load_explicit(&item->stream->offers, memory_order_relaxed) : 0;
}

uint64_t cw_item_seen(const struct cw_item *item)
{
	return item->seen_offers == offers(item) ? item->seen : ~0ull;
}

bool cw_item_ready(struct cw_item *item, uint64_t *edge)
{
	if (!item->armed || !(item->events & (EPOLLIN | EPOLLRDNORM)))
		return false;
	if (!cw_ready_by_ring(item->stream, edge))
		return (item->events & EPOLLET) && *edge != cw_item_seen(item) && more_behind(item);
	return !(item->events & EPOLLET) || *edge != cw_item_seen(item);
}

void cw_item_pulse(struct cw_item *item, uint64_t edge)
{
	item->set->pulses += edge != item->pulsed || item->pulsed_offers != offers(item);
	item->pulsed = edge;
	item->pulsed_offers = offers(item);
	item->listed = true;
}

bool cw_set_ready_within(struct cw_set *set, int depth, uint64_t *pulses)
{
	struct cw_item *item;
	uint64_t edge;
	bool ready = false, locked = cw_set_lock(set);

	for (item = set->hot; item; item = item->hot_next)
		if (cw_item_ready(item, &edge)) {
			cw_item_pulse(item, edge);
			ready = true;
		}
	if (cw_set_datagrams_ready(set))
		ready = true;
	for (item = set->nested && depth < CW_SET_DEPTH ? set->items : NULL; item; item = item->next)
		if (cw_item_waits_for_inner(item) && cw_set_ready_within(item->inner, depth + 1, &edge)) {
			cw_item_pulse(item, edge);
			ready = true;
		}
	*pulses = set->pulses;
	cw_set_unlock(set, locked);
	return ready;
}

bool cw_set_ready(struct cw_set *set)
{
	uint64_t ignored;
	bool locked = cw_set_lock(set);

	cw_set_flush(set); /* its own descriptor is about to be asked for */
	cw_set_unlock(set, locked);
	return cw_set_ready_within(set, 0, &ignored);
}

/* An end, or urgent data: who sends that has left the ring. */
static bool end_in_sight(const struct cw_item *item)
{
	uint64_t word = atomic_load_explicit(&item->stream->rx->state, memory_order_relaxed);

	return (word & (CW_MARK_WRITER_SHUT | CW_MARK_WRITER_GONE | CW_MARK_LEFT)) || item->stream->shut_reading;
}

static uint32_t told(const struct cw_item *item)
{
	bool writable = cw_ready_to_send(item->stream);
	uint32_t events = EPOLLIN | EPOLLRDNORM | (writable ? EPOLLOUT | EPOLLWRNORM : 0);

	/* The other bits are the kernel's: asked for where an end is in sight, where the registration is told but once, and where what is
	 * sent goes by the kernel. */
	if (end_in_sight(item) || (item->events & EPOLLONESHOT) || (!writable && (item->events & (EPOLLOUT | EPOLLWRNORM))))
		return (events & item->events) | cw_item_by_kernel(item);
	return events & item->events;
}

/* Nothing is there, and no mark will say when there is: room to write, and bytes that are behind others in the kernel. */
static bool look_again(const struct cw_item *item)
{
	return (item->armed && (item->events & (EPOLLOUT | EPOLLWRNORM))) || cw_ready_later(item->stream);
}

/* In this round, and would be again. */
static bool was_told(struct cw_set *set, const struct cw_item *item, bool ready)
{
	bool told = item->told >= set->round && (ready || item_writable(item));

	set->repeats |= told;
	return told;
}

int cw_set_collect_streams(struct cw_set *set, int epfd, struct epoll_event *events, int max, bool *ask)
{
	struct cw_item *item, *next, *last = NULL;
	int count = 0;
	uint64_t edge;

	for (item = set->look; item && count < max; item = next) {
		bool ready = cw_item_ready(item, &edge);

		next = item->look_next;
		if (cw_unlikely(set->full) && was_told(set, item, ready))
			continue;
		cw_item_list_anew(item, item->listed && ready);
		if (ready) {
			item->seen = edge;
			item->seen_offers = offers(item);
			*ask |= (item->events & EPOLLET) != 0; /* an edge that the kernel may have too is one with this one */
			if (item->events & EPOLLET)
				cw_item_note_behind(item);
			events[count].events = told(item);
		} else if (item_writable(item)) {
			events[count].events = item->events & (EPOLLOUT | EPOLLWRNORM);
			*ask |= end_in_sight(item); /* which is the kernel's to tell */
		} else {
			if (item->view && !look_again(item))
				cw_item_unlook(item);
			continue;
		}
		events[count++].data.u64 = item->data;
		item->told = set->answer;
		set->fresh = true;
		last = item;
		if (item->events & EPOLLONESHOT)
			cw_item_disarm(item, epfd);
	}
	/* Full: who was told goes to the end, so that all have their turn. */
	if (count == max && last && last->look_next) {
		struct cw_item *first = set->look, *tail = last->look_next;

		set->look = tail;
		tail->look_before = &set->look;
		while (tail->look_next)
			tail = tail->look_next;
		tail->look_next = first;
		first->look_before = &tail->look_next;
		last->look_next = NULL;
	}
	return count;
}

/* Those that were not told since the answer `round`. */
static int collect_inner_since(struct cw_set *set, uint64_t round, int epfd, struct epoll_event *events, int max, bool *passed_over)
{
	int count = 0;

	for (struct cw_item *item = set->items; item && count < max; item = item->next) {
		uint64_t pulses;

		if (!cw_item_waits_for_inner(item))
			continue;
		if (item->told >= round) {
			*passed_over = true;
			continue;
		}
		if (!cw_set_ready_within(item->inner, 1, &pulses) || ((item->events & EPOLLET) && pulses == item->seen)) {
			item->listed = false;
			continue;
		}
		cw_item_list_anew(item, item->listed);
		item->seen = pulses;
		item->told = set->answer;
		events[count].events = item->events & (EPOLLIN | EPOLLRDNORM);
		events[count++].data.u64 = item->data;
		if (item->events & EPOLLONESHOT) {
			cw_item_disarm(item, epfd);
			cw_item_admit_inner(item);
		}
	}
	return count;
}

/* Who was told waits until all others have been. */
static int collect_inner(struct cw_set *set, int epfd, struct epoll_event *events, int max)
{
	bool passed_over = false;
	int count = !set->nested ? 0 : collect_inner_since(set, set->inner_round, epfd, events, max, &passed_over);

	if (!passed_over || count == max)
		return count;
	set->inner_round = set->answer;
	return count + collect_inner_since(set, set->answer, epfd, events + count, max - count, &passed_over);
}

/* What the rings have, up to max events, under the lock. *ask is set if the kernel's answer belongs to it. */
int cw_set_collect(struct cw_set *set, int epfd, struct epoll_event *events, int max, bool *ask)
{
	bool streams = false;
	int count = 0;

	cw_set_sweep(set);
	if (cw_likely(!set->datagrams && !set->nested))
		return cw_set_collect_streams(set, epfd, events, max, ask);
	for (unsigned i = 0; i < CW_SET_KINDS && count < max; i++) {
		switch ((set->first_kind + i) % CW_SET_KINDS) {
		case CW_SET_STREAMS:
			streams = true;
			count += cw_set_collect_streams(set, epfd, events + count, max - count, ask);
			break;
		case CW_SET_DATAGRAMS:
			count += cw_set_collect_datagrams(set, epfd, events + count, max - count, ask);
			break;
		case CW_SET_INNER:
			count += collect_inner(set, epfd, events + count, max - count);
		}
	}
	/* Full: the next begins with others. Streams that were told in this round may wait behind these. */
	if (count == max) {
		set->first_kind = (set->first_kind + 1) % CW_SET_KINDS;
		set->repeats |= set->full && !streams;
	}
	return count;
}
