// SPDX-License-Identifier: GPL-2.0
/*
 * A sleep that ends by a ring of a grant's bell, or by what another descriptor
 * has. Nothing of it is kept in the grant, so any number of threads sleep on
 * one grant, each by the count that it has seen. It is restarted after
 * a signal where a blocking receive would be.
 */
#include <linux/file.h>
#include <linux/hrtimer.h>
#include <linux/poll.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "grant.h"

#define SLACK_NS 50000

/**
 * struct sleep - one of them
 * @table: what wakes it
 * @file: the other descriptor's, or NULL
 * @want: what of @file ends it
 * @found: what of that is there
 * @rings: the bell's count, as last looked at
 */
struct sleep {
	struct poll_wqueues table;
	struct file *file;
	__poll_t want;
	__poll_t found;
	u64 rings;
};

static bool over(struct sleep *sleep, struct cw_grant *grant, u64 seen)
{
	if (sleep->file)
		sleep->found = vfs_poll(sleep->file, &sleep->table.pt) &
			       sleep->want;
	sleep->rings = atomic64_read(&grant->bell->rings);
	/* Queued everywhere once. */
	sleep->table.pt._qproc = NULL;
	return sleep->found || sleep->rings != seen || cw_grant_error(grant);
}

/* Until somebody wakes us, for whatever reason; false: the time is over. */
static bool turn(struct sleep *sleep, ktime_t *deadline)
{
	bool woken = true;

	set_current_state(TASK_INTERRUPTIBLE);
	if (!sleep->table.triggered)
		woken = schedule_hrtimeout_range(deadline, SLACK_NS,
						 HRTIMER_MODE_ABS);
	__set_current_state(TASK_RUNNING);
	/* As poll does: what is told from here on is looked for. */
	smp_store_mb(sleep->table.triggered, 0);
	return woken;
}

static int sleep_for(struct file *file, struct sleep *sleep,
		     const struct causeway_await *request)
{
	struct cw_grant *grant = file->private_data;
	ktime_t deadline = ns_to_ktime(request->deadline);
	int err = 0;

	poll_initwait(&sleep->table);
	sleep->want = demangle_poll(request->events) | EPOLLERR | EPOLLHUP;
	sleep->table.pt._key = EPOLLIN;
	poll_wait(file, &grant->bell->wait, &sleep->table.pt);
	/* Queued before the count is looked at: pairs with wq_has_sleeper(). */
	smp_mb();
	sleep->table.pt._key = sleep->want;
	while (!over(sleep, grant, request->rings)) {
		if (signal_pending(current)) {
			err = request->flags & CAUSEWAY_AWAIT_ONCE ?
				      -EINTR :
				      -ERESTARTSYS;
			break;
		}
		if (!turn(sleep, &deadline)) {
			over(sleep, grant, request->rings);
			break;
		}
	}
	if (!err)
		err = sleep->table.error ?: cw_grant_error(grant);
	poll_freewait(&sleep->table);
	return err;
}

static bool sound(const struct causeway_await *request)
{
	return !request->reserved && request->fd >= -1 &&
	       !(request->flags & ~CAUSEWAY_AWAIT_ONCE) &&
	       request->deadline <= S64_MAX && !(request->events & ~0x7fffu);
}

/**
 * cw_grant_await() - CAUSEWAY_IOC_AWAIT
 * @file: the grant's
 * @user: what is waited for, and then what came
 *
 * Return: 0, also when the time is over, or -errno
 */
long cw_grant_await(struct file *file, struct causeway_await __user *user)
{
	struct cw_grant *grant = file->private_data;
	struct causeway_await request;
	struct sleep *sleep;
	int err;

	if (copy_from_user(&request, user, sizeof(request)))
		return -EFAULT;
	if (!sound(&request))
		return -EINVAL;
	if (!(grant->rights & CAUSEWAY_MAY_WAIT))
		return -EPERM;
	/* Too large for the stack. */
	sleep = kzalloc(sizeof(*sleep), GFP_KERNEL);
	if (!sleep)
		return -ENOMEM;
	err = -EBADF;
	if (request.fd >= 0)
		sleep->file = fget(request.fd);
	if (request.fd < 0 || sleep->file)
		err = sleep_for(file, sleep, &request);
	if (sleep->file)
		fput(sleep->file);
	request.rings = sleep->rings;
	request.events = mangle_poll(sleep->found);
	kfree(sleep);
	if (!err && copy_to_user(user, &request, sizeof(request)))
		return -EFAULT;
	return err;
}
