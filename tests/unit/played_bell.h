/*
 * A blocking receive that sleeps on a bell, which an eventfd plays here: rings that are lost, late, or can't be had. Both ends are in one
 * process.
 */
#ifndef CW_TESTS_UNIT_PLAYED_BELL_H
#define CW_TESTS_UNIT_PLAYED_BELL_H

#include "stepped.h"

#include <limits.h>
#include <sys/eventfd.h>

#include "sockets/bell.h"

/* ---- the bell ---- */

static int rung_by;              /* eventfd */
static _Atomic uint64_t rings;   /* the module's count */
static _Atomic unsigned asked;   /* how often it was rung, heard or not */
static _Atomic unsigned turns;   /* sleeps on it */
static _Atomic uint32_t wishes;  /* the flags of the last */
static _Atomic bool loses, deaf; /* rings are dropped; who sleeps doesn't wake */
static _Atomic long fails;

static inline bool has(int fd)
{
	return true;
}

static inline long play_ring(int fd)
{
	if (fails)
		return fails;
	asked++;
	if (loses)
		return 0;
	rings++;
	return write(rung_by, &(uint64_t){1}, 8) == 8 ? 0 : -EIO;
}

static inline long play_await(int fd, struct causeway_await *await)
{
	struct pollfd both[2] = {{rung_by, POLLIN, 0}, {await->fd, (short)await->events, 0}};
	int64_t left = (int64_t)await->deadline - (int64_t)cw_monotonic_ns();
	uint64_t told;
	int ready = 0;

	wishes = await->flags;
	turns++;
	while (deaf)
		usleep(1000);
	if (rings == await->rings)
		ready = poll(both, 2, left < 0 ? 0 : (int)(left / 1000000 + 1));
	if (both[0].revents && read(rung_by, &told, 8) != 8)
		give_up("the bell: %m");
	await->rings = rings;
	await->events = (uint32_t)both[1].revents;
	return ready < 0 ? -errno : 0;
}

/* ---- two ends in one process, with it ---- */

static inline void begin(void)
{
	struct cw_arena *arena;

	alarm(60);
	pair_make(&pair);
	pair_start(20);
	cw_policy.number[CW_OPTION_bells] = 1;
	cw_bell_calls = (struct cw_bell_calls){has, play_ring, play_await};
	rung_by = eventfd(0, EFD_CLOEXEC);
	arena = cw_arena_map(pair.memory, PAIR_ARENA);
	cw_bell_keep(arena, rung_by);
	writer = pair_open(&pair, 0);
	reader = pair_open(&pair, 1);
	words = reader->rx;
	until(CW_LIVE);
}

static inline uint64_t counted(const struct cw_stream *stream, enum cw_counter counter)
{
	return cw_counters(stream)[counter];
}

static inline void await_sleep(void)
{
	while (cw_state_of(words->state) != CW_ASLEEP || !words->rx_asleep)
		sched_yield();
}

static inline void await_sleep_on_bell(void)
{
	while (!words->rx_bell || words->rx_bell != cw_bell_sleep_of(words->state) || !words->rx_asleep)
		sched_yield();
}

static inline void await_sleep_on_offer(void)
{
	do
		await_sleep_on_bell();
	while (cw_state_of(words->state) != CW_CONSENT);
}

struct call {
	pthread_t thread;
	size_t wanted;
	int flags;
	ssize_t got;
	int error;
};

/* One blocking receive. */
static inline void *receive(void *argument)
{
	struct call *call = argument;
	unsigned char bytes[256];

	call->got = cw_receive(reader, pair.fd[1], bytes, call->wanted, call->flags);
	call->error = errno;
	if (call->got > 0 && !holds(bytes, (size_t)call->got, taken))
		give_up("other bytes at %llu", (unsigned long long)taken);
	taken += call->got > 0 ? (uint64_t)call->got : 0;
	return NULL;
}

static inline void call_with(struct call *call, size_t wanted, int flags)
{
	call->wanted = wanted;
	call->flags = flags;
	ck_assert_int_eq(pthread_create(&call->thread, NULL, receive, call), 0);
}

static inline void call(struct call *call, size_t wanted)
{
	call_with(call, wanted, 0);
}

static inline void expect(struct call *call, ssize_t got)
{
	pthread_join(call->thread, NULL);
	ck_assert_int_eq(call->got, got);
}

/* Some rings: each time it is another sleep. None of them is the writer's. */
static inline void ring_for_others(void (*settled)(void))
{
	for (unsigned i = 0; i < 5; i++) {
		uint64_t sleep;

		settled();
		sleep = words->rx_bell;
		play_ring(rung_by);
		while (words->rx_bell == sleep)
			sched_yield();
	}
	settled();
	asked = 0;
}

#endif
