/* Messages that tell what they are: eight bytes of a number, and bytes that follow from it. */
#ifndef CW_TESTS_APPS_NUMBERED_H
#define CW_TESTS_APPS_NUMBERED_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline uint64_t numbered_step(uint64_t x)
{
	return x * 6364136223846793005u + 1442695040888963407u;
}

/* `size` is eight or more. Returns p. */
static inline unsigned char *numbered_fill(unsigned char *p, uint64_t number, size_t size)
{
	uint64_t x = number;

	memcpy(p, &number, 8);
	for (size_t i = 8; i < size; i++)
		p[i] = (x = numbered_step(x)) >> 56;
	return p;
}

#endif
