/* How much memory and how many arenas there are, and who waits for them. */
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "play.h"

/* Rings that nobody touched take no memory, so four times as many are promised as there is room for; but no more. */
START_TEST(memory_is_bounded_and_waited_for)
{
	enum { ROOM = 8 };
	struct service service = service_start("--memory", "1M", NULL);
	struct program a = program_start(&service), b = program_start(&service);
	struct grant grants[ROOM][2];
	uint32_t left = ROOM * (ROOM + 1) / 2; /* the sum of all indices: in which order they come doesn't matter */

	for (uint32_t i = 0; i <= ROOM; i++) {
		struct pair pair = connection(NULL);

		offer(&a, pair.end[0], i);
		offer(&b, pair.end[1], i);
	}
	/* What was refused for the moment comes at a later measure of memory, without anybody's message. */
	for (uint32_t i = 0; i < ROOM; i++) {
		grants[i][0] = await_grant(&a);
		grants[i][1] = await_grant(&b);
		left -= grants[i][0].message.grant.token.index;
	}
	usleep(300000); /* longer than a measure holds */
	ck_assert(!has_message(&service, &a));
	ck_assert_int_ge(service_status(&service, "counters.no_memory"), 1);
	ck_assert_int_eq(service_status(&service, "slots"), ROOM);
	release(&a, &grants[0][0]);
	release(&b, &grants[0][1]);
	ck_assert_uint_eq(await_grant(&a).message.grant.token.index, left);
	ck_assert_uint_eq(await_grant(&b).message.grant.token.index, left);
	service_end(&service);
}
END_TEST

START_TEST(one_who_gave_up_does_not_keep_others_waiting)
{
	struct service service = service_start("--memory", "1M", NULL);
	struct program a = program_start(&service), b = program_start(&service);
	struct grant grants[2][2];
	struct pair pairs[4];

	for (uint32_t i = 0; i < 4; i++)
		pairs[i] = connection(NULL);
	for (uint32_t i = 0; i < 2; i++) {
		move(&a, &b, &pairs[i], i, grants[i]);
		for (unsigned d = 0; d < 2; d++)
			memset(cw_arena_ring(grants[i][0].arena, grants[i][0].message.grant.slot, d), 1, CW_RING_MAX);
	}
	for (uint32_t i = 2; i < 4; i++) {
		offer(&a, pairs[i].end[0], i);
		ck_assert(!has_message(&service, &a));
		offer(&b, pairs[i].end[1], i);
		ck_assert(!has_message(&service, &b));
	}
	withdraw(&a, 2);
	release(&a, &grants[0][0]);
	release(&b, &grants[0][1]);
	release(&a, &grants[1][0]);
	release(&b, &grants[1][1]);
	ck_assert_uint_eq(await_grant(&a).message.grant.token.index, 3);
	ck_assert_uint_eq(await_grant(&b).message.grant.token.index, 3);
	service_end(&service);
}
END_TEST

START_TEST(memory_in_use_counts)
{
	struct service service = service_start("--memory", "1M", NULL);
	struct program a = program_start(&service), b = program_start(&service);
	struct grant grants[2][2];
	struct pair pair;

	for (uint32_t i = 0; i < 2; i++) {
		pair = connection(NULL);
		move(&a, &b, &pair, i, grants[i]);
		for (unsigned d = 0; d < 2; d++)
			memset(cw_arena_ring(grants[i][0].arena, grants[i][0].message.grant.slot, d), 1, CW_RING_MAX);
	}
	pair = connection(NULL);
	offer(&a, pair.end[0], 2);
	offer(&b, pair.end[1], 2);
	ck_assert(!has_message(&service, &a));
	ck_assert_int_ge(service_status(&service, "memory.resident"), 1 << 20);
	ck_assert_int_eq(service_status(&service, "counters.no_memory"), 1);
	service_end(&service);
}
END_TEST

START_TEST(without_memory_nothing_moves)
{
	struct service service = service_start("--memory", "0", NULL);
	struct program a = program_start(&service), b = program_start(&service);
	struct pair pair = connection(NULL);

	offer(&a, pair.end[0], 0);
	offer(&b, pair.end[1], 0);
	ck_assert(!has_message(&service, &a));
	ck_assert(!has_message(&service, &b));
	ck_assert_int_eq(service_status(&service, "counters.no_memory"), 1);
	program_end(&a);
	service_await(&service, "offers_waiting", 1);
	service_end(&service);
}
END_TEST

#define FEW 8

/* So few descriptors that there is room for some arenas (and as many connections) only. */
static void few_arenas(const struct service *service)
{
	struct rlimit limit = {.rlim_cur = 64 + 2 * FEW, .rlim_max = 64 + 2 * FEW};

	ck_assert_int_eq(prlimit(service->pid, RLIMIT_NOFILE, &limit, NULL), 0);
}

static void move_once(const struct program *a, const struct program *b)
{
	struct pair pair = connection(NULL);
	struct grant grants[2];

	move(a, b, &pair, 0, grants);
	release(a, &grants[0]);
	release(b, &grants[1]);
	connection_end(&pair);
}

START_TEST(arenas_that_nobody_uses_make_room)
{
	struct service service = service_start(NULL);
	struct pair pair = connection(NULL);
	struct program programs[6];
	struct grant used[2];

	few_arenas(&service);
	for (unsigned i = 0; i < CW_ARRAY_SIZE(programs); i++)
		programs[i] = program_start(&service);
	move(&programs[0], &programs[1], &pair, 7, used);
	memset(cw_arena_ring(used[0].arena, used[0].message.grant.slot, 0), 0xaa, CW_RING_MAX);
	for (int round = 0; round < 3; round++)
		for (unsigned i = 0; i < CW_ARRAY_SIZE(programs); i++)
			for (unsigned j = 0; j < i; j++) {
				move_once(&programs[i], &programs[j]);
				service_await(&service, "slots", 1);
			}
	/* One that is used is not among them. */
	ck_assert_uint_eq(bytes_that_are(cw_arena_ring(used[0].arena, used[0].message.grant.slot, 0), 0xaa), CW_RING_MAX);
	release(&programs[0], &used[0]);
	release(&programs[1], &used[1]);
	service_await(&service, "slots", 0);
	ck_assert_int_le(service_status(&service, "arenas"), FEW);
	for (unsigned i = 0; i < CW_ARRAY_SIZE(programs); i++)
		program_end(&programs[i]);
	service_await(&service, "arenas", 0);
	service_end(&service);
}
END_TEST

/* An arena that goes while grants in it still wait for a slow program. */
START_TEST(an_arena_goes_while_its_grants_wait)
{
	enum { CONNECTIONS = 600 };
	struct service service = service_start(NULL);
	struct program slow = program_start(&service), other = program_start(&service), more[5];

	few_arenas(&service);
	for (uint32_t i = 0; i < CONNECTIONS; i++) {
		struct pair pair = connection(NULL);
		struct grant grant, guess;

		offer(&slow, pair.end[0], i);
		offer(&other, pair.end[1], i);
		guess = grant = await_grant(&other);
		guess.message.grant.end = 1 - grant.message.grant.end;
		release(&slow, &guess);
		release(&other, &grant);
		connection_end(&pair);
		service_await(&service, "slots", 0);
	}
	ck_assert_int_gt(service_status(&service, "counters.grants_queued"), 0);
	for (unsigned i = 0; i < CW_ARRAY_SIZE(more); i++)
		more[i] = program_start(&service);
	for (unsigned i = 0; i < CW_ARRAY_SIZE(more); i++)
		for (unsigned j = 0; j < i; j++) {
			move_once(&more[i], &more[j]);
			service_await(&service, "slots", 0);
		}
	for (struct grant grant = await_grant(&slow); has_message(&service, &slow); grant = await_grant(&slow))
		ck_assert_ptr_nonnull(grant.slot);
	service_end(&service);
}
END_TEST

TCase *memory_tests(void)
{
	TCase *tests = tcase_create("memory");

	tcase_set_timeout(tests, 90);
	tcase_add_test(tests, memory_is_bounded_and_waited_for);
	tcase_add_test(tests, one_who_gave_up_does_not_keep_others_waiting);
	tcase_add_test(tests, memory_in_use_counts);
	tcase_add_test(tests, without_memory_nothing_moves);
	tcase_add_test(tests, arenas_that_nobody_uses_make_room);
	tcase_add_test(tests, an_arena_goes_while_its_grants_wait);
	return tests;
}
