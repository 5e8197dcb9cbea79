/* Calls that move several buffers, with or without a message header. */
#include "call.h"
#include "datagram.h"
#include "process.h"
#include "sockets/error.h"
#include "sockets/leave.h"
#include "sockets/memory.h"
#include "sockets/poll.h"
#include "sockets/ready.h"
#include "sockets/unix.h"

#include <limits.h>
#include <sys/time.h>
#include <sys/uio.h>

#define MOST_MESSAGES 1024u /* the kernel sends no more by one call */

/* readv of nothing is 0 at once, where recvmsg of nothing waits. */
static ssize_t read_vector(struct cw_stream *stream, int fd, const struct iovec *iov, int count, int flags)
{
	size_t total = 0;

	if (count > 1024 || (count && cw_nowhere(iov, 1)))
		return cw_real.readv(fd, iov, count); /* the kernel has the errno */
	for (int i = 0; i < count; i++)
		total |= iov[i].iov_len;
	return total ? cw_receive_iov(stream, fd, iov, (size_t)count, flags) : 0;
}

CW_EXPORT ssize_t readv(int fd, const struct iovec *iov, int count)
{
	struct cw_stream *stream = cw_stream_for(fd);
	struct cw_datagram *datagram = stream ? NULL : cw_datagram_of(fd);

	if (datagram)
		return cw_datagram_get_iov(datagram, fd, iov, count, 0);
	if (cw_likely(!stream) || count < 0)
		return cw_real.readv(fd, iov, count);
	return CW_RECEIVE(stream, fd, cw_real.readv(fd, iov, count), read_vector(stream, fd, iov, count, 0));
}

/* Of nothing: 0, whatever became of the stream. */
static ssize_t write_vector(struct cw_stream *stream, int fd, const struct iovec *iov, int count, int flags)
{
	size_t total = 0;

	for (int i = 0; i < count; i++)
		total |= iov[i].iov_len;
	return total ? cw_send_iov(stream, fd, iov, (size_t)count, flags) : 0;
}

CW_EXPORT ssize_t writev(int fd, const struct iovec *iov, int count)
{
	struct cw_stream *stream = cw_stream_for(fd);
	struct cw_datagram *datagram = stream ? NULL : cw_datagram_of(fd);

	if (datagram)
		return cw_datagram_put_iov(datagram, fd, iov, count, 0);
	if (cw_likely(!stream) || count < 0 || count > 1024 || (count && cw_nowhere(iov, 1)))
		return cw_real.writev(fd, iov, count);
	return CW_SEND(stream, fd, cw_real.writev(fd, iov, count), write_vector(stream, fd, iov, count, 0));
}

/* Those that mean something, or nothing, to a socket of every kernel. */
#define SOCKET_FLAGS (RWF_NOWAIT | RWF_HIPRI | RWF_DSYNC | RWF_SYNC | RWF_APPEND)

static int flags_of(int flags)
{
	return flags & RWF_NOWAIT ? MSG_DONTWAIT : 0;
}

/* A place in it, or flags of which the kernel knows: it refuses, or takes and puts bytes itself. */
static bool is_kernels(struct cw_stream *stream, int fd, off64_t offset, int flags)
{
	if (offset == -1 && !(flags & ~SOCKET_FLAGS))
		return false;
	if (offset == -1)
		cw_leave_whole(stream, fd, CW_REASON_option);
	return true;
}

ssize_t cw_preadv2(int fd, const struct iovec *iov, int count, off64_t offset, int flags)
{
	struct cw_stream *stream = cw_stream_for(fd);
	struct cw_datagram *datagram = stream ? NULL : cw_datagram_of(fd);

	if (datagram && count > 0 && offset == -1 && !(flags & ~SOCKET_FLAGS))
		return cw_datagram_get_iov(datagram, fd, iov, count, flags_of(flags));
	if (cw_likely(!stream) || count < 0 || is_kernels(stream, fd, offset, flags))
		return cw_real.preadv64v2(fd, iov, count, offset, flags);
	return CW_RECEIVE(stream, fd, cw_real.preadv64v2(fd, iov, count, offset, flags),
			  read_vector(stream, fd, iov, count, flags_of(flags)));
}

ssize_t cw_pwritev2(int fd, const struct iovec *iov, int count, off64_t offset, int flags)
{
	struct cw_stream *stream = cw_stream_for(fd);
	struct cw_datagram *datagram = stream ? NULL : cw_datagram_of(fd);

	if (datagram && count > 0 && offset == -1 && !(flags & ~SOCKET_FLAGS))
		return cw_datagram_put_iov(datagram, fd, iov, count, flags_of(flags));
	if (cw_likely(!stream) || count < 0 || count > 1024 || (count && cw_nowhere(iov, 1)) || is_kernels(stream, fd, offset, flags))
		return cw_real.pwritev64v2(fd, iov, count, offset, flags);
	return CW_SEND(stream, fd, cw_real.pwritev64v2(fd, iov, count, offset, flags),
		       write_vector(stream, fd, iov, count, flags_of(flags)));
}

CW_EXPORT ssize_t preadv2(int fd, const struct iovec *iov, int count, off_t offset, int flags)
{
	return cw_preadv2(fd, iov, count, offset, flags);
}

CW_EXPORT ssize_t pwritev2(int fd, const struct iovec *iov, int count, off_t offset, int flags)
{
	return cw_pwritev2(fd, iov, count, offset, flags);
}

#ifdef __GLIBC__
CW_EXPORT ssize_t preadv64v2(int fd, const struct iovec *iov, int count, off64_t offset, int flags)
{
	return cw_preadv2(fd, iov, count, offset, flags);
}

CW_EXPORT ssize_t pwritev64v2(int fd, const struct iovec *iov, int count, off64_t offset, int flags)
{
	return cw_pwritev2(fd, iov, count, offset, flags);
}
#endif

CW_EXPORT ssize_t recvmsg(int fd, struct msghdr *message, int flags)
{
	struct cw_stream *stream = cw_stream_for(fd);
	struct cw_datagram *datagram = stream ? NULL : cw_datagram_of(fd);

	if (datagram)
		return cw_datagram_recvmsg(datagram, fd, message, flags);
	if (cw_likely(!stream) || cw_nowhere(message, 1) || (message->msg_iovlen && cw_nowhere(message->msg_iov, 1)) ||
	    cw_named_by_less(message))
		return cw_kernel.recvmsg(fd, message, flags);
	return CW_RECEIVE(stream, fd, cw_unix_looked(stream, flags, cw_kernel.recvmsg(fd, message, flags)),
			  cw_receive_message(stream, fd, message, flags));
}

static ssize_t send_moved(struct cw_stream *stream, int fd, const struct msghdr *message, int flags)
{
	if (cw_unlikely(flags & MSG_OOB))
		cw_leave_sending_by_send(stream, fd, CW_REASON_urgent);
	if (cw_unlikely(stream->is_unix) && message->msg_name && message->msg_namelen)
		return cw_kernel.sendmsg(fd, message, flags); /* the kernel has the errno */
	if (cw_unlikely(message->msg_controllen))
		return cw_send_message(stream, fd, message, flags);
	return cw_send_iov(stream, fd, message->msg_iov, message->msg_iovlen, flags);
}

CW_EXPORT ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
	struct cw_stream *stream = cw_stream_for(fd);
	struct cw_datagram *datagram = stream ? NULL : cw_datagram_of(fd);

	if (datagram)
		return cw_datagram_sendmsg(datagram, fd, message, flags);
	if (cw_likely(!stream) || cw_nowhere(message, 1) || (message->msg_iovlen && cw_nowhere(message->msg_iov, 1)) ||
	    cw_named_by_less(message)) {
		if (!cw_nowhere(message, 1) && cw_unlikely(message->msg_controllen))
			cw_before_passing(message);
		return cw_kernel.sendmsg(fd, message, flags);
	}
	if (cw_unlikely(stream->is_unix) && message->msg_controllen)
		cw_before_passing(message);
	if (cw_unlikely(flags & MSG_OOB))
		cw_stream_stays(stream, CW_REASON_urgent);
	return CW_SEND(stream, fd, cw_kernel.sendmsg(fd, message, flags), send_moved(stream, fd, message, flags));
}

/* musl sends several messages one by one, if its longs have 64 bits. */
#if defined(__GLIBC__) || __SIZEOF_LONG__ == 4
#define BY_KERNEL_ALONE 1
#else
#define BY_KERNEL_ALONE 0
#endif

/* The kernel ends behind a message that it sent a part of. musl goes on. */
static bool is_whole(const struct msghdr *message, size_t sent)
{
#if BY_KERNEL_ALONE
	size_t total = 0;

	for (size_t i = 0; i < (size_t)message->msg_iovlen && total <= sent; i++)
		total += message->msg_iov[i].iov_len;
	return total <= sent;
#else
	(void)message;
	(void)sent;
	return true;
#endif
}

/* SO_RCVTIMEO, SO_SNDTIMEO. -1: none, or longer than poll can say. */
static int limit_of(int fd, int option)
{
	struct timeval limit = {0};
	socklen_t size = sizeof(limit);

	cw_raw_getsockopt(fd, SOL_SOCKET, option, &limit, &size);
	if ((!limit.tv_sec && !limit.tv_usec) || limit.tv_sec >= INT_MAX / 1000)
		return -1;
	return (int)(limit.tv_sec * 1000 + (limit.tv_usec + 999) / 1000);
}

/*
 * A message behind others is waited for here, in a call that is never restarted: a signal ends the whole with what there is, whatever
 * SA_RESTART says. False, and errno: nothing came in time, or what else there is.
 */
static bool await(int fd, short events)
{
	struct pollfd one = {.fd = fd, .events = events};
	int ready = cw_poll(&one, 1, limit_of(fd, events == POLLIN ? SO_RCVTIMEO : SO_SNDTIMEO));

	if (!ready)
		errno = EAGAIN;
	return ready > 0;
}

static bool waits(struct cw_stream *entry, int fd, int flags)
{
	return !(flags & MSG_DONTWAIT) && cw_stream_blocks(entry, fd);
}

static bool may_send_next(struct cw_stream *stream, int fd, int flags)
{
	return !BY_KERNEL_ALONE || (cw_is_moved(stream, fd) && cw_ready_to_send(stream)) || !waits(stream, fd, flags) || await(fd, POLLOUT);
}

CW_EXPORT int sendmmsg(int fd, struct mmsghdr *messages, unsigned count, cw_message_flags flags)
{
	struct cw_stream *stream = cw_stream_for(fd);
	struct cw_datagram *datagram = stream ? NULL : cw_datagram_of(fd);
	unsigned done = 0;

	if (count > MOST_MESSAGES)
		count = MOST_MESSAGES;
	if (datagram && !cw_datagram_sends_by_ring(datagram))
		return cw_datagram_sendmmsg(datagram, fd, messages, count, flags);
	if (cw_likely(!stream && !datagram)) {
		for (unsigned i = 0; i < count && !cw_nowhere(messages, 1); i++)
			if (messages[i].msg_hdr.msg_controllen)
				cw_before_passing(&messages[i].msg_hdr);
		return cw_real.sendmmsg(fd, messages, count, (int)flags);
	}
	while (done < count) {
		struct mmsghdr *message = &messages[done];
		ssize_t sent = -1;

		if (!done || !stream || may_send_next(stream, fd, (int)flags))
			sent = sendmsg(fd, &message->msg_hdr, (int)flags);
		if (sent < 0)
			return done ? (int)done : -1;
		message->msg_len = (unsigned)sent;
		done++;
		if (stream && !is_whole(&message->msg_hdr, (size_t)sent))
			break;
	}
	return (int)done;
}

/* What is left of the time-out is told, as the kernel tells it behind each message. */
static bool time_is_over(struct timespec *timeout, int64_t deadline)
{
	int64_t left = deadline - (int64_t)cw_monotonic_ns();

	left = left > 0 ? left : 0;
	timeout->tv_sec = left / 1000000000;
	timeout->tv_nsec = left % 1000000000;
	return !left;
}

/* An error that is there already is told before bytes. */
static int pending_error(struct cw_stream *stream, int fd)
{
	int error = cw_error_take(stream);
	socklen_t size = sizeof(error);

	if (!error)
		cw_raw_getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size);
	return error;
}

static ssize_t receive_next(struct cw_datagram *datagram, int fd, struct msghdr *message, int flags)
{
	return datagram ? cw_datagram_recvmsg_behind(datagram, fd, message, flags) : recvmsg(fd, message, flags);
}

/* What poll tells needs no waiting for, or is none that a wait could wait out: the end, or what is in the queue of errors. */
static ssize_t receive_behind(struct cw_stream *entry, struct cw_datagram *datagram, int fd, struct msghdr *message, int flags)
{
	bool all = !datagram && (flags & MSG_WAITALL) && waits(entry, fd, flags); /* without waiting it would take a part */
	ssize_t got = all ? -1 : receive_next(datagram, fd, message, flags | MSG_DONTWAIT);

	if (!all && (got >= 0 || errno != EAGAIN || !waits(entry, fd, flags)))
		return got;
	return await(fd, POLLIN) ? receive_next(datagram, fd, message, flags) : -1;
}

/* datagram: NULL, or the one that the entry is of. */
static int receive_messages(struct cw_stream *stream, struct cw_datagram *datagram, int fd, struct mmsghdr *messages, unsigned count,
			    int flags, struct timespec *timeout)
{
	/* For ever, if it is a life long. */
	bool limited = timeout && timeout->tv_sec < CW_LIFE_LONG;
	int64_t deadline = limited ? (int64_t)cw_monotonic_ns() + timeout->tv_sec * INT64_C(1000000000) + timeout->tv_nsec : 0;
	unsigned done = 0;
	int error = pending_error(stream, fd);

	if (error) {
		errno = error;
		return -1;
	}
	while (done < count) {
		struct msghdr *message = &messages[done].msg_hdr;
		ssize_t got = done ? receive_behind(stream, datagram, fd, message, flags & ~MSG_WAITFORONE)
				   : recvmsg(fd, message, flags & ~MSG_WAITFORONE);

		if (got < 0 && !done)
			return -1;
		if (got < 0) {
			if (errno != EAGAIN && errno != EINTR)
				atomic_store_explicit(&stream->error, errno, memory_order_relaxed);
			break;
		}
		messages[done++].msg_len = (unsigned)got;
		if (messages[done - 1].msg_hdr.msg_flags & MSG_OOB)
			break;
		if (flags & MSG_WAITFORONE)
			flags |= MSG_DONTWAIT;
		/* The time-out is looked at between messages only, as the kernel does it. */
		if (limited && time_is_over(timeout, deadline))
			break;
	}
	return (int)done;
}

/* Of one that has flows by ring, and is held: a cancelled thread gives it back. */
static int receive_datagrams(struct cw_datagram *datagram, int fd, struct mmsghdr *messages, unsigned count, int flags,
			     struct timespec *timeout)
{
	int got;

	if (cw_sole_thread())
		return receive_messages(datagram->entry, datagram, fd, messages, count, flags, timeout);
	pthread_cleanup_push(cw_datagram_cancelled, datagram);
	got = receive_messages(datagram->entry, datagram, fd, messages, count, flags, timeout);
	pthread_cleanup_pop(0);
	return got;
}

CW_EXPORT int recvmmsg(int fd, struct mmsghdr *messages, unsigned count, cw_message_flags flags, struct timespec *timeout)
{
	struct cw_stream *stream = cw_stream_for(fd);
	struct cw_datagram *datagram = cw_datagram_of(fd);
	bool sensible = !timeout ||
			(!cw_nowhere(timeout, sizeof(*timeout)) && timeout->tv_sec >= 0 && (unsigned long)timeout->tv_nsec <= 999999999ul);

	if (datagram && (!sensible || ((int)flags & MSG_ERRQUEUE)))
		return cw_real.recvmmsg(fd, messages, count, (int)flags, timeout);
	if (datagram && cw_datagram_begins(datagram) && cw_datagram_hold(datagram, fd)) {
		int got = receive_datagrams(datagram, fd, messages, count, (int)flags, timeout);

		cw_datagram_release(datagram);
		return got;
	}
	if (datagram)
		return cw_datagram_recvmmsg(datagram, fd, messages, count, (int)flags, timeout);
	if (cw_likely(!stream) || !sensible)
		return cw_real.recvmmsg(fd, messages, count, (int)flags, timeout);
	return (int)CW_RECEIVE(stream, fd,
			       cw_unix_many(stream, messages, (int)flags, cw_real.recvmmsg(fd, messages, count, (int)flags, timeout)),
			       receive_messages(stream, NULL, fd, messages, count, (int)flags, timeout));
}
