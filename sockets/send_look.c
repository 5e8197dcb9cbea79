#include "service.h"
#include "sending.h"

#define UNDISTURBED_US 2  /* a reader that runs makes room in less */
#define MOST_PATIENCE  20 /* times the longest look, with a reader that gets on */
#define MOST_MISSES    8
#define TRY_AGAIN      32

/* The reader may be waiting for this very processor. True: others have had it for a while, or compute here. */
static bool gives_way(uint64_t start)
{
	struct cw_give_way *way = &cw_thread.way;

	return cw_policy.number[CW_OPTION_give_way] && cw_ticks() - start >= UNDISTURBED_US * cw_ticks_per_us() &&
	       (cw_give_way(way) != CW_GAVE_NOTHING || cw_give_way_pauses(way));
}

/*
 * The ring is full and its reader awake: room comes soon, or the reader isn't running. As long as it gets on, be it through what the kernel
 * holds before the ring, it is worth waiting for: going to the kernel costs more, and a while to come back from. But not where others want
 * the processor: many writers that wait so keep it from the one who reads for all of them.
 */
bool cw_send_look_for_room(struct cw_stream *stream)
{
	struct cw_direction *tx = stream->tx;
	uint64_t credit = atomic_load_explicit(&tx->tx_credit, memory_order_relaxed),
		 patience = (uint64_t)cw_policy_spin_us() * cw_ticks_per_us();
	uint64_t start = cw_ticks(), seen = atomic_load_explicit(&tx->roff, memory_order_relaxed), moved = start;
	bool others = false;

	while (cw_ticks() - moved < patience && cw_ticks() - start < MOST_PATIENCE * patience) {
		uint64_t roff = atomic_load_explicit(&tx->roff, memory_order_relaxed);

		if ((int64_t)(roff - credit) > 0)
			return true;
		if (roff != seen) {
			seen = roff;
			moved = cw_ticks();
		}
		if (others)
			return false;
		others = gives_way(start);
		cw_pause();
	}
	return false;
}

/*
 * In bulk, a reader that was woken through the kernel is about to offer the ring, and what fills the kernel's buffers meanwhile keeps both
 * ends at the speed of wake-ups: each finds the other asleep, for ever. So what a call sends through the kernel goes in pieces, and between
 * them it looks for the offer; not where that was in vain several times, and nothing is on its way that would make the reader come.
 */
bool cw_send_in_bulk(const struct cw_stream *stream, uint64_t word)
{
	struct cw_direction *tx = stream->tx;

	return stream->bounded && !(word & (CW_MARK_LEFT | CW_MARK_READER_GONE)) &&
	       atomic_load_explicit(&tx->tx_attached, memory_order_relaxed) &&
	       !atomic_load_explicit(&tx->rx_shared, memory_order_relaxed) &&
	       (stream->offers_missed < MOST_MISSES || stream->offers_missed % TRY_AGAIN == 0);
}

bool cw_send_offer_expected(struct cw_stream *stream, uint64_t word)
{
	struct cw_direction *tx = stream->tx;

	if (stream->offers_missed >= MOST_MISSES)
		stream->offers_missed++;
	return cw_send_in_bulk(stream, word) &&
	       atomic_load_explicit(&tx->woff, memory_order_relaxed) != atomic_load_explicit(&tx->roff, memory_order_relaxed);
}

void cw_send_look_for_offer(struct cw_stream *stream)
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
