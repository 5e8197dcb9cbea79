/*
 * Giving way in a look that has found nothing yet. Where more threads are busy than there are processors, the one that is looked for may be
 * waiting for this very processor: who only looks keeps it from answering, and who sleeps costs both ends a wake-up. sched_yield lets the
 * others run, and whoever comes back to find what it waits for has slept without telling anybody.
 *
 * It isn't free. EEVDF takes a yield as giving the rest of the slice away, so that beside threads that compute without a pause, which never
 * answer, the giver loses its share. Such a thread uses its slice up, and those who answer each other don't: time given for short is
 * credit, time given for long uses three times as much of it up, and without credit nothing is given for a while. Many who answer one
 * another take long together: each thing that is found beyond the first, after others had their turn, is credit too.
 */
#ifndef CW_SYNC_GIVE_WAY_H
#define CW_SYNC_GIVE_WAY_H

#include <stdbool.h>
#include <stdint.h>

/* A thread's. Signal handlers look too, on top of a look: what is read is read once, and whatever they leave is taken. */
struct cw_give_way {
	_Atomic uint64_t credit;     /* ticks */
	_Atomic uint64_t not_before; /* ticks */
	bool may;                    /* as the kernel said when it was asked last */
};

enum cw_gave {
	CW_GAVE_NOTHING, /* not now, or there was nobody */
	CW_GAVE_BRIEFLY, /* and if what is looked for came of it, both were better off with a processor each */
	CW_GAVE,
	CW_GAVE_FOR_LONG
};

/* errno is kept. */
enum cw_gave cw_give_way(struct cw_give_way *way);
/* After the turn of others that was just given so many more things were found at once than one: they were busy with what is ours. */
void cw_give_way_brought(struct cw_give_way *way, unsigned more);
/* It would refuse, but only for the moment that lies between any two turns of others. */
bool cw_give_way_is_near(const struct cw_give_way *way);
/* It refuses, as others have had it for too long: they compute here. */
bool cw_give_way_pauses(const struct cw_give_way *way);
/* What it makes of a yield at `from` that ended at `to`. */
enum cw_gave cw_give_way_judge(struct cw_give_way *way, uint64_t from, uint64_t to);

#endif
