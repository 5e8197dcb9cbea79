/* Calls that move several buffers, with or without a message header. */
#include "call.h"
#include "process.h"
#include "sockets/leave.h"
#include "sockets/memory.h"

#include <sys/uio.h>

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

	if (cw_likely(!stream) || count < 0)
		return cw_real.readv(fd, iov, count);
	return CW_RECEIVE(stream, fd, cw_real.readv(fd, iov, count), read_vector(stream, fd, iov, count, 0));
}

CW_EXPORT ssize_t writev(int fd, const struct iovec *iov, int count)
{
	struct cw_stream *stream = cw_stream_for(fd);

	if (cw_likely(!stream) || count < 0 || count > 1024 || (count && cw_nowhere(iov, 1)))
		return cw_real.writev(fd, iov, count);
	return CW_SEND(stream, fd, cw_real.writev(fd, iov, count), cw_send_iov(stream, fd, iov, (size_t)count, 0));
}

static int flags_of(int flags)
{
	return flags & RWF_NOWAIT ? MSG_DONTWAIT : 0;
}

CW_EXPORT ssize_t preadv2(int fd, const struct iovec *iov, int count, off_t offset, int flags)
{
	struct cw_stream *stream = cw_stream_for(fd);

	if (cw_likely(!stream) || count < 0 || offset != -1 || (flags & ~(RWF_NOWAIT | RWF_HIPRI)))
		return cw_real.preadv2(fd, iov, count, offset, flags);
	return CW_RECEIVE(stream, fd, cw_real.preadv2(fd, iov, count, offset, flags), read_vector(stream, fd, iov, count, flags_of(flags)));
}

CW_EXPORT ssize_t preadv64v2(int fd, const struct iovec *iov, int count, off64_t offset, int flags)
{
	return preadv2(fd, iov, count, offset, flags);
}

CW_EXPORT ssize_t pwritev2(int fd, const struct iovec *iov, int count, off_t offset, int flags)
{
	struct cw_stream *stream = cw_stream_for(fd);

	if (cw_likely(!stream) || count < 0 || offset != -1 || (flags & ~(RWF_NOWAIT | RWF_HIPRI)))
		return cw_real.pwritev2(fd, iov, count, offset, flags);
	return CW_SEND(stream, fd, cw_real.pwritev2(fd, iov, count, offset, flags),
		       cw_send_iov(stream, fd, iov, (size_t)count, flags_of(flags)));
}

CW_EXPORT ssize_t pwritev64v2(int fd, const struct iovec *iov, int count, off64_t offset, int flags)
{
	return pwritev2(fd, iov, count, offset, flags);
}

CW_EXPORT ssize_t recvmsg(int fd, struct msghdr *message, int flags)
{
	struct cw_stream *stream = cw_stream_for(fd);

	if (cw_likely(!stream) || cw_nowhere(message, 1) || (message->msg_iovlen && cw_nowhere(message->msg_iov, 1)))
		return cw_kernel.recvmsg(fd, message, flags);
	return CW_RECEIVE(stream, fd, cw_kernel.recvmsg(fd, message, flags), cw_receive_message(stream, fd, message, flags));
}

static ssize_t send_moved(struct cw_stream *stream, int fd, const struct msghdr *message, int flags)
{
	if (cw_unlikely(flags & MSG_OOB))
		cw_leave_sending(stream, fd, CW_REASON_urgent);
	if (cw_unlikely(message->msg_controllen))
		return cw_send_message(stream, fd, message, flags);
	return cw_send_iov(stream, fd, message->msg_iov, message->msg_iovlen, flags);
}

CW_EXPORT ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
	struct cw_stream *stream = cw_stream_for(fd);

	if (cw_likely(!stream) || cw_nowhere(message, 1) || (message->msg_iovlen && cw_nowhere(message->msg_iov, 1))) {
		if (!cw_nowhere(message, 1) && cw_unlikely(message->msg_controllen))
			cw_before_passing(message);
		return cw_kernel.sendmsg(fd, message, flags);
	}
	if (cw_unlikely(flags & MSG_OOB))
		cw_stream_stays(stream, CW_REASON_urgent);
	return CW_SEND(stream, fd, cw_kernel.sendmsg(fd, message, flags), send_moved(stream, fd, message, flags));
}

CW_EXPORT int sendmmsg(int fd, struct mmsghdr *messages, unsigned count, int flags)
{
	struct cw_stream *stream = cw_stream_for(fd);
	unsigned done = 0;

	if (cw_likely(!stream)) {
		for (unsigned i = 0; i < count; i++)
			if (messages[i].msg_hdr.msg_controllen)
				cw_before_passing(&messages[i].msg_hdr);
		return cw_real.sendmmsg(fd, messages, count, flags);
	}
	for (; done < count; done++) {
		ssize_t sent = sendmsg(fd, &messages[done].msg_hdr, flags);

		if (sent < 0)
			return done ? (int)done : -1;
		messages[done].msg_len = (unsigned)sent;
	}
	return (int)done;
}

CW_EXPORT int recvmmsg(int fd, struct mmsghdr *messages, unsigned count, int flags, struct timespec *timeout)
{
	struct cw_stream *stream = cw_stream_for(fd);
	int64_t deadline;
	unsigned done = 0;

	if (cw_likely(!stream))
		return cw_real.recvmmsg(fd, messages, count, flags, timeout);
	deadline = timeout ? (int64_t)cw_monotonic_ns() + timeout->tv_sec * INT64_C(1000000000) + timeout->tv_nsec : 0;
	for (; done < count; done++) {
		ssize_t got = recvmsg(fd, &messages[done].msg_hdr, flags & ~MSG_WAITFORONE);

		if (got < 0)
			return done ? (int)done : -1;
		messages[done].msg_len = (unsigned)got;
		if (flags & MSG_WAITFORONE)
			flags |= MSG_DONTWAIT;
		/* The time-out is looked at between messages only, as the kernel does it. */
		if (timeout && (int64_t)cw_monotonic_ns() >= deadline)
			return (int)done + 1;
	}
	return (int)done;
}
