/* How many calls a stream makes before it is offered, after what became of others of its port. Nothing is moved: offers are refused. */
#include "pair.h"

#include <sys/eventfd.h>

#include "sockets/patience.h"

#define PORT  7000
#define OTHER (PORT + 64) /* in the same place */
#define SOON  6           /* the option's value */

/* Before any of the tests' connections, whose ports are the kernel's choice. */
static void setup(void)
{
	pair_start(0);
	cw_policy.number[CW_OPTION_after_bytes] = 1000000000;
	cw_moving = false;
}

/* A stream without a connection, which is known to be of that port. */
static struct cw_stream *born(uint16_t port)
{
	struct cw_stream *stream = cw_stream_open(eventfd(0, EFD_CLOEXEC), true, false);

	ck_assert_ptr_nonnull(stream);
	atomic_store(&stream->port, port);
	return stream;
}

static struct cw_stream *offered(uint16_t port)
{
	struct cw_stream *stream = born(port);

	cw_patience_begin(stream);
	atomic_store(&stream->phase, CW_OFFERED);
	return stream;
}

static void use(struct cw_stream *stream, unsigned messages)
{
	cw_counters(stream)[CW_COUNT_messages_in] += messages / 2;
	cw_counters(stream)[CW_COUNT_messages_out] += messages - messages / 2;
}

static void end(struct cw_stream *stream)
{
	pair_close(stream, stream->fd);
}

static void in_vain(uint16_t port, unsigned streams)
{
	while (streams--)
		end(offered(port));
}

/* Calls until it is offered, which says STAYS here. */
static unsigned calls_of(struct cw_stream *stream)
{
	unsigned calls = 0;

	while (atomic_load(&stream->phase) == CW_KERNEL && calls < 10000) {
		ck_assert(cw_stream_enter(stream, &stream->tx_busy));
		cw_stream_sent(stream, stream->fd, 1);
		calls++;
	}
	end(stream);
	return calls;
}

static unsigned calls(uint16_t port)
{
	return calls_of(born(port));
}

START_TEST(waits_longer_after_streams_in_vain)
{
	for (unsigned doublings = 0; doublings <= 5; doublings++) {
		ck_assert_uint_eq(calls(PORT), SOON << doublings);
		in_vain(PORT, 7);
		ck_assert_uint_eq(calls(PORT), SOON << doublings);
		in_vain(PORT, 1);
	}
	in_vain(PORT, 1000);
	ck_assert_uint_eq(calls(PORT), SOON << 5);
}
END_TEST

START_TEST(waits_for_more_bytes_too)
{
	struct cw_stream *stream;

	cw_policy.number[CW_OPTION_after_bytes] = 1000;
	in_vain(PORT, 8);
	stream = born(PORT);
	cw_stream_enter(stream, &stream->rx_busy);
	cw_stream_received(stream, stream->fd, 1999);
	ck_assert_uint_eq(stream->phase, CW_KERNEL);
	ck_assert_uint_eq(calls_of(stream), 1);
}
END_TEST

static void pays_by_messages(struct cw_stream *stream)
{
	use(stream, 32);
}

static void pays_by_bytes(struct cw_stream *stream)
{
	cw_counters(stream)[CW_COUNT_bytes_ring_in] += 999000;
	cw_counters(stream)[CW_COUNT_bytes_kernel_out] += 1000;
}

static void pays_when_moved(struct cw_stream *stream)
{
	atomic_store(&stream->phase, CW_MOVED);
	use(stream, 40);
}

static void (*const paying[])(struct cw_stream *) = {pays_by_messages, pays_by_bytes, pays_when_moved};

START_TEST(one_that_pays_ends_the_waiting)
{
	struct cw_stream *stream;

	in_vain(PORT, 40);
	stream = offered(PORT);
	paying[_i](stream);
	end(stream);
	ck_assert_uint_eq(calls(PORT), SOON);
}
END_TEST

START_TEST(what_came_before_the_offer_does_not_pay)
{
	for (unsigned i = 0; i < 8; i++) {
		struct cw_stream *stream = born(PORT);

		use(stream, 1000);
		cw_counters(stream)[CW_COUNT_bytes_kernel_in] += 5000000;
		cw_patience_begin(stream);
		atomic_store(&stream->phase, CW_OFFERED);
		use(stream, 31);
		end(stream);
	}
	ck_assert_uint_eq(calls(PORT), SOON << 1);
}
END_TEST

START_TEST(ports_are_told_apart)
{
	struct cw_stream *stream;

	in_vain(PORT, 8);
	ck_assert_uint_eq(calls(PORT + 1), SOON);
	ck_assert_uint_eq(calls(OTHER), SOON);
	stream = offered(OTHER);
	pays_by_messages(stream);
	end(stream);
	ck_assert_uint_eq(calls(PORT), SOON << 1);
	in_vain(OTHER, 1);
	ck_assert_uint_eq(calls(PORT), SOON);
}
END_TEST

START_TEST(the_option_makes_the_number_exact)
{
	in_vain(PORT, 40);
	cw_policy.number[CW_OPTION_patience] = 0;
	ck_assert_uint_eq(calls(PORT), SOON);
}
END_TEST

static void never_offered(struct cw_stream *stream)
{
	atomic_store(&stream->phase, CW_KERNEL);
}

static void refused(struct cw_stream *stream)
{
	cw_stream_stays(stream, CW_REASON_policy);
}

static void demoted(struct cw_stream *stream)
{
	atomic_store(&stream->phase, CW_MOVED);
	atomic_store(&cw_own_book.entry[stream->number].kind, CW_ENTRY_DEMOTED);
}

static void used_by_others(struct cw_stream *stream)
{
	cw_patience_inherit(stream);
}

static void (*const silent[])(struct cw_stream *) = {never_offered, refused, demoted, used_by_others};

START_TEST(teaches_nothing)
{
	for (unsigned i = 0; i < 40; i++) {
		struct cw_stream *stream = offered(PORT);

		silent[_i](stream);
		end(stream);
	}
	ck_assert_uint_eq(calls(PORT), SOON);
}
END_TEST

/* Another descriptor of it goes on. */
START_TEST(only_the_last_descriptor_ends_it)
{
	struct cw_stream *stream = offered(PORT);

	for (unsigned i = 0; i < 20; i++) {
		int fd = dup(stream->fd);

		cw_stream_dup(stream, cw_stream_life(stream), fd);
		pair_close(stream, fd);
	}
	ck_assert_uint_eq(calls(PORT), SOON);
}
END_TEST

START_TEST(exit_judges_what_is_open_once)
{
	struct cw_stream *stream[8], *idle = born(PORT);

	for (unsigned i = 0; i < 8; i++)
		stream[i] = offered(PORT);
	cw_patience_exit();
	ck_assert_uint_eq(calls(PORT), SOON << 1);
	cw_patience_exit();
	for (unsigned i = 0; i < 8; i++)
		end(stream[i]);
	end(idle);
	ck_assert_uint_eq(calls(PORT), SOON << 1);
}
END_TEST

/* The service is where the connection was made to, whichever end one is. */
START_TEST(the_port_is_the_listeners)
{
	struct cw_stream *client, *server;
	struct sockaddr_in address;
	socklen_t size = sizeof(address);
	struct pair pair;

	pair_make(&pair);
	ck_assert_int_eq(getpeername(pair.fd[0], (struct sockaddr *)&address, &size), 0);
	in_vain(ntohs(address.sin_port), 8);
	client = cw_stream_open(pair.fd[0], false, false);
	cw_stream_connected(client);
	server = cw_stream_open(pair.fd[1], true, false);
	ck_assert_uint_eq(calls_of(client), SOON << 1);
	ck_assert_uint_eq(calls_of(server), SOON << 1);
}
END_TEST

START_TEST(unix_streams_do_not_wait)
{
	int fd[2];

	cw_policy.number[CW_OPTION_unix_sockets] = 1;
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd), 0);
	for (unsigned i = 0; i < 40; i++) {
		struct cw_stream *stream = cw_stream_open_unix(dup(fd[0]), true, false);

		ck_assert_uint_eq(cw_patience(stream, stream->fd), 0);
		cw_patience_begin(stream);
		atomic_store(&stream->phase, CW_OFFERED);
		end(stream);
	}
	ck_assert_uint_eq(calls_of(cw_stream_open_unix(fd[0], true, false)), SOON);
}
END_TEST

/* ---- fork ---- */

static void serves_one(struct cw_stream *unused)
{
	in_vain(PORT, 1);
}

START_TEST(children_teach_each_other_and_their_parent)
{
	struct cw_stream *listener = cw_stream_open(eventfd(0, EFD_CLOEXEC), false, false);

	in_vain(PORT, 3); /* in memory of its own still */
	for (unsigned i = 0; i < 5; i++)
		ck_assert_int_eq(in_child(serves_one, NULL), 0);
	ck_assert_uint_eq(calls(PORT), SOON << 1);
	end(listener);
}
END_TEST

static void closes(struct cw_stream *stream)
{
	end(stream);
}

static void uses_much(struct cw_stream *stream)
{
	use(stream, 32);
	atomic_store(&stream->phase, CW_MOVED);
	end(stream);
}

/* It was used here before, and there after that: neither sees that it ended soon, and both see it if it didn't. */
START_TEST(what_two_processes_hold_is_not_in_vain)
{
	struct cw_stream *stream;

	for (unsigned i = 0; i < 20; i++) {
		stream = offered(PORT);
		use(stream, 10);
		ck_assert_int_eq(in_child(closes, stream), 0);
		end(stream);
	}
	ck_assert_uint_eq(calls(PORT), SOON);
	in_vain(PORT, 8);
	ck_assert_uint_eq(calls(PORT), SOON << 1);
	stream = offered(PORT);
	ck_assert_int_eq(in_child(uses_much, stream), 0);
	ck_assert_uint_eq(calls(PORT), SOON);
	end(stream);
}
END_TEST

int main(void)
{
	SRunner *runner;
	TCase *units = units_of("patience", 30, &runner);

	tcase_add_checked_fixture(units, setup, NULL);
	tcase_add_test(units, waits_longer_after_streams_in_vain);
	tcase_add_test(units, waits_for_more_bytes_too);
	tcase_add_loop_test(units, one_that_pays_ends_the_waiting, 0, sizeof(paying) / sizeof(paying[0]));
	tcase_add_test(units, what_came_before_the_offer_does_not_pay);
	tcase_add_test(units, ports_are_told_apart);
	tcase_add_test(units, the_option_makes_the_number_exact);
	tcase_add_loop_test(units, teaches_nothing, 0, sizeof(silent) / sizeof(silent[0]));
	tcase_add_test(units, only_the_last_descriptor_ends_it);
	tcase_add_test(units, exit_judges_what_is_open_once);
	tcase_add_test(units, the_port_is_the_listeners);
	tcase_add_test(units, unix_streams_do_not_wait);
	tcase_add_test(units, children_teach_each_other_and_their_parent);
	tcase_add_test(units, what_two_processes_hold_is_not_in_vain);
	return run_units(runner);
}
