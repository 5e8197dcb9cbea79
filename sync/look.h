/*
 * One look for what a thread waits for, before it sleeps:
 *
 *	cw_look_begin(&look, ...);
 *	while (cw_look_goes_on(&look)) {
 *		if (there it is) {
 *			cw_look_paid(&look, how many);
 *			...
 *		}
 *		cw_pause();
 *	}
 *
 * and cw_spin_lost when the sleep is over. How long it lasts is spin.h's; from its third microsecond on it gives way now and then
 * (give_way.h). A look that has had the processor in turn with others begins anew, but a signal or the end of a time-out isn't seen before
 * the sleep: so by a millisecond in all. A short one doesn't, it only isn't charged the others' turns: where looks rarely pay, or there is
 * one processor for us and all whom we look for, what we look keeps those from working who have something to do. After each giving there is
 * one more turn at least.
 *
 * On a thread's only processor, where what it looks for has always come in others' turns, it does nothing but give way:
 * whoever is to answer runs here, and not while we look. Once nobody has a turn, or none is to be given for a while, the
 * look is over.
 *
 * A thread whose looks cost others more turns than they save rests (rest.h): no look begins, and one that goes on is over.
 *
 * Who waits for things of the kernel too asks it now and then (cw_look_asks): a system call each time, and mostly in vain.
 *
 * A thing found just after others have had our processor briefly means that the other end shares it, and then one of them had better step
 * aside (aside.h).
 */
#ifndef CW_SYNC_LOOK_H
#define CW_SYNC_LOOK_H

#include <stdbool.h>
#include <stdint.h>

#include "give_way.h"
#include "spin.h"

enum cw_look_how { CW_LOOK_GIVES_WAY = 1, CW_LOOK_STEPS_ASIDE = 2 };

struct cw_look {
	struct cw_spin *spin;
	struct cw_give_way *way;
	uint64_t start, budget; /* ticks */
	uint64_t anew;          /* ticks that it may still begin later */
	uint64_t ask_at;        /* ticks */
	uint32_t most_us;
	uint16_t how;      /* CW_LOOK_... */
	bool turns;        /* of others: it gave some */
	bool shares;       /* others have had the processor, or are taken to */
	bool is_short;     /* in our own time */
	bool only_gives;   /* nothing can come but in others' turns */
	enum cw_gave gave; /* just now */
};

void cw_look_begin(struct cw_look *look, struct cw_spin *spin, struct cw_give_way *way, uint32_t most_us, unsigned how);
bool cw_look_goes_on(struct cw_look *look);
void cw_look_paid(struct cw_look *look, unsigned found);
/* It ends by what the kernel says, and has spared a sleep. */
void cw_look_told(struct cw_look *look);

/* Is it time to ask the kernel? True: it is asked now. */
bool cw_look_asks(struct cw_look *look);
/* What the kernel answered, in a look or before it. */
void cw_look_asked(struct cw_spin *spin, bool found);
/* It has answered with nothing so often that it isn't asked before the look, but some microseconds later. */
bool cw_look_is_quiet(const struct cw_spin *spin);
/* May it be left out this time? Not for ever: who always finds something elsewhere would never hear what only the kernel says. */
bool cw_look_spares_kernel(struct cw_spin *spin);

#endif
