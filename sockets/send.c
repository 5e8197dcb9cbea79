#include "send.h"

#include <limits.h>
#include <pthread.h>
#include <string.h>
#include <sys/stat.h>

#include "kernel.h"
#include "memory.h"
#include "pieces.h"
#include "service.h"
#include "switch.h"
#include "sync/board.h"

#define PUBLISH_EVERY 32768u /* the reader copies the first part while the writer copies the next */
#define WHOLE         4096u
#define MAX_IOV       1024
#define MOST_PATIENCE 20 /* times the longest look, with a reader that gets on */
#define PIECE         65536u
#define MOST_MISSES   8
#define TRY_AGAIN     32
#define RING_FLAGS    (MSG_DONTWAIT | MSG_NOSIGNAL | MSG_MORE | MSG_EOR | MSG_DONTROUTE | MSG_CONFIRM)

struct request {
	const struct iovec *iov;
	size_t iovcnt, total, done;
	int flags;
};

enum outcome { DONE_PART, NO_ROOM, AWAIT_OFFER, USE_KERNEL, BROKEN };

/* What a call has looked for in vain. */
#define LOOKED_FOR_ROOM  1u
#define LOOKED_FOR_OFFER 2u
#define NO_MORE_PIECES   4u

static enum outcome broken(struct cw_stream *stream, int fd)
{
	cw_switch_break(stream, fd, CW_REASON_broken);
	return BROKEN;
}

/* Room in the ring, from the credit at hand, or from the reader's own index if that says too little for wanted bytes. SIZE_MAX: nonsense.
 */
static size_t room(struct cw_direction *tx, uint64_t widx, uint64_t size, size_t wanted)
{
	uint64_t credit = atomic_load_explicit(&tx->tx_credit, memory_order_relaxed), roff;

	if (widx - credit > size)
		return SIZE_MAX;
	if (size - (widx - credit) >= wanted)
		return size - (widx - credit);
	/* W: acquire, pairs with the reader's publishing of roff (receive.c, V): the bytes before roff have been copied out. */
	roff = atomic_load_explicit(&tx->roff, memory_order_acquire);
	if ((int64_t)(roff - credit) > 0) {
		credit = roff;
		atomic_store_explicit(&tx->tx_credit, credit, memory_order_relaxed);
	}
	return widx - credit > size ? SIZE_MAX : size - (widx - credit);
}

/*
 * Publish, then look whether the reader sleeps. The compare-and-swap is both: it fails if a signal handler on top of us has published in
 * between, and it is the fence between the store of widx and the load of the state (A in switch.c).
 */
static bool publish(struct cw_stream *stream, int fd, uint64_t widx, size_t count)
{
	struct cw_direction *tx = stream->tx;
	uint64_t word, expected = widx;

	if (!atomic_compare_exchange_strong_explicit(&tx->widx, &expected, widx + count, memory_order_seq_cst, memory_order_relaxed))
		return false;
	atomic_store_explicit(&tx->woff, widx + count, memory_order_relaxed);
	CW_COUNT(stream, bytes_ring_out, count);
	word = atomic_load_explicit(&tx->state, memory_order_seq_cst);
	if (cw_unlikely(cw_state_of(word) == CW_ASLEEP))
		cw_switch_take_back(stream, fd, &word);
	else if (atomic_load_explicit(&tx->rx_board, memory_order_seq_cst))
		CW_COUNT(stream, marks, cw_board_mark(stream->tx_board, stream->board_bit));
	return true;
}

/* LIVE, under the lock: put as much as there is room for. */
static enum outcome put_part(struct cw_stream *stream, int fd, struct request *request)
{
	struct cw_direction *tx = stream->tx;
	uint32_t bits = atomic_load_explicit(&tx->ring_bits, memory_order_relaxed);
	uint64_t widx = atomic_load_explicit(&tx->widx, memory_order_relaxed);
	size_t count = request->total - request->done, free;
	struct cw_ring ring;

	if (cw_unlikely(!cw_class_sane(bits)))
		return broken(stream, fd);
	ring = cw_stream_ring(stream->tx_data, bits);
	if (count > PUBLISH_EVERY)
		count = PUBLISH_EVERY;
	free = room(tx, widx, ring.size, count);
	if (cw_unlikely(free == SIZE_MAX))
		return broken(stream, fd);
	/* A small message goes whole, or not at all: another writer's must not come between its halves where TCP would not let it. */
	if (!free || (free < count && count <= WHOLE && count == request->total))
		return NO_ROOM;
	if (count > free)
		count = free;
	cw_ring_put_iov(&ring, widx, request->iov, request->iovcnt, request->done, count);
	if (publish(stream, fd, widx, count))
		request->done += count;
	return DONE_PART;
}

/*
 * The ring is full and its reader awake: room comes soon, or the reader isn't running. As long as it gets on, be it through what the kernel
 * holds before the ring, it is worth waiting for: going to the kernel costs more, and a while to come back from.
 */
static bool look_for_room(struct cw_stream *stream)
{
	struct cw_direction *tx = stream->tx;
	uint64_t credit = atomic_load_explicit(&tx->tx_credit, memory_order_relaxed),
		 patience = (uint64_t)cw_policy_spin_us() * cw_ticks_per_us();
	uint64_t start = cw_ticks(), seen = atomic_load_explicit(&tx->roff, memory_order_relaxed), moved = start;

	while (cw_ticks() - moved < patience && cw_ticks() - start < MOST_PATIENCE * patience) {
		uint64_t roff = atomic_load_explicit(&tx->roff, memory_order_relaxed);

		if ((int64_t)(roff - credit) > 0)
			return true;
		if (roff != seen) {
			seen = roff;
			moved = cw_ticks();
		}
		cw_pause();
	}
	return false;
}

/*
 * In bulk, a reader that was woken through the kernel is about to offer the ring, and what fills the kernel's buffers meanwhile keeps both
 * ends at the speed of wake-ups: each finds the other asleep, for ever. So what a call sends through the kernel goes in pieces, and between
 * them it looks for the offer; not where that was in vain several times, and nothing is on its way that would make the reader come.
 */
static bool in_bulk(const struct cw_stream *stream, uint64_t word)
{
	struct cw_direction *tx = stream->tx;

	return stream->bounded && !(word & (CW_MARK_LEFT | CW_MARK_READER_GONE)) &&
	       atomic_load_explicit(&tx->tx_attached, memory_order_relaxed) &&
	       !atomic_load_explicit(&tx->rx_shared, memory_order_relaxed) &&
	       (stream->offers_missed < MOST_MISSES || stream->offers_missed % TRY_AGAIN == 0);
}

static bool offer_expected(struct cw_stream *stream, uint64_t word)
{
	struct cw_direction *tx = stream->tx;

	if (stream->offers_missed >= MOST_MISSES)
		stream->offers_missed++;
	return in_bulk(stream, word) &&
	       atomic_load_explicit(&tx->woff, memory_order_relaxed) != atomic_load_explicit(&tx->roff, memory_order_relaxed);
}

static void look_for_offer(struct cw_stream *stream)
{
	uint64_t start = cw_ticks(), patience = (uint64_t)cw_policy_spin_us() * cw_ticks_per_us();

	do {
		if (cw_state_of(atomic_load_explicit(&stream->tx->state, memory_order_relaxed)) != CW_TAKEN) {
			stream->offers_missed = 0;
			return;
		}
		cw_pause();
	} while (cw_ticks() - start < patience);
	stream->offers_missed++;
}

/* One look at the state, under the lock. */
static enum outcome step(struct cw_stream *stream, int fd, struct request *request, bool nested, unsigned looked)
{
	struct cw_direction *tx = stream->tx;
	uint64_t word = atomic_load_explicit(&tx->state, memory_order_acquire);
	enum outcome outcome;

	for (;;) {
		switch (cw_state_of(word)) {
		case CW_LIVE:
			if (word & (CW_MARK_LEFT | CW_MARK_READER_GONE)) {
				if (nested || cw_switch_seal(stream, &word))
					return USE_KERNEL;
				continue;
			}
			outcome = put_part(stream, fd, request);
			if (outcome != NO_ROOM || !(looked & LOOKED_FOR_ROOM) || nested)
				return outcome;
			if (cw_switch_seal(stream, &word))
				return USE_KERNEL;
			continue;
		case CW_CONSENT:
			if (nested || !cw_switch_accept(stream, fd, &word)) {
				if (cw_state_of(word) != CW_CONSENT)
					continue;
				return USE_KERNEL;
			}
			continue;
		case CW_ASLEEP:
			if (nested)
				return USE_KERNEL;
			if (cw_switch_take_back(stream, fd, &word))
				return USE_KERNEL;
			if (stream->broken)
				return BROKEN;
			continue;
		case CW_TAKEN:
			if (!nested && !(looked & LOOKED_FOR_OFFER) && request->total - request->done > WHOLE &&
			    offer_expected(stream, word))
				return AWAIT_OFFER;
			return USE_KERNEL;
		case CW_SEALED:
			return USE_KERNEL;
		default:
			return broken(stream, fd);
		}
	}
}

/* A cancelled thread never says how much the kernel took of it: the offset is lost, and the direction stays with the kernel. */
static void cancelled(void *argument)
{
	struct cw_direction *tx = argument;

	atomic_store_explicit(&tx->tx_attached, 0, memory_order_relaxed);
	cw_state_mark(&tx->state, CW_MARK_LEFT);
	atomic_fetch_sub_explicit(&tx->tx_in_kernel, 1, memory_order_release);
}

static void book(struct cw_stream *stream, int fd, ssize_t sent)
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

static ssize_t send_by_kernel(struct cw_stream *stream, int fd, const struct msghdr *message, int flags)
{
	struct cw_direction *tx = stream->tx;
	ssize_t sent;

	stream->corked = (uint8_t)((stream->corked & CW_CORK_OPTION) | (flags & MSG_MORE ? CW_CORK_MORE : 0));
	cw_switch_note_wake(stream);
	pthread_cleanup_push(cancelled, tx);
	sent = cw_kernel.sendmsg(fd, message, flags);
	pthread_cleanup_pop(0);
	book(stream, fd, sent);
	return sent;
}

static size_t untaken(const struct request *request, size_t limit, struct iovec rest[CW_PIECES])
{
	return cw_pieces(request->iov, request->iovcnt, request->done, limit, rest);
}

/* The rest of a request through the kernel. */
static ssize_t send_rest(struct cw_stream *stream, int fd, const struct request *request)
{
	struct iovec rest[CW_PIECES];
	int flags = request->flags | (request->done ? MSG_NOSIGNAL : 0);
	struct msghdr message = {.msg_iov = rest};

	if (!request->done) {
		message.msg_iov = (struct iovec *)request->iov;
		message.msg_iovlen = request->iovcnt;
		return send_by_kernel(stream, fd, &message, flags);
	}
	message.msg_iovlen = untaken(request, SIZE_MAX, rest);
	return send_by_kernel(stream, fd, &message, flags);
}

/* A piece of it, without waiting. Returns bytes or -errno. */
static long send_piece(struct cw_stream *stream, int fd, struct request *request)
{
	struct iovec rest[CW_PIECES];
	struct msghdr message = {.msg_iov = rest};
	long sent;

	message.msg_iovlen = untaken(request, PIECE, rest);
	cw_switch_note_wake(stream);
	sent = cw_raw_sendmsg(fd, &message, request->flags | MSG_DONTWAIT | MSG_NOSIGNAL);
	book(stream, fd, sent);
	if (sent > 0)
		request->done += (size_t)sent;
	return sent;
}

static ssize_t finish(struct cw_stream *stream, const struct request *request, ssize_t by_kernel)
{
	size_t done = request->done + (by_kernel > 0 ? (size_t)by_kernel : 0);

	if (!done)
		return by_kernel;
	CW_COUNT(stream, messages_out, 1);
	return (ssize_t)done;
}

static ssize_t fail(const struct request *request, int error)
{
	if (request->done)
		return (ssize_t)request->done;
	errno = error;
	return -1;
}

/* An error that the kernel has forgotten by telling it; the others are told again by the call for the rest. */
static bool told_once(int error)
{
	return error != EAGAIN && error != EINTR && error != EPIPE && error != EFAULT;
}

/* It came behind bytes: what asks next tells it. */
static ssize_t fail_late(struct cw_stream *stream, const struct request *request, int error)
{
	if (request->done)
		atomic_store_explicit(&stream->error, error, memory_order_relaxed);
	return fail(request, error);
}

static bool nonblocking(const struct cw_stream *stream, const struct request *request)
{
	return (request->flags & MSG_DONTWAIT) || atomic_load_explicit(&stream->nonblocking, memory_order_relaxed);
}

static ssize_t send_request(struct cw_stream *stream, int fd, struct request *request)
{
	struct cw_direction *tx = stream->tx;
	unsigned looked = 0;
	enum outcome outcome;
	bool nested;
	ssize_t sent;

	do {
		if (stream->broken || !cw_tx_lock(stream, fd, &nested))
			return fail(request, ECONNRESET);
		outcome = step(stream, fd, request, nested, looked);
		if (outcome == USE_KERNEL || (outcome == NO_ROOM && nested))
			atomic_fetch_add_explicit(&tx->tx_in_kernel, 1, memory_order_relaxed);
		cw_tx_unlock(stream, nested);
		switch (outcome) {
		case DONE_PART:
			looked = 0;
			break;
		case AWAIT_OFFER:
			look_for_offer(stream);
			looked |= LOOKED_FOR_OFFER;
			break;
		case NO_ROOM:
			/* A part is an answer for who doesn't want to wait; the next call looks again. */
			if (request->done && nonblocking(stream, request))
				return finish(stream, request, 0);
			if (!nested) {
				if (!look_for_room(stream))
					looked |= LOOKED_FOR_ROOM;
				break;
			}
			/* fall through */
		case USE_KERNEL:
			if (!nested && !(looked & NO_MORE_PIECES) && request->total - request->done > PIECE &&
			    in_bulk(stream, atomic_load_explicit(&tx->state, memory_order_relaxed))) {
				sent = send_piece(stream, fd, request);
				if (sent < 0 && told_once((int)-sent))
					return fail_late(stream, request, (int)-sent);
				looked = sent > 0 ? 0 : looked | NO_MORE_PIECES;
				break;
			}
			sent = send_rest(stream, fd, request);
			if (sent <= 0 || request->done + (size_t)sent >= request->total)
				return finish(stream, request, sent);
			request->done += (size_t)sent;
			/* A short count from the kernel is the call's end: it ran out of room, of time, or was interrupted. Only our own
			 * cut of a long iovec goes on. */
			if (request->iovcnt <= CW_PIECES || request->done == (size_t)sent)
				return finish(stream, request, 0);
			break;
		case BROKEN:
			return fail(request, ECONNRESET);
		}
	} while (request->done < request->total);
	return finish(stream, request, 0);
}

ssize_t cw_send_iov(struct cw_stream *stream, int fd, const struct iovec *iov, size_t iovcnt, int flags)
{
	struct request request = {.iov = iov, .iovcnt = iovcnt, .flags = flags};
	struct msghdr message = {.msg_iov = (struct iovec *)iov, .msg_iovlen = iovcnt};

	if (iovcnt > MAX_IOV)
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
	return send_request(stream, fd, &request);
}

/* The common case without a detour: LIVE, one piece, room for all of it. */
ssize_t cw_send(struct cw_stream *stream, int fd, const void *bytes, size_t count, int flags)
{
	struct cw_direction *tx = stream->tx;
	struct iovec iov = {(void *)bytes, count};
	uint32_t free = 0;

	if (cw_likely(count - 1 < PUBLISH_EVERY && !cw_nowhere(bytes, count) && !(flags & ~RING_FLAGS) && !stream->broken) &&
	    cw_likely(atomic_compare_exchange_strong_explicit(&tx->tx_lock.holder, &free, cw_thread_id(), memory_order_acquire,
							      memory_order_relaxed))) {
		uint64_t word = atomic_load_explicit(&tx->state, memory_order_acquire);
		uint64_t widx = atomic_load_explicit(&tx->widx, memory_order_relaxed);
		uint32_t bits = atomic_load_explicit(&tx->ring_bits, memory_order_relaxed);
		bool sent = false;

		if (cw_likely((word & (CW_STATE_MASK | CW_MARK_LEFT | CW_MARK_READER_GONE)) == CW_LIVE && cw_class_sane(bits))) {
			struct cw_ring ring = cw_stream_ring(stream->tx_data, bits);
			size_t space = room(tx, widx, ring.size, count);

			if (cw_likely(space >= count && space != SIZE_MAX)) {
				cw_ring_put(&ring, widx, bytes, count);
				sent = publish(stream, fd, widx, count);
			}
		}
		cw_unlock(&tx->tx_lock);
		if (cw_likely(sent)) {
			CW_COUNT(stream, messages_out, 1);
			return (ssize_t)count;
		}
	}
	return cw_send_iov(stream, fd, &iov, 1, flags);
}

/* Bring the direction to the kernel: the ring's bytes come first, whatever the reader does. */
static bool to_kernel(struct cw_stream *stream, int fd)
{
	uint64_t word;
	bool nested, fine;

	if (stream->broken || !cw_tx_lock(stream, fd, &nested))
		return false;
	word = atomic_load_explicit(&stream->tx->state, memory_order_acquire);
	if (!nested)
		cw_switch_to_kernel(stream, fd, word);
	fine = nested || !stream->broken;
	atomic_fetch_add_explicit(&stream->tx->tx_in_kernel, 1, memory_order_relaxed);
	cw_tx_unlock(stream, nested);
	if (!fine)
		atomic_fetch_sub_explicit(&stream->tx->tx_in_kernel, 1, memory_order_release);
	return fine;
}

ssize_t cw_send_message(struct cw_stream *stream, int fd, const struct msghdr *message, int flags)
{
	struct request nothing = {0};

	if (!to_kernel(stream, fd))
		return fail(&nothing, ECONNRESET);
	return finish(stream, &nothing, send_by_kernel(stream, fd, message, flags));
}

/* ---- sendfile: from the file into the ring, one copy ---- */

static enum outcome put_file(struct cw_stream *stream, int fd, int from, off_t *offset, size_t left, size_t *done)
{
	struct cw_direction *tx = stream->tx;
	uint32_t bits = atomic_load_explicit(&tx->ring_bits, memory_order_relaxed);
	uint64_t widx = atomic_load_explicit(&tx->widx, memory_order_relaxed);
	size_t count = left < PUBLISH_EVERY ? left : PUBLISH_EVERY, free;
	struct cw_ring ring;
	struct iovec pieces[2];
	long got;
	int used;

	if (cw_unlikely(!cw_class_sane(bits)))
		return broken(stream, fd);
	ring = cw_stream_ring(stream->tx_data, bits);
	free = room(tx, widx, ring.size, count);
	if (cw_unlikely(free == SIZE_MAX))
		return broken(stream, fd);
	if (!free)
		return NO_ROOM;
	used = cw_ring_pieces(&ring, widx, count < free ? count : free, pieces);
	got = offset ? cw_raw(SYS_preadv, from, (long)pieces, used, (long)*offset, 0, 0)
		     : cw_raw(SYS_readv, from, (long)pieces, used, 0, 0, 0);
	if (got < 0)
		return USE_KERNEL; /* no file: the kernel's sendfile has the errno */
	if (got && !publish(stream, fd, widx, (size_t)got))
		return USE_KERNEL;
	if (offset)
		*offset += got;
	*done = (size_t)got;
	return DONE_PART;
}

/* Only what can be read at a place is copied by us; for the rest the kernel's sendfile knows what is right. */
static bool is_file(int fd)
{
	struct stat info;

	return fstat(fd, &info) == 0 && S_ISREG(info.st_mode);
}

/* One look under the lock; *part: what was put into the ring. */
static enum outcome step_file(struct cw_stream *stream, int fd, int from, off_t *offset, size_t left, unsigned looked, size_t *part)
{
	enum outcome outcome = USE_KERNEL;
	uint64_t word;
	bool nested;

	if (stream->broken || !cw_tx_lock(stream, fd, &nested))
		return BROKEN;
	word = atomic_load_explicit(&stream->tx->state, memory_order_acquire);
	if (cw_state_of(word) == CW_CONSENT && !nested)
		cw_switch_accept(stream, fd, &word);
	if ((word & (CW_STATE_MASK | CW_MARK_LEFT | CW_MARK_READER_GONE)) == CW_LIVE && !nested)
		outcome = put_file(stream, fd, from, offset, left, part);
	else if (cw_state_of(word) == CW_TAKEN && !nested && !(looked & LOOKED_FOR_OFFER) && offer_expected(stream, word))
		outcome = AWAIT_OFFER;
	cw_tx_unlock(stream, nested);
	return outcome;
}

/* Pieces only between streams that hope for the ring, as in send_request. */
static size_t file_piece(const struct cw_stream *stream, size_t left)
{
	uint64_t word = atomic_load_explicit(&stream->tx->state, memory_order_relaxed);

	return left > PIECE && in_bulk(stream, word) ? PIECE : left;
}

static ssize_t file_by_kernel(struct cw_stream *stream, int fd, int from, off_t *offset, size_t count)
{
	ssize_t sent;

	pthread_cleanup_push(cancelled, stream->tx);
	sent = cw_kernel.sendfile(fd, from, offset, count);
	pthread_cleanup_pop(0);
	book(stream, fd, sent);
	return sent;
}

ssize_t cw_send_file(struct cw_stream *stream, int fd, int from, off_t *offset, size_t count)
{
	struct request request = {.total = count};
	bool file = is_file(from);
	unsigned looked = 0;

	while (request.done < count) {
		enum outcome outcome = USE_KERNEL;
		size_t part = 0, piece;
		ssize_t sent;

		if (file)
			outcome = step_file(stream, fd, from, offset, count - request.done, looked, &part);
		switch (outcome) {
		case BROKEN:
			return fail(&request, ECONNRESET);
		case DONE_PART:
			if (!part)
				return finish(stream, &request, 0); /* end of the file */
			request.done += part;
			looked = 0;
			continue;
		case AWAIT_OFFER:
			look_for_offer(stream);
			looked |= LOOKED_FOR_OFFER;
			continue;
		case NO_ROOM:
			if (!(looked & LOOKED_FOR_ROOM)) {
				if (!look_for_room(stream))
					looked |= LOOKED_FOR_ROOM;
				continue;
			}
			break;
		case USE_KERNEL:
			break;
		}
		if (!to_kernel(stream, fd))
			return fail(&request, ECONNRESET);
		piece = file ? file_piece(stream, count - request.done) : count - request.done;
		sent = file_by_kernel(stream, fd, from, offset, piece);
		if (sent < (ssize_t)piece || piece == count - request.done)
			return sent < 0 && request.done && told_once(errno) ? fail_late(stream, &request, errno)
									    : finish(stream, &request, sent);
		request.done += (size_t)sent;
		looked = 0;
	}
	return finish(stream, &request, 0);
}
