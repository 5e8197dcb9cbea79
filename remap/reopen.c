/* freopen: libc puts the descriptor of what it opens in the place of the old one by itself, where no symbol is called. */
#include "call.h"
#include "process.h"

#include <stdio.h>

static void before_reopening(const char *path, FILE *file)
{
	int fd;

	cw_ensure_started();
	fd = fileno(file);
	if (!path || !cw_stream_of(fd) || cw_is_other_process())
		return; /* without a name libc asks /proc for the socket's, which has none */
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
