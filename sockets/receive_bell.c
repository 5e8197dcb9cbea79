/* A blocking receive sleeps on its bell, and for its socket; who is not rung for sleeps on in the kernel. */
#include <pthread.h>

#include "bell.h"
#include "kernel.h"
#include "receiving.h"
#include "service.h"
#include "switch.h"

enum woken { BY_BYTES, BY_SOCKET, BY_TIME, BY_SIGNAL, BY_NOTHING };

struct sleeper {
	struct cw_stream *stream;
	uint32_t life;
	int fd;
	uint64_t word, roff; /* the sleep, and what was read before it */
	uint64_t seen;       /* rings, before it said so */
	uint64_t begin, end; /* of the sleep, and of the call's waiting, SO_RCVTIMEO; 0: none */
	bool once;           /* a signal handler ends it, SA_RESTART or not */
	bool counted;        /* in rx_asleep */
};

static void count(struct sleeper *sleeper, bool asleep)
{
	atomic_fetch_add_explicit(&sleeper->stream->rx->rx_asleep, (uint32_t)asleep - (uint32_t)sleeper->counted, memory_order_release);
	sleeper->counted = asleep;
}

static void cancelled(void *argument)
{
	struct sleeper *sleeper = argument;

	if (!cw_stream_ended(sleeper->stream, sleeper->life))
		count(sleeper, false);
}

/* Sets, and other threads, are not told by ring: who shares the stream with them sleeps in the kernel. */
static bool is_alone(const struct cw_stream *stream)
{
	return !atomic_load_explicit(&stream->items, memory_order_seq_cst) && !cw_switch_others_asleep(stream);
}

static bool lie_down(struct sleeper *sleeper)
{
	struct cw_direction *rx = sleeper->stream->rx;

	return (int64_t)(sleeper->roff - atomic_load_explicit(&rx->up, memory_order_relaxed)) >= 0 &&
	       cw_switch_fall_asleep_on_bell(sleeper->stream, &sleeper->word, sleeper->roff);
}

/* The writer uses the kernel, and wakes us through the socket, or it takes the offer and rings: so messages far apart come to the ring. */
static bool leave_offer(struct sleeper *sleeper)
{
	cw_switch_offer_again(sleeper->stream);
	sleeper->word = atomic_load_explicit(&sleeper->stream->rx->state, memory_order_acquire);
	return cw_switch_offer_on_bell(sleeper->stream, sleeper->word);
}

/* True: asleep, and rung for; another sleep, if it is one already. */
static bool settle(struct sleeper *sleeper)
{
	struct cw_stream *stream = sleeper->stream;
	struct cw_direction *rx = stream->rx;
	bool nested, asleep = false;

	if (!cw_rx_lock(stream, sleeper->fd, &nested))
		return false;
	count(sleeper, false);
	sleeper->word = atomic_load_explicit(&rx->state, memory_order_acquire);
	sleeper->roff = atomic_load_explicit(&rx->roff, memory_order_relaxed);
	if (!nested && !(sleeper->word & CW_MARK_LEFT) && is_alone(stream)) {
		cw_switch_wake(stream, &sleeper->word);
		asleep = cw_state_of(sleeper->word) == CW_LIVE ? lie_down(sleeper) : leave_offer(sleeper);
	}
	count(sleeper, asleep);
	cw_rx_unlock(stream, nested);
	return asleep;
}

static bool has_changed(const struct sleeper *sleeper)
{
	struct cw_direction *rx = sleeper->stream->rx;
	uint64_t word = atomic_load_explicit(&rx->state, memory_order_acquire);

	if (cw_bell_sleep_of(word) != cw_bell_sleep_of(sleeper->word))
		return true;
	/* While an offer stands the index is of the time before. */
	return cw_state_of(word) == CW_ASLEEP && atomic_load_explicit(&rx->widx, memory_order_acquire) != sleeper->roff;
}

/* Not of an offer that nobody took, nor of what was taken back. */
static bool goes_by_ring(const struct sleeper *sleeper)
{
	enum cw_state state = cw_state_of(atomic_load_explicit(&sleeper->stream->rx->state, memory_order_acquire));

	return state != CW_TAKEN && state != CW_CONSENT;
}

static bool is_over(const struct sleeper *sleeper, uint64_t now)
{
	return now >= (sleeper->end ? sleeper->end : sleeper->begin + CW_BELL_LIMIT_NS);
}

static enum woken sleep_on_bell(struct sleeper *sleeper)
{
	struct cw_stream *stream = sleeper->stream;
	struct causeway_await await = {.fd = sleeper->fd, .rings = sleeper->seen, .flags = sleeper->once ? CAUSEWAY_AWAIT_ONCE : 0};
	uint64_t now = cw_monotonic_ns();
	long result;

	/* A handler on top of us may have ended the sleep before it began. */
	while (!has_changed(sleeper)) {
		if (is_over(sleeper, now))
			return BY_TIME;
		await.deadline = now + CW_BELL_LIMIT_NS;
		if (sleeper->end && await.deadline > sleeper->end)
			await.deadline = sleeper->end;
		await.events = POLLIN | POLLRDHUP;
		await.rings = sleeper->seen;
		result = cw_bell_await(stream, &await);
		if (cw_stream_ended(stream, sleeper->life))
			return BY_NOTHING;
		if (result < 0)
			return result == -EINTR ? BY_SIGNAL : BY_NOTHING;
		if (await.events)
			return BY_SOCKET;
		now = cw_monotonic_ns();
		if (await.rings == sleeper->seen) {
			if (has_changed(sleeper))
				cw_bell_missed(stream);
			continue;
		}
		/* For somebody else; or for this sleep, by a writer whose bytes were read before it, and who won't ring for it again. */
		sleeper->seen = await.rings;
		if (!has_changed(sleeper) && !settle(sleeper))
			return BY_NOTHING;
	}
	return goes_by_ring(sleeper) ? BY_BYTES : BY_SOCKET;
}

/* Awake. Taking the lock has ended the sleep on the bell: what was unread is LIVE again. True: the ring has bytes, or will not. */
static bool rise(struct sleeper *sleeper)
{
	struct cw_stream *stream = sleeper->stream;
	bool nested, changed, locked = cw_rx_lock(stream, sleeper->fd, &nested);

	count(sleeper, false);
	if (!locked)
		return true;
	changed = cw_state_of(sleeper->word) == CW_CONSENT ? goes_by_ring(sleeper) : has_changed(sleeper);
	cw_rx_unlock(stream, nested);
	return changed;
}

enum cw_received cw_receive_on_bell(struct cw_stream *stream, int fd, struct cw_receiving *request)
{
	struct sleeper sleeper = {.stream = stream, .life = request->life, .fd = fd, .seen = cw_bell_seen(stream)};
	enum woken woken;

	if (!cw_bell_may_sleep(stream))
		return CW_EMPTY;
	sleeper.begin = cw_monotonic_ns();
	sleeper.end = cw_receive_until(fd, request);
	sleeper.once = sleeper.end || request->done;
	if (!settle(&sleeper))
		return CW_EMPTY;
	CW_COUNT(stream, sleeps, 1);
	pthread_cleanup_push(cancelled, &sleeper);
	woken = sleep_on_bell(&sleeper);
	pthread_cleanup_pop(0);
	if (cw_stream_ended(stream, sleeper.life)) {
		errno = EBADF;
		return cw_receive_closed(request, -1);
	}
	if (rise(&sleeper)) {
		CW_COUNT(stream, wakeups, 1);
		CW_COUNT(stream, rung, woken == BY_BYTES);
		return CW_BYTES_AND_MORE;
	}
	if (woken == BY_SIGNAL)
		return cw_receive_fail(request, EINTR);
	if (woken == BY_TIME && sleeper.end)
		return cw_receive_fail(request, EAGAIN);
	return CW_EMPTY;
}
