/* freopen, daemon: libc puts the descriptor of what it opens in the place of the old one by itself, where no symbol is called. */
#include "call.h"
#include "process.h"

#include <stdio.h>
#include <unistd.h>

/* Without a name glibc asks /proc for the socket's, which has none, and closes the descriptor; musl leaves it where it is. */
static bool stays_open(const char *path)
{
#ifdef __GLIBC__
	return false;
#else
	return !path;
#endif
}

static void before_reopening(const char *path, FILE *file)
{
	int fd;

	cw_ensure_started();
	fd = fileno(file);
	if (stays_open(path) || !cw_table_get(fd) || cw_is_other_process())
		return;
	fflush(file);
	cw_forget(fd);
}

CW_EXPORT FILE *freopen(const char *restrict path, const char *restrict mode, FILE *restrict file)
{
	before_reopening(path, file);
	return cw_real.freopen(path, mode, file);
}

#ifdef __GLIBC__
CW_EXPORT FILE *freopen64(const char *restrict path, const char *restrict mode, FILE *restrict file)
{
	before_reopening(path, file);
	return cw_real.freopen64(path, mode, file);
}
#endif

/* A process that is about to end, but for its child, has no more use for them. */
CW_EXPORT int daemon(int stay, int keep)
{
	int nothing = -1;

	cw_ensure_started();
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO && !keep; fd++)
		if (cw_table_get(fd) && (nothing >= 0 || (nothing = open("/dev/null", O_RDWR | O_CLOEXEC)) >= 0))
			dup2(nothing, fd);
	if (nothing > STDERR_FILENO)
		close(nothing);
	return cw_real.daemon(stay, keep);
}
