/*
 * How long to look before sleeping. A budget a thread, because waiting pays or not by what the thread waits for: it doubles when
 * looking paid, halves when it did not, and after several losses in a row the thread sleeps at once for a growing number of waits
 * before it tries again. So an idle program looks never, and one whose peer has no core of its own seldom.
 */
#ifndef CW_SYNC_SPIN_H
#define CW_SYNC_SPIN_H

#include <stdbool.h>
#include <stdint.h>

struct cw_spin {
	uint32_t budget; /* ticks */
	uint16_t losses; /* in a row */
	uint16_t skips;  /* waits left that don't look at all */
};

uint64_t cw_ticks_per_us(void); /* measured once, at the first call; takes 200 us then */

/* Ticks to look now: 0 to max_us. */
uint64_t cw_spin_budget(struct cw_spin *spin, uint32_t max_us);
void cw_spin_paid(struct cw_spin *spin, uint32_t max_us);
void cw_spin_lost(struct cw_spin *spin);

#endif
