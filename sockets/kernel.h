/*
 * The kernel, in two ways. cw_kernel.NAME is libc's own function, found behind ours: for calls that may block, since they are cancellation
 * points and follow the program's EINTR rules. cw_raw() is the bare system call, for those that never block: it returns -errno and leaves
 * errno alone.
 */
#ifndef CW_SOCKETS_KERNEL_H
#define CW_SOCKETS_KERNEL_H

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <time.h>

/* X(result, name, (parameters)): what sockets/ and remap/ call behind the program's back. Filled by remap/real.c. */
#define CW_KERNEL_CALLS(X)                                                                                                                 \
	X(ssize_t, sendmsg, (int, const struct msghdr *, int))                                                                             \
	X(ssize_t, recvmsg, (int, struct msghdr *, int))                                                                                   \
	X(ssize_t, recv, (int, void *, size_t, int))                                                                                       \
	X(ssize_t, sendfile, (int, int, off_t *, size_t))                                                                                  \
	X(int, poll, (struct pollfd *, nfds_t, int))                                                                                       \
	X(int, ppoll, (struct pollfd *, nfds_t, const struct timespec *, const sigset_t *))                                                \
	X(int, select, (int, fd_set *, fd_set *, fd_set *, struct timeval *))                                                              \
	X(int, pselect, (int, fd_set *, fd_set *, fd_set *, const struct timespec *, const sigset_t *))                                    \
	X(int, epoll_pwait, (int, struct epoll_event *, int, int, const sigset_t *))                                                       \
	X(int, epoll_pwait2, (int, struct epoll_event *, int, const struct timespec *, const sigset_t *))

struct cw_kernel {
#define X(result, name, parameters) result(*name) parameters;
	CW_KERNEL_CALLS(X)
#undef X
};

extern struct cw_kernel cw_kernel;

#if defined(__x86_64__)
static inline long cw_raw(long number, long a, long b, long c, long d, long e, long f)
{
	long result;
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = f;

	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return result;
}
#elif defined(__aarch64__)
static inline long cw_raw(long number, long a, long b, long c, long d, long e, long f)
{
	register long x8 __asm__("x8") = number;
	register long x0 __asm__("x0") = a;
	register long x1 __asm__("x1") = b;
	register long x2 __asm__("x2") = c;
	register long x3 __asm__("x3") = d;
	register long x4 __asm__("x4") = e;
	register long x5 __asm__("x5") = f;

	__asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5) : "memory");
	return x0;
}
#else
#error "no bare system call for this processor"
#endif

static inline long cw_raw_sendmsg(int fd, const struct msghdr *message, int flags)
{
	return cw_raw(SYS_sendmsg, fd, (long)message, flags, 0, 0, 0);
}

static inline long cw_raw_recvmsg(int fd, struct msghdr *message, int flags)
{
	return cw_raw(SYS_recvmsg, fd, (long)message, flags, 0, 0, 0);
}

static inline long cw_raw_fcntl(int fd, int command, long argument)
{
	return cw_raw(SYS_fcntl, fd, command, argument, 0, 0, 0);
}

static inline long cw_raw_close(int fd)
{
	return cw_raw(SYS_close, fd, 0, 0, 0, 0, 0);
}

static inline long cw_raw_getsockopt(int fd, int level, int name, void *value, socklen_t *size)
{
	return cw_raw(SYS_getsockopt, fd, level, name, (long)value, (long)size, 0);
}

static inline long cw_raw_setsockopt(int fd, int level, int name, const void *value, socklen_t size)
{
	return cw_raw(SYS_setsockopt, fd, level, name, (long)value, size, 0);
}

#endif
