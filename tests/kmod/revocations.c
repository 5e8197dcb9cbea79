/* Revocation: what is touched afterwards is a page of zeros of the grant's own, and nothing reaches the window. */
#include "kmod.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define BOTH (CAUSEWAY_MAY_READ | CAUSEWAY_MAY_WRITE)

static void dead(void)
{
	char name[32];
	int window = window_made(4, 1, name), first, second;
	volatile unsigned char *one, *two, *all = mapped(grant_made(window, 0, 4, BOTH, NULL), 4, PROT_READ | PROT_WRITE);
	struct causeway_window info;
	uint32_t id, other;

	first = grant_made(window, 0, 4, BOTH, &id);
	second = grant_made(window, 0, 4, BOTH, &other);
	one = mapped(first, 4, PROT_READ | PROT_WRITE);
	two = mapped(second, 4, PROT_READ | PROT_WRITE);
	one[PAGE] = 7;
	must(all[PAGE] == 7 && two[PAGE] == 7 && polled(first, POLLIN) == 0);
	grant_revoked(window, id);
	must(one[PAGE] == 0 && two[PAGE] == 7 && all[PAGE] == 7);
	must(polled(first, POLLIN) == POLLERR && polled(second, POLLIN) == 0);
	must(state_of(first) == CAUSEWAY_REVOKED && state_of(second) == CAUSEWAY_LIVE);
	must(ioctl(window, CAUSEWAY_IOC_WINDOW, &info) == 0 && info.grants == 2);
	one[PAGE] = 9;
	must(all[PAGE] == 7 && one[PAGE] == 9 && one[0] == 0 && one[2 * PAGE] == 0);
	refused(mmap(NULL, PAGE, PROT_READ, MAP_SHARED, first, 0) == MAP_FAILED ? -1 : 0, EIO);
	/* The dead page of one is not that of another. */
	grant_revoked(window, other);
	must(two[PAGE] == 0 && one[PAGE] == 9);
	/* Again is nothing, and says so. */
	refused(ioctl(window, CAUSEWAY_IOC_REVOKE, &((struct causeway_revoke){.id = id})), ENOENT);
	must(counter(name, "revocations") == 2 && counter(name, "dead_faults") >= 2);
	refused(ioctl(window, CAUSEWAY_IOC_REVOKE, &((struct causeway_revoke){.id = 1, .flags = 1})), EINVAL);
	refused(ioctl(window, CAUSEWAY_IOC_REVOKE, &((struct causeway_revoke){.id = 1, .reserved = 1})), EINVAL);
	refused(ioctl(window, CAUSEWAY_IOC_REVOKE, &((struct causeway_revoke){.id = 0})), ENOENT);
}

static void all_at_once(void)
{
	int window = window_made(4, 1, NULL), grant[50];
	volatile unsigned char *at[50];
	struct causeway_revoke request = {.id = CAUSEWAY_NONE};

	for (int i = 0; i < 50; i++) {
		grant[i] = grant_made(window, 0, 4, BOTH, NULL);
		at[i] = mapped(grant[i], 4, PROT_READ | PROT_WRITE);
		at[i][i] = 1;
	}
	must(ioctl(window, CAUSEWAY_IOC_REVOKE, &request) == 0 && request.revoked == 50);
	for (int i = 0; i < 50; i++) {
		must(at[i][0] == 0 && at[i][i] == 0);
		at[i][i] = 1;
		must(polled(grant[i], 0) == POLLERR);
	}
	must(ioctl(window, CAUSEWAY_IOC_REVOKE, &request) == 0 && request.revoked == 0);
}

static void bells_of_the_revoked(void)
{
	struct causeway_grant grant = grant_of(0, 0, CAUSEWAY_MAY_WAIT | CAUSEWAY_MAY_RING);
	char name[32];
	int window = window_made(1, 1, name);
	uint64_t rings;

	grant.wait_bell = grant.ring_peer = grant.ring_bell = 0;
	must(ioctl(window, CAUSEWAY_IOC_GRANT, &grant) == 0);
	must(ioctl(grant.fd, CAUSEWAY_IOC_RING, 0) == 0 && read(grant.fd, &rings, 8) == 8);
	grant_revoked(window, grant.id);
	refused(ioctl(grant.fd, CAUSEWAY_IOC_RING, 0), EIO);
	refused(read(grant.fd, &rings, 8), EIO);
	must(counter(name, "rings") == 1);
}

/* A sleeper is told, in whatever it sleeps. */
static void sleepers(void)
{
	struct causeway_grant grant = grant_of(0, 0, CAUSEWAY_MAY_WAIT);
	int window = window_made(1, 1, NULL);
	struct pollfd p;
	uint64_t rings;
	pid_t reader, poller, plain;
	uint32_t id;

	grant.wait_bell = 0;
	must(ioctl(window, CAUSEWAY_IOC_GRANT, &grant) == 0);
	p.fd = grant_made(window, 0, 1, BOTH, &id);
	reader = child();
	if (!reader) {
		refused(read(grant.fd, &rings, 8), EIO);
		_exit(0);
	}
	poller = child();
	if (!poller) {
		p.fd = grant.fd;
		p.events = POLLIN;
		_exit(poll(&p, 1, -1) != 1 || p.revents != POLLERR);
	}
	plain = child();
	if (!plain) {
		p.events = 0;
		_exit(poll(&p, 1, -1) != 1 || p.revents != POLLERR);
	}
	naps(200);
	grant_revoked(window, CAUSEWAY_NONE);
	must(status_of(reader) == 0 && status_of(poller) == 0 && status_of(plain) == 0);
}

/* Writers in threads and in another process, a process that forks, and maps that come and go; the grant is revoked under them. */
#define PAGES  40
#define ROUNDS 25
static int busy;
static volatile unsigned char *at;
static _Atomic bool stop;

static void *write_on(void *unused)
{
	unsigned i = 0;

	while (!stop)
		for (unsigned page = 0; page < PAGES; page++)
			at[page * PAGE + (i++ & 4095)] = 0xff;
	return NULL;
}

static void *map_on(void *unused)
{
	while (!stop) {
		volatile unsigned char *now = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, busy, 0);

		if (now == MAP_FAILED) {
			must(errno == EIO);
			return NULL;
		}
		for (unsigned page = 0; page < PAGES; page += 3)
			now[page * PAGE + 1] = 0xff;
		munmap((void *)now, PAGES * PAGE);
	}
	return NULL;
}

static void *fork_on(void *unused)
{
	while (!stop) {
		pid_t pid = fork();

		if (!pid) {
			for (unsigned page = 0; page < PAGES; page++)
				at[page * PAGE + 2] = 0xff;
			_exit(0);
		}
		must(status_of(pid) == 0);
	}
	return NULL;
}

static void under_writers(void)
{
	static unsigned char before[PAGES * PAGE];
	int window = window_made(PAGES, 0, NULL);
	volatile unsigned char *all = mapped(grant_made(window, 0, PAGES, BOTH, NULL), PAGES, PROT_READ | PROT_WRITE);
	void *(*const tasks[])(void *) = {write_on, write_on, map_on, fork_on};
	pthread_t thread[4];
	uint32_t id;
	pid_t pid;

	for (int round = 0; round < ROUNDS; round++) {
		busy = grant_made(window, 0, PAGES, BOTH, &id);
		at = mapped(busy, PAGES, PROT_READ | PROT_WRITE);
		stop = false;
		pid = child();
		if (!pid) {
			alarm(30);
			write_on(NULL);
		}
		for (int i = 0; i < 4; i++)
			must(pthread_create(&thread[i], NULL, tasks[i], NULL) == 0);
		naps(5 + (unsigned)round % 20);
		grant_revoked(window, id);
		/* Once that has returned, the window is as it is. */
		memcpy(before, (void *)all, sizeof(before));
		memset((void *)all, 0, sizeof(before));
		naps(15);
		for (size_t i = 0; i < sizeof(before); i++)
			must(all[i] == 0);
		stop = true;
		for (int i = 0; i < 4; i++)
			pthread_join(thread[i], NULL);
		must(waitpid(pid, NULL, WNOHANG) == 0);
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		munmap((void *)at, PAGES * PAGE);
		close(busy);
	}
}

/* Two who revoke, and one who closes, meet. */
static void *revoke_on(void *window)
{
	while (!stop) {
		struct causeway_revoke request = {.id = CAUSEWAY_NONE};

		must(ioctl((int)(intptr_t)window, CAUSEWAY_IOC_REVOKE, &request) == 0);
	}
	return NULL;
}

static void against_closing(void)
{
	int window = window_made(4, 1, NULL);
	pthread_t thread[2];

	stop = false;
	for (int i = 0; i < 2; i++)
		must(pthread_create(&thread[i], NULL, revoke_on, (void *)(intptr_t)window) == 0);
	for (int i = 0; i < 300; i++) {
		int grant = grant_made(window, 0, 4, BOTH, NULL);
		volatile unsigned char *now = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, grant, 0);

		if (now != MAP_FAILED) {
			now[PAGE] = 1;
			munmap((void *)now, 4 * PAGE);
		}
		close(grant);
	}
	stop = true;
	for (int i = 0; i < 2; i++)
		pthread_join(thread[i], NULL);
}

const struct scenario revocations[] = {
	{"revoked_is_dead", dead},
	{"revoked_all", all_at_once},
	{"revoked_bells", bells_of_the_revoked},
	{"revoked_sleepers", sleepers},
	{"revoked_under_writers", under_writers},
	{"revoked_and_closed", against_closing},
	{0},
};
