#include "fuzz_seeds.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "sync/cpu.h"

int fuzz_seeds(const char *name, unsigned steps, const char *(*run)(uint64_t seed), int argc, char **argv)
{
	uint64_t first = argc > 1 ? strtoull(argv[1], NULL, 0) : 1, done = 0;
	uint64_t count = argc > 2 ? strtoull(argv[2], NULL, 0) : 1;
	double seconds = argc > 3 ? atof(argv[3]) : 1e9;
	uint64_t began = cw_monotonic_ns();

	for (; done < count && (double)(cw_monotonic_ns() - began) / 1e9 < seconds; done++) {
		const char *failure;

		if (getenv("TRACE"))
			printf("seed %" PRIu64 "\n", first + done);
		failure = run(first + done);
		if (failure) {
			printf("not ok tcpip/%s # %s; again: %s %" PRIu64 "\n", name, failure, name, first + done);
			return 1;
		}
	}
	printf("%" PRIu64 " runs of %u steps, seeds from %" PRIu64 "\nok tcpip/%s\n", done, steps, first, name);
	return 0;
}
