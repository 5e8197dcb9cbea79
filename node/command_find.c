#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "command.h"

/* First of the places, relative to the directory of this program's own file, where something may be read. */
static bool find(char *path, size_t size, int mode, const char *const places[])
{
	char own[4096];
	ssize_t length = readlink("/proc/self/exe", own, sizeof(own) - 1);
	char *slash;

	if (length <= 0)
		return false;
	own[length] = 0;
	slash = strrchr(own, '/');
	if (slash)
		*slash = 0;
	for (; *places; places++) {
		char candidate[4096 + 64], *real;

		snprintf(candidate, sizeof(candidate), "%s/%s", own, *places);
		if (access(candidate, mode) < 0)
			continue;
		real = realpath(candidate, NULL);
		if (real && strlen(real) < size) {
			strcpy(path, real);
			free(real);
			return true;
		}
		free(real);
	}
	return false;
}

bool cw_find_library(char *path, size_t size)
{
	static const char *const places[] = {"libcauseway.so", "../lib/libcauseway.so", "../lib64/libcauseway.so",
#ifdef CW_MULTIARCH
					     "../lib/" CW_MULTIARCH "/libcauseway.so",
#endif
					     NULL};
	const char *named = getenv("CAUSEWAY_LIBRARY");

	if (!named || !*named)
		return find(path, size, R_OK, places);
	if (access(named, R_OK) < 0 || strlen(named) >= size)
		return false;
	strcpy(path, named);
	return true;
}

bool cw_find_daemon(char *path, size_t size)
{
	static const char *const places[] = {"causewayd", "../sbin/causewayd", NULL};

	return find(path, size, X_OK, places);
}
