// SPDX-License-Identifier: GPL-2.0
/*
 * The back end without a device: a window is pages of this machine, its bells
 * are rung by programs of this machine. It lives while anybody holds a
 * descriptor of it, or of a grant of it.
 */
#include "loop.h"

#include <linux/cred.h>
#include <linux/err.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/nodemask.h>
#include <linux/overflow.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>

#include "bell.h"
#include "window.h"

#define LOOP_BELLS_MAX 1024

static unsigned int loop_limit_mb = 256;
module_param(loop_limit_mb, uint, 0644);
MODULE_PARM_DESC(loop_limit_mb, "memory of all loop windows, in MiB");

static atomic_long_t pages_used = ATOMIC_LONG_INIT(0);

/**
 * struct loop - a window of pages
 * @window: what it is for everybody else
 * @page: @window.pages of them; the first that is missing ends the list
 */
struct loop {
	struct cw_window window;
	struct page *page[];
};

#define to_loop(pointer) container_of(pointer, struct loop, window)

static unsigned long loop_pfn(struct cw_window *window, pgoff_t index)
{
	return page_to_pfn(to_loop(window)->page[index]);
}

static bool loop_may_ring(struct cw_window *window, u32 peer, u32 bell)
{
	return peer == window->peer && bell < window->bells;
}

static void loop_ring(struct cw_window *window, u32 peer, u32 bell)
{
	cw_bell_ring(window, bell);
}

static void loop_release(struct cw_window *window)
{
	struct loop *loop = to_loop(window);
	unsigned long i;

	for (i = 0; i < window->pages && loop->page[i]; i++)
		__free_page(loop->page[i]);
	atomic_long_sub(window->pages, &pages_used);
	kvfree(loop);
}

static const struct cw_window_ops loop_ops = {
	.kind = "loop",
	.vanishes = true,
	.pfn = loop_pfn,
	.may_ring = loop_may_ring,
	.ring = loop_ring,
	.release = loop_release,
};

static bool book_pages(unsigned long pages)
{
	unsigned long limit = (unsigned long)READ_ONCE(loop_limit_mb)
			      << (20 - PAGE_SHIFT);

	if (atomic_long_add_return(pages, &pages_used) <= limit)
		return true;
	atomic_long_sub(pages, &pages_used);
	return false;
}

static int check(const struct causeway_create *request)
{
	if (!request->size || !PAGE_ALIGNED(request->size))
		return -EINVAL;
	if (request->size >> PAGE_SHIFT > INT_MAX)
		return -ENOMEM;
	if (request->bells > LOOP_BELLS_MAX)
		return -EINVAL;
	if (request->numa_node == NUMA_NO_NODE)
		return 0;
	if (request->numa_node < 0 || request->numa_node >= MAX_NUMNODES ||
	    !node_online(request->numa_node))
		return -EINVAL;
	return 0;
}

static int fill(struct loop *loop, int node)
{
	gfp_t gfp = GFP_KERNEL_ACCOUNT | __GFP_ZERO;
	unsigned long i;

	for (i = 0; i < loop->window.pages; i++) {
		if (fatal_signal_pending(current))
			return -EINTR;
		loop->page[i] = alloc_pages_node(node, gfp, 0);
		if (!loop->page[i])
			return -ENOMEM;
		cond_resched();
	}
	return 0;
}

static struct loop *loop_alloc(const struct causeway_create *request)
{
	unsigned long pages = request->size >> PAGE_SHIFT;
	struct loop *loop;

	if (!book_pages(pages))
		return NULL;
	loop = kvzalloc(struct_size(loop, page, pages), GFP_KERNEL_ACCOUNT);
	if (!loop) {
		atomic_long_sub(pages, &pages_used);
		return NULL;
	}
	loop->window.pages = pages;
	loop->window.bells = request->bells;
	loop->window.memory = CAUSEWAY_WRITE_BACK;
	cw_window_init(&loop->window, &loop_ops, NULL);
	loop->window.owner = current_fsuid();
	return loop;
}

/**
 * cw_loop_create() - make a window
 * @request: as user space made it; is given the window's name
 *
 * Return: a window descriptor, or an error.
 */
struct file *cw_loop_create(struct causeway_create *request)
{
	struct cw_window *window;
	struct loop *loop;
	struct file *file;
	int err;

	err = check(request);
	if (err)
		return ERR_PTR(err);
	loop = loop_alloc(request);
	if (!loop)
		return ERR_PTR(-ENOMEM);
	window = &loop->window;
	err = fill(loop, request->numa_node);
	if (err)
		goto err_put;

	/* A user before it is seen, lest it vanish with the first passer-by. */
	cw_window_enter(window);
	err = cw_window_add(window);
	if (err) {
		put_device(&window->dev);
		goto err_put;
	}
	file = cw_window_file(window);
	strscpy(request->name, dev_name(&window->dev), sizeof(request->name));
	cw_window_leave(window);
	return file;

err_put:
	put_device(&window->dev);
	return ERR_PTR(err);
}
