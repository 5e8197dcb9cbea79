/* sync/state: single steps, then two processes that go to sleep and wake each other by them as fast as they can. */
#include "unit.h"

#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sync/cpu.h"
#include "sync/state.h"

START_TEST(a_step_changes_the_state_alone)
{
	enum cw_state from = (enum cw_state)(_i % CW_STATES), to = (enum cw_state)(_i / CW_STATES);
	uint64_t first = (77ull << 16) | CW_MARK_LEFT | CW_MARK_WRITER_GONE | (uint64_t)from, seen = first;
	_Atomic uint64_t word = first;

	ck_assert(cw_state_step(&word, &seen, to));
	ck_assert_uint_eq(word, seen);
	ck_assert_int_eq(cw_state_of(word), to);
	ck_assert_uint_eq(word & CW_MARKS, first & CW_MARKS);
	ck_assert_uint_eq(word >> 16, 78);
}
END_TEST

START_TEST(who_is_late_learns_what_is_there)
{
	_Atomic uint64_t word = CW_LIVE;
	uint64_t reader = word, writer = word, before;

	ck_assert(cw_state_step(&word, &reader, CW_ASLEEP));
	before = word;
	ck_assert(!cw_state_step(&word, &writer, CW_SEALED));
	ck_assert_uint_eq(word, before);
	ck_assert_uint_eq(writer, before);
	ck_assert(cw_state_step(&word, &writer, CW_TAKEN));
}
END_TEST

/* There and back again is not nothing: a step from the first word would take a new sleep for an old one. */
START_TEST(an_old_sleep_is_not_a_new_one)
{
	_Atomic uint64_t word = CW_ASLEEP;
	uint64_t writer = word, reader = word;

	ck_assert(cw_state_step(&word, &reader, CW_LIVE));
	ck_assert(cw_state_step(&word, &reader, CW_ASLEEP));
	ck_assert(!cw_state_step(&word, &writer, CW_TAKEN));
	ck_assert_int_eq(cw_state_of(word), CW_ASLEEP);
}
END_TEST

START_TEST(a_mark_makes_a_step_look_again)
{
	_Atomic uint64_t word = (5ull << 16) | CW_LIVE;
	uint64_t seen = word, marked = cw_state_mark(&word, CW_MARK_LEFT);

	ck_assert_uint_eq(marked, (5ull << 16) | CW_MARK_LEFT | CW_LIVE);
	ck_assert_uint_eq(word, marked);
	ck_assert(!cw_state_step(&word, &seen, CW_SEALED));
	ck_assert_uint_eq(seen, marked);
	ck_assert(cw_state_step(&word, &seen, CW_SEALED));
	ck_assert(word & CW_MARK_LEFT);
	ck_assert_uint_eq(cw_state_mark(&word, 0), word);
}
END_TEST

START_TEST(a_mark_touches_nothing_else)
{
	_Atomic uint64_t word = UINT64_MAX & ~(CW_MARKS | CW_STATE_MASK);

	ck_assert_uint_eq(cw_state_mark(&word, UINT64_MAX), (UINT64_MAX & ~CW_STATE_MASK));
	ck_assert_uint_eq(word & CW_STATE_MASK, 0);
}
END_TEST

/* The generation comes round: marks and state must not notice. */
START_TEST(the_generation_wraps)
{
	_Atomic uint64_t word = (UINT64_MAX & ~0xffffull) | CW_MARK_LEFT | CW_LIVE;
	uint64_t seen = word;

	ck_assert(cw_state_step(&word, &seen, CW_ASLEEP));
	ck_assert_uint_eq(word, CW_MARK_LEFT | CW_ASLEEP);
}
END_TEST

/*
 * The race of sleep and doorbell (FACTS 2), by the steps of the code: a message is an index that rises by one; the doorbell is a byte in
 * a pipe, which stands for the kernel's socket. Each side answers the other's message, after a pause of random length that puts the
 * writer's publishing next to the reader's falling asleep. A wake-up that is lost stops both: the wait in the pipe has a limit.
 */
#define EXCHANGES  250000
#define PATIENT_MS 20000

struct direction {
	_Alignas(CW_CACHE_LINE) _Atomic uint64_t widx;
	_Alignas(CW_CACHE_LINE) _Atomic uint64_t state;
	int pipe[2];
	_Alignas(CW_CACHE_LINE) uint64_t sleeps, rings; /* the reader's and the writer's counts */
};

/* The two go to processors of their own, if they may: the kernel likes to put those that wake each other on one, where nothing races. */
static void settle_on(int which)
{
	cpu_set_t ours, one;

	if (sched_getaffinity(0, sizeof(ours), &ours) < 0)
		return;
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		if (!CPU_ISSET(cpu, &ours) || which-- > 0)
			continue;
		CPU_ZERO(&one);
		CPU_SET(cpu, &one);
		sched_setaffinity(0, sizeof(one), &one);
		return;
	}
}

static void pass_time(uint64_t *seed, unsigned most)
{
	for (uint64_t i = next_random(seed) % (most + 1); i > 0; i--)
		cw_pause();
}

static bool say(struct direction *tx, uint64_t message)
{
	uint64_t word;

	atomic_store_explicit(&tx->widx, message, memory_order_seq_cst);
	word = atomic_load_explicit(&tx->state, memory_order_seq_cst);
	while (cw_state_of(word) == CW_ASLEEP)
		if (cw_state_step(&tx->state, &word, CW_TAKEN)) {
			tx->rings++;
			return write(tx->pipe[1], "!", 1) == 1;
		}
	return true;
}

/* The sleeper's wait: only the doorbell ends it, even where a look would have found the message. */
static bool wait_for_bell(struct direction *rx)
{
	struct pollfd bell = {.fd = rx->pipe[0], .events = POLLIN};
	char byte;

	return poll(&bell, 1, PATIENT_MS) == 1 && read(rx->pipe[0], &byte, 1) == 1;
}

static bool hear(struct direction *rx, uint64_t message, uint64_t *seed)
{
	uint64_t word = atomic_load_explicit(&rx->state, memory_order_acquire);

	for (uint64_t looks = next_random(seed) % 256; looks > 0; looks--) {
		if (atomic_load_explicit(&rx->widx, memory_order_acquire) == message)
			return true;
		cw_pause();
	}
	while (atomic_load_explicit(&rx->widx, memory_order_acquire) != message) {
		if (!cw_state_step(&rx->state, &word, CW_ASLEEP))
			return false;
		rx->sleeps++;
		/* The second look. */
		if (atomic_load_explicit(&rx->widx, memory_order_seq_cst) == message && cw_state_step(&rx->state, &word, CW_LIVE))
			return true;
		if (!wait_for_bell(rx))
			return false;
		word = atomic_load_explicit(&rx->state, memory_order_acquire);
		if (cw_state_of(word) != CW_TAKEN || !cw_state_step(&rx->state, &word, CW_LIVE))
			return false;
	}
	return true;
}

/* Returns the message at which it ended. */
static uint64_t talk(struct direction *tx, struct direction *rx, bool first, uint64_t seed)
{
	uint64_t message = 1;

	for (; message <= EXCHANGES; message++) {
		pass_time(&seed, 96);
		if (first && !say(tx, message))
			break;
		if (!hear(rx, message, &seed))
			break;
		if (!first && !say(tx, message))
			break;
	}
	return message;
}

START_TEST(no_wakeup_is_lost)
{
	struct direction *both = shared_memory(2 * sizeof(*both));
	uint64_t ended;
	int status;
	pid_t child;

	for (int i = 0; i < 2; i++) {
		both[i].state = CW_LIVE;
		ck_assert_int_eq(pipe(both[i].pipe), 0);
	}
	child = fork();
	settle_on(child == 0);
	if (child == 0)
		_exit(talk(&both[0], &both[1], false, 1357) != EXCHANGES + 1);
	ended = talk(&both[1], &both[0], true, 2468);
	if (ended != EXCHANGES + 1)
		kill(child, SIGKILL);
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert_msg(ended == EXCHANGES + 1, "stopped at exchange %lu, asleep %lu times", (unsigned long)ended,
		      (unsigned long)both[0].sleeps);
	ck_assert_int_eq(status, 0);
	/* It means nothing if nobody slept, or if each sleep was seen by its second look. */
	for (int i = 0; i < 2; i++) {
		ck_assert_uint_gt(both[i].sleeps, 1000);
		ck_assert_uint_gt(both[i].rings, 100);
	}
}
END_TEST

int main(void)
{
	SRunner *runner;
	TCase *units = units_of("state", 95, &runner);

	tcase_add_loop_test(units, a_step_changes_the_state_alone, 0, CW_STATES * CW_STATES);
	tcase_add_test(units, who_is_late_learns_what_is_there);
	tcase_add_test(units, an_old_sleep_is_not_a_new_one);
	tcase_add_test(units, a_mark_makes_a_step_look_again);
	tcase_add_test(units, a_mark_touches_nothing_else);
	tcase_add_test(units, the_generation_wraps);
	tcase_add_test(units, no_wakeup_is_lost);
	return run_units(runner);
}
