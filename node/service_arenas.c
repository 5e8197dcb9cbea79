/*
 * Arenas: memory of one pair of programs. A pair gets a small one first, then each time twice the last. New slots are given only from an
 * arena that nobody but its pair maps: while a forked child has it too, the pair gets another.
 *
 * When one of a pair has ended and nobody else maps the arena, it is *widowed*: emptied, kept by the program that is left, and given to
 * its next pair with a program of the same user. So a server that outlives its clients maps as many arenas as it had clients at once.
 */
#include <stdlib.h>
#include <string.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "service.h"
#include "service_between.h"

#define FIRST_SLOTS           16u
#define FIRST_SLOTS_OF_DEVICE 4u

struct cw_pair {
	uint64_t key[2];                /* numbers, the lower first */
	struct cw_arena_record *arenas; /* list */
	uint32_t used;                  /* slots in use, in all of them */
	UT_hash_handle hh;
};

static struct cw_pair *pair_find(uint64_t a, uint64_t b, bool make)
{
	uint64_t key[2] = {a < b ? a : b, a < b ? b : a};
	struct cw_pair *pair;

	HASH_FIND(hh, service.pairs, key, sizeof(key), pair);
	if (pair || !make)
		return pair;
	pair = calloc(1, sizeof(*pair));
	if (!pair)
		return NULL;
	memcpy(pair->key, key, sizeof(key));
	HASH_ADD(hh, service.pairs, key, sizeof(key), pair);
	return pair;
}

static void pair_join(struct cw_arena_record *record, struct cw_pair *pair, struct cw_program *a, struct cw_program *b)
{
	record->pair = pair;
	record->uid[0] = a->peer.uid;
	record->uid[1] = b->peer.uid;
	record->node = b->node ? cw_node_id(b->node) : 0;
	DL_PREPEND(pair->arenas, record);
}

static void pair_leave(struct cw_arena_record *record)
{
	struct cw_pair *pair = record->pair;

	if (!pair)
		return;
	pair->used -= record->used;
	DL_DELETE(pair->arenas, record);
	record->pair = NULL;
	if (!pair->arenas) {
		HASH_DEL(service.pairs, pair);
		free(pair);
	}
}

static void widow_leave(struct cw_arena_record *record)
{
	if (record->widow)
		DL_DELETE(record->widow->widowed, record);
	record->widow = NULL;
}

void cw_arena_record_free(struct cw_arena_record *record)
{
	pair_leave(record);
	widow_leave(record);
	if (record->arena.base)
		munmap(record->arena.base, record->arena.size);
	if (record->fd >= 0)
		close(record->fd);
	free(record->free);
	free(record->holders);
	free(record->tuples);
	free(record);
}

struct cw_arena_record *cw_arena_record_new(uint32_t slots, int fd)
{
	struct cw_arena_record *record = calloc(1, sizeof(*record));

	if (!record)
		return NULL;
	record->fd = fd;
	record->free = calloc(slots, sizeof(*record->free));
	record->holders = calloc(2ul * slots, sizeof(*record->holders));
	record->tuples = calloc(slots, sizeof(*record->tuples));
	if (record->free && record->holders && record->tuples)
		return record;
	record->fd = -1; /* the caller's still */
	cw_arena_record_free(record);
	return NULL;
}

struct cw_arena_record *cw_arena_record_find(uint64_t id)
{
	struct cw_arena_record *record;

	HASH_FIND(hh, service.arenas, &id, sizeof(id), record);
	return record;
}

static int make_memory(struct cw_arena_record *record, uint32_t slots, const struct cw_node *node)
{
	if (node && node->part.length)
		return cw_device_make(record, cw_new_number(), slots, node);
	record->fd = cw_arena_make(&record->arena, cw_new_number(), slots, service.huge_pages);
	return record->fd < 0 ? -1 : 0;
}

static struct cw_arena_record *record_make(uint32_t slots, const struct cw_node *node)
{
	struct cw_arena_record *record = cw_arena_record_new(slots, -1);

	if (!record)
		return NULL;
	if (make_memory(record, slots, node) < 0) {
		cw_arena_record_free(record);
		return NULL;
	}
	while (record->frees < slots) {
		record->free[record->frees] = (uint16_t)(slots - 1 - record->frees);
		record->frees++;
	}
	HASH_ADD(hh, service.arenas, arena.id, sizeof(record->arena.id), record);
	return record;
}

struct cw_mapping *cw_mapping_find(const struct cw_program *program, uint64_t arena)
{
	struct cw_mapping *mapping;

	HASH_FIND(hh, program->mappings, &arena, sizeof(arena), mapping);
	return mapping;
}

static size_t mapping_size(const struct cw_arena_record *record)
{
	return sizeof(struct cw_mapping) + (2ul * record->arena.slots + 63) / 64 * sizeof(uint64_t);
}

struct cw_mapping *cw_mapping_make(struct cw_program *program, struct cw_arena_record *record)
{
	struct cw_mapping *mapping = cw_mapping_find(program, record->arena.id);

	if (mapping)
		return mapping;
	mapping = calloc(1, mapping_size(record));
	if (!mapping)
		return NULL;
	mapping->program = program;
	mapping->record = record;
	mapping->arena = record->arena.id;
	HASH_ADD(hh, program->mappings, arena, sizeof(mapping->arena), mapping);
	DL_APPEND2(record->mapped, mapping, arena_prev, arena_next);
	record->mappers++;
	return mapping;
}

/* Give the pages of all slots back to the system. */
static void empty(struct cw_arena_record *record)
{
	uint64_t at = cw_arena_rings_at(record->arena.slots);

	if (record->touched && !record->at) /* a device's is wiped when the slot is given out the next time */
		fallocate(record->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)at, (off_t)(record->arena.size - at));
	record->touched = 0;
}

static bool one_pair_still(const struct cw_arena_record *record)
{
	uint64_t left = record->mapped->program->number;

	return record->pair && record->pair->key[0] == left && record->pair->key[1] == left;
}

static bool is_closed(const struct cw_arena_record *record)
{
	return record->crowded || record->lost || record->revoked;
}

void cw_arena_emptied(struct cw_arena_record *record)
{
	if (record->used || record->mappers != 1 || record->widow || record->owner || is_closed(record) || one_pair_still(record))
		return;
	empty(record);
	pair_leave(record);
	record->widow = record->mapped->program;
	DL_PREPEND(record->widow->widowed, record);
}

static void mapping_free(struct cw_mapping *mapping)
{
	struct cw_arena_record *record = mapping->record;

	cw_outbox_forget(mapping);
	HASH_DEL(mapping->program->mappings, mapping);
	DL_DELETE2(record->mapped, mapping, arena_prev, arena_next);
	record->mappers--;
	if (record->widow == mapping->program)
		widow_leave(record);
	free(mapping);
}

void cw_mapping_drop(struct cw_mapping *mapping)
{
	struct cw_arena_record *record = mapping->record;

	mapping_free(mapping);
	cw_arena_unused(record);
}

/* Freed if nobody maps it. */
void cw_arena_unused(struct cw_arena_record *record)
{
	if (record->mappers) {
		cw_arena_emptied(record);
		return;
	}
	if (record->owner)
		cw_foreign_unmapped(record);
	else
		HASH_DEL(service.arenas, record);
	cw_arena_record_free(record);
}

void cw_arena_count(struct cw_arena_record *record, int slots)
{
	record->used += (uint32_t)slots;
	if (record->pair)
		record->pair->used += (uint32_t)slots;
	if (slots > 0)
		cw_memory_charge(record);
	else
		cw_memory_return(record);
}

static bool only_the_pair_maps(const struct cw_arena_record *record)
{
	return record->mappers == (record->pair->key[0] == record->pair->key[1] ? 1u : 2u);
}

static struct cw_arena_record *with_free_slot(const struct cw_pair *pair)
{
	struct cw_arena_record *record;

	DL_FOREACH(pair->arenas, record)
	if (record->frees && !is_closed(record) && only_the_pair_maps(record))
		return record;
	return NULL;
}

/* The user of a number on another node is somebody else. Who is left may be either. */
static bool fits_between(const struct cw_arena_record *record, const struct cw_program *widow, const struct cw_program *other)
{
	const struct cw_program *here = widow->node ? other : widow, *there = widow->node ? widow : other;

	return !here->node && there->node && record->node == cw_node_id(there->node) && record->uid[0] == here->peer.uid &&
	       record->uid[1] == there->peer.uid && !record->at == !there->node->part.length;
}

static bool fits(const struct cw_arena_record *record, const struct cw_program *widow, const struct cw_program *other)
{
	if (record->node || widow->node || other->node)
		return fits_between(record, widow, other);
	return (record->uid[0] == widow->peer.uid || record->uid[0] == other->peer.uid) &&
	       (record->uid[1] == widow->peer.uid || record->uid[1] == other->peer.uid);
}

/* The program that is left must not share with a user whom none of the two has to do with, were the memory kept by somebody in secret. */
static struct cw_arena_record *widowed_for(const struct cw_program *widow, const struct cw_program *other)
{
	struct cw_arena_record *record;

	DL_FOREACH(widow->widowed, record)
	if (fits(record, widow, other))
		return record;
	return NULL;
}

static struct cw_arena_record *take_widowed(struct cw_pair *pair, struct cw_program *a, struct cw_program *b)
{
	struct cw_arena_record *record = widowed_for(a, b);

	if (!record)
		record = widowed_for(b, a);
	if (record) {
		widow_leave(record);
		pair_join(record, pair, a, b);
	}
	return record;
}

/* A device's window has every page that it has; a memory file those that were touched. */
static uint32_t slots_wanted(const struct cw_pair *pair, const struct cw_node *node)
{
	uint32_t slots = node && node->part.length ? FIRST_SLOTS_OF_DEVICE : FIRST_SLOTS;

	while (slots < pair->used && slots < CW_ARENA_MAX_SLOTS)
		slots *= 2;
	return slots;
}

/* A device's memory is others' next, so nobody may have it mapped: a program of this node is taken it away, one of another can't be. */
static bool may_be_evicted(const struct cw_arena_record *record, bool of_device)
{
	const struct cw_mapping *mapping;

	if (record->used || (of_device && !record->at))
		return false;
	DL_FOREACH2(record->mapped, mapping, arena_next)
	if (record->at && mapping->program->node)
		return false;
	return true;
}

/* Arenas that nobody uses now cost a descriptor each. Their programs go on mapping what is left of them: nothing. */
static bool evict(bool of_device)
{
	struct cw_arena_record *record, *next;

	HASH_ITER(hh, service.arenas, record, next)
	{
		if (!may_be_evicted(record, of_device))
			continue;
		empty(record);
		if (record->at)
			cw_device_take_away(record->grant);
		while (record->mapped)
			mapping_free(record->mapped);
		HASH_DEL(service.arenas, record);
		cw_arena_record_free(record);
		return true;
	}
	return false;
}

static struct cw_arena_record *make_for(struct cw_pair *pair, struct cw_program *a, struct cw_program *b)
{
	struct cw_arena_record *record;

	if (HASH_COUNT(service.arenas) >= cw_most_arenas() && !evict(false))
		return NULL;
	/* Its header and the first rings share a huge page, which lies where it is touched first. */
	if (service.huge_pages)
		cw_place_near(a);
	do
		record = record_make(slots_wanted(pair, b->node), b->node);
	while (!record && b->node && b->node->part.length && evict(true));
	if (service.huge_pages)
		cw_place_anywhere();
	if (record)
		pair_join(record, pair, a, b);
	return record;
}

struct cw_arena_record *cw_arena_for(struct cw_program *a, struct cw_program *b)
{
	struct cw_pair *pair = pair_find(a->number, b->number, true);
	struct cw_arena_record *record;

	if (!pair)
		return NULL;
	record = with_free_slot(pair);
	if (!record && a != b)
		record = take_widowed(pair, a, b);
	if (!record)
		record = make_for(pair, a, b);
	if (!record && !pair->arenas) {
		HASH_DEL(service.pairs, pair);
		free(pair);
	}
	return record;
}

static void inherit_ends(struct cw_mapping *mine, const struct cw_mapping *theirs)
{
	struct cw_arena_record *record = mine->record;

	for (uint32_t end = 0; end < 2 * record->arena.slots; end++) {
		if (!(theirs->held[end / 64] >> end % 64 & 1) || cw_outbox_holds(theirs->program, theirs->arena, end))
			continue;
		mine->held[end / 64] |= 1ull << end % 64;
		record->holders[end]++;
	}
}

int cw_mappings_inherit(struct cw_program *child, const struct cw_program *parent)
{
	struct cw_mapping *theirs, *next, *mine;

	HASH_ITER(hh, parent->mappings, theirs, next)
	{
		if (!theirs->sent)
			continue; /* in the parent's outbox still: the child doesn't map it, and holds nothing in it */
		mine = cw_mapping_make(child, theirs->record);
		if (!mine)
			return -1;
		widow_leave(theirs->record);
		mine->sent = true;
		inherit_ends(mine, theirs);
		if (theirs->record->owner)
			cw_foreign_crowded(theirs->record);
	}
	return 0;
}
