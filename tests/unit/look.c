/* sync/look, sync/give_way: a look lets others run, and not where that costs more than it brings. */
#include "turns.h"
#include "unit.h"

#include <stdatomic.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "sync/cpu.h"
#include "sync/look.h"

#define START 1000000000u /* ticks */

static struct cw_give_way way;
static struct cw_spin spin;

/* The next yield, as soon as it may be, that takes so long. */
static enum cw_gave gives(uint64_t us)
{
	return cw_give_way_judge(&way, way.not_before, way.not_before + ticks(us));
}

static uint64_t pause_after(uint64_t us)
{
	uint64_t end = way.not_before + ticks(us);

	gives(us);
	return way.not_before - end;
}

/* ---- what is given ---- */

START_TEST(who_finds_nobody_asks_more_seldom)
{
	way.not_before = START;
	ck_assert_int_eq(gives(0), CW_GAVE_NOTHING);
	ck_assert_uint_gt(pause_after(1), pause_after(100));
	ck_assert_uint_eq(way.credit, ticks(100));
}
END_TEST

START_TEST(short_turns_of_others_are_credit)
{
	way.not_before = START;
	ck_assert_int_eq(gives(5), CW_GAVE_BRIEFLY);
	ck_assert_int_eq(gives(150), CW_GAVE);
	ck_assert_int_eq(gives(900), CW_GAVE);
	ck_assert_uint_eq(way.credit, ticks(1055));
	for (int i = 0; i < 100; i++)
		gives(900);
	ck_assert_uint_eq(way.credit, ticks(20000));
}
END_TEST

START_TEST(without_credit_a_long_turn_is_the_last_for_a_while)
{
	way.not_before = START;
	ck_assert_uint_eq(pause_after(2000), ticks(16 * 6000));
	ck_assert_uint_eq(way.credit, 0);
}
END_TEST

START_TEST(others_who_compute_are_told_from_nobody)
{
	uint64_t now = cw_ticks();

	ck_assert(!cw_give_way_pauses(&way));
	cw_give_way_judge(&way, now - ticks(1), now);
	ck_assert(!cw_give_way_pauses(&way));
	cw_give_way_judge(&way, now - ticks(2000), now);
	ck_assert(cw_give_way_pauses(&way));
}
END_TEST

START_TEST(with_credit_a_long_turn_changes_nothing)
{
	way.not_before = START;
	for (int i = 0; i < 20; i++)
		gives(900);
	ck_assert_uint_eq(pause_after(2000), pause_after(100));
	ck_assert_uint_eq(way.credit, ticks(18000 - 6000 + 100));
}
END_TEST

/* Many who were busy for us take as long together as one who computes. */
START_TEST(many_found_at_once_are_credit)
{
	way.not_before = START;
	cw_give_way_brought(&way, 15);
	ck_assert_uint_eq(way.credit, ticks(15 * 250));
	ck_assert_uint_eq(pause_after(1200), pause_after(100));
	cw_give_way_brought(&way, UINT32_MAX);
	ck_assert_uint_eq(way.credit, ticks(20000));
}
END_TEST

START_TEST(what_is_found_after_a_turn_is_told)
{
	struct cw_look look;

	cw_look_begin(&look, &spin, &way, 50, CW_LOOK_GIVES_WAY);
	cw_look_paid(&look, 16); /* without one */
	ck_assert_uint_eq(way.credit, 0);
	look.gave = CW_GAVE;
	cw_look_paid(&look, 1);
	ck_assert_uint_eq(way.credit, 0);
	cw_look_paid(&look, 16);
	ck_assert_uint_eq(way.credit, ticks(15 * 250));
}
END_TEST

/* Of a hundred ticks, those given to others of whom one in so many takes so long, the rest some 100 us. */
static uint64_t percent_given(unsigned one_in, uint64_t long_us)
{
	uint64_t seed = 7, given = 0;

	way.not_before = START;
	for (int i = 0; i < 20000; i++) {
		uint64_t us = next_random(&seed) % one_in == 0 ? long_us : 5 + next_random(&seed) % 200;

		given += ticks(us);
		gives(us);
	}
	return 100 * given / (way.not_before - START);
}

/* Any mixture: others that take more than a quarter of what is given for long ones are given little, and others all they want. */
START_TEST(threads_that_compute_end_it)
{
	ck_assert_uint_lt(percent_given(10, 4000), 25);
}
END_TEST

START_TEST(those_who_answer_each_other_do_not)
{
	ck_assert_uint_gt(percent_given(400, 2000), 50);
}
END_TEST

/* A clock that goes back, and a machine that slept for a day. */
START_TEST(no_clock_ends_it_for_ever)
{
	ck_assert_int_eq(cw_give_way_judge(&way, START, START - 1), CW_GAVE_NOTHING);
	ck_assert_uint_lt(way.not_before, START + ticks(10));
	ck_assert_int_eq(cw_give_way_judge(&way, START, START + ticks(86400000000u)), CW_GAVE_FOR_LONG);
	ck_assert_uint_le(way.not_before - START - ticks(86400000000u), ticks(1000000));
	way.not_before = cw_ticks() + ticks(10000000);
	cw_give_way(&way);
	ck_assert_int_lt((int64_t)(way.not_before - cw_ticks()), (int64_t)ticks(2000000));
}
END_TEST

/* ---- a look ---- */

START_TEST(a_look_ends)
{
	struct cw_look look;
	uint64_t turns = 0, first;

	for (int i = 0; i < 2000; i++) {
		cw_look_begin(&look, &spin, &way, 50, CW_LOOK_GIVES_WAY | CW_LOOK_STEPS_ASIDE);
		first = look.start;
		while (cw_look_goes_on(&look))
			turns++;
		ck_assert_uint_le(look.start - first, ticks(1000));
		cw_spin_lost(&spin, 50, ticks(100));
	}
	ck_assert(turns || sysconf(_SC_NPROCESSORS_ONLN) < 2);
}
END_TEST

START_TEST(nothing_is_looked_for_without_time)
{
	struct cw_look look;

	cw_look_begin(&look, &spin, &way, 0, CW_LOOK_GIVES_WAY);
	ck_assert(!cw_look_goes_on(&look));
}
END_TEST

/* ---- asking the kernel ---- */

START_TEST(the_kernel_is_asked_now_and_then)
{
	struct cw_look look;

	cw_look_begin(&look, &spin, &way, 50, 0);
	ck_assert_uint_gt(look.ask_at, look.start);
	look.ask_at = cw_ticks() + ticks(1000000);
	ck_assert(!cw_look_asks(&look));
	look.ask_at = cw_ticks();
	ck_assert(cw_look_asks(&look));
	ck_assert_int_gt((int64_t)(look.ask_at - look.start), (int64_t)ticks(8));
}
END_TEST

START_TEST(who_hears_nothing_from_the_kernel_asks_later)
{
	for (int i = 0; i < 16; i++) {
		ck_assert(!cw_look_is_quiet(&spin));
		cw_look_asked(&spin, false);
	}
	ck_assert(cw_look_is_quiet(&spin));
	cw_look_asked(&spin, false);
	ck_assert(cw_look_is_quiet(&spin));
	cw_look_asked(&spin, true);
	ck_assert(!cw_look_is_quiet(&spin));
}
END_TEST

/* ---- where it comes from ---- */

START_TEST(who_finds_all_in_others_turns_only_gives_way)
{
	struct cw_look look;

	spin.pinned = true;
	for (int i = 0; i < 16; i++) {
		cw_look_begin(&look, &spin, &way, 50, CW_LOOK_GIVES_WAY);
		ck_assert(!look.only_gives);
		look.gave = CW_GAVE;
		cw_look_paid(&look, 1);
	}
	cw_look_begin(&look, &spin, &way, 50, CW_LOOK_GIVES_WAY);
	ck_assert(look.only_gives);
	way.not_before = cw_ticks() + ticks(100000);
	ck_assert(!cw_look_goes_on(&look));
	cw_look_begin(&look, &spin, &way, 50, 0); /* it may not */
	ck_assert(!look.only_gives);
	spin.losses = 32; /* a long look is due, which finds out */
	cw_look_begin(&look, &spin, &way, 50, CW_LOOK_GIVES_WAY);
	ck_assert(!look.only_gives);
	look.start -= ticks(10);
	look.gave = CW_GAVE_NOTHING;
	cw_look_paid(&look, 1);
	cw_look_begin(&look, &spin, &way, 50, CW_LOOK_GIVES_WAY);
	ck_assert(!look.only_gives);
}
END_TEST

/* ---- stepping aside ---- */

/* Found just after the other end has had our processor: step aside, if that is allowed. */
START_TEST(a_processor_that_both_use_is_left)
{
	for (unsigned how = 0; how <= CW_LOOK_STEPS_ASIDE; how += CW_LOOK_STEPS_ASIDE) {
		struct cw_look look;

		spin = (struct cw_spin){.aside = {.patience = 16384, .moved = cw_ticks()}}; /* not now */
		for (int i = 0; i < 12; i++) {
			cw_look_begin(&look, &spin, &way, 50, how);
			look.gave = CW_GAVE_BRIEFLY;
			spin.aside.noted = cw_ticks();
			cw_look_paid(&look, 1);
			look.gave = CW_GAVE;
			cw_look_paid(&look, 1);
		}
		ck_assert_uint_eq(spin.aside.stacked, how ? 8 : 0);
		look.gave = CW_GAVE_NOTHING;
		cw_look_paid(&look, 1);
		ck_assert_uint_eq(spin.aside.stacked, 0);
	}
}
END_TEST

/* Moves become rarer, until many looks in a row have found something without them. */
START_TEST(what_did_not_help_is_done_more_seldom)
{
	struct cw_look look;

	spin.aside.patience = 64;
	cw_look_begin(&look, &spin, &way, 50, CW_LOOK_STEPS_ASIDE);
	for (int turn = 0; turn < 3; turn++) {
		look.gave = CW_GAVE_BRIEFLY;
		cw_look_paid(&look, 1);
		look.gave = CW_GAVE_NOTHING;
		for (int i = 0; i < 1023; i++)
			cw_look_paid(&look, 1);
		look.gave = CW_GAVE;
		cw_look_paid(&look, 1); /* says nothing */
		ck_assert_uint_eq(spin.aside.patience, 64);
	}
	look.gave = CW_GAVE_NOTHING;
	cw_look_paid(&look, 1);
	ck_assert_uint_eq(spin.aside.patience, 1);
}
END_TEST

static _Atomic bool asked, answered, dumb, over;
static _Atomic unsigned turns;

static void *answers(void *unused)
{
	while (!atomic_load(&over)) {
		uint64_t start = cw_ticks();

		while (cw_ticks() - start < ticks(20))
			cw_pause();
		if (atomic_load(&asked) && !atomic_load(&dumb))
			atomic_store(&answered, true);
		atomic_fetch_add(&turns, 1);
		sched_yield();
	}
	return unused;
}

static bool is_answered(unsigned how)
{
	struct cw_look look;
	uint64_t first;

	atomic_store(&answered, false);
	atomic_store(&asked, true);
	atomic_store(&turns, 0);
	cw_look_begin(&look, &spin, &way, 500, how);
	first = look.start;
	while (cw_look_goes_on(&look))
		if (atomic_load(&answered))
			return true;
	ck_assert_uint_le(look.start - first, ticks(1000));
	return false;
}

START_TEST(the_other_end_is_let_to_answer)
{
	pthread_t other;

	if (sysconf(_SC_NPROCESSORS_ONLN) < 2)
		return; /* there are no looks */
	if (!on_one_processor(&other, answers)) {
		printf("# not shown: SCHED_FIFO is not permitted here\n");
		return;
	}
	ck_assert(!is_answered(0));
	ck_assert(is_answered(CW_LOOK_GIVES_WAY));
	way = (struct cw_give_way){0};
	atomic_store(&dumb, true); /* and no look is longer than it may be for one that never answers */
	ck_assert(!is_answered(CW_LOOK_GIVES_WAY));
	/* On our only processor it takes 8 us of our own, with at least one between two turns of the other. */
	ck_assert_uint_le(atomic_load(&turns), 10);
	atomic_store(&over, true);
	pthread_join(other, NULL);
}
END_TEST

/* sched_setattr(2)'s, which glibc 2.36 doesn't have and whose header in Linux says struct sched_param once more. */
struct attributes {
	uint32_t size, policy;
	uint64_t flags;
	int32_t nice;
	uint32_t priority;
	uint64_t runtime, deadline, period;
};

/* sched_yield would end its turn until the next period. */
START_TEST(a_thread_with_a_deadline_keeps_its_turn)
{
	struct attributes with = {
		.size = sizeof(with), .policy = SCHED_DEADLINE, .runtime = 10000000, .deadline = 100000000, .period = 100000000};
	struct attributes without = {.size = sizeof(without), .policy = SCHED_OTHER};

	if (syscall(SYS_sched_setattr, 0, &with, 0) < 0) {
		printf("# not shown: SCHED_DEADLINE is not permitted here\n");
		return;
	}
	ck_assert_int_eq(cw_give_way(&way), CW_GAVE_NOTHING);
	ck_assert(!way.may);
	way.not_before = 0;
	ck_assert_int_eq(syscall(SYS_sched_setattr, 0, &without, 0), 0);
	ck_assert(cw_give_way(&way) == CW_GAVE_FOR_LONG || way.may);
}
END_TEST

int main(void)
{
	SRunner *runner;
	TCase *units = units_of("look", 30, &runner);

	tcase_add_test(units, who_finds_nobody_asks_more_seldom);
	tcase_add_test(units, short_turns_of_others_are_credit);
	tcase_add_test(units, without_credit_a_long_turn_is_the_last_for_a_while);
	tcase_add_test(units, others_who_compute_are_told_from_nobody);
	tcase_add_test(units, with_credit_a_long_turn_changes_nothing);
	tcase_add_test(units, many_found_at_once_are_credit);
	tcase_add_test(units, what_is_found_after_a_turn_is_told);
	tcase_add_test(units, threads_that_compute_end_it);
	tcase_add_test(units, those_who_answer_each_other_do_not);
	tcase_add_test(units, no_clock_ends_it_for_ever);
	tcase_add_test(units, a_look_ends);
	tcase_add_test(units, nothing_is_looked_for_without_time);
	tcase_add_test(units, the_kernel_is_asked_now_and_then);
	tcase_add_test(units, who_hears_nothing_from_the_kernel_asks_later);
	tcase_add_test(units, who_finds_all_in_others_turns_only_gives_way);
	tcase_add_test(units, a_processor_that_both_use_is_left);
	tcase_add_test(units, what_did_not_help_is_done_more_seldom);
	tcase_add_test(units, the_other_end_is_let_to_answer);
	tcase_add_test(units, a_thread_with_a_deadline_keeps_its_turn);
	return run_units(runner);
}
