#include "kernel.h"
#include "receiving.h"
#include "switch.h"

/* The end is the peer's. Reading may have been shut by another process, or by a number that is not known to be the stream's; and who has
 * left reading an AF_UNIX stream and shut writing may have shut both, which looks as if the peer were gone. */
static bool is_the_peers(const struct cw_stream *stream, int fd)
{
	long told;

	if (!stream->is_unix)
		return cw_switch_fin_received(fd);
	told = cw_raw_poll(fd, 0);
	return told > 0 && (told & POLLHUP) &&
	       !((atomic_load_explicit(&stream->rx->state, memory_order_acquire) & CW_MARK_LEFT) &&
		 (atomic_load_explicit(&stream->tx->state, memory_order_acquire) & CW_MARK_WRITER_SHUT));
}

/* The peer is gone without a word, and had not read all that we wrote by ring: TCP would have sent a reset (RFC 2525, 2.17). */
bool cw_receive_died_with_unread(struct cw_stream *stream, int fd)
{
	struct cw_direction *tx = stream->tx;
	uint64_t word = atomic_load_explicit(&tx->state, memory_order_acquire);
	uint64_t roff = atomic_load_explicit(&tx->roff, memory_order_acquire);

	if (stream->reset_told || stream->shut_reading)
		return false;
	/* AF_UNIX has no reset that a peer could have sent when it closed. */
	if ((atomic_load_explicit(&stream->rx->state, memory_order_acquire) & CW_MARK_WRITER_SHUT) &&
	    !(stream->is_unix && (word & CW_MARK_READER_GONE)))
		return false;
	if (stream->is_unix && (word & CW_MARK_RESET))
		return true;
	if (cw_state_of(word) == CW_TAKEN || cw_state_of(word) == CW_CONSENT)
		return false;
	return (int64_t)(roff - atomic_load_explicit(&tx->up, memory_order_relaxed)) >= 0 &&
	       (int64_t)(atomic_load_explicit(&tx->widx, memory_order_relaxed) - roff) > 0 &&
	       ((stream->is_unix && (word & CW_MARK_READER_GONE)) || is_the_peers(stream, fd));
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

/* The kernel has nothing more. Is something left in the ring? CW_END: no. */
static enum cw_received left_in_ring(struct cw_stream *stream, int fd, struct cw_receiving *request)
{
	struct cw_direction *rx = stream->rx;
	enum cw_received outcome = CW_END;
	uint64_t word, roff;
	struct cw_ring ring;
	size_t unread;
	bool nested;
	int error = cw_receive_lock(stream, fd, request, &nested);

	if (error)
		return cw_receive_without_lock(request, error);
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
		outcome = cw_receive_ring_part(stream, request, word, roff, &ring, unread);
	cw_rx_unlock(stream, nested);
	return outcome;
}

/* The kernel says that the stream has ended (SWITCH.md, End). */
enum cw_received cw_receive_end(struct cw_stream *stream, int fd, struct cw_receiving *request)
{
	enum cw_received outcome = left_in_ring(stream, fd, request);

	if (outcome == CW_END && cw_receive_died_with_unread(stream, fd)) {
		stream->reset_told = true;
		/* What follows is as after a reset: EPIPE for who sends, hang-up for who waits. */
		cw_state_mark(&stream->tx->state, CW_MARK_LEFT);
		cw_raw(SYS_shutdown, fd, SHUT_RDWR, 0, 0, 0, 0);
		return cw_receive_fail(request, ECONNRESET);
	}
	/* It was killed, if it told neither that it shuts nor that it closes: the service will say so, but perhaps after what the program
	 * sends now, which must not lie in the ring unanswered. */
	if (outcome == CW_END &&
	    !(atomic_load_explicit(&stream->rx->state, memory_order_acquire) & (CW_MARK_WRITER_SHUT | CW_MARK_WRITER_GONE)) &&
	    is_the_peers(stream, fd))
		cw_state_mark(&stream->tx->state, CW_MARK_READER_GONE);
	return outcome;
}

/* request->error is the kernel's. Bytes that came before a reset are still read before it is told. */
enum cw_received cw_receive_error(struct cw_stream *stream, int fd, struct cw_receiving *request)
{
	int error = request->error;
	enum cw_received outcome;

	if (stream->broken || !cw_error_of_connection(error))
		return CW_FAILED;
	outcome = left_in_ring(stream, fd, request);
	if (outcome == CW_END || outcome == CW_FAILED || outcome == CW_CLOSED)
		return cw_receive_fail(request, error);
	cw_error_keep(stream, error);
	return outcome;
}
