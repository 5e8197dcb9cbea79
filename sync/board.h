/*
 * A board: words of bits in shared memory, a bit a stream's direction. The reader of many rings watches boards instead of each ring: who
 * publishes sets the ring's bit (level "mark"), so that finding the rings with bytes costs the number of those, not the number of all.
 *
 * A bit says "look at it": the writer publishes, then marks (M); the reader takes the bit, then looks (N). Both are store-load pairs:
 * either the reader's look finds the bytes, or the writer's mark comes behind the take. A bit too many costs a look.
 */
#ifndef CW_SYNC_BOARD_H
#define CW_SYNC_BOARD_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* True if the bit was not set already. M: after widx was published by a sequentially consistent compare-and-swap. */
static inline bool cw_board_mark(_Atomic uint64_t *word, uint64_t bit)
{
	if (atomic_load_explicit(word, memory_order_seq_cst) & bit)
		return false;
	return !(atomic_fetch_or_explicit(word, bit, memory_order_seq_cst) & bit);
}

/* The bits of mask that were set; they are cleared. N: before widx is looked at. */
static inline uint64_t cw_board_take(_Atomic uint64_t *word, uint64_t mask)
{
	if (!(atomic_load_explicit(word, memory_order_relaxed) & mask))
		return 0;
	return atomic_fetch_and_explicit(word, ~mask, memory_order_seq_cst) & mask;
}

#endif
