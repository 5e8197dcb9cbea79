/* The command line of programs that try seeds: NAME [FIRST [COUNT [SECONDS]]]. */
#ifndef CW_TESTS_TCPIP_FUZZ_SEEDS_H
#define CW_TESTS_TCPIP_FUZZ_SEEDS_H

#include <stdint.h>

/* So many runs, or as many as SECONDS allow; until one fails, which says what doesn't hold (else NULL). The exit status. */
int fuzz_seeds(const char *name, unsigned steps, const char *(*run)(uint64_t seed), int argc, char **argv);

#endif
