/* The random walk: a few streams, each with its model. */
#ifndef ORACLE_WALK_H
#define ORACLE_WALK_H

#include "peer.h"

#define WALKERS 4
#define TWINS   5
/* What may be unread: less than any receive buffer takes, so that no sender ever waits but where a step means it to. */
#define UNREAD_MOST 50000

struct walker {
	struct end e;
	uint64_t in;         /* sent by the peer */
	uint64_t peer_taken; /* of what was sent here */
	bool shut, peer_shut;
	bool edge; /* something came since the edge set was asked */
	int fd[TWINS];
	unsigned fds;
};

/* Returns 0 if all that happened was what the model says. */
int walk(uint64_t seed, unsigned count);

/* orders.c, show.c: no lines but of what shouldn't be; was there one? */
void hush(bool on);
bool went_wrong(void);

#endif
