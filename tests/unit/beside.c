/*
 * sockets/: who sends where the kernel is full, the ring has what its reader was told of, and another is in the middle of a read there. A
 * send waits for that one, and is ended by what ends one of the kernel's: a signal, its time, cancellation.
 */
#include "full_kernel.h"

#include <signal.h>
#include <sys/epoll.h>

#include "sockets/leave.h"
#include "sockets/sending.h"

#define COUNT 100

static unsigned char next[COUNT];
static int file;
static _Atomic bool over;
static ssize_t sent;
static int error_of_send;

static ssize_t by_send(void)
{
	return cw_send(writer, pair.fd[0], next, COUNT, 0);
}

static ssize_t by_sendfile(void)
{
	off64_t offset = 0;

	return cw_send_file(writer, pair.fd[0], file, &offset, COUNT);
}

static ssize_t by_message(void)
{
	struct iovec iov = {next, COUNT};
	struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};

	return cw_send_message(writer, pair.fd[0], &message, 0);
}

static ssize_t (*const ways[])(void) = {by_send, by_sendfile, by_message};
#define WAYS 3

static void *send_and_tell(void *way)
{
	sent = ((ssize_t(*)(void))way)();
	error_of_send = errno;
	atomic_store(&over, true);
	return NULL;
}

static void somebody_reads_a_full_kernel(void)
{
	asleep_behind_a_full_kernel(true);
	words->rx_asleep++;
	for (size_t i = 0; i < COUNT; i++)
		next[i] = content(written + i);
	file = memfd_create("next", MFD_CLOEXEC);
	ck_assert_int_eq(write(file, next, COUNT), COUNT);
	over = false;
}

/* He has come back, and nothing was lost, nor sent before its turn. */
static void all_comes(void)
{
	ck_assert_int_eq(cw_state_of(words->state), CW_ASLEEP);
	words->rx_asleep--;
	the_rest_comes_in_order();
}

static void on_signal(int number)
{
}

static void handle(int flags)
{
	struct sigaction action = {.sa_handler = on_signal, .sa_flags = flags};

	sigaction(SIGUSR1, &action, NULL);
}

static void is_ended_by_a_signal(ssize_t (*way)(void))
{
	pthread_t other;

	ck_assert_int_eq(pthread_create(&other, NULL, send_and_tell, (void *)way), 0);
	while (!atomic_load(&over)) {
		usleep(1000);
		pthread_kill(other, SIGUSR1);
	}
	pthread_join(other, NULL);
	ck_assert_int_eq(sent, -1);
	ck_assert_int_eq(error_of_send, EINTR);
	all_comes();
}

START_TEST(a_signal_ends_the_wait)
{
	somebody_reads_a_full_kernel();
	handle(0);
	is_ended_by_a_signal(ways[_i]);
}
END_TEST

static void is_sent_when_he_has_read(pthread_t other)
{
	words->rx_asleep--;
	while (!atomic_load(&over))
		if (!get_some(4096))
			usleep(1000);
	pthread_join(other, NULL);
	ck_assert_int_eq(sent, COUNT);
	written += COUNT;
	the_rest_comes_in_order();
}

START_TEST(a_handler_that_restarts_does_not_end_it)
{
	pthread_t other;

	somebody_reads_a_full_kernel();
	handle(SA_RESTART);
	ck_assert_int_eq(pthread_create(&other, NULL, send_and_tell, (void *)ways[_i]), 0);
	for (int i = 0; i < 10; i++) {
		usleep(1000);
		pthread_kill(other, SIGUSR1);
	}
	ck_assert(!atomic_load(&over));
	is_sent_when_he_has_read(other);
}
END_TEST

START_TEST(its_time_ends_the_wait)
{
	struct timeval limit = {.tv_usec = 10000};

	somebody_reads_a_full_kernel();
	ck_assert_int_eq(setsockopt(pair.fd[0], SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)), 0);
	ck_assert_int_eq(ways[_i](), -1);
	ck_assert_int_eq(errno, EAGAIN);
	all_comes();
}
END_TEST

/* Where one has a limit no handler restarts it. */
START_TEST(a_signal_ends_a_wait_with_a_limit)
{
	struct timeval limit = {.tv_sec = 600};

	somebody_reads_a_full_kernel();
	handle(SA_RESTART);
	ck_assert_int_eq(setsockopt(pair.fd[0], SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)), 0);
	is_ended_by_a_signal(ways[_i]);
}
END_TEST

/* What is left of the time is what the kernel's part of the wait has. */
START_TEST(a_limit_is_one_for_both_waits)
{
	struct timeval limit = {.tv_usec = 300000};
	pthread_t other;

	somebody_reads_a_full_kernel();
	ck_assert_int_eq(setsockopt(pair.fd[0], SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)), 0);
	ck_assert_int_eq(pthread_create(&other, NULL, send_and_tell, (void *)ways[_i]), 0);
	usleep(5000);
	is_sent_when_he_has_read(other);
}
END_TEST

START_TEST(cancellation_ends_the_wait)
{
	pthread_t other;
	void *result;

	somebody_reads_a_full_kernel();
	ck_assert_int_eq(pthread_create(&other, NULL, send_and_tell, (void *)ways[_i]), 0);
	usleep(5000);
	ck_assert_int_eq(pthread_cancel(other), 0);
	ck_assert_int_eq(pthread_join(other, &result), 0);
	ck_assert_ptr_eq(result, PTHREAD_CANCELED);
	ck_assert_uint_eq(words->tx_in_kernel, 0);
	ck_assert_int_eq(put_some(COUNT), -1);
	ck_assert_int_eq(errno, EAGAIN);
	all_comes();
}
END_TEST

/* Urgent data on a socket that doesn't wait: there is no room, and no reset for one that reads slowly. */
START_TEST(who_leaves_by_a_send_takes_nothing_back)
{
	struct iovec iov = {next, COUNT};
	struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};

	somebody_reads_a_full_kernel();
	cw_leave_sending_by_send(writer, pair.fd[0], CW_REASON_urgent);
	ck_assert_uint_ne(words->state & CW_MARK_LEFT, 0);
	ck_assert_int_eq(cw_send_message(writer, pair.fd[0], &message, MSG_DONTWAIT), -1);
	ck_assert_int_eq(errno, EAGAIN);
	ck_assert_int_eq(put_some(COUNT), -1);
	ck_assert_int_eq(errno, EAGAIN);
	all_comes();
	ck_assert_int_eq(put_some(COUNT), COUNT);
	ck_assert_int_eq(cw_state_of(words->state), CW_TAKEN);
	the_rest_comes_in_order();
}
END_TEST

/* A child's first call is no send: it doesn't wait for a reader. What its parent or it sends next comes behind the ring all the same. */
START_TEST(who_shares_takes_nothing_back)
{
	somebody_reads_a_full_kernel();
	writer->keeps_unsent = false; /* or there would be room, as far as our bound had made it full */
	cw_switch_share(writer, pair.fd[0]);
	ck_assert(!writer->broken);
	ck_assert_int_eq(cw_state_of(words->state), CW_ASLEEP);
	ck_assert_int_eq(put_some(COUNT), -1);
	ck_assert_int_eq(errno, EAGAIN);
	all_comes();
	ck_assert_int_eq(put_some(COUNT), COUNT);
	the_rest_comes_in_order();
}
END_TEST

int main(void)
{
	SRunner *runner;
	TCase *units = units_of("beside", 30, &runner);

	tcase_add_loop_test(units, a_signal_ends_the_wait, 0, WAYS);
	tcase_add_loop_test(units, a_handler_that_restarts_does_not_end_it, 0, WAYS);
	tcase_add_loop_test(units, its_time_ends_the_wait, 0, WAYS);
	tcase_add_loop_test(units, a_signal_ends_a_wait_with_a_limit, 0, WAYS);
	tcase_add_loop_test(units, a_limit_is_one_for_both_waits, 0, WAYS);
	tcase_add_loop_test(units, cancellation_ends_the_wait, 0, WAYS);
	tcase_add_test(units, who_leaves_by_a_send_takes_nothing_back);
	tcase_add_test(units, who_shares_takes_nothing_back);
	return run_units(runner);
}
