/* send() calls of a few bytes, one stream, one thread a side, the receiver reading 64 KiB at a time: how many a second arrive. */
#include "common.h"

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "sync/cpu.h"

#define RECEIVE 65536

static struct {
	size_t size;
	double interval_us;
} own = {.size = 8};

static const struct argp_option options[] = {
	{"size", 'm', "N", 0, "bytes a message (8)", 0},
	{"interval-us", 'i', "N", 0, "wait, busily, so long before each message (0)", 0},
	{0},
};

static error_t parse(int key, char *argument, struct argp_state *state)
{
	switch (key) {
	case 'm':
		if (bench_parse_sizes(argument, &own.size, 1, state) != 1 || own.size > 4096)
			argp_error(state, "one size, up to 4096");
		return 0;
	case 'i':
		own.interval_us = atof(argument);
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

/* Reads to the end of the stream, then says how much came. */
static void serve(struct bench *bench, int listener)
{
	static char buffer[RECEIVE];
	uint64_t total = 0;
	ssize_t got;
	int fd = bench_accept(bench, listener);

	while ((got = recv(fd, buffer, sizeof(buffer), 0)) > 0)
		total += (uint64_t)got;
	if (got < 0)
		bench_fail("recv");
	bench_send(fd, &total, sizeof(total));
	close(fd);
}

static void stay_busy(double us)
{
	uint64_t end = bench_ns() + (uint64_t)(us * 1000);

	while (bench_ns() < end)
		cw_pause();
}

static uint64_t send_messages(int fd, double seconds)
{
	uint64_t end = bench_ns() + (uint64_t)(seconds * 1e9), count = 0;
	unsigned char message[4096];

	memset(message, 'm', sizeof(message));
	do {
		for (int i = 0; i < (own.interval_us > 0 ? 1 : 256); i++, count++) {
			if (own.interval_us > 0)
				stay_busy(own.interval_us);
			bench_send(fd, message, own.size);
		}
	} while (bench_ns() < end);
	return count;
}

int main(int argc, char **argv)
{
	static const struct argp argp = {options, parse, NULL, NULL, NULL, NULL, NULL};
	struct bench bench = {.seconds = 1};
	uint64_t start, messages, total;
	struct bench_waiter waiter;
	double seconds;

	bench_parse(&bench, argc, argv, "Small messages a second, one way.", &argp);
	bench_start(&bench, serve);
	bench_waiter_open(&waiter, BENCH_RECV, bench_connect(&bench));
	start = bench_ns();
	messages = send_messages(waiter.fd, bench.seconds);
	if (shutdown(waiter.fd, SHUT_WR))
		bench_fail("shutdown");
	if (!bench_receive(&waiter, &total, sizeof(total)) || total != messages * own.size) {
		fprintf(stderr, "the receiver did not get what was sent\n");
		return 1;
	}
	seconds = (double)(bench_ns() - start) / 1e9;
	bench_waiter_close(&waiter);
	bench_end(&bench);
	bench_print(&bench,
		    json_pack("{ss, ss, sI, sf, sI, sf, sf}", "benchmark", "message_rate", "transport", bench.unix_domain ? "unix" : "tcp",
			      "size", (json_int_t)own.size, "interval_us", own.interval_us, "messages", (json_int_t)messages, "seconds",
			      seconds, "messages_per_second", (double)messages / seconds));
	return 0;
}
