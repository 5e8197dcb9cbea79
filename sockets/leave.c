#include "leave.h"

#include "kernel.h"
#include "ready.h"
#include "service.h"
#include "switch.h"

#define TURNS 200 /* of a millisecond */

static void book(struct cw_stream *stream, enum cw_reason reason)
{
	struct cw_book_entry *entry = &cw_own_book.entry[stream->number];
	uint32_t moved = CW_ENTRY_MOVED;

	if (atomic_compare_exchange_strong_explicit(&entry->kind, &moved, CW_ENTRY_DEMOTED, memory_order_relaxed, memory_order_relaxed))
		atomic_store_explicit(&entry->reason, reason, memory_order_relaxed);
}

void cw_leave_sending(struct cw_stream *stream, int fd, enum cw_reason reason)
{
	uint64_t word;
	bool nested;

	if (!stream->slot || stream->broken)
		return;
	book(stream, reason);
	if (!cw_tx_lock(stream, fd, &nested))
		return;
	word = cw_state_mark(&stream->tx->state, CW_MARK_LEFT);
	while (!stream->broken && (cw_state_of(word) == CW_LIVE || cw_state_of(word) == CW_ASLEEP)) {
		if (cw_state_of(word) == CW_LIVE)
			cw_switch_seal(stream, &word);
		else
			cw_switch_take_back(stream, fd, &word);
	}
	cw_tx_unlock(stream, nested);
}

/* unread: what is in the ring is left to the writer. */
static bool leave_receiving(struct cw_stream *stream, int fd, uint64_t marks)
{
	uint64_t word;
	bool nested, empty;

	if (!cw_rx_lock(stream, fd, &nested))
		return true;
	word = cw_state_mark(&stream->rx->state, marks);
	empty = cw_ready_settle(stream, 0, false);
	if (!empty && (marks & CW_MARK_RESEND)) {
		word = atomic_load_explicit(&stream->rx->state, memory_order_acquire);
		if (cw_state_of(word) == CW_LIVE)
			cw_state_step(&stream->rx->state, &word, CW_ASLEEP);
	}
	cw_rx_unlock(stream, nested);
	return empty;
}

void cw_leave(struct cw_stream *stream, enum cw_reason reason)
{
	if (!stream->slot) {
		cw_stream_stays(stream, reason);
		return;
	}
	if (stream->broken)
		return;
	cw_leave_sending(stream, stream->fd, reason);
	leave_receiving(stream, stream->fd, CW_MARK_LEFT);
	cw_switch_unbound(stream, stream->fd);
}

/* Nothing of the stream is in the ring, or on its way from there: a writer, or the service for it, that is killed while it takes back
 * leaves a gap. */
static bool all_in_kernel(const struct cw_stream *stream, bool empty)
{
	uint64_t word = atomic_load_explicit(&stream->rx->state, memory_order_acquire);

	return (empty || cw_state_of(word) == CW_TAKEN) &&
	       atomic_load_explicit(&stream->rx->tx_kernel_op, memory_order_acquire) != CW_TAKING_BACK;
}

void cw_leave_to(struct cw_stream *stream, int fd, enum cw_reason reason)
{
	struct timespec turn = {.tv_nsec = 1000000};
	bool empty;

	if (!stream->slot) {
		cw_stream_stays(stream, reason);
		return;
	}
	if (stream->broken)
		return;
	cw_leave_sending(stream, fd, reason);
	cw_switch_unbound(stream, fd);
	empty = leave_receiving(stream, fd, CW_MARK_LEFT | CW_MARK_RESEND);
	if (!empty)
		cw_service_ask_resend(stream);
	for (int i = 0; i < TURNS; i++) {
		if (all_in_kernel(stream, empty))
			return;
		cw_raw(SYS_nanosleep, (long)&turn, 0, 0, 0, 0, 0);
	}
	/* The writer computes, is stopped or dead, and the next reader can't be given what is in the ring: a reset is honest, a gap is not.
	 */
	cw_switch_break(stream, fd, reason);
}
