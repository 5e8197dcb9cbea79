/*
 * What one poll or select call waits for besides the kernel: streams that are moved or may be, datagram sockets, and event sets. Made at
 * the call's start; while the thread sleeps each of its streams knows of a sleeper (rx_asleep, or rx_busy before it has a slot), so nobody
 * offers the ring behind the sleeper's back.
 */
#ifndef CW_SOCKETS_WAIT_LIST_H
#define CW_SOCKETS_WAIT_LIST_H

#include "set.h"
#include "stream.h"

struct cw_wait_entry {
	struct cw_stream *stream; /* or */
	struct cw_set *set;       /* or */
	struct cw_datagram *datagram;
	int fd;
	uint32_t index; /* the caller's */
	uint32_t life;  /* of the stream: another thread may close it, and its place be used again */
	bool moved, settled, ready;
};

#define CW_WAIT_ENTRIES 32

struct cw_wait_list {
	struct cw_wait_entry *entry;
	size_t count, room;
	size_t held;  /* sets and datagram sockets, until the end */
	size_t moved; /* streams with a slot, and sets: those worth looking at */
	struct cw_wait_entry few[CW_WAIT_ENTRIES];
};

void cw_wait_list_begin(struct cw_wait_list *list);
/* fd is waited for to become readable. False: no memory for it. */
bool cw_wait_list_add(struct cw_wait_list *list, int fd, uint32_t index);
void cw_wait_list_end(struct cw_wait_list *list);

/*
 * What poll and select differ in. Each returns how many descriptors are ready, or -1 with errno.
 *
 *	ask	the kernel alone, for at most so many ns, with the program's signal mask if it was asked to look for signals
 *	merge	add what the rings have (.ready of the entries) to what the kernel told
 *	sleep	in the kernel until the deadline; a cancellation point, so it has a handler that rises and ends the list
 *	by_ring	the whole answer, if the rings know it; -1: they don't. May be NULL
 */
struct cw_wait_call {
	int (*ask)(struct cw_wait_call *, bool signals, int64_t ns);
	int (*merge)(struct cw_wait_call *, int ready);
	int (*sleep)(struct cw_wait_call *);
	int (*by_ring)(struct cw_wait_call *);
	int64_t deadline; /* monotonic ns, -1 none, 0 don't wait */
	bool masks;       /* the kernel lets signals through that are else held: it is asked each time that nothing is ready by ring */
	struct cw_wait_list list;
};

/* Look, sleep, answer. */
int cw_wait_list_wait(struct cw_wait_call *call);
/* For cancelled threads, and else by cw_wait_list_wait. */
void cw_wait_list_rise(struct cw_wait_list *list);

#endif
