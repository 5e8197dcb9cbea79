#include "ready.h"

#include "looking.h"
#include "sending.h"
#include "set.h"
#include "switch.h"

static bool in_ring(uint64_t roff, uint64_t up)
{
	return (int64_t)(roff - up) >= 0;
}

bool cw_ready_later(const struct cw_stream *stream)
{
	struct cw_direction *rx = stream->rx;
	uint64_t word = atomic_load_explicit(&rx->state, memory_order_acquire);
	uint64_t up = atomic_load_explicit(&rx->up, memory_order_relaxed);

	return (cw_state_of(word) == CW_LIVE || cw_state_of(word) == CW_SEALED) &&
	       !in_ring(atomic_load_explicit(&rx->roff, memory_order_relaxed), up) &&
	       atomic_load_explicit(&rx->widx, memory_order_acquire) != up;
}

bool cw_ready_known(const struct cw_stream *stream)
{
	struct cw_direction *rx = stream->rx;
	uint64_t word = atomic_load_explicit(&rx->state, memory_order_acquire);

	return cw_state_of(word) == CW_LIVE && !(word & (CW_MARK_WRITER_GONE | CW_MARK_WRITER_SHUT)) &&
	       in_ring(atomic_load_explicit(&rx->roff, memory_order_relaxed), atomic_load_explicit(&rx->up, memory_order_relaxed));
}

/*
 * Asleep beside bytes that an edge has told (cw_ready_settle), and no byte came since: they stay where they are, for all who look for them
 * by other ways. Where one has come the writer takes all of them back.
 */
static bool left_unread(const struct cw_stream *stream, uint64_t word)
{
	uint64_t left = atomic_load_explicit(&stream->left_at, memory_order_relaxed);

	/* With an end behind them the kernel has something to tell. */
	return cw_state_of(word) == CW_ASLEEP && !(word & (CW_MARK_RESEND | CW_MARK_WRITER_SHUT | CW_MARK_WRITER_GONE)) &&
	       cw_switch_unread_asleep(stream) && atomic_load_explicit(&stream->rx->widx, memory_order_acquire) == left &&
	       !atomic_load_explicit(&stream->rx->rx_shared, memory_order_relaxed) && !cw_set_shared(stream); /* as a read asks */
}

bool cw_ready_left(const struct cw_stream *stream)
{
	return stream->slot && left_unread(stream, atomic_load_explicit(&stream->rx->state, memory_order_acquire));
}

bool cw_ready_by_ring(const struct cw_stream *stream, uint64_t *edge)
{
	struct cw_direction *rx = stream->rx;
	uint64_t word = atomic_load_explicit(&rx->state, memory_order_acquire);
	uint64_t roff, up;
	enum cw_state state = cw_state_of(word);

	*edge = 0;
	if (cw_unlikely(state == CW_ASLEEP)) {
		*edge = atomic_load_explicit(&stream->left_at, memory_order_relaxed);
		return left_unread(stream, word);
	}
	if (state != CW_LIVE && state != CW_SEALED)
		return state >= CW_STATES; /* nonsense: the read will say so */
	*edge = atomic_load_explicit(&rx->widx, memory_order_acquire);
	roff = atomic_load_explicit(&rx->roff, memory_order_relaxed);
	up = atomic_load_explicit(&rx->up, memory_order_relaxed);
	if (!in_ring(roff, up)) /* what comes first comes through the kernel, which tells when it is there */
		return false;
	return cw_switch_unread(stream, word, roff, NULL) != 0; /* nonsense too */
}

bool cw_ready_settle(struct cw_stream *stream, uint64_t seen, bool edge_triggered)
{
	struct cw_direction *rx = stream->rx;
	uint64_t word = atomic_load_explicit(&rx->state, memory_order_acquire);

	for (;;) {
		uint64_t widx = atomic_load_explicit(&rx->widx, memory_order_acquire);
		uint64_t roff = atomic_load_explicit(&rx->roff, memory_order_relaxed);
		uint64_t up = atomic_load_explicit(&rx->up, memory_order_relaxed);

		switch (cw_state_of(word)) {
		case CW_SEALED:
			if (!in_ring(roff, up) && widx == up)
				return true; /* sealed empty: all of it comes through the kernel */
			if (in_ring(roff, up) && !cw_switch_unread(stream, word, roff, NULL)) {
				cw_switch_drained(stream, &word);
				continue;
			}
			return edge_triggered && widx == seen;
		case CW_LIVE:
			/*
			 * Before the switch's offset what comes next comes through the kernel. With the ring empty behind it a plain sleep
			 * is right; else another reader may take those bytes, and this one would sleep beside a ring that has more
			 * (tests/model).
			 */
			if (!in_ring(roff, up))
				roff = up;
			if (!edge_triggered || widx == roff)
				seen = roff;
			if (widx != seen)
				return false;
			atomic_store_explicit(&stream->left_at, seen, memory_order_relaxed);
			if (cw_switch_fall_asleep(stream, &word, seen))
				return true;
			continue;
		case CW_CONSENT:
			cw_switch_withdraw(stream, &word);
			continue;
		case CW_ASLEEP:
			return !left_unread(stream, word) || (edge_triggered && widx == seen);
		default:
			return true;
		}
	}
}

static bool rises(uint64_t word)
{
	return cw_state_of(word) == CW_ASLEEP ? !(word & CW_MARK_LEFT) : cw_state_of(word) == CW_TAKEN && !cw_is_sparse();
}

bool cw_ready_rises(const struct cw_stream *stream)
{
	return rises(atomic_load_explicit(&stream->rx->state, memory_order_relaxed));
}

void cw_ready_rise(struct cw_stream *stream)
{
	uint64_t word = atomic_load_explicit(&stream->rx->state, memory_order_acquire);

	if (!rises(word))
		return;
	if (cw_state_of(word) == CW_ASLEEP)
		cw_switch_wake(stream, &word);
	else
		cw_switch_offer_again(stream);
}

/* For the largest message that goes whole or not at all. The credit and roff may be others' to change, and are read before what they are
 * behind. */
static bool has_room(const struct cw_direction *tx)
{
	uint64_t credit = atomic_load_explicit(&tx->tx_credit, memory_order_acquire);
	uint32_t bits = atomic_load_explicit(&tx->ring_bits, memory_order_relaxed);
	uint64_t most = cw_class_sane(bits) ? (1ull << bits) - CW_SEND_WHOLE : 0, roff;

	if (atomic_load_explicit(&tx->widx, memory_order_acquire) - credit <= most)
		return true;
	roff = atomic_load_explicit(&tx->roff, memory_order_acquire);
	return atomic_load_explicit(&tx->widx, memory_order_relaxed) - roff <= most;
}

/* Offered, and nothing on its way: the kernel has room for a ring's worth too. Where it is not to be taken the kernel alone knows. */
static bool is_empty_offer(const struct cw_direction *tx)
{
	return atomic_load_explicit(&tx->woff, memory_order_relaxed) == atomic_load_explicit(&tx->roff, memory_order_relaxed) &&
	       atomic_load_explicit(&tx->tx_attached, memory_order_relaxed) &&
	       !atomic_load_explicit(&tx->tx_in_kernel, memory_order_relaxed) &&
	       !atomic_load_explicit(&tx->tx_shared, memory_order_relaxed);
}

bool cw_ready_to_send(const struct cw_stream *stream)
{
	struct cw_direction *tx = stream->tx;
	uint64_t word = atomic_load_explicit(&tx->state, memory_order_relaxed);

	if (word & (CW_MARK_LEFT | CW_MARK_READER_GONE))
		return false;
	switch (cw_state_of(word)) {
	case CW_LIVE: /* full, what is sent goes by the kernel, which may be full of what comes before the ring */
		return has_room(tx);
	case CW_ASLEEP: /* what is unread goes by the kernel first */
		return atomic_load_explicit(&tx->widx, memory_order_relaxed) == atomic_load_explicit(&tx->roff, memory_order_relaxed);
	case CW_CONSENT:
		return is_empty_offer(tx);
	default:
		return false;
	}
}

bool cw_ready_by_ring_alone(const struct cw_stream *stream)
{
	uint64_t word = atomic_load_explicit(&stream->tx->state, memory_order_relaxed);

	return !(word & (CW_MARK_LEFT | CW_MARK_READER_GONE)) &&
	       (cw_state_of(word) == CW_LIVE || cw_state_of(word) == CW_ASLEEP || cw_ready_to_send(stream));
}
