/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What all descriptors do alike with what user space asks.
 */
#ifndef CW_REQUEST_H
#define CW_REQUEST_H

#include <linux/err.h>
#include <linux/file.h>
#include <linux/string.h>
#include <linux/uaccess.h>

#include "causeway_ioctl.h"

/* What isn't used now may mean something later: it must be zero. */
#define cw_all_zero(array) (!memchr_inv((array), 0, sizeof(array)))

static inline long cw_request_version(struct causeway_version __user *user)
{
	struct causeway_version version = { .version = CAUSEWAY_VERSION };

	return copy_to_user(user, &version, sizeof(version)) ? -EFAULT : 0;
}

/*
 * Answers with a file: fd, which @request says, is its descriptor once the
 * answer has been copied out; before that nobody may find it. An error of
 * @file, or of the copy, gives both back.
 */
static inline long cw_request_give(struct file *file, int fd, void __user *user,
				   const void *request, size_t size)
{
	long err = PTR_ERR_OR_ZERO(file);

	if (!err && copy_to_user(user, request, size)) {
		fput(file);
		err = -EFAULT;
	}
	if (err)
		put_unused_fd(fd);
	else
		fd_install(fd, file);
	return err;
}

#endif
