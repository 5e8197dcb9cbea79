/* transport/window and transport/shm: memory from elsewhere is what it says, or it is refused. */
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include "transport/shm/arena.h"
#include "transport/window/window.h"

#define ALL_SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)
#define ID        4711u

static int memory_of(uint64_t size, int seals)
{
	int fd = memfd_create("unit", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(ftruncate(fd, (off_t)size), 0);
	if (seals)
		ck_assert_int_eq(fcntl(fd, F_ADD_SEALS, seals), 0);
	return fd;
}

static void refused(int fd, uint64_t size)
{
	errno = 0;
	ck_assert_ptr_null(cw_window_map(fd, size, true));
	ck_assert_int_eq(errno, EPROTO);
}

/* ---- windows ---- */

START_TEST(a_sealed_one_is_mapped)
{
	int fd = memory_of(8192, ALL_SEALS);
	char *base;

	ck_assert_uint_eq(cw_window_size(fd), 8192);
	base = cw_window_map(fd, 8192, true);
	ck_assert_ptr_nonnull(base);
	base[8191] = 'x';
	ck_assert_int_eq(((char *)cw_window_map(fd, 8192, false))[8191], 'x');
	ck_assert_ptr_nonnull(cw_window_map(fd, 4096, false)); /* a part of it will do */
	close(fd);
	ck_assert_int_eq(base[8191], 'x');
}
END_TEST

/* Each of the three seals is needed: a file that can shrink under us kills us by SIGBUS. */
START_TEST(one_seal_too_few)
{
	static const int seals[] = {0, F_SEAL_SHRINK, F_SEAL_GROW | F_SEAL_SEAL, F_SEAL_SHRINK | F_SEAL_SEAL, F_SEAL_SHRINK | F_SEAL_GROW};
	int fd = memory_of(8192, seals[_i]);

	ck_assert_uint_eq(cw_window_size(fd), 0);
	refused(fd, 4096);
}
END_TEST

START_TEST(short_ones)
{
	refused(memory_of(4096, ALL_SEALS), 4097);
	refused(memory_of(0, ALL_SEALS), 4096);
	refused(memory_of(8192, ALL_SEALS), 0);
	refused(memory_of(8192, ALL_SEALS), UINT64_MAX);
	refused(memory_of(8192, ALL_SEALS), 1ull << 63);
}
END_TEST

START_TEST(other_descriptors)
{
	char name[] = "/tmp/causeway-unit-XXXXXX";
	int file = mkstemp(name), ends[2];

	ck_assert_int_ge(file, 0);
	unlink(name);
	ck_assert_int_eq(ftruncate(file, 8192), 0);
	ck_assert_int_eq(pipe(ends), 0);
	refused(file, 4096);
	refused(ends[0], 4096);
	refused(-1, 4096);
	refused(open("/dev/zero", O_RDWR), 4096);
	refused(memfd_create("unsealable", MFD_CLOEXEC), 4096);
}
END_TEST

START_TEST(what_was_mapped_to_read_is_not_written)
{
	char *base = cw_window_map(memory_of(4096, ALL_SEALS), 4096, false);

	ck_assert_ptr_nonnull(base);
	signal(SIGSEGV, SIG_DFL); /* not the sanitizer's report */
	*(volatile char *)base = 1;
}
END_TEST

/* ---- arenas ---- */

static int made(struct cw_arena *arena, uint32_t slots)
{
	int fd = cw_arena_make(arena, ID, slots, false);

	ck_assert_int_ge(fd, 0);
	return fd;
}

START_TEST(both_see_one_arena)
{
	struct cw_arena ours, *theirs;
	int fd = made(&ours, 4);

	ck_assert_int_eq(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
	ck_assert_int_eq(fcntl(fd, F_GET_SEALS) & ALL_SEALS, ALL_SEALS);
	ck_assert_ptr_null(cw_arena_find(ID));
	theirs = cw_arena_map(fd, ID);
	ck_assert_ptr_nonnull(theirs);
	ck_assert_ptr_eq(cw_arena_find(ID), theirs);
	ck_assert_ptr_eq(cw_arena_map(fd, ID), theirs);
	ck_assert_uint_eq(theirs->slots, 4);
	ck_assert_ptr_ne(theirs->base, ours.base);
	for (uint32_t slot = 0; slot < 4; slot++) {
		cw_arena_slot_reset(&ours, slot);
		cw_arena_slot(&ours, slot)->direction[1].widx = slot + 100;
		ck_assert_uint_eq(cw_arena_slot(theirs, slot)->direction[1].widx, slot + 100);
		for (unsigned d = 0; d < 2; d++) {
			cw_arena_ring(&ours, slot, d)[0] = (unsigned char)(2 * slot + d);
			cw_arena_ring(&ours, slot, d)[CW_RING_MAX - 1] = (unsigned char)(2 * slot + d);
		}
	}
	for (uint32_t slot = 0; slot < 4; slot++)
		for (unsigned d = 0; d < 2; d++) {
			ck_assert_uint_eq(cw_arena_ring(theirs, slot, d)[0], 2 * slot + d);
			ck_assert_uint_eq(cw_arena_ring(theirs, slot, d)[CW_RING_MAX - 1], 2 * slot + d);
		}
}
END_TEST

START_TEST(slots_have_bounds)
{
	struct cw_arena arena;
	uint32_t slots = _i ? CW_ARENA_MAX_SLOTS : 3;
	unsigned char *last;

	made(&arena, slots);
	ck_assert_ptr_null(cw_arena_slot(&arena, slots));
	ck_assert_ptr_null(cw_arena_slot(&arena, UINT32_MAX));
	ck_assert_ptr_eq(cw_arena_slot(&arena, 0), arena.base + CW_ARENA_WORDS);
	last = (unsigned char *)cw_arena_slot(&arena, slots - 1) + sizeof(struct cw_slot);
	ck_assert(last <= cw_arena_ring(&arena, 0, 0));
	ck_assert_ptr_eq(cw_arena_ring(&arena, slots - 1, 1) + CW_RING_MAX, arena.base + arena.size);
	ck_assert_ptr_eq(cw_arena_ring(&arena, 0, 1), cw_arena_ring(&arena, 0, 0) + CW_RING_MAX);
	ck_assert_ptr_eq(cw_arena_ring(&arena, 1, 0), cw_arena_ring(&arena, 0, 1) + CW_RING_MAX);
	ck_assert_ptr_eq(cw_arena_ring(&arena, 0, 2), cw_arena_ring(&arena, 0, 0)); /* an end is 0 or 1, whatever is asked */
}
END_TEST

START_TEST(no_such_number_of_slots)
{
	struct cw_arena arena;

	ck_assert_int_eq(cw_arena_make(&arena, ID, 0, false), -1);
	ck_assert_int_eq(errno, EINVAL);
	ck_assert_int_eq(cw_arena_make(&arena, ID, CW_ARENA_MAX_SLOTS + 1, false), -1);
	ck_assert_int_eq(errno, EINVAL);
}
END_TEST

/* A header that lies. The service is trusted, but of another version, or it sent the wrong descriptor. */
START_TEST(headers_that_lie)
{
	struct cw_arena arena;
	int fd = made(&arena, 2), expected = EPROTO;
	struct cw_arena_header *header = (struct cw_arena_header *)arena.base;

	switch (_i) {
	case 0:
		header->magic++;
		break;
	case 1:
		header->id++;
		break;
	case 2:
		header->slots = 0;
		break;
	case 3:
		header->slots = CW_ARENA_MAX_SLOTS + 1;
		break;
	case 4:
		header->slots = UINT32_MAX;
		break;
	case 5:
		header->slots = 3; /* more than the memory holds */
		break;
	case 6:
		header->layout = CW_LAYOUT + 1;
		expected = EOVERFLOW;
		break;
	case 7:
		header->layout = 0;
		expected = EOVERFLOW;
		break;
	}
	errno = 0;
	ck_assert_ptr_null(cw_arena_map(fd, ID));
	ck_assert_int_eq(errno, expected);
	ck_assert_ptr_null(cw_arena_find(ID));
}
END_TEST

START_TEST(no_arena_at_all)
{
	errno = 0;
	ck_assert_ptr_null(cw_arena_map(memory_of(1 << 20, ALL_SEALS), ID)); /* zeroes */
	ck_assert_int_eq(errno, EPROTO);
	errno = 0;
	ck_assert_ptr_null(cw_arena_map(memory_of(CW_ARENA_WORDS - 1, ALL_SEALS), ID));
	ck_assert_int_eq(errno, EPROTO);
	errno = 0;
	ck_assert_ptr_null(cw_arena_map(memory_of(1 << 20, 0), ID));
	ck_assert_int_eq(errno, EPROTO);
}
END_TEST

/* Refused ones leave nothing behind, and those beyond the most that may be mapped are refused. */
START_TEST(only_so_many)
{
	struct cw_arena arena;
	uint64_t id = 1;
	int fd;

	for (int i = 0; i < 5000; i++) {
		fd = memory_of(CW_ARENA_WORDS, ALL_SEALS);
		ck_assert_ptr_null(cw_arena_map(fd, ID));
		close(fd);
	}
	for (; id < 100000; id++) {
		struct cw_arena *mapped;

		fd = cw_arena_make(&arena, id, 1, false);
		ck_assert_int_ge(fd, 0);
		munmap(arena.base, arena.size);
		errno = 0;
		mapped = cw_arena_map(fd, id);
		close(fd);
		if (!mapped)
			break;
		ck_assert_uint_eq(mapped->id, id);
	}
	ck_assert_int_eq(errno, ENOSPC);
	ck_assert_uint_gt(id, 1000);
	ck_assert_ptr_nonnull(cw_arena_find(1));
	ck_assert_ptr_nonnull(cw_arena_find(id - 1));
	ck_assert_ptr_null(cw_arena_find(id));
}
END_TEST

START_TEST(a_slot_is_ready_for_the_next)
{
	struct cw_arena arena;
	int fd = made(&arena, 2);
	struct cw_slot *slot = cw_arena_slot(&arena, 1), *other = cw_arena_slot(&arena, 0);
	uint64_t use;

	cw_arena_slot_reset(&arena, 0);
	cw_arena_slot_reset(&arena, 1);
	use = slot->use;
	other->direction[0].widx = 5;
	memset(slot, 0xee, offsetof(struct cw_slot, use));
	memset(cw_arena_ring(&arena, 1, 0), 0xee, 2 * CW_RING_MAX);
	cw_arena_ring(&arena, 0, 1)[CW_RING_MAX - 1] = 7;
	cw_arena_slot_reset(&arena, 1);
	cw_arena_slot_clear(&arena, fd, 1);
	ck_assert_uint_eq(slot->use, use + 1);
	for (unsigned d = 0; d < 2; d++) {
		ck_assert_int_eq(cw_state_of(slot->direction[d].state), CW_TAKEN);
		ck_assert_uint_eq(slot->direction[d].state & CW_MARKS, 0);
		ck_assert_uint_eq(slot->direction[d].widx, 0);
		ck_assert_uint_eq(slot->direction[d].tx_attached, 0);
		ck_assert_uint_eq(slot->direction[d].rx_attached, 0);
		ck_assert_uint_eq(slot->direction[d].tx_lock.holder, 0);
		ck_assert_uint_ge(slot->direction[d].ring_bits, CW_RING_MIN_BITS);
		ck_assert_uint_le(slot->direction[d].ring_bits, CW_RING_MAX_BITS);
		ck_assert_uint_eq(slot->end[d].holders, 1);
		for (size_t i = 0; i < CW_RING_MAX; i += 511)
			ck_assert_uint_eq(cw_arena_ring(&arena, 1, d)[i], 0);
	}
	ck_assert_uint_eq(other->direction[0].widx, 5);
	ck_assert_uint_eq(cw_arena_ring(&arena, 0, 1)[CW_RING_MAX - 1], 7);
}
END_TEST

/* What different sides write never shares a cache line, wherever a slot is. */
START_TEST(no_line_is_shared)
{
	static const size_t writer[] = {offsetof(struct cw_direction, widx), offsetof(struct cw_direction, tx_lock)};
	static const size_t reader[] = {offsetof(struct cw_direction, roff), offsetof(struct cw_direction, rx_lock)};
	size_t steps = offsetof(struct cw_direction, state);

	ck_assert_uint_eq(sizeof(struct cw_slot) % CW_CACHE_LINE, 0);
	ck_assert_uint_eq(sizeof(struct cw_direction) % CW_CACHE_LINE, 0);
	ck_assert_uint_eq(CW_ARENA_WORDS % CW_CACHE_LINE, 0);
	for (int w = 0; w < 2; w++) {
		ck_assert_uint_ne(writer[w] / CW_CACHE_LINE, steps / CW_CACHE_LINE);
		for (int r = 0; r < 2; r++) {
			ck_assert_uint_ne(reader[r] / CW_CACHE_LINE, steps / CW_CACHE_LINE);
			ck_assert_uint_ne(writer[w] / CW_CACHE_LINE, reader[r] / CW_CACHE_LINE);
		}
	}
	ck_assert_uint_eq(offsetof(struct cw_direction, tx_shared) / CW_CACHE_LINE, writer[1] / CW_CACHE_LINE);
	ck_assert_uint_eq(offsetof(struct cw_direction, rx_kernel_op) / CW_CACHE_LINE, reader[1] / CW_CACHE_LINE);
}
END_TEST

int main(void)
{
	SRunner *runner;
	TCase *units = units_of("window", 60, &runner);

	tcase_add_test(units, a_sealed_one_is_mapped);
	tcase_add_loop_test(units, one_seal_too_few, 0, 5);
	tcase_add_test(units, short_ones);
	tcase_add_test(units, other_descriptors);
	tcase_add_test_raise_signal(units, what_was_mapped_to_read_is_not_written, SIGSEGV);
	tcase_add_test(units, both_see_one_arena);
	tcase_add_loop_test(units, slots_have_bounds, 0, 2);
	tcase_add_test(units, no_such_number_of_slots);
	tcase_add_loop_test(units, headers_that_lie, 0, 8);
	tcase_add_test(units, no_arena_at_all);
	tcase_add_test(units, only_so_many);
	tcase_add_test(units, a_slot_is_ready_for_the_next);
	tcase_add_test(units, no_line_is_shared);
	return run_units(runner);
}
