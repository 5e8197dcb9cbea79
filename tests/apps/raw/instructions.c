/* System calls by instructions of this program's own, on sockets and on all that layer 3 must leave as it is. Prints what it saw. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <threads.h>
#include <unistd.h>

#include "call.h"

static struct sockaddr_in server = {.sin_family = AF_INET};

static void die(const char *what, long result)
{
	printf("%s: %ld\n", what, result);
	exit(1);
}

static int open_stream(void)
{
	int fd = (int)CALL(socket, AF_INET, SOCK_STREAM, 0);
	long result = CALL(connect, fd, &server, sizeof(server));

	if (fd < 0 || result < 0)
		die("connect", result);
	return fd;
}

static void fill(unsigned char *bytes, size_t count, unsigned seed)
{
	for (size_t i = 0; i < count; i++)
		bytes[i] = (unsigned char)((seed = seed * 1103515245 + 12345) >> 16);
}

static void receive(int fd, unsigned char *to, size_t count)
{
	for (size_t got = 0; got < count;) {
		long part = CALL(read, fd, to + got, count - got);

		if (part == -EINTR)
			continue;
		if (part <= 0)
			die("read", part);
		got += (size_t)part;
	}
}

/* Round trips; the number of those that came back as they went. */
static int trips(int fd, int count, size_t size)
{
	static __thread unsigned char sent[100000], back[100000];
	int good = 0;

	for (int i = 0; i < count; i++) {
		long result;

		fill(sent, size, (unsigned)(i * 77 + fd));
		while ((result = CALL(write, fd, sent, size)) == -EINTR)
			;
		if (result != (long)size)
			die("write", result);
		receive(fd, back, size);
		good += memcmp(sent, back, size) == 0;
	}
	return good;
}

static void waits(int fd)
{
	struct pollfd readable = {fd, POLLIN, 0};
	struct epoll_event event = {EPOLLIN | EPOLLET, {.u64 = 7}};
	struct timespec none = {0, 1000000}, limit = {5, 0};
	int set = (int)CALL(epoll_create1, 0);
	unsigned char room[10];
	uint64_t mask = 0;

	printf("add %ld\n", CALL(epoll_ctl, set, EPOLL_CTL_ADD, fd, &event));
	printf("nothing: %ld %ld %ld\n", CALL(poll, &readable, 1, 5), CALL(epoll_wait, set, &event, 1, 5), CALL(ppoll, &readable, 1, &none, &mask, 8));
	CALL(write, fd, "0123456789", 10);
	printf("something: %ld", CALL(epoll_pwait, set, &event, 1, 5000, NULL, 8));
	printf(" %ld\n", CALL(ppoll, &readable, 1, &limit, NULL, 8));
	receive(fd, room, 10);
	CALL(close, set);
	printf("bad: %ld %ld\n", CALL(read, -1, room, 10), CALL(epoll_wait, set, &event, 1, 0));
}

static volatile sig_atomic_t told;

static void tell(int number)
{
	int error = errno;

	told++;
	CALL(getpid, 0); /* a call of our own on top of another */
	errno = error;
}

/* Signals while calls wait; one handler for SIGSYS too. */
static void signals(int fd)
{
	struct sigaction action = {.sa_handler = tell}, old;
	sigset_t all, before;
	pid_t child, us = getpid();
	long result;
	unsigned char room[10];

	sigaction(SIGUSR1, &action, NULL);
	action.sa_flags = SA_RESTART;
	sigaction(SIGSYS, &action, &old);
	printf("before: %d\n", old.sa_handler == SIG_DFL);
	sigaction(SIGSYS, NULL, &old);
	printf("ours: %d\n", old.sa_handler == tell);
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, &before);
	printf("blocked %d\n", trips(fd, 10, 100));
	sigprocmask(SIG_SETMASK, &before, NULL);
	child = fork();
	if (!child) {
		usleep(50000);
		kill(us, SIGUSR1);
		_exit(0);
	}
	result = CALL(read, fd, room, 10);
	printf("interrupted: %ld, told %d\n", result, told);
	while (waitpid(child, NULL, 0) < 0)
		;
	kill(us, SIGSYS);
	printf("told %d\n", told);
	signal(SIGSYS, SIG_DFL);
	child = fork();
	if (!child) {
		kill(getpid(), SIGSYS);
		_exit(0);
	}
	int status = 0;

	waitpid(child, &status, 0);
	printf("ended by SIGSYS: %d\n", WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS);
}

static void *travel(void *argument)
{
	int fd = open_stream(), good = trips(fd, 100, 1000);

	CALL(close, fd);
	return (void *)(intptr_t)good; // NOLINT
}

static void threads(void)
{
	pthread_t thread[6];
	void *good;
	intptr_t sum = 0;

	for (int i = 0; i < 6; i++)
		pthread_create(&thread[i], NULL, travel, NULL);
	for (int i = 0; i < 6; i++) {
		pthread_join(thread[i], &good);
		sum += (intptr_t)good;
	}
	printf("threads %ld\n", (long)sum);
}

static int travel_on(void *argument)
{
	return trips((int)(intptr_t)argument, 100, 1000);
}

/* On a stream that has been moved before. */
static void thread_of_c11(int fd)
{
	thrd_t thread;
	int good = 0;

	thrd_create(&thread, travel_on, (void *)(intptr_t)fd); // NOLINT
	thrd_join(thread, &good);
	printf("thread of C11 %d\n", good);
}

#define NOTIFIED 6

static int notified_stream[NOTIFIED];
static _Atomic int notified_trips = -1;

static void travel_notified(union sigval value)
{
	int good = 0;

	for (int i = 0; i < NOTIFIED; i++)
		good += trips(notified_stream[i], 50, 10000);
	notified_trips = good;
}

/* By a thread that libc begins by itself; on streams that have been moved before. In a process of its own, which moves nothing from there on. */
static void thread_of_a_timer(void)
{
	struct sigevent event = {.sigev_notify = SIGEV_THREAD, .sigev_notify_function = travel_notified};
	struct itimerspec soon = {.it_value = {0, 1000000}};
	timer_t timer;
	pid_t child;
	int status = 0;

	fflush(stdout);
	child = fork();
	if (child) {
		waitpid(child, &status, 0);
		printf("status %x\n", (unsigned)status);
		return;
	}
	for (int i = 0; i < NOTIFIED; i++)
		notified_stream[i] = open_stream();
	for (int i = 0; i < 10 * NOTIFIED; i++)
		trips(notified_stream[i % NOTIFIED], 100, 1000);
	timer_create(CLOCK_MONOTONIC, &event, &timer);
	timer_settime(timer, 0, &soon, NULL);
	while (notified_trips < 0)
		usleep(1000);
	timer_delete(timer);
	printf("thread of a timer %d\n", notified_trips);
	fflush(stdout);
	CALL(exit_group, 0);
}

/* With nothing below that may be written. */
static void small_stack(void)
{
	const size_t size = 8192;
	char *memory = mmap(NULL, 2 * size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), room[100];
	stack_t stack = {.ss_sp = memory + size, .ss_size = size}, none = {.ss_flags = SS_DISABLE}, old;
	struct sockaddr_in own = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct iovec part = {room, sizeof(room)};
	struct mmsghdr message = {.msg_hdr = {.msg_iov = &part, .msg_iovlen = 1}};
	socklen_t length = sizeof(own);
	int fd = (int)CALL(socket, AF_INET, SOCK_DGRAM, 0);

	mprotect(memory, size, PROT_NONE);
	printf("stack: %d", sigaltstack(&stack, NULL));
	printf(" %d", sigaltstack(NULL, &old));
	printf(" %d %zu %x\n", old.ss_sp == stack.ss_sp, old.ss_size, (unsigned)old.ss_flags);
	CALL(bind, fd, &own, sizeof(own));
	CALL(getsockname, fd, &own, &length);
	CALL(sendto, fd, "datagram", 8, 0, &own, sizeof(own));
	printf("datagrams: %ld", CALL(recvmmsg, fd, &message, 1, 0, NULL));
	printf(" %u\n", message.msg_len);
	printf("no stack: %d", sigaltstack(&none, &old));
	printf(" %d %zu %x\n", old.ss_sp == stack.ss_sp, old.ss_size, (unsigned)old.ss_flags);
	CALL(close, fd);
	munmap(memory, 2 * size);
}

static long memory_of_us(void)
{
	long pages = 0;
	FILE *file = fopen("/proc/self/statm", "r");

	if (!file || fscanf(file, "%ld", &pages) != 1)
		die("statm", -1);
	fclose(file);
	return pages;
}

static void *with_small_stack(void *argument)
{
	char memory[8192];
	stack_t stack = {.ss_sp = memory, .ss_size = sizeof(memory)};

	if (sigaltstack(&stack, NULL) || CALL(getppid, 0) <= 0)
		die("sigaltstack", -1);
	if (argument)
		pthread_exit(NULL);
	stack.ss_flags = SS_DISABLE;
	sigaltstack(&stack, NULL);
	return NULL;
}

/* What a thread has had is its successor's. */
static void small_stacks(void)
{
	long before = 0;

	for (uintptr_t i = 0; i < 1100; i++) {
		pthread_t thread;

		if (i == 100)
			before = memory_of_us();
		pthread_create(&thread, NULL, with_small_stack, (void *)(i % 2)); // NOLINT
		pthread_join(thread, NULL);
	}
	printf("small stacks: %d\n", memory_of_us() - before < 5000);
}

static long by_old_door(long number, long b, long c, long d)
{
	long result;

	__asm__ volatile("int $0x80" : "=a"(result) : "a"(number), "b"(b), "c"(c), "d"(d) : "memory");
	return result;
}

static void knock(int number)
{
	told += by_old_door(20, 0, 0, 0) == getpid();
}

/* While one call by it waits, a handler makes another. */
static void interrupted_at_the_old_door(int32_t *low)
{
	struct sigaction action = {.sa_handler = knock}; /* not restarted */
	struct itimerval often = {{0, 5000}, {0, 5000}}, never = {0};
	long result = 0;

	told = 0;
	sigaction(SIGALRM, &action, NULL);
	setitimer(ITIMER_REAL, &often, NULL);
	for (int i = 0; i < 10; i++) {
		low[0] = 10; /* seconds */
		low[1] = 0;
		result = by_old_door(162, (long)low, 0, 0);
	}
	setitimer(ITIMER_REAL, &never, NULL);
	printf("interrupted %ld %d\n", result, told >= 10);
}

/* By the door of 32 bits, in a process of its own: not each kernel has it. */
static void old_door(int fd)
{
	static const char text[] = "by the old door\n";
	char *low = mmap(NULL, sizeof(text), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	int status = 0;
	pid_t child;

	fflush(stdout);
	child = fork();
	if (!child) {
		long written, process;

		memcpy(low, text, sizeof(text));
		written = by_old_door(4, 1, (long)low, sizeof(text) - 1);
		process = by_old_door(20, 0, 0, 0);
		printf("wrote %ld, process %d, then %d\n", written, process == getpid(), trips(fd, 20, 100));
		interrupted_at_the_old_door((int32_t *)low);
		fflush(stdout);
		CALL(exit_group, 0);
	}
	waitpid(child, &status, 0);
	printf("status %x, we %d\n", (unsigned)status, trips(fd, 50, 100));
	munmap(low, sizeof(text));
}

static int travel_as_child(void *argument)
{
	_exit(trips((int)(intptr_t)argument, 20, 50));
}

static void ended(pid_t child, int fd)
{
	int status = 0;

	waitpid(child, &status, 0);
	printf("status %x, we %d\n", (unsigned)status, trips(fd, 50, 50));
}

/* Made by libc, which calls nobody who could know of them. */
static void strange_children(int fd)
{
	static char stack[1 << 18];
	pid_t child = clone(travel_as_child, stack + sizeof(stack), SIGCHLD, (void *)(intptr_t)fd); // NOLINT

	ended(child, fd);
	child = (pid_t)syscall(SYS_fork);
	if (!child)
		travel_as_child((void *)(intptr_t)fd); // NOLINT
	ended(child, fd);
	child = _Fork();
	if (!child)
		travel_as_child((void *)(intptr_t)fd); // NOLINT
	ended(child, fd);
}

/* In a namespace of process numbers of its own, where that is allowed: from there its parent can't be seen, who goes on with the stream. */
static void child_of_other_numbers(void)
{
	int fd = open_stream(), done[2], over[2], good = 0;
	char byte = 0;
	long child;

	trips(fd, 1, 50);
	fflush(stdout);
	if (pipe(done) || pipe(over))
		die("pipe", -1);
	child = CALL(clone, SIGCHLD | CLONE_NEWPID, 0, 0, 0, 0);
	if (!child) {
		for (int i = 0; i < 300; i++) {
			good += trips(fd, 1, 50);
			if (i % 4 == 0)
				usleep(500);
		}
		byte = good == 300;
		CALL(write, done[1], &byte, 1);
		CALL(close, over[1]);
		CALL(read, over[0], &byte, 1);
		CALL(exit_group, 0);
	}
	if (child > 0)
		CALL(read, done[0], &byte, 1);
	printf("other numbers: %d, we %d\n", byte, trips(fd, 300, 50));
	for (int i = 0; i < 2; i++) {
		CALL(close, over[i]);
		CALL(close, done[i]);
	}
	if (child > 0)
		waitpid((pid_t)child, NULL, 0);
	CALL(close, fd);
}

static void children(int fd)
{
	int status = 0;
	long child = CALL(fork, 0);

	if (!child) {
		printf("child %d\n", trips(fd, 20, 50));
		fflush(stdout);
		CALL(exit_group, 7);
	}
	waitpid((pid_t)child, &status, 0);
	printf("status %d, we %d\n", WEXITSTATUS(status), trips(fd, 50, 50));
	strange_children(fd);
	/* A signal stack for the child alone, which has our memory. */
	child = vfork();
	if (!child) {
		static char room[65536];
		stack_t stack = {.ss_sp = room, .ss_size = sizeof(room)};

		_exit(sigaltstack(&stack, NULL) ? 1 : 8);
	}
	waitpid((pid_t)child, &status, 0);
	printf("status %d, we %d\n", WEXITSTATUS(status), trips(fd, 50, 50));
	/* The stream as standard input of another program, with bytes unread. */
	CALL(write, fd, "to the next program\n", 20);
	usleep(20000);
	fflush(stdout);
	child = fork();
	if (!child) {
		char *arguments[] = {"head", "-n1", NULL}, *environment[] = {NULL};

		CALL(dup2, fd, 0);
		CALL(execve, "/usr/bin/head", arguments, environment);
		CALL(exit_group, 9);
	}
	waitpid((pid_t)child, &status, 0);
	printf("status %d\n", WEXITSTATUS(status));
}

/* In the function itself: a vfork child must not return from where it was made. */
static inline __attribute__((always_inline)) long call_here(long number, long a)
{
	long result;

	__asm__ volatile(INSTRUCTION : "=a"(result) : "a"(number), "D"(a) : "rcx", "r11", "memory");
	return result;
}

/* From two places: each of the three goes on at its own. */
static void nested_vfork(int fd)
{
	long child = call_here(SYS_vfork, 0);
	int status = 0;

	if (!child) {
		if (!call_here(SYS_vfork, 0))
			call_here(SYS_exit_group, 3);
		call_here(SYS_exit_group, 4);
	}
	waitpid((pid_t)child, &status, 0);
	printf("vfork in vfork: %d, we %d\n", WEXITSTATUS(status), trips(fd, 50, 50));
}

/* By an instruction, so that nobody but layer 3 sees it; the stream goes on. */
static void uring(int fd)
{
	struct io_uring_params parameters = {0};
	long ring = CALL(io_uring_setup, 8, &parameters);

	printf("after io_uring_setup %d\n", trips(fd, 50, 100));
	if (ring >= 0)
		CALL(close, ring);
}

static void half_close(int fd)
{
	unsigned char room[10];

	CALL(write, fd, "0123456789", 10);
	CALL(shutdown, fd, SHUT_WR);
	receive(fd, room, 10);
	printf("half-closed %ld", CALL(read, fd, room, 10));
	printf(" %ld\n", CALL(sendto, fd, room, 10, MSG_NOSIGNAL, NULL, 0));
	CALL(close, fd);
}

int main(int count, char **words)
{
	int fd;

	if (count < 2)
		return 64;
	setvbuf(stdout, NULL, _IOLBF, 0);
	server.sin_port = htons((uint16_t)atoi(words[1]));
	server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (count > 2) { /* it is on kernel TCP from there on */
		child_of_other_numbers();
		return 0;
	}
	fd = open_stream();
	printf("trips %d\n", trips(fd, 300, 64));
	printf("large %d\n", trips(fd, 20, 60000));
	waits(fd);
	signals(fd);
	threads();
	thread_of_c11(fd);
	small_stack();
	small_stacks();
	children(fd);
	nested_vfork(fd);
	old_door(fd);
	CALL(close, fd);
	fd = open_stream();
	trips(fd, 100, 64);
	half_close(fd);
	fd = open_stream();
	thread_of_a_timer();
	trips(fd, 100, 64);
	uring(fd);
	char *name = realpath("/proc/self/exe", NULL), *own = realpath(words[0], NULL);

	printf("name %d\n", name && own && strcmp(name, own) == 0);
	free(name);
	free(own);
	return 0;
}
