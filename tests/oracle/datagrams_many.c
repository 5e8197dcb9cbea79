/* UDP: batches, other senders, other receivers, options, and processes. */
#define FAMILY "datagrams"
#include "datagrams.h"

#include <pthread.h>
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/select.h>
#include <sys/time.h>
#include <sys/wait.h>

#define BATCH 8

static unsigned prepare_batch(struct mmsghdr *batch, struct iovec *iov, size_t each)
{
	memset(batch, 0, BATCH * sizeof(*batch));
	for (int i = 0; i < BATCH; i++) {
		iov[i] = (struct iovec){room + (size_t)i * 70000, each};
		batch[i].msg_hdr.msg_iov = &iov[i];
		batch[i].msg_hdr.msg_iovlen = 1;
	}
	return BATCH;
}

static void show_batch(struct end *e, const struct mmsghdr *batch, int count)
{
	for (int i = 0; i < count; i++) {
		say("  %u bytes, flags %x", batch[i].msg_len, (unsigned)batch[i].msg_hdr.msg_flags);
		if (content_good(1, e->taken++ * DATAGRAM_ROOM, room + (size_t)i * 70000, batch[i].msg_len) < batch[i].msg_len)
			complain("BAD CONTENT in a batch");
	}
}

SCENARIO(in_batches, UNOPENED | ITS_OWN)
{
	struct timespec short_limit = {0, 50000000}, long_limit = {1, 0}, wrong = {0, -1};
	struct mmsghdr batch[BATCH];
	struct iovec iov[BATCH];

	open_udp(e);
	connect_udp(e);
	exchange(e, 30);
	for (int i = 0; i < 3; i++) {
		prepare_batch(batch, iov, 70000);
		peer_gives_many(e, 100 + i, 5);
		await(e);
		rest();
		show_batch(e, batch, (int)CALL(recvmmsg(e->fd, batch, BATCH, MSG_WAITFORONE, NULL)));
		CALL(recvmmsg(e->fd, batch, BATCH, MSG_DONTWAIT, NULL));
		later(20);
		peer_gives_many(e, 10, 1);
		show_batch(e, batch, (int)CALL(recvmmsg(e->fd, batch, BATCH, MSG_WAITFORONE, &long_limit)));
		peer_wait();
		later(100);
		peer_gives_many(e, 10, 1);
		show_batch(e, batch, (int)CALL(recvmmsg(e->fd, batch, BATCH, 0, &short_limit)));
		peer_wait();
		short_limit = (struct timespec){0, 50000000};
		prepare_batch(batch, iov, 30);
		for (int k = 0; k < BATCH; k++)
			content_fill(0, e->sent++ * DATAGRAM_ROOM, iov[k].iov_base, 30);
		CALL(sendmmsg(e->fd, batch, BATCH, 0));
		for (int k = 0; k < BATCH; k++)
			peer_takes(e, 30);
	}
	CALL(recvmmsg(e->fd, batch, BATCH, MSG_DONTWAIT, &wrong));
	CALL(recvmmsg(e->fd, batch, 0, 0, NULL));
}

/* More than one side reads at a time, small enough for any receive buffer. */
SCENARIO(many_unread, UNOPENED | ITS_OWN)
{
	open_udp(e);
	for (int i = 0; i < 10; i++) {
		peer_gives_many(e, 100, 60);
		await(e);
		rest();
		for (int k = 0; k < 60; k++)
			get_one(e, 100);
		for (int k = 0; k < 60; k++)
			put_one(e, 90);
		for (int k = 0; k < 60; k++) {
			quietly();
			peer_takes(e, 90);
		}
	}
	CALL(recv(e->fd, room, ROOM, MSG_DONTWAIT));
}

/* The kernel and rings in turn: those that only the kernel can send are in order with the others. */
SCENARIO(some_with_control, UNOPENED | ITS_OWN)
{
	char control[CMSG_SPACE(sizeof(int))] = {0};
	struct iovec iov = {room, 20};
	struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)};
	struct cmsghdr *tos = CMSG_FIRSTHDR(&message);

	open_udp(e);
	message.msg_name = at(&theirs);
	message.msg_namelen = theirs.length;
	tos->cmsg_level = IPPROTO_IP;
	tos->cmsg_type = IP_TOS;
	tos->cmsg_len = CMSG_LEN(sizeof(int));
	for (int i = 0; i < 20; i++) {
		put_one(e, 30);
		put_one(e, 31);
		GIVE(e, 20, sendmsg(e->fd, &message, 0));
		put_one(e, 32);
		peer_takes(e, 30);
		peer_takes(e, 31);
		peer_takes(e, 20);
		peer_takes(e, 32);
	}
}

/* To whom it is connected, by a name of no length; in order with those that say nothing of a name. */
SCENARIO(named_by_nothing, UNOPENED | ITS_OWN)
{
	open_udp(e);
	connect_udp(e);
	exchange(e, 60);
	for (int i = 0; i < 3; i++) {
		struct iovec iov = {room, 20};
		struct msghdr message = {.msg_name = &theirs.address, .msg_iov = &iov, .msg_iovlen = 1};

		for (int k = 0; k < 100; k++)
			put_one(e, 90);
		GIVE(e, 20, sendmsg(e->fd, &message, 0));
		for (int k = 0; k < 100; k++) {
			quietly();
			peer_takes(e, 90);
		}
		peer_takes(e, 20);
		exchange(e, 20);
	}
}

/* An address of four bytes in one of sixteen is for sockets of that family. */
SCENARIO(named_in_another_family, UNOPENED | ITS_OWN)
{
	struct name six;

	open_udp(e);
	exchange(e, 60);
	six = mapped(&theirs);
	for (int i = 0; i < 3; i++) {
		CALL(sendto(e->fd, room, 10, 0, at(&six), six.length));
		exchange(e, 10);
	}
}

SCENARIO(in_parts, UNOPENED | ITS_OWN)
{
	open_udp(e);
	connect_udp(e);
	exchange(e, 20);
	for (int i = 0; i < 10; i++) {
		next_content(e, 60);
		CALL(send(e->fd, room, 20, MSG_MORE));
		CALL(send(e->fd, room + 20, 20, MSG_MORE));
		CALL(send(e->fd, room + 40, 20, 0));
		e->sent++;
		peer_takes(e, 60);
		put_one(e, 10);
		peer_takes(e, 10);
	}
}

SCENARIO(several_senders, UNOPENED | ITS_OWN)
{
	struct end other;
	int from[2] = {0, 0};

	open_udp(e);
	other = (struct end){.fd = (int)MUST(socket(AF_INET, SOCK_DGRAM, 0))};
	for (int i = 0; i < 40; i++) {
		unsigned char number = (unsigned char)i;

		peer_gives_many(e, 100, 1);
		MUST(sendto(other.fd, &number, 1, 0, at(&own), own.length));
		await(e);
		rest();
		for (int k = 0; k < 2; k++) {
			long got = recv(e->fd, room, ROOM, 0);

			if (got == 1 && room[0] == number)
				from[1]++;
			else if (got == 100)
				check_content(e, got, false), from[0]++;
		}
	}
	say("%d from the peer, %d from the other", from[0], from[1]);
}

/* Whoever sends all the time doesn't keep the others from being heard. asks: of a program that asks each time how much there is. */
static void hear_both(struct end *e, bool asks)
{
	int other = (int)MUST(socket(AF_INET, SOCK_DGRAM, 0)), heard = 0;
	unsigned char one = 1;

	open_udp(e);
	exchange(e, 30);
	MUST(sendto(other, &one, 1, 0, at(&own), own.length));
	for (int i = 0; i < 200; i++) {
		int pending = -1;
		long got;

		peer_gives_many(e, 100, 1);
		await(e);
		if (asks)
			MUST(ioctl(e->fd, FIONREAD, &pending));
		got = recv(e->fd, room, ROOM, 0);
		if (asks && got != pending)
			complain("%d pending: %s", pending, RESULT(got));
		if (got == 1)
			heard++;
		else
			check_content(e, got, false);
	}
	say("heard: %d", heard);
}

SCENARIO(both_sources_are_heard, UNOPENED | ITS_OWN)
{
	hear_both(e, false);
}

SCENARIO(both_sources_are_heard_when_asked, UNOPENED | ITS_OWN)
{
	hear_both(e, true);
}

SCENARIO(to_itself, UNOPENED | ITS_OWN)
{
	open_udp(e);
	for (int i = 0; i < 20; i++) {
		CALL(sendto(e->fd, "self", 4, 0, at(&own), own.length));
		CALL(recv(e->fd, room, ROOM, 0));
	}
	exchange(e, 20);
}

SCENARIO(connected_elsewhere, UNOPENED | ITS_OWN)
{
	struct sockaddr nowhere = {.sa_family = AF_UNSPEC};
	int other = (int)MUST(socket(AF_INET, SOCK_DGRAM, 0));
	struct name third = at_loopback(AF_INET);

	open_udp(e);
	MUST(bind(other, at(&third), third.length));
	third.length = sizeof(third.address);
	MUST(getsockname(other, at(&third), &third.length));
	exchange(e, 30);
	peer_gives_many(e, 10, 2);
	await(e);
	rest();
	CALL(connect(e->fd, at(&third), third.length));
	peer_gives_many(e, 10, 1); /* is not heard */
	rest();
	TAKE(e, recv(e->fd, room, ROOM, 0));
	TAKE(e, recv(e->fd, room, ROOM, MSG_DONTWAIT));
	CALL(recv(e->fd, room, ROOM, MSG_DONTWAIT));
	MUST(sendto(other, "other", 5, 0, at(&own), own.length));
	CALL(recv(e->fd, room, ROOM, 0));
	CALL(send(e->fd, room, 4, 0));
	CALL(recv(other, room, ROOM, 0));
	CALL(connect(e->fd, &nowhere, sizeof(nowhere)));
	CALL(send(e->fd, room, 4, 0));
	e->taken++;
	MUST(getsockname(e->fd, at(&own), &own.length));
	own_there = own;
	exchange(e, 30);
}

static void fork_once(struct end *e)
{
	pid_t child = (pid_t)MUST(fork());

	if (child == 0)
		_exit(0);
	MUST(waitpid(child, NULL, 0));
}

/* One is unread in a ring when its flow ends, behind some that are with the kernel, and before another. */
static void left_with_some_of_each(struct end *e, void (*leave)(struct end *e))
{
	exchange(e, 30);
	CALL(recv(e->fd, room, ROOM, MSG_DONTWAIT));
	peer_gives(e, 65001); /* is the kernel's, and so are those behind it */
	peer_gives(e, 10);
	peer_gives(e, 11);
	rest();
	TAKE(e, recv(e->fd, room, ROOM, 0));
	peer_gives(e, 12);
	leave(e);
	peer_gives(e, 13);
	rest();
	for (int i = 0; i < 4; i++)
		TAKE(e, recv(e->fd, room, ROOM, MSG_DONTWAIT));
	CALL(recv(e->fd, room, ROOM, MSG_DONTWAIT));
}

SCENARIO(connected_with_some_of_each, UNOPENED | ITS_OWN)
{
	open_udp(e);
	for (int i = 0; i < 3; i++)
		left_with_some_of_each(e, connect_udp);
}

SCENARIO(forked_with_some_of_each, UNOPENED | ITS_OWN)
{
	open_udp(e);
	left_with_some_of_each(e, fork_once);
}

SCENARIO(shut_down, UNOPENED | ITS_OWN)
{
	open_udp(e);
	connect_udp(e);
	exchange(e, 20);
	peer_gives_many(e, 10, 1);
	await(e);
	CALL(shutdown(e->fd, SHUT_WR));
	CALL(send(e->fd, room, 4, MSG_NOSIGNAL));
	TAKE(e, recv(e->fd, room, ROOM, 0));
	peer_gives_many(e, 10, 1);
	await(e);
	rest();
	CALL(shutdown(e->fd, SHUT_RD));
	TAKE(e, recv(e->fd, room, ROOM, 0));
	CALL(recv(e->fd, room, ROOM, 0));
}

SCENARIO(with_time_stamps, UNOPENED | ITS_OWN)
{
	char control[256];
	struct iovec iov = {room, ROOM};
	struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};

	open_udp(e);
	CALL(setsockopt(e->fd, SOL_SOCKET, SO_TIMESTAMP, &(int){1}, sizeof(int)));
	for (int i = 0; i < 20; i++) {
		peer_gives_many(e, 10, 1);
		await(e);
		message.msg_control = control;
		message.msg_controllen = sizeof(control);
		TAKE(e, recvmsg(e->fd, &message, 0));
		say("control %d", message.msg_controllen > 0);
		put_one(e, 10);
		peer_takes(e, 10);
	}
}

SCENARIO(with_packet_information, UNOPENED | ITS_OWN)
{
	char control[256];
	struct iovec iov = {room, ROOM};
	struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};

	open_udp(e);
	CALL(setsockopt(e->fd, IPPROTO_IP, IP_PKTINFO, &(int){1}, sizeof(int)));
	for (int i = 0; i < 20; i++) {
		struct cmsghdr *header;
		struct in_pktinfo info = {0};

		peer_gives_many(e, 10, 1);
		await(e);
		message.msg_control = control;
		message.msg_controllen = sizeof(control);
		TAKE(e, recvmsg(e->fd, &message, 0));
		header = CMSG_FIRSTHDR(&message);
		if (header && header->cmsg_type == IP_PKTINFO)
			memcpy(&info, CMSG_DATA(header), sizeof(info));
		say("interface %d, to %x, %x", info.ipi_ifindex, ntohl(info.ipi_addr.s_addr), ntohl(info.ipi_spec_dst.s_addr));
	}
}

/* By a socket of IPv6, asked for before it lives. */
static void information_first(int fd)
{
	MUST(setsockopt(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, &(int){1}, sizeof(int)));
}

SCENARIO(with_packet_information_v6, UNOPENED | ITS_OWN | KERNEL)
{
	char control[256];
	struct iovec iov = {room, ROOM};
	struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};

	open_with(e, AF_INET6, false, information_first);
	exchange(e, 30);
	for (int i = 0; i < 10; i++) {
		struct in6_pktinfo info = {0};
		struct cmsghdr *header;
		char text[INET6_ADDRSTRLEN];

		peer_gives_many(e, 10, 1);
		await(e);
		message.msg_control = control;
		message.msg_controllen = sizeof(control);
		TAKE(e, recvmsg(e->fd, &message, 0));
		header = CMSG_FIRSTHDR(&message);
		if (header && header->cmsg_level == IPPROTO_IPV6 && header->cmsg_type == IPV6_PKTINFO)
			memcpy(&info, CMSG_DATA(header), sizeof(info));
		say("interface %u, to %s", info.ipi6_ifindex, inet_ntop(AF_INET6, &info.ipi6_addr, text, sizeof(text)));
		/* An answer with the address that it came to, as servers of DNS send it. */
		next_content(e, 10);
		iov.iov_len = 10;
		message.msg_name = at(&theirs);
		message.msg_namelen = theirs.length;
		CALL(sendmsg(e->fd, &message, 0));
		e->sent++;
		peer_takes(e, 10);
		message.msg_name = NULL;
		iov.iov_len = ROOM;
	}
}

static void reuse_address(int fd)
{
	MUST(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int)));
}

static void reuse_port(int fd)
{
	MUST(setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &(int){1}, sizeof(int)));
}

/* Somebody else may bind the same address at any time, and takes what comes from then on. */
SCENARIO(reusing_an_address, UNOPENED | ITS_OWN | KERNEL)
{
	int other;

	open_with(e, AF_INET, false, reuse_address);
	exchange(e, 30);
	other = (int)MUST(socket(AF_INET, SOCK_DGRAM, 0));
	reuse_address(other);
	MUST(bind(other, at(&own), own.length));
	peer_gives_many(e, 10, 1);
	rest();
	CALL(recv(e->fd, room, ROOM, MSG_DONTWAIT));
	CALL(recv(other, room, ROOM, MSG_DONTWAIT));
}

SCENARIO(reusing_a_port, UNOPENED | ITS_OWN | KERNEL)
{
	int other, heard = 0;

	open_with(e, AF_INET, false, reuse_port);
	exchange(e, 30);
	other = (int)MUST(socket(AF_INET, SOCK_DGRAM, 0));
	reuse_port(other);
	MUST(bind(other, at(&own), own.length));
	for (int i = 0; i < 10; i++) {
		peer_gives_many(e, 10, 1);
		rest();
		heard += recv(e->fd, room, ROOM, MSG_DONTWAIT) == 10;
		heard += recv(other, room, ROOM, MSG_DONTWAIT) == 10;
	}
	say("heard %d", heard);
}

/* The same, of one that has been moved. */
SCENARIO(reusing_an_address_later, UNOPENED | ITS_OWN)
{
	int other;

	open_udp(e);
	exchange(e, 30);
	reuse_address(e->fd);
	other = (int)MUST(socket(AF_INET, SOCK_DGRAM, 0));
	reuse_address(other);
	MUST(bind(other, at(&own), own.length));
	for (int i = 0; i < 3; i++) {
		peer_gives_many(e, 10, 1);
		rest();
		CALL(recv(e->fd, room, ROOM, MSG_DONTWAIT));
		CALL(recv(other, room, ROOM, MSG_DONTWAIT));
	}
}

SCENARIO(a_group, UNOPENED | ITS_OWN)
{
	struct ip_mreqn group = {.imr_multiaddr.s_addr = htonl(0xefc0a801), .imr_ifindex = 1};
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0xefc0a801)};
	struct end any = {.fd = -1};
	socklen_t length = sizeof(to);

	open_udp(e);
	exchange(e, 30);
	any.fd = (int)MUST(socket(AF_INET, SOCK_DGRAM, 0));
	MUST(bind(any.fd, (struct sockaddr *)&to, sizeof(to)));
	MUST(getsockname(any.fd, (struct sockaddr *)&to, &length));
	CALL(setsockopt(any.fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, &group, sizeof(group)));
	CALL(setsockopt(e->fd, IPPROTO_IP, IP_MULTICAST_IF, &group, sizeof(group)));
	for (int i = 0; i < 10; i++) {
		CALL(sendto(e->fd, "group", 5, 0, (struct sockaddr *)&to, sizeof(to)));
		CALL(recv(any.fd, room, ROOM, 0));
	}
	exchange(e, 30);
}

SCENARIO(doubled_and_closed, UNOPENED | ITS_OWN)
{
	int copy, fd;

	open_udp(e);
	exchange(e, 20);
	peer_gives_many(e, 10, 3);
	await(e);
	copy = (int)MUST(dup(e->fd));
	fd = e->fd;
	TAKE(e, recv(copy, room, ROOM, 0));
	close(e->fd);
	e->fd = copy;
	TAKE(e, recv(copy, room, ROOM, 0));
	CALL(recv(fd, room, ROOM, 0));
	TAKE(e, recv(copy, room, ROOM, 0));
	exchange(e, 20);
	close(copy);
	rest();
	fd = (int)MUST(socket(AF_INET, SOCK_DGRAM, 0));
	CALL(bind(fd, at(&own), own.length));
}

SCENARIO(inherited, UNOPENED | ITS_OWN | ALONE)
{
	pid_t child;

	open_udp(e);
	exchange(e, 30);
	peer_gives_many(e, 10, 4);
	await(e);
	rest();
	child = CHILD({
		TAKE(e, recv(e->fd, room, ROOM, 0));
		TAKE(e, recv(e->fd, room, ROOM, 0));
		put_one(e, 20);
	});
	reap(child);
	e->taken += 2;
	e->sent++;
	TAKE(e, recv(e->fd, room, ROOM, 0));
	TAKE(e, recv(e->fd, room, ROOM, 0));
	peer_takes(e, 20);
	exchange(e, 30);
	/* The parent sends, the child answers. */
	child = CHILD({
		for (int i = 0; i < 30; i++) {
			get_one(e, 15);
			put_one(e, 14);
		}
	});
	for (int i = 0; i < 30; i++) {
		quietly();
		peer_gives(e, 15);
		quietly();
		peer_takes(e, 14);
	}
	reap(child);
}

static void *receive_one(void *argument)
{
	const struct end *e = argument;
	static char bytes[2][100];
	static _Atomic int next;

	return (void *)recv(e->fd, bytes[next++ & 1], sizeof(bytes[0]), 0);
}

SCENARIO(two_threads_wait, UNOPENED | ITS_OWN)
{
	pthread_t threads[2];
	void *got[2];

	open_udp(e);
	for (int turn = 0; turn < 4; turn++) {
		for (int i = 0; i < 2; i++)
			MUST(-pthread_create(&threads[i], NULL, receive_one, e));
		settle_down();
		peer_gives_many(e, 10, 1);
		rest();
		peer_gives_many(e, 10, 1);
		for (int i = 0; i < 2; i++)
			pthread_join(threads[i], &got[i]);
		say("%ld and %ld", (long)got[0], (long)got[1]);
		e->taken += 2;
		exchange(e, 10);
	}
}

/* Two bound to different addresses with one port, and one to all: the kernel's choice by address. */
SCENARIO(one_port_two_addresses, UNOPENED | ITS_OWN)
{
	struct sockaddr_in second;
	int other = (int)MUST(socket(AF_INET, SOCK_DGRAM, 0));

	open_udp(e);
	memcpy(&second, &own.address, sizeof(second));
	second.sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1);
	MUST(bind(other, (struct sockaddr *)&second, sizeof(second)));
	for (int i = 0; i < 20; i++) {
		peer_gives_many(e, 10, 1);
		await(e);
		TAKE(e, recv(e->fd, room, ROOM, 0));
		MUST(sendto(e->fd, "two", 3, 0, (struct sockaddr *)&second, sizeof(second)));
		CALL(recv(other, room, ROOM, 0));
	}
}
