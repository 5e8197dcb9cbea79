/*
 * Waking who sleeps in a set, because a ring has something for it: a descriptor of our own, which is always ready, is in the kernel's set
 * until it has woken somebody. The program's registrations can't be used for that: none of them is ready for certain (there may be no room
 * to write), and some may not be changed (EPOLLEXCLUSIVE).
 */
#include <sys/eventfd.h>

#include "kernel.h"
#include "service_inside.h"
#include "set_item.h"

static _Atomic int waker = -1; /* an event descriptor that nobody counts up: it can be written to */

bool cw_set_is_waker(int fd)
{
	return fd >= 0 && fd == atomic_load_explicit(&waker, memory_order_relaxed) && cw_table_kind(cw_table_peek(fd)) == CW_FD_OWN;
}

static int make_waker(int known)
{
	long fd = cw_raw(SYS_eventfd2, 0, EFD_CLOEXEC | EFD_NONBLOCK, 0, 0, 0, 0);

	if (fd < 0)
		return cw_service_descriptor(); /* which can be written to as well, if it is there */
	fd = cw_service_move_high((int)fd);
	cw_table_put((int)fd, CW_FD_OWN, 0);
	if (atomic_compare_exchange_strong_explicit(&waker, &known, (int)fd, memory_order_relaxed, memory_order_relaxed))
		return (int)fd;
	cw_table_take((int)fd);
	cw_raw_close((int)fd);
	return known;
}

/* In a child it would keep a kick in a set that both have, for ever, if its parent dies before whom it woke has run. */
void cw_set_kick_after_fork(void)
{
	int fd = atomic_load_explicit(&waker, memory_order_relaxed);

	if (!cw_set_is_waker(fd))
		return;
	atomic_store_explicit(&waker, -1, memory_order_relaxed);
	cw_table_take(fd);
	cw_raw_close(fd);
}

static int ready_one(void)
{
	int fd = atomic_load_explicit(&waker, memory_order_relaxed);

	return cw_set_is_waker(fd) ? fd : make_waker(fd);
}

/* No program has our addresses for its data. */
static uint64_t mark(const struct cw_set *set)
{
	return (uintptr_t)set;
}

void cw_set_kick(struct cw_set *set)
{
	struct epoll_event event = {.events = EPOLLOUT, .data.u64 = mark(set)};

	if (set->kicked)
		return;
	set->kicked_by = ready_one();
	/* Where there is no room for it, who comes next tries again. */
	set->kicked = cw_raw(SYS_epoll_ctl, set->epfd, EPOLL_CTL_ADD, set->kicked_by, (long)&event, 0, 0) == 0;
}

void cw_set_undo_kick(struct cw_set *set)
{
	if (!set->kicked)
		return;
	set->kicked = false;
	if (cw_table_kind(cw_table_peek(set->kicked_by)) == CW_FD_OWN) /* else the program has put another in its place */
		cw_raw(SYS_epoll_ctl, set->epfd, EPOLL_CTL_DEL, set->kicked_by, 0, 0, 0);
}

bool cw_set_is_kick(const struct cw_set *set, const struct epoll_event *event)
{
	return event->data.u64 == mark(set);
}

void cw_set_take_kick(struct cw_set *set, struct epoll_event *events, int count)
{
	for (int i = 0; i < count; i++)
		if (cw_set_is_kick(set, &events[i])) {
			events[i].events = 0;
			cw_set_undo_kick(set);
			atomic_store_explicit(&set->owed, true, memory_order_relaxed);
		}
}

void cw_set_kick_on(struct cw_set *set)
{
	bool locked = cw_set_lock(set);
	bool owed = atomic_load_explicit(&set->owed, memory_order_relaxed) && set->sleepers;

	if (owed)
		cw_set_kick(set);
	atomic_store_explicit(&set->owed, owed && !set->kicked, memory_order_relaxed);
	cw_set_unlock(set, locked);
}
