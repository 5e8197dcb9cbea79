#include "kept.h"

#include <stdatomic.h>

#define CELLS 4096u

enum { FREE, BUSY, FULL }; /* BUSY: somebody writes or says it */

static struct {
	_Atomic uint32_t use;
	struct cw_message message;
} cells[CELLS] CW_TABLE;
static _Atomic uint32_t count; /* of those that are not free */

static bool turn(uint32_t cell, uint32_t from, uint32_t to)
{
	return atomic_compare_exchange_strong_explicit(&cells[cell].use, &from, to, memory_order_acq_rel, memory_order_relaxed);
}

static void give(uint32_t cell)
{
	atomic_store_explicit(&cells[cell].use, FREE, memory_order_release);
	atomic_fetch_sub_explicit(&count, 1, memory_order_relaxed);
}

bool cw_kept_put(const struct cw_message *message)
{
	for (uint32_t i = 0; i < CELLS; i++) {
		if (atomic_load_explicit(&cells[i].use, memory_order_relaxed) != FREE || !turn(i, FREE, BUSY))
			continue;
		atomic_fetch_add_explicit(&count, 1, memory_order_relaxed);
		cells[i].message = *message;
		atomic_store_explicit(&cells[i].use, FULL, memory_order_release);
		return true;
	}
	return false;
}

bool cw_kept_say(bool (*say)(const struct cw_message *message))
{
	for (uint32_t i = 0; i < CELLS && atomic_load_explicit(&count, memory_order_relaxed); i++) {
		if (atomic_load_explicit(&cells[i].use, memory_order_relaxed) != FULL || !turn(i, FULL, BUSY))
			continue;
		if (!say(&cells[i].message)) {
			atomic_store_explicit(&cells[i].use, FULL, memory_order_release);
			return false;
		}
		give(i);
	}
	return true;
}

void cw_kept_drop(void)
{
	for (uint32_t i = 0; i < CELLS && atomic_load_explicit(&count, memory_order_relaxed); i++)
		if (turn(i, FULL, BUSY))
			give(i);
}
