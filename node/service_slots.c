/* Slots: given to the two ends of a connection, held by programs, given back, marked when an end has nobody left. */
#include <stdlib.h>

#include "service.h"
#include "service_between.h"

static uint32_t number_of(uint32_t slot, uint32_t end)
{
	return 2 * slot + end;
}

static bool holds(const struct cw_mapping *mapping, uint32_t end)
{
	return mapping->held[end / 64] >> end % 64 & 1;
}

static void hold(struct cw_mapping *mapping, uint32_t end)
{
	mapping->held[end / 64] |= 1ull << end % 64;
	mapping->record->holders[end]++;
}

static void mark_gone(struct cw_arena_record *record, uint32_t slot, uint32_t end)
{
	struct cw_slot *words = cw_arena_slot(&record->arena, slot);

	cw_state_mark(&words->direction[end].state, CW_MARK_WRITER_GONE);
	cw_state_mark(&words->direction[1 - end].state, CW_MARK_READER_GONE);
}

/* A holder that died could not count itself out. The word is anybody's, so it is never brought below zero, and who changes it all the time
 * doesn't keep us. */
static void correct_holders(struct cw_arena_record *record, uint32_t slot, uint32_t end)
{
	_Atomic uint32_t *word = &cw_arena_slot(&record->arena, slot)->end[end].holders;
	uint32_t seen = atomic_load_explicit(word, memory_order_relaxed);

	for (int tries = 0; seen && tries < 1000; tries++)
		if (atomic_compare_exchange_weak_explicit(word, &seen, seen - 1, memory_order_acq_rel, memory_order_relaxed))
			return;
}

/* One holder less. */
static void count_out(struct cw_arena_record *record, uint32_t slot, uint32_t end)
{
	if (--record->holders[number_of(slot, end)])
		return;
	cw_tally(CW_SERVICE_released);
	mark_gone(record, slot, end);
	if (record->owner) {
		cw_foreign_released(record, slot, end);
		return;
	}
	if (record->holders[number_of(slot, 1 - end)])
		return;
	if (!record->lost)
		record->free[record->frees++] = (uint16_t)slot;
	cw_arena_count(record, -1);
}

static void let_go(struct cw_mapping *mapping, uint32_t slot, uint32_t end, bool died)
{
	uint32_t which = number_of(slot, end);

	mapping->held[which / 64] &= ~(1ull << which % 64);
	if (died)
		correct_holders(mapping->record, slot, end);
	count_out(mapping->record, slot, end);
}

bool cw_mapping_holds(const struct cw_mapping *mapping, uint32_t slot, uint32_t end)
{
	return slot < mapping->record->arena.slots && end < 2 && holds(mapping, number_of(slot, end));
}

void cw_slot_let_go(struct cw_mapping *mapping, uint32_t slot, uint32_t end)
{
	let_go(mapping, slot, end, false);
}

static void leave(struct cw_arena_record *record, uint32_t slot)
{
	struct cw_slot *words = cw_arena_slot(&record->arena, slot);

	for (unsigned d = 0; d < 2; d++)
		cw_state_mark(&words->direction[d].state, CW_MARK_LEFT);
}

void cw_mapping_lose(struct cw_mapping *mapping)
{
	struct cw_arena_record *record = mapping->record;

	record->lost = true;
	for (uint32_t which = 0; which < 2 * record->arena.slots; which++) {
		if (!holds(mapping, which))
			continue;
		leave(record, which / 2);
		if (record->owner) /* ours: it is used still, and told to nobody */
			continue;
		mapping->held[which / 64] &= ~(1ull << which % 64);
		if (--record->holders[which] == 0 && !record->holders[which ^ 1])
			cw_arena_count(record, -1);
	}
}

void cw_slot_pin(struct cw_arena_record *record, uint32_t slot, uint32_t end)
{
	record->mappers++;
	record->holders[number_of(slot, end)]++;
}

void cw_slot_unpin(struct cw_arena_record *record, uint32_t slot, uint32_t end)
{
	record->mappers--;
	count_out(record, slot, end);
	cw_arena_unused(record);
}

void cw_mapping_let_go(struct cw_mapping *mapping)
{
	uint32_t ends = 2 * mapping->record->arena.slots;

	for (uint32_t word = 0; word < (ends + 63) / 64; word++)
		while (mapping->held[word]) {
			uint32_t which = 64 * word + (uint32_t)__builtin_ctzll(mapping->held[word]);

			let_go(mapping, which / 2, which % 2, true);
		}
}

void cw_release(struct cw_program *program, const struct cw_message *message)
{
	struct cw_mapping *mapping = cw_mapping_find(program, message->grant.arena);
	uint32_t slot = message->grant.slot, end = message->grant.end;

	if (!mapping)
		return; /* given by an earlier instance: the program outlived it */
	if (slot >= mapping->record->arena.slots || end > 1 || !holds(mapping, number_of(slot, end))) {
		cw_nonsense(program);
		return;
	}
	let_go(mapping, slot, end, false);
	cw_arena_emptied(mapping->record);
}

static void grant(const struct cw_offer *offer, struct cw_mapping *mapping, uint32_t slot, uint32_t end)
{
	struct cw_message message = cw_link_message(CW_GRANT);

	message.grant.token = offer->token;
	message.grant.arena = mapping->arena;
	message.grant.slot = slot;
	message.grant.end = end;
	message.grant.slots = mapping->record->arena.slots;
	message.grant.local = end ? mapping->record->tuples[slot].remote : mapping->record->tuples[slot].local;
	if (offer->program->node)
		cw_match_give(offer, &message, mapping);
	else
		cw_grant_send(offer->program, &message, mapping);
}

void cw_slot_take(const struct cw_offer *offer, struct cw_mapping *mapping, uint32_t slot, uint32_t end)
{
	hold(mapping, number_of(slot, end));
	cw_tally(CW_SERVICE_granted);
	grant(offer, mapping, slot, end);
}

bool cw_slot_give(struct cw_offer *first, struct cw_offer *second)
{
	struct cw_program *programs[2] = {first->program, second->program};
	struct cw_mapping *mappings[2];
	struct cw_arena_record *record;
	bool fresh = false;
	uint32_t slot;

	if (!cw_memory_admits(programs[0]->peer.uid, programs[1]->node ? programs[0]->peer.uid : programs[1]->peer.uid))
		return false;
	record = cw_arena_for(programs[0], programs[1]);
	if (!record)
		return false;
	mappings[0] = cw_mapping_make(programs[0], record);
	mappings[1] = cw_mapping_make(programs[1], record);
	if (!mappings[0] || !mappings[1]) {
		cw_arena_unused(record);
		return false;
	}
	slot = record->free[--record->frees];
	if (slot >= record->touched) {
		record->touched = slot + 1;
		fresh = true;
	}
	record->tuples[slot] = first->tuple;
	cw_place_slot(record, slot, programs);
	if (fresh && record->at)
		cw_arena_slot_wipe(&record->arena, slot);
	else if (fresh && service.huge_pages)
		cw_arena_slot_fill_huge(&record->arena, slot);
	cw_arena_slot_reset(&record->arena, slot);
	for (uint32_t end = 0; end < 2; end++)
		hold(mappings[end], number_of(slot, end));
	cw_arena_count(record, 1);
	cw_tally(CW_SERVICE_granted);
	grant(first, mappings[0], slot, 0);
	grant(second, mappings[1], slot, 1);
	return true;
}
