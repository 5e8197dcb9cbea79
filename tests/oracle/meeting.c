/* Ways in which connections come to be, and begin anew. */
#define FAMILY "meeting"
#include "oracle.h"
#include "peer.h"
#include "sets.h"

#include <fcntl.h>
#include <linux/filter.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>

#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP 262
#endif

static int stream_socket(void)
{
	return (int)MUST(socket(manner.family, SOCK_STREAM, 0));
}

static int bound(struct sockaddr_storage *at, socklen_t *length)
{
	int fd = stream_socket(), on = 1;

	*length = loopback(at);
	MUST(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)));
	MUST(bind(fd, (struct sockaddr *)at, *length));
	MUST(getsockname(fd, (struct sockaddr *)at, length));
	return fd;
}

static int listening(struct sockaddr_storage *at, socklen_t *length)
{
	int fd = bound(at, length);

	MUST(listen(fd, 16));
	return fd;
}

/* Both ends are this thread's: each waits for nothing that isn't there. */
static void ping_pong(int one, int other, int messages)
{
	int good = 0;

	for (int i = 0; i < messages; i++) {
		unsigned char out[100], in[100];

		memset(out, i, sizeof(out));
		if (send(one, out, sizeof(out), 0) == 100 && recv(other, in, sizeof(in), MSG_WAITALL) == 100 && !memcmp(out, in, 100))
			good++;
		int swap = one;

		one = other;
		other = swap;
		if (i % 8 == 7)
			poll(NULL, 0, 1);
	}
	say("good messages: %d of %d", good, messages);
}

/* One socket is both ends. */
SCENARIO(with_oneself, UNOPENED | KERNEL)
{
	struct sockaddr_storage at;
	socklen_t length;
	int fd = bound(&at, &length), unread = 0;

	CALL(connect(fd, (struct sockaddr *)&at, length));
	MUST(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int)));
	for (int i = 0; i < 20; i++) {
		fill(e, room, 50);
		MUST(send(fd, room, 50, 0));
		CALL(poll(&(struct pollfd){fd, POLLIN, 0}, 1, 2000));
		rest();
		CALL(ioctl(fd, FIONREAD, &unread));
		say("  %d", unread);
		CALL(recv(fd, room, 30, 0));
		CALL(recv(fd, room, 100, 0));
		CALL(recv(fd, room, 100, MSG_DONTWAIT));
	}
	CALL(shutdown(fd, SHUT_WR));
	CALL(recv(fd, room, 100, 0));
	CALL(close(fd));
}

/* Neither listens: both connect to each other's port until their requests cross. */
SCENARIO(at_the_same_time, UNOPENED)
{
	struct sockaddr_storage at[2];
	socklen_t length[2];
	int fd[2] = {bound(&at[0], &length[0]), bound(&at[1], &length[1])};
	struct pollfd p[2];

	/* On loopback the first request is answered before the second is sent, so they hardly ever cross: then both are refused. */
	for (int i = 0; i < 2; i++) {
		nonblocking(fd[i], true);
		say("connect: %s", RESULT(connect(fd[i], (struct sockaddr *)&at[1 - i], length[1 - i])));
	}
	for (int i = 0; i < 2; i++)
		p[i] = (struct pollfd){fd[i], POLLOUT, 0};
	poll(p, 2, 1000);
	say("%s, %s", POLLED((unsigned)p[0].revents), POLLED((unsigned)p[1].revents));
	close(fd[0]);
	close(fd[1]);
	int listener = listening(&at[0], &length[0]), one = stream_socket();

	MUST(connect(one, (struct sockaddr *)&at[0], length[0]));
	int other = (int)MUST(accept(listener, NULL, NULL));

	ping_pong(one, other, 60);
}

/* Who came first is accepted first. */
SCENARIO(in_order, UNOPENED)
{
	struct sockaddr_storage at;
	socklen_t length;
	int listener = listening(&at, &length), ends[8];

	for (int i = 0; i < 8; i++) {
		ends[i] = stream_socket();
		MUST(connect(ends[i], (struct sockaddr *)&at, length));
		MUST(send(ends[i], &i, sizeof(i), 0));
	}
	for (int i = 0; i < 8; i++) {
		int fd = (int)MUST(accept(listener, NULL, NULL)), number = -1;

		MUST(recv(fd, &number, sizeof(number), MSG_WAITALL));
		say("accepted %d", number);
		ping_pong(fd, ends[number], 40);
		close(fd);
		close(ends[number]);
	}
}

/* Several listeners at one port: each connection is accepted once, by one of them, and is whole. */
SCENARIO(at_a_shared_port, UNOPENED)
{
	struct sockaddr_storage at;
	socklen_t length = loopback(&at);
	int listeners[3], on = 1, accepted = 0;
	struct pollfd p[3];

	for (int i = 0; i < 3; i++) {
		listeners[i] = stream_socket();
		MUST(setsockopt(listeners[i], SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)));
		MUST(bind(listeners[i], (struct sockaddr *)&at, length));
		MUST(getsockname(listeners[i], (struct sockaddr *)&at, &length));
		MUST(listen(listeners[i], 8));
		p[i] = (struct pollfd){listeners[i], POLLIN, 0};
	}
	for (int i = 0; i < 12; i++) {
		int one = stream_socket();

		MUST(connect(one, (struct sockaddr *)&at, length));
		say("ready: %d", poll(p, 3, 1000));
		for (int k = 0; k < 3; k++)
			if (p[k].revents & POLLIN) {
				int other = (int)MUST(accept(listeners[k], NULL, NULL));

				accepted++;
				ping_pong(one, other, 30);
				close(other);
			}
		close(one);
	}
	say("accepted %d", accepted);
}

static void io_handler(int number __attribute__((unused)))
{
	signals++;
}

static void ask_for_signal(int fd, int number)
{
	struct sigaction action = {.sa_handler = io_handler, .sa_flags = SA_RESTART};

	MUST(sigaction(number, &action, NULL));
	MUST(fcntl(fd, F_SETOWN, getpid()));
	if (number != SIGIO)
		MUST(fcntl(fd, F_SETSIG, number));
	MUST(fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_ASYNC | O_NONBLOCK));
}

SCENARIO(signalled, UNOPENED | KERNEL)
{
	struct sockaddr_storage at;
	socklen_t length;
	int listener = listening(&at, &length), one = stream_socket(), other;

	ask_for_signal(listener, SIGIO);
	ask_for_signal(one, SIGUSR1);
	signals = 0;
	if (connect(one, (struct sockaddr *)&at, length) && errno != EINPROGRESS)
		say("connect: %s", RESULT(-1));
	rest();
	say("told of both: %d", signals >= 2);
	other = (int)MUST(accept(listener, NULL, NULL));
	/* O_ASYNC is the listener's, not what it accepts. */
	say("flags %#x, owner %d, signal %d", (unsigned)fcntl(other, F_GETFL), fcntl(other, F_GETOWN), fcntl(other, F_GETSIG));
	for (int i = 0; i < 20; i++) {
		signals = 0;
		MUST(send(other, "x", 1, 0));
		rest();
		say("told: %d", signals > 0);
		CALL(recv(one, room, 10, 0));
		MUST(send(one, "y", 1, 0));
		MUST(recv(other, room, 1, MSG_WAITALL));
	}
}

SCENARIO(disconnected_and_again, UNOPENED)
{
	struct sockaddr none = {.sa_family = AF_UNSPEC};
	struct sockaddr_storage at;
	socklen_t length;
	int listener = listening(&at, &length), one = stream_socket(), unread = -1;

	for (int i = 0; i < 3; i++) {
		CALL(connect(one, (struct sockaddr *)&at, length));
		int other = (int)MUST(accept(listener, NULL, NULL));

		ping_pong(one, other, 60);
		MUST(send(other, room, 30, 0));
		rest();
		CALL(connect(one, &none, sizeof(none)));
		CALL(ioctl(one, FIONREAD, &unread));
		say("  %d", unread);
		CALL(recv(one, room, 10, MSG_DONTWAIT));
		CALL(recv(other, room, 10, 0));
		CALL(send(other, room, 10, MSG_NOSIGNAL));
		close(other);
	}
	close(one);
}

/* A request that carries bytes: what this kernel's settings allow, and the bytes come whatever they are. */
SCENARIO(with_bytes_in_the_request, UNOPENED)
{
	struct sockaddr_storage at;
	socklen_t length;
	int listener = listening(&at, &length), on = 5, yes = 1;

	CALL(setsockopt(listener, IPPROTO_TCP, TCP_FASTOPEN, &on, sizeof(on)));
	for (int i = 0; i < 3; i++) {
		int one = stream_socket();

		CALL(sendto(one, "hello", 5, MSG_FASTOPEN, (struct sockaddr *)&at, length));
		int other = (int)MUST(accept(listener, NULL, NULL));

		CALL(recv(other, room, 5, MSG_WAITALL));
		ping_pong(one, other, 40);
		close(one);
		CALL(recv(other, room, 5, 0));
		close(other);
	}
	for (int i = 0; i < 3; i++) {
		int one = stream_socket();

		CALL(setsockopt(one, IPPROTO_TCP, TCP_FASTOPEN_CONNECT, &yes, sizeof(yes)));
		CALL(connect(one, (struct sockaddr *)&at, length));
		CALL(write(one, "hello", 5));
		int other = (int)MUST(accept(listener, NULL, NULL));

		CALL(recv(other, room, 5, MSG_WAITALL));
		ping_pong(one, other, 40);
		close(one);
		close(other);
	}
}

/* Nobody is told of a connection before it has bytes. */
SCENARIO(deferred, UNOPENED)
{
	struct sockaddr_storage at;
	socklen_t length;
	int listener = listening(&at, &length), seconds = 5, one = stream_socket();
	struct pollfd p = {listener, POLLIN, 0};

	CALL(setsockopt(listener, IPPROTO_TCP, TCP_DEFER_ACCEPT, &seconds, sizeof(seconds)));
	CALL(connect(one, (struct sockaddr *)&at, length));
	CALL(poll(&p, 1, 30));
	CALL(send(one, "hello", 5, 0));
	CALL(poll(&p, 1, 1000));
	int other = (int)MUST(accept(listener, NULL, NULL));

	CALL(recv(other, room, 100, MSG_DONTWAIT));
	ping_pong(one, other, 60);
}

/* What was said to the listener holds for what it accepts. */
static void with_option_of_listener(const char *text, int name, int value)
{
	struct sockaddr_storage at;
	socklen_t length;
	int listener = listening(&at, &length), one = stream_socket(), told = 0;
	socklen_t size = sizeof(told);

	say("%s", text);
	MUST(setsockopt(listener, SOL_SOCKET, name, &value, sizeof(value)));
	MUST(connect(one, (struct sockaddr *)&at, length));
	int other = (int)MUST(accept(listener, NULL, NULL));

	CALL(getsockopt(other, SOL_SOCKET, name, &told, &size));
	say("  %d", told);
	ping_pong(one, other, 40);
	MUST(send(one, "0123456789", 10, 0));
	CALL(poll(&(struct pollfd){other, POLLIN, 0}, 1, 50));
	for (int i = 0; i < 2; i++) {
		CALL(recv(other, room, 4, MSG_PEEK));
		say("  %.4s", (char *)room);
	}
	MUST(close(one));
	MUST(close(other));
	MUST(close(listener));
}

SCENARIO(options_of_the_listener, UNOPENED | KERNEL)
{
	with_option_of_listener("SO_RCVLOWAT", SO_RCVLOWAT, 150);
	with_option_of_listener("SO_PEEK_OFF", SO_PEEK_OFF, 0);
	with_option_of_listener("SO_OOBINLINE", SO_OOBINLINE, 1);
	with_option_of_listener("SO_TIMESTAMP", SO_TIMESTAMP, 1);
	with_option_of_listener("SO_MAX_PACING_RATE", SO_MAX_PACING_RATE, 100000000);
}

/* So does a filter: nothing large comes through this one. */
SCENARIO(filter_of_the_listener, UNOPENED | KERNEL)
{
	struct sock_filter small[] = {{BPF_LD | BPF_W | BPF_LEN, 0, 0, 0},
				      {BPF_JMP | BPF_JGT | BPF_K, 0, 1, 1000},
				      {BPF_RET | BPF_K, 0, 0, 0},
				      {BPF_RET | BPF_K, 0, 0, UINT32_MAX}};
	struct sock_fprog program = {4, small};
	struct timeval limit = {10, 0};
	struct sockaddr_storage at;
	socklen_t length;
	int listener = listening(&at, &length), one = stream_socket();

	MUST(setsockopt(listener, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program)));
	MUST(connect(one, (struct sockaddr *)&at, length));
	int other = (int)MUST(accept(listener, NULL, NULL));

	ping_pong(one, other, 40);
	MUST(send(one, room, 5000, 0));
	CALL(recv(other, room, 5000, MSG_DONTWAIT));
	MUST(setsockopt(other, SOL_SOCKET, SO_DETACH_FILTER, &program, sizeof(program)));
	MUST(setsockopt(other, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)));
	CALL(recv(other, room, 5000, MSG_WAITALL));
	MUST(close(one));
	MUST(close(other));
	MUST(close(listener));
}

/* Only a call with MSG_ZEROCOPY is the kernel's. */
SCENARIO(zero_copy_of_the_listener, UNOPENED)
{
	with_option_of_listener("SO_ZEROCOPY", SO_ZEROCOPY, 1);
}

/* What a child has said while it held the socket holds for its parent. */
SCENARIO(options_of_a_child, UNOPENED | KERNEL | ALONE)
{
	struct sockaddr_storage at;
	socklen_t length;
	int listener = listening(&at, &length), one = stream_socket(), from = 0, heard = 0;
	sigset_t asked, before;

	MUST(connect(one, (struct sockaddr *)&at, length));
	int other = (int)MUST(accept(listener, NULL, NULL));

	sigemptyset(&asked);
	sigaddset(&asked, SIGIO);
	sigprocmask(SIG_BLOCK, &asked, &before);
	MUST(fcntl(other, F_SETOWN, getpid()));
	reap(CHILD({
		MUST(setsockopt(one, SOL_SOCKET, SO_PEEK_OFF, &from, sizeof(from)));
		MUST(fcntl(other, F_SETFL, O_RDWR | O_ASYNC));
	}));
	ping_pong(one, other, 40);
	while (sigtimedwait(&asked, NULL, &(struct timespec){0}) > 0)
		;
	MUST(send(one, "0123456789", 10, 0));
	heard = sigtimedwait(&asked, NULL, &(struct timespec){3, 0});
	say("heard: %d", heard == SIGIO);
	MUST(recv(other, room, 10, 0));
	MUST(send(other, "0123456789", 10, 0));
	for (int i = 0; i < 2; i++) {
		CALL(recv(one, room, 4, MSG_PEEK));
		say("  %.4s", (char *)room);
	}
	sigprocmask(SIG_SETMASK, &before, NULL);
}

/* A small buffer holds little. */
SCENARIO(buffer_of_the_listener, UNOPENED)
{
	unsigned char much[1000] = {0};
	struct sockaddr_storage at;
	socklen_t length;
	int listener = listening(&at, &length), one = stream_socket(), bytes = 4096, unread = 0;

	MUST(setsockopt(listener, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes)));
	MUST(connect(one, (struct sockaddr *)&at, length));
	int other = (int)MUST(accept(listener, NULL, NULL));

	ping_pong(one, other, 60);
	while (send(one, much, sizeof(much), MSG_DONTWAIT) > 0)
		;
	MUST(ioctl(other, FIONREAD, &unread));
	say("unread: at most 16384: %d", unread <= 16384);
	close(one);
	close(other);
	close(listener);
}

/* Left to the kernel. */
SCENARIO(by_several_paths, UNOPENED | KERNEL)
{
	struct sockaddr_storage at;
	socklen_t length = loopback(&at);
	int listener = socket(manner.family, SOCK_STREAM, IPPROTO_MPTCP), one;

	say("socket: %s", listener < 0 ? RESULT(-1) : "0");
	if (listener < 0)
		return;
	MUST(bind(listener, (struct sockaddr *)&at, length));
	MUST(getsockname(listener, (struct sockaddr *)&at, &length));
	MUST(listen(listener, 4));
	one = (int)MUST(socket(manner.family, SOCK_STREAM, IPPROTO_MPTCP));
	CALL(connect(one, (struct sockaddr *)&at, length));
	ping_pong(one, (int)MUST(accept(listener, NULL, NULL)), 40);
}
