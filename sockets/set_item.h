/* Registrations of streams (and of inner sets) in event sets, and where they are kept. Fields are guarded by the set's lock. */
#ifndef CW_SOCKETS_SET_ITEM_H
#define CW_SOCKETS_SET_ITEM_H

#include "set.h"
#include "sync/lock.h"

struct cw_item {
	struct cw_set *set;
	struct cw_stream *stream; /* or */
	struct cw_set *inner;
	struct cw_item *next, **before;         /* the set's registrations */
	struct cw_item *hot_next, **hot_before; /* its hot ones */
	struct cw_item *_Atomic of_stream;      /* the stream's other registrations */
	int fd;
	uint32_t events;
	uint64_t data;
	uint64_t seen; /* the edge last told */
	uint64_t roff; /* at the last sleep */
	uint32_t idle; /* sleeps since bytes came */
	struct cw_item *dirty_next;
	uint32_t in_kernel; /* the interest that the kernel's set has */
	uint64_t kernel_data;
	bool hot, armed, kicked;
	bool dirty; /* on the set's list of those whose interest the kernel has not been told */
	bool gone;  /* deleted by the program, and the kernel has not been told */
};

struct cw_set {
	struct cw_lock lock;
	_Atomic int32_t references;
	int epfd;
	struct cw_item *items, *hot, *dirty;
	uint32_t hot_count, nested, oneshots;
	_Atomic uint32_t outers;
	_Atomic int32_t sleepers; /* threads of this process that sleep in it, or in a set around it */
	_Atomic bool shared;      /* with another process, by fork: its sleepers can't be seen, so nothing in it is looked at */
	bool kicked;
	bool filled;    /* the last answer had no room for what the kernel was to be asked for */
	uint64_t asked; /* ticks, when the kernel was last asked while awake */
};

struct cw_item *cw_item_new(void); /* zeroed; NULL if there are too many */
void cw_item_free(struct cw_item *item);

#endif
