/* Between the files of a random walk's steps: what it is at, and what they have in common. */
#ifndef ORACLE_WALKING_H
#define ORACLE_WALKING_H

#include "walk.h"

/* The walk of the calling thread. */
extern __thread struct walker walkers[WALKERS];
extern __thread int level_set, edge_set;

/* Drawn from the step's own seed. */
uint64_t any(uint64_t below);
size_t any_size(void);
/* What the step does, for the log, and what is wrong with it. */
void doing(const char *format, ...) __attribute__((format(printf, 1, 2)));
void wrong(const char *format, ...) __attribute__((format(printf, 1, 2)));

static inline int any_fd(const struct walker *w)
{
	return w->fd[any(w->fds)];
}

static inline uint64_t unread(const struct walker *w)
{
	return w->in - w->e.taken;
}

/* random_sets.c, random_others.c */
void step_level(struct walker *w);
void step_edge(struct walker *w);
void step_rearm(struct walker *w);
void step_set_polled(struct walker *w);
void step_fork(struct walker *w);
void step_lend(struct walker *w);
void step_demote(struct walker *w);
void step_thread(struct walker *w);

#endif
