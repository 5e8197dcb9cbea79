/* The book of a program: the names that users see, and what it adds up to while the program writes in it. */
#include "unit.h"

#include <ctype.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "node/totals.h"
#include "sockets/stream.h"

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

/* ---- sums ---- */

#define DESCRIPTORS 8
#define ROUNDS      40
#define SUMS        2000

struct count {
	_Atomic uint64_t opened, closed; /* raised before a socket is opened, and after it is closed */
};

/* A program that opens and closes sockets, every one of them moved, in a book that others read. */
__attribute__((noreturn)) static void open_and_close(int memory, struct count *count)
{
	struct cw_stream *stream[DESCRIPTORS] = {NULL};

	if (mmap(&cw_own_book, sizeof(cw_own_book), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, memory, 0) != &cw_own_book)
		_exit(1);
	for (unsigned i = 0;; i = (i + 1) % DESCRIPTORS) {
		int fd = 100 + (int)i;

		if (stream[i]) {
			cw_stream_close(stream[i], fd);
			count->closed++;
		}
		count->opened++;
		stream[i] = cw_stream_open(fd, true, false);
		CW_COUNT(stream[i], messages_in, 1);
		cw_own_book.entry[stream[i]->number].kind = CW_ENTRY_MOVED;
	}
}

static void check_sum(const struct cw_book *book, const struct count *count)
{
	struct cw_totals totals = {0};
	uint64_t closed = count->closed;

	cw_totals_add(&totals, book, CW_BOOK_ENTRIES, 0);
	ck_assert_uint_le(totals.moved, totals.made);
	ck_assert_uint_le(totals.made, count->opened);
	ck_assert_uint_le(totals.counter[CW_COUNT_messages_in], count->opened);
	ck_assert_uint_ge(totals.made, closed);
	ck_assert_uint_ge(totals.moved, closed);
}

/* However the sum falls, and wherever the program is killed. */
START_TEST(a_sum_is_plausible_at_any_time)
{
	struct count *count = shared_memory(sizeof(*count));
	uint64_t seed = 5;

	for (int round = 0; round < ROUNDS; round++) {
		int memory = memfd_create("book", MFD_CLOEXEC);
		struct cw_book *book;
		pid_t child;

		ck_assert_int_eq(ftruncate(memory, sizeof(*book)), 0);
		book = mmap(NULL, sizeof(*book), PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);
		ck_assert_ptr_ne(book, MAP_FAILED);
		count->opened = count->closed = 0;
		child = fork();
		if (child == 0)
			open_and_close(memory, count);
		for (uint64_t i = next_random(&seed) % SUMS; i > 0; i--)
			check_sum(book, count);
		while (!count->closed)
			usleep(100);
		kill(child, SIGKILL);
		ck_assert_int_eq(waitpid(child, NULL, 0), child);
		check_sum(book, count);
		munmap(book, sizeof(*book));
		close(memory);
	}
}
END_TEST

static uint64_t too_many(void)
{
	return cw_own_book.totals.reasons[CW_REASON_too_many];
}

/* Numbers alone, that are never used as descriptors. */
START_TEST(more_sockets_than_entries)
{
	struct cw_stream *stream;

	for (int fd = 1000; fd < 1000 + (int)CW_BOOK_ENTRIES; fd++)
		ck_assert_ptr_nonnull(cw_stream_open(fd, true, false));
	ck_assert_uint_eq(too_many(), 0);
	for (int fd = 500; fd < 510; fd++) {
		ck_assert_ptr_null(cw_stream_open(fd, true, false));
		ck_assert_ptr_null(cw_stream_of(fd));
	}
	ck_assert_uint_eq(too_many(), 10);
	stream = cw_stream_of(2000);
	cw_table_take(2000);
	cw_stream_close(stream, 2000);
	ck_assert_ptr_eq(cw_stream_open(500, true, false), stream);
	ck_assert_ptr_null(cw_stream_open(501, true, false));
	ck_assert_ptr_null(cw_stream_open((int)CW_DESCRIPTORS, true, false));
	ck_assert_uint_eq(too_many(), 12);
}
END_TEST

int main(void)
{
	SRunner *runner;
	TCase *units = units_of("book", 30, &runner);

	tcase_add_test(units, counters);
	tcase_add_test(units, reasons);
	tcase_add_test(units, numbers_that_mean_nothing);
	tcase_add_test(units, a_sum_is_plausible_at_any_time);
	tcase_add_test(units, more_sockets_than_entries);
	return run_units(runner);
}
