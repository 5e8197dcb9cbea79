/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Windows: pieces of memory with bells, whatever they are made of.
 */
#ifndef CW_WINDOW_H
#define CW_WINDOW_H

#include <linux/cdev.h>
#include <linux/device.h>
#include <linux/idr.h>
#include <linux/mutex.h>
#include <linux/types.h>
#include <linux/uidgid.h>

#include "causeway_ioctl.h"

struct cw_bell;
struct cw_window;

/* What is counted for each window, and shown by sysfs.c; README.md says what. */
enum cw_counter {
	CW_COUNT_INTERRUPTS,
	CW_COUNT_SPURIOUS,
	CW_COUNT_RINGS,
	CW_COUNT_WAKEUPS,
	CW_COUNT_GRANTS,
	CW_COUNT_REVOCATIONS,
	CW_COUNT_FAULTS,
	CW_COUNT_DEAD_FAULTS,
	CW_COUNTERS
};

/**
 * struct cw_window_ops - what a back end has to know
 * @kind: the back end's name; a window is called this and a number
 * @vanishes: the window is removed when the last descriptor of it is closed
 * @pfn: the page frame of page @index of the window; may sleep
 * @may_ring: can there be such a bell, on this node or another one
 * @ring: ring it, after all stores made so far; may sleep; a bell that has
 *	  nobody is no error, since on most hardware nobody can tell
 * @release: the last reference to the window is gone: free it, and what it is
 *	     embedded in
 *
 * @pfn and @ring are called with a living grant only: never again once
 * cw_window_remove() has returned. See README.md, "A back end of one's own".
 */
struct cw_window_ops {
	const char *kind;
	bool vanishes;
	unsigned long (*pfn)(struct cw_window *window, pgoff_t index);
	bool (*may_ring)(struct cw_window *window, u32 peer, u32 bell);
	void (*ring)(struct cw_window *window, u32 peer, u32 bell);
	void (*release)(struct cw_window *window);
};

/**
 * struct cw_window - embedded in a back end's own structure
 * @ops: set by cw_window_init()
 * @pages: set by the back end before cw_window_add(), as the next three
 * @bells: those of this node
 * @peer: by what number others ring this node
 * @memory: how all mappings are cached
 * @owner: of the device node; root unless the back end says otherwise
 * @generation: another one for each window
 * @bell: @bells of them, and a silent one for grants that wait for none
 * @counter: by enum cw_counter
 * @lock: guards what follows
 * @grants: by their id
 * @living: how many of them can still be used
 * @users: open descriptors of the window, and of its grants
 * @gone: removed: descriptors that are left are answered with -ENODEV
 */
struct cw_window {
	const struct cw_window_ops *ops;
	unsigned long pages;
	u32 bells;
	u32 peer;
	enum causeway_memory memory;
	kuid_t owner;
	u64 generation;
	struct cw_bell *bell;
	atomic64_t counter[CW_COUNTERS];
	struct device dev;
	struct cdev cdev;
	struct mutex lock; /* of grants, living, users, gone */
	struct idr grants;
	u32 living;
	unsigned int users;
	bool gone;
};

static inline void cw_count(struct cw_window *window, enum cw_counter which)
{
	atomic64_inc(&window->counter[which]);
}

void cw_window_init(struct cw_window *window, const struct cw_window_ops *ops,
		    struct device *parent);
int cw_window_add(struct cw_window *window);
void cw_window_remove(struct cw_window *window);

int cw_window_enter(struct cw_window *window);
void cw_window_leave(struct cw_window *window);

int cw_windows_init(void);
void cw_windows_exit(void);

/* window_file.c */
extern const struct file_operations cw_window_fops;
struct file *cw_window_file(struct cw_window *window);

/* sysfs.c */
extern const struct attribute_group *cw_window_groups[];

#endif
