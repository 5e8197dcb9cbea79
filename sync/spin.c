#include "spin.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <unistd.h>

#include "cpu.h"

#define LEAST_US                  5
#define SHORT_SLEEP               40 /* times the longest look: what many clients of one thread take for their answers, on one processor */
#define LOSSES_BEFORE_SHORT_LOOKS 8
#define LOSSES_BEFORE_LONG_LOOK   32
#define LOSSES_BETWEEN_LONG_LOOKS 128 /* at most */

#define LEAST_MEASURED_NS 200000u

static struct {
	uint64_t ns, ticks;
} loaded;
static _Atomic uint64_t ticks_per_us;
static _Atomic int processors;
static _Atomic bool apart;

void cw_ticks_begin(void)
{
	loaded.ns = cw_monotonic_ns();
	loaded.ticks = cw_ticks();
}

static uint64_t measure(void)
{
	uint64_t ns = loaded.ns, ticks = loaded.ticks, elapsed;

	if (!ns) {
		ns = cw_monotonic_ns();
		ticks = cw_ticks();
	}
	do
		elapsed = cw_monotonic_ns() - ns;
	while (elapsed < LEAST_MEASURED_NS);
	ticks = cw_ticks() - ticks;
	for (; elapsed > 1000000000u; elapsed /= 2) /* a thousand times the ticks must fit */
		ticks /= 2;
	ticks = ticks * 1000 / elapsed;
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
	return count < 2 && !atomic_load_explicit(&apart, memory_order_relaxed);
}

void cw_spin_apart(void)
{
	atomic_store_explicit(&apart, true, memory_order_relaxed);
}

/* Both ends were on one processor, and from now on looking may pay. */
static void step_aside(struct cw_spin *spin, uint64_t most)
{
	if (cw_likely(!cw_aside_step(&spin->aside)))
		return;
	spin->losses = 0;
	spin->budget = (uint32_t)most;
}

/* After twice as many losses each time, to a bound. */
static bool long_look_is_due(const struct cw_spin *spin)
{
	uint32_t losses = spin->losses;

	return losses >= LOSSES_BEFORE_LONG_LOOK && (!(losses & (losses - 1)) || losses % LOSSES_BETWEEN_LONG_LOOKS == 0);
}

static uint64_t least_of(uint32_t max_us)
{
	return (max_us < LEAST_US ? max_us : LEAST_US) * cw_ticks_per_us();
}

bool cw_spin_is_sparse(const struct cw_spin *spin, uint32_t max_us)
{
	if (!max_us || alone() || cw_rests(&spin->rest))
		return true;
	return max_us > LEAST_US && spin->budget && spin->budget <= least_of(max_us) && !long_look_is_due(spin);
}

bool cw_spin_sparse(struct cw_spin *spin, uint32_t max_us)
{
	if (max_us > LEAST_US && !alone())
		step_aside(spin, max_us * cw_ticks_per_us());
	return cw_spin_is_sparse(spin, max_us);
}

uint64_t cw_spin_budget(struct cw_spin *spin, uint32_t max_us)
{
	uint64_t rate = cw_ticks_per_us(), most = max_us * rate;

	if (!max_us || alone())
		return 0;
	step_aside(spin, most);
	if (cw_rests(&spin->rest))
		return 0;
	if (long_look_is_due(spin))
		return 2 * most;
	if (!spin->budget || spin->budget > most)
		spin->budget = (uint32_t)most;
	return spin->budget;
}

void cw_spin_paid(struct cw_spin *spin, uint32_t max_us)
{
	uint64_t most = max_us * cw_ticks_per_us(), twice = 2 * (uint64_t)spin->budget;
	bool step_by_step = spin->budget && !long_look_is_due(spin) && twice < most;

	spin->losses = 0;
	spin->budget = (uint32_t)(step_by_step ? twice : most);
}

void cw_spin_lost(struct cw_spin *spin, uint32_t max_us, uint64_t waited)
{
	uint64_t rate = cw_ticks_per_us(), most = max_us * rate, least = least_of(max_us);

	if (cw_rest_slept(&spin->rest))
		return;
	if (waited > SHORT_SLEEP * most) {
		spin->losses += long_look_is_due(spin); /* it has been had */
		spin->budget = (uint32_t)least;
		return;
	}
	if (++spin->losses > LOSSES_BEFORE_SHORT_LOOKS)
		spin->budget = (uint32_t)least;
	else
		spin->budget = (uint32_t)(2 * (uint64_t)spin->budget < most ? 2 * spin->budget : most);
}

void cw_spin_slept(struct cw_spin *spin, uint32_t max_us, uint64_t waited)
{
	if (cw_rest_slept(&spin->rest) || waited < least_of(max_us))
		return;
	if (waited < max_us * cw_ticks_per_us() && spin->losses <= LOSSES_BEFORE_SHORT_LOOKS)
		cw_spin_paid(spin, max_us);
	else
		cw_spin_lost(spin, max_us, waited);
}
