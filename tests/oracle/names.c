/* Names and options; address families; what is none of our business. */
#define FAMILY "names"
#include "oracle.h"
#include "peer.h"
#include "sets.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/un.h>

static void same_names(struct end *e)
{
	struct sockaddr_storage mine = {0}, its = {0};
	socklen_t length = sizeof(mine), other = sizeof(its);

	CALL(getsockname(e->fd, (struct sockaddr *)&mine, &length));
	CALL(getpeername(e->fd, (struct sockaddr *)&its, &other));
	quietly();
	struct peer_answer a = peer_ask((struct peer_order){.does = PEER_NAME, .number = e->number, .flags = 1});

	quietly();
	struct peer_answer b = peer_ask((struct peer_order){.does = PEER_NAME, .number = e->number, .flags = 0});

	say("lengths %u %u %u %u, families %d %d", length, other, a.length, b.length, mine.ss_family, its.ss_family);
	if (a.length == length)
		say("same: %d %d", !memcmp(&mine, &a.address, length), !memcmp(&its, &b.address, other));
	length = 4;
	CALL(getsockname(e->fd, (struct sockaddr *)&mine, &length));
	say("  length %u", length);
}

static void converse(struct end *e)
{
	for (int i = 0; i < 3; i++) {
		SEND(e, 100, send(e->fd, room, 100, 0));
		peer_recv_all(e, 100);
		later(20);
		peer_send(e, 100);
		RECV(e, recv(e->fd, room, 1000, 0));
		peer_wait();
	}
	peer_shutdown(e, SHUT_WR);
	rest();
	CALL(recv(e->fd, room, 1000, 0));
	CALL(close(e->fd));
	peer_drain(e);
}

SCENARIO(addresses, 0)
{
	same_names(e);
	converse(e);
}

SCENARIO(internet_six, UNOPENED)
{
	open_end(e, AF_INET6, false);
	same_names(e);
	converse(e);
}

SCENARIO(four_mapped_in_six, UNOPENED)
{
	open_end(e, AF_INET6, true);
	same_names(e);
	converse(e);
}

static void show_option(struct end *e, const char *name, int level, int option)
{
	int value[4] = {-1, -1, -1, -1};
	socklen_t length = sizeof(value);
	int result = getsockopt(e->fd, level, option, value, &length);

	say("%s %s: %d %d, length %u", name, RESULT(result), value[0], length > 4 ? value[1] : 0, (unsigned)length);
}

#define SHOW(level, option) show_option(e, #option, level, option)

static void show_options(struct end *e)
{
	SHOW(SOL_SOCKET, SO_TYPE);
	SHOW(SOL_SOCKET, SO_PROTOCOL);
	SHOW(SOL_SOCKET, SO_DOMAIN);
	SHOW(SOL_SOCKET, SO_ERROR);
	SHOW(SOL_SOCKET, SO_ACCEPTCONN);
	SHOW(SOL_SOCKET, SO_KEEPALIVE);
	SHOW(SOL_SOCKET, SO_LINGER);
	SHOW(SOL_SOCKET, SO_RCVTIMEO);
	SHOW(SOL_SOCKET, SO_SNDTIMEO);
	SHOW(SOL_SOCKET, SO_RCVLOWAT);
	SHOW(SOL_SOCKET, SO_SNDLOWAT);
	SHOW(SOL_SOCKET, SO_OOBINLINE);
	SHOW(SOL_SOCKET, SO_PRIORITY);
	SHOW(SOL_SOCKET, SO_REUSEADDR);
	SHOW(SOL_SOCKET, SO_BROADCAST);
	SHOW(SOL_SOCKET, SO_TIMESTAMP);
	SHOW(SOL_SOCKET, SO_ZEROCOPY);
	SHOW(SOL_TCP, TCP_NODELAY);
	SHOW(SOL_TCP, TCP_CORK);
	SHOW(SOL_TCP, TCP_KEEPIDLE);
	SHOW(SOL_TCP, TCP_KEEPCNT);
	SHOW(SOL_TCP, TCP_SYNCNT);
	SHOW(SOL_TCP, TCP_DEFER_ACCEPT);
	SHOW(SOL_TCP, TCP_USER_TIMEOUT);
	SHOW(IPPROTO_IP, IP_TOS);
	SHOW(IPPROTO_IP, IP_TTL);
	SHOW(SOL_SOCKET, 9999);
}

SCENARIO(options, 0)
{
	int on = 1, size = 30000, small = 2000;
	struct linger linger = {1, 5};

	show_options(e);
	CALL(setsockopt(e->fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on)));
	CALL(setsockopt(e->fd, SOL_TCP, TCP_NODELAY, &on, sizeof(on)));
	CALL(setsockopt(e->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)));
	CALL(setsockopt(e->fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size)));
	CALL(setsockopt(e->fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size)));
	CALL(setsockopt(e->fd, SOL_TCP, TCP_USER_TIMEOUT, &size, sizeof(size)));
	CALL(setsockopt(e->fd, SOL_SOCKET, 9999, &size, sizeof(size)));
	CALL(setsockopt(e->fd, SOL_SOCKET, SO_KEEPALIVE, &on, 1));
	show_options(e);
	SHOW(SOL_SOCKET, SO_RCVBUF);
	SHOW(SOL_SOCKET, SO_SNDBUF);
	CALL(setsockopt(e->fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small)));
	SHOW(SOL_SOCKET, SO_RCVBUF);
	SEND(e, 100, send(e->fd, room, 100, 0));
	peer_recv_all(e, 100);
	peer_send_all(e, 1500);
	arrive(e, 1500);
	RECV(e, recv(e->fd, room, 10000, 0));
}

static void io_handler(int number)
{
	signals++;
}

SCENARIO(asynchronous, 0)
{
	signal(SIGIO, io_handler);
	MUST(fcntl(e->fd, F_SETOWN, getpid()));
	MUST(fcntl(e->fd, F_SETFL, O_RDWR | O_ASYNC));
	rest();
	int before = signals;

	peer_send(e, 10);
	rest();
	say("told: %d", signals > before);
	RECV(e, recv(e->fd, room, 100, MSG_DONTWAIT));
	for (int i = 0; i < 3; i++) {
		before = signals;
		peer_send(e, 10);
		rest();
		say("told: %d", signals > before);
		RECV(e, recv(e->fd, room, 100, MSG_DONTWAIT));
	}
}

SCENARIO(zero_copy, 0)
{
	int on = 1;

	CALL(setsockopt(e->fd, SOL_SOCKET, SO_ZEROCOPY, &on, sizeof(on)));
	SEND(e, 20000, send(e->fd, room, 20000, MSG_ZEROCOPY));
	peer_recv_all(e, 20000);
	rest();
	struct pollfd p = {e->fd, POLLIN, 0};

	CALL(poll(&p, 1, 1000));
	say("  %s", POLLED((unsigned)p.revents));
	char control[128];
	struct msghdr m = {.msg_control = control, .msg_controllen = sizeof(control)};

	CALL(recvmsg(e->fd, &m, MSG_ERRQUEUE));
	CALL(poll(&p, 1, 0));
}

SCENARIO(local_sockets, KERNEL | UNOPENED)
{
	static const int types[] = {SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET};

	for (int i = 0; i < 3; i++) {
		int pair[2];

		MUST(socketpair(AF_UNIX, types[i], 0, pair));
		for (int n = 0; n < 20; n++) {
			CALL(send(pair[0], room, 100, 0));
			CALL(recv(pair[1], room, 1000, 0));
			CALL(recv(pair[1], room, 1000, MSG_DONTWAIT));
		}
		CALL(close(pair[0]));
		CALL(recv(pair[1], room, 1000, MSG_DONTWAIT));
		CALL(close(pair[1]));
	}
}

SCENARIO(datagrams, UNOPENED)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t length = sizeof(at);
	int one = (int)MUST(socket(AF_INET, SOCK_DGRAM, 0)), two = (int)MUST(socket(AF_INET, SOCK_DGRAM, 0));

	MUST(bind(one, (struct sockaddr *)&at, sizeof(at)));
	MUST(getsockname(one, (struct sockaddr *)&at, &length));
	CALL(connect(two, (struct sockaddr *)&at, sizeof(at)));
	for (int i = 0; i < 20; i++) {
		if (i % 4 == 1)
			rest(); /* for the service to answer */
		CALL(send(two, room, 100, 0));
		struct pollfd p = {one, POLLIN, 0};

		CALL(poll(&p, 1, 1000));
		CALL(recv(one, room, 50, MSG_TRUNC));
	}
	CALL(send(two, room, 0, 0));
	rest();
	CALL(recv(one, room, 50, 0));
	CALL(recv(one, room, 50, MSG_DONTWAIT));
}

SCENARIO(pipes, KERNEL | UNOPENED)
{
	int pair[2];

	MUST(pipe(pair));
	for (int i = 0; i < 10; i++) {
		CALL(write(pair[1], room, 100));
		CALL(read(pair[0], room, 1000));
	}
	CALL(recv(pair[0], room, 10, 0));
	CALL(close(pair[1]));
	CALL(read(pair[0], room, 10));
}

SCENARIO(never_connected, KERNEL | UNOPENED)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t length = sizeof(at);
	int fd = (int)MUST(socket(AF_INET, SOCK_STREAM, 0)), listener = (int)MUST(socket(AF_INET, SOCK_STREAM, 0)), n;

	CALL(recv(fd, room, 10, MSG_DONTWAIT));
	CALL(send(fd, room, 10, MSG_NOSIGNAL));
	CALL(shutdown(fd, SHUT_WR));
	struct pollfd p = {fd, POLLIN | POLLOUT, 0};

	CALL(poll(&p, 1, 0));
	say("  %s", POLLED((unsigned)p.revents));
	MUST(bind(listener, (struct sockaddr *)&at, sizeof(at)));
	MUST(getsockname(listener, (struct sockaddr *)&at, &length));
	CALL(connect(fd, (struct sockaddr *)&at, sizeof(at)));
	CALL(listen(listener, 5));
	CALL(recv(listener, room, 10, MSG_DONTWAIT));
	CALL(send(listener, room, 10, MSG_NOSIGNAL));
	CALL(ioctl(listener, FIONREAD, &n));
	p.fd = listener;
	CALL(poll(&p, 1, 0));
	CALL(fcntl(listener, F_SETFL, O_NONBLOCK));
	CALL(accept(listener, NULL, NULL));
	close(fd);
	fd = (int)MUST(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0));
	CALL(getpeername(fd, (struct sockaddr *)&at, &length));
	close(listener);
}

SCENARIO(connecting_without_waiting, UNOPENED)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t length = sizeof(at);
	struct peer_order order = {.does = PEER_LISTEN, .length = sizeof(at)};

	memcpy(&order.address, &at, sizeof(at));
	struct peer_answer answer = peer_ask(order);

	memcpy(&at, &answer.address, sizeof(at));
	e->number = 70;
	e->fd = (int)MUST(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0));
	int result = connect(e->fd, (struct sockaddr *)&at, length);

	say("%d", result == 0 || errno == EINPROGRESS);
	struct pollfd p = {e->fd, POLLOUT, 0};

	CALL(poll(&p, 1, 2000));
	say("  %s", POLLED((unsigned)p.revents));
	peer_ask((struct peer_order){.does = PEER_ACCEPT, .number = e->number});
	nonblocking(e->fd, false);
	warm_up(e);
	converse(e);
}

/* What comes beside the bytes if it is asked for. */
SCENARIO(beside_the_bytes, 0)
{
	union {
		struct cmsghdr header;
		char room[256];
	} control;
	struct iovec v = {room, 60};
	struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};
	int on = 1, off = 0, unread = -1;

	CALL(setsockopt(e->fd, SOL_TCP, TCP_INQ, &on, sizeof(on)));
	peer_send(e, 100);
	arrive(e, 100);
	RECV(e, recvmsg(e->fd, &m, 0));
	say("  control length %zu", (size_t)m.msg_controllen);
	if (m.msg_controllen >= CMSG_LEN(sizeof(unread)))
		memcpy(&unread, CMSG_DATA(&control.header), sizeof(unread));
	say("  unread %d", unread);
	CALL(setsockopt(e->fd, SOL_TCP, TCP_INQ, &off, sizeof(off)));
	RECV(e, recv(e->fd, room, 100, 0));
}

SCENARIO(after_the_end, 0)
{
	struct sockaddr_storage name;
	socklen_t length = sizeof(name);

	peer_close(e);
	rest();
	CALL(getpeername(e->fd, (struct sockaddr *)&name, &length));
	CALL(recv(e->fd, room, 10, 0));
	CALL(getpeername(e->fd, (struct sockaddr *)&name, &length));
	CALL(shutdown(e->fd, SHUT_WR));
	rest();
	CALL(getpeername(e->fd, (struct sockaddr *)&name, &length));
	CALL(getsockname(e->fd, (struct sockaddr *)&name, &length));
	CALL(recv(e->fd, room, 10, 0));
}
