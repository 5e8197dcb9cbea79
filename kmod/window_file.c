// SPDX-License-Identifier: GPL-2.0
/*
 * What a window descriptor answers. It is had by opening the window's node, or
 * by making the window. It gives grants; it maps nothing itself.
 */
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/module.h>
#include <linux/seq_file.h>
#include <linux/uaccess.h>

#include "grant.h"
#include "inode.h"
#include "request.h"
#include "window.h"

static long window_info(struct cw_window *window,
			struct causeway_window __user *user)
{
	struct causeway_window info = {
		.size = (u64)window->pages << PAGE_SHIFT,
		.generation = window->generation,
		.page_size = PAGE_SIZE,
		.bells = window->bells,
		.peer = window->peer,
		.memory = window->memory,
		.grants = READ_ONCE(window->living),
	};

	if (READ_ONCE(window->gone))
		return -ENODEV;
	strscpy(info.name, dev_name(&window->dev), sizeof(info.name));
	strscpy(info.kind, window->ops->kind, sizeof(info.kind));
	return copy_to_user(user, &info, sizeof(info)) ? -EFAULT : 0;
}

static long window_grant(struct cw_window *window,
			 struct causeway_grant __user *user)
{
	struct causeway_grant request;
	struct file *file;
	int fd;

	if (copy_from_user(&request, user, sizeof(request)))
		return -EFAULT;
	if (request.flags || !cw_all_zero(request.reserved))
		return -EINVAL;
	fd = get_unused_fd_flags(O_CLOEXEC);
	if (fd < 0)
		return fd;
	file = cw_grant_create(window, &request);
	request.fd = fd;
	return cw_request_give(file, fd, user, &request, sizeof(request));
}

static long window_revoke(struct cw_window *window,
			  struct causeway_revoke __user *user)
{
	struct causeway_revoke request;

	if (copy_from_user(&request, user, sizeof(request)))
		return -EFAULT;
	if (request.flags || request.reserved)
		return -EINVAL;
	request.revoked = cw_grants_revoke(window, request.id);
	if (copy_to_user(user, &request, sizeof(request)))
		return -EFAULT;
	return request.revoked || request.id == CAUSEWAY_NONE ? 0 : -ENOENT;
}

static long window_next(struct cw_window *window,
			struct causeway_grant_info __user *user)
{
	struct causeway_grant_info info;
	int err;

	if (copy_from_user(&info, user, sizeof(info)))
		return -EFAULT;
	if (!cw_all_zero(info.reserved))
		return -EINVAL;
	err = cw_grants_next(window, &info);
	if (err)
		return err;
	return copy_to_user(user, &info, sizeof(info)) ? -EFAULT : 0;
}

/* A device's window goes with its device, not because somebody asks. */
static long window_remove(struct cw_window *window)
{
	if (!window->ops->vanishes)
		return -EOPNOTSUPP;
	cw_window_remove(window);
	return 0;
}

static long window_ioctl(struct file *file, unsigned int request,
			 unsigned long argument)
{
	struct cw_window *window = file->private_data;
	void __user *user = (void __user *)argument;

	switch (request) {
	case CAUSEWAY_IOC_VERSION:
		return cw_request_version(user);
	case CAUSEWAY_IOC_WINDOW:
		return window_info(window, user);
	case CAUSEWAY_IOC_NEXT:
		return window_next(window, user);
	}

	/* What follows changes something. */
	switch (request) {
	case CAUSEWAY_IOC_GRANT:
	case CAUSEWAY_IOC_REVOKE:
	case CAUSEWAY_IOC_REMOVE:
		if (!(file->f_mode & FMODE_WRITE))
			return -EACCES;
	}
	switch (request) {
	case CAUSEWAY_IOC_GRANT:
		return window_grant(window, user);
	case CAUSEWAY_IOC_REVOKE:
		return window_revoke(window, user);
	case CAUSEWAY_IOC_REMOVE:
		return argument ? -EINVAL : window_remove(window);
	default:
		return -ENOTTY;
	}
}

static int window_open(struct inode *inode, struct file *file)
{
	struct cw_window *window =
		container_of(inode->i_cdev, struct cw_window, cdev);
	int err;

	err = cw_window_enter(window);
	if (err)
		return err;
	file->private_data = window;
	return stream_open(inode, file);
}

static int window_release(struct inode *inode, struct file *file)
{
	cw_window_leave(file->private_data);
	return 0;
}

static void window_show(struct seq_file *to, struct file *file)
{
	struct cw_window *window = file->private_data;

	seq_printf(to, "causeway-window:\t%s%s\n", dev_name(&window->dev),
		   READ_ONCE(window->gone) ? " (gone)" : "");
}

const struct file_operations cw_window_fops = {
	.owner = THIS_MODULE,
	.open = window_open,
	.unlocked_ioctl = window_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
	.show_fdinfo = window_show,
	.release = window_release,
};

/**
 * cw_window_file() - a descriptor of a window, as if its node had been opened
 * @window: which isn't gone
 */
struct file *cw_window_file(struct cw_window *window)
{
	struct file *file;
	int err;

	err = cw_window_enter(window);
	if (err)
		return ERR_PTR(err);
	file = cw_file_create("causeway-window", &cw_window_fops, window,
			      O_RDWR);
	if (IS_ERR(file))
		cw_window_leave(window);
	return file;
}
