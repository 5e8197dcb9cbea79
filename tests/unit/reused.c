/*
 * sockets/: a stream is closed under a call that sleeps in the kernel for it, and its place and slot serve the next connection when the
 * call wakes. The call has its answer, and nothing of the next connection has changed.
 */
#include "pair.h"

#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>

#include "sockets/poll.h"

/* A poll that began with one stream ends beside the next one in its place. */
static void *poll_once(void *fd)
{
	struct pollfd one = {.fd = *(int *)fd, .events = POLLIN};

	ck_assert_int_ge(cw_poll(&one, 1, 300), 0);
	return NULL;
}

START_TEST(stream_used_again_under_poll)
{
	struct pair first, second;
	struct cw_stream *stream;
	pthread_t thread;

	pair_start(0);
	pair_make(&first);
	pair_make(&second);
	stream = pair_open(&first, 0);
	ck_assert_int_eq(pthread_create(&thread, NULL, poll_once, &first.fd[0]), 0);
	while (!stream->rx->rx_asleep)
		sched_yield();
	pair_close(stream, first.fd[0]);
	ck_assert_ptr_eq(pair_open(&second, 0), stream);
	atomic_store(&stream->rx->rx_asleep, 0); /* as a slot is given out */
	pthread_join(thread, NULL);
	ck_assert_uint_eq(stream->rx->rx_asleep, 0);
	ck_assert_uint_eq(stream->rx_busy, 0);
	pair_close(stream, second.fd[0]);
}
END_TEST

/* The same for calls that sleep in the kernel, which keeps the socket for them. */
struct sleeping {
	struct cw_stream *stream;
	int fd;
	bool sends;
	ssize_t result;
};

static void *sleep_in_call(void *argument)
{
	struct sleeping *sleeping = argument;
	static char bytes[1 << 20];

	sleeping->result = sleeping->sends ? cw_send(sleeping->stream, sleeping->fd, bytes, sizeof(bytes), 0)
					   : cw_receive(sleeping->stream, sleeping->fd, bytes, 10, 0);
	return NULL;
}

static void drain(int fd, size_t count)
{
	static char bytes[1 << 16];

	while (count) {
		ssize_t got = read(fd, bytes, sizeof(bytes));

		ck_assert_int_gt(got, 0);
		count -= (size_t)got;
	}
}

START_TEST(stream_used_again_under_a_call)
{
	struct sleeping sleeping = {.sends = _i};
	struct pair first, second;
	struct cw_stream *stream;
	int little = 4096;
	pthread_t thread;

	pair_start(0);
	pair_make(&first);
	pair_make(&second);
	setsockopt(first.fd[0], SOL_SOCKET, SO_SNDBUF, &little, sizeof(little));
	stream = sleeping.stream = pair_open(&first, 0);
	sleeping.fd = first.fd[0];
	ck_assert_int_eq(pthread_create(&thread, NULL, sleep_in_call, &sleeping), 0);
	while (sleeping.sends ? !stream->tx->tx_in_kernel : !stream->rx->rx_asleep)
		sched_yield();
	usleep(20000);
	pair_close(stream, first.fd[0]);
	ck_assert_ptr_eq(pair_open(&second, 0), stream);
	/* As a slot is given out. */
	atomic_store(&stream->rx->rx_asleep, 0);
	atomic_store(&stream->rx->roff, 0);
	atomic_store(&stream->tx->tx_in_kernel, 0);
	atomic_store(&stream->tx->woff, 0);
	if (sleeping.sends)
		drain(first.fd[1], 1 << 20);
	else
		ck_assert_int_eq(send(first.fd[1], "hello", 5, 0), 5);
	pthread_join(thread, NULL);
	ck_assert_int_eq(sleeping.result, sleeping.sends ? 1 << 20 : 5);
	ck_assert_uint_eq(stream->rx->rx_asleep, 0);
	ck_assert_uint_eq(stream->rx->roff, 0);
	ck_assert_uint_eq(stream->tx->tx_in_kernel, 0);
	ck_assert_uint_eq(stream->tx->woff, 0);
	pair_close(stream, second.fd[0]);
}
END_TEST

/* A send of many parts looks for room, between two of them, when the stream is closed. */
struct sending {
	struct cw_stream *stream;
	int fd;
	bool file;
	ssize_t result;
};

#define MUCH (8u << 20)

static void *send_much(void *argument)
{
	struct sending *sending = argument;
	static char bytes[MUCH];

	if (sending->file) {
		int file = memfd_create("much", MFD_CLOEXEC);

		ck_assert_int_eq(ftruncate(file, MUCH), 0);
		sending->result = cw_send_file(sending->stream, sending->fd, file, NULL, MUCH);
		close(file);
	} else {
		sending->result = cw_send(sending->stream, sending->fd, bytes, MUCH, 0);
	}
	return NULL;
}

static void until_live(struct cw_stream *writer, struct cw_stream *reader, const struct pair *pair)
{
	char byte = 0;

	for (int i = 0; i < 1000 && cw_state_of(writer->tx->state) != CW_LIVE; i++) {
		ck_assert_int_eq(cw_send(writer, pair->fd[0], &byte, 1, 0), 1);
		ck_assert_int_eq(cw_receive(reader, pair->fd[1], &byte, 1, 0), 1);
	}
	ck_assert_int_eq(cw_state_of(writer->tx->state), CW_LIVE);
}

static bool is_full(const struct cw_direction *way)
{
	return way->widx - way->roff >= 1ull << way->ring_bits;
}

/* False: the sender has ended its look, as it does where others want the processor, before the stream was closed. */
static bool closed_under_a_look(bool file, uint64_t arena)
{
	static char bytes[1 << 16];
	struct sending sending = {.file = file};
	struct pair first, second;
	struct cw_stream *stream, *reader, *other;
	struct cw_direction *way;
	uint64_t widx, part;
	pthread_t thread;

	pair_make_in(&first, arena);
	pair_make_in(&second, arena + 1); /* the sender is still at the first one's */
	stream = sending.stream = pair_open(&first, 0);
	reader = pair_open(&first, 1);
	sending.fd = first.fd[0];
	until_live(stream, reader, &first);
	way = stream->tx;
	part = way->widx;
	ck_assert_int_eq(pthread_create(&thread, NULL, send_much, &sending), 0);
	while (!is_full(way))
		sched_yield();
	part = way->widx - part;
	pair_close(stream, first.fd[0]);
	if (cw_state_of(way->state) != CW_LIVE) {
		pair_close(reader, first.fd[1]);
		pthread_join(thread, NULL);
		return false;
	}
	ck_assert_ptr_eq(pair_open(&second, 0), stream);
	other = pair_open(&second, 1);
	until_live(stream, other, &second);
	widx = stream->tx->widx;
	ck_assert_int_gt(cw_receive(reader, first.fd[1], bytes, sizeof(bytes), 0), 0);
	pthread_join(thread, NULL);
	ck_assert_int_eq(sending.result, (ssize_t)part);
	ck_assert_uint_eq(stream->tx->widx, widx);
	ck_assert_uint_eq(stream->tx->tx_in_kernel, 0);
	ck_assert_uint_eq(stream->tx->tx_lock.holder, 0);
	pair_close(stream, second.fd[0]);
	return true;
}

START_TEST(stream_used_again_between_two_parts)
{
	bool closed = false;

	signal(SIGPIPE, SIG_IGN);
	pair_start(50000000);
	for (int i = 0; i < 20 && !closed; i++)
		closed = closed_under_a_look(_i, 2 + 2 * (uint64_t)i);
	ck_assert(closed);
}
END_TEST

/* A dup that found the stream by the number which another thread closes. */
START_TEST(no_second_descriptor_of_a_closed_one)
{
	struct pair first, second;
	struct cw_stream *stream;
	uint32_t life;
	int twin;

	pair_start(0);
	pair_make(&first);
	pair_make(&second);
	stream = pair_open(&first, 0);
	life = cw_stream_life(stream);
	twin = dup(first.fd[0]);
	pair_close(stream, first.fd[0]);
	if (_i)
		ck_assert_ptr_eq(pair_open(&second, 0), stream);
	cw_stream_dup(stream, life, twin);
	ck_assert_ptr_null(cw_stream_of(twin));
	ck_assert_int_eq(stream->references, _i);
	close(twin);
	if (_i)
		pair_close(stream, second.fd[0]);
}
END_TEST

/* The call has found the stream by its number, and waits for the lock. */
static void *take_one(void *argument)
{
	struct sleeping *sleeping = argument;
	char byte;

	errno = 0;
	sleeping->result = sleeping->sends ? cw_send(sleeping->stream, sleeping->fd, "!", 1, MSG_DONTWAIT)
					   : cw_receive(sleeping->stream, sleeping->fd, &byte, 1, MSG_DONTWAIT);
	ck_assert_int_eq(errno, EBADF);
	return NULL;
}

START_TEST(stream_used_again_before_the_lock)
{
	struct sleeping sleeping = {.sends = _i};
	struct pair first, second;
	struct cw_stream *stream, *other;
	struct cw_lock *lock;
	pthread_t thread;
	char byte;

	pair_start(0);
	pair_make(&first);
	pair_make_in(&second, PAIR_ARENA + 1);
	stream = sleeping.stream = pair_open(&first, 0);
	sleeping.fd = first.fd[0];
	lock = _i ? &stream->tx->tx_lock : &stream->rx->rx_lock;
	atomic_store(&lock->holder, (uint32_t)getppid());
	ck_assert_int_eq(pthread_create(&thread, NULL, take_one, &sleeping), 0);
	while (!atomic_load(&lock->waiters))
		sched_yield();
	pair_close(stream, first.fd[0]);
	ck_assert_ptr_eq(pair_open(&second, 0), stream);
	other = pair_open(&second, 1);
	until_live(stream, other, &second);
	until_live(other, stream, &(struct pair){.fd = {second.fd[1], second.fd[0]}});
	ck_assert_int_eq(cw_send(other, second.fd[1], "?", 1, 0), 1);
	cw_unlock(lock);
	pthread_join(thread, NULL);
	ck_assert_int_eq(sleeping.result, -1);
	ck_assert_int_eq(cw_receive(stream, second.fd[0], &byte, 1, MSG_DONTWAIT), 1);
	ck_assert_int_eq(byte, '?');
	ck_assert_int_eq(cw_receive(other, second.fd[1], &byte, 1, MSG_DONTWAIT), -1);
	pair_close(stream, second.fd[0]);
}
END_TEST

/* Who is in the middle of a copy is waited for, before the slot can be another's. */
static _Atomic bool let_go;

static void *hold_for_long(void *argument)
{
	uint64_t contended = 0;

	cw_lock(argument, cw_thread_id(), &contended);
	let_go = true;
	usleep(100000);
	let_go = false;
	cw_unlock(argument);
	return NULL;
}

START_TEST(who_closes_waits_for_a_copy)
{
	struct pair first;
	struct cw_stream *stream;
	pthread_t thread;

	pair_start(0);
	pair_make(&first);
	stream = pair_open(&first, 0);
	ck_assert_int_eq(pthread_create(&thread, NULL, hold_for_long, _i ? &stream->tx->tx_lock : &stream->rx->rx_lock), 0);
	while (!let_go)
		sched_yield();
	stream->slot->end[0].holders = 2;
	pair_close(stream, first.fd[0]);
	ck_assert(!let_go);
	pthread_join(thread, NULL);
}
END_TEST

int main(void)
{
	SRunner *runner;
	TCase *units = units_of("reused", 60, &runner);

	tcase_add_test(units, stream_used_again_under_poll);
	tcase_add_loop_test(units, stream_used_again_under_a_call, 0, 2);
	tcase_add_loop_test(units, stream_used_again_between_two_parts, 0, 2);
	tcase_add_loop_test(units, stream_used_again_before_the_lock, 0, 2);
	tcase_add_loop_test(units, who_closes_waits_for_a_copy, 0, 2);
	tcase_add_loop_test(units, no_second_descriptor_of_a_closed_one, 0, 2);
	return run_units(runner);
}
