/* The entry of libFuzzer, which makes the bytes and sees what they reach. */
#include <stdio.h>
#include <stdlib.h>

#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	const char *failure = fuzz_bytes(bytes, length);

	if (failure) {
		fprintf(stderr, "%s\n", failure);
		abort();
	}
	return 0;
}
