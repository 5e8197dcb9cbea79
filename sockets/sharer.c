#include "sharer.h"

#include <fcntl.h>
#include <string.h>

#include "kernel.h"
#include "sync/decimal.h"

#define MOST_NUMBERS 1024 /* looked at, where the socket has not the same one there */
#define NAME         64   /* of a path or a socket, with its end */

static void path_of(char path[NAME], uint32_t thread, const char *what, int fd)
{
	char *at = path;

	at = stpcpy(at, "/proc/");
	at = cw_put_decimal(at, thread);
	at = stpcpy(at, what);
	if (fd >= 0)
		at = cw_put_decimal(at, (uint32_t)fd);
	*at = '\0';
}

static bool names(uint32_t thread, int fd, char name[NAME])
{
	char path[NAME];
	long length;

	path_of(path, thread, "/fd/", fd);
	length = cw_raw(SYS_readlinkat, AT_FDCWD, (long)path, (long)name, NAME - 1, 0, 0);
	name[length > 0 ? length : 0] = '\0';
	return length > 0;
}

static bool has(uint32_t thread, int fd)
{
	char own[NAME], other[NAME];

	if (!names(cw_own_pid(), fd, own))
		return false;
	if (names(thread, fd, other) && strcmp(own, other) == 0)
		return true;
	for (int i = 0; i < MOST_NUMBERS; i++)
		if (names(thread, i, other) && strcmp(own, other) == 0)
			return true;
	return false;
}

static bool is_own(uint32_t thread)
{
	return cw_raw(SYS_tgkill, cw_own_pid(), thread, 0, 0, 0, 0) == 0;
}

/* R, D, T, t of proc(5): it sleeps for nothing. A thread of ours that runs is no proof: whoever names one that always does would hold us.
 */
static bool stands(uint32_t thread)
{
	char path[NAME], said[256] = {0};
	const char *behind;
	long fd, got;

	path_of(path, thread, "/stat", -1);
	fd = cw_raw(SYS_openat, AT_FDCWD, (long)path, O_RDONLY | O_CLOEXEC, 0, 0, 0);
	if (fd < 0)
		return false;
	got = cw_raw(SYS_read, fd, (long)said, sizeof(said) - 1, 0, 0, 0);
	cw_raw_close((int)fd);
	behind = got > 0 ? strrchr(said, ')') : NULL;
	return behind && behind[1] && behind[2] && strchr(is_own(thread) ? "DTt" : "RDTt", behind[2]);
}

bool cw_sharer_stands(int fd, uint32_t thread)
{
	return thread && stands(thread) && has(thread, fd);
}
