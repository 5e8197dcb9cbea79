/* Many threads on a stream; both ends in one program. */
#define FAMILY "threads"
#include "oracle.h"
#include "peer.h"
#include "sets.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>

#define SENDERS 8
#define RECORDS 100
/* Not a divisor of any ring's size: some record lies across its end. */
#define RECORD 61

struct sender {
	int fd, letter;
	long short_ones;
	pthread_t thread;
};

static void *send_records(void *argument)
{
	struct sender *s = argument;
	unsigned char record[RECORD];

	memset(record, s->letter, sizeof(record));
	for (int i = 0; i < RECORDS; i++)
		s->short_ones += send(s->fd, record, sizeof(record), 0) != RECORD;
	return NULL;
}

static void many_send(struct end *e, bool reader_waits)
{
	struct sender senders[SENDERS];
	long short_ones = 0;

	later(1);
	if (reader_waits)
		peer_records(e, SENDERS * RECORDS, RECORD);
	for (int i = 0; i < SENDERS; i++) {
		senders[i] = (struct sender){.fd = e->fd, .letter = 'a' + i};
		MUST(-pthread_create(&senders[i].thread, NULL, send_records, &senders[i]));
	}
	for (int i = 0; i < SENDERS; i++) {
		pthread_join(senders[i].thread, NULL);
		short_ones += senders[i].short_ones;
	}
	say("short ones %ld", short_ones);
	if (reader_waits)
		peer_wait();
	else
		peer_records(e, SENDERS * RECORDS, RECORD);
}

SCENARIO(many_send_to_a_reader, 0)
{
	for (int i = 0; i < 8; i++)
		many_send(e, true);
}

SCENARIO(many_send_unread, 0)
{
	for (int i = 0; i < 8; i++)
		many_send(e, false);
}

struct duplex {
	struct end end;
	size_t count;
	pthread_t thread;
};

static void *send_all(void *argument)
{
	struct duplex *d = argument;
	static __thread unsigned char bytes[5000];

	for (size_t left = d->count; left;) {
		size_t part = left < sizeof(bytes) ? left : sizeof(bytes);

		fill(&d->end, bytes, part);
		ssize_t n = send(d->end.fd, bytes, part, 0);

		if (n <= 0)
			break;
		gave(&d->end, n);
		left -= (size_t)n;
	}
	return NULL;
}

/* One thread sends while another receives on the same descriptor. */
SCENARIO(duplex, 0)
{
	struct duplex d = {*e, 3u << 20, 0};

	later(1);
	peer_send_all(e, 3 << 20);
	MUST(-pthread_create(&d.thread, NULL, send_all, &d));
	take(e, 3u << 20);
	peer_wait();
	peer_recv_all(e, 3 << 20);
	pthread_join(d.thread, NULL);
}

/* Both ends here. */
static void own_pair(struct end *one, struct end *two)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t length = sizeof(at);
	int listener = (int)MUST(socket(AF_INET, SOCK_STREAM, 0));

	MUST(bind(listener, (struct sockaddr *)&at, sizeof(at)));
	MUST(listen(listener, 5));
	MUST(getsockname(listener, (struct sockaddr *)&at, &length));
	*one = (struct end){.fd = (int)MUST(socket(AF_INET, SOCK_STREAM, 0))};
	MUST(connect(one->fd, (struct sockaddr *)&at, sizeof(at)));
	*two = (struct end){.fd = (int)MUST(accept(listener, NULL, NULL))};
	close(listener);
	for (unsigned i = 0; i < manner.warm; i++) {
		char byte = 'w';

		MUST(send(one->fd, &byte, 1, 0));
		MUST(recv(two->fd, &byte, 1, 0));
		MUST(send(two->fd, &byte, 1, 0));
		MUST(recv(one->fd, &byte, 1, 0));
		if (i % 4 == 0)
			usleep(1000);
	}
}

/* The other end's content is direction 0 too: it is checked as it is sent here. */
static void relay(const struct end *from, const struct end *to, size_t count)
{
	static unsigned char sent[4096], got[4096];

	content_fill(0, from->sent + count, sent, count);
	ssize_t n = send(from->fd, sent, count, 0);

	arrive(to, (int)count);
	ssize_t m = recv(to->fd, got, sizeof(got), MSG_DONTWAIT);

	if (n != (ssize_t)count || m != n || memcmp(sent, got, count))
		say("relay of %zu: %zd %zd", count, n, m);
}

SCENARIO(with_oneself, UNOPENED)
{
	struct end one, two;

	own_pair(&one, &two);
	nonblocking(one.fd, true);
	nonblocking(two.fd, true);
	for (size_t i = 1; i < 100; i++) {
		relay(&one, &two, i * 31);
		relay(&two, &one, i * 29);
	}
	CALL(recv(one.fd, room, 1, 0));
	CALL(recv(two.fd, room, 1, 0));
	say("full: %d", stuff(&one));
	struct pollfd p[2] = {{one.fd, POLLIN | POLLOUT, 0}, {two.fd, POLLIN | POLLOUT, 0}};

	CALL(poll(p, 2, 0));
	say("  %s %s", POLLED((unsigned)p[0].revents), POLLED((unsigned)p[1].revents));
	uint64_t got = 0;

	while (got < one.sent) {
		ssize_t n = recv(two.fd, room, ROOM, 0);

		if (n < 0 && errno == EAGAIN && poll(&p[1], 1, 1000) == 1)
			continue;
		if (n <= 0 || content_good(0, got, room, (size_t)n) != (size_t)n)
			break;
		got += (uint64_t)n;
	}
	say("all came: %d", got == one.sent);
	CALL(shutdown(one.fd, SHUT_WR));
	rest();
	CALL(recv(two.fd, room, 10, 0));
	CALL(close(two.fd));
	rest();
	CALL(recv(one.fd, room, 10, 0));
}

SCENARIO(with_oneself_by_epoll, UNOPENED)
{
	struct end ends[2];
	struct epoll_event event;
	int set = new_set(), turns = 0;

	own_pair(&ends[0], &ends[1]);
	MUST(control(set, EPOLL_CTL_ADD, ends[0].fd, EPOLLIN | EPOLLET, 0));
	MUST(control(set, EPOLL_CTL_ADD, ends[1].fd, EPOLLIN, 1));
	MUST(send(ends[0].fd, "ball", 4, 0));
	while (turns < 500 && epoll_wait(set, &event, 1, 2000) == 1) {
		int fd = ends[event.data.u32].fd;
		char ball[8];

		if (recv(fd, ball, sizeof(ball), 0) != 4 || memcmp(ball, "ball", 4))
			break;
		MUST(send(fd, ball, 4, 0));
		turns++;
	}
	say("turns %d", turns);
}

/* Many connections, made, used and closed by several threads at once. */
static void *make_and_close(void *argument)
{
	long *good = argument;

	for (int i = 0; i < 10; i++) {
		struct end one, two;
		unsigned char sent[300], got[300];

		own_pair(&one, &two);
		content_fill(0, (uint64_t)i, sent, sizeof(sent));
		*good +=
			send(one.fd, sent, sizeof(sent), 0) == 300 && recv(two.fd, got, 300, MSG_WAITALL) == 300 && !memcmp(sent, got, 300);
		close(one.fd);
		*good += recv(two.fd, got, 300, 0) == 0;
		close(two.fd);
	}
	return NULL;
}

SCENARIO(made_and_closed_by_threads, UNOPENED)
{
	pthread_t thread[4];
	long good[4] = {0};

	for (int i = 0; i < 4; i++)
		MUST(-pthread_create(&thread[i], NULL, make_and_close, &good[i]));
	for (int i = 0; i < 4; i++) {
		pthread_join(thread[i], NULL);
		say("good %ld", good[i]);
	}
}

/* ---- a number that others are put in the place of, while it is used ---- */

#define IN_TURN 12

struct number {
	struct end ends[IN_TURN][2]; /* this end, the other */
	int fd;
	_Atomic bool over;
	_Atomic long sent, wrong, got;
};

static bool is_wrong(long result)
{
	return result < 0 && errno != EAGAIN;
}

static void *use_by_sending(void *argument)
{
	struct number *n = argument;
	char record[50] = {0};

	while (!atomic_load(&n->over)) {
		ssize_t sent = send(n->fd, record, sizeof(record), MSG_DONTWAIT | MSG_NOSIGNAL);

		n->wrong += is_wrong(sent);
		n->sent += sent > 0 ? sent : 0;
	}
	return NULL;
}

static void *use_by_looking(void *argument)
{
	struct number *n = argument;
	char none;

	while (!atomic_load(&n->over)) {
		int error;
		socklen_t size = sizeof(error);

		n->wrong += is_wrong(getsockopt(n->fd, SOL_SOCKET, SO_ERROR, &error, &size)) || error;
		n->wrong += is_wrong(recv(n->fd, &none, 1, MSG_DONTWAIT));
	}
	return NULL;
}

static void *read_to_the_ends(void *argument)
{
	struct number *n = argument;
	struct pollfd others[IN_TURN];
	static __thread char bytes[16384];

	for (int i = 0; i < IN_TURN; i++)
		others[i] = (struct pollfd){n->ends[i][1].fd, POLLIN, 0};
	for (int left = IN_TURN; left && poll(others, IN_TURN, 10000) > 0;)
		for (int i = 0; i < IN_TURN; i++) {
			ssize_t got = others[i].revents ? recv(others[i].fd, bytes, sizeof(bytes), 0) : 1;

			n->got += got > 0 && others[i].revents ? got : 0;
			n->wrong += got < 0;
			if (got > 0)
				continue;
			others[i].fd = -1;
			left--;
		}
	return NULL;
}

/* Each call finds one or another of them, and what it sends comes there. */
static void put_in_place(bool last)
{
	static void *(*const uses[])(void *) = {use_by_sending, use_by_looking, read_to_the_ends};
	static struct number n;
	pthread_t thread[3];

	n = (struct number){0};
	for (int i = 0; i < IN_TURN; i++)
		own_pair(&n.ends[i][0], &n.ends[i][1]);
	n.fd = (int)MUST(dup(n.ends[0][0].fd));
	for (int i = 0; i < 3; i++)
		MUST(-pthread_create(&thread[i], NULL, uses[i], &n));
	for (int i = 0; i < (last ? IN_TURN : 300); i++) {
		usleep(last ? 2000 : i % 3 ? 50 : 500);
		MUST(dup2(n.ends[i % IN_TURN][0].fd, n.fd));
		if (last)
			close(n.ends[i][0].fd);
	}
	atomic_store(&n.over, true);
	for (int i = 0; i < 2; i++)
		pthread_join(thread[i], NULL);
	for (int i = 0; i < IN_TURN && !last; i++)
		close(n.ends[i][0].fd);
	close(n.fd);
	pthread_join(thread[2], NULL);
	say("wrong %ld, lost %ld", n.wrong, n.sent - n.got);
	for (int i = 0; i < IN_TURN; i++)
		close(n.ends[i][1].fd);
}

SCENARIO(put_in_place_in_turn, UNOPENED)
{
	put_in_place(false);
}

SCENARIO(put_in_place_of_the_last, UNOPENED)
{
	put_in_place(true);
}

static struct sockaddr_in receiver;
static int received_by;

static void *use_by_sending_to(void *argument)
{
	struct number *n = argument;
	char record[50] = {0};

	while (!atomic_load(&n->over)) {
		n->wrong += is_wrong(sendto(n->fd, record, sizeof(record), MSG_DONTWAIT, (struct sockaddr *)&receiver, sizeof(receiver)));
		n->wrong += is_wrong(recv(n->fd, record, sizeof(record), MSG_DONTWAIT));
		n->wrong += is_wrong(recv(received_by, record, sizeof(record), MSG_DONTWAIT));
	}
	return NULL;
}

/* Each time the last of a socket, of which another thread is in a call. */
SCENARIO(put_in_place_of_datagrams, UNOPENED)
{
	static struct number n;
	socklen_t size = sizeof(receiver);
	pthread_t thread;

	n = (struct number){0};
	received_by = (int)MUST(socket(AF_INET, SOCK_DGRAM, 0));
	receiver = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	MUST(bind(received_by, (struct sockaddr *)&receiver, sizeof(receiver)));
	MUST(getsockname(received_by, (struct sockaddr *)&receiver, &size));
	n.fd = (int)MUST(socket(AF_INET, SOCK_DGRAM, 0));
	MUST(-pthread_create(&thread, NULL, use_by_sending_to, &n));
	for (int i = 0; i < 200; i++) {
		int next = (int)MUST(socket(AF_INET, SOCK_DGRAM, 0));

		usleep(3000);
		MUST(dup2(next, n.fd));
		close(next);
	}
	atomic_store(&n.over, true);
	pthread_join(thread, NULL);
	say("wrong %ld", n.wrong);
	close(n.fd);
	close(received_by);
}

static int waited_in;

static void *use_by_waiting(void *argument)
{
	struct number *n = argument;
	struct epoll_event event;

	while (!atomic_load(&n->over))
		n->wrong += is_wrong(epoll_wait(waited_in, &event, 1, 1));
	return NULL;
}

/* What a set is waited in for meanwhile. */
SCENARIO(put_in_place_of_registered, UNOPENED)
{
	static struct number n;
	struct end ends[2], next[2];
	pthread_t thread;

	n = (struct number){0};
	waited_in = (int)MUST(epoll_create1(0));
	own_pair(&ends[0], &ends[1]);
	n.fd = ends[0].fd;
	MUST(-pthread_create(&thread, NULL, use_by_waiting, &n));
	for (int i = 0; i < 100; i++) {
		struct epoll_event event = {.events = EPOLLIN};

		n.wrong += epoll_ctl(waited_in, EPOLL_CTL_ADD, n.fd, &event) != 0;
		own_pair(&next[0], &next[1]);
		for (int k = 0; k < 8; k++) {
			char bytes[8];

			send(next[1].fd, "message", 8, 0);
			recv(next[0].fd, bytes, 8, 0);
		}
		MUST(dup2(next[0].fd, n.fd));
		close(next[0].fd);
		close(ends[1].fd);
		ends[1] = next[1];
	}
	atomic_store(&n.over, true);
	pthread_join(thread, NULL);
	say("wrong %ld", n.wrong);
	close(n.fd);
	close(ends[1].fd);
	close(waited_in);
}
