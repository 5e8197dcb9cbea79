/* Flows of datagrams: who is given a slot with whom. What a program says of itself is not believed. */
#include <arpa/inet.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "play.h"
#include "sockets/datagram.h"

struct end {
	int fd;
	struct sockaddr_in name;
};

static struct end bound(const char *address, uint16_t port, int reuse)
{
	struct end end = {.fd = socket(AF_INET, SOCK_DGRAM, 0), .name = {.sin_family = AF_INET, .sin_port = htons(port)}};
	socklen_t size = sizeof(end.name);

	inet_pton(AF_INET, address, &end.name.sin_addr);
	ck_assert_int_eq(setsockopt(end.fd, SOL_SOCKET, SO_REUSEADDR, &reuse, sizeof(reuse)), 0);
	ck_assert_int_eq(bind(end.fd, (struct sockaddr *)&end.name, sizeof(end.name)), 0);
	ck_assert_int_eq(getsockname(end.fd, (struct sockaddr *)&end.name, &size), 0);
	if (end.name.sin_addr.s_addr == INADDR_ANY)
		inet_pton(AF_INET, "127.0.0.1", &end.name.sin_addr);
	return end;
}

static void flow(const struct program *program, const struct end *end, const struct end *other, uint32_t sends, uint64_t cookie)
{
	struct cw_message message = cw_link_message(CW_FLOW);
	struct cw_peer peer = cw_peer_of((const struct sockaddr *)&other->name, sizeof(other->name));

	message.flow.token.index = CW_FLOW_TOKEN | (sends + 1);
	message.flow.cookie = cookie;
	message.flow.address = peer.address;
	message.flow.port = peer.port;
	message.flow.sends = sends;
	ck_assert_int_eq(cw_link_send(program->fd, &message, &end->fd, 1), 0);
}

struct stage {
	struct service service;
	struct program sender, receiver;
	struct end from, to;
};

static struct stage set(const char *from, const char *to, int reuse)
{
	struct stage s = {.service = service_start(NULL)};

	s.sender = program_start(&s.service);
	s.receiver = program_start(&s.service);
	s.from = bound(from, 0, 0);
	s.to = bound(to, 0, reuse);
	return s;
}

static void both_say(struct stage *s)
{
	flow(&s->sender, &s->from, &s->to, 1, cookie_of(s->from.fd));
	flow(&s->receiver, &s->to, &s->from, 0, cookie_of(s->to.fd));
}

static void expect_none(struct stage *s)
{
	ck_assert(!has_message(&s->service, &s->sender));
	ck_assert(!has_message(&s->service, &s->receiver));
	service_end(&s->service);
}

static void expect_slot(struct stage *s)
{
	struct grant there = await_grant(&s->sender), here = await_grant(&s->receiver);
	struct cw_peer own = cw_peer_of((struct sockaddr *)&s->to.name, sizeof(s->to.name));

	ck_assert_uint_eq(there.message.grant.end, 0);
	ck_assert_uint_eq(here.message.grant.end, 1);
	ck_assert_uint_eq(there.message.grant.slot, here.message.grant.slot);
	ck_assert_uint_eq(here.message.grant.token.index, CW_FLOW_TOKEN | 1);
	ck_assert_mem_eq(&here.message.grant.local, &own.address, sizeof(own.address));
	ck_assert_int_eq(service_status(&s->service, "slots"), 1);
	release(&s->sender, &there);
	await_marks(&here.slot->direction[0].state, CW_MARK_WRITER_GONE);
	release(&s->receiver, &here);
	service_await(&s->service, "slots", 0);
	service_end(&s->service);
}

START_TEST(a_flow_gets_a_slot)
{
	struct stage s = set(_i & 1 ? "0.0.0.0" : "127.0.0.1", _i & 2 ? "0.0.0.0" : "127.0.0.1", 0);

	both_say(&s);
	expect_slot(&s);
}
END_TEST

START_TEST(an_address_that_others_can_bind_gets_none)
{
	struct stage s = set("127.0.0.1", "127.0.0.1", 1);

	both_say(&s);
	expect_none(&s);
}
END_TEST

/* Bound to all addresses, but to this one another is bound: the kernel gives it the other's. */
START_TEST(who_the_kernel_would_not_give_it_to_gets_none)
{
	struct stage s = set("127.0.0.1", "0.0.0.0", 1);
	struct end other = bound("127.0.0.1", ntohs(s.to.name.sin_port), 1);
	int off = 0;

	ck_assert_int_eq(setsockopt(s.to.fd, SOL_SOCKET, SO_REUSEADDR, &off, sizeof(off)), 0);
	both_say(&s);
	ck_assert(!has_message(&s.service, &s.receiver));
	/* And without the other it is given. */
	close(other.fd);
	both_say(&s);
	expect_slot(&s);
}
END_TEST

START_TEST(a_cookie_or_an_address_of_another_gets_none)
{
	struct stage s = set("127.0.0.1", "127.0.0.1", 0);
	struct end third = bound("127.0.0.1", 0, 0);

	flow(&s.sender, &s.from, &s.to, 1, cookie_of(s.from.fd));
	flow(&s.receiver, &third, &s.from, 0, cookie_of(third.fd)); /* not where it is sent to */
	flow(&s.receiver, &third, &s.from, 0, cookie_of(s.to.fd));  /* says to be another */
	flow(&s.receiver, &s.to, &third, 0, cookie_of(s.to.fd));    /* from somebody else */
	expect_none(&s);
}
END_TEST

/* It is connected to somebody else: it sends elsewhere, or hears nothing of this sender. */
START_TEST(who_is_connected_elsewhere_gets_none)
{
	struct stage s = set("127.0.0.1", "127.0.0.1", 0);
	struct end third = bound("127.0.0.1", 0, 0);

	ck_assert_int_eq(connect(_i ? s.to.fd : s.from.fd, (struct sockaddr *)&third.name, sizeof(third.name)), 0);
	both_say(&s);
	expect_none(&s);
}
END_TEST

START_TEST(other_descriptors_and_nonsense_are_survived)
{
	struct stage s = set("127.0.0.1", "127.0.0.1", 0);
	struct end tcp = {.fd = socket(AF_INET, SOCK_STREAM, 0), .name = s.from.name},
		   file = {.fd = memfd_create("x", 0), .name = s.from.name};
	struct cw_message message = cw_link_message(CW_FLOW);

	flow(&s.receiver, &tcp, &s.from, 0, cookie_of(tcp.fd));
	flow(&s.receiver, &file, &s.from, 0, 1);
	memset(message.room, 0xff, sizeof(message.room));
	ck_assert_int_eq(cw_link_send(s.receiver.fd, &message, &s.to.fd, 1), 0);
	ck_assert_int_eq(cw_link_send(s.receiver.fd, &message, NULL, 0), 0);
	both_say(&s);
	expect_slot(&s);
}
END_TEST

START_TEST(what_is_withdrawn_or_closed_gets_none)
{
	struct stage s = set("127.0.0.1", "127.0.0.1", 0);
	struct cw_message message = cw_link_message(CW_WITHDRAW);

	flow(&s.sender, &s.from, &s.to, 1, cookie_of(s.from.fd));
	if (_i) {
		message.offer.token.index = CW_FLOW_TOKEN | 2;
		ck_assert_int_eq(cw_link_send(s.sender.fd, &message, NULL, 0), 0);
	} else {
		close(s.from.fd);
	}
	ck_assert(!has_message(&s.service, &s.sender)); /* by now it has been heard */
	flow(&s.receiver, &s.to, &s.from, 0, cookie_of(s.to.fd));
	expect_none(&s);
}
END_TEST

TCase *flow_tests(void)
{
	TCase *tests = tcase_create("flows");

	tcase_set_timeout(tests, 60);
	tcase_add_loop_test(tests, a_flow_gets_a_slot, 0, 4);
	tcase_add_test(tests, an_address_that_others_can_bind_gets_none);
	tcase_add_test(tests, who_the_kernel_would_not_give_it_to_gets_none);
	tcase_add_test(tests, a_cookie_or_an_address_of_another_gets_none);
	tcase_add_loop_test(tests, who_is_connected_elsewhere_gets_none, 0, 2);
	tcase_add_test(tests, other_descriptors_and_nonsense_are_survived);
	tcase_add_loop_test(tests, what_is_withdrawn_or_closed_gets_none, 0, 2);
	return tests;
}
