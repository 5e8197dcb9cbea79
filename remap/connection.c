/* Calls that make, end and set up sockets. */
#include "call.h"
#include "sockets/error.h"
#include "sockets/leave.h"
#include "sockets/memory.h"
#include "sockets/set.h"
#include "sockets/switch.h"
#include "sockets/unix.h"
#include "stdio.h"

#include <linux/tcp.h>
#include <netinet/in.h>
#include <string.h>

CW_EXPORT int socket(int domain, int type, int protocol)
{
	bool plain = cw_is_plain();
	int fd = cw_real.socket(domain, type, protocol);

	if (fd >= 0 && !plain && (domain == AF_INET || domain == AF_INET6) && (type & 0xf) == SOCK_STREAM &&
	    (protocol == 0 || protocol == IPPROTO_TCP))
		cw_stream_open(fd, false, type & SOCK_NONBLOCK);
	else if (fd >= 0 && !plain && (domain == AF_INET || domain == AF_INET6) && (type & 0xf) == SOCK_DGRAM &&
		 (protocol == 0 || protocol == IPPROTO_UDP))
		cw_datagram_open(fd, domain, type & SOCK_NONBLOCK);
	else if (fd >= 0 && !plain && domain == AF_UNIX && (type & 0xf) == SOCK_STREAM)
		cw_unix_open(fd, false, type & SOCK_NONBLOCK);
	cw_stdio_given(fd);
	return fd;
}

CW_EXPORT int socketpair(int domain, int type, int protocol, int pair[2])
{
	bool plain = cw_is_plain();
	int result = cw_real.socketpair(domain, type, protocol, pair);

	for (int i = 0; result == 0 && !plain && domain == AF_UNIX && (type & 0xf) == SOCK_STREAM && i < 2; i++) {
		cw_unix_open(pair[i], true, type & SOCK_NONBLOCK);
		cw_stdio_given(pair[i]);
	}
	return result;
}

/* A listener that this program did not make (socket activation, exec, passed): what it accepts is ours all the same. */
static bool is_tcp(int fd)
{
	int protocol = 0;
	socklen_t size = sizeof(protocol);

	return cw_raw_getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &protocol, &size) == 0 && protocol == IPPROTO_TCP;
}

/* What has been said to the listener holds for what it accepts. The rest is asked for when it is offered (service_offer.c). */
static void inherit(struct cw_stream *made, const struct cw_stream *listener)
{
	if (!made || !listener)
		return;
	made->rcvbuf = listener->rcvbuf;
	made->most_bits = listener->most_bits;
	made->corked = listener->corked;
	made->own_clamp = listener->own_clamp;
}

static int accepted(int listener, int fd, bool nonblocking)
{
	const struct cw_stream *from = cw_stream_of(listener);

	if (fd < 0)
		return fd;
	if (from ? !from->is_unix : is_tcp(fd))
		inherit(cw_stream_open(fd, true, nonblocking), from);
	else if (from || cw_unix_is_stream(fd))
		cw_unix_open(fd, true, nonblocking);
	cw_stdio_given(fd);
	return fd;
}

CW_EXPORT int accept(int fd, __SOCKADDR_ARG address, socklen_t *size)
{
	if (cw_is_plain())
		return cw_real.accept(fd, *(struct sockaddr **)&address, size);
	return accepted(fd, cw_real.accept(fd, *(struct sockaddr **)&address, size), false);
}

CW_EXPORT int accept4(int fd, __SOCKADDR_ARG address, socklen_t *size, int flags)
{
	if (cw_is_plain())
		return cw_real.accept4(fd, *(struct sockaddr **)&address, size, flags);
	return accepted(fd, cw_real.accept4(fd, *(struct sockaddr **)&address, size, flags), flags & SOCK_NONBLOCK);
}

/* Whatever comes next is another stream. */
static int disconnect(struct cw_stream *stream, int fd, const struct sockaddr *to, socklen_t size)
{
	int result;

	cw_leave(stream, CW_REASON_option);
	result = cw_real.connect(fd, to, size);
	if (result == 0 && stream->slot)
		cw_leave_nothing(stream, fd);
	return result;
}

CW_EXPORT int connect(int fd, __CONST_SOCKADDR_ARG address, socklen_t size)
{
	struct cw_stream *stream = cw_stream_for(fd);
	const struct sockaddr *to = *(const struct sockaddr **)&address;
	struct cw_datagram *datagram;
	int result, error;

	if (stream && !stream->is_unix && !cw_nowhere(to, sizeof(*to)) && size >= sizeof(sa_family_t) && to->sa_family == AF_UNSPEC)
		return disconnect(stream, fd, to, size);
	result = cw_real.connect(fd, to, size);
	datagram = stream ? NULL : cw_datagram_held(fd);
	if (datagram) {
		error = errno;
		cw_datagram_connected(datagram, fd);
		cw_datagram_release(datagram);
		errno = error;
	}
	if (!stream || (result < 0 && errno != EINPROGRESS && errno != EINTR))
		return result;
	error = errno;
	cw_stream_connected(stream);
	errno = error;
	return result;
}

/* Both ways: the kernel answers what comes now by a reset, so nothing more may come by ring. What has come is still there to be read. */
static void refuse_more(struct cw_stream *stream, int fd)
{
	uint64_t word;
	bool nested;

	if (stream->broken || !cw_rx_lock(stream, fd, &nested))
		return;
	word = cw_state_mark(&stream->rx->state, CW_MARK_LEFT);
	if (cw_switch_unread_asleep(stream))
		cw_switch_wake(stream, &word); /* else its writer would take it back, and it would come now */
	cw_rx_unlock(stream, nested);
	cw_set_notice(stream);
}

CW_EXPORT int shutdown(int fd, int how)
{
	struct cw_stream *stream = cw_stream_for(fd);
	bool nested;

	if (how != SHUT_RD && how != SHUT_WR && how != SHUT_RDWR)
		return cw_real.shutdown(fd, how); /* EINVAL, and nothing is shut */
	if (!stream)
		cw_datagram_leave_by(fd, CW_REASON_option);
	if (stream && (how == SHUT_RD || how == SHUT_RDWR))
		stream->shut_reading = true;
	if (stream && (how == SHUT_WR || how == SHUT_RDWR))
		stream->shut_writing = true;
	if (stream && cw_is_moved(stream, fd) && !stream->broken && how != SHUT_RD && cw_tx_lock(stream, fd, &nested)) {
		/* What is sent after this goes to the kernel, which has the EPIPE. Marked before it is looked for RESEND, as in
		 * cw_switch_close. */
		uint64_t word = cw_state_mark(&stream->tx->state, CW_MARK_WRITER_SHUT | CW_MARK_LEFT);

		if (cw_state_of(word) == CW_ASLEEP && (word & CW_MARK_RESEND) && !nested)
			cw_switch_take_back(stream, fd, &word);
		cw_tx_unlock(stream, nested);
	}
	if (stream && stream->is_unix && (how == SHUT_RD || how == SHUT_RDWR) && cw_is_moved(stream, fd))
		cw_unix_shut_reading(stream, fd);
	else if (stream && !stream->is_unix && stream->shut_reading && cw_is_moved(stream, fd) &&
		 (atomic_load_explicit(&stream->tx->state, memory_order_relaxed) & CW_MARK_WRITER_SHUT))
		refuse_more(stream, fd);
	return cw_real.shutdown(fd, how);
}

static int value_of(const void *value, socklen_t size)
{
	return size >= sizeof(int) ? *(const int *)value : 0;
}

/* The ring's size follows the buffers that a program asks for, downwards. */
static void bound_ring(struct cw_stream *stream, int bytes)
{
	uint8_t bits = CW_RING_LEAST_BITS;

	while (bits < CW_RING_MAX_BITS && (2 << bits) <= bytes)
		bits++;
	if (bits < stream->most_bits)
		stream->most_bits = bits;
}

static void socket_option(struct cw_stream *stream, int fd, int name, int value)
{
	switch (name) {
	case SO_SNDBUF:
	case SO_SNDBUFFORCE:
		bound_ring(stream, value);
		break;
	case SO_RCVBUF:
	case SO_RCVBUFFORCE:
		if (stream->is_unix)
			break; /* the kernel counts at the sender alone */
		stream->rcvbuf = (uint32_t)value;
		if (stream->slot)
			atomic_store_explicit(&stream->slot->end[stream->end].rcvbuf, (uint32_t)value, memory_order_relaxed);
		break;
	case SO_RCVLOWAT:
		/* Below zero it is all that there is room for. */
		if (value == 1)
			break;
		/* fall through */
	case SO_TIMESTAMP:
	case SO_TIMESTAMPNS:
	case SO_TIMESTAMPING:
	case 63: /* SO_TIMESTAMP_NEW */
	case 64: /* SO_TIMESTAMPNS_NEW */
	case 65: /* SO_TIMESTAMPING_NEW */
		if (value)
			cw_leave_whole(stream, fd, CW_REASON_option);
		break;
	case SO_PEEK_OFF:
		if (value >= 0)
			cw_leave_whole(stream, fd, CW_REASON_option);
		break;
	case SO_ZEROCOPY:
	case SO_OOBINLINE:
		if (value)
			cw_leave(stream, CW_REASON_option);
		break;
	case SO_MAX_PACING_RATE:
		if (value != -1)
			cw_leave(stream, CW_REASON_option);
		break;
	case SO_ATTACH_FILTER:
	case SO_ATTACH_BPF:
		cw_leave(stream, CW_REASON_option);
		break;
	}
}

static void tcp_option(struct cw_stream *stream, int fd, int name, int value)
{
	switch (name) {
	case TCP_CORK:
		stream->corked = value ? CW_CORK_OPTION : 0;
		break;
	case TCP_NODELAY:
		if (stream->slot && !stream->is_unix)
			cw_switch_nagle(stream, fd, !value);
		break;
	case TCP_INQ:
		stream->tells_unread = value;
		break;
	case TCP_WINDOW_CLAMP:
		stream->own_clamp = true;
		break;
	case TCP_NOTSENT_LOWAT:
		stream->keeps_unsent = false;
		break;
	case TCP_ULP:
	case TCP_REPAIR:
		cw_leave_whole(stream, fd, CW_REASON_option);
		break;
	}
}

CW_EXPORT int setsockopt(int fd, int level, int name, const void *value, socklen_t size)
{
	struct cw_stream *stream = cw_stream_for(fd);
	int result;

	/* Before the kernel takes over the bytes (kTLS, repair), the ring's must be with it. */
	if (stream && level == IPPROTO_TCP && (name == TCP_ULP || name == TCP_REPAIR))
		tcp_option(stream, fd, name, 1);
	/* What was sent before carries no sender, so it is sent before. */
	if (stream && stream->is_unix && cw_unix_tells_sender(level, name))
		cw_leave_whole(stream, fd, CW_REASON_option);
	result = cw_real.setsockopt(fd, level, name, value, size);
	if (!stream && result == 0)
		cw_datagram_option(fd, level, name);
	if (!stream || result < 0)
		return result;
	if (level == SOL_SOCKET)
		socket_option(stream, fd, name, value_of(value, size));
	else if (level == IPPROTO_TCP)
		tcp_option(stream, fd, name, value_of(value, size));
	return result;
}

/* What the program is to be told where the kernel has told something else. */
static int own_value(struct cw_stream *stream, int level, int name, int told)
{
	if (level == SOL_SOCKET && name == SO_ERROR && !told)
		return cw_error_take(stream);
	if (level == IPPROTO_TCP && name == TCP_NODELAY && cw_switch_nagles(stream))
		return 0; /* what the program left it at */
	if (level == IPPROTO_TCP && name == TCP_NOTSENT_LOWAT && stream->keeps_unsent)
		return stream->own_unsent;
	return told;
}

static bool has_own_value(int level, int name)
{
	return level == SOL_SOCKET ? name == SO_ERROR : level == IPPROTO_TCP && (name == TCP_NODELAY || name == TCP_NOTSENT_LOWAT);
}

CW_EXPORT int getsockopt(int fd, int level, int name, void *value, socklen_t *size)
{
	struct cw_stream *stream = cw_stream_for(fd);
	int result, told = 0;

	if (stream && level == IPPROTO_TCP && name == TCP_ZEROCOPY_RECEIVE)
		cw_leave_whole(stream, fd, CW_REASON_option);
	result = cw_real.getsockopt(fd, level, name, value, size);
	if (!stream || result < 0 || !has_own_value(level, name))
		return result;
	/* As many of its bytes as there is room for. */
	memcpy(&told, value, *size < sizeof(told) ? *size : sizeof(told));
	told = own_value(stream, level, name, told);
	memcpy(value, &told, *size < sizeof(told) ? *size : sizeof(told));
	return result;
}
