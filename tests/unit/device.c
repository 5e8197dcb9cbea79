/* transport/pci: how a device's window is divided, and what of a part is free. The module is played by an ioctl of our own. */
#include "unit.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ioctl.h>

#include "kmod/causeway_ioctl.h"
#include "transport/pci/part.h"

#define OTHER 77u
#define THIRD 78u
#define MB    (1ull << 20)

/* ---- the module ---- */

static struct {
	uint64_t at, length;
	uint32_t state;
} grants[8];
static uint32_t memory = CAUSEWAY_WRITE_BACK;

static int next(struct causeway_grant_info *info)
{
	for (uint32_t id = info->id; id < 8; id++)
		if (grants[id].length) {
			*info = (struct causeway_grant_info){
				.id = id, .offset = grants[id].at, .length = grants[id].length, .state = grants[id].state};
			return 0;
		}
	errno = ENOENT;
	return -1;
}

static int window(struct causeway_window *info)
{
	*info = (struct causeway_window){.name = "unit0", .kind = "unit", .size = 64 * MB, .memory = memory, .bells = 2, .peer = 3};
	return 0;
}

int ioctl(int fd, unsigned long request, ...)
{
	va_list arguments;
	void *argument;

	va_start(arguments, request);
	argument = va_arg(arguments, void *);
	va_end(arguments);
	switch (request) {
	case CAUSEWAY_IOC_VERSION:
		((struct causeway_version *)argument)->version = CAUSEWAY_VERSION;
		return 0;
	case CAUSEWAY_IOC_WINDOW:
		return window(argument);
	case CAUSEWAY_IOC_NEXT:
		return next(argument);
	default:
		errno = ENOTTY;
		return -1;
	}
}

/* ---- a part ---- */

static struct cw_device device = {.fd = -1, .size = 64 * MB};
static struct cw_part_header header;
static struct cw_own_part own;

/* The second of eight parts of 8 MiB: 32 units, of which the first is the header's. */
static void begin(void)
{
	memset(grants, 0, sizeof(grants));
	memset(&header, 0, sizeof(header));
	own = (struct cw_own_part){.device = &device, .part = cw_part_of(&device, 8, 1), .units = 32, .header = &header, .fd = -1};
}

START_TEST(a_window_is_divided)
{
	struct cw_part part = cw_part_of(&device, 8, 7);

	ck_assert_uint_eq(part.at, 56 * MB);
	ck_assert_uint_eq(part.length, 8 * MB);
	ck_assert_uint_eq(cw_part_of(&device, 8, 8).length, 0);
	ck_assert_uint_eq(cw_part_of(&device, 0, 0).length, 0);
	ck_assert_uint_eq(cw_part_of(&device, CW_PART_MOST + 1, 0).length, 0);
	/* Parts are whole units, and one for the header alone is none. */
	ck_assert_uint_eq(cw_part_of(&device, 3, 1).at % CW_PART_UNIT, 0);
	ck_assert_uint_eq(cw_part_of(&(struct cw_device){.size = 8 * CW_PART_UNIT}, 8, 0).length, 0);
}
END_TEST

START_TEST(what_the_kernel_has_granted_is_not_free)
{
	begin();
	ck_assert_uint_eq(cw_own_part_find(&own, 2 * MB), 8 * MB + CW_PART_UNIT);
	/* One that is half within the part, one of another part, one that is dead. */
	grants[1].at = 8 * MB + CW_PART_UNIT;
	grants[1].length = CW_PART_UNIT + 4096;
	grants[2].at = 0;
	grants[2].length = 8 * MB;
	grants[3].at = 8 * MB + 3 * CW_PART_UNIT;
	grants[3].length = MB;
	grants[3].state = CAUSEWAY_REVOKED;
	ck_assert_uint_eq(cw_own_part_find(&own, 2 * MB), 8 * MB + 3 * CW_PART_UNIT);
	grants[4].at = 8 * MB + 5 * CW_PART_UNIT;
	grants[4].length = 64 * MB;
	ck_assert_uint_eq(cw_own_part_find(&own, 2 * CW_PART_UNIT), 8 * MB + 3 * CW_PART_UNIT);
	ck_assert_uint_eq(cw_own_part_find(&own, 3 * CW_PART_UNIT), 0);
	ck_assert_uint_eq(cw_own_part_find(&own, 1ull << 50), 0);
}
END_TEST

START_TEST(what_another_node_has_is_free_when_it_says_so)
{
	uint64_t one = 8 * MB + CW_PART_UNIT, two = one + 2 * MB, three = two + 2 * MB;

	begin();
	cw_own_part_claim(&own, one, 2 * MB, OTHER);
	cw_own_part_claim(&own, two, 2 * MB, OTHER);
	cw_own_part_claim(&own, three, MB, THIRD);
	ck_assert_uint_eq(cw_own_part_find(&own, MB), three + MB);
	/* An answer to nothing frees nothing. */
	cw_own_part_answered(&own, OTHER);
	ck_assert_uint_eq(cw_own_part_find(&own, MB), three + MB);
	/* The first is kept, the second isn't, and what was given after the question isn't meant. */
	cw_own_part_ask(&own, OTHER);
	cw_own_part_ask(&own, THIRD);
	cw_own_part_kept(&own, one, 2 * MB, OTHER);
	cw_own_part_claim(&own, three + MB, MB, OTHER);
	cw_own_part_answered(&own, OTHER);
	ck_assert_uint_eq(cw_own_part_find(&own, MB), two);
	ck_assert(cw_own_part_claimed(&own, OTHER));
	cw_own_part_claim(&own, two, 2 * MB, OTHER);
	ck_assert_uint_eq(cw_own_part_find(&own, MB), three + 2 * MB);
	/* One can't speak for another. */
	cw_own_part_kept(&own, three, MB, OTHER);
	cw_own_part_answered(&own, THIRD);
	ck_assert(!cw_own_part_claimed(&own, THIRD));
	ck_assert_uint_eq(cw_own_part_find(&own, MB), three);
}
END_TEST

static bool is_third(uint64_t node)
{
	return node == THIRD;
}

START_TEST(what_several_nodes_have_is_free_when_all_of_them_say_so)
{
	uint64_t one = 8 * MB + CW_PART_UNIT, two = one + 2 * MB;

	begin();
	ck_assert(cw_own_part_share(&own, one, 2 * MB, OTHER));
	ck_assert(cw_own_part_share(&own, one, 2 * MB, THIRD));
	ck_assert(cw_own_part_share(&own, one, 2 * MB, OTHER)); /* again: the same claim */
	ck_assert_uint_eq(cw_own_part_find(&own, MB), two);
	cw_own_part_ask(&own, OTHER);
	cw_own_part_answered(&own, OTHER);
	ck_assert(!cw_own_part_claimed(&own, OTHER) && cw_own_part_claimed(&own, THIRD));
	ck_assert_uint_eq(cw_own_part_find(&own, MB), two);
	cw_own_part_ask(&own, THIRD);
	cw_own_part_kept(&own, one, 2 * MB, THIRD);
	cw_own_part_answered(&own, THIRD);
	ck_assert_uint_eq(cw_own_part_find(&own, MB), two);
	/* Given again after the question: not meant by its answer. */
	cw_own_part_ask(&own, THIRD);
	ck_assert(cw_own_part_share(&own, one, 2 * MB, THIRD));
	cw_own_part_answered(&own, THIRD);
	ck_assert_uint_eq(cw_own_part_find(&own, MB), two);
	cw_own_part_ask(&own, THIRD);
	cw_own_part_answered(&own, THIRD);
	ck_assert_uint_eq(cw_own_part_find(&own, MB), one);
	/* There is room for so many; those of nodes that nobody knows go. */
	for (uint64_t node = 0; node < CW_PART_SHARES; node++)
		ck_assert(cw_own_part_share(&own, one, MB, THIRD + node));
	ck_assert(!cw_own_part_share(&own, one, MB, OTHER));
	cw_own_part_forget(&own, is_third);
	ck_assert(cw_own_part_claimed(&own, THIRD) && cw_own_part_share(&own, one, MB, OTHER));
}
END_TEST

/* Ranges come from other machines. */
START_TEST(ranges_of_nonsense_are_harmless)
{
	static const uint64_t nonsense[] = {0, 1, 8 * MB, 16 * MB - 1, 16 * MB, 1ull << 63, UINT64_MAX - 4095, UINT64_MAX};

	begin();
	for (unsigned i = 0; i < 8; i++)
		for (unsigned k = 0; k < 8; k++)
			cw_own_part_kept(&own, nonsense[i], nonsense[k], OTHER);
	ck_assert_uint_eq(cw_own_part_find(&own, MB), 8 * MB + CW_PART_UNIT);
	/* Claims are in memory that all nodes can write to. */
	for (unsigned i = 0; i < 64; i++)
		header.share[i] = (struct cw_part_share){.at = nonsense[i / 8], .length = nonsense[i % 8], .node = i};
	ck_assert_uint_eq(cw_own_part_find(&own, MB), 0);
}
END_TEST

START_TEST(a_device_is_opened)
{
	struct cw_device opened;

	ck_assert_int_eq(cw_device_open(&opened, "/dev/null"), 0);
	ck_assert_str_eq(opened.name, "unit0");
	ck_assert_uint_eq(opened.peer, 3);
	cw_device_close(&opened);
	memory = CAUSEWAY_UNCACHED;
	ck_assert_int_eq(cw_device_open(&opened, "/dev/null"), -1);
	ck_assert_int_eq(errno, EMEDIUMTYPE);
	memory = CAUSEWAY_WRITE_BACK;
	ck_assert_int_eq(cw_device_open(&opened, "/nowhere/at/all"), -1);
}
END_TEST

int main(void)
{
	SRunner *runner;
	TCase *units = units_of("device", 60, &runner);

	tcase_add_test(units, a_window_is_divided);
	tcase_add_test(units, what_the_kernel_has_granted_is_not_free);
	tcase_add_test(units, what_another_node_has_is_free_when_it_says_so);
	tcase_add_test(units, what_several_nodes_have_is_free_when_all_of_them_say_so);
	tcase_add_test(units, ranges_of_nonsense_are_harmless);
	tcase_add_test(units, a_device_is_opened);
	return run_units(runner);
}
