/* ONESHOT registrations that threads take, serve and arm again while others wait in the set. */
#define FAMILY "oneshot"
#include "oracle.h"
#include "peer.h"
#include "sets.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/eventfd.h>

#define STREAMS 6
#define WORKERS 3
#define ROUNDS  600

struct served {
	int client, server;
	_Atomic int inside, over;
	unsigned long rounds;
	pthread_t thread;
};

struct service {
	int set;
	bool interfere; /* change what is asked for while it is armed */
	_Atomic int twice, ended;
	struct served stream[STREAMS];
};

static void join_up(struct served *s)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct timeval limit = {.tv_sec = 3};
	socklen_t length = sizeof(at);
	int listener = (int)MUST(socket(AF_INET, SOCK_STREAM, 0));

	MUST(bind(listener, (struct sockaddr *)&at, sizeof(at)));
	MUST(listen(listener, 5));
	MUST(getsockname(listener, (struct sockaddr *)&at, &length));
	s->client = (int)MUST(socket(AF_INET, SOCK_STREAM, 0));
	MUST(connect(s->client, (struct sockaddr *)&at, sizeof(at)));
	s->server = (int)MUST(accept(listener, NULL, NULL));
	MUST(setsockopt(s->client, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)));
	MUST(setsockopt(s->server, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int)));
	nonblocking(s->server, true);
	close(listener);
}

/* A message of 100 bytes, and then of others, each answered before the next. */
static void *ask(void *argument)
{
	struct served *s = argument;
	char bytes[100] = "question";

	while (s->rounds < ROUNDS && send(s->client, bytes, sizeof(bytes), 0) == sizeof(bytes) &&
	       recv(s->client, bytes, sizeof(bytes), MSG_WAITALL) == sizeof(bytes)) {
		s->rounds++;
		if (s->rounds % 64 == 0)
			usleep(300);
	}
	shutdown(s->client, SHUT_WR);
	return NULL;
}

static void arm(const struct service *service, int number, unsigned more)
{
	control(service->set, EPOLL_CTL_MOD, service->stream[number].server, EPOLLIN | EPOLLONESHOT | more, (unsigned)number);
}

/* To the end of what there is, as who asks for edges does. True: the stream ended. */
static bool echo(int fd)
{
	char bytes[64];
	ssize_t n;

	while ((n = recv(fd, bytes, sizeof(bytes), 0)) > 0)
		send(fd, bytes, (size_t)n, 0);
	return n == 0 || errno != EAGAIN;
}

static void *serve(void *argument)
{
	struct service *service = argument;
	struct epoll_event event = {0};

	while (service->ended < STREAMS && epoll_wait(service->set, &event, 1, 100) >= 0) {
		int number = (int)event.data.u32;
		struct served *s = &service->stream[number];

		if (service->ended == STREAMS)
			break;
		if (!event.events)
			continue;
		event = (struct epoll_event){0};
		if (!service->interfere && atomic_fetch_add(&s->inside, 1))
			service->twice++;
		if (echo(s->server)) {
			service->ended += !atomic_exchange(&s->over, 1);
			continue;
		}
		atomic_fetch_sub(&s->inside, !service->interfere);
		arm(service, number, 0);
		if (service->interfere)
			arm(service, number, EPOLLRDHUP);
	}
	return NULL;
}

static void run(bool interfere)
{
	static struct service service;
	pthread_t worker[WORKERS];

	memset(&service, 0, sizeof(service));
	service.set = new_set();
	service.interfere = interfere;
	for (int i = 0; i < STREAMS; i++) {
		join_up(&service.stream[i]);
		MUST(control(service.set, EPOLL_CTL_ADD, service.stream[i].server, EPOLLIN | EPOLLONESHOT, (unsigned)i));
	}
	for (int i = 0; i < WORKERS; i++)
		MUST(-pthread_create(&worker[i], NULL, serve, &service));
	for (int i = 0; i < STREAMS; i++)
		MUST(-pthread_create(&service.stream[i].thread, NULL, ask, &service.stream[i]));
	for (int i = 0; i < STREAMS; i++) {
		pthread_join(service.stream[i].thread, NULL);
		say("rounds %lu", service.stream[i].rounds);
	}
	for (int i = 0; i < WORKERS; i++)
		pthread_join(worker[i], NULL);
	say("twice %d", (int)service.twice);
	for (int i = 0; i < STREAMS; i++) {
		close(service.stream[i].client);
		close(service.stream[i].server);
	}
	close(service.set);
}

SCENARIO(armed_again_by_threads, UNOPENED)
{
	run(false);
}

SCENARIO(armed_again_while_armed, UNOPENED)
{
	run(true);
}

/* A connection's socket and its bell, with one number for both. */
SCENARIO(shares_its_number, 0)
{
	int set = new_set(), bell = (int)MUST(eventfd(0, EFD_NONBLOCK));
	uint64_t one = 1;

	CALL(control(set, EPOLL_CTL_ADD, e->fd, EPOLLIN | EPOLLONESHOT, 1));
	CALL(control(set, EPOLL_CTL_ADD, bell, EPOLLIN, 1));
	MUST(write(bell, &one, sizeof(one)));
	look(set, 1000);
	MUST(read(bell, &one, sizeof(one)));
	peer_send(e, 10);
	arrive(e, 10);
	look(set, 1000);
	look(set, 0);
	/* Told, and not armed again. */
	MUST(write(bell, &one, sizeof(one)));
	look(set, 200);
	look(set, 0);
	MUST(read(bell, &one, sizeof(one)));
	look(set, 0);
	CALL(control(set, EPOLL_CTL_MOD, e->fd, EPOLLIN | EPOLLONESHOT, 1));
	look(set, 1000);
	RECV(e, recv(e->fd, room, 100, 0));
	close(bell);
	close(set);
}
