/*
 * One end of a conversation, content checked.
 *
 *	talk listen ADDRESS PORT BYTES
 *	talk connect ADDRESS PORT BYTES
 *	talk listen ADDRESS PORT ROUNDS asleep|apart|looking
 *	talk connect ADDRESS PORT ROUNDS asleep|apart|looking GAP
 *
 * First ping-pong, a number and its answer. Then both ends send BYTES at the same time, in pieces of changing size, and check what they
 *get: each byte tells its place. Now and then an end pauses, so that both sleep. The last line is "done BYTES", "wrong PLACE", or "ended
 *PLACE ERRNO" for a connection that was reset or ended before.
 *
 * In rounds the caller sends, and the other answers, with so many microseconds between: each waits in a blocking receive (apart: from the
 * first message on; else after some without a pause), or looks all the time.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define ROUNDS 2000u
#define MOST   65536u

static unsigned char byte_of(uint64_t place, unsigned from)
{
	return (unsigned char)(place * 31 + place / 251 + place / 65521 + from * 97);
}

static _Noreturn void ended(uint64_t place)
{
	printf("ended %llu %d\n", (unsigned long long)place, errno);
	exit(1);
}

static _Noreturn void wrong(uint64_t place)
{
	printf("wrong %llu\n", (unsigned long long)place);
	exit(2);
}

static int looks;              /* never sleeps */
static uint64_t warm_up = 100; /* rounds without a pause */

static void all(int fd, void *bytes, size_t length, int out)
{
	for (size_t at = 0; at < length;) {
		ssize_t done = out ? send(fd, (char *)bytes + at, length - at, MSG_NOSIGNAL)
				   : recv(fd, (char *)bytes + at, length - at, looks ? MSG_DONTWAIT : 0);

		if (done < 0 && looks && errno == EAGAIN)
			continue;
		if (done <= 0)
			ended(at);
		at += (size_t)done;
	}
}

static void pause_a_little(void)
{
	struct timespec time = {.tv_nsec = 3000000};

	nanosleep(&time, NULL);
}

static void ping_pong(int fd, int calls)
{
	for (uint64_t i = 0; i < ROUNDS; i++) {
		uint64_t number = calls ? i : 0;

		if (calls)
			all(fd, &number, sizeof(number), 1);
		all(fd, &number, sizeof(number), 0);
		if (number != (calls ? ~i : i))
			wrong(i);
		number = ~number;
		if (!calls)
			all(fd, &number, sizeof(number), 1);
		if (i % 400 == 399 && calls)
			pause_a_little();
	}
}

static size_t piece_of(uint64_t round)
{
	return (size_t)(round * 2654435761u >> 7) % MOST + 1;
}

/*
 * The first come one upon the other, so that the stream goes by ring: a reader that sleeps through every gap takes its offer back before
 * the writer sees it.
 */
static void in_rounds(int fd, uint64_t rounds, int calls, unsigned gap)
{
	static unsigned char room[MOST];
	uint64_t place = 0;

	for (uint64_t round = 0; round < rounds; round++) {
		size_t length = piece_of(round) % 2048 + 1;

		for (size_t i = 0; i < length && calls; i++)
			room[i] = byte_of(place + i, 1);
		if (calls && gap && round >= warm_up)
			usleep(gap);
		all(fd, room, length, calls);
		for (size_t i = 0; i < length && !calls; i++)
			if (room[i] != byte_of(place + i, 1))
				wrong(place + i);
		place += length;
		all(fd, room, 1, !calls);
		if (calls && room[0] != byte_of(place - length, 1))
			wrong(place);
		if (round % 32 == 0)
			printf("at %llu\n", (unsigned long long)round);
	}
}

/* Nothing, or how far it came. */
static uint64_t send_some(int fd, uint64_t at, uint64_t end, uint64_t round, unsigned self)
{
	static unsigned char room[MOST];
	size_t length = piece_of(round);
	ssize_t sent;

	if (length > end - at)
		length = (size_t)(end - at);
	for (size_t i = 0; i < length; i++)
		room[i] = byte_of(at + i, self);
	sent = send(fd, room, length, MSG_NOSIGNAL | MSG_DONTWAIT);
	if (sent < 0 && errno != EAGAIN)
		ended(at);
	return sent < 0 ? 0 : (uint64_t)sent;
}

static uint64_t receive_some(int fd, uint64_t at, uint64_t round, unsigned other)
{
	static unsigned char room[MOST];
	ssize_t got = recv(fd, room, piece_of(round + 7), MSG_DONTWAIT);

	if (got < 0 && errno == EAGAIN)
		return 0;
	if (got <= 0)
		ended(at);
	for (ssize_t i = 0; i < got; i++)
		if (room[i] != byte_of(at + (uint64_t)i, other))
			wrong(at + (uint64_t)i);
	return (uint64_t)got;
}

static void both_ways(int fd, uint64_t bytes, int calls)
{
	uint64_t out = 0, in = 0, told = 0;

	for (uint64_t round = 0; out < bytes || in < bytes; round++) {
		struct pollfd look = {.fd = fd, .events = (short)((out < bytes ? POLLOUT : 0) | (in < bytes ? POLLIN : 0))};

		if (poll(&look, 1, 100000) <= 0)
			ended(in);
		if (look.revents & POLLOUT)
			out += send_some(fd, out, bytes, round, (unsigned)calls);
		if (look.revents & ~POLLOUT && in < bytes)
			in += receive_some(fd, in, round, (unsigned)!calls);
		if (round % 300 == 299)
			pause_a_little();
		if (in >> 22 != told) {
			told = in >> 22;
			printf("at %llu\n", (unsigned long long)in);
		}
	}
}

static int accept_one(const struct sockaddr_in *address)
{
	int door = socket(AF_INET, SOCK_STREAM, 0), yes = 1, fd;

	setsockopt(door, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
	if (bind(door, (const struct sockaddr *)address, sizeof(*address)) < 0 || listen(door, 1) < 0)
		ended(0);
	puts("ready");
	fd = accept(door, NULL, NULL);
	close(door);
	return fd;
}

static int call(const struct sockaddr_in *address)
{
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	for (int tries = 0; tries < 200; tries++) {
		if (connect(fd, (const struct sockaddr *)address, sizeof(*address)) == 0)
			return fd;
		close(fd);
		usleep(50000);
		fd = socket(AF_INET, SOCK_STREAM, 0);
	}
	ended(0);
}

int main(int argc, char **argv)
{
	struct sockaddr_in address = {.sin_family = AF_INET};
	int calls = argc >= 5 && strcmp(argv[1], "connect") == 0, fd;
	uint64_t bytes;
	char byte;

	if (argc < 5 || argc > 7 || inet_pton(AF_INET, argv[2], &address.sin_addr) != 1)
		return 64;
	setvbuf(stdout, NULL, _IOLBF, 0);
	address.sin_port = htons((uint16_t)atoi(argv[3]));
	bytes = strtoull(argv[4], NULL, 10);
	fd = calls ? call(&address) : accept_one(&address);
	if (fd < 0)
		ended(0);
	looks = argc > 5 && strcmp(argv[5], "looking") == 0;
	if (argc > 5 && strcmp(argv[5], "apart") == 0)
		warm_up = 0;
	if (argc > 5)
		in_rounds(fd, bytes, calls, argc > 6 ? (unsigned)atoi(argv[6]) : 0);
	else
		ping_pong(fd, calls), both_ways(fd, bytes, calls);
	shutdown(fd, SHUT_WR);
	if (recv(fd, &byte, 1, 0) != 0)
		ended(bytes);
	printf("done %llu\n", (unsigned long long)bytes);
	return 0;
}
