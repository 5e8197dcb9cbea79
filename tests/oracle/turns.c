/* More is ready in a set than there are places: all are told in turn. */
#define FAMILY "turns"
#include "datagrams.h"
#include "sets.h"

#include <sys/epoll.h>
#include <unistd.h>

/* Twelve are ready, and nothing is read: each must be told within as many calls as it takes to tell all. */
static void told_in_turn(int set)
{
	struct epoll_event events[4];
	int seen[12] = {0}, calls = 0, left = 12;

	for (; left && calls < 12; calls++) {
		int n = epoll_wait(set, events, 4, 1000);

		if (calls < 3)
			say("  %d", n);
		for (int i = 0; i < n; i++)
			left -= !seen[events[i].data.u32]++;
	}
	say("left %d, within three calls %d", left, calls == 3);
}

SCENARIO(few_places, 0)
{
	struct end ends[12];
	int set = new_set();

	for (int i = 0; i < 12; i++) {
		open_end(&ends[i], AF_INET, false);
		MUST(control(set, EPOLL_CTL_ADD, ends[i].fd, EPOLLIN, (unsigned)i));
	}
	for (int i = 0; i < 12; i++) {
		quietly();
		peer_send(&ends[i], 10);
		arrive(&ends[i], 10);
	}
	told_in_turn(set);
	for (int i = 0; i < 12; i++)
		RECV(&ends[i], recv(ends[i].fd, room, 100, 0));
	look(set, 0);
	close(set);
}

/* Half of them are pipes, which are the kernel's alone. */
SCENARIO(few_places_for_both, 0)
{
	struct end ends[6];
	struct epoll_event events[4];
	int set = new_set(), pipes[6][2], seen[12] = {0}, left = 12;

	for (int i = 0; i < 6; i++) {
		open_end(&ends[i], AF_INET, false);
		MUST(pipe(pipes[i]));
		MUST(control(set, EPOLL_CTL_ADD, ends[i].fd, EPOLLIN, (unsigned)i));
		MUST(control(set, EPOLL_CTL_ADD, pipes[i][0], EPOLLIN, (unsigned)i + 6));
	}
	for (int i = 0; i < 6; i++) {
		quietly();
		peer_send(&ends[i], 10);
		arrive(&ends[i], 10);
		MUST((int)write(pipes[i][1], "!", 1));
	}
	told_in_turn(set);
	/* All go on to be told in turn. */
	for (int calls = 0; left && calls < 24; calls++) {
		usleep(100);
		for (int i = epoll_wait(set, events, 4, 1000) - 1; i >= 0; i--)
			left -= !seen[events[i].data.u32]++;
	}
	say("and again, left %d", left);
	for (int i = 0; i < 6; i++) {
		RECV(&ends[i], recv(ends[i].fd, room, 100, 0));
		close(pipes[i][0]);
		close(pipes[i][1]);
	}
	look(set, 0);
	close(set);
}

/* A busy stream must not keep a quiet one, or a pipe, from being seen. */
SCENARIO(nobody_starves, 0)
{
	struct end other;
	struct epoll_event event;
	int set = new_set(), pipes[2], calls = 0;
	size_t left_when_seen = 0;

	open_end(&other, AF_INET, false);
	MUST(pipe(pipes));
	MUST(control(set, EPOLL_CTL_ADD, e->fd, EPOLLIN, 0));
	MUST(control(set, EPOLL_CTL_ADD, other.fd, EPOLLIN, 1));
	MUST(control(set, EPOLL_CTL_ADD, pipes[0], EPOLLIN, 2));
	later(1);
	peer_send_all(e, 4 << 20);
	size_t left = 4u << 20;

	while (left) {
		if (epoll_wait(set, &event, 1, 5000) != 1) {
			say("nothing: %zu left", left);
			break;
		}
		if (event.data.u32 == 0) {
			ssize_t n = recv(e->fd, room, 2000, 0);

			took(e, room, n);
			left -= n > 0 ? (size_t)n : left;
		} else {
			MUST(read(pipes[0], room, 1));
			left_when_seen = left;
		}
		if (calls++ == 100)
			MUST(write(pipes[1], "p", 1));
	}
	say("the pipe was seen soon: %d", left_when_seen > 2u << 20);
	peer_wait();
	close(set);
}

/* One event a call, and a stream that is always ready: the pipe has its turn all the same, and so has the stream beside it. */
SCENARIO(one_at_a_time, 0)
{
	struct epoll_event event;
	int set = new_set(), pipes[2], calls = 0, when = 0, pipe_alone = 0;

	MUST(pipe(pipes));
	MUST(control(set, EPOLL_CTL_ADD, e->fd, EPOLLIN, 0));
	MUST(control(set, EPOLL_CTL_ADD, pipes[0], EPOLLIN, 1));
	peer_send(e, 12000);
	arrive(e, 12000);
	MUST(write(pipes[1], "p", 1));
	while (calls < 10000 && epoll_wait(set, &event, 1, 5000) == 1) {
		calls++;
		if (event.data.u32 == 0)
			took(e, room, recv(e->fd, room, 1, 0));
		else if (!when)
			when = calls;
		else
			pipe_alone++;
	}
	say("the pipe was seen: %d", when && when < 5000);
	say("and the stream: %d", pipe_alone < 9000);
	close(set);
	close(pipes[0]);
	close(pipes[1]);
}

/* All of them are ready, and nothing is read. */
static void each_is_told(int set, int max, unsigned all)
{
	struct epoll_event events[4];
	unsigned told = 0;

	for (int calls = 0; calls < 24; calls++) {
		usleep(100); /* the kernel is asked now and then */
		for (int i = epoll_wait(set, events, max, 1000) - 1; i >= 0; i--)
			told |= 1u << events[i].data.u32;
	}
	say("%d at a time: %x of %x", max, told, all);
}

/* A stream, datagrams and an inner set. */
SCENARIO(of_three_kinds, ITS_OWN)
{
	struct end udp, inside;
	int set = new_set(), inner = new_set();

	open_udp(&udp);
	open_end(&inside, AF_INET, false);
	MUST(control(set, EPOLL_CTL_ADD, e->fd, EPOLLIN, 0));
	MUST(control(set, EPOLL_CTL_ADD, udp.fd, EPOLLIN, 1));
	MUST(control(set, EPOLL_CTL_ADD, inner, EPOLLIN, 2));
	MUST(control(inner, EPOLL_CTL_ADD, inside.fd, EPOLLIN, 0));
	peer_send(e, 10);
	arrive(e, 10);
	peer_send(&inside, 10);
	arrive(&inside, 10);
	peer_gives(&udp, 10);
	rest();
	each_is_told(set, 1, 7);
	each_is_told(set, 2, 7);
	each_is_told(set, 4, 7);
	close(inner);
	close(set);
}

SCENARIO(of_inner_sets, 0)
{
	struct end ends[3];
	int set = new_set(), inner[3];

	for (int i = 0; i < 3; i++) {
		inner[i] = new_set();
		open_end(&ends[i], AF_INET, false);
		MUST(control(inner[i], EPOLL_CTL_ADD, ends[i].fd, EPOLLIN, 0));
		MUST(control(set, EPOLL_CTL_ADD, inner[i], EPOLLIN, (unsigned)i));
		quietly();
		peer_send(&ends[i], 10);
		arrive(&ends[i], 10);
	}
	each_is_told(set, 1, 7);
	each_is_told(set, 2, 7);
	for (int i = 0; i < 3; i++) {
		RECV(&ends[i], recv(ends[i].fd, room, 100, 0));
		close(inner[i]);
	}
	close(set);
}
