#include "leave.h"

#include "datagram.h"
#include "kernel.h"
#include "ready.h"
#include "service.h"
#include "set.h"
#include "switch.h"
#include "unix.h"

#define TURNS 200 /* of a millisecond */

static void book(struct cw_stream *stream, enum cw_reason reason)
{
	struct cw_book_entry *entry = &cw_own_book.entry[stream->number];
	uint32_t moved = CW_ENTRY_MOVED;

	if (atomic_compare_exchange_strong_explicit(&entry->kind, &moved, CW_ENTRY_DEMOTED, memory_order_relaxed, memory_order_relaxed))
		atomic_store_explicit(&entry->reason, reason, memory_order_relaxed);
}

/*
 * At once: nobody who waits for a reader of a full kernel, as a send does, sends what comes next. So the ring's bytes are taken back beside
 * him too, which lasts as long as he reads, and a second at most: past that he is stopped in the middle of a call, and the connection is
 * reset (make_do). To leave them where they are would put what comes next before them.
 */
static void leave_sending(struct cw_stream *stream, int fd, enum cw_reason reason, bool at_once)
{
	uint64_t word;
	bool nested;

	if (!stream->slot || stream->broken)
		return;
	book(stream, reason);
	if (!cw_tx_lock(stream, fd, &nested))
		return;
	cw_state_mark(&stream->tx->state, CW_MARK_LEFT);
	while (!cw_switch_to_kernel(stream, fd, nested) && at_once) {
		word = atomic_load_explicit(&stream->tx->state, memory_order_acquire);
		cw_switch_take_back(stream, fd, &word);
	}
	cw_tx_unlock(stream, nested);
}

void cw_leave_sending(struct cw_stream *stream, int fd, enum cw_reason reason)
{
	leave_sending(stream, fd, reason, true);
}

void cw_leave_sending_by_send(struct cw_stream *stream, int fd, enum cw_reason reason)
{
	leave_sending(stream, fd, reason, false);
}

/* With RESEND among the marks, what is unread in the ring is left to the writer. */
static void leave_receiving(struct cw_stream *stream, int fd, uint64_t marks)
{
	uint64_t word;
	bool nested;

	if (!cw_rx_lock(stream, fd, &nested))
		return;
	word = cw_state_mark(&stream->rx->state, marks);
	if (!cw_ready_settle(stream, 0, false) && (marks & CW_MARK_RESEND)) {
		word = atomic_load_explicit(&stream->rx->state, memory_order_acquire);
		if (cw_state_of(word) == CW_LIVE)
			cw_state_step(&stream->rx->state, &word, CW_ASLEEP);
	}
	cw_rx_unlock(stream, nested);
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
	cw_switch_put_nagle_back(stream, stream->fd);
}

/* Nothing of the stream is in the ring, or on its way from there: a writer, or the service for it, that is killed while it takes back
 * leaves a gap. */
static bool all_in_kernel(const struct cw_stream *stream)
{
	struct cw_direction *rx = stream->rx;
	uint64_t word = atomic_load_explicit(&rx->state, memory_order_acquire);

	if (stream->broken)
		return true;
	return (cw_state_of(word) == CW_TAKEN || (cw_state_of(word) == CW_ASLEEP && !cw_switch_unread_asleep(stream))) &&
	       atomic_load_explicit(&rx->tx_kernel_op, memory_order_acquire) != CW_TAKING_BACK;
}

/* The ring was full, or its writer has shut: what comes behind it, bytes or the end, is in the kernel already, so nobody can send its
 * bytes again. */
static bool behind_the_ring(const struct cw_stream *stream)
{
	uint64_t word = atomic_load_explicit(&stream->rx->state, memory_order_acquire);

	return cw_state_of(word) == CW_SEALED || (word & CW_MARK_WRITER_SHUT);
}

/* Both directions leave; what is unread in the ring is asked for. */
static void leave_both(struct cw_stream *stream, int fd, enum cw_reason reason)
{
	cw_leave_sending(stream, fd, reason);
	cw_switch_unbound(stream, fd);
	if (stream->broken)
		return;
	leave_receiving(stream, fd, behind_the_ring(stream) ? CW_MARK_LEFT : CW_MARK_LEFT | CW_MARK_RESEND);
	cw_switch_put_nagle_back(stream, fd);
	if (!all_in_kernel(stream) && !behind_the_ring(stream))
		cw_service_ask_resend(stream);
}

void cw_leave_to(struct cw_stream *stream, int fd, enum cw_reason reason)
{
	if (!stream->slot) {
		cw_stream_stays(stream, reason);
		return;
	}
	if (stream->broken)
		return;
	leave_both(stream, fd, reason);
	for (int i = 0; i < TURNS; i++) {
		if (all_in_kernel(stream))
			return;
		cw_turn();
	}
	/* The writer computes, is stopped or dead, and the next reader can't be given what is in the ring: a reset is honest, a gap is not.
	 */
	cw_switch_break(stream, fd, reason);
	if (stream->is_unix)
		cw_unix_put_reset(fd);
}

static bool end_leaving(struct cw_stream *stream, int fd)
{
	if (stream->broken)
		return true;
	if (!all_in_kernel(stream)) {
		cw_switch_rouse(stream, fd); /* the ring's bytes did not come: they are read where they are */
		return false;
	}
	if (!atomic_load_explicit(&stream->error, memory_order_relaxed))
		atomic_fetch_or_explicit(&stream->notes, CW_NOTE_PLAIN, memory_order_relaxed);
	return true;
}

bool cw_leave_whole(struct cw_stream *stream, int fd, enum cw_reason reason)
{
	if (!stream->slot) {
		cw_stream_stays(stream, reason);
		return true;
	}
	if (stream->broken)
		return true;
	leave_both(stream, fd, reason);
	for (int i = 0; i < TURNS && !all_in_kernel(stream) && !behind_the_ring(stream); i++)
		cw_turn();
	return end_leaving(stream, fd);
}

void cw_leave_unread(struct cw_stream *stream, int fd)
{
	if (behind_the_ring(stream))
		return;
	leave_receiving(stream, fd, CW_MARK_LEFT | CW_MARK_RESEND);
	if (!all_in_kernel(stream))
		cw_service_ask_resend(stream);
	for (int i = 0; i < TURNS && !all_in_kernel(stream); i++)
		cw_turn();
}

void cw_leave_nothing(struct cw_stream *stream, int fd)
{
	struct cw_direction *rx = stream->rx;
	uint64_t word;
	bool nested;

	if (stream->broken || !cw_rx_lock(stream, fd, &nested))
		return;
	atomic_store_explicit(&rx->roff, atomic_load_explicit(&rx->widx, memory_order_acquire), memory_order_release);
	word = atomic_load_explicit(&rx->state, memory_order_acquire);
	while (cw_state_of(word) != CW_TAKEN && !cw_state_step(&rx->state, &word, CW_TAKEN))
		;
	cw_rx_unlock(stream, nested);
	atomic_store_explicit(&stream->error, 0, memory_order_relaxed);
	atomic_fetch_or_explicit(&stream->notes, CW_NOTE_PLAIN, memory_order_relaxed);
}

/* The next stream of this process from *i on. */
static struct cw_stream *next_stream(uint32_t *i)
{
	uint32_t count = atomic_load_explicit(&cw_own_book.highest, memory_order_relaxed);

	for (; *i < count && *i < CW_BOOK_ENTRIES; ++*i)
		if (atomic_load_explicit(&cw_streams[*i].references, memory_order_relaxed) > 0 &&
		    atomic_load_explicit(&cw_streams[*i].phase, memory_order_relaxed) != CW_UNBORN)
			return &cw_streams[(*i)++];
	return NULL;
}

static bool none_to_wait_for(void)
{
	struct cw_stream *stream;

	for (uint32_t i = 0; (stream = next_stream(&i)) != NULL;)
		if (stream->slot && !all_in_kernel(stream) && !behind_the_ring(stream))
			return false;
	return true;
}

bool cw_leave_process(enum cw_reason reason)
{
	struct cw_stream *stream;
	bool all = true;

	cw_moving_reason = reason;
	cw_moving = false;
	cw_datagrams_leave_process(reason);
	for (uint32_t i = 0; (stream = next_stream(&i)) != NULL;) {
		if (!stream->slot)
			cw_stream_stays(stream, reason);
		else if (!stream->broken)
			leave_both(stream, stream->fd, reason);
	}
	for (int i = 0; i < TURNS && !none_to_wait_for(); i++)
		cw_turn();
	for (uint32_t i = 0; (stream = next_stream(&i)) != NULL;)
		if (stream->slot && !end_leaving(stream, stream->fd))
			all = false;
	return all;
}
