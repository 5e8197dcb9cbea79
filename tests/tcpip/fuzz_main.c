/* fuzz [FIRST [COUNT [SECONDS]]]: so many runs, or as many as SECONDS allow, with numbers from seeds. fuzz --corpus FILE: with the bytes of
 * each of its lines, which are in hexadecimal. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"
#include "fuzz_seeds.h"

/* In memory of exactly their length, so that a byte too far is seen. */
static const char *one_line(const char *line, size_t digits)
{
	unsigned char *bytes = malloc(digits / 2 + !digits);
	const char *failure;

	if (!bytes)
		abort();
	for (size_t i = 0; i < digits / 2; i++)
		sscanf(line + 2 * i, "%2hhx", &bytes[i]);
	failure = fuzz_bytes(bytes, digits / 2);
	free(bytes);
	return failure;
}

static int corpus(const char *path)
{
	FILE *file = fopen(path, "r");
	unsigned lines = 0, bad = 0;
	size_t room = 0;
	char *line = NULL;

	while (file && getline(&line, &room, file) > 0) {
		const char *failure = one_line(line, strcspn(line, "\n"));

		lines++;
		if (failure)
			printf("not ok tcpip/fuzz: line %u of the corpus # %s\n", lines, failure);
		bad += failure != NULL;
	}
	free(line);
	if (file)
		fclose(file);
	if (!lines)
		printf("not ok tcpip/fuzz: the corpus # %s is empty, or isn't there\n", path);
	else if (!bad)
		printf("%u inputs\nok tcpip/fuzz: the corpus\n", lines);
	return bad || !lines;
}

int main(int argc, char **argv)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (argc == 3 && strcmp(argv[1], "--corpus") == 0)
		return corpus(argv[2]);
	return fuzz_seeds("fuzz", FUZZ_STEPS, fuzz_seed, argc, argv);
}
