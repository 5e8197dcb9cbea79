#include "give_way.h"

#include <errno.h>
#include <linux/sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cpu.h"
#include "spin.h"

#define EMPTY_EVERY_US 5
#define EVERY_US       1
#define NOBODY_US      2 /* a yield is a system call and no more */
#define BRIEF_US       100
#define LONG_US        1000 /* less than the kernel's slice, which is 1.4 ms on two processors and 2.8 on eight and more */
#define LONG_COSTS     3
#define MOST_CREDIT_US 20000
#define PAUSE          16 /* times what there wasn't credit for */

/* By sched_yield(2) a SCHED_DEADLINE thread gives up its whole period: never for it. */
static bool may_yield(struct cw_give_way *way)
{
	if (!way->asked)
		way->asked = (syscall(SYS_sched_getscheduler, 0) & ~SCHED_RESET_ON_FORK) != SCHED_DEADLINE;
	return way->asked;
}

static enum cw_gave for_long(struct cw_give_way *way, uint64_t to, uint64_t cost)
{
	way->asked = false;
	if (cost <= way->credit) {
		way->credit -= cost;
		way->not_before = to + EVERY_US * cw_ticks_per_us();
	} else {
		way->not_before = to + PAUSE * (cost - way->credit);
		way->credit = 0;
	}
	return CW_GAVE_FOR_LONG;
}

enum cw_gave cw_give_way_judge(struct cw_give_way *way, uint64_t from, uint64_t to)
{
	uint64_t rate = cw_ticks_per_us(), most = MOST_CREDIT_US * rate, took = to > from ? to - from : 0;

	if (took > most) /* a machine that was asleep is no busy one */
		took = most;
	if (took > LONG_US * rate)
		return for_long(way, to, LONG_COSTS * took);
	if (took <= NOBODY_US * rate) {
		way->not_before = to + EMPTY_EVERY_US * rate;
		return CW_GAVE_NOTHING;
	}
	way->not_before = to + EVERY_US * rate;
	way->credit = way->credit + took < most ? way->credit + took : most;
	return took < BRIEF_US * rate ? CW_GAVE_BRIEFLY : CW_GAVE;
}

enum cw_gave cw_give_way(struct cw_give_way *way)
{
	enum cw_gave gave = CW_GAVE_NOTHING;
	uint64_t from = cw_ticks();
	int error = errno;

	if (from >= way->not_before && may_yield(way)) {
		syscall(SYS_sched_yield);
		gave = cw_give_way_judge(way, from, cw_ticks());
	}
	errno = error;
	return gave;
}
