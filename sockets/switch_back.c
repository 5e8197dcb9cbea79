/* The writer goes back to the kernel: with what the ring has, or with what comes behind that. */
#include "kernel.h"
#include "sending.h"
#include "switch.h"

#define RESEND_LIMIT_NS 1000000000ull

/* A bigger buffer makes most of it go in at once. The kernel doubles what it is told; its own buffer may have grown larger than that. */
static void make_room(int fd, int room)
{
	int bytes = 0;
	socklen_t size = sizeof(bytes);

	cw_raw_getsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, &size);
	if (bytes < 2 * room)
		cw_raw_setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
}

/* Send pieces of the ring through the kernel now. The reader is awake or being woken, so room comes; the last ones, which the program's
 * call has just put there and can send again itself, don't wait for it. Returns to where it is done, or that the peer is gone: the bytes
 * are lost as TCP's would be, and the next call says so. */
static uint64_t resend(struct cw_stream *stream, int fd, uint64_t from, uint64_t to, uint32_t bits, size_t last)
{
	struct cw_ring ring = cw_stream_ring(stream->tx_data, bits);
	uint64_t start = 0;

	while (from < to) {
		struct iovec pieces[2];
		struct msghdr message = {.msg_iov = pieces};
		struct pollfd writable = {.fd = fd, .events = POLLOUT};
		long sent;

		message.msg_iovlen = (size_t)cw_ring_pieces(&ring, from, to - from, pieces);
		sent = cw_raw_sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (sent > 0) {
			from += (uint64_t)sent;
			CW_COUNT(stream, bytes_kernel_out, (uint64_t)sent);
			continue;
		}
		if (sent == -EINTR)
			continue;
		if (sent != -EAGAIN) {
			cw_error_keep(stream, (int)-sent);
			return to;
		}
		if (to - from <= last)
			return from;
		if (!start) {
			start = cw_monotonic_ns();
			make_room(fd, (int)(4u << bits));
		} else if (cw_monotonic_ns() - start > RESEND_LIMIT_NS) {
			return from;
		}
		struct timespec turn = {.tv_nsec = 10000000};
		cw_raw(SYS_ppoll, (long)&writable, 1, (long)&turn, 0, 0, 0);
	}
	return to;
}

/*
 * By ring woff is not kept: it is widx. Signals are held: a handler may have left the ring since *word was read, and from then on woff
 * counts. It can't any more, and the reader alone doesn't leave it. False: the ring is not in use.
 */
static bool note_written(struct cw_direction *tx, uint64_t *word)
{
	*word = atomic_load_explicit(&tx->state, memory_order_acquire);
	if (cw_state_of(*word) != CW_LIVE && cw_state_of(*word) != CW_ASLEEP)
		return false;
	atomic_store_explicit(&tx->woff, atomic_load_explicit(&tx->widx, memory_order_relaxed), memory_order_relaxed);
	return true;
}

/* Where the ring ends from now on, and the kernel goes on. */
static void end_ring_at(struct cw_direction *tx, uint64_t end)
{
	atomic_store_explicit(&tx->widx, end, memory_order_relaxed);
	atomic_store_explicit(&tx->woff, end, memory_order_relaxed);
}

static bool take_back(struct cw_stream *stream, int fd, uint64_t *word, size_t *last)
{
	struct cw_direction *tx = stream->tx;
	uint32_t bits = atomic_load_explicit(&tx->ring_bits, memory_order_relaxed);
	uint64_t roff, widx, sent;

	if (!note_written(tx, word) || cw_state_of(*word) != CW_ASLEEP)
		return false;
	/* Before the step: killed between the two, the reader must know that the ring still has the rest. */
	atomic_store_explicit(&tx->tx_kernel_op, CW_TAKING_BACK, memory_order_relaxed);
	/* A step may fail because of a mark alone: only another state says that the reader has woken, and needs no doorbell. */
	while (!cw_state_step(&tx->state, word, CW_TAKEN))
		if (cw_state_of(*word) != CW_ASLEEP) {
			atomic_store_explicit(&tx->tx_kernel_op, 0, memory_order_relaxed);
			return false;
		}
	/* The reader stored the exact roff before it fell asleep: the step above acquired it. */
	widx = atomic_load_explicit(&tx->widx, memory_order_relaxed);
	roff = cw_switch_reader_at(tx);
	if (!cw_class_sane(bits) || widx - roff > 1ull << bits) {
		cw_switch_break(stream, fd, CW_REASON_broken);
		return false;
	}
	CW_COUNT(stream, doorbells, 1);
	cw_switch_note_wake(stream);
	CW_COUNT(stream, bytes_ring_out, roff - widx); /* they go by the kernel after all */
	sent = resend(stream, fd, roff, widx, bits, *last);
	if (widx - sent <= *last) {
		*last = widx - sent;
		end_ring_at(tx, sent);
	}
	atomic_store_explicit(&tx->tx_kernel_op, 0, memory_order_release);
	if (atomic_load_explicit(&tx->widx, memory_order_relaxed) == sent)
		return true;
	cw_switch_break(stream, fd, CW_REASON_lock_lost);
	return false;
}

bool cw_switch_take_back(struct cw_stream *stream, int fd, uint64_t *word)
{
	size_t none = 0;

	return cw_switch_take_back_but(stream, fd, word, &none);
}

/* A handler's bytes would go by the kernel before the ring's. */
bool cw_switch_take_back_but(struct cw_stream *stream, int fd, uint64_t *word, size_t *last)
{
	uint64_t signals = cw_hold_signals();
	bool taken = take_back(stream, fd, word, last);

	cw_release_signals(signals);
	return taken;
}

/* Told by an edge, with others before them unread in the kernel. With bytes in the ring nobody begins to read the kernel without a bound
 * but in one of these counts, or wakes the stream first (cw_receive_told_and_unread). */
static bool may_stay(const struct cw_direction *tx, uint64_t word, uint64_t end)
{
	uint64_t up = atomic_load_explicit(&tx->up, memory_order_relaxed);

	return cw_state_of(word) == CW_ASLEEP && !(word & (CW_MARK_RESEND | CW_MARK_READER_GONE)) &&
	       (int64_t)(up - atomic_load_explicit(&tx->roff, memory_order_acquire)) > 0 && end - up - 1 < CW_RING_MAX &&
	       !atomic_load_explicit(&tx->rx_asleep, memory_order_acquire) && !atomic_load_explicit(&tx->rx_shared, memory_order_acquire);
}

bool cw_switch_seal_asleep(struct cw_stream *stream, uint64_t *word, uint64_t end)
{
	struct cw_direction *tx = stream->tx;
	uint64_t signals;
	bool sealed = false;

	if (cw_likely(!may_stay(tx, *word, end)))
		return false;
	signals = cw_hold_signals();
	/* As in take_back: a mark is no reason to wait for the kernel's room. */
	while (!sealed && note_written(tx, word) && may_stay(tx, *word, end)) {
		atomic_store_explicit(&tx->woff, end, memory_order_relaxed);
		atomic_store_explicit(&tx->seal, end, memory_order_relaxed);
		sealed = cw_state_step(&tx->state, word, CW_SEALED);
	}
	if (sealed) {
		CW_COUNT(stream, seals, 1);
		CW_COUNT(stream, bytes_ring_out, end - atomic_load_explicit(&tx->widx, memory_order_relaxed));
		end_ring_at(tx, end);
	}
	cw_release_signals(signals);
	return sealed;
}

/* Nothing may be published between the choice of the offset and the step. */
static bool step_to_sealed(struct cw_direction *tx, uint64_t *word)
{
	uint64_t signals = cw_hold_signals();
	bool sealed = note_written(tx, word) && cw_state_of(*word) == CW_LIVE;

	if (sealed) {
		atomic_store_explicit(&tx->seal, atomic_load_explicit(&tx->widx, memory_order_relaxed), memory_order_relaxed);
		sealed = cw_state_step(&tx->state, word, CW_SEALED);
	}
	cw_release_signals(signals);
	return sealed;
}

bool cw_switch_seal(struct cw_stream *stream, uint64_t *word)
{
	struct cw_direction *tx = stream->tx;
	uint32_t bits = atomic_load_explicit(&tx->tx_bits, memory_order_relaxed);

	if (!step_to_sealed(tx, word))
		return false;
	if (bits < CW_RING_MAX_BITS)
		atomic_store_explicit(&tx->tx_bits, bits + 2 < CW_RING_MAX_BITS ? bits + 2 : CW_RING_MAX_BITS, memory_order_relaxed);
	CW_COUNT(stream, seals, 1);
	return true;
}

void cw_switch_renew_offer(struct cw_stream *stream, uint64_t *word)
{
	cw_state_step(&stream->tx->state, word, CW_CONSENT);
}

void cw_switch_to_kernel(struct cw_stream *stream, int fd, bool nested)
{
	uint64_t word = atomic_load_explicit(&stream->tx->state, memory_order_acquire);

	if (nested) {
		cw_send_take_claim(stream);
		if (cw_state_of(word) == CW_CONSENT)
			cw_switch_renew_offer(stream, &word);
	}
	while (!stream->broken && (cw_state_of(word) == CW_LIVE || cw_state_of(word) == CW_ASLEEP)) {
		if (cw_state_of(word) == CW_LIVE)
			cw_switch_seal(stream, &word);
		else if (!cw_switch_seal_asleep(stream, &word, atomic_load_explicit(&stream->tx->widx, memory_order_relaxed)))
			cw_switch_take_back(stream, fd, &word);
	}
}
