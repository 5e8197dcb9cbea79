/* Sets in sets, sets in poll and select, sets and streams shared by threads. */
#define FAMILY "nested"
#include "oracle.h"
#include "peer.h"
#include "sets.h"

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <sys/select.h>

SCENARIO(level_in_level, 0)
{
	int inner = new_set(), outer = new_set();

	CALL(control(inner, EPOLL_CTL_ADD, e->fd, EPOLLIN, 1));
	CALL(control(outer, EPOLL_CTL_ADD, inner, EPOLLIN, 2));
	look(outer, 0);
	peer_send(e, 10);
	arrive(e, 10);
	look(outer, 1000);
	look(outer, 0);
	look(inner, 0);
	look(outer, 0);
	RECV(e, recv(e->fd, room, 100, 0));
	look(outer, 0);
	look(inner, 0);
	look(outer, 0);
	for (int i = 0; i < 3; i++) {
		later(40);
		peer_send(e, 10);
		look(outer, 5000);
		peer_wait();
		look(inner, 0);
		RECV(e, recv(e->fd, room, 100, 0));
		look(outer, 0);
	}
	close(outer);
	close(inner);
}

SCENARIO(edge_outside, 0)
{
	int inner = new_set(), outer = new_set();

	CALL(control(inner, EPOLL_CTL_ADD, e->fd, EPOLLIN, 1));
	CALL(control(outer, EPOLL_CTL_ADD, inner, EPOLLIN | EPOLLET, 2));
	peer_send(e, 10);
	arrive(e, 10);
	look(outer, 1000);
	look(outer, 0);
	look(inner, 0);
	RECV(e, recv(e->fd, room, 100, 0));
	look(inner, 0);
	later(40);
	peer_send(e, 10);
	look(outer, 5000);
	peer_wait();
	look(outer, 0);
	close(outer);
	close(inner);
}

/* What is read makes no edge, and what is asked for anew makes one, though the same is ready then as before. */
SCENARIO(edge_outside_of_two, 0)
{
	int inner = new_set(), outer = new_set();
	struct end other;

	open_end(&other, AF_INET, false);
	CALL(control(inner, EPOLL_CTL_ADD, e->fd, EPOLLIN, 1));
	CALL(control(inner, EPOLL_CTL_ADD, other.fd, EPOLLIN, 3));
	CALL(control(outer, EPOLL_CTL_ADD, inner, EPOLLIN | EPOLLET, 2));
	peer_send(e, 10);
	peer_send(&other, 10);
	arrive(e, 10);
	arrive(&other, 10);
	look(outer, 1000);
	look(outer, 0);
	RECV(e, recv(e->fd, room, 100, 0));
	look(outer, 0);
	CALL(control(inner, EPOLL_CTL_MOD, other.fd, 0, 3));
	look(outer, 0);
	look(inner, 0); /* else the kernel's set thinks that it has been there all the time */
	CALL(control(inner, EPOLL_CTL_MOD, other.fd, EPOLLIN, 3));
	look(outer, 1000);
	look(outer, 0);
	look(inner, 0);
	close(other.fd);
	close(outer);
	close(inner);
}

/* What is asked for anew makes an edge only if nobody has it on a list of what is ready: there it stays until somebody looks and finds
 * none. */
SCENARIO(edge_outside_of_changed, 0)
{
	static const unsigned first[] = {EPOLLIN, 0, EPOLLIN | EPOLLET};

	for (unsigned i = 0; i < 12; i++) {
		unsigned before = i < 6 ? EPOLLIN : EPOLLIN | EPOLLET;
		int inner = new_set(), outer = new_set();

		say("%u", i);
		CALL(control(inner, EPOLL_CTL_ADD, e->fd, before, 1));
		CALL(control(outer, EPOLL_CTL_ADD, inner, EPOLLIN | EPOLLET, 2));
		peer_send(e, 10);
		arrive(e, 10);
		look(outer, 1000);
		if (i % 6 >= 3)
			look(inner, 0);
		CALL(control(inner, EPOLL_CTL_MOD, e->fd, first[i % 3], 1));
		CALL(control(inner, EPOLL_CTL_MOD, e->fd, before, 1));
		look(outer, 0);
		look(outer, 0);
		RECV(e, recv(e->fd, room, 100, 0));
		CALL(control(inner, EPOLL_CTL_MOD, e->fd, before, 1));
		look(outer, 0);
		look(inner, 0);
		peer_send(e, 10);
		arrive(e, 10);
		look(outer, 1000);
		RECV(e, recv(e->fd, room, 100, 0));
		close(outer);
		close(inner);
	}
}

SCENARIO(edge_inside, 0)
{
	int inner = new_set(), outer = new_set();

	CALL(control(inner, EPOLL_CTL_ADD, e->fd, EPOLLIN | EPOLLET, 1));
	CALL(control(outer, EPOLL_CTL_ADD, inner, EPOLLIN, 2));
	peer_send(e, 10);
	arrive(e, 10);
	look(outer, 1000);
	look(inner, 0);
	look(outer, 0);
	later(40);
	peer_send(e, 10);
	look(outer, 5000);
	peer_wait();
	look(inner, 0);
	look(inner, 0);
	look(outer, 0);
	close(outer);
	close(inner);
}

SCENARIO(three_deep, 0)
{
	struct end other;
	int one = new_set(), two = new_set(), three = new_set();

	open_end(&other, AF_INET, false);
	CALL(control(one, EPOLL_CTL_ADD, e->fd, EPOLLIN, 1));
	CALL(control(two, EPOLL_CTL_ADD, one, EPOLLIN, 2));
	CALL(control(two, EPOLL_CTL_ADD, other.fd, EPOLLIN, 3));
	CALL(control(three, EPOLL_CTL_ADD, two, EPOLLIN, 4));
	CALL(control(one, EPOLL_CTL_ADD, three, EPOLLIN, 5));
	later(40);
	peer_send(e, 10);
	look(three, 5000);
	peer_wait();
	look(two, 0);
	look(one, 0);
	RECV(e, recv(e->fd, room, 100, 0));
	look(three, 0);
	later(40);
	peer_send(&other, 10);
	look(three, 5000);
	peer_wait();
	look(two, 0);
	RECV(&other, recv(other.fd, room, 100, 0));
	look(three, 0);
}

SCENARIO(set_polled, 0)
{
	int set = new_set();
	struct pollfd p = {set, POLLIN, 0};
	fd_set in;

	CALL(control(set, EPOLL_CTL_ADD, e->fd, EPOLLIN, 1));
	CALL(poll(&p, 1, 0));
	for (int i = 0; i < 3; i++) {
		peer_send(e, 10);
		arrive(e, 10);
		CALL(poll(&p, 1, 1000));
		say("  %s", POLLED((unsigned)p.revents));
		look(set, 0);
		FD_ZERO(&in);
		FD_SET(set, &in);
		CALL(select(set + 1, &in, NULL, NULL, &(struct timeval){1, 0}));
		RECV(e, recv(e->fd, room, 100, 0));
		CALL(poll(&p, 1, 0));
		later(40);
		peer_send(e, 10);
		CALL(poll(&p, 1, 5000));
		peer_wait();
		RECV(e, recv(e->fd, room, 100, 0));
		later(40);
		peer_send(e, 10);
		FD_ZERO(&in);
		FD_SET(set, &in);
		CALL(select(set + 1, &in, NULL, NULL, &(struct timeval){5, 0}));
		peer_wait();
		RECV(e, recv(e->fd, room, 100, 0));
	}
	close(set);
}

SCENARIO(set_and_its_stream_polled, 0)
{
	int set = new_set();
	struct pollfd p[2] = {{set, POLLIN, 0}, {e->fd, POLLIN, 0}};

	CALL(control(set, EPOLL_CTL_ADD, e->fd, EPOLLIN | EPOLLET, 1));
	later(40);
	peer_send(e, 10);
	CALL(poll(p, 2, 5000));
	peer_wait();
	rest();
	CALL(poll(p, 2, 0));
	look(set, 0);
	CALL(poll(p, 2, 0));
	say("  %s %s", POLLED((unsigned)p[0].revents), POLLED((unsigned)p[1].revents));
	RECV(e, recv(e->fd, room, 100, 0));
	CALL(poll(p, 2, 0));
	close(set);
}

struct waiter {
	int set, stop, fd;
	_Atomic long bytes, events;
	pthread_t thread;
};

/* Reads what an edge tells of until nothing is left; ends when the eventfd (number 99) is raised. */
static void *wait_in_thread(void *argument)
{
	struct waiter *w = argument;
	unsigned char bytes[4096];
	struct epoll_event event;

	for (;;) {
		if (epoll_wait(w->set, &event, 1, 8000) != 1)
			return NULL;
		if (event.data.u32 == 99)
			return NULL;
		w->events++;
		for (;;) {
			ssize_t n = recv(w->fd, bytes, sizeof(bytes), MSG_DONTWAIT);

			if (n <= 0)
				break;
			w->bytes += n;
		}
	}
}

static void shared_set(struct end *e, unsigned how, bool own_sets)
{
	struct waiter w[3] = {0};
	int stop = (int)MUST(eventfd(0, 0)), set = new_set();
	uint64_t one = 1;
	long total = 0, events = 0;

	for (int i = 0; i < 3; i++) {
		if (own_sets)
			set = new_set();
		if (own_sets || !i) {
			MUST(control(set, EPOLL_CTL_ADD, stop, EPOLLIN, 99));
			MUST(control(set, EPOLL_CTL_ADD, e->fd, how, 1));
		}
		w[i].set = set;
		w[i].fd = e->fd;
		MUST(-pthread_create(&w[i].thread, NULL, wait_in_thread, &w[i]));
	}
	settle_down();
	for (int i = 0; i < 40; i++) {
		quietly();
		if (i % 5 == 0)
			later(10);
		peer_send(e, 100);
		if (i % 5 == 0)
			peer_wait();
	}
	uint64_t limit = now_ms() + 3000;

	while (w[0].bytes + w[1].bytes + w[2].bytes < 4000 && now_ms() < limit)
		rest();
	MUST(write(stop, &one, sizeof(one)));
	for (int i = 0; i < 3; i++) {
		pthread_join(w[i].thread, NULL);
		total += w[i].bytes;
		events += w[i].events;
	}
	say("bytes %ld, some event %d", total, events > 0);
	CALL(recv(e->fd, room, 10, MSG_DONTWAIT));
}

SCENARIO(one_set_of_three_threads, 0)
{
	shared_set(e, EPOLLIN, false);
}

SCENARIO(one_edge_set_of_three_threads, 0)
{
	shared_set(e, EPOLLIN | EPOLLET, false);
}

SCENARIO(a_set_for_each_thread, 0)
{
	shared_set(e, EPOLLIN, true);
}

SCENARIO(an_exclusive_set_for_each_thread, 0)
{
	shared_set(e, EPOLLIN | EPOLLEXCLUSIVE, true);
}

SCENARIO(an_edge_set_for_each_thread, 0)
{
	shared_set(e, EPOLLIN | EPOLLET, true);
}

static void *look_in_thread(void *argument)
{
	struct waiter *w = argument;
	struct epoll_event event;

	w->events = epoll_wait(w->set, &event, 1, 8000);
	w->bytes = w->events == 1 ? (long)event.data.u32 : -1;
	return NULL;
}

/* Added, changed or deleted while a thread sleeps on the set. */
SCENARIO(changed_under_a_sleeper, 0)
{
	struct waiter w = {.set = new_set()};

	MUST(-pthread_create(&w.thread, NULL, look_in_thread, &w));
	settle_down();
	peer_send(e, 10);
	arrive(e, 10);
	CALL(control(w.set, EPOLL_CTL_ADD, e->fd, EPOLLIN, 1));
	pthread_join(w.thread, NULL);
	say("events %ld: %ld", w.events, w.bytes);
	CALL(control(w.set, EPOLL_CTL_MOD, e->fd, 0, 1));
	MUST(-pthread_create(&w.thread, NULL, look_in_thread, &w));
	settle_down();
	CALL(control(w.set, EPOLL_CTL_MOD, e->fd, EPOLLIN, 2));
	pthread_join(w.thread, NULL);
	say("events %ld: %ld", w.events, w.bytes);
	RECV(e, recv(e->fd, room, 100, 0));
	MUST(-pthread_create(&w.thread, NULL, look_in_thread, &w));
	settle_down();
	CALL(control(w.set, EPOLL_CTL_MOD, e->fd, EPOLLIN | EPOLLET, 3));
	settle_down();
	peer_send(e, 10);
	pthread_join(w.thread, NULL);
	say("events %ld: %ld", w.events, w.bytes);
}

/* As above, of registrations that the kernel lets nobody change. */
SCENARIO(added_for_one_under_a_sleeper, 0)
{
	struct waiter w = {.set = new_set()};

	for (int i = 0; i < 3; i++) {
		MUST(-pthread_create(&w.thread, NULL, look_in_thread, &w));
		settle_down();
		peer_send(e, 10);
		arrive(e, 10);
		CALL(control(w.set, EPOLL_CTL_ADD, e->fd, EPOLLIN | EPOLLEXCLUSIVE | (i == 1 ? EPOLLET : 0), 1));
		pthread_join(w.thread, NULL);
		say("events %ld: %ld", w.events, w.bytes);
		RECV(e, recv(e->fd, room, 100, 0));
		look(w.set, 0);
		later(30);
		peer_send(e, 10);
		look(w.set, 5000);
		peer_wait();
		RECV(e, recv(e->fd, room, 100, 0));
		CALL(control(w.set, EPOLL_CTL_DEL, e->fd, 0, 0));
	}
	close(w.set);
}

/* Nor is there room to write. */
SCENARIO(added_when_full_under_a_sleeper, 0)
{
	static const unsigned interests[] = {EPOLLIN, EPOLLIN | EPOLLOUT, EPOLLIN | EPOLLONESHOT, EPOLLIN | EPOLLOUT | EPOLLET};
	struct waiter w = {.set = new_set()};

	narrow(e);
	for (unsigned i = 0; i < sizeof(interests) / sizeof(*interests); i++) {
		peer_send(e, 10);
		arrive(e, 10);
		quietly();
		stuff(e);
		MUST(-pthread_create(&w.thread, NULL, look_in_thread, &w));
		settle_down();
		CALL(control(w.set, EPOLL_CTL_ADD, e->fd, interests[i], i));
		pthread_join(w.thread, NULL);
		say("events %ld: %ld", w.events, w.bytes);
		look(w.set, 0);
		RECV(e, recv(e->fd, room, 100, 0));
		look(w.set, 0);
		CALL(control(w.set, EPOLL_CTL_DEL, e->fd, 0, 0));
	}
	close(w.set);
}

static void *recv_in_thread(void *argument)
{
	struct waiter *w = argument;
	unsigned char bytes[4096];
	ssize_t n;

	while ((n = recv(w->fd, bytes, sizeof(bytes), 0)) > 0)
		w->bytes += n;
	w->events = n;
	return NULL;
}

/* One thread sleeps in epoll_wait, poll or recv on a stream that another reads. */
SCENARIO(read_while_another_sleeps_in_epoll, 0)
{
	struct waiter w = {.set = new_set(), .fd = e->fd};
	int stop = (int)MUST(eventfd(0, 0));

	MUST(control(w.set, EPOLL_CTL_ADD, e->fd, EPOLLRDHUP, 1));
	MUST(control(w.set, EPOLL_CTL_ADD, stop, EPOLLIN, 99));
	MUST(-pthread_create(&w.thread, NULL, look_in_thread, &w));
	settle_down();
	for (int i = 0; i < 20; i++) {
		later(i % 3 ? 1 : 10);
		quietly();
		peer_send(e, 100);
		RECV(e, recv(e->fd, room, 100, MSG_WAITALL));
		peer_wait();
		give(e, 10);
		quietly();
		peer_recv_all(e, 10);
	}
	peer_shutdown(e, SHUT_WR);
	pthread_join(w.thread, NULL);
	say("events %ld: %ld", w.events, w.bytes);
}

static void *poll_in_thread(void *argument)
{
	struct waiter *w = argument;
	struct pollfd p = {w->fd, POLLRDHUP, 0};

	w->events = poll(&p, 1, 8000);
	w->bytes = p.revents;
	return NULL;
}

SCENARIO(read_while_another_sleeps_in_poll, 0)
{
	struct waiter w = {.fd = e->fd};

	MUST(-pthread_create(&w.thread, NULL, poll_in_thread, &w));
	settle_down();
	for (int i = 0; i < 20; i++) {
		later(i % 3 ? 1 : 10);
		quietly();
		peer_send(e, 100);
		RECV(e, recv(e->fd, room, 100, MSG_WAITALL));
		peer_wait();
	}
	peer_shutdown(e, SHUT_WR);
	pthread_join(w.thread, NULL);
	say("%ld: %s", w.events, POLLED((unsigned)w.bytes));
}

SCENARIO(two_receive, 0)
{
	struct waiter w[2] = {{.fd = e->fd}, {.fd = e->fd}};

	for (int i = 0; i < 2; i++)
		MUST(-pthread_create(&w[i].thread, NULL, recv_in_thread, &w[i]));
	settle_down();
	for (int i = 0; i < 30; i++) {
		quietly();
		peer_send(e, 100);
		if (i % 6 == 0)
			settle_down();
	}
	peer_send_all(e, 500000);
	peer_shutdown(e, SHUT_WR);
	for (int i = 0; i < 2; i++)
		pthread_join(w[i].thread, NULL);
	say("bytes %ld, ends %ld %ld", w[0].bytes + w[1].bytes, w[0].events, w[1].events);
}

SCENARIO(closed_under_a_sleeper, 0)
{
	struct waiter w = {.set = new_set(), .fd = e->fd};
	int twin = (int)MUST(dup(e->fd));

	MUST(control(w.set, EPOLL_CTL_ADD, e->fd, EPOLLIN, 1));
	MUST(-pthread_create(&w.thread, NULL, look_in_thread, &w));
	settle_down();
	CALL(close(e->fd));
	settle_down();
	peer_send(e, 10);
	pthread_join(w.thread, NULL);
	say("events %ld: %ld", w.events, w.bytes);
	RECV(e, recv(twin, room, 100, 0));
}

/* recv() in a thread goes on with the open file when the descriptor is closed under it. */
SCENARIO(closed_under_a_receiver, 0)
{
	struct waiter w = {.fd = e->fd};

	MUST(-pthread_create(&w.thread, NULL, recv_in_thread, &w));
	settle_down();
	CALL(close(e->fd));
	settle_down();
	peer_send(e, 10);
	rest();
	peer_shutdown(e, SHUT_WR);
	pthread_join(w.thread, NULL);
	say("bytes %ld, end %ld", w.bytes, w.events);
}

/* The set itself is a descriptor: twins of it, its number used again. */
SCENARIO(twin_of_a_set, 0)
{
	int set = new_set(), twin = (int)MUST(dup(set));

	CALL(control(set, EPOLL_CTL_ADD, e->fd, EPOLLIN, 1));
	CALL(control(twin, EPOLL_CTL_ADD, e->fd, EPOLLIN, 2));
	peer_send(e, 10);
	arrive(e, 10);
	look(set, 0);
	look(twin, 0);
	CALL(close(set));
	look(twin, 0);
	RECV(e, recv(e->fd, room, 100, 0));
	later(30);
	peer_send(e, 10);
	look(twin, 5000);
	peer_wait();
	CALL(control(twin, EPOLL_CTL_MOD, e->fd, EPOLLIN | EPOLLET, 3));
	look(twin, 0);
	look(twin, 0);
	int again = new_set();

	look(again, 0);
	CALL(control(again, EPOLL_CTL_DEL, e->fd, 0, 0));
	CALL(control(again, EPOLL_CTL_ADD, e->fd, EPOLLIN, 4));
	look(again, 0);
	CALL(close(twin));
	CALL(dup2(again, twin) == twin);
	CALL(close(again));
	look(twin, 0);
	RECV(e, recv(e->fd, room, 100, 0));
	later(30);
	peer_send(e, 10);
	look(twin, 5000);
	peer_wait();
	close(twin);
}
