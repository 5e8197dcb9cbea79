/* epoll_wait and kin. */
#include <pthread.h>

#include "kernel.h"
#include "service.h"
#include "set_item.h"
#include "switch.h"

#define ASK_KERNEL_EVERY_US 8 /* while streams are served by ring, the kernel's own events wait no longer than this */
#define NAP_NS              CW_LINGER_NS

struct waiting {
	int epfd, max;
	struct epoll_event *events;
	const sigset_t *mask;
	int64_t deadline; /* monotonic ns, -1 none, 0 don't wait */
};

static int wait_in_kernel(const struct waiting *waiting, struct epoll_event *events, int max, bool sleep)
{
	int64_t left;

	if (!sleep || !waiting->deadline) {
		long count = cw_raw(SYS_epoll_pwait, waiting->epfd, (long)events, max, 0, (long)waiting->mask, 8);

		if (count < 0)
			errno = (int)-count;
		return count < 0 ? -1 : (int)count;
	}
	if (waiting->deadline < 0)
		return cw_kernel.epoll_pwait(waiting->epfd, events, max, -1, waiting->mask);
	left = waiting->deadline - (int64_t)cw_monotonic_ns();
	if (left < 0)
		left = 0;
	if (cw_kernel.epoll_pwait2) {
		struct timespec rest = {.tv_sec = left / 1000000000, .tv_nsec = left % 1000000000};
		int count = cw_kernel.epoll_pwait2(waiting->epfd, events, max, &rest, waiting->mask);

		if (count >= 0 || errno != ENOSYS)
			return count;
	}
	/* An old kernel, or a debugger that is one. Whole milliseconds as epoll_wait has them, rounded up: never early. */
	return cw_kernel.epoll_pwait(waiting->epfd, events, max, (int)((left + 999999) / 1000000), waiting->mask);
}

/* What the kernel told and, as far as there is room, what the rings have. 0: all of it was our own knocking. */
static int complete(struct cw_set *set, const struct waiting *waiting, int count)
{
	bool ignored, locked = cw_set_lock(set);

	count = cw_set_after_kernel(set, waiting->epfd, waiting->events, count);
	if (count && set->hot && count < waiting->max) {
		int by_kernel = count;

		count += cw_set_collect(set, waiting->epfd, waiting->events + count, waiting->max - count, &ignored);
		count = cw_set_merge(waiting->events, by_kernel, count);
	}
	cw_set_unlock(set, locked);
	return count;
}

/* The rings alone filled the last answer at a time when the kernel was to be asked: now what it has goes first. */
static int kernel_first(struct cw_set *set, const struct waiting *waiting)
{
	int count;

	set->filled = false;
	set->asked = cw_ticks();
	count = wait_in_kernel(waiting, waiting->events, waiting->max, false);
	return count > 0 ? complete(set, waiting, count) : 0;
}

/* Rings and, if it is time, the kernel. */
static int look(struct cw_set *set, const struct waiting *waiting, bool must_ask)
{
	bool locked;
	int count = cw_unlikely(set->filled) ? kernel_first(set, waiting) : 0, by_ring;
	uint64_t now;

	if (count)
		return count;
	locked = cw_set_lock(set);
	count = by_ring = cw_set_collect(set, waiting->epfd, waiting->events, waiting->max, &must_ask);
	now = cw_ticks();
	cw_set_unlock(set, locked);
	if (must_ask || (count && now - set->asked > ASK_KERNEL_EVERY_US * cw_ticks_per_us())) {
		set->asked = now;
		if (set->dirty) {
			locked = cw_set_lock(set);
			cw_set_flush(set);
			cw_set_unlock(set, locked);
		}
		set->filled = count == waiting->max;
		if (!set->filled) {
			int more = wait_in_kernel(waiting, waiting->events + count, waiting->max - count, false);

			if (more < 0)
				return count ? count : more;
			if (more) {
				locked = cw_set_lock(set);
				more = cw_set_after_kernel(set, waiting->epfd, waiting->events + count, more);
				cw_set_unlock(set, locked);
				count = cw_set_merge(waiting->events, by_ring, count + more);
			}
		}
	}
	return count;
}

static int spin(struct cw_set *set, const struct waiting *waiting)
{
	uint32_t most = (uint32_t)cw_policy_spin_us();
	uint64_t start = cw_ticks(), budget = cw_spin_budget(&cw_thread.spin, most), asked = start,
		 every = ASK_KERNEL_EVERY_US * cw_ticks_per_us();

	while (cw_ticks() - start < budget) {
		bool ask = cw_ticks() - asked > every;
		int count = look(set, waiting, ask);

		if (count) {
			cw_count(CW_COUNT_spins_paid);
			cw_spin_paid(&cw_thread.spin, most);
			return count;
		}
		if (ask)
			asked = cw_ticks();
		cw_pause();
	}
	return 0;
}

static bool nothing_to_look_at(struct cw_set *set)
{
	return !set->hot && !set->nested;
}

struct sleeping {
	struct cw_set *set;
};

static void cancelled(void *argument)
{
	struct sleeping *sleeping = argument;

	cw_set_rise(sleeping->set);
}

static int sleep_in_kernel(struct cw_set *set, const struct waiting *waiting)
{
	struct sleeping sleeping = {set};
	int count, error;

	cw_count(CW_COUNT_sleeps);
	pthread_cleanup_push(cancelled, &sleeping);
	count = wait_in_kernel(waiting, waiting->events, waiting->max, true);
	pthread_cleanup_pop(0);
	error = errno;
	cw_set_rise(set);
	if (count > 0) {
		cw_count(CW_COUNT_wakeups);
		count = complete(set, waiting, count);
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
	int count;

	if (turn.deadline < 0 || turn.deadline > end)
		turn.deadline = end;
	count = wait_in_kernel(&turn, turn.events, turn.max, true);
	return count > 0 ? complete(set, waiting, count) : count;
}

int cw_set_wait(struct cw_set *set, int epfd, struct epoll_event *events, int max, int64_t timeout_ns, const sigset_t *mask)
{
	struct waiting waiting = {.epfd = epfd,
				  .max = max,
				  .events = events,
				  .mask = mask,
				  .deadline = timeout_ns > 0 ? (int64_t)cw_monotonic_ns() + timeout_ns : timeout_ns};
	uint64_t start = cw_ticks();
	bool restless = false;
	int count;

	for (;;) {
		if (!nothing_to_look_at(set)) {
			count = look(set, &waiting, false);
			if (count)
				return count;
			/* Before looking for a while: what the kernel has goes first. */
			count = look(set, &waiting, true);
			if (count || !waiting.deadline)
				return count;
			count = spin(set, &waiting);
			if (count)
				return count;
		}
		if (!waiting.deadline)
			return wait_in_kernel(&waiting, events, max, false);
		if (!cw_set_settle(set)) {
			count = restless || set->lingers ? nap(set, &waiting) : 0;
			set->lingers = false;
			if (count || (waiting.deadline > 0 && (int64_t)cw_monotonic_ns() >= waiting.deadline))
				return count;
			restless = true;
			continue;
		}
		count = sleep_in_kernel(set, &waiting);
		cw_spin_lost(&cw_thread.spin, (uint32_t)cw_policy_spin_us(), cw_ticks() - start);
		if (count != -2)
			return count;
	}
}
