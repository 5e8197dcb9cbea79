#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>

#include "service.h"
#include "service_channel.h"
#include "sync/cpu.h"

#define BATCH 64

static int set = -1;
static struct cw_timer *timers;

int cw_loop_begin(void)
{
	set = epoll_create1(EPOLL_CLOEXEC);
	return set < 0 ? -1 : 0;
}

int cw_loop_add(struct cw_source *source, uint32_t events)
{
	struct epoll_event event = {.events = events, .data.ptr = source};

	return epoll_ctl(set, EPOLL_CTL_ADD, source->fd, &event);
}

void cw_loop_change(struct cw_source *source, uint32_t events)
{
	struct epoll_event event = {.events = events, .data.ptr = source};

	epoll_ctl(set, EPOLL_CTL_MOD, source->fd, &event);
}

void cw_loop_remove(struct cw_source *source)
{
	epoll_ctl(set, EPOLL_CTL_DEL, source->fd, NULL);
}

void cw_timer_set(struct cw_timer *timer, uint64_t after_ns)
{
	if (!timer->at)
		DL_APPEND(timers, timer);
	timer->at = cw_monotonic_ns() + after_ns;
}

void cw_timer_stop(struct cw_timer *timer)
{
	if (timer->at)
		DL_DELETE(timers, timer);
	timer->at = 0;
}

/* Milliseconds until the next timer, rounded up; -1 if there is none. Timers are few: one a run that is ending, idleness, and 20 ms for
 * each program whose AF_UNIX socket is being closed. */
static int until_next(void)
{
	uint64_t now = cw_monotonic_ns(), first = UINT64_MAX;
	struct cw_timer *timer;

	DL_FOREACH(timers, timer)
	if (timer->at < first)
		first = timer->at;
	if (first == UINT64_MAX)
		return -1;
	return first <= now ? 0 : (int)((first - now + 999999) / 1000000);
}

static void expire(void)
{
	uint64_t now = cw_monotonic_ns();
	struct cw_timer *timer, *next;

	DL_FOREACH_SAFE(timers, timer, next)
	{
		if (timer->at > now)
			continue;
		cw_timer_stop(timer);
		timer->expired(timer);
		return; /* it may have changed the list: the loop comes back at once */
	}
}

void cw_loop_run(void)
{
	struct epoll_event events[BATCH];

	while (!service.stopping) {
		int count = epoll_wait(set, events, BATCH, until_next());

		for (int i = 0; i < count; i++) {
			struct cw_source *source = events[i].data.ptr;

			source->ready(source, events[i].events);
		}
		cw_offers_retry();
		cw_programs_bury();
		cw_channels_bury();
		expire();
	}
}
