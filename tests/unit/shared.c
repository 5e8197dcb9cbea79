/* sockets/: a stream with both its ends in one process, and an end that other processes have too. */
#include "both_ends.h"

#include <signal.h>

#include "sockets/pending.h"

/* A process that puts its descriptor away does no harm to another that is in the middle of a long copy. */
START_TEST(who_leaves_a_stream_to_others_does_not_wait_for_them)
{
	int other, nothing;

	asleep_with("hello");
	other = dup(pair.fd[0]);
	atomic_store(&writer->slot->end[0].holders, 2);
	atomic_store(&words->tx_lock.holder, (uint32_t)getppid());
	pair_close(writer, pair.fd[0]);
	ck_assert(!writer->broken);
	ck_assert_uint_eq(words->state & (CW_MARK_LEFT | CW_MARK_WRITER_GONE), 0);
	ck_assert_uint_eq(words->tx_lock.holder, (uint32_t)getppid());
	ck_assert_int_eq(recv(pair.fd[1], &nothing, 1, MSG_DONTWAIT), -1);
	ck_assert_int_eq(errno, EAGAIN);
	close(other);
}
END_TEST

static pid_t sharer;

static void *let_sharer_go_on(void *ignored)
{
	usleep(2500000);
	kill(sharer, SIGCONT);
	return NULL;
}

/* A process that has the stream too is stopped in the middle of a copy, for longer than any wait lasts: it goes on some time. */
START_TEST(a_sharer_that_is_stopped_is_waited_for)
{
	uint64_t contended = 0;
	pthread_t other;
	int status;

	asleep_with("hello");
	sharer = fork();
	if (sharer == 0) {
		cw_lock(&words->tx_lock, (uint32_t)syscall(SYS_gettid), &contended);
		raise(SIGSTOP);
		cw_unlock(&words->tx_lock);
		_exit(0);
	}
	ck_assert_int_eq(waitpid(sharer, &status, WUNTRACED), sharer);
	ck_assert(WIFSTOPPED(status));
	ck_assert_int_eq(pthread_create(&other, NULL, let_sharer_go_on, NULL), 0);
	ck_assert_int_eq(cw_send(writer, pair.fd[0], "!", 1, 0), 1);
	ck_assert(!writer->broken);
	pthread_join(other, NULL);
	ck_assert_int_eq(waitpid(sharer, &status, 0), sharer);
	comes_by_kernel("hello!");
}
END_TEST

/* Nor may one be named that has nothing to do with it. */
START_TEST(who_has_no_such_socket_is_not_waited_for)
{
	asleep_with("hello");
	words->tx_lock.holder = (uint32_t)getppid();
	ck_assert_int_eq(cw_send(writer, pair.fd[0], "!", 1, 0), -1);
	ck_assert(writer->broken);
}
END_TEST

static void count_unread(struct cw_stream *stream)
{
	_exit(cw_pending_in(stream, pair.fd[1]) || stream->rx->rx_attached);
}

/* Which byte is the next one nobody can say before the parent's call is over, that began before the slot was there. */
START_TEST(a_child_does_not_attach_beside_a_call_of_its_parents)
{
	open_both();
	reader->rx_busy = 1;
	ck_assert_int_eq(in_child(count_unread, reader), 0);
	ck_assert(!reader->rx->rx_attached);
	reader->rx_busy = 0;
	cw_pending_in(reader, pair.fd[1]);
	ck_assert(reader->rx->rx_attached);
}
END_TEST

/* A call that found the stream at a number which means another socket since: that one's counters would give its offset for the stream's. */
START_TEST(a_number_that_means_another_socket_attaches_nothing)
{
	int other;

	open_both();
	other = dup(pair.fd[1]);
	cw_pending_in(reader, other);
	ck_assert(!reader->rx->rx_attached);
	ck_assert_int_eq(cw_send(writer, other, "!", 1, 0), -1);
	ck_assert_int_eq(errno, EBADF);
	ck_assert(!writer->tx->tx_attached);
	ck_assert_int_eq(cw_send(writer, pair.fd[0], "!", 1, 0), 1);
	ck_assert(writer->tx->tx_attached);
	cw_pending_in(reader, pair.fd[1]);
	ck_assert(reader->rx->rx_attached);
	close(other);
}
END_TEST

static void reset_it(struct cw_stream *stream)
{
	cw_switch_break(stream, pair.fd[1], CW_REASON_lock_lost);
}

/* By another process that holds this end. The kernel has a word of its own for who was disconnected. */
START_TEST(a_sharers_reset_is_told_as_one)
{
	int error = 0;
	socklen_t size = sizeof(error);
	char byte;

	open_both();
	ck_assert_int_eq(in_child(reset_it, reader), 0);
	ck_assert_int_eq(getsockopt(pair.fd[1], SOL_SOCKET, SO_ERROR, &error, &size), 0);
	errno = 0;
	ck_assert_int_eq(cw_receive(reader, pair.fd[1], &byte, 1, 0), -1);
	ck_assert_int_eq(errno, ECONNRESET);
	errno = 0;
	ck_assert_int_eq(cw_receive(reader, pair.fd[1], &byte, 1, MSG_PEEK), -1);
	ck_assert_int_eq(errno, ECONNRESET);
}
END_TEST

int main(void)
{
	SRunner *runner;
	TCase *units = units_of("shared", 30, &runner);

	tcase_add_test(units, who_leaves_a_stream_to_others_does_not_wait_for_them);
	tcase_add_test(units, a_sharer_that_is_stopped_is_waited_for);
	tcase_add_test(units, who_has_no_such_socket_is_not_waited_for);
	tcase_add_test(units, a_child_does_not_attach_beside_a_call_of_its_parents);
	tcase_add_test(units, a_number_that_means_another_socket_attaches_nothing);
	tcase_add_test(units, a_sharers_reset_is_told_as_one);
	return run_units(runner);
}
