/* poll, ppoll, select, pselect. */
#define FAMILY "readiness"
#include "oracle.h"
#include "peer.h"

#include <fcntl.h>
#include <limits.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/select.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define ALL (POLLIN | POLLPRI | POLLOUT | POLLRDHUP | POLLRDNORM | POLLRDBAND | POLLWRNORM | POLLWRBAND)

static void poll_one(int fd, int events, int ms)
{
	struct pollfd p = {fd, (short)events, 0x7fff};

	CALL(poll(&p, 1, ms));
	say("  %s", POLLED((unsigned short)p.revents));
}

SCENARIO(masks, 0)
{
	poll_one(e->fd, ALL, 0);
	poll_one(e->fd, POLLIN, 0);
	poll_one(e->fd, 0, 0);
	peer_send(e, 10);
	arrive(e, 10);
	poll_one(e->fd, ALL, 0);
	poll_one(e->fd, POLLIN, 0);
	poll_one(e->fd, POLLRDNORM, 0);
	poll_one(e->fd, POLLOUT, 0);
	poll_one(e->fd, POLLRDHUP, 0);
	poll_one(e->fd, 0, 0);
	poll_one(-1, ALL, 0);
	poll_one(-e->fd, ALL, 0);
	RECV(e, recv(e->fd, room, 9, 0));
	poll_one(e->fd, POLLIN, 1000);
	RECV(e, recv(e->fd, room, 9, 0));
	poll_one(e->fd, POLLIN, 0);
	peer_shutdown(e, SHUT_WR);
	rest();
	poll_one(e->fd, ALL, 0);
	poll_one(e->fd, POLLIN, 0);
	poll_one(e->fd, POLLRDHUP, 0);
	poll_one(e->fd, POLLOUT, 0);
	CALL(shutdown(e->fd, SHUT_WR));
	rest();
	poll_one(e->fd, ALL, 0);
	poll_one(e->fd, 0, 0);
	CALL(close(e->fd));
	poll_one(e->fd, ALL, 0);
}

SCENARIO(sleeps_and_wakes, 0)
{
	for (int i = 0; i < 5; i++) {
		later(40);
		peer_send(e, 10);
		poll_one(e->fd, POLLIN, 5000);
		peer_wait();
		RECV(e, recv(e->fd, room, 100, 0));
		SEND(e, 10, send(e->fd, room, 10, 0));
		peer_recv_all(e, 10);
	}
	later(40);
	peer_send(e, 10);
	poll_one(e->fd, POLLIN, -1);
	peer_wait();
	later(40);
	peer_shutdown(e, SHUT_WR);
	poll_one(e->fd, POLLRDHUP, 5000);
	peer_wait();
	RECV(e, recv(e->fd, room, 100, 0));
	later(40);
	peer_close(e);
	poll_one(e->fd, POLLIN, 5000);
	peer_wait();
}

SCENARIO(peer_polls, 0)
{
	for (int i = 0; i < 3; i++) {
		later(1);
		peer_poll(e, POLLIN, 5000);
		settle_down();
		SEND(e, 10, send(e->fd, room, 10, 0));
		peer_wait();
		peer_recv_all(e, 10);
	}
	peer_poll(e, POLLIN, 30);
	peer_poll(e, POLLIN | POLLOUT, 0);
}

SCENARIO(time_passes, 0)
{
	uint64_t begin = now_ms();

	poll_one(e->fd, POLLIN, 80);
	say("waited: %d", now_ms() - begin >= 79);
	struct timespec t = {0, 80000000};
	struct pollfd p = {e->fd, POLLIN, 0};

	begin = now_ms();
	CALL(ppoll(&p, 1, &t, NULL));
	say("waited: %d", now_ms() - begin >= 79);
	fd_set in;

	FD_ZERO(&in);
	FD_SET(e->fd, &in);
	begin = now_ms();
	struct timeval v = {0, 80000};

	CALL(select(e->fd + 1, &in, NULL, NULL, &v));
	say("waited: %d, set %d, left %ld", now_ms() - begin >= 79, !!FD_ISSET(e->fd, &in), (long)v.tv_usec);
	v.tv_usec = -1;
	CALL(select(e->fd + 1, &in, NULL, NULL, &v));
	t.tv_nsec = 1000000000;
	CALL(ppoll(&p, 1, &t, NULL));
}

/* What is left of very long ones is told too. */
SCENARIO(selected_for_ever, 0)
{
	static const long seconds[] = {999999999, 1000000000, INT_MAX, LONG_MAX};
	fd_set in;

	for (size_t i = 0; i < sizeof(seconds) / sizeof(seconds[0]); i++) {
		struct timeval limit = {seconds[i], 0};

		FD_ZERO(&in);
		FD_SET(e->fd, &in);
		later(40);
		peer_send(e, 10);
		CALL(select(e->fd + 1, &in, NULL, NULL, &limit));
		peer_wait();
		/* Linux counts LONG_MAX from its start. */
		say("left: %d", limit.tv_sec > seconds[i] - 100000000 && limit.tv_usec >= 0 && limit.tv_usec < 1000000);
		RECV(e, recv(e->fd, room, 10, 0));
	}
}

SCENARIO(writing, 0)
{
	narrow(e);
	uint64_t before = e->sent;

	poll_one(e->fd, POLLOUT, 0);
	say("full: %d", stuff(e));
	poll_one(e->fd, POLLOUT, 0);
	poll_one(e->fd, POLLOUT, 40);
	later(50);
	quietly();
	peer_recv_all(e, (long)(e->sent - before));
	poll_one(e->fd, POLLOUT, 5000);
	peer_wait();
	rest();
	poll_one(e->fd, POLLOUT | POLLWRNORM, 0);
	peer_send(e, 1);
	arrive(e, 1);
	poll_one(e->fd, POLLOUT | POLLIN, 0);
	say("full: %d", stuff(e));
	poll_one(e->fd, POLLOUT | POLLIN, 0);
}

/* Two streams, a pipe, an eventfd, a timer, a listener, a UNIX socket, a file, a closed descriptor. */
struct mixture {
	struct end first, second;
	int pipes[2], event, timer, listener, local[2], file;
};

static void mix(struct mixture *m, struct end *e)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};

	m->first = *e;
	open_end(&m->second, AF_INET, false);
	MUST(pipe(m->pipes));
	m->event = (int)MUST(eventfd(0, EFD_CLOEXEC));
	m->timer = (int)MUST(timerfd_create(CLOCK_MONOTONIC, 0));
	m->listener = (int)MUST(socket(AF_INET, SOCK_STREAM, 0));
	MUST(bind(m->listener, (struct sockaddr *)&at, sizeof(at)));
	MUST(listen(m->listener, 5));
	MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, m->local));
	m->file = file_of(10);
}

static void poll_mixture(struct mixture *m, bool file, int ms)
{
	struct pollfd p[9] = {{m->first.fd, POLLIN, 0}, {m->pipes[0], POLLIN, 0},  {m->event, POLLIN, 0},
			      {m->timer, POLLIN, 0},    {-1, POLLIN, 0},           {m->listener, POLLIN, 0},
			      {m->local[0], POLLIN, 0}, {m->second.fd, POLLIN, 0}, {file ? m->file : -1, POLLIN, 0}};
	char text[512];
	size_t at = 0;

	CALL(poll(p, 9, ms));
	for (int i = 0; i < 9; i++)
		at += (size_t)snprintf(text + at, sizeof(text) - at, " %s", POLLED((unsigned)p[i].revents));
	say(" %s", text);
}

SCENARIO(mixed, 0)
{
	struct mixture m;
	uint64_t one = 1;
	struct itimerspec soon = {.it_value.tv_nsec = 30000000};

	mix(&m, e);
	poll_mixture(&m, false, 0);
	poll_mixture(&m, true, 1000);
	MUST(write(m.pipes[1], "x", 1));
	poll_mixture(&m, false, 1000);
	peer_send(&m.first, 10);
	arrive(&m.first, 10);
	poll_mixture(&m, false, 1000);
	MUST(read(m.pipes[0], room, 1));
	peer_send(&m.second, 20);
	arrive(&m.second, 20);
	poll_mixture(&m, false, 1000);
	MUST(write(m.event, &one, sizeof(one)));
	MUST(write(m.local[1], "y", 1));
	poll_mixture(&m, true, 1000);
	RECV(&m.first, recv(m.first.fd, room, 100, 0));
	RECV(&m.second, recv(m.second.fd, room, 100, 0));
	poll_mixture(&m, false, 1000);
	MUST(read(m.event, &one, sizeof(one)));
	MUST(read(m.local[0], room, 1));
	poll_mixture(&m, false, 0);
	MUST(timerfd_settime(m.timer, 0, &soon, NULL));
	poll_mixture(&m, false, 1000);
	MUST(read(m.timer, &one, sizeof(one)));
	later(40);
	peer_send(&m.second, 20);
	poll_mixture(&m, false, 5000);
	peer_wait();
	peer_shutdown(&m.first, SHUT_WR);
	rest();
	poll_mixture(&m, false, 5000);
}

static void *write_later(void *argument)
{
	settle_down();
	MUST(write(*(int *)argument, "z", 1));
	return NULL;
}

SCENARIO(pipe_wakes, 0)
{
	struct mixture m;
	pthread_t thread;

	mix(&m, e);
	MUST(-pthread_create(&thread, NULL, write_later, &m.pipes[1]));
	poll_mixture(&m, false, 5000);
	pthread_join(thread, NULL);
	MUST(read(m.pipes[0], room, 1));
	MUST(-pthread_create(&thread, NULL, write_later, &m.local[1]));
	poll_mixture(&m, false, -1);
	pthread_join(thread, NULL);
}

static void select_on(int count, const int *fds, struct timeval *limit)
{
	fd_set in, out, other;
	int most = 0;

	FD_ZERO(&in);
	FD_ZERO(&out);
	FD_ZERO(&other);
	for (int i = 0; i < count; i++) {
		FD_SET(fds[i], &in);
		if (!i)
			FD_SET(fds[i], &out);
		FD_SET(fds[i], &other);
		most = fds[i] > most ? fds[i] : most;
	}
	CALL(select(most + 1, &in, limit && limit->tv_sec == 9 ? NULL : &out, &other, limit));
	for (int i = 0; i < count; i++)
		say("  in %d out %d other %d", !!FD_ISSET(fds[i], &in), !!FD_ISSET(fds[i], &out), !!FD_ISSET(fds[i], &other));
}

SCENARIO(selected, 0)
{
	struct mixture m;
	struct timeval none = {0, 0}, long_time = {9, 0};

	mix(&m, e);
	int fds[3] = {m.first.fd, m.pipes[0], m.second.fd};

	select_on(3, fds, &none);
	peer_send(&m.second, 10);
	arrive(&m.second, 10);
	select_on(3, fds, &none);
	MUST(write(m.pipes[1], "x", 1));
	select_on(3, fds, &long_time);
	RECV(&m.second, recv(m.second.fd, room, 10, 0));
	MUST(read(m.pipes[0], room, 1));
	later(40);
	peer_send(&m.first, 10);
	long_time = (struct timeval){9, 0};
	select_on(3, fds, &long_time);
	say("time left: %d", long_time.tv_sec < 9 && long_time.tv_sec >= 5);
	peer_wait();
	select_on(3, fds, NULL);
	peer_send_flags(&m.second, 1, MSG_OOB);
	rest();
	select_on(3, fds, &none);
	peer_close(&m.first);
	rest();
	select_on(3, fds, &none);
	FD_SET(fds[0], &(fd_set){0});
	close(m.pipes[0]);
	select_on(3, fds, &none);
}

SCENARIO(selected_for_reading_and_writing_alone, 0)
{
	fd_set set;

	FD_ZERO(&set);
	FD_SET(e->fd, &set);
	CALL(select(e->fd + 1, NULL, &set, NULL, &(struct timeval){1, 0}));
	say("  %d", !!FD_ISSET(e->fd, &set));
	CALL(select(e->fd, &set, NULL, NULL, &(struct timeval){0, 0}));
	peer_send(e, 1);
	arrive(e, 1);
	FD_SET(e->fd, &set);
	CALL(select(e->fd + 1, &set, NULL, NULL, NULL));
	say("  %d", !!FD_ISSET(e->fd, &set));
	CALL(select(0, NULL, NULL, NULL, &(struct timeval){0, 1000}));
}

/* A signal that waits behind a mask which the call lifts. */
static void pending_signal(int number)
{
	sigset_t set;

	on_signal(number, 0);
	sigemptyset(&set);
	sigaddset(&set, number);
	MUST(sigprocmask(SIG_BLOCK, &set, NULL));
	MUST(kill(getpid(), number));
}

SCENARIO(signal_masks, 0)
{
	struct pollfd p = {e->fd, POLLIN, 0};
	struct timespec long_time = {5, 0}, none = {0, 0};
	sigset_t empty;
	fd_set in;

	sigemptyset(&empty);
	pending_signal(SIGUSR1);
	CALL(poll(&p, 1, 20));
	CALL(ppoll(&p, 1, &long_time, &empty));
	say("  signals %d", (int)signals);
	pending_signal(SIGUSR1);
	CALL(ppoll(&p, 1, &none, &empty));
	say("  signals %d", (int)signals);
	pending_signal(SIGUSR1);
	FD_ZERO(&in);
	FD_SET(e->fd, &in);
	CALL(pselect(e->fd + 1, &in, NULL, NULL, &long_time, &empty));
	say("  signals %d, set %d", (int)signals, !!FD_ISSET(e->fd, &in));
	pending_signal(SIGUSR1);
	CALL(pselect(e->fd + 1, &in, NULL, NULL, &none, &empty));
	say("  signals %d", (int)signals);
	CALL(ppoll(&p, 1, &none, &empty));
	say("  signals %d", (int)signals);
}

/* What is ready is told first; the signal goes on waiting. */
SCENARIO(ready_before_signal, 0)
{
	struct pollfd p = {e->fd, POLLIN, 0};
	struct timespec long_time = {5, 0}, none = {0, 0};
	sigset_t empty;
	fd_set in;

	sigemptyset(&empty);
	peer_send(e, 10);
	arrive(e, 10);
	pending_signal(SIGUSR1);
	CALL(ppoll(&p, 1, &long_time, &empty));
	say("  signals %d", (int)signals);
	CALL(ppoll(&p, 1, &none, &empty));
	say("  signals %d", (int)signals);
	FD_ZERO(&in);
	FD_SET(e->fd, &in);
	CALL(pselect(e->fd + 1, &in, NULL, NULL, &long_time, &empty));
	say("  signals %d", (int)signals);
	RECV(e, recv(e->fd, room, 100, 0));
	CALL(ppoll(&p, 1, &long_time, &empty));
	say("  signals %d", (int)signals);
}

SCENARIO(signal_ends_masked_wait, 0)
{
	struct pollfd p = {e->fd, POLLIN, 0};
	struct timespec long_time = {5, 0};
	sigset_t set, empty;

	on_signal(SIGUSR1, SA_RESTART);
	sigemptyset(&empty);
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	MUST(sigprocmask(SIG_BLOCK, &set, NULL));
	later(50);
	peer_signal(SIGUSR1);
	CALL(ppoll(&p, 1, &long_time, &empty));
	say("  signals %d", (int)signals);
	peer_wait();
	later(50);
	peer_signal(SIGUSR1);
	CALL(ppoll(&p, 1, &(struct timespec){0, 150000000}, &set));
	say("  signals %d", (int)signals);
	peer_wait();
	MUST(sigprocmask(SIG_SETMASK, &empty, NULL));
	say("  signals %d", (int)signals);
}

static void *poll_in_thread(void *argument)
{
	struct pollfd p = {*(int *)argument, POLLIN | POLLRDHUP, 0};
	int n = poll(&p, 1, 5000);

	return (void *)(intptr_t)(n == 1 ? p.revents : -1);
}

/* Four threads poll one stream: all of them are told. */
SCENARIO(several_poll_one, 0)
{
	pthread_t thread[4];

	for (int round = 0; round < 2; round++) {
		for (int i = 0; i < 4; i++)
			MUST(-pthread_create(&thread[i], NULL, poll_in_thread, &e->fd));
		settle_down();
		if (round)
			peer_shutdown(e, SHUT_WR);
		else
			peer_send(e, 10);
		for (int i = 0; i < 4; i++) {
			void *result;

			pthread_join(thread[i], &result);
			say("  %s", POLLED((unsigned)(intptr_t)result));
		}
		RECV(e, recv(e->fd, room, 100, 0));
	}
}

SCENARIO(same_descriptor_twice, 0)
{
	int twin = (int)MUST(dup(e->fd));
	struct pollfd p[3] = {{e->fd, POLLIN, 0}, {e->fd, POLLOUT, 0}, {twin, POLLIN, 0}};

	CALL(poll(p, 3, 0));
	peer_send(e, 1);
	arrive(e, 1);
	CALL(poll(p, 3, 1000));
	say("  %s %s %s", POLLED((unsigned)p[0].revents), POLLED((unsigned)p[1].revents), POLLED((unsigned)p[2].revents));
	later(30);
	peer_send(e, 1);
	RECV(e, recv(e->fd, room, 1, 0));
	p[1].events = 0;
	CALL(poll(p, 3, 5000));
	say("  %s %s %s", POLLED((unsigned)p[0].revents), POLLED((unsigned)p[1].revents), POLLED((unsigned)p[2].revents));
	peer_wait();
}

#define MANY 40
SCENARIO(many_streams, 0)
{
	static struct end ends[MANY];
	struct pollfd p[MANY];
	int ready = 0;

	for (int i = 0; i < MANY; i++) {
		open_end(&ends[i], AF_INET, false);
		p[i] = (struct pollfd){ends[i].fd, POLLIN, 0};
	}
	CALL(poll(p, MANY, 0));
	for (int i = 0; i < MANY; i += 3) {
		quietly();
		peer_send(&ends[i], 10 + i);
		arrive(&ends[i], 10 + i);
	}
	CALL(poll(p, MANY, 1000));
	for (int i = 0; i < MANY; i++)
		ready += (p[i].revents == POLLIN) == (i % 3 == 0);
	say("as they should be: %d", ready);
	for (int i = 0; i < MANY; i += 3)
		RECV(&ends[i], recv(ends[i].fd, room, 1000, 0));
	later(40);
	peer_send(&ends[17], 5);
	CALL(poll(p, MANY, 5000));
	say("  %s", POLLED((unsigned)p[17].revents));
	peer_wait();
	CALL(poll(p, 0, 10));
}

/* ---- never told in vain: a program may take what it reads after a wake-up for an error if it is EAGAIN (wrk does) ---- */

static bool told_by_poll(int fd, int set)
{
	struct pollfd p = {fd, POLLIN, 0};

	(void)set;
	return poll(&p, 1, 2000) > 0;
}

static bool told_by_select(int fd, int set)
{
	fd_set in;
	struct timeval limit = {2, 0};

	(void)set;
	FD_ZERO(&in);
	FD_SET(fd, &in);
	return select(fd + 1, &in, NULL, NULL, &limit) > 0;
}

static bool told_by_epoll(int fd, int set)
{
	struct epoll_event event;

	(void)fd;
	return epoll_wait(set, &event, 1, 2000) > 0;
}

/* Now and then too slow, so that the peer goes to the kernel and comes back. */
static void read_when_told(struct end *e, int set, bool (*told)(int fd, int set), long count)
{
	long done = 0, in_vain = 0, turn = 0;

	while (done < count && told(e->fd, set)) {
		long got = recv(e->fd, room, 3000, 0);

		if (got < 0 && errno == EAGAIN) {
			in_vain++;
			continue;
		}
		if (got <= 0)
			break;
		took(e, room, got);
		done += got;
		if (++turn % 100 == 0)
			usleep(1500);
	}
	say("took %ld, told in vain %ld times", done, in_vain);
}

SCENARIO(told_in_vain, 0)
{
	static bool (*const ways[])(int, int) = {told_by_poll, told_by_select, told_by_epoll};
	int set = (int)MUST(epoll_create1(0));
	struct epoll_event event = {EPOLLIN, {.fd = 1}};

	MUST(epoll_ctl(set, EPOLL_CTL_ADD, e->fd, &event));
	nonblocking(e->fd, true);
	for (int cork = 0; cork < 2; cork++) {
		peer_option(e, IPPROTO_TCP, TCP_CORK, cork);
		for (size_t i = 0; i < 3; i++) {
			later(1);
			peer_dribble(e, 1000000, 1111);
			read_when_told(e, set, ways[i], 1000000);
			peer_wait();
		}
	}
	close(set);
}

static struct {
	fd_set in;
	unsigned char behind[16384];
} large;

static void select_beyond(const struct end *e, int count, int seconds)
{
	struct timeval limit = {seconds, seconds ? 0 : 10000};
	size_t touched = 0;
	unsigned char before = large.behind[0];

	FD_ZERO(&large.in);
	FD_SET(e->fd, &large.in);
	CALL(select(count, &large.in, NULL, NULL, &limit));
	for (size_t i = 0; i < sizeof(large.behind); i++)
		touched += large.behind[i] != before;
	say("  %d, touched behind: %zu", FD_ISSET(e->fd, &large.in), touched);
}

/* A count of more descriptors than there can be: the kernel looks no further than its table, so no further than the set. */
SCENARIO(selected_beyond_the_set, 0)
{
	static const int counts[] = {1025, 2000, 65536, 70000, 130000};

	for (int round = 0; round < 2; round++) {
		memset(large.behind, round ? 0xa5 : 0, sizeof(large.behind));
		for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
			peer_send(e, 10);
			arrive(e, 10);
			select_beyond(e, counts[i], 2);
			RECV(e, recv(e->fd, room, 100, 0));
			select_beyond(e, counts[i], 0);
			later(40);
			peer_send(e, 10);
			select_beyond(e, counts[i], 2);
			peer_wait();
			RECV(e, recv(e->fd, room, 100, 0));
		}
	}
}
