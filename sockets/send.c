#include "sending.h"

#include <limits.h>

#include "bell.h"
#include "memory.h"
#include "service.h"

#define RING_FLAGS (MSG_DONTWAIT | MSG_NOSIGNAL | MSG_MORE | MSG_EOR | MSG_DONTROUTE | MSG_CONFIRM)

size_t cw_send_call(struct cw_stream *stream, int fd, uint64_t word, uint64_t widx, size_t count)
{
	size_t left = count;

	if (cw_bell_wanted(stream, word) && cw_bell_ring(stream, word))
		return count;
	if (cw_switch_seal_asleep(stream, &word, widx))
		return 0;
	if (cw_unlikely(!cw_stream_at(stream, fd)))
		fd = stream->fd; /* dup2 has put another socket there: it is sent on by another descriptor, or its end is under way */
	return cw_switch_take_back_but(stream, fd, &word, &left) ? count - left : count;
}

/* E: after the step that took the offer; pairs with E in cw_switch_offer_on_bell. Who can't be rung for any more has a limit. */
void cw_send_call_offerer(struct cw_stream *stream, uint64_t live)
{
	uint64_t offer = ((live & ~CW_STATE_MASK) - CW_GENERATION) | CW_CONSENT;

	if (cw_bell_wanted(stream, offer))
		cw_bell_ring(stream, offer);
}

/* Under the lock: put as much as there is room for. */
static enum cw_sent put_part(struct cw_stream *stream, int fd, struct cw_sending *request, uint64_t word)
{
	struct cw_direction *tx = stream->tx;
	uint32_t bits = atomic_load_explicit(&tx->ring_bits, memory_order_relaxed);
	uint64_t widx = atomic_load_explicit(&tx->widx, memory_order_relaxed);
	size_t count = request->total - request->done, free;
	struct cw_ring ring;

	if (cw_unlikely(!cw_class_sane(bits)))
		return cw_send_broken(stream, fd);
	ring = cw_stream_ring(stream->tx_data, bits);
	if (count > CW_PUBLISH_EVERY)
		count = CW_PUBLISH_EVERY;
	free = cw_send_room(tx, widx, ring.size, count);
	if (cw_unlikely(free == SIZE_MAX))
		return cw_send_broken(stream, fd);
	/* A small message goes whole, or not at all: another writer's must not come between its halves where TCP would not let it. */
	if (!free || (free < count && count <= CW_SEND_WHOLE && count == request->total))
		return CW_NO_ROOM;
	if (count > free)
		count = free;
	if (!cw_send_claim(stream, widx, word))
		return CW_SENT_PART;
	cw_ring_put_iov(&ring, widx, request->iov, request->iovcnt, request->done, count);
	request->done += cw_send_publish(stream, fd, widx, count);
	return CW_SENT_PART;
}

/* One look at the state, under the lock. */
static enum cw_sent step(struct cw_stream *stream, int fd, struct cw_sending *request, bool nested, unsigned looked)
{
	struct cw_direction *tx = stream->tx;
	uint64_t word = atomic_load_explicit(&tx->state, memory_order_acquire);
	bool interrupts = nested && cw_send_take_claim(stream);
	enum cw_sent outcome;

	for (;;) {
		switch (cw_state_of(word)) {
		case CW_LIVE:
			if (interrupts || (word & (CW_MARK_LEFT | CW_MARK_READER_GONE))) {
				if (cw_switch_seal(stream, &word))
					return CW_USE_KERNEL;
				continue;
			}
			outcome = put_part(stream, fd, request, word);
			cw_send_call_offerer(stream, word);
			if (outcome != CW_NO_ROOM || !(nested || (looked & CW_LOOKED_FOR_ROOM)))
				return outcome;
			if (cw_switch_seal(stream, &word))
				return CW_USE_KERNEL;
			continue;
		case CW_CONSENT:
			if (nested)
				cw_switch_renew_offer(stream, &word);
			if (nested || !cw_switch_accept(stream, fd, &word)) {
				if (cw_state_of(word) != CW_CONSENT)
					continue;
				return CW_USE_KERNEL;
			}
			continue;
		case CW_ASLEEP:
			if (cw_switch_seal_asleep(stream, &word, atomic_load_explicit(&tx->widx, memory_order_relaxed)))
				return CW_USE_KERNEL;
			if (cw_unlikely(cw_switch_awaits_reader(tx, fd, word)))
				return CW_AWAIT_READER;
			/* What is unread goes through the kernel now, and what comes behind it with it: two arrivals would be two edges.
			 * The put is one that the reader fell asleep under: who publishes it takes all of it back, or rings. */
			if (!interrupts && !(word & (CW_MARK_LEFT | CW_MARK_READER_GONE)) &&
			    (cw_switch_told_and_unread(tx) || cw_bell_wanted(stream, word))) {
				outcome = put_part(stream, fd, request, word);
				if (outcome != CW_NO_ROOM)
					return outcome;
			}
			if (cw_switch_take_back(stream, fd, &word))
				return CW_USE_KERNEL;
			if (stream->broken)
				return CW_SEND_BROKEN;
			continue;
		case CW_TAKEN:
			if (!nested && !(looked & CW_LOOKED_FOR_OFFER) && request->total - request->done > CW_SEND_WHOLE &&
			    cw_send_offer_expected(stream, word))
				return CW_AWAIT_OFFER;
			return CW_USE_KERNEL;
		case CW_SEALED:
			return CW_USE_KERNEL;
		default:
			return cw_send_broken(stream, fd);
		}
	}
}

bool cw_send_nonblocking(struct cw_stream *stream, int fd, const struct cw_sending *request)
{
	return (request->flags & MSG_DONTWAIT) || !cw_stream_blocks(stream, fd);
}

/* How much to send through the kernel without waiting. 0: all of it, by a call that waits. */
static size_t piece_of(struct cw_stream *stream, int fd, const struct cw_sending *request, bool nested, unsigned looked)
{
	size_t left = request->total - request->done;

	if (looked & CW_NO_MORE_PIECES)
		return 0;
	if (!nested && left > CW_SEND_PIECE && cw_send_in_bulk(stream, atomic_load_explicit(&stream->tx->state, memory_order_relaxed)))
		return CW_SEND_PIECE;
	return request->done && !cw_send_nonblocking(stream, fd, request) ? left : 0;
}

static ssize_t send_request(struct cw_stream *stream, int fd, struct cw_sending *request)
{
	struct cw_direction *tx = stream->tx;
	unsigned looked = 0;
	enum cw_sent outcome;
	size_t piece;
	bool nested, brief, was_brief = false; /* behind a part, by who doesn't wait: it looks for room once */
	ssize_t sent;
	int error;

	do {
		error = cw_send_lock(stream, fd, request->life, &nested);
		if (cw_unlikely(error))
			return cw_send_fail(request, error);
		outcome = step(stream, fd, request, nested, looked);
		if (outcome == CW_USE_KERNEL)
			atomic_fetch_add_explicit(&tx->tx_in_kernel, 1, memory_order_relaxed);
		cw_tx_unlock(stream, nested);
		switch (outcome) {
		case CW_SENT_PART:
			looked = 0;
			break;
		case CW_AWAIT_OFFER:
			cw_send_look_for_offer(stream);
			looked |= CW_LOOKED_FOR_OFFER;
			break;
		case CW_AWAIT_READER:
			error = cw_send_await_reader(stream, fd, request);
			if (error)
				return cw_send_fail_late(stream, request, error);
			break;
		case CW_NO_ROOM:
			/* A part is an answer for who doesn't want to wait; the next call looks again. But who is told of room by edge may
			 * wait for that now (epoll(7)), and it is the kernel that makes one, once it has had no room. */
			brief = request->done && cw_send_nonblocking(stream, fd, request);
			if (brief && !cw_stream_makes_edges(stream))
				return cw_send_finish(stream, request, 0);
			if ((brief && was_brief) || !cw_send_look_for_room(stream))
				looked |= CW_LOOKED_FOR_ROOM;
			was_brief |= brief;
			break;
		case CW_USE_KERNEL:
			error = cw_send_kept_error(stream);
			if (cw_unlikely(error))
				return cw_send_fail_late(stream, request, error);
			piece = piece_of(stream, fd, request, nested, looked);
			if (piece) {
				sent = cw_send_piece(stream, fd, request, piece);
				if (sent < 0 && cw_error_of_connection((int)-sent))
					return cw_send_fail_late(stream, request, (int)-sent);
				looked = sent > 0 && piece == CW_SEND_PIECE ? 0 : looked | CW_NO_MORE_PIECES;
				break;
			}
			if ((request->done || cw_unlikely(request->end)) && !cw_send_await_room(stream, fd, request))
				return cw_send_finish(stream, request, -1);
			sent = cw_send_rest(stream, fd, request);
			if (cw_unlikely(request->end) && sent < 0 && errno == EAGAIN && !cw_send_nonblocking(stream, fd, request))
				break;
			if (sent <= 0 || request->done + (size_t)sent >= request->total || cw_stream_ended(stream, request->life))
				return cw_send_finish(stream, request, sent);
			request->done += (size_t)sent;
			/* A short count from the kernel is the call's end: it ran out of room, of time, or was interrupted. Only our own
			 * cut of a long iovec goes on, and who waits here, for no longer than is left. */
			if (!request->end && (request->iovcnt <= CW_PIECES || request->done == (size_t)sent))
				return cw_send_finish(stream, request, 0);
			break;
		case CW_AWAIT_FILE: /* send_file.c */
		case CW_SEND_BROKEN:
			return cw_send_fail(request, ECONNRESET);
		}
	} while (request->done < request->total);
	return cw_send_finish(stream, request, 0);
}

/* More than a call of the kernel's takes. */
static cw_noinline ssize_t send_cut(struct cw_stream *stream, int fd, const struct iovec *iov, size_t iovcnt, int flags)
{
	struct iovec cut[CW_MOST_PIECES];

	return cw_send_iov(stream, fd, cut, cw_pieces_cut(iov, iovcnt, CW_MOST_AT_ONCE, cut), flags);
}

ssize_t cw_send_iov(struct cw_stream *stream, int fd, const struct iovec *iov, size_t iovcnt, int flags)
{
	struct cw_sending request = {.iov = iov, .iovcnt = iovcnt, .flags = flags, .life = cw_stream_life(stream)};
	struct msghdr message = {.msg_iov = (struct iovec *)iov, .msg_iovlen = iovcnt};

	if (iovcnt > CW_MOST_PIECES)
		return cw_send_message(stream, fd, &message, flags);
	for (size_t i = 0; i < iovcnt; i++) {
		if (iov[i].iov_len > (size_t)SSIZE_MAX - request.total)
			return cw_send_message(stream, fd, &message, flags); /* the kernel has the errno */
		if (cw_unlikely(cw_nowhere(iov[i].iov_base, iov[i].iov_len)))
			return cw_bad_address();
		request.total += iov[i].iov_len;
	}
	if (!request.total || (flags & ~RING_FLAGS))
		return cw_send_message(stream, fd, &message, flags);
	if (cw_unlikely(request.total > CW_MOST_AT_ONCE))
		return send_cut(stream, fd, iov, iovcnt, flags);
	return send_request(stream, fd, &request);
}

/* Of one piece, behind what was sent of it. */
static cw_noinline ssize_t send_rest(struct cw_stream *stream, int fd, const struct iovec *piece, size_t sent, int flags, uint32_t life)
{
	struct cw_sending request = {.iov = piece, .iovcnt = 1, .total = piece->iov_len, .done = sent, .flags = flags, .life = life};

	return send_request(stream, fd, &request);
}

/* The common cases without a detour: LIVE, one piece, room for all of it; TAKEN, one short piece. */
ssize_t cw_send(struct cw_stream *stream, int fd, const void *bytes, size_t count, int flags)
{
	struct cw_direction *tx = stream->tx;
	struct iovec iov = {(void *)bytes, count};
	uint32_t free = 0;

	if (cw_likely(count - 1 < CW_PUBLISH_EVERY && !cw_nowhere(bytes, count) && !(flags & ~RING_FLAGS) && !stream->broken) &&
	    cw_likely(atomic_compare_exchange_strong_explicit(&tx->tx_lock.holder, &free, cw_thread_id(), memory_order_acquire,
							      memory_order_relaxed))) {
		uint64_t word = atomic_load_explicit(&tx->state, memory_order_acquire);
		bool has = cw_stream_has(stream, tx);
		uint64_t widx = atomic_load_explicit(&tx->widx, memory_order_relaxed);
		uint32_t bits = atomic_load_explicit(&tx->ring_bits, memory_order_relaxed);
		/* Not attached: not yet, or memory that was taken away (zeros); the lock proper finds out. */
		bool by_kernel = has && cw_state_of(word) == CW_TAKEN && count <= CW_SEND_WHOLE &&
				 atomic_load_explicit(&tx->tx_attached, memory_order_relaxed) && cw_stream_at(stream, fd);
		size_t sent = 0;
		uint32_t life = 0;

		if (cw_likely((word & (CW_STATE_MASK | CW_MARK_LEFT | CW_MARK_READER_GONE)) == CW_LIVE && cw_class_sane(bits) && has)) {
			struct cw_ring ring = cw_stream_ring(stream->tx_data, bits);
			size_t space = cw_send_room(tx, widx, ring.size, count);

			if (cw_likely(space >= count && space != SIZE_MAX) && cw_send_claim(stream, widx, word)) {
				cw_ring_put(&ring, widx, bytes, count);
				sent = cw_send_publish(stream, fd, widx, count);
			}
		}
		if (by_kernel)
			atomic_fetch_add_explicit(&tx->tx_in_kernel, 1, memory_order_relaxed);
		if (cw_unlikely(sent && sent != count))
			life = cw_stream_life(stream);
		cw_unlock(&tx->tx_lock);
		if (cw_likely(sent == count)) {
			CW_COUNT(stream, messages_out, 1);
			return (ssize_t)count;
		}
		if (sent)
			return send_rest(stream, fd, &iov, sent, flags, life);
		if (by_kernel)
			return cw_send_taken(stream, fd, &iov, flags);
	}
	return cw_send_iov(stream, fd, &iov, 1, flags);
}
