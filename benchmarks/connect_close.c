/* Connections that live for one request: connect, send, receive the answer, wait for the end, close; one after another. */
#include "common.h"

#include <arpa/inet.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static struct {
	size_t size;
	bool client_closes, loopback;
} own = {.size = 64};

static const struct argp_option options[] = {
	{"size", 'm', "N", 0, "bytes a request and an answer (64)", 0},
	{"client-closes", 'C', NULL, 0, "the client closes first (the server)", 0},
	{0},
};

static error_t parse(int key, char *argument, struct argp_state *state)
{
	switch (key) {
	case 'm':
		if (bench_parse_sizes(argument, &own.size, 1, state) != 1)
			argp_error(state, "one size");
		return 0;
	case 'C':
		own.client_closes = true;
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static char *room(void)
{
	char *buffer = calloc(1, own.size);

	if (!buffer)
		bench_fail("malloc");
	return buffer;
}

/* A connection without a request ends the server. */
static void serve(struct bench *bench, int listener)
{
	char *buffer = room(), byte;

	for (;;) {
		struct bench_waiter waiter;

		bench_waiter_open(&waiter, BENCH_RECV, bench_accept(bench, listener));
		if (!bench_receive(&waiter, buffer, own.size))
			break;
		bench_send(waiter.fd, buffer, own.size);
		if (own.client_closes && bench_receive(&waiter, &byte, 1))
			bench_fail("more than a request");
		bench_waiter_close(&waiter);
	}
	free(buffer);
}

/* The ports of one address do for 28,000 connections a minute; loopback has more addresses. */
static void next_address(struct bench *bench, unsigned int number)
{
	static char address[INET_ADDRSTRLEN];

	if (!own.loopback)
		return;
	snprintf(address, sizeof(address), "127.0.0.%u", 1 + number % 64);
	bench->address = address;
}

static void request(struct bench *bench, char *buffer)
{
	struct bench_waiter waiter;
	char byte;

	bench_waiter_open(&waiter, BENCH_RECV, bench_connect(bench));
	bench_send(waiter.fd, buffer, own.size);
	if (!bench_receive(&waiter, buffer, own.size))
		bench_fail("no answer");
	if (!own.client_closes && bench_receive(&waiter, &byte, 1))
		bench_fail("more than an answer");
	bench_waiter_close(&waiter);
}

int main(int argc, char **argv)
{
	static const struct argp argp = {options, parse, NULL, NULL, NULL, NULL, NULL};
	struct bench bench = {.seconds = 1};
	unsigned int count = 0;
	uint64_t start, end;
	double seconds;
	char *buffer;

	bench_parse(&bench, argc, argv, "Connections of one request a second.", &argp);
	own.loopback = !bench.unix_domain && !strncmp(bench.address, "127.", 4);
	if (own.loopback)
		bench.address = "0.0.0.0";
	bench_start(&bench, serve);
	buffer = room();
	start = bench_ns();
	end = start + (uint64_t)(bench.seconds * 1e9);
	do {
		next_address(&bench, count++);
		request(&bench, buffer);
	} while (bench_ns() < end);
	seconds = (double)(bench_ns() - start) / 1e9;
	close(bench_connect(&bench));
	bench_end(&bench);
	free(buffer);
	bench_print(&bench,
		    json_pack("{ss, ss, sI, sf, sf}", "benchmark", "connect_close", "transport", bench.unix_domain ? "unix" : "tcp",
			      "connections", (json_int_t)count, "seconds", seconds, "connections_per_second", (double)count / seconds));
	return 0;
}
