/* nonsense SECONDS: write nonsense into a device's whole window, as a node that has gone mad. */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "kmod/causeway_ioctl.h"

#define PAGE 4096u

static uint64_t seed = 88172645463325252ull;

static uint64_t next(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed;
}

/* Small numbers, and bits, look more like something than large ones do. */
static uint64_t word(void)
{
	uint64_t any = next();

	return any & 1 ? any : any & 2 ? any >> 60 : 1ull << (any >> 58);
}

/* The words of slots lie in the first pages of what is made, all of these at multiples of 256 KiB. */
static void spoil(volatile uint64_t *window, uint64_t size)
{
	uint64_t unit = next() % (size >> 18) << 18, at = next() % 2 ? unit + next() % (4 * PAGE) : next() % size;

	for (unsigned i = 0; i < 64 && at / 8 + i < size / 8; i++)
		window[at / 8 + i] = word();
}

int main(int argc, char **argv)
{
	int fd = open("/dev/causeway/ivshmem0", O_RDWR);
	struct causeway_window info;
	struct causeway_grant grant = {.rights = CAUSEWAY_MAY_READ | CAUSEWAY_MAY_WRITE,
				       .wait_bell = CAUSEWAY_NONE,
				       .ring_peer = CAUSEWAY_NONE,
				       .ring_bell = CAUSEWAY_NONE};
	time_t end = time(NULL) + (argc == 2 ? atoi(argv[1]) : 1);
	void *window;

	if (fd < 0 || ioctl(fd, CAUSEWAY_IOC_WINDOW, &info) < 0)
		return 1;
	grant.length = info.size;
	if (ioctl(fd, CAUSEWAY_IOC_GRANT, &grant) < 0)
		return 2;
	window = mmap(NULL, info.size, PROT_READ | PROT_WRITE, MAP_SHARED, grant.fd, 0);
	if (window == MAP_FAILED)
		return 3;
	while (time(NULL) <= end)
		for (int i = 0; i < 100; i++)
			spoil(window, info.size);
	return 0;
}
