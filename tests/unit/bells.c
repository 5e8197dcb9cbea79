/* sockets/: a blocking receive that sleeps on a bell, which an eventfd plays here: rings that are lost, late, or can't be had. */
#include "stepped.h"

#include <fcntl.h>
#include <sys/eventfd.h>

#include "sockets/bell.h"

#define ROUNDS 200

/* ---- the bell ---- */

static int rung_by;              /* eventfd */
static _Atomic uint64_t rings;   /* the module's count */
static _Atomic unsigned asked;   /* how often it was rung, heard or not */
static _Atomic unsigned turns;   /* sleeps on it */
static _Atomic bool loses, deaf; /* rings are dropped; who sleeps doesn't wake */
static _Atomic long fails;

static bool has(int fd)
{
	return true;
}

static long play_ring(int fd)
{
	if (fails)
		return fails;
	asked++;
	if (loses)
		return 0;
	rings++;
	return write(rung_by, &(uint64_t){1}, 8) == 8 ? 0 : -EIO;
}

static long play_await(int fd, struct causeway_await *await)
{
	struct pollfd both[2] = {{rung_by, POLLIN, 0}, {await->fd, (short)await->events, 0}};
	int64_t left = (int64_t)await->deadline - (int64_t)cw_monotonic_ns();
	uint64_t told;
	int ready = 0;

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

static void begin(void)
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

static uint64_t counted(const struct cw_stream *stream, enum cw_counter counter)
{
	return cw_counters(stream)[counter];
}

static void await_sleep(void)
{
	while (cw_state_of(words->state) != CW_ASLEEP || !words->rx_asleep)
		sched_yield();
}

static void await_sleep_on_bell(void)
{
	while (!words->rx_bell || words->rx_bell != cw_bell_sleep_of(words->state) || !words->rx_asleep)
		sched_yield();
}

static void await_sleep_on_offer(void)
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
static void *receive(void *argument)
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

static void call_with(struct call *call, size_t wanted, int flags)
{
	call->wanted = wanted;
	call->flags = flags;
	ck_assert_int_eq(pthread_create(&call->thread, NULL, receive, call), 0);
}

static void call(struct call *call, size_t wanted)
{
	call_with(call, wanted, 0);
}

static void expect(struct call *call, ssize_t got)
{
	pthread_join(call->thread, NULL);
	ck_assert_int_eq(call->got, got);
}

/* Some rings: each time it is another sleep. None of them is the writer's. */
static void ring_for_others(void (*settled)(void))
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

/* ---- units ---- */

START_TEST(each_sleep_is_rung_for_once)
{
	struct call one;

	begin();
	for (int i = 0; i < ROUNDS; i++) {
		unsigned before = turns;

		call(&one, 5);
		await_sleep_on_bell();
		while (turns == before)
			sched_yield();
		put(2);
		put(3);
		pthread_join(one.thread, NULL);
		ck_assert_int_ge(one.got, 2);
		take((size_t)(5 - one.got));
		if (cw_state_of(words->state) != CW_LIVE)
			until(CW_LIVE);
	}
	/* The second put may find the reader awake, or asleep in another turn; it is taken back only where we came later than the limit. */
	ck_assert_uint_eq(asked, counted(writer, CW_COUNT_rings));
	ck_assert_uint_eq(asked + counted(writer, CW_COUNT_doorbells), ROUNDS);
	ck_assert_uint_eq(counted(reader, CW_COUNT_rung), asked);
	ck_assert_uint_gt(asked, counted(writer, CW_COUNT_doorbells));
}
END_TEST

START_TEST(nobody_rings_for_who_looks)
{
	begin();
	for (int i = 0; i < ROUNDS; i++) {
		put(7);
		take(7);
	}
	ck_assert_uint_eq(asked + counted(writer, CW_COUNT_doorbells), 0);
}
END_TEST

START_TEST(a_ring_for_others_wakes_nobody)
{
	struct call one;

	begin();
	call(&one, 5);
	ring_for_others(await_sleep_on_bell);
	put(5);
	expect(&one, 5);
	ck_assert_uint_eq(asked, 1);
	ck_assert_uint_eq(counted(writer, CW_COUNT_doorbells), 0);
}
END_TEST

/* A writer looks late: what it rings for was read before the reader fell asleep. The next byte is rung for all the same. */
START_TEST(a_ring_for_what_was_read_is_not_the_last)
{
	struct call one;
	uint64_t word;

	begin();
	call(&one, 5);
	await_sleep_on_bell();
	word = words->state;
	ck_assert(cw_bell_wanted(writer, word) && cw_bell_ring(writer, word));
	while (words->rx_bell == cw_bell_sleep_of(word))
		sched_yield();
	await_sleep_on_bell();
	put(5);
	expect(&one, 5);
	ck_assert_uint_eq(asked, 2);
	ck_assert_uint_eq(reader->rings_missed, 0);
}
END_TEST

START_TEST(lost_rings_cost_a_turn_each_and_then_the_bell)
{
	struct call one;

	begin();
	loses = true;
	for (unsigned i = 0; i < CW_BELLS_LOST; i++) {
		call(&one, 5);
		await_sleep_on_bell();
		put(5);
		expect(&one, 5);
		ck_assert_uint_eq(counted(writer, CW_COUNT_doorbells), 0);
	}
	ck_assert_uint_eq(reader->bell, 0);
	call(&one, 5);
	await_sleep();
	ck_assert_uint_eq(words->rx_bell, 0);
	put(5);
	expect(&one, 5);
	ck_assert_uint_eq(counted(writer, CW_COUNT_doorbells), 1);
}
END_TEST

/* What an idle program costs is what it costs without. */
START_TEST(who_is_not_called_sleeps_on_in_the_kernel)
{
	struct call one;

	begin();
	call(&one, 5);
	await_sleep_on_bell();
	while (words->rx_bell)
		usleep(1000);
	await_sleep();
	put(5);
	expect(&one, 5);
	ck_assert_uint_eq(asked, 0);
	ck_assert_uint_eq(counted(writer, CW_COUNT_doorbells), 1);
}
END_TEST

START_TEST(who_can_t_ring_takes_back)
{
	struct call one;

	begin();
	fails = -EIO;
	call(&one, 5);
	await_sleep_on_bell();
	put(5);
	expect(&one, 5);
	ck_assert_uint_eq(counted(writer, CW_COUNT_doorbells), 1);
	ck_assert_uint_eq(writer->bell, 0);
}
END_TEST

/* The ring fills before the sleeper has come: taken back, in order. */
START_TEST(a_full_ring_behind_a_sleeper)
{
	struct call one;
	uint64_t before;

	begin();
	deaf = true;
	call(&one, 100);
	await_sleep_on_bell();
	before = sent;
	while (!counted(writer, CW_COUNT_doorbells) && sent - before < 1u << 20)
		put(250);
	put(250);
	ck_assert_uint_eq(counted(writer, CW_COUNT_doorbells), 1);
	ck_assert_uint_eq(asked, 1);
	deaf = false;
	expect(&one, 100);
	while (taken < sent)
		take(sent - taken < 200 ? sent - taken : 200);
}
END_TEST

/* The other's process ends: killed, as its kernel shows it. */
START_TEST(an_end_of_file_wakes)
{
	struct call one;

	begin();
	for (int behind = 0; behind < 2; behind++) {
		deaf = behind;
		call(&one, 5);
		await_sleep_on_bell();
		if (behind) {
			put(5);
			pair_close(writer, pair.fd[0]);
			deaf = false;
			expect(&one, 5);
			call(&one, 5);
			expect(&one, 0);
		} else {
			put(5);
			expect(&one, 5);
		}
	}
}
END_TEST

static void nothing(int number)
{
}

START_TEST(signals_and_times_end_it_as_in_the_kernel)
{
	struct sigaction action = {.sa_handler = nothing};
	struct timeval limit = {.tv_usec = 300000}, none = {0};
	uint64_t begun;
	struct call one;

	begin();
	sigaction(SIGUSR1, &action, NULL);
	call(&one, 5);
	await_sleep_on_bell();
	while (words->rx_asleep) {
		pthread_kill(one.thread, SIGUSR1);
		usleep(1000);
	}
	expect(&one, -1);
	ck_assert_int_eq(one.error, EINTR);
	/* Longer than a turn: it is not the turn that ends it. */
	setsockopt(pair.fd[1], SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	begun = cw_monotonic_ns();
	call(&one, 5);
	expect(&one, -1);
	ck_assert_int_eq(one.error, EAGAIN);
	ck_assert_uint_ge(cw_monotonic_ns() - begun, 300000000);
	ck_assert_uint_eq(words->rx_asleep, 0);
	setsockopt(pair.fd[1], SOL_SOCKET, SO_RCVTIMEO, &none, sizeof(none));
	put(5);
	take(5);
}
END_TEST

START_TEST(a_cancelled_sleeper_leaves_the_stream_well)
{
	struct call one;
	void *result;

	begin();
	call(&one, 5);
	await_sleep_on_bell();
	usleep(20000);
	pthread_cancel(one.thread);
	ck_assert_int_eq(pthread_join(one.thread, &result), 0);
	ck_assert_ptr_eq(result, PTHREAD_CANCELED);
	ck_assert_uint_eq(words->rx_asleep, 0);
	put(5);
	take(5);
	call(&one, 5);
	await_sleep();
	put(5);
	expect(&one, 5);
}
END_TEST

/* Another thread asks: from then on the first is woken through the kernel. */
START_TEST(a_second_reader_ends_the_bell)
{
	unsigned char byte;
	struct call one;

	begin();
	call(&one, 5);
	await_sleep_on_bell();
	ck_assert_int_eq(cw_receive(reader, pair.fd[1], &byte, 1, MSG_DONTWAIT), -1);
	ck_assert_int_eq(errno, EAGAIN);
	ck_assert_uint_eq(words->rx_bell, 0);
	ck_assert_int_eq(cw_state_of(words->state), CW_ASLEEP);
	put(5);
	expect(&one, 5);
	ck_assert_uint_eq(asked, 0);
	ck_assert_uint_eq(counted(writer, CW_COUNT_doorbells), 1);
}
END_TEST

/* Another thread closes it: the sleeper doesn't stay. */
START_TEST(closed_under_the_sleeper)
{
	struct call one;

	begin();
	call(&one, 5);
	await_sleep_on_bell();
	pair_close(reader, pair.fd[1]);
	expect(&one, -1);
	ck_assert_int_eq(one.error, EBADF);
}
END_TEST

START_TEST(without_the_option_nobody_sleeps_on_it)
{
	struct call one;

	begin();
	reader->bell = 0;
	call(&one, 5);
	await_sleep();
	ck_assert_uint_eq(words->rx_bell, 0);
	put(5);
	expect(&one, 5);
	ck_assert_uint_eq(turns + asked, 0);
	ck_assert_uint_eq(counted(writer, CW_COUNT_doorbells), 1);
}
END_TEST

START_TEST(the_descriptor_is_hidden)
{
	int own = -1;

	begin();
	for (int fd = 3; fd < (int)cw_table_end(); fd++)
		if (cw_bell_is(fd))
			own = fd;
	ck_assert_int_gt(own, 64);
	ck_assert_int_eq(fcntl(own, F_GETFD), FD_CLOEXEC);
	cw_bell_move(own);
	ck_assert_int_eq(fcntl(own, F_GETFD), -1);
	ck_assert(!cw_bell_is(own));
	for (int fd = 3; fd < (int)cw_table_end(); fd++)
		if (cw_bell_is(fd))
			return;
	ck_abort_msg("it is gone");
}
END_TEST

/* Messages far apart from the first one on: the reader sleeps while its offer stands, and who takes it rings. */
START_TEST(an_offer_that_stands_is_rung_for)
{
	struct call one;
	uint64_t by_ring, doorbells;

	begin();
	offered();
	doorbells = counted(writer, CW_COUNT_doorbells);
	by_ring = counted(reader, CW_COUNT_bytes_ring_in);
	call(&one, 5);
	await_sleep_on_offer();
	put(5);
	expect(&one, 5);
	ck_assert_uint_eq(asked, 1);
	ck_assert_uint_eq(counted(reader, CW_COUNT_rung), 1);
	ck_assert_uint_eq(counted(reader, CW_COUNT_bytes_ring_in), by_ring + 5);
	ck_assert_uint_eq(counted(writer, CW_COUNT_doorbells), doorbells);
	ck_assert_uint_eq(words->rx_asleep, 0);
}
END_TEST

START_TEST(a_writer_without_a_bell_is_left_no_offer)
{
	struct call one;

	begin();
	offered();
	words->tx_bell = 0;
	call(&one, 5);
	while (cw_state_of(words->state) != CW_TAKEN || !words->rx_asleep)
		sched_yield();
	ck_assert_uint_eq(words->rx_bell, 0);
	put(5);
	expect(&one, 5);
	ck_assert_uint_eq(turns + asked, 0);
}
END_TEST

START_TEST(who_can_t_ring_for_an_offer_is_heard_within_the_limit)
{
	struct call one;

	begin();
	offered();
	fails = -EIO;
	call(&one, 5);
	await_sleep_on_offer();
	put(5);
	expect(&one, 5);
	ck_assert_uint_eq(writer->bell, 0);
	ck_assert_uint_eq(words->tx_bell, 0);
	ck_assert_uint_eq(reader->rings_missed, 1);
	fails = 0;
	put(5);
	take(5);
}
END_TEST

START_TEST(rings_for_offers_are_missed_too)
{
	struct call one;

	begin();
	loses = true;
	for (unsigned i = 0; reader->bell && i < 20; i++) {
		offered();
		call(&one, 5);
		await_sleep_on_offer();
		put(5);
		expect(&one, 5);
		until(CW_LIVE);
	}
	ck_assert_uint_eq(reader->bell, 0);
	ck_assert_uint_eq(reader->tx->tx_bell, 0);
}
END_TEST

/* A bell that others are rung by as well: the offer is made again. */
START_TEST(a_ring_for_others_leaves_an_offer)
{
	struct call one;

	begin();
	offered();
	call(&one, 5);
	ring_for_others(await_sleep_on_offer);
	put(5);
	expect(&one, 5);
	ck_assert_uint_eq(asked, 1);
}
END_TEST

START_TEST(an_offer_that_nobody_takes_is_withdrawn)
{
	struct call one;

	begin();
	offered();
	call(&one, 5);
	await_sleep_on_offer();
	while (cw_state_of(words->state) != CW_TAKEN || !words->rx_asleep)
		usleep(1000);
	ck_assert_uint_eq(words->rx_bell, 0);
	usleep(300000);
	ck_assert_int_eq(cw_state_of(words->state), CW_TAKEN);
	put(5);
	expect(&one, 5);
	ck_assert_uint_eq(asked, 0);
}
END_TEST

START_TEST(a_second_reader_withdraws_the_offer)
{
	unsigned char byte;
	struct call one;

	begin();
	offered();
	call(&one, 5);
	await_sleep_on_offer();
	ck_assert_int_eq(cw_receive(reader, pair.fd[1], &byte, 1, MSG_DONTWAIT), -1);
	ck_assert_int_eq(errno, EAGAIN);
	ck_assert_uint_eq(words->rx_bell, 0);
	ck_assert_int_eq(cw_state_of(words->state), CW_TAKEN);
	put(5);
	expect(&one, 5);
	ck_assert_uint_eq(asked, 0);
}
END_TEST

START_TEST(the_rest_of_all_is_rung_for)
{
	struct call one;

	begin();
	call_with(&one, 10, MSG_WAITALL);
	for (unsigned i = 0; i < 2; i++) {
		await_sleep_on_bell();
		put(5);
		while (words->roff != sent)
			sched_yield();
	}
	expect(&one, 10);
	ck_assert_uint_eq(asked, 2);
	ck_assert_uint_eq(counted(writer, CW_COUNT_doorbells), 0);
}
END_TEST

/* Interrupted with a part, it tells the part; SA_RESTART or not. */
START_TEST(a_signal_ends_the_wait_for_the_rest)
{
	struct sigaction action = {.sa_handler = nothing, .sa_flags = SA_RESTART};
	struct call one;

	begin();
	sigaction(SIGUSR1, &action, NULL);
	call_with(&one, 10, MSG_WAITALL);
	await_sleep_on_bell();
	put(5);
	while (words->roff != sent)
		sched_yield();
	await_sleep_on_bell();
	while (words->rx_asleep) {
		pthread_kill(one.thread, SIGUSR1);
		usleep(1000);
	}
	expect(&one, 5);
	put(5);
	take(5);
}
END_TEST

int main(void)
{
	SRunner *runner;
	TCase *units = units_of("bells", 90, &runner);

	tcase_add_test(units, each_sleep_is_rung_for_once);
	tcase_add_test(units, nobody_rings_for_who_looks);
	tcase_add_test(units, a_ring_for_others_wakes_nobody);
	tcase_add_test(units, a_ring_for_what_was_read_is_not_the_last);
	tcase_add_test(units, lost_rings_cost_a_turn_each_and_then_the_bell);
	tcase_add_test(units, who_is_not_called_sleeps_on_in_the_kernel);
	tcase_add_test(units, who_can_t_ring_takes_back);
	tcase_add_test(units, a_full_ring_behind_a_sleeper);
	tcase_add_test(units, an_end_of_file_wakes);
	tcase_add_test(units, signals_and_times_end_it_as_in_the_kernel);
	tcase_add_test(units, a_cancelled_sleeper_leaves_the_stream_well);
	tcase_add_test(units, a_second_reader_ends_the_bell);
	tcase_add_test(units, closed_under_the_sleeper);
	tcase_add_test(units, without_the_option_nobody_sleeps_on_it);
	tcase_add_test(units, the_descriptor_is_hidden);
	tcase_add_test(units, an_offer_that_stands_is_rung_for);
	tcase_add_test(units, a_writer_without_a_bell_is_left_no_offer);
	tcase_add_test(units, who_can_t_ring_for_an_offer_is_heard_within_the_limit);
	tcase_add_test(units, rings_for_offers_are_missed_too);
	tcase_add_test(units, a_ring_for_others_leaves_an_offer);
	tcase_add_test(units, an_offer_that_nobody_takes_is_withdrawn);
	tcase_add_test(units, a_second_reader_withdraws_the_offer);
	tcase_add_test(units, the_rest_of_all_is_rung_for);
	tcase_add_test(units, a_signal_ends_the_wait_for_the_rest);
	return run_units(runner);
}
