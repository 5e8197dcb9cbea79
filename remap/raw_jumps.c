/*
 * Which instructions are led to ours by jumps. A jump has five bytes and a system call two, so the instruction behind it must go along:
 *those that assemblers' programmers put there (Go's above all, whose whole standard library calls by one instruction). Each has a slot in
 *two pages, near enough for a jump:
 *
 *	in the text	jmp slot			near slot, dispatched		far slot, not dispatched
 *	syscall		(the number may be any)		lea 16(slot), %rcx
 *	cmp $-4095,%rax					jmp *cw_raw_direct
 *	jbe ...					16:	syscall			16:	syscall
 *							cmp $-4095,%rax			cmp $-4095,%rax
 *							jmp back			jmp back
 *
 * A call by a number that is none of ours goes on to the far slot. rcx is free: a system call loses it. The flags are lost too, which the
 * kernel keeps: so what goes along must set them anew, or end the function. Compilers write such ends too, and may lead other paths there
 *from anywhere; so behind a function's end must lie what Go's linker fills with.
 */
#include "raw_jumps.h"

#ifdef CW_RAW_HERE
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "call.h"
#include "sockets/service.h"
#include "text.h"

#define PAGE        4096
#define SLOT        64
#define OF_CALL     16 /* in a slot */
#define OF_SITE     56
#define MOST_SITES  (PAGE / SLOT - 1) /* the first slot holds where cw_raw_direct is */
#define MOST_TEXT   (4u << 20)        /* looked through; runtimes come first */
#define PART        (32u << 10)
#define JUMP        5
#define RET         0xc3
#define PADDING     0xcc
#define NEIGHBOURS  2048 /* whose jumps are looked at, before and behind */
#define MOST_BEFORE 7
#define MOST_BEHIND 16
#define FURTHEST    0x7f000000ul /* by a jump */

struct site {
	uintptr_t at;
	unsigned moved; /* bytes that go along */
	unsigned char behind[MOST_BEHIND];
};

static struct site sites[MOST_SITES] CW_TABLE;
static unsigned count;
static uintptr_t near_page, far_page;
uintptr_t cw_raw_beside;
bool cw_raw_jumps_on;

static const unsigned char compare[] = {0x48, 0x3d, 0x01, 0xf0, 0xff, 0xff, 0x76};

/* What a function of assembler does between its call and its end. Its size, or 0. */
static unsigned ending_instruction(const unsigned char *at)
{
	if (at[0] == RET || at[0] == 0x5d) /* ret, pop %rbp */
		return 1;
	if (at[0] == 0x89 && at[1] == 0x44 && at[2] == 0x24) /* mov %eax, N(%rsp) */
		return 4;
	if (at[0] == 0x48 && at[1] == 0x83 && at[2] == 0xc4) /* add $N, %rsp */
		return 4;
	if (at[0] == 0x48 && (at[1] == 0x89 || at[1] == 0x8b) && (at[2] == 0x44 || at[2] == 0x6c) && at[3] == 0x24)
		return at[1] == 0x8b && at[2] == 0x44 ? 0 : 5; /* mov %rax or %rbp, N(%rsp), and rbp back */
	return 0;
}

/* So many bytes of whole instructions as a jump takes. 0: the function doesn't end so. */
static unsigned moved_to_end(const unsigned char *behind)
{
	unsigned size, at = 0, moved = 0;

	do {
		size = at + 5 <= MOST_BEHIND ? ending_instruction(behind + at) : 0;
		at += size;
		if (!moved && at + 2 >= JUMP)
			moved = at;
	} while (size && behind[at - size] != RET);
	if (!size || at == MOST_BEHIND || behind[at] != PADDING)
		return 0;
	if (!moved && behind[at + 1] == PADDING)
		moved = JUMP - 2;
	return moved;
}

/* The number that is put into rax just before; -1: it may be any. */
static int number_before(const unsigned char *call)
{
	int32_t number;

	memcpy(&number, call - 4, sizeof(number));
	if ((call[-5] != 0xb8 || (call[-6] & 0xf0) == 0x40 /* of another register */) &&
	    (call[-7] != 0x48 || call[-6] != 0xc7 || call[-5] != 0xc0))
		return -1;
	return number >= 0 && number < CW_RAW_NUMBERS ? number : -1;
}

static bool wants_jump(const unsigned char *call, struct site *site)
{
	int number = number_before(call);
	enum cw_raw_way way = number < 0 ? CW_RAW_BY_NAME : cw_raw_way[number];

	memcpy(site->behind, call + 2, MOST_BEHIND);
	if (memcmp(site->behind, compare, sizeof(compare)) == 0)
		site->moved = sizeof(compare) - 1;
	else
		site->moved = number < 0 ? 0 : moved_to_end(site->behind);
	return site->moved && way != CW_RAW_BY_SIGNAL;
}

static intptr_t signed_word(const unsigned char *at)
{
	int32_t word;

	memcpy(&word, at, sizeof(word));
	return word;
}

/* Where an instruction that began here would go on; 0 if there is none that jumps. */
static intptr_t target_of(const unsigned char *text, intptr_t at)
{
	unsigned char first = text[at];

	if ((first & 0xf0) == 0x70 || first == 0xeb || (first & 0xfc) == 0xe0)
		return at + 2 + (signed char)text[at + 1];
	if (first == 0xe8 || first == 0xe9)
		return at + 5 + signed_word(text + at + 1);
	if (first == 0x0f && (text[at + 1] & 0xf0) == 0x80)
		return at + 6 + signed_word(text + at + 2);
	return 0;
}

/* Into the middle of what becomes one jump. Whether instructions begin where they seem to isn't known, so this says yes too often. */
static bool is_jumped_into(uintptr_t site, uintptr_t low, uintptr_t high)
{
	unsigned char text[2 * NEIGHBOURS + 8] = {0};
	uintptr_t from = site - low > NEIGHBOURS ? site - NEIGHBOURS : low, to = high - site > NEIGHBOURS ? site + NEIGHBOURS : high;
	intptr_t here = (intptr_t)(site - from);

	if (cw_raw_fetch(text, (const void *)from, to - from))
		return true;
	for (intptr_t at = 0; at < (intptr_t)(to - from); at++) {
		intptr_t target = target_of(text, at);

		if (target > here && target < here + JUMP)
			return true;
	}
	return false;
}

static void find_in(const unsigned char *part, size_t size, uintptr_t address, uintptr_t low, uintptr_t high)
{
	const unsigned char *at = part + MOST_BEFORE, *end = part + size;

	while (count < MOST_SITES && (at = cw_text_next_call(at, (size_t)(end - at)))) {
		struct site *site = &sites[count];

		if (end - at < 2 + MOST_BEHIND)
			return;
		site->at = address + (uintptr_t)(at - part);
		if (wants_jump(at, site) && !is_jumped_into(site->at, low, high))
			count++;
		at += 2;
	}
}

static void find(uintptr_t low, uintptr_t high)
{
	const size_t shared = MOST_BEFORE + 2 + MOST_BEHIND;
	unsigned char part[PART];
	uintptr_t end = high - low > MOST_TEXT ? low + MOST_TEXT : high;
	size_t size;

	for (uintptr_t at = low; end - at > shared; at += size - shared) {
		size = end - at < PART ? end - at : PART;
		if (cw_raw_fetch(part, (const void *)at, size))
			return;
		find_in(part, size, at, low, high);
		if (end - at == size)
			return;
	}
}

/* ---- their slots ---- */

static void put_word(unsigned char *at, intptr_t value)
{
	int32_t word = (int32_t)value;

	memcpy(at, &word, sizeof(word));
}

static void put_jump(unsigned char *at, uintptr_t here, uintptr_t to)
{
	*at = 0xe9;
	put_word(at + 1, (intptr_t)(to - here - JUMP));
}

/* The call, what goes along, and back. */
static void fill_call(uintptr_t slot, const struct site *site)
{
	unsigned char *at = (unsigned char *)slot + OF_CALL; // NOLINT

	at[0] = 0x0f;
	at[1] = 0x05;
	memcpy(at + 2, site->behind, site->moved);
	put_jump(at + 2 + site->moved, slot + OF_CALL + 2 + site->moved, site->at + 2 + site->moved);
	memcpy((void *)(slot + OF_SITE), &site->at, sizeof(site->at)); // NOLINT
}

static void fill_entry(uintptr_t slot)
{
	static const unsigned char lea[] = {0x48, 0x8d, 0x0d}, jump[] = {0xff, 0x25};
	unsigned char *at = (unsigned char *)slot; // NOLINT

	memcpy(at, lea, sizeof(lea));
	put_word(at + 3, OF_CALL - 7);
	memcpy(at + 7, jump, sizeof(jump));
	put_word(at + 9, (intptr_t)(near_page - slot - 13));
}

static uintptr_t slot_in(uintptr_t page, unsigned index)
{
	return page + (index + 1) * SLOT;
}

static bool map(uintptr_t at)
{
	return cw_raw(SYS_mmap, (long)at, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) ==
	       (long)at;
}

static bool finish(uintptr_t page)
{
	return cw_raw(SYS_mprotect, (long)page, PAGE, PROT_READ | PROT_EXEC, 0, 0, 0) == 0;
}

/* Behind the text, so that it is not dispatched (raw.c, choose), and behind all room that a heap there may want. */
static bool map_far(uintptr_t start, uintptr_t high)
{
	for (unsigned i = 0; i < 16; i++) {
		far_page = start + FURTHEST - i * (8ul << 20);
		if (far_page > high && map(far_page))
			return true;
	}
	return false;
}

static void unmap(uintptr_t page)
{
	cw_raw(SYS_munmap, (long)page, PAGE, 0, 0, 0, 0);
}

static bool make_slots(uintptr_t start, uintptr_t high)
{
	const char *direct = cw_raw_direct;

	near_page = start - PAGE;
	if (start <= PAGE || !map(near_page))
		return false;
	if (!map_far(start, high)) {
		unmap(near_page);
		return false;
	}
	cw_raw_beside = far_page - near_page;
	memcpy((void *)near_page, &direct, sizeof(direct)); // NOLINT
	for (unsigned i = 0; i < count; i++) {
		fill_entry(slot_in(near_page, i));
		fill_call(slot_in(near_page, i), &sites[i]);
		fill_call(slot_in(far_page, i), &sites[i]);
	}
	if (finish(near_page) && finish(far_page))
		return true;
	unmap(near_page);
	unmap(far_page);
	return false;
}

uintptr_t cw_raw_jumps_room(uintptr_t start, uintptr_t low, uintptr_t high)
{
	if (!cw_policy.number[CW_OPTION_raw_jumps] || !cw_raw_direct_possible() || high - low > FURTHEST / 2)
		return low;
	find(low, high);
	if (count && !make_slots(start, high))
		count = 0;
	return count ? near_page : low;
}

/* By the kernel's hand: the text stays as it is mapped, neither writable nor, where a policy forbids what has been, less than executable.
 */
void cw_raw_jumps_begin(void)
{
	unsigned char jump[JUMP];
	int file = count ? (int)cw_raw(SYS_openat, AT_FDCWD, (long)"/proc/self/mem", O_RDWR | O_CLOEXEC, 0, 0, 0) : -1;

	if (file < 0)
		return;
	for (unsigned i = 0; i < count; i++) {
		put_jump(jump, sites[i].at, slot_in(near_page, i));
		if (cw_raw(SYS_pwrite64, file, (long)jump, JUMP, (long)sites[i].at, 0, 0) == JUMP)
			cw_raw_jumps_on = true;
	}
	cw_raw_close(file);
}

void cw_raw_jumps_end(void)
{
	memset(cw_raw_way, CW_RAW_BY_SIGNAL, sizeof(cw_raw_way));
}

uintptr_t cw_raw_jumps_site(uintptr_t place)
{
	uintptr_t page = place & ~(uintptr_t)(PAGE - 1), site = 0;

	if (near_page && (page == near_page || page == far_page) && place - page >= SLOT)
		memcpy(&site, (const void *)(place - place % SLOT + OF_SITE), sizeof(site)); // NOLINT
	return site;
}

uintptr_t cw_raw_jumps_from(uintptr_t place)
{
	return place % SLOT <= OF_CALL ? cw_raw_jumps_site(place) : 0;
}
#endif
