/* Between the files of a storm. */
#ifndef ORACLE_STORM_H
#define ORACLE_STORM_H

#include "peer.h"
#include "walk.h"

#include <pthread.h>
#include <stdatomic.h>

#define STREAMS 3

/* How an end's program receives. */
enum style {
	FREELY,   /* several threads, each as it comes */
	BY_EDGE,  /* one, told by an edge-triggered set alone */
	BY_TURNS, /* several, told by a set of one-shot registrations */
	BY_LEVEL, /* several, each with a set of its own, exclusive */
	BY_POLL,  /* one, by poll and select over all */
	STYLES
};

/* One way of a stream, of all who hold its ends. `sent` is the sender's, under tx; `taken` the receiver's, under rx. */
struct way {
	pthread_mutex_t tx, rx;
	uint64_t sent, taken, total;
	volatile bool shut, ended, broken;
};

struct storm {
	uint64_t seed;
	unsigned style, together;
	_Atomic int wrong;
	_Atomic int helpers;         /* at work, of any program: who is killed leaves his behind */
	volatile bool doomed;        /* the program of side 1 will be killed */
	volatile bool told[STREAMS]; /* of the killing, by an error */
	struct way way[STREAMS][2];  /* by the side that sends */
	bool quiet;                  /* no signals, so that nothing but what comes ends a wait */
	bool spliced;                /* by pipes, too */
	bool helped;                 /* children take part */
	unsigned narrow[STREAMS];
	bool demotes[STREAMS];
};
extern struct storm *storm;

/* An end in this process. Threads that use the number hold `numbers` shared, who changes it alone; the anchor stays, for event sets. */
struct end_here {
	pthread_rwlock_t numbers;
	volatile int fd;
	int anchor;
};
extern struct end_here ends_here[STREAMS][2];
extern unsigned sides_here; /* bits */
extern bool storm_helper;   /* a child that takes part: alone with its copy of the numbers */

extern __thread uint64_t luck;
extern __thread unsigned char *storm_room;
uint64_t draw(uint64_t below);
void seed_luck(uint64_t seed);

void storm_wrong(const char *what, unsigned stream, unsigned side, long result);

/* storm_bytes.c: one call, by a way of the end; the caller holds the lock. False: nothing can be done now. */
#define STORM_ROOM 200000u
bool storm_send(unsigned stream, unsigned side, bool waits);
bool storm_receive(unsigned stream, unsigned side, bool waits);

/* storm_side.c: all that a program does in a round. victim: the other program, to be killed. */
void storm_side(pid_t victim);

int storm_of(uint64_t seed, unsigned rounds);

#endif
