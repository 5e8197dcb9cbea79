#include "window.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "kmod/causeway_ioctl.h"

#define NEEDED_SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)

/* A grant has its size for ever; what is taken back becomes other memory, and nobody is killed. */
static uint64_t granted_size(int fd)
{
	struct causeway_grant_info info = {0};

	return ioctl(fd, CAUSEWAY_IOC_INFO, &info) == 0 && info.state == CAUSEWAY_LIVE ? info.length : 0;
}

bool cw_window_is_granted(int fd)
{
	return fcntl(fd, F_GET_SEALS) < 0 && granted_size(fd);
}

uint64_t cw_window_size(int fd)
{
	struct stat64 info;
	int seals = fcntl(fd, F_GET_SEALS);

	if (seals < 0)
		return granted_size(fd);
	if ((seals & NEEDED_SEALS) != NEEDED_SEALS || fstat64(fd, &info) < 0 || info.st_size <= 0)
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
