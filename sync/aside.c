#include "aside.h"

#include <errno.h>
#include <sched.h>

#include "cpu.h"
#include "spin.h"

#define IN_A_ROW         8
#define APART_IN_A_ROW   1024
#define SHORT_US         1000
#define MOST_PATIENCE_MS 16384

uint32_t cw_aside_here(void)
{
	return (uint32_t)(sched_getcpu() + 1);
}

void cw_aside_note(struct cw_aside *aside, uint32_t peer, uint32_t here)
{
	uint64_t now = cw_ticks();

	if (here && peer == here)
		aside->apart = 0;
	if (!here || peer != here || now - aside->noted > SHORT_US * cw_ticks_per_us())
		aside->stacked = 0;
	else if (aside->stacked < IN_A_ROW)
		aside->stacked++;
	aside->noted = now;
}

void cw_aside_found(struct cw_aside *aside)
{
	aside->stacked = 0;
	if (aside->apart < APART_IN_A_ROW && ++aside->apart == APART_IN_A_ROW)
		aside->patience = 1;
}

static bool move(void)
{
	cpu_set_t own, others;

	if (sched_getaffinity(0, sizeof(own), &own) < 0)
		return false;
	others = own;
	CPU_CLR(sched_getcpu(), &others);
	if (!CPU_COUNT(&others) || sched_setaffinity(0, sizeof(others), &others) < 0)
		return false; /* it may run nowhere else */
	sched_setaffinity(0, sizeof(own), &own);
	return true;
}

bool cw_aside_step(struct cw_aside *aside)
{
	uint64_t now = cw_ticks();
	int error = errno;
	bool moved;

	if (aside->stacked < IN_A_ROW)
		return false;
	if (!aside->patience)
		aside->patience = 1;
	if (now - aside->moved < aside->patience * 1000 * cw_ticks_per_us())
		return false;
	aside->moved = now;
	aside->stacked = 0;
	if (aside->patience < MOST_PATIENCE_MS)
		aside->patience *= 4;
	moved = move();
	errno = error;
	return moved;
}
