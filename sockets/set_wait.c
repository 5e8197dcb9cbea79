/* epoll_wait and kin. */
#include <limits.h>
#include <pthread.h>

#include "kernel.h"
#include "looking.h"
#include "set_item.h"
#include "switch.h"

#define ASK_KERNEL_EVERY_US 8  /* while streams are served by ring, the kernel's own events wait no longer than this */
#define MOST_BY_KERNEL      16 /* answers in a row, while rings wait that were told before */
#define NAP_NS              CW_LINGER_NS

struct waiting {
	struct cw_set *set;
	int epfd, max; /* the number that the program waits by */
	struct epoll_event *events;
	const sigset_t *mask;
	int64_t deadline; /* monotonic ns, -1 none, 0 don't wait */
};

/* The program's number, as long as it is the set's. */
static int number(const struct waiting *waiting)
{
	return cw_likely(cw_set_at(waiting->set, waiting->epfd)) ? waiting->epfd : waiting->set->epfd;
}

static int64_t time_left(const struct waiting *waiting)
{
	int64_t left = waiting->deadline - (int64_t)cw_monotonic_ns();

	return left > 0 ? left : 0;
}

/* As libc's own, which is a cancellation point. */
static int wait_by_libc(int epfd, const struct waiting *waiting, struct epoll_event *events, int max)
{
	int64_t left;

	if (waiting->deadline < 0)
		return cw_kernel.epoll_pwait(epfd, events, max, -1, waiting->mask);
	left = time_left(waiting);
	if (cw_kernel.epoll_pwait2) { /* else libc has none, and one made by number would be no cancellation point */
		struct timespec rest = {.tv_sec = left / 1000000000, .tv_nsec = left % 1000000000};
		int count = cw_kernel.epoll_pwait2(epfd, events, max, &rest, waiting->mask);

		if (count >= 0 || errno != ENOSYS)
			return count;
	}
	/* An old kernel, or a debugger that is one. Whole milliseconds as epoll_wait has them, rounded up: never early. */
	left = (left + 999999) / 1000000;
	return cw_kernel.epoll_pwait(epfd, events, max, left < INT_MAX ? (int)left : INT_MAX, waiting->mask);
}

static long wait_bare(int epfd, const struct waiting *waiting, struct epoll_event *events, int max)
{
	struct {
		int64_t seconds, nanoseconds; /* on machines with 32 bits too */
	} rest;
	int64_t left;

	if (waiting->deadline < 0)
		return cw_raw(SYS_epoll_pwait, epfd, (long)events, max, -1, (long)waiting->mask, 8);
	left = time_left(waiting);
	rest.seconds = left / 1000000000;
	rest.nanoseconds = left % 1000000000;
	return cw_raw(SYS_epoll_pwait2, epfd, (long)events, max, (long)&rest, (long)waiting->mask, 8);
}

enum sleep { DO_NOT, BARE, BY_LIBC };

static int wait_by(int epfd, const struct waiting *waiting, struct epoll_event *events, int max, enum sleep sleep)
{
	static _Atomic bool lacks_pwait2;
	long count;

	if (sleep == DO_NOT || !waiting->deadline) {
		count = cw_raw(SYS_epoll_pwait, epfd, (long)events, max, 0, (long)waiting->mask, 8);
	} else {
		if (sleep == BY_LIBC || atomic_load_explicit(&lacks_pwait2, memory_order_relaxed))
			return wait_by_libc(epfd, waiting, events, max);
		count = wait_bare(epfd, waiting, events, max);
		if (cw_unlikely(count == -ENOSYS)) {
			atomic_store_explicit(&lacks_pwait2, true, memory_order_relaxed);
			return wait_by_libc(epfd, waiting, events, max);
		}
	}
	if (count < 0)
		errno = (int)-count;
	return count < 0 ? -1 : (int)count;
}

static int wait_in_kernel(const struct waiting *waiting, struct epoll_event *events, int max, enum sleep sleep)
{
	for (;;) {
		int epfd = number(waiting), count = wait_by(epfd, waiting, events, max, sleep);

		/* Closed under the wait: in the kernel it would go on. */
		if (count >= 0 || errno != EBADF || number(waiting) == epfd)
			return count;
	}
}

/* Without waiting. The kernel is told first what it has not been told. */
static int ask_kernel(struct cw_set *set, const struct waiting *waiting, struct epoll_event *events, int max)
{
	bool locked;
	int count;

	if (set->dirty) {
		locked = cw_set_lock(set);
		cw_set_flush(set);
		cw_set_unlock(set, locked);
	}
	count = wait_in_kernel(waiting, events, max, DO_NOT);
	if (cw_likely(count != 1 || !cw_set_is_kick(set, events)))
		return count;
	/* It may have had the only place. */
	locked = cw_set_lock(set);
	cw_set_take_kick(set, events, count);
	cw_set_unlock(set, locked);
	return wait_in_kernel(waiting, events, max, DO_NOT);
}

static uint64_t doubts(const struct cw_set *set)
{
	return atomic_load_explicit(&set->doubts, memory_order_seq_cst);
}

/* Full answers are one round; for one place the kernel is asked in turn with the rings (kernel_first). */
static void begin_answer(struct cw_set *set, const struct waiting *waiting)
{
	set->answer++;
	set->full = set->full && waiting->max > 1;
	if (!set->full) {
		set->round = set->answer;
		set->turning = set->turned = false;
		set->by_kernel = 0;
	}
	set->repeats = set->fresh = false;
}

static void note_kernel(struct cw_set *set, const struct epoll_event *events, int count)
{
	if (!set->turning && count > 0) {
		set->turning = true;
		set->turn = events[0].data.u64;
		return;
	}
	for (int i = 0; i < count; i++)
		set->turned |= events[i].data.u64 == set->turn;
}

/* All others have been told, and if there is room a new round of streams begins within the answer. Returns how many are told now. */
static int end_answer(struct cw_set *set, const struct waiting *waiting, int count)
{
	bool ignored;

	if (set->repeats && count < waiting->max) {
		int before = count;

		set->round = set->answer;
		count += cw_set_collect_streams(set, number(waiting), waiting->events + count, waiting->max - count, &ignored);
		count = cw_set_merge(set, waiting->events, before, count);
	}
	set->by_kernel = set->fresh || !set->repeats ? 0 : (uint8_t)(set->by_kernel + 1);
	set->full = count == waiting->max && (!set->by_kernel || (!set->turned && set->by_kernel < MOST_BY_KERNEL)) &&
		    set->answer - set->round < set->hot_count + MOST_BY_KERNEL; /* new ones may come all the time */
	return count;
}

/* What the kernel told and, as far as there is room, what the rings have. 0: all of it was our own knocking. */
static int complete(struct cw_set *set, const struct waiting *waiting, uint64_t asked_at, int count)
{
	bool ignored, locked = cw_set_lock(set), rings = set->hot || set->datagrams || set->nested;

	count = cw_set_after_kernel(set, number(waiting), asked_at, waiting->events, count);
	note_kernel(set, waiting->events, count);
	cw_set_looked(set, !rings);
	if (count && rings && count < waiting->max) {
		int by_kernel = count;

		begin_answer(set, waiting);
		count += cw_set_collect(set, number(waiting), waiting->events + count, waiting->max - count, &ignored);
		cw_set_looked(set, count < waiting->max);
		count = end_answer(set, waiting, cw_set_merge(set, waiting->events, by_kernel, count));
	}
	cw_set_unlock(set, locked);
	return count;
}

/* The rings alone filled the last answer at a time when the kernel was to be asked: now what it has goes first. */
static int kernel_first(struct cw_set *set, const struct waiting *waiting)
{
	uint64_t asked_at = doubts(set);
	int count;

	set->filled = false;
	set->asked = cw_ticks();
	count = ask_kernel(set, waiting, waiting->events, waiting->max);
	return count > 0 ? complete(set, waiting, asked_at, count) : 0;
}

/* Rings and, if it is time, the kernel. */
static int look(struct cw_set *set, const struct waiting *waiting, bool must_ask)
{
	bool locked, repeats;
	int count = cw_unlikely(set->filled) ? kernel_first(set, waiting) : 0, by_ring;
	uint64_t now;

	if (count)
		return count;
	locked = cw_set_lock(set);
	begin_answer(set, waiting);
	count = by_ring = cw_set_collect(set, number(waiting), waiting->events, waiting->max, &must_ask);
	cw_set_looked(set, count < waiting->max);
	repeats = set->repeats;
	must_ask |= repeats && count < waiting->max;
	if (!must_ask || count == waiting->max)
		count = end_answer(set, waiting, count);
	now = cw_ticks();
	cw_set_unlock(set, locked);
	if (must_ask || (count && now - set->asked > ASK_KERNEL_EVERY_US * cw_ticks_per_us())) {
		set->asked = now;
		set->filled = count == waiting->max;
		if (!set->filled) {
			uint64_t asked_at = doubts(set);
			int more = ask_kernel(set, waiting, waiting->events + count, waiting->max - count);

			if (!count)
				cw_asked(more > 0);
			if (more < 0)
				return count ? count : more;
			if (more || repeats || count) {
				locked = cw_set_lock(set);
				set->repeats |= repeats; /* others may have asked meanwhile */
				more = cw_set_after_kernel(set, number(waiting), asked_at, waiting->events + count, more);
				note_kernel(set, waiting->events + count, more);
				count = end_answer(set, waiting, cw_set_merge(set, waiting->events, by_ring, count + more));
				cw_set_unlock(set, locked);
			}
		}
	}
	return count;
}

static int spin(struct cw_set *set, const struct waiting *waiting)
{
	struct cw_look looking;

	cw_looking(&looking);
	while (cw_look_goes_on(&looking)) {
		int count = look(set, waiting, cw_look_asks(&looking));

		if (count > 0) {
			cw_count(CW_COUNT_spins_paid);
			cw_look_paid(&looking, (unsigned)count);
		}
		if (count)
			return count;
		cw_pause();
	}
	return 0;
}

static bool nothing_to_look_at(struct cw_set *set)
{
	return !set->hot && !set->nested && !cw_set_has_datagrams(set);
}

static void cancelled(void *set)
{
	cw_set_rise(set);
	cw_set_release(set);
}

static void cancelled_napping(void *set)
{
	cw_set_release(set);
}

static __attribute__((noinline)) int wait_until_cancelled(const struct waiting *waiting, void (*clean_up)(void *))
{
	int count;

	pthread_cleanup_push(clean_up, waiting->set);
	count = wait_in_kernel(waiting, waiting->events, waiting->max, BY_LIBC);
	pthread_cleanup_pop(0);
	return count;
}

static int wait_and_sleep(const struct waiting *waiting, void (*clean_up)(void *))
{
	if (cw_sole_thread())
		return wait_in_kernel(waiting, waiting->events, waiting->max, BARE);
	return wait_until_cancelled(waiting, clean_up);
}

static int sleep_in_kernel(struct cw_set *set, const struct waiting *waiting, uint64_t start, bool looked)
{
	uint64_t asked_at = doubts(set);
	int count, error;

	cw_count(CW_COUNT_sleeps);
	count = wait_and_sleep(waiting, cancelled);
	error = errno;
	cw_slept(start, looked);
	cw_set_rise(set); /* which goes by that */
	if (count > 0) {
		cw_count(CW_COUNT_wakeups);
		count = complete(set, waiting, asked_at, count);
		if (!count)
			count = -2;
	}
	errno = error;
	return count;
}

/* Nobody may sleep while a ring has bytes, but they can't be read yet: what comes before them is on its way through the kernel. Nor while
 * an offer is worth to stand a little longer (switch.h). */
static int nap(struct cw_set *set, const struct waiting *waiting)
{
	struct waiting turn = *waiting;
	int64_t end = (int64_t)cw_monotonic_ns() + NAP_NS;
	uint64_t asked_at = doubts(set);
	int count;

	if (turn.deadline < 0 || turn.deadline > end)
		turn.deadline = end;
	count = wait_and_sleep(&turn, cancelled_napping);
	return count > 0 ? complete(set, waiting, asked_at, count) : count;
}

static int ask_kernel_alone(struct cw_set *set, const struct waiting *waiting)
{
	uint64_t asked_at = doubts(set);
	int count = ask_kernel(set, waiting, waiting->events, waiting->max);

	return count > 0 ? complete(set, waiting, asked_at, count) : count;
}

static bool is_over(const struct waiting *waiting)
{
	return waiting->deadline > 0 && !time_left(waiting);
}

static int wait(struct cw_set *set, struct waiting *waiting)
{
	uint64_t start = cw_ticks();
	bool restless = false, rings, sparse;
	int count;

	for (;;) {
		rings = !nothing_to_look_at(set);
		if (rings) {
			count = look(set, waiting, false);
			if (count)
				return count;
		}
		/* Messages are far apart: the sleep itself asks the kernel. */
		sparse = rings && !restless && waiting->deadline && cw_sparse();
		if (rings && !sparse) {
			count = !waiting->deadline || !cw_spares_kernel() || !cw_kernel_is_quiet() ? look(set, waiting, true) : 0;
			if (count || !waiting->deadline)
				return count;
			cw_set_offer_datagrams(set);
			count = spin(set, waiting);
			if (count)
				return count;
		}
		if (!waiting->deadline)
			return ask_kernel_alone(set, waiting);
		if (!cw_set_settle(set)) {
			count = restless || set->lingers ? nap(set, waiting) : 0;
			set->lingers = false;
			if (count)
				return count;
			if (is_over(waiting))
				return look(set, waiting, true);
			restless = true;
			continue;
		}
		count = sleep_in_kernel(set, waiting, start, rings && !sparse);
		if (count != -2)
			return count;
		if (is_over(waiting))
			return look(set, waiting, true);
	}
}

int cw_set_wait(int epfd, struct epoll_event *events, int max, int64_t timeout_ns, const sigset_t *mask)
{
	struct waiting waiting = {.set = cw_set_hold(epfd),
				  .epfd = epfd,
				  .max = max,
				  .events = events,
				  .mask = mask,
				  .deadline = timeout_ns > 0 ? (int64_t)cw_monotonic_ns() + timeout_ns : timeout_ns};
	int count;

	if (!waiting.set)
		return wait_by(epfd, &waiting, events, max, cw_sole_thread() ? BARE : BY_LIBC);
	count = wait(waiting.set, &waiting);
	if (cw_unlikely(atomic_load_explicit(&waiting.set->owed, memory_order_relaxed))) {
		int error = errno;

		cw_set_kick_on(waiting.set);
		errno = error;
	}
	cw_set_release(waiting.set);
	return count;
}
