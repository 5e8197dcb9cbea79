/*
 * Datagram sockets in event sets. A set looks at all of its own that have flows by ring; before a thread sleeps in the set each of them is
 * told so (cw_datagram_settle), and each such telling is taken back once, when the last sleeper has woken or the registration is forgotten.
 */
#include "datagram.h"
#include "kernel.h"
#include "service.h"
#include "set_item.h"

#define INPUT  (EPOLLIN | EPOLLRDNORM)
#define OUTPUT (EPOLLOUT | EPOLLWRNORM)

void cw_set_add_datagram(struct cw_set *set, struct cw_item *item)
{
	item->next_datagram = set->datagrams;
	if (set->datagrams)
		set->datagrams->before_datagram = &item->next_datagram;
	set->datagrams = item;
	item->before_datagram = &set->datagrams;
	atomic_fetch_add_explicit(&item->datagram->registered, 1, memory_order_relaxed);
	if (set->shared) /* another process may sleep in it */
		cw_datagram_leave(item->datagram, cw_item_descriptor(item), CW_REASON_inherited);
}

static void rise(struct cw_item *item)
{
	if (item->settled)
		cw_datagram_rise(item->datagram);
	item->settled = false;
}

void cw_set_remove_datagram(struct cw_item *item)
{
	rise(item);
	*item->before_datagram = item->next_datagram;
	if (item->next_datagram)
		item->next_datagram->before_datagram = item->before_datagram;
	atomic_fetch_sub_explicit(&item->datagram->registered, 1, memory_order_relaxed);
}

bool cw_set_has_datagrams(struct cw_set *set)
{
	bool locked, some = false;

	if (!set->datagrams)
		return false;
	if (cw_service_has_mail())
		cw_service_take_mail();
	if (!atomic_load_explicit(&cw_flows_in, memory_order_relaxed))
		return false;
	locked = cw_set_lock(set);
	for (const struct cw_item *item = set->datagrams; item && !some; item = item->next_datagram)
		some = atomic_load_explicit(&item->datagram->moved_in, memory_order_relaxed) != 0;
	cw_set_unlock(set, locked);
	return some;
}

static bool is_ready(struct cw_item *item, uint64_t *edge)
{
	if (!item->armed || !(item->events & INPUT))
		return false;
	if (item->events & EPOLLET)
		return cw_datagram_has_news(item->datagram, item->seen, edge);
	return cw_datagram_ready(item->datagram, edge);
}

bool cw_set_datagrams_ready(struct cw_set *set)
{
	bool ready = false;
	uint64_t edge;

	for (struct cw_item *item = set->datagrams; item; item = item->next_datagram)
		if (is_ready(item, &edge)) {
			cw_item_pulse(item, edge);
			ready = true;
		}
	return ready;
}

/* What is beside the ring's readiness, the kernel knows. */
static uint32_t told(const struct cw_item *item)
{
	uint32_t events = item->events & INPUT;

	if ((item->events & (OUTPUT | EPOLLONESHOT | EPOLLET)) || !cw_datagram_known(item->datagram))
		events |= cw_item_by_kernel(item);
	return events;
}

int cw_set_collect_datagrams(struct cw_set *set, int epfd, struct epoll_event *events, int max, bool *ask)
{
	struct cw_item *item, *next;
	uint64_t edge;
	int count = 0;

	if (!atomic_load_explicit(&cw_flows_in, memory_order_relaxed))
		return 0;
	for (item = set->datagrams; item && count < max; item = next) {
		next = item->next_datagram;
		if (!is_ready(item, &edge)) {
			item->listed = false;
			continue;
		}
		cw_item_list_anew(item, item->listed);
		item->seen = edge;
		*ask |= (item->events & EPOLLET) != 0;
		events[count].events = told(item);
		events[count++].data.u64 = item->data;
		if (item->events & EPOLLONESHOT)
			cw_item_disarm(item, epfd);
	}
	/* Full: the list goes on behind who was told last, so that all have their turn. */
	if (count == max && item) {
		struct cw_item *last = item;

		while (last->next_datagram)
			last = last->next_datagram;
		*item->before_datagram = NULL;
		last->next_datagram = set->datagrams;
		set->datagrams->before_datagram = &last->next_datagram;
		set->datagrams = item;
		item->before_datagram = &set->datagrams;
	}
	return count;
}

void cw_set_offer_datagrams(struct cw_set *set)
{
	bool locked;

	if (!set->datagrams || !atomic_load_explicit(&cw_flows_in, memory_order_relaxed))
		return;
	locked = cw_set_lock(set);
	for (struct cw_item *item = set->datagrams; item && !set->sleepers; item = item->next_datagram)
		if (item->armed && item->datagram->moved_in)
			cw_datagram_offer(item->datagram);
	cw_set_unlock(set, locked);
}

static bool settle(struct cw_item *item)
{
	/* Who isn't waited for is not told of either; a MOD that asks for it settles it. */
	if (item->settled || !item->armed || !(item->events & INPUT))
		return true;
	item->settled = cw_datagram_settle(item->datagram, item->events & EPOLLET, item->seen);
	return item->settled;
}

bool cw_set_settle_datagrams(struct cw_set *set)
{
	for (struct cw_item *item = set->datagrams; item; item = item->next_datagram)
		if (!settle(item))
			return false; /* the set rises, and they with it */
	return true;
}

void cw_set_rise_datagrams(struct cw_set *set)
{
	for (struct cw_item *item = set->datagrams; item; item = item->next_datagram)
		rise(item);
}

void cw_item_admit_datagram(struct cw_item *item)
{
	rise(item); /* settled for what it was before */
	if (item->set->sleepers && !settle(item))
		cw_set_kick(item->set);
}

/* Another process gets the set. */
void cw_set_leave_datagrams(struct cw_set *set)
{
	bool locked = cw_set_lock(set);

	for (struct cw_item *item = set->datagrams; item; item = item->next_datagram)
		cw_datagram_leave(item->datagram, cw_item_descriptor(item), CW_REASON_passed);
	cw_set_unlock(set, locked);
}

void cw_set_forget_datagram(struct cw_datagram *socket, int fd, bool last)
{
	uint32_t used = atomic_load_explicit(&cw_sets_used, memory_order_relaxed);

	/* While another descriptor of the socket lives, the kernel goes on telling of this registration, and so do we. */
	for (uint32_t i = 0; last && i < used && atomic_load_explicit(&socket->registered, memory_order_relaxed); i++) {
		struct cw_item *item, *next;
		bool locked;

		if (!cw_sets[i].datagrams)
			continue;
		locked = cw_set_lock(&cw_sets[i]);
		if (!locked && cw_set_note_closed(&cw_sets[i], socket))
			continue;
		for (item = cw_sets[i].datagrams; item; item = next) {
			next = item->next_datagram;
			if (item->datagram == socket)
				cw_item_forget(item);
		}
		cw_set_unlock(&cw_sets[i], locked);
	}
}
