#include "receive.h"

#include <limits.h>

#include "kernel.h"
#include "leave.h"
#include "memory.h"
#include "pending.h"
#include "receiving.h"
#include "service.h"
#include "set.h"
#include "switch.h"
#include "unix.h"

#define RING_FLAGS (MSG_DONTWAIT | MSG_PEEK | MSG_WAITALL | MSG_TRUNC | MSG_NOSIGNAL | MSG_CMSG_CLOEXEC)
/* What the kernel must be asked for, since it isn't the stream's bytes; MSG_SOCK_DEVMEM and MSG_CMSG_COMPAT have its errno. It ignores all
 * others, and so do we. */
#define UNKNOWN_TO_UNIX (MSG_TRUNC | MSG_ERRQUEUE)
#define KERNEL_FLAGS    (MSG_OOB | MSG_ERRQUEUE | 0x2000000 | (int)0x80000000)

enum cw_received cw_receive_broken(struct cw_stream *stream, int fd, struct cw_receiving *request)
{
	cw_switch_break(stream, fd, CW_REASON_broken);
	return cw_receive_fail(request, ECONNRESET);
}

/* Is it still as the caller found it? A handler on top of us may have read, or withdrawn the offer, before signals were held. */
static bool as_found(const struct cw_direction *rx, uint64_t word, uint64_t roff)
{
	return atomic_load_explicit(&rx->roff, memory_order_relaxed) == roff &&
	       (cw_state_of(word) != CW_CONSENT || atomic_load_explicit(&rx->state, memory_order_acquire) == word);
}

/* LIVE or SEALED before `up`: the kernel has bytes that come first, and behind them perhaps some that come after the ring's, so never more
 * than the former. */
static enum cw_received kernel_part(struct cw_stream *stream, int fd, struct cw_receiving *request, uint64_t word, uint64_t roff,
				    uint64_t up)
{
	struct cw_direction *rx = stream->rx;
	struct iovec rest[CW_PIECES];
	struct msghdr message = {.msg_iov = rest};
	size_t left = request->total - request->done;
	uint64_t signals;
	long got;

	message.msg_iovlen = cw_receive_unfilled(request, left < up - roff ? left : up - roff, rest);
	signals = cw_hold_signals();
	if (!as_found(rx, word, roff)) {
		cw_release_signals(signals);
		return CW_BYTES_AND_MORE;
	}
	atomic_store_explicit(&rx->rx_kernel_op, 1, memory_order_relaxed);
	cw_receive_with_control(request, &message);
	got = cw_raw_recvmsg(fd, &message, (request->flags & ~MSG_WAITALL) | MSG_DONTWAIT);
	if (got > 0)
		atomic_store_explicit(&rx->roff, roff + (uint64_t)got, memory_order_release);
	atomic_store_explicit(&rx->rx_kernel_op, 0, memory_order_release);
	cw_release_signals(signals);
	if (got > 0) {
		cw_receive_advance(stream, request, (size_t)got);
		cw_switch_bound_in(stream, fd, (size_t)got);
		cw_receive_note_control(stream, request, &message);
		return roff + (uint64_t)got == up && !request->told ? CW_BYTES_AND_MORE : CW_BYTES;
	}
	if (got == 0)
		return CW_END; /* the writer died before what it had said it sent was sent */
	return got == -EAGAIN || got == -EINTR ? CW_EMPTY_KERNEL : cw_receive_fail(request, (int)-got);
}

/* Copy out and publish roff by compare-and-swap: it fails if a signal handler on top of us has read in between, and then the copy is made
 * again. */
enum cw_received cw_receive_ring_part(struct cw_stream *stream, struct cw_receiving *request, uint64_t word, uint64_t roff,
				      const struct cw_ring *ring, size_t unread)
{
	struct cw_direction *rx = stream->rx;
	size_t count = request->total - request->done;

	if (count > unread)
		count = unread;
	if (!(request->flags & MSG_TRUNC))
		cw_ring_get_iov(ring, roff, request->iov, request->iovcnt, request->done, count);
	/* V: release, pairs with W (send.c): the bytes are out before the writer may use their place. */
	if (!atomic_compare_exchange_strong_explicit(&rx->roff, &roff, roff + count, memory_order_acq_rel, memory_order_relaxed))
		return CW_BYTES_AND_MORE;
	request->done += count;
	CW_COUNT(stream, bytes_ring_in, count);
	/* Where the writer has left the ring for urgent data, what is behind ends at its mark (cw_receive_ends_here). */
	return cw_state_of(word) == CW_SEALED && count == unread ? CW_BYTES_AND_MORE : CW_BYTES;
}

static enum cw_received live(struct cw_stream *stream, int fd, struct cw_receiving *request, uint64_t *word, bool *again)
{
	struct cw_direction *rx = stream->rx;
	uint64_t roff = atomic_load_explicit(&rx->roff, memory_order_relaxed);
	uint64_t up = atomic_load_explicit(&rx->up, memory_order_relaxed);
	struct cw_ring ring;
	size_t unread;

	if (cw_unlikely((int64_t)(up - roff) > 0))
		return kernel_part(stream, fd, request, *word, roff, up);
	unread = cw_switch_unread(stream, *word, roff, &ring);
	if (cw_unlikely(unread == SIZE_MAX))
		return cw_receive_broken(stream, fd, request);
	if (unread)
		return cw_receive_ring_part(stream, request, *word, roff, &ring, unread);
	if (cw_state_of(*word) == CW_LIVE)
		return CW_EMPTY;
	cw_switch_drained(stream, word);
	*again = true;
	return CW_EMPTY;
}

/*
 * CONSENT: the writer has booked what it sent through the kernel so far, and the switch, if it comes, comes behind that. So it may be read
 * while the offer stands; a reader that withdrew it to read would meet a busy writer with an offer only by chance. False: nothing of the
 * kind is there.
 */
static bool booked_part(struct cw_stream *stream, int fd, struct cw_receiving *request, uint64_t word, enum cw_received *outcome)
{
	struct cw_direction *rx = stream->rx;
	uint64_t roff = atomic_load_explicit(&rx->roff, memory_order_relaxed);
	uint64_t woff = atomic_load_explicit(&rx->woff, memory_order_acquire);

	if (!atomic_load_explicit(&rx->tx_attached, memory_order_relaxed) || (int64_t)(woff - roff) <= 0)
		return false;
	/* Looked at after woff was: as long as it is the same offer, none of the bytes before woff is the ring's. */
	if (atomic_load_explicit(&rx->state, memory_order_acquire) != word)
		return false;
	*outcome = kernel_part(stream, fd, request, word, roff, woff);
	if (*outcome == CW_BYTES_AND_MORE)
		*outcome = CW_BYTES;
	return *outcome != CW_EMPTY_KERNEL;
}

bool cw_receive_told_and_unread(const struct cw_stream *stream)
{
	struct cw_direction *rx = stream->rx;

	return cw_switch_unread_asleep(stream) && !atomic_load_explicit(&rx->rx_asleep, memory_order_acquire) &&
	       !atomic_load_explicit(&rx->rx_shared, memory_order_relaxed) && !cw_set_shared(stream);
}

/* One look at the state, under the lock. */
static enum cw_received step(struct cw_stream *stream, int fd, struct cw_receiving *request, bool nested)
{
	uint64_t word = atomic_load_explicit(&stream->rx->state, memory_order_acquire);
	enum cw_received outcome;
	bool again;

	do {
		again = false;
		switch (cw_state_of(word)) {
		case CW_SEALED:
			/* While it was asleep (cw_switch_seal_asleep). */
			request->roused |= !cw_set_hot_or_none(stream);
			/* fall through */
		case CW_LIVE:
			outcome = live(stream, fd, request, &word, &again);
			break;
		case CW_CONSENT:
			/* Behind an urgent mark nothing is read by a call that has bytes (look). */
			if (!nested && !(request->done && cw_receive_at_mark(stream, fd)) &&
			    booked_part(stream, fd, request, word, &outcome))
				break;
			cw_switch_withdraw(stream, &word);
			again = true;
			break;
		case CW_ASLEEP:
			if ((word & CW_MARK_LEFT) || cw_switch_others_asleep(stream)) {
				if (!cw_receive_told_and_unread(stream))
					return CW_BY_KERNEL;
				request->roused = true;
			} else if (!cw_set_hot_or_none(stream)) {
				return CW_COLD;
			}
			cw_switch_wake(stream, &word);
			again = true;
			break;
		case CW_TAKEN:
			return CW_BY_KERNEL;
		default:
			return cw_receive_broken(stream, fd, request);
		}
	} while (again);
	return outcome;
}

/* Another process that holds this end has reset the stream, by a disconnect. */
static bool reset_by_sharer(const struct cw_stream *stream)
{
	return !stream->is_unix && (atomic_load_explicit(&stream->rx->state, memory_order_acquire) & CW_MARK_RESET);
}

ssize_t cw_receive_result(struct cw_stream *stream, const struct cw_receiving *request, enum cw_received outcome)
{
	int error = request->error;

	if (cw_unlikely(error == ENOTCONN) && outcome == CW_FAILED && reset_by_sharer(stream))
		error = ECONNRESET;
	if (outcome == CW_CLOSED) {
		if (!request->done && error)
			errno = error;
		return request->done || !error ? (ssize_t)request->done : -1;
	}
	if (request->done) {
		CW_COUNT(stream, messages_in, 1);
		if (outcome == CW_FAILED)
			cw_error_keep(stream, error);
		return (ssize_t)request->done;
	}
	if (outcome != CW_FAILED)
		error = cw_error_take(stream);
	if (!error)
		return 0;
	if (error == ECONNRESET)
		stream->reset_told = true;
	errno = error;
	return -1;
}

int cw_receive_lock(struct cw_stream *stream, int fd, const struct cw_receiving *request, bool *nested)
{
	struct cw_direction *rx = stream->rx;

	if (cw_stream_ended(stream, request->life))
		return EBADF;
	if (stream->broken || !cw_rx_lock(stream, fd, nested))
		return cw_stream_ended(stream, request->life) ? EBADF : ECONNRESET;
	if (!cw_stream_ended(stream, request->life) && cw_stream_has(stream, rx) && cw_stream_at(stream, fd))
		return 0;
	if (!*nested) {
		cw_unlock_if_held(&rx->rx_lock, cw_thread_id());
		cw_unlock_if_held(&stream->rx->rx_lock, cw_thread_id());
	}
	return EBADF;
}

enum cw_received cw_receive_without_lock(struct cw_receiving *request, int error)
{
	request->error = error;
	return error == EBADF ? CW_CLOSED : CW_FAILED;
}

/* One look at the state, and what it says is done under the lock: CW_BY_KERNEL, then rx_asleep is raised. False: there is no lock. */
static bool look(struct cw_stream *stream, int fd, struct cw_receiving *request, enum cw_received *outcome)
{
	bool nested;
	int error = cw_receive_lock(stream, fd, request, &nested);

	if (cw_unlikely(error)) {
		*outcome = cw_receive_without_lock(request, error);
		return *outcome == CW_CLOSED;
	}
	do {
		*outcome = step(stream, fd, request, nested);
		if (*outcome == CW_BY_KERNEL && cw_unlikely(request->done) && cw_receive_ends_here(stream, fd))
			*outcome = CW_ENDS_HERE;
	} while (*outcome == CW_BY_KERNEL && !cw_switch_count_asleep(stream));
	cw_rx_unlock(stream, nested);
	return true;
}

/* taken: it has been looked already, and is CW_BY_KERNEL. */
static ssize_t receive(struct cw_stream *stream, int fd, struct cw_receiving *request, bool taken)
{
	enum cw_received outcome = CW_BY_KERNEL;
	bool sleepy;

	if (!taken)
		request->error = cw_error_take(stream);
	if (cw_unlikely(request->error) && !stream->broken) {
		outcome = cw_receive_error(stream, fd, request);
		if (outcome == CW_FAILED || request->done)
			return cw_receive_result(stream, request, outcome);
	}
	for (;; taken = false) {
		if (!taken && !look(stream, fd, request, &outcome))
			return cw_receive_result(stream, request, cw_receive_fail(request, ECONNRESET));
		if (outcome == CW_ENDS_HERE)
			return cw_receive_result(stream, request, CW_BYTES);
		sleepy = outcome == CW_BY_KERNEL;
		if (cw_unlikely(request->roused)) {
			request->roused = false;
			cw_set_notice(stream);
		}
		if (sleepy && cw_receive_sparse(stream, fd, request)) {
			outcome = cw_receive_sleep(stream, fd, request);
		} else if (sleepy) {
			outcome = cw_receive_read_kernel(stream, fd, request, MSG_DONTWAIT);
			if (outcome == CW_BYTES)
				cw_receive_offer(stream, fd, request->done);
			else if (outcome == CW_FAILED && request->error == EAGAIN)
				outcome = CW_EMPTY;
			else if (outcome == CW_FAILED && request->error == EINTR)
				continue;
			if (outcome == CW_EMPTY && !cw_receive_blocking(stream, fd, request)) {
				if (!request->done && !request->awaited && cw_unlikely(cw_receive_await_taken_back(stream, fd))) {
					request->awaited = true;
					continue;
				}
				cw_receive_offer(stream, fd, 0);
				return cw_receive_result(stream, request, cw_receive_fail(request, EAGAIN));
			}
		}
		if (outcome == CW_COLD) {
			cw_switch_rouse(stream, fd);
			continue;
		}
		if (outcome == CW_EMPTY || outcome == CW_EMPTY_KERNEL)
			outcome = cw_receive_wait(stream, fd, request, outcome);
		if (outcome == CW_CLOSED)
			return cw_receive_result(stream, request, outcome);
		if (outcome == CW_END)
			outcome = cw_receive_end(stream, fd, request);
		else if (outcome == CW_FAILED)
			outcome = cw_receive_error(stream, fd, request);
		if (outcome == CW_END || outcome == CW_FAILED || request->done == request->total)
			return cw_receive_result(stream, request, outcome);
		if (request->done && !(request->flags & MSG_WAITALL)) {
			if (outcome != CW_BYTES_AND_MORE)
				return cw_receive_result(stream, request, outcome);
			request->flags |= MSG_DONTWAIT;
		}
	}
}

/* Nothing is taken, and yet it waits until there is something. TCP waits once, and what ended that is the next call's to tell. */
static ssize_t receive_nothing(struct cw_stream *stream, int fd, int flags)
{
	char byte;
	struct iovec iov = {&byte, 1};
	struct cw_receiving request = {.iov = &iov, .iovcnt = 1, .total = 1, .life = cw_stream_life(stream)};
	ssize_t got;

	request.flags = (flags & RING_FLAGS & ~(MSG_WAITALL | MSG_TRUNC)) | MSG_PEEK | MSG_DONTWAIT;
	got = cw_receive_peeking(stream, fd, &request);
	request.flags &= ~MSG_DONTWAIT | (flags & MSG_DONTWAIT);
	if (got < 0 && errno == EAGAIN && cw_receive_blocking(stream, fd, &request)) {
		request.error = 0;
		got = cw_receive_peeking(stream, fd, &request);
		if (got < 0 && !stream->is_unix) {
			cw_error_keep(stream, errno);
			return 0;
		}
	}
	return got > 0 ? 0 : got;
}

static ssize_t receive_iov(struct cw_stream *stream, int fd, const struct iovec *iov, size_t iovcnt, int flags, struct msghdr *control);

/* More than a call of the kernel's gives. */
static cw_noinline ssize_t receive_cut(struct cw_stream *stream, int fd, const struct iovec *iov, size_t iovcnt, int flags,
				       struct msghdr *control)
{
	struct iovec cut[CW_MOST_PIECES];

	return receive_iov(stream, fd, cut, cw_pieces_cut(iov, iovcnt, CW_MOST_AT_ONCE, cut), flags, control);
}

static ssize_t receive_iov(struct cw_stream *stream, int fd, const struct iovec *iov, size_t iovcnt, int flags, struct msghdr *control)
{
	struct cw_receiving request = {
		.iov = iov, .iovcnt = iovcnt, .flags = flags & (KERNEL_FLAGS | RING_FLAGS), .life = cw_stream_life(stream)};
	struct msghdr message = {.msg_iov = (struct iovec *)iov, .msg_iovlen = iovcnt};
	size_t room = control ? control->msg_controllen : 0;

	if (cw_unlikely(stream->is_unix)) {
		/* Nor does a look wait for all. */
		flags &= ~(flags & MSG_PEEK ? UNKNOWN_TO_UNIX | MSG_WAITALL : UNKNOWN_TO_UNIX);
		request.flags &= flags;
		request.control = control;
		request.room = room;
		if (control)
			control->msg_controllen = 0;
	}
	for (size_t i = 0; i < iovcnt && iovcnt <= CW_MOST_PIECES; i++) {
		if (iov[i].iov_len > (size_t)SSIZE_MAX - request.total)
			return cw_kernel.recvmsg(fd, &message, flags); /* the kernel has the errno */
		if (cw_unlikely(cw_nowhere(iov[i].iov_base, iov[i].iov_len)) && !(flags & MSG_TRUNC)) {
			int pending = cw_pending_in(stream, fd);

			if (!pending && (flags & MSG_DONTWAIT))
				break; /* nothing to put there: that comes first */
			if (cw_unlikely(stream->is_unix) && !pending && cw_leave_whole(stream, fd, CW_REASON_option))
				return cw_kernel.recvmsg(fd, &message, flags); /* it waits, and looks at the address then */
			if (pending <= 0 || (size_t)pending > request.total)
				return cw_bad_address();
			request.iovcnt = i; /* nothing to put there either */
			break;
		}
		request.total += iov[i].iov_len;
	}
	if (cw_unlikely(request.total > CW_MOST_AT_ONCE)) {
		if (control)
			control->msg_controllen = (__typeof__(control->msg_controllen))room;
		return receive_cut(stream, fd, iov, request.iovcnt, flags, control);
	}
	if (iovcnt > CW_MOST_PIECES || (flags & KERNEL_FLAGS))
		return cw_kernel.recvmsg(fd, &message,
					 flags); /* takes no byte of the stream: urgent data, the error queue, nothing at all */
	if (!request.total && iovcnt && cw_nowhere(iov[0].iov_base, iov[0].iov_len)) {
		errno = EAGAIN;
		return -1;
	}
	if (!request.total)
		return cw_pending_in(stream, fd) > 0 ? 0 : receive_nothing(stream, fd, flags);
	if (flags & MSG_PEEK)
		return cw_receive_peeking(stream, fd, &request);
	return receive(stream, fd, &request, false);
}

ssize_t cw_receive_iov(struct cw_stream *stream, int fd, const struct iovec *iov, size_t iovcnt, int flags)
{
	return receive_iov(stream, fd, iov, iovcnt, flags, NULL);
}

/* As last seen: whether another process has changed it behind our back is asked only where there is nothing (cw_receive_blocking). */
static bool waits(const struct cw_stream *stream, int flags)
{
	return (flags & MSG_WAITALL) || !((flags & MSG_DONTWAIT) || atomic_load_explicit(&stream->nonblocking, memory_order_relaxed));
}

/* TAKEN; rx_asleep was raised. */
static ssize_t receive_taken(struct cw_stream *stream, int fd, const struct iovec *piece, int flags, uint32_t life)
{
	struct cw_receiving request = {.iov = piece, .iovcnt = 1, .total = piece->iov_len, .flags = flags, .life = life};
	ssize_t got;

	if (waits(stream, flags))
		return receive(stream, fd, &request, true);
	return cw_receive_taken(stream, fd, piece, flags, &got) ? got : receive(stream, fd, &request, false);
}

/* The common cases without a detour: LIVE, and bytes in the ring; TAKEN, and no error that comes before the kernel's bytes. */
ssize_t cw_receive(struct cw_stream *stream, int fd, void *bytes, size_t count, int flags)
{
	struct cw_direction *rx = stream->rx;
	struct iovec iov = {bytes, count};
	uint32_t free = 0, life = cw_stream_life(stream);

	if (cw_likely(count && !cw_nowhere(bytes, count) && !(flags & (~RING_FLAGS | MSG_PEEK | MSG_TRUNC)) && !stream->broken) &&
	    cw_likely(atomic_compare_exchange_strong_explicit(&rx->rx_lock.holder, &free, cw_thread_id(), memory_order_acquire,
							      memory_order_relaxed))) {
		uint64_t word = atomic_load_explicit(&rx->state, memory_order_acquire);
		uint64_t roff = atomic_load_explicit(&rx->roff, memory_order_relaxed);
		uint32_t bits = atomic_load_explicit(&rx->ring_bits, memory_order_relaxed);
		bool has = cw_stream_has(stream, rx);
		/* Not attached: not yet, or memory that was taken away (zeros); the lock proper finds out. */
		bool by_kernel = has && cw_state_of(word) == CW_TAKEN && atomic_load_explicit(&rx->rx_attached, memory_order_relaxed) &&
				 !stream->is_unix && !atomic_load_explicit(&stream->error, memory_order_relaxed) &&
				 cw_stream_at(stream, fd);
		size_t unread = 0;

		if (cw_likely(has && cw_state_of(word) == CW_LIVE && cw_class_sane(bits) &&
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
		if (by_kernel)
			atomic_fetch_add_explicit(&rx->rx_asleep, 1, memory_order_relaxed);
		cw_unlock(&rx->rx_lock);
		if (cw_likely(unread)) {
			CW_COUNT(stream, bytes_ring_in, unread);
			CW_COUNT(stream, messages_in, 1);
			return (ssize_t)unread;
		}
		if (by_kernel)
			return receive_taken(stream, fd, &iov, flags, life);
	}
	return cw_receive_iov(stream, fd, &iov, 1, flags);
}

/* AF_UNIX: descriptors and credentials come with the kernel's bytes, and an address with all. */
static ssize_t receive_unix(struct cw_stream *stream, int fd, struct msghdr *message, int flags)
{
	struct msghdr control = *message;
	socklen_t name = message->msg_namelen;
	ssize_t got;

	if ((flags & MSG_PEEK) && message->msg_controllen && cw_leave_whole(stream, fd, CW_REASON_option))
		return cw_kernel.recvmsg(fd, message, flags);
	control.msg_flags = 0;
	got = receive_iov(stream, fd, message->msg_iov, message->msg_iovlen, flags, &control);
	if (got < 0)
		return got;
	if (got > 0 && message->msg_name)
		cw_unix_name(fd, message->msg_name, &name);
	if (message->msg_name)
		message->msg_namelen = got > 0 ? name : 0;
	message->msg_controllen = control.msg_controllen;
	message->msg_flags = control.msg_flags | (flags & MSG_CMSG_CLOEXEC);
	return got;
}

ssize_t cw_receive_message(struct cw_stream *stream, int fd, struct msghdr *message, int flags)
{
	size_t room = message->msg_controllen;
	ssize_t got;

	if (flags & KERNEL_FLAGS & ~(stream->is_unix ? UNKNOWN_TO_UNIX : 0))
		return cw_kernel.recvmsg(fd, message, flags);
	if (cw_unlikely(stream->is_unix))
		return receive_unix(stream, fd, message, flags);
	got = cw_receive_iov(stream, fd, message->msg_iov, message->msg_iovlen, flags);
	if (got >= 0) {
		if (message->msg_name)
			message->msg_namelen = 0;
		message->msg_controllen = 0;
		message->msg_flags = flags & MSG_CMSG_CLOEXEC;
		if (cw_unlikely(stream->tells_unread))
			cw_pending_tell(stream, fd, message, message->msg_control, room);
	}
	return got;
}
