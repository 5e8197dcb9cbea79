#include "listed.h"

#include <fcntl.h>
#include <stdint.h>

#include "sockets/kernel.h"

/* The kernel's struct linux_dirent64. */
struct listed {
	uint64_t inode, offset;
	uint16_t size;
	uint8_t type;
	char name[];
};

/* -1: no number. */
static int number(const char *name)
{
	int fd = *name >= '0' && *name <= '9' ? 0 : -1;

	for (; *name >= '0' && *name <= '9'; name++)
		fd = 10 * fd + (*name - '0');
	return fd;
}

bool cw_each_open_descriptor(void (*act)(int fd, int argument), int argument)
{
	_Alignas(struct listed) char room[2048];
	int list = (int)cw_raw(SYS_openat, AT_FDCWD, (long)"/proc/self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0, 0, 0);
	long got;

	if (list < 0)
		return false;
	while ((got = cw_raw(SYS_getdents64, list, (long)room, sizeof(room), 0, 0, 0)) > 0)
		for (long at = 0; at < got; at += ((const struct listed *)(room + at))->size) {
			int fd = number(((const struct listed *)(room + at))->name);

			if (fd >= 0 && fd != list)
				act(fd, argument);
		}
	cw_raw_close(list);
	return got == 0;
}
