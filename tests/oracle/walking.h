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

/* random.c */
void open_walker(struct walker *w);
void close_numbers(struct walker *w); /* all of them, while no other walk's child has a copy */
void close_walker(struct walker *w);
void check_taken(struct walker *w, long n, bool keep);

/* random_sets.c: bits of the walkers that can be read, all of which has come. */
unsigned ready_walkers(void);
/* What a set tells, by several calls: those of `expected` are waited for; with `once` none but those of `possible` may be told twice. */
unsigned ask_set(int set, unsigned expected, unsigned possible, bool once);

/* random_*.c */
void step_level(struct walker *w);
void step_edge(struct walker *w);
void step_rearm(struct walker *w);
void step_set_polled(struct walker *w);
void step_fork(struct walker *w);
void step_lend(struct walker *w);
void step_demote(struct walker *w);
void step_thread(struct walker *w);
void step_end(struct walker *w);
void step_splice(struct walker *w);
void step_file(struct walker *w);
void step_urgent(struct walker *w);
void step_peek_offset(struct walker *w);
void step_low_water(struct walker *w);
void step_stdio(struct walker *w);
void step_both_ways(struct walker *w);
void step_interrupted(struct walker *w);
void step_signalled(struct walker *w);
void step_over(struct walker *w);
void step_pass(struct walker *w);
void step_exec(struct walker *w);
void step_closed_under(struct walker *w);
void step_killed_waiting(struct walker *w);
void step_looks(struct walker *w);
void step_once(struct walker *w);
void step_datagrams(struct walker *w);

#endif
