/*
 * Two cores, a network between them and programs on both, in virtual time. All that happens follows from the seed, so every run can be had
 * again. After every step the invariants are looked at.
 */
#ifndef CW_TESTS_TCPIP_WORLD_H
#define CW_TESTS_TCPIP_WORLD_H

#include "transport/tcpip/tcpip.h"
#include "wire.h"

#define MOST_STREAMS 16u

struct path {                   /* one direction of the network */
	uint64_t delay, jitter; /* microseconds */
	uint64_t bandwidth;     /* bytes a millisecond; 0: no limit */
	uint32_t queue;         /* bytes */
	uint32_t mtu;
	double loss, burst, duplicate, corrupt, reorder, mark;
	double split; /* of its packets, cut anywhere by a box on the way, or joined */
	uint64_t outage_every, outage_most, outage_next, outage_until;
	bool cuts, merges, partial;
	bool silent; /* what is too big is dropped, and nobody says so */
	uint64_t burst_until, busy_until, last_arrival;
	struct packet **heap;
	uint32_t packets, room;
	uint64_t sent, lost, split_up, joined, outages;
};

struct program { /* one end of a stream */
	struct cw_tcp *connection;
	struct program *peer;
	unsigned char *send, *receive;
	uint32_t send_size, receive_size;
	uint64_t to_send, written, acknowledged, received, read;
	uint64_t next;  /* when it does something */
	uint64_t pause; /* how slow it is */
	uint64_t gone_at;
	uint64_t urgent_at, urgent_told; /* behind the last urgent byte written, and of the peer's what was told */
	bool connected, shut, closed, peer_closed, gone, active, urgent, lingers;
	int error;
	unsigned stream, side;
};

/* What one end of a stream has said on the wire. */
struct told {
	bool syn, edge_known, fin;
	bool several;   /* SYNs, of different numbers */
	uint32_t first; /* the number of the last one */
	bool has_scale;
	uint8_t scale;
	uint32_t edge; /* the furthest its window ever reached */
	uint32_t fin_end;
};

/* Which number wraps soon in a world. */
enum wrap { NO_WRAP, CLIENT_NUMBERS, LISTENER_NUMBERS, CLIENT_STAMPS, LISTENER_STAMPS, WRAPS };

struct world {
	uint64_t seed, random[2];
	uint64_t now, began, order, steps, frames;
	struct cw_tcpip *core[2];
	void *memory[2];
	struct cw_tcpip_config config[2];
	struct cw_tcp_settings settings[2];
	struct cw_tcp_listener *listener;
	struct path path[2]; /* from this side to the other */
	struct program program[MOST_STREAMS][2];
	struct told told[MOST_STREAMS][2];
	unsigned streams, accepted;
	uint64_t mtu_changes_at;
	uint32_t mtu_changes, mtu_most;
	bool trace, ghost, ethernet;
	bool handed_over; /* something that a core may answer at once */
	const char *failure;
	char story[512];
	unsigned grown;        /* rings */
	unsigned never_opened; /* attempts whose SYNs or their answers were lost, all of them */
};

uint64_t random_of(struct world *world);
uint64_t below(struct world *world, uint64_t bound);
bool chance(struct world *world, double probability);

/* Make a world from its seed. */
struct world *world_make(uint64_t seed);
/* Until all is done, or something is wrong; true: all is as it has to be. */
bool world_run(struct world *world);
void world_free(struct world *world);

/* programs.c */
void program_step(struct world *world, struct program *program);
void world_take_events(struct world *world, unsigned side);
/* The first reason is the one that is told. */
void world_fail(struct world *world, const char *why);

/* world_link.c */
void world_link_configure(struct world *world, unsigned side);
/* False: it isn't one of the streams', and has been handed over. */
bool world_link_take(struct world *world, unsigned from, struct cw_frame *frame);
void world_link_put(const struct world *world, unsigned to, struct cw_frame *frame, unsigned char header[14]);

/* network.c */
void path_send(struct world *world, unsigned from, const struct cw_frame *frame);
struct packet *path_next(struct world *world, unsigned from);
uint64_t path_time(const struct path *path);
void path_free(struct path *path);

/* invariants.c: NULL, or what is wrong. */
const char *world_wrong(struct world *world);
const char *frame_wrong(struct world *world, unsigned from, const struct cw_frame *frame);

#endif
