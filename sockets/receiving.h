/*
 * Receiving, between its own files: one receive call, and what a step of it finds.
 *
 *	receive.c	the call: looks at the state, takes bytes from the ring or the kernel, waits, answers
 *	receive_kernel.c	the kernel's bytes, and waiting for them
 *	receive_wait.c	nothing there: look for a while, then sleep
 *	receive_offer.c	the offer after a read from the kernel
 *	receive_bell.c	asleep on a bell
 *	receive_end.c	the end of the stream
 *	receive_peek.c	MSG_PEEK
 */
#ifndef CW_SOCKETS_RECEIVING_H
#define CW_SOCKETS_RECEIVING_H

#include <limits.h>

#include "error.h"
#include "pieces.h"
#include "receive.h"
#include "sync/ring.h"

struct cw_receiving {
	const struct iovec *iov;
	size_t iovcnt, total, done;
	int flags;
	int error;
	uint32_t life;       /* of the stream, when the call began */
	uint64_t begin, end; /* of what it may wait in all (SO_RCVTIMEO), since it first had to; 0: it hasn't had to, without a limit */
	bool asked;          /* for the end */
	bool awaited;        /* what was on its way out of the ring */
	bool roused;         /* the stream is awake, and a set with it asleep */
	bool told;           /* AF_UNIX: descriptors or credentials came, here or nowhere, and so the call ends */
	struct msghdr *control;
	size_t room; /* of control */
};

enum cw_received {
	CW_BYTES,          /* some were taken */
	CW_BYTES_AND_MORE, /* and behind them the stream goes on elsewhere: look there too */
	CW_EMPTY,          /* LIVE, and nothing in the ring */
	CW_EMPTY_KERNEL,   /* what comes next comes through the kernel, but is not there yet */
	CW_ON_ITS_WAY,     /* and behind it the ring has more */
	CW_BY_KERNEL,      /* TAKEN, or ASLEEP for others: the kernel may be read without a bound, and without the lock */
	CW_ENDS_HERE,      /* the same, but what was taken is all that the call may have */
	CW_COLD,           /* ASLEEP, and to wake it the event set's lock is needed */
	CW_END,
	CW_FAILED,
	CW_CLOSED /* under the call, while it slept: what it has, or the error, is its answer, and the stream is not to be touched */
};

static inline enum cw_received cw_receive_fail(struct cw_receiving *request, int error)
{
	request->error = error;
	return CW_FAILED;
}

/* The part of a request's memory that is still to be filled, at most limit bytes of it. Returns the pieces used. */
static inline size_t cw_receive_unfilled(const struct cw_receiving *request, size_t limit, struct iovec rest[CW_PIECES])
{
	return cw_pieces(request->iov, request->iovcnt, request->done, limit, rest);
}

/* Around a call that takes bytes from the kernel: what it tells beside them. */
static inline void cw_receive_with_control(const struct cw_receiving *request, struct msghdr *message)
{
	if (cw_unlikely(request->control != NULL)) {
		message->msg_control = request->control->msg_control;
		message->msg_controllen = (__typeof__(message->msg_controllen))request->room;
	}
}

static inline void cw_receive_note_control(const struct cw_stream *stream, struct cw_receiving *request, const struct msghdr *message)
{
	if (cw_likely(!stream->is_unix) || !(message->msg_controllen || (message->msg_flags & MSG_CTRUNC)))
		return;
	request->told = true;
	request->flags &= ~MSG_WAITALL;
	if (request->control) {
		request->control->msg_controllen = message->msg_controllen;
		request->control->msg_flags = message->msg_flags;
	}
}

static inline void cw_receive_advance(struct cw_stream *stream, struct cw_receiving *request, size_t count)
{
	request->done += count;
	CW_COUNT(stream, bytes_kernel_in, count);
}

/* The lock, for one step of a call, as cw_send_lock: 0, or the error that there is instead. */
int cw_receive_lock(struct cw_stream *stream, int fd, const struct cw_receiving *request, bool *nested);
enum cw_received cw_receive_without_lock(struct cw_receiving *request, int error);
/* Shared memory held nonsense: ends the stream. */
enum cw_received cw_receive_broken(struct cw_stream *stream, int fd, struct cw_receiving *request);
enum cw_received cw_receive_ring_part(struct cw_stream *stream, struct cw_receiving *request, uint64_t word, uint64_t roff,
				      const struct cw_ring *ring, size_t unread);
/* Behind a sleep in the kernel that gave got bytes, or -1 and errno: CW_CLOSED. */
enum cw_received cw_receive_closed(struct cw_receiving *request, ssize_t got);
ssize_t cw_receive_result(struct cw_stream *stream, const struct cw_receiving *request, enum cw_received outcome);

/* The call has to wait, now or again: until when in all; 0: for ever. */
uint64_t cw_receive_until(int fd, struct cw_receiving *request);
enum cw_received cw_receive_read_kernel(struct cw_stream *stream, int fd, struct cw_receiving *request, int extra);
/* Who doesn't wait, in TAKEN, for one piece; rx_asleep was raised under the lock. False: nothing was taken, and whatever it is (nothing
 * there for who waits after all, an end, an error, which is kept) the long way finds it. */
bool cw_receive_taken(struct cw_stream *stream, int fd, const struct iovec *piece, int flags, ssize_t *result);
/* Nothing was there, in TAKEN, for who doesn't wait: what an edge has told may be on its way out of the ring, to others that the socket was
 * shared with. True: look again, once. */
bool cw_receive_await_taken_back(struct cw_stream *stream, int fd);
enum cw_received cw_receive_await_kernel(struct cw_stream *stream, int fd, struct cw_receiving *request);
/* What the kernel has next is behind urgent data: a call that has bytes ends here, and one that has none goes past. */
bool cw_receive_at_mark(const struct cw_stream *stream, int fd);
/* The same, or an error, which is told by the next call: this one would take it away. */
bool cw_receive_ends_here(const struct cw_stream *stream, int fd);
bool cw_receive_kernel_ready(int fd);
enum cw_received cw_receive_ask_kernel(int fd, struct cw_receiving *request);
enum cw_received cw_receive_await_rest(struct cw_stream *stream, int fd, struct cw_receiving *request);

/* An edge-triggered set sleeps with bytes that it has told, and whoever was told of them reads: who has just woken the stream has the set
 * look at it again (cw_set_notice). */
bool cw_receive_told_and_unread(const struct cw_stream *stream);
bool cw_receive_blocking(struct cw_stream *stream, int fd, const struct cw_receiving *request);
/* Sleep in the kernel at once: CW_BY_KERNEL, and messages come far apart. */
bool cw_receive_sparse(struct cw_stream *stream, int fd, const struct cw_receiving *request);
/* After a read of so many bytes from the kernel, or of none. */
void cw_receive_offer(struct cw_stream *stream, int fd, size_t got);
enum cw_received cw_receive_sleep(struct cw_stream *stream, int fd, struct cw_receiving *request);
/* CW_EMPTY: there is none, or nobody rang: sleep in the kernel. */
enum cw_received cw_receive_on_bell(struct cw_stream *stream, int fd, struct cw_receiving *request);
enum cw_received cw_receive_wait(struct cw_stream *stream, int fd, struct cw_receiving *request, enum cw_received outcome);

bool cw_receive_died_with_unread(struct cw_stream *stream, int fd);
enum cw_received cw_receive_end(struct cw_stream *stream, int fd, struct cw_receiving *request);
enum cw_received cw_receive_error(struct cw_stream *stream, int fd, struct cw_receiving *request);

ssize_t cw_receive_peeking(struct cw_stream *stream, int fd, struct cw_receiving *request);

#endif
