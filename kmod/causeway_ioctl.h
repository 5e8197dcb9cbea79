/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * What user space says to causeway.ko: see README.md for the objects.
 *
 * Shared by the kernel module and by programs. Rules of this interface:
 *  - the size of an argument is part of its request's number, so it never
 *    changes; what a later version adds has a number of its own;
 *  - reserved fields and unknown flags must be zero, else EINVAL;
 *  - integers have fixed widths and are aligned to their size, so programs of
 *    32 bits need no translation;
 *  - descriptors that come out are close-on-exec.
 */
#ifndef CAUSEWAY_IOCTL_H
#define CAUSEWAY_IOCTL_H

#include <linux/ioctl.h>
#include <linux/types.h>

/* What came with 2: AWAIT. */
#define CAUSEWAY_VERSION 2

/* Where the nodes are: CAUSEWAY_CONTROL, and one beside it for each window. */
#define CAUSEWAY_CONTROL "/dev/causeway/control"

/* No bell, no peer. */
#define CAUSEWAY_NONE 0xffffffffu

/* On any descriptor of the module. */
struct causeway_version {
	__u32 version; /* out: CAUSEWAY_VERSION */
	__u32 reserved[3];
};

/* On the control node: a window in memory of this machine. */
struct causeway_create {
	__aligned_u64 size; /* in: bytes, a multiple of the page size */
	__u32 bells; /* in */
	__s32 numa_node; /* in: -1 for the caller's */
	__u32 flags; /* in: 0 */
	__s32 fd; /* out: a window descriptor */
	char name[32]; /* out: of its node and of its directory in sysfs */
	__u32 reserved[4];
};

/* How all mappings of a window are cached; decided by its back end. */
enum causeway_memory {
	CAUSEWAY_WRITE_BACK = 1,
	CAUSEWAY_WRITE_COMBINING = 2,
	CAUSEWAY_UNCACHED = 3,
};

/* On a window descriptor: what it is. */
struct causeway_window {
	char name[32]; /* out, as all here */
	char kind[16]; /* back end: "loop", "ivshmem" */
	__aligned_u64 size;
	__aligned_u64 generation; /* another one after each new creation or probe */
	__u32 page_size;
	__u32 bells; /* bells of this node: 0 to bells - 1 */
	__u32 peer; /* by what number others ring this node */
	__u32 memory; /* enum causeway_memory */
	__u32 grants; /* living */
	__u32 reserved[3];
};

#define CAUSEWAY_MAY_READ 1u /* map, and load */
#define CAUSEWAY_MAY_WRITE 2u /* store; with CAUSEWAY_MAY_READ only */
#define CAUSEWAY_MAY_WAIT 4u /* wait for wait_bell */
#define CAUSEWAY_MAY_RING 8u /* ring ring_bell of ring_peer */
#define CAUSEWAY_RIGHTS 15u

/*
 * On a window descriptor that may write: make a grant. The offset and length
 * are multiples of the page size and lie in the window; a length of 0 makes a
 * grant of a bell alone. Bells that no right is asked for are CAUSEWAY_NONE.
 */
struct causeway_grant {
	__aligned_u64 offset; /* in */
	__aligned_u64 length; /* in */
	__u32 rights; /* in */
	__u32 wait_bell; /* in: of this node */
	__u32 ring_peer; /* in */
	__u32 ring_bell; /* in */
	__u32 flags; /* in: 0 */
	__u32 id; /* out: for REVOKE and NEXT */
	__s32 fd; /* out: a grant descriptor */
	__u32 reserved[3];
};

enum causeway_state {
	CAUSEWAY_LIVE = 0,
	CAUSEWAY_REVOKED = 1,
	CAUSEWAY_GONE = 2, /* the window itself was removed */
};

/* On a grant descriptor: itself. On a window descriptor: another one of it. */
struct causeway_grant_info {
	__u32 id; /* out; in for NEXT: the lowest id wanted */
	__u32 state; /* out, as the rest: enum causeway_state */
	__aligned_u64 offset;
	__aligned_u64 length;
	__u32 rights;
	__u32 wait_bell;
	__u32 ring_peer;
	__u32 ring_bell;
	__u32 mappings; /* areas of memory that have it mapped now */
	__u32 page_size;
	__aligned_u64 generation; /* of its window */
	__u32 reserved[4];
};

/* On a window descriptor that may write. */
struct causeway_revoke {
	__u32 id; /* in: CAUSEWAY_NONE for all */
	__u32 flags; /* in: 0 */
	__u32 revoked; /* out: how many were */
	__u32 reserved;
};

/* On a grant descriptor with MAY_WAIT: a ring adds 1 to this eventfd, too. */
struct causeway_eventfd {
	__s32 fd; /* in: -1 for none any more */
	__u32 reserved[3];
};

#define CAUSEWAY_AWAIT_ONCE 1u /* EINTR after any signal handler */

/*
 * On a grant descriptor with MAY_WAIT: sleep until its bell's count is another
 * one than was seen, a descriptor has some of what poll() tells, or the time
 * is over. A signal handler ends it as a blocking receive: EINTR, or it goes on
 * where the handler was set with SA_RESTART.
 */
struct causeway_await {
	__aligned_u64 rings; /* in: the count that was seen; out: as it is */
	__aligned_u64 deadline; /* in: CLOCK_MONOTONIC, in nanoseconds */
	__s32 fd; /* in: -1 for none */
	__u32 events; /* in: of it, as POLLIN; out: which of them it has */
	__u32 flags; /* in: CAUSEWAY_AWAIT_ONCE, or 0 */
	__u32 reserved;
};

#define CAUSEWAY_IOC_TYPE 0xc5

#define CAUSEWAY_IOC_VERSION                                                   \
	_IOR(CAUSEWAY_IOC_TYPE, 0x00, struct causeway_version)
/* on the control node */
#define CAUSEWAY_IOC_CREATE                                                    \
	_IOWR(CAUSEWAY_IOC_TYPE, 0x01, struct causeway_create)
/* on a window descriptor */
#define CAUSEWAY_IOC_WINDOW                                                    \
	_IOR(CAUSEWAY_IOC_TYPE, 0x08, struct causeway_window)
#define CAUSEWAY_IOC_GRANT                                                     \
	_IOWR(CAUSEWAY_IOC_TYPE, 0x09, struct causeway_grant)
#define CAUSEWAY_IOC_REVOKE                                                    \
	_IOWR(CAUSEWAY_IOC_TYPE, 0x0a, struct causeway_revoke)
#define CAUSEWAY_IOC_NEXT                                                      \
	_IOWR(CAUSEWAY_IOC_TYPE, 0x0b, struct causeway_grant_info)
#define CAUSEWAY_IOC_REMOVE _IO(CAUSEWAY_IOC_TYPE, 0x0c)
/* on a grant descriptor */
#define CAUSEWAY_IOC_INFO                                                      \
	_IOR(CAUSEWAY_IOC_TYPE, 0x10, struct causeway_grant_info)
#define CAUSEWAY_IOC_RING _IO(CAUSEWAY_IOC_TYPE, 0x11)
#define CAUSEWAY_IOC_EVENTFD                                                   \
	_IOW(CAUSEWAY_IOC_TYPE, 0x12, struct causeway_eventfd)
/* since version 2 */
#define CAUSEWAY_IOC_AWAIT                                                     \
	_IOWR(CAUSEWAY_IOC_TYPE, 0x13, struct causeway_await)

#endif
