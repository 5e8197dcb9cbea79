// SPDX-License-Identifier: GPL-2.0
/*
 * /dev/causeway/control: where windows in memory of this machine are made.
 */
#include "control.h"

#include <linux/err.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/uaccess.h>

#include "loop.h"
#include "request.h"

static long control_create(struct causeway_create __user *user)
{
	struct causeway_create request;
	struct file *file;
	int fd;

	if (copy_from_user(&request, user, sizeof(request)))
		return -EFAULT;
	if (request.flags || !cw_all_zero(request.reserved))
		return -EINVAL;
	memset(request.name, 0, sizeof(request.name));
	fd = get_unused_fd_flags(O_CLOEXEC);
	if (fd < 0)
		return fd;
	file = cw_loop_create(&request);
	request.fd = fd;
	return cw_request_give(file, fd, user, &request, sizeof(request));
}

static long control_ioctl(struct file *file, unsigned int request,
			  unsigned long argument)
{
	void __user *user = (void __user *)argument;

	switch (request) {
	case CAUSEWAY_IOC_VERSION:
		return cw_request_version(user);
	case CAUSEWAY_IOC_CREATE:
		if (!(file->f_mode & FMODE_WRITE))
			return -EACCES;
		return control_create(user);
	default:
		return -ENOTTY;
	}
}

static const struct file_operations control_fops = {
	.owner = THIS_MODULE,
	.open = stream_open,
	.unlocked_ioctl = control_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
};

/* Whom the administrator lets open it may take memory: root alone at first. */
static struct miscdevice control = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "causeway",
	.nodename = "causeway/control",
	.fops = &control_fops,
	.mode = 0600,
};

int __init cw_control_init(void)
{
	return misc_register(&control);
}

void cw_control_exit(void)
{
	misc_deregister(&control);
}
