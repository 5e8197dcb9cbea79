#include "text.h"

#include <elf.h>
#include <stdint.h>
#include <string.h>

#if defined(__x86_64__)
#include <emmintrin.h>

#define BEFORE      24 /* bytes in which the call's number is put into its register */
#define MOST_NUMBER 512

static uint32_t word(const unsigned char *at)
{
	uint32_t value;

	memcpy(&value, at, sizeof(value));
	return value;
}

/* A constant that can be a call's number is put into rax. */
static bool loads_constant(const unsigned char *at, size_t left)
{
	if (left >= 5 && at[0] == 0xb8)
		return word(at + 1) < MOST_NUMBER;
	return left >= 7 && at[0] == 0x48 && at[1] == 0xc7 && at[2] == 0xc0 && word(at + 3) < MOST_NUMBER;
}

/* rax is given nothing (0 is read), or what was in another register or on the stack. */
static bool loads_something(const unsigned char *at, size_t left)
{
	if (left >= 2 && (at[0] == 0x31 || at[0] == 0x33) && at[1] == 0xc0)
		return true;
	if (left >= 2 && at[0] == 0x89 && (at[1] & 0xc7) == 0xc0)
		return true;
	return left >= 3 && ((at[0] == 0x6a && at[2] == 0x58) || (at[0] == 0x8b && (at[1] & 0xf8) == 0x40));
}

/* The answer is compared with the least error. */
static bool compares_answer(const unsigned char *at, size_t left)
{
	if (left >= 6 && at[0] == 0x48 && at[1] == 0x3d)
		return (word(at + 2) & 0xfffff000u) == 0xfffff000u;
	return left >= 5 && at[0] == 0x3d && (word(at + 1) & 0xfffff000u) == 0xfffff000u;
}

/* It is tested or kept, or the function ends. */
static bool uses_answer(const unsigned char *at, size_t left)
{
	if (left >= 1 && (at[0] == 0xc3 || at[0] == 0xc9 || (at[0] >= 0x58 && at[0] <= 0x5f)))
		return true;
	if (left >= 3 && (at[0] & 0xfb) == 0x48)
		return (at[1] == 0x85 && at[2] == 0xc0) || (at[1] == 0x89 && (at[2] & 0x38) == 0) ||
		       (at[1] == 0x83 && (at[2] == 0xf8 || at[2] == 0xc4)) || at[1] == 0x98;
	return left >= 2 &&
	       ((at[0] == 0x85 && at[1] == 0xc0) || (at[0] == 0x89 && (at[1] & 0x38) == 0) || (at[0] == 0x83 && at[1] == 0xf8));
}

static bool plausible(const unsigned char *text, const unsigned char *at, size_t size)
{
	size_t behind = size - (size_t)(at - text) - 2, before = (size_t)(at - text);
	bool used = uses_answer(at + 2, behind);

	if (compares_answer(at + 2, behind))
		return true;
	/* Part of a displacement or of a constant. */
	if ((behind && (at[2] == 0 || at[2] == 0xff)) || (before && (at[-1] == 0xe8 || at[-1] == 0xe9 || at[-1] == 0xa9)))
		return false;
	for (size_t i = 2; i <= BEFORE && i <= before; i++)
		if (loads_constant(at - i, i) || (used && loads_something(at - i, i)))
			return true;
	return false;
}

const unsigned char *cw_text_next_call(const unsigned char *text, size_t size)
{
	const __m128i first = _mm_set1_epi8(0x0f), second = _mm_set1_epi8(0x05);
	size_t i = 0;

	for (; i + 17 <= size; i += 16) {
		__m128i here = _mm_cmpeq_epi8(_mm_loadu_si128((const __m128i *)(text + i)), first);
		__m128i next = _mm_cmpeq_epi8(_mm_loadu_si128((const __m128i *)(text + i + 1)), second);
		unsigned both = (unsigned)_mm_movemask_epi8(_mm_and_si128(here, next));

		if (both)
			return text + i + __builtin_ctz(both);
	}
	for (; i + 2 <= size; i++)
		if (text[i] == 0x0f && text[i + 1] == 0x05)
			return text + i;
	return NULL;
}

const unsigned char *cw_text_find_call(const unsigned char *text, size_t size)
{
	const unsigned char *at = text;

	while ((at = cw_text_next_call(at, size - (size_t)(at - text)))) {
		if (plausible(text, at, size))
			return at;
		at += 2;
	}
	return NULL;
}
#else
const unsigned char *cw_text_next_call(const unsigned char *text, size_t size)
{
	return NULL;
}

const unsigned char *cw_text_find_call(const unsigned char *text, size_t size)
{
	return NULL;
}
#endif

bool cw_text_note_of_go(const unsigned char *notes, size_t size)
{
	const uint32_t build_id = 4;
	size_t at = 0;

	while (size - at >= sizeof(Elf64_Nhdr)) {
		Elf64_Nhdr header;
		size_t name, description;

		memcpy(&header, notes + at, sizeof(header));
		at += sizeof(header);
		name = ((size_t)header.n_namesz + 3) & ~(size_t)3;
		description = ((size_t)header.n_descsz + 3) & ~(size_t)3;
		if (name > size - at || description > size - at - name)
			return false;
		if (header.n_namesz == 4 && header.n_type == build_id && memcmp(notes + at, "Go\0", 4) == 0)
			return true;
		at += name + description;
	}
	return false;
}
