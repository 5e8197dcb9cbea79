/* The service's side of arenas: making them, and making their slots ready. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "arena.h"
#include "transport/window/window.h"

static void write_header(const struct cw_arena *arena)
{
	*(struct cw_arena_header *)arena->base = (struct cw_arena_header){.magic = CW_ARENA_MAGIC,
									  .layout = CW_LAYOUT,
									  .slots = arena->slots,
									  .id = arena->id,
									  .size = arena->size,
									  .rings_at = cw_arena_rings_at(arena->slots)};
}

static int fill(struct cw_arena *arena, int fd, bool huge_pages)
{
	if (ftruncate(fd, (off_t)arena->size) < 0 || fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
		return -1;
	arena->base = cw_window_map(fd, arena->size, true);
	if (!arena->base)
		return -1;
	if (huge_pages)
		madvise(arena->base, arena->size, MADV_HUGEPAGE);
	write_header(arena);
	return 0;
}

int cw_arena_make(struct cw_arena *arena, uint64_t id, uint32_t slots, bool huge_pages)
{
	int fd, error;

	if (!slots || slots > CW_ARENA_MAX_SLOTS) {
		errno = EINVAL;
		return -1;
	}
	*arena = (struct cw_arena){.id = id, .slots = slots, .size = cw_arena_size(slots)};
	fd = memfd_create("causeway arena", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0)
		return -1;
	if (fill(arena, fd, huge_pages) == 0)
		return fd;
	error = errno;
	close(fd);
	errno = error;
	return -1;
}

int cw_arena_make_in(struct cw_arena *arena, int fd, uint64_t id, uint32_t slots)
{
	*arena = (struct cw_arena){.id = id, .slots = slots, .size = cw_arena_size(slots)};
	arena->base = cw_window_map(fd, arena->size, true);
	if (!arena->base)
		return -1;
	memset(arena->base, 0, cw_arena_rings_at(slots));
	write_header(arena);
	return 0;
}

int cw_arena_import(struct cw_arena *arena, int fd, uint64_t id)
{
	uint32_t slots = cw_arena_look(fd, id);

	if (!slots)
		return -1;
	*arena = (struct cw_arena){.id = id, .slots = slots, .size = cw_arena_size(slots)};
	arena->base = cw_window_map(fd, arena->size, true);
	return arena->base ? 0 : -1;
}

void cw_arena_unmap(struct cw_arena *arena)
{
	if (arena->base)
		munmap(arena->base, arena->size);
	arena->base = NULL;
}

void cw_arena_slot_reset(const struct cw_arena *arena, uint32_t slot)
{
	struct cw_slot *words = cw_arena_slot(arena, slot);
	uint64_t use = atomic_load_explicit(&words->use, memory_order_relaxed);

	memset(words, 0, sizeof(*words));
	for (unsigned d = 0; d < 2; d++) {
		atomic_store_explicit(&words->direction[d].tx_bits, CW_RING_MIN_BITS, memory_order_relaxed);
		atomic_store_explicit(&words->direction[d].ring_bits, CW_RING_MIN_BITS, memory_order_relaxed);
		atomic_store_explicit(&words->end[d].holders, 1, memory_order_relaxed);
	}
	atomic_store_explicit(&words->use, use + 1, memory_order_release);
}

void cw_arena_slot_clear(const struct cw_arena *arena, int fd, uint32_t slot)
{
	uint64_t at = (uint64_t)(cw_arena_ring(arena, slot, 0) - arena->base);

	fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)at, 2 * CW_RING_MAX);
}

void cw_arena_slot_wipe(const struct cw_arena *arena, uint32_t slot)
{
	memset(cw_arena_ring(arena, slot, 0), 0, 2 * CW_RING_MAX);
}

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif
#define HUGE_PAGE (2u << 20)

void cw_arena_slot_fill_huge(const struct cw_arena *arena, uint32_t slot)
{
	uintptr_t first = (uintptr_t)cw_arena_ring(arena, slot, 0) & ~(uintptr_t)(HUGE_PAGE - 1);

	if (first >= (uintptr_t)arena->base && first + HUGE_PAGE <= (uintptr_t)arena->base + arena->size)
		madvise((void *)first, HUGE_PAGE, MADV_POPULATE_WRITE);
}
