#include <fcntl.h>
#include <pthread.h>
#include <string.h>

#include "kernel.h"
#include "memory.h"
#include "service.h"
#include "poll.h"
#include "wait_list.h"

#define WORD_BITS ((int)sizeof(unsigned long) * 8)
#define MAX_WORDS (65536 / WORD_BITS) /* sets for more descriptors than this are the kernel's alone */

struct bits {
	unsigned long word[MAX_WORDS];
};

struct call {
	struct cw_wait_call wait;
	int count;
	size_t size;             /* bytes of a set that count uses */
	fd_set *set[3];          /* the program's: readable, writable, urgent; NULL: not asked */
	unsigned long *asked[3]; /* what it asked */
	struct timeval *timeval;
	int64_t begin; /* of the call, for timeval */
	const struct timespec *timespec;
	const sigset_t *mask;
	bool plain; /* select, not pselect */
};

static bool isset(const unsigned long *bits, int fd)
{
	return bits[fd / WORD_BITS] >> (fd % WORD_BITS) & 1;
}

static void restore(struct call *call)
{
	for (int i = 0; i < 3; i++)
		if (call->set[i])
			memcpy(call->set[i], call->asked[i], call->size);
}

static int ask(struct cw_wait_call *wait, bool with_signals, int64_t ns)
{
	struct call *call = (struct call *)wait;
	struct timespec limit = {.tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000};
	struct {
		const sigset_t *mask;
		size_t size;
	} signals = {with_signals ? call->mask : NULL, sizeof(uint64_t)};
	long ready;

	restore(call);
	ready = cw_raw(SYS_pselect6, call->count, (long)call->set[0], (long)call->set[1], (long)call->set[2], (long)&limit, (long)&signals);
	if (ready < 0) {
		errno = (int)-ready;
		return -1;
	}
	return (int)ready;
}

static int merge(struct cw_wait_call *wait, int ready)
{
	unsigned long *readable = (unsigned long *)((struct call *)wait)->set[0];

	for (size_t i = 0; i < wait->list.count; i++) {
		const struct cw_wait_entry *entry = &wait->list.entry[i];

		if (!entry->ready || isset(readable, entry->fd))
			continue;
		readable[entry->fd / WORD_BITS] |= 1ul << (entry->fd % WORD_BITS);
		ready++;
	}
	return ready;
}

static void cancelled(void *argument)
{
	struct cw_wait_list *list = argument;

	cw_wait_list_rise(list);
	cw_wait_list_end(list);
}

static int sleep_in_kernel(struct cw_wait_call *wait)
{
	struct call *call = (struct call *)wait;
	int ready;

	restore(call);
	pthread_cleanup_push(cancelled, &wait->list);
	if (wait->deadline < 0) {
		ready = call->plain ? cw_kernel.select(call->count, call->set[0], call->set[1], call->set[2], NULL)
				    : cw_kernel.pselect(call->count, call->set[0], call->set[1], call->set[2], NULL, call->mask);
	} else {
		int64_t left = wait->deadline - (int64_t)cw_monotonic_ns();
		struct timespec rest;

		left = left < 0 ? 0 : left;
		rest = (struct timespec){.tv_sec = left / 1000000000, .tv_nsec = left % 1000000000};
		ready = cw_kernel.pselect(call->count, call->set[0], call->set[1], call->set[2], &rest, call->mask);
	}
	pthread_cleanup_pop(0);
	return ready;
}

#ifdef __GLIBC__
/* More than a deadline can say. */
static void count_down_for_ever(struct timeval *timeval, int64_t us)
{
	timeval->tv_sec -= (time_t)(us / 1000000);
	timeval->tv_usec -= (suseconds_t)(us % 1000000);
	if (timeval->tv_usec >= 0)
		return;
	timeval->tv_sec--;
	timeval->tv_usec += 1000000;
}
#endif

/* Linux counts select's time-out down, glibc shows it, musl doesn't. */
static void count_down(struct call *call)
{
#ifdef __GLIBC__
	int64_t left = call->wait.deadline > 0 ? call->wait.deadline - (int64_t)cw_monotonic_ns() : 0;

	if (!call->timeval)
		return;
	if (call->wait.deadline < 0) {
		count_down_for_ever(call->timeval, ((int64_t)cw_monotonic_ns() - call->begin) / 1000);
		return;
	}
	left = left < 0 ? 0 : left;
	call->timeval->tv_sec = left / 1000000000;
	call->timeval->tv_usec = left % 1000000000 / 1000;
#endif
}

static int by_kernel(struct call *call)
{
	return call->plain ? cw_kernel.select(call->count, call->set[0], call->set[1], call->set[2], call->timeval)
			   : cw_kernel.pselect(call->count, call->set[0], call->set[1], call->set[2], call->timespec, call->mask);
}

#define DIFFERENCES                                                                                                                        \
	{                                                                                                                                  \
		.ask = ask, .merge = merge, .sleep = sleep_in_kernel, .deadline = -1                                                       \
	}

/* The kernel looks at no more of the sets than its table has places for descriptors, whatever the count: a program may name a count beyond
 * the memory that its sets have. */
static int clipped(int count)
{
	static const char name[] = "\nFDSize:";
	char status[1024];
	const char *line;
	long fd, got;
	int64_t size = 0;

	if (count <= FD_SETSIZE)
		return count;
	fd = cw_raw(SYS_openat, AT_FDCWD, (long)"/proc/thread-self/status", O_RDONLY | O_CLOEXEC, 0, 0, 0);
	if (fd < 0)
		return count;
	got = cw_raw(SYS_read, fd, (long)status, sizeof(status) - 1, 0, 0, 0);
	cw_raw_close((int)fd);
	status[got > 0 ? got : 0] = '\0';
	line = strstr(status, name);
	if (!line)
		return count;
	for (line += strspn(line + sizeof(name) - 1, "\t ") + sizeof(name) - 1; *line >= '0' && *line <= '9' && size < count; line++)
		size = size * 10 + (*line - '0');
	return size < count ? (int)size : count;
}

static int start(struct call *call)
{
	static const struct bits nothing;
	struct bits asked[3]; /* filled as far as count goes */
	bool fits = true;
	int result;

	if (call->count <= 0 || !call->set[0])
		return by_kernel(call); /* which clips by itself */
	call->count = clipped(call->count);
	if (call->count > MAX_WORDS * WORD_BITS)
		return by_kernel(call);
	for (int i = 0; i < 3; i++)
		if (call->set[i] && cw_nowhere(call->set[i], 1))
			return by_kernel(call);
	call->size = (size_t)((call->count + WORD_BITS - 1) / WORD_BITS) * sizeof(unsigned long);
	cw_wait_list_begin(&call->wait.list);
	for (int fd = 0; fd < call->count && fits; fd++) {
		if (fd % WORD_BITS == 0 && !((unsigned long *)call->set[0])[fd / WORD_BITS]) {
			fd += WORD_BITS - 1;
			continue;
		}
		if (isset((unsigned long *)call->set[0], fd))
			fits = cw_wait_list_add(&call->wait.list, fd, (uint32_t)fd);
	}
	if (!fits) {
		errno = ENOMEM;
		result = -1;
	} else if (!call->wait.list.count || (!call->wait.list.moved && !call->wait.deadline)) {
		cw_wait_list_end(&call->wait.list); /* before the call, in which the thread may be cancelled */
		return by_kernel(call);
	} else {
		for (int i = 0; i < 3; i++) {
			/* cppcheck-suppress legacyUninitvar */
			call->asked[i] = asked[i].word;
			memcpy(asked[i].word, call->set[i] ? (void *)call->set[i] : (void *)&nothing, call->size);
		}
		result = cw_wait_list_wait(&call->wait);
		if (result == 0)
			for (int i = 0; i < 3; i++)
				if (call->set[i])
					memset(call->set[i], 0, call->size);
		if (result < 0)
			restore(call);
		count_down(call);
	}
	cw_wait_list_end(&call->wait.list);
	return result;
}

int cw_select(int count, fd_set *readable, fd_set *writable, fd_set *urgent, struct timeval *timeout)
{
	struct call call = {.wait = DIFFERENCES, .count = count, .set = {readable, writable, urgent}, .timeval = timeout, .plain = true};

	if (timeout && (timeout->tv_sec < 0 || timeout->tv_usec < 0))
		return by_kernel(&call);
	if (timeout && (timeout->tv_sec || timeout->tv_usec))
		call.begin = (int64_t)cw_monotonic_ns();
	if (timeout && timeout->tv_sec < CW_LIFE_LONG)
		call.wait.deadline = call.begin ? call.begin + timeout->tv_sec * INT64_C(1000000000) + timeout->tv_usec * INT64_C(1000) : 0;
	return start(&call);
}

int cw_pselect(int count, fd_set *readable, fd_set *writable, fd_set *urgent, const struct timespec *timeout, const sigset_t *mask)
{
	struct call call = {.wait = DIFFERENCES, .count = count, .set = {readable, writable, urgent}, .timespec = timeout, .mask = mask};

	call.wait.masks = mask;
	if (timeout && (timeout->tv_sec < 0 || (unsigned long)timeout->tv_nsec > 999999999ul))
		return by_kernel(&call);
	if (timeout && timeout->tv_sec < CW_LIFE_LONG)
		call.wait.deadline = timeout->tv_sec || timeout->tv_nsec
					     ? (int64_t)cw_monotonic_ns() + timeout->tv_sec * INT64_C(1000000000) + timeout->tv_nsec
					     : 0;
	return start(&call);
}
