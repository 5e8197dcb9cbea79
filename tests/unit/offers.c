/* sockets/: an offer that stands while the reader sleeps on a bell: who takes it rings. */
#include "played_bell.h"

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

int main(void)
{
	SRunner *runner;
	TCase *units = units_of("offers", 90, &runner);

	tcase_add_test(units, an_offer_that_stands_is_rung_for);
	tcase_add_test(units, a_writer_without_a_bell_is_left_no_offer);
	tcase_add_test(units, who_can_t_ring_for_an_offer_is_heard_within_the_limit);
	tcase_add_test(units, rings_for_offers_are_missed_too);
	tcase_add_test(units, a_ring_for_others_leaves_an_offer);
	tcase_add_test(units, an_offer_that_nobody_takes_is_withdrawn);
	tcase_add_test(units, a_second_reader_withdraws_the_offer);
	return run_units(runner);
}
