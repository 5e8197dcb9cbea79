/* How long a command takes from its start to its end: start [--count N] [--json] -- COMMAND ... */
#include "common.h"

#include <spawn.h>
#include <stdio.h>
#include <sys/wait.h>

static struct {
	size_t count;
	char **command;
} own = {.count = 50};

static const struct argp_option options[] = {
	{"count", 'k', "N", 0, "start it so many times (50)", 0},
	{0},
};

static error_t parse(int key, char *argument, struct argp_state *state)
{
	switch (key) {
	case 'k':
		own.count = strtoul(argument, NULL, 0);
		return 0;
	case ARGP_KEY_ARGS:
		own.command = state->argv + state->next;
		return 0;
	case ARGP_KEY_NO_ARGS:
		argp_error(state, "no command");
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static double once(void)
{
	uint64_t start = bench_ns();
	int status;
	pid_t pid;

	if (posix_spawnp(&pid, own.command[0], NULL, NULL, own.command, environ))
		bench_fail(own.command[0]);
	if (waitpid(pid, &status, 0) != pid || status) {
		fprintf(stderr, "%s failed (status %#x)\n", own.command[0], status);
		exit(1);
	}
	return (double)(bench_ns() - start) / 1000;
}

int main(int argc, char **argv)
{
	static const struct argp argp = {options, parse, NULL, NULL, NULL, NULL, NULL};
	struct bench bench = {.seconds = 1};
	double *times;

	bench_parse(&bench, argc, argv, "How long a command takes.", &argp);
	times = calloc(own.count + 1, sizeof(*times));
	if (!times)
		bench_fail("malloc");
	once();
	for (size_t i = 0; i < own.count; i++)
		times[i] = once();
	bench_print(&bench, json_pack("{ss, sI, sf, sf}", "benchmark", "start", "count", (json_int_t)own.count, "us_median",
				      bench_quantile(times, own.count, 0.5), "us_p99", bench_quantile(times, own.count, 0.99)));
	free(times);
	return 0;
}
