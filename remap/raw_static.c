#include "raw_static.h"

#include "raw_inside.h"

bool cw_raw_static_on;

#ifdef CW_RAW_HERE
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "call.h"
#include "load/load.h"
#include "raw.h"
#include "sockets/service.h"

static char own_path[4096] CW_TABLE;
static uintptr_t text_low, text_high, break_start, break_now;

static uintptr_t page_up(uintptr_t address)
{
	return (address + 4095) & ~(uintptr_t)4095;
}

/* The kernel's break is libc's own, of the loader. */
static long set_break(uintptr_t wanted)
{
	uintptr_t from = page_up(break_now), to = page_up(wanted);

	if (wanted < break_start || wanted - break_start > UINTPTR_MAX / 4)
		return (long)break_now;
	if (to > from && cw_raw(SYS_mmap, (long)from, (long)(to - from), PROT_READ | PROT_WRITE,
				MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) != (long)from)
		return (long)break_now;
	if (to < from)
		cw_raw(SYS_munmap, (long)to, (long)(from - to), 0, 0, 0, 0);
	break_now = wanted;
	return (long)wanted;
}

/* Fields of /proc/self/stat. */
#define OF_STACK     28
#define OF_ARGUMENTS 48 /* and three behind it */

static bool read_fields(uint64_t field[], int count)
{
	char text[2048], *at;
	int file = (int)cw_raw(SYS_openat, AT_FDCWD, (long)"/proc/self/stat", O_RDONLY | O_CLOEXEC, 0, 0, 0);
	long got = file < 0 ? -1 : cw_raw(SYS_read, file, (long)text, sizeof(text) - 1, 0, 0, 0);

	if (file >= 0)
		cw_raw_close(file);
	text[got > 0 ? got : 0] = 0;
	at = strrchr(text, ')'); /* the end of the second */
	for (int i = 3; i <= count; i++) {
		at = at ? strchr(at, ' ') : NULL;
		if (!at)
			return false;
		field[i] = strtoull(++at, NULL, 10);
	}
	return true;
}

/* The kernel's break is the loader's until now. Nothing here needs the right to do more than this. */
void cw_raw_static_end(void)
{
	uint64_t field[OF_ARGUMENTS + 4];
	struct prctl_mm_map map = {.start_code = text_low,
				   .end_code = text_high,
				   .start_data = text_low,
				   .end_data = break_start - 1,
				   .start_brk = break_start,
				   .brk = break_now,
				   .exe_fd = (uint32_t)-1};

	if (!cw_raw_static_on || !read_fields(field, OF_ARGUMENTS + 3))
		return;
	map.start_stack = field[OF_STACK];
	map.arg_start = field[OF_ARGUMENTS];
	map.arg_end = field[OF_ARGUMENTS + 1];
	map.env_start = field[OF_ARGUMENTS + 2];
	map.env_end = field[OF_ARGUMENTS + 3];
	cw_raw(SYS_prctl, PR_SET_MM, PR_SET_MM_MAP, (long)&map, sizeof(map), 0, 0);
}

/* /proc/self/exe, and the same by this process's number. */
static bool names_us(const char *there)
{
	unsigned long number = 0;
	char text[40]; /* none of the names is longer */
	const char *path = text;

	cw_raw_fetch_text(text, there, sizeof(text));
	if (strncmp(path, "/proc/", 6) != 0)
		return false;
	path += 6;
	if (strcmp(path, "self/exe") == 0 || strcmp(path, "thread-self/exe") == 0)
		return true;
	for (; *path >= '0' && *path <= '9' && number < 1ul << 32; path++)
		number = number * 10 + (unsigned long)(*path - '0');
	return number == (unsigned long)cw_raw(SYS_getpid, 0, 0, 0, 0, 0, 0) && strcmp(path, "/exe") == 0;
}

static long tell_path(char *to, size_t size)
{
	size_t length = strlen(own_path);

	if ((ssize_t)size <= 0)
		return -EINVAL;
	if (length > size)
		length = size;
	return cw_raw_store(to, own_path, length) ? -EFAULT : (long)length;
}

bool cw_raw_static(long number, const long a[6], long *result)
{
	switch (number) {
	case SYS_brk:
		*result = set_break((uintptr_t)a[0]);
		return true;
	case SYS_readlink:
		if (!names_us((const char *)a[0]))
			return false;
		*result = tell_path((char *)a[1], (size_t)a[2]);
		return true;
	case SYS_readlinkat:
		if (!names_us((const char *)a[1]))
			return false;
		*result = tell_path((char *)a[2], (size_t)a[3]);
		return true;
	case SYS_open:
		if (!names_us((const char *)a[0]))
			return false;
		*result = cw_raw(SYS_open, (long)own_path, a[1], a[2], 0, 0, 0);
		return true;
	case SYS_openat:
		if (!names_us((const char *)a[1]))
			return false;
		*result = cw_raw(SYS_openat, AT_FDCWD, (long)own_path, a[2], a[3], 0, 0);
		return true;
	case SYS_execve:
		if (!names_us((const char *)a[0]))
			return false;
		*result = execve(own_path, (char *const *)a[1], (char *const *)a[2]);
		if (*result < 0)
			*result = -errno;
		return true;
	}
	return false;
}

CW_EXPORT cw_loaded_begin causeway_loaded_begin;

bool causeway_loaded_begin(uintptr_t start, uintptr_t low, uintptr_t high, uintptr_t end, const char *path)
{
	char *real = realpath(path, NULL);

	if (!cw_moving || !cw_policy.number[CW_OPTION_raw_calls] || !real || strlen(real) >= sizeof(own_path)) {
		free(real);
		return false;
	}
	strcpy(own_path, real);
	free(real);
	text_low = low;
	text_high = high;
	break_start = break_now = page_up(end);
	if (!cw_raw_start(start, low, high, true))
		return false;
	cw_raw_static_on = true;
	return true;
}
#endif
