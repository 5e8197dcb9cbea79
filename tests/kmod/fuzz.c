/* fuzz SECONDS SEED: requests with nonsense in them, on every kind of descriptor, from several processes at a time. */
#include "kmod.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static uint64_t state;

static uint64_t number(void)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state;
}

static unsigned below(unsigned limit)
{
	return (unsigned)(number() % limit);
}

static uint64_t odd_number(void)
{
	static const uint64_t edges[] = {0,          1,          2,          3,          4096,       8192,       0x7fffffff,
					 0x80000000, 0xffffffff, 1ull << 32, 1ull << 40, 1ull << 63, UINT64_MAX, UINT64_MAX - 4095,
					 15,         16,         12288,      65535,      65536,      65537,      0x7ffffffffffff000};

	return below(4) ? edges[below(sizeof(edges) / sizeof(*edges))] : number();
}

static const unsigned long requests[] = {
	CAUSEWAY_IOC_VERSION, CAUSEWAY_IOC_CREATE, CAUSEWAY_IOC_WINDOW, CAUSEWAY_IOC_GRANT,   CAUSEWAY_IOC_REVOKE, CAUSEWAY_IOC_NEXT,
	CAUSEWAY_IOC_REMOVE,  CAUSEWAY_IOC_INFO,   CAUSEWAY_IOC_RING,   CAUSEWAY_IOC_EVENTFD, CAUSEWAY_IOC_AWAIT,
};

#define FDS 64
static int fds[FDS];
static struct {
	void *at;
	size_t size;
} maps[16];

static void keep(int fd)
{
	unsigned where = below(FDS);

	if (fd < 0)
		return;
	if (fds[where] >= 0)
		close(fds[where]);
	fds[where] = fd;
}

/* Mostly right, with a mistake now and then, so that it comes far. */
static void fill(unsigned long request, unsigned char room[128])
{
	for (int i = 0; i < 128; i++)
		room[i] = below(3) ? 0 : (unsigned char)number();
	if (request == CAUSEWAY_IOC_CREATE && below(8))
		*(struct causeway_create *)room =
			(struct causeway_create){.size = (1 + below(20)) * PAGE, .bells = below(4), .numa_node = -1 + (int)below(2)};
	if (request == CAUSEWAY_IOC_GRANT && below(8)) {
		struct causeway_grant grant = grant_of(below(4), 1 + below(4), 1 + below(15));

		if (grant.rights & CAUSEWAY_MAY_WAIT)
			grant.wait_bell = below(4);
		if (grant.rights & CAUSEWAY_MAY_RING)
			grant.ring_peer = 0, grant.ring_bell = below(4);
		if (!(grant.rights & CAUSEWAY_MAY_READ))
			grant.offset = grant.length = 0;
		memcpy(room, &grant, sizeof(grant));
	}
	if ((request == CAUSEWAY_IOC_REVOKE || request == CAUSEWAY_IOC_NEXT) && below(8)) {
		memset(room, 0, 128);
		room[0] = (unsigned char)below(40);
	}
	if (request == CAUSEWAY_IOC_EVENTFD && below(4)) {
		memset(room, 0, 128);
		*(int *)room = below(2) ? eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC) : -1;
	}
	if (request == CAUSEWAY_IOC_AWAIT && below(4)) {
		memset(room, 0, 128);
		((struct causeway_await *)room)->fd = -1 + (int)below(FDS);
		((struct causeway_await *)room)->events = below(0x8000);
	}
	for (unsigned n = below(8) ? 0 : 1 + below(3); n; n--) {
		uint64_t value = odd_number();

		memcpy(room + below(15) * 8, &value, below(2) ? 8 : 4);
	}
	if (request == CAUSEWAY_IOC_AWAIT)
		((struct causeway_await *)room)->deadline %= 1000000000; /* long ago */
}

static void ask(int fd)
{
	static unsigned char room[256] __attribute__((aligned(8)));
	unsigned long request = requests[below(sizeof(requests) / sizeof(*requests))];
	void *argument = room;
	int result, made = -1;

	if (!below(20))
		request = number();
	fill(request, room);
	switch (below(16)) {
	case 0:
		argument = (void *)odd_number();
		break;
	case 1:
		argument = room + 120;
		break;
	}
	if (request == CAUSEWAY_IOC_REMOVE && below(20))
		return;
	if ((request == CAUSEWAY_IOC_RING || request == CAUSEWAY_IOC_REMOVE) && below(8))
		argument = NULL;
	result = ioctl(fd, request, argument);
	if (request == CAUSEWAY_IOC_EVENTFD && *(int *)room > 2) {
		for (int i = 0; i < FDS; i++)
			if (fds[i] == *(int *)room)
				return;
		close(*(int *)room);
	}
	if (result || argument != room)
		return;
	if (request == CAUSEWAY_IOC_CREATE)
		made = ((struct causeway_create *)room)->fd;
	if (request == CAUSEWAY_IOC_GRANT)
		made = ((struct causeway_grant *)room)->fd;
	keep(made);
}

static void map(int fd)
{
	unsigned where = below(16);
	size_t size = (size_t)(1 + below(6)) * PAGE;
	void *at;

	if (maps[where].at)
		munmap(maps[where].at, maps[where].size);
	at = mmap(NULL, size, (int)below(4), below(8) ? MAP_SHARED : MAP_PRIVATE, fd,
		  (off_t)((below(8) ? below(4) : odd_number()) & ~4095ull));
	maps[where].at = at == MAP_FAILED ? NULL : at;
	maps[where].size = size;
}

/* Through a system call, which says EFAULT where a touch by the program would be a signal. */
static void touch(int null)
{
	unsigned where = below(16);
	char *at = maps[where].at;

	if (!at)
		return;
	if (below(2))
		(void)!write(null, at + below((unsigned)maps[where].size), 1);
	else
		(void)!pread(null, at + below((unsigned)maps[where].size), 1, 0);
	if (!below(8))
		mprotect(at, PAGE, (int)below(8));
	if (!below(8))
		madvise(at, PAGE, (int)below(26));
	if (!below(16))
		munmap(at, PAGE);
	if (!below(16) && mremap(at, maps[where].size, maps[where].size + (below(2) ? 0 : PAGE), MREMAP_MAYMOVE) != at)
		maps[where].at = NULL;
}

static void step(int files)
{
	static char room[64];
	int fd = fds[below(FDS)];
	struct pollfd p = {fd, POLLIN, 0};
	char path[64];

	switch (below(12)) {
	case 0:
		keep(open(CAUSEWAY_CONTROL, (int)below(3) | O_NONBLOCK | O_CLOEXEC));
		break;
	case 1:
		snprintf(path, sizeof(path), "/dev/causeway/loop%u", below(8));
		keep(open(path, (int)below(3) | O_NONBLOCK | O_CLOEXEC));
		break;
	case 2:
		keep(fcntl(fd, F_DUPFD_CLOEXEC, 3));
		break;
	case 3:
		map(fd);
		break;
	case 4:
		touch(files);
		break;
	case 5:
		poll(&p, 1, 0);
		if (p.revents & (POLLIN | POLLERR))
			(void)!read(fd, below(8) ? room : NULL, below(16));
		break;
	case 6:
		if (!below(200)) {
			pid_t pid = fork();

			if (!pid) {
				for (int i = 0; i < 20; i++)
					touch(files);
				_exit(0);
			}
			waitpid(pid, NULL, 0);
		}
		break;
	default:
		if (fd >= 0)
			ask(fd);
	}
}

static _Noreturn void task(unsigned seed, int seconds)
{
	time_t end = time(NULL) + seconds;
	int files = open("/tmp", O_RDWR | O_TMPFILE, 0600);
	uint64_t steps = 0;

	state = 0x9e3779b97f4a7c15ull * (seed + 1);
	for (int i = 0; i < FDS; i++)
		fds[i] = -1;
	must(files >= 0 && write(files, "0123456789", 10) == 10);
	alarm((unsigned)seconds + 20);
	while (steps % 64 || time(NULL) < end) {
		step(files);
		steps++;
	}
	printf("seed %u: %llu steps\n", seed, (unsigned long long)steps);
	_exit(0);
}

int main(int count, char **words)
{
	int seconds = count > 1 ? atoi(words[1]) : 5, bad = 0;
	unsigned seed = count > 2 ? (unsigned)strtoul(words[2], NULL, 0) : 1;
	pid_t pid[3];

	setvbuf(stdout, NULL, _IOLBF, 0);
	for (unsigned i = 0; i < 3; i++) {
		pid[i] = child();
		if (!pid[i])
			task(seed * 3 + i, seconds);
	}
	for (int i = 0; i < 3; i++) {
		int status;

		waitpid(pid[i], &status, 0);
		bad |= status;
	}
	/* Nothing is left, and all still works. */
	if (!bad) {
		char name[32];
		int window = window_made(4, 1, name), grant = grant_made(window, 0, 4, CAUSEWAY_MAY_READ, NULL);

		must(mapped(grant, 4, PROT_READ)[PAGE] == 0);
		must(system("test $(ls /sys/class/causeway | grep -c loop) = 1") == 0);
	}
	printf(bad ? "not ok kmod/fuzz # a process of it ended with %d\n" : "ok kmod/fuzz\n", bad);
	return bad != 0;
}
