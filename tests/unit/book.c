/* sockets/book: the names that users see. */
#include "unit.h"

#include <ctype.h>
#include <stdbool.h>
#include <string.h>

#include "sockets/book.h"

typedef const char *name_of(int number);

static const char *counter_name(int number)
{
	return cw_counter_name((enum cw_counter)number);
}

static const char *reason_name(int number)
{
	return cw_reason_name((enum cw_reason)number);
}

/* A key of the report: lower case, digits and _, and no two alike. */
static void names_are_keys(name_of *name, int count)
{
	for (int i = 0; i < count; i++) {
		ck_assert_uint_gt(strlen(name(i)), 0);
		for (const char *at = name(i); *at; at++)
			ck_assert_msg(islower((unsigned char)*at) || isdigit((unsigned char)*at) || *at == '_', "%s", name(i));
		for (int k = 0; k < i; k++)
			ck_assert_str_ne(name(i), name(k));
	}
}

START_TEST(counters)
{
	names_are_keys(counter_name, CW_COUNTERS);
	for (int i = 0; i < CW_COUNTERS; i++)
		ck_assert_uint_gt(strlen(cw_counter_text((enum cw_counter)i)), 5);
	ck_assert_str_eq(cw_counter_name(CW_COUNT_doorbells), "doorbells");
	ck_assert_str_eq(cw_counter_name(CW_COUNT_bytes_ring_in), "bytes_ring_in");
}
END_TEST

START_TEST(reasons)
{
	names_are_keys(reason_name, CW_REASONS);
	for (int i = CW_REASON_none + 1; i < CW_REASONS; i++)
		ck_assert_uint_gt(strlen(cw_reason_text((enum cw_reason)i)), 5);
	ck_assert_str_eq(cw_reason_name(CW_REASON_none), "none");
	ck_assert_str_eq(cw_reason_name(CW_REASON_peer_left), "peer_left");
}
END_TEST

/* They come from shared memory: any number has a name. */
START_TEST(numbers_that_mean_nothing)
{
	static const int nonsense[] = {-1, CW_COUNTERS + 1000, CW_REASONS + 1000, INT32_MAX, INT32_MIN};

	ck_assert_str_eq(counter_name(CW_COUNTERS), "unknown");
	ck_assert_str_eq(reason_name(CW_REASONS), "unknown");
	for (size_t i = 0; i < sizeof(nonsense) / sizeof(nonsense[0]); i++) {
		ck_assert_str_eq(counter_name(nonsense[i]), "unknown");
		ck_assert_str_eq(reason_name(nonsense[i]), "unknown");
		ck_assert_str_eq(cw_counter_text((enum cw_counter)nonsense[i]), "unknown");
		ck_assert_str_eq(cw_reason_text((enum cw_reason)nonsense[i]), "unknown");
	}
}
END_TEST

int main(void)
{
	SRunner *runner;
	TCase *units = units_of("book", 10, &runner);

	tcase_add_test(units, counters);
	tcase_add_test(units, reasons);
	tcase_add_test(units, numbers_that_mean_nothing);
	return run_units(runner);
}
