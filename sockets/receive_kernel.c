#include <linux/sockios.h>
#include <pthread.h>
#include <sys/ioctl.h>

#include "kernel.h"
#include "receiving.h"
#include "service.h"
#include "switch.h"

#define MOST_TURNS 100 /* of a millisecond, of a stream in all */

struct sleeper {
	struct cw_stream *stream;
	uint32_t life;
};

static void cancelled(void *argument)
{
	const struct sleeper *sleeper = argument;

	if (!cw_stream_ended(sleeper->stream, sleeper->life))
		atomic_fetch_sub_explicit(&sleeper->stream->rx->rx_asleep, 1, memory_order_release);
}

enum cw_received cw_receive_closed(struct cw_receiving *request, ssize_t got)
{
	if (got > 0)
		request->done += (size_t)got;
	request->error = got < 0 ? errno : 0;
	return CW_CLOSED;
}

/* A cancelled thread never says how much it took from the kernel: the offset is lost, and the direction stays with the kernel. */
static void cancelled_reading(void *argument)
{
	const struct sleeper *sleeper = argument;

	if (cw_stream_ended(sleeper->stream, sleeper->life))
		return;
	atomic_store_explicit(&sleeper->stream->rx->rx_attached, 0, memory_order_relaxed);
	cw_state_mark(&sleeper->stream->rx->state, CW_MARK_LEFT);
	cancelled(argument);
}

static bool is_plain(const struct cw_stream *stream, const struct msghdr *message)
{
	return message->msg_iovlen == 1 && !stream->is_unix;
}

/* One piece by the call that has less to copy. */
static long read_now(const struct cw_stream *stream, int fd, struct msghdr *message, int flags)
{
	if (is_plain(stream, message))
		return cw_raw(SYS_recvfrom, fd, (long)message->msg_iov->iov_base, (long)message->msg_iov->iov_len, flags, 0, 0);
	return cw_raw_recvmsg(fd, message, flags);
}

static ssize_t read_or_sleep(const struct cw_stream *stream, int fd, struct msghdr *message, int flags)
{
	if (is_plain(stream, message))
		return cw_kernel.recv(fd, message->msg_iov->iov_base, message->msg_iov->iov_len, flags);
	return cw_kernel.recvmsg(fd, message, flags);
}

/* In TAKEN, or ASLEEP: rx_asleep was raised under the lock, so the state can't leave the kernel's side before we are back. */
enum cw_received cw_receive_read_kernel(struct cw_stream *stream, int fd, struct cw_receiving *request, int extra)
{
	struct cw_direction *rx = stream->rx;
	struct iovec rest[CW_PIECES];
	struct msghdr message = {.msg_iov = rest};
	struct sleeper sleeper = {stream, request->life};
	int flags = request->flags | extra;
	ssize_t got;

	message.msg_iovlen = request->iovcnt;
	if (request->done || request->total == 1)
		message.msg_iovlen = cw_receive_unfilled(request, request->total - request->done, rest);
	else
		message.msg_iov = (struct iovec *)request->iov;
	cw_receive_with_control(request, &message);
	if (flags & MSG_DONTWAIT) {
		got = read_now(stream, fd, &message, flags);
		if (got < 0)
			cw_receive_fail(request, (int)-got);
	} else {
		CW_COUNT(stream, sleeps, 1);
		pthread_cleanup_push(cancelled_reading, &sleeper);
		got = read_or_sleep(stream, fd, &message, flags);
		pthread_cleanup_pop(0);
		if (cw_stream_ended(stream, request->life))
			return cw_receive_closed(request, got);
		if (got < 0)
			cw_receive_fail(request, errno);
		else
			CW_COUNT(stream, wakeups, 1);
		/* Less than all: a signal, the time, the end or urgent data have ended the call, and so it ends here. */
		if (got > 0 && (size_t)got < request->total)
			request->flags &= ~MSG_WAITALL;
	}
	if (got > 0) {
		cw_receive_note_control(stream, request, &message);
		if (!(flags & MSG_PEEK)) {
			atomic_fetch_add_explicit(&rx->roff, (uint64_t)got, memory_order_relaxed);
			cw_switch_bound_in(stream, fd, (size_t)got);
		}
		cw_receive_advance(stream, request, (size_t)got);
	}
	atomic_fetch_sub_explicit(&rx->rx_asleep, 1, memory_order_release);
	if (got == 0)
		return CW_END;
	return got > 0 ? CW_BYTES : CW_FAILED;
}

/* What the ring had for this reader, and a sharer of the socket wants by the kernel. */
enum taking_back { NOT_TAKEN_BACK, TAKEN_BACK_SOON, TAKEN_BACK };

static enum taking_back taking_back(const struct cw_direction *rx)
{
	uint64_t widx = atomic_load_explicit(&rx->widx, memory_order_relaxed), word;

	if (cw_likely((int64_t)(widx - atomic_load_explicit(&rx->roff, memory_order_relaxed)) <= 0))
		return NOT_TAKEN_BACK;
	word = atomic_load_explicit(&rx->state, memory_order_acquire);
	if (cw_state_of(word) == CW_ASLEEP)
		return word & CW_MARK_RESEND ? TAKEN_BACK_SOON : NOT_TAKEN_BACK;
	if (cw_state_of(word) != CW_TAKEN)
		return NOT_TAKEN_BACK;
	/* Acquire, pairs with the end of take_back: what it sent is there. */
	return atomic_load_explicit(&rx->tx_kernel_op, memory_order_acquire) == CW_TAKING_BACK ? TAKEN_BACK_SOON : TAKEN_BACK;
}

bool cw_receive_await_taken_back(struct cw_stream *stream, int fd)
{
	enum taking_back stage;
	bool waited = false;

	while (cw_unlikely((stage = taking_back(stream->rx)) == TAKEN_BACK_SOON)) {
		struct pollfd readable = {.fd = fd, .events = POLLIN};
		struct timespec turn = {.tv_nsec = 1000000}; /* of which the call leaves what was not waited for */

		/* The words are the peer's too, and a writer that was killed in between never ends it. */
		if (stream->awaited >= MOST_TURNS)
			return false;
		stream->awaited++;
		waited = true;
		cw_raw(SYS_ppoll, (long)&readable, 1, (long)&turn, 0, 0, 0);
		if (readable.revents & (POLLIN | POLLHUP))
			return true;
	}
	return waited || (stage == TAKEN_BACK && cw_receive_kernel_ready(fd));
}

bool cw_receive_taken(struct cw_stream *stream, int fd, const struct iovec *piece, int flags, ssize_t *result)
{
	struct cw_direction *rx = stream->rx;
	struct cw_receiving request = {.flags = flags};
	long got = cw_raw(SYS_recvfrom, fd, (long)piece->iov_base, (long)piece->iov_len, flags | MSG_DONTWAIT, 0, 0);

	if (got > 0) {
		atomic_fetch_add_explicit(&rx->roff, (uint64_t)got, memory_order_relaxed);
		cw_switch_bound_in(stream, fd, (size_t)got);
		cw_receive_advance(stream, &request, (size_t)got);
		CW_COUNT(stream, messages_in, 1);
	}
	atomic_fetch_sub_explicit(&rx->rx_asleep, 1, memory_order_release);
	if (got < 0)
		cw_error_keep(stream, (int)-got);
	if (got <= 0 && (got != -EAGAIN || cw_receive_blocking(stream, fd, &request) || cw_unlikely(taking_back(rx) != NOT_TAKEN_BACK)))
		return false;
	cw_receive_offer(stream, fd, request.done);
	if (got < 0)
		errno = EAGAIN;
	*result = got < 0 ? -1 : got;
	return true;
}

/* Wait until the kernel has something, without taking it. */
enum cw_received cw_receive_await_kernel(struct cw_stream *stream, int fd, struct cw_receiving *request)
{
	struct cw_direction *rx = stream->rx;
	struct sleeper sleeper = {stream, request->life};
	ssize_t got;
	char byte;

	CW_COUNT(stream, sleeps, 1);
	pthread_cleanup_push(cancelled, &sleeper);
	got = cw_kernel.recv(fd, &byte, 1, MSG_PEEK);
	pthread_cleanup_pop(0);
	if (cw_stream_ended(stream, request->life)) {
		if (got > 0) /* it can't be had any more */
			errno = EBADF;
		return cw_receive_closed(request, got > 0 ? -1 : got);
	}
	if (got < 0)
		cw_receive_fail(request, errno);
	else
		CW_COUNT(stream, wakeups, 1);
	atomic_fetch_sub_explicit(&rx->rx_asleep, 1, memory_order_release);
	return got > 0 ? CW_BYTES_AND_MORE : got == 0 ? CW_END : CW_FAILED;
}

/* Who sends urgent data has left the ring, or never came to it: it has withdrawn its offer, and our grant was under way. */
bool cw_receive_at_mark(const struct cw_stream *stream, int fd)
{
	const struct cw_direction *rx = stream->rx;
	int mark = 0;

	return ((atomic_load_explicit(&rx->state, memory_order_relaxed) & CW_MARK_LEFT) ||
		!atomic_load_explicit(&rx->tx_attached, memory_order_relaxed)) &&
	       cw_raw(SYS_ioctl, fd, SIOCATMARK, (long)&mark, 0, 0, 0) == 0 && mark;
}

/* FIONREAD may count an end of the stream as a byte. */
static bool error_is_next(const struct cw_stream *stream, int fd)
{
	int unread = 0;
	long told;

	if (!(atomic_load_explicit(&stream->rx->state, memory_order_relaxed) & CW_MARKS))
		return false;
	told = cw_raw_poll(fd, 0);
	if (told <= 0 || !(told & POLLERR))
		return false;
	return cw_raw(SYS_ioctl, fd, SIOCINQ, (long)&unread, 0, 0, 0) == 0 && unread <= 1;
}

bool cw_receive_ends_here(const struct cw_stream *stream, int fd)
{
	return cw_receive_at_mark(stream, fd) || error_is_next(stream, fd);
}

/* Does the kernel have bytes, an end or an error? All stays there. */
bool cw_receive_kernel_ready(int fd)
{
	return cw_raw_poll(fd, POLLIN) > 0;
}

/* The same, and which; the error is taken, no byte: in LIVE, what is there may come after the ring's. */
enum cw_received cw_receive_ask_kernel(int fd, struct cw_receiving *request)
{
	char byte;
	long got = cw_raw(SYS_recvfrom, fd, (long)&byte, 1, MSG_PEEK | MSG_DONTWAIT, 0, 0);

	if (got > 0)
		return CW_BYTES_AND_MORE;
	return got == 0 ? CW_END : cw_receive_fail(request, (int)-got);
}

uint64_t cw_receive_until(int fd, struct cw_receiving *request)
{
	struct timeval limit = {0};
	socklen_t size = sizeof(limit);

	if (request->asked)
		return request->end;
	request->asked = true;
	if (!request->begin)
		request->begin = cw_monotonic_ns();
	if (cw_raw_getsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, &size) < 0 || (!limit.tv_sec && !limit.tv_usec))
		return 0;
	/* None that ends: but a call with a limit, however long, is not restarted behind a signal handler. */
	if (limit.tv_sec > CW_LIFE_LONG)
		limit.tv_sec = CW_LIFE_LONG;
	request->end = request->begin + (uint64_t)limit.tv_sec * 1000000000 + (uint64_t)limit.tv_usec * 1000;
	return request->end;
}

/* MSG_WAITALL with some bytes in hand: a signal ends the call with what there is, whatever SA_RESTART says, so wait in a call that is never
 * restarted; nor is one with a limit, of which a part is over. What came is taken before the state can leave the kernel's side. */
enum cw_received cw_receive_await_rest(struct cw_stream *stream, int fd, struct cw_receiving *request)
{
	struct cw_direction *rx = stream->rx;
	struct sleeper sleeper = {stream, request->life};
	struct pollfd readable = {.fd = fd, .events = POLLIN};
	uint64_t end = cw_receive_until(fd, request);
	enum cw_received outcome;
	int ready;

	CW_COUNT(stream, sleeps, 1);
	pthread_cleanup_push(cancelled, &sleeper);
	ready = cw_kernel.poll(&readable, 1, cw_milliseconds_left(end, end ? cw_monotonic_ns() : 0));
	pthread_cleanup_pop(0);
	if (cw_stream_ended(stream, request->life))
		return cw_receive_closed(request, 0);
	CW_COUNT(stream, wakeups, ready > 0);
	if (ready <= 0 || (request->done && cw_receive_ends_here(stream, fd))) {
		if (!request->done)
			cw_receive_fail(request, ready < 0 ? errno : EAGAIN);
		atomic_fetch_sub_explicit(&rx->rx_asleep, 1, memory_order_release);
		return CW_FAILED;
	}
	outcome = cw_receive_read_kernel(stream, fd, request, MSG_DONTWAIT);
	return outcome == CW_FAILED && request->error == EAGAIN ? CW_BYTES_AND_MORE : outcome;
}
