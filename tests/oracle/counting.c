/* TCP_INQ: each receive tells how much it has left. */
#define FAMILY "counting"
#include "oracle.h"
#include "peer.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/epoll.h>

#ifndef TCP_INQ
#define TCP_INQ 36
#endif

static unsigned char control_room[256];

static void count_unread(const struct end *e, int on)
{
	CALL(setsockopt(e->fd, IPPROTO_TCP, TCP_INQ, &on, sizeof(on)));
}

static void show(const struct msghdr *m, size_t room_there)
{
	const struct cmsghdr *header = (const struct cmsghdr *)control_room;
	size_t data = m->msg_controllen > CMSG_LEN(0) ? m->msg_controllen - CMSG_LEN(0) : 0;
	int unread = 0;

	say("  flags %#x", (unsigned)m->msg_flags);
	if (m->msg_controllen == 0) {
		say("  no control data");
		return;
	}
	memcpy(&unread, CMSG_DATA(header), data < sizeof(unread) ? data : sizeof(unread));
	say("  room short of what it takes by %d, short of what it fills by %d", (int)(CMSG_LEN(sizeof(int)) - header->cmsg_len),
	    (int)(CMSG_SPACE(sizeof(int)) - m->msg_controllen));
	say("  level %d, type %d, unread %d, all of the room %d", header->cmsg_level, header->cmsg_type, unread,
	    m->msg_controllen == room_there);
}

/* With so much room for control data. */
static long receive_in(struct end *e, size_t count, int flags, size_t control)
{
	struct iovec v = {room, count};
	struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = control ? control_room : NULL, .msg_controllen = control};

	memset(control_room, 0, sizeof(control_room));
	long got = CALL(recvmsg(e->fd, &m, flags));

	if (flags & MSG_PEEK)
		peeked(e, room, got);
	else
		took(e, room, got);
	if (got >= 0)
		show(&m, control);
	return got;
}

static void receive(struct end *e, size_t count)
{
	receive_in(e, count, 0, sizeof(control_room));
}

static void end_comes(const struct end *e)
{
	struct pollfd p = {e->fd, POLLRDHUP, 0};

	CALL(poll(&p, 1, 5000));
	say("  %s", POLLED((unsigned)p.revents));
}

SCENARIO(in_parts, 0)
{
	count_unread(e, 1);
	peer_send(e, 1000);
	arrive(e, 1000);
	receive(e, 1);
	receive(e, 499);
	receive_in(e, 100, MSG_PEEK, sizeof(control_room));
	receive_in(e, 100, MSG_DONTWAIT | MSG_WAITALL, sizeof(control_room));
	RECV(e, recv(e->fd, room, 100, 0));
	receive(e, 1000);
	receive_in(e, 1000, MSG_DONTWAIT, sizeof(control_room));
	receive_in(e, 0, MSG_DONTWAIT, sizeof(control_room));
}

SCENARIO(little_room, 0)
{
	count_unread(e, 1);
	peer_send(e, 1000);
	arrive(e, 1000);
	receive_in(e, 10, 0, 0);
	receive_in(e, 10, 0, 1);
	receive_in(e, 10, 0, CMSG_LEN(0) - 1);
	receive_in(e, 10, 0, CMSG_LEN(0));
	receive_in(e, 10, 0, CMSG_LEN(0) + 1);
	receive_in(e, 10, 0, CMSG_LEN(sizeof(int)) - 1);
	receive_in(e, 10, 0, CMSG_LEN(sizeof(int)));
	receive_in(e, 10, 0, CMSG_SPACE(sizeof(int)));
	receive_in(e, 10, MSG_CMSG_CLOEXEC, CMSG_SPACE(sizeof(int)) + 1);
	receive_in(e, 10, MSG_TRUNC, sizeof(control_room));
}

/* The end counts as a byte, so that a program that waits for no more than it was told of reads it. */
SCENARIO(to_the_end, 0)
{
	count_unread(e, 1);
	peer_send(e, 100);
	arrive(e, 100);
	peer_shutdown(e, SHUT_WR);
	end_comes(e);
	receive(e, 40);
	receive(e, 60);
	receive(e, 60);
	receive(e, 60);
}

SCENARIO(after_the_end_was_read, 0)
{
	count_unread(e, 1);
	there_and_back(e, 100, 3);
	peer_shutdown(e, SHUT_WR);
	end_comes(e);
	receive(e, 60);
	SEND(e, 10, send(e->fd, room, 10, 0));
	peer_recv_all(e, 10);
	receive(e, 60);
}

SCENARIO(own_shutdown, 0)
{
	count_unread(e, 1);
	peer_send(e, 100);
	arrive(e, 100);
	CALL(shutdown(e->fd, SHUT_RD));
	receive(e, 40);
	receive(e, 60);
	receive(e, 60);
	peer_shutdown(e, SHUT_WR);
	rest();
	receive(e, 60);
}

SCENARIO(peer_closed, 0)
{
	count_unread(e, 1);
	peer_send(e, 100);
	arrive(e, 100);
	peer_close(e);
	end_comes(e);
	receive(e, 40);
	receive(e, 100);
	receive(e, 100);
}

SCENARIO(on_and_off, 0)
{
	int value = -1;
	socklen_t size = sizeof(value);

	peer_send(e, 100);
	arrive(e, 100);
	receive(e, 10);
	count_unread(e, 2);
	count_unread(e, -1);
	receive(e, 10);
	count_unread(e, 1);
	CALL(getsockopt(e->fd, IPPROTO_TCP, TCP_INQ, &value, &size));
	say("  %d", value);
	receive(e, 10);
	count_unread(e, 0);
	CALL(getsockopt(e->fd, IPPROTO_TCP, TCP_INQ, &value, &size));
	say("  %d", value);
	receive(e, 10);
}

/* From the beginning, as gRPC does: it is moved later. */
SCENARIO(from_the_beginning, UNOPENED)
{
	open_end_so(e, AF_INET, false, false, 0);
	count_unread(e, 1);
	warm_up(e);
	there_and_back(e, 100, 10);
	peer_send(e, 100);
	arrive(e, 100);
	receive(e, 30);
	receive(e, 100);
}

/* Unread bytes grow past what any ring holds, so a part waits in the kernel, before the ring or behind it. */
SCENARIO(more_than_a_ring, 0)
{
	/* Together less than any receive buffer holds. */
	static const int more[] = {10, 1000, 10000, 10000, 20000, 30000};
	int unread = 0;

	count_unread(e, 1);
	for (size_t i = 0; i < sizeof(more) / sizeof(more[0]); i++) {
		peer_send_all(e, more[i]);
		unread += more[i];
		arrive(e, unread);
		receive(e, 1);
		unread--;
	}
	receive_in(e, 50000, MSG_WAITALL, sizeof(control_room));
	receive_in(e, (size_t)unread - 50000, MSG_WAITALL, sizeof(control_room));
}

/* What it is for: no read in vain before the wait, and no event missed. */
SCENARIO(edges_without_reads_in_vain, 0)
{
	struct epoll_event event = {.events = EPOLLIN | EPOLLET | EPOLLRDHUP};
	int set = (int)MUST(epoll_create1(EPOLL_CLOEXEC));

	MUST(epoll_ctl(set, EPOLL_CTL_ADD, e->fd, &event));
	count_unread(e, 1);
	for (int i = 0; i < 20; i++) {
		peer_send(e, 100);
		arrive(e, 100);
		CALL(epoll_wait(set, &event, 1, 5000));
		receive(e, 60);
		receive(e, 100);
	}
	peer_send(e, 100);
	arrive(e, 100);
	peer_close(e);
	end_comes(e);
	CALL(epoll_wait(set, &event, 1, 5000));
	say("  %s", EPOLLED(event.events));
	receive(e, 100);
	receive(e, 100);
	close(set);
}

SCENARIO(by_many, 0)
{
	struct iovec v[2] = {{room, 30}, {room + 30, 30}};
	struct mmsghdr m[2] = {0};
	struct timespec limit = {5, 0};

	count_unread(e, 1);
	peer_send(e, 100);
	arrive(e, 100);
	for (int i = 0; i < 2; i++) {
		m[i].msg_hdr.msg_iov = &v[i];
		m[i].msg_hdr.msg_iovlen = 1;
		m[i].msg_hdr.msg_control = control_room + 128 * i;
		m[i].msg_hdr.msg_controllen = 128;
	}
	long got = CALL(recvmmsg(e->fd, m, 2, 0, &limit));

	for (int i = 0; i < got; i++) {
		struct cmsghdr *header = CMSG_FIRSTHDR(&m[i].msg_hdr);
		int unread = -1;

		took(e, v[i].iov_base, (long)m[i].msg_len);
		if (header)
			memcpy(&unread, CMSG_DATA(header), sizeof(unread));
		say("  unread %d", unread);
	}
	receive(e, 100);
}

/* The option is the socket's, so it holds for a child. */
SCENARIO(inherited, ALONE)
{
	count_unread(e, 1);
	there_and_back(e, 100, 2);
	peer_send(e, 100);
	arrive(e, 100);
	pid_t child = CHILD({
		receive(e, 30);
		receive(e, 30);
	});

	reap(child);
	e->taken += 60;
	receive(e, 30);
	receive(e, 30);
	there_and_back(e, 100, 5);
}
