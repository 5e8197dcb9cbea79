#include "arena.h"

#include <errno.h>
#include <stddef.h>
#include <sys/mman.h>

#include "sync/spin.h"
#include "transport/window/window.h"

#define MAX_ARENAS 4096

static struct cw_arena arenas[MAX_ARENAS] CW_TABLE;
static uint32_t count;

struct cw_arena *cw_arena_find(uint64_t id)
{
	for (uint32_t i = 0; i < count; i++)
		if (arenas[i].id == id)
			return &arenas[i];
	return NULL;
}

static int check(const struct cw_arena_header *header, uint64_t id, uint32_t slots)
{
	if (header->magic != CW_ARENA_MAGIC || header->id != id || !slots || slots > CW_ARENA_MAX_SLOTS)
		return EPROTO;
	if (header->layout != CW_LAYOUT)
		return EOVERFLOW;
	return 0;
}

uint32_t cw_arena_look(int fd, uint64_t id)
{
	struct cw_arena_header *header = cw_window_map(fd, CW_ARENA_WORDS, false);
	uint32_t slots;
	int error;

	if (!header)
		return 0;
	slots = *(volatile uint32_t *)&header->slots;
	error = check(header, id, slots);
	munmap(header, CW_ARENA_WORDS);
	if (!error)
		return slots;
	errno = error;
	return 0;
}

struct cw_arena *cw_arena_map(int fd, uint64_t id)
{
	struct cw_arena *arena = cw_arena_find(id);
	uint32_t slots;

	if (arena)
		return arena;
	slots = cw_arena_look(fd, id);
	if (!slots || count == MAX_ARENAS) {
		errno = slots ? ENOSPC : errno;
		return NULL;
	}
	arena = &arenas[count];
	arena->base = cw_window_map(fd, cw_arena_size(slots), true);
	if (!arena->base)
		return NULL;
	if (cw_window_is_granted(fd))
		cw_spin_apart();
	arena->slots = slots;
	arena->size = cw_arena_size(slots);
	arena->id = id;
	count++;
	return arena;
}

struct cw_slot *cw_arena_slot(const struct cw_arena *arena, uint32_t slot)
{
	if (slot >= arena->slots)
		return NULL;
	return (struct cw_slot *)(arena->base + CW_ARENA_WORDS) + slot;
}

unsigned char *cw_arena_ring(const struct cw_arena *arena, uint32_t slot, unsigned direction)
{
	return arena->base + cw_arena_rings_at(arena->slots) + ((uint64_t)slot * 2 + (direction & 1)) * CW_RING_MAX;
}

_Atomic uint64_t *cw_arena_board(const struct cw_arena *arena, uint32_t slot, unsigned direction)
{
	struct cw_board_word *board = (struct cw_board_word *)(arena->base + CW_ARENA_BOARD);

	return &board[(direction & 1) * (CW_ARENA_MAX_SLOTS / 64) + slot / 64].bits;
}
