/*
 * The program's memory. The kernel checks every address that it is given; a copy by us can't without a system call, so what is unreadable
 * ends in SIGSEGV (docs/caveats.md). What no program can have mapped, the first page and the upper half, is told as the kernel tells it.
 */
#ifndef CW_SOCKETS_MEMORY_H
#define CW_SOCKETS_MEMORY_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define CW_LOWEST_ADDRESS  4096ull
#define CW_HIGHEST_ADDRESS (1ull << 56)

static inline bool cw_nowhere(const void *memory, size_t size)
{
	uintptr_t first = (uintptr_t)memory;

#if __SIZEOF_POINTER__ == 8
	return size && (first - CW_LOWEST_ADDRESS >= CW_HIGHEST_ADDRESS || size > CW_HIGHEST_ADDRESS);
#else
	return size && first < CW_LOWEST_ADDRESS;
#endif
}

/* Of what is nowhere: so far up that the kernel says so before it does anything. */
static inline bool cw_far_up(const void *memory, size_t size)
{
#if __SIZEOF_POINTER__ == 8
	return (uintptr_t)memory >= CW_HIGHEST_ADDRESS || size > CW_HIGHEST_ADDRESS;
#else
	return false;
#endif
}

/* No call of the kernel's moves more. */
#define CW_MOST_AT_ONCE ((size_t)0x7ffff000)

static inline size_t cw_at_once(size_t count)
{
	return count < CW_MOST_AT_ONCE ? count : CW_MOST_AT_ONCE;
}

/* read, write and sendfile refuse what can't be memory, or a file's length; recv and send shorten it first, and so do all in 32 bits below
 * a kernel of 64. */
static inline bool cw_too_long(size_t count)
{
#if __SIZEOF_POINTER__ == 8
	return count > CW_HIGHEST_ADDRESS;
#else
	(void)count;
	return false;
#endif
}

static inline ssize_t cw_bad_address(void)
{
	errno = EFAULT;
	return -1;
}

#endif
