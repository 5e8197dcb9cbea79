// SPDX-License-Identifier: GPL-2.0
/*
 * The life of windows: a device node and a directory in sysfs while they are
 * there; an orphan after that, for as long as descriptors are left.
 */
#include "window.h"

#include <linux/err.h>
#include <linux/fs.h>
#include <linux/module.h>
#include <linux/random.h>
#include <linux/slab.h>
#include <linux/wait.h>

#include "bell.h"
#include "compat.h"
#include "grant.h"

#define WINDOWS_MAX 256

static struct class *class;
static dev_t first_number;
static DEFINE_IDA(numbers);

/* Windows that aren't freed yet: the module's code is needed until then. */
static atomic_t windows = ATOMIC_INIT(0);
static DECLARE_WAIT_QUEUE_HEAD(windows_wait);

static char *device_node(cw_const_device *dev, umode_t *mode, kuid_t *uid,
			 kgid_t *gid)
{
	struct cw_window *window = container_of(dev, struct cw_window, dev);

	if (mode)
		*mode = 0600;
	if (uid)
		*uid = window->owner;
	return kasprintf(GFP_KERNEL, "causeway/%s", dev_name(dev));
}

static void device_release(struct device *dev)
{
	struct cw_window *window = container_of(dev, struct cw_window, dev);

	if (dev->devt)
		ida_free(&numbers, MINOR(dev->devt));
	cw_bells_free(window->bell);
	idr_destroy(&window->grants);
	mutex_destroy(&window->lock);
	window->ops->release(window);
	if (atomic_dec_and_test(&windows))
		wake_up(&windows_wait);
}

static const struct device_type device_type = {
	.name = "causeway",
	.groups = cw_window_groups,
	.devnode = device_node,
	.release = device_release,
};

/**
 * cw_window_init() - begin a window
 * @window: zeroed, embedded in a structure of the back end
 * @ops: the back end
 * @parent: the device that it is memory of, or NULL
 *
 * From here on the window is freed by put_device(&window->dev), and after
 * cw_window_add() has succeeded by cw_window_remove().
 */
void cw_window_init(struct cw_window *window, const struct cw_window_ops *ops,
		    struct device *parent)
{
	window->ops = ops;
	window->owner = GLOBAL_ROOT_UID;
	window->generation = get_random_u64();
	mutex_init(&window->lock);
	idr_init(&window->grants);
	device_initialize(&window->dev);
	window->dev.class = class;
	window->dev.type = &device_type;
	window->dev.parent = parent;
	atomic_inc(&windows);
}

/**
 * cw_window_add() - let the window be seen
 * @window: with everything that the back end sets
 */
int cw_window_add(struct cw_window *window)
{
	int number, err;

	window->bell = cw_bells_create(window->bells);
	if (!window->bell)
		return -ENOMEM;
	number = ida_alloc_max(&numbers, WINDOWS_MAX - 1, GFP_KERNEL);
	if (number < 0)
		return number;
	window->dev.devt = MKDEV(MAJOR(first_number), number);
	err = dev_set_name(&window->dev, "%s%d", window->ops->kind, number);
	if (err)
		return err;
	cdev_init(&window->cdev, &cw_window_fops);
	window->cdev.owner = THIS_MODULE;

	/* The node is there before the rest is: who opens it waits for that. */
	mutex_lock(&window->lock);
	err = cdev_device_add(&window->cdev, &window->dev);
	mutex_unlock(&window->lock);
	return err;
}

/* Returns whether it is the first to say so. */
static bool say_gone(struct cw_window *window)
{
	struct cw_grant *grant;
	int id;

	if (window->gone)
		return false;
	WRITE_ONCE(window->gone, true);
	idr_for_each_entry(&window->grants, grant, id) {
		cw_grant_end(grant, CAUSEWAY_GONE);
		cond_resched();
	}
	window->living = 0;
	return true;
}

static void unregister(struct cw_window *window)
{
	cdev_device_del(&window->cdev, &window->dev);
	put_device(&window->dev);
}

/**
 * cw_window_remove() - the window's memory and bells are no longer to be had
 * @window: was added; may be freed when this returns
 *
 * All its grants are dead, and none of them calls the back end any more.
 */
void cw_window_remove(struct cw_window *window)
{
	bool first;

	mutex_lock(&window->lock);
	first = say_gone(window);
	mutex_unlock(&window->lock);
	if (first)
		unregister(window);
}

/* One more descriptor, of the window or of a grant of it. */
int cw_window_enter(struct cw_window *window)
{
	int err = 0;

	mutex_lock(&window->lock);
	if (window->gone)
		err = -ENODEV;
	else
		window->users++;
	mutex_unlock(&window->lock);
	if (!err)
		get_device(&window->dev);
	return err;
}

void cw_window_leave(struct cw_window *window)
{
	bool last;

	mutex_lock(&window->lock);
	last = !--window->users && window->ops->vanishes && say_gone(window);
	mutex_unlock(&window->lock);
	if (last)
		unregister(window);
	put_device(&window->dev);
}

int __init cw_windows_init(void)
{
	int err;

	err = alloc_chrdev_region(&first_number, 0, WINDOWS_MAX, "causeway");
	if (err)
		return err;
	class = cw_class_create("causeway");
	if (IS_ERR(class)) {
		unregister_chrdev_region(first_number, WINDOWS_MAX);
		return PTR_ERR(class);
	}
	return 0;
}

/* No back end is left, and no descriptor: what remains is on its way. */
void cw_windows_exit(void)
{
	wait_event(windows_wait, !atomic_read(&windows));
	class_destroy(class);
	unregister_chrdev_region(first_number, WINDOWS_MAX);
	ida_destroy(&numbers);
}
