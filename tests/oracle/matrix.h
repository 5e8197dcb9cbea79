/*
 * The matrix: every state that a socket can be in, with every call. A file of cells lists calls of one kind; each is made of an end of its
 * own that has been brought into the state, once blocking and once not. A blocking call that nothing ends is interrupted by a timer.
 */
#ifndef ORACLE_MATRIX_H
#define ORACLE_MATRIX_H

#include "oracle.h"

/* What a cell's result says of the stream's bytes. */
enum cell {
	TELLS, /* nothing */
	TAKES, /* so many bytes are in `room` */
	SEES,  /* the same, and they stay */
	DROPS, /* so many are gone */
	GIVES, /* so many were sent from `room` */
	URGES  /* the same, and the last of them is urgent */

};

struct state {
	void (*make)(struct end *ends, unsigned count);
	unsigned what;
};

enum {
	CONNECTED = 1,
	PEER_LIVES = 2,
	SHARED = 4, /* one end for all cells */
	TOLD = 8,   /* what the peer gets in all is determined */
	PEER_DIES = 16,
	UNCHECKED = 32 /* an urgent byte is in between */
};

/* X(name, needs of its scenarios). A peer that is killed with bytes unread is in ending.c (docs/caveats.md). */
#define STATES_OF_EACH(X)                                                                                                                  \
	X(unconnected, KERNEL)                                                                                                             \
	X(bound, KERNEL)                                                                                                                   \
	X(connecting, KERNEL)                                                                                                              \
	X(refused, KERNEL)                                                                                                                 \
	X(listening, KERNEL)                                                                                                               \
	X(listening_with_one, KERNEL)                                                                                                      \
	X(idle, 0)                                                                                                                         \
	X(readable, 0)                                                                                                                     \
	X(urgent, 0)                                                                                                                       \
	X(we_shut_writing, 0)                                                                                                              \
	X(we_shut_reading, 0)                                                                                                              \
	X(we_shut_both, 0)                                                                                                                 \
	X(peer_shut, 0)                                                                                                                    \
	X(peer_shut_unread, 0)                                                                                                             \
	X(both_shut, 0)                                                                                                                    \
	X(peer_closed, 0)                                                                                                                  \
	X(peer_closed_before_reading, 0)                                                                                                   \
	X(reset, 0)                                                                                                                        \
	X(reset_unread, 0)                                                                                                                 \
	X(peer_dead, ALONE)                                                                                                                \
	X(disconnected, 0)

/* And what takes too long to make for each cell. */
#define STATES(X) STATES_OF_EACH(X) X(full, 0)

#define X(name, needs) extern const struct state state_##name;
STATES(X)
#undef X

/* Makes the cell number i of e; returns how many there are. */
typedef unsigned cells(struct end *e, unsigned i);

void cell_begin(struct end *e);
void cell_end(struct end *e, enum cell what, const char *text, long result, int error);

#define CELL(what, expression)                                                                                                             \
	if (n++ == i) {                                                                                                                    \
		cell_begin(e);                                                                                                             \
		errno = 0;                                                                                                                 \
		long result_ = (long)(expression);                                                                                         \
		cell_end(e, what, #expression, result_, errno);                                                                            \
	}

/* together: the cells of a mode follow each other on one end. */
void matrix(const struct state *state, cells *calls, bool together);

#define MATRIX_SCENARIO(state, wants)                                                                                                      \
	SCENARIO(state, UNOPENED | (wants))                                                                                                \
	{                                                                                                                                  \
		matrix(&state_##state, MATRIX_CELLS, MATRIX_TOGETHER);                                                                     \
	}

#endif
