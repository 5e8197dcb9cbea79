/* sync/spin: whatever a thread goes through, it looks no longer than it may. */
#include "unit.h"

#include <sched.h>
#include <unistd.h>

#include "sync/cpu.h"
#include "sync/spin.h"

#define STEPS 200000

static const uint32_t bounds[] = {1, 3, 5, 20, 50, 1000};

START_TEST(the_clock_has_one_rate)
{
	uint64_t rate = cw_ticks_per_us();

	ck_assert_uint_gt(rate, 0);
	ck_assert_uint_eq(cw_ticks_per_us(), rate);
}
END_TEST

START_TEST(zero_never_looks)
{
	struct cw_spin spin = {0};

	for (int i = 0; i < 100; i++) {
		ck_assert_uint_eq(cw_spin_budget(&spin, 0), 0);
		cw_spin_lost(&spin, 0, (uint64_t)i * 1000);
		ck_assert_uint_eq(cw_spin_budget(&spin, 0), 0);
		ck_assert(cw_spin_sparse(&spin, 0));
		cw_spin_paid(&spin, 0);
	}
}
END_TEST

START_TEST(one_processor_never_looks)
{
	struct cw_spin spin = {0};

	ck_assert(sysconf(_SC_NPROCESSORS_ONLN) > 1 || cw_spin_budget(&spin, 50) == 0);
	ck_assert(sysconf(_SC_NPROCESSORS_ONLN) < 2 || cw_spin_budget(&spin, 50) > 0);
	ck_assert(cw_spin_sparse(&spin, 50) == (sysconf(_SC_NPROCESSORS_ONLN) < 2));
}
END_TEST

/* Any history: at most the bound, but for a long look of twice the bound, and that only now and then. */
START_TEST(no_history_leads_beyond_the_bound)
{
	uint32_t most = bounds[_i];
	struct cw_spin spin = {0};
	uint64_t seed = 1000 + (uint64_t)_i, budget, longest = 0, longer = 0;

	for (int i = 0; i < STEPS; i++) {
		budget = cw_spin_budget(&spin, most);
		ck_assert_uint_le(budget, ticks(2 * most));
		longest = budget > longest ? budget : longest;
		longer += budget > ticks(most);
		if (next_random(&seed) % 5 == 0)
			cw_spin_paid(&spin, most);
		else
			cw_spin_lost(&spin, most, next_random(&seed) % ticks(100 * most));
	}
	ck_assert_uint_le(longer, STEPS / 32);
	ck_assert(longest > 0 || sysconf(_SC_NPROCESSORS_ONLN) < 2);
}
END_TEST

/* Who sleeps at once never looks, so what ends that must come from elsewhere: a wait that a look would have spared, or the long look that
 * is due now and then. */
START_TEST(sparse_until_a_look_would_pay)
{
	struct cw_spin spin = {0};
	unsigned looks = 0;

	if (sysconf(_SC_NPROCESSORS_ONLN) < 2)
		return;
	ck_assert(!cw_spin_sparse(&spin, 50));
	cw_spin_lost(&spin, 50, ticks(100000));
	ck_assert(cw_spin_sparse(&spin, 50));
	ck_assert(!cw_spin_sparse(&spin, 3));
	cw_spin_paid(&spin, 50);
	ck_assert(!cw_spin_sparse(&spin, 50));
	for (int i = 0; i < 1000; i++) {
		looks += !cw_spin_sparse(&spin, 50);
		cw_spin_lost(&spin, 50, ticks(100));
	}
	ck_assert_uint_ge(looks, 8 + 1000 / 128);
	ck_assert_uint_le(looks, 8 + 1000 / 64);
}
END_TEST

START_TEST(a_sleep_without_a_look_tells_whether_one_would_pay)
{
	struct cw_spin spin = {0};

	if (sysconf(_SC_NPROCESSORS_ONLN) < 2)
		return;
	cw_spin_lost(&spin, 50, ticks(100000));
	cw_spin_slept(&spin, 50, ticks(100));
	cw_spin_slept(&spin, 50, ticks(100000));
	ck_assert(cw_spin_sparse(&spin, 50));
	cw_spin_slept(&spin, 50, ticks(2)); /* that was no sleep */
	ck_assert(cw_spin_sparse(&spin, 50));
	cw_spin_slept(&spin, 50, ticks(20));
	ck_assert(!cw_spin_sparse(&spin, 50));
}
END_TEST

/* On a processor of both ends the answer comes soon because who waits for it sleeps. */
START_TEST(short_sleeps_are_no_sign_where_looks_were_in_vain)
{
	struct cw_spin spin = {0};

	if (sysconf(_SC_NPROCESSORS_ONLN) < 2)
		return;
	for (int i = 0; i < 10; i++)
		cw_spin_lost(&spin, 50, ticks(70));
	ck_assert(cw_spin_sparse(&spin, 50));
	cw_spin_slept(&spin, 50, ticks(20));
	ck_assert(cw_spin_sparse(&spin, 50));
	cw_spin_lost(&spin, 50, ticks(100000));
	cw_spin_lost(&spin, 50, ticks(70));
	ck_assert(cw_spin_sparse(&spin, 50)); /* nor are long ones in between */
	cw_spin_paid(&spin, 50);
	ck_assert(!cw_spin_sparse(&spin, 50));
}
END_TEST

/* However many there were, also where a long look is due. */
START_TEST(losses_make_no_idle_look_longer)
{
	if (sysconf(_SC_NPROCESSORS_ONLN) < 2)
		return;
	for (int losses = 0; losses < 300; losses++) {
		struct cw_spin spin = {0};

		for (int i = 0; i < losses; i++)
			cw_spin_lost(&spin, 50, ticks(70));
		cw_spin_lost(&spin, 50, ticks(100000));
		cw_spin_lost(&spin, 50, ticks(100000));
		ck_assert(cw_spin_sparse(&spin, 50));
		ck_assert_uint_le(cw_spin_budget(&spin, 50), ticks(5));
	}
}
END_TEST

/* What fits a large bound must be cut for a small one (a policy read later, or another stream's). */
START_TEST(a_smaller_bound_is_kept)
{
	struct cw_spin spin = {0};

	cw_spin_paid(&spin, 1000);
	ck_assert_uint_le(cw_spin_budget(&spin, 10), ticks(10));
	cw_spin_paid(&spin, 10);
	ck_assert_uint_le(cw_spin_budget(&spin, 1000), ticks(1000));
}
END_TEST

START_TEST(idle_looks_are_short)
{
	struct cw_spin spin = {0};

	if (sysconf(_SC_NPROCESSORS_ONLN) < 2)
		return;
	cw_spin_paid(&spin, 50);
	ck_assert_uint_eq(cw_spin_budget(&spin, 50), ticks(50));
	cw_spin_lost(&spin, 50, ticks(100000));
	ck_assert_uint_le(cw_spin_budget(&spin, 50), ticks(50) / 4);
	ck_assert_uint_gt(cw_spin_budget(&spin, 50), 0);
}
END_TEST

/* Sleeps that were short ask for a longer look, until too many of them show that looking is in vain. */
START_TEST(short_sleeps_make_it_longer_at_first)
{
	struct cw_spin spin = {0};
	uint64_t before, after;

	if (sysconf(_SC_NPROCESSORS_ONLN) < 2)
		return;
	cw_spin_paid(&spin, 50);
	cw_spin_lost(&spin, 50, ticks(100000));
	before = cw_spin_budget(&spin, 50);
	cw_spin_lost(&spin, 50, ticks(60));
	after = cw_spin_budget(&spin, 50);
	ck_assert_uint_gt(after, before);
	for (int i = 0; i < 20; i++)
		cw_spin_lost(&spin, 50, ticks(60));
	ck_assert_uint_lt(cw_spin_budget(&spin, 50), after);
}
END_TEST

/* Between long sleeps one that was lucky is no reason for a long one in vain; several are. */
START_TEST(what_pays_makes_it_longer_by_and_by)
{
	struct cw_spin spin = {0};

	if (sysconf(_SC_NPROCESSORS_ONLN) < 2)
		return;
	cw_spin_lost(&spin, 50, ticks(100000));
	cw_spin_paid(&spin, 50);
	ck_assert(!cw_spin_sparse(&spin, 50));
	ck_assert_uint_le(cw_spin_budget(&spin, 50), ticks(50) / 4);
	for (int i = 0; i < 3; i++)
		cw_spin_paid(&spin, 50);
	ck_assert_uint_eq(cw_spin_budget(&spin, 50), ticks(50));
}
END_TEST

/* Two ends that answered each other at the speed of wake-ups go on without. */
START_TEST(a_long_look_that_pays_changes_all)
{
	struct cw_spin spin = {0};

	if (sysconf(_SC_NPROCESSORS_ONLN) < 2)
		return;
	for (int i = 0; i < 32; i++)
		cw_spin_lost(&spin, 50, ticks(60));
	ck_assert_uint_eq(cw_spin_budget(&spin, 50), ticks(100));
	cw_spin_paid(&spin, 50);
	ck_assert_uint_eq(cw_spin_budget(&spin, 50), ticks(50));
	for (int i = 0; i < 33; i++)
		cw_spin_lost(&spin, 50, ticks(60));
	cw_spin_paid(&spin, 50); /* that was a short one */
	ck_assert_uint_le(cw_spin_budget(&spin, 50), ticks(50) / 4);
}
END_TEST

/* Who steps aside may still run wherever it might before. */
START_TEST(stepping_aside_keeps_the_affinity)
{
	cpu_set_t before, after;
	struct cw_aside aside = {0};

	ck_assert_int_eq(sched_getaffinity(0, sizeof(before), &before), 0);
	for (int turn = 0; turn < 10; turn++) {
		for (int i = 0; i < 20; i++)
			cw_aside_note(&aside, cw_aside_here(), cw_aside_here());
		aside.moved = 0;
		ck_assert(cw_aside_step(&aside) || CPU_COUNT(&before) == 1);
		ck_assert(!cw_aside_step(&aside)); /* not twice for the same */
	}
	ck_assert_int_eq(sched_getaffinity(0, sizeof(after), &after), 0);
	ck_assert(CPU_EQUAL(&before, &after));
}
END_TEST

int main(void)
{
	SRunner *runner;
	TCase *units = units_of("spin", 30, &runner);

	tcase_add_test(units, the_clock_has_one_rate);
	tcase_add_test(units, zero_never_looks);
	tcase_add_test(units, one_processor_never_looks);
	tcase_add_loop_test(units, no_history_leads_beyond_the_bound, 0, (int)CW_ARRAY_SIZE(bounds));
	tcase_add_test(units, sparse_until_a_look_would_pay);
	tcase_add_test(units, a_sleep_without_a_look_tells_whether_one_would_pay);
	tcase_add_test(units, short_sleeps_are_no_sign_where_looks_were_in_vain);
	tcase_add_test(units, losses_make_no_idle_look_longer);
	tcase_add_test(units, a_smaller_bound_is_kept);
	tcase_add_test(units, idle_looks_are_short);
	tcase_add_test(units, short_sleeps_make_it_longer_at_first);
	tcase_add_test(units, what_pays_makes_it_longer_by_and_by);
	tcase_add_test(units, a_long_look_that_pays_changes_all);
	tcase_add_test(units, stepping_aside_keeps_the_affinity);
	return run_units(runner);
}
