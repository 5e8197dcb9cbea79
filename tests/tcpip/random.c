/* random [FIRST [COUNT [SECONDS]]]: two cores against each other in COUNT random worlds, or as many as SECONDS allow.
 * A failure prints the seed that shows it again; with TRACE set every segment is shown. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "transport/tcpip/tcp.h"
#include "world.h"

static void show(struct world *world)
{
	printf("seed %" PRIu64 ": %s\n  %s, %" PRIu64 " steps, %.3f s of its time\n", world->seed, world->failure, world->story,
	       world->steps, (double)(world->now - world->began) / 1e6);
	for (unsigned side = 0; side < 2; side++) {
		const struct path *path = &world->path[side];

		printf("  side %u: mtu %u, frames to %u; path: delay %" PRIu64 " jitter %" PRIu64 " bandwidth %" PRIu64
		       " mtu %u loss %.3f burst %.3f twice %.3f damage %.3f reorder %.3f%s%s%s\n",
		       side, world->config[side].mtu, world->config[side].frame_max, path->delay, path->jitter, path->bandwidth, path->mtu,
		       path->loss, path->burst, path->duplicate, path->corrupt, path->reorder, path->cuts ? " cuts" : "",
		       path->merges ? " merges" : "", path->partial ? " partial" : "");
		for (int i = 0; i < CW_TCPIP_COUNTERS; i++)
			if (cw_tcpip_counter(world->core[side], i))
				printf("    %8" PRIu64 " %s\n", cw_tcpip_counter(world->core[side], i), cw_tcpip_counter_name(i));
	}
	for (unsigned i = 0; i < world->streams; i++)
		for (unsigned side = 0; side < 2; side++) {
			const struct program *program = &world->program[i][side];

			printf("  stream %u.%u: to send %" PRIu64 " written %" PRIu64 " acknowledged %" PRIu64 " received %" PRIu64
			       " read %" PRIu64 " shut %d closed %d gone %d error %d\n",
			       i, side, program->to_send, program->written, program->acknowledged, program->received, program->read,
			       program->shut, program->closed, program->gone, program->error);
			if (program->connection) {
				const struct cw_tcp *tcp = program->connection;

				printf("    state %u recovery %u una %" PRIu64 " nxt %" PRIu64 " end %" PRIu64 " edge %" PRIu64
				       " cwnd %" PRIu64 " sacked %" PRIu64 " lost %" PRIu64 " again %" PRIu64
				       " mss %u backoffs %u sack %d records %u\n",
				       tcp->state, tcp->recovery, tcp->snd_una, tcp->snd_nxt, tcp->snd_end, tcp->snd_edge, tcp->cwnd,
				       tcp->sacked, tcp->lost, tcp->retransmitted, tcp->mss, tcp->backoffs, tcp->sack, tcp->sent_records);
				printf("    rcv_nxt %" PRIu64 " adv %" PRIu64 " blocks %u unacked %u\n", tcp->rcv_nxt, tcp->rcv_adv,
				       tcp->block_count, tcp->unacked);
			}
		}
}

/* So many seconds of the processor, and no more than twice as many where others use it too. */
static bool time_is_over(clock_t began, time_t began_at, double seconds)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)(clock() - began) / CLOCKS_PER_SEC >= seconds || (double)(now.tv_sec - began_at) >= 2 * seconds;
}

int main(int argc, char **argv)
{
	struct timespec began_at;
	uint64_t first = argc > 1 ? strtoull(argv[1], NULL, 0) : (uint64_t)time(NULL) << 20, steps = 0, frames = 0;
	unsigned long count = argc > 2 ? strtoul(argv[2], NULL, 0) : 1, bad = 0;
	double seconds = argc > 3 ? atof(argv[3]) : 1e9;
	clock_t began = clock();
	uint64_t total[CW_TCPIP_COUNTERS] = {0}, grown = 0;

	setvbuf(stdout, NULL, _IOLBF, 0);
	clock_gettime(CLOCK_MONOTONIC, &began_at);
	for (unsigned long i = 0; i < count && bad < 5 && !time_is_over(began, began_at.tv_sec, seconds); i++) {
		struct world *world = world_make(first + i);

		world->trace = getenv("TRACE");
		if (!world_run(world)) {
			show(world);
			printf("not ok tcpip/random # %s; again: random %" PRIu64 "\n", world->failure, world->seed);
			bad++;
		}
		steps += world->steps;
		frames += world->frames;
		grown += world->grown;
		for (unsigned side = 0; side < 2; side++)
			for (int k = 0; k < CW_TCPIP_COUNTERS; k++)
				total[k] += cw_tcpip_counter(world->core[side], k);
		world_free(world);
	}
	for (int k = 0; k < CW_TCPIP_COUNTERS; k++)
		printf("%12" PRIu64 " %s\n", total[k], cw_tcpip_counter_name(k));
	printf("%" PRIu64 " steps, %" PRIu64 " frames, %" PRIu64 " rings grown, seeds from %" PRIu64 "\n", steps, frames, grown, first);
	if (!bad)
		printf("ok tcpip/random\n");
	return bad != 0;
}
