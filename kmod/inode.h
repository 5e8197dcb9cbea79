/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Descriptors that have no node: each with an inode of its own, so that what
 * is mapped through one can be unmapped without touching the others.
 */
#ifndef CW_INODE_H
#define CW_INODE_H

#include <linux/fs.h>

struct file *cw_file_create(const char *name,
			    const struct file_operations *fops, void *data,
			    int flags);

int cw_inodes_init(void);
void cw_inodes_exit(void);

#endif
