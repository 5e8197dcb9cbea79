// SPDX-License-Identifier: GPL-2.0
/*
 * causeway: windows of memory between nodes. README.md has the protocol.
 */
#include <linux/build_bug.h>
#include <linux/init.h>
#include <linux/module.h>

#include "control.h"
#include "inode.h"
#include "ivshmem.h"
#include "window.h"

/* What user space was told: never another size, on no machine. */
static_assert(sizeof(struct causeway_version) == 16);
static_assert(sizeof(struct causeway_create) == 72);
static_assert(sizeof(struct causeway_window) == 96);
static_assert(sizeof(struct causeway_grant) == 56);
static_assert(sizeof(struct causeway_grant_info) == 72);
static_assert(sizeof(struct causeway_revoke) == 16);
static_assert(sizeof(struct causeway_eventfd) == 16);

static int __init causeway_init(void)
{
	int err;

	err = cw_inodes_init();
	if (err)
		return err;
	err = cw_windows_init();
	if (err)
		goto err_windows;
	err = cw_control_init();
	if (err)
		goto err_control;
	err = cw_ivshmem_init();
	if (err)
		goto err_ivshmem;
	return 0;

err_ivshmem:
	cw_control_exit();
err_control:
	cw_windows_exit();
err_windows:
	cw_inodes_exit();
	return err;
}

static void __exit causeway_exit(void)
{
	cw_ivshmem_exit();
	cw_control_exit();
	cw_windows_exit();
	cw_inodes_exit();
}

module_init(causeway_init);
module_exit(causeway_exit);

MODULE_DESCRIPTION("Windows of memory between nodes, with grants and bells");
MODULE_AUTHOR("The Causeway authors");
MODULE_LICENSE("GPL");
MODULE_VERSION("1");
