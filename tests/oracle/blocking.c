/* Blocking, not blocking, time-outs, signals, cancellation, back-pressure. */
#define FAMILY "blocking"
#include "oracle.h"
#include "peer.h"

#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/select.h>
#include <sys/sendfile.h>
#include <sys/time.h>

SCENARIO(receive_sleeps, 0)
{
	for (int i = 0; i < 4; i++) {
		later(40);
		peer_send(e, 10);
		RECV(e, recv(e->fd, room, 100, 0));
		peer_wait();
		SEND(e, 10, send(e->fd, room, 10, 0));
		peer_recv_all(e, 10);
	}
	later(40);
	peer_shutdown(e, SHUT_WR);
	CALL(recv(e->fd, room, 100, 0));
	peer_wait();
}

SCENARIO(peer_sleeps, 0)
{
	for (int i = 0; i < 4; i++) {
		later(1);
		peer_recv_all(e, 10);
		settle_down();
		SEND(e, 10, send(e->fd, room, 10, 0));
		peer_wait();
	}
	later(1);
	peer_drain(e);
	settle_down();
	SEND(e, 10, send(e->fd, room, 10, 0));
	settle_down();
	CALL(shutdown(e->fd, SHUT_WR));
	peer_wait();
}

static void try_nonblocking(struct end *e)
{
	CALL(recv(e->fd, room, 10, 0));
	CALL(read(e->fd, room, 10));
	struct iovec v = {room, 10};
	struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1};

	CALL(readv(e->fd, &v, 1));
	CALL(recvmsg(e->fd, &m, 0));
	peer_send(e, 10);
	arrive(e, 10);
	RECV(e, read(e->fd, room, 100));
	CALL(read(e->fd, room, 10));
}

SCENARIO(nonblocking_by_fcntl, 0)
{
	CALL(fcntl(e->fd, F_GETFL));
	CALL(fcntl(e->fd, F_SETFL, O_RDWR | O_NONBLOCK));
	CALL(fcntl(e->fd, F_GETFL));
	try_nonblocking(e);
	CALL(fcntl(e->fd, F_SETFL, O_RDWR));
	CALL(fcntl(e->fd, F_GETFL));
	later(30);
	peer_send(e, 10);
	RECV(e, read(e->fd, room, 10));
	peer_wait();
}

SCENARIO(nonblocking_by_ioctl, 0)
{
	int on = 1, off = 0;

	CALL(ioctl(e->fd, FIONBIO, &on));
	CALL(fcntl(e->fd, F_GETFL));
	try_nonblocking(e);
	CALL(ioctl(e->fd, FIONBIO, &off));
	later(30);
	peer_send(e, 10);
	RECV(e, read(e->fd, room, 10));
	peer_wait();
}

SCENARIO(nonblocking_by_dup, 0)
{
	int twin = (int)MUST(dup(e->fd));

	CALL(fcntl(twin, F_SETFL, O_RDWR | O_NONBLOCK));
	CALL(fcntl(e->fd, F_GETFL));
	try_nonblocking(e);
	CALL(fcntl(e->fd, F_SETFL, O_RDWR));
	CALL(fcntl(twin, F_GETFL));
	later(30);
	peer_send(e, 10);
	RECV(e, read(twin, room, 10));
	peer_wait();
	close(twin);
}

SCENARIO(nonblocking_by_child, ALONE)
{
	pid_t child = CHILD({ nonblocking(e->fd, true); });

	reap(child);
	CALL(fcntl(e->fd, F_GETFL));
	try_nonblocking(e);
}

/* Accepted by this program with the flag, and without although the listener has it. */
SCENARIO(nonblocking_by_accept, UNOPENED)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct peer_order order = {.does = PEER_CONNECT, .length = sizeof(at)};
	socklen_t length = sizeof(at);
	int listener = (int)MUST(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0));

	MUST(bind(listener, (struct sockaddr *)&at, sizeof(at)));
	MUST(listen(listener, 5));
	MUST(getsockname(listener, (struct sockaddr *)&at, &length));
	memcpy(&order.address, &at, sizeof(at));
	CALL(accept4(listener, NULL, NULL, SOCK_NONBLOCK));
	for (int flag = 0; flag < 2; flag++) {
		e->number = order.number = 50 + (unsigned)flag;
		e->sent = e->taken = 0;
		peer_ask(order);
		rest();
		e->fd = accept4(listener, NULL, NULL, flag ? SOCK_NONBLOCK | SOCK_CLOEXEC : 0);
		say("accepted: %d", e->fd >= 0);
		CALL(fcntl(e->fd, F_GETFL));
		CALL(fcntl(e->fd, F_GETFD));
		warm_up(e);
		if (flag)
			try_nonblocking(e);
	}
}

static void receive_limit(int fd, int ms)
{
	struct timeval limit = {ms / 1000, ms % 1000 * 1000};

	MUST(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)));
}

SCENARIO(receive_time_out, 0)
{
	uint64_t begin = now_ms();

	receive_limit(e->fd, 100);
	CALL(recv(e->fd, room, 10, 0));
	CALL(read(e->fd, room, 10));
	CALL(recv(e->fd, room, 10, MSG_PEEK));
	say("waited: %d", now_ms() - begin >= 280);
	begin = now_ms();
	CALL(recv(e->fd, room, 10, MSG_DONTWAIT));
	say("waited: %d", now_ms() - begin >= 100);
	receive_limit(e->fd, 3000);
	later(40);
	peer_send(e, 10);
	RECV(e, recv(e->fd, room, 100, 0));
	peer_wait();
	receive_limit(e->fd, 0);
	later(60);
	peer_send(e, 10);
	RECV(e, recv(e->fd, room, 100, 0));
	peer_wait();
}

/* More milliseconds than a number has. */
SCENARIO(receive_long_time, 0)
{
	static const long seconds[] = {2147484, 4294967, 5000000};

	for (size_t i = 0; i < sizeof(seconds) / sizeof(seconds[0]); i++) {
		struct timeval limit = {seconds[i], 300000};

		MUST(setsockopt(e->fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)));
		peer_send(e, 5);
		arrive(e, 5);
		later(800);
		peer_send(e, 5);
		RECV(e, recv(e->fd, room, 10, MSG_WAITALL));
		peer_wait();
	}
}

/* The limit is the call's, however many parts it waits for. */
SCENARIO(receive_time_out_of_all, 0)
{
	for (int i = 0; i < 3; i++) {
		receive_limit(e->fd, 200);
		peer_send(e, 10);
		arrive(e, 10);
		later(1);
		peer_dribble(e, 500, 1); /* with more than a millisecond between each two */
		ssize_t n = recv(e->fd, room, 510, MSG_WAITALL);

		took(e, room, n);
		say("some: %d, all: %d", n >= 10, n == 510);
		receive_limit(e->fd, 0);
		if (n < 510)
			took(e, room, recv(e->fd, room, (size_t)(510 - n), MSG_WAITALL));
		peer_wait();
		there_and_back(e, 10, 20);
	}
}

/* Of no bytes: it takes none, and waits for some. */
SCENARIO(receive_of_nothing, 0)
{
	struct msghdr m = {0};

	receive_limit(e->fd, 2000);
	for (int way = 0; way < 3; way++) {
		uint64_t begin = now_ms();

		later(60);
		peer_send(e, 10);
		if (way == 0)
			CALL(recv(e->fd, room, 0, 0));
		else if (way == 1)
			CALL(recv(e->fd, room, 0, MSG_PEEK | MSG_WAITALL));
		else
			CALL(recvmsg(e->fd, &m, 0));
		say("waited: %d", now_ms() - begin >= 50 && now_ms() - begin < 1500);
		peer_wait();
		RECV(e, recv(e->fd, room, 100, 0));
		CALL(recv(e->fd, room, 0, MSG_DONTWAIT));
	}
	receive_limit(e->fd, 80);
	CALL(recv(e->fd, room, 0, 0));
	receive_limit(e->fd, 2000);
	later(60);
	peer_shutdown(e, SHUT_WR);
	CALL(recv(e->fd, room, 0, 0));
	peer_wait();
	CALL(recv(e->fd, room, 10, 0));
}

SCENARIO(receive_time_out_by_dup, 0)
{
	int twin = (int)MUST(dup(e->fd));
	uint64_t begin = now_ms();

	receive_limit(twin, 80);
	CALL(recv(e->fd, room, 10, 0));
	say("waited: %d", now_ms() - begin >= 75);
	close(twin);
}

SCENARIO(send_time_out, 0)
{
	struct timeval limit = {0, 100000};

	uint64_t before = e->sent;

	narrow(e);
	say("full: %d", stuff(e));
	MUST(setsockopt(e->fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)));
	uint64_t begin = now_ms();

	CALL(send(e->fd, room, 10000, 0));
	say("waited: %d", now_ms() - begin >= 95);
	CALL(send(e->fd, room, 10000, MSG_DONTWAIT));
	/* Room comes with an acknowledgement, which the kernel may delay for longer than that. */
	limit = (struct timeval){10, 0};
	MUST(setsockopt(e->fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)));
	quietly();
	peer_recv_all(e, (long)(e->sent - before));
	SEND(e, 10, send(e->fd, room, 10, 0));
	peer_recv_all(e, 10);
}

struct sender {
	struct end *e;
	size_t count;
	_Atomic long result;
	_Atomic bool begun, ended;
	pthread_t thread;
};

static void *send_thread(void *argument)
{
	struct sender *s = argument;
	static unsigned char bytes[ROOM];
	size_t left = s->count;

	s->begun = true;
	while (left) {
		size_t part = left < ROOM ? left : ROOM;

		fill(s->e, bytes, part);
		ssize_t n = send(s->e->fd, bytes, part, MSG_NOSIGNAL);

		if (n <= 0)
			break;
		gave(s->e, n);
		left -= (size_t)n;
	}
	s->result = (long)(s->count - left);
	s->ended = true;
	return NULL;
}

static void back_pressure(struct end *e)
{
	struct sender s = {.e = e, .count = 24u << 20};

	MUST(-pthread_create(&s.thread, NULL, send_thread, &s));
	for (int i = 0; i < 10; i++)
		settle_down();
	say("blocked: %d", s.begun && !s.ended);
	peer_recv_all(e, 24 << 20);
	pthread_join(s.thread, NULL);
	say("sent %ld", s.result);
	SEND(e, 10, send(e->fd, room, 10, 0));
	peer_recv_all(e, 10);
}

SCENARIO(send_blocks, 0)
{
	back_pressure(e);
}

SCENARIO(send_blocks_narrow, 0)
{
	narrow(e);
	back_pressure(e);
}

SCENARIO(send_would_block, 0)
{
	uint64_t before = e->sent;

	say("full: %d", stuff(e));
	say("bounded: %d", e->sent - before < 48u << 20);
	nonblocking(e->fd, true);
	CALL(send(e->fd, room, 1, 0));
	CALL(write(e->fd, room, 100000));
	quietly();
	peer_recv_all(e, (long)(e->sent - before));
	rest();
	SEND(e, 10, send(e->fd, room, 10, 0));
	peer_recv_all(e, 10);
}

/* A buffer that was made small holds little: a program that counts on it is told so. */
SCENARIO(small_buffers_bound, 0)
{
	uint64_t before = e->sent;

	narrow(e);
	say("full: %d", stuff(e));
	say("within a megabyte: %d", e->sent - before < 1u << 20);
	quietly();
	peer_recv_all(e, (long)(e->sent - before));
}

SCENARIO(peer_would_block, 0)
{
	narrow(e);
	peer_nonblock(e, true);
	quietly();
	for (int i = 0; i < 300; i++) {
		struct peer_answer answer;

		quietly();
		answer = peer_ask((struct peer_order){.does = PEER_SEND, .number = e->number, .count = 8192, .flags = 0});
		if (answer.result < 0)
			return;
	}
	say("the peer was never told to wait");
}

static void interrupted(struct end *e, int flags)
{
	on_signal(SIGUSR1, flags);
	later(60);
	peer_signal(SIGUSR1);
	if (flags & SA_RESTART) {
		receive_limit(e->fd, 1500);
		uint64_t begin = now_ms();

		/* With a time-out a receive is never restarted. */
		CALL(recv(e->fd, room, 10, 0));
		say("early: %d", now_ms() - begin < 1400);
		receive_limit(e->fd, 0);
	} else {
		CALL(recv(e->fd, room, 10, 0));
	}
	peer_wait();
	say("signals %d", (int)signals);
}

SCENARIO(receive_interrupted, 0)
{
	interrupted(e, 0);
	interrupted(e, 0);
	peer_send(e, 10);
	arrive(e, 10);
	RECV(e, recv(e->fd, room, 10, 0));
}

SCENARIO(receive_interrupted_with_time, 0)
{
	interrupted(e, SA_RESTART);
}

static void signal_every(int ms)
{
	struct itimerval timer = {{0, ms * 1000}, {0, ms * 1000}};

	MUST(setitimer(ITIMER_REAL, &timer, NULL));
}

SCENARIO(receive_restarted, 0)
{
	on_signal(SIGALRM, SA_RESTART);
	signal_every(20);
	later(150);
	peer_send(e, 10);
	RECV(e, recv(e->fd, room, 10, 0));
	peer_wait();
	later(150);
	peer_send(e, 10);
	RECV(e, read(e->fd, room, 10));
	signal_every(0);
	peer_wait();
	say("interrupted: %d", signals >= 4);
}

SCENARIO(send_interrupted, 0)
{
	narrow(e);
	on_signal(SIGUSR1, 0);
	uint64_t before = e->sent;

	say("full: %d", stuff(e));
	later(60);
	peer_signal(SIGUSR1);
	CALL(send(e->fd, room, 10000, 0));
	peer_wait();
	quietly();
	peer_recv_all(e, (long)(e->sent - before));
	later(60);
	peer_signal(SIGUSR1);
	fill(e, room, ROOM);
	long part = send(e->fd, room, ROOM, 0);

	say("a part: %d", part > 0 && part < (long)ROOM);
	gave(e, part);
	peer_wait();
	quietly();
	peer_recv_all(e, part);
	SEND(e, 10, send(e->fd, room, 10, 0));
	peer_recv_all(e, 10);
}

SCENARIO(send_restarted, 0)
{
	narrow(e);
	on_signal(SIGALRM, SA_RESTART);
	uint64_t before = e->sent;

	say("full: %d", stuff(e));
	signal_every(20);
	later(150);
	quietly();
	peer_recv_all(e, (long)(e->sent - before));
	SEND(e, 100, send(e->fd, room, 100, 0));
	signal_every(0);
	peer_wait();
	peer_recv_all(e, 100);
}

/* A call that has sent a part ends with the first signal, restarted or not: also what goes in pieces, as after much through the kernel. */
SCENARIO(send_restarted_behind_a_part, 0)
{
	int least = INT_MAX;

	narrow(e);
	on_signal(SIGALRM, SA_RESTART);
	for (int i = 0; i < 5; i++) {
		uint64_t before = e->sent;

		stuff(e);
		quietly();
		peer_recv_all(e, (long)(e->sent - before));
		fill(e, room, ROOM);
		signals = 0;
		signal_every(20);
		long part = send(e->fd, room, ROOM, 0);

		signal_every(0);
		say("a part: %d", part > 0 && part < (long)ROOM);
		gave(e, part);
		quietly();
		peer_recv_all(e, part);
		if (i >= 2 && signals < least)
			least = signals;
	}
	/* Of several: on a busy machine the first may come before the call waits. */
	say("at once: %d", least < 5);
}

/* No byte may be lost however often calls are interrupted. */
SCENARIO(signal_storm, 0)
{
	struct itimerval timer = {{0, 300}, {0, 300}}, none = {0};
	size_t left = 3u << 20;

	on_signal(SIGALRM, 0);
	later(1);
	peer_send_all(e, 3 << 20);
	MUST(setitimer(ITIMER_REAL, &timer, NULL));
	while (left) {
		ssize_t n = recv(e->fd, room, 3000, left % 2 ? MSG_WAITALL : 0);

		if (n > 0) {
			took(e, room, n);
			left -= (size_t)n > left ? left : (size_t)n;
		} else if (n == 0 || errno != EINTR) {
			say("recv: %s", RESULT(n));
			break;
		}
	}
	setitimer(ITIMER_REAL, &none, NULL);
	say("left %zu", left);
	peer_wait();
	later(1);
	peer_recv_all(e, 3 << 20);
	MUST(setitimer(ITIMER_REAL, &timer, NULL));
	for (left = 3u << 20; left;) {
		size_t part = left < 30000 ? left : 30000;

		fill(e, room, part);
		ssize_t n = send(e->fd, room, part, 0);

		if (n > 0) {
			gave(e, n);
			left -= (size_t)n;
		} else if (errno != EINTR) {
			say("send: %s", RESULT(n));
			break;
		}
	}
	setitimer(ITIMER_REAL, &none, NULL);
	peer_wait();
}

static void *receive_for_ever(void *argument)
{
	unsigned char bytes[100];

	recv(*(int *)argument, bytes, sizeof(bytes), 0);
	return NULL;
}

SCENARIO(receive_cancelled, 0)
{
	pthread_t thread;
	void *result = NULL;

	MUST(-pthread_create(&thread, NULL, receive_for_ever, &e->fd));
	settle_down();
	CALL(pthread_cancel(thread));
	CALL(pthread_join(thread, &result));
	say("cancelled: %d", result == PTHREAD_CANCELED);
	peer_send(e, 10);
	arrive(e, 10);
	RECV(e, recv(e->fd, room, 10, 0));
	SEND(e, 10, send(e->fd, room, 10, 0));
	peer_recv_all(e, 10);
}

SCENARIO(send_cancelled, 0)
{
	struct sender s = {.e = e, .count = 64u << 20};
	void *result = NULL;

	narrow(e);
	MUST(-pthread_create(&s.thread, NULL, send_thread, &s));
	settle_down();
	settle_down();
	CALL(pthread_cancel(s.thread));
	CALL(pthread_join(s.thread, &result));
	say("cancelled: %d", result == PTHREAD_CANCELED);
	CALL(shutdown(e->fd, SHUT_WR));
	struct peer_answer answer = {0};

	quietly();
	answer = peer_ask((struct peer_order){.does = PEER_DRAIN, .number = e->number});
	say("something came, and an end: %d", answer.result > 0 && !answer.error);
}

SCENARIO(low_water_mark, 0)
{
	struct pollfd p = {e->fd, POLLIN, 0};
	int mark = 10;

	CALL(setsockopt(e->fd, SOL_SOCKET, SO_RCVLOWAT, &mark, sizeof(mark)));
	peer_send(e, 5);
	arrive(e, 5);
	CALL(poll(&p, 1, 50));
	later(40);
	peer_send(e, 5);
	CALL(poll(&p, 1, 2000));
	peer_wait();
	RECV(e, recv(e->fd, room, 100, 0));
	/* Not with some of it there already: the kernel then forgets to wake a receiver. */
	later(40);
	peer_dribble(e, 10, 5);
	RECV(e, recv(e->fd, room, 100, 0));
	peer_wait();
	later(1);
	peer_send(e, 30);
	CALL(poll(&p, 1, 2000));
	peer_wait();
	RECV(e, recv(e->fd, room, 100, 0));
	peer_send(e, 3);
	arrive(e, 3);
	RECV(e, recv(e->fd, room, 100, MSG_DONTWAIT));
}

SCENARIO(low_water_mark_of_all, 0)
{
	struct pollfd p = {e->fd, POLLIN, 0};
	int mark = -1;

	CALL(setsockopt(e->fd, SOL_SOCKET, SO_RCVLOWAT, &mark, sizeof(mark)));
	peer_send(e, 10);
	arrive(e, 10);
	CALL(poll(&p, 1, 50));
	RECV(e, recv(e->fd, room, 100, MSG_DONTWAIT));
}

SCENARIO(shut_down_wakes, 0)
{
	pthread_t thread;

	MUST(-pthread_create(&thread, NULL, receive_for_ever, &e->fd));
	settle_down();
	CALL(shutdown(e->fd, SHUT_RD));
	CALL(pthread_join(thread, NULL));
}

SCENARIO(shut_down_wakes_sender, 0)
{
	struct sender s = {.e = e, .count = 64u << 20};

	narrow(e);
	MUST(-pthread_create(&s.thread, NULL, send_thread, &s));
	settle_down();
	settle_down();
	CALL(shutdown(e->fd, SHUT_WR));
	CALL(pthread_join(s.thread, NULL));
	say("not all: %d", s.result < 64l << 20);
}
