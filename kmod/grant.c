// SPDX-License-Identifier: GPL-2.0
/*
 * The life of grants: made, listed, revoked, freed.
 *
 * Locks, in their order: window->lock, (mmap_lock), grant->lock.
 */
#include "grant.h"

#include <linux/err.h>
#include <linux/eventfd.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/overflow.h>
#include <linux/slab.h>

#include "inode.h"
#include "window.h"

/* A bound on what one window's holder can make of the kernel's memory. */
#define GRANTS_MAX 65536

static int check_range(struct cw_window *window,
		       const struct causeway_grant *request)
{
	u64 end;

	if (check_add_overflow(request->offset, request->length, &end))
		return -EINVAL;
	if (end > (u64)window->pages << PAGE_SHIFT)
		return -EINVAL;
	if (!PAGE_ALIGNED(request->offset) || !PAGE_ALIGNED(request->length))
		return -EINVAL;
	/* A range and the right to it come together. */
	if (!request->length != !(request->rights & CAUSEWAY_MAY_READ))
		return -EINVAL;
	if (!request->length && request->offset)
		return -EINVAL;
	return 0;
}

static int check_bells(struct cw_window *window,
		       const struct causeway_grant *request)
{
	if (request->rights & CAUSEWAY_MAY_WAIT) {
		if (request->wait_bell >= window->bells)
			return -EINVAL;
	} else if (request->wait_bell != CAUSEWAY_NONE) {
		return -EINVAL;
	}

	if (request->rights & CAUSEWAY_MAY_RING) {
		if (!window->ops->may_ring(window, request->ring_peer,
					   request->ring_bell))
			return -EINVAL;
	} else if (request->ring_peer != CAUSEWAY_NONE ||
		   request->ring_bell != CAUSEWAY_NONE) {
		return -EINVAL;
	}
	return 0;
}

static int check(struct cw_window *window, const struct causeway_grant *request)
{
	int err;

	if (!request->rights || request->rights & ~CAUSEWAY_RIGHTS)
		return -EINVAL;
	if (request->rights & CAUSEWAY_MAY_WRITE &&
	    !(request->rights & CAUSEWAY_MAY_READ))
		return -EINVAL;
	err = check_range(window, request);
	return err ?: check_bells(window, request);
}

static struct cw_grant *grant_alloc(struct cw_window *window,
				    const struct causeway_grant *request)
{
	struct cw_grant *grant;

	grant = kzalloc(sizeof(*grant), GFP_KERNEL_ACCOUNT);
	if (!grant)
		return NULL;
	grant->window = window;
	grant->first = request->offset >> PAGE_SHIFT;
	grant->pages = request->length >> PAGE_SHIFT;
	grant->rights = request->rights;
	grant->wait_bell = request->wait_bell;
	grant->ring_peer = request->ring_peer;
	grant->ring_bell = request->ring_bell;
	/* Without a bell it waits for nothing but its end. */
	grant->bell = &window->bell[request->rights & CAUSEWAY_MAY_WAIT ?
					    request->wait_bell :
					    window->bells];
	atomic64_set(&grant->seen, atomic64_read(&grant->bell->rings));
	init_rwsem(&grant->lock);
	xa_init(&grant->dead);
	return grant;
}

/* From here on it is found by who lists and revokes. */
static int grant_publish(struct cw_grant *grant)
{
	struct cw_window *window = grant->window;
	int id;

	mutex_lock(&window->lock);
	if (window->gone) {
		id = -ENODEV;
	} else {
		id = idr_alloc_cyclic(&window->grants, grant, 1, GRANTS_MAX + 1,
				      GFP_KERNEL_ACCOUNT);
	}
	if (id > 0) {
		grant->id = id;
		window->living++;
	}
	mutex_unlock(&window->lock);
	if (id < 0)
		return id;
	cw_count(window, CW_COUNT_GRANTS);
	return 0;
}

static void grant_withdraw(struct cw_grant *grant)
{
	struct cw_window *window = grant->window;

	mutex_lock(&window->lock);
	if (grant->id) {
		idr_remove(&window->grants, grant->id);
		window->living -= grant->state == CAUSEWAY_LIVE;
	}
	mutex_unlock(&window->lock);
}

/**
 * cw_grant_create() - make a grant
 * @window: of which the caller holds a descriptor
 * @request: is given the grant's id
 *
 * Return: the file that it lives by, or an error.
 */
struct file *cw_grant_create(struct cw_window *window,
			     struct causeway_grant *request)
{
	int mode = request->rights & CAUSEWAY_MAY_WRITE ? O_RDWR : O_RDONLY;
	struct cw_grant *grant;
	struct file *file;
	int err;

	err = check(window, request);
	if (err)
		return ERR_PTR(err);
	err = cw_window_enter(window);
	if (err)
		return ERR_PTR(err);
	err = -ENOMEM;
	grant = grant_alloc(window, request);
	if (!grant)
		goto err_window;
	file = cw_file_create("causeway-grant", &cw_grant_fops, grant, mode);
	if (IS_ERR(file)) {
		err = PTR_ERR(file);
		goto err_grant;
	}
	grant->mapping = file->f_mapping;

	/* The file owns the grant, and with it the place among the users. */
	err = grant_publish(grant);
	if (err) {
		fput(file);
		return ERR_PTR(err);
	}
	request->id = grant->id;
	return file;

err_grant:
	kfree(grant);
err_window:
	cw_window_leave(window);
	return ERR_PTR(err);
}

/* The file is closed, so nothing is mapped, and nobody waits. */
void cw_grant_free(struct cw_grant *grant)
{
	struct cw_window *window = grant->window;
	struct eventfd_ctx *eventfd;
	unsigned long index;
	struct page *page;

	grant_withdraw(grant);
	eventfd = cw_bell_listen(grant->bell, &grant->listener, NULL);
	if (eventfd)
		eventfd_ctx_put(eventfd);
	xa_for_each(&grant->dead, index, page)
		__free_page(page);
	xa_destroy(&grant->dead);
	kfree(grant);
	cw_window_leave(window);
}

/**
 * cw_grant_hold() - the grant stays living until cw_grant_let()
 * @grant: of which the caller holds the file
 *
 * Return: 0; or, with nothing held, why it is dead.
 */
int cw_grant_hold(struct cw_grant *grant)
{
	down_read(&grant->lock);
	if (grant->state == CAUSEWAY_LIVE)
		return 0;
	up_read(&grant->lock);
	return READ_ONCE(grant->state) == CAUSEWAY_GONE ? -ENODEV : -EIO;
}

void cw_grant_let(struct cw_grant *grant)
{
	up_read(&grant->lock);
}

/**
 * cw_grant_end() - nothing touches the window by this grant any more
 * @grant: in its window's list, and the window is locked
 * @state: why
 *
 * Who comes into a fault from here on is given the dead page; those who were
 * in one have ended when the lock is had, so that none can map a page of the
 * window behind the back of the unmapping.
 *
 * Return: whether it was living.
 */
bool cw_grant_end(struct cw_grant *grant, enum causeway_state state)
{
	bool living;

	down_write(&grant->lock);
	living = grant->state == CAUSEWAY_LIVE;
	if (grant->state < state)
		WRITE_ONCE(grant->state, state);
	up_write(&grant->lock);

	if (living)
		unmap_mapping_range(grant->mapping, 0, 0, 1);
	cw_bell_rouse(grant->bell);
	return living;
}

/**
 * cw_grants_revoke() - revoke one grant, or all
 * @window: which is locked here
 * @id: CAUSEWAY_NONE for all
 *
 * Return: how many were living.
 */
u32 cw_grants_revoke(struct cw_window *window, u32 id)
{
	struct cw_grant *grant;
	u32 revoked = 0;
	int i;

	mutex_lock(&window->lock);
	if (id == CAUSEWAY_NONE) {
		idr_for_each_entry(&window->grants, grant, i) {
			revoked += cw_grant_end(grant, CAUSEWAY_REVOKED);
			cond_resched();
		}
	} else {
		grant = idr_find(&window->grants, id);
		if (grant)
			revoked = cw_grant_end(grant, CAUSEWAY_REVOKED);
	}
	window->living -= revoked;
	mutex_unlock(&window->lock);
	atomic64_add(revoked, &window->counter[CW_COUNT_REVOCATIONS]);
	return revoked;
}

void cw_grant_info(struct cw_grant *grant, struct causeway_grant_info *info)
{
	*info = (struct causeway_grant_info){
		.id = grant->id,
		.state = READ_ONCE(grant->state),
		.offset = (u64)grant->first << PAGE_SHIFT,
		.length = (u64)grant->pages << PAGE_SHIFT,
		.rights = grant->rights,
		.wait_bell = grant->wait_bell,
		.ring_peer = grant->ring_peer,
		.ring_bell = grant->ring_bell,
		.mappings = atomic_read(&grant->mappings),
		.page_size = PAGE_SIZE,
		.generation = grant->window->generation,
	};
}

/* The grant with the lowest id that is not below info->id. */
int cw_grants_next(struct cw_window *window, struct causeway_grant_info *info)
{
	struct cw_grant *grant;
	int id = info->id;

	if (info->id > GRANTS_MAX)
		return -ENOENT;
	mutex_lock(&window->lock);
	grant = idr_get_next(&window->grants, &id);
	if (grant)
		cw_grant_info(grant, info);
	mutex_unlock(&window->lock);
	return grant ? 0 : -ENOENT;
}
