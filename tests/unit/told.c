/* sockets/: what poll, select and event sets tell of a stream with both its ends in one process. */
#include "both_ends.h"

#include "sockets/pending.h"
#include "sockets/poll.h"
#include "sockets/ready.h"
#include "sockets/receiving.h"
#include "sockets/set_item.h"

static int told_by_poll(int set)
{
	struct pollfd readable = {.fd = pair.fd[1], .events = POLLIN};

	return cw_poll(&readable, 1, 20);
}

static int told_by_select(int set)
{
	struct timeval limit = {.tv_usec = 20000};
	fd_set readable;

	FD_ZERO(&readable);
	FD_SET(pair.fd[1], &readable);
	return cw_select(pair.fd[1] + 1, &readable, NULL, NULL, &limit);
}

static int told_by_set(int set)
{
	struct epoll_event event;

	return cw_set_wait(set, &event, 1, 20000000, NULL);
}

/* A byte is on its way through the kernel, and the ring has what comes behind it: nothing can be read, so nothing is told; nor is it slept
 * through for ever. */
START_TEST(not_told_before_it_can_be_read)
{
	static int (*const ways[])(int) = {told_by_poll, told_by_select, told_by_set};
	uint64_t word = asleep_with("hello");
	struct epoll_event event = {.events = EPOLLIN};
	int set = epoll_create1(EPOLL_CLOEXEC);
	char got[8];

	ck_assert(cw_switch_wake(reader, &word));
	cw_set_open(set);
	ck_assert_int_eq(cw_set_control(cw_set_of(set), set, EPOLL_CTL_ADD, pair.fd[1], &event), 0);
	words->roff = 0;
	ck_assert_int_eq(ways[_i](set), 0);
	ck_assert_int_eq(cw_receive(reader, pair.fd[1], got, sizeof(got), MSG_DONTWAIT), -1);
	ck_assert_int_eq(send(pair.fd[0], "!", 1, 0), 1);
	ck_assert_int_eq(ways[_i](set), 1);
	ck_assert_int_eq(cw_receive(reader, pair.fd[1], got, sizeof(got), 0), 6);
	ck_assert_mem_eq(got, "!hello", 6);
}
END_TEST

/* FIONREAD counts what can be read. */
START_TEST(not_counted_before_it_can_be_read)
{
	uint64_t word = asleep_with("hello");

	ck_assert(cw_switch_wake(reader, &word));
	words->roff = 0;
	ck_assert_int_eq(cw_pending_in(reader, pair.fd[1]), 0);
	ck_assert_int_eq(send(pair.fd[0], "!", 1, 0), 1);
	ck_assert_int_eq(cw_pending_in(reader, pair.fd[1]), 6);
}
END_TEST

/* Room is told where a send finds it: a full ring has none, and the kernel none either as long as it is full of what comes before. */
START_TEST(room_is_told_where_a_send_finds_it)
{
	static char much[70000];
	uint64_t word = asleep_with("hello");
	ssize_t sent;

	ck_assert(cw_switch_wake(reader, &word));
	ck_assert(cw_ready_to_send(writer));
	while ((sent = send(pair.fd[0], much, sizeof(much), MSG_DONTWAIT)) > 0)
		;
	ck_assert(cw_ready_to_send(writer));
	words->widx = words->roff + (1ull << words->ring_bits);
	ck_assert(!cw_ready_to_send(writer));
	ck_assert_int_eq(cw_send(writer, pair.fd[0], "!", 1, MSG_DONTWAIT), -1);
	ck_assert_int_eq(errno, EAGAIN);
}
END_TEST

static void *take_back_late(void *asleep)
{
	uint64_t word = words->state;

	usleep(2000);
	if (asleep) {
		cw_switch_take_back(writer, pair.fd[0], &word);
	} else {
		send(pair.fd[0], "hello", 5, 0);
		words->tx_kernel_op = 0;
	}
	return NULL;
}

/* Bytes that an edge has told are taken out of the ring for a child: who doesn't wait finds them all the same, before that has begun and
 * while it is under way. */
START_TEST(found_while_it_is_taken_back)
{
	uint64_t word = asleep_with("hello");
	pthread_t thread;
	char got[8];

	words->rx_shared = 1;
	reader->slot->end[1].holders = 2;
	cw_state_mark(&words->state, CW_MARK_LEFT | CW_MARK_RESEND);
	word = words->state;
	if (!_i) {
		words->tx_kernel_op = CW_TAKING_BACK;
		ck_assert(cw_state_step(&words->state, &word, CW_TAKEN));
	}
	ck_assert_int_eq(pthread_create(&thread, NULL, take_back_late, _i ? &thread : NULL), 0);
	ck_assert_int_eq(cw_receive(reader, pair.fd[1], got, sizeof(got), MSG_DONTWAIT), 5);
	ck_assert_mem_eq(got, "hello", 5);
	pthread_join(thread, NULL);
}
END_TEST

static void *close_it(void *ignored)
{
	cw_set_forget_descriptor(reader, pair.fd[1], true);
	return NULL;
}

static void *wake_it(void *ignored)
{
	cw_set_notice(reader);
	return NULL;
}

/* A thread closes or wakes a stream, and has found its registration, when another takes that away: it must be let go once, and never be
 * looked at again, though the program was right to close what it had deleted before. */
START_TEST(a_registration_taken_away_while_it_is_waited_for)
{
	static void *(*const others[])(void *) = {close_it, wake_it};
	uint64_t word = asleep_with("hello");
	struct epoll_event event = {.events = EPOLLIN};
	struct cw_item *first, *second;
	struct cw_set *set;
	pthread_t other;
	int epfd = epoll_create1(EPOLL_CLOEXEC);

	ck_assert(cw_switch_wake(reader, &word));
	cw_set_open(epfd);
	set = cw_set_of(epfd);
	ck_assert_int_eq(cw_set_control(set, epfd, EPOLL_CTL_ADD, pair.fd[1], &event), 0);
	ck_assert(cw_set_lock(set));
	ck_assert_int_eq(pthread_create(&other, NULL, others[_i], NULL), 0);
	while (!atomic_load(&set->lock.waiters))
		sched_yield();
	ck_assert_int_eq(cw_set_control(set, epfd, EPOLL_CTL_DEL, pair.fd[1], &event), 0);
	cw_set_unlock(set, true);
	ck_assert_int_eq(pthread_join(other, NULL), 0);
	ck_assert_ptr_null(set->hot);
	ck_assert_ptr_null(set->items);
	first = cw_item_new();
	second = cw_item_new();
	ck_assert_ptr_ne(first, second);
}
END_TEST

/* ---- what only the kernel says ---- */

/* Until what is sent next by `from` goes by ring, and nothing is unread. */
static void go_live(struct cw_stream *from, int from_fd, struct cw_stream *to, int to_fd)
{
	char byte;

	do {
		ck_assert_int_eq(cw_send(from, from_fd, "!", 1, 0), 1);
		ck_assert_int_eq(cw_receive(to, to_fd, &byte, 1, 0), 1);
	} while (cw_state_of(from->tx->state) != CW_LIVE);
}

/* A poll that finds something in a ring each time tells an end nevertheless, which another stream's dead peer has not marked. */
START_TEST(an_end_is_told_beside_a_busy_ring)
{
	int told = 0;

	open_both();
	go_live(writer, pair.fd[0], reader, pair.fd[1]);
	go_live(reader, pair.fd[1], writer, pair.fd[0]);
	ck_assert_int_eq(cw_send(writer, pair.fd[0], "hello", 5, 0), 5);
	ck_assert_int_eq(shutdown(pair.fd[1], SHUT_WR), 0);
	for (int i = 0; i < 200 && !told; i++) {
		struct pollfd both[2] = {{pair.fd[1], POLLIN, 0}, {pair.fd[0], POLLIN, 0}};

		ck_assert_int_ge(cw_poll(both, 2, 1000), 1);
		ck_assert_int_eq(both[0].revents, POLLIN);
		told = both[1].revents;
	}
	ck_assert_int_eq(told, POLLIN);
}
END_TEST

/* The kernel tells an edge with all that is so; whichever of both has the bytes, and the room. */
START_TEST(room_in_the_kernel_is_told_with_bytes_in_the_ring)
{
	struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET};
	int set_fd = epoll_create1(EPOLL_CLOEXEC);

	open_both();
	go_live(writer, pair.fd[0], reader, pair.fd[1]);
	ck_assert_int_eq(cw_state_of(reader->tx->state), CW_TAKEN);
	cw_set_open(set_fd);
	ck_assert_int_eq(cw_set_control(cw_set_of(set_fd), set_fd, EPOLL_CTL_ADD, pair.fd[1], &event), 0);
	ck_assert_int_eq(cw_set_wait(set_fd, &event, 1, 0, NULL), 1);
	ck_assert_uint_eq(event.events, EPOLLOUT);
	ck_assert_int_eq(cw_send(writer, pair.fd[0], "!", 1, 0), 1);
	ck_assert_int_eq(cw_state_of(writer->tx->state), CW_LIVE);
	ck_assert_int_eq(cw_set_wait(set_fd, &event, 1, 0, NULL), 1);
	ck_assert_uint_eq(event.events, EPOLLIN | EPOLLOUT);
}
END_TEST

/* A blocking receiver has found nothing. Before it falls asleep bytes come, an edge-triggered set tells them, and sleeps beside them. */
START_TEST(asleep_beside_what_a_set_has_told)
{
	struct epoll_event event = {.events = EPOLLIN | EPOLLET};
	struct timeval limit = {.tv_usec = 100000};
	char got[8];
	struct iovec iov = {got, sizeof(got)};
	struct cw_receiving request = {.iov = &iov, .iovcnt = 1, .total = sizeof(got)};
	int set = epoll_create1(EPOLL_CLOEXEC);

	open_both();
	go_live(writer, pair.fd[0], reader, pair.fd[1]);
	request.life = cw_stream_life(reader);
	cw_set_open(set);
	ck_assert_int_eq(cw_set_control(cw_set_of(set), set, EPOLL_CTL_ADD, pair.fd[1], &event), 0);
	ck_assert_int_eq(setsockopt(pair.fd[1], SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)), 0);
	ck_assert_int_eq(cw_send(writer, pair.fd[0], "hello", 5, 0), 5);
	ck_assert_int_eq(cw_set_wait(set, &event, 1, 1000000000, NULL), 1);
	ck_assert_int_eq(cw_set_wait(set, &event, 1, 1000000, NULL), 0);
	ck_assert(cw_set_settle(cw_set_of(set)));
	ck_assert_int_eq(cw_state_of(reader->rx->state), CW_ASLEEP);
	ck_assert(cw_ready_left(reader));
	ck_assert_int_eq(cw_receive_wait(reader, pair.fd[1], &request, CW_EMPTY), CW_BYTES_AND_MORE);
	ck_assert_int_eq(cw_receive(reader, pair.fd[1], got, sizeof(got), 0), 5);
	cw_set_rise(cw_set_of(set));
}
END_TEST

int main(void)
{
	SRunner *runner;
	TCase *units = units_of("told", 30, &runner);

	tcase_add_loop_test(units, not_told_before_it_can_be_read, 0, 3);
	tcase_add_test(units, not_counted_before_it_can_be_read);
	tcase_add_test(units, room_is_told_where_a_send_finds_it);
	tcase_add_loop_test(units, found_while_it_is_taken_back, 0, 2);
	tcase_add_test(units, asleep_beside_what_a_set_has_told);
	tcase_add_loop_test(units, a_registration_taken_away_while_it_is_waited_for, 0, 2);
	tcase_add_test(units, an_end_is_told_beside_a_busy_ring);
	tcase_add_test(units, room_in_the_kernel_is_told_with_bytes_in_the_ring);
	return run_units(runner);
}
