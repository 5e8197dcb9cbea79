// SPDX-License-Identifier: GPL-2.0
/*
 * Bells: a count that only grows, and those who wait for it to.
 */
#include "bell.h"

#include <linux/eventfd.h>
#include <linux/poll.h>
#include <linux/slab.h>

#include "compat.h"
#include "window.h"

/* One more than count: the last one never rings (see cw_window.bell). */
struct cw_bell *cw_bells_create(u32 count)
{
	struct cw_bell *bells;
	u32 i;

	bells = kvcalloc((size_t)count + 1, sizeof(*bells), GFP_KERNEL_ACCOUNT);
	if (!bells)
		return NULL;
	for (i = 0; i <= count; i++) {
		init_waitqueue_head(&bells[i].wait);
		spin_lock_init(&bells[i].lock);
		INIT_LIST_HEAD(&bells[i].listeners);
	}
	return bells;
}

void cw_bells_free(struct cw_bell *bells)
{
	kvfree(bells);
}

static bool tell_listeners(struct cw_bell *bell)
{
	struct cw_listener *listener;
	unsigned long flags;
	bool any;

	spin_lock_irqsave(&bell->lock, flags);
	list_for_each_entry(listener, &bell->listeners, entry)
		cw_eventfd_signal(listener->eventfd);
	any = !list_empty(&bell->listeners);
	spin_unlock_irqrestore(&bell->lock, flags);
	return any;
}

/* Returns whether anybody was waiting. */
static bool ring(struct cw_window *window, struct cw_bell *bell)
{
	bool heard;

	/*
	 * The count before the look for sleepers: a sleeper queues itself and
	 * then looks at the count. wq_has_sleeper() has the barrier.
	 */
	atomic64_inc(&bell->rings);
	heard = wq_has_sleeper(&bell->wait);
	if (heard)
		wake_up_poll(&bell->wait, EPOLLIN | EPOLLRDNORM);
	heard |= tell_listeners(bell);
	if (heard)
		cw_count(window, CW_COUNT_WAKEUPS);
	return heard;
}

/**
 * cw_bell_ring() - a program of this node rings a bell of this node
 * @window: whose bell it is
 * @bell: less than @window->bells
 */
void cw_bell_ring(struct cw_window *window, u32 bell)
{
	ring(window, &window->bell[bell]);
}

/**
 * cw_bell_interrupt() - the device rings
 * @window: whose bell it is
 * @bell: less than @window->bells
 */
void cw_bell_interrupt(struct cw_window *window, u32 bell)
{
	cw_count(window, CW_COUNT_INTERRUPTS);
	if (!ring(window, &window->bell[bell]))
		cw_count(window, CW_COUNT_SPURIOUS);
}

/* Something else than a ring has changed for those who wait: they look. */
void cw_bell_rouse(struct cw_bell *bell)
{
	wake_up_poll(&bell->wait, EPOLLIN | EPOLLERR | EPOLLHUP);
}

/* Returns the eventfd that was there before; the caller puts it. */
struct eventfd_ctx *cw_bell_listen(struct cw_bell *bell,
				   struct cw_listener *listener,
				   struct eventfd_ctx *eventfd)
{
	struct eventfd_ctx *before;

	spin_lock_irq(&bell->lock);
	before = listener->eventfd;
	if (before)
		list_del(&listener->entry);
	listener->eventfd = eventfd;
	if (eventfd)
		list_add_tail(&listener->entry, &bell->listeners);
	spin_unlock_irq(&bell->lock);
	return before;
}
