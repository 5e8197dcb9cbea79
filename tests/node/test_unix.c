/* AF_UNIX streams: whose peer is who is the kernel's to say. */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "play.h"

static struct pair two(void)
{
	struct pair pair;

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair.end), 0);
	return pair;
}

/* By an abstract address of the kernel's choice; end[0] connected. */
static struct pair connected(void)
{
	int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_un name = {.sun_family = AF_UNIX};
	socklen_t length = sizeof(sa_family_t);
	struct pair pair = {.end[0] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};

	ck_assert_int_eq(bind(listener, (struct sockaddr *)&name, length), 0);
	ck_assert_int_eq(listen(listener, 1), 0);
	length = sizeof(name);
	ck_assert_int_eq(getsockname(listener, (struct sockaddr *)&name, &length), 0);
	ck_assert_int_eq(connect(pair.end[0], (struct sockaddr *)&name, length), 0);
	pair.end[1] = accept(listener, NULL, NULL);
	ck_assert_int_ge(pair.end[1], 0);
	close(listener);
	return pair;
}

static void check_matched(struct pair pair)
{
	struct service service = service_start(NULL);
	struct program a = program_start(&service), b = program_start(&service);
	struct grant grants[2];

	move(&a, &b, &pair, 3, grants);
	ck_assert_uint_eq(grants[0].message.grant.arena, grants[1].message.grant.arena);
	ck_assert_uint_eq(grants[0].message.grant.slot, grants[1].message.grant.slot);
	ck_assert_uint_eq(grants[0].message.grant.end + grants[1].message.grant.end, 1);
	ck_assert_int_eq(service_status(&service, "counters.granted"), 1);
	ck_assert_int_eq(service_status(&service, "offers_waiting"), 0);
	service_end(&service);
}

START_TEST(the_ends_of_a_pair_get_the_slot)
{
	check_matched(two());
}
END_TEST

START_TEST(connected_and_accepted_ends_get_the_slot)
{
	check_matched(connected());
}
END_TEST

START_TEST(both_ends_of_one_program_get_the_slot)
{
	struct service service = service_start(NULL);
	struct program a = program_start(&service);
	struct pair pair = two();

	offer(&a, pair.end[0], 1);
	offer(&a, pair.end[1], 2);
	ck_assert_uint_eq(await_grant(&a).message.grant.slot, await_grant(&a).message.grant.slot);
	service_end(&service);
}
END_TEST

START_TEST(ends_of_different_pairs_get_nothing)
{
	struct service service = service_start(NULL);
	struct program a = program_start(&service), b = program_start(&service);
	struct pair one = two(), other = two();

	offer(&a, one.end[0], 1);
	offer(&b, other.end[0], 1);
	offer(&b, other.end[0], 2);
	service_await(&service, "counters.offers", 3);
	ck_assert(!has_message(&service, &a));
	ck_assert(!has_message(&service, &b));
	ck_assert_int_eq(service_status(&service, "offers_waiting"), 2);
	service_end(&service);
}
END_TEST

/* What is shut can't be told apart later. */
START_TEST(what_is_shut_gets_nothing)
{
	struct service service = service_start(NULL);
	struct program a = program_start(&service), b = program_start(&service);
	struct pair pair = two();

	offer(&a, pair.end[0], 1);
	service_await(&service, "offers_waiting", 1);
	ck_assert_int_eq(shutdown(pair.end[1], SHUT_RD), 0);
	offer(&b, pair.end[1], 1);
	service_await(&service, "counters.offers_stale", 1);
	ck_assert(!has_message(&service, &a));
	ck_assert(!has_message(&service, &b));
	service_end(&service);
}
END_TEST

START_TEST(another_cookie_of_a_pair_is_refused)
{
	struct service service = service_start(NULL);
	struct program a = program_start(&service);
	struct pair pair = two();

	offer_saying(&a, pair.end[0], 1, cookie_of(pair.end[1]));
	service_await(&service, "counters.offers", 1);
	service_await(&service, "counters.offers_refused", 1);
	ck_assert(!has_message(&service, &a));
	ck_assert_int_eq(service_status(&service, "offers_waiting"), 0);
	service_end(&service);
}
END_TEST

/* Seqpackets are not moved. */
START_TEST(other_kinds_are_refused)
{
	struct service service = service_start(NULL);
	struct program a = program_start(&service);
	int kinds[] = {SOCK_SEQPACKET, SOCK_DGRAM}, pair[2];

	for (int i = 0; i < 2; i++) {
		ck_assert_int_eq(socketpair(AF_UNIX, kinds[i], 0, pair), 0);
		offer(&a, pair[0], 1);
	}
	service_await(&service, "counters.offers_refused", 2);
	ck_assert(!has_message(&service, &a));
	service_end(&service);
}
END_TEST

/* The offered descriptor is closed before anything else is done: its peer sees the end when the program closes. */
START_TEST(the_end_of_an_offered_one_is_seen)
{
	struct service service = service_start(NULL);
	struct program a = program_start(&service);
	struct pair pair = two();
	char byte;

	offer(&a, pair.end[0], 1);
	service_await(&service, "offers_waiting", 1);
	close(pair.end[0]);
	ck_assert_int_eq(recv(pair.end[1], &byte, 1, MSG_DONTWAIT), 0);
	service_end(&service);
}
END_TEST

TCase *unix_tests(void)
{
	TCase *tests = tcase_create("unix");

	tcase_set_timeout(tests, 60);
	tcase_add_test(tests, the_ends_of_a_pair_get_the_slot);
	tcase_add_test(tests, connected_and_accepted_ends_get_the_slot);
	tcase_add_test(tests, both_ends_of_one_program_get_the_slot);
	tcase_add_test(tests, ends_of_different_pairs_get_nothing);
	tcase_add_test(tests, what_is_shut_gets_nothing);
	tcase_add_test(tests, another_cookie_of_a_pair_is_refused);
	tcase_add_test(tests, other_kinds_are_refused);
	tcase_add_test(tests, the_end_of_an_offered_one_is_seen);
	return tests;
}
