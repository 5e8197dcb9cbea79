/* What it costs to wake a sleeping process: half round trips of two that sleep in turn, by pipe, eventfd and futex. */
#include "common.h"

#include <linux/futex.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#define MOST 1000000

enum means { PIPE, EVENT, FUTEX, MEANS };

static const char *const names[MEANS] = {"pipe_half_us_median", "eventfd_half_us_median", "futex_half_us_median"};

struct words {
	_Atomic uint32_t there, back, last;
};

struct pair {
	enum means means;
	int there[2], back[2]; /* read, write */
	struct words *words;
};

static void futex_wake(_Atomic uint32_t *word)
{
	atomic_fetch_add(word, 1);
	if (syscall(SYS_futex, word, FUTEX_WAKE, 1, NULL, NULL, 0) < 0)
		bench_fail("futex");
}

static void futex_wait(_Atomic uint32_t *word, uint32_t *seen)
{
	uint32_t now;

	while ((now = atomic_load(word)) == *seen)
		syscall(SYS_futex, word, FUTEX_WAIT, now, NULL, NULL, 0);
	*seen = now;
}

static void ring(int fd)
{
	uint64_t one = 1;

	if (write(fd, &one, sizeof(one)) != sizeof(one))
		bench_fail("write");
}

static void wait_for(int fd)
{
	uint64_t value;

	if (read(fd, &value, sizeof(value)) != sizeof(value))
		bench_fail("read");
}

static void second(void *argument)
{
	struct pair *pair = argument;
	uint32_t seen = 0;

	for (;;) {
		if (pair->means == FUTEX)
			futex_wait(&pair->words->there, &seen);
		else
			wait_for(pair->there[0]);
		if (atomic_load(&pair->words->last))
			return;
		if (pair->means == FUTEX)
			futex_wake(&pair->words->back);
		else
			ring(pair->back[1]);
	}
}

static void round_trip(struct pair *pair, uint32_t *seen)
{
	if (pair->means == FUTEX) {
		futex_wake(&pair->words->there);
		futex_wait(&pair->words->back, seen);
	} else {
		ring(pair->there[1]);
		wait_for(pair->back[0]);
	}
}

static void open_pair(struct pair *pair)
{
	pair->words = bench_shared(sizeof(*pair->words));
	if (pair->means == PIPE && (pipe(pair->there) || pipe(pair->back)))
		bench_fail("pipe");
	if (pair->means == EVENT) {
		pair->there[0] = pair->there[1] = eventfd(0, 0);
		pair->back[0] = pair->back[1] = eventfd(0, 0);
	}
}

static double half_us(struct bench *bench, enum means means, double *values)
{
	struct pair pair = {.means = means};
	uint64_t end;
	uint32_t seen = 0;
	size_t count = 0;

	open_pair(&pair);
	bench_second(bench, second, &pair);
	end = bench_ns() + (uint64_t)(bench->seconds * 1e9);
	while (count < MOST && bench_ns() < end) {
		uint64_t start = bench_ns();

		round_trip(&pair, &seen);
		values[count++] = (double)(bench_ns() - start) / 2000;
	}
	atomic_store(&pair.words->last, 1);
	if (means == FUTEX)
		futex_wake(&pair.words->there);
	else
		ring(pair.there[1]);
	bench_end(bench);
	return bench_quantile(values, count, 0.5);
}

int main(int argc, char **argv)
{
	struct bench bench = {.seconds = 0.3, .pin = true};
	json_t *result = json_pack("{ss}", "benchmark", "wake");
	double *values;

	bench_parse(&bench, argc, argv, "Waking a sleeping process on another processor.", NULL);
	values = calloc(MOST, sizeof(*values));
	if (!values)
		bench_fail("malloc");
	for (int means = 0; means < MEANS; means++)
		json_object_set_new(result, names[means], json_real(half_us(&bench, means, values)));
	free(values);
	bench_print(&bench, result);
	return 0;
}
