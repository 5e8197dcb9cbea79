#include "poll.h"

#include <limits.h>
#include <pthread.h>

#include "kernel.h"
#include "datagram.h"
#include "memory.h"
#include "service.h"
#include "ready.h"
#include "wait_list.h"

#define READABLE (POLLIN | POLLRDNORM)
#define WRITABLE (POLLOUT | POLLWRNORM)

struct call {
	struct cw_wait_call wait;
	struct pollfd *fds;
	nfds_t count;
	const struct timespec *timeout; /* NULL none */
	const sigset_t *mask;
	bool plain; /* poll, not ppoll */
	int timeout_ms;
};

static int ask(struct cw_wait_call *wait, bool signals, int64_t ns)
{
	const struct call *call = (const struct call *)wait;
	struct timespec limit = {.tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000};
	long ready =
		cw_raw(SYS_ppoll, (long)call->fds, (long)call->count, (long)&limit, signals ? (long)call->mask : 0, sizeof(uint64_t), 0);

	if (ready < 0) {
		errno = (int)-ready;
		return -1;
	}
	return (int)ready;
}

/* Add what the rings have to what the kernel said. */
static int merge(struct cw_wait_call *wait, int ready)
{
	struct call *call = (struct call *)wait;

	for (size_t i = 0; i < wait->list.count; i++) {
		const struct cw_wait_entry *entry = &wait->list.entry[i];
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
	const struct cw_wait_list *list = &call->wait.list;
	short events;

	if (list->count != call->count)
		return false;
	for (size_t i = 0; i < list->count; i++) {
		const struct cw_wait_entry *entry = &list->entry[i];

		if (entry->datagram && entry->ready && cw_datagram_known(entry->datagram) &&
		    !(call->fds[entry->index].events & ~(READABLE | WRITABLE)))
			continue;
		if (!entry->moved || entry->set || entry->datagram || entry->stream->broken)
			return false;
		events = call->fds[entry->index].events;
		if (events & ~(READABLE | WRITABLE) || !cw_ready_known(entry->stream) ||
		    !(events & WRITABLE ? cw_ready_to_send(entry->stream) : cw_ready_by_ring_alone(entry->stream)))
			return false;
	}
	return true;
}

static int answer_by_ring(struct cw_wait_call *wait)
{
	struct call *call = (struct call *)wait;
	int ready = 0;

	if (!rings_know_all(call))
		return -1;
	for (size_t i = 0; i < wait->list.count; i++) {
		const struct cw_wait_entry *entry = &wait->list.entry[i];
		struct pollfd *fd = &call->fds[entry->index];

		fd->revents = (short)(fd->events & WRITABLE) | (short)(entry->ready ? fd->events & READABLE : 0);
		ready += fd->revents != 0;
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

	pthread_cleanup_push(cancelled, &wait->list);
	if (wait->deadline < 0) {
		ready = call->plain ? cw_kernel.poll(call->fds, call->count, -1)
				    : cw_kernel.ppoll(call->fds, call->count, NULL, call->mask);
	} else {
		int64_t left = wait->deadline - (int64_t)cw_monotonic_ns();
		struct timespec rest;

		left = left < 0 ? 0 : left;
		rest = (struct timespec){.tv_sec = left / 1000000000, .tv_nsec = left % 1000000000};
		ready = cw_kernel.ppoll(call->fds, call->count, &rest, call->mask);
	}
	pthread_cleanup_pop(0);
	return ready;
}

#define DIFFERENCES                                                                                                                        \
	{                                                                                                                                  \
		.ask = ask, .merge = merge, .sleep = sleep_in_kernel, .by_ring = answer_by_ring, .deadline = -1                            \
	}

static int start(struct call *call)
{
	bool fits = true;
	int result;

	if (call->count && (cw_nowhere(call->fds, 1) || call->count > INT_MAX))
		return call->plain ? cw_kernel.poll(call->fds, call->count, call->timeout_ms)
				   : cw_kernel.ppoll(call->fds, call->count, call->timeout, call->mask);
	cw_wait_list_begin(&call->wait.list);
	for (nfds_t i = 0; i < call->count && fits; i++)
		if (call->fds[i].events & READABLE)
			fits = cw_wait_list_add(&call->wait.list, call->fds[i].fd, (uint32_t)i);
	if (!fits) {
		errno = ENOMEM;
		result = -1;
	} else if (!call->wait.list.count || (!call->wait.list.moved && !call->wait.deadline)) {
		cw_wait_list_end(&call->wait.list); /* before the call, in which the thread may be cancelled */
		return call->plain ? cw_kernel.poll(call->fds, call->count, call->timeout_ms)
				   : cw_kernel.ppoll(call->fds, call->count, call->timeout, call->mask);
	} else {
		result = cw_wait_list_wait(&call->wait);
	}
	cw_wait_list_end(&call->wait.list);
	return result;
}

int cw_poll(struct pollfd *fds, nfds_t count, int timeout_ms)
{
	struct call call = {.wait = DIFFERENCES, .fds = fds, .count = count, .plain = true, .timeout_ms = timeout_ms};

	call.wait.deadline = timeout_ms > 0 ? (int64_t)cw_monotonic_ns() + timeout_ms * INT64_C(1000000) : timeout_ms;
	return start(&call);
}

int cw_ppoll(struct pollfd *fds, nfds_t count, const struct timespec *timeout, const sigset_t *mask)
{
	struct call call = {.wait = DIFFERENCES, .fds = fds, .count = count, .timeout = timeout, .mask = mask};

	call.wait.masks = mask;
	if (timeout && (timeout->tv_sec < 0 || (unsigned long)timeout->tv_nsec > 999999999ul))
		return cw_kernel.ppoll(fds, count, timeout, mask);
	if (timeout && timeout->tv_sec < CW_LIFE_LONG)
		call.wait.deadline = timeout->tv_sec || timeout->tv_nsec
					     ? (int64_t)cw_monotonic_ns() + timeout->tv_sec * INT64_C(1000000000) + timeout->tv_nsec
					     : 0;
	return start(&call);
}
