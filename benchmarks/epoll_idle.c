/*
 * A server that waits in one epoll set for one busy stream, alone and then among many idle ones in the same set: half round trips of the
 * busy one. Each idle stream talks for a while first, so that it is one that has been moved, not one that never lived.
 */
#include "common.h"

#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "sync/cpu.h"

#define SIZE     64
#define ROUNDS   500000
#define AT_ONCE  64
#define RESERVED 64 /* descriptors for everything else */

static struct {
	size_t idle, warm;
} own = {.idle = 10000, .warm = 8};

static const struct argp_option options[] = {
	{"idle", 'i', "N", 0, "idle streams (10000)", 0},
	{"warm", 'W', "N", 0, "round trips of each before it is idle (8)", 0},
	{0},
};

static error_t parse(int key, char *argument, struct argp_state *state)
{
	switch (key) {
	case 'i':
		own.idle = strtoul(argument, NULL, 0);
		return 0;
	case 'W':
		own.warm = strtoul(argument, NULL, 0);
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static void raise_limit(void)
{
	struct rlimit limit, wanted = {own.idle + RESERVED, own.idle + RESERVED};

	if (getrlimit(RLIMIT_NOFILE, &limit))
		bench_fail("getrlimit");
	if (limit.rlim_cur >= wanted.rlim_cur)
		return;
	if (limit.rlim_max > wanted.rlim_max)
		wanted.rlim_max = limit.rlim_max;
	if (!setrlimit(RLIMIT_NOFILE, &wanted))
		return;
	limit.rlim_cur = limit.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &limit) || limit.rlim_max <= 2 * RESERVED)
		bench_fail("RLIMIT_NOFILE");
	own.idle = limit.rlim_max - RESERVED;
	fprintf(stderr, "the limit of open files leaves %zu idle streams\n", own.idle);
}

static void add(struct bench *bench, int set, int listener)
{
	struct epoll_event event = {.events = EPOLLIN};

	event.data.fd = bench_accept(bench, listener);
	if (epoll_ctl(set, EPOLL_CTL_ADD, event.data.fd, &event))
		bench_fail("epoll_ctl");
}

/* Until the first end of a stream: the client keeps all open until it is done. */
static void serve(struct bench *bench, int listener)
{
	struct epoll_event events[AT_ONCE] = {{.events = EPOLLIN, .data.fd = listener}};
	int set = epoll_create1(EPOLL_CLOEXEC);
	char buffer[SIZE];

	if (set < 0 || epoll_ctl(set, EPOLL_CTL_ADD, listener, events))
		bench_fail("epoll");
	for (;;) {
		int ready = epoll_wait(set, events, AT_ONCE, -1);

		if (ready < 0)
			bench_fail("epoll_wait");
		for (int i = 0; i < ready; i++) {
			ssize_t got;

			if (events[i].data.fd == listener) {
				add(bench, set, listener);
				continue;
			}
			got = recv(events[i].data.fd, buffer, SIZE, 0);
			if (got <= 0)
				return;
			bench_send(events[i].data.fd, buffer, (size_t)got);
		}
	}
}

static void round_trip(struct bench_waiter *waiter)
{
	char buffer[SIZE] = "busy";

	bench_send(waiter->fd, buffer, SIZE);
	if (!bench_receive(waiter, buffer, SIZE))
		bench_fail("the server left");
}

static void measure(struct bench *bench, struct bench_waiter *waiter, double *values, double *median, double *p99)
{
	uint64_t start_ns, start, end_ns;
	double us_a_tick;
	size_t count = 0;

	for (int i = 0; i < 2000; i++)
		round_trip(waiter);
	start_ns = bench_ns();
	start = cw_ticks();
	end_ns = start_ns + (uint64_t)(bench->seconds * 1e9);
	while (count < ROUNDS && (count % 64 || bench_ns() < end_ns)) {
		uint64_t before = cw_ticks();

		round_trip(waiter);
		values[count++] = (double)(cw_ticks() - before);
	}
	us_a_tick = (double)(bench_ns() - start_ns) / 1000 / (double)(cw_ticks() - start);
	*median = bench_quantile(values, count, 0.5) * us_a_tick / 2;
	*p99 = bench_quantile(values, count, 0.99) * us_a_tick / 2;
}

static void open_idle(struct bench *bench)
{
	for (size_t i = 0; i < own.idle; i++) {
		struct bench_waiter waiter;

		bench_waiter_open(&waiter, BENCH_RECV, bench_connect(bench));
		for (size_t j = 0; j < own.warm; j++)
			round_trip(&waiter);
	}
}

int main(int argc, char **argv)
{
	static const struct argp argp = {options, parse, NULL, NULL, NULL, NULL, NULL};
	struct bench bench = {.seconds = 1, .limit = 120};
	double alone, alone_p99, among, among_p99, *values;
	struct bench_waiter waiter;

	bench_parse(&bench, argc, argv, "One busy stream among idle ones in an epoll set.", &argp);
	raise_limit();
	values = calloc(ROUNDS, sizeof(*values));
	if (!values)
		bench_fail("malloc");
	memset(values, 1, ROUNDS * sizeof(*values));
	bench_start(&bench, serve);
	bench_waiter_open(&waiter, BENCH_RECV, bench_connect(&bench));
	measure(&bench, &waiter, values, &alone, &alone_p99);
	open_idle(&bench);
	measure(&bench, &waiter, values, &among, &among_p99);
	bench_waiter_close(&waiter);
	bench_end(&bench);
	free(values);
	bench_print(&bench,
		    json_pack("{ss, sI, sI, sf, sf, sf, sf, sf}", "benchmark", "epoll_idle", "idle", (json_int_t)own.idle, "warm",
			      (json_int_t)own.warm, "alone_half_us_median", alone, "alone_half_us_p99", alone_p99, "among_half_us_median",
			      among, "among_half_us_p99", among_p99, "among_over_alone", alone > 0 ? among / alone : 0));
	return 0;
}
