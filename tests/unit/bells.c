/* sockets/: a blocking receive that sleeps on a bell: each sleep is rung for once, and what can't be rung for is woken by the kernel. */
#include "played_bell.h"

#include <fcntl.h>

#define ROUNDS 200

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
	/* Nor is a call restarted that has a limit for ever. */
	for (int i = 0; i < 2; i++) {
		unsigned before = turns;

		limit.tv_sec = i ? INT_MAX : 0;
		limit.tv_usec = 0;
		setsockopt(pair.fd[1], SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
		call(&one, 5);
		while (turns == before)
			sched_yield();
		ck_assert_uint_eq(wishes & CAUSEWAY_AWAIT_ONCE, i ? CAUSEWAY_AWAIT_ONCE : 0);
		await_sleep_on_bell();
		put(5);
		expect(&one, 5);
	}
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
	tcase_add_test(units, the_rest_of_all_is_rung_for);
	tcase_add_test(units, a_signal_ends_the_wait_for_the_rest);
	return run_units(runner);
}
