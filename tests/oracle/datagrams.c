/* UDP: each scenario has one socket, the peer another. One datagram after the other, and waiting for it. */
#define FAMILY "datagrams"
#include "datagrams.h"

#include <aio.h>
#include <linux/aio_abi.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/select.h>
#include <sys/syscall.h>
#include <sys/time.h>

static void sizes(struct end *e)
{
	static const int size[] = {1, 0, 8, 64, 1000, 1472, 1473, 9000, 40000, 65000, 65001, 65507, 3};

	for (size_t i = 0; i < sizeof(size) / sizeof(size[0]); i++) {
		GIVE(e, (size_t)size[i], sendto(e->fd, room, (size_t)size[i], 0, at(&theirs), theirs.length));
		peer_takes(e, size[i]);
		peer_gives(e, size[i]);
		await(e);
		TAKE(e, recv(e->fd, room, ROOM, 0));
	}
}

/* The same by sockets of IPv6, to an address of its own and to a mapped one. */
#define BY_IPV6(title, steps)                                                                                                              \
	SCENARIO(title##_v6, UNOPENED | ITS_OWN)                                                                                           \
	{                                                                                                                                  \
		open_with(e, AF_INET6, false, NULL);                                                                                       \
		steps(e);                                                                                                                  \
	}                                                                                                                                  \
	SCENARIO(title##_mapped, UNOPENED | ITS_OWN)                                                                                       \
	{                                                                                                                                  \
		open_with(e, AF_INET6, true, NULL);                                                                                        \
		steps(e);                                                                                                                  \
	}

SCENARIO(of_any_size, UNOPENED | ITS_OWN)
{
	open_udp(e);
	sizes(e);
	GIVE(e, 65508, sendto(e->fd, room, 65508, 0, at(&theirs), theirs.length));
	GIVE(e, 100000, sendto(e->fd, room, 100000, 0, at(&theirs), theirs.length));
}

BY_IPV6(of_any_size, sizes)

SCENARIO(truncated, UNOPENED | ITS_OWN)
{
	struct iovec iov[2] = {{room, 3}, {room + 3, 4}};
	struct msghdr message = {.msg_iov = iov, .msg_iovlen = 2};

	open_udp(e);
	for (int i = 0; i < 3; i++) {
		peer_gives_many(e, 100, 6);
		await(e);
		TAKE(e, recv(e->fd, room, 10, 0));
		LOOK(e, recv(e->fd, room, 10, MSG_PEEK));
		CALL(recv(e->fd, room, 10, MSG_TRUNC | MSG_PEEK));
		CALL(recv(e->fd, room, 10, MSG_TRUNC));
		e->taken++;
		TAKE(e, recvmsg(e->fd, &message, 0));
		say("truncated: %d", (message.msg_flags & MSG_TRUNC) != 0);
		CALL(recvmsg(e->fd, &message, MSG_TRUNC));
		say("truncated: %d", (message.msg_flags & MSG_TRUNC) != 0);
		e->taken++;
		TAKE(e, recv(e->fd, room, 0, 0));
		TAKE(e, recv(e->fd, room, 100, 0));
		CALL(recv(e->fd, room, 100, MSG_DONTWAIT));
	}
}

SCENARIO(peek_and_pending, UNOPENED | ITS_OWN)
{
	int pending = -1;

	open_udp(e);
	CALL(ioctl(e->fd, FIONREAD, &pending));
	say("pending %d", pending);
	for (int i = 0; i < 4; i++) {
		peer_gives_many(e, 50 + i, 2);
		await(e);
		CALL(ioctl(e->fd, FIONREAD, &pending));
		say("pending %d", pending);
		LOOK(e, recv(e->fd, room, ROOM, MSG_PEEK));
		LOOK(e, recv(e->fd, room, ROOM, MSG_PEEK));
		TAKE(e, recv(e->fd, room, ROOM, 0));
		LOOK(e, recv(e->fd, room, ROOM, MSG_PEEK));
		TAKE(e, recv(e->fd, room, ROOM, 0));
		CALL(recv(e->fd, room, ROOM, MSG_PEEK | MSG_DONTWAIT));
	}
}

static void show_name(const struct sockaddr_storage *name, socklen_t length, socklen_t room_for)
{
	say("length %u, theirs: %d", (unsigned)length, memcmp(name, &theirs.address, length < room_for ? length : room_for) == 0);
}

static void names_of(struct end *e)
{
	struct sockaddr_storage name;
	socklen_t length = sizeof(name);
	struct iovec iov = {room, ROOM};
	struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1, .msg_name = &name, .msg_namelen = sizeof(name)};

	for (int i = 0; i < 3; i++) {
		peer_gives_many(e, 20, 4);
		await(e);
		memset(&name, 0xff, sizeof(name));
		length = sizeof(name);
		TAKE(e, recvfrom(e->fd, room, ROOM, 0, (struct sockaddr *)&name, &length));
		show_name(&name, length, sizeof(name));
		memset(&name, 0xff, sizeof(name));
		length = 5;
		TAKE(e, recvfrom(e->fd, room, ROOM, 0, (struct sockaddr *)&name, &length));
		show_name(&name, length, 5);
		say("untouched: %d", ((unsigned char *)&name)[5] == 0xff);
		message.msg_namelen = sizeof(name);
		TAKE(e, recvmsg(e->fd, &message, 0));
		show_name(&name, message.msg_namelen, sizeof(name));
		message.msg_namelen = 0;
		TAKE(e, recvmsg(e->fd, &message, 0));
		say("length %u, control %zu, flags %x", (unsigned)message.msg_namelen, (size_t)message.msg_controllen,
		    (unsigned)message.msg_flags);
	}
}

SCENARIO(names, UNOPENED | ITS_OWN)
{
	open_udp(e);
	names_of(e);
}

BY_IPV6(names, names_of)

SCENARIO(connected, UNOPENED | ITS_OWN)
{
	struct iovec iov[2] = {{room, 10}, {room + 10, 20}};

	open_udp(e);
	CALL(send(e->fd, room, 5, 0));
	connect_udp(e);
	for (int i = 0; i < 20; i++) {
		GIVE(e, 30, send(e->fd, room, 30, 0));
		peer_takes(e, 30);
		GIVE(e, 31, write(e->fd, room, 31));
		peer_takes(e, 31);
		GIVE(e, 30, writev(e->fd, iov, 2));
		peer_takes(e, 30);
		GIVE(e, 32, sendto(e->fd, room, 32, 0, at(&theirs), theirs.length));
		peer_takes(e, 32);
		peer_gives_many(e, 25, 3);
		await(e);
		TAKE(e, read(e->fd, room, ROOM));
		TAKE(e, readv(e->fd, iov, 2));
		CALL(read(e->fd, room, 0));
		TAKE(e, recv(e->fd, room, ROOM, 0));
	}
}

SCENARIO(empty_ones, UNOPENED | ITS_OWN)
{
	struct iovec iov = {room, 0};
	struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1}, bare = {0};

	open_udp(e);
	connect_udp(e);
	exchange(e, 20);
	CALL(send(e->fd, room, 0, 0));
	peer_takes(e, 0);
	CALL(write(e->fd, room, 0));
	peer_takes(e, 0);
	CALL(sendmsg(e->fd, &message, 0));
	peer_takes(e, 0);
	CALL(sendmsg(e->fd, &bare, 0));
	peer_takes(e, 0);
	e->sent += 4;
	GIVE(e, 9, send(e->fd, room, 9, 0));
	peer_takes(e, 9);
	peer_gives_many(e, 0, 3);
	await(e);
	TAKE(e, recv(e->fd, room, ROOM, 0));
	TAKE(e, recvmsg(e->fd, &message, 0));
	TAKE(e, read(e->fd, room, ROOM));
	CALL(recv(e->fd, room, ROOM, MSG_DONTWAIT));
}

/* Of nothing a vector sends nothing. */
SCENARIO(empty_pieces, UNOPENED | ITS_OWN)
{
	struct iovec empty[2] = {{room, 0}, {room, 0}};
	struct msghdr message = {.msg_iov = empty, .msg_iovlen = 2};

	open_udp(e);
	connect_udp(e);
	exchange(e, 30);
	CALL(writev(e->fd, empty, 2));
	CALL(writev(e->fd, empty, 1));
	CALL(pwritev2(e->fd, empty, 2, -1, 0));
	GIVE(e, 7, send(e->fd, room, 7, 0));
	peer_takes(e, 100);
	GIVE(e, 0, sendmsg(e->fd, &message, 0));
	peer_takes(e, 100);
}

SCENARIO(refused, UNOPENED | ITS_OWN)
{
	int error = 0;
	socklen_t size = sizeof(error);

	open_udp(e);
	connect_udp(e);
	exchange(e, 40);
	GIVE(e, 30, send(e->fd, room, 30, 0));
	quietly();
	peer_close(e);
	rest();
	CALL(send(e->fd, room, 30, 0));
	rest();
	CALL(send(e->fd, room, 30, 0));
	CALL(send(e->fd, room, 30, 0));
	rest();
	CALL(recv(e->fd, room, 30, MSG_DONTWAIT));
	CALL(recv(e->fd, room, 30, MSG_DONTWAIT));
	CALL(send(e->fd, room, 30, 0));
	rest();
	CALL(getsockopt(e->fd, SOL_SOCKET, SO_ERROR, &error, &size));
	say("error %d", error);
	CALL(send(e->fd, room, 30, 0));
	rest();
	struct pollfd ready = {e->fd, POLLIN | POLLOUT, 0};

	CALL(poll(&ready, 1, 0));
	say("%s", POLLED((unsigned)ready.revents));
}

/* A socket that nobody is behind any more is nobody's, connected or not. */
/* What the first one sent comes before what the next one sends from the same address. */
SCENARIO(closed_with_some_untaken_and_opened_again, UNOPENED | ITS_OWN)
{
	open_udp(e);
	for (int i = 0; i < 12; i++) {
		/* So many before that the flow is just moved, and later ones. */
		for (int k = 0; k < 2 + i; k++) {
			put_one(e, 10);
			quietly();
			peer_takes(e, 10);
			pause_us(1000);
		}
		put_one(e, 30);
		CALL(close(e->fd));
		e->fd = (int)MUST(socket(own.address.ss_family, SOCK_DGRAM, 0));
		CALL(bind(e->fd, at(&own), own.length));
		put_one(e, 50);
		peer_takes(e, 30);
		peer_takes(e, 50);
	}
}

SCENARIO(closed_and_opened_again, UNOPENED | ITS_OWN)
{
	open_udp(e);
	exchange(e, 30);
	for (int i = 0; i < 3; i++) {
		struct peer_order order = {.does = PEER_UDP_OPEN, .number = e->number, .length = theirs.length, .address = theirs.address};

		quietly();
		peer_close(e);
		rest();
		GIVE(e, 10, sendto(e->fd, room, 10, 0, at(&theirs), theirs.length));
		rest();
		quietly();
		peer_ask(order);
		e->sent = e->taken = 0;
		exchange(e, 30);
	}
}

SCENARIO(does_not_wait, UNOPENED | ITS_OWN)
{
	struct timeval limit = {0, 120000};

	open_udp(e);
	CALL(recv(e->fd, room, ROOM, MSG_DONTWAIT));
	nonblocking(e->fd, true);
	CALL(recv(e->fd, room, ROOM, 0));
	peer_gives_many(e, 10, 1);
	await(e);
	TAKE(e, recv(e->fd, room, ROOM, 0));
	CALL(recv(e->fd, room, ROOM, 0));
	nonblocking(e->fd, false);
	MUST(setsockopt(e->fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)));
	uint64_t begin = now_ms();

	CALL(recv(e->fd, room, ROOM, 0));
	say("waited: %d", now_ms() - begin >= 100);
	later(30);
	peer_gives(e, 33);
	TAKE(e, recv(e->fd, room, ROOM, 0));
	peer_wait();
}

SCENARIO(waits, UNOPENED | ITS_OWN)
{
	open_udp(e);
	for (int i = 0; i < 6; i++) {
		later(1 + i % 3 * 20);
		peer_gives(e, 40 + i);
		TAKE(e, recv(e->fd, room, ROOM, 0));
		peer_wait();
	}
}

SCENARIO(interrupted, UNOPENED | ITS_OWN)
{
	open_udp(e);
	on_signal(SIGUSR1, 0);
	later(40);
	peer_signal(SIGUSR1);
	CALL(recv(e->fd, room, ROOM, 0));
	peer_wait();
	say("signals %d", signals);
	on_signal(SIGUSR1, SA_RESTART);
	later(40);
	peer_signal(SIGUSR1);
	peer_wait();
	later(40);
	peer_gives(e, 12);
	TAKE(e, recv(e->fd, room, ROOM, 0));
	peer_wait();
}

SCENARIO(polled, UNOPENED | ITS_OWN)
{
	struct pollfd ready = {.events = POLLIN | POLLOUT};

	open_udp(e);
	ready.fd = e->fd;
	for (int i = 0; i < 5; i++) {
		CALL(poll(&ready, 1, 0));
		say("%s", POLLED((unsigned)ready.revents));
		ready.events = POLLIN;
		CALL(poll(&ready, 1, 30));
		later(1 + i * 10);
		peer_gives(e, 10);
		CALL(poll(&ready, 1, 2000));
		say("%s", POLLED((unsigned)ready.revents));
		peer_wait();
		CALL(poll(&ready, 1, 2000));
		TAKE(e, recv(e->fd, room, ROOM, 0));
		ready.events = POLLIN | POLLOUT;
	}
}

SCENARIO(selected, UNOPENED | ITS_OWN)
{
	open_udp(e);
	for (int i = 0; i < 5; i++) {
		struct timeval limit = {2, 0}, none = {0, 0};
		fd_set set;

		FD_ZERO(&set);
		FD_SET(e->fd, &set);
		CALL(select(e->fd + 1, &set, NULL, NULL, &none));
		FD_SET(e->fd, &set);
		later(1 + i * 10);
		peer_gives(e, 10);
		CALL(select(e->fd + 1, &set, NULL, NULL, &limit));
		say("set: %d", FD_ISSET(e->fd, &set) != 0);
		peer_wait();
		TAKE(e, recv(e->fd, room, ROOM, 0));
	}
}

static void in_a_set(struct end *e, uint32_t events)
{
	struct epoll_event event = {.events = events, .data.u64 = 7}, told[4];
	int set = (int)MUST(epoll_create1(0));

	MUST(epoll_ctl(set, EPOLL_CTL_ADD, e->fd, &event));
	for (int i = 0; i < 6; i++) {
		CALL(epoll_wait(set, told, 4, 0));
		later(1 + i % 3 * 15);
		peer_gives(e, 10);
		CALL(epoll_wait(set, told, 4, 2000));
		say("%s", EPOLLED(told[0].events));
		peer_wait();
		rest();
		CALL(epoll_wait(set, told, 4, 0));
		if (i % 2) {
			TAKE(e, recv(e->fd, room, ROOM, 0));
			TAKE(e, recv(e->fd, room, ROOM, MSG_DONTWAIT));
			CALL(recv(e->fd, room, ROOM, MSG_DONTWAIT));
		}
		if (events & EPOLLONESHOT) {
			CALL(epoll_wait(set, told, 4, 20));
			CALL(epoll_ctl(set, EPOLL_CTL_MOD, e->fd, &event));
		}
		if (!(events & EPOLLET) && i % 2 == 0)
			CALL(epoll_wait(set, told, 4, 0));
	}
	close(set);
}

SCENARIO(in_a_set_by_level, UNOPENED | ITS_OWN)
{
	open_udp(e);
	in_a_set(e, EPOLLIN);
}

SCENARIO(in_a_set_by_edge, UNOPENED | ITS_OWN)
{
	open_udp(e);
	in_a_set(e, EPOLLIN | EPOLLET);
}

struct waiter {
	int set, events;
};

static void *wait_in_thread(void *argument)
{
	struct waiter *w = argument;
	struct epoll_event event;

	w->events = epoll_wait(w->set, &event, 1, 8000);
	return NULL;
}

/* What it has been told of, and not read, it is told again: a registration that is changed is a new one. */
SCENARIO(changed_under_a_sleeper, UNOPENED | ITS_OWN)
{
	struct epoll_event event = {.events = EPOLLIN | EPOLLET}, told[4];
	struct waiter w = {.set = (int)MUST(epoll_create1(0))};

	open_udp(e);
	MUST(epoll_ctl(w.set, EPOLL_CTL_ADD, e->fd, &event));
	for (int i = 0; i < 4; i++) {
		pthread_t thread;

		peer_gives(e, 10);
		rest();
		CALL(epoll_wait(w.set, told, 4, 2000));
		MUST(-pthread_create(&thread, NULL, wait_in_thread, &w));
		settle_down();
		event.events = i % 2 ? EPOLLIN | EPOLLET : EPOLLIN;
		CALL(epoll_ctl(w.set, EPOLL_CTL_MOD, e->fd, &event));
		pthread_join(thread, NULL);
		say("told: %d", w.events);
		event.events = EPOLLIN | EPOLLET;
		CALL(epoll_ctl(w.set, EPOLL_CTL_MOD, e->fd, &event));
		TAKE(e, recv(e->fd, room, ROOM, 0));
		CALL(recv(e->fd, room, ROOM, MSG_DONTWAIT));
	}
	close(w.set);
}

/* The second comes while the first, which has woken the program, is unread. */
SCENARIO(in_a_set_one_behind_the_other, UNOPENED | ITS_OWN)
{
	struct epoll_event event = {.events = EPOLLIN | EPOLLET}, told[4];
	int set = (int)MUST(epoll_create1(0));

	open_udp(e);
	MUST(epoll_ctl(set, EPOLL_CTL_ADD, e->fd, &event));
	for (int i = 0; i < 4; i++) {
		later(30);
		peer_gives(e, 10);
		CALL(epoll_wait(set, told, 4, 2000));
		peer_wait();
		CALL(epoll_wait(set, told, 4, 0));
		peer_gives(e, 10);
		rest();
		CALL(epoll_wait(set, told, 4, i % 2 * 2000));
		say("%s", EPOLLED(told[0].events));
		CALL(epoll_wait(set, told, 4, 0));
		TAKE(e, recv(e->fd, room, ROOM, 0));
		TAKE(e, recv(e->fd, room, ROOM, 0));
		CALL(recv(e->fd, room, ROOM, MSG_DONTWAIT));
		CALL(epoll_wait(set, told, 4, 0));
	}
	close(set);
}

SCENARIO(in_a_set_once, UNOPENED | ITS_OWN)
{
	open_udp(e);
	in_a_set(e, EPOLLIN | EPOLLONESHOT);
}

SCENARIO(in_a_set_that_is_polled, UNOPENED | ITS_OWN)
{
	struct epoll_event event = {.events = EPOLLIN}, told;
	struct pollfd ready = {.events = POLLIN};

	open_udp(e);
	ready.fd = (int)MUST(epoll_create1(0));
	MUST(epoll_ctl(ready.fd, EPOLL_CTL_ADD, e->fd, &event));
	for (int i = 0; i < 4; i++) {
		later(1 + i * 15);
		peer_gives(e, 10);
		CALL(poll(&ready, 1, 2000));
		peer_wait();
		CALL(epoll_wait(ready.fd, &told, 1, 0));
		TAKE(e, recv(e->fd, room, ROOM, 0));
		CALL(poll(&ready, 1, 0));
	}
}

/* The socket lives on by another number, and the set goes on telling of it, beside the new one that has its number. */
SCENARIO(in_a_set_when_its_number_is_used_again, UNOPENED | ITS_OWN)
{
	struct epoll_event event = {.events = EPOLLIN, .data.u64 = 1}, told[4];
	int set = (int)MUST(epoll_create1(0)), kept, fresh;

	open_udp(e);
	MUST(epoll_ctl(set, EPOLL_CTL_ADD, e->fd, &event));
	kept = (int)MUST(dup(e->fd));
	fresh = (int)MUST(socket(AF_INET, SOCK_DGRAM, 0));
	MUST(dup2(fresh, e->fd));
	event.data.u64 = 2;
	CALL(epoll_ctl(set, EPOLL_CTL_ADD, e->fd, &event));
	CALL(epoll_ctl(set, EPOLL_CTL_MOD, e->fd, &event));
	close(fresh);
	fresh = e->fd;
	e->fd = kept;
	for (int i = 0; i < 4; i++) {
		CALL(recv(e->fd, room, ROOM, MSG_DONTWAIT));
		peer_gives(e, 10);
		rest();
		told[0] = (struct epoll_event){0};
		CALL(epoll_wait(set, told, 4, 500));
		say("%s, number %d", EPOLLED(told[0].events), (int)told[0].data.u64);
		TAKE(e, recv(e->fd, room, ROOM, 0));
		CALL(epoll_wait(set, told, 4, 0));
	}
	CALL(epoll_ctl(set, EPOLL_CTL_DEL, fresh, NULL));
	close(fresh);
	close(set);
}

/* The kernel's own asynchronous calls: a poll for the socket. */
SCENARIO(submitted_poll, UNOPENED | ITS_OWN)
{
	struct timespec limit = {3, 0};
	struct io_event event = {0};
	aio_context_t context = 0;
	struct iocb block = {.aio_lio_opcode = IOCB_CMD_POLL, .aio_buf = POLLIN}, *list[1] = {&block};

	open_udp(e);
	if (syscall(SYS_io_setup, 8, &context) < 0) {
		say("no io_setup here");
		return;
	}
	block.aio_fildes = (uint32_t)e->fd;
	CALL(syscall(SYS_io_submit, context, 1, list));
	later(40);
	peer_gives(e, 10);
	CALL(syscall(SYS_io_getevents, context, 1, 1, &event, &limit));
	peer_wait();
	TAKE(e, recv(e->fd, room, 100, MSG_DONTWAIT));
	CALL(syscall(SYS_io_destroy, context));
}

/* Those of POSIX: threads of the C library make them. */
SCENARIO(asynchronous_calls, UNOPENED | ITS_OWN)
{
	struct timespec limit = {3, 0};

	open_udp(e);
	for (int i = 0; i < 3; i++) {
		struct aiocb take = {.aio_fildes = e->fd, .aio_buf = room, .aio_nbytes = 1000};
		const struct aiocb *list[1] = {&take};

		MUST(aio_read(&take));
		later(40);
		peer_gives(e, 10);
		CALL(aio_suspend(list, 1, &limit));
		peer_wait();
		CALL(aio_error(&take));
		TAKE(e, aio_return(&take));
	}
}

SCENARIO(reopened, UNOPENED | ITS_OWN)
{
	open_udp(e);
	connect_udp(e);
	FILE *file = fdopen(e->fd, "r+");

	say("%d", freopen("/dev/null", "r+", file) == file);
	say("same number %d", fileno(file) == e->fd);
	CALL(write(e->fd, "nothing", 7));
	CALL(read(e->fd, room, 7));
	CALL(fputs("nothing", file) >= 0);
	CALL(fclose(file));
}
