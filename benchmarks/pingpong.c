/* Half round trips of messages of several sizes, blocking in recv, poll or epoll_wait; each size on a connection of its own. */
#include "common.h"

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "sync/cpu.h"

#define MOST_SIZES 32
#define WARM_UP    2000

struct pingpong {
	size_t size[MOST_SIZES], sizes, count;
	double interval_us;
};

static struct pingpong own = {.size = {64}, .sizes = 1, .count = 2000000};

static const struct argp_option options[] = {
	{"size", 'm', "N,...", 0, "bytes a message (64)", 0},
	{"count", 'k', "N", 0, "at most so many round trips a size (2000000)", 0},
	{"interval-us", 'i', "N", 0, "wait, busily, so long before each message (0)", 0},
	{0},
};

static error_t parse(int key, char *argument, struct argp_state *state)
{
	switch (key) {
	case 'm':
		own.sizes = bench_parse_sizes(argument, own.size, MOST_SIZES, state);
		return 0;
	case 'k':
		own.count = strtoul(argument, NULL, 0);
		return 0;
	case 'i':
		own.interval_us = atof(argument);
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

/* A connection begins with the size of its messages; 0 ends the server. */
static void serve(struct bench *bench, int listener)
{
	for (;;) {
		struct bench_waiter waiter;
		uint64_t size;
		char *buffer;

		bench_waiter_open(&waiter, bench->wait, bench_accept(bench, listener));
		if (!bench_receive(&waiter, &size, sizeof(size)) || !size)
			return;
		buffer = malloc(size);
		if (!buffer)
			bench_fail("malloc");
		while (bench_receive(&waiter, buffer, size))
			bench_send(waiter.fd, buffer, size);
		free(buffer);
		bench_waiter_close(&waiter);
	}
}

static void stay_busy(double us)
{
	uint64_t end = bench_ns() + (uint64_t)(us * 1000);

	while (us > 0 && bench_ns() < end)
		cw_pause();
}

static void round_trip(struct bench_waiter *waiter, char *buffer, size_t size)
{
	bench_send(waiter->fd, buffer, size);
	if (!bench_receive(waiter, buffer, size))
		bench_fail("the server left");
}

/* Ticks of each round trip; returns how many, and what a tick is. */
static size_t measure(struct bench *bench, struct bench_waiter *waiter, char *buffer, size_t size, uint32_t *ticks, double *us_a_tick)
{
	uint64_t start_ns = bench_ns(), start = cw_ticks(), end_ns = start_ns + (uint64_t)(bench->seconds * 1e9), now = start_ns;
	size_t count = 0;

	while (count < own.count && (count % 64 || (now = bench_ns()) < end_ns)) {
		uint64_t before;

		stay_busy(own.interval_us);
		before = cw_ticks();
		round_trip(waiter, buffer, size);
		ticks[count++] = (uint32_t)(cw_ticks() - before);
	}
	*us_a_tick = (double)(bench_ns() - start_ns) / 1000 / (double)(cw_ticks() - start);
	return count;
}

static json_t *one_size(struct bench *bench, size_t size, uint32_t *ticks, double *half_us)
{
	char *buffer = calloc(1, size);
	struct bench_waiter waiter;
	double us_a_tick, sum = 0;
	uint64_t header = size;
	size_t count;

	if (!buffer)
		bench_fail("malloc");
	bench_waiter_open(&waiter, bench->wait, bench_connect(bench));
	bench_send(waiter.fd, &header, sizeof(header));
	for (size_t i = 0; i < (own.interval_us > 0 ? 16 : WARM_UP); i++)
		round_trip(&waiter, buffer, size);
	count = measure(bench, &waiter, buffer, size, ticks, &us_a_tick);
	bench_waiter_close(&waiter);
	free(buffer);
	for (size_t i = 0; i < count; i++)
		sum += half_us[i] = ticks[i] * us_a_tick / 2;
	return json_pack("{sI, sI, sf, sf, sf, sf}", "size", (json_int_t)size, "messages", (json_int_t)(2 * count), "half_us_median",
			 bench_quantile(half_us, count, 0.5), "half_us_p99", bench_quantile(half_us, count, 0.99), "half_us_p999",
			 bench_quantile(half_us, count, 0.999), "half_us_mean", sum / (double)(count ? count : 1));
}

static void client(struct bench *bench, json_t *results)
{
	uint32_t *ticks = malloc(own.count * sizeof(*ticks));
	double *half_us = malloc(own.count * sizeof(*half_us));
	uint64_t end = 0;
	int fd;

	if (!ticks || !half_us)
		bench_fail("malloc");
	memset(ticks, 0, own.count * sizeof(*ticks)); /* no page faults while measuring */
	for (size_t i = 0; i < own.sizes; i++)
		json_array_append_new(results, one_size(bench, own.size[i], ticks, half_us));
	fd = bench_connect(bench);
	bench_send(fd, &end, sizeof(end));
	close(fd);
	free(ticks);
	free(half_us);
}

int main(int argc, char **argv)
{
	static const struct argp argp = {options, parse, NULL, NULL, NULL, NULL, NULL};
	struct bench bench = {.seconds = 1};
	json_t *results = json_array();

	bench_parse(&bench, argc, argv, "Half round trips between two processes.", &argp);
	bench_start(&bench, serve);
	client(&bench, results);
	bench_end(&bench);
	bench_print(&bench, json_pack("{ss, ss, ss, sf, so}", "benchmark", "pingpong", "transport", bench.unix_domain ? "unix" : "tcp",
				      "wait", bench_wait_name(bench.wait), "interval_us", own.interval_us, "results", results));
	return 0;
}
