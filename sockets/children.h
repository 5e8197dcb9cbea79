/*
 * Where children count. Each process of a run that is reported has to be counted, however it ends; but a child that has nothing to tell the
 * service needs no words with it for that. So the first process that forks such a child asks for memory, and whoever comes from it by fork
 * takes a place there: its book begins on memory that the service has too. The connection that the memory came by is inherited with it, and
 * its end says that none of them is left. Who has something to tell later registers as any program, and takes along what it has counted.
 *
 * A place whose process is dead is the next child's: what was counted there is carried to the totals by who takes it.
 */
#ifndef CW_SOCKETS_CHILDREN_H
#define CW_SOCKETS_CHILDREN_H

#include <stdbool.h>
#include <stddef.h>

#include "book.h"

#define CW_CHILD_PLACES   128u
#define CW_CHILD_BYTES    65536u /* whole pages, whatever their size */
#define CW_CHILD_EXECUTED 15000u
#define CW_CHILD_LEAVES   (~0u) /* in the place of a process id: what is counted there is about to be counted elsewhere */
/* Of a book of which the beginning alone is shared. */
#define CW_CHILD_ENTRIES ((uint32_t)((CW_CHILD_BYTES - offsetof(struct cw_book, entry)) / sizeof(struct cw_book_entry)))

/* All of it is written by all of them, and so read with distrust. */
struct cw_children {
	_Atomic uint32_t next;  /* the place to be looked at next */
	_Atomic uint32_t begun; /* processes that took a place, but those that went on as another program, or registered */
	_Atomic uint32_t
		executed; /* the former, whose program may have been counted too; entered in executed_pid as far as there is room */
	uint32_t unused;
	struct cw_book_totals totals;          /* what was in the places of the dead */
	_Atomic uint32_t pid[CW_CHILD_PLACES]; /* who has the place; 0: nobody yet */
	_Atomic uint32_t executed_pid[CW_CHILD_EXECUTED];
};

struct cw_children_memory {
	union {
		struct cw_children head;
		unsigned char head_room[CW_CHILD_BYTES];
	};
	unsigned char book[CW_CHILD_PLACES][CW_CHILD_BYTES];
};

_Static_assert(sizeof(struct cw_children) == 16 + sizeof(struct cw_book_totals) + 4 * (CW_CHILD_PLACES + CW_CHILD_EXECUTED),
	       "their head has one size");
_Static_assert(sizeof(struct cw_children_memory) == (CW_CHILD_PLACES + 1) * CW_CHILD_BYTES, "the memory has one size");

/* Before a fork, under the service's lock: memory, if there is none yet. */
void cw_children_ask(void);
/* In a child: it counts there from now on. False: there is no place, and its book is as nobody's. */
bool cw_children_take(void);
/* In a child, in any case before that: the place is its parent's. */
void cw_children_begin(void);
/* This process has a place. */
bool cw_children_has(void);
/* Its number of a stream is beyond what is shared. */
bool cw_children_beyond(uint32_t number);
/* Around its registering: from the first on nothing that is counted there counts. */
void cw_children_leave(void);
void cw_children_stay(void);
void cw_children_left(void);
/* Its process ids are others than its children's: these take no places. */
void cw_children_stop(void);
/* Another program is about to be executed, which may register with this process id. */
void cw_children_executes(void);

/* The connection. */
bool cw_children_is(int fd);
void cw_children_move(void);

#endif
