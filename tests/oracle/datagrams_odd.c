/* UDP: names, flags and lengths as few programs have them, and batches that end before they are full. */
#define FAMILY "datagrams"
#include "datagrams.h"

#include <pthread.h>

/* Names that the kernel reads as it would read another: what is sent by them is in order with the rest. */
static void send_in_order(struct end *e, struct name name)
{
	for (int i = 0; i < 3; i++) {
		exchange(e, 20);
		for (int k = 0; k < 3; k++)
			put_one(e, 90);
		GIVE(e, 20, sendto(e->fd, room, 20, 0, at(&name), name.length));
		put_one(e, 91);
		for (int k = 0; k < 3; k++)
			peer_takes(e, 90);
		peer_takes(e, 20);
		peer_takes(e, 91);
	}
}

SCENARIO(named_without_a_family, UNOPENED | ITS_OWN)
{
	struct name name;

	open_udp(e);
	exchange(e, 60);
	name = theirs;
	name.address.ss_family = AF_UNSPEC;
	send_in_order(e, name);
}

SCENARIO(named_by_any_address, UNOPENED | ITS_OWN)
{
	struct name name;

	open_udp(e);
	exchange(e, 60);
	name = theirs;
	((struct sockaddr_in *)&name.address)->sin_addr.s_addr = htonl(INADDR_ANY);
	send_in_order(e, name);
}

SCENARIO(named_in_odd_ways_v6, UNOPENED | ITS_OWN)
{
	struct sockaddr_in6 *six;
	struct name name;

	open_with(e, AF_INET6, false, NULL);
	exchange(e, 60);
	name = theirs;
	six = (struct sockaddr_in6 *)&name.address;
	name.length = offsetof(struct sockaddr_in6, sin6_scope_id);
	send_in_order(e, name);
	name.length = sizeof(*six);
	six->sin6_scope_id = 1;
	send_in_order(e, name);
	connect_udp(e);
	exchange(e, 60);
	six->sin6_family = AF_UNSPEC;
	send_in_order(e, name);
}

/* A length below zero is refused, whatever way the datagram would take. */
SCENARIO(named_by_less_than_nothing, UNOPENED | ITS_OWN)
{
	struct iovec iov = {room, 20};
	struct msghdr message = {.msg_name = &theirs.address, .msg_namelen = (socklen_t)-1, .msg_iov = &iov, .msg_iovlen = 1};

	open_udp(e);
	exchange(e, 60);
	for (int i = 0; i < 2; i++) {
		CALL(sendmsg(e->fd, &message, 0));
		CALL(recvmsg(e->fd, &message, MSG_DONTWAIT));
		connect_udp(e);
		exchange(e, 60);
	}
}

/* Of no meaning for a datagram: ignored. */
SCENARIO(taken_with_any_flags, UNOPENED | ITS_OWN)
{
	static const int flags[] = {MSG_OOB, MSG_DONTROUTE, MSG_CTRUNC, MSG_PROXY, MSG_EOR,  MSG_FIN,
				    MSG_SYN, MSG_CONFIRM,   MSG_MORE,   MSG_BATCH, 0x2000000};

	open_udp(e);
	exchange(e, 60);
	for (size_t i = 0; i < sizeof(flags) / sizeof(*flags); i++) {
		peer_gives_many(e, 30, 3);
		await(e);
		rest();
		LOOK(e, recv(e->fd, room, ROOM, flags[i] | MSG_PEEK));
		TAKE(e, recv(e->fd, room, ROOM, flags[i]));
		TAKE(e, recv(e->fd, room, ROOM, flags[i] | MSG_DONTWAIT));
		TAKE(e, recv(e->fd, room, ROOM, MSG_DONTWAIT));
		CALL(recv(e->fd, room, ROOM, flags[i] | MSG_DONTWAIT));
	}
}

/* ---- batches ---- */

static struct mmsghdr batch[2];
static struct iovec pieces[2];

static long receive_batch(struct end *e)
{
	for (int i = 0; i < 2; i++) {
		pieces[i] = (struct iovec){room + i * 1000, 1000};
		batch[i].msg_hdr = (struct msghdr){.msg_iov = &pieces[i], .msg_iovlen = 1};
	}
	long got = CALL(recvmmsg(e->fd, batch, 2, 0, NULL));

	for (int i = 0; i < got; i++)
		check_content(e, batch[i].msg_len, false);
	return got;
}

/* A signal ends one that has something already, and it is never restarted. */
SCENARIO(interrupted_behind_the_first, UNOPENED | ITS_OWN)
{
	open_udp(e);
	exchange(e, 60);
	on_signal(SIGUSR1, SA_RESTART);
	for (int i = 0; i < 3; i++) {
		peer_gives(e, 100);
		await(e);
		rest();
		later(60);
		peer_signal(SIGUSR1);
		receive_batch(e);
		peer_wait();
		/* The kernel keeps its own number of an interrupted call for the next one. */
		recv(e->fd, room, 1, MSG_DONTWAIT);
		exchange(e, 20);
	}
}

/* The error comes before what is unread, as it would without a ring. */
SCENARIO(refused_before_what_is_unread, UNOPENED | ITS_OWN)
{
	open_udp(e);
	connect_udp(e);
	exchange(e, 60);
	peer_gives_many(e, 100, 2);
	await(e);
	rest();
	quietly();
	peer_close(e);
	rest();
	CALL(send(e->fd, room, 1, 0));
	rest();
	CALL(recv(e->fd, room, 100, 0));
	TAKE(e, recv(e->fd, room, 100, 0));
	TAKE(e, recv(e->fd, room, 100, 0));
	CALL(recv(e->fd, room, 100, MSG_DONTWAIT));
}

static void *send_late(void *end)
{
	settle_down();
	send(((struct end *)end)->fd, "x", 1, MSG_NOSIGNAL);
	return NULL;
}

/* An error that ends a wait behind the first is told by what asks next, whatever that is. */
SCENARIO(refused_behind_the_first, UNOPENED | ITS_OWN)
{
	int error = 0;
	socklen_t size = sizeof(error);
	struct pollfd ready = {.events = POLLOUT};
	pthread_t thread;

	open_udp(e);
	connect_udp(e);
	exchange(e, 60);
	ready.fd = e->fd;
	peer_gives(e, 100);
	await(e);
	rest();
	quietly();
	peer_close(e);
	rest();
	MUST(-pthread_create(&thread, NULL, send_late, e));
	receive_batch(e);
	pthread_join(thread, NULL);
	CALL(poll(&ready, 1, 0));
	say("%s", POLLED((unsigned)ready.revents));
	CALL(getsockopt(e->fd, SOL_SOCKET, SO_ERROR, &error, &size));
	say("error %d", error);
	CALL(recv(e->fd, room, 100, MSG_DONTWAIT));
}

SCENARIO(shut_down_and_polled, UNOPENED | ITS_OWN)
{
	struct pollfd ready = {.events = POLLIN | POLLOUT};

	open_udp(e);
	exchange(e, 60);
	ready.fd = e->fd;
	peer_gives_many(e, 10, 2);
	await(e);
	rest();
	CALL(shutdown(e->fd, SHUT_RDWR));
	for (int i = 0; i < 2; i++) {
		CALL(poll(&ready, 1, 0));
		say("%s", POLLED((unsigned)ready.revents));
		TAKE(e, recv(e->fd, room, ROOM, 0));
	}
	CALL(poll(&ready, 1, 0));
	say("%s", POLLED((unsigned)ready.revents));
}
