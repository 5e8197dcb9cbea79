#include "rest.h"

#define SAVES 4  /* turns: what is found */
#define COSTS 4  /* turns: a look in vain, and the sleep that follows */
#define MOST  32 /* turns: a dozen looks decide, and none that were good long ago */
#define LEAST (-MOST)
#define SHORT 128  /* sleeps: a dozen looks are then a tenth of them */
#define LONG  4096 /* some tenths of a second for who is busy */

static void costs(struct cw_rest *rest, int turns)
{
	if (cw_rests(rest))
		return;
	rest->balance = (int8_t)(rest->balance - turns);
	if (rest->balance > LEAST)
		return;
	rest->balance = 0;
	rest->last = rest->last < SHORT ? SHORT : rest->last < LONG ? 2 * rest->last : LONG;
	rest->sleeps = rest->last;
}

void cw_rest_gave(struct cw_rest *rest)
{
	costs(rest, 1);
}

void cw_rest_lost(struct cw_rest *rest)
{
	costs(rest, COSTS);
}

void cw_rest_found(struct cw_rest *rest)
{
	rest->balance = (int8_t)(rest->balance + SAVES);
	if (rest->balance < MOST)
		return;
	rest->balance = MOST;
	rest->last = 0;
}

bool cw_rest_slept(struct cw_rest *rest)
{
	if (!cw_rests(rest))
		return false;
	rest->sleeps--;
	return true;
}
