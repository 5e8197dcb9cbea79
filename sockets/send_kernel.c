#include <fcntl.h>
#include <limits.h>
#include <pthread.h>

#include "sending.h"
#include "service.h"

/* A cancelled thread never says how much the kernel took of it: the offset is lost, and the direction stays with the kernel. */
void cw_send_cancelled(void *argument)
{
	const struct cw_send_sleeper *sleeper = argument;
	struct cw_direction *tx = sleeper->stream->tx;

	if (cw_stream_ended(sleeper->stream, sleeper->life))
		return;
	atomic_store_explicit(&tx->tx_attached, 0, memory_order_relaxed);
	cw_state_mark(&tx->state, CW_MARK_LEFT);
	atomic_fetch_sub_explicit(&tx->tx_in_kernel, 1, memory_order_release);
}

void cw_send_book(struct cw_stream *stream, int fd, ssize_t sent)
{
	struct cw_direction *tx = stream->tx;

	if (sent > 0) {
		atomic_fetch_add_explicit(&tx->woff, (uint64_t)sent, memory_order_relaxed);
		CW_COUNT(stream, bytes_kernel_out, (uint64_t)sent);
		cw_switch_bound_out(stream, fd, (size_t)sent);
	}
	/* Pairs with S0 (switch.c): who finds the count zero finds woff booked. */
	atomic_fetch_sub_explicit(&tx->tx_in_kernel, 1, memory_order_release);
}

/* One piece and nothing else by the call that has less to copy. */
static ssize_t send_or_sleep(int fd, const struct msghdr *message, int flags)
{
	if (message->msg_iovlen == 1 && message->msg_iov->iov_len <= SSIZE_MAX && !message->msg_name && !message->msg_controllen)
		return cw_kernel.sendto(fd, message->msg_iov->iov_base, message->msg_iov->iov_len, flags, NULL, 0);
	return cw_kernel.sendmsg(fd, message, flags);
}

static ssize_t send_by_kernel(struct cw_stream *stream, int fd, const struct msghdr *message, int flags)
{
	struct cw_send_sleeper sleeper = {stream, cw_stream_life(stream)};
	ssize_t sent;

	stream->corked = (uint8_t)((stream->corked & CW_CORK_OPTION) | (flags & MSG_MORE ? CW_CORK_MORE : 0));
	cw_switch_note_wake(stream);
	pthread_cleanup_push(cw_send_cancelled, &sleeper);
	sent = send_or_sleep(fd, message, flags);
	pthread_cleanup_pop(0);
	if (!cw_stream_ended(stream, sleeper.life))
		cw_send_book(stream, fd, sent);
	return sent;
}

static size_t untaken(const struct cw_sending *request, size_t limit, struct iovec rest[CW_PIECES])
{
	return cw_pieces(request->iov, request->iovcnt, request->done, limit, rest);
}

/* The rest of a request through the kernel. */
ssize_t cw_send_rest(struct cw_stream *stream, int fd, const struct cw_sending *request)
{
	struct iovec rest[CW_PIECES];
	int flags = request->flags | (request->done ? MSG_NOSIGNAL : 0) | (request->end ? MSG_DONTWAIT : 0);
	struct msghdr message = {.msg_iov = rest};

	if (!request->done) {
		message.msg_iov = (struct iovec *)request->iov;
		message.msg_iovlen = request->iovcnt;
		return send_by_kernel(stream, fd, &message, flags);
	}
	message.msg_iovlen = untaken(request, SIZE_MAX, rest);
	return send_by_kernel(stream, fd, &message, flags);
}

/* Of a wait that begins now; 0: never. */
static uint64_t end_of_wait(int fd)
{
	struct timeval limit = {0};
	socklen_t size = sizeof(limit);

	cw_raw_getsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, &size);
	if ((!limit.tv_sec && !limit.tv_usec) || limit.tv_sec >= CW_LIFE_LONG)
		return 0;
	return cw_monotonic_ns() + (uint64_t)limit.tv_sec * 1000000000 + (uint64_t)limit.tv_usec * 1000;
}

/* 0, or the error: time is over, or a signal. */
static int wait_for_room(int fd, const struct cw_sending *request)
{
	struct pollfd writable = {.fd = fd, .events = POLLOUT};
	int ready = cw_kernel.poll(&writable, 1, cw_milliseconds_left(request->end, request->end ? cw_monotonic_ns() : 0));

	return ready > 0 ? 0 : ready < 0 ? errno : EAGAIN;
}

bool cw_send_await_room(struct cw_stream *stream, int fd, struct cw_sending *request)
{
	struct cw_send_sleeper sleeper = {stream, request->life};
	int error;

	if (request->flags & MSG_DONTWAIT || cw_raw_poll(fd, POLLOUT) > 0 || (cw_raw_fcntl(fd, F_GETFL, 0) & O_NONBLOCK))
		return true;
	if (!request->end)
		request->end = end_of_wait(fd);
	pthread_cleanup_push(cw_send_cancelled, &sleeper);
	error = wait_for_room(fd, request);
	pthread_cleanup_pop(0);
	if (cw_stream_ended(stream, request->life))
		error = EBADF;
	else if (error)
		cw_send_book(stream, fd, 0);
	if (error)
		errno = error;
	return !error;
}

/*
 * In the kernel's own call, of a byte that it can't take: so it decides whether a signal ends the wait, or the call is made anew. No room
 * for poll may be some for a byte: that is a turn. 0, or the error.
 */
static int wait_as_send(int fd, int flags)
{
	if (cw_kernel.sendto(fd, NULL, 1, flags & MSG_NOSIGNAL, NULL, 0) < 0 && errno != EFAULT)
		return errno;
	if (cw_raw_poll(fd, POLLOUT) == 0)
		cw_turn();
	return 0;
}

int cw_send_await_reader(struct cw_stream *stream, int fd, struct cw_sending *request)
{
	if (cw_send_nonblocking(stream, fd, request))
		return EAGAIN;
	if (!request->end)
		request->end = end_of_wait(fd);
	return request->done || request->end ? wait_for_room(fd, request) : wait_as_send(fd, request->flags);
}

ssize_t cw_send_taken(struct cw_stream *stream, int fd, const struct iovec *piece, int flags)
{
	struct cw_sending request = {.iov = piece, .iovcnt = 1, .total = piece->iov_len, .flags = flags, .life = cw_stream_life(stream)};
	int error = cw_send_kept_error(stream);

	if (cw_unlikely(error))
		return cw_send_fail_late(stream, &request, error);
	return cw_send_finish(stream, &request, cw_send_rest(stream, fd, &request));
}

/* A piece of it, without waiting. Returns bytes or -errno. */
long cw_send_piece(struct cw_stream *stream, int fd, struct cw_sending *request, size_t limit)
{
	struct iovec rest[CW_PIECES];
	struct msghdr message = {.msg_iov = rest};
	long sent;

	message.msg_iovlen = untaken(request, limit, rest);
	cw_switch_note_wake(stream);
	sent = cw_raw_sendmsg(fd, &message, request->flags | MSG_DONTWAIT | MSG_NOSIGNAL);
	cw_send_book(stream, fd, sent);
	if (sent > 0)
		request->done += (size_t)sent;
	return sent;
}

bool cw_send_take_claim(struct cw_stream *stream)
{
	struct cw_direction *tx = stream->tx;
	uint64_t claim = atomic_exchange_explicit(&stream->claim, CW_NO_CLAIM, memory_order_relaxed);
	uint64_t widx = atomic_load_explicit(&tx->widx, memory_order_relaxed);

	if (claim == CW_NO_CLAIM)
		return false;
	/* Committed, and not published yet. */
	if (claim != widx)
		atomic_compare_exchange_strong_explicit(&tx->widx, &widx, claim, memory_order_seq_cst, memory_order_relaxed);
	return true;
}

int cw_send_kept_error(struct cw_stream *stream)
{
	int error = cw_error_take(stream);

	if (cw_unlikely(error))
		atomic_fetch_sub_explicit(&stream->tx->tx_in_kernel, 1, memory_order_release);
	return error;
}

int cw_send_lock(struct cw_stream *stream, int fd, uint32_t life, bool *nested)
{
	struct cw_direction *tx = stream->tx;

	if (cw_stream_ended(stream, life))
		return EBADF;
	if (stream->broken || !cw_tx_lock(stream, fd, nested))
		return cw_stream_ended(stream, life) ? EBADF : ECONNRESET;
	if (!cw_stream_ended(stream, life) && cw_stream_has(stream, tx) && cw_stream_at(stream, fd))
		return 0;
	/* Which it was depends on when the stream got its next slot. */
	if (!*nested) {
		cw_unlock_if_held(&tx->tx_lock, cw_thread_id());
		cw_unlock_if_held(&stream->tx->tx_lock, cw_thread_id());
	}
	return EBADF;
}

/* Bring the direction to the kernel: the ring's bytes come first, whatever the reader does. */
bool cw_send_to_kernel(struct cw_stream *stream, int fd, struct cw_sending *request)
{
	bool nested, brought = false;
	int error = 0;

	while (!error && !brought) {
		error = cw_send_lock(stream, fd, request->life, &nested);
		if (error)
			break;
		brought = cw_switch_to_kernel(stream, fd, nested);
		if (brought)
			atomic_fetch_add_explicit(&stream->tx->tx_in_kernel, 1, memory_order_relaxed);
		cw_tx_unlock(stream, nested);
		if (!brought)
			error = cw_send_await_reader(stream, fd, request);
	}
	if (brought && stream->broken) {
		atomic_fetch_sub_explicit(&stream->tx->tx_in_kernel, 1, memory_order_release);
		error = ECONNRESET;
	} else if (brought) {
		error = cw_send_kept_error(stream);
	}
	if (error)
		errno = error;
	return !error;
}

ssize_t cw_send_message(struct cw_stream *stream, int fd, const struct msghdr *message, int flags)
{
	struct cw_sending nothing = {.flags = flags, .life = cw_stream_life(stream)};

	if (!cw_send_to_kernel(stream, fd, &nothing))
		return -1;
	return cw_send_finish(stream, &nothing, send_by_kernel(stream, fd, message, flags));
}
