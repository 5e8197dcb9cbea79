/*
 * talk listen PORTFILE FLOW [OPTIONS], talk connect PORTFILE FLOW [OPTIONS]: traffic between two programs, whose content each checks.
 *
 * FLOW: in (the listener receives), out (it sends), both (at once), ping (one message to and fro). The last line says how it ended:
 *	sent S taken T end EOF|ECONNRESET|...|none
 * A wrong byte is a failure (status 1). --progress FILE keeps the counts of sent and taken where a killed program leaves them.
 */
#include "survive.h"

#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

struct progress {
	_Atomic uint64_t sent, taken, begun;
};

static struct {
	bool listening, by_line, hold;
	enum { IN, OUT, BOTH, PING } flow;
	enum { BLOCK, POLL, EPOLL } style;
	uint64_t bytes;
	size_t size;
	unsigned rounds, pause;
	uint64_t seed;
	const char *address;
	unsigned port, from; /* 0: any */
} how = {.bytes = 1u << 20, .size = 4096, .rounds = 1, .seed = 1, .address = "127.0.0.1"};

static struct progress *progress;
static const char *end_of_it = "none";
static bool ended;

struct side {
	int fd, set;
	uint64_t random;
};

static size_t next_size(struct side *s)
{
	s->random ^= s->random << 13;
	s->random ^= s->random >> 7;
	s->random ^= s->random << 17;
	return 1 + (size_t)((s->random * 0x2545f4914f6cdd1dull >> 20) % how.size);
}

static void wait_for(struct side *s, short events)
{
	struct pollfd p = {s->fd, events, 0};
	struct epoll_event event;

	if (how.style == POLL || (how.style == EPOLL && events != POLLIN))
		poll(&p, 1, -1);
	else if (how.style == EPOLL)
		epoll_wait(s->set, &event, 1, -1);
}

static bool over(const char *what, ssize_t n)
{
	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return false;
	/* The first end that is seen counts; a sender and a receiver may both see one. */
	if (!__atomic_exchange_n(&ended, true, __ATOMIC_SEQ_CST))
		end_of_it = n == 0 ? "EOF" : strerrorname_np(errno);
	(void)what;
	return true;
}

/* One send() or more, until all of it is gone or the stream has ended. */
static bool give(struct side *s, size_t count)
{
	static __thread unsigned char bytes[1u << 20];
	size_t at = 0;

	content_fill(!!how.listening, progress->sent, bytes, count);
	while (at < count) {
		ssize_t n = send(s->fd, bytes + at, count - at, MSG_NOSIGNAL);

		if (n > 0) {
			at += (size_t)n;
			progress->sent += (uint64_t)n;
		} else if (over("send", n)) {
			return false;
		} else if (errno == EAGAIN) {
			wait_for(s, POLLOUT);
		}
	}
	return true;
}

/* Up to count bytes; 0 at the end. */
static size_t take(struct side *s, size_t count)
{
	static __thread unsigned char bytes[1u << 20];

	for (;;) {
		ssize_t n = recv(s->fd, bytes, count, 0);

		if (n > 0) {
			size_t good = content_good(!how.listening, progress->taken, bytes, (size_t)n);

			if (good < (size_t)n)
				fail("wrong byte at %lu", progress->taken + good);
			progress->taken += (uint64_t)n;
			return (size_t)n;
		}
		if (over("recv", n))
			return 0;
		if (errno == EAGAIN)
			wait_for(s, POLLIN);
	}
}

static void *send_stream(void *argument)
{
	struct side mine = *(struct side *)argument;

	for (uint64_t left = how.bytes; left;) {
		size_t count = next_size(&mine);

		count = count < left ? count : left;
		if (!give(&mine, count))
			return NULL;
		left -= count;
		if (how.pause && mine.random % 4 == 0)
			pause_us((long)(mine.random % how.pause));
	}
	shutdown(mine.fd, SHUT_WR);
	return NULL;
}

static void receive_stream(struct side *s)
{
	while (take(s, how.size)) {
		if (how.pause && progress->taken % 16 == 0)
			pause_us((long)(progress->taken % how.pause));
	}
}

static bool take_whole(struct side *s, size_t count)
{
	while (count) {
		size_t n = take(s, count);

		if (!n)
			return false;
		count -= n;
	}
	return true;
}

/* Both ends draw the same sizes. */
static void ping(struct side *s)
{
	for (uint64_t left = how.bytes; left;) {
		size_t count = next_size(s);

		count = count < left ? count : left;
		if (!how.listening && (!give(s, count) || !take_whole(s, count)))
			return;
		if (how.listening && (!take_whole(s, count) || !give(s, count)))
			return;
		left -= count;
		if (how.pause && s->random % 16 == 0)
			pause_us((long)(s->random % how.pause));
	}
	shutdown(s->fd, SHUT_WR);
	take(s, 1);
}

static void stream(struct side *s)
{
	pthread_t sender;
	bool sends = how.flow == BOTH || how.flow == (how.listening ? OUT : IN);

	if (how.flow == PING) {
		ping(s);
		return;
	}
	if (!sends) {
		shutdown(s->fd, SHUT_WR);
		receive_stream(s);
	} else if (how.flow != BOTH) {
		send_stream(s);
		receive_stream(s);
	} else {
		MUST(-pthread_create(&sender, NULL, send_stream, s));
		receive_stream(s);
		pthread_join(sender, NULL);
	}
}

static void one_round(int fd, unsigned round)
{
	struct side s = {fd, -1, how.seed * 0x9e3779b97f4a7c15ull + round + 1};
	struct epoll_event event = {.events = EPOLLIN};

	progress->sent = progress->taken = 0;
	ended = false;
	end_of_it = "none";
	if (how.style != BLOCK)
		MUST(fcntl(fd, F_SETFL, O_RDWR | O_NONBLOCK));
	if (how.style == EPOLL) {
		s.set = (int)MUST(epoll_create1(EPOLL_CLOEXEC));
		MUST(epoll_ctl(s.set, EPOLL_CTL_ADD, fd, &event));
	}
	progress->begun++;
	stream(&s);
	printf("sent %lu taken %lu end %s\n", progress->sent, progress->taken, end_of_it);
	if (how.hold && !getchar())
		return;
	close(fd);
	if (s.set >= 0 && how.style == EPOLL)
		close(s.set);
}

static void wait_for_line(void)
{
	int c;

	if (!how.by_line)
		return;
	while ((c = getchar()) != '\n')
		if (c == EOF)
			exit(0);
}

static void listen_and_talk(const char *port_file)
{
	uint16_t port = (uint16_t)how.port;
	int listener = listen_at(how.address, &port);
	char temporary[512];

	snprintf(temporary, sizeof(temporary), "%s.part", port_file);
	FILE *file = fopen(temporary, "w");

	if (!file)
		fail("%s: %m", temporary);
	fprintf(file, "%u\n", port);
	fclose(file);
	MUST(rename(temporary, port_file));
	for (unsigned i = 0; i < how.rounds; i++)
		one_round((int)MUST(accept4(listener, NULL, NULL, SOCK_CLOEXEC)), i);
}

static void connect_and_talk(const char *port_file)
{
	FILE *file = NULL;
	unsigned port = 0;

	for (int i = 0; i < 1000 && !(file = fopen(port_file, "r")); i++)
		pause_us(10000);
	if (!file || fscanf(file, "%u", &port) != 1)
		fail("no port in %s", port_file);
	fclose(file);
	for (unsigned i = 0; i < how.rounds; i++) {
		wait_for_line();
		one_round(connect_to(how.address, (uint16_t)port, (uint16_t)how.from), i);
	}
}

static void keep_progress(const char *path)
{
	int fd = (int)MUST(open(path, O_RDWR | O_CREAT, 0600));

	MUST(ftruncate(fd, 4096));
	progress = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (progress == MAP_FAILED)
		fail("%s: %m", path);
	close(fd);
}

static int choose(const char *word, const char *const *words)
{
	for (int i = 0; words[i]; i++)
		if (!strcmp(word, words[i]))
			return i;
	fail("what is %s?", word);
}

int main(int count, char **words)
{
	static const struct option options[] = {{"bytes", required_argument, NULL, 'b'},
						{"size", required_argument, NULL, 's'},
						{"style", required_argument, NULL, 'y'},
						{"rounds", required_argument, NULL, 'r'},
						{"pause", required_argument, NULL, 'p'},
						{"progress", required_argument, NULL, 'f'},
						{"seed", required_argument, NULL, 'x'},
						{"by-line", no_argument, NULL, 'l'},
						{"hold", no_argument, NULL, 'h'},
						{"address", required_argument, NULL, 'a'},
						{"port", required_argument, NULL, 'o'},
						{"from", required_argument, NULL, 'm'},
						{NULL, 0, NULL, 0}};
	static struct progress own;
	int option;

	progress = &own;
	setvbuf(stdout, NULL, _IOLBF, 0);
	while ((option = getopt_long(count, words, "", options, NULL)) != -1) {
		switch (option) {
		case 'b':
			how.bytes = strtoull(optarg, NULL, 10);
			break;
		case 's':
			how.size = strtoul(optarg, NULL, 10);
			break;
		case 'y':
			how.style = choose(optarg, (const char *const[]){"block", "poll", "epoll", NULL});
			break;
		case 'r':
			how.rounds = (unsigned)strtoul(optarg, NULL, 10);
			break;
		case 'p':
			how.pause = (unsigned)strtoul(optarg, NULL, 10);
			break;
		case 'f':
			keep_progress(optarg);
			break;
		case 'x':
			how.seed = strtoull(optarg, NULL, 10);
			break;
		case 'l':
			how.by_line = true;
			break;
		case 'h':
			how.hold = true;
			break;
		case 'a':
			how.address = optarg;
			break;
		case 'o':
			how.port = (unsigned)strtoul(optarg, NULL, 10);
			break;
		case 'm':
			how.from = (unsigned)strtoul(optarg, NULL, 10);
			break;
		default:
			return 64;
		}
	}
	if (optind + 3 != count || !how.size || how.size > 1u << 20)
		fail("talk listen|connect PORTFILE in|out|both|ping [OPTIONS]");
	how.listening = !choose(words[optind], (const char *const[]){"listen", "connect", NULL});
	how.flow = choose(words[optind + 2], (const char *const[]){"in", "out", "both", "ping", NULL});
	if (how.listening)
		listen_and_talk(words[optind + 1]);
	else
		connect_and_talk(words[optind + 1]);
	return 0;
}
