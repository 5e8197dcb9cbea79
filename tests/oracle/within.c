/* Sets in sets: one comes, changes and goes while threads sleep around it, or nobody asks for it. */
#define FAMILY "within"
#include "oracle.h"
#include "peer.h"
#include "sets.h"

#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>

struct waiter {
	int set;
	long events, number;
	pthread_t thread;
};

static void *look_in_thread(void *argument)
{
	struct waiter *w = argument;
	struct epoll_event event;

	w->events = epoll_wait(w->set, &event, 1, 8000);
	w->number = w->events == 1 ? (long)event.data.u32 : -1;
	return NULL;
}

/* Back and forth by the inner set, as a program does that polls it without waiting. */
static void converse_by(struct end *e, int set, int rounds)
{
	for (int i = 0; i < rounds; i++) {
		quietly();
		peer_send(e, 100);
		look(set, 5000);
		RECV(e, recv(e->fd, room, 100, MSG_WAITALL));
		give(e, 10);
		quietly();
		peer_recv_all(e, 10);
	}
}

/* A set comes to, changes in, and goes from another in which a thread sleeps. */
SCENARIO(under_a_sleeper, 0)
{
	struct waiter w = {.set = new_set()};
	int inner = new_set();

	CALL(control(inner, EPOLL_CTL_ADD, e->fd, EPOLLIN, 1));
	MUST(-pthread_create(&w.thread, NULL, look_in_thread, &w));
	settle_down();
	converse_by(e, inner, 20);
	CALL(control(w.set, EPOLL_CTL_ADD, inner, EPOLLIN, 2));
	settle_down();
	peer_send(e, 10);
	pthread_join(w.thread, NULL);
	say("events %ld: %ld", w.events, w.number);
	look(w.set, 0);
	RECV(e, recv(e->fd, room, 100, 0));
	look(w.set, 0);
	CALL(control(w.set, EPOLL_CTL_MOD, inner, 0, 3));
	MUST(-pthread_create(&w.thread, NULL, look_in_thread, &w));
	settle_down();
	converse_by(e, inner, 20);
	peer_send(e, 10);
	arrive(e, 10);
	settle_down();
	CALL(control(w.set, EPOLL_CTL_MOD, inner, EPOLLIN, 4));
	pthread_join(w.thread, NULL);
	say("events %ld: %ld", w.events, w.number);
	look(w.set, 0);
	RECV(e, recv(e->fd, room, 100, 0));
	look(w.set, 0);
	MUST(-pthread_create(&w.thread, NULL, look_in_thread, &w));
	settle_down();
	CALL(control(w.set, EPOLL_CTL_DEL, inner, 0, 0));
	converse_by(e, inner, 20);
	CALL(control(w.set, EPOLL_CTL_ADD, inner, EPOLLIN | EPOLLET, 5));
	settle_down();
	peer_send(e, 10);
	pthread_join(w.thread, NULL);
	say("events %ld: %ld", w.events, w.number);
	look(w.set, 0);
	look(inner, 0);
	RECV(e, recv(e->fd, room, 100, 0));
	close(inner);
}

/* Closed while somebody sleeps around it, and made anew. */
SCENARIO(closed_under_a_sleeper, 0)
{
	struct waiter w = {.set = new_set()};
	int stop = (int)MUST(eventfd(0, 0)), inner;
	uint64_t one = 1;

	MUST(control(w.set, EPOLL_CTL_ADD, stop, EPOLLIN, 99));
	for (int i = 0; i < 3; i++) {
		inner = new_set();
		CALL(control(inner, EPOLL_CTL_ADD, e->fd, EPOLLIN, 1));
		CALL(control(w.set, EPOLL_CTL_ADD, inner, EPOLLIN, 2));
		MUST(-pthread_create(&w.thread, NULL, look_in_thread, &w));
		settle_down();
		close(inner);
		inner = new_set();
		CALL(control(inner, EPOLL_CTL_ADD, e->fd, EPOLLIN, 3));
		converse_by(e, inner, 10);
		MUST(write(stop, &one, sizeof(one)));
		pthread_join(w.thread, NULL);
		say("events %ld: %ld", w.events, w.number);
		MUST(read(stop, &one, sizeof(one)));
		one = 1;
		converse_by(e, inner, 3);
		close(inner);
	}
}

/* A set in which nobody is interested is never ready. */
SCENARIO(without_interest, 0)
{
	static const unsigned interests[] = {0, EPOLLOUT, EPOLLERR | EPOLLHUP, EPOLLRDNORM, EPOLLIN | EPOLLRDNORM};

	for (size_t i = 0; i < sizeof(interests) / sizeof(interests[0]); i++) {
		int inner = new_set(), outer = new_set(), outmost = new_set();
		struct pollfd p = {outer, POLLIN, 0};

		CALL(control(inner, EPOLL_CTL_ADD, e->fd, EPOLLIN, 1));
		CALL(control(outer, EPOLL_CTL_ADD, inner, interests[i], 2));
		CALL(control(outmost, EPOLL_CTL_ADD, outer, EPOLLIN, 3));
		converse_by(e, inner, 10);
		peer_send(e, 10);
		arrive(e, 10);
		CALL(poll(&p, 1, 0));
		look(outer, 0);
		look(outmost, 0);
		look(inner, 0);
		RECV(e, recv(e->fd, room, 100, 0));
		close(outmost);
		close(outer);
		close(inner);
	}
}

/* Each of two that sleep around a set is told of what comes to it. */
SCENARIO(two_sleep_around, 0)
{
	struct waiter w[2] = {{.set = new_set()}, {.set = new_set()}};
	int inner = new_set();

	for (int i = 0; i < 2; i++)
		CALL(control(w[i].set, EPOLL_CTL_ADD, inner, EPOLLIN, 2));
	for (int round = 0; round < 4; round++) {
		for (int i = 0; i < 2; i++)
			MUST(-pthread_create(&w[i].thread, NULL, look_in_thread, &w[i]));
		settle_down();
		quietly();
		peer_send(e, 10);
		arrive(e, 10);
		MUST(control(inner, EPOLL_CTL_ADD, e->fd, EPOLLIN, 1));
		for (int i = 0; i < 2; i++) {
			pthread_join(w[i].thread, NULL);
			say("events %ld: %ld", w[i].events, w[i].number);
		}
		look(inner, 0);
		RECV(e, recv(e->fd, room, 100, 0));
		look(w[0].set, 0);
		look(w[1].set, 0);
		MUST(control(inner, EPOLL_CTL_DEL, e->fd, 0, 0));
	}
}

/* Told once of a set, while another thread sleeps around it. */
SCENARIO(told_once, 0)
{
	struct waiter w = {.set = new_set()};
	int inner = new_set(), stop = (int)MUST(eventfd(0, 0));
	uint64_t one = 1;

	MUST(control(w.set, EPOLL_CTL_ADD, stop, EPOLLIN, 99));
	CALL(control(inner, EPOLL_CTL_ADD, e->fd, EPOLLIN, 1));
	CALL(control(w.set, EPOLL_CTL_ADD, inner, EPOLLIN | EPOLLONESHOT, 2));
	for (int i = 0; i < 3; i++) {
		peer_send(e, 10);
		arrive(e, 10);
		look(w.set, 1000);
		look(w.set, 0);
		MUST(-pthread_create(&w.thread, NULL, look_in_thread, &w));
		settle_down();
		RECV(e, recv(e->fd, room, 100, 0));
		converse_by(e, inner, 10);
		if (i % 2) {
			CALL(control(w.set, EPOLL_CTL_MOD, inner, EPOLLIN | EPOLLONESHOT, 3));
			peer_send(e, 10);
		} else {
			MUST(write(stop, &one, sizeof(one)));
		}
		pthread_join(w.thread, NULL);
		say("events %ld: %ld", w.events, w.number);
		if (i % 2)
			RECV(e, recv(e->fd, room, 10, MSG_WAITALL));
		else
			MUST(read(stop, &one, sizeof(one)));
		one = 1;
		CALL(control(w.set, EPOLL_CTL_MOD, inner, EPOLLIN | EPOLLONESHOT, 4));
	}
}

/* The interest changes again and again, and then the set comes within another, or is taken out. */
SCENARIO(changed_and_enclosed, 0)
{
	int inner = new_set(), outer = new_set();

	CALL(control(inner, EPOLL_CTL_ADD, e->fd, EPOLLIN | EPOLLOUT, 1));
	for (int i = 0; i < 5; i++) {
		converse_by(e, inner, 3);
		CALL(control(inner, EPOLL_CTL_MOD, e->fd, EPOLLIN | EPOLLOUT, 2));
		CALL(control(inner, EPOLL_CTL_MOD, e->fd, EPOLLIN, 3));
		CALL(control(outer, EPOLL_CTL_ADD, inner, EPOLLIN, 4));
		look(outer, 0);
		CALL(control(inner, EPOLL_CTL_MOD, e->fd, EPOLLIN | EPOLLOUT, 5));
		look(outer, 0);
		CALL(control(outer, EPOLL_CTL_DEL, inner, 0, 0));
		CALL(control(inner, EPOLL_CTL_DEL, e->fd, 0, 0));
		CALL(control(outer, EPOLL_CTL_ADD, inner, EPOLLIN, 6));
		look(outer, 0);
		CALL(control(inner, EPOLL_CTL_ADD, e->fd, EPOLLIN | EPOLLOUT, 7));
		look(outer, 0);
		CALL(control(outer, EPOLL_CTL_DEL, inner, 0, 0));
	}
}
