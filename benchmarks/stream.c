/* Throughput of one stream by the size of its writes; each size on a connection of its own. */
#include "common.h"

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define MOST_SIZES 32

static struct {
	size_t size[MOST_SIZES], sizes, receive;
} own = {.size = {65536}, .sizes = 1, .receive = 131072};

static const struct argp_option options[] = {
	{"size", 'm', "N,...", 0, "bytes a write (65536)", 0},
	{"receive", 'r', "N", 0, "bytes a read (131072)", 0},
	{0},
};

static error_t parse(int key, char *argument, struct argp_state *state)
{
	switch (key) {
	case 'm':
		own.sizes = bench_parse_sizes(argument, own.size, MOST_SIZES, state);
		return 0;
	case 'r':
		if (bench_parse_sizes(argument, &own.receive, 1, state) != 1)
			argp_error(state, "one size");
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static void serve(struct bench *bench, int listener)
{
	char *buffer = malloc(own.receive);

	if (!buffer)
		bench_fail("malloc");
	memset(buffer, 1, own.receive);
	for (size_t i = 0; i < own.sizes; i++) {
		int fd = bench_accept(bench, listener);
		uint64_t total = 0;
		ssize_t got;

		while ((got = recv(fd, buffer, own.receive, 0)) > 0)
			total += (uint64_t)got;
		if (got < 0)
			bench_fail("recv");
		bench_send(fd, &total, sizeof(total));
		close(fd);
	}
	free(buffer);
}

static json_t *one_size(struct bench *bench, size_t size)
{
	uint64_t start, end, bytes = 0, total;
	struct bench_waiter waiter;
	char *buffer = malloc(size);
	double seconds;

	if (!buffer)
		bench_fail("malloc");
	memset(buffer, 's', size);
	bench_waiter_open(&waiter, BENCH_RECV, bench_connect(bench));
	start = bench_ns();
	end = start + (uint64_t)(bench->seconds * 1e9);
	do {
		for (size_t burst = 0; burst < 262144; burst += size, bytes += size)
			bench_send(waiter.fd, buffer, size);
	} while (bench_ns() < end);
	if (shutdown(waiter.fd, SHUT_WR))
		bench_fail("shutdown");
	if (!bench_receive(&waiter, &total, sizeof(total)) || total != bytes) {
		fprintf(stderr, "the receiver did not get what was sent\n");
		exit(1);
	}
	seconds = (double)(bench_ns() - start) / 1e9;
	bench_waiter_close(&waiter);
	free(buffer);
	return json_pack("{sI, sI, sf, sf}", "size", (json_int_t)size, "bytes", (json_int_t)bytes, "seconds", seconds,
			 "gigabits_per_second", (double)bytes * 8 / seconds / 1e9);
}

int main(int argc, char **argv)
{
	static const struct argp argp = {options, parse, NULL, NULL, NULL, NULL, NULL};
	struct bench bench = {.seconds = 1};
	json_t *results = json_array();

	bench_parse(&bench, argc, argv, "Throughput of one stream.", &argp);
	bench_start(&bench, serve);
	for (size_t i = 0; i < own.sizes; i++)
		json_array_append_new(results, one_size(&bench, own.size[i]));
	bench_end(&bench);
	bench_print(&bench, json_pack("{ss, ss, sI, so}", "benchmark", "stream", "transport", bench.unix_domain ? "unix" : "tcp", "receive",
				      (json_int_t)own.receive, "results", results));
	return 0;
}
