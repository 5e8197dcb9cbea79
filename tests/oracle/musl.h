/* What the scenarios take from glibc and musl (1.2.3) lacks: calls by their numbers, names as sentences. */
#ifndef ORACLE_MUSL_H
#define ORACLE_MUSL_H

#include <errno.h>
#include <linux/stat.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static inline const char *strerrorname_np(int error)
{
	switch (error) {
#define X(name)                                                                                                                            \
	case name:                                                                                                                         \
		return #name;
		X(EPERM)
		X(ENOENT)
		X(EINTR)
		X(EIO)
		X(EBADF)
		X(EAGAIN)
		X(ENOMEM)
		X(EACCES)
		X(EFAULT)
		X(EBUSY)
		X(EEXIST)
		X(EXDEV)
		X(ENOTDIR)
		X(EISDIR)
		X(EINVAL)
		X(ENFILE)
		X(EMFILE)
		X(ENOTTY)
		X(EFBIG)
		X(ENOSPC)
		X(ESPIPE)
		X(EROFS)
		X(EPIPE)
		X(EDOM)
		X(ERANGE)
		X(EDEADLK)
		X(ENOSYS)
		X(ELOOP)
		X(ENODATA)
		X(ETIME)
		X(EPROTO)
		X(EOVERFLOW)
		X(ENOTSOCK)
		X(EDESTADDRREQ)
		X(EMSGSIZE)
		X(EPROTOTYPE)
		X(ENOPROTOOPT)
		X(EPROTONOSUPPORT)
		X(ESOCKTNOSUPPORT)
		X(EOPNOTSUPP)
		X(EAFNOSUPPORT)
		X(EADDRINUSE)
		X(EADDRNOTAVAIL)
		X(ENETDOWN)
		X(ENETUNREACH)
		X(ECONNABORTED)
		X(ECONNRESET)
		X(ENOBUFS)
		X(EISCONN)
		X(ENOTCONN)
		X(ETIMEDOUT)
		X(ECONNREFUSED)
		X(EHOSTUNREACH)
		X(EALREADY)
		X(EINPROGRESS)
		X(ECANCELED)
#undef X
	}
	return error ? strerror(error) : "0";
}
#define sigabbrev_np strsignal

#define fcloseall() fflush(NULL)

#define RWF_HIPRI           1
#define RWF_DSYNC           2
#define RWF_SYNC            4
#define RWF_NOWAIT          8
#define RWF_APPEND          16
#define CLOSE_RANGE_CLOEXEC 4

static inline int close_range(unsigned first, unsigned last, int flags)
{
	return (int)syscall(SYS_close_range, first, last, flags);
}

static inline int isfdtype(int fd, int type)
{
	struct stat status;

	return fstat(fd, &status) < 0 ? -1 : (int)(status.st_mode & S_IFMT) == type;
}

static inline int statx(int directory, const char *path, int flags, unsigned mask, struct statx *status)
{
	return (int)syscall(SYS_statx, directory, path, flags, mask, status);
}

static inline void closefrom(int low)
{
	close_range((unsigned)low, ~0u, 0);
}

static inline int epoll_pwait2(int epfd, struct epoll_event *events, int max, const struct timespec *timeout, const sigset_t *mask)
{
	return (int)syscall(SYS_epoll_pwait2, epfd, events, max, timeout, mask, 8);
}

static inline ssize_t preadv2(int fd, const struct iovec *iov, int count, off_t offset, int flags)
{
	return syscall(SYS_preadv2, fd, iov, count, offset, 0, flags);
}

static inline ssize_t pwritev2(int fd, const struct iovec *iov, int count, off_t offset, int flags)
{
	return syscall(SYS_pwritev2, fd, iov, count, offset, 0, flags);
}

#endif
