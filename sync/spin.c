#include "spin.h"

#include <stdatomic.h>
#include <unistd.h>

#include "cpu.h"

#define MIN_US                 4
#define LOSSES_BEFORE_SKIPPING 4
#define MAX_SKIPS              256

static _Atomic uint64_t ticks_per_us;
static _Atomic int processors;

static uint64_t measure(void)
{
	uint64_t ns = cw_monotonic_ns(), ticks = cw_ticks(), end;

	do
		end = cw_monotonic_ns();
	while (end - ns < 200000);
	ticks = (cw_ticks() - ticks) * 1000 / (end - ns);
	return ticks ? ticks : 1;
}

uint64_t cw_ticks_per_us(void)
{
	uint64_t rate = atomic_load_explicit(&ticks_per_us, memory_order_relaxed);

	if (cw_unlikely(!rate)) {
		rate = measure();
		atomic_store_explicit(&ticks_per_us, rate, memory_order_relaxed);
	}
	return rate;
}

/* With one processor to run on, whoever looks keeps the peer from answering. */
static bool alone(void)
{
	int count = atomic_load_explicit(&processors, memory_order_relaxed);

	if (cw_unlikely(!count)) {
		/* The machine's, not this thread's: one that is pinned has a peer on another. */
		count = (int)sysconf(_SC_NPROCESSORS_ONLN);
		atomic_store_explicit(&processors, count, memory_order_relaxed);
	}
	return count < 2;
}

uint64_t cw_spin_budget(struct cw_spin *spin, uint32_t max_us)
{
	uint64_t rate = cw_ticks_per_us();

	if (!max_us || alone())
		return 0;
	if (spin->skips) {
		spin->skips--;
		return 0;
	}
	if (!spin->budget || spin->budget > max_us * rate)
		spin->budget = (uint32_t)(max_us * rate);
	return spin->budget;
}

void cw_spin_paid(struct cw_spin *spin, uint32_t max_us)
{
	uint64_t most = max_us * cw_ticks_per_us(), next = (uint64_t)spin->budget * 2;

	spin->losses = 0;
	spin->budget = (uint32_t)(next < most ? next : most);
}

void cw_spin_lost(struct cw_spin *spin)
{
	uint64_t least = MIN_US * cw_ticks_per_us();

	if (spin->losses < 16)
		spin->losses++;
	spin->budget = (uint32_t)(spin->budget / 2 > least ? spin->budget / 2 : least);
	if (spin->losses > LOSSES_BEFORE_SKIPPING) {
		uint32_t skips = 1u << (spin->losses - LOSSES_BEFORE_SKIPPING);

		spin->skips = (uint16_t)(skips < MAX_SKIPS ? skips : MAX_SKIPS);
	}
}
