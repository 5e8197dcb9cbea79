/* The arenas that this process maps. Looked up by id; mapped when the service grants the first slot in one, kept until the process ends
 * or the service says that all its slots are given back. */
#ifndef CW_TRANSPORT_SHM_ARENA_H
#define CW_TRANSPORT_SHM_ARENA_H

#include <stdbool.h>
#include <stdint.h>

#include "slot.h"

struct cw_arena {
	uint64_t id; /* 0: unused */
	uint32_t slots;
	unsigned char *base;
	uint64_t size;
	uint32_t bell; /* the library's (sockets/bell.h); 0: none */
};

/* Map the memory behind fd (which stays the caller's). Checks seals, size and header; returns NULL with errno EPROTO if it isn't an arena
 * of ours, EOVERFLOW for another layout, ENOMEM, ENOSPC if too many are mapped. Not thread-safe: the caller holds the service lock. */
struct cw_arena *cw_arena_map(int fd, uint64_t id);
struct cw_arena *cw_arena_find(uint64_t id);

/* What cw_arena_map goes by: how many slots the memory behind fd has by its own, checked words; 0 with errno. */
uint32_t cw_arena_look(int fd, uint64_t id);

/* NULL if there is no such slot. The pointers stay valid while the arena is mapped, that is, for the rest of the process. */
struct cw_slot *cw_arena_slot(const struct cw_arena *arena, uint32_t slot);
unsigned char *cw_arena_ring(const struct cw_arena *arena, uint32_t slot, unsigned direction);

/* The word of the board that has this slot's bit, 1 << (slot % 64). */
_Atomic uint64_t *cw_arena_board(const struct cw_arena *arena, uint32_t slot, unsigned direction);

/* arena_make.c, the service's: a new sealed arena. Returns its descriptor (close-on-exec) and maps it; -1 with errno. */
int cw_arena_make(struct cw_arena *arena, uint64_t id, uint32_t slots, bool huge_pages);
/* The same in memory that is there, and was somebody else's before: at least cw_arena_size(slots) bytes behind fd. -1 with errno. */
int cw_arena_make_in(struct cw_arena *arena, int fd, uint64_t id, uint32_t slots);
/* One that another node made: checked as cw_arena_map does. -1 with errno. */
int cw_arena_import(struct cw_arena *arena, int fd, uint64_t id);
void cw_arena_unmap(struct cw_arena *arena);
/* Set the words of a slot to those of a connection that uses the kernel in both directions. Rings keep their pages. */
void cw_arena_slot_reset(const struct cw_arena *arena, uint32_t slot);
/* In an arena made with huge_pages: have the page made now, by the one who asked for huge ones; who touches it first decides its size. */
void cw_arena_slot_fill_huge(const struct cw_arena *arena, uint32_t slot);
/* Overwrite the rings of a slot before it goes to another pair of processes, by giving their pages back to the system; wipe: where
 * they can't be given back. */
void cw_arena_slot_clear(const struct cw_arena *arena, int fd, uint32_t slot);
void cw_arena_slot_wipe(const struct cw_arena *arena, uint32_t slot);

#endif
