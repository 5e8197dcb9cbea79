// SPDX-License-Identifier: GPL-2.0
/*
 * What a grant descriptor answers: read and poll for its bell, ioctl, fdinfo.
 */
#include <linux/eventfd.h>
#include <linux/fs.h>
#include <linux/module.h>
#include <linux/poll.h>
#include <linux/seq_file.h>
#include <linux/uaccess.h>

#include "grant.h"
#include "request.h"
#include "window.h"

int cw_grant_error(struct cw_grant *grant)
{
	switch (READ_ONCE(grant->state)) {
	case CAUSEWAY_GONE:
		return -ENODEV;
	case CAUSEWAY_REVOKED:
		return -EIO;
	default:
		return 0;
	}
}

static bool grant_rung(struct cw_grant *grant)
{
	return atomic64_read(&grant->bell->rings) != atomic64_read(&grant->seen);
}

/* The rings since the last time, each told once; 0 if there are none. */
static u64 grant_take_rings(struct cw_grant *grant)
{
	s64 seen = atomic64_read(&grant->seen), rings;

	do {
		rings = atomic64_read(&grant->bell->rings);
		if (rings == seen)
			return 0;
	} while (!atomic64_try_cmpxchg(&grant->seen, &seen, rings));
	return rings - seen;
}

/* As an eventfd: eight bytes, how often it was rung. */
static ssize_t grant_read(struct file *file, char __user *to, size_t size,
			  loff_t *offset)
{
	struct cw_grant *grant = file->private_data;
	u64 rings;
	int err;

	if (!(grant->rights & CAUSEWAY_MAY_WAIT))
		return -EPERM;
	if (size < sizeof(rings))
		return -EINVAL;
	for (;;) {
		err = cw_grant_error(grant);
		if (err)
			return err;
		rings = grant_take_rings(grant);
		if (rings)
			break;
		if (file->f_flags & O_NONBLOCK)
			return -EAGAIN;
		err = wait_event_interruptible(grant->bell->wait,
					       grant_rung(grant) ||
						       cw_grant_error(grant));
		if (err)
			return err;
	}
	return put_user(rings, (u64 __user *)to) ?: sizeof(rings);
}

static __poll_t grant_poll(struct file *file, struct poll_table_struct *table)
{
	struct cw_grant *grant = file->private_data;
	__poll_t events = 0;

	poll_wait(file, &grant->bell->wait, table);
	/* Queued before the count is looked at: pairs with wq_has_sleeper(). */
	smp_mb();
	switch (cw_grant_error(grant)) {
	case -ENODEV:
		events |= EPOLLHUP;
		fallthrough;
	case -EIO:
		events |= EPOLLERR;
	}
	if (grant->rights & CAUSEWAY_MAY_WAIT && grant_rung(grant))
		events |= EPOLLIN | EPOLLRDNORM;
	return events;
}

static long grant_ring(struct cw_grant *grant)
{
	struct cw_window *window = grant->window;
	int err;

	if (!(grant->rights & CAUSEWAY_MAY_RING))
		return -EPERM;
	err = cw_grant_hold(grant);
	if (err)
		return err;
	cw_count(window, CW_COUNT_RINGS);
	window->ops->ring(window, grant->ring_peer, grant->ring_bell);
	cw_grant_let(grant);
	return 0;
}

static long grant_eventfd(struct cw_grant *grant,
			  struct causeway_eventfd __user *user)
{
	struct causeway_eventfd request;
	struct eventfd_ctx *eventfd = NULL;

	if (copy_from_user(&request, user, sizeof(request)))
		return -EFAULT;
	if (!cw_all_zero(request.reserved) || request.fd < -1)
		return -EINVAL;
	if (!(grant->rights & CAUSEWAY_MAY_WAIT))
		return -EPERM;
	if (request.fd >= 0) {
		eventfd = eventfd_ctx_fdget(request.fd);
		if (IS_ERR(eventfd))
			return PTR_ERR(eventfd);
	}
	eventfd = cw_bell_listen(grant->bell, &grant->listener, eventfd);
	if (eventfd)
		eventfd_ctx_put(eventfd);
	return 0;
}

static long grant_info(struct cw_grant *grant,
		       struct causeway_grant_info __user *user)
{
	struct causeway_grant_info info;

	cw_grant_info(grant, &info);
	return copy_to_user(user, &info, sizeof(info)) ? -EFAULT : 0;
}

static long grant_ioctl(struct file *file, unsigned int request,
			unsigned long argument)
{
	struct cw_grant *grant = file->private_data;
	void __user *user = (void __user *)argument;

	switch (request) {
	case CAUSEWAY_IOC_VERSION:
		return cw_request_version(user);
	case CAUSEWAY_IOC_INFO:
		return grant_info(grant, user);
	case CAUSEWAY_IOC_RING:
		return argument ? -EINVAL : grant_ring(grant);
	case CAUSEWAY_IOC_EVENTFD:
		return grant_eventfd(grant, user);
	case CAUSEWAY_IOC_AWAIT:
		return cw_grant_await(file, user);
	default:
		return -ENOTTY;
	}
}

static void grant_show(struct seq_file *to, struct file *file)
{
	static const char *const states[] = { "living", "revoked", "gone" };
	struct cw_grant *grant = file->private_data;

	seq_printf(to, "causeway-window:\t%s\n", dev_name(&grant->window->dev));
	seq_printf(to, "causeway-id:\t%u\n", grant->id);
	seq_printf(to, "causeway-state:\t%s\n",
		   states[READ_ONCE(grant->state)]);
	seq_printf(to, "causeway-pages:\t%lu+%lu\n", grant->first,
		   grant->pages);
	seq_printf(to, "causeway-rights:\t%s%s%s%s\n",
		   grant->rights & CAUSEWAY_MAY_READ ? "read " : "",
		   grant->rights & CAUSEWAY_MAY_WRITE ? "write " : "",
		   grant->rights & CAUSEWAY_MAY_WAIT ? "wait " : "",
		   grant->rights & CAUSEWAY_MAY_RING ? "ring " : "");
}

static int grant_release(struct inode *inode, struct file *file)
{
	cw_grant_free(file->private_data);
	return 0;
}

const struct file_operations cw_grant_fops = {
	.owner = THIS_MODULE,
	.read = grant_read,
	.poll = grant_poll,
	.mmap = cw_grant_mmap,
	.unlocked_ioctl = grant_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
	.show_fdinfo = grant_show,
	.release = grant_release,
};
