/* Event sets: level-triggered, changes of interest, descriptors that come and go. */
#define FAMILY "epoll"
#include "oracle.h"
#include "peer.h"
#include "sets.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>

/* With equal numbers in one answer: what each said, in the order of what they said. */
static void look_apart(int set)
{
	struct epoll_event events[2];
	int n = epoll_wait(set, events, 2, 1000);

	if (n == 2 && events[0].events > events[1].events)
		say("events %d: %s, %s", n, EPOLLED(events[1].events), EPOLLED(events[0].events));
	else
		say("events %d: %s, %s", n, n > 0 ? EPOLLED(events[0].events) : "-", n > 1 ? EPOLLED(events[1].events) : "-");
}

SCENARIO(level, 0)
{
	int set = new_set();

	CALL(control(set, EPOLL_CTL_ADD, e->fd, EPOLLIN, 1));
	look(set, 0);
	peer_send(e, 10);
	arrive(e, 10);
	look(set, 1000);
	look(set, 0);
	RECV(e, recv(e->fd, room, 4, 0));
	look(set, 0);
	RECV(e, recv(e->fd, room, 100, 0));
	look(set, 0);
	for (int i = 0; i < 4; i++) {
		later(40);
		peer_send(e, 10);
		look(set, 5000);
		peer_wait();
		RECV(e, recv(e->fd, room, 100, 0));
		SEND(e, 10, send(e->fd, room, 10, 0));
		peer_recv_all(e, 10);
	}
	later(40);
	peer_shutdown(e, SHUT_WR);
	look(set, -1);
	look(set, 0);
	peer_wait();
	CALL(recv(e->fd, room, 10, 0));
	look(set, 0);
	CALL(shutdown(e->fd, SHUT_WR));
	rest();
	look(set, 0);
	close(set);
}

SCENARIO(all_interests, 0)
{
	int set = new_set();
	unsigned all = EPOLLIN | EPOLLOUT | EPOLLPRI | EPOLLRDHUP | EPOLLRDNORM | EPOLLWRNORM | EPOLLRDBAND | EPOLLWRBAND;

	CALL(control(set, EPOLL_CTL_ADD, e->fd, all, 1));
	look(set, 0);
	peer_send(e, 10);
	arrive(e, 10);
	look(set, 0);
	CALL(control(set, EPOLL_CTL_MOD, e->fd, EPOLLOUT, 2));
	look(set, 0);
	CALL(control(set, EPOLL_CTL_MOD, e->fd, 0, 3));
	look(set, 0);
	CALL(control(set, EPOLL_CTL_MOD, e->fd, EPOLLIN, 4));
	look(set, 0);
	peer_shutdown(e, SHUT_WR);
	rest();
	look(set, 0);
	CALL(control(set, EPOLL_CTL_MOD, e->fd, EPOLLRDHUP, 5));
	look(set, 0);
	CALL(control(set, EPOLL_CTL_MOD, e->fd, 0, 6));
	look(set, 0);
	CALL(shutdown(e->fd, SHUT_WR));
	rest();
	look(set, 0);
	close(set);
}

SCENARIO(after_reset, 0)
{
	int set = new_set();

	CALL(control(set, EPOLL_CTL_ADD, e->fd, EPOLLIN | EPOLLRDHUP, 1));
	later(40);
	peer_reset(e);
	look(set, 5000);
	peer_wait();
	look(set, 0);
	CALL(recv(e->fd, room, 10, 0));
	look(set, 0);
	close(set);
}

SCENARIO(errors, 0)
{
	int set = new_set(), other = file_of(1);

	CALL(control(set, EPOLL_CTL_MOD, e->fd, EPOLLIN, 1));
	CALL(control(set, EPOLL_CTL_DEL, e->fd, 0, 1));
	CALL(control(set, EPOLL_CTL_ADD, e->fd, EPOLLIN, 1));
	CALL(control(set, EPOLL_CTL_ADD, e->fd, EPOLLIN, 1));
	CALL(control(set, 77, e->fd, EPOLLIN, 1));
	CALL(control(set, EPOLL_CTL_ADD, set, EPOLLIN, 1));
	CALL(control(set, EPOLL_CTL_ADD, other, EPOLLIN, 1));
	CALL(control(e->fd, EPOLL_CTL_ADD, set, EPOLLIN, 1));
	CALL(control(set, EPOLL_CTL_ADD, -1, EPOLLIN, 1));
	CALL(control(-1, EPOLL_CTL_ADD, e->fd, EPOLLIN, 1));
	struct epoll_event event;

	CALL(epoll_wait(e->fd, &event, 1, 0));
	CALL(epoll_wait(-1, &event, 1, 0));
	CALL(epoll_ctl(set, EPOLL_CTL_DEL, e->fd, NULL));
	CALL(control(set, EPOLL_CTL_DEL, e->fd, 0, 1));
	CALL(epoll_create(0));
	CALL(epoll_create1(77));
	CALL(close(set));
	CALL(control(set, EPOLL_CTL_ADD, e->fd, EPOLLIN, 1));
}

SCENARIO(delete_and_add, 0)
{
	int set = new_set();

	CALL(control(set, EPOLL_CTL_ADD, e->fd, EPOLLIN, 1));
	peer_send(e, 10);
	arrive(e, 10);
	look(set, 0);
	CALL(control(set, EPOLL_CTL_DEL, e->fd, 0, 0));
	look(set, 0);
	CALL(control(set, EPOLL_CTL_ADD, e->fd, EPOLLIN, 2));
	look(set, 0);
	RECV(e, recv(e->fd, room, 100, 0));
	CALL(control(set, EPOLL_CTL_DEL, e->fd, 0, 0));
	later(30);
	peer_send(e, 10);
	look(set, 80);
	peer_wait();
	CALL(control(set, EPOLL_CTL_ADD, e->fd, EPOLLIN, 3));
	look(set, 0);
	close(set);
}

SCENARIO(once, 0)
{
	int set = new_set();

	CALL(control(set, EPOLL_CTL_ADD, e->fd, EPOLLIN | EPOLLONESHOT, 1));
	peer_send(e, 10);
	arrive(e, 10);
	look(set, 1000);
	look(set, 0);
	peer_send(e, 10);
	arrive(e, 20);
	look(set, 30);
	CALL(control(set, EPOLL_CTL_MOD, e->fd, EPOLLIN | EPOLLONESHOT, 2));
	look(set, 1000);
	RECV(e, recv(e->fd, room, 100, 0));
	CALL(control(set, EPOLL_CTL_MOD, e->fd, EPOLLIN | EPOLLONESHOT, 3));
	look(set, 0);
	later(40);
	peer_send(e, 10);
	look(set, 5000);
	peer_wait();
	RECV(e, recv(e->fd, room, 100, 0));
	later(1);
	peer_send(e, 10);
	look(set, 60);
	peer_wait();
	CALL(control(set, EPOLL_CTL_ADD, e->fd, EPOLLIN, 4));
	CALL(control(set, EPOLL_CTL_MOD, e->fd, EPOLLIN | EPOLLOUT | EPOLLONESHOT, 5));
	look(set, 0);
	look(set, 0);
	peer_shutdown(e, SHUT_WR);
	rest();
	look(set, 0);
	CALL(control(set, EPOLL_CTL_MOD, e->fd, EPOLLIN | EPOLLRDHUP | EPOLLONESHOT, 6));
	look(set, 0);
	close(set);
}

/* Two descriptors of one socket with the same data, one to read and one to write: each is told what it asked for. */
static void one_alike(struct end *e, unsigned reading, unsigned writing)
{
	int set = new_set(), copy = dup(e->fd);
	uint64_t before;

	CALL(control(set, EPOLL_CTL_ADD, e->fd, reading, 1));
	for (int i = 0; i < 2; i++) {
		before = e->sent;
		say("full: %d", stuff(e));
		CALL(control(set, i ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, copy, writing, 1));
		look(set, 0);
		later(40);
		quietly();
		peer_recv_all(e, (long)(e->sent - before));
		look(set, 5000);
		peer_wait();
		later(40);
		peer_send(e, 10);
		look(set, 5000);
		peer_wait();
		RECV(e, recv(e->fd, room, 100, 0));
		look(set, 0);
		CALL(control(set, EPOLL_CTL_MOD, e->fd, reading, 1));
		look(set, 0);
	}
	CALL(control(set, EPOLL_CTL_MOD, copy, writing, 1));
	peer_send(e, 10);
	arrive(e, 10);
	look_apart(set);
	look(set, 0);
	RECV(e, recv(e->fd, room, 100, 0));
	CALL(control(set, EPOLL_CTL_DEL, copy, 0, 0));
	CALL(control(set, EPOLL_CTL_MOD, e->fd, reading, 1));
	later(40);
	peer_send(e, 10);
	look(set, 5000);
	peer_wait();
	RECV(e, recv(e->fd, room, 100, 0));
	close(copy);
	close(set);
}

SCENARIO(alike, 0)
{
	one_alike(e, EPOLLIN | EPOLLONESHOT, EPOLLOUT | EPOLLONESHOT | EPOLLET);
}

SCENARIO(alike_with_many_tellings, 0)
{
	one_alike(e, EPOLLIN, EPOLLOUT | EPOLLONESHOT);
}

SCENARIO(exclusive, 0)
{
	int set = new_set();

	CALL(control(set, EPOLL_CTL_ADD, e->fd, EPOLLIN | EPOLLEXCLUSIVE, 1));
	CALL(control(set, EPOLL_CTL_MOD, e->fd, EPOLLIN, 1));
	CALL(control(set, EPOLL_CTL_MOD, e->fd, EPOLLIN | EPOLLEXCLUSIVE, 1));
	later(40);
	peer_send(e, 10);
	look(set, 5000);
	peer_wait();
	look(set, 0);
	RECV(e, recv(e->fd, room, 100, 0));
	look(set, 0);
	CALL(control(set, EPOLL_CTL_DEL, e->fd, 0, 0));
	CALL(control(set, EPOLL_CTL_ADD, e->fd, EPOLLIN | EPOLLEXCLUSIVE | EPOLLONESHOT, 1));
	CALL(control(set, EPOLL_CTL_ADD, e->fd, EPOLLIN | EPOLLEXCLUSIVE | EPOLLET, 1));
	peer_send(e, 10);
	arrive(e, 10);
	look(set, 0);
	look(set, 0);
	close(set);
}

SCENARIO(writing, 0)
{
	int set = new_set();
	uint64_t before = e->sent;

	narrow(e);
	CALL(control(set, EPOLL_CTL_ADD, e->fd, EPOLLOUT, 1));
	look(set, 0);
	look(set, 0);
	say("full: %d", stuff(e));
	look(set, 0);
	look(set, 30);
	later(40);
	quietly();
	peer_recv_all(e, (long)(e->sent - before));
	look(set, 5000);
	peer_wait();
	close(set);
}

SCENARIO(in_two_sets, 0)
{
	int one = new_set(), two = new_set();

	CALL(control(one, EPOLL_CTL_ADD, e->fd, EPOLLIN, 1));
	CALL(control(two, EPOLL_CTL_ADD, e->fd, EPOLLIN | EPOLLET, 2));
	peer_send(e, 10);
	arrive(e, 10);
	look(one, 0);
	look(two, 0);
	look(one, 0);
	look(two, 0);
	RECV(e, recv(e->fd, room, 5, 0));
	look(one, 0);
	look(two, 0);
	later(40);
	peer_send(e, 10);
	look(two, 5000);
	peer_wait();
	look(one, 0);
	RECV(e, recv(e->fd, room, 100, 0));
	look(one, 0);
	look(two, 0);
	CALL(close(one));
	later(40);
	peer_send(e, 10);
	look(two, 5000);
	peer_wait();
	close(two);
}

SCENARIO(set_and_poll, 0)
{
	int set = new_set();
	struct pollfd p = {e->fd, POLLIN, 0};

	CALL(control(set, EPOLL_CTL_ADD, e->fd, EPOLLIN, 1));
	for (int i = 0; i < 3; i++) {
		later(30);
		peer_send(e, 10);
		CALL(poll(&p, 1, 5000));
		peer_wait();
		look(set, 0);
		RECV(e, recv(e->fd, room, 100, 0));
		later(30);
		peer_send(e, 10);
		look(set, 5000);
		peer_wait();
		later(30);
		peer_send(e, 10);
		RECV(e, recv(e->fd, room, 20, MSG_WAITALL));
		peer_wait();
		look(set, 0);
	}
	close(set);
}

static void pend(int number)
{
	sigset_t set;

	on_signal(number, 0);
	sigemptyset(&set);
	sigaddset(&set, number);
	MUST(sigprocmask(SIG_BLOCK, &set, NULL));
	MUST(kill(getpid(), number));
}

SCENARIO(masked, 0)
{
	int set = new_set();
	struct epoll_event event;
	struct timespec long_time = {5, 0};
	sigset_t empty;

	sigemptyset(&empty);
	MUST(control(set, EPOLL_CTL_ADD, e->fd, EPOLLIN, 1));
	pend(SIGUSR1);
	CALL(epoll_wait(set, &event, 1, 20));
	CALL(epoll_pwait(set, &event, 1, 5000, &empty));
	say("  signals %d", (int)signals);
	pend(SIGUSR1);
	CALL(epoll_pwait2(set, &event, 1, &long_time, &empty));
	say("  signals %d", (int)signals);
	peer_send(e, 10);
	arrive(e, 10);
	pend(SIGUSR1);
	CALL(epoll_pwait(set, &event, 1, 5000, &empty));
	say("  signals %d", (int)signals);
	CALL(epoll_pwait2(set, &event, 1, &long_time, NULL));
	RECV(e, recv(e->fd, room, 100, 0));
	CALL(epoll_pwait(set, &event, 1, 0, NULL));
	close(set);
}

SCENARIO(time_passes, 0)
{
	int set = new_set();
	struct epoll_event event;
	struct timespec t = {0, 80000000};
	uint64_t begin = now_ms();

	MUST(control(set, EPOLL_CTL_ADD, e->fd, EPOLLIN, 1));
	CALL(epoll_wait(set, &event, 1, 80));
	say("waited: %d", now_ms() - begin >= 79);
	begin = now_ms();
	CALL(epoll_pwait2(set, &event, 1, &t, NULL));
	say("waited: %d", now_ms() - begin >= 79);
	t.tv_nsec = 0;
	CALL(epoll_pwait2(set, &event, 1, &t, NULL));
	later(40);
	peer_send(e, 1);
	CALL(epoll_pwait2(set, &event, 1, NULL, NULL));
	peer_wait();
	RECV(e, recv(e->fd, room, 10, 0));
	t.tv_sec = INT32_MAX; /* longer than anybody waits */
	later(40);
	peer_send(e, 1);
	CALL(epoll_pwait2(set, &event, 1, &t, NULL));
	peer_wait();
	close(set);
}

SCENARIO(mixed, 0)
{
	struct end other;
	int set = new_set(), pipes[2], event = (int)MUST(eventfd(0, 0)), local[2];
	uint64_t one = 1;

	open_end(&other, AF_INET, false);
	MUST(pipe(pipes));
	MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, local));
	MUST(control(set, EPOLL_CTL_ADD, e->fd, EPOLLIN, 1));
	MUST(control(set, EPOLL_CTL_ADD, pipes[0], EPOLLIN, 2));
	MUST(control(set, EPOLL_CTL_ADD, event, EPOLLIN | EPOLLET, 3));
	MUST(control(set, EPOLL_CTL_ADD, other.fd, EPOLLIN | EPOLLRDHUP, 4));
	MUST(control(set, EPOLL_CTL_ADD, local[0], EPOLLIN, 5));
	look(set, 0);
	MUST(write(pipes[1], "x", 1));
	peer_send(e, 10);
	arrive(e, 10);
	look(set, 1000);
	MUST(write(event, &one, sizeof(one)));
	MUST(write(local[1], "y", 1));
	peer_shutdown(&other, SHUT_WR);
	rest();
	look(set, 1000);
	RECV(e, recv(e->fd, room, 100, 0));
	MUST(read(pipes[0], room, 1));
	look(set, 1000);
	MUST(read(local[0], room, 1));
	CALL(control(set, EPOLL_CTL_DEL, other.fd, 0, 0));
	look(set, 30);
	MUST(write(event, &one, sizeof(one)));
	look(set, 1000);
	close(set);
}

SCENARIO(many_streams, 0)
{
	static struct end ends[60];
	int set = new_set();

	for (int i = 0; i < 60; i++) {
		open_end(&ends[i], AF_INET, false);
		MUST(control(set, EPOLL_CTL_ADD, ends[i].fd, EPOLLIN, (unsigned)i));
	}
	for (int round = 0; round < 3; round++) {
		for (int i = round; i < 60; i += 7) {
			quietly();
			peer_send(&ends[i], 100);
			arrive(&ends[i], 100);
		}
		look(set, 1000);
		for (int i = round; i < 60; i += 7)
			take(&ends[i], 100);
		look(set, 0);
		later(30);
		peer_send(&ends[33 + round], 10);
		look(set, 5000);
		peer_wait();
		take(&ends[33 + round], 10);
	}
	close(set);
}

/* The set is there before the stream is moved, and one is made after. */
SCENARIO(before_and_after, UNOPENED)
{
	unsigned warm = manner.warm;

	manner.warm = 0;
	open_end(e, AF_INET, false);
	int before = new_set();

	MUST(control(before, EPOLL_CTL_ADD, e->fd, EPOLLIN, 1));
	look(before, 0);
	manner.warm = warm;
	warm_up(e);
	int after = new_set();

	MUST(control(after, EPOLL_CTL_ADD, e->fd, EPOLLIN, 2));
	for (int i = 0; i < 4; i++) {
		later(i % 2 ? 30 : 1);
		peer_send(e, 10);
		look(i < 2 ? before : after, 5000);
		peer_wait();
		arrive(e, 10);
		look(i < 2 ? after : before, 0);
		RECV(e, recv(e->fd, room, 100, 0));
		look(before, 0);
		look(after, 0);
	}
	close(before);
	close(after);
}

/* The whole life of the stream in an event loop, so that it moves while the loop runs. */
SCENARIO(loop, UNOPENED)
{
	manner.warm = 0;
	open_end(e, AF_INET, false);
	int set = new_set();
	struct epoll_event event;

	nonblocking(e->fd, true);
	MUST(control(set, EPOLL_CTL_ADD, e->fd, EPOLLIN, 1));
	for (int i = 1; i <= 60; i++) {
		long got = 0;

		quietly();
		later(1);
		peer_send(e, i * 10);
		while (got < i * 10 && epoll_wait(set, &event, 1, 5000) == 1) {
			ssize_t n = recv(e->fd, room, ROOM, 0);

			if (n <= 0)
				break;
			took(e, room, n);
			got += n;
		}
		if (got != i * 10)
			say("round %d: %ld", i, got);
		peer_wait();
		give(e, (size_t)i);
		quietly();
		peer_recv_all(e, i);
	}
	look(set, 0);
	close(set);
}

/* One that has had nothing for a while in a set, and is then looked at in another. */
SCENARIO(two_sets_by_turns, 0)
{
	int first = new_set(), second = new_set();

	MUST(control(first, EPOLL_CTL_ADD, e->fd, EPOLLIN, 1));
	MUST(control(second, EPOLL_CTL_ADD, e->fd, EPOLLIN, 2));
	for (int turn = 0; turn < 3; turn++) {
		for (int i = 0; i < 6; i++)
			look(second, 5);
		look(first, 5);
		peer_send(e, 10);
		look(second, 1000);
		look(first, 1000);
		RECV(e, recv(e->fd, room, 100, 0));
	}
	close(second);
	look(first, 0);
	peer_send(e, 10);
	look(first, 1000);
	close(first);
}
