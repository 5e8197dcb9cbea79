/* Calls on descriptors that are no sockets: nanoseconds each, so that runs with and without the library can be compared. */
#include "common.h"

#include <fcntl.h>
#include <unistd.h>

#define BATCH      2000
#define MOST_TIMES 100000

static int null_fd, zero_fd, pipe_fds[2];

static void write_null(void)
{
	if (write(null_fd, "x", 1) != 1)
		bench_fail("write");
}

static void read_zero(void)
{
	char byte;

	if (read(zero_fd, &byte, 1) != 1)
		bench_fail("read");
}

static void fcntl_pipe(void)
{
	if (fcntl(pipe_fds[0], F_GETFL) < 0)
		bench_fail("fcntl");
}

static void write_read_pipe(void)
{
	char byte;

	if (write(pipe_fds[1], "x", 1) != 1 || read(pipe_fds[0], &byte, 1) != 1)
		bench_fail("pipe");
}

static const struct call {
	const char *name;
	void (*run)(void);
	int calls;
} calls[] = {
	{"write /dev/null", write_null, 1},
	{"read /dev/zero", read_zero, 1},
	{"fcntl pipe", fcntl_pipe, 1},
	{"write, read pipe", write_read_pipe, 2},
};

#define CALLS (sizeof(calls) / sizeof(calls[0]))

static double batch(const struct call *call)
{
	uint64_t start = bench_ns();

	for (int i = 0; i < BATCH; i++)
		call->run();
	return (double)(bench_ns() - start) / (BATCH * call->calls);
}

int main(int argc, char **argv)
{
	static double times[CALLS][MOST_TIMES];
	struct bench bench = {.seconds = 1};
	json_t *results = json_object();
	uint64_t end;
	size_t count = 0;

	bench_parse(&bench, argc, argv, "What calls cost on descriptors that are not sockets.", NULL);
	bench_pin(&bench, 0);
	null_fd = open("/dev/null", O_WRONLY);
	zero_fd = open("/dev/zero", O_RDONLY);
	if (null_fd < 0 || zero_fd < 0 || pipe(pipe_fds))
		bench_fail("open");
	end = bench_ns() + (uint64_t)(bench.seconds * 1e9);
	for (size_t i = 0; i < CALLS; i++)
		batch(&calls[i]);
	while (count < MOST_TIMES && bench_ns() < end) {
		for (size_t i = 0; i < CALLS; i++)
			times[i][count] = batch(&calls[i]);
		count++;
	}
	for (size_t i = 0; i < CALLS; i++)
		json_object_set_new(results, calls[i].name, json_real(bench_quantile(times[i], count, 0.5)));
	bench_print(&bench, json_pack("{ss, sI, so}", "benchmark", "not_ours", "batches", (json_int_t)count, "ns", results));
	return 0;
}
