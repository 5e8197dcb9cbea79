/* A number in a name, where no function of libc's may be called: in a signal handler, or under a lock. */
#ifndef CW_SYNC_DECIMAL_H
#define CW_SYNC_DECIMAL_H

#include <stdint.h>

/* At most ten digits and no end. Returns where they end. */
static inline char *cw_put_decimal(char *at, uint32_t number)
{
	char digits[10];
	int count = 0;

	do
		digits[count++] = (char)('0' + number % 10);
	while (number /= 10);
	while (count)
		*at++ = digits[--count];
	return at;
}

#endif
