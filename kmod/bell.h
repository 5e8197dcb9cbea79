/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Bells: what threads of this node wait for. Rung by an interrupt, or by a
 * program of this node; may be rung in any context.
 */
#ifndef CW_BELL_H
#define CW_BELL_H

#include <linux/atomic.h>
#include <linux/list.h>
#include <linux/spinlock.h>
#include <linux/types.h>
#include <linux/wait.h>

struct cw_window;
struct eventfd_ctx;

/**
 * struct cw_bell - one of a window's
 * @rings: how often it was rung; each grant remembers what it has seen of it
 * @wait: read and poll of all grants that wait for it
 * @lock: guards @listeners
 * @listeners: eventfds that are told too
 */
struct cw_bell {
	atomic64_t rings;
	wait_queue_head_t wait;
	spinlock_t lock; /* of listeners; taken in interrupts */
	struct list_head listeners;
};

/**
 * struct cw_listener - an eventfd of a grant
 * @entry: in the bell's list while @eventfd is there
 * @eventfd: guarded by the bell's lock
 */
struct cw_listener {
	struct list_head entry;
	struct eventfd_ctx *eventfd;
};

struct cw_bell *cw_bells_create(u32 count);
void cw_bells_free(struct cw_bell *bells);

void cw_bell_ring(struct cw_window *window, u32 bell);
void cw_bell_interrupt(struct cw_window *window, u32 bell);
void cw_bell_rouse(struct cw_bell *bell);

struct eventfd_ctx *cw_bell_listen(struct cw_bell *bell,
				   struct cw_listener *listener,
				   struct eventfd_ctx *eventfd);

#endif
