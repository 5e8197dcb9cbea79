/* sync/rest: who looks in vain, at others' expense, rests, and not for ever. */
#include "unit.h"

#include "sync/look.h"
#include "sync/rest.h"
#include "sync/spin.h"

#define MOST_SLEEPS 4096
#define SPIN_US     50

static struct cw_rest rest;

static void look(unsigned turns, bool found)
{
	for (unsigned i = 0; i < turns; i++)
		cw_rest_gave(&rest);
	if (found)
		cw_rest_found(&rest);
	else
		cw_rest_lost(&rest);
}

static unsigned sleeps_of_rest(void)
{
	unsigned sleeps = 0;

	for (; cw_rests(&rest); sleeps++)
		cw_rest_slept(&rest);
	return sleeps;
}

static unsigned looks_before_rest(unsigned turns, bool found, unsigned most)
{
	unsigned looks = 0;

	for (; looks < most && !cw_rests(&rest); looks++)
		look(turns, found);
	return looks;
}

START_TEST(looks_in_vain_end_in_rest)
{
	unsigned last = 0, sleeps;

	ck_assert(!cw_rests(&rest));
	for (int i = 0; i < 20; i++, last = sleeps) {
		ck_assert_uint_le(looks_before_rest(2, false, 1000), 20);
		sleeps = sleeps_of_rest();
		ck_assert_uint_ge(sleeps, 100);
		ck_assert_uint_le(sleeps, MOST_SLEEPS);
		ck_assert_uint_eq(sleeps, !last ? sleeps : 2 * last < MOST_SLEEPS ? 2 * last : MOST_SLEEPS);
	}
	ck_assert_uint_eq(last, MOST_SLEEPS);
}
END_TEST

START_TEST(who_finds_something_in_few_turns_never_rests)
{
	for (unsigned turns = 0; turns < 4; turns++)
		ck_assert_uint_eq(looks_before_rest(turns, true, 10000), 10000);
}
END_TEST

START_TEST(many_turns_for_each_find_are_too_many)
{
	ck_assert_uint_lt(looks_before_rest(8, true, 1000), 1000);
}
END_TEST

/* What was good for long doesn't hide for long that it no longer is; and once looks pay again, the next rest is a short one. */
START_TEST(the_past_is_forgotten)
{
	unsigned first;

	looks_before_rest(2, false, 1000);
	first = sleeps_of_rest();
	for (int i = 0; i < 6; i++) {
		looks_before_rest(2, false, 1000);
		sleeps_of_rest();
	}
	looks_before_rest(1, true, 1000);
	ck_assert_uint_le(looks_before_rest(2, false, 1000), 20);
	ck_assert_uint_eq(sleeps_of_rest(), first);
}
END_TEST

START_TEST(who_rests_sleeps_at_once)
{
	struct cw_spin spin = {0};
	unsigned sleeps = 0;

	looks_before_rest(2, false, 1000);
	spin.rest = rest;
	while (cw_rests(&spin.rest)) {
		ck_assert(cw_spin_sparse(&spin, SPIN_US));
		ck_assert(cw_spin_is_sparse(&spin, SPIN_US));
		ck_assert_uint_eq(cw_spin_budget(&spin, SPIN_US), 0);
		/* However long the sleep was, and whatever it counts as else. */
		if (sleeps % 2)
			cw_spin_slept(&spin, SPIN_US, ticks(sleeps % 3 ? 1 : 30));
		else
			cw_spin_lost(&spin, SPIN_US, ticks(30));
		sleeps++;
	}
	ck_assert_uint_eq(sleeps, sleeps_of_rest());
}
END_TEST

/* However many turns one look has, it leads to one rest. */
START_TEST(a_rest_is_not_begun_anew)
{
	for (int i = 0; i < 10000; i++)
		cw_rest_gave(&rest);
	ck_assert_uint_eq(sleeps_of_rest(), 128);
}
END_TEST

START_TEST(what_is_found_is_noted)
{
	struct cw_give_way way = {0};
	struct cw_spin spin = {0};
	struct cw_look one;

	cw_look_begin(&one, &spin, &way, SPIN_US, CW_LOOK_GIVES_WAY);
	cw_look_paid(&one, 1);
	ck_assert_int_gt(spin.rest.balance, 0);
	cw_look_told(&one);
	ck_assert_int_eq(spin.rest.balance, 8);
}
END_TEST

START_TEST(looks_in_vain_with_turns_are_noted)
{
	struct cw_give_way way = {0};
	struct cw_spin spin = {0};
	struct cw_look one;

	for (int i = 0; i < 1000 && !cw_rests(&spin.rest); i++) {
		cw_look_begin(&one, &spin, &way, SPIN_US, CW_LOOK_GIVES_WAY);
		one.turns = true;
		one.start -= ticks(10 * SPIN_US);
		ck_assert(!cw_look_goes_on(&one));
	}
	ck_assert(cw_rests(&spin.rest));
	ck_assert_uint_eq(cw_spin_budget(&spin, SPIN_US), 0);
	/* Without turns it is at nobody's expense. */
	spin = (struct cw_spin){0};
	for (int i = 0; i < 1000; i++) {
		cw_look_begin(&one, &spin, &way, SPIN_US, CW_LOOK_GIVES_WAY);
		one.start -= ticks(10 * SPIN_US);
		ck_assert(!cw_look_goes_on(&one));
		ck_assert(!cw_rests(&spin.rest));
	}
}
END_TEST

int main(void)
{
	SRunner *runner;
	TCase *units = units_of("rest", 30, &runner);

	tcase_add_test(units, looks_in_vain_end_in_rest);
	tcase_add_test(units, who_finds_something_in_few_turns_never_rests);
	tcase_add_test(units, many_turns_for_each_find_are_too_many);
	tcase_add_test(units, the_past_is_forgotten);
	tcase_add_test(units, who_rests_sleeps_at_once);
	tcase_add_test(units, a_rest_is_not_begun_anew);
	tcase_add_test(units, what_is_found_is_noted);
	tcase_add_test(units, looks_in_vain_with_turns_are_noted);
	return run_units(runner);
}
