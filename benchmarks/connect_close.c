/* Connections that live for one request, or some: connect, send, receive the answer, wait for the end, close; one after another. */
#include "common.h"

#include <arpa/inet.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static struct {
	size_t size;
	unsigned int requests;
	bool client_closes, loopback, forks;
} own = {.size = 64, .requests = 1};

static const struct argp_option options[] = {
	{"size", 'm', "N", 0, "bytes a request and an answer (64)", 0},
	{"requests", 'R', "N", 0, "so many requests a connection (1)", 0},
	{"fork", 'F', NULL, 0, "the server has a process of its own for each connection", 0},
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
	case 'R':
		own.requests = (unsigned int)strtoul(argument, NULL, 10);
		if (!own.requests || own.requests > 1000000)
			argp_error(state, "1 to 1000000 requests");
		return 0;
	case 'F':
		own.forks = true;
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

/* False: a connection without a request, which ends the server. */
static bool answer(int fd, char *buffer)
{
	struct bench_waiter waiter;
	char byte;

	bench_waiter_open(&waiter, BENCH_RECV, fd);
	for (unsigned int i = 0; i < own.requests; i++) {
		if (!bench_receive(&waiter, buffer, own.size)) {
			if (i)
				bench_fail("too few requests");
			return false;
		}
		bench_send(fd, buffer, own.size);
	}
	if (own.client_closes && bench_receive(&waiter, &byte, 1))
		bench_fail("more than the requests");
	bench_waiter_close(&waiter);
	return true;
}

/* As answer(); the listener's process only waits for the one that answers. */
static bool answer_by_child(int fd, char *buffer)
{
	pid_t child = fork();
	int status;

	if (child < 0)
		bench_fail("fork");
	if (!child)
		_exit(!answer(fd, buffer));
	close(fd);
	if (waitpid(child, &status, 0) < 0 || !WIFEXITED(status))
		bench_fail("a server's process");
	return !WEXITSTATUS(status);
}

static void serve(struct bench *bench, int listener)
{
	char *buffer = room();

	while ((own.forks ? answer_by_child : answer)(bench_accept(bench, listener), buffer))
		;
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
	for (unsigned int i = 0; i < own.requests; i++) {
		bench_send(waiter.fd, buffer, own.size);
		if (!bench_receive(&waiter, buffer, own.size))
			bench_fail("no answer");
	}
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

	bench_parse(&bench, argc, argv, "Short connections a second.", &argp);
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
