/* The random walk: a few streams, each with its model. */
#ifndef ORACLE_WALK_H
#define ORACLE_WALK_H

#include "peer.h"

#define WALKERS 4
#define TWINS   5
/* What may be unread: less than any receive buffer takes, so that no sender ever waits but where a step means it to. */
#define UNREAD_MOST 50000
#define UNREAD_DEEP 8000

struct walker {
	struct end e;
	uint64_t in;         /* sent by the peer */
	uint64_t peer_taken; /* of what was sent here */
	bool open, shut, peer_shut;
	bool edge;       /* something came since the edge set was asked */
	bool told_again; /* what is unread may come again, by the kernel: that is an edge too */
	bool deep; /* more than the smallest ring was unread since nothing was: it can't be given to another program (docs/caveats.md) */
	int fd[TWINS];
	unsigned fds;
	pid_t child; /* a process that holds the stream too, and does what it is told on `line` */
	int line;
};

/* One step. What it does is determined by its own seed, so that any other step may be left out. */
struct step {
	unsigned kind, walker;
	uint64_t seed;
};

/* How a walk is made: by a seed, or from a script; whether its steps are written to one. */
struct walk_order {
	uint64_t seed;
	unsigned steps, threads;
	const char *script, *write;
};

/* walk.c. Returns 0 if all that happened was what the model says. */
int walk(const struct walk_order *order);
extern const char *walk_lie;

/* random.c: a walk of the calling thread. */
extern const char *const walk_kinds[]; /* NULL at the end; the first opens */
void walk_begin(uint64_t seed);
bool walk_step(const struct step *step); /* false: something was wrong */
unsigned walk_end(void);                 /* the number of steps */
bool walk_failed(void);
uint64_t walk_any(uint64_t *state, uint64_t below);

/* lend.c: a process that holds a walker's stream too. */
void lend(struct walker *w);
void lend_end(struct walker *w, bool kills);
pid_t walk_fork(void); /* fork, and counted */
extern _Atomic unsigned walk_forks;
void lend_lock(void); /* around closing a walker */
void lend_unlock(void);
void close_all_but(int one, int other); /* from 3 on */
bool lent_take(struct walker *w, size_t count);
bool lent_give(struct walker *w, size_t count);

/* orders.c, show.c: no lines but of what shouldn't be; was there one? */
void hush(bool on);
bool went_wrong(void);

#endif
