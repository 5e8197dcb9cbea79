/*
 * What others wait for is closed, and its number, and what the library kept of it, used again: who waits goes on to wait for what it began
 * with. And event sets by other numbers than their first.
 */
#define FAMILY "vanishing"
#include "datagrams.h"
#include "sets.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/select.h>
#include <sys/time.h>

static void *wait_in_set(void *set)
{
	look((int)(intptr_t)set, 5000);
	return NULL;
}

static void *wait_for_datagram(void *fd)
{
	char byte;

	CALL(recv((int)(intptr_t)fd, &byte, 1, 0));
	return NULL;
}

static void *poll_set(void *set)
{
	struct pollfd one = {(int)(intptr_t)set, POLLIN, 0};

	CALL(poll(&one, 1, 1000));
	return NULL;
}

static pthread_t start(void *(*run)(void *), int fd)
{
	pthread_t thread;

	MUST(-pthread_create(&thread, NULL, run, (void *)(intptr_t)fd));
	settle_down();
	return thread;
}

static void end(pthread_t thread)
{
	MUST(-pthread_join(thread, NULL));
}

/* Who was woken by it says so: its line and the peer's would come in any order. */
static void wake(struct end *e, long count, pthread_t sleeper)
{
	quietly();
	peer_send(e, count);
	MUST(-pthread_join(sleeper, NULL));
}

/* Whoever looks in vain would take the ring now, if nobody slept. */
static void look_in_vain(struct end *e)
{
	for (int i = 0; i < 3; i++)
		if (recv(e->fd, room, 100, MSG_DONTWAIT) >= 0 || errno != EAGAIN)
			complain("something is there");
}

SCENARIO(set_under_a_sleeper, 0)
{
	int set = new_set();
	pthread_t sleeper;

	MUST(control(set, EPOLL_CTL_ADD, e->fd, EPOLLIN, 1));
	sleeper = start(wait_in_set, set);
	CALL(close(set));
	look_in_vain(e);
	wake(e, 10, sleeper);
	RECV(e, recv(e->fd, room, 100, 0));
	there_and_back(e, 10, 5);
}

/* The next set has the number of the one that somebody sleeps in, and is slept in too. */
SCENARIO(set_used_again, 0)
{
	struct end other;

	open_end(&other, manner.family, manner.mapped);
	for (int i = 0; i < 3; i++) {
		int set = new_set(), next;
		pthread_t sleeper, later_one;

		MUST(control(set, EPOLL_CTL_ADD, e->fd, EPOLLIN, 1));
		sleeper = start(wait_in_set, set);
		CALL(close(set));
		next = new_set();
		say(next == set ? "the same number" : "another number");
		MUST(control(next, EPOLL_CTL_ADD, other.fd, EPOLLIN, 2));
		later_one = start(wait_in_set, next);
		wake(e, 10, sleeper);
		RECV(e, recv(e->fd, room, 100, 0));
		look_in_vain(&other);
		wake(&other, 20, later_one);
		RECV(&other, recv(other.fd, room, 100, 0));
		look(next, 0);
		CALL(close(next));
		there_and_back(&other, 10, 5);
	}
}

static void *receive_there(void *fd)
{
	CALL(recv((int)(intptr_t)fd, room, 10, 0));
	return NULL;
}

/* Who waits in the kernel by a number gets what it waits for, and has nothing more to do with what the number means by then. */
SCENARIO(number_put_over_under_a_receiver, 0)
{
	struct end one, other;
	pthread_t receiver;

	open_end_so(&one, manner.family, manner.mapped, manner.accepting, 0);
	open_end_so(&other, manner.family, manner.mapped, manner.accepting, 0);
	int twin = (int)MUST(dup(one.fd));

	receiver = start(receive_there, one.fd);
	peer_send(&other, 5);
	CALL(dup2(other.fd, one.fd) == one.fd);
	wake(&one, 10, receiver);
	one.taken += 10;
	close(one.fd);
	one.fd = twin;
	RECV(&other, recv(other.fd, room, 100, 0));
	for (int i = 0; i < 3; i++) {
		there_and_back(&one, 10, 5);
		there_and_back(&other, 20, 5);
	}
}

/* By a program that closes all its numbers from one on. */
SCENARIO(set_of_a_closed_range, 0)
{
	int low = new_set(), set = fcntl(low, F_DUPFD_CLOEXEC, 700);
	pthread_t sleeper;

	MUST(control(set, EPOLL_CTL_ADD, e->fd, EPOLLIN, 1));
	close(low);
	sleeper = start(wait_in_set, set);
	CALL(close_range(700, ~0u, 0));
	wake(e, 10, sleeper);
	RECV(e, recv(e->fd, room, 100, 0));
	CALL(fcntl(set, F_GETFD));
}

/* poll looks at its numbers again when it wakes: it may say that the set is gone, or, asleep, see nothing. It takes nothing with it. */
SCENARIO(set_under_poll, 0)
{
	for (int i = 0; i < 2; i++) {
		int set = new_set(), next;
		pthread_t poller, sleeper;

		MUST(control(set, EPOLL_CTL_ADD, e->fd, EPOLLIN, 1));
		poller = start(poll_set, set);
		CALL(close(set));
		next = new_set();
		MUST(control(next, EPOLL_CTL_ADD, e->fd, EPOLLIN, 2));
		sleeper = start(wait_in_set, next);
		end(poller);
		look_in_vain(e);
		wake(e, 10, sleeper);
		RECV(e, recv(e->fd, room, 100, 0));
		close(next);
	}
}

/* Its first number closed, and given to another set, that has no business with what is told by the second. */
SCENARIO(set_by_a_second_number, 0)
{
	int set = new_set(), twin = dup(set), other;

	MUST(control(set, EPOLL_CTL_ADD, e->fd, EPOLLIN, 1));
	CALL(close(set));
	other = new_set();
	say(other == set ? "the same number" : "another number");
	MUST(control(other, EPOLL_CTL_ADD, e->fd, EPOLLIN, 99));
	for (unsigned i = 0; i < 6; i++) {
		CALL(control(twin, EPOLL_CTL_MOD, e->fd, i % 2 ? EPOLLIN : EPOLLIN | EPOLLOUT, 2 + i));
		if (i % 2)
			later(20);
		peer_send(e, 10);
		look(twin, 2000);
		if (i % 2)
			peer_wait();
		arrive(e, 10);
		look(other, 2000);
		CALL(control(twin, EPOLL_CTL_MOD, e->fd, EPOLLIN, 20 + i));
		RECV(e, recv(e->fd, room, 100, 0));
		look(other, 0);
		look(twin, 0);
	}
	CALL(control(twin, EPOLL_CTL_DEL, e->fd, 0, 0));
	peer_send(e, 10);
	look(other, 2000);
	look(twin, 0);
	RECV(e, recv(e->fd, room, 100, 0));
	close(twin);
	close(other);
}

static void open_again(struct end *e)
{
	open_udp(e);
	exchange(e, 60);
}

/* A socket of datagrams lives on as well, and the next one is of its own. */
SCENARIO(datagrams_under_a_receiver, UNOPENED | ITS_OWN)
{
	open_udp(e);
	for (int i = 0; i < 2; i++) {
		struct timeval limit = {1, 0};
		pthread_t receiver;
		int fd = e->fd;

		MUST(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)));
		receiver = start(wait_for_datagram, fd);
		CALL(close(fd));
		if (i % 2)
			open_again(e);
		end(receiver);
		if (i % 2 == 0)
			open_again(e);
		peer_gives(e, 100);
		await(e);
		TAKE(e, recv(e->fd, room, ROOM, 0));
		exchange(e, 20);
	}
}

/* Under poll by its number, which looks at that again when its time is over. */
SCENARIO(datagrams_under_poll, UNOPENED | ITS_OWN)
{
	int quiet = eventfd(0, EFD_CLOEXEC);

	open_udp(e);
	for (int i = 0; i < 2; i++) {
		pthread_t poller = start(poll_set, e->fd);
		int number = e->fd;

		MUST(dup2(quiet, number));
		open_again(e);
		end(poller);
		close(number);
		peer_gives(e, 100);
		await(e);
		TAKE(e, recv(e->fd, room, ROOM, 0));
		exchange(e, 20);
	}
}

static struct {
	_Atomic int fd;
	_Atomic bool over;
	struct name to;
} sending;

static void *send_for_ever(void *nothing)
{
	while (!sending.over)
		if (sendto(sending.fd, "late", 4, MSG_DONTWAIT, at(&sending.to), sending.to.length) < 0 && errno != EBADF)
			complain("sent: %s", RESULT(-1));
	return nothing;
}

/* It is closed in the middle of a send. */
SCENARIO(datagrams_under_senders, UNOPENED | ITS_OWN)
{
	int receiver = (int)MUST(socket(AF_INET, SOCK_DGRAM, 0));
	pthread_t sender[2];

	sending.to = at_loopback(AF_INET);
	sending.fd = -1;
	sending.over = false;
	MUST(bind(receiver, at(&sending.to), sending.to.length));
	MUST(getsockname(receiver, at(&sending.to), &sending.to.length));
	for (int i = 0; i < 2; i++)
		MUST(-pthread_create(&sender[i], NULL, send_for_ever, NULL));
	for (int i = 0; i < 1000; i++) {
		int fd = (int)MUST(socket(AF_INET, SOCK_DGRAM, 0));

		sending.fd = fd;
		pause_us(i % 10 * 100);
		MUST(close(fd));
	}
	sending.over = true;
	for (int i = 0; i < 2; i++)
		end(sender[i]);
	close(receiver);
	open_udp(e);
	exchange(e, 60);
}

/* As long as a socket has another number it is told of by the one that is gone, and nobody else is by that number. */
SCENARIO(registered_by_a_number_that_is_another, 0)
{
	static const unsigned interests[] = {EPOLLIN | EPOLLONESHOT, EPOLLIN | EPOLLOUT, EPOLLIN | EPOLLET, EPOLLIN | EPOLLRDHUP};
	struct end first, other;

	for (unsigned i = 0; i < 2 * sizeof(interests) / sizeof(*interests); i++) {
		unsigned interest = interests[i / 2];
		int set = new_set(), number;

		open_end_so(&first, manner.family, manner.mapped, false, i % 2 ? 60 : 0);
		open_end(&other, manner.family, manner.mapped);
		number = first.fd;
		CALL(control(set, EPOLL_CTL_ADD, number, interest, 1));
		first.fd = (int)MUST(dup(number));
		MUST(dup2(other.fd, number));
		close(other.fd);
		other.fd = number;
		CALL(control(set, EPOLL_CTL_ADD, other.fd, EPOLLIN, 2));
		peer_send(&first, 10);
		arrive(&first, 10);
		look(set, 0);
		look(set, 0);
		RECV(&first, recv(first.fd, room, 100, 0));
		for (unsigned k = 0; k < 30; k++) {
			quietly();
			peer_send(&first, 10);
			arrive(&first, 10);
			if (k % 4 == 0)
				look(set, 0);
			quietly();
			peer_send(&other, 20);
			arrive(&other, 20);
			if (k % 4 == 1)
				look(set, 0);
			take(&other, 20);
			take(&first, 10);
			give(&first, 10);
			quietly();
			peer_recv(&first, 10, 0);
			if (k % 4 == 2)
				look(set, 0);
			later(5);
			quietly();
			peer_send(&other, 20);
			if (k % 4 == 3)
				look(set, interest & EPOLLOUT ? 0 : 2000);
			peer_wait();
			take(&other, 20);
		}
		CALL(control(set, EPOLL_CTL_MOD, number, EPOLLIN | EPOLLET, 3));
		peer_send(&other, 10);
		arrive(&other, 10);
		look(set, 0);
		look(set, 0);
		peer_shutdown(&first, SHUT_WR);
		rest();
		look(set, 0);
		close(other.fd);
		close(first.fd);
		close(set);
	}
}
