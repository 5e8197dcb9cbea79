/* Streams over fork. */
#define FAMILY "children"
#include "oracle.h"
#include "peer.h"
#include "sets.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>

/* Stream positions that parent and child both advance. */
static struct end *shared_end(struct end *e)
{
	struct end *s = mmap(NULL, sizeof(*s), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	*s = *e;
	return s;
}

SCENARIO(parent_reads_then_child, ALONE)
{
	struct end *s = shared_end(e);
	int go[2], back[2];

	MUST(pipe(go));
	MUST(pipe(back));
	peer_send(s, 150);
	arrive(s, 150);
	pid_t child = CHILD({
		for (int i = 0; i < 3; i++) {
			MUST(read(go[0], room, 1));
			RECV(s, recv(s->fd, room, 30, 0));
			SEND(s, 10, send(s->fd, room, 10, 0));
			MUST(write(back[1], "b", 1));
		}
	});

	for (int i = 0; i < 3; i++) {
		RECV(s, recv(s->fd, room, 20, 0));
		MUST(write(go[1], "g", 1));
		MUST(read(back[0], room, 1));
		SEND(s, 10, send(s->fd, room, 10, 0));
		peer_recv_all(s, 20);
	}
	reap(child);
	peer_send(s, 10);
	arrive(s, 10);
	RECV(s, recv(s->fd, room, 100, 0));
}

SCENARIO(child_exits, ALONE)
{
	reap(CHILD({}));
	SEND(e, 10, send(e->fd, room, 10, 0));
	peer_recv_all(e, 10);
	later(30);
	peer_send(e, 10);
	RECV(e, recv(e->fd, room, 100, 0));
	peer_wait();
	pid_t child = CHILD({ exit(0); });

	reap(child);
	child = CHILD({ close(e->fd); });
	reap(child);
	child = CHILD({ raise(SIGKILL); });
	reap(child);
	there_and_back(e, 10, 10);
	CALL(close(e->fd));
	peer_drain(e);
}

SCENARIO(child_goes_on, ALONE)
{
	int go[2];

	MUST(pipe(go));
	pid_t child = CHILD({
		close(go[1]);
		/* The parent has closed its own when the pipe ends. */
		read(go[0], room, 1);
		for (int i = 0; i < 30; i++) {
			take(e, 100);
			give(e, 50);
		}
		CALL(recv(e->fd, room, 10, 0));
	});

	CALL(close(e->fd));
	close(go[0]);
	close(go[1]);
	for (int i = 0; i < 30; i++) {
		quietly();
		peer_send(e, 100);
		quietly();
		peer_recv_all(e, 50);
	}
	peer_shutdown(e, SHUT_WR);
	reap(child);
	rest();
	peer_drain(e);
}

SCENARIO(end_comes_with_the_last, ALONE)
{
	int go[2];

	MUST(pipe(go));
	pid_t child = CHILD({
		close(go[1]);
		read(go[0], room, 1);
	});

	close(go[0]);
	CALL(close(e->fd));
	peer_poll(e, POLLIN | POLLRDHUP, 60);
	close(go[1]);
	reap(child);
	peer_poll(e, POLLIN | POLLRDHUP, 3000);
	peer_drain(e);
}

SCENARIO(shut_down_by_child, ALONE)
{
	pid_t child = CHILD({
		SEND(e, 30, send(e->fd, room, 30, 0));
		CALL(shutdown(e->fd, SHUT_WR));
	});

	reap(child);
	CALL(send(e->fd, room, 10, MSG_NOSIGNAL));
	peer_drain(e);
	peer_send(e, 10);
	arrive(e, 10);
	RECV(e, recv(e->fd, room, 100, 0));
}

/* Its parent's stream is moved behind that. */
SCENARIO(shut_down_by_child_at_first, ALONE)
{
	struct end other;

	open_end_so(&other, manner.family, manner.mapped, manner.accepting, 0);
	reap(CHILD({
		SEND(&other, 10, send(other.fd, room, 10, 0));
		CALL(shutdown(other.fd, SHUT_WR));
	}));
	other.sent += 10;
	for (int i = 0; i < 200; i++) {
		quietly();
		peer_send(&other, 10);
		take(&other, 10);
	}
	peer_recv_all(&other, 10);
	SEND(&other, 10, send(other.fd, room, 10, MSG_NOSIGNAL));
	rest();
	peer_drain(&other);
}

SCENARIO(unread_at_fork, ALONE)
{
	peer_send_all(e, 50000);
	arrive(e, 50000);
	pid_t child = CHILD({
		take(e, 50000);
		give(e, 10);
		CALL(recv(e->fd, room, 10, MSG_DONTWAIT));
	});

	reap(child);
	peer_recv_all(e, 10);
	CALL(recv(e->fd, room, 10, MSG_DONTWAIT));
	e->taken += 50000;
	e->sent += 10;
	peer_send(e, 10);
	arrive(e, 10);
	RECV(e, recv(e->fd, room, 10, 0));
}

static void *sleep_in(void *set)
{
	struct epoll_event event;

	epoll_wait(*(int *)set, &event, 1, 300);
	return NULL;
}

SCENARIO(child_reads_beside_a_sleeper, ALONE)
{
	int set = new_set();
	pthread_t sleeper;

	control(set, EPOLL_CTL_ADD, e->fd, EPOLLIN | EPOLLET, 1);
	peer_send(e, 20);
	arrive(e, 20);
	look(set, 1000);
	RECV(e, recv(e->fd, room, 5, 0));
	MUST(-pthread_create(&sleeper, NULL, sleep_in, &set));
	settle_down();
	reap(CHILD({ RECV(e, recv(e->fd, room, 5, MSG_DONTWAIT)); }));
	e->taken += 5;
	RECV(e, recv(e->fd, room, 100, MSG_DONTWAIT));
	pthread_join(sleeper, NULL);
	there_and_back(e, 10, 10);
}

SCENARIO(child_waits, ALONE)
{
	struct end *s = shared_end(e);
	pid_t child = CHILD({
		struct pollfd p = {s->fd, POLLIN, 0};
		int set = new_set();

		control(set, EPOLL_CTL_ADD, s->fd, EPOLLIN, 1);
		CALL(poll(&p, 1, 5000));
		RECV(s, recv(s->fd, room, 100, 0));
		give(s, 1);
		look(set, 5000);
		RECV(s, recv(s->fd, room, 100, 0));
		give(s, 1);
		RECV(s, recv(s->fd, room, 100, 0));
		give(s, 1);
	});

	for (int i = 0; i < 3; i++) {
		settle_down();
		peer_send(s, 10);
		peer_recv_all(s, 1);
	}
	reap(child);
}

SCENARIO(grandchild, ALONE)
{
	struct end *s = shared_end(e);
	pid_t child = CHILD({
		RECV(s, recv(s->fd, room, 10, 0));
		give(s, 1);
		pid_t inner = fork();

		if (!inner) {
			RECV(s, recv(s->fd, room, 10, 0));
			give(s, 1);
			_exit(0);
		}
		reap(inner);
		RECV(s, recv(s->fd, room, 10, 0));
		give(s, 1);
	});

	for (int i = 0; i < 3; i++) {
		peer_send(s, 10);
		peer_recv_all(s, 1);
	}
	reap(child);
	peer_send(s, 10);
	arrive(s, 10);
	RECV(s, recv(s->fd, room, 10, 0));
}

/* Accept, fork, the child serves: what most servers of old do. */
SCENARIO(accept_then_fork, ALONE | UNOPENED)
{
	manner.accepting = true;
	for (int i = 0; i < 5; i++) {
		unsigned warm = manner.warm;

		manner.warm = 0;
		open_end(e, AF_INET, false);
		manner.warm = warm;
		pid_t child = CHILD({
			for (int n = 0; n < 40; n++) {
				take(e, 20);
				give(e, 30);
			}
			CALL(recv(e->fd, room, 10, 0));
		});

		close(e->fd);
		for (int n = 0; n < 40; n++) {
			quietly();
			peer_send(e, 20);
			quietly();
			peer_recv_all(e, 30);
		}
		peer_shutdown(e, SHUT_WR);
		reap(child);
		peer_drain(e);
	}
}

SCENARIO(set_over_fork, ALONE)
{
	int set = new_set();

	MUST(control(set, EPOLL_CTL_ADD, e->fd, EPOLLIN, 1));
	later(40);
	peer_send(e, 10);
	pid_t child = CHILD({
		look(set, 5000);
		RECV(e, recv(e->fd, room, 100, 0));
		look(set, 0);
	});

	reap(child);
	peer_wait();
	e->taken += 10;
	look(set, 0);
	peer_send(e, 10);
	arrive(e, 10);
	look(set, 1000);
	RECV(e, recv(e->fd, room, 100, 0));
	look(set, 0);
	close(set);
}

/* O_NONBLOCK belongs to the socket: who is left alone with it finds it as the other has left it. */
SCENARIO(waits_for_whom_the_child_said, ALONE)
{
	for (int i = 0; i < 4; i++) {
		nonblocking(e->fd, true);
		CALL(recv(e->fd, room, 10, 0));
		reap(CHILD({
			there_and_back(e, 10, i % 2 ? 3 : 0);
			nonblocking(e->fd, false);
			if (i >= 2)
				execl("/bin/true", "true", NULL);
		}));
		if (i % 2) {
			e->sent += 30;
			e->taken += 30;
		}
		settle_down(); /* the service has seen its end */
		later(50);
		peer_send(e, 10);
		RECV(e, recv(e->fd, room, 100, 0));
		peer_wait();
		there_and_back(e, 10, 40);
	}
}

/* Two processes send on one stream, small messages: none is torn. */
SCENARIO(both_send, ALONE)
{
	pid_t child = CHILD({
		memset(room, 'c', 100);
		for (int i = 0; i < 200; i++)
			if (send(e->fd, room, 100, 0) != 100)
				say("short");
	});

	memset(room, 'p', 100);
	for (int i = 0; i < 200; i++)
		if (send(e->fd, room, 100, 0) != 100)
			say("short");
	reap(child);
	peer_records(e, 400, 100);
}

/* Two processes receive records that their writer sends one by one. */
SCENARIO(both_receive, ALONE)
{
	struct end *s = shared_end(e);
	int *counts = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t child = CHILD({
		ssize_t n;

		while ((n = recv(s->fd, room, 64, 0)) > 0)
			counts[1] += (int)n;
	});
	ssize_t n;

	later(1);
	peer_dribble(s, 20000, 100);
	settle_down();
	while (counts[0] + counts[1] < 20000 && (n = recv(s->fd, room, 64, MSG_DONTWAIT)) != 0) {
		if (n > 0)
			counts[0] += (int)n;
	}
	peer_wait();
	peer_shutdown(s, SHUT_WR);
	reap(child);
	say("all: %d", counts[0] + counts[1]);
}
