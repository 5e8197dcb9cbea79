/*
 * What one poll or select call waits for besides the kernel: streams that are moved or may be, and event sets. Made at the call's start;
 * while the thread sleeps each of its streams knows of a sleeper (rx_asleep, or rx_busy before it has a slot), so nobody offers the ring
 * behind the sleeper's back.
 */
#ifndef CW_SOCKETS_WAIT_LIST_H
#define CW_SOCKETS_WAIT_LIST_H

#include "set.h"
#include "stream.h"

struct cw_wait_entry {
	struct cw_stream *stream; /* or */
	struct cw_set *set;
	int fd;
	uint32_t index; /* the caller's */
	bool moved, settled, ready;
};

#define CW_WAIT_ENTRIES 32

struct cw_wait_list {
	struct cw_wait_entry *entry;
	size_t count, room;
	size_t moved; /* streams with a slot, and sets: those worth looking at */
	struct cw_wait_entry few[CW_WAIT_ENTRIES];
};

void cw_wait_list_begin(struct cw_wait_list *list);
/* fd is waited for to become readable. False: no memory for it. */
bool cw_wait_list_add(struct cw_wait_list *list, int fd, uint32_t index);
void cw_wait_list_end(struct cw_wait_list *list);

/* How many are readable by ring now; sets .ready of each. */
size_t cw_wait_list_look(struct cw_wait_list *list);
bool cw_wait_list_settle(struct cw_wait_list *list);
void cw_wait_list_rise(struct cw_wait_list *list);
/* Look for a while. ask(argument) asks the kernel without waiting, now and then; true ends the look. True if something is ready. */
bool cw_wait_list_spin(struct cw_wait_list *list, bool (*ask)(void *), void *argument);

#endif
