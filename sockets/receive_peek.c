/* MSG_PEEK: what is before the switch and what is behind it, in one answer. */
#include "kernel.h"
#include "receiving.h"
#include "switch.h"

#define LEAST_TURN_NS 500000
#define MOST_TURN_NS  50000000

static bool peek_kernel(struct cw_stream *stream, int fd, struct cw_receiving *request, struct msghdr *message)
{
	long got = cw_raw_recvmsg(fd, message, (request->flags & MSG_TRUNC) | MSG_PEEK | MSG_DONTWAIT);

	if (got < 0)
		cw_error_keep(stream, (int)-got);
	if (got == -EFAULT && !request->done)
		request->error = EFAULT;
	if (got > 0)
		request->done += (size_t)got;
	/* Descriptors end a look, as they end a read. */
	return got >= 0 && !(stream->is_unix && (message->msg_flags & MSG_CTRUNC));
}

/* False: shared memory holds nonsense. */
static bool peek_locked(struct cw_stream *stream, int fd, struct cw_receiving *request)
{
	struct cw_direction *rx = stream->rx;
	uint64_t word = atomic_load_explicit(&rx->state, memory_order_acquire);
	uint64_t roff = atomic_load_explicit(&rx->roff, memory_order_relaxed);
	uint64_t up = atomic_load_explicit(&rx->up, memory_order_relaxed), last;
	struct cw_ring ring;
	size_t count, before = (int64_t)(up - roff) > 0 ? up - roff : 0;
	struct iovec rest[CW_PIECES];
	struct msghdr message = {.msg_iov = rest};
	uint32_t bits = atomic_load_explicit(&rx->ring_bits, memory_order_relaxed);

	if (before) {
		message.msg_iovlen = cw_receive_unfilled(request, before, rest);
		if (!peek_kernel(stream, fd, request, &message) || request->done < before)
			return true;
	}
	last = atomic_load_explicit(cw_state_of(word) == CW_SEALED ? &rx->seal : &rx->widx, memory_order_acquire);
	if (!cw_class_sane(bits) || last - (roff + before) > 1ull << bits)
		return false;
	ring = cw_stream_ring(stream->rx_data, bits);
	count = last - (roff + before);
	if (count > request->total - request->done)
		count = request->total - request->done;
	if (!(request->flags & MSG_TRUNC))
		cw_ring_get_iov(&ring, roff + before, request->iov, request->iovcnt, request->done, count);
	request->done += count;
	if (cw_state_of(word) == CW_SEALED && !before && request->done < request->total &&
	    !(request->done && cw_receive_at_mark(stream, fd))) {
		message.msg_iovlen = cw_receive_unfilled(request, request->total - request->done, rest);
		peek_kernel(stream, fd, request, &message);
	}
	return true;
}

/* True if the answer is in request; else the ordinary way goes on (it waits, or finds the end). */
static bool peek(struct cw_stream *stream, int fd, struct cw_receiving *request)
{
	uint64_t word;
	bool nested, sane = true;

	if (cw_receive_lock(stream, fd, request, &nested))
		return false;
	word = atomic_load_explicit(&stream->rx->state, memory_order_acquire);
	if (cw_state_of(word) == CW_LIVE || cw_state_of(word) == CW_SEALED || cw_state_of(word) == CW_ASLEEP)
		sane = peek_locked(stream, fd, request);
	cw_rx_unlock(stream, nested);
	if (!sane)
		cw_switch_break(stream, fd, CW_REASON_broken);
	return request->done && (!(request->flags & MSG_WAITALL) || request->done == request->total);
}

/* The longer it has waited, the longer, so that waiting for what never comes costs next to nothing; the end is told at once. */
static uint64_t turn_of(uint64_t waited)
{
	uint64_t turn = waited / 8;

	return turn < LEAST_TURN_NS ? LEAST_TURN_NS : turn > MOST_TURN_NS ? MOST_TURN_NS : turn;
}

/* MSG_PEEK | MSG_WAITALL with a part there, which a sleeping reader would have to take: wait a turn, unless no more can come. What ends the
 * turn at once, and stands, such as POLLERR, is an end for the caller too (at_end): there is no second turn. */
static bool more_to_come(struct cw_stream *stream, int fd, struct cw_receiving *request)
{
	struct pollfd ended = {.fd = fd, .events = POLLRDHUP};
	uint64_t end = cw_receive_until(fd, request), now = cw_monotonic_ns(), turn = turn_of(now - request->begin);
	struct timespec time = {0};

	if (!cw_receive_blocking(stream, fd, request) || (end && now >= end) || cw_receive_ends_here(stream, fd))
		return false;
	time.tv_nsec = (long)(end && end - now < turn ? end - now : turn);
	return cw_raw(SYS_ppoll, (long)&ended, 1, (long)&time, 0, 0, 0) != -EINTR;
}

/* The kernel has seen the end: what a look finds from now on is all that comes. */
static bool at_end(int fd)
{
	return cw_raw_poll(fd, POLLRDHUP) > 0;
}

ssize_t cw_receive_peeking(struct cw_stream *stream, int fd, struct cw_receiving *request)
{
	bool last = false;
	struct cw_receiving one = {
		.iov = request->iov, .iovcnt = request->iovcnt, .total = 1, .flags = request->flags & ~MSG_WAITALL, .life = request->life};

	for (;;) {
		struct cw_direction *rx = stream->rx;
		bool nested;
		uint64_t word;
		int error;

		request->done = 0;
		if (peek(stream, fd, request))
			return cw_receive_result(stream, request, CW_BYTES);
		if (request->error)
			return cw_receive_result(stream, request, CW_FAILED);
		if (request->done && (last || !more_to_come(stream, fd, request)))
			return cw_receive_result(stream, request, CW_BYTES);
		if (request->done) {
			last = at_end(fd);
			continue;
		}
		one.error = cw_error_take(stream);
		if (one.error)
			return cw_receive_result(stream, &one, CW_FAILED);
		error = cw_receive_lock(stream, fd, request, &nested);
		if (error)
			return cw_receive_result(stream, request, cw_receive_without_lock(request, error));
		word = atomic_load_explicit(&rx->state, memory_order_acquire);
		if (cw_state_of(word) == CW_CONSENT)
			cw_switch_withdraw(stream, &word);
		if (cw_state_of(word) == CW_TAKEN || cw_state_of(word) == CW_ASLEEP) {
			enum cw_received outcome;

			/* The kernel's answer is whole: nothing of the stream is in the ring. */
			bool counted = cw_switch_count_asleep(stream), blocking;

			request->done = 0;
			cw_rx_unlock(stream, nested);
			if (!counted)
				continue;
			blocking = cw_receive_blocking(stream, fd, request);
			outcome = cw_receive_read_kernel(stream, fd, request, blocking ? 0 : MSG_DONTWAIT);
			if (!blocking && outcome == CW_FAILED && request->error == EAGAIN && !request->awaited &&
			    cw_receive_await_taken_back(stream, fd)) {
				request->awaited = true;
				request->error = 0;
				continue;
			}
			if (outcome == CW_CLOSED)
				return cw_receive_result(stream, request, outcome);
			if (outcome == CW_END)
				outcome = cw_receive_end(stream, fd, request);
			return cw_receive_result(stream, request, outcome);
		}
		cw_rx_unlock(stream, nested);
		if (cw_state_of(word) >= CW_STATES)
			return cw_receive_result(stream, request, cw_receive_broken(stream, fd, request));
		/* LIVE and nothing there: wait as a reader of one byte would, without taking it. */
		one.done = 0;
		one.flags = request->flags & ~(MSG_WAITALL);
		enum cw_received outcome = last ? CW_END : cw_receive_wait(stream, fd, &one, CW_EMPTY);
		if (outcome == CW_CLOSED)
			return cw_receive_result(stream, &one, outcome);
		if (!request->begin)
			request->begin = one.begin;
		last = outcome == CW_BYTES_AND_MORE && at_end(fd);
		if (outcome == CW_END || outcome == CW_FAILED) {
			/* Nothing more comes: what is there is the answer. */
			request->flags &= ~MSG_WAITALL;
			request->done = 0;
			if (peek(stream, fd, request))
				return cw_receive_result(stream, request,
							 outcome == CW_FAILED ? cw_receive_fail(request, one.error) : CW_BYTES);
			if (outcome == CW_END && cw_receive_died_with_unread(stream, fd))
				outcome = cw_receive_fail(&one, ECONNRESET);
			return cw_receive_result(stream, &one, outcome);
		}
	}
}
