/* Registrations of streams (and of inner sets) in event sets, and where they are kept. Fields are guarded by the set's lock. */
#ifndef CW_SOCKETS_SET_ITEM_H
#define CW_SOCKETS_SET_ITEM_H

#include "set.h"
#include "sync/lock.h"

struct cw_item {
	struct cw_set *set;
	struct cw_stream *stream; /* or */
	struct cw_set *inner;
	struct cw_item *next, **before;           /* the set's registrations */
	struct cw_item *hot_next, **hot_before;   /* its hot ones */
	struct cw_item *look_next, **look_before; /* of these, those that are looked at */
	struct cw_board_view *view;               /* with the stream's bit; NULL: it is looked at always */
	struct cw_item *_Atomic of_stream;        /* the stream's other registrations */
	int fd;
	uint32_t events;
	uint64_t data;
	uint64_t seen; /* the edge last told */
	uint64_t roff; /* at the last sleep */
	uint32_t idle; /* sleeps since bytes came */
	struct cw_item *dirty_next;
	uint32_t in_kernel; /* the interest that the kernel's set has */
	uint64_t kernel_data;
	bool hot, looked, armed, kicked;
	bool dirty; /* on the set's list of those whose interest the kernel has not been told */
	bool gone;  /* deleted by the program, and the kernel has not been told */
};

struct cw_set {
	struct cw_lock lock;
	_Atomic int32_t references;
	int epfd;
	struct cw_item *items, *hot, *look, *dirty;
	struct cw_board_view *views;
	uint64_t swept; /* ticks, when all hot ones were last looked at */
	uint32_t hot_count, nested, oneshots;
	_Atomic uint32_t outers;
	_Atomic int32_t sleepers; /* threads of this process that sleep in it, or in a set around it */
	_Atomic bool shared;      /* with another process, by fork: its sleepers can't be seen, so nothing in it is looked at */
	bool kicked;
	bool lingers;   /* not settled because of streams that linger (switch.h) */
	bool filled;    /* the last answer had no room for what the kernel was to be asked for */
	uint64_t asked; /* ticks, when the kernel was last asked while awake */
};

#define CW_SETS      1024
#define CW_SET_DEPTH 6 /* the kernel allows five sets within each other */

extern struct cw_set cw_sets[CW_SETS];
extern _Atomic uint32_t cw_sets_used;

/* The lock is of this process alone. False: a signal handler in the middle of our own hold; pass it on to cw_set_unlock. */
static inline bool cw_set_lock(struct cw_set *set)
{
	uint64_t ignored = 0;

	return cw_lock(&set->lock, cw_thread_id(), &ignored) != CW_LOCK_NESTED;
}

static inline void cw_set_unlock(struct cw_set *set, bool locked)
{
	if (locked)
		cw_unlock(&set->lock);
}

/* All below under the set's lock. */

/* set_hot.c */
void cw_item_heat(struct cw_item *item);
void cw_item_cool(struct cw_item *item);
bool cw_item_awake(const struct cw_stream *stream); /* CONSENT, LIVE or SEALED */
void cw_item_admit(struct cw_item *item, int epfd); /* a registration that is new, or has changed */
bool cw_item_rx_lock(struct cw_stream *stream, int fd, bool *nested);

/* set_board.c */
void cw_item_look(struct cw_item *item);
void cw_item_unlook(struct cw_item *item);
void cw_item_watch(struct cw_item *item); /* by a board from now on, if there is one for it */
void cw_item_unwatch(struct cw_item *item);
void cw_set_sweep(struct cw_set *set); /* look at what is marked */

/* set_sleep.c: asked for now and then while the set is awake; a stream without bytes for several times is left to the kernel. */
void cw_item_doze(struct cw_item *item);

/* set_control.c */
void cw_item_forget(struct cw_item *item);
void cw_set_flush(struct cw_set *set); /* tell the kernel what it was not told */

/* set_look.c. edge, pulse: change when there is more. */
bool cw_item_ready(struct cw_item *item, uint64_t *edge);
bool cw_set_ready_within(struct cw_set *set, int depth, uint64_t *pulse);
/* What the rings have, up to max events. *ask is set if the kernel's answer belongs to it. */
int cw_set_collect(struct cw_set *set, int epfd, struct epoll_event *events, int max, bool *ask);

/* set_kernel.c: what of the kernel's count events is the program's; and one answer of two, the first by_ring of them by ring. */
int cw_set_after_kernel(struct cw_set *set, int epfd, struct epoll_event *events, int count);
int cw_set_merge(struct epoll_event *events, int by_ring, int count);

struct cw_item *cw_item_new(void); /* zeroed; NULL if there are too many */
void cw_item_free(struct cw_item *item);

/* In a forked child: no thread is left that could hold their locks. */
void cw_item_after_fork(void);
void cw_board_after_fork(void);

#endif
