/* Streams passed as descriptors over AF_UNIX sockets. */
#define FAMILY "passing"
#include "oracle.h"
#include "peer.h"
#include "rights.h"
#include "sets.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/syscall.h>

static void converse(struct end *e, int rounds)
{
	for (int i = 0; i < rounds; i++) {
		take(e, 100);
		give(e, 50);
	}
}

static void peer_converses(struct end *e, int rounds)
{
	for (int i = 0; i < rounds; i++) {
		quietly();
		peer_send(e, 100);
		quietly();
		peer_recv_all(e, 50);
	}
}

/* The receiver was forked before there was a stream. */
struct other {
	pid_t pid;
	int channel;
};

#define OTHER(...)                                                                                                                         \
	({                                                                                                                                 \
		struct other other_;                                                                                                       \
		int pair_[2];                                                                                                              \
		MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, pair_));                                                                          \
		other_.pid = CHILD({                                                                                                       \
			struct end mine = {0};                                                                                             \
			int channel = pair_[1];                                                                                            \
			close(pair_[0]);                                                                                                   \
			mine.fd = take_right(channel, MSG_CMSG_CLOEXEC);                                                                   \
			say("passed: %d", mine.fd >= 0);                                                                                   \
			MUST(read(channel, &mine.sent, sizeof(mine.sent)));                                                                \
			MUST(read(channel, &mine.taken, sizeof(mine.taken)));                                                              \
			__VA_ARGS__;                                                                                                       \
		});                                                                                                                        \
		close(pair_[1]);                                                                                                           \
		other_.channel = pair_[0];                                                                                                 \
		other_;                                                                                                                    \
	})

static void hand_over(const struct other *other, const struct end *e)
{
	CALL(pass_right(other->channel, e->fd, 0));
	MUST(write(other->channel, &e->sent, sizeof(e->sent)));
	MUST(write(other->channel, &e->taken, sizeof(e->taken)));
}

SCENARIO(handed_over, ALONE | UNOPENED)
{
	struct other other = OTHER({
		converse(&mine, 30);
		CALL(recv(mine.fd, room, 10, 0));
	});

	open_end(e, AF_INET, false);
	hand_over(&other, e);
	CALL(close(e->fd));
	peer_converses(e, 30);
	peer_shutdown(e, SHUT_WR);
	reap(other.pid);
	peer_drain(e);
}

SCENARIO(handed_over_with_unread, ALONE | UNOPENED)
{
	struct other other = OTHER({
		take(&mine, 5000);
		converse(&mine, 5);
	});

	open_end(e, AF_INET, false);
	peer_send(e, 5100);
	arrive(e, 5100);
	RECV(e, recv(e->fd, room, 100, 0));
	hand_over(&other, e);
	CALL(close(e->fd));
	peer_converses(e, 5);
	reap(other.pid);
}

/* More than a ring. */
SCENARIO(handed_over_with_much_unread, ALONE | UNOPENED)
{
	struct other other = OTHER({
		size_t all = 0;
		ssize_t got = 1;

		while (all < 60000 && (got = recv(mine.fd, room, 60000 - all, 0)) > 0)
			all += (size_t)got;
		say("receives %zu, then %s", all, got < 0 ? RESULT(got) : "no more");
	});

	open_end(e, AF_INET, false);
	peer_send_all(e, 60000);
	hand_over(&other, e);
	CALL(close(e->fd));
	reap(other.pid);
}

SCENARIO(handed_over_behind_the_end, ALONE | UNOPENED)
{
	struct other other = OTHER({
		ssize_t got = recv(mine.fd, room, 100, MSG_WAITALL);

		say("receives %s", RESULT(got));
		got = recv(mine.fd, room, 100, 0);
		say("then %s", RESULT(got));
	});

	open_end(e, AF_INET, false);
	peer_send_all(e, 100);
	peer_shutdown(e, SHUT_WR);
	arrive(e, 100);
	hand_over(&other, e);
	CALL(close(e->fd));
	reap(other.pid);
	peer_drain(e);
}

SCENARIO(handed_over_with_unread_at_the_peer, ALONE | UNOPENED)
{
	struct other other = OTHER({ converse(&mine, 5); });

	open_end(e, AF_INET, false);
	SEND(e, 3000, send(e->fd, room, 3000, 0));
	hand_over(&other, e);
	CALL(close(e->fd));
	peer_recv_all(e, 3000);
	peer_converses(e, 5);
	reap(other.pid);
}

SCENARIO(both_go_on, ALONE | UNOPENED)
{
	struct other other = OTHER({
		for (int i = 0; i < 3; i++) {
			RECV(&mine, recv(mine.fd, room, 100, MSG_WAITALL));
			mine.taken += 100;
			MUST(write(channel, "x", 1));
			MUST(read(channel, room, 1));
		}
	});

	open_end(e, AF_INET, false);
	hand_over(&other, e);
	for (int i = 0; i < 3; i++) {
		peer_send(e, 100);
		MUST(read(other.channel, room, 1));
		e->taken += 100;
		peer_send(e, 100);
		arrive(e, 100);
		RECV(e, recv(e->fd, room, 100, MSG_WAITALL));
		SEND(e, 10, send(e->fd, room, 10, 0));
		peer_recv_all(e, 10);
		MUST(write(other.channel, "y", 1));
	}
	reap(other.pid);
}

SCENARIO(passed_and_back, ALONE | UNOPENED)
{
	struct other other = OTHER({
		converse(&mine, 3);
		CALL(pass_right(channel, mine.fd, 0));
	});

	open_end(e, AF_INET, false);
	hand_over(&other, e);
	CALL(close(e->fd));
	peer_converses(e, 3);
	e->fd = take_right(other.channel, MSG_CMSG_CLOEXEC);
	reap(other.pid);
	e->sent += 150;
	e->taken += 300;
	SEND(e, 10, send(e->fd, room, 10, 0));
	peer_recv_all(e, 10);
	later(30);
	peer_send(e, 10);
	RECV(e, recv(e->fd, room, 100, 0));
	peer_wait();
}

/* In flight while nobody holds it; then the receiver dies with it. */
SCENARIO(in_flight, ALONE)
{
	int pair[2];

	MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	CALL(pass_right(pair[0], e->fd, 0));
	CALL(close(e->fd));
	peer_send(e, 10);
	rest();
	e->fd = take_right(pair[1], MSG_CMSG_CLOEXEC);
	arrive(e, 10);
	RECV(e, recv(e->fd, room, 100, 0));
	SEND(e, 10, send(e->fd, room, 10, 0));
	peer_recv_all(e, 10);
	CALL(pass_right(pair[0], e->fd, 0));
	CALL(close(e->fd));
	CALL(close(pair[1]));
	CALL(close(pair[0]));
	rest();
	peer_drain(e);
}

SCENARIO(passed_to_oneself, 0)
{
	int pair[2], twin;

	MUST(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair));
	CALL(pass_right(pair[0], e->fd, 0));
	twin = take_right(pair[1], MSG_CMSG_CLOEXEC);
	peer_send(e, 20);
	arrive(e, 20);
	RECV(e, recv(twin, room, 10, 0));
	RECV(e, recv(e->fd, room, 10, 0));
	SEND(e, 10, send(twin, room, 10, 0));
	CALL(close(twin));
	SEND(e, 10, send(e->fd, room, 10, 0));
	peer_recv_all(e, 20);
}

/* It has been used for long in both directions, and the peer has not read all. */
static void move_and_stuff(struct end *e)
{
	for (int i = 0; i < 60; i++) {
		give(e, 100);
		peer_recv_all(e, 100);
		peer_send(e, 100);
		take(e, 100);
	}
	give(e, 3000);
}

/* Nobody knows that the two numbers are one socket's: who has shut reading by the one finds an end by the other, and not that the peer died
 * with what it has not read. */
SCENARIO(shut_by_a_number_that_came_back, ALONE | UNOPENED)
{
	struct other other = OTHER(CALL(pass_right(channel, mine.fd, 0)));
	int back;

	open_end(e, AF_INET, false);
	move_and_stuff(e);
	hand_over(&other, e);
	back = take_right(other.channel, MSG_CMSG_CLOEXEC);
	reap(other.pid);
	CALL(shutdown(back, SHUT_RD));
	CALL(recv(e->fd, room, 10, MSG_PEEK));
	CALL(recv(e->fd, room, 10, 0));
	CALL(recv(e->fd, room, 10, MSG_DONTWAIT));
	give(e, 10);
	CALL(close(back));
	CALL(close(e->fd));
	peer_drain(e);
}

/* Another process that has it shuts reading, or both ways: what the peer has not read is no sign that it died. */
static void shut_by_a_child(struct end *e, int how)
{
	open_end(e, AF_INET, false);
	move_and_stuff(e);
	reap(CHILD(CALL(shutdown(e->fd, how))));
	CALL(recv(e->fd, room, 10, MSG_PEEK));
	CALL(recv(e->fd, room, 10, 0));
	CALL(recv(e->fd, room, 10, MSG_DONTWAIT));
	if (how == SHUT_RD)
		give(e, 10);
	else
		CALL(send(e->fd, room, 10, MSG_NOSIGNAL));
	CALL(recv(e->fd, room, 10, 0));
	CALL(close(e->fd));
	peer_drain(e);
}

SCENARIO(reading_shut_by_a_child, ALONE | UNOPENED)
{
	shut_by_a_child(e, SHUT_RD);
}

SCENARIO(both_shut_by_a_child, ALONE | UNOPENED)
{
	shut_by_a_child(e, SHUT_RDWR);
}

SCENARIO(not_passed, 0)
{
	int pair[2];

	MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	nonblocking(pair[0], true);
	while (send(pair[0], room, 60000, 0) > 0)
		;
	CALL(pass_right(pair[0], e->fd, 0));
	CALL(pass_right(pair[0], 999, 0));
	CALL(close(pair[1]));
	CALL(pass_right(pair[0], e->fd, MSG_NOSIGNAL));
	SEND(e, 10, send(e->fd, room, 10, 0));
	peer_recv_all(e, 10);
	peer_send(e, 10);
	arrive(e, 10);
	RECV(e, recv(e->fd, room, 100, 0));
}

SCENARIO(taken_by_pidfd, ALONE)
{
	int go[2];

	MUST(pipe(go));
	pid_t parent = getpid();
	pid_t child = CHILD({
		int theirs = e->fd;

		close(e->fd);
		int pidfd = (int)syscall(SYS_pidfd_open, parent, 0);

		e->fd = (int)syscall(SYS_pidfd_getfd, pidfd, theirs, 0);
		say("taken: %d", e->fd >= 0);
		if (e->fd >= 0) {
			take(e, 10);
			give(e, 10);
		}
	});

	settle_down();
	peer_send(e, 10);
	peer_recv_all(e, 10);
	reap(child);
}
