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

/*
 * A name for every kind of program: glibc's dynamic linker puts what it calls its library directory for $LIB, which differs between
 * programs of 64 and of 32 bits; musl's puts nothing, and finds its own in a directory of that very name. Who finds nothing there that fits
 * goes on without a word, but glibc's, for which there is always something (Makefile, abi).
 */
static bool find_for_all(char *path, size_t size)
{
	static const char *const places[] = {"abi/lib64", "../lib/causeway/lib64", "../lib64/causeway/lib64", NULL};
	static const char *const beneath[] = {"abi", "../lib/causeway", "../lib64/causeway"};
	static const char rest[] = "/$LIB/libcauseway.so";

	for (size_t i = 0; places[i]; i++) {
		const char *const kind[] = {places[i], NULL}, *const top[] = {beneath[i], NULL};
		char own[4096];

		if (find(own, sizeof(own), X_OK, kind) && find(path, size, X_OK, top) && strlen(path) + sizeof(rest) <= size) {
			strcat(path, rest);
			return true;
		}
	}
	return false;
}

bool cw_find_library(char *path, size_t size)
{
	static const char *const places[] = {"libcauseway.so", "../lib/libcauseway.so", "../lib64/libcauseway.so", NULL};
	const char *named = getenv("CAUSEWAY_LIBRARY");

	if (!named || !*named)
		return find_for_all(path, size) || find(path, size, R_OK, places);
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

bool cw_find_loader(char *path, size_t size)
{
	static const char *const places[] = {"causeway-load", "../lib/causeway-load", "../lib64/causeway-load",
#ifdef CW_MULTIARCH
					     "../lib/" CW_MULTIARCH "/causeway-load",
#endif
					     NULL};

	return find(path, size, X_OK, places);
}
