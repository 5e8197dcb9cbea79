/* syscall(2): what libuv, node, nginx and glib call by number instead of by name. */
#include <linux/net.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/sendfile.h>
#include <sys/uio.h>
#include <unistd.h>

#include "asynchronous.h"
#include "call.h"
#include "clone.h"
#include "number.h"
#include "plain.h"
#include "sockets/memory.h"

static long by_kernel(long number, const long a[6])
{
	long result = cw_raw(number, a[0], a[1], a[2], a[3], a[4], a[5]);

	if (result < 0 && result > -4096) {
		errno = (int)-result;
		return -1;
	}
	return result;
}

/* Ours must not be among them; what the kernel is called for is the same. */
static bool names_descriptors_to_close(long number)
{
#ifdef SYS_dup2
	if (number == SYS_dup2)
		return true;
#endif
	return number == SYS_close || number == SYS_close_range || number == SYS_dup3;
}

/* In two halves where a long has 32 bits. */
static off64_t offset_of(const long a[6])
{
#if __SIZEOF_LONG__ == 8
	return a[3];
#else
	return (off64_t)((uint64_t)(unsigned long)a[4] << 32 | (unsigned long)a[3]);
#endif
}

#ifdef SYS_socketcall
/* The one door to sockets that i386 had before Linux 4.3. */
static long socket_call(const long call[6])
{
	const long *a = (const long *)call[1];

	if (cw_nowhere(a, 1))
		return by_kernel(SYS_socketcall, call);
	switch (call[0]) {
	case SYS_SOCKET:
		return socket((int)a[0], (int)a[1], (int)a[2]);
	case SYS_CONNECT:
		return connect((int)a[0], (const struct sockaddr *)a[1], (socklen_t)a[2]);
	case SYS_ACCEPT:
		return accept((int)a[0], (struct sockaddr *)a[1], (socklen_t *)a[2]);
	case SYS_ACCEPT4:
		return accept4((int)a[0], (struct sockaddr *)a[1], (socklen_t *)a[2], (int)a[3]);
	case SYS_SEND:
		return send((int)a[0], (const void *)a[1], (size_t)a[2], (int)a[3]);
	case SYS_SENDTO:
		return sendto((int)a[0], (const void *)a[1], (size_t)a[2], (int)a[3], (const struct sockaddr *)a[4], (socklen_t)a[5]);
	case SYS_RECV:
		return recv((int)a[0], (void *)a[1], (size_t)a[2], (int)a[3]);
	case SYS_RECVFROM:
		return recvfrom((int)a[0], (void *)a[1], (size_t)a[2], (int)a[3], (struct sockaddr *)a[4], (socklen_t *)a[5]);
	case SYS_SENDMSG:
		return sendmsg((int)a[0], (const struct msghdr *)a[1], (int)a[2]);
	case SYS_RECVMSG:
		return recvmsg((int)a[0], (struct msghdr *)a[1], (int)a[2]);
	case SYS_SENDMMSG:
		return sendmmsg((int)a[0], (struct mmsghdr *)a[1], (unsigned)a[2], (int)a[3]);
	case SYS_RECVMMSG:
		return recvmmsg((int)a[0], (struct mmsghdr *)a[1], (unsigned)a[2], (int)a[3], (struct timespec *)a[4]);
	case SYS_SOCKETPAIR:
		return socketpair((int)a[0], (int)a[1], (int)a[2], (int *)a[3]);
	case SYS_SHUTDOWN:
		return shutdown((int)a[0], (int)a[1]);
	case SYS_SETSOCKOPT:
		return setsockopt((int)a[0], (int)a[1], (int)a[2], (const void *)a[3], (socklen_t)a[4]);
	case SYS_GETSOCKOPT:
		return getsockopt((int)a[0], (int)a[1], (int)a[2], (void *)a[3], (socklen_t *)a[4]);
	}
	return by_kernel(SYS_socketcall, call);
}
#endif

/* By the call of that name; *known: there is one of ours. */
static long by_name(long number, const long a[6], bool *known)
{
	long result = 0;

	*known = true;
	switch (number) {
	case SYS_read:
		return read((int)a[0], (void *)a[1], (size_t)a[2]);
	case SYS_write:
		return write((int)a[0], (const void *)a[1], (size_t)a[2]);
	case SYS_readv:
		return readv((int)a[0], (const struct iovec *)a[1], (int)a[2]);
	case SYS_writev:
		return writev((int)a[0], (const struct iovec *)a[1], (int)a[2]);
	case SYS_recvfrom:
		return recvfrom((int)a[0], (void *)a[1], (size_t)a[2], (int)a[3], (struct sockaddr *)a[4], (socklen_t *)a[5]);
	case SYS_sendto:
		return sendto((int)a[0], (const void *)a[1], (size_t)a[2], (int)a[3], (const struct sockaddr *)a[4], (socklen_t)a[5]);
	case SYS_recvmsg:
		return recvmsg((int)a[0], (struct msghdr *)a[1], (int)a[2]);
	case SYS_sendmsg:
		return sendmsg((int)a[0], (const struct msghdr *)a[1], (int)a[2]);
	case SYS_recvmmsg:
		return recvmmsg((int)a[0], (struct mmsghdr *)a[1], (unsigned)a[2], (int)a[3], (struct timespec *)a[4]);
	case SYS_sendmmsg:
		return sendmmsg((int)a[0], (struct mmsghdr *)a[1], (unsigned)a[2], (int)a[3]);
	case SYS_sendfile:
		return sendfile((int)a[0], (int)a[1], (off_t *)a[2], (size_t)a[3]);
#ifdef SYS_sendfile64
	case SYS_sendfile64:
		return cw_sendfile((int)a[0], (int)a[1], (off64_t *)a[2], (size_t)a[3]);
#endif
	case SYS_splice:
		return splice((int)a[0], (off64_t *)a[1], (int)a[2], (off64_t *)a[3], (size_t)a[4], (unsigned)a[5]);
	case SYS_socket:
		return socket((int)a[0], (int)a[1], (int)a[2]);
	case SYS_socketpair:
		return socketpair((int)a[0], (int)a[1], (int)a[2], (int *)a[3]);
	case SYS_connect:
		return connect((int)a[0], (const struct sockaddr *)a[1], (socklen_t)a[2]);
#ifdef SYS_accept
	case SYS_accept:
		return accept((int)a[0], (struct sockaddr *)a[1], (socklen_t *)a[2]);
#endif
	case SYS_accept4:
		return accept4((int)a[0], (struct sockaddr *)a[1], (socklen_t *)a[2], (int)a[3]);
	case SYS_shutdown:
		return shutdown((int)a[0], (int)a[1]);
	case SYS_setsockopt:
		return setsockopt((int)a[0], (int)a[1], (int)a[2], (const void *)a[3], (socklen_t)a[4]);
	case SYS_getsockopt:
		return getsockopt((int)a[0], (int)a[1], (int)a[2], (void *)a[3], (socklen_t *)a[4]);
	case SYS_close:
		return close((int)a[0]);
	case SYS_close_range:
		return close_range((unsigned)a[0], (unsigned)a[1], (int)a[2]);
	case SYS_dup:
		return dup((int)a[0]);
#ifdef SYS_dup2
	case SYS_dup2:
		return dup2((int)a[0], (int)a[1]);
#endif
	case SYS_dup3:
		return dup3((int)a[0], (int)a[1], (int)a[2]);
	case SYS_fcntl:
		return fcntl((int)a[0], (int)a[1], a[2]);
	case SYS_ioctl:
		return ioctl((int)a[0], (unsigned long)a[1], a[2]);
#ifdef SYS_poll
	case SYS_poll:
		return poll((struct pollfd *)a[0], (nfds_t)a[1], (int)a[2]);
#endif
#ifdef SYS_epoll_wait
	case SYS_epoll_wait:
		return epoll_wait((int)a[0], (struct epoll_event *)a[1], (int)a[2], (int)a[3]);
	case SYS_epoll_create:
		return epoll_create((int)a[0]);
#endif
#ifdef SYS_socketcall
	case SYS_socketcall:
		return socket_call(a);
#endif
#ifdef SYS__newselect
	case SYS__newselect:
		return select((int)a[0], (fd_set *)a[1], (fd_set *)a[2], (fd_set *)a[3], (struct timeval *)a[4]);
#elif defined(SYS_select)
	case SYS_select:
		return select((int)a[0], (fd_set *)a[1], (fd_set *)a[2], (fd_set *)a[3], (struct timeval *)a[4]);
#endif
	case SYS_ppoll:
		return ppoll((struct pollfd *)a[0], (nfds_t)a[1], (const struct timespec *)a[2], (const sigset_t *)a[3]);
	case SYS_pselect6:
		return pselect((int)a[0], (fd_set *)a[1], (fd_set *)a[2], (fd_set *)a[3], (const struct timespec *)a[4],
			       a[5] ? *(const sigset_t *const *)a[5] : NULL);
#if __SIZEOF_LONG__ == 8
	case SYS_epoll_pwait2:
		return epoll_pwait2((int)a[0], (struct epoll_event *)a[1], (int)a[2], (const struct timespec *)a[3],
				    (const sigset_t *)a[4]);
#elif defined(__GLIBC__)
	case SYS_fcntl64:
		return fcntl64((int)a[0], (int)a[1], a[2]);
	case SYS_epoll_pwait2:
		return __epoll_pwait2_time64((int)a[0], (struct epoll_event *)a[1], (int)a[2], (const struct cw_timespec64 *)a[3],
					     (const sigset_t *)a[4]);
	case SYS_ppoll_time64:
		return __ppoll64((struct pollfd *)a[0], (nfds_t)a[1], (const struct cw_timespec64 *)a[2], (const sigset_t *)a[3]);
	case SYS_pselect6_time64:
		return __pselect64((int)a[0], (fd_set *)a[1], (fd_set *)a[2], (fd_set *)a[3], (const struct cw_timespec64 *)a[4],
				   a[5] ? *(const sigset_t *const *)a[5] : NULL);
	case SYS_recvmmsg_time64:
		return __recvmmsg64((int)a[0], (struct mmsghdr *)a[1], (unsigned)a[2], (int)a[3], (struct cw_timespec64 *)a[4]);
#endif
	case SYS_preadv2:
		return cw_preadv2((int)a[0], (const struct iovec *)a[1], (int)a[2], offset_of(a), (int)a[5]);
	case SYS_pwritev2:
		return cw_pwritev2((int)a[0], (const struct iovec *)a[1], (int)a[2], offset_of(a), (int)a[5]);
	case SYS_epoll_pwait:
		return epoll_pwait((int)a[0], (struct epoll_event *)a[1], (int)a[2], (int)a[3], (const sigset_t *)a[4]);
	case SYS_epoll_create1:
		return epoll_create1((int)a[0]);
	case SYS_epoll_ctl:
		return epoll_ctl((int)a[0], (int)a[1], (int)a[2], (struct epoll_event *)a[3]);
	case SYS_execve:
		return execve((const char *)a[0], (char *const *)a[1], (char *const *)a[2]);
	case SYS_unshare:
		return unshare((int)a[0]);
	case SYS_setns:
		return setns((int)a[0], (int)a[1]);
	case SYS_prctl:
		return prctl((int)a[0], a[1], a[2], a[3], a[4]);
	case SYS_execveat:
		return execveat((int)a[0], (const char *)a[1], (char *const *)a[2], (char *const *)a[3], (int)a[4]);
#ifdef SYS_fork
	case SYS_fork:
#endif
	case SYS_clone:
	case SYS_clone3:
		*known = cw_clone_by_number(number, a, &result);
		return result;
	case SYS_seccomp:
		cw_before_filter(a[0] == SECCOMP_SET_MODE_STRICT || (a[0] == SECCOMP_SET_MODE_FILTER && a[2]));
		break;
	case SYS_io_submit:
		cw_before_submit((struct iocb *const *)a[2], a[1]);
		break;
	case SYS_io_uring_setup:
		return cw_uring_made((int)by_kernel(number, a));
	}
	*known = false;
	return 0;
}

/* Of the calls that leave in their time-out what is left of it, which libc's functions hide. */
static struct timespec *timeout_of(long number, const long a[6])
{
	if (number == SYS_ppoll)
		return (struct timespec *)a[2];
	if (number == SYS_pselect6)
		return (struct timespec *)a[4];
	return NULL;
}

/* Memory that can't be written is no mistake for the kernel either. */
static void tell_rest(struct timespec *timeout, uint64_t since, long result)
{
	struct timespec rest = {0};
	struct iovec from = {&rest, sizeof(rest)}, to = {timeout, sizeof(rest)};
	int64_t gone = (int64_t)(cw_monotonic_ns() - since), left;

	if ((result < 0 && errno != EINTR) || (!timeout->tv_sec && !timeout->tv_nsec))
		return;
	/* Seconds and the rest apart: a time-out that means for ever has more seconds than there is room for in nanoseconds. */
	rest.tv_sec = timeout->tv_sec - (time_t)(gone / 1000000000);
	left = timeout->tv_nsec - gone % 1000000000;
	if (left < 0) {
		rest.tv_sec--;
		left += 1000000000;
	}
	rest.tv_nsec = (long)left;
	if (rest.tv_sec < 0)
		rest = (struct timespec){0};
	cw_raw(SYS_process_vm_writev, cw_raw(SYS_getpid, 0, 0, 0, 0, 0, 0), (long)&from, 1, (long)&to, 1, 0);
}

bool cw_by_number(long number, const long a[6], long *result)
{
	struct timespec *timeout = timeout_of(number, a);
	uint64_t since;
	bool known;

	if (cw_unlikely(cw_is_plain()) && !names_descriptors_to_close(number))
		return false;
	since = timeout ? cw_monotonic_ns() : 0;
	*result = by_name(number, a, &known);
	if (timeout && known)
		tell_rest(timeout, since, *result);
	return known;
}

/* By calls that are cancellation points, where libc's syscall is none. */
static cw_noinline bool by_number_uncancelled(long number, const long a[6], long *result)
{
	int before;
	bool known;

	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &before);
	known = cw_by_number(number, a, result);
	pthread_setcancelstate(before, NULL);
	return known;
}

CW_EXPORT long syscall(long number, ...)
{
	va_list list;
	long a[6], result;
	bool known;

	va_start(list, number);
	for (int i = 0; i < 6; i++)
		a[i] = va_arg(list, long);
	va_end(list);
	/* Another thread may cancel this one for the first time while it waits. */
	known = cw_sole_thread() ? cw_by_number(number, a, &result) : by_number_uncancelled(number, a, &result);
	return known ? result : by_kernel(number, a);
}
