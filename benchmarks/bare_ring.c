/*
 * A byte ring between two processes and nothing else: no socket, no state, no sleeping. What shared memory gives here to whoever needs no
 * more: half round trips, small messages a second, throughput.
 */
#include "common.h"

#include <stdatomic.h>
#include <string.h>

#include "sync/cpu.h"

#define RING   262144u
#define STRIDE (RING / 4) /* room is given back in strides */
#define SIZE   64
#define BATCH  1000
#define MOST   100000

struct ring {
	_Alignas(CW_CACHE_LINE) _Atomic uint64_t written;
	_Alignas(CW_CACHE_LINE) _Atomic uint64_t given_back;
	_Alignas(CW_CACHE_LINE) _Atomic uint32_t end;
	_Alignas(4096) char bytes[RING];
};

/* One process's view of one end. */
struct end {
	struct ring *ring;
	uint64_t at, other;
};

struct pair {
	struct ring there, back;
};

static void copy_in(struct end *end, const char *from, size_t size)
{
	size_t offset = end->at % RING, first = size < RING - offset ? size : RING - offset;

	memcpy(end->ring->bytes + offset, from, first);
	memcpy(end->ring->bytes, from + first, size - first);
}

static void copy_out(struct end *end, char *to, size_t size)
{
	size_t offset = end->at % RING, first = size < RING - offset ? size : RING - offset;

	memcpy(to, end->ring->bytes + offset, first);
	memcpy(to + first, end->ring->bytes, size - first);
}

static void put(struct end *end, const char *from, size_t size)
{
	while (end->at + size - end->other > RING) {
		end->other = atomic_load_explicit(&end->ring->given_back, memory_order_acquire);
		cw_pause();
	}
	copy_in(end, from, size);
	end->at += size;
	atomic_store_explicit(&end->ring->written, end->at, memory_order_release);
}

/* At least one byte and at most size; 0 when the writer has ended. */
static size_t get(struct end *end, char *to, size_t size)
{
	while (end->other == end->at) {
		bool ended = atomic_load_explicit(&end->ring->end, memory_order_acquire);

		end->other = atomic_load_explicit(&end->ring->written, memory_order_acquire);
		if (ended && end->other == end->at)
			return 0;
	}
	if (size > end->other - end->at)
		size = end->other - end->at;
	copy_out(end, to, size);
	end->at += size;
	if (end->at - atomic_load_explicit(&end->ring->given_back, memory_order_relaxed) >= STRIDE)
		atomic_store_explicit(&end->ring->given_back, end->at, memory_order_release);
	return size;
}

static void echo(void *argument)
{
	struct pair *pair = argument;
	struct end in = {.ring = &pair->there}, out = {.ring = &pair->back};
	char buffer[SIZE];
	size_t got;

	while ((got = get(&in, buffer, SIZE)) != 0)
		put(&out, buffer, got);
}

static void drain(void *argument)
{
	static char buffer[65536];
	struct pair *pair = argument;
	struct end in = {.ring = &pair->there}, out = {.ring = &pair->back};

	while (get(&in, buffer, sizeof(buffer)))
		;
	put(&out, buffer, 1);
}

static double half_round_trip_ns(struct bench *bench)
{
	struct pair *pair = bench_shared(sizeof(*pair));
	struct end out = {.ring = &pair->there}, in = {.ring = &pair->back};
	uint64_t end;
	double *values = calloc(MOST, sizeof(*values));
	char buffer[SIZE] = "ping";
	size_t count = 0;

	if (!values)
		bench_fail("malloc");
	bench_second(bench, echo, pair);
	end = bench_ns() + (uint64_t)(bench->seconds * 1e9);
	while (count < MOST && bench_ns() < end) {
		uint64_t start = bench_ns();

		for (int i = 0; i < BATCH; i++) {
			put(&out, buffer, SIZE);
			for (size_t got = 0; got < SIZE;)
				got += get(&in, buffer + got, SIZE - got);
		}
		values[count++] = (double)(bench_ns() - start) / BATCH / 2;
	}
	atomic_store_explicit(&pair->there.end, 1, memory_order_release);
	bench_end(bench);
	return bench_quantile(values, count, 0.5);
}

/* Messages of this size a second, one way. */
static double rate(struct bench *bench, size_t size)
{
	struct pair *pair = bench_shared(sizeof(*pair));
	struct end out = {.ring = &pair->there}, in = {.ring = &pair->back};
	char *buffer = calloc(1, size), last;
	uint64_t start, end, count = 0;

	if (!buffer)
		bench_fail("malloc");
	bench_second(bench, drain, pair);
	start = bench_ns();
	end = start + (uint64_t)(bench->seconds * 1e9);
	do {
		for (int i = 0; i < 256; i++, count++)
			put(&out, buffer, size);
	} while (bench_ns() < end);
	atomic_store_explicit(&pair->there.end, 1, memory_order_release);
	get(&in, &last, 1);
	end = bench_ns();
	bench_end(bench);
	free(buffer);
	return (double)count / ((double)(end - start) / 1e9);
}

int main(int argc, char **argv)
{
	struct bench bench = {.seconds = 0.5, .pin = true};
	double half, small, large;

	bench_parse(&bench, argc, argv, "A bare byte ring between two processes.", NULL);
	half = half_round_trip_ns(&bench);
	small = rate(&bench, 8);
	large = rate(&bench, 65536);
	bench_print(&bench, json_pack("{ss, sf, sf, sf}", "benchmark", "bare_ring", "half_round_trip_64_ns", half, "messages_8_per_second",
				      small, "gigabits_per_second_64k", large * 65536 * 8 / 1e9));
	return 0;
}
