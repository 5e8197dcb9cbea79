/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Grants: a range of a window's pages, and bells, for who holds a descriptor.
 */
#ifndef CW_GRANT_H
#define CW_GRANT_H

#include <linux/atomic.h>
#include <linux/rwsem.h>
#include <linux/types.h>
#include <linux/xarray.h>

#include "bell.h"
#include "causeway_ioctl.h"

struct address_space;
struct cw_window;
struct file;
struct vm_area_struct;

/**
 * struct cw_grant - lives as long as its file
 * @window: it has a place in @window->users
 * @id: in @window->grants
 * @first: page of the window
 * @pages: 0 for a grant of bells alone
 * @rights: CAUSEWAY_MAY_*
 * @wait_bell: as given, as the next two
 * @ring_peer: and
 * @ring_bell: the bell that may be rung
 * @bell: the bell waited for, or the window's silent one
 * @seen: what read() has taken of its rings
 * @listener: an eventfd that is told of them
 * @mapping: all that is mapped through the file, in whatever process
 * @mappings: how many areas that is
 * @dead: the pages that are seen once the grant isn't living; made when touched
 * @lock: guards @state; held for reading by everything that touches the window
 * @state: enum causeway_state, goes up only
 */
struct cw_grant {
	struct cw_window *window;
	u32 id;
	pgoff_t first;
	unsigned long pages;
	u32 rights;
	u32 wait_bell;
	u32 ring_peer;
	u32 ring_bell;
	struct cw_bell *bell;
	atomic64_t seen;
	struct cw_listener listener;
	struct address_space *mapping;
	atomic_t mappings;
	struct xarray dead;
	struct rw_semaphore lock;
	enum causeway_state state;
};

struct file *cw_grant_create(struct cw_window *window,
			     struct causeway_grant *request);
void cw_grant_free(struct cw_grant *grant);
void cw_grant_info(struct cw_grant *grant, struct causeway_grant_info *info);

int cw_grant_hold(struct cw_grant *grant);
void cw_grant_let(struct cw_grant *grant);
bool cw_grant_end(struct cw_grant *grant, enum causeway_state state);

u32 cw_grants_revoke(struct cw_window *window, u32 id);
int cw_grants_next(struct cw_window *window, struct causeway_grant_info *info);

/* grant_file.c */
int cw_grant_error(struct cw_grant *grant);
extern const struct file_operations cw_grant_fops;

/* await.c */
long cw_grant_await(struct file *file, struct causeway_await __user *user);

/* map.c */
int cw_grant_mmap(struct file *file, struct vm_area_struct *vma);

#endif
