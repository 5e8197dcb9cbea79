/* The same calls by syscall(). */
#define FAMILY "raw"
#include "oracle.h"
#include "peer.h"
#include "sets.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/select.h>
#include <sys/syscall.h>

SCENARIO(transfers, 0)
{
	struct iovec v[2] = {{room, 10}, {room + 10, 90}};
	struct msghdr m = {.msg_iov = v, .msg_iovlen = 2};

	for (int i = 0; i < 3; i++) {
		SEND(e, 100, syscall(SYS_write, e->fd, room, 100));
		SEND(e, 100, syscall(SYS_sendto, e->fd, room, 100, 0, NULL, 0));
		SEND(e, 100, syscall(SYS_writev, e->fd, v, 2));
		SEND(e, 100, syscall(SYS_sendmsg, e->fd, &m, 0));
		peer_recv_all(e, 400);
		peer_send(e, 400);
		arrive(e, 400);
		RECV(e, syscall(SYS_read, e->fd, room, 100));
		RECV(e, syscall(SYS_recvfrom, e->fd, room, 100, 0, NULL, NULL));
		RECV(e, syscall(SYS_readv, e->fd, v, 2));
		RECV(e, syscall(SYS_recvmsg, e->fd, &m, 0));
		CALL(syscall(SYS_recvfrom, e->fd, room, 100, MSG_DONTWAIT, NULL, NULL));
	}
}

SCENARIO(mixed_with_symbols, 0)
{
	peer_send(e, 100);
	arrive(e, 100);
	for (int i = 0; i < 5; i++) {
		RECV(e, syscall(SYS_read, e->fd, room, 10));
		RECV(e, recv(e->fd, room, 10, 0));
	}
	SEND(e, 10, send(e->fd, room, 10, 0));
	SEND(e, 10, syscall(SYS_write, e->fd, room, 10));
	SEND(e, 10, write(e->fd, room, 10));
	peer_recv_all(e, 30);
}

SCENARIO(waits, 0)
{
	struct pollfd p = {e->fd, POLLIN, 0};
	struct epoll_event event = {EPOLLIN, {.u64 = 7}};
	struct timespec t = {5, 0};
	int set = (int)CALL(syscall(SYS_epoll_create1, 0) >= 0) ? new_set() : -1, unread = 0;

	CALL(syscall(SYS_epoll_ctl, set, EPOLL_CTL_ADD, e->fd, &event));
	later(30);
	peer_send(e, 10);
	CALL(syscall(SYS_poll, &p, 1, 5000));
	peer_wait();
	CALL(syscall(SYS_epoll_wait, set, &event, 1, 1000));
	CALL(syscall(SYS_ioctl, e->fd, FIONREAD, &unread));
	say("  %d", unread);
	RECV(e, syscall(SYS_read, e->fd, room, 100));
	later(30);
	peer_send(e, 10);
	CALL(syscall(SYS_ppoll, &p, 1, &t, NULL, 8));
	peer_wait();
	RECV(e, recv(e->fd, room, 100, 0));
	later(30);
	peer_send(e, 10);
	CALL(syscall(SYS_epoll_pwait, set, &event, 1, 5000, NULL, 8));
	peer_wait();
	RECV(e, recv(e->fd, room, 100, 0));
	fd_set in;

	FD_ZERO(&in);
	FD_SET(e->fd, &in);
	later(30);
	peer_send(e, 10);
	CALL(syscall(SYS_pselect6, e->fd + 1, &in, NULL, NULL, &t, NULL));
	peer_wait();
	RECV(e, recv(e->fd, room, 100, 0));
}

SCENARIO(closing, 0)
{
	int twin = (int)MUST(syscall(SYS_dup, e->fd));

	SEND(e, 10, send(twin, room, 10, 0));
	peer_recv_all(e, 10);
	CALL(syscall(SYS_close, twin));
	CALL(syscall(SYS_fcntl, e->fd, F_SETFL, O_NONBLOCK | O_RDWR));
	CALL(recv(e->fd, room, 10, 0));
	CALL(syscall(SYS_shutdown, e->fd, SHUT_WR));
	peer_drain(e);
	CALL(syscall(SYS_close, e->fd));
	CALL(send(e->fd, room, 10, MSG_NOSIGNAL));
}

SCENARIO(closing_the_last, 0)
{
	struct end other;
	int was = e->fd;

	CALL(syscall(SYS_close, e->fd));
	peer_drain(e);
	open_end(&other, AF_INET, false);
	SEND(&other, 10, send(other.fd, room, 10, 0));
	peer_recv_all(&other, 10);
	CALL(syscall(SYS_close_range, other.fd, other.fd, 0));
	peer_drain(&other);
	(void)was;
}

/* The kernel tells what is left of the time; libc's functions hide that. */
SCENARIO(time_left, 0)
{
	struct pollfd p = {e->fd, POLLIN, 0};
	struct timespec t = {0, 20000000};
	static const struct timespec unwritable = {0, 20000000};
	fd_set in;

	CALL(syscall(SYS_ppoll, &p, 1, &t, NULL, 8));
	say("  left %ld %ld", (long)t.tv_sec, (long)t.tv_nsec);
	t = (struct timespec){9, 0};
	peer_send(e, 10);
	arrive(e, 10);
	CALL(syscall(SYS_ppoll, &p, 1, &t, NULL, 8));
	say("  left %d", t.tv_sec == 8);
	t = (struct timespec){INT64_C(1) << (sizeof(t.tv_sec) * 8 - 4), 0}; /* for ever */
	CALL(syscall(SYS_ppoll, &p, 1, &t, NULL, 8));
	say("  left %d", t.tv_sec > 1000000);
	RECV(e, syscall(SYS_read, e->fd, room, 100));
	CALL(syscall(SYS_ppoll, &p, 1, &unwritable, NULL, 8));
	t = (struct timespec){0, 20000000};
	FD_ZERO(&in);
	FD_SET(e->fd, &in);
	CALL(syscall(SYS_pselect6, e->fd + 1, &in, NULL, NULL, &t, NULL));
	say("  left %ld %ld", (long)t.tv_sec, (long)t.tv_nsec);
}
