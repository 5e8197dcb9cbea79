/* Event sets of several processes, and what else may be in a set. */
#define FAMILY "sharing"
#include "oracle.h"
#include "peer.h"
#include "rights.h"
#include "sets.h"

#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <time.h>

SCENARIO(mixed_kinds, 0)
{
	struct itimerspec soon = {.it_value = {0, 20000000}}, never = {0};
	int set = new_set(), event = eventfd(0, EFD_NONBLOCK), timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK), signals_fd;
	uint64_t one = 1;
	sigset_t mask;

	sigemptyset(&mask);
	sigaddset(&mask, SIGUSR1);
	MUST(sigprocmask(SIG_BLOCK, &mask, NULL));
	signals_fd = (int)MUST(signalfd(-1, &mask, SFD_NONBLOCK));
	MUST(control(set, EPOLL_CTL_ADD, e->fd, EPOLLIN, 1));
	MUST(control(set, EPOLL_CTL_ADD, event, EPOLLIN, 2));
	MUST(control(set, EPOLL_CTL_ADD, timer, EPOLLIN, 3));
	MUST(control(set, EPOLL_CTL_ADD, signals_fd, EPOLLIN, 4));
	for (int i = 0; i < 4; i++) {
		peer_send(e, 10);
		arrive(e, 10);
		MUST(write(event, &one, 8));
		look(set, 0);
		RECV(e, recv(e->fd, room, 100, 0));
		look(set, 0);
		MUST(read(event, &one, 8));
		MUST(timerfd_settime(timer, 0, &soon, NULL));
		look(set, 2000);
		MUST(timerfd_settime(timer, 0, &never, NULL));
		later(20);
		peer_signal(SIGUSR1);
		look(set, 2000);
		peer_wait();
		MUST(read(signals_fd, room, sizeof(struct signalfd_siginfo)));
		later(20);
		peer_send(e, 5);
		look(set, 2000);
		peer_wait();
		RECV(e, recv(e->fd, room, 100, 0));
		look(set, 20);
	}
}

static int pass_to_oneself(int fd)
{
	int pair[2], got;

	MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	MUST(pass_right(pair[0], fd, 0));
	got = (int)MUST(take_right(pair[1], 0));
	close(pair[0]);
	close(pair[1]);
	return got;
}

/* The set, not the stream: the same set by another number. */
SCENARIO(set_passed, 0)
{
	int set = new_set(), other;

	MUST(control(set, EPOLL_CTL_ADD, e->fd, EPOLLIN, 1));
	other = pass_to_oneself(set);
	for (int i = 0; i < 4; i++) {
		look(other, 0);
		later(20);
		peer_send(e, 10);
		look(i % 2 ? set : other, 2000);
		peer_wait();
		look(other, 0);
		look(set, 0);
		RECV(e, recv(e->fd, room, 100, 0));
		look(other, 0);
		MUST(control(other, EPOLL_CTL_MOD, e->fd, EPOLLIN, (unsigned)i + 2));
	}
}

/* What is added by the other number: nothing here tells that it is the same set. */
SCENARIO(added_by_another_number, 0)
{
	int set = new_set(), other = pass_to_oneself(set), inner = new_set(), outer = pass_to_oneself(new_set());

	there_and_back(e, 10, 5);
	CALL(control(other, EPOLL_CTL_ADD, e->fd, EPOLLIN, 1));
	for (int i = 0; i < 4; i++) {
		look(set, 0);
		later(20);
		peer_send(e, 10);
		look(i % 2 ? set : other, 2000);
		peer_wait();
		RECV(e, recv(e->fd, room, 100, 0));
		look(other, 0);
	}
	CALL(control(other, EPOLL_CTL_DEL, e->fd, 0, 0));
	MUST(control(inner, EPOLL_CTL_ADD, e->fd, EPOLLIN, 2));
	CALL(control(outer, EPOLL_CTL_ADD, inner, EPOLLIN, 3));
	later(20);
	peer_send(e, 10);
	look(outer, 2000);
	peer_wait();
	look(inner, 0);
	RECV(e, recv(e->fd, room, 100, 0));
}

/* What lies unread when it is added comes out there too. */
SCENARIO(added_with_unread, 0)
{
	int other = pass_to_oneself(new_set());

	peer_send(e, 1000);
	arrive(e, 1000);
	CALL(control(other, EPOLL_CTL_ADD, e->fd, EPOLLIN, 1));
	look(other, 2000);
	RECV(e, recv(e->fd, room, 300, 0));
	look(other, 0);
	RECV(e, recv(e->fd, room, 1000, 0));
	look(other, 0);
	there_and_back(e, 10, 5);
}

/* Several processes sleep for one stream, each in a set of its own: one of them at least is woken, and the bytes are taken once. */
SCENARIO(exclusive_processes, ALONE)
{
	_Atomic int *count = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t children[3];

	for (int i = 0; i < 3; i++)
		children[i] = CHILD({
			int set = new_set();

			MUST(control(set, EPOLL_CTL_ADD, e->fd, EPOLLIN | EPOLLEXCLUSIVE, 1));
			for (;;) {
				struct epoll_event event;
				int n = epoll_wait(set, &event, 1, 3000);
				ssize_t got = recv(e->fd, room, 1000, MSG_DONTWAIT);

				if (n == 1)
					count[1] |= 1;
				if (got > 0)
					count[0] += (int)got;
				if (got == 0 || n == 0)
					break;
			}
		});
	rest();
	for (int i = 0; i < 5; i++) {
		peer_send(e, 20);
		rest();
	}
	peer_shutdown(e, SHUT_WR);
	for (int i = 0; i < 3; i++)
		reap(children[i]);
	say("taken %d, woken %d", count[0], count[1]);
}
