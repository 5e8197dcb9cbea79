/* What the scenarios of event sets share. */
#ifndef ORACLE_SETS_H
#define ORACLE_SETS_H

#include "oracle.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>

static inline int new_set(void)
{
	return (int)MUST(epoll_create1(EPOLL_CLOEXEC));
}

static inline int control(int set, int what, int fd, unsigned events, unsigned number)
{
	struct epoll_event event = {events, {.u64 = number}};

	return epoll_ctl(set, what, fd, &event);
}

static inline int by_number(const void *a, const void *b)
{
	const struct epoll_event *one = a, *two = b;

	return (int)one->data.u32 - (int)two->data.u32;
}

/* One epoll_wait, its events in order of their numbers: "3: 1 IN, 4 IN|RDHUP". */
static inline int look(int set, int ms)
{
	struct epoll_event events[64];
	int n = epoll_wait(set, events, 64, ms), error = errno;
	char text[900];
	size_t at = 0;

	text[0] = 0;
	if (n > 1)
		qsort(events, (size_t)n, sizeof(*events), by_number);
	for (int i = 0; i < n; i++)
		at += (size_t)snprintf(text + at, sizeof(text) - at, "%s%u %s", i ? ", " : "", events[i].data.u32,
				       EPOLLED(events[i].events));
	say("events %s%s%s", show_result(n, error, (char[48]){0}), n > 0 ? ": " : "", text);
	return n;
}

#endif
