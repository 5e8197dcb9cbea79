#include "receive.h"

#include <fcntl.h>
#include <limits.h>
#include <pthread.h>

#include "kernel.h"
#include "leave.h"
#include "memory.h"
#include "pending.h"
#include "pieces.h"
#include "service.h"
#include "set.h"
#include "switch.h"

#define MAX_IOV             1024
#define RING_FLAGS          (MSG_DONTWAIT | MSG_PEEK | MSG_WAITALL | MSG_TRUNC | MSG_NOSIGNAL | MSG_CMSG_CLOEXEC)
#define ASK_KERNEL_EVERY_US 5

struct request {
	const struct iovec *iov;
	size_t iovcnt, total, done;
	int flags;
	int error;
	bool roused; /* the stream is awake, and a set with it asleep */
};

enum outcome {
	BYTES,          /* some were taken */
	BYTES_AND_MORE, /* and behind them the stream goes on elsewhere: look there too */
	EMPTY,          /* LIVE, and nothing in the ring */
	EMPTY_KERNEL,   /* what comes next comes through the kernel, but is not there yet */
	ON_ITS_WAY,     /* and behind it the ring has more */
	BY_KERNEL,      /* TAKEN, or ASLEEP for others: the kernel may be read without a bound, and without the lock */
	COLD,           /* ASLEEP, and to wake it the event set's lock is needed */
	END,
	FAILED
};

static enum outcome fail(struct request *request, int error)
{
	request->error = error;
	return FAILED;
}

static enum outcome broken(struct cw_stream *stream, int fd, struct request *request)
{
	cw_switch_break(stream, fd, CW_REASON_broken);
	return fail(request, ECONNRESET);
}

/* The part of a request's memory that is still to be filled, at most limit bytes of it. Returns the pieces used. */
static size_t unfilled(const struct request *request, size_t limit, struct iovec rest[CW_PIECES])
{
	return cw_pieces(request->iov, request->iovcnt, request->done, limit, rest);
}

static void advance(struct cw_stream *stream, struct request *request, size_t count)
{
	request->done += count;
	CW_COUNT(stream, bytes_kernel_in, count);
}

/* LIVE or SEALED before `up`: the kernel has bytes that come first, and behind them perhaps some that come after the ring's, so never more
 * than the former. */
static enum outcome kernel_part(struct cw_stream *stream, int fd, struct request *request, uint64_t roff, uint64_t up)
{
	struct cw_direction *rx = stream->rx;
	struct iovec rest[CW_PIECES];
	struct msghdr message = {.msg_iov = rest};
	size_t left = request->total - request->done;
	long got;

	message.msg_iovlen = unfilled(request, left < up - roff ? left : up - roff, rest);
	atomic_store_explicit(&rx->rx_kernel_op, 1, memory_order_relaxed);
	got = cw_raw_recvmsg(fd, &message, (request->flags & ~MSG_WAITALL) | MSG_DONTWAIT);
	if (got > 0)
		atomic_store_explicit(&rx->roff, roff + (uint64_t)got, memory_order_release);
	atomic_store_explicit(&rx->rx_kernel_op, 0, memory_order_release);
	if (got > 0) {
		advance(stream, request, (size_t)got);
		return roff + (uint64_t)got == up ? BYTES_AND_MORE : BYTES;
	}
	if (got == 0)
		return END; /* the writer died before what it had said it sent was sent */
	return got == -EAGAIN || got == -EINTR ? EMPTY_KERNEL : fail(request, (int)-got);
}

/* Copy out and publish roff by compare-and-swap: it fails if a signal handler on top of us has read in between, and then the copy is made
 * again. */
static enum outcome ring_part(struct cw_stream *stream, struct request *request, uint64_t word, uint64_t roff, const struct cw_ring *ring,
			      size_t unread)
{
	struct cw_direction *rx = stream->rx;
	size_t count = request->total - request->done;

	if (count > unread)
		count = unread;
	if (!(request->flags & MSG_TRUNC))
		cw_ring_get_iov(ring, roff, request->iov, request->iovcnt, request->done, count);
	/* V: release, pairs with W (send.c): the bytes are out before the writer may use their place. */
	if (!atomic_compare_exchange_strong_explicit(&rx->roff, &roff, roff + count, memory_order_acq_rel, memory_order_relaxed))
		return BYTES_AND_MORE;
	request->done += count;
	CW_COUNT(stream, bytes_ring_in, count);
	/* Not on into the kernel where the writer has left the ring: urgent data may be what it left for, and a read ends at its mark. */
	return cw_state_of(word) == CW_SEALED && count == unread && !(word & CW_MARK_LEFT) ? BYTES_AND_MORE : BYTES;
}

static enum outcome live(struct cw_stream *stream, int fd, struct request *request, uint64_t *word, bool *again)
{
	struct cw_direction *rx = stream->rx;
	uint64_t roff = atomic_load_explicit(&rx->roff, memory_order_relaxed);
	uint64_t up = atomic_load_explicit(&rx->up, memory_order_relaxed);
	struct cw_ring ring;
	size_t unread;

	if (cw_unlikely((int64_t)(up - roff) > 0))
		return kernel_part(stream, fd, request, roff, up);
	unread = cw_switch_unread(stream, *word, roff, &ring);
	if (cw_unlikely(unread == SIZE_MAX))
		return broken(stream, fd, request);
	if (unread)
		return ring_part(stream, request, *word, roff, &ring, unread);
	if (cw_state_of(*word) == CW_LIVE)
		return EMPTY;
	cw_switch_drained(stream, word);
	*again = true;
	return EMPTY;
}

/*
 * CONSENT: the writer has booked what it sent through the kernel so far, and the switch, if it comes, comes behind that. So it may be read
 * while the offer stands; a reader that withdrew it to read would meet a busy writer with an offer only by chance. False: nothing of the
 * kind is there.
 */
static bool booked_part(struct cw_stream *stream, int fd, struct request *request, uint64_t word, enum outcome *outcome)
{
	struct cw_direction *rx = stream->rx;
	uint64_t roff = atomic_load_explicit(&rx->roff, memory_order_relaxed);
	uint64_t woff = atomic_load_explicit(&rx->woff, memory_order_acquire);

	if (!atomic_load_explicit(&rx->tx_attached, memory_order_relaxed) || (int64_t)(woff - roff) <= 0)
		return false;
	/* Looked at after woff was: as long as it is the same offer, none of the bytes before woff is the ring's. */
	if (atomic_load_explicit(&rx->state, memory_order_acquire) != word)
		return false;
	*outcome = kernel_part(stream, fd, request, roff, woff);
	if (*outcome == BYTES_AND_MORE)
		*outcome = BYTES;
	return *outcome != EMPTY_KERNEL;
}

/* An edge-triggered set sleeps with bytes that it has told, and whoever was told of them reads: who has just woken the stream has the set
 * look at it again (cw_set_notice). */
static bool told_and_unread(const struct cw_stream *stream)
{
	struct cw_direction *rx = stream->rx;

	return cw_switch_unread_asleep(stream) && !atomic_load_explicit(&rx->rx_asleep, memory_order_acquire) &&
	       !atomic_load_explicit(&rx->rx_shared, memory_order_relaxed) && !cw_set_shared(stream);
}

/* One look at the state, under the lock. */
static enum outcome step(struct cw_stream *stream, int fd, struct request *request, bool nested)
{
	uint64_t word = atomic_load_explicit(&stream->rx->state, memory_order_acquire);
	enum outcome outcome;
	bool again;

	do {
		again = false;
		switch (cw_state_of(word)) {
		case CW_LIVE:
		case CW_SEALED:
			outcome = live(stream, fd, request, &word, &again);
			break;
		case CW_CONSENT:
			if (!nested && booked_part(stream, fd, request, word, &outcome))
				break;
			cw_switch_withdraw(stream, &word);
			again = true;
			break;
		case CW_ASLEEP:
			if ((word & CW_MARK_LEFT) || cw_switch_others_asleep(stream)) {
				if (!told_and_unread(stream))
					return BY_KERNEL;
				request->roused = true;
			} else if (!cw_set_hot_or_none(stream)) {
				return COLD;
			}
			cw_switch_wake(stream, &word);
			again = true;
			break;
		case CW_TAKEN:
			return BY_KERNEL;
		default:
			return broken(stream, fd, request);
		}
	} while (again);
	return outcome;
}

/* ASLEEP and in an event set that doesn't look at it: awake again it must be among those that the set puts to sleep. */
static void rouse(struct cw_stream *stream, int fd)
{
	bool nested;
	uint64_t word;

	if (!cw_rx_lock(stream, fd, &nested))
		return;
	word = atomic_load_explicit(&stream->rx->state, memory_order_acquire);
	if (!nested && cw_state_of(word) == CW_ASLEEP && !cw_switch_others_asleep(stream))
		cw_switch_wake(stream, &word);
	cw_rx_unlock(stream, nested);
	cw_set_notice(stream);
}

/* The peer is gone without a word, and had not read all that we wrote by ring: TCP would have sent a reset (RFC 2525, 2.17). */
static bool died_with_unread(struct cw_stream *stream)
{
	struct cw_direction *tx = stream->tx;
	uint64_t word = atomic_load_explicit(&tx->state, memory_order_acquire);
	uint64_t roff = atomic_load_explicit(&tx->roff, memory_order_acquire);

	if (stream->reset_told || stream->shut_reading ||
	    (atomic_load_explicit(&stream->rx->state, memory_order_acquire) & CW_MARK_WRITER_SHUT))
		return false;
	if (cw_state_of(word) == CW_TAKEN || cw_state_of(word) == CW_CONSENT)
		return false;
	return (int64_t)(roff - atomic_load_explicit(&tx->up, memory_order_relaxed)) >= 0 &&
	       (int64_t)(atomic_load_explicit(&tx->widx, memory_order_relaxed) - roff) > 0;
}

/* In TAKEN the ring holds something only if the writer was killed while it took the stream back; an unlocked kernel read of another thread
 * would make roff too small. */
static bool still_in_ring(const struct cw_direction *rx, uint64_t word)
{
	switch (cw_state_of(word)) {
	case CW_CONSENT:
		return false;
	case CW_TAKEN:
		return atomic_load_explicit(&rx->tx_kernel_op, memory_order_acquire) == CW_TAKING_BACK &&
		       !atomic_load_explicit(&rx->rx_asleep, memory_order_acquire);
	default:
		return true;
	}
}

/* The kernel says that the stream has ended. Is something left in the ring? (SWITCH.md, End) */
static enum outcome end(struct cw_stream *stream, int fd, struct request *request)
{
	struct cw_direction *rx = stream->rx;
	enum outcome outcome = END;
	uint64_t word, roff;
	struct cw_ring ring;
	size_t unread;
	bool nested;

	if (!cw_rx_lock(stream, fd, &nested))
		return fail(request, ECONNRESET);
	word = atomic_load_explicit(&rx->state, memory_order_acquire);
	roff = atomic_load_explicit(&rx->roff, memory_order_relaxed);
	if (cw_state_of(word) == CW_CONSENT)
		cw_switch_withdraw(stream, &word);
	if (cw_state_of(word) == CW_ASLEEP && !nested)
		cw_switch_wake(stream, &word);
	unread = cw_switch_unread(stream, word, roff, &ring);
	if (atomic_load_explicit(&rx->rx_attached, memory_order_relaxed) &&
	    (int64_t)(roff - atomic_load_explicit(&rx->up, memory_order_relaxed)) >= 0 && unread && unread != SIZE_MAX &&
	    still_in_ring(rx, word))
		outcome = ring_part(stream, request, word, roff, &ring, unread);
	cw_rx_unlock(stream, nested);
	if (outcome == END && died_with_unread(stream)) {
		stream->reset_told = true;
		/* What follows is as after a reset: EPIPE for who sends, hang-up for who waits. */
		cw_state_mark(&stream->tx->state, CW_MARK_LEFT);
		cw_raw(SYS_shutdown, fd, SHUT_RDWR, 0, 0, 0, 0);
		return fail(request, ECONNRESET);
	}
	return outcome;
}

static void cancelled(void *argument)
{
	struct cw_direction *rx = argument;

	atomic_fetch_sub_explicit(&rx->rx_asleep, 1, memory_order_release);
}

/* A cancelled thread never says how much it took from the kernel: the offset is lost, and the direction stays with the kernel. */
static void cancelled_reading(void *argument)
{
	struct cw_direction *rx = argument;

	atomic_store_explicit(&rx->rx_attached, 0, memory_order_relaxed);
	cw_state_mark(&rx->state, CW_MARK_LEFT);
	cancelled(rx);
}

/* In TAKEN, or ASLEEP: rx_asleep was raised under the lock, so the state can't leave the kernel's side before we are back. */
static enum outcome read_kernel(struct cw_stream *stream, int fd, struct request *request, int extra)
{
	struct cw_direction *rx = stream->rx;
	struct iovec rest[CW_PIECES];
	struct msghdr message = {.msg_iov = rest};
	int flags = request->flags | extra;
	ssize_t got;

	message.msg_iovlen = request->iovcnt;
	if (request->done || request->total == 1)
		message.msg_iovlen = unfilled(request, request->total - request->done, rest);
	else
		message.msg_iov = (struct iovec *)request->iov;
	if (flags & MSG_DONTWAIT) {
		got = cw_raw_recvmsg(fd, &message, flags);
		if (got < 0)
			fail(request, (int)-got);
	} else {
		CW_COUNT(stream, sleeps, 1);
		pthread_cleanup_push(cancelled_reading, rx);
		got = cw_kernel.recvmsg(fd, &message, flags);
		pthread_cleanup_pop(0);
		if (got < 0)
			fail(request, errno);
		else
			CW_COUNT(stream, wakeups, 1);
	}
	if (got > 0) {
		if (!(flags & MSG_PEEK)) {
			atomic_fetch_add_explicit(&rx->roff, (uint64_t)got, memory_order_relaxed);
			cw_switch_bound_in(stream, fd, (size_t)got);
		}
		advance(stream, request, (size_t)got);
	}
	atomic_fetch_sub_explicit(&rx->rx_asleep, 1, memory_order_release);
	if (got == 0)
		return END;
	return got > 0 ? BYTES : FAILED;
}

/* Wait until the kernel has something, without taking it. */
static enum outcome await_kernel(struct cw_stream *stream, int fd, struct request *request)
{
	struct cw_direction *rx = stream->rx;
	ssize_t got;
	char byte;

	CW_COUNT(stream, sleeps, 1);
	pthread_cleanup_push(cancelled, rx);
	got = cw_kernel.recv(fd, &byte, 1, MSG_PEEK);
	pthread_cleanup_pop(0);
	if (got < 0)
		fail(request, errno);
	else
		CW_COUNT(stream, wakeups, 1);
	atomic_fetch_sub_explicit(&rx->rx_asleep, 1, memory_order_release);
	return got > 0 ? BYTES_AND_MORE : got == 0 ? END : FAILED;
}

/* Does the kernel have bytes, an end or an error? Takes no byte: in LIVE, what is there may come after the ring's. */
static enum outcome ask_kernel(int fd, struct request *request)
{
	char byte;
	long got = cw_raw(SYS_recvfrom, fd, (long)&byte, 1, MSG_PEEK | MSG_DONTWAIT, 0, 0);

	if (got > 0)
		return BYTES_AND_MORE;
	return got == 0 ? END : fail(request, (int)-got);
}

/* MSG_WAITALL with some bytes in hand: a signal ends the call with what there is, whatever SA_RESTART says, so wait in a call that is never
 * restarted. What came is taken before the state can leave the kernel's side. */
static enum outcome await_rest(struct cw_stream *stream, int fd, struct request *request)
{
	struct cw_direction *rx = stream->rx;
	struct pollfd readable = {.fd = fd, .events = POLLIN};
	struct timeval limit = {0};
	socklen_t size = sizeof(limit);
	enum outcome outcome;
	int ready;

	cw_raw_getsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, &size);
	CW_COUNT(stream, sleeps, 1);
	pthread_cleanup_push(cancelled, rx);
	ready = cw_kernel.poll(&readable, 1,
			       limit.tv_sec || limit.tv_usec ? (int)(limit.tv_sec * 1000 + (limit.tv_usec + 999) / 1000) : -1);
	pthread_cleanup_pop(0);
	CW_COUNT(stream, wakeups, ready > 0);
	if (ready <= 0) {
		atomic_fetch_sub_explicit(&rx->rx_asleep, 1, memory_order_release);
		return FAILED;
	}
	outcome = read_kernel(stream, fd, request, MSG_DONTWAIT);
	return outcome == FAILED && request->error == EAGAIN ? BYTES_AND_MORE : outcome;
}

/* Look for bytes for a while. True if something has changed. */
static bool look(struct cw_stream *stream, int fd)
{
	struct cw_direction *rx = stream->rx;
	uint32_t most = (uint32_t)cw_policy_spin_us();
	uint64_t seen = atomic_load_explicit(&rx->roff, memory_order_relaxed), word, first;
	uint64_t start = cw_ticks(), budget = cw_spin_budget(&cw_thread.spin, most), asked = start;
	struct request ignored = {0};

	first = atomic_load_explicit(&rx->state, memory_order_relaxed);
	while (cw_ticks() - start < budget) {
		for (int i = 0; i < 8; i++) {
			word = atomic_load_explicit(&rx->state, memory_order_acquire);
			if (word != first ||
			    (cw_state_of(word) == CW_LIVE && atomic_load_explicit(&rx->widx, memory_order_acquire) != seen)) {
				CW_COUNT(stream, spins_paid, 1);
				cw_spin_paid(&cw_thread.spin, most);
				return true;
			}
			cw_pause();
		}
		/* In CONSENT the writer may not have heard of the slot yet, and sends through the kernel. */
		if (cw_state_of(first) != CW_LIVE && cw_ticks() - asked > ASK_KERNEL_EVERY_US * cw_ticks_per_us()) {
			asked = cw_ticks();
			if (ask_kernel(fd, &ignored) != FAILED || ignored.error != EAGAIN)
				return true;
		}
	}
	CW_COUNT(stream, spins_lost, budget != 0);
	return false;
}

static bool blocking(struct cw_stream *stream, int fd, const struct request *request)
{
	if (request->flags & MSG_DONTWAIT)
		return false;
	/* Another process that shares the socket may have cleared the flag behind our back. */
	if (cw_likely(!atomic_load_explicit(&stream->nonblocking, memory_order_relaxed)))
		return true;
	return atomic_load_explicit(&stream->slot->end[stream->end].holders, memory_order_relaxed) != 1 &&
	       !(cw_raw_fcntl(fd, F_GETFL, 0) & O_NONBLOCK);
}

/*
 * Fall asleep as a blocking call: under the lock, so that a set or another thread sees rx_asleep and the state together. BY_KERNEL: sleep.
 * EMPTY_KERNEL: sleep without reading.
 */
static enum outcome settle(struct cw_stream *stream, int fd, struct request *request, enum outcome outcome)
{
	struct cw_direction *rx = stream->rx;
	struct pollfd on_its_way = {.fd = fd, .events = POLLIN};
	struct timespec turn = {.tv_nsec = 2000000};
	uint64_t word, roff;
	bool nested;

	if (!cw_rx_lock(stream, fd, &nested))
		return fail(request, ECONNRESET);
	word = atomic_load_explicit(&rx->state, memory_order_acquire);
	roff = atomic_load_explicit(&rx->roff, memory_order_relaxed);
	if (outcome == EMPTY_KERNEL) {
		/* Asleep, and with nothing in the ring, it can be waited for; else it is on its way, and a short turn is all (tests/model).
		 */
		if (cw_state_of(word) != CW_LIVE ||
		    !cw_switch_fall_asleep(stream, &word, atomic_load_explicit(&rx->up, memory_order_relaxed)))
			outcome = cw_state_of(word) == CW_SEALED || cw_state_of(word) == CW_LIVE ? ON_ITS_WAY : BYTES_AND_MORE;
	} else if (cw_switch_fall_asleep(stream, &word, roff)) {
		outcome = BY_KERNEL;
	} else {
		outcome = BYTES_AND_MORE;
	}
	if (outcome == BY_KERNEL || outcome == EMPTY_KERNEL)
		atomic_fetch_add_explicit(&rx->rx_asleep, 1, memory_order_relaxed);
	cw_rx_unlock(stream, nested);
	if (outcome != ON_ITS_WAY)
		return outcome;
	cw_raw(SYS_ppoll, (long)&on_its_way, 1, (long)&turn, 0, 0, 0);
	return BYTES_AND_MORE;
}

/*
 * LIVE, and nothing in the ring, for who doesn't wait. If the kernel has bytes the writer has sealed the ring by now; or it wrote from a
 * signal handler on top of a send, or is no writer of ours: they are read as by who has fallen asleep.
 */
static enum outcome look_in_kernel(struct cw_stream *stream, int fd, struct request *request)
{
	enum outcome outcome = ask_kernel(fd, request);

	if (outcome != BYTES_AND_MORE)
		return outcome;
	outcome = settle(stream, fd, request, EMPTY);
	return outcome == BY_KERNEL ? read_kernel(stream, fd, request, MSG_DONTWAIT) : outcome;
}

/* Nothing there. Look, then sleep; or say so. Returns what came of it. */
static enum outcome wait(struct cw_stream *stream, int fd, struct request *request, enum outcome outcome)
{
	uint64_t start;

	if (request->done && !(request->flags & MSG_WAITALL))
		return BYTES;
	if (!blocking(stream, fd, request))
		return outcome == EMPTY_KERNEL ? fail(request, EAGAIN) : look_in_kernel(stream, fd, request);
	start = cw_ticks();
	if (outcome != EMPTY_KERNEL) {
		cw_switch_offer(stream, fd);
		if (look(stream, fd))
			return BYTES_AND_MORE;
	}
	outcome = settle(stream, fd, request, outcome);
	if (outcome == BY_KERNEL && request->done)
		outcome = await_rest(stream, fd, request);
	else if (outcome == BY_KERNEL)
		outcome = read_kernel(stream, fd, request, 0);
	else if (outcome == EMPTY_KERNEL)
		outcome = await_kernel(stream, fd, request);
	cw_spin_lost(&cw_thread.spin, (uint32_t)cw_policy_spin_us(), cw_ticks() - start);
	if (outcome == BYTES)
		cw_switch_offer(stream, fd);
	return outcome;
}

static ssize_t result(struct cw_stream *stream, const struct request *request, enum outcome outcome)
{
	if (request->done) {
		CW_COUNT(stream, messages_in, 1);
		/* The kernel's error has been taken from it, and this call doesn't tell it: the next one does. */
		if (outcome == FAILED && request->error && request->error != EAGAIN && request->error != EINTR)
			atomic_store_explicit(&stream->error, request->error, memory_order_relaxed);
		return (ssize_t)request->done;
	}
	if (outcome != FAILED)
		return 0;
	if (request->error == ECONNRESET)
		stream->reset_told = true;
	errno = request->error;
	return -1;
}

static ssize_t receive(struct cw_stream *stream, int fd, struct request *request)
{
	struct cw_direction *rx = stream->rx;
	bool nested, sleepy = false;
	enum outcome outcome;
	int error = 0;

	if (cw_unlikely(atomic_load_explicit(&stream->error, memory_order_relaxed)))
		error = atomic_exchange_explicit(&stream->error, 0, memory_order_relaxed);
	if (error)
		return result(stream, request, fail(request, error));
	for (;;) {
		if (stream->broken || !cw_rx_lock(stream, fd, &nested))
			return result(stream, request, fail(request, ECONNRESET));
		outcome = step(stream, fd, request, nested);
		sleepy = outcome == BY_KERNEL;
		if (sleepy)
			atomic_fetch_add_explicit(&rx->rx_asleep, 1, memory_order_relaxed);
		cw_rx_unlock(stream, nested);
		if (cw_unlikely(request->roused)) {
			request->roused = false;
			cw_set_notice(stream);
		}
		if (sleepy) {
			outcome = read_kernel(stream, fd, request, MSG_DONTWAIT);
			if (outcome == BYTES)
				cw_switch_offer(stream, fd);
			else if (outcome == FAILED && request->error == EAGAIN)
				outcome = EMPTY;
			else if (outcome == FAILED && request->error == EINTR)
				continue;
			if (outcome == EMPTY && !blocking(stream, fd, request)) {
				cw_switch_offer(stream, fd);
				return result(stream, request, fail(request, EAGAIN));
			}
		}
		if (outcome == COLD) {
			rouse(stream, fd);
			continue;
		}
		if (outcome == EMPTY || outcome == EMPTY_KERNEL)
			outcome = wait(stream, fd, request, outcome);
		if (outcome == END)
			outcome = end(stream, fd, request);
		if (outcome == END || outcome == FAILED || request->done == request->total)
			return result(stream, request, outcome);
		if (request->done && !(request->flags & MSG_WAITALL)) {
			if (outcome != BYTES_AND_MORE)
				return result(stream, request, outcome);
			request->flags |= MSG_DONTWAIT;
		}
	}
}

/* ---- MSG_PEEK: what is before the switch and what is behind it, in one answer ---- */

static ssize_t peek_locked(struct cw_stream *stream, int fd, struct request *request)
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
		message.msg_iovlen = unfilled(request, before, rest);
		long got = cw_raw_recvmsg(fd, &message, MSG_PEEK | MSG_DONTWAIT);
		if (got < 0)
			return got;
		request->done += (size_t)got;
		if ((size_t)got < before)
			return 0;
	}
	last = atomic_load_explicit(cw_state_of(word) == CW_SEALED ? &rx->seal : &rx->widx, memory_order_acquire);
	if (!cw_class_sane(bits) || last - (roff + before) > 1ull << bits)
		return -ECONNRESET;
	ring = cw_stream_ring(stream->rx_data, bits);
	count = last - (roff + before);
	if (count > request->total - request->done)
		count = request->total - request->done;
	request->done += cw_ring_get_iov(&ring, roff + before, request->iov, request->iovcnt, request->done, count);
	if (cw_state_of(word) == CW_SEALED && !before && request->done < request->total) {
		message.msg_iovlen = unfilled(request, request->total - request->done, rest);
		long got = cw_raw_recvmsg(fd, &message, MSG_PEEK | MSG_DONTWAIT);
		if (got > 0)
			request->done += (size_t)got;
	}
	return 0;
}

/* True if the answer is in request; else the ordinary way goes on (it waits, or finds the end). */
static bool peek(struct cw_stream *stream, int fd, struct request *request)
{
	uint64_t word;
	bool nested;
	ssize_t failed = 0;

	if (!cw_rx_lock(stream, fd, &nested))
		return false;
	word = atomic_load_explicit(&stream->rx->state, memory_order_acquire);
	if (cw_state_of(word) == CW_LIVE || cw_state_of(word) == CW_SEALED || cw_state_of(word) == CW_ASLEEP)
		failed = peek_locked(stream, fd, request);
	cw_rx_unlock(stream, nested);
	if (failed == -ECONNRESET)
		cw_switch_break(stream, fd, CW_REASON_broken);
	return request->done && (!(request->flags & MSG_WAITALL) || request->done == request->total);
}

/* MSG_PEEK | MSG_WAITALL with a part there: wait a turn, unless no more can come. */
static bool more_to_come(struct cw_stream *stream, int fd, struct request *request)
{
	struct timespec turn = {.tv_nsec = 500000};
	enum outcome outcome;

	if (!blocking(stream, fd, request))
		return false;
	outcome = ask_kernel(fd, request);
	if (outcome == END || (outcome == FAILED && request->error != EAGAIN))
		return false;
	return cw_raw(SYS_nanosleep, (long)&turn, 0, 0, 0, 0, 0) != -EINTR;
}

/* The kernel has seen the end: what a look finds from now on is all that comes. */
static bool at_end(int fd)
{
	struct pollfd end = {.fd = fd, .events = POLLRDHUP};
	struct timespec none = {0};

	return cw_raw(SYS_ppoll, (long)&end, 1, (long)&none, 0, 0, 0) > 0;
}

static ssize_t receive_peeking(struct cw_stream *stream, int fd, struct request *request)
{
	bool last = false;
	struct request one = {.iov = request->iov, .iovcnt = request->iovcnt, .total = 1, .flags = request->flags & ~MSG_WAITALL};

	for (;;) {
		struct cw_direction *rx = stream->rx;
		bool nested;
		uint64_t word;

		request->done = 0;
		if (peek(stream, fd, request))
			return result(stream, request, BYTES);
		if (request->done && (last || !more_to_come(stream, fd, request)))
			return result(stream, request, BYTES);
		if (request->done) {
			last = at_end(fd);
			continue;
		}
		if (stream->broken || !cw_rx_lock(stream, fd, &nested))
			return result(stream, request, fail(request, ECONNRESET));
		word = atomic_load_explicit(&rx->state, memory_order_acquire);
		if (cw_state_of(word) == CW_CONSENT)
			cw_switch_withdraw(stream, &word);
		if (cw_state_of(word) == CW_TAKEN || cw_state_of(word) == CW_ASLEEP) {
			enum outcome outcome;

			/* The kernel's answer is whole: nothing of the stream is in the ring. */
			request->done = 0;
			atomic_fetch_add_explicit(&rx->rx_asleep, 1, memory_order_relaxed);
			cw_rx_unlock(stream, nested);
			outcome = read_kernel(stream, fd, request, blocking(stream, fd, request) ? 0 : MSG_DONTWAIT);
			if (outcome == END)
				outcome = end(stream, fd, request);
			return result(stream, request, outcome);
		}
		cw_rx_unlock(stream, nested);
		if (cw_state_of(word) >= CW_STATES)
			return result(stream, request, broken(stream, fd, request));
		/* LIVE and nothing there: wait as a reader of one byte would, without taking it. */
		one.done = 0;
		one.flags = request->flags & ~(MSG_WAITALL);
		enum outcome outcome = last ? END : wait(stream, fd, &one, EMPTY);
		last = outcome == BYTES_AND_MORE && at_end(fd);
		if (outcome == END || outcome == FAILED) {
			/* Nothing more comes: what is there is the answer. */
			request->flags &= ~MSG_WAITALL;
			request->done = 0;
			if (peek(stream, fd, request))
				return result(stream, request, BYTES);
			if (outcome == END && died_with_unread(stream))
				outcome = fail(&one, ECONNRESET);
			return result(stream, &one, outcome);
		}
	}
}

ssize_t cw_receive_iov(struct cw_stream *stream, int fd, const struct iovec *iov, size_t iovcnt, int flags)
{
	struct request request = {.iov = iov, .iovcnt = iovcnt, .flags = flags};
	struct msghdr message = {.msg_iov = (struct iovec *)iov, .msg_iovlen = iovcnt};

	for (size_t i = 0; i < iovcnt && iovcnt <= MAX_IOV; i++) {
		if (iov[i].iov_len > (size_t)SSIZE_MAX - request.total)
			return cw_kernel.recvmsg(fd, &message, flags); /* the kernel has the errno */
		if (cw_unlikely(cw_nowhere(iov[i].iov_base, iov[i].iov_len)) && !(flags & MSG_TRUNC)) {
			if (!cw_pending_in(stream, fd) && (flags & MSG_DONTWAIT))
				break; /* nothing to put there: that comes first */
			return cw_bad_address();
		}
		request.total += iov[i].iov_len;
	}
	if (iovcnt > MAX_IOV || (flags & ~RING_FLAGS))
		return cw_kernel.recvmsg(fd, &message,
					 flags); /* takes no byte of the stream: urgent data, the error queue, nothing at all */
	if (!request.total && iovcnt && cw_nowhere(iov[0].iov_base, iov[0].iov_len)) {
		errno = EAGAIN;
		return -1;
	}
	if (!request.total)
		return cw_pending_in(stream, fd) > 0 ? 0 : cw_kernel.recvmsg(fd, &message, flags);
	if (flags & MSG_PEEK)
		return receive_peeking(stream, fd, &request);
	return receive(stream, fd, &request);
}

/* The common case without a detour: LIVE, and bytes in the ring. */
ssize_t cw_receive(struct cw_stream *stream, int fd, void *bytes, size_t count, int flags)
{
	struct cw_direction *rx = stream->rx;
	struct iovec iov = {bytes, count};
	uint32_t free = 0;

	if (cw_likely(count && !cw_nowhere(bytes, count) && !(flags & (~RING_FLAGS | MSG_PEEK | MSG_TRUNC)) && !stream->broken) &&
	    cw_likely(atomic_compare_exchange_strong_explicit(&rx->rx_lock.holder, &free, cw_thread_id(), memory_order_acquire,
							      memory_order_relaxed))) {
		uint64_t word = atomic_load_explicit(&rx->state, memory_order_acquire);
		uint64_t roff = atomic_load_explicit(&rx->roff, memory_order_relaxed);
		uint32_t bits = atomic_load_explicit(&rx->ring_bits, memory_order_relaxed);
		size_t unread = 0;

		if (cw_likely(cw_state_of(word) == CW_LIVE && cw_class_sane(bits) &&
			      (int64_t)(roff - atomic_load_explicit(&rx->up, memory_order_relaxed)) >= 0)) {
			struct cw_ring ring = cw_stream_ring(stream->rx_data, bits);

			unread = atomic_load_explicit(&rx->widx, memory_order_acquire) - roff;
			if (cw_likely(unread && unread <= ring.size)) {
				if (unread > count)
					unread = count;
				if (unread < count && (flags & MSG_WAITALL))
					unread = 0;
				cw_ring_get(&ring, roff, bytes, unread);
				if (cw_unlikely(!atomic_compare_exchange_strong_explicit(&rx->roff, &roff, roff + unread,
											 memory_order_acq_rel, memory_order_relaxed)))
					unread = 0;
			} else {
				unread = 0;
			}
		}
		cw_unlock(&rx->rx_lock);
		if (cw_likely(unread)) {
			CW_COUNT(stream, bytes_ring_in, unread);
			CW_COUNT(stream, messages_in, 1);
			return (ssize_t)unread;
		}
	}
	return cw_receive_iov(stream, fd, &iov, 1, flags);
}

ssize_t cw_receive_message(struct cw_stream *stream, int fd, struct msghdr *message, int flags)
{
	ssize_t got;

	if (flags & ~RING_FLAGS)
		return cw_kernel.recvmsg(fd, message, flags);
	got = cw_receive_iov(stream, fd, message->msg_iov, message->msg_iovlen, flags);
	if (got >= 0) {
		message->msg_namelen = 0;
		message->msg_controllen = 0;
		message->msg_flags = 0;
	}
	return got;
}
