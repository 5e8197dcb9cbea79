/*
 * Each by the call of 32 bits, with the time cut to what that can say, 68 years; what is asked of the kernel in seconds since 1970 (time
 * stamps, time-outs of options) is left to libc's own function, since such a stream is not moved.
 */
#include "real.h"

#if defined(__GLIBC__) && __SIZEOF_LONG__ == 4

#include <limits.h>
#include <stdarg.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>

#include "call.h"
#include "datagram.h"
#include "process.h"
#include "sockets/memory.h"

int cw_fcntl64(int fd, int command, void *argument) __asm__("fcntl64");
int cw_ioctl(int fd, unsigned long request, void *argument) __asm__("ioctl");

/* NULL stays NULL; an address that no program has stays so too, for the kernel to refuse. */
static const struct timespec *cut(const struct cw_timespec64 *time, struct timespec *room)
{
	if (!time || cw_nowhere(time, sizeof(*time)))
		return (const struct timespec *)time;
	room->tv_sec = time->tv_sec > LONG_MAX ? LONG_MAX : time->tv_sec < 0 ? -1 : (time_t)time->tv_sec;
	room->tv_nsec = time->tv_nsec;
	return room;
}

CW_EXPORT int __select64(int count, fd_set *readable, fd_set *writable, fd_set *urgent, struct cw_timeval64 *timeout)
{
	struct timeval limit;
	int result;

	if (cw_is_plain())
		return cw_real.__select64(count, readable, writable, urgent, timeout);
	if (!timeout || cw_nowhere(timeout, sizeof(*timeout)))
		return select(count, readable, writable, urgent, (struct timeval *)timeout);
	limit.tv_sec = timeout->tv_sec > LONG_MAX ? LONG_MAX : timeout->tv_sec < 0 ? -1 : (time_t)timeout->tv_sec;
	limit.tv_usec = timeout->tv_usec > LONG_MAX ? 0 : timeout->tv_usec < 0 ? -1 : (long)timeout->tv_usec;
	result = select(count, readable, writable, urgent, &limit);
	if (timeout->tv_sec >= 0 && timeout->tv_usec >= 0) {
		timeout->tv_sec = limit.tv_sec;
		timeout->tv_usec = limit.tv_usec;
	}
	return result;
}

CW_EXPORT int __pselect64(int count, fd_set *readable, fd_set *writable, fd_set *urgent, const struct cw_timespec64 *timeout,
			  const sigset_t *mask)
{
	struct timespec limit;

	if (cw_is_plain())
		return cw_real.__pselect64(count, readable, writable, urgent, timeout, mask);
	return pselect(count, readable, writable, urgent, cut(timeout, &limit), mask);
}

CW_EXPORT int __ppoll64(struct pollfd *fds, nfds_t count, const struct cw_timespec64 *timeout, const sigset_t *mask)
{
	struct timespec limit;

	if (cw_is_plain())
		return cw_real.__ppoll64(fds, count, timeout, mask);
	return ppoll(fds, count, cut(timeout, &limit), mask);
}

CW_EXPORT int __epoll_pwait2_time64(int epfd, struct epoll_event *events, int max, const struct cw_timespec64 *timeout,
				    const sigset_t *mask)
{
	struct timespec limit;

	if (cw_is_plain())
		return cw_real.__epoll_pwait2_time64(epfd, events, max, timeout, mask);
	return epoll_pwait2(epfd, events, max, cut(timeout, &limit), mask);
}

/* Not left to the kernel for good: what stays there may tell time stamps, which libc's function makes from both kinds. */
static bool takes_by_ring(int fd)
{
	struct cw_datagram *datagram = cw_datagram_of(fd);

	return datagram && (!atomic_load_explicit(&datagram->stays, memory_order_relaxed) || cw_datagram_begins(datagram));
}

CW_EXPORT int __recvmmsg64(int fd, struct mmsghdr *messages, unsigned count, int flags, struct cw_timespec64 *timeout)
{
	struct timespec limit;
	int result;

	if (!cw_stream_for(fd) && !takes_by_ring(fd))
		return cw_real.__recvmmsg64(fd, messages, count, flags, timeout);
	result = recvmmsg(fd, messages, count, flags, (struct timespec *)cut(timeout, &limit));
	/* What is left of it is told. */
	if (result > 0 && timeout && timeout->tv_sec <= LONG_MAX) {
		timeout->tv_sec = limit.tv_sec;
		timeout->tv_nsec = limit.tv_nsec;
	}
	return result;
}

CW_EXPORT int __sendmmsg64(int fd, struct mmsghdr *messages, unsigned count, int flags)
{
	return sendmmsg(fd, messages, count, flags);
}

CW_EXPORT ssize_t __recvmsg64(int fd, struct msghdr *message, int flags)
{
	struct cw_stream *stream = cw_stream_for(fd);

	if (stream ? !cw_is_moved(stream, fd) : !takes_by_ring(fd))
		return cw_real.__recvmsg64(fd, message, flags);
	return recvmsg(fd, message, flags);
}

CW_EXPORT ssize_t __sendmsg64(int fd, const struct msghdr *message, int flags)
{
	return sendmsg(fd, message, flags);
}

/* Ours first, for what it means to a stream; libc's knows the names of both times. */
CW_EXPORT int __setsockopt64(int fd, int level, int name, const void *value, socklen_t size)
{
	int result;

	if (cw_stream_for(fd))
		return setsockopt(fd, level, name, value, size);
	result = cw_real.__setsockopt64(fd, level, name, value, size);
	if (result == 0)
		cw_datagram_option(fd, level, name);
	return result;
}

CW_EXPORT int __getsockopt64(int fd, int level, int name, void *value, socklen_t *size)
{
	if (!cw_stream_for(fd))
		return cw_real.__getsockopt64(fd, level, name, value, size);
	return getsockopt(fd, level, name, value, size);
}

CW_EXPORT int cw_fcntl_time64(int fd, int command, void *argument) __asm__("__fcntl_time64");
CW_EXPORT int cw_ioctl_time64(int fd, unsigned long request, void *argument) __asm__("__ioctl_time64");

int cw_fcntl_time64(int fd, int command, void *argument)
{
	return cw_fcntl64(fd, command, argument);
}

int cw_ioctl_time64(int fd, unsigned long request, void *argument)
{
	cw_ensure_started();
	return cw_stream_of(fd) || cw_datagram_of(fd) ? cw_ioctl(fd, request, argument) : cw_real.__ioctl_time64(fd, request, argument);
}

CW_EXPORT int cw_prctl_time64(int option, unsigned long a, unsigned long b, unsigned long c, unsigned long d) __asm__("__prctl_time64");

int cw_prctl_time64(int option, unsigned long a, unsigned long b, unsigned long c, unsigned long d)
{
	return prctl(option, a, b, c, d);
}

#endif
