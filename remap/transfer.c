/* Calls that move one buffer. */
#include "call.h"
#include "datagram.h"
#include "sockets/leave.h"
#include "sockets/memory.h"
#include "sockets/unix.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/sendfile.h>
#include <unistd.h>

static cw_noinline ssize_t read_ours(int fd, void *bytes, size_t count)
{
	struct cw_stream *stream = cw_stream_for(fd);
	struct cw_datagram *datagram = stream ? NULL : cw_datagram_of(fd);

	if (datagram && count)
		return cw_datagram_get(datagram, fd, bytes, count, 0, NULL, NULL);
	if (!stream || cw_too_long(count))
		return cw_real.read(fd, bytes, count);
	return CW_RECEIVE(stream, fd, cw_real.read(fd, bytes, count),
			  count ? cw_receive(stream, fd, bytes, cw_at_once(count), 0) : cw_real.read(fd, bytes, 0));
}

CW_EXPORT ssize_t read(int fd, void *bytes, size_t count)
{
	if (cw_likely(cw_is_foreign(fd)))
		return cw_real.read(fd, bytes, count);
	return read_ours(fd, bytes, count);
}

static cw_noinline ssize_t write_ours(int fd, const void *bytes, size_t count)
{
	struct cw_stream *stream = cw_stream_for(fd);
	struct cw_datagram *datagram = stream ? NULL : cw_datagram_of(fd);

	if (datagram && !cw_too_long(count))
		return cw_datagram_put(datagram, fd, bytes, count, 0, NULL, 0);
	if (!stream || cw_too_long(count))
		return cw_real.write(fd, bytes, count);
	return CW_SEND(stream, fd, cw_real.write(fd, bytes, count), cw_send(stream, fd, bytes, cw_at_once(count), 0));
}

CW_EXPORT ssize_t write(int fd, const void *bytes, size_t count)
{
	if (cw_likely(cw_is_foreign(fd)))
		return cw_real.write(fd, bytes, count);
	return write_ours(fd, bytes, count);
}

CW_EXPORT ssize_t recv(int fd, void *bytes, size_t count, int flags)
{
	struct cw_stream *stream = cw_stream_for(fd);
	struct cw_datagram *datagram = stream ? NULL : cw_datagram_of(fd);

	if (datagram)
		return cw_datagram_get(datagram, fd, bytes, count, flags, NULL, NULL);
	if (cw_likely(!stream))
		return cw_kernel.recv(fd, bytes, count, flags);
	return CW_RECEIVE(stream, fd, cw_unix_looked(stream, flags, cw_kernel.recv(fd, bytes, count, flags)),
			  cw_receive(stream, fd, bytes, cw_at_once(count), flags));
}

/* The kernel takes the bytes before it looks where to put the address. */
static ssize_t receive_from(struct cw_stream *stream, int fd, void *bytes, size_t count, int flags, struct sockaddr *from, socklen_t *size)
{
	ssize_t got = cw_receive(stream, fd, bytes, cw_at_once(count), flags);

	if (got < 0 || !from)
		return got;
	if (cw_nowhere(size, sizeof(*size)))
		return cw_bad_address();
	if ((int)*size < 0) {
		errno = EINVAL;
		return -1;
	}
	if (got && stream->is_unix)
		cw_unix_name(fd, from, size);
	else
		*size = 0; /* as TCP: a stream's bytes carry no address */
	return got;
}

CW_EXPORT ssize_t recvfrom(int fd, void *bytes, size_t count, int flags, __SOCKADDR_ARG address, socklen_t *size)
{
	struct cw_stream *stream = cw_stream_for(fd);
	struct cw_datagram *datagram = stream ? NULL : cw_datagram_of(fd);
	struct sockaddr *from = *(struct sockaddr **)&address;

	if (datagram)
		return cw_datagram_get(datagram, fd, bytes, count, flags, from, size);
	if (cw_likely(!stream))
		return cw_real.recvfrom(fd, bytes, count, flags, from, size);
	return CW_RECEIVE(stream, fd, cw_unix_looked(stream, flags, cw_real.recvfrom(fd, bytes, count, flags, from, size)),
			  receive_from(stream, fd, bytes, count, flags, from, size));
}

static ssize_t send_moved(struct cw_stream *stream, int fd, const void *bytes, size_t count, int flags)
{
	if (cw_unlikely(flags & MSG_OOB))
		cw_leave_sending_by_send(stream, fd, CW_REASON_urgent);
	return cw_send(stream, fd, bytes, cw_at_once(count), flags);
}

CW_EXPORT ssize_t send(int fd, const void *bytes, size_t count, int flags)
{
	struct cw_stream *stream = cw_stream_for(fd);
	struct cw_datagram *datagram = stream ? NULL : cw_datagram_of(fd);

	if (datagram)
		return cw_datagram_put(datagram, fd, bytes, count, flags, NULL, 0);
	if (cw_likely(!stream))
		return cw_real.send(fd, bytes, count, flags);
	if (cw_unlikely(flags & MSG_OOB))
		cw_stream_stays(stream, CW_REASON_urgent);
	return CW_SEND(stream, fd, cw_real.send(fd, bytes, count, flags), send_moved(stream, fd, bytes, count, flags));
}

CW_EXPORT ssize_t sendto(int fd, const void *bytes, size_t count, int flags, __CONST_SOCKADDR_ARG address, socklen_t size)
{
	struct cw_stream *stream = cw_stream_for(fd);
	struct cw_datagram *datagram = stream ? NULL : cw_datagram_of(fd);
	const struct sockaddr *to = *(const struct sockaddr **)&address;

	bool refused = to && (size > sizeof(struct sockaddr_storage) || cw_nowhere(to, size)); /* else its size means nothing */

	if (datagram && !refused)
		return cw_datagram_put(datagram, fd, bytes, count, flags, to, size);
	if (cw_likely(!stream) || refused)
		return cw_real.sendto(fd, bytes, count, flags, to, size);
	if (cw_unlikely(stream->is_unix) && to && size)
		return cw_real.sendto(fd, bytes, count, flags, to, size); /* the kernel has the errno */
	if (cw_unlikely(flags & MSG_OOB))
		cw_stream_stays(stream, CW_REASON_urgent);
	return CW_SEND(stream, fd, cw_real.sendto(fd, bytes, count, flags, to, size), send_moved(stream, fd, bytes, count, flags));
}

static bool is_pipe(int fd)
{
	return cw_raw_fcntl(fd, F_GETPIPE_SZ, 0) >= 0;
}

/* Into a pipe the kernel splices, from whatever it is. */
static ssize_t file_into_pipe(int pipe, int from, size_t count)
{
	unsigned flags = cw_raw_fcntl(pipe, F_GETFL, 0) & O_NONBLOCK ? SPLICE_F_NONBLOCK : 0;

	return splice(from, NULL, pipe, NULL, cw_at_once(count), flags);
}

/* libc's own is no cancellation point. */
static ssize_t file_into_stream(struct cw_stream *stream, int fd, int from, off64_t *offset, size_t count)
{
	int before = cw_hold_cancellation();
	ssize_t sent = CW_SEND(stream, fd, cw_kernel.sendfile64(fd, from, offset, count),
			       cw_send_file(stream, fd, from, offset, cw_at_once(count)));

	cw_release_cancellation(before);
	return sent;
}

ssize_t cw_sendfile(int fd, int from, off64_t *offset, size_t count)
{
	struct cw_stream *stream = cw_stream_for(fd);

	if (!stream)
		cw_datagram_leave_by(fd, CW_REASON_splice);
	if (!stream && !offset && cw_unlikely(cw_stream_of(from) != NULL) && !cw_too_long(count) && is_pipe(fd))
		return file_into_pipe(fd, from, count);
	if (cw_likely(!stream) || !count || cw_too_long(count) || (offset && cw_nowhere(offset, sizeof(*offset))))
		return cw_kernel.sendfile64(fd, from, offset, count);
	return file_into_stream(stream, fd, from, offset, count);
}

#if __SIZEOF_LONG__ == 8
CW_EXPORT ssize_t sendfile(int fd, int from, off_t *offset, size_t count)
{
	return cw_sendfile(fd, from, offset, count);
}
#else
CW_EXPORT ssize_t sendfile(int fd, int from, off_t *offset, size_t count)
{
	off64_t wide;
	ssize_t sent;

	if (!offset || cw_nowhere(offset, sizeof(*offset)))
		return cw_sendfile(fd, from, (off64_t *)offset, count);
	wide = *offset;
	sent = cw_sendfile(fd, from, &wide, count);
	*offset = (off_t)wide;
	return sent;
}
#endif

#ifdef __GLIBC__
CW_EXPORT ssize_t sendfile64(int fd, int from, off64_t *offset, size_t count)
{
	return cw_sendfile(fd, from, offset, count);
}
#endif

/* Splicing takes bytes inside the kernel. What the ring still holds goes first, by hand. */
static ssize_t splice_from(struct cw_stream *stream, int from, int to, off64_t *to_offset, size_t count, unsigned flags)
{
	struct pollfd room = {.fd = to, .events = POLLOUT};
	char part[4096];
	ssize_t got;

	cw_leave(stream, CW_REASON_splice);
	if (!to_offset && count) {
		got = cw_receive(stream, from, part, count < sizeof(part) ? count : sizeof(part), MSG_DONTWAIT | MSG_PEEK);
		if (got > 0 && (flags & SPLICE_F_NONBLOCK) && cw_kernel.poll(&room, 1, 0) == 0) {
			errno = EAGAIN;
			return -1;
		}
		if (got > 0) {
			got = cw_real.write(to, part, (size_t)got);
			for (ssize_t taken = 0, one = 1; taken < got && one > 0; taken += one)
				one = cw_receive(stream, from, part, (size_t)(got - taken), MSG_DONTWAIT);
			return got; /* without room too: what the kernel has comes behind the ring's */
		}
		if (got < 0 && errno != EAGAIN)
			return -1;
	}
	return cw_real.splice(from, NULL, to, to_offset, count, flags);
}

#define SPLICE_FLAGS ((unsigned)(SPLICE_F_MOVE | SPLICE_F_NONBLOCK | SPLICE_F_MORE | SPLICE_F_GIFT))

CW_EXPORT ssize_t splice(int from, off64_t *from_offset, int to, off64_t *to_offset, size_t count, unsigned flags)
{
	struct cw_stream *source = cw_stream_for(from), *target = cw_stream_of(to);

	cw_datagram_leave_by(from, CW_REASON_splice);
	cw_datagram_leave_by(to, CW_REASON_splice);
	if ((source && !is_pipe(to)) || (target && !is_pipe(from)) || (flags & ~SPLICE_FLAGS))
		return cw_real.splice(from, from_offset, to, to_offset, count, flags); /* the kernel has the errno */
	if (target && cw_is_moved(target, to))
		cw_leave_sending(target, to, CW_REASON_splice);
	else if (target)
		cw_stream_stays(target, CW_REASON_splice);
	if (source && cw_is_moved(source, from) && !from_offset)
		return splice_from(source, from, to, to_offset, count, flags);
	if (source)
		cw_stream_stays(source, CW_REASON_splice);
	return cw_real.splice(from, from_offset, to, to_offset, count, flags);
}
