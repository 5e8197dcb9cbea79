/* What the programs of units share. */
#ifndef CW_TESTS_UNIT_H
#define CW_TESTS_UNIT_H

#include <check.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "sync/spin.h"

/* One suite of one case, whose tests may take so many seconds each. */
static inline TCase *units_of(const char *name, double seconds, SRunner **runner)
{
	Suite *suite = suite_create(name);
	TCase *units = tcase_create(name);

	tcase_set_timeout(units, seconds);
	suite_add_tcase(suite, units);
	*runner = srunner_create(suite);
	return units;
}

static inline int run_units(SRunner *runner)
{
	int failed;

	srunner_run_all(runner, CK_SILENT);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

/* A repeatable stream of numbers (xorshift64). */
static inline uint64_t next_random(uint64_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return *seed;
}

static inline uint64_t ticks(uint64_t us)
{
	return us * cw_ticks_per_us();
}

/* Zeroed memory that children made by fork see too. */
static inline void *shared_memory(size_t size)
{
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	ck_assert_ptr_ne(memory, MAP_FAILED);
	return memory;
}

#endif
