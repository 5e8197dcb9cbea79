/* Edge-triggered sets. An edge is new bytes, not new readiness. */
#define FAMILY "edge"
#include "oracle.h"
#include "peer.h"
#include "sets.h"

#include <fcntl.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <sys/ioctl.h>

SCENARIO(bytes_are_edges, 0)
{
	int set = new_set();

	CALL(control(set, EPOLL_CTL_ADD, e->fd, EPOLLIN | EPOLLET, 1));
	look(set, 0);
	peer_send(e, 10);
	arrive(e, 10);
	look(set, 1000);
	look(set, 0);
	peer_send(e, 10);
	arrive(e, 20);
	look(set, 1000);
	look(set, 0);
	RECV(e, recv(e->fd, room, 5, 0));
	look(set, 0);
	RECV(e, recv(e->fd, room, 100, 0));
	look(set, 0);
	peer_send(e, 10);
	arrive(e, 10);
	look(set, 1000);
	RECV(e, recv(e->fd, room, 100, 0));
	peer_shutdown(e, SHUT_WR);
	rest();
	look(set, 1000);
	look(set, 0);
	close(set);
}

SCENARIO(sleeping_for_edges, 0)
{
	int set = new_set();

	CALL(control(set, EPOLL_CTL_ADD, e->fd, EPOLLIN | EPOLLRDHUP | EPOLLET, 1));
	for (int i = 0; i < 5; i++) {
		later(40);
		peer_send(e, 10);
		look(set, 5000);
		peer_wait();
		if (i % 2)
			RECV(e, recv(e->fd, room, 15, 0));
	}
	later(40);
	peer_shutdown(e, SHUT_WR);
	look(set, 5000);
	peer_wait();
	/* Not looked at again: the kernel calls its waiters twice for an end, and who looks in between is told twice. */
	close(set);
}

/* The set sleeps, again and again, with bytes that it has told and nobody has read; then the stream must go to the kernel. */
static void sleep_with_unread(struct end *e, int set)
{
	CALL(control(set, EPOLL_CTL_ADD, e->fd, EPOLLIN | EPOLLET, 1));
	peer_send(e, 100);
	arrive(e, 100);
	look(set, 1000);
	RECV(e, recv(e->fd, room, 10, 0));
	for (int i = 0; i < 6; i++)
		look(set, 10);
}

/* What the set sleeps beside is there for whoever asks for it in another way: a registration that is changed, or new, or by level. */
SCENARIO(unread_and_asked_for_otherwise, 0)
{
	int set = new_set(), other = new_set();

	CALL(control(set, EPOLL_CTL_ADD, e->fd, EPOLLIN | EPOLLET, 1));
	sleep_with_unread(e, set);
	CALL(control(set, EPOLL_CTL_MOD, e->fd, EPOLLIN | EPOLLET, 2));
	look(set, 1000);
	sleep_with_unread(e, set);
	CALL(control(other, EPOLL_CTL_ADD, e->fd, EPOLLIN | EPOLLET, 3));
	look(other, 1000);
	look(set, 0);
	CALL(control(other, EPOLL_CTL_MOD, e->fd, EPOLLIN, 4));
	look(other, 1000);
	look(set, 0);
	CALL(control(other, EPOLL_CTL_DEL, e->fd, 0, 0));
	sleep_with_unread(e, set);
	CALL(control(set, EPOLL_CTL_DEL, e->fd, 0, 0));
	CALL(poll(&(struct pollfd){e->fd, POLLIN, 0}, 1, 1000));
	CALL(control(set, EPOLL_CTL_ADD, e->fd, EPOLLIN | EPOLLET, 5));
	look(set, 1000);
	sleep_with_unread(e, set);
	CALL(control(set, EPOLL_CTL_MOD, e->fd, EPOLLIN, 6));
	look(set, 1000);
	look(set, 1000);
	RECV(e, recv(e->fd, room, 1000, 0));
	look(set, 0);
	there_and_back(e, 10, 10);
	close(other);
	close(set);
}

static void *look_in_thread(void *argument)
{
	struct epoll_event event = {0};

	return (void *)(intptr_t)(epoll_wait(*(int *)argument, &event, 1, 8000) == 1 ? event.data.u32 : 0);
}

SCENARIO(unread_and_changed_under_a_sleeper, 0)
{
	int set = new_set();

	CALL(control(set, EPOLL_CTL_ADD, e->fd, EPOLLIN | EPOLLET, 1));
	for (unsigned i = 2; i < 6; i++) {
		pthread_t thread;
		void *told = NULL;

		sleep_with_unread(e, set);
		MUST(-pthread_create(&thread, NULL, look_in_thread, &set));
		settle_down();
		CALL(control(set, EPOLL_CTL_MOD, e->fd, i % 2 ? EPOLLIN : EPOLLIN | EPOLLET, i));
		pthread_join(thread, &told);
		say("told %d", (int)(intptr_t)told);
		CALL(control(set, EPOLL_CTL_MOD, e->fd, EPOLLIN | EPOLLET, i));
		RECV(e, recv(e->fd, room, 1000, 0));
		look(set, 0);
	}
	close(set);
}

SCENARIO(unread_and_asynchronous, 0)
{
	int set = new_set();

	sleep_with_unread(e, set);
	signal(SIGIO, SIG_IGN);
	CALL(fcntl(e->fd, F_SETFL, O_RDWR | O_ASYNC));
	RECV(e, recv(e->fd, room, 50, MSG_DONTWAIT));
	RECV(e, recv(e->fd, room, 1000, MSG_DONTWAIT));
	peer_send(e, 10);
	RECV(e, recv(e->fd, room, 1000, 0));
	close(set);
}

SCENARIO(unread_and_counted, 0)
{
	char control_room[256];
	struct iovec v = {room, 60};
	struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = control_room, .msg_controllen = sizeof(control_room)};
	int set = new_set(), on = 1;

	sleep_with_unread(e, set);
	CALL(setsockopt(e->fd, IPPROTO_TCP, TCP_INQ, &on, sizeof(on)));
	RECV(e, recvmsg(e->fd, &m, MSG_DONTWAIT));
	say("  control length %zu", (size_t)m.msg_controllen);
	RECV(e, recv(e->fd, room, 1000, MSG_DONTWAIT));
	close(set);
}

/* Asked for in between: what only the kernel has for all bytes. */
SCENARIO(unread_and_left, 0)
{
	int set = new_set(), from = 0;

	sleep_with_unread(e, set);
	CALL(setsockopt(e->fd, SOL_SOCKET, SO_PEEK_OFF, &from, sizeof(from)));
	RECV(e, recv(e->fd, room, 60, MSG_DONTWAIT));
	RECV(e, recv(e->fd, room, 1000, MSG_DONTWAIT));
	close(set);
}

static void *sleep_in_set(void *argument)
{
	struct epoll_event event;

	epoll_wait(*(int *)argument, &event, 1, 500);
	return NULL;
}

/* Told to one thread, which sleeps again; another reads. */
SCENARIO(told_and_read_by_another, 0)
{
	struct pollfd p = {e->fd, POLLIN, 0};
	int set = new_set(), unread = -1;
	pthread_t sleeper;

	sleep_with_unread(e, set);
	MUST(-pthread_create(&sleeper, NULL, sleep_in_set, &set));
	rest();
	CALL(poll(&p, 1, 0));
	CALL(ioctl(e->fd, FIONREAD, &unread));
	say("  unread %d", unread);
	PEEK(e, recv(e->fd, room, 20, MSG_PEEK | MSG_DONTWAIT));
	RECV(e, recv(e->fd, room, 50, MSG_DONTWAIT));
	RECV(e, recv(e->fd, room, 10, 0));
	CALL(poll(&p, 1, 5000));
	RECV(e, recv(e->fd, room, 1000, MSG_DONTWAIT));
	pthread_join(sleeper, NULL);
	close(set);
}

SCENARIO(told_and_peeked, 0)
{
	struct pollfd p = {e->fd, POLLIN, 0};
	int set = new_set(), unread = -1;

	sleep_with_unread(e, set);
	CALL(poll(&p, 1, 0));
	CALL(ioctl(e->fd, FIONREAD, &unread));
	say("  unread %d", unread);
	PEEK(e, recv(e->fd, room, 20, MSG_PEEK | MSG_DONTWAIT));
	CALL(poll(&p, 1, 5000));
	RECV(e, recv(e->fd, room, 1000, MSG_DONTWAIT));
	close(set);
}

/* Read, but not all; the rest is told again only with new bytes. */
SCENARIO(partial_reads, 0)
{
	int set = new_set();

	CALL(control(set, EPOLL_CTL_ADD, e->fd, EPOLLIN | EPOLLET, 1));
	peer_send(e, 1000);
	arrive(e, 1000);
	look(set, 1000);
	for (int i = 0; i < 3; i++) {
		RECV(e, recv(e->fd, room, 100, 0));
		look(set, 0);
		look(set, 30);
	}
	PEEK(e, recv(e->fd, room, 1000, MSG_PEEK));
	look(set, 0);
	later(30);
	peer_send(e, 1);
	look(set, 5000);
	peer_wait();
	look(set, 0);
	RECV(e, recv(e->fd, room, 701, 0));
	look(set, 0);
	close(set);
}

SCENARIO(rearmed_by_mod, 0)
{
	int set = new_set();

	CALL(control(set, EPOLL_CTL_ADD, e->fd, EPOLLIN | EPOLLET, 1));
	peer_send(e, 10);
	arrive(e, 10);
	look(set, 1000);
	look(set, 0);
	CALL(control(set, EPOLL_CTL_MOD, e->fd, EPOLLIN | EPOLLET, 2));
	look(set, 0);
	look(set, 0);
	RECV(e, recv(e->fd, room, 5, 0));
	CALL(control(set, EPOLL_CTL_MOD, e->fd, EPOLLIN | EPOLLET, 3));
	look(set, 0);
	RECV(e, recv(e->fd, room, 5, 0));
	CALL(control(set, EPOLL_CTL_MOD, e->fd, EPOLLIN | EPOLLET, 4));
	look(set, 0);
	CALL(control(set, EPOLL_CTL_MOD, e->fd, EPOLLIN | EPOLLOUT | EPOLLET, 5));
	look(set, 0);
	look(set, 0);
	CALL(control(set, EPOLL_CTL_DEL, e->fd, 0, 0));
	CALL(control(set, EPOLL_CTL_ADD, e->fd, EPOLLIN | EPOLLOUT | EPOLLET, 6));
	look(set, 0);
	look(set, 0);
	close(set);
}

SCENARIO(once, 0)
{
	int set = new_set();

	CALL(control(set, EPOLL_CTL_ADD, e->fd, EPOLLIN | EPOLLET | EPOLLONESHOT, 1));
	peer_send(e, 10);
	arrive(e, 10);
	look(set, 1000);
	peer_send(e, 10);
	arrive(e, 20);
	look(set, 30);
	CALL(control(set, EPOLL_CTL_MOD, e->fd, EPOLLIN | EPOLLET | EPOLLONESHOT, 2));
	look(set, 1000);
	RECV(e, recv(e->fd, room, 100, 0));
	CALL(control(set, EPOLL_CTL_MOD, e->fd, EPOLLIN | EPOLLET | EPOLLONESHOT, 3));
	look(set, 0);
	later(30);
	peer_send(e, 10);
	look(set, 5000);
	peer_wait();
	look(set, 0);
	close(set);
}

SCENARIO(change_to_level, 0)
{
	int set = new_set();

	CALL(control(set, EPOLL_CTL_ADD, e->fd, EPOLLIN | EPOLLET, 1));
	peer_send(e, 10);
	arrive(e, 10);
	look(set, 1000);
	look(set, 0);
	CALL(control(set, EPOLL_CTL_MOD, e->fd, EPOLLIN, 2));
	look(set, 0);
	look(set, 0);
	CALL(control(set, EPOLL_CTL_MOD, e->fd, EPOLLIN | EPOLLET, 3));
	look(set, 0);
	look(set, 0);
	close(set);
}

SCENARIO(out_with_in, 0)
{
	int set = new_set();

	CALL(control(set, EPOLL_CTL_ADD, e->fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, 1));
	look(set, 0);
	look(set, 0);
	peer_send(e, 10);
	arrive(e, 10);
	look(set, 1000);
	look(set, 0);
	RECV(e, recv(e->fd, room, 100, 0));
	look(set, 0);
	SEND(e, 10, send(e->fd, room, 10, 0));
	peer_recv_all(e, 10);
	rest();
	look(set, 0);
	peer_shutdown(e, SHUT_WR);
	rest();
	look(set, 0);
	look(set, 0);
	CALL(shutdown(e->fd, SHUT_WR));
	rest();
	look(set, 0);
	look(set, 0);
	close(set);
}

SCENARIO(room_is_an_edge, 0)
{
	int set = new_set();
	uint64_t before = e->sent;

	narrow(e);
	CALL(control(set, EPOLL_CTL_ADD, e->fd, EPOLLOUT | EPOLLET, 1));
	look(set, 0);
	look(set, 0);
	say("full: %d", stuff(e));
	look(set, 0);
	later(40);
	quietly();
	peer_recv_all(e, (long)(e->sent - before));
	look(set, 5000);
	peer_wait();
	rest();
	before = e->sent;
	say("full again: %d", stuff(e));
	quietly();
	peer_recv_all(e, (long)(e->sent - before));
	look(set, 5000);
	rest();
	close(set);
}

/* A count that is short tells that there is no more room, as EAGAIN does (epoll(7)): who goes by it asks no second time. */
SCENARIO(room_behind_a_part_is_an_edge, 0)
{
	static char much[8 << 20];
	int set = new_set();

	narrow(e);
	nonblocking(e->fd, true);
	CALL(control(set, EPOLL_CTL_ADD, e->fd, EPOLLIN | EPOLLOUT | EPOLLET, 1));
	look(set, 0);
	for (int i = 0; i < 4; i++) {
		long sent;

		content_fill(0, e->sent, much, sizeof(much));
		sent = send(e->fd, much, sizeof(much), MSG_NOSIGNAL);
		say("a part: %d", sent > 0 && (size_t)sent < sizeof(much));
		gave(e, sent);
		later(20);
		quietly();
		peer_recv_all(e, sent);
		look(set, 5000);
		peer_wait();
		rest();
	}
	close(set);
}

/* The loop of every edge-triggered server: read until EAGAIN. */
SCENARIO(read_until_empty, UNOPENED)
{
	struct epoll_event event;
	size_t left = 2u << 20;
	int set = new_set();

	manner.warm = 0;
	open_end(e, AF_INET, false);
	nonblocking(e->fd, true);
	MUST(control(set, EPOLL_CTL_ADD, e->fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, 1));
	for (int round = 0; round < 3; round++) {
		left = 2u << 20;
		later(1);
		if (round == 1)
			peer_dribble(e, 2 << 20, 30000);
		else
			peer_send_all(e, 2 << 20);
		while (left) {
			int n = epoll_wait(set, &event, 1, 5000);

			if (n != 1) {
				say("%d events, %zu left", n, left);
				return;
			}
			for (;;) {
				ssize_t got = recv(e->fd, room, 7000, 0);

				if (got <= 0)
					break;
				took(e, room, got);
				left -= (size_t)got;
			}
		}
		peer_wait();
	}
	later(10);
	peer_shutdown(e, SHUT_WR);
	/* An edge that only tells of bytes already read may come first. */
	do
		MUST(epoll_wait(set, &event, 1, 5000) - 1);
	while (!(event.events & EPOLLRDHUP));
	peer_wait();
	CALL(recv(e->fd, room, 10, 0));
	close(set);
}

/* And the other half: write until EAGAIN, wait for the edge. */
SCENARIO(write_until_full, UNOPENED)
{
	struct epoll_event event;
	int set = new_set();

	manner.warm = 0;
	open_end(e, AF_INET, false);
	nonblocking(e->fd, true);
	MUST(control(set, EPOLL_CTL_ADD, e->fd, EPOLLIN | EPOLLOUT | EPOLLET, 1));
	for (int round = 0; round < 2; round++) {
		size_t left = 24u << 20;

		later(30);
		peer_recv_all(e, 24 << 20);
		while (left) {
			size_t part = left < 50000 ? left : 50000;

			fill(e, room, part);
			ssize_t n = send(e->fd, room, part, 0);

			if (n > 0) {
				gave(e, n);
				left -= (size_t)n;
			} else if (epoll_wait(set, &event, 1, 5000) != 1) {
				say("no edge, %zu left", left);
				return;
			}
		}
		peer_wait();
	}
	close(set);
}

SCENARIO(exclusive, 0)
{
	int one = new_set(), two = new_set();

	CALL(control(one, EPOLL_CTL_ADD, e->fd, EPOLLIN | EPOLLET | EPOLLEXCLUSIVE, 1));
	CALL(control(two, EPOLL_CTL_ADD, e->fd, EPOLLIN | EPOLLET, 2));
	peer_send(e, 10);
	arrive(e, 10);
	look(two, 0);
	look(two, 0);
	look(one, 0);
	look(one, 0);
	close(one);
	close(two);
}

SCENARIO(edge_before_add, 0)
{
	int set = new_set();

	peer_send(e, 10);
	arrive(e, 10);
	CALL(control(set, EPOLL_CTL_ADD, e->fd, EPOLLIN | EPOLLET, 1));
	look(set, 0);
	look(set, 0);
	RECV(e, recv(e->fd, room, 100, 0));
	/* Comes and is read before anybody looks: nothing is left to tell. */
	peer_send(e, 10);
	arrive(e, 10);
	RECV(e, recv(e->fd, room, 100, 0));
	look(set, 0);
	close(set);
}

SCENARIO(large_unread, 0)
{
	int set = new_set();

	CALL(control(set, EPOLL_CTL_ADD, e->fd, EPOLLIN | EPOLLET, 1));
	for (int i = 0; i < 4; i++) {
		peer_send_all(e, 15000);
		arrive(e, 15000 * (i + 1));
		look(set, 1000);
		look(set, 0);
	}
	take(e, 60000);
	look(set, 0);
	CALL(recv(e->fd, room, 1, MSG_DONTWAIT));
	close(set);
}

/* More than a ring takes at first, told by an answer that has no room for more: once. */
SCENARIO(told_of_more_than_a_ring, 0)
{
	struct epoll_event event;
	int set = new_set();

	for (int i = 0; i < 6; i++) {
		struct end next;

		open_end(&next, manner.family, manner.mapped);
		there_and_back(&next, 100, 10);
		CALL(control(set, EPOLL_CTL_ADD, next.fd, EPOLLIN | EPOLLET, 1));
		look(set, 0);
		peer_send(&next, 100);
		peer_send(&next, i == 5 ? 3000 : 30000);
		if (i >= 4)
			peer_shutdown(&next, SHUT_WR);
		arrive(&next, i == 5 ? 3100 : 30100);
		for (int k = 0; k < 3; k++)
			CALL(epoll_wait(set, &event, 1, 0));
		RECV(&next, recv(next.fd, room, 1000, 0));
		CALL(epoll_wait(set, &event, 1, 30));
		if (i == 1)
			CALL(control(set, EPOLL_CTL_MOD, next.fd, EPOLLIN | EPOLLET, 1));
		if (i == 2) {
			peer_shutdown(&next, SHUT_WR);
			rest();
		}
		if (i == 3) {
			peer_send(&next, 1);
			arrive(&next, 29101);
		}
		CALL(epoll_wait(set, &event, 1, i && i < 4 ? 1000 : 0));
		CALL(epoll_wait(set, &event, 1, 0));
		CALL(control(set, EPOLL_CTL_DEL, next.fd, 0, 0));
	}
}
