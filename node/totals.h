/* What books add up to: for a run's report. */
#ifndef CW_NODE_TOTALS_H
#define CW_NODE_TOTALS_H

#include <jansson.h>
#include <stdint.h>

#include "sockets/book.h"

struct cw_totals {
	uint64_t processes;
	uint64_t made, moved, demoted;
	uint64_t reasons[CW_REASONS];
	uint64_t counter[CW_COUNTERS];
};

/* Add a book: what ended in it, and what is still open. refused_memory: connections that the service matched and had no memory for, of
 * which the program only knows that the other end did not come. most: entries that there are. */
void cw_totals_add(struct cw_totals *totals, const struct cw_book *book, uint32_t most, uint64_t refused_memory);
void cw_totals_add_ended(struct cw_totals *totals, const struct cw_book_totals *ended);
json_t *cw_totals_json(const struct cw_totals *totals);

#endif
