/* A side of a direction: where in the stream it begins, and the lock that its steps are made under. */
#include "switch.h"

#include <linux/sockios.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/ioctl.h>

#include "kernel.h"
#include "service.h"
#include "sharer.h"
#include "unix.h"

/* ---- offsets: the kernel's own counters tell where in the stream a side is (SWITCH.md, Offsets) ---- */

static bool tcp_info(int fd, struct tcp_info *info)
{
	socklen_t size = sizeof(*info);

	memset(info, 0, sizeof(*info));
	return cw_raw_getsockopt(fd, IPPROTO_TCP, TCP_INFO, info, &size) == 0 && size > offsetof(struct tcp_info, tcpi_bytes_retrans);
}

/* TCP_FIN_WAIT1, TCP_FIN_WAIT2, TCP_TIME_WAIT, TCP_LAST_ACK, TCP_CLOSING. */
static bool fin_sent(const struct tcp_info *info)
{
	return info->tcpi_state == 4 || info->tcpi_state == 5 || info->tcpi_state == 6 || info->tcpi_state == 9 || info->tcpi_state == 11;
}

static bool offset_sent(int fd, uint64_t *offset, bool *shut)
{
	struct tcp_info before, after;
	int unsent = 0;

	for (int try = 0; try < 8; try++) {
		if (!tcp_info(fd, &before) || cw_raw(SYS_ioctl, fd, SIOCOUTQNSD, (long)&unsent, 0, 0, 0) < 0 || !tcp_info(fd, &after))
			return false;
		if (before.tcpi_bytes_sent == after.tcpi_bytes_sent && before.tcpi_bytes_retrans == after.tcpi_bytes_retrans) {
			*offset = after.tcpi_bytes_sent - after.tcpi_bytes_retrans + (uint64_t)unsent;
			*shut = fin_sent(&after);
			return true;
		}
	}
	return false;
}

/* FIONREAD counts to the urgent mark only: the offset can't be told. */
/*
 * AF_UNIX has no counters. What went through the kernel before the slot was there is in our own book, and what came since, by calls that
 * knew the slot, is in its words. False, and for good: nobody knows.
 */
static bool offset_booked(struct cw_stream *stream, bool out, struct cw_direction *way)
{
	_Atomic uint64_t *index = out ? &way->woff : &way->roff;
	uint64_t bytes;

	if (!cw_unix_offset(stream, out, &bytes)) {
		cw_state_mark(&way->state, CW_MARK_LEFT);
		return false;
	}
	atomic_fetch_add_explicit(index, bytes, memory_order_relaxed);
	return true;
}

static bool urgent_data(int fd)
{
	long told = cw_raw_poll(fd, POLLPRI);

	return told > 0 && (told & POLLPRI);
}

static bool fin_received(const struct tcp_info *info)
{
	/* TCP_CLOSE_WAIT, TCP_LAST_ACK, TCP_CLOSING, TCP_TIME_WAIT: the counter has counted the FIN as a byte. */
	return info->tcpi_state == 8 || info->tcpi_state == 9 || info->tcpi_state == 11 || info->tcpi_state == 6;
}

bool cw_switch_fin_received(int fd)
{
	struct tcp_info info;

	return tcp_info(fd, &info) && (fin_received(&info) || info.tcpi_state == 7); /* TCP_CLOSE: both ends have */
}

static bool offset_received(int fd, uint64_t *offset)
{
	struct tcp_info before, after;
	int unread = 0;

	for (int try = 0; try < 8; try++) {
		if (!tcp_info(fd, &before) || cw_raw(SYS_ioctl, fd, FIONREAD, (long)&unread, 0, 0, 0) < 0 || !tcp_info(fd, &after))
			return false;
		if (before.tcpi_bytes_received == after.tcpi_bytes_received) {
			*offset = after.tcpi_bytes_received - (fin_received(&after) ? 1 : 0) - (uint64_t)unread;
			return after.tcpi_state != 7; /* TCP_CLOSE: reset, the counters say nothing */
		}
	}
	return false;
}

/* ---- a grant has come ---- */

static void set_nodelay(int fd, int value)
{
	cw_raw_setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &value, sizeof(value));
}

/* Said in the slot, for all who hold the socket. What the switch sends through the kernel must not wait for more. */
void cw_switch_nagle(struct cw_stream *stream, int fd, bool nagle)
{
	uint64_t both = atomic_load_explicit(&stream->tx->state, memory_order_relaxed) &
			atomic_load_explicit(&stream->rx->state, memory_order_relaxed);

	if (nagle && (both & CW_MARK_LEFT))
		return;
	atomic_store_explicit(&stream->slot->end[stream->end].nagle, nagle, memory_order_relaxed);
	if (nagle)
		set_nodelay(fd, 1);
}

bool cw_switch_nagles(const struct cw_stream *stream)
{
	return stream->slot && atomic_load_explicit(&stream->slot->end[stream->end].nagle, memory_order_relaxed);
}

void cw_switch_put_nagle_back(struct cw_stream *stream, int fd)
{
	if (atomic_exchange_explicit(&stream->slot->end[stream->end].nagle, 0, memory_order_relaxed))
		set_nodelay(fd, 0);
}

void cw_switch_attach(struct cw_stream *stream, struct cw_arena *arena, uint32_t number, unsigned end)
{
	struct cw_slot *slot = cw_arena_slot(arena, number);
	int nodelay = 1, tells = 0;
	socklen_t size = sizeof(nodelay), size_tells = sizeof(tells);

	stream->end = (uint8_t)end;
	stream->arena = arena->id;
	stream->slot_number = number;
	stream->tx = &slot->direction[end];
	stream->rx = &slot->direction[1 - end];
	stream->tx_data = cw_arena_ring(arena, number, end);
	stream->rx_data = cw_arena_ring(arena, number, 1 - end);
	stream->tx_board = cw_arena_board(arena, number, end);
	stream->rx_board = cw_arena_board(arena, number, 1 - end);
	stream->board_bit = 1ull << number % 64;
	stream->rings_missed = 0;
	atomic_store_explicit(&stream->rung, 0, memory_order_relaxed);
	atomic_store_explicit(&stream->bell, arena->bell, memory_order_relaxed);
	atomic_store_explicit(&stream->tx->tx_bell, arena->bell != 0, memory_order_relaxed);
	atomic_store_explicit(&stream->claim, CW_NO_CLAIM, memory_order_relaxed);
	if (!stream->is_unix) {
		cw_raw_getsockopt(stream->fd, IPPROTO_TCP, TCP_NODELAY, &nodelay, &size);
		atomic_store_explicit(&slot->end[end].nagle, !nodelay, memory_order_relaxed);
		if (!nodelay)
			set_nodelay(stream->fd, 1);
		stream->tells_unread = cw_raw_getsockopt(stream->fd, IPPROTO_TCP, TCP_INQ, &tells, &size_tells) == 0 && tells;
	}
	if (stream->is_unix && stream->shut_reading)
		cw_state_mark(&stream->rx->state, CW_MARK_LEFT);
	atomic_store_explicit(&slot->end[end].rcvbuf, stream->rcvbuf, memory_order_relaxed);
	if (stream->shut_writing)
		cw_state_mark(&stream->tx->state, CW_MARK_WRITER_SHUT | CW_MARK_LEFT);
	/* E1: the slot is set before the counts of calls in the kernel are looked at (try_attach); see cw_stream_enter, E0. */
	atomic_store_explicit(&stream->slot, slot, memory_order_seq_cst);
}

/* The first call of a side after the grant, when no call that knew nothing of the slot is still in the kernel. A direction that was left
 * has no use for it: and the kernel's counters no longer tell the offset, once bytes went by ring. By a number that means another socket
 * since the call began, that one's offset would be taken for the stream's; while the lock is held it stays (cw_stream_let_pass). */
static void try_attach_tx(struct cw_stream *stream, int fd)
{
	struct cw_direction *tx = stream->tx;
	uint64_t offset, signals;
	bool shut;

	if (atomic_load_explicit(&stream->tx_busy, memory_order_seq_cst) || atomic_load_explicit(&tx->tx_in_kernel, memory_order_acquire) ||
	    (atomic_load_explicit(&tx->state, memory_order_relaxed) & CW_MARK_LEFT))
		return;
	if (stream->is_unix) {
		if (offset_booked(stream, true, tx))
			atomic_store_explicit(&tx->tx_attached, 1, memory_order_release);
		return;
	}
	signals = cw_hold_signals();
	if (offset_sent(fd, &offset, &shut)) {
		/* By another process, before it was moved. */
		if (shut)
			cw_state_mark(&tx->state, CW_MARK_WRITER_SHUT | CW_MARK_LEFT);
		atomic_store_explicit(&tx->woff, offset, memory_order_relaxed);
		atomic_store_explicit(&tx->tx_attached, 1, memory_order_release);
	}
	cw_release_signals(signals);
}

static void try_attach_rx(struct cw_stream *stream, int fd)
{
	struct cw_direction *rx = stream->rx;
	uint64_t offset, signals;

	if (atomic_load_explicit(&stream->rx_busy, memory_order_seq_cst) || atomic_load_explicit(&rx->rx_asleep, memory_order_acquire) ||
	    (atomic_load_explicit(&rx->state, memory_order_relaxed) & CW_MARK_LEFT))
		return;
	if (urgent_data(fd)) {
		cw_state_mark(&rx->state, CW_MARK_LEFT);
		return;
	}
	if (stream->is_unix) {
		if (offset_booked(stream, false, rx))
			atomic_store_explicit(&rx->rx_attached, 1, memory_order_release);
		return;
	}
	signals = cw_hold_signals();
	if (offset_received(fd, &offset)) {
		atomic_store_explicit(&rx->roff, offset, memory_order_relaxed);
		atomic_store_explicit(&rx->rx_attached, 1, memory_order_release);
	}
	cw_release_signals(signals);
}

/* ---- locks ---- */

/* The holder died inside. If it had a kernel call under way that was not yet booked, our offset is unknown and the stream can't go on by
 * ring; all else is consistent at every instruction, because indices are published last. */
static bool mend(struct cw_stream *stream, int fd, _Atomic uint32_t *kernel_op)
{
	uint64_t word = atomic_load_explicit(&stream->tx->state, memory_order_acquire);

	CW_COUNT(stream, recovered, 1);
	if (kernel_op == &stream->tx->tx_kernel_op && (cw_state_of(word) == CW_LIVE || cw_state_of(word) == CW_ASLEEP))
		atomic_store_explicit(&stream->tx->woff, atomic_load_explicit(&stream->tx->widx, memory_order_relaxed),
				      memory_order_relaxed);
	if (!atomic_load_explicit(kernel_op, memory_order_acquire))
		return true;
	cw_switch_break(stream, fd, CW_REASON_lock_lost);
	return false;
}

/*
 * A grant of causeway.ko can be taken away at any moment: then its memory reads as zeros, which is a direction that was never attached, in
 * a slot that was never given out. What was in the ring can't be had any more.
 */
static bool taken_away(struct cw_stream *stream, int fd, struct cw_lock *lock)
{
	struct cw_slot *slot = atomic_load_explicit(&stream->slot, memory_order_relaxed);

	if (cw_likely(slot && atomic_load_explicit(&slot->use, memory_order_relaxed)))
		return false;
	if (slot) /* else it was closed by another thread */
		cw_switch_break(stream, fd, CW_REASON_taken_away);
	cw_unlock(lock);
	return true;
}

static bool locked(struct cw_stream *stream, int fd, const struct cw_direction *way, struct cw_lock *lock, _Atomic uint32_t *kernel_op,
		   bool *nested)
{
	enum cw_lock_result result;

	*nested = false;
	do
		result = cw_lock(lock, cw_thread_id(), &cw_counters(stream)[CW_COUNT_contended]);
	while (cw_unlikely(result == CW_LOCK_TIMED_OUT) && cw_stream_has(stream, way) &&
	       cw_sharer_stands(fd, atomic_load_explicit(&lock->holder, memory_order_relaxed)));
	switch (result) {
	case CW_LOCK_HELD:
		return true;
	case CW_LOCK_NESTED:
		*nested = true;
		return true;
	case CW_LOCK_RECOVERED:
		if (mend(stream, fd, kernel_op))
			return true;
		cw_unlock(lock);
		return false;
	case CW_LOCK_TIMED_OUT:
		break;
	}
	if (cw_stream_has(stream, way)) /* else another thread has closed it meanwhile */
		cw_switch_break(stream, fd, CW_REASON_lock_lost);
	return false;
}

bool cw_tx_lock(struct cw_stream *stream, int fd, bool *nested)
{
	struct cw_direction *tx = stream->tx;

	if (!locked(stream, fd, tx, &tx->tx_lock, &tx->tx_kernel_op, nested))
		return false;
	if (cw_unlikely(!atomic_load_explicit(&tx->tx_attached, memory_order_relaxed)) && !*nested) {
		if (taken_away(stream, fd, &tx->tx_lock))
			return false;
		if (cw_stream_at(stream, fd))
			try_attach_tx(stream, fd);
	}
	return true;
}

bool cw_rx_lock(struct cw_stream *stream, int fd, bool *nested)
{
	struct cw_direction *rx = stream->rx;

	if (!locked(stream, fd, rx, &rx->rx_lock, &rx->rx_kernel_op, nested))
		return false;
	if (cw_unlikely(!atomic_load_explicit(&rx->rx_attached, memory_order_relaxed)) && !*nested) {
		if (taken_away(stream, fd, &rx->rx_lock))
			return false;
		if (cw_stream_at(stream, fd))
			try_attach_rx(stream, fd);
	}
	if (cw_unlikely(atomic_load_explicit(&rx->rx_bell, memory_order_relaxed)) && !*nested)
		cw_switch_quit_bell(stream);
	return true;
}

void cw_tx_unlock(struct cw_stream *stream, bool nested)
{
	if (!nested)
		cw_unlock(&stream->tx->tx_lock);
}

void cw_rx_unlock(struct cw_stream *stream, bool nested)
{
	if (!nested)
		cw_unlock(&stream->rx->rx_lock);
}
