#include "window.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/stat.h>

#define NEEDED_SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)

uint64_t cw_window_size(int fd)
{
	struct stat info;
	int seals = fcntl(fd, F_GET_SEALS);

	if (seals < 0 || (seals & NEEDED_SEALS) != NEEDED_SEALS || fstat(fd, &info) < 0 || info.st_size <= 0)
		return 0;
	return (uint64_t)info.st_size;
}

void *cw_window_map(int fd, uint64_t size, bool writable)
{
	void *base;

	if (cw_window_size(fd) < size || !size) {
		errno = EPROTO;
		return NULL;
	}
	base = mmap(NULL, size, writable ? PROT_READ | PROT_WRITE : PROT_READ, MAP_SHARED, fd, 0);
	if (base == MAP_FAILED)
		return NULL;
	madvise(base, size, MADV_DONTDUMP);
	return base;
}
