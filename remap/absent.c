/* Calls that an older or smaller C library has no function for, by their numbers. None is a cancellation point there either. */
#include <dlfcn.h>

#include "real.h"

static long told(long result)
{
	if (result < 0 && result > -4096) {
		errno = (int)-result;
		return -1;
	}
	return result;
}

static ssize_t by_preadv2(int fd, const struct iovec *iov, int count, off64_t offset, int flags)
{
	return told(cw_raw(SYS_preadv2, fd, (long)iov, count, (long)offset, (long)(offset >> 31 >> 1), flags));
}

static ssize_t by_pwritev2(int fd, const struct iovec *iov, int count, off64_t offset, int flags)
{
	return told(cw_raw(SYS_pwritev2, fd, (long)iov, count, (long)offset, (long)(offset >> 31 >> 1), flags));
}

static int by_close_range(unsigned first, unsigned last, int flags)
{
	return (int)told(cw_raw(SYS_close_range, (long)first, (long)last, flags, 0, 0, 0));
}

static int by_execveat(int fd, const char *path, char *const arguments[], char *const environment[], int flags)
{
	return (int)told(cw_raw(SYS_execveat, fd, (long)path, (long)arguments, (long)environment, flags, 0));
}

/* It stays absent in cw_kernel: made by its number it is no cancellation point. */
int cw_epoll_pwait2(int epfd, struct epoll_event *events, int max, const struct timespec *timeout, const sigset_t *mask)
{
	int64_t limit[2] = {0};

	if (cw_kernel.epoll_pwait2)
		return cw_kernel.epoll_pwait2(epfd, events, max, timeout, mask);
	if (timeout) {
		limit[0] = timeout->tv_sec;
		limit[1] = timeout->tv_nsec;
	}
	return (int)told(cw_raw(SYS_epoll_pwait2, epfd, (long)events, max, timeout ? (long)limit : 0, (long)mask, 8));
}

void cw_real_stand_in(void)
{
	if (!cw_real.preadv64v2)
		cw_real.preadv64v2 = by_preadv2;
	if (!cw_real.pwritev64v2)
		cw_real.pwritev64v2 = by_pwritev2;
	if (!cw_real.close_range)
		cw_real.close_range = by_close_range;
	if (!cw_real.execveat)
		cw_real.execveat = by_execveat;
	if (!cw_kernel.sendfile64)
		*(void **)&cw_kernel.sendfile64 = dlsym(RTLD_NEXT, "sendfile");
}
