/*
 * A signal handler in the middle of its own thread's hold of a set. What it changes in the set is known to the kernel at once, and noted
 * here; whoever lets go of the lock books it (cw_set_unlock), before the interrupted call returns. Until then the set tells what it had.
 */
#include "kernel.h"
#include "set_item.h"

/* A handler on top of this one is through before this goes on. */
static bool note(struct cw_set *set, const struct cw_set_note *wanted)
{
	uint32_t place = atomic_fetch_add_explicit(&set->notes, 1, memory_order_relaxed);

	if (place < CW_SET_NOTES) {
		set->note[place] = *wanted;
		return true;
	}
	atomic_fetch_sub_explicit(&set->notes, 1, memory_order_relaxed);
	return false;
}

bool cw_set_note_control(struct cw_set *set, int operation, int fd, const struct epoll_event *event)
{
	struct cw_set_note wanted = {.operation = operation, .fd = fd, .entry = cw_table_peek(fd)};

	if (operation != EPOLL_CTL_DEL)
		wanted.event = *event;
	return note(set, &wanted);
}

bool cw_set_note_closed(struct cw_set *set, const void *closed)
{
	for (uint32_t i = 0; i < atomic_load_explicit(&set->notes, memory_order_relaxed); i++)
		if (set->note[i].closed == closed)
			return true;
	return note(set, &(struct cw_set_note){.closed = closed});
}

static void forget_closed(struct cw_set *set, const void *closed)
{
	struct cw_item *item, *next;

	for (item = set->items; item; item = next) {
		next = item->next;
		if (item->stream == closed || item->datagram == closed)
			cw_item_forget(item);
	}
}

/* False: there is no room to book it. */
static bool book(struct cw_set *set, struct cw_set_note *made)
{
	if (made->closed) {
		forget_closed(set, made->closed);
		return true;
	}
	if (cw_table_peek(made->fd) != made->entry)
		return true; /* the handler has closed it as well */
	/* What was interrupted may have been about to take an earlier registration of the number out of the kernel's set. */
	if (made->operation == EPOLL_CTL_ADD)
		cw_raw(SYS_epoll_ctl, set->epfd, EPOLL_CTL_ADD, made->fd, (long)&made->event, 0, 0);
	return cw_set_book(set, made->operation, made->fd, &made->event);
}

void cw_set_catch_up(struct cw_set *set)
{
	int left[CW_SET_NOTES];
	uint32_t done = 0, count = 0, all;
	bool locked = cw_set_lock(set);

	if (!locked)
		return; /* we are in a handler, and what is below does it */
	all = atomic_load_explicit(&set->notes, memory_order_relaxed);
	do
		for (; done < all && done < CW_SET_NOTES; done++)
			if (!book(set, &set->note[done]))
				left[count++] = set->note[done].fd;
	while (!atomic_compare_exchange_strong_explicit(&set->notes, &all, 0, memory_order_relaxed, memory_order_relaxed));
	cw_set_unlock(set, locked);
	while (count)
		cw_set_leave_to_kernel(left[--count]);
	cw_set_end_orphan(set);
}
