/*
 * Sending, between its own files: one send call, and what a step of it finds.
 *
 *	send.c		the call: looks at the state, puts bytes into the ring, or hands them to the kernel
 *	send_look.c	no room, or no offer yet: look for a while
 *	send_kernel.c	what goes through the kernel
 *	send_file.c	sendfile: from the file into the ring, one copy
 */
#ifndef CW_SOCKETS_SENDING_H
#define CW_SOCKETS_SENDING_H

#include "error.h"
#include "kernel.h"
#include "pieces.h"
#include "send.h"
#include "switch.h"
#include "sync/board.h"
#include "sync/ring.h"

#define CW_PUBLISH_EVERY 32768u /* the reader copies the first part while the writer copies the next */
#define CW_SEND_PIECE    65536u
#define CW_SEND_WHOLE    4096u /* a message of so many bytes goes by ring whole, or not */

struct cw_sending {
	const struct iovec *iov;
	size_t iovcnt, total, done;
	int flags;
	uint32_t life; /* of the stream, when the call began */
	uint64_t end;  /* of what it may wait in all (SO_SNDTIMEO), since it had to elsewhere than in the kernel's call that sends; 0: it
			  hasn't had to, or has no limit */
};

/* One that may sleep in the kernel. */
struct cw_send_sleeper {
	struct cw_stream *stream;
	uint32_t life;
};

enum cw_sent { CW_SENT_PART, CW_NO_ROOM, CW_AWAIT_OFFER, CW_AWAIT_READER, CW_AWAIT_FILE, CW_USE_KERNEL, CW_SEND_BROKEN };

/* What a call has looked for in vain. */
#define CW_LOOKED_FOR_ROOM  1u
#define CW_LOOKED_FOR_OFFER 2u
#define CW_NO_MORE_PIECES   4u

bool cw_send_look_for_room(struct cw_stream *stream);
bool cw_send_in_bulk(const struct cw_stream *stream, uint64_t word);
bool cw_send_offer_expected(struct cw_stream *stream, uint64_t word);
void cw_send_look_for_offer(struct cw_stream *stream);

/*
 * The lock, for one step of a call: 0, or the error that there is instead. Between two steps another thread may have closed the stream, and
 * its place and descriptor may serve another connection: what is left of the call goes nowhere. Who closes waits for the lock, once nobody
 * can find the stream alive any more.
 */
int cw_send_lock(struct cw_stream *stream, int fd, uint32_t life, bool *nested);

/* tx_in_kernel was raised under the lock; these lower it when woff is booked. */
void cw_send_book(struct cw_stream *stream, int fd, ssize_t sent);
void cw_send_cancelled(void *sleeper);
bool cw_send_nonblocking(struct cw_stream *stream, int fd, const struct cw_sending *request);
/* With a limit that counts already it doesn't wait: the kernel would count from there. */
ssize_t cw_send_rest(struct cw_stream *stream, int fd, const struct cw_sending *request);
/* A call of one piece whose direction is TAKEN. */
ssize_t cw_send_taken(struct cw_stream *stream, int fd, const struct iovec *piece, int flags);
long cw_send_piece(struct cw_stream *stream, int fd, struct cw_sending *request, size_t limit);
/* A call that has sent a part is ended by a signal, or its time, whatever SA_RESTART says: so it waits for room in a call that is never
 * restarted, before one that is. So does one whose time counts already. False, and errno: it ends here. */
bool cw_send_await_room(struct cw_stream *stream, int fd, struct cw_sending *request);
/* CW_AWAIT_READER: the same for a call that may put nothing anywhere before there is room. 0, or the error that ends it. */
int cw_send_await_reader(struct cw_stream *stream, int fd, struct cw_sending *request);
/* False, and errno: nothing is to go to the kernel. */
bool cw_send_to_kernel(struct cw_stream *stream, int fd, struct cw_sending *request);
/* An error that is kept comes before the kernel's answer: then tx_in_kernel is lowered, and the error returned. */
int cw_send_kept_error(struct cw_stream *stream);

/* by_kernel: of the last part, -1 with errno. */
static inline ssize_t cw_send_finish(struct cw_stream *stream, const struct cw_sending *request, ssize_t by_kernel)
{
	size_t done = request->done + (by_kernel > 0 ? (size_t)by_kernel : 0);

	if (!done)
		return by_kernel;
	if (cw_stream_ended(stream, request->life))
		return (ssize_t)done;
	if (by_kernel < 0)
		cw_error_keep(stream, errno);
	CW_COUNT(stream, messages_out, 1);
	return (ssize_t)done;
}

static inline ssize_t cw_send_fail(const struct cw_sending *request, int error)
{
	if (request->done)
		return (ssize_t)request->done;
	errno = error;
	return -1;
}

/* Behind bytes it is told by what asks next. */
static inline ssize_t cw_send_fail_late(struct cw_stream *stream, const struct cw_sending *request, int error)
{
	if (request->done)
		cw_error_keep(stream, error);
	return cw_send_fail(request, error);
}

/* Room in the ring, from the credit at hand, or from the reader's own index if that says too little for wanted bytes. SIZE_MAX: nonsense.
 */
static inline size_t cw_send_room(struct cw_direction *tx, uint64_t widx, uint64_t size, size_t wanted)
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
 * A signal handler may send on the stream in the middle of a send's copy into the ring, under the lock that its own thread holds. So a send
 * claims the place before it copies (the claim is the offset of its first byte), and commits the copy (the claim is the offset behind its
 * last one) before it publishes. The handler's send takes the claim away: a copy that was not committed is made anew when the handler has
 * returned, and until then may still write behind widx, so nothing else may be put there; one that was is published for it. Then the
 * handler seals the ring, or takes it back, and sends through the kernel: its bytes come behind all that was published, and before the
 * interrupted send's if those were not.
 */
static inline void cw_send_unclaim(struct cw_stream *stream)
{
	atomic_store_explicit(&stream->claim, CW_NO_CLAIM, memory_order_relaxed);
}

/* False: a handler has put something there since widx was read, or has left the ring since it was LIVE. */
static inline bool cw_send_claim(struct cw_stream *stream, uint64_t widx, uint64_t live)
{
	atomic_store_explicit(&stream->claim, widx, memory_order_relaxed);
	atomic_signal_fence(memory_order_seq_cst);
	if (cw_likely(atomic_load_explicit(&stream->tx->widx, memory_order_relaxed) == widx &&
		      atomic_load_explicit(&stream->tx->state, memory_order_relaxed) == live))
		return true;
	cw_send_unclaim(stream);
	return false;
}

/* In a handler's send, nested in the lock: true if it interrupts a copy, and may now do all but put bytes into the ring. */
bool cw_send_take_claim(struct cw_stream *stream);

/* The reader sleeps beside what was published: count bytes from widx on. Returns how many of them he will find. */
size_t cw_send_call(struct cw_stream *stream, int fd, uint64_t word, uint64_t widx, size_t count);
/* The same for who may sleep on the offer that LIVE came of, with bytes in the ring; once. */
void cw_send_call_offerer(struct cw_stream *stream, uint64_t live);

/*
 * Publish, then look whether the reader sleeps. The compare-and-swap of widx is both: it fails if a signal handler has published for us,
 * and it is the fence between the store of widx and the load of the state (A in switch.c). Returns how many of the bytes
 * are sent by it: fewer than count where the reader was asleep and the kernel had no room, 0 if the copy was in vain.
 */
static inline size_t cw_send_publish(struct cw_stream *stream, int fd, uint64_t widx, size_t count)
{
	struct cw_direction *tx = stream->tx;
	uint64_t word, expected = widx;

	atomic_signal_fence(memory_order_seq_cst);
	if (cw_unlikely(!cw_swap_before_signals(&stream->claim, widx, widx + count)))
		return 0;
	CW_COUNT(stream, bytes_ring_out, count);
	atomic_compare_exchange_strong_explicit(&tx->widx, &expected, widx + count, memory_order_seq_cst, memory_order_relaxed);
	if (cw_unlikely(!cw_swap_before_signals(&stream->claim, widx + count, CW_NO_CLAIM)))
		return count;
	word = atomic_load_explicit(&tx->state, memory_order_seq_cst);
	if (cw_unlikely(cw_state_of(word) == CW_ASLEEP))
		return cw_send_call(stream, fd, word, widx, count);
	if (atomic_load_explicit(&tx->rx_board, memory_order_seq_cst))
		CW_COUNT(stream, marks, cw_board_mark(stream->tx_board, stream->board_bit));
	return count;
}

static inline enum cw_sent cw_send_broken(struct cw_stream *stream, int fd)
{
	cw_switch_break(stream, fd, CW_REASON_broken);
	return CW_SEND_BROKEN;
}

#endif
