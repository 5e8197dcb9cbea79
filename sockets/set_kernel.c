/* What the kernel's set told, as the program would have been told it. */
#include "kernel.h"
#include "set_item.h"

/* Registrations whose interest was changed to wake a sleeper get their own back; what they told only because of it is dropped. */
static int undo_kicks(struct cw_set *set, int epfd, struct epoll_event *events, int count)
{
	struct cw_item *item;

	for (item = set->items; item; item = item->next) {
		struct epoll_event own = {.events = item->events, .data.u64 = item->data};

		if (!item->kicked)
			continue;
		item->kicked = false;
		cw_raw(SYS_epoll_ctl, epfd, EPOLL_CTL_MOD, item->fd, (long)&own, 0, 0);
		for (int i = 0; i < count; i++)
			if (events[i].data.u64 == item->data)
				events[i].events &= item->events | EPOLLERR | EPOLLHUP;
	}
	set->kicked = false;
	return count;
}

/* The kernel has told and disarmed a ONESHOT registration; if the ring had told it first, this is the second time. */
static void tell_oneshots(struct cw_set *set, struct epoll_event *events, int count)
{
	for (struct cw_item *item = set->items; item; item = item->next) {
		if (!(item->events & EPOLLONESHOT))
			continue;
		for (int i = 0; i < count; i++) {
			if (events[i].data.u64 != item->data)
				continue;
			if (!item->armed)
				events[i].events = 0;
			item->armed = false;
		}
	}
}

static int drop_empty(struct epoll_event *events, int count)
{
	int kept = 0;

	for (int i = 0; i < count; i++)
		if (events[i].events)
			events[kept++] = events[i];
	return kept;
}

int cw_set_after_kernel(struct cw_set *set, int epfd, struct epoll_event *events, int count)
{
	if (set->kicked)
		undo_kicks(set, epfd, events, count);
	if (set->oneshots)
		tell_oneshots(set, events, count);
	return drop_empty(events, count);
}

/* Two answers about one registration become one. Registrations with equal data can't be told apart by the program either. */
int cw_set_merge(struct epoll_event *events, int by_ring, int count)
{
	for (int k = by_ring; k < count; k++)
		for (int i = 0; i < by_ring; i++)
			if (events[i].data.u64 == events[k].data.u64) {
				events[i].events |= events[k].events;
				events[k].events = 0;
				break;
			}
	return by_ring + drop_empty(events + by_ring, count - by_ring);
}
