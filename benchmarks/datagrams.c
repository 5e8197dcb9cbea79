/*
 * UDP between two processes, sendto and recvfrom on sockets that are not connected: half round trips, and how many datagrams a second
 * arrive, of how many that were sent.
 */
#include "common.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "sync/cpu.h"

#define MOST_ROUND_TRIPS 4000000
#define WARM_UP          2000

static struct {
	size_t size;
} own = {.size = 64};

static const struct argp_option options[] = {
	{"size", 'm', "N", 0, "bytes a datagram (64)", 0},
	{0},
};

static error_t parse(int key, char *argument, struct argp_state *state)
{
	if (key != 'm')
		return ARGP_ERR_UNKNOWN;
	if (bench_parse_sizes(argument, &own.size, 1, state) != 1 || own.size > 60000 || own.size < 16)
		argp_error(state, "one size, from 16 to 60000");
	return 0;
}

/* What a datagram begins with. */
enum kind { ECHO = 1, COUNT, TELL, END };
struct header {
	uint64_t kind, number;
};

static int open_socket(const struct bench *bench, struct sockaddr_in *name)
{
	struct sockaddr_in any = {.sin_family = AF_INET};
	socklen_t length = sizeof(*name);
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	inet_pton(AF_INET, bench->address, &any.sin_addr);
	if (fd < 0 || bind(fd, (struct sockaddr *)&any, sizeof(any)) || getsockname(fd, (struct sockaddr *)name, &length))
		bench_fail("socket");
	return fd;
}

/* It says its address on the connection, and then serves datagrams until it is told to end. */
static void serve(struct bench *bench, int listener)
{
	static char buffer[65536];
	struct header *header = (struct header *)(void *)buffer;
	struct sockaddr_in name, from;
	int connection = bench_accept(bench, listener), fd = open_socket(bench, &name);
	uint64_t count = 0;

	bench_send(connection, &name, sizeof(name));
	for (;;) {
		socklen_t length = sizeof(from);
		ssize_t got = recvfrom(fd, buffer, sizeof(buffer), 0, (struct sockaddr *)&from, &length);

		if (got < (ssize_t)sizeof(*header))
			bench_fail("recvfrom");
		if (header->kind == COUNT) {
			count++;
			continue;
		}
		if (header->kind == END)
			return;
		if (header->kind == TELL)
			header->number = count;
		if (sendto(fd, buffer, (size_t)got, 0, (struct sockaddr *)&from, length) != got)
			bench_fail("sendto");
	}
}

static void put(int fd, void *buffer, size_t size, const struct sockaddr_in *to)
{
	if (sendto(fd, buffer, size, 0, (const struct sockaddr *)to, sizeof(*to)) != (ssize_t)size)
		bench_fail("sendto");
}

/* The answer to that; one to an earlier question came too late. False: none in time. */
static bool get(int fd, void *buffer, uint64_t kind, uint64_t number)
{
	struct header *header = buffer;
	ssize_t got;

	do {
		got = recvfrom(fd, buffer, 65536, 0, NULL, NULL);
		if (got < 0 && errno != EAGAIN)
			bench_fail("recvfrom");
	} while (got >= 0 && (header->kind != kind || (kind == ECHO && header->number != number)));
	return got >= 0;
}

static size_t round_trips(const struct bench *bench, int fd, const struct sockaddr_in *to, double *half_us, uint64_t *lost)
{
	static char buffer[65536];
	struct header *header = (struct header *)(void *)buffer;
	uint64_t end = bench_ns() + (uint64_t)(bench->seconds * 1e9);
	size_t count = 0;

	for (size_t i = 0; count < MOST_ROUND_TRIPS && (i % 64 || bench_ns() < end); i++) {
		uint64_t before = bench_ns();

		header->kind = ECHO;
		header->number = i;
		put(fd, buffer, own.size, to);
		if (!get(fd, buffer, ECHO, i))
			++*lost;
		else if (i >= WARM_UP || bench->seconds < 1)
			half_us[count++] = (double)(bench_ns() - before) / 2000;
	}
	return count;
}

struct rate {
	uint64_t sent, received;
	double seconds;
};

static struct rate one_way(const struct bench *bench, int fd, const struct sockaddr_in *to)
{
	static char buffer[65536];
	struct header *header = (struct header *)(void *)buffer;
	uint64_t start = bench_ns(), end = start + (uint64_t)(bench->seconds * 1e9);
	struct rate rate = {0};

	header->kind = COUNT;
	do {
		for (int i = 0; i < 64; i++, rate.sent++)
			put(fd, buffer, own.size, to);
	} while (bench_ns() < end);
	rate.seconds = (double)(bench_ns() - start) / 1e9;
	/* The question goes behind all of them; it may be lost as they. */
	do {
		header->kind = TELL;
		put(fd, buffer, own.size, to);
	} while (!get(fd, buffer, TELL, 0));
	rate.received = header->number;
	return rate;
}

int main(int argc, char **argv)
{
	static const struct argp argp = {options, parse, NULL, NULL, NULL, NULL, NULL};
	struct timeval limit = {.tv_usec = 200000};
	struct bench bench = {.seconds = 1};
	struct sockaddr_in to, name;
	struct bench_waiter waiter;
	struct header end = {.kind = END};
	double *half_us;
	uint64_t lost = 0;
	struct rate rate;
	size_t count;
	int fd;

	bench_parse(&bench, argc, argv, "Datagrams between two processes.", &argp);
	half_us = calloc(MOST_ROUND_TRIPS, sizeof(*half_us));
	if (!half_us)
		bench_fail("calloc");
	bench_start(&bench, serve);
	bench_waiter_open(&waiter, BENCH_RECV, bench_connect(&bench));
	if (!bench_receive(&waiter, &to, sizeof(to)))
		bench_fail("the server left");
	fd = open_socket(&bench, &name);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	count = round_trips(&bench, fd, &to, half_us, &lost);
	rate = one_way(&bench, fd, &to);
	put(fd, &end, sizeof(end), &to);
	bench_waiter_close(&waiter);
	bench_end(&bench);
	bench_print(&bench, json_pack("{ss, ss, sI, sI, sf, sf, sI, sI, sf, sf}", "benchmark", "datagrams", "transport", "udp", "size",
				      (json_int_t)own.size, "lost", (json_int_t)lost, "half_us_median", bench_quantile(half_us, count, 0.5),
				      "half_us_p99", bench_quantile(half_us, count, 0.99), "sent", (json_int_t)rate.sent, "received",
				      (json_int_t)rate.received, "sent_per_second", (double)rate.sent / rate.seconds, "received_per_second",
				      (double)rate.received / rate.seconds));
	free(half_us);
	return 0;
}
