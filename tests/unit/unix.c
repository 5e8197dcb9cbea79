/* The book of bytes by which an AF_UNIX stream begins its switch: exact, or none. */
#include "pair.h"

#include <fcntl.h>
#include <signal.h>

#include "sockets/unix.h"

static int fd[2];

static void setup(void)
{
	pair_start(0);
	cw_policy.number[CW_OPTION_unix_sockets] = 1;
	cw_policy.number[CW_OPTION_after_messages] = 1000000; /* nothing is offered here */
	cw_policy.number[CW_OPTION_after_bytes] = 1000000000;
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd), 0);
}

static struct cw_stream *opened(void)
{
	struct cw_stream *stream = cw_unix_open(fd[0], true, false);

	ck_assert_ptr_nonnull(stream);
	return stream;
}

static void sends(struct cw_stream *stream, ssize_t bytes)
{
	ck_assert(cw_stream_enter(stream, &stream->tx_busy));
	cw_stream_sent(stream, fd[0], bytes);
}

static void receives(struct cw_stream *stream, int flags, ssize_t bytes)
{
	ck_assert(cw_stream_enter(stream, &stream->rx_busy));
	cw_stream_received(stream, fd[0], cw_unix_looked(stream, flags, bytes));
}

static void offset_is(struct cw_stream *stream, bool out, uint64_t wanted)
{
	uint64_t bytes = 0;

	ck_assert(cw_unix_offset(stream, out, &bytes));
	ck_assert_uint_eq(bytes, wanted);
}

static void nobody_knows(struct cw_stream *stream, bool out)
{
	uint64_t bytes;

	ck_assert(!cw_unix_offset(stream, out, &bytes));
}

START_TEST(nothing_is_opened_without_the_option)
{
	cw_policy.number[CW_OPTION_unix_sockets] = 0;
	ck_assert_ptr_null(cw_unix_open(fd[0], true, false));
	ck_assert(!cw_unix_is_stream(fd[0]));
	ck_assert_uint_eq(cw_table_get(fd[0]), 0);
}
END_TEST

START_TEST(bytes_are_counted_as_they_were_taken)
{
	struct cw_stream *stream = opened();
	struct mmsghdr messages[3] = {{.msg_len = 10}, {.msg_len = 20}, {.msg_len = 40}};

	offset_is(stream, true, 0);
	sends(stream, 100);
	sends(stream, -1);
	sends(stream, 28);
	receives(stream, 0, 50);
	receives(stream, MSG_PEEK, 30);
	receives(stream, 0, 0);
	offset_is(stream, true, 128);
	offset_is(stream, false, 50);
	ck_assert(cw_stream_enter(stream, &stream->rx_busy));
	cw_stream_received(stream, fd[0], cw_unix_many(stream, messages, 0, 2));
	offset_is(stream, false, 80);
	ck_assert(cw_stream_enter(stream, &stream->rx_busy));
	cw_stream_received(stream, fd[0], cw_unix_many(stream, messages, MSG_PEEK, 3));
	offset_is(stream, false, 80);
}
END_TEST

START_TEST(a_call_under_way_hides_its_direction)
{
	struct cw_stream *stream = opened();

	ck_assert(cw_stream_enter(stream, &stream->tx_busy));
	nobody_knows(stream, true);
	offset_is(stream, false, 0);
	cw_stream_sent(stream, fd[0], 7);
	offset_is(stream, true, 7);
}
END_TEST

START_TEST(who_stays_is_never_known_again)
{
	struct cw_stream *stream = opened();

	sends(stream, 5);
	cw_stream_stays(stream, CW_REASON_passed);
	nobody_knows(stream, true);
	nobody_knows(stream, false);
}
END_TEST

static void sends_and_receives(struct cw_stream *stream)
{
	sends(stream, 1000);
	receives(stream, 0, 2000);
}

START_TEST(what_a_child_moves_is_counted_too)
{
	struct cw_stream *stream = opened();

	sends(stream, 1);
	receives(stream, 0, 2);
	ck_assert_int_eq(in_child(sends_and_receives, stream), 0);
	sends(stream, 10);
	offset_is(stream, true, 1011);
	offset_is(stream, false, 2002);
}
END_TEST

static void dies_in_a_call(struct cw_stream *stream)
{
	ck_assert(cw_stream_enter(stream, &stream->tx_busy));
	raise(SIGKILL);
}

START_TEST(a_child_killed_in_a_call_leaves_nothing_known)
{
	struct cw_stream *stream = opened();

	ck_assert(WIFSIGNALED(in_child(dies_in_a_call, stream)));
	nobody_knows(stream, true);
	offset_is(stream, false, 0);
}
END_TEST

static void passes(struct cw_stream *stream)
{
	cw_stream_stays(stream, CW_REASON_executed);
}

START_TEST(what_a_child_gives_away_nobody_knows)
{
	struct cw_stream *stream = opened();

	ck_assert_int_eq(in_child(passes, stream), 0);
	nobody_knows(stream, true);
	nobody_knows(stream, false);
}
END_TEST

static void does_nothing(struct cw_stream *stream)
{
}

START_TEST(a_fork_in_the_middle_of_a_call_leaves_nothing_known)
{
	struct cw_stream *stream = opened();

	ck_assert(cw_stream_enter(stream, &stream->rx_busy));
	ck_assert_int_eq(in_child(does_nothing, stream), 0);
	cw_stream_received(stream, fd[0], 3);
	nobody_knows(stream, false);
}
END_TEST

/* Of AF_UNIX a reset is an end that was closed with unread bytes. */
START_TEST(a_reset_is_put_in_its_place)
{
	char byte;

	cw_unix_put_reset(fd[0]);
	ck_assert_int_eq(recv(fd[0], &byte, 1, MSG_DONTWAIT), -1);
	ck_assert_int_eq(errno, ECONNRESET);
	ck_assert_int_eq(recv(fd[0], &byte, 1, MSG_DONTWAIT), 0);
	ck_assert_int_eq(recv(fd[1], &byte, 1, MSG_DONTWAIT), 0);
	ck_assert_int_eq(fcntl(fd[0], F_GETFD), FD_CLOEXEC);
}
END_TEST

int main(void)
{
	SRunner *runner;
	TCase *units = units_of("unix", 60, &runner);

	tcase_add_checked_fixture(units, setup, NULL);
	tcase_add_test(units, nothing_is_opened_without_the_option);
	tcase_add_test(units, bytes_are_counted_as_they_were_taken);
	tcase_add_test(units, a_call_under_way_hides_its_direction);
	tcase_add_test(units, who_stays_is_never_known_again);
	tcase_add_test(units, what_a_child_moves_is_counted_too);
	tcase_add_test(units, a_child_killed_in_a_call_leaves_nothing_known);
	tcase_add_test(units, what_a_child_gives_away_nobody_knows);
	tcase_add_test(units, a_fork_in_the_middle_of_a_call_leaves_nothing_known);
	tcase_add_test(units, a_reset_is_put_in_its_place);
	return run_units(runner);
}
