/* Bad pointers, as far as the kernel says what happens; lengths at the end of a mapping. */
#define FAMILY "addresses"
#include "datagrams.h"

#include <limits.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/select.h>
#include <sys/sendfile.h>

/* Volatile, so that the compiler doesn't see what it is. */
static void *volatile nowhere = (void *)16;

/* The last bytes before a page that isn't there. */
static unsigned char *edge(size_t bytes)
{
	unsigned char *pages = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	MUST(pages == MAP_FAILED ? -1 : 0);
	MUST(mprotect(pages + 4096, 4096, PROT_NONE));
	return pages + 4096 - bytes;
}

SCENARIO(send_from_nowhere, 0)
{
	CALL(send(e->fd, nowhere, 10, 0));
	CALL(write(e->fd, nowhere, 10));
	CALL(send(e->fd, nowhere, 20000, MSG_DONTWAIT));
	struct iovec v = {nowhere, 10};

	CALL(writev(e->fd, &v, 1));
	CALL(writev(e->fd, nowhere, 1));
	CALL(sendmsg(e->fd, nowhere, 0));
	SEND(e, 10, send(e->fd, room, 10, 0));
	peer_recv_all(e, 10);
}

SCENARIO(receive_nowhere, 0)
{
	struct iovec v = {nowhere, 10};

	CALL(recv(e->fd, nowhere, 10, MSG_DONTWAIT));
	peer_send(e, 100);
	arrive(e, 100);
	CALL(recv(e->fd, nowhere, 10, 0));
	CALL(read(e->fd, nowhere, 10));
	CALL(recv(e->fd, nowhere, 10, MSG_PEEK));
	CALL(readv(e->fd, &v, 1));
	CALL(readv(e->fd, nowhere, 1));
	CALL(recvmsg(e->fd, nowhere, 0));
	RECV(e, recv(e->fd, room, 1000, 0));
}

SCENARIO(edge_of_a_mapping, 0)
{
	unsigned char *at = edge(10);

	peer_send(e, 8);
	arrive(e, 8);
	took(e, at, CALL(recv(e->fd, at, 5000, 0)));
	peer_send(e, 100);
	arrive(e, 100);
	CALL(recv(e->fd, at, 50, 0));
	RECV(e, recv(e->fd, room, 1000, 0));
	fill(e, at, 10);
	CALL(send(e->fd, at, 50, 0));
	gave(e, CALL(send(e->fd, at, 10, 0)));
	peer_recv_all(e, 10);
	peer_send(e, 5);
	arrive(e, 5);
	RECV(e, recv(e->fd, room, 1000, 0));
}

SCENARIO(read_only_memory, 0)
{
	unsigned char *page = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	peer_send(e, 10);
	arrive(e, 10);
	CALL(recv(e->fd, page, 10, 0));
	CALL(read(e->fd, page, 10));
	RECV(e, recv(e->fd, room, 10, 0));
}

SCENARIO(good_vector_then_bad, 0)
{
	struct iovec v[2] = {{room, 10}, {nowhere, 10}};

	peer_send(e, 8);
	arrive(e, 8);
	RECV(e, readv(e->fd, v, 2));
	peer_send(e, 15);
	arrive(e, 15);
	CALL(readv(e->fd, v, 2));
	RECV(e, recv(e->fd, room, 1000, 0));
	fill(e, room, 10);
	CALL(writev(e->fd, v, 2));
	SEND(e, 10, send(e->fd, room, 10, 0));
	peer_recv_all(e, 10);
}

SCENARIO(bad_poll, 0)
{
	CALL(poll(nowhere, 1, 0));
	CALL(select(e->fd + 1, nowhere, NULL, NULL, NULL));
	int set = (int)MUST(epoll_create1(0));
	volatile int places = -1;

	struct epoll_event event = {EPOLLIN, {.fd = 1}};

	MUST(epoll_ctl(set, EPOLL_CTL_ADD, e->fd, &event));
	peer_send(e, 1);
	arrive(e, 1);
	CALL(epoll_wait(set, nowhere, 1, 0));
	CALL(epoll_wait(set, &event, 0, 0));
	CALL(epoll_wait(set, &event, places, 0));
	CALL(epoll_wait(set, &event, 1, 0));
	CALL(epoll_ctl(set, EPOLL_CTL_MOD, e->fd, nowhere));
	CALL(poll(NULL, 0, 0));
	CALL(select(-1, NULL, NULL, NULL, NULL));
	CALL(ioctl(e->fd, FIONREAD, nowhere));
	CALL(getsockopt(e->fd, SOL_SOCKET, SO_ERROR, nowhere, &(socklen_t){4}));
	close(set);
}

SCENARIO(bad_waits, 0)
{
	int set = (int)MUST(epoll_create1(0));
	struct epoll_event event = {EPOLLIN, {.fd = 1}};
	volatile int many = INT_MAX;

	MUST(epoll_ctl(set, EPOLL_CTL_ADD, e->fd, &event));
	for (int i = 0; i < 2; i++) {
		CALL(epoll_wait(set, &event, many, 0));
		CALL(epoll_pwait(set, &event, many / (int)sizeof(event) + 1, 0, NULL));
#ifdef __GLIBC__
		if (sizeof(long) == 8) /* else libc looks at the time */
			CALL(epoll_pwait2(set, &event, 1, nowhere, NULL));
		CALL(epoll_pwait2(set, &event, many, NULL, NULL));
#endif
		peer_send(e, 1);
		arrive(e, 1);
	}
	CALL(epoll_wait(set, &event, 1, 0));
	close(set);
}

/* Only counted. */
SCENARIO(look_at_nowhere, 0)
{
	peer_send(e, 100);
	arrive(e, 100);
	CALL(recv(e->fd, NULL, 30, MSG_PEEK | MSG_TRUNC));
	CALL(recv(e->fd, NULL, 300, MSG_PEEK | MSG_TRUNC));
	RECV(e, recv(e->fd, room, 40, 0));
	CALL(recv(e->fd, NULL, 300, MSG_PEEK | MSG_TRUNC));
	RECV(e, recv(e->fd, room, 100, 0));
}

SCENARIO(names_nowhere, 0)
{
	int file = file_of(100);

	CALL(connect(e->fd, nowhere, 16));
	CALL(connect(e->fd, nowhere, 2));
	CALL(sendfile(e->fd, file, nowhere, 10));
	CALL(lseek(file, 0, SEEK_CUR));
	SEND(e, 10, send(e->fd, room, 10, 0));
	peer_recv_all(e, 10);
	close(file);
}

/* The kernel looks at where to put an address when it has taken the bytes. */
SCENARIO(senders_nowhere, 0)
{
	struct sockaddr_storage from;
	socklen_t length = (socklen_t)-5, *volatile none = NULL;
	volatile size_t garbage = 100000;

	peer_send(e, 40);
	arrive(e, 40);
	CALL(recvfrom(e->fd, room, 10, 0, (struct sockaddr *)&from, none));
	CALL(recvfrom(e->fd, room, 10, 0, (struct sockaddr *)&from, nowhere));
	CALL(recvfrom(e->fd, room, 10, 0, (struct sockaddr *)&from, &length));
	e->taken += 30;
	RECV(e, recvfrom(e->fd, room, 10, 0, NULL, nowhere));
	CALL(sendto(e->fd, room, 10, 0, nowhere, 16));
	CALL(sendto(e->fd, room, 10, 0, (struct sockaddr *)&from, (socklen_t)garbage));
	/* Of no address the length means nothing. */
	SEND(e, 10, sendto(e->fd, room, 10, 0, NULL, (socklen_t)garbage));
	SEND(e, 20, send(e->fd, room, 20, 0));
	SEND(e, 10, sendto(e->fd, room, 10, 0, NULL, (socklen_t)-1));
	peer_recv_all(e, 40);
}

SCENARIO(many_messages_nowhere, 0)
{
	struct iovec v = {room, 10};
	struct mmsghdr m = {.msg_hdr = {.msg_iov = &v, .msg_iovlen = 1}};
	volatile int none = -1;

	CALL(sendmmsg(none, nowhere, 1, 0));
	CALL(sendmmsg(STDOUT_FILENO, nowhere, 1, 0));
	CALL(sendmmsg(e->fd, nowhere, 1, 0));
	peer_send(e, 10);
	arrive(e, 10);
	CALL(recvmmsg(e->fd, &m, 1, 0, nowhere));
	CALL(recvmmsg(none, &m, 1, 0, nowhere));
	CALL(recvmmsg(STDOUT_FILENO, &m, 1, 0, nowhere));
	RECV(e, recv(e->fd, room, 100, 0));
}

static void lose(struct end *e, long count, void *to, int flags)
{
	peer_gives(e, count);
	await(e);
	CALL(recv(e->fd, to, 30, flags));
	CALL(recv(e->fd, room, 30, MSG_DONTWAIT));
}

static void *volatile far_up = (void *)-4096l;

/* The first piece is good: what fits in it comes, and what does not is lost. */
static void lose_part(struct end *e, long count, void *to)
{
	struct iovec v[2] = {{room, 10}, {to, 100}};
	struct sockaddr_storage from;
	struct msghdr m = {.msg_iov = v, .msg_iovlen = 2, .msg_name = &from, .msg_namelen = sizeof(from)};

	for (int i = 0; i < 2; i++) {
		peer_gives(e, count);
		await(e);
		if (i)
			CALL(readv(e->fd, v, 2));
		else
			CALL(recvmsg(e->fd, &m, 0));
		CALL(recv(e->fd, room, 30, MSG_DONTWAIT));
	}
}

SCENARIO(datagrams_nowhere, UNOPENED | ITS_OWN)
{
	struct iovec v = {room, 10};
	struct mmsghdr m = {.msg_hdr = {.msg_iov = &v, .msg_iovlen = 1}};

	open_udp(e);
	connect_udp(e);
	exchange(e, 30);
	CALL(send(e->fd, nowhere, 10, 0));
	CALL(write(e->fd, nowhere, 10));
	CALL(sendto(e->fd, nowhere, 10, 0, at(&theirs), theirs.length));
	CALL(sendto(e->fd, room, 1, 0, nowhere, 16));
	CALL(recv(e->fd, nowhere, 10, MSG_DONTWAIT));
	if (sizeof(long) == 8) /* else libc looks at the time */
		CALL(recvmmsg(e->fd, &m, 1, MSG_DONTWAIT, nowhere));
	lose(e, 100, nowhere, 0);
	lose(e, 100, nowhere, MSG_TRUNC);
	lose(e, 100, nowhere, MSG_PEEK);
	lose(e, 0, nowhere, 0);
	lose(e, 10, NULL, 0);
	if (sizeof(long) == 8) /* else it is an address as others */
		lose(e, 10, far_up, 0);
	lose_part(e, 10, nowhere);
	lose_part(e, 30, nowhere);
	if (sizeof(long) == 8)
		lose_part(e, 10, far_up);
}

/* A name's length below zero. */
SCENARIO(named_by_less_than_nothing, 0)
{
	struct sockaddr_storage name = {0};
	struct iovec v = {room, 10};
	struct msghdr m = {.msg_name = &name, .msg_namelen = (socklen_t)-1, .msg_iov = &v, .msg_iovlen = 1};

	peer_send(e, 10);
	arrive(e, 10);
	CALL(sendmsg(e->fd, &m, 0));
	CALL(recvmsg(e->fd, &m, 0));
	RECV(e, recv(e->fd, room, 100, 0));
}
