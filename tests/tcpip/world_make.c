/* The world, made from its seed. */
#include "world.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "transport/tcpip/tcp.h"

#define PORT 80u

uint64_t random_of(struct world *world)
{
	uint64_t a = world->random[0], b = world->random[1]; /* xorshift128+ */

	world->random[0] = b;
	a ^= a << 23;
	world->random[1] = a ^ b ^ (a >> 17) ^ (b >> 26);
	return world->random[1] + b;
}

uint64_t below(struct world *world, uint64_t bound)
{
	return bound ? random_of(world) % bound : 0;
}

bool chance(struct world *world, double probability)
{
	return probability > 0 && (double)(random_of(world) >> 11) / 9007199254740992.0 < probability;
}

static double some(struct world *world, double how_often, double most)
{
	return chance(world, how_often) ? most * (double)below(world, 1000) / 1000 : 0;
}

static void make_path(struct world *world, struct path *path)
{
	path->delay = below(world, 5) == 0 ? below(world, 300000) : below(world, 20000);
	path->jitter = chance(world, 0.5) ? below(world, 20000) : 0;
	path->bandwidth = chance(world, 0.6) ? 100 + below(world, 200000) : 0;
	path->queue = (uint32_t)(3000 + below(world, 300000));
	path->loss = some(world, 0.6, 0.08);
	path->burst = some(world, 0.3, 0.01);
	path->duplicate = some(world, 0.4, 0.05);
	path->corrupt = some(world, 0.3, 0.03);
	path->reorder = some(world, 0.5, 0.15);
	path->mark = some(world, 0.3, 0.05);
	path->cuts = chance(world, 0.6);
	path->merges = chance(world, 0.5);
	path->partial = chance(world, 0.5);
	path->split = some(world, 0.3, 0.2);
	/* Shorter than what keep-alive takes for death. */
	if (chance(world, 0.25)) {
		path->outage_every = 8000000 + below(world, 30000000);
		path->outage_most = 1 + below(world, path->outage_every / 8);
		path->outage_next = below(world, path->outage_every);
	}
}

static void make_core(struct world *world, unsigned side)
{
	struct cw_tcpip_config *config = &world->config[side];
	bool poor = chance(world, 0.2);

	*config = (struct cw_tcpip_config){
		.connections = MOST_STREAMS,
		.listeners = 4,
		.half_open = chance(world, 0.2) ? 0 : 8,
		.time_waits = chance(world, 0.8) ? MOST_STREAMS : (uint32_t)(1 + below(world, MOST_STREAMS)),
		.sent = poor ? (uint32_t)below(world, 40) : 4000,
		.blocks = poor ? (uint32_t)below(world, 20) : 2000,
		.replies = poor ? 4 : 64,
		.mtu = (uint16_t)(chance(world, 0.5)   ? 1500
				  : chance(world, 0.5) ? 9000
						       : 1280 + below(world, 3000)),
		.checksum_offload = chance(world, 0.6),
	};
	if (config->checksum_offload)
		config->frame_max = chance(world, 0.7) ? 65535 : (uint16_t)(config->mtu + below(world, 50000));
	for (unsigned i = 0; i < 32; i++)
		config->secret[i] = (uint8_t)random_of(world);
	world_link_configure(world, side);
	world->memory[side] = aligned_alloc(64, (cw_tcpip_size(config) + 63) & ~63ull);
	if (!world->memory[side])
		abort();
	memset(world->memory[side], 0, cw_tcpip_size(config));
	world->core[side] = cw_tcpip_init(world->memory[side], config, world->now);
}

static void make_settings(struct world *world, unsigned side)
{
	world->settings[side] = (struct cw_tcp_settings){
		.congestion = chance(world, 0.4)   ? CW_TCP_NEWRENO
			      : chance(world, 0.8) ? CW_TCP_CUBIC
						   : CW_TCP_DCTCP,
		.no_delay = chance(world, 0.4),
		.no_timestamps = chance(world, 0.2),
		.no_sack = chance(world, 0.25),
		.no_window_scale = chance(world, 0.2),
		.ecn = chance(world, 0.5),
		.keep_alive = chance(world, 0.3),
		.keep_idle_s = 1 + (uint32_t)below(world, 20),
		.keep_interval_s = 1 + (uint32_t)below(world, 5),
		.mss = (uint16_t)(chance(world, 0.2) ? 200 + below(world, 1000) : 0),
		.receive_size = 1u << (10 + below(world, 10)),
		.time_wait_ms = 60000,
	};
	world->settings[side].mtu_probing = chance(world, 0.5)   ? CW_TCP_MTU_PROBES_LATER
					    : chance(world, 0.7) ? CW_TCP_MTU_PROBES
								 : CW_TCP_MTU_NO_PROBES;
	world->settings[side].no_hystart = chance(world, 0.3);
	world->settings[side].pacing = chance(world, 0.2);
	world->settings[side].pacing_rate = chance(world, 0.5) ? 10000 + below(world, 10000000) : 0;
	world->settings[side].user_timeout_option = chance(world, 0.2);
	world->settings[side].mtu_age_s = chance(world, 0.5) ? 1 + (uint32_t)below(world, 20) : 0;
	world->path[side].silent = world->settings[side].mtu_probing != CW_TCP_MTU_NO_PROBES && chance(world, 0.5);
	world->settings[side].receive_most = chance(world, 0.3) ? 1u << (10 + below(world, 12)) : 0;
	world->settings[side].send_most = chance(world, 0.3) ? 1u << (10 + below(world, 12)) : 0;
}

static void make_program(struct world *world, struct program *program, unsigned stream, unsigned side)
{
	program->stream = stream;
	program->side = side;
	program->send_size = 1u << (10 + below(world, 10));
	program->receive_size = side ? world->settings[1].receive_size : 1u << (10 + below(world, 10));
	program->send = malloc(program->send_size);
	program->receive = malloc(program->receive_size);
	program->to_send = below(world, 4) == 0 ? below(world, 100) : below(world, 1u << (8 + below(world, 12)));
	program->pause = chance(world, 0.3) ? 0 : 1 + below(world, 20000);
	program->next = world->now + below(world, 100000);
	program->urgent = chance(world, 0.2);
	if (!program->send || !program->receive)
		abort();
}

static struct cw_ip_endpoint endpoint(unsigned side, uint16_t port, bool ip4)
{
	struct cw_ip_endpoint end = {.port = port};

	end.address.octet[0] = ip4 ? 0 : 0xfd;
	end.address.octet[10] = end.address.octet[11] = ip4 ? 0xff : 0;
	end.address.octet[12] = ip4 ? 10 : 0;
	end.address.octet[15] = (uint8_t)(1 + side);
	return end;
}

static struct cw_tcp_rings rings_of(struct program *program)
{
	return (struct cw_tcp_rings){program->send, program->send_size, program->receive, program->receive_size, program};
}

/* For half of all worlds numbers of the first connection wrap soon: time is chosen so, which the formulas of RFC 6528 and RFC 7323 7.1
 * allow. The listener's numbers and both ends' time stamps are chosen when the SYN arrives, so a little later. */
static void begin_near_wrap(struct world *world, const struct cw_ip_endpoint *local, const struct cw_ip_endpoint *remote, enum wrap wrap)
{
	struct cw_flow_key key[2] = {{local->address, remote->address, local->port, remote->port},
				     {remote->address, local->address, remote->port, local->port}};
	unsigned side = wrap == LISTENER_NUMBERS || wrap == LISTENER_STAMPS;
	uint32_t left = (uint32_t)below(world, 1u << (4 + below(world, 16)));

	if (wrap == CLIENT_NUMBERS || wrap == LISTENER_NUMBERS)
		world->now += (uint64_t)(0u - left - cw_tcp_isn(world->core[side], &key[side])) * 4;
	else
		world->now +=
			1000ull * (0u - left / 64 - (uint32_t)(world->now / 1000) - cw_tcp_timestamp_offset(world->core[side], &key[side]));
}

static void connect(struct world *world, unsigned stream, bool ip4, enum wrap wrap)
{
	struct cw_ip_endpoint local = endpoint(0, (uint16_t)(10000 + stream), ip4), remote = endpoint(1, PORT, ip4);
	struct program *program = &world->program[stream][0];
	struct cw_tcp_rings rings = rings_of(program);

	if (stream == 0 && wrap)
		begin_near_wrap(world, &local, &remote, wrap);
	program->next += world->now;
	program->connection = cw_tcp_connect(world->core[0], &local, &remote, &rings, &world->settings[0], world->now);
	if (!program->connection)
		world->failure = "no connection could be begun";
	program->active = true;
}

struct world *world_make(uint64_t seed)
{
	static const char *const wraps[WRAPS] = {"", ", the client's numbers wrap", ", the listener's numbers wrap",
						 ", the client's time stamps wrap", ", the listener's time stamps wrap"};
	struct world *world = calloc(1, sizeof(*world));
	struct cw_ip_endpoint any = {.port = PORT};
	enum wrap wrap;
	bool ip4;

	if (!world)
		abort();
	world->seed = seed;
	world->ethernet = seed % 4 == 1;
	world->random[0] = seed * 0x9e3779b97f4a7c15ull + 1;
	world->random[1] = seed ^ 0xd1b54a32d192ed03ull;
	for (unsigned i = 0; i < 16; i++)
		random_of(world);
	world->now = 1000000 + below(world, 1ull << 40);
	ip4 = chance(world, 0.5);
	wrap = chance(world, 0.5) ? 1 + below(world, WRAPS - 1) : NO_WRAP;
	world->streams = (unsigned)(1 + (chance(world, 0.5) ? 0 : below(world, MOST_STREAMS)));
	for (unsigned side = 0; side < 2; side++) {
		make_core(world, side);
		make_path(world, &world->path[side]);
		make_settings(world, side);
	}
	world->path[0].mtu = world->path[1].mtu = cw_max32(world->config[0].mtu, world->config[1].mtu);
	if (chance(world, 0.3)) {
		world->mtu_changes = 1 + (uint32_t)below(world, 8);
		world->mtu_most = world->path[0].mtu;
		world->mtu_changes_at = below(world, 2000000);
	}
	world->listener = cw_tcp_listen(world->core[1], &any, &world->settings[1]);
	for (unsigned i = 0; i < world->streams; i++) {
		struct cw_tcp_rings rings;

		make_program(world, &world->program[i][0], i, 0);
		make_program(world, &world->program[i][1], i, 1);
		rings = rings_of(&world->program[i][1]);
		if (!cw_tcp_supply(world->listener, &rings))
			world->failure = "rings couldn't be supplied";
	}
	for (unsigned side = 0; side < 2 && world->ethernet; side++) {
		struct cw_ip_endpoint own = endpoint(side, 0, ip4);

		if (!cw_tcpip_own(world->core[side], &own.address, ip4 ? 24 : 64, false, world->now))
			world->failure = "there is no room for an address";
	}
	for (unsigned i = 0; i < world->streams; i++) {
		world->program[i][0].next -= world->now;
		connect(world, i, ip4, wrap);
	}
	world->began = world->now;
	for (unsigned side = 0; side < 2; side++)
		world->path[side].outage_next += world->now;
	world->mtu_changes_at += world->now;
	snprintf(world->story, sizeof(world->story), "%s%s, %u streams, %u changes of the MTU%s", ip4 ? "IPv4" : "IPv6",
		 world->ethernet ? " over Ethernet" : "", world->streams, world->mtu_changes, wraps[wrap]);
	return world;
}

void world_free(struct world *world)
{
	for (unsigned side = 0; side < 2; side++) {
		path_free(&world->path[side]);
		free(world->memory[side]);
		for (unsigned i = 0; i < world->streams; i++) {
			free(world->program[i][side].send);
			free(world->program[i][side].receive);
		}
	}
	free(world);
}
