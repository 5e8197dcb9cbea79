#include "give_way.h"

#include <errno.h>
#include <linux/sched.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cpu.h"
#include "spin.h"

#define EMPTY_EVERY_US 5
#define EVERY_US       1
#define NOBODY_US      2 /* a yield is a system call and no more; under a tracer it is others' turn, which a look survives */
#define BRIEF_US       100
#define LONG_US        1000 /* less than the kernel's slice, which is 1.4 ms on two processors and 2.8 on eight and more */
#define LONG_COSTS     3
#define MOST_CREDIT_US 20000
#define BROUGHT_US     250 /* credit for one thing: what is found at once in a long turn is to pay for the next one */
#define PAUSE          16  /* times what there wasn't credit for */

#define load(from)      atomic_load_explicit(from, memory_order_relaxed)
#define store(to, what) atomic_store_explicit(to, what, memory_order_relaxed)

/* By sched_yield(2) a SCHED_DEADLINE thread gives up its whole period: never for it. */
static bool may_yield(struct cw_give_way *way, uint64_t now)
{
	if (way->may)
		return true;
	way->may = (syscall(SYS_sched_getscheduler, 0) & ~SCHED_RESET_ON_FORK) != SCHED_DEADLINE;
	if (!way->may)
		store(&way->not_before, now + LONG_US * cw_ticks_per_us());
	return way->may;
}

/* A clock that went back, and nonsense, make nobody wait for longer than the longest pause. */
static bool is_time(const struct cw_give_way *way, uint64_t now)
{
	uint64_t left = load(&way->not_before) - now;

	return !left || left > (uint64_t)PAUSE * LONG_COSTS * MOST_CREDIT_US * cw_ticks_per_us();
}

bool cw_give_way_is_near(const struct cw_give_way *way)
{
	return (int64_t)(load(&way->not_before) - cw_ticks()) <= (int64_t)(EVERY_US * cw_ticks_per_us());
}

bool cw_give_way_pauses(const struct cw_give_way *way)
{
	return (int64_t)(load(&way->not_before) - cw_ticks()) > (int64_t)(EMPTY_EVERY_US * cw_ticks_per_us());
}

static enum cw_gave for_long(struct cw_give_way *way, uint64_t to, uint64_t cost)
{
	uint64_t credit = load(&way->credit);

	way->may = false;
	store(&way->credit, cost <= credit ? credit - cost : 0);
	store(&way->not_before, to + (cost <= credit ? EVERY_US * cw_ticks_per_us() : PAUSE * (cost - credit)));
	return CW_GAVE_FOR_LONG;
}

/* Up to a bound. */
static void add_credit(struct cw_give_way *way, uint64_t ticks)
{
	uint64_t most = MOST_CREDIT_US * cw_ticks_per_us(), credit = load(&way->credit) + ticks;

	store(&way->credit, credit < most ? credit : most);
}

void cw_give_way_brought(struct cw_give_way *way, unsigned more)
{
	add_credit(way, BROUGHT_US * cw_ticks_per_us() * (more < MOST_CREDIT_US / BROUGHT_US ? more : MOST_CREDIT_US / BROUGHT_US));
}

enum cw_gave cw_give_way_judge(struct cw_give_way *way, uint64_t from, uint64_t to)
{
	uint64_t rate = cw_ticks_per_us(), most = MOST_CREDIT_US * rate, took = to > from ? to - from : 0;

	if (took > most) /* a machine that was asleep is no busy one */
		took = most;
	if (took > LONG_US * rate)
		return for_long(way, to, LONG_COSTS * took);
	if (took <= NOBODY_US * rate) {
		store(&way->not_before, to + EMPTY_EVERY_US * rate);
		return CW_GAVE_NOTHING;
	}
	add_credit(way, took);
	store(&way->not_before, to + EVERY_US * rate);
	return took < BRIEF_US * rate ? CW_GAVE_BRIEFLY : CW_GAVE;
}

enum cw_gave cw_give_way(struct cw_give_way *way)
{
	enum cw_gave gave = CW_GAVE_NOTHING;
	uint64_t from = cw_ticks();
	int error = errno;

	if (is_time(way, from) && may_yield(way, from)) {
		syscall(SYS_sched_yield);
		gave = cw_give_way_judge(way, from, cw_ticks());
	}
	errno = error;
	return gave;
}
