/*
 * One look for what a thread waits for, before it sleeps:
 *
 *	cw_look_begin(&look, ...);
 *	while (cw_look_goes_on(&look)) {
 *		if (there it is) {
 *			cw_look_paid(&look);
 *			...
 *		}
 *		cw_pause();
 *	}
 *
 * and cw_spin_lost when the sleep is over. How long it lasts is spin.h's; from its third microsecond on it gives way now and then
 * (give_way.h). What others used of the processor meanwhile isn't counted as looking, so many times a look; after each giving there is
 * one more turn at least. A thing found just after the other end has had our processor briefly means that both share it, and then one of
 * them had better step aside (aside.h).
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
	uint32_t most_us;
	uint16_t how;  /* CW_LOOK_... */
	uint8_t given; /* times, to others */
	bool brief;    /* just now, and to one that had little to do */
};

void cw_look_begin(struct cw_look *look, struct cw_spin *spin, struct cw_give_way *way, uint32_t most_us, unsigned how);
bool cw_look_goes_on(struct cw_look *look);
void cw_look_paid(struct cw_look *look);

#endif
