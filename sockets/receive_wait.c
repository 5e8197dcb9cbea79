#include <fcntl.h>

#include "bell.h"
#include "kernel.h"
#include "looking.h"
#include "ready.h"
#include "receiving.h"
#include "set.h"
#include "switch.h"

/* Look for bytes for a while. True if something has changed. */
static bool look_for_bytes(struct cw_stream *stream, int fd)
{
	struct cw_direction *rx = stream->rx;
	uint64_t seen = atomic_load_explicit(&rx->roff, memory_order_relaxed), word, first;
	struct cw_look look;

	cw_looking(&look);
	first = atomic_load_explicit(&rx->state, memory_order_relaxed);
	while (cw_look_goes_on(&look)) {
		for (int i = 0; i < 8; i++) {
			word = atomic_load_explicit(&rx->state, memory_order_acquire);
			if (word != first ||
			    (cw_state_of(word) == CW_LIVE && atomic_load_explicit(&rx->widx, memory_order_acquire) != seen)) {
				CW_COUNT(stream, spins_paid, 1);
				cw_look_paid(&look, 1);
				return true;
			}
			cw_pause();
		}
		/* In CONSENT the writer may not have heard of the slot yet, and sends through the kernel. */
		if (cw_state_of(first) != CW_LIVE && cw_look_asks(&look) && cw_receive_kernel_ready(fd)) {
			cw_look_told(&look);
			return true;
		}
	}
	CW_COUNT(stream, spins_lost, look.budget != 0);
	return false;
}

bool cw_receive_blocking(struct cw_stream *stream, int fd, const struct cw_receiving *request)
{
	return !(request->flags & MSG_DONTWAIT) && cw_stream_blocks(stream, fd);
}

/*
 * Fall asleep as a blocking call: under the lock, so that a set or another thread sees rx_asleep and the state together. CW_BY_KERNEL:
 * sleep. CW_EMPTY_KERNEL: sleep without reading.
 */
static enum cw_received settle(struct cw_stream *stream, int fd, struct cw_receiving *request, enum cw_received outcome)
{
	struct cw_direction *rx = stream->rx;
	struct pollfd on_its_way = {.fd = fd, .events = POLLIN};
	struct timespec turn = {.tv_nsec = 2000000};
	uint64_t word, roff;
	bool nested;
	int error = cw_receive_lock(stream, fd, request, &nested);

	if (error)
		return cw_receive_without_lock(request, error);
	word = atomic_load_explicit(&rx->state, memory_order_acquire);
	roff = atomic_load_explicit(&rx->roff, memory_order_relaxed);
	if (outcome == CW_EMPTY_KERNEL) {
		/* Asleep, and with nothing in the ring, it can be waited for; else it is on its way, and a short turn is all (tests/model).
		 */
		if (cw_state_of(word) != CW_LIVE ||
		    !cw_switch_fall_asleep(stream, &word, atomic_load_explicit(&rx->up, memory_order_relaxed)))
			outcome = cw_state_of(word) == CW_SEALED || cw_state_of(word) == CW_LIVE ? CW_ON_ITS_WAY : CW_BYTES_AND_MORE;
	} else if (cw_state_of(word) == CW_ASLEEP && cw_receive_told_and_unread(stream)) {
		outcome = CW_BYTES_AND_MORE; /* they came, were told, and the set fell asleep, all since the last look */
	} else if (cw_switch_fall_asleep(stream, &word, roff)) {
		outcome = CW_BY_KERNEL;
	} else {
		outcome = CW_BYTES_AND_MORE;
	}
	if ((outcome == CW_BY_KERNEL || outcome == CW_EMPTY_KERNEL) && !cw_switch_count_asleep(stream))
		outcome = CW_BYTES_AND_MORE;
	cw_rx_unlock(stream, nested);
	if (outcome != CW_ON_ITS_WAY)
		return outcome;
	cw_raw(SYS_ppoll, (long)&on_its_way, 1, (long)&turn, 0, 0, 0);
	return CW_BYTES_AND_MORE;
}

/*
 * LIVE, and nothing in the ring, for who doesn't wait. If the kernel has bytes the writer has sealed the ring by now; or it wrote from a
 * signal handler on top of a send, or is no writer of ours: they are read as by who has fallen asleep.
 */
static enum cw_received look_in_kernel(struct cw_stream *stream, int fd, struct cw_receiving *request)
{
	enum cw_received outcome = cw_receive_ask_kernel(fd, request);

	if (outcome != CW_BYTES_AND_MORE)
		return outcome;
	outcome = settle(stream, fd, request, CW_EMPTY);
	return outcome == CW_BY_KERNEL ? cw_receive_read_kernel(stream, fd, request, MSG_DONTWAIT) : outcome;
}

static bool linger(struct cw_stream *stream, int fd)
{
	struct pollfd readable = {.fd = fd, .events = POLLIN};
	struct timespec turn = {.tv_nsec = CW_LINGER_NS};

	if (!cw_switch_lingers(stream))
		return false;
	cw_raw(SYS_ppoll, (long)&readable, 1, (long)&turn, 0, 0, 0);
	return true;
}

bool cw_receive_sparse(struct cw_stream *stream, int fd, const struct cw_receiving *request)
{
	return !request->done && cw_receive_blocking(stream, fd, request) && cw_sparse() && !cw_switch_linger_due(stream) &&
	       !cw_bell_may_sleep(stream); /* a ring costs no more, and needs no socket */
}

/* A part of what it may wait in all is over: the kernel's own call would begin to count anew. */
static bool counts_already(int fd, struct cw_receiving *request)
{
	return (request->begin || request->asked) && cw_receive_until(fd, request);
}

enum cw_received cw_receive_sleep(struct cw_stream *stream, int fd, struct cw_receiving *request)
{
	uint64_t start = cw_ticks();
	enum cw_received outcome =
		counts_already(fd, request) ? cw_receive_await_rest(stream, fd, request) : cw_receive_read_kernel(stream, fd, request, 0);

	cw_slept(start, false);
	if (outcome == CW_BYTES)
		cw_receive_offer(stream, fd, request->done);
	return outcome;
}

/* Nothing there. Look, then sleep; or say so. Returns what came of it. */
enum cw_received cw_receive_wait(struct cw_stream *stream, int fd, struct cw_receiving *request, enum cw_received outcome)
{
	bool again = request->begin != 0;
	uint64_t start;

	if (request->done && !(request->flags & MSG_WAITALL))
		return CW_BYTES;
	if (request->done && cw_receive_ends_here(stream, fd))
		return cw_receive_fail(request, EAGAIN); /* what there is is the answer */
	if (!cw_receive_blocking(stream, fd, request))
		return outcome == CW_EMPTY_KERNEL ? cw_receive_fail(request, EAGAIN) : look_in_kernel(stream, fd, request);
	start = cw_ticks();
	if (outcome != CW_EMPTY_KERNEL) {
		cw_switch_offer(stream, fd);
		if (look_for_bytes(stream, fd) || linger(stream, fd))
			return CW_BYTES_AND_MORE;
	}
	/* Not before the look: it is short, and the clock is asked by a system call on some machines. */
	if (!again)
		request->begin = cw_monotonic_ns();
	if (outcome == CW_EMPTY)
		outcome = cw_receive_on_bell(stream, fd, request);
	if (outcome == CW_EMPTY || outcome == CW_EMPTY_KERNEL)
		outcome = settle(stream, fd, request, outcome);
	if (outcome == CW_CLOSED)
		return outcome;
	/* The kernel's own call would begin to count anew. */
	if (outcome == CW_BY_KERNEL && (request->done || ((again || request->asked) && cw_receive_until(fd, request))))
		outcome = cw_receive_await_rest(stream, fd, request);
	else if (outcome == CW_BY_KERNEL)
		outcome = cw_receive_read_kernel(stream, fd, request, 0);
	else if (outcome == CW_EMPTY_KERNEL)
		outcome = cw_receive_await_kernel(stream, fd, request);
	cw_slept(start, true);
	if (outcome == CW_BYTES)
		cw_receive_offer(stream, fd, request->done);
	return outcome;
}
