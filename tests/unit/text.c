/* What is read from a program's text and notes: instructions that are there are found, others that look like them are not, and no byte
 * beyond the end is looked at. */
#include "unit.h"

#include <elf.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "remap/text.h"
#include "sync/cpu.h"

/* Text that ends where no memory follows. */
static unsigned char *at_the_end(const void *bytes, size_t size)
{
	static unsigned char *pages;
	size_t page = (size_t)sysconf(_SC_PAGESIZE);

	if (!pages) {
		pages = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		ck_assert_ptr_ne(pages, MAP_FAILED);
		ck_assert_int_eq(mprotect(pages + page, page, PROT_NONE), 0);
	}
	memset(pages, 0x90, page);
	memcpy(pages + page - size, bytes, size);
	return pages + page - size;
}

#if defined(__x86_64__)
static const struct sample {
	const char *name, *bytes;
	size_t size;
	long found; /* -1: none */
} samples[] = {
#define SAMPLE(name, found, bytes)                                                                                                         \
	{                                                                                                                                  \
		name, bytes, sizeof(bytes) - 1, found                                                                                      \
	}
	SAMPLE("number, call, comparison (Go)", 5, "\xb8\x23\0\0\0\x0f\x05\x48\x3d\x01\xf0\xff\xff"),
	SAMPLE("comparison alone", 1, "\x90\x0f\x05\x48\x3d\x01\xf0\xff\xff"),
	SAMPLE("number alone", 10, "\xb8\x01\0\0\0\xbf\x01\0\0\0\x0f\x05\x31\xc0"),
	SAMPLE("a number in seven bytes", 7, "\x48\xc7\xc0\x01\0\0\0\x0f\x05\x41\x5f"),
	SAMPLE("from a register, returned", 3, "\x48\x89\xf8\x0f\x05\xc3"),
	SAMPLE("the last two bytes", 5, "\xb8\x3c\0\0\0\x0f\x05"),
	SAMPLE("displacement of an address", -1, "\xb8\x01\0\0\0\x48\x8d\x3d\x3c\x0f\x05\x00\x31\xc0"),
	SAMPLE("displacement of a call", -1, "\xb8\x01\0\0\0\xe8\x0f\x05\xaf\xfe\x48\x83\xc4\x10"),
	SAMPLE("a constant", -1, "\xb8\x01\0\0\0\x48\xd3\xe0\xa9\x0f\x05\x20\x5b"),
	SAMPLE("nothing before or behind", -1, "\x90\x90\x90\x0f\x05\x90\x90"),
	SAMPLE("half of it at the end", -1, "\xb8\x01\0\0\0\x0f"),
	SAMPLE("nothing", -1, ""),
};

START_TEST(test_call)
{
	const struct sample *sample = &samples[_i];
	unsigned char *text = at_the_end(sample->bytes, sample->size);
	const unsigned char *found = cw_text_find_call(text, sample->size);

	ck_assert_msg((found ? found - text : -1) == sample->found, "%s: at %ld", sample->name, found ? (long)(found - text) : -1L);
	/* The same behind much that is nothing. */
	if (sample->found >= 0)
		ck_assert_ptr_eq(cw_text_find_call(text - 1000, 1000 + sample->size), text + sample->found);
}
END_TEST
#endif

static size_t put_note(unsigned char *to, uint32_t name_size, uint32_t size, uint32_t type, const char *name)
{
	Elf64_Nhdr header = {name_size, size, type};

	memcpy(to, &header, sizeof(header));
	memset(to + sizeof(header), 0, 64);
	memcpy(to + sizeof(header), name, strlen(name) + 1);
	return sizeof(header) + ((name_size + 3) & ~3u) + ((size + 3) & ~3u);
}

START_TEST(test_note)
{
	unsigned char notes[1000] = {0};
	size_t first = put_note(notes, 4, 20, 3, "GNU"), whole = first + put_note(notes + first, 4, 10, 4, "Go");

	ck_assert(cw_text_note_of_go(at_the_end(notes, whole), whole));
	ck_assert(!cw_text_note_of_go(at_the_end(notes, first), first));
	/* Cut anywhere: an answer. */
	for (size_t size = 0; size < whole; size++)
		cw_text_note_of_go(at_the_end(notes, size), size);
	put_note(notes + first, 4, 10, 3, "Go");
	ck_assert(!cw_text_note_of_go(at_the_end(notes, whole), whole));
}
END_TEST

START_TEST(test_hostile_note)
{
	static const uint32_t sizes[] = {0, 1, 3, 4, 5, 100, 0x7fffffff, 0xfffffffc, 0xfffffffd, 0xffffffff};
	unsigned char notes[200];

	for (size_t i = 0; i < CW_ARRAY_SIZE(sizes); i++)
		for (size_t k = 0; k < CW_ARRAY_SIZE(sizes); k++) {
			put_note(notes, sizes[i], sizes[k], 4, "no");
			ck_assert(!cw_text_note_of_go(at_the_end(notes, 24), 24));
		}
}
END_TEST

int main(void)
{
	SRunner *runner;
	TCase *units = units_of("text", 60, &runner);

#if defined(__x86_64__)
	tcase_add_loop_test(units, test_call, 0, CW_ARRAY_SIZE(samples));
#endif
	tcase_add_test(units, test_note);
	tcase_add_test(units, test_hostile_note);
	return run_units(runner);
}
