/* The world, run until both ends of all streams are done. */
#include "world.h"

#include <stdio.h>
#include <stdlib.h>

#include "packet_bytes.h"
#include "transport/tcpip/tcp.h"

#define MOST_STEPS 4000000u
#define MOST_TIME  (4 * 3600 * 1000000ull)

static void trace(struct world *world, const char *what, unsigned side, const unsigned char *ip, uint32_t length)
{
	const unsigned char *tcp = ip + (ip[0] >> 4 == 4 ? 20 : 40);
	uint32_t header = (uint32_t)(tcp - ip) + (tcp[12] >> 4) * 4u;

	printf("%10.6f %s %u: %u > %u %s%s%s%s%s%s seq %u +%u ack %u window %u", (double)(world->now - world->began) / 1e6, what, side,
	       tcp[0] << 8 | tcp[1], tcp[2] << 8 | tcp[3], tcp[13] & 2 ? "S" : "", tcp[13] & 1 ? "F" : "", tcp[13] & 4 ? "R" : "",
	       tcp[13] & 16 ? "A" : "", tcp[13] & 0x40 ? "E" : "", tcp[13] & 0x80 ? "C" : "", get32(tcp + 4), length - header,
	       get32(tcp + 8), tcp[14] << 8 | tcp[15]);
	for (uint32_t i = 20; i + (tcp - ip) < cw_min32(header, length); i++)
		printf("%s%02x", i == 20 ? " options " : "", tcp[i]);
	printf("\n");
}

static void send_all(struct world *world, unsigned side)
{
	unsigned char header[CW_HEADER_ROOM];
	struct cw_frame frame;

	for (unsigned i = 0; cw_tcpip_output(world->core[side], &frame, header, world->now); i++) {
		const char *wrong;

		if (!world_link_take(world, side, &frame))
			continue;
		wrong = frame_wrong(world, side, &frame);
		if (wrong)
			world_fail(world, wrong);
		if (i > 100000)
			world_fail(world, "it sends without end");
		if (world->failure)
			return;
		if (world->trace)
			trace(world, "send", side, frame.piece[0].at, frame.length);
		world->frames++;
		path_send(world, side, &frame);
	}
}

static void arrive(struct world *world, unsigned to)
{
	struct packet *packet = path_next(world, 1 - to);
	unsigned char header[14];
	struct cw_frame frame;

	frame_of(packet, chance(world, 0.2) ? (uint32_t)(200 + below(world, 4000)) : UINT32_MAX, &frame);
	if (frame.pieces == CW_FRAME_PIECES) /* one is the link's */
		frame_of(packet, UINT32_MAX, &frame);
	if (world->trace && !packet->damaged)
		trace(world, "take", to, packet->bytes, packet->length);
	world_link_put(world, to, &frame, header);
	cw_tcpip_input(world->core[to], &frame, world->now);
	free(packet);
}

/* Up or down, of one direction: routes change. */
static void change_mtu(struct world *world)
{
	struct path *path = &world->path[below(world, 2)];

	path->mtu = chance(world, 0.2) ? world->mtu_most : 1280 + (uint32_t)below(world, world->mtu_most - 1279);
	world->mtu_changes--;
	world->mtu_changes_at = world->now + 1 + below(world, 4000000);
}

static bool step(struct world *world)
{
	uint64_t next = CW_NEVER;

	for (unsigned side = 0; side < 2; side++) {
		next = cw_min64(next, cw_min64(path_time(&world->path[side]), cw_tcpip_timer(world->core[side])));
		for (unsigned i = 0; i < world->streams; i++)
			if (world->program[i][side].active)
				next = cw_min64(next, world->program[i][side].next);
	}
	if (next == CW_NEVER)
		return false;
	world->now = cw_max64(world->now, next);
	if (world->mtu_changes && world->now >= world->mtu_changes_at)
		change_mtu(world);
	for (unsigned side = 0; side < 2; side++) {
		cw_tcpip_advance(world->core[side], world->now);
		while (path_time(&world->path[1 - side]) <= world->now)
			arrive(world, side);
		world_take_events(world, side);
		for (unsigned i = 0; i < world->streams; i++)
			if (world->program[i][side].active && world->program[i][side].next <= world->now)
				program_step(world, &world->program[i][side]);
		send_all(world, side);
		world_take_events(world, side);
	}
	while (world->handed_over && !world->failure) {
		world->handed_over = false;
		for (unsigned side = 0; side < 2; side++) {
			send_all(world, side);
			world_take_events(world, side);
		}
	}
	return true;
}

static bool done(struct world *world)
{
	for (unsigned i = 0; i < world->streams; i++)
		for (unsigned side = 0; side < 2; side++)
			if (!world->program[i][side].gone || world->program[i][side].read != world->program[i][side].received)
				return false;
	return true;
}

/* TIME-WAITs, and half-open connections of SYNs that came twice and late: they end by themselves. */
static bool nothing_lingers(const struct world *world)
{
	for (unsigned side = 0; side < 2; side++)
		if (world->core[side]->time_wait_pool.used || world->core[side]->half_open_pool.used)
			return false;
	return true;
}

static void check_end(struct world *world)
{
	for (unsigned i = 0; i < world->streams; i++)
		for (unsigned side = 0; side < 2; side++)
			if (!world->program[i][side].error && !(side && world->never_opened && !world->program[i][side].active) &&
			    (!world->program[i][side].peer || world->program[i][side].read != world->program[i][side].peer->to_send))
				world_fail(world, "a stream ended before all of it had come");
	for (unsigned i = 0; i < world->streams; i++)
		for (unsigned side = 0; side < 2; side++)
			if (!world->program[i][side].error && world->program[i][side].peer &&
			    world->program[i][side].urgent_told != world->program[i][side].peer->urgent_at)
				world_fail(world, "an urgent byte wasn't told");
	for (unsigned side = 0; side < 2; side++) {
		const struct cw_tcpip *core = world->core[side];

		if (core->connection_pool.used || core->half_open_pool.used || core->time_wait_pool.used || core->sent_pool.used ||
		    core->block_pool.used)
			world_fail(world, "memory was not given back");
	}
}

/* Rings for connections that won't come any more. */
static void take_back_rings(struct world *world)
{
	if (!world->never_opened || world->accepted + world->never_opened < world->streams || !world->listener)
		return;
	cw_tcp_unlisten(world->listener, world->now);
	world->listener = NULL;
	world_take_events(world, 1);
}

bool world_run(struct world *world)
{
	send_all(world, 0);
	while (!world->failure) {
		const char *wrong;

		world->steps++;
		take_back_rings(world);
		if (!step(world) || (done(world) && nothing_lingers(world)))
			break;
		/* Its connection belongs to no program, so that nothing counts any more. */
		if (world->ghost)
			break;
		wrong = world_wrong(world);
		if (wrong)
			world_fail(world, wrong);
		if (world->steps > MOST_STEPS || world->now - world->began > MOST_TIME)
			world_fail(world, "no end");
	}
	if (world->ghost)
		return !world->failure;
	if (!world->failure && !done(world))
		world_fail(world, "nothing will happen any more, and it isn't done");
	if (!world->failure)
		check_end(world);
	return !world->failure;
}
