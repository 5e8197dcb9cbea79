/*
 * The book of a program: memory shared by one program and its service, in which the program counts and the service reads (`causeway ss`,
 * --report). The service trusts nothing in it. Entries have the numbers of the program's streams (stream.h).
 */
#ifndef CW_SOCKETS_BOOK_H
#define CW_SOCKETS_BOOK_H

#include <stdatomic.h>
#include <stdint.h>

enum cw_counter {
#define X(name, text) CW_COUNT_##name,
#include "sync/counters.def"
#undef X
	CW_COUNTERS
};

enum cw_reason {
	CW_REASON_none,
#define X(name, text) CW_REASON_##name,
#include "reasons.def"
#undef X
	CW_REASONS
};

#define CW_BOOK_ENTRIES 32768u
#define CW_BOOK_UNIX    2u

enum cw_entry_kind { CW_ENTRY_FREE, CW_ENTRY_OPEN, CW_ENTRY_MOVED, CW_ENTRY_DEMOTED };

struct cw_book_entry {
	_Atomic uint32_t kind;     /* enum cw_entry_kind */
	_Atomic int32_t fd;        /* one of the descriptors, -1 none */
	_Atomic uint32_t reason;   /* enum cw_reason: why it is not, or no longer, moved */
	_Atomic uint32_t protocol; /* 0 TCP, 1 UDP, CW_BOOK_UNIX */
	_Atomic uint64_t arena;    /* moved: where */
	_Atomic uint32_t slot, end;
	uint64_t counter[CW_COUNTERS]; /* plain: one process writes; the service may see a count that is late */
};

/*
 * What ended sockets leave. A socket is counted by its entry until it ends, and then here: whenever the two are added up, be it while it
 * ends, it is counted once, or (for as long as it ends, or for ever if its process is killed then) not at all. made is raised before moved
 * is, and read after it, so that no sum has more moved than made.
 */
struct cw_book_totals {
	_Atomic uint64_t made, moved, demoted; /* made counts all; kernel = made - moved */
	_Atomic uint64_t reasons[CW_REASONS];
	_Atomic uint64_t counter[CW_COUNTERS];
};

struct cw_book {
	uint32_t layout;
	uint32_t entries;
	_Atomic uint32_t mail;    /* raised by the service after each GRANT; the program's copy tells whether to look */
	_Atomic uint32_t highest; /* entries above were never used */
	_Atomic uint32_t offers;  /* raised by the service after each OFFER whose descriptor it has closed again */
	uint32_t unused;
	struct cw_book_totals totals;
	struct cw_book_entry entry[CW_BOOK_ENTRIES];
};

/* The service's view, whatever kind of program writes. */
_Static_assert(sizeof(struct cw_book_entry) == 32 + 8 * CW_COUNTERS, "an entry has one size");
_Static_assert(sizeof(struct cw_book_totals) == 8 * (3 + CW_REASONS + CW_COUNTERS), "totals have one size");
_Static_assert(sizeof(struct cw_book) == 24 + sizeof(struct cw_book_totals) + CW_BOOK_ENTRIES * sizeof(struct cw_book_entry),
	       "the book has one size");

const char *cw_reason_name(enum cw_reason reason);
const char *cw_reason_text(enum cw_reason reason);
const char *cw_counter_name(enum cw_counter counter);
const char *cw_counter_text(enum cw_counter counter);

#endif
