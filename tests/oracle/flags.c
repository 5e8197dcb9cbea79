/* The MSG_ flags. */
#define FAMILY "flags"
#include "oracle.h"
#include "peer.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/time.h>

SCENARIO(peek, 0)
{
	peer_send(e, 100);
	arrive(e, 100);
	PEEK(e, recv(e->fd, room, 10, MSG_PEEK));
	PEEK(e, recv(e->fd, room, 1000, MSG_PEEK));
	RECV(e, recv(e->fd, room, 40, 0));
	PEEK(e, recv(e->fd, room, 1000, MSG_PEEK));
	peer_send(e, 50);
	arrive(e, 110);
	PEEK(e, recv(e->fd, room, 1000, MSG_PEEK));
	RECV(e, recv(e->fd, room, 1000, 0));
	CALL(recv(e->fd, room, 10, MSG_PEEK | MSG_DONTWAIT));
}

/* Unread bytes grow past what any ring holds, so what is peeked at lies on both sides of a switch. */
SCENARIO(peek_across, 0)
{
	/* Together less than any receive buffer holds. */
	static const int more[] = {10, 1000, 10000, 10000, 20000, 30000};
	int unread = 0;

	for (size_t i = 0; i < sizeof(more) / sizeof(more[0]); i++) {
		peer_send_all(e, more[i]);
		unread += more[i];
		arrive(e, unread);
		PEEK(e, recv(e->fd, room, 100, MSG_PEEK));
		PEEK(e, recv(e->fd, room, ROOM, MSG_PEEK));
	}
	RECV(e, recv(e->fd, room, 50000, MSG_WAITALL));
	PEEK(e, recv(e->fd, room, ROOM, MSG_PEEK));
	RECV(e, recv(e->fd, room, ROOM, 0));
}

SCENARIO(peek_each_message, 0)
{
	int unread = 0;

	for (int i = 0; i < 30; i++) {
		quietly();
		peer_send(e, 10 + i);
		unread += 10 + i;
		arrive(e, unread);
		PEEK(e, recv(e->fd, room, ROOM, MSG_PEEK));
		if (i % 7 == 6)
			unread -= (int)RECV(e, recv(e->fd, room, ROOM, 0));
	}
	RECV(e, recv(e->fd, room, ROOM, 0));
}

SCENARIO(peek_all_waits, 0)
{
	peer_send(e, 10);
	arrive(e, 10);
	later(60);
	peer_send(e, 10);
	PEEK(e, recv(e->fd, room, 20, MSG_PEEK | MSG_WAITALL));
	peer_wait();
	RECV(e, recv(e->fd, room, 20, MSG_WAITALL));
}

SCENARIO(peek_all_with_time, 0)
{
	struct timeval limit = {0, 120000};

	MUST(setsockopt(e->fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)));
	peer_send(e, 10);
	arrive(e, 10);
	uint64_t begin = now_ms();

	PEEK(e, recv(e->fd, room, 20, MSG_PEEK | MSG_WAITALL));
	say("  waited: %d", now_ms() - begin >= 100);
	RECV(e, recv(e->fd, room, 20, 0));
}

SCENARIO(peek_blocks, 0)
{
	later(60);
	peer_send(e, 10);
	PEEK(e, recv(e->fd, room, 20, MSG_PEEK));
	peer_wait();
	RECV(e, recv(e->fd, room, 20, 0));
}

SCENARIO(peek_at_the_end, 0)
{
	peer_send(e, 10);
	peer_shutdown(e, SHUT_WR);
	arrive(e, 10);
	rest();
	PEEK(e, recv(e->fd, room, 20, MSG_PEEK));
	PEEK(e, recv(e->fd, room, 20, MSG_PEEK | MSG_WAITALL));
	RECV(e, recv(e->fd, room, 20, 0));
	CALL(recv(e->fd, room, 20, MSG_PEEK));
	CALL(recv(e->fd, room, 20, 0));
}

SCENARIO(wait_all, 0)
{
	peer_send(e, 100);
	arrive(e, 100);
	RECV(e, recv(e->fd, room, 40, MSG_WAITALL));
	later(20);
	peer_dribble(e, 1000, 100);
	RECV(e, recv(e->fd, room, 1060, MSG_WAITALL));
	peer_wait();
	later(5);
	peer_send_all(e, 300000);
	RECV(e, recv(e->fd, room, 300000, MSG_WAITALL));
	peer_wait();
}

SCENARIO(wait_all_to_the_end, 0)
{
	peer_send(e, 10);
	later(60);
	peer_shutdown(e, SHUT_WR);
	RECV(e, recv(e->fd, room, 100, MSG_WAITALL));
	peer_wait();
	CALL(recv(e->fd, room, 100, MSG_WAITALL));
}

SCENARIO(wait_all_to_a_reset, 0)
{
	peer_send(e, 10);
	arrive(e, 10);
	later(60);
	peer_reset(e);
	RECV(e, recv(e->fd, room, 100, MSG_WAITALL));
	peer_wait();
	CALL(recv(e->fd, room, 100, MSG_WAITALL));
	CALL(recv(e->fd, room, 100, MSG_WAITALL));
}

SCENARIO(wait_all_with_time, 0)
{
	struct timeval limit = {0, 120000};

	MUST(setsockopt(e->fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)));
	peer_send(e, 10);
	arrive(e, 10);
	uint64_t begin = now_ms();

	RECV(e, recv(e->fd, room, 100, MSG_WAITALL));
	say("  waited: %d", now_ms() - begin >= 100);
	begin = now_ms();
	CALL(recv(e->fd, room, 100, MSG_WAITALL));
	say("  waited: %d", now_ms() - begin >= 100);
	later(40);
	peer_send(e, 100);
	RECV(e, recv(e->fd, room, 100, MSG_WAITALL));
	peer_wait();
	/* A part comes while it sleeps, and then the time is over. */
	later(40);
	peer_send(e, 30);
	begin = now_ms();
	RECV(e, recv(e->fd, room, 100, MSG_WAITALL));
	say("  waited: %d", now_ms() - begin >= 100);
	peer_wait();
}

SCENARIO(wait_all_with_signal, 0)
{
	on_signal(SIGUSR1, 0);
	peer_send(e, 10);
	arrive(e, 10);
	later(60);
	peer_signal(SIGUSR1);
	RECV(e, recv(e->fd, room, 100, MSG_WAITALL));
	peer_wait();
	say("  signals %d", (int)signals);
	later(60);
	peer_signal(SIGUSR1);
	CALL(recv(e->fd, room, 100, MSG_WAITALL));
	peer_wait();
	on_signal(SIGUSR1, SA_RESTART);
	peer_send(e, 10);
	arrive(e, 10);
	later(60);
	peer_signal(SIGUSR1);
	RECV(e, recv(e->fd, room, 100, MSG_WAITALL));
	peer_wait();
}

SCENARIO(wait_all_dont_wait, 0)
{
	peer_send(e, 10);
	arrive(e, 10);
	RECV(e, recv(e->fd, room, 100, MSG_WAITALL | MSG_DONTWAIT));
	CALL(recv(e->fd, room, 100, MSG_WAITALL | MSG_DONTWAIT));
	peer_send(e, 10);
	arrive(e, 10);
	nonblocking(e->fd, true);
	RECV(e, recv(e->fd, room, 100, MSG_WAITALL));
	CALL(recv(e->fd, room, 100, MSG_WAITALL));
}

SCENARIO(dont_wait, 0)
{
	CALL(recv(e->fd, room, 100, MSG_DONTWAIT));
	peer_send(e, 10);
	arrive(e, 10);
	RECV(e, recv(e->fd, room, 100, MSG_DONTWAIT));
	CALL(recv(e->fd, room, 100, MSG_DONTWAIT));
	SEND(e, 10, send(e->fd, room, 10, MSG_DONTWAIT));
	peer_recv_all(e, 10);
}

SCENARIO(no_signal, 0)
{
	on_signal(SIGPIPE, 0);
	peer_close(e);
	rest();
	CALL(send(e->fd, room, 10, MSG_NOSIGNAL));
	rest();
	CALL(send(e->fd, room, 10, MSG_NOSIGNAL));
	say("  signals %d", (int)signals);
	CALL(send(e->fd, room, 10, 0));
	say("  signals %d", (int)signals);
	CALL(write(e->fd, room, 10));
	say("  signals %d", (int)signals);
	struct iovec v = {room, 10};
	struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1};

	CALL(writev(e->fd, &v, 1));
	CALL(sendmsg(e->fd, &m, 0));
	CALL(sendmsg(e->fd, &m, MSG_NOSIGNAL));
	say("  signals %d", (int)signals);
}

SCENARIO(killed_by_sigpipe, ALONE)
{
	MUST(shutdown(e->fd, SHUT_WR));
	pid_t child = CHILD({ CALL(send(e->fd, room, 10, 0)); });

	reap(child);
	child = CHILD({ CALL(send(e->fd, room, 10, MSG_NOSIGNAL)); });
	reap(child);
	child = CHILD({
		signal(SIGPIPE, SIG_IGN);
		CALL(write(e->fd, room, 10));
	});
	reap(child);
}

SCENARIO(truncated, 0)
{
	peer_send(e, 100);
	arrive(e, 100);
	long n = CALL(recv(e->fd, NULL, 30, MSG_TRUNC));

	e->taken += n > 0 ? (uint64_t)n : 0;
	RECV(e, recv(e->fd, room, 20, 0));
	memset(room, 0x55, 100);
	n = CALL(recv(e->fd, room, 1000, MSG_TRUNC));
	e->taken += n > 0 ? (uint64_t)n : 0;
	say("  untouched: %d", room[0] == 0x55 && room[49] == 0x55);
	CALL(recv(e->fd, NULL, 30, MSG_TRUNC | MSG_DONTWAIT));
	peer_send_all(e, 50000);
	arrive(e, 50000);
	n = CALL(recv(e->fd, NULL, 49000, MSG_TRUNC | MSG_WAITALL));
	e->taken += n > 0 ? (uint64_t)n : 0;
	RECV(e, recv(e->fd, room, ROOM, 0));
}

SCENARIO(more, 0)
{
	SEND(e, 10, send(e->fd, room, 10, MSG_MORE));
	SEND(e, 10, send(e->fd, room, 10, MSG_MORE));
	SEND(e, 10, send(e->fd, room, 10, 0));
	peer_recv_all(e, 30);
	SEND(e, 10, send(e->fd, room, 10, MSG_MORE));
	peer_recv_all(e, 10);
	SEND(e, 10, send(e->fd, room, 10, MSG_MORE));
	CALL(shutdown(e->fd, SHUT_WR));
	peer_drain(e);
}

SCENARIO(cork, 0)
{
	int on = 1, off = 0;

	CALL(setsockopt(e->fd, SOL_TCP, TCP_CORK, &on, sizeof(on)));
	SEND(e, 10, send(e->fd, room, 10, 0));
	SEND(e, 10, send(e->fd, room, 10, 0));
	CALL(setsockopt(e->fd, SOL_TCP, TCP_CORK, &off, sizeof(off)));
	peer_recv_all(e, 20);
}

SCENARIO(no_delay, 0)
{
	int on = 1;

	CALL(setsockopt(e->fd, SOL_TCP, TCP_NODELAY, &on, sizeof(on)));
	for (int i = 0; i < 5; i++) {
		SEND(e, 10, send(e->fd, room, 10, 0));
		peer_recv_all(e, 10);
	}
}

SCENARIO(other_flags, 0)
{
	peer_send(e, 10);
	arrive(e, 10);
	CALL(recv(e->fd, room, 10, MSG_ERRQUEUE | MSG_DONTWAIT));
	CALL(recv(e->fd, room, 10, MSG_OOB));
	RECV(e, recv(e->fd, room, 10, MSG_CMSG_CLOEXEC));
	SEND(e, 10, send(e->fd, room, 10, MSG_EOR));
	SEND(e, 10, send(e->fd, room, 10, MSG_DONTROUTE));
	SEND(e, 10, send(e->fd, room, 10, MSG_CONFIRM));
	peer_recv_all(e, 30);
}

SCENARIO(urgent_received, 0)
{
	int mark = -1;

	peer_send(e, 10);
	peer_send_flags(e, 1, MSG_OOB);
	peer_send(e, 10);
	arrive(e, 20);
	rest();
	struct pollfd p = {e->fd, POLLIN | POLLPRI, 0};

	CALL(poll(&p, 1, 1000));
	say("  %s", POLLED((unsigned)p.revents));
	RECV(e, recv(e->fd, room, 100, 0));
	CALL(ioctl(e->fd, SIOCATMARK, &mark));
	say("  mark %d", mark);
	CALL(recv(e->fd, room, 100, MSG_OOB));
	took(e, room, 1);
	RECV(e, recv(e->fd, room, 100, 0));
	CALL(recv(e->fd, room, 100, MSG_OOB | MSG_DONTWAIT));
	peer_send(e, 10);
	arrive(e, 10);
	RECV(e, recv(e->fd, room, 100, 0));
	SEND(e, 10, send(e->fd, room, 10, 0));
	peer_recv_all(e, 10);
}

/* The byte, and no look for a second one. */
SCENARIO(urgent_received_by_many, 0)
{
	struct iovec v[2] = {{room, 10}, {room + 10, 10}};
	struct mmsghdr m[2] = {{.msg_hdr = {.msg_iov = &v[0], .msg_iovlen = 1}}, {.msg_hdr = {.msg_iov = &v[1], .msg_iovlen = 1}}};

	peer_send_flags(e, 10, MSG_OOB);
	arrive(e, 9);
	rest();
	CALL(recvmmsg(e->fd, m, 2, MSG_OOB, NULL));
	RECV(e, recv(e->fd, room, 100, MSG_DONTWAIT));
	e->taken++;
	CALL(recv(e->fd, room, 100, MSG_DONTWAIT));
}

SCENARIO(urgent_inline, 0)
{
	int on = 1;

	MUST(setsockopt(e->fd, SOL_SOCKET, SO_OOBINLINE, &on, sizeof(on)));
	peer_send(e, 10);
	peer_send_flags(e, 1, MSG_OOB);
	peer_send(e, 10);
	arrive(e, 20);
	rest();
	RECV(e, recv(e->fd, room, 100, 0));
	CALL(sockatmark(e->fd));
	RECV(e, recv(e->fd, room, 100, 0));
	CALL(recv(e->fd, room, 100, MSG_OOB));
}

SCENARIO(urgent_sent, 0)
{
	SEND(e, 10, send(e->fd, room, 10, 0));
	SEND(e, 1, send(e->fd, room, 1, MSG_OOB));
	SEND(e, 10, send(e->fd, room, 10, 0));
	rest();
	peer_poll(e, POLLIN | POLLPRI, 1000);
	peer_recv(e, 10, 0);
	peer_recv(e, 1, MSG_OOB);
	peer_recv(e, 10, 0);
}

SCENARIO(urgent_signal, 0)
{
	on_signal(SIGURG, 0);
	MUST(fcntl(e->fd, F_SETOWN, getpid()));
	peer_send_flags(e, 1, MSG_OOB);
	rest();
	say("signals %d", (int)signals);
	CALL(recv(e->fd, room, 1, MSG_OOB));
	took(e, room, 1);
	peer_send(e, 10);
	arrive(e, 10);
	RECV(e, recv(e->fd, room, 10, 0));
}

#ifndef SO_PEEK_OFF
#define SO_PEEK_OFF 42
#endif
SCENARIO(peek_from_an_offset, 0)
{
	int offset = 5;

	peer_send(e, 100);
	arrive(e, 100);
	if (CALL(setsockopt(e->fd, SOL_SOCKET, SO_PEEK_OFF, &offset, sizeof(offset))) < 0)
		return;
	CALL(recv(e->fd, room, 10, MSG_PEEK));
	CALL(recv(e->fd, room, 1000, MSG_PEEK));
	RECV(e, recv(e->fd, room, 50, 0));
	RECV(e, recv(e->fd, room, 1000, 0));
}
