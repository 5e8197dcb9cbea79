/*
 * node NODE COMMAND: one of two nodes that share a window by a device. The first page is where they meet; from the second on there is a
 *page for each, written by the other one.
 *
 *	pair	ping-pong by polling, then by bells; content of the window; then node 1 waits to be killed, and node 0 notices
 *	leave	node 0 alone: the device is taken away under a writer and sleepers, and comes back
 */
#include "kmod.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define BOTH   (CAUSEWAY_MAY_READ | CAUSEWAY_MAY_WRITE)
#define ROUNDS 20000
#define RINGS  500
#define PAGES  64

/* The meeting page. */
struct meeting {
	_Atomic uint32_t arrived[2];
	_Atomic uint32_t peer[2];
	_Atomic uint32_t turn;
	_Atomic uint32_t stage[2];
	_Atomic uint64_t beat[2];
};

static char name[32];
static int window;
static uint32_t here, there, peer;
static struct meeting *meeting;

static void window_found(void)
{
	DIR *directory = opendir("/dev/causeway");
	struct causeway_window info;
	struct dirent *entry;

	must(directory);
	while ((entry = readdir(directory)) && strncmp(entry->d_name, "ivshmem", 7) != 0)
		;
	must(entry);
	snprintf(name, sizeof(name), "%.31s", entry->d_name);
	closedir(directory);
	window = node_opened(name, O_RDWR);
	must(window >= 0 && ioctl(window, CAUSEWAY_IOC_WINDOW, &info) == 0);
	must(strcmp(info.kind, "ivshmem") == 0 && info.bells == 4 && info.size == 1 << 20 && info.page_size == PAGE);
	peer = info.peer;
}

static void stage(uint32_t which)
{
	meeting->stage[here] = which;
	while (meeting->stage[there] < which)
		;
}

static void meet(void)
{
	meeting->peer[here] = peer;
	meeting->arrived[here] = 0xca05e;
	while (meeting->arrived[there] != 0xca05e)
		naps(5);
	must(meeting->peer[there] != peer);
}

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec * 1e6 + (double)time.tv_nsec / 1e3;
}

static void by_polling(void)
{
	double begin;
	uint64_t before = counter(name, "interrupts");

	stage(1);
	begin = now();
	for (uint32_t i = 0; i < ROUNDS; i++) {
		while ((meeting->turn & 1) != here)
			;
		meeting->turn++;
	}
	stage(2);
	printf("a round trip by polling: %.2f us\n", (now() - begin) / ROUNDS);
	must(counter(name, "interrupts") == before);
	printf("ok kmod/node%u_polling\n", here);
}

static int bell_of_pair(uint32_t wait, uint32_t to)
{
	struct causeway_grant grant = grant_of(0, 0, CAUSEWAY_MAY_WAIT | CAUSEWAY_MAY_RING);

	grant.wait_bell = wait;
	grant.ring_bell = wait;
	grant.ring_peer = to;
	must(ioctl(window, CAUSEWAY_IOC_GRANT, &grant) == 0);
	return grant.fd;
}

static void by_bells(void)
{
	int bell = bell_of_pair(1, meeting->peer[there]), other = bell_of_pair(2, meeting->peer[there]);
	uint64_t rings, before = counter(name, "interrupts"), ours = counter(name, "rings"), count = 0;
	double begin;

	stage(3);
	begin = now();
	for (int i = 0; i < RINGS; i++) {
		if (here == 0)
			must(ioctl(bell, CAUSEWAY_IOC_RING, 0) == 0);
		must(read(bell, &rings, 8) == 8);
		count += rings;
		if (here == 1)
			must(ioctl(bell, CAUSEWAY_IOC_RING, 0) == 0);
	}
	stage(4);
	printf("a round trip by bells: %.0f us\n", (now() - begin) / RINGS);
	/* One ring, one interrupt, one wake-up; nothing at the other bell. */
	must(count == RINGS && counter(name, "rings") - ours == RINGS);
	must(counter(name, "interrupts") - before == RINGS);
	must(polled(other, POLLIN) == 0);
	must(counter(name, "wakeups") <= counter(name, "interrupts"));
	printf("ok kmod/node%u_bells\n", here);
}

static unsigned char byte_of(uint32_t node, unsigned at)
{
	return (unsigned char)(at * 13 + at / 4096 + node * 101 + 1);
}

static void contents(void)
{
	uint32_t id;
	int mine = grant_made(window, 1 + here * PAGES, PAGES, CAUSEWAY_MAY_READ, NULL);
	int others = grant_made(window, 1 + there * PAGES, PAGES, BOTH, &id);
	volatile unsigned char *in = mapped(mine, PAGES, PROT_READ), *out = mapped(others, PAGES, PROT_READ | PROT_WRITE);

	for (unsigned i = 0; i < PAGES * PAGE; i++)
		out[i] = byte_of(here, i);
	stage(5);
	for (unsigned i = 0; i < PAGES * PAGE; i++)
		must(in[i] == byte_of(there, i));
	/* Ours is revoked: what we write does not come there. */
	grant_revoked(window, id);
	for (unsigned i = 0; i < PAGES * PAGE; i++)
		out[i] = 0;
	stage(6);
	for (unsigned i = 0; i < PAGES * PAGE; i++)
		must(in[i] == byte_of(there, i));
	stage(7);
	printf("ok kmod/node%u_content\n", here);
}

/* A ring to a peer, or a bell, that isn't there goes nowhere; one that can't be is refused. */
static void nobody(void)
{
	struct causeway_grant grant = grant_of(0, 0, CAUSEWAY_MAY_RING);
	uint64_t before = counter(name, "interrupts");

	grant.ring_peer = 77;
	grant.ring_bell = 0;
	must(ioctl(window, CAUSEWAY_IOC_GRANT, &grant) == 0 && ioctl(grant.fd, CAUSEWAY_IOC_RING, 0) == 0);
	grant.ring_peer = meeting->peer[there];
	grant.ring_bell = 4000;
	must(ioctl(window, CAUSEWAY_IOC_GRANT, &grant) == 0 && ioctl(grant.fd, CAUSEWAY_IOC_RING, 0) == 0);
	grant.ring_peer = 65536;
	refused(ioctl(window, CAUSEWAY_IOC_GRANT, &grant), EINVAL);
	grant.ring_peer = 0;
	grant.ring_bell = 65536;
	refused(ioctl(window, CAUSEWAY_IOC_GRANT, &grant), EINVAL);
	refused(ioctl(window, CAUSEWAY_IOC_REMOVE, 0), EOPNOTSUPP);
	must(counter(name, "interrupts") == before);
	printf("ok kmod/node%u_nobody\n", here);
}

/* Interrupts that nobody waits for are counted as such. */
static void spurious(void)
{
	struct causeway_grant grant = grant_of(0, 0, CAUSEWAY_MAY_RING);
	uint64_t before = counter(name, "spurious"), all = counter(name, "interrupts");

	stage(8);
	grant.ring_peer = meeting->peer[there];
	grant.ring_bell = 3;
	must(ioctl(window, CAUSEWAY_IOC_GRANT, &grant) == 0 && ioctl(grant.fd, CAUSEWAY_IOC_RING, 0) == 0);
	for (int i = 0; i < 200 && counter(name, "interrupts") == all; i++)
		naps(10);
	must(counter(name, "interrupts") == all + 1 && counter(name, "spurious") == before + 1);
	stage(9);
	printf("ok kmod/node%u_spurious\n", here);
}

/* Nobody tells of a peer's death: its heart no longer beats, and doorbells to it are harmless. */
static void killed(void)
{
	int bell = bell_of_pair(1, meeting->peer[there]);
	uint64_t last;
	int still = 0;

	stage(10);
	if (here == 1) {
		printf("GUEST: kill me\n");
		for (;;) {
			meeting->beat[1]++;
			ioctl(bell, CAUSEWAY_IOC_RING, 0);
			naps(1);
		}
	}
	for (int i = 0; i < 600 && still < 20; i++) {
		last = meeting->beat[1];
		must(ioctl(bell, CAUSEWAY_IOC_RING, 0) == 0);
		naps(100);
		still = last && last == meeting->beat[1] ? still + 1 : 0;
	}
	must(still == 20);
	printf("ok kmod/node0_peer_killed\n");
}

static int pair(void)
{
	meeting = (struct meeting *)mapped(grant_made(window, 0, 1, BOTH, NULL), 1, PROT_READ | PROT_WRITE);
	meet();
	by_polling();
	by_bells();
	contents();
	nobody();
	spurious();
	killed();
	return 0;
}

static void driver(const char *what, const char *device)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/sys/bus/pci/drivers/causeway/%s", what);
	fd = open(path, O_WRONLY);
	must(fd >= 0 && write(fd, device, strlen(device)) == (ssize_t)strlen(device));
	close(fd);
}

static char device[32];

static void device_found(void)
{
	char path[64], link[256];
	ssize_t length;

	snprintf(path, sizeof(path), "/sys/class/causeway/%s/device", name);
	length = readlink(path, link, sizeof(link) - 1);
	must(length > 0);
	link[length] = 0;
	snprintf(device, sizeof(device), "%.31s", strrchr(link, '/') + 1);
}

static _Noreturn void write_on(volatile unsigned char *at)
{
	for (;;)
		for (unsigned page = 0; page < PAGES; page++)
			at[page * PAGE] = 0xee;
}

static void *ring_on(void *bell)
{
	while (ioctl((int)(intptr_t)bell, CAUSEWAY_IOC_RING, 0) == 0)
		;
	must(errno == ENODEV);
	return NULL;
}

static int leave(void)
{
	struct causeway_window info, again;
	int bell = bell_of_pair(1, peer), away = bell_of_pair(2, peer + 1), grant = grant_made(window, 128, PAGES, BOTH, NULL),
	    old = window;
	volatile unsigned char *at = mapped(grant, PAGES, PROT_READ | PROT_WRITE);
	pthread_t thread;
	uint64_t rings;
	pid_t pid[3];

	must(ioctl(window, CAUSEWAY_IOC_WINDOW, &info) == 0);
	device_found();
	for (int i = 0; i < 3; i++) {
		pid[i] = child();
		if (pid[i])
			continue;
		if (i == 0)
			write_on(at);
		if (i == 1) {
			ring_on((void *)(intptr_t)away);
			_exit(0);
		}
		_exit(read(bell, &rings, 8) != -1 || errno != ENODEV);
	}
	must(pthread_create(&thread, NULL, ring_on, (void *)(intptr_t)away) == 0);
	naps(300);
	driver("unbind", device);
	must(status_of(pid[1]) == 0 && status_of(pid[2]) == 0);
	pthread_join(thread, NULL);
	must(!node_exists(name) && state_of(grant) == CAUSEWAY_GONE && polled(bell, POLLIN) == (POLLERR | POLLHUP));
	must(at[1] == 0);
	must(waitpid(pid[0], NULL, WNOHANG) == 0);
	printf("ok kmod/device_unbound\n");

	driver("bind", device);
	window_found();
	must(ioctl(window, CAUSEWAY_IOC_WINDOW, &again) == 0 && again.generation != info.generation && again.peer == info.peer);
	must(state_of(grant) == CAUSEWAY_GONE && at[1] == 0);
	must(mapped(grant_made(window, 128, PAGES, BOTH, NULL), PAGES, PROT_READ)[0] == 0xee);
	refused(ioctl(old, CAUSEWAY_IOC_WINDOW, &info), ENODEV);
	for (int i = 0; i < 10; i++) {
		int now = bell_of_pair(1, peer);

		must(ioctl(now, CAUSEWAY_IOC_RING, 0) == 0 && read(now, &rings, 8) == 8);
		driver("unbind", device);
		driver("bind", device);
		window_found();
	}
	kill(pid[0], SIGKILL);
	waitpid(pid[0], NULL, 0);
	printf("ok kmod/device_bound_again\n");

	/* As if it were pulled out. */
	snprintf((char *)&info, sizeof(info), "/sys/bus/pci/devices/%s/remove", device);
	grant = open((char *)&info, O_WRONLY);
	must(grant >= 0 && write(grant, "1", 1) == 1 && !node_exists(name));
	printf("ok kmod/device_pulled\n");
	return 0;
}

int main(int count, char **words)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (count != 3)
		return 64;
	here = words[1][0] == '1';
	there = !here;
	window_found();
	return strcmp(words[2], "pair") == 0 ? pair() : leave();
}
