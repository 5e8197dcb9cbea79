/* Calls that wait for several descriptors. */
#include "process.h"
#include "raw.h"
#include "real.h"
#include "sockets/memory.h"
#include "sockets/poll.h"
#include "sockets/set.h"

#include <limits.h>
#include <pthread.h>

CW_EXPORT int poll(struct pollfd *fds, nfds_t count, int timeout)
{
	if (cw_is_plain())
		return cw_kernel.poll(fds, count, timeout);
	cw_cancellation_point();
	return cw_poll(fds, count, timeout);
}

CW_EXPORT int ppoll(struct pollfd *fds, nfds_t count, const struct timespec *timeout, const sigset_t *mask)
{
	sigset_t room;

	mask = cw_raw_mask(mask, &room);
	if (cw_is_plain())
		return cw_kernel.ppoll(fds, count, timeout, mask);
	cw_cancellation_point();
	return cw_ppoll(fds, count, timeout, mask);
}

CW_EXPORT int select(int count, fd_set *readable, fd_set *writable, fd_set *urgent, struct timeval *timeout)
{
	if (cw_is_plain())
		return cw_kernel.select(count, readable, writable, urgent, timeout);
	cw_cancellation_point();
	return cw_select(count, readable, writable, urgent, timeout);
}

CW_EXPORT int pselect(int count, fd_set *readable, fd_set *writable, fd_set *urgent, const struct timespec *timeout, const sigset_t *mask)
{
	sigset_t room;

	mask = cw_raw_mask(mask, &room);
	if (cw_is_plain())
		return cw_kernel.pselect(count, readable, writable, urgent, timeout, mask);
	cw_cancellation_point();
	return cw_pselect(count, readable, writable, urgent, timeout, mask);
}

static int opened(int epfd)
{
	if (epfd >= 0 && !cw_is_plain())
		cw_set_open(epfd);
	return epfd;
}

CW_EXPORT int epoll_create(int size)
{
	cw_ensure_started();
	return opened(cw_real.epoll_create(size));
}

CW_EXPORT int epoll_create1(int flags)
{
	cw_ensure_started();
	return opened(cw_real.epoll_create1(flags));
}

CW_EXPORT int epoll_ctl(int epfd, int operation, int fd, struct epoll_event *event)
{
	struct cw_set *set;
	int result;

	cw_ensure_started();
	set = cw_set_of(epfd);
	if (set && cw_set_defer(set, epfd, operation, fd, event, &result))
		return result;
	if (!set && (operation != EPOLL_CTL_ADD || !cw_table_get(fd) || cw_is_plain() || cw_is_other_process()))
		return cw_real.epoll_ctl(epfd, operation, fd, event);
	return cw_set_control(set, epfd, operation, fd, event);
}

/* The kernel refuses more. */
static bool is_count(int max)
{
	return max > 0 && max <= (int)(INT_MAX / sizeof(struct epoll_event));
}

static bool is_time(const struct timespec *timeout)
{
	return !cw_nowhere(timeout, sizeof(*timeout)) && timeout->tv_sec >= 0 && timeout->tv_nsec >= 0 && timeout->tv_nsec <= 999999999;
}

CW_EXPORT int epoll_pwait(int epfd, struct epoll_event *events, int max, int timeout, const sigset_t *mask)
{
	struct cw_set *set;
	sigset_t room;

	cw_ensure_started();
	cw_cancellation_point();
	mask = cw_raw_mask(mask, &room);
	set = cw_set_of(epfd);
	if (set && is_count(max) && cw_nowhere(events, 1) && cw_set_ready(set))
		return (int)cw_bad_address();
	if (!set || !is_count(max) || cw_nowhere(events, 1))
		return cw_kernel.epoll_pwait(epfd, events, max, timeout, mask);
	return cw_set_wait(epfd, events, max, timeout > 0 ? timeout * INT64_C(1000000) : timeout < 0 ? -1 : 0, mask);
}

CW_EXPORT int epoll_wait(int epfd, struct epoll_event *events, int max, int timeout)
{
	cw_ensure_started();
	if (cw_likely(!cw_set_of(epfd)))
		return cw_real.epoll_wait(epfd, events, max, timeout);
	return epoll_pwait(epfd, events, max, timeout, NULL);
}

CW_EXPORT int epoll_pwait2(int epfd, struct epoll_event *events, int max, const struct timespec *timeout, const sigset_t *mask)
{
	struct cw_set *set;
	sigset_t room;

	cw_ensure_started();
	cw_cancellation_point();
	mask = cw_raw_mask(mask, &room);
	set = cw_set_of(epfd);
	if (!set || !is_count(max) || cw_nowhere(events, 1) || (timeout && !is_time(timeout)))
		return cw_epoll_pwait2(epfd, events, max, timeout, mask);
	if (timeout && timeout->tv_sec < CW_LIFE_LONG) /* else it is for ever */
		return cw_set_wait(epfd, events, max, timeout->tv_sec * INT64_C(1000000000) + timeout->tv_nsec, mask);
	return cw_set_wait(epfd, events, max, -1, mask);
}
