#include "poll.h"

#include <limits.h>
#include <pthread.h>

#include "kernel.h"
#include "memory.h"
#include "service.h"
#include "ready.h"
#include "wait_list.h"

#define READABLE (POLLIN | POLLRDNORM)
#define WRITABLE (POLLOUT | POLLWRNORM)

struct call {
	struct pollfd *fds;
	nfds_t count;
	const struct timespec *timeout; /* NULL none */
	const sigset_t *mask;
	bool plain; /* poll, not ppoll */
	int timeout_ms;
	int64_t deadline;
	int asked; /* what the kernel said during the look */
	struct cw_wait_list list;
};

/* With the mask, if nothing is ready by ring: a signal that it lets through is told as by the call itself. */
static int ask(const struct call *call, const sigset_t *mask)
{
	struct timespec none = {0};
	long ready = cw_raw(SYS_ppoll, (long)call->fds, (long)call->count, (long)&none, (long)mask, 8, 0);

	if (ready < 0) {
		errno = (int)-ready;
		return -1;
	}
	return (int)ready;
}

static bool ask_again(void *argument)
{
	struct call *call = argument;

	call->asked = ask(call, call->mask);
	return call->asked != 0;
}

/* Add what the rings have to what the kernel said. */
static int merge(struct call *call, int ready)
{
	if (ready < 0)
		return ready;
	for (size_t i = 0; i < call->list.count; i++) {
		const struct cw_wait_entry *entry = &call->list.entry[i];
		struct pollfd *fd = &call->fds[entry->index];

		if (!entry->ready)
			continue;
		if (!fd->revents)
			ready++;
		fd->revents |= fd->events & READABLE;
	}
	return ready;
}

/* The kernel need not be asked if all that is waited for is ready or not by ring, and no end is in sight. */
static bool rings_know_all(const struct call *call)
{
	if (call->list.count != call->count)
		return false;
	for (size_t i = 0; i < call->list.count; i++) {
		const struct cw_wait_entry *entry = &call->list.entry[i];
		uint64_t word;

		if (!entry->moved || entry->set || entry->stream->broken)
			return false;
		if (call->fds[entry->index].events & ~(READABLE | WRITABLE))
			return false;
		word = atomic_load_explicit(&entry->stream->rx->state, memory_order_relaxed);
		if (cw_state_of(word) != CW_LIVE || (word & (CW_MARK_WRITER_GONE | CW_MARK_WRITER_SHUT)) ||
		    !cw_ready_to_send(entry->stream))
			return false;
	}
	return true;
}

static int answer_by_ring(struct call *call)
{
	int ready = 0;

	for (size_t i = 0; i < call->list.count; i++) {
		const struct cw_wait_entry *entry = &call->list.entry[i];
		struct pollfd *fd = &call->fds[entry->index];

		fd->revents = (short)(fd->events & WRITABLE) | (short)(entry->ready ? fd->events & READABLE : 0);
		ready += fd->revents != 0;
	}
	return ready;
}

static int look(struct call *call)
{
	bool ready = cw_wait_list_look(&call->list) > 0;

	if (ready && rings_know_all(call))
		return answer_by_ring(call);
	return merge(call, ask(call, ready ? NULL : call->mask));
}

static void cancelled(void *argument)
{
	struct call *call = argument;

	cw_wait_list_rise(&call->list);
	cw_wait_list_end(&call->list);
}

static int sleep_in_kernel(struct call *call)
{
	int ready;

	pthread_cleanup_push(cancelled, call);
	if (call->deadline < 0) {
		ready = call->plain ? cw_kernel.poll(call->fds, call->count, -1)
				    : cw_kernel.ppoll(call->fds, call->count, NULL, call->mask);
	} else {
		int64_t left = call->deadline - (int64_t)cw_monotonic_ns();
		struct timespec rest;

		left = left < 0 ? 0 : left;
		rest = (struct timespec){.tv_sec = left / 1000000000, .tv_nsec = left % 1000000000};
		ready = cw_kernel.ppoll(call->fds, call->count, &rest, call->mask);
	}
	pthread_cleanup_pop(0);
	return ready;
}

static int wait(struct call *call)
{
	uint64_t start;
	int ready, error;

	for (;;) {
		if (call->list.moved) {
			ready = look(call);
			if (ready || !call->deadline)
				return ready;
			call->asked = 0;
			cw_wait_list_spin(&call->list, ask_again, call);
			if (call->asked < 0)
				return call->asked;
			ready = look(call);
			if (ready)
				return ready;
		}
		if (!cw_wait_list_settle(&call->list)) {
			call->list.moved = call->list.count;
			if (call->deadline > 0 && (int64_t)cw_monotonic_ns() >= call->deadline)
				return 0; /* words that are changed at every look must not keep us */
			continue;
		}
		start = cw_ticks();
		cw_count(CW_COUNT_sleeps);
		ready = sleep_in_kernel(call);
		error = errno;
		cw_spin_lost(&cw_thread.spin, (uint32_t)cw_policy_spin_us(), cw_ticks() - start);
		cw_wait_list_rise(&call->list);
		errno = error;
		if (ready > 0)
			cw_count(CW_COUNT_wakeups);
		if (ready > 0 && call->list.moved) {
			cw_wait_list_look(&call->list);
			ready = merge(call, ready);
		}
		return ready;
	}
}

static int start(struct call *call)
{
	bool fits = true;
	int result;

	if (call->count && (cw_nowhere(call->fds, 1) || call->count > INT_MAX))
		return call->plain ? cw_kernel.poll(call->fds, call->count, call->timeout_ms)
				   : cw_kernel.ppoll(call->fds, call->count, call->timeout, call->mask);
	cw_wait_list_begin(&call->list);
	for (nfds_t i = 0; i < call->count && fits; i++)
		if (call->fds[i].events & READABLE)
			fits = cw_wait_list_add(&call->list, call->fds[i].fd, (uint32_t)i);
	if (!fits) {
		errno = ENOMEM;
		result = -1;
	} else if (!call->list.count || (!call->list.moved && !call->deadline)) {
		result = call->plain ? cw_kernel.poll(call->fds, call->count, call->timeout_ms)
				     : cw_kernel.ppoll(call->fds, call->count, call->timeout, call->mask);
	} else {
		result = wait(call);
	}
	cw_wait_list_end(&call->list);
	return result;
}

int cw_poll(struct pollfd *fds, nfds_t count, int timeout_ms)
{
	struct call call = {.fds = fds, .count = count, .plain = true, .timeout_ms = timeout_ms};

	call.deadline = timeout_ms > 0 ? (int64_t)cw_monotonic_ns() + timeout_ms * INT64_C(1000000) : timeout_ms;
	return start(&call);
}

int cw_ppoll(struct pollfd *fds, nfds_t count, const struct timespec *timeout, const sigset_t *mask)
{
	struct call call = {.fds = fds, .count = count, .timeout = timeout, .mask = mask, .deadline = -1};

	if (timeout && (timeout->tv_sec < 0 || (unsigned long)timeout->tv_nsec > 999999999ul))
		return cw_kernel.ppoll(fds, count, timeout, mask);
	if (timeout && timeout->tv_sec < 1000000000)
		call.deadline = timeout->tv_sec || timeout->tv_nsec
					? (int64_t)cw_monotonic_ns() + timeout->tv_sec * INT64_C(1000000000) + timeout->tv_nsec
					: 0;
	return start(&call);
}
