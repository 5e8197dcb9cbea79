/* The machine's own limits: a cache line handed between two processes and back, and copying memory. */
#include "common.h"

#include <stdatomic.h>
#include <string.h>

#include "sync/cpu.h"

#define BATCH        1000
#define MOST_BATCHES 100000
#define LAST         UINT64_MAX

struct line {
	_Alignas(CW_CACHE_LINE) _Atomic uint64_t word;
	char rest[CW_CACHE_LINE - sizeof(uint64_t)];
};

/* One line there, another back: what a message and its answer need at least. */
struct lines {
	struct line there, back;
};

static void answer(void *argument)
{
	struct lines *lines = argument;
	uint64_t seen = 0, word;

	do {
		do
			word = atomic_load_explicit(&lines->there.word, memory_order_acquire);
		while (word == seen);
		seen = word;
		atomic_store_explicit(&lines->back.word, seen, memory_order_release);
	} while (seen != LAST);
}

static void ask(struct lines *lines, uint64_t word)
{
	atomic_store_explicit(&lines->there.word, word, memory_order_release);
	while (atomic_load_explicit(&lines->back.word, memory_order_acquire) != word)
		;
}

static double cache_line(struct bench *bench, double *values)
{
	struct lines *lines = bench_shared(sizeof(*lines));
	uint64_t end, word = 0;
	size_t count = 0;

	bench_second(bench, answer, lines);
	ask(lines, ++word);
	end = bench_ns() + (uint64_t)(bench->seconds * 1e9);
	while (count < MOST_BATCHES && bench_ns() < end) {
		uint64_t start = bench_ns();

		for (int i = 0; i < BATCH; i++)
			ask(lines, ++word);
		values[count++] = (double)(bench_ns() - start) / BATCH;
	}
	ask(lines, LAST);
	bench_end(bench);
	return bench_quantile(values, count, 0.5);
}

/* Gigabytes copied a second. */
static double copying(struct bench *bench, size_t size, double *values)
{
	char *from = malloc(size), *to = malloc(size);
	uint64_t end = bench_ns() + (uint64_t)(bench->seconds / 2 * 1e9);
	size_t count = 0, times = size > 1 << 20 ? 1 : 1000;

	if (!from || !to)
		bench_fail("malloc");
	memset(from, 1, size);
	memset(to, 2, size);
	while (count < 3 || (count < MOST_BATCHES && bench_ns() < end)) {
		uint64_t start = bench_ns();

		for (size_t i = 0; i < times; i++) {
			memcpy(to, from, size);
			__asm__ volatile("" ::: "memory");
		}
		values[count++] = (double)(size * times) / (double)(bench_ns() - start);
	}
	free(from);
	free(to);
	return bench_quantile(values, count, 0.5);
}

int main(int argc, char **argv)
{
	struct bench bench = {.seconds = 0.5, .pin = true};
	double *values, line, near, far;

	bench_parse(&bench, argc, argv, "Limits of this machine that no transport can pass.", NULL);
	values = calloc(MOST_BATCHES, sizeof(*values));
	if (!values)
		bench_fail("malloc");
	line = cache_line(&bench, values);
	near = copying(&bench, 131072, values);
	far = copying(&bench, 256 << 20, values);
	free(values);
	bench_print(&bench, json_pack("{ss, sf, sf, sf}", "benchmark", "limits", "cache_line_round_trip_ns", line,
				      "copy_128k_gigabytes_per_second", near, "copy_256m_gigabytes_per_second", far));
	return 0;
}
