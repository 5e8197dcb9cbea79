/*
 * Where more threads are busy than there are processors, what a look costs are the turns that it gives to others in vain: each is a
 * switch of tasks there and one back. What it finds saves a sleep and a wake-up, which are worth some of them. A thread whose turns cost
 * more than they save rests: it sleeps at once, for a number of sleeps, tries again, and rests for twice as long if that was in vain.
 */
#ifndef CW_SYNC_REST_H
#define CW_SYNC_REST_H

#include <stdbool.h>
#include <stdint.h>

struct cw_rest {
	int8_t balance;  /* turns; between two rests */
	uint16_t sleeps; /* still to come in this one */
	uint16_t last;   /* that the last one had; 0 once looks have paid for long */
};

/* Others have had a turn. */
void cw_rest_gave(struct cw_rest *rest);
/* A look in which they had was in vain. */
void cw_rest_lost(struct cw_rest *rest);
void cw_rest_found(struct cw_rest *rest);
/* A sleep is over. True: in a rest, and so it says nothing of looks. */
bool cw_rest_slept(struct cw_rest *rest);

static inline bool cw_rests(const struct cw_rest *rest)
{
	return rest->sleeps != 0;
}

#endif
