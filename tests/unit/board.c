/* sync/board: writers publish and mark, a reader takes marks and looks; no message is left unseen. */
#include "unit.h"

#include <pthread.h>

#include "sync/board.h"
#include "sync/cpu.h"

#define WRITERS  3
#define MESSAGES 60000

static struct {
	_Alignas(CW_CACHE_LINE) _Atomic uint64_t board;
	struct {
		_Alignas(CW_CACHE_LINE) _Atomic uint64_t widx;
		_Atomic uint64_t roff;
		uint64_t marks;
	} ring[WRITERS];
} memory;

static uint64_t bit_of(int i)
{
	return 1ull << (i * 21 + 1);
}

START_TEST(bits_are_set_and_taken)
{
	_Atomic uint64_t word = 0;

	ck_assert(cw_board_mark(&word, 1ull << 63));
	ck_assert(!cw_board_mark(&word, 1ull << 63));
	ck_assert(cw_board_mark(&word, 1));
	ck_assert(cw_board_mark(&word, 4));
	ck_assert_uint_eq(cw_board_take(&word, 2), 0);
	ck_assert_uint_eq(cw_board_take(&word, 1ull << 63 | 3), 1ull << 63 | 1);
	ck_assert_uint_eq(word, 4);
	ck_assert_uint_eq(cw_board_take(&word, ~0ull), 4);
	ck_assert_uint_eq(cw_board_take(&word, ~0ull), 0);
}
END_TEST

/* Each message waits for the one before: a mark that is lost keeps its writer for ever. */
static void *write_and_mark(void *argument)
{
	int i = (int)(intptr_t)argument;

	for (uint64_t n = 0; n < MESSAGES; n++) {
		uint64_t expected = n;

		atomic_compare_exchange_strong_explicit(&memory.ring[i].widx, &expected, n + 1, memory_order_seq_cst, memory_order_relaxed);
		memory.ring[i].marks += cw_board_mark(&memory.board, bit_of(i));
		if (n % 64 == 0)
			while (atomic_load_explicit(&memory.ring[i].roff, memory_order_acquire) != n + 1)
				sched_yield();
	}
	return NULL;
}

static uint64_t look(int i)
{
	uint64_t widx = atomic_load_explicit(&memory.ring[i].widx, memory_order_acquire);
	uint64_t roff = atomic_load_explicit(&memory.ring[i].roff, memory_order_relaxed);

	atomic_store_explicit(&memory.ring[i].roff, widx, memory_order_release);
	return widx - roff;
}

START_TEST(no_mark_is_lost)
{
	pthread_t threads[WRITERS];
	uint64_t seen = 0, mask = 0;

	for (int i = 0; i < WRITERS; i++) {
		mask |= bit_of(i);
		ck_assert_int_eq(pthread_create(&threads[i], NULL, write_and_mark, (void *)(intptr_t)i), 0);
	}
	while (seen < (uint64_t)WRITERS * MESSAGES) {
		uint64_t bits = cw_board_take(&memory.board, mask);

		for (int i = 0; i < WRITERS; i++)
			if (bits & bit_of(i))
				seen += look(i);
		if (!bits)
			sched_yield();
	}
	for (int i = 0; i < WRITERS; i++) {
		pthread_join(threads[i], NULL);
		ck_assert_uint_eq(memory.ring[i].roff, MESSAGES);
		ck_assert_uint_gt(memory.ring[i].marks, 0);
	}
}
END_TEST

int main(void)
{
	SRunner *runner;
	TCase *units = units_of("board", 60, &runner);

	tcase_add_test(units, bits_are_set_and_taken);
	tcase_add_test(units, no_mark_is_lost);
	return run_units(runner);
}
