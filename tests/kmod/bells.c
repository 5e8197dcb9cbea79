/* Bells: who waits is woken, each ring is told once, and none is lost. */
#include "kmod.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void ring(int grant)
{
	must(ioctl(grant, CAUSEWAY_IOC_RING, 0) == 0);
}

static uint64_t rings_read(int grant)
{
	uint64_t rings;

	must(read(grant, &rings, sizeof(rings)) == sizeof(rings));
	return rings;
}

static void counted(void)
{
	void *nowhere = mmap(NULL, PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char name[32];
	int window = window_made(1, 2, name), waiter, other, ringer;
	uint64_t rings;

	ringer = bell_grant(window, CAUSEWAY_NONE, 0);
	ring(ringer);
	/* What was before the grant isn't told. */
	waiter = bell_grant(window, 0, CAUSEWAY_NONE);
	other = bell_grant(window, 1, CAUSEWAY_NONE);
	must(fcntl(waiter, F_SETFL, O_NONBLOCK) == 0);
	refused(read(waiter, &rings, 8), EAGAIN);
	must(polled(waiter, POLLIN) == 0);
	for (int i = 0; i < 3; i++)
		ring(ringer);
	must(polled(waiter, POLLIN) == POLLIN && polled(other, POLLIN) == 0);
	must(rings_read(waiter) == 3 && polled(waiter, POLLIN) == 0);
	refused(read(waiter, &rings, 8), EAGAIN);
	refused(read(waiter, &rings, 7), EINVAL);
	refused(read(waiter, &rings, 0), EINVAL);
	refused(ioctl(waiter, CAUSEWAY_IOC_RING, 0), EPERM);
	refused(read(ringer, &rings, 8), EPERM);
	refused(ioctl(ringer, CAUSEWAY_IOC_RING, 1), EINVAL);
	ring(ringer);
	refused(read(waiter, nowhere, 8), EFAULT);
	must(counter(name, "rings") == 5 && counter(name, "interrupts") == 0 && counter(name, "wakeups") == 0);
}

static void wakes(void)
{
	char name[32];
	int window = window_made(1, 1, name), waiter = bell_grant(window, 0, CAUSEWAY_NONE), ringer = bell_grant(window, CAUSEWAY_NONE, 0);
	pid_t pid = child();

	if (!pid)
		_exit(rings_read(waiter) != 1);
	naps(200);
	must(waitpid(pid, NULL, WNOHANG) == 0);
	ring(ringer);
	must(status_of(pid) == 0 && counter(name, "wakeups") == 1);
}

/* Every sleeper and every grant, and a set of events. */
static void wakes_all(void)
{
	int window = window_made(1, 1, NULL), ringer = bell_grant(window, CAUSEWAY_NONE, 0), shared = bell_grant(window, 0, CAUSEWAY_NONE);
	pid_t pid[8];

	for (int i = 0; i < 8; i++) {
		pid[i] = child();
		if (!pid[i]) {
			int own = bell_grant(window, 0, CAUSEWAY_NONE), set = epoll_create1(0);
			struct epoll_event event = {EPOLLIN | EPOLLET, {.u32 = 5}};
			struct pollfd both[2] = {{shared, POLLIN, 0}, {own, POLLIN, 0}};

			if (i % 2) {
				must(epoll_ctl(set, EPOLL_CTL_ADD, own, &event) == 0);
				must(epoll_wait(set, &event, 1, -1) == 1 && event.events == EPOLLIN && event.data.u32 == 5);
				must(epoll_wait(set, &event, 1, 0) == 0);
			} else {
				must(poll(both, 2, -1) == 2);
			}
			_exit(rings_read(own) != 1);
		}
	}
	naps(500);
	ring(ringer);
	for (int i = 0; i < 8; i++)
		must(status_of(pid[i]) == 0);
	must(rings_read(shared) == 1);
}

static void nothing(int signal)
{
}

static void interrupted(void)
{
	int waiter = bell_grant(window_made(1, 1, NULL), 0, CAUSEWAY_NONE);
	struct sigaction action = {.sa_handler = nothing};
	uint64_t rings;
	pid_t pid;

	sigaction(SIGUSR1, &action, NULL);
	pid = child();
	if (!pid) {
		for (int i = 0; i < 20; i++) {
			naps(50);
			kill(getppid(), SIGUSR1);
		}
		_exit(0);
	}
	refused(read(waiter, &rings, 8), EINTR);
	must(status_of(pid) == 0);
}

static struct causeway_await sleep_of(uint64_t rings, int fd, double seconds)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (struct causeway_await){.rings = rings,
				       .deadline = (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec + (uint64_t)(seconds * 1e9),
				       .fd = fd,
				       .events = POLLIN};
}

static int slept(int grant, struct causeway_await *await)
{
	return ioctl(grant, CAUSEWAY_IOC_AWAIT, await);
}

#define BUT(change)                                                                                                                        \
	do {                                                                                                                               \
		await = sleep_of(0, -1, 0);                                                                                                \
		change;                                                                                                                    \
		refused(slept(waiter, &await), EINVAL);                                                                                    \
	} while (0)

/* What ends a sleep, and what of it is told. A count that others have seen too is told to each. */
static void awaited(void)
{
	int window = window_made(1, 2, NULL), waiter = bell_grant(window, 0, CAUSEWAY_NONE), ringer = bell_grant(window, CAUSEWAY_NONE, 0);
	struct causeway_await await;
	int ends[2];
	pid_t pid;

	BUT(await.fd = -2);
	BUT(await.flags = 2);
	BUT(await.reserved = 1);
	BUT(await.deadline = UINT64_MAX);
	BUT(await.events = 0x8000);
	await = sleep_of(0, -1, 0.1);
	await.fd = 12345;
	refused(slept(waiter, &await), EBADF);
	await.fd = -1;
	refused(slept(ringer, &await), EPERM);
	refused(ioctl(waiter, CAUSEWAY_IOC_AWAIT, NULL), EFAULT);
	must(slept(waiter, &await) == 0 && await.rings == 0 && await.events == 0);
	must(pipe(ends) == 0 && write(ends[1], "a", 1) == 1);
	await = sleep_of(0, ends[0], 1000);
	must(slept(waiter, &await) == 0 && await.rings == 0 && await.events == POLLIN);
	must(read(ends[0], &(char){0}, 1) == 1);
	for (int i = 0; i < 2; i++) {
		pid = child();
		if (!pid) {
			naps(200);
			if (i)
				ring(ringer);
			else
				must(write(ends[1], "a", 1) == 1);
			_exit(0);
		}
		await = sleep_of(0, ends[0], 1000);
		must(slept(waiter, &await) == 0 && await.rings == (uint64_t)i && await.events == (i ? 0 : POLLIN));
		must(status_of(pid) == 0);
		if (!i)
			must(read(ends[0], &(char){0}, 1) == 1);
	}
	await = sleep_of(0, ends[0], 1000);
	must(slept(waiter, &await) == 0 && await.rings == 1);
	await = sleep_of(1, ends[0], 0.1);
	must(slept(waiter, &await) == 0 && await.rings == 1 && await.events == 0);
	close(ends[1]);
	await = sleep_of(1, ends[0], 1000);
	must(slept(waiter, &await) == 0 && (await.events & POLLHUP));
}

/* As a receive: a handler ends it, but where it was set to go on; and where that isn't wanted. */
static void awaited_under_signals(void)
{
	int window = window_made(1, 1, NULL), waiter = bell_grant(window, 0, CAUSEWAY_NONE), ringer = bell_grant(window, CAUSEWAY_NONE, 0);

	for (int i = 0; i < 3; i++) {
		struct sigaction action = {.sa_handler = nothing, .sa_flags = i ? SA_RESTART : 0};
		struct causeway_await await = sleep_of((uint64_t)(i > 1), -1, 1000);
		pid_t pid;

		sigaction(SIGUSR1, &action, NULL);
		await.flags = i == 2 ? CAUSEWAY_AWAIT_ONCE : 0;
		pid = child();
		if (!pid) {
			for (int turns = 0; turns < 20; turns++) {
				naps(50);
				kill(getppid(), SIGUSR1);
			}
			if (i == 1)
				ring(ringer);
			_exit(0);
		}
		if (i == 1)
			must(slept(waiter, &await) == 0 && await.rings == 1);
		else
			refused(slept(waiter, &await), EINTR);
		must(status_of(pid) == 0);
	}
}

/* Who sleeps when it is taken away is told. */
static void awaited_in_vain(void)
{
	int window = window_made(1, 1, NULL), waiter;
	struct causeway_grant grant = grant_of(0, 0, CAUSEWAY_MAY_WAIT);
	struct causeway_await await = sleep_of(0, -1, 1000);
	pid_t pid;

	grant.wait_bell = 0;
	must(ioctl(window, CAUSEWAY_IOC_GRANT, &grant) == 0);
	waiter = grant.fd;
	pid = child();
	if (!pid) {
		naps(200);
		grant_revoked(window, grant.id);
		_exit(0);
	}
	refused(slept(waiter, &await), EIO);
	must(status_of(pid) == 0);
	refused(slept(waiter, &await), EIO);
}

static void eventfds(void)
{
	int window = window_made(1, 1, NULL), waiter = bell_grant(window, 0, CAUSEWAY_NONE), ringer = bell_grant(window, CAUSEWAY_NONE, 0);
	struct causeway_eventfd to = {.fd = eventfd(0, EFD_NONBLOCK)}, none = {.fd = -1}, bad = {.fd = -2};
	uint64_t value;

	refused(ioctl(ringer, CAUSEWAY_IOC_EVENTFD, &to), EPERM);
	refused(ioctl(waiter, CAUSEWAY_IOC_EVENTFD, &bad), EINVAL);
	bad.fd = waiter;
	refused(ioctl(waiter, CAUSEWAY_IOC_EVENTFD, &bad), EINVAL);
	bad.fd = 12345;
	refused(ioctl(waiter, CAUSEWAY_IOC_EVENTFD, &bad), EBADF);
	bad = to;
	bad.reserved[0] = 1;
	refused(ioctl(waiter, CAUSEWAY_IOC_EVENTFD, &bad), EINVAL);
	for (int i = 0; i < 3; i++)
		must(ioctl(waiter, CAUSEWAY_IOC_EVENTFD, &to) == 0);
	ring(ringer);
	ring(ringer);
	must(read(to.fd, &value, 8) == 8 && value == 2);
	must(ioctl(waiter, CAUSEWAY_IOC_EVENTFD, &none) == 0);
	ring(ringer);
	refused(read(to.fd, &value, 8), EAGAIN);
	must(ioctl(waiter, CAUSEWAY_IOC_EVENTFD, &to) == 0);
	close(waiter);
	ring(ringer);
	refused(read(to.fd, &value, 8), EAGAIN);
}

/* Each waits for the other: a wake-up that is lost is the end of it. */
static void ping_pong(void)
{
	enum { ROUNDS = 3000 };
	int window = window_made(1, 2, NULL), here = bell_grant(window, 0, 1), there = bell_grant(window, 1, 0);
	pid_t pid = child();

	for (int i = 0; i < ROUNDS; i++) {
		if (!pid) {
			must(rings_read(there) == 1);
			ring(there);
		} else {
			ring(here);
			must(rings_read(here) == 1);
		}
	}
	if (!pid)
		_exit(0);
	must(status_of(pid) == 0);
}

/* Threads that share a grant share its rings: each is told to one of them. */
static int shared;

static void *take(void *total)
{
	uint64_t rings, sum = 0;

	while (sum < 1u << 30 && read(shared, &rings, 8) == 8)
		sum += rings;
	*(uint64_t *)total = sum;
	return NULL;
}

static void told_once(void)
{
	struct causeway_revoke request = {.id = CAUSEWAY_NONE};
	int window = window_made(1, 1, NULL), ringer = bell_grant(window, CAUSEWAY_NONE, 0);
	uint64_t total[4], sum = 0;
	pthread_t thread[4];

	shared = bell_grant(window, 0, CAUSEWAY_NONE);
	for (int i = 0; i < 4; i++)
		must(pthread_create(&thread[i], NULL, take, &total[i]) == 0);
	for (int i = 0; i < 5000; i++)
		ring(ringer);
	while (polled(shared, POLLIN) & POLLIN)
		naps(1);
	must(ioctl(window, CAUSEWAY_IOC_REVOKE, &request) == 0);
	for (int i = 0; i < 4; i++) {
		pthread_join(thread[i], NULL);
		sum += total[i];
	}
	must(sum == 5000);
}

const struct scenario bells[] = {
	{"bell_counted", counted},
	{"bell_wakes", wakes},
	{"bell_wakes_all", wakes_all},
	{"bell_interrupted", interrupted},
	{"bell_eventfds", eventfds},
	{"bell_ping_pong", ping_pong},
	{"bell_told_once", told_once},
	{"bell_awaited", awaited},
	{"bell_awaited_under_signals", awaited_under_signals},
	{"bell_awaited_in_vain", awaited_in_vain},
	{0},
};
