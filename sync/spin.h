/*
 * How long to look before sleeping. A budget a thread, because waiting pays or not by what the thread waits for. What looking found, and
 * how long the sleep was that followed a look in vain, decide the next one:
 *
 * - found something: twice as long, to a bound, and after a long look in vain for long at once as long as may be. Where sleeps are mostly
 *   long, one look that was lucky isn't followed by a long one in vain;
 * - slept a short while: longer, the answer came just past the budget. After several of these in a row the peer is taken to have no core of
 *   its own, and the look is short again, but for a long one now and then: two ends that both sleep between messages answer each other
 *   at the speed of wake-ups, and only a look longer than that gets both out of it. Each of these that is in vain makes the next one wait
 *   for twice as many sleeps, to a bound;
 * - slept long: short. It says nothing of whether looks between shorter sleeps pay, so that isn't forgotten.
 *
 * A short sleep with no look before it is no sign that one would have paid where looks were in vain: on a processor that both ends share
 * the answer comes soon because of the sleep.
 *
 * So an idle program looks some microseconds before a sleep of many milliseconds, and a busy one never sleeps. Where more threads are busy
 * than there are processors, rest.h decides whether there are looks at all; what is said here is said of the others.
 */
#ifndef CW_SYNC_SPIN_H
#define CW_SYNC_SPIN_H

#include <stdbool.h>
#include <stdint.h>

#include "aside.h"
#include "rest.h"

struct cw_spin {
	struct cw_aside aside;
	struct cw_rest rest;
	uint32_t budget; /* ticks */
	uint32_t losses; /* in a row: looks in vain before a short sleep, and then short sleeps without one too */
	bool pinned;     /* to one processor, when it was asked for last (look.c) */
	uint8_t here;    /* what looks found then came from this processor: how sure that is (look.c) */
	uint8_t quiet;   /* in a row: times that the kernel was asked in vain, as far as it is of interest (look.h) */
	uint16_t calls;  /* of which some ask it whatever they find elsewhere (look.h) */
	uint8_t shared;  /* looks with turns of others, which ask now and then whether we are pinned */
};

/* Where the measuring of the rate begins: in a program's first moments, before it has threads. */
void cw_ticks_begin(void);
/* Measured once, at the first call, since then; within the first 200 us it waits for their end. A child by fork has its parent's. */
uint64_t cw_ticks_per_us(void);

/* From now on some of those who are looked for run on other machines: with one processor here it isn't theirs that is kept. */
void cw_spin_apart(void);

/* Ticks to look now: 0 (max_us is 0, there is one processor for both ends, or the thread rests), else up to twice max_us. */
uint64_t cw_spin_budget(struct cw_spin *spin, uint32_t max_us);
/* There are no looks, or they are short, so rarely does one pay: messages come further apart. Who can sleep without telling the peer does
 * so at once. */
bool cw_spin_sparse(struct cw_spin *spin, uint32_t max_us);
/* The same, for who isn't about to look and so doesn't step aside. */
bool cw_spin_is_sparse(const struct cw_spin *spin, uint32_t max_us);
void cw_spin_paid(struct cw_spin *spin, uint32_t max_us);
/* The look was in vain, and the wait took so many ticks from its beginning. */
void cw_spin_lost(struct cw_spin *spin, uint32_t max_us, uint64_t waited);
/* There was no look before the sleep, of so many ticks: would one have paid? Less than a wake-up takes was none: what was asked for was
 * there. */
void cw_spin_slept(struct cw_spin *spin, uint32_t max_us, uint64_t waited);

#endif
