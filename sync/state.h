/*
 * The state word of one direction of a stream (shared/SWITCH.md, tests/model/switch.pml).
 *
 *	bits 0-2	the state
 *	bits 3-15	marks that either side may set and nobody clears
 *	bits 16-63	generation: counts every change of state, so that a compare-and-swap never takes a new sleep for an old one
 *
 * TAKEN	the writer uses the kernel; the first state.	reader -> CONSENT
 * CONSENT	the reader is awake and offers the ring.	writer -> LIVE, reader -> TAKEN
 * LIVE		bytes from `up` on are in the ring.		reader -> ASLEEP, writer -> SEALED
 * ASLEEP	as LIVE, and the reader waits in the kernel.	reader -> LIVE, writer -> TAKEN (the doorbell)
 * SEALED	from `seal` on bytes are in the kernel again.	reader -> TAKEN when the ring is drained
 *
 * A writer may also ring for who is ASLEEP (sockets/bell.h), or step to SEALED there (cw_switch_seal_asleep); and where the kernel has no
 * room for all that it takes back, TAKEN, or CONSENT, becomes SEALED with the rest in the ring (switch_back.c, leave_rest).
 */
#ifndef CW_SYNC_STATE_H
#define CW_SYNC_STATE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum cw_state { CW_TAKEN, CW_CONSENT, CW_LIVE, CW_ASLEEP, CW_SEALED, CW_STATES };

#define CW_STATE_MASK 7ull
/* No holder of the writing end is left that can ring again (closed, or died): nothing more comes by ring. */
#define CW_MARK_WRITER_GONE (1ull << 3)
/* No holder of the reading end is left: what is written by ring now would be lost, so the writer goes to the kernel. */
#define CW_MARK_READER_GONE (1ull << 4)
/* The writer shut its side down while alive: an end of file with unread bytes is not a death. */
#define CW_MARK_WRITER_SHUT (1ull << 5)
/* A side left the ring for good: nobody offers or takes it again. */
#define CW_MARK_LEFT (1ull << 6)
/* A reader that can't use the ring wants what is in it through the kernel, as soon as the writer is in the library. */
#define CW_MARK_RESEND (1ull << 7)
/* Shared memory held nonsense, or a lock was lost: the stream is reset, whatever the socket says (AF_UNIX knows no reset). */
#define CW_MARK_RESET (1ull << 8)
#define CW_MARKS      0xfff8ull
#define CW_GENERATION (1ull << 16)

static inline enum cw_state cw_state_of(uint64_t word)
{
	return (enum cw_state)(word & CW_STATE_MASK);
}

/*
 * One step of the switch: from the word that was seen to another state. Sequentially consistent, because going to sleep is
 * one half of a store-load pair (A: widx is published before the writer loads the state; B: ASLEEP is stored before the
 * reader loads widx). Returns false, and the word found, if somebody was faster.
 */
static inline bool cw_state_step(_Atomic uint64_t *word, uint64_t *seen, enum cw_state to)
{
	uint64_t next = ((*seen & ~CW_STATE_MASK) + CW_GENERATION) | (uint64_t)to;

	if (!atomic_compare_exchange_strong_explicit(word, seen, next, memory_order_seq_cst, memory_order_acquire))
		return false;
	*seen = next;
	return true;
}

/* Set marks; the state and the generation stay, so a step in progress elsewhere fails and looks again. */
static inline uint64_t cw_state_mark(_Atomic uint64_t *word, uint64_t marks)
{
	return atomic_fetch_or_explicit(word, marks & CW_MARKS, memory_order_seq_cst) | (marks & CW_MARKS);
}

#endif
