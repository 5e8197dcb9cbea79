#ifndef CW_TESTS_TCPIP_FUZZ_H
#define CW_TESTS_TCPIP_FUZZ_H

#include <stddef.h>
#include <stdint.h>

#define FUZZ_STEPS 3000u

/* What doesn't hold, or NULL. */
const char *fuzz_seed(uint64_t seed);
const char *fuzz_bytes(const unsigned char *bytes, size_t length);

#endif
