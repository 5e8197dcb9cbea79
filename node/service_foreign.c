/*
 * Arenas that another node made, for one program of this node and one of that. The owner's service gives the slots; here is known who of
 * this node holds their ends. Nothing of the memory is believed: its size and header were checked when it was mapped, and then only
 * marks are set in it.
 */
#include <stdlib.h>
#include <unistd.h>

#include "service_between.h"

static void say(const struct cw_arena_record *record, enum cw_between_kind kind, uint32_t slot, uint32_t end)
{
	struct cw_between words = cw_between_words(kind);

	if (record->lost)
		return;
	words.program = record->theirs;
	words.slot.arena = record->arena.id;
	words.slot.slot = slot;
	words.slot.end = end;
	cw_between_say(record->owner, &words);
}

void cw_foreign_released(struct cw_arena_record *record, uint32_t slot, uint32_t end)
{
	say(record, CW_RELEASED_THERE, slot, end);
}

void cw_foreign_crowded(struct cw_arena_record *record)
{
	say(record, CW_CROWDED, 0, 0);
}

void cw_foreign_unmapped(struct cw_arena_record *record)
{
	say(record, CW_UNMAPPED, 0, 0);
	HASH_DEL(record->owner->imported, record);
}

static struct cw_arena_record *find(const struct cw_node *node, uint64_t arena)
{
	struct cw_arena_record *record;

	HASH_FIND(hh, node->imported, &arena, sizeof(arena), record);
	return record;
}

static struct cw_arena_record *import(struct cw_node *node, const struct cw_between *words, uint64_t program)
{
	uint32_t grant = 0;
	int fd = words->slot.at ? cw_device_reach(node, words->slot.at, words->slot.length, true, words->slot.arena, &grant)
				: cw_windows_take(node->id, words->slot.arena, words->slot.key);
	struct cw_arena arena = {0};
	struct cw_arena_record *record;

	if (fd < 0)
		return NULL;
	record = cw_arena_import(&arena, fd, words->slot.arena) == 0 ? cw_arena_record_new(arena.slots, fd) : NULL;
	if (!record) {
		cw_arena_unmap(&arena);
		close(fd);
		return NULL;
	}
	record->arena = arena;
	record->owner = node;
	record->key = words->slot.key;
	record->at = words->slot.at;
	record->grant = grant;
	record->generation = cw_cluster_node(node->id) ? cw_cluster_node(node->id)->instance : 0;
	record->theirs = program; /* the word for "ours" here: whom the owner gave it to */
	HASH_ADD(hh, node->imported, arena.id, sizeof(record->arena.id), record);
	return record;
}

static void reverse(struct cw_tuple *to, const struct cw_tuple *from)
{
	*to = *from;
	to->local = from->remote;
	to->remote = from->local;
	to->local_port = from->remote_port;
	to->remote_port = from->local_port;
}

/* The owner holds it for us, and the other end may be using its side: it must not wait for us by ring. */
static void give_back(struct cw_node *node, const struct cw_between *words, const struct cw_arena_record *record)
{
	struct cw_between answer = cw_between_words(CW_RELEASED_THERE);

	answer.program = words->program;
	answer.slot = words->slot;
	cw_between_say(node, &answer);
	if (!record) {
		answer.kind = CW_UNMAPPED;
		cw_between_say(node, &answer);
	}
}

static bool take(struct cw_offer *offer, struct cw_arena_record *record, const struct cw_between *words)
{
	struct cw_mapping *mapping;

	if (words->slot.slot >= record->arena.slots || words->slot.end > 1 || record->theirs != offer->program->number || record->lost ||
	    record->revoked || record->holders[2 * words->slot.slot] || record->holders[2 * words->slot.slot + 1])
		return false;
	mapping = cw_mapping_make(offer->program, record);
	if (!mapping)
		return false;
	if (words->slot.end)
		reverse(&record->tuples[words->slot.slot], &offer->tuple);
	else
		record->tuples[words->slot.slot] = offer->tuple;
	cw_slot_take(offer, mapping, words->slot.slot, words->slot.end);
	return true;
}

void cw_foreign_give(struct cw_node *node, const struct cw_between *words)
{
	struct cw_offer *offer = cw_match_find(words->yours);
	struct cw_arena_record *record = find(node, words->slot.arena);

	if (!node->leads) {
		cw_tally(CW_SERVICE_between_misused);
		return;
	}
	/* Even for an offer that is gone the memory is taken up: its next one comes without. */
	if (offer && (offer->node != node || offer->program->number != words->program || offer->proving != words->mine))
		offer = NULL;
	if (!record && offer && !cw_arena_record_find(words->slot.arena))
		record = import(node, words, words->program);
	if (offer && record && take(offer, record, words)) {
		cw_tally(CW_SERVICE_between_granted);
		cw_pulse_needed();
		cw_offer_drop(offer);
		return;
	}
	give_back(node, words, record);
	if (record && !record->mappers)
		cw_arena_unused(record);
}

void cw_foreign_node_down(struct cw_node *node)
{
	struct cw_arena_record *record, *next;
	struct cw_mapping *mapping;

	HASH_ITER(hh, node->imported, record, next)
	for (mapping = record->mapped; mapping; mapping = mapping->arena_next)
		cw_mapping_lose(mapping);
}
