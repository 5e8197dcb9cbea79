/* Grants: exactly the pages and rights that were given. */
#include "kmod.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#define READ  CAUSEWAY_MAY_READ
#define WRITE CAUSEWAY_MAY_WRITE
#define WAIT  CAUSEWAY_MAY_WAIT
#define RING  CAUSEWAY_MAY_RING

static void refuse(int window, struct causeway_grant grant)
{
	refused(ioctl(window, CAUSEWAY_IOC_GRANT, &grant), EINVAL);
}

static void arguments(void)
{
	const struct causeway_grant good = grant_of(1, 2, READ | WRITE);
	int window = window_made(4, 2, NULL);
	struct causeway_grant grant;

#define BUT(change)                                                                                                                        \
	grant = good;                                                                                                                      \
	change;                                                                                                                            \
	refuse(window, grant)
	BUT(grant.offset = 1);
	BUT(grant.offset = 3 * PAGE);
	BUT(grant.offset = UINT64_MAX - 4095);
	BUT(grant.offset = UINT64_MAX - 2 * PAGE + 1);
	BUT(grant.length = 1);
	BUT(grant.length = UINT64_MAX);
	BUT(grant.length = 4 * PAGE);
	BUT(grant.length = 0);
	BUT(grant.rights = 0);
	BUT(grant.rights = WRITE);
	BUT(grant.rights |= 16);
	BUT(grant.rights |= 1u << 31);
	BUT(grant.rights = WAIT; grant.wait_bell = 0); /* a range, and no right to it */
	BUT(grant.rights |= WAIT);
	BUT(grant.rights |= WAIT; grant.wait_bell = 2);
	BUT(grant.wait_bell = 0);
	BUT(grant.ring_bell = 0);
	BUT(grant.ring_peer = 0);
	BUT(grant.rights |= RING);
	BUT(grant.rights |= RING; grant.ring_peer = 0; grant.ring_bell = 2);
	BUT(grant.rights |= RING; grant.ring_peer = 1; grant.ring_bell = 0);
	BUT(grant.flags = 1);
	BUT(grant.reserved[2] = 1);
	refused(ioctl(window, CAUSEWAY_IOC_GRANT, NULL), EFAULT);
	refused(ioctl(window, CAUSEWAY_IOC_INFO, NULL), ENOTTY);
	grant = good;
	must(ioctl(window, CAUSEWAY_IOC_GRANT, &grant) == 0);
}

static void listed(void)
{
	int window = window_made(4, 2, NULL), first, second;
	struct causeway_grant_info info = {0}, own;
	struct causeway_window all;
	uint32_t id, other;

	first = grant_made(window, 1, 2, READ, &id);
	second = bell_grant(window, 1, 0);
	mapped(first, 2, PROT_READ);
	must(ioctl(window, CAUSEWAY_IOC_NEXT, &info) == 0 && info.id == id && info.state == CAUSEWAY_LIVE);
	must(info.offset == PAGE && info.length == 2 * PAGE && info.rights == READ && info.mappings == 1);
	must(ioctl(first, CAUSEWAY_IOC_INFO, &own) == 0 && memcmp(&own, &info, sizeof(own)) == 0);
	info.id++;
	must(ioctl(window, CAUSEWAY_IOC_NEXT, &info) == 0 && info.rights == (WAIT | RING) && info.wait_bell == 1 && info.ring_bell == 0);
	other = info.id;
	info.id++;
	refused(ioctl(window, CAUSEWAY_IOC_NEXT, &info), ENOENT);
	info.id = UINT32_MAX;
	refused(ioctl(window, CAUSEWAY_IOC_NEXT, &info), ENOENT);
	close(second);
	refused(ioctl(window, CAUSEWAY_IOC_REVOKE, &((struct causeway_revoke){.id = other})), ENOENT);
	must(ioctl(window, CAUSEWAY_IOC_WINDOW, &all) == 0 && all.grants == 1);
	close(first);
	/* It is mapped still. */
	must(ioctl(window, CAUSEWAY_IOC_WINDOW, &all) == 0 && all.grants == 1);
}

static void no_map(int fd, uint64_t pages, int protection, int flags, uint64_t page, int error)
{
	void *at = mmap(NULL, pages * PAGE, protection, flags, fd, (off_t)(page * PAGE));

	must(at == MAP_FAILED);
	if (errno != error)
		failed(__FILE__, __LINE__, "another error");
}

static void maps(void)
{
	int window = window_made(8, 1, NULL), reader = grant_made(window, 2, 3, READ, NULL),
	    writer = grant_made(window, 2, 3, READ | WRITE, NULL);
	volatile unsigned char *at;

	no_map(reader, 4, PROT_READ, MAP_SHARED, 0, EINVAL);
	no_map(reader, 1, PROT_READ, MAP_SHARED, 3, EINVAL);
	no_map(reader, 3, PROT_READ, MAP_SHARED, 1, EINVAL);
	no_map(reader, 1, PROT_READ, MAP_SHARED, 1ull << 50, EINVAL);
	no_map(reader, 1, PROT_READ, MAP_PRIVATE, 0, EINVAL);
	no_map(writer, 1, PROT_READ | PROT_WRITE, MAP_PRIVATE, 0, EINVAL);
	no_map(reader, 1, PROT_READ | PROT_WRITE, MAP_SHARED, 0, EACCES);
	no_map(writer, 1, PROT_READ | PROT_EXEC, MAP_SHARED, 0, EPERM);
	no_map(bell_grant(window, 0, 0), 1, PROT_READ, MAP_SHARED, 0, EINVAL);
	no_map(window, 1, PROT_READ, MAP_SHARED, 0, ENODEV);
	at = mapped(reader, 3, PROT_READ);
	refused(mprotect((void *)at, PAGE, PROT_READ | PROT_WRITE), EACCES);
	refused(mprotect((void *)at, PAGE, PROT_READ | PROT_EXEC), EACCES);
	/* It doesn't grow beyond what was checked. */
	must(mremap((void *)at, 3 * PAGE, 8 * PAGE, MREMAP_MAYMOVE) == MAP_FAILED);
	must(munmap((void *)(at + PAGE), PAGE) == 0 && at[0] == 0 && at[2 * PAGE] == 0);
}

/* A grant opened again by its path would have other rights. */
static void no_way_around(void)
{
	int window = window_made(2, 1, NULL), reader = grant_made(window, 0, 1, READ, NULL), page[2];
	volatile unsigned char *at = mapped(reader, 1, PROT_READ);
	struct iovec there = {(void *)at, PAGE}, here;
	char path[64], room[PAGE];

	here = (struct iovec){room, PAGE};
	snprintf(path, sizeof(path), "/proc/self/fd/%d", reader);
	refused(open(path, O_RDWR), ENXIO);
	refused(open(path, O_RDONLY), ENXIO);
	refused(pread(reader, path, 8, 0), ESPIPE);
	refused(write(reader, path, 8), EBADF);
	refused(ftruncate(reader, PAGE), EINVAL);
	must(at[0] == 0);
	/* Nobody can pin a page past its revocation; copies are as ever. */
	refused(process_vm_readv(getpid(), &here, 1, &there, 1, 0), EFAULT);
	must(pipe(page) == 0);
	refused(vmsplice(page[1], &there, 1, 0), EFAULT);
	must(write(page[1], (void *)at, 100) == 100 && read(page[0], room, 100) == 100);
}

/* Each byte of the window is where its page says, through whatever grant. */
static void content(void)
{
	enum { PAGES = 64 };
	int window = window_made(PAGES, 0, NULL);
	volatile unsigned char *all = mapped(grant_made(window, 0, PAGES, READ | WRITE, NULL), PAGES, PROT_READ | PROT_WRITE);

	for (unsigned i = 0; i < PAGES; i++) {
		must(all[i * PAGE] == 0 && all[i * PAGE + PAGE - 1] == 0);
		all[i * PAGE] = (unsigned char)(i + 1);
	}
	for (unsigned first = 0; first < PAGES; first += 5)
		for (unsigned pages = 1; first + pages <= PAGES; pages += 7) {
			int grant = grant_made(window, first, pages, READ | WRITE, NULL);
			unsigned middle = pages / 2;
			volatile unsigned char *at = mapped(grant, pages, PROT_READ | PROT_WRITE), *half;

			half = mmap(NULL, (pages - middle) * PAGE, PROT_READ, MAP_SHARED, grant, (off_t)(middle * PAGE));
			must(half != MAP_FAILED && half[0] == first + middle + 1);
			for (unsigned i = pages; i-- > 0;)
				must(at[i * PAGE] == first + i + 1);
			at[PAGE - 1] = (unsigned char)pages;
			must(all[first * PAGE + PAGE - 1] == (unsigned char)pages);
			munmap((void *)at, pages * PAGE);
			munmap((void *)half, (pages - middle) * PAGE);
			close(grant);
		}
}

/* A program of another user, which can't open the window, uses the grant that it was passed, and no more. */
static void passed_on(void)
{
	char name[32];
	int ends[2], window = window_made(4, 1, name), grant;
	volatile unsigned char *all = mapped(grant_made(window, 0, 4, READ | WRITE, NULL), 4, PROT_READ | PROT_WRITE), *at;
	pid_t pid;

	must(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
	pid = child();
	if (!pid) {
		close(window);
		close(ends[0]);
		munmap((void *)all, 4 * PAGE);
		must(setgid(1000) == 0 && setuid(1000) == 0);
		refused(node_opened(name, O_RDONLY), EACCES);
		grant = passed(ends[1]);
		at = mapped(grant, 1, PROT_READ | PROT_WRITE);
		must(at[0] == 42);
		at[0] = 43;
		no_map(grant, 2, PROT_READ, MAP_SHARED, 0, EINVAL);
		refused(ioctl(grant, CAUSEWAY_IOC_GRANT, &((struct causeway_grant){0})), ENOTTY);
		_exit(0);
	}
	all[2 * PAGE] = 42;
	grant = grant_made(window, 2, 1, READ | WRITE, NULL);
	pass(ends[0], grant);
	must(status_of(pid) == 0 && all[2 * PAGE] == 43);
}

static void many(void)
{
	int window = window_made(1, 1, NULL), bell = bell_grant(window, 0, 0), count = 0, *grant = calloc(1000, sizeof(int));
	uint64_t rings;

	for (; count < 1000; count++)
		grant[count] = bell_grant(window, 0, CAUSEWAY_NONE);
	must(ioctl(bell, CAUSEWAY_IOC_RING, 0) == 0);
	while (count) {
		must(read(grant[--count], &rings, 8) == 8 && rings == 1);
		close(grant[count]);
	}
	free(grant);
}

const struct scenario grants[] = {
	{"grant_arguments", arguments}, {"grant_listed", listed},    {"grant_maps", maps}, {"grant_no_way_around", no_way_around},
	{"grant_content", content},     {"grant_passed", passed_on}, {"grant_many", many}, {0},
};
