// SPDX-License-Identifier: GPL-2.0
/*
 * A file system that nobody sees, for the inodes of descriptors without a
 * node. (Those of anon_inode_getfile() share one inode, and with it one list
 * of mappings.)
 */
#include "inode.h"

#include <linux/err.h>
#include <linux/file.h>
#include <linux/fs_context.h>
#include <linux/module.h>
#include <linux/mount.h>
#include <linux/pseudo_fs.h>

#define CW_SUPER_MAGIC 0x43415553 /* "CAUS" */

static struct vfsmount *mount;

static int init_context(struct fs_context *context)
{
	if (!init_pseudo(context, CW_SUPER_MAGIC))
		return -ENOMEM;
	context->s_iflags |= SB_I_NOEXEC;
	return 0;
}

/* No owner: the mount is the module's own, and would keep it for ever. */
static struct file_system_type type = {
	.name = "causeway",
	.init_fs_context = init_context,
	.kill_sb = kill_anon_super,
};

/**
 * cw_file_create() - a descriptor without a node
 * @name: as /proc/PID/fd shows it
 * @fops: have an owner; ->release() is called only if this succeeds
 * @data: private_data
 * @flags: O_RDONLY or O_RDWR, and O_NONBLOCK
 */
struct file *cw_file_create(const char *name,
			    const struct file_operations *fops, void *data,
			    int flags)
{
	struct inode *inode;
	struct file *file;

	if (!try_module_get(fops->owner))
		return ERR_PTR(-ENODEV);

	inode = alloc_anon_inode(mount->mnt_sb);
	if (IS_ERR(inode)) {
		file = ERR_CAST(inode);
		goto err_module;
	}
	file = alloc_file_pseudo(inode, mount, name, flags, fops);
	if (IS_ERR(file))
		goto err_inode;
	file->private_data = data;
	return file;

err_inode:
	iput(inode);
err_module:
	module_put(fops->owner);
	return file;
}

int __init cw_inodes_init(void)
{
	mount = kern_mount(&type);
	return PTR_ERR_OR_ZERO(mount);
}

void cw_inodes_exit(void)
{
	kern_unmount(mount);
}
