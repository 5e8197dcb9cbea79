/* What the scenarios of datagrams share: one socket of this side, one of the peer's, and what goes between the two. */
#ifndef ORACLE_DATAGRAMS_H
#define ORACLE_DATAGRAMS_H

#include "oracle.h"
#include "peer.h"

#include <netinet/in.h>
#include <poll.h>
#include <time.h>

struct name {
	struct sockaddr_storage address;
	socklen_t length;
};

static struct name own, theirs; /* as this side writes them */
static struct name own_there;   /* as the peer writes ours */

static inline struct name at_loopback(int family)
{
	struct sockaddr_in four = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
	struct name name = {.length = family == AF_INET ? sizeof(four) : sizeof(six)};

	memcpy(&name.address, family == AF_INET ? (void *)&four : (void *)&six, name.length);
	return name;
}

static inline struct name mapped(const struct name *from)
{
	const struct sockaddr_in *four = (const struct sockaddr_in *)&from->address;
	struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_port = four->sin_port};
	struct name name = {.length = sizeof(six)};

	six.sin6_addr.s6_addr[10] = six.sin6_addr.s6_addr[11] = 0xff;
	memcpy(six.sin6_addr.s6_addr + 12, &four->sin_addr, 4);
	memcpy(&name.address, &six, sizeof(six));
	return name;
}

static inline struct sockaddr *at(struct name *name)
{
	return (struct sockaddr *)&name->address;
}

static inline void pause_us(long us)
{
	struct timespec t = {us / 1000000, us % 1000000 * 1000};

	nanosleep(&t, NULL);
}

/* ---- the peer ---- */

static inline long peer_gives(struct end *e, long count)
{
	return peer_ask((struct peer_order){.does = PEER_UDP_SEND,
					    .number = e->number,
					    .count = count,
					    .address = own_there.address,
					    .length = own_there.length})
		.result;
}

static inline void peer_gives_many(struct end *e, long count, long times)
{
	quietly();
	peer_ask((struct peer_order){.does = PEER_UDP_SEND,
				     .number = e->number,
				     .count = count,
				     .more = times - 1,
				     .address = own_there.address,
				     .length = own_there.length});
}

static inline long peer_takes(struct end *e, long count)
{
	return peer_ask((struct peer_order){.does = PEER_UDP_RECV, .number = e->number, .count = count}).result;
}

/* ---- this side ---- */

static inline void next_content(struct end *e, size_t count)
{
	content_fill(0, e->sent * DATAGRAM_ROOM, room, count);
}

/* Is what came the next one, as far as there was room? */
static inline void check_content(struct end *e, long got, bool peeked_at)
{
	if (got >= 0 && content_good(1, e->taken * DATAGRAM_ROOM, room, (size_t)got) < (size_t)got)
		complain("BAD CONTENT in datagram %u", (unsigned)e->taken);
	e->taken += got >= 0 && !peeked_at;
}

#define GIVE(e, count, expression)                                                                                                         \
	({                                                                                                                                 \
		next_content(e, count);                                                                                                    \
		long given_ = CALL(expression);                                                                                            \
		(e)->sent += given_ >= 0;                                                                                                  \
		given_;                                                                                                                    \
	})
#define TAKE(e, expression)                                                                                                                \
	({                                                                                                                                 \
		long got_ = CALL(expression);                                                                                              \
		check_content(e, got_, false);                                                                                             \
		got_;                                                                                                                      \
	})
#define LOOK(e, expression)                                                                                                                \
	({                                                                                                                                 \
		long got_ = CALL(expression);                                                                                              \
		check_content(e, got_, true);                                                                                              \
		got_;                                                                                                                      \
	})

static inline void get_one(struct end *e, size_t count)
{
	long got = recv(e->fd, room, ROOM, 0);

	if (got != (long)count)
		complain("%zu expected: %s", count, RESULT(got));
	check_content(e, got, false);
}

static inline void put_one(struct end *e, size_t count)
{
	next_content(e, count);
	long put = sendto(e->fd, room, count, 0, at(&theirs), theirs.length);

	if (put != (long)count)
		complain("%zu sent: %s", count, RESULT(put));
	e->sent += put >= 0;
}

static inline void await(struct end *e)
{
	struct pollfd readable = {e->fd, POLLIN, 0};

	if (manner.still)
		rest();
	else
		poll(&readable, 1, 3000);
}

static inline void exchange(struct end *e, unsigned messages)
{
	quietly();
	later(1);
	peer_ask((struct peer_order){.does = PEER_UDP_ECHO, .number = e->number, .count = messages});
	for (unsigned i = 0; i < messages; i++) {
		put_one(e, 8);
		get_one(e, 8);
		if (i % 4 == 0 && i < messages * 2 / 3)
			pause_us(1000);
	}
	peer_wait();
}

/* prepare: between socket and bind. */
static inline void open_with(struct end *e, int family, bool is_mapped, void (*prepare)(int fd))
{
	static unsigned ends = 500;
	struct name name = at_loopback(is_mapped ? AF_INET : family);
	struct peer_answer answer;

	*e = (struct end){.number = ends++, .family = family};
	quietly();
	answer = peer_ask((struct peer_order){.does = PEER_UDP_OPEN, .number = e->number, .address = name.address, .length = name.length});
	theirs = (struct name){answer.address, answer.length};
	e->fd = (int)MUST(socket(family, SOCK_DGRAM, 0));
	if (prepare)
		prepare(e->fd);
	own = is_mapped ? mapped(&name) : name;
	MUST(bind(e->fd, at(&own), own.length));
	own.length = sizeof(own.address);
	MUST(getsockname(e->fd, at(&own), &own.length));
	own_there = own;
	if (is_mapped) {
		own_there = name;
		((struct sockaddr_in *)&own_there.address)->sin_port = ((struct sockaddr_in6 *)&own.address)->sin6_port;
		theirs = mapped(&theirs);
	}
	if (manner.warm)
		exchange(e, manner.warm);
	/* Without effect here, but none of those that are known to have none. */
	if (manner.demoted && family == AF_INET)
		MUST(setsockopt(e->fd, IPPROTO_IP, IP_FREEBIND, &(int){1}, sizeof(int)));
}

static inline void open_udp(struct end *e)
{
	open_with(e, AF_INET, false, NULL);
}

static inline void connect_udp(struct end *e)
{
	MUST(connect(e->fd, at(&theirs), theirs.length));
}

#endif
