/*
 * A read that doesn't wait, by a program whose runtime waits for it (Go: a goroutine reads, is parked, and some thread asks an event set).
 * An answer in vain costs it several dispatched calls and a change of threads; the bytes are often there a few microseconds later. So such
 * a read looks for a while first, as one that waits does (sync/spin.h), and each stream keeps what looking has paid.
 */
#include "raw_inside.h"

#ifdef CW_RAW_HERE
#include "call.h"
#include "sockets/service.h"
#include "sync/spin.h"

static struct looking {
	struct cw_spin spin;
	uint64_t since; /* ticks: of a look in vain that nothing has ended yet */
} looking[CW_BOOK_ENTRIES] CW_TABLE;

static bool is_empty(const struct cw_stream *stream, uint64_t word)
{
	return cw_state_of(word) == CW_LIVE && atomic_load_explicit(&stream->rx->widx, memory_order_acquire) ==
						       atomic_load_explicit(&stream->rx->roff, memory_order_relaxed);
}

static bool changes(struct cw_stream *stream, uint64_t word, uint64_t start, uint64_t budget)
{
	while (cw_ticks() - start < budget)
		for (int i = 0; i < 8; i++) {
			if (atomic_load_explicit(&stream->rx->state, memory_order_acquire) != word || !is_empty(stream, word))
				return true;
			cw_pause();
		}
	return false;
}

void cw_raw_look(int fd)
{
	struct cw_stream *stream = cw_stream_of(fd);
	uint32_t most = (uint32_t)cw_policy.number[CW_OPTION_spin_us];
	struct looking *own;
	uint64_t word, start;

	if (!stream || !atomic_load_explicit(&stream->slot, memory_order_acquire) ||
	    atomic_load_explicit(&stream->notes, memory_order_relaxed) || !atomic_load_explicit(&stream->nonblocking, memory_order_relaxed))
		return;
	own = &looking[stream->number];
	start = cw_ticks();
	word = atomic_load_explicit(&stream->rx->state, memory_order_acquire);
	if (!is_empty(stream, word)) {
		if (own->since)
			cw_spin_lost(&own->spin, most, start - own->since);
		own->since = 0;
		return;
	}
	if (own->since) /* the same wait */
		return;
	if (changes(stream, word, start, cw_spin_budget(&own->spin, most))) {
		CW_COUNT(stream, spins_paid, 1);
		cw_spin_paid(&own->spin, most);
	} else {
		CW_COUNT(stream, spins_lost, 1);
		own->since = start;
	}
}
#endif
