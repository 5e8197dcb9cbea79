/* Hello, offers, and who is given a slot with whom. */
#include <errno.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "play.h"

START_TEST(hello_gives_a_book_and_the_node_page)
{
	struct service service = service_start(NULL);
	struct program a = program_start(&service), b = program_start(&service);

	ck_assert_uint_eq(a.status, 0);
	ck_assert_uint_eq(a.book->layout, CW_LAYOUT);
	ck_assert_uint_eq(a.book->entries, CW_BOOK_ENTRIES);
	ck_assert_uint_eq(a.node->layout, CW_LAYOUT);
	ck_assert_uint_ne(a.number, b.number);
	/* A book is its program's alone. */
	a.book->entry[7].counter[0] = 99;
	ck_assert_uint_eq(b.book->entry[7].counter[0], 0);
	ck_assert_int_eq(service_status(&service, "programs"), 2);
	program_end(&a);
	program_end(&b);
	service_await(&service, "programs", 0);
	service_end(&service);
}
END_TEST

static bool listed(const struct cw_node_page *node, const struct sockaddr *address)
{
	struct in6_addr wanted = {.s6_addr = {[10] = 0xff, [11] = 0xff}};

	if (address->sa_family == AF_INET)
		memcpy(&wanted.s6_addr[12], &((const struct sockaddr_in *)(const void *)address)->sin_addr, 4);
	else
		wanted = ((const struct sockaddr_in6 *)(const void *)address)->sin6_addr;
	for (uint32_t i = 0; i < node->addresses; i++)
		if (memcmp(&node->address[i], &wanted, sizeof(wanted)) == 0)
			return true;
	return false;
}

START_TEST(the_node_page_lists_this_nodes_addresses)
{
	struct service service = service_start(NULL);
	struct program program = program_start(&service);
	struct ifaddrs *all, *one;
	uint32_t expected = 0;

	ck_assert_int_eq(getifaddrs(&all), 0);
	for (one = all; one; one = one->ifa_next) {
		if (!one->ifa_addr || (one->ifa_addr->sa_family != AF_INET && one->ifa_addr->sa_family != AF_INET6))
			continue;
		if (one->ifa_flags & IFF_LOOPBACK) {
			/* An interface's flag: its addresses can be others than 127.0.0.1 and ::1. */
			continue;
		}
		ck_assert(listed(program.node, one->ifa_addr));
		expected++;
	}
	freeifaddrs(all);
	ck_assert_uint_ge(program.node->addresses, expected);
	service_end(&service);
}
END_TEST

struct page_wait {
	const struct cw_node_page *node;
	uint32_t addresses;
};

static bool has_addresses(void *argument)
{
	const struct page_wait *wanted = argument;

	return wanted->node->addresses == wanted->addresses && !(wanted->node->sequence & 1);
}

static void loopback_up(void)
{
	struct ifreq request = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	ck_assert_int_eq(ioctl(fd, SIOCSIFFLAGS, &request), 0);
	close(fd);
}

static void add_loopback_address(void)
{
	struct ifreq request = {.ifr_name = "lo:1"};
	struct sockaddr_in *address = (struct sockaddr_in *)(void *)&request.ifr_addr;
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	address->sin_family = AF_INET;
	address->sin_addr.s_addr = htonl(0x0a010203);
	ck_assert_int_eq(ioctl(fd, SIOCSIFADDR, &request), 0);
	close(fd);
}

START_TEST(the_node_page_follows_changes)
{
	struct page_wait wanted;
	struct service service;
	struct program program;

	if (unshare(CLONE_NEWNET) < 0)
		skip("no right to make a network namespace");
	loopback_up();
	service = service_start(NULL);
	program = program_start(&service);
	ck_assert_uint_eq(program.node->addresses, 0);
	add_loopback_address();
	wanted = (struct page_wait){program.node, 1};
	await(has_addresses, &wanted, "a new address in the node page");
	service_end(&service);
}
END_TEST

START_TEST(another_layout_is_refused_in_our_words)
{
	struct service service = service_start(NULL);
	struct cw_message hello = cw_link_message(CW_HELLO);
	struct cw_received answer = {0};
	int fd = cw_link_connect(service.name);

	hello.magic++;
	ck_assert_int_eq(cw_link_send(fd, &hello, NULL, 0), 0);
	ck_assert(cw_link_answer(fd, CW_WELCOME, &answer, LIMIT_MS));
	ck_assert_uint_eq(answer.message.magic, CW_MESSAGE_MAGIC + CW_LAYOUT);
	ck_assert_uint_eq(answer.message.status, EOVERFLOW);
	ck_assert_uint_eq(answer.fds, 0);
	service_await(&service, "counters.other_layout", 1);
	service_end(&service);
}
END_TEST

static void check_fresh(const struct grant *grant)
{
	for (int d = 0; d < 2; d++) {
		ck_assert_uint_eq(cw_state_of(grant->slot->direction[d].state), CW_TAKEN);
		ck_assert_uint_eq(grant->slot->direction[d].state & CW_MARKS, 0);
		ck_assert_uint_eq(grant->slot->direction[d].widx, 0);
		ck_assert_uint_eq(grant->slot->direction[d].roff, 0);
		ck_assert_uint_eq(grant->slot->end[d].holders, 1);
	}
}

static void check_pair(const char *address)
{
	struct service service = service_start(NULL);
	struct program a = program_start(&service), b = program_start(&service);
	struct pair pair = connection(address);
	struct grant grants[2];

	move(&a, &b, &pair, 3, grants);
	for (int i = 0; i < 2; i++) {
		ck_assert_uint_eq(grants[i].message.grant.token.index, 3);
		ck_assert_uint_eq(grants[i].message.grant.token.generation, 1003);
		ck_assert(grants[i].came_with_memory);
		check_fresh(&grants[i]);
	}
	ck_assert_uint_eq(grants[0].message.grant.arena, grants[1].message.grant.arena);
	ck_assert_uint_eq(grants[0].message.grant.slot, grants[1].message.grant.slot);
	ck_assert_uint_eq(grants[0].message.grant.end + grants[1].message.grant.end, 1);
	await_mail(&a, 1);
	await_mail(&b, 1);
	ck_assert_int_eq(service_status(&service, "counters.granted"), 1);
	ck_assert_int_eq(service_status(&service, "offers_waiting"), 0);
	service_end(&service);
}

START_TEST(both_ends_offered_get_the_slot)
{
	check_pair("127.0.0.1");
}
END_TEST

START_TEST(ipv6_ends_get_the_slot)
{
	check_pair("::1");
}
END_TEST

START_TEST(a_mapped_end_matches_a_plain_one)
{
	struct service service = service_start(NULL);
	struct program a = program_start(&service), b = program_start(&service);
	struct sockaddr_in6 any = {.sin6_family = AF_INET6};
	struct sockaddr_in four = {.sin_family = AF_INET};
	socklen_t length = sizeof(any);
	int listener = socket(AF_INET6, SOCK_STREAM, 0);
	struct pair pair = {.end[0] = socket(AF_INET, SOCK_STREAM, 0)};
	struct grant grants[2];

	ck_assert_int_eq(bind(listener, (struct sockaddr *)&any, sizeof(any)), 0);
	ck_assert_int_eq(listen(listener, 1), 0);
	ck_assert_int_eq(getsockname(listener, (struct sockaddr *)&any, &length), 0);
	four.sin_port = any.sin6_port;
	four.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	ck_assert_int_eq(connect(pair.end[0], (struct sockaddr *)&four, sizeof(four)), 0);
	pair.end[1] = accept(listener, NULL, NULL);
	move(&a, &b, &pair, 0, grants);
	ck_assert_uint_eq(grants[0].message.grant.slot, grants[1].message.grant.slot);
	service_end(&service);
}
END_TEST

START_TEST(one_process_connected_to_itself)
{
	struct service service = service_start(NULL);
	struct program a = program_start(&service);
	struct pair pair = connection(NULL);
	struct grant first, second;

	offer(&a, pair.end[0], 1);
	offer(&a, pair.end[1], 2);
	first = await_grant(&a);
	second = await_grant(&a);
	ck_assert_uint_eq(first.message.grant.slot, second.message.grant.slot);
	ck_assert_uint_eq(first.message.grant.end + second.message.grant.end, 1);
	ck_assert_uint_ne(first.message.grant.token.index, second.message.grant.token.index);
	ck_assert(first.came_with_memory);
	ck_assert(!second.came_with_memory);
	await_mail(&a, 2);
	program_end(&a);
	service_await(&service, "slots", 0);
	service_await(&service, "arenas", 0);
	service_end(&service);
}
END_TEST

START_TEST(one_end_alone_gets_nothing)
{
	struct service service = service_start(NULL);
	struct program a = program_start(&service), b = program_start(&service);
	struct pair pair = connection(NULL), other = connection(NULL);

	offer(&a, pair.end[0], 0);
	offer(&b, other.end[1], 0);
	ck_assert(!has_message(&service, &a));
	ck_assert(!has_message(&service, &b));
	ck_assert_int_eq(service_status(&service, "offers_waiting"), 2);
	program_end(&a);
	service_await(&service, "offers_waiting", 1);
	service_end(&service);
}
END_TEST

START_TEST(a_withdrawn_end_gets_nothing)
{
	struct service service = service_start(NULL);
	struct program a = program_start(&service), b = program_start(&service);
	struct pair pair = connection(NULL);

	offer(&a, pair.end[0], 0);
	withdraw(&a, 0);
	ck_assert(!has_message(&service, &a)); /* and so it was read before what comes now on another connection */
	offer(&b, pair.end[1], 0);
	ck_assert(!has_message(&service, &b));
	/* Offered again, it is as if nothing had been. */
	offer(&a, pair.end[0], 0);
	await_grant(&a);
	await_grant(&b);
	service_end(&service);
}
END_TEST

START_TEST(the_offered_descriptor_is_closed_at_once)
{
	struct service service = service_start(NULL);
	struct program a = program_start(&service);
	struct pair pair = connection(NULL);
	char byte;

	offer(&a, pair.end[0], 0);
	ck_assert(!has_message(&service, &a));
	close(pair.end[0]);
	/* Were it still held by the service, this would wait for ever. */
	ck_assert_int_eq(recv(pair.end[1], &byte, 1, 0), 0);
	service_end(&service);
}
END_TEST

START_TEST(another_cookie_is_refused)
{
	struct service service = service_start(NULL);
	struct program a = program_start(&service), b = program_start(&service);
	struct pair pair = connection(NULL), other = connection(NULL);

	offer_saying(&a, pair.end[0], 0, cookie_of(other.end[0]));
	offer(&b, pair.end[1], 0);
	service_await(&service, "counters.offers_refused", 1);
	ck_assert(!has_message(&service, &b));
	service_end(&service);
}
END_TEST

/* One who could show an end of a connection that is gone would get what is said on the next one with the same addresses. */
START_TEST(an_end_of_an_earlier_connection_is_stale)
{
	struct program thief, victim, owner;
	struct linger abort = {.l_onoff = 1};
	struct sockaddr_in from, to;
	socklen_t length = sizeof(from);
	struct service service;
	struct pair pair;

	if (unshare(CLONE_NEWNET) == 0)
		loopback_up(); /* so that nobody else takes our ports in between */
	service = service_start(NULL);
	thief = program_start(&service);
	victim = program_start(&service);
	owner = program_start(&service);
	pair = connection(NULL);
	ck_assert_int_eq(getsockname(pair.end[0], (struct sockaddr *)&from, &length), 0);
	ck_assert_int_eq(getpeername(pair.end[0], (struct sockaddr *)&to, &length), 0);
	offer(&thief, pair.end[1], 0);
	ck_assert(!has_message(&service, &thief));
	setsockopt(pair.end[0], SOL_SOCKET, SO_LINGER, &abort, sizeof(abort));
	connection_end(&pair);
	pair = connection_between("127.0.0.1", ntohs(from.sin_port), ntohs(to.sin_port));
	offer(&victim, pair.end[0], 0);
	ck_assert(!has_message(&service, &victim));
	service_await(&service, "counters.offers_stale", 1);
	ck_assert(!has_message(&service, &thief));
	offer(&owner, pair.end[1], 0);
	ck_assert_uint_eq(await_grant(&owner).message.grant.arena, await_grant(&victim).message.grant.arena);
	ck_assert(!has_message(&service, &thief));
	service_end(&service);
}
END_TEST

START_TEST(the_same_addresses_elsewhere_are_not_the_other_end)
{
	struct service service = service_start(NULL);
	struct program a = program_start(&service), b = program_start(&service);
	struct pair here = connection(NULL), there;
	struct sockaddr_in from, to;
	socklen_t length = sizeof(from);

	ck_assert_int_eq(getsockname(here.end[0], (struct sockaddr *)&from, &length), 0);
	ck_assert_int_eq(getpeername(here.end[0], (struct sockaddr *)&to, &length), 0);
	if (unshare(CLONE_NEWNET) < 0)
		skip("no right to make a network namespace");
	loopback_up();
	there = connection_between("127.0.0.1", ntohs(from.sin_port), ntohs(to.sin_port));
	offer(&a, here.end[0], 0);
	offer(&b, there.end[1], 0);
	/* The service can't be asked from here: abstract names are the namespace's. */
	offer(&a, there.end[0], 1);
	offer(&b, here.end[1], 1);
	ck_assert_uint_eq(await_grant(&a).message.grant.token.index, 0);
	ck_assert_uint_eq(await_grant(&b).message.grant.token.index, 1);
	service_end(&service);
}
END_TEST

START_TEST(the_ends_of_a_half_closed_connection_are_taken)
{
	struct service service = service_start(NULL);
	struct program a = program_start(&service), b = program_start(&service);
	struct pair pair = connection(NULL);
	struct grant grants[2];

	shutdown(pair.end[0], SHUT_WR);
	move(&a, &b, &pair, 0, grants);
	service_end(&service);
}
END_TEST

struct other_socket {
	int domain, type, protocol;
};

START_TEST(other_sockets_are_refused)
{
	static const struct other_socket others[] = {
		{AF_UNIX, SOCK_STREAM, 0}, {AF_INET, SOCK_DGRAM, 0}, {AF_INET, SOCK_STREAM, 0}, {AF_INET, SOCK_STREAM, 262 /* MPTCP */}};
	struct service service = service_start(NULL);
	struct program a = program_start(&service);
	int file = open("/dev/null", O_RDONLY), refused = 1;

	offer_saying(&a, file, 0, 1);
	for (unsigned i = 0; i < CW_ARRAY_SIZE(others); i++) {
		int fd = socket(others[i].domain, others[i].type, others[i].protocol);

		if (fd < 0)
			continue;
		offer(&a, fd, i);
		refused++;
	}
	service_await(&service, "counters.offers_refused", refused);
	ck_assert(!has_message(&service, &a));
	ck_assert_int_eq(service_status(&service, "offers_waiting"), 0);
	service_end(&service);
}
END_TEST

TCase *match_tests(void)
{
	TCase *tests = tcase_create("match");

	tcase_set_timeout(tests, 60);
	tcase_add_test(tests, hello_gives_a_book_and_the_node_page);
	tcase_add_test(tests, the_node_page_lists_this_nodes_addresses);
	tcase_add_test(tests, the_node_page_follows_changes);
	tcase_add_test(tests, another_layout_is_refused_in_our_words);
	tcase_add_test(tests, both_ends_offered_get_the_slot);
	tcase_add_test(tests, ipv6_ends_get_the_slot);
	tcase_add_test(tests, a_mapped_end_matches_a_plain_one);
	tcase_add_test(tests, one_process_connected_to_itself);
	tcase_add_test(tests, one_end_alone_gets_nothing);
	tcase_add_test(tests, a_withdrawn_end_gets_nothing);
	tcase_add_test(tests, the_offered_descriptor_is_closed_at_once);
	tcase_add_test(tests, another_cookie_is_refused);
	tcase_add_test(tests, an_end_of_an_earlier_connection_is_stale);
	tcase_add_test(tests, the_same_addresses_elsewhere_are_not_the_other_end);
	tcase_add_test(tests, the_ends_of_a_half_closed_connection_are_taken);
	tcase_add_test(tests, other_sockets_are_refused);
	return tests;
}
