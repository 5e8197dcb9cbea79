/* Processes as servers use them: workers before and after accept, daemons, forks under traffic. */
#define FAMILY "servers"
#include "oracle.h"
#include "peer.h"
#include "sets.h"

#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <pty.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>

extern char **environ;

static int listening(struct peer_order *order)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t length = sizeof(at);
	int listener = (int)MUST(socket(AF_INET, SOCK_STREAM, 0));

	MUST(bind(listener, (struct sockaddr *)&at, sizeof(at)));
	MUST(listen(listener, 16));
	MUST(getsockname(listener, (struct sockaddr *)&at, &length));
	*order = (struct peer_order){.does = PEER_CONNECT, .length = sizeof(at)};
	memcpy(&order->address, &at, sizeof(at));
	return listener;
}

static void serve(int listener, int connections)
{
	for (int i = 0; i < connections; i++) {
		struct end e = {.fd = (int)MUST(accept(listener, NULL, NULL))};

		for (int n = 0; n < 40; n++) {
			take(&e, 100);
			give(&e, 50);
		}
		if (recv(e.fd, room, 10, 0))
			say("no end");
		close(e.fd);
	}
}

static void use_server(struct peer_order *order, unsigned number)
{
	struct end e = {.number = number};

	order->number = number;
	quietly();
	peer_ask(*order);
	for (int n = 0; n < 40; n++) {
		quietly();
		peer_send(&e, 100);
		quietly();
		peer_recv_all(&e, 50);
	}
	quietly();
	peer_shutdown(&e, SHUT_WR);
	peer_drain(&e);
}

/* Workers that wait in accept on one listener; who gets which connection is the kernel's choice. */
SCENARIO(workers_before_accept, ALONE | UNOPENED)
{
	struct peer_order order;
	int listener = listening(&order);
	pid_t workers[3];

	for (int i = 0; i < 3; i++)
		workers[i] = CHILD({
			signal(SIGTERM, SIG_DFL);
			serve(listener, 100);
		});
	for (unsigned i = 0; i < 9; i++)
		use_server(&order, 100 + i);
	for (int i = 0; i < 3; i++) {
		kill(workers[i], SIGTERM);
		reap(workers[i]);
	}
}

/* As a daemon begins: fork, setsid, fork, the standard streams away. */
SCENARIO(daemon_of_its_own, ALONE | UNOPENED)
{
	struct peer_order order;
	int listener = listening(&order);
	pid_t child = CHILD({
		if (fork())
			_exit(0);
		setsid();
		if (fork())
			_exit(0);
		serve(listener, 3);
	});

	reap(child);
	for (unsigned i = 0; i < 3; i++)
		use_server(&order, 100 + i);
}

/* By libc's own daemon: another number of the stream goes on, stdin's is /dev/null. */
SCENARIO(daemon_of_libc, ALONE)
{
	int over[2];

	MUST(pipe(over));
	pid_t child = CHILD({
		int output = dup(STDOUT_FILENO);

		close(over[0]);
		dup2(e->fd, STDIN_FILENO);
		give(e, 10);
		int result = daemon(1, 0);

		dup2(output, STDOUT_FILENO);
		CALL(result);
		CALL(write(STDIN_FILENO, "nothing", 7));
		CALL(read(STDIN_FILENO, room, 7));
		give(e, 10);
	});

	close(over[1]);
	MUST(read(over[0], room, 1)); /* its end */
	close(over[0]);
	reap(child);
	peer_recv_all(e, 20);
}

/* The child's standard streams are a terminal, the parent's stay what they are. */
SCENARIO(child_on_a_terminal, ALONE)
{
	char text[32] = "";
	int input = (int)MUST(dup(STDIN_FILENO)), control, status = 0;
	ssize_t got = 0, more;

	MUST(dup2(e->fd, STDIN_FILENO));
	give(e, 10);
	pid_t child = (pid_t)MUST(forkpty(&control, NULL, NULL, NULL));

	if (child == 0)
		_exit(write(STDIN_FILENO, "terminal", 8) == 8 && isatty(STDIN_FILENO) ? 0 : 1);
	while (got < 8 && (more = read(control, text + got, 8)) > 0)
		got += more;
	MUST(waitpid(child, &status, 0));
	say("%#x: %s", (unsigned)status, text);
	MUST(dup2(input, STDIN_FILENO));
	close(input);
	close(control);
	peer_recv_all(e, 10);
	there_and_back(e, 50, 3);
}

/* One process sends, another receives, on the same descriptor. */
SCENARIO(sender_and_receiver, ALONE)
{
	pid_t child = CHILD({
		for (int i = 0; i < 20; i++)
			take(e, 30000);
		CALL(recv(e->fd, room, 10, 0));
	});

	later(1);
	peer_send_all(e, 600000);
	for (int i = 0; i < 20; i++)
		give(e, 2000);
	peer_wait();
	peer_recv_all(e, 40000);
	peer_shutdown(e, SHUT_WR);
	reap(child);
}

struct traffic {
	struct end *e;
	_Atomic bool enough;
	long messages;
	pthread_t thread;
};

static void *ping(void *argument)
{
	struct traffic *t = argument;
	unsigned char bytes[8];

	while (t->messages < 3000) {
		content_fill(0, t->e->sent, bytes, sizeof(bytes));
		if (send(t->e->fd, bytes, sizeof(bytes), 0) != 8)
			break;
		t->e->sent += 8;
		if (recv(t->e->fd, bytes, sizeof(bytes), MSG_WAITALL) != 8 || content_good(1, t->e->taken, bytes, 8) < 8)
			break;
		t->e->taken += 8;
		t->messages++;
		if (t->enough && t->messages % 100 == 0)
			usleep(1);
	}
	return NULL;
}

static void under_traffic(struct end *e, void (*what)(void))
{
	struct traffic t = {.e = e};

	later(1);
	peer_ask((struct peer_order){.does = PEER_ECHO, .number = e->number, .count = 3000});
	MUST(-pthread_create(&t.thread, NULL, ping, &t));
	for (int i = 0; i < 25; i++)
		what();
	t.enough = true;
	pthread_join(t.thread, NULL);
	say("messages %ld", t.messages);
	peer_wait();
}

static void fork_once(void)
{
	pid_t child = fork();

	if (!child)
		_exit(0);
	waitpid(child, NULL, 0);
}

static void spawn_once(void)
{
	char *words[] = {"true", NULL};
	pid_t child;

	MUST(-posix_spawnp(&child, "true", NULL, NULL, words, environ));
	waitpid(child, NULL, 0);
}

static void vfork_once(void)
{
	pid_t child = vfork();

	if (!child) {
		execl("/bin/true", "true", NULL);
		_exit(127);
	}
	waitpid(child, NULL, 0);
}

SCENARIO(forks_under_traffic, ALONE)
{
	under_traffic(e, fork_once);
}

SCENARIO(spawns_under_traffic, ALONE)
{
	under_traffic(e, spawn_once);
}

SCENARIO(vforks_under_traffic, ALONE)
{
	under_traffic(e, vfork_once);
}

/* A worker that dies in the middle of a request is replaced by another, on the same stream. */
SCENARIO(worker_replaced, ALONE)
{
	struct end *s = mmap(NULL, sizeof(*s), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	*s = *e;
	for (int i = 0; i < 4; i++) {
		pid_t worker = CHILD({
			take(s, 500);
			give(s, 100);
			raise(SIGKILL);
		});

		peer_send(s, 500);
		peer_recv_all(s, 100);
		reap(worker);
	}
	peer_send(s, 10);
	arrive(s, 10);
	RECV(s, recv(s->fd, room, 100, 0));
	CALL(close(s->fd));
	peer_drain(s);
}

/* Killed while it sleeps in a receive that others may go on with. */
SCENARIO(sleeping_worker_killed, ALONE)
{
	for (int how = 0; how < 3; how++) {
		pid_t worker = CHILD({
			struct pollfd p = {e->fd, POLLIN, 0};
			int set = new_set();
			struct epoll_event event;

			MUST(control(set, EPOLL_CTL_ADD, e->fd, EPOLLIN, 1));
			if (how == 0)
				recv(e->fd, room, 10, 0);
			else if (how == 1)
				poll(&p, 1, -1);
			else
				epoll_wait(set, &event, 1, -1);
		});

		settle_down();
		kill(worker, SIGKILL);
		reap(worker);
		for (int i = 0; i < 3; i++) {
			later(10);
			peer_send(e, 10);
			RECV(e, recv(e->fd, room, 100, 0));
			peer_wait();
			SEND(e, 10, send(e->fd, room, 10, 0));
			peer_recv_all(e, 10);
		}
	}
}

SCENARIO(stopped_worker_holds_it_too, ALONE)
{
	pid_t worker = CHILD({
		recv(e->fd, room, 1, MSG_PEEK);
		pause();
	});

	settle_down();
	kill(worker, SIGSTOP);
	for (int i = 0; i < 5; i++) {
		peer_send(e, 100);
		arrive(e, 100);
		RECV(e, recv(e->fd, room, 100, 0));
		SEND(e, 100, send(e->fd, room, 100, 0));
		peer_recv_all(e, 100);
	}
	kill(worker, SIGKILL);
	reap(worker);
}
