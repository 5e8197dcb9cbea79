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
 * (give_way.h). A look that has had the processor in turn with others begins anew, but a signal or the end of a time-out isn't seen before
 * the sleep: so by a millisecond in all. After each giving there is one more turn at least. A thing found just after others have had our
 * processor briefly means that the other end shares it, and then one of them had better step aside (aside.h).
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
	uint32_t most_us;
	uint16_t how;      /* CW_LOOK_... */
	enum cw_gave gave; /* just now */
};

void cw_look_begin(struct cw_look *look, struct cw_spin *spin, struct cw_give_way *way, uint32_t most_us, unsigned how);
bool cw_look_goes_on(struct cw_look *look);
void cw_look_paid(struct cw_look *look);

#endif
