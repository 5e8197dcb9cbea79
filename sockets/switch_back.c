/* The writer goes back to the kernel: with what the ring has, or with what comes behind that. */
#include <linux/tcp.h>
#include <netinet/in.h>

#include "kernel.h"
#include "sending.h"
#include "switch.h"

#define RESEND_LIMIT_NS 1000000000ull
#define TURN_NS         10000000

/* What of the ring is to go through the kernel. */
struct rest {
	uint64_t from, to;
	size_t last; /* of these the program's call has just put there, and can send again itself */
	uint32_t bits;
	bool stays;     /* what the kernel has not taken, but for these, is still the ring's */
	bool lost;      /* nobody knows whether it is */
	bool leaves;    /* the reader, and wants all of it by the kernel */
	uint64_t since; /* room was first waited for; 0: it wasn't */
	int bound;      /* of what may wait in the kernel unsent, which is lifted meanwhile; 0: none */
};

/* A bigger buffer makes most of it go in at once. The kernel doubles what it is told; its own buffer may have grown larger than that. */
static void make_room(int fd, int room)
{
	int bytes = 0;
	socklen_t size = sizeof(bytes);

	cw_raw_getsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, &size);
	if (bytes < 2 * room)
		cw_raw_setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
}

/* What may wait there unsent: the bound that was, 0: none. */
static int bound_unsent(int fd, int bound)
{
	int before = 0;
	socklen_t size = sizeof(before);

	if (cw_raw_getsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &before, &size) < 0 || before == bound)
		return 0;
	cw_raw_setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &bound, sizeof(bound));
	return before;
}

/* Where the ring ends from now on, and the kernel goes on. */
static void end_ring_at(struct cw_direction *tx, uint64_t end)
{
	atomic_store_explicit(&tx->widx, end, memory_order_relaxed);
	atomic_store_explicit(&tx->woff, end, memory_order_relaxed);
}

/* Who sleeps there is told by the kernel of what comes next, so something must be unread that he will come for: no room may as well mean
 * that what he has read is not acknowledged yet. Exact under the reader's lock. */
static bool has_unread_before(const struct cw_direction *tx, uint64_t from)
{
	return (int64_t)(from - atomic_load_explicit(&tx->roff, memory_order_acquire)) > 0;
}

/*
 * What the kernel has no room for stays in the ring, as if that had been offered behind what it took: TAKEN, or offered anew by now,
 * becomes SEALED. Nobody may be reading the kernel without a bound: who does is counted, and nobody begins to without the reader's lock.
 */
static bool leave_rest(struct cw_stream *stream, struct rest *rest, bool late)
{
	struct cw_direction *tx = stream->tx;
	uint64_t end = rest->to - rest->last, word;

	if (!cw_lock_as_guest(&tx->rx_lock))
		return false;
	word = atomic_load_explicit(&tx->state, memory_order_acquire);
	rest->leaves |= (word & CW_MARK_RESEND) != 0; /* marked under this lock, maybe since the step */
	if ((!rest->leaves || late) && has_unread_before(tx, rest->from) && !atomic_load_explicit(&tx->rx_asleep, memory_order_acquire)) {
		atomic_store_explicit(&tx->up, rest->from, memory_order_relaxed);
		atomic_store_explicit(&tx->seal, end, memory_order_relaxed);
		end_ring_at(tx, end);
		while (!rest->stays && (cw_state_of(word) == CW_TAKEN || cw_state_of(word) == CW_CONSENT))
			rest->stays = cw_state_step(&tx->state, &word, CW_SEALED);
	}
	rest->lost = !cw_unlock_as_guest(&tx->rx_lock) && rest->stays;
	return rest->stays;
}

static long send_pieces(const struct cw_stream *stream, int fd, const struct rest *rest)
{
	struct cw_ring ring = cw_stream_ring(stream->tx_data, rest->bits);
	struct iovec pieces[2];
	struct msghdr message = {.msg_iov = pieces};

	message.msg_iovlen = (size_t)cw_ring_pieces(&ring, rest->from, rest->to - rest->from, pieces);
	return cw_raw_sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
}

/*
 * The kernel has no room. The rest stays, unless the reader leaves, and can't look there: then room is made, and waited for, as it is where
 * somebody is reading the kernel at this moment. False: for too long.
 */
static bool make_do(struct cw_stream *stream, int fd, struct rest *rest)
{
	struct pollfd writable = {.fd = fd, .events = POLLOUT};
	struct timespec turn = {.tv_nsec = TURN_NS};
	bool late = rest->since && cw_monotonic_ns() - rest->since > RESEND_LIMIT_NS;

	if ((!rest->leaves || late) && leave_rest(stream, rest, late))
		return !rest->lost;
	if (late)
		return false;
	if (!rest->since) {
		rest->since = cw_monotonic_ns();
		make_room(fd, (int)(4u << rest->bits));
		rest->bound = bound_unsent(fd, 0);
	}
	cw_raw(SYS_ppoll, (long)&writable, 1, (long)&turn, 0, 0, 0);
	return true;
}

/* Send what is in the ring through the kernel now. That the peer is gone ends it too: the bytes are lost as TCP's would be, and the next
 * call says so. */
static bool resend(struct cw_stream *stream, int fd, struct rest *rest)
{
	bool fine = true;

	while (fine && !rest->stays && rest->from < rest->to) {
		long sent = send_pieces(stream, fd, rest);

		if (sent > 0) {
			rest->from += (uint64_t)sent;
			CW_COUNT(stream, bytes_kernel_out, (uint64_t)sent);
		} else if (sent == -EAGAIN || sent == -ENOBUFS) {
			if (rest->to - rest->from <= rest->last)
				break;
			fine = make_do(stream, fd, rest);
		} else if (sent != -EINTR) {
			cw_error_keep(stream, (int)-sent);
			rest->from = rest->to;
		}
	}
	if (rest->bound)
		bound_unsent(fd, rest->bound);
	return fine;
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

static bool take_back(struct cw_stream *stream, int fd, uint64_t *word, size_t *last)
{
	struct cw_direction *tx = stream->tx;
	struct rest rest = {.last = *last, .bits = atomic_load_explicit(&tx->ring_bits, memory_order_relaxed)};
	bool fine;

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
	rest.to = atomic_load_explicit(&tx->widx, memory_order_relaxed);
	rest.from = cw_switch_reader_at(tx);
	if (!cw_class_sane(rest.bits) || rest.to - rest.from > 1ull << rest.bits) {
		cw_switch_break(stream, fd, CW_REASON_broken);
		return false;
	}
	CW_COUNT(stream, doorbells, 1);
	cw_switch_note_wake(stream);
	CW_COUNT(stream, bytes_ring_out, rest.from - rest.to); /* they go by the kernel after all */
	rest.leaves = *word & CW_MARK_RESEND;
	fine = resend(stream, fd, &rest);
	if (rest.stays) {
		CW_COUNT(stream, seals, 1);
		CW_COUNT(stream, bytes_ring_out, rest.to - rest.last - rest.from);
	} else if (fine) {
		*last = rest.to - rest.from;
		end_ring_at(tx, rest.from);
	}
	atomic_store_explicit(&tx->tx_kernel_op, 0, memory_order_release);
	if (!fine)
		cw_switch_break(stream, fd, CW_REASON_lock_lost);
	return fine;
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

bool cw_switch_told_and_unread(const struct cw_direction *tx)
{
	uint64_t unread = atomic_load_explicit(&tx->widx, memory_order_relaxed) - cw_switch_reader_at(tx);
	uint32_t bits = atomic_load_explicit(&tx->ring_bits, memory_order_relaxed);

	return unread && cw_class_sane(bits) && unread <= 1ull << bits;
}

/* A side that has left changes nothing: a reader that wants it by the kernel says so (RESEND). */
bool cw_switch_awaits_reader(const struct cw_direction *tx, int fd, uint64_t word)
{
	return atomic_load_explicit(&tx->rx_asleep, memory_order_acquire) && cw_switch_told_and_unread(tx) &&
	       !(word & (CW_MARK_RESEND | CW_MARK_READER_GONE)) && cw_raw_poll(fd, POLLOUT) == 0;
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

bool cw_switch_to_kernel(struct cw_stream *stream, int fd, bool nested)
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
		else if (cw_switch_seal_asleep(stream, &word, atomic_load_explicit(&stream->tx->widx, memory_order_relaxed)))
			break;
		else if (cw_switch_awaits_reader(stream->tx, fd, word))
			return false;
		else
			cw_switch_take_back(stream, fd, &word);
	}
	return true;
}
