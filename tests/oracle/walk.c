/* Walks: made from a seed, written as a script of steps, made again from one; on several threads, each with streams and a peer of its own.
 */
#include <inttypes.h>
#include "walk.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#define WALK_SECONDS 20
#define MOST_THREADS 8

/*
 * A walk that lies, to try what reads walks: told wrong as soon as the second kind of step follows the first on one walker; with Causeway
 * alone, where the kernel would be right.
 */
const char *walk_lie;

struct lie {
	char first[16], second[16];
	bool seen[WALKERS];
};

static bool tells_a_lie(struct lie *lie, const struct step *step)
{
	const char *kind = walk_kinds[step->kind], *preload = getenv("LD_PRELOAD");

	if (!walk_lie || !preload || !strstr(preload, "causeway"))
		return false;
	if (!lie->first[0])
		sscanf(walk_lie, "%15[^,],%15s", lie->first, lie->second);
	if (!strcmp(kind, lie->second) && lie->seen[step->walker]) {
		say("a lie, as was asked for");
		return true;
	}
	lie->seen[step->walker] |= !strcmp(kind, lie->first);
	return false;
}

static bool do_step(const struct step *step, struct lie *lie, FILE *out)
{
	if (out) {
		fprintf(out, "%s %u %" PRIu64 "\n", walk_kinds[step->kind], step->walker, step->seed);
		fflush(out);
	}
	return walk_step(step) && !tells_a_lie(lie, step);
}

/* A walk that hangs says where. */
static void out_of_time(int number __attribute__((unused)))
{
	walk_begin(0);
	_exit(1);
}

static bool by_seed(uint64_t seed, unsigned count, FILE *out)
{
	uint64_t state = seed * 0x9e3779b97f4a7c15ull + 1;
	struct lie lie = {0};
	unsigned kinds = 0;
	bool good = true;

	while (walk_kinds[kinds])
		kinds++;
	for (unsigned i = 0; i < WALKERS && good; i++)
		good = do_step(&(struct step){0, i, walk_any(&state, UINT64_MAX)}, &lie, out);
	for (unsigned i = 0; i < count && good; i++) {
		struct step step = {1 + (unsigned)walk_any(&state, kinds - 1), (unsigned)walk_any(&state, WALKERS), 0};

		step.seed = walk_any(&state, UINT64_MAX);
		good = do_step(&step, &lie, out);
	}
	return good;
}

static bool by_script(const char *path)
{
	FILE *in = fopen(path, "re");
	struct lie lie = {0};
	struct step step;
	char kind[32];
	bool good = true;

	MUST(in ? 0 : -1);
	while (good && fscanf(in, "%31s %u %" SCNu64, kind, &step.walker, &step.seed) == 3) {
		for (step.kind = 0; walk_kinds[step.kind] && strcmp(walk_kinds[step.kind], kind); step.kind++)
			;
		if (!walk_kinds[step.kind] || step.walker >= WALKERS) {
			say("no such step: %s %u", kind, step.walker);
			return false;
		}
		good = do_step(&step, &lie, NULL);
	}
	fclose(in);
	return good;
}

struct walking {
	const struct walk_order *order;
	uint64_t seed;
	pthread_t thread;
	unsigned steps;
	bool good;
};

static void go(struct walking *walking)
{
	const struct walk_order *order = walking->order;
	FILE *out = order->write ? fopen(order->write, "we") : NULL;

	walk_begin(walking->seed);
	walking->good = order->script ? by_script(order->script) : by_seed(walking->seed, order->steps, out);
	walking->steps = walk_end();
	walking->good &= !walk_failed();
	if (out)
		fclose(out);
}

/* Peers inherit what there is when they are started: no stream yet. */
static pthread_barrier_t all_have_peers;

static void *go_with_a_peer(void *argument)
{
	peer_start_own();
	pthread_barrier_wait(&all_have_peers);
	go(argument);
	return NULL;
}

int walk(const struct walk_order *order)
{
	struct walking walking[MOST_THREADS] = {{order, order->seed, 0, 0, false}};
	unsigned threads = order->threads < MOST_THREADS ? order->threads : MOST_THREADS, steps = 0;
	bool good = true;

	signal(SIGALRM, out_of_time);
	alarm(WALK_SECONDS);
	hush(true);
	pthread_barrier_init(&all_have_peers, NULL, threads ? threads : 1);
	for (unsigned i = 1; i < threads; i++) {
		walking[i] = (struct walking){order, order->seed + 1000 * i, 0, 0, false};
		MUST(-pthread_create(&walking[i].thread, NULL, go_with_a_peer, &walking[i]));
	}
	pthread_barrier_wait(&all_have_peers);
	go(&walking[0]);
	for (unsigned i = 0; i < threads || !i; i++) {
		if (i)
			pthread_join(walking[i].thread, NULL);
		good &= walking[i].good;
		steps += walking[i].steps;
	}
	if (good)
		say("seed %lu: %u steps", (unsigned long)order->seed, steps);
	return !good;
}
