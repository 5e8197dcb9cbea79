#include <string.h>

#include "service.h"
#include "totals.h"

static uint64_t read_word(const _Atomic uint64_t *word)
{
	return atomic_load_explicit(word, memory_order_acquire);
}

static void add_entry(struct cw_totals *totals, const struct cw_book_entry *entry)
{
	uint32_t kind = atomic_load_explicit(&entry->kind, memory_order_acquire);
	uint32_t reason = atomic_load_explicit(&entry->reason, memory_order_relaxed);

	if (kind != CW_ENTRY_OPEN && kind != CW_ENTRY_MOVED && kind != CW_ENTRY_DEMOTED)
		return;
	totals->made++;
	if (kind != CW_ENTRY_OPEN)
		totals->moved++;
	if (kind == CW_ENTRY_DEMOTED)
		totals->demoted++;
	if (kind != CW_ENTRY_MOVED && reason < CW_REASONS)
		totals->reasons[reason == CW_REASON_none ? CW_REASON_short_lived : reason]++;
	for (unsigned i = 0; i < CW_COUNTERS; i++)
		totals->counter[i] += entry->counter[i];
}

void cw_totals_add_ended(struct cw_totals *totals, const struct cw_book_totals *ended)
{
	/* made behind moved (T, stream.c; book.h says why): the program may live. */
	totals->demoted += read_word(&ended->demoted);
	totals->moved += read_word(&ended->moved);
	totals->made += read_word(&ended->made);
	for (unsigned i = 0; i < CW_REASONS; i++)
		totals->reasons[i] += read_word(&ended->reasons[i]);
	for (unsigned i = 0; i < CW_COUNTERS; i++)
		totals->counter[i] += read_word(&ended->counter[i]);
}

void cw_totals_add(struct cw_totals *totals, const struct cw_book *book, uint32_t most, uint64_t refused_memory)
{
	struct cw_totals of_book = {0};
	uint64_t starved;

	/* Totals before entries, for the same reason. */
	cw_totals_add_ended(&of_book, &book->totals);
	for (uint32_t i = 0; i < most && i < cw_book_used(book); i++)
		add_entry(&of_book, &book->entry[i]);
	starved = refused_memory < of_book.reasons[CW_REASON_peer_absent] ? refused_memory : of_book.reasons[CW_REASON_peer_absent];
	of_book.reasons[CW_REASON_peer_absent] -= starved;
	of_book.reasons[CW_REASON_no_memory] += starved;
	totals->made += of_book.made;
	totals->moved += of_book.moved;
	totals->demoted += of_book.demoted;
	for (unsigned i = 0; i < CW_REASONS; i++)
		totals->reasons[i] += of_book.reasons[i];
	for (unsigned i = 0; i < CW_COUNTERS; i++)
		totals->counter[i] += of_book.counter[i];
}

static void put(json_t *object, const char *key, uint64_t value)
{
	json_object_set_new(object, key, json_integer((json_int_t)(value & INT64_MAX)));
}

static json_t *sockets(const struct cw_totals *totals)
{
	json_t *object = json_object();

	put(object, "made", totals->made);
	put(object, "moved", totals->moved);
	put(object, "demoted", totals->demoted);
	put(object, "kernel", totals->made > totals->moved ? totals->made - totals->moved : 0);
	return object;
}

static json_t *reasons(const struct cw_totals *totals)
{
	json_t *object = json_object();

	for (unsigned i = CW_REASON_none + 1; i < CW_REASONS; i++)
		if (totals->reasons[i])
			put(object, cw_reason_name((enum cw_reason)i), totals->reasons[i]);
	return object;
}

json_t *cw_totals_json(const struct cw_totals *totals)
{
	json_t *report = json_object(), *bytes = json_object();

	put(report, "processes", totals->processes);
	json_object_set_new(report, "sockets", sockets(totals));
	json_object_set_new(report, "reasons", reasons(totals));
	json_object_set_new(report, "bytes", bytes);
	put(report, "messages", totals->counter[CW_COUNT_messages_in] + totals->counter[CW_COUNT_messages_out]);
	for (unsigned i = 0; i < CW_COUNTERS; i++) {
		const char *name = cw_counter_name((enum cw_counter)i);

		if (strncmp(name, "bytes_", 6) == 0)
			put(bytes, name + 6, totals->counter[i]);
		else
			put(report, name, totals->counter[i]);
	}
	return report;
}
