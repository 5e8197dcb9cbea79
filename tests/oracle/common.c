/* What scenarios share: opening and warming up connections, waiting, signals, files. */
#include "oracle.h"
#include "peer.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>

static unsigned char main_room[ROOM];
__thread unsigned char *room = main_room;
volatile sig_atomic_t signals;

uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static void pause_us(long us)
{
	struct timespec t = {us / 1000000, us % 1000000 * 1000};

	while (nanosleep(&t, &t) && errno == EINTR)
		;
}

void rest(void)
{
	pause_us(30000);
}

/* Does this program's other thread sleep? One that just began counts as running. */
bool thread_sleeps(const char *tid)
{
	char path[64], text[256];
	int fd;

	if (atoi(tid) == gettid())
		return true;
	snprintf(path, sizeof(path), "/proc/self/task/%.16s/stat", tid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);

	if (fd >= 0)
		close(fd);
	if (n <= 0)
		return true;
	text[n] = 0;
	const char *state = strrchr(text, ')');

	return !state || state[2] != 'R';
}

static bool others_sleep(void)
{
	DIR *directory = opendir("/proc/self/task");
	struct dirent *entry;
	bool all = true;

	while (directory && (entry = readdir(directory)))
		all &= entry->d_name[0] == '.' || thread_sleeps(entry->d_name);
	if (directory)
		closedir(directory);
	return all;
}

void settle_down(void)
{
	uint64_t limit = now_ms() + 2000;

	pause_us(40000);
	while (!others_sleep() && now_ms() < limit)
		pause_us(5000);
}

void arrive(const struct end *e, int bytes)
{
	uint64_t limit = now_ms() + 3000;
	int there = 0;

	if (manner.still) {
		rest();
		return;
	}
	while (!ioctl(e->fd, FIONREAD, &there) && there < bytes && now_ms() < limit)
		pause_us(1000);
}

void there_and_back(struct end *e, int bytes, int times)
{
	for (int i = 0; i < times; i++) {
		SEND(e, bytes, send(e->fd, room, (size_t)bytes, 0));
		peer_recv_all(e, bytes);
		peer_send(e, bytes);
		arrive(e, bytes);
		RECV(e, recv(e->fd, room, 100, 0));
	}
}

void give(struct end *e, size_t count)
{
	while (count) {
		size_t part = count < ROOM ? count : ROOM;

		fill(e, room, part);
		ssize_t sent = send(e->fd, room, part, MSG_NOSIGNAL);

		if (sent < 0 && errno == EAGAIN) {
			poll(&(struct pollfd){e->fd, POLLOUT, 0}, 1, 1000);
			continue;
		}
		if (sent <= 0) {
			complain("give: %zu missing: %s", count, RESULT(sent));
			return;
		}
		gave(e, sent);
		count -= (size_t)sent;
	}
}

void take(struct end *e, size_t count)
{
	while (count) {
		ssize_t taken = recv(e->fd, room, count < ROOM ? count : ROOM, 0);

		if (taken < 0 && errno == EAGAIN) {
			poll(&(struct pollfd){e->fd, POLLIN, 0}, 1, 1000);
			continue;
		}
		if (taken <= 0) {
			complain("take: %zu missing: %s", count, RESULT(taken));
			return;
		}
		took(e, room, taken);
		count -= (size_t)taken;
	}
}

bool stuff(struct end *e)
{
	int flags = fcntl(e->fd, F_GETFL);
	unsigned idle = 0;
	size_t total = 0;

	fcntl(e->fd, F_SETFL, flags | O_NONBLOCK);
	/* The kernel may find room for some more as acknowledgements come, which it delays. */
	while (idle < 25 && total < 64u << 20) {
		fill(e, room, 16384);
		ssize_t sent = send(e->fd, room, 16384, MSG_NOSIGNAL);

		if (sent > 0) {
			gave(e, sent);
			total += (size_t)sent;
			idle = 0;
		} else {
			idle++;
			pause_us(15000);
		}
	}
	fcntl(e->fd, F_SETFL, flags);
	return idle >= 25;
}

void nonblocking(int fd, bool on)
{
	int flags = fcntl(fd, F_GETFL);

	MUST(fcntl(fd, F_SETFL, on ? flags | O_NONBLOCK : flags & ~O_NONBLOCK));
}

void narrow(struct end *e)
{
	int size = 16384;

	MUST(setsockopt(e->fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size)));
	MUST(setsockopt(e->fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size)));
	peer_option(e, SOL_SOCKET, SO_SNDBUF, size);
	peer_option(e, SOL_SOCKET, SO_RCVBUF, size);
}

static struct peer_order any_address(int family, bool mapped)
{
	struct peer_order order = {0};

	if (family == AF_UNIX) { /* an abstract one, of the kernel's choice */
		order.address.ss_family = AF_UNIX;
		order.length = sizeof(sa_family_t);
	} else if (family == AF_INET || mapped) {
		struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};

		order.length = sizeof(a);
		memcpy(&order.address, &a, sizeof(a));
	} else {
		struct sockaddr_in6 a = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};

		order.length = sizeof(a);
		memcpy(&order.address, &a, sizeof(a));
	}
	return order;
}

/* The mapped side is the scenario's. */
static void map_address(struct sockaddr_storage *address, socklen_t *length)
{
	struct sockaddr_in from;
	struct sockaddr_in6 to = {.sin6_family = AF_INET6};

	memcpy(&from, address, sizeof(from));
	to.sin6_port = from.sin_port;
	to.sin6_addr.s6_addr[10] = to.sin6_addr.s6_addr[11] = 0xff;
	memcpy(to.sin6_addr.s6_addr + 12, &from.sin_addr, 4);
	memcpy(address, &to, sizeof(to));
	*length = sizeof(to);
}

socklen_t loopback(struct sockaddr_storage *address)
{
	struct peer_order order = any_address(manner.family, manner.mapped);

	*address = order.address;
	if (manner.mapped)
		map_address(address, &order.length);
	return order.length;
}

static void open_connecting(struct end *e, bool mapped)
{
	struct peer_order order = any_address(e->family, mapped);

	order.does = PEER_LISTEN;
	quietly();
	struct peer_answer answer = peer_ask(order);

	if (mapped)
		map_address(&answer.address, &answer.length);
	e->fd = (int)MUST(socket(e->family, SOCK_STREAM, 0));
	MUST(connect(e->fd, (struct sockaddr *)&answer.address, answer.length));
	quietly();
	peer_ask((struct peer_order){.does = PEER_ACCEPT, .number = e->number, .flags = e->family == AF_UNIX});
}

static void open_accepting(struct end *e, bool mapped)
{
	struct peer_order order = any_address(e->family, mapped), bound = order;
	int listener = (int)MUST(socket(e->family, SOCK_STREAM, 0));

	if (mapped)
		map_address(&bound.address, &bound.length);
	MUST(bind(listener, (struct sockaddr *)&bound.address, bound.length));
	MUST(listen(listener, 8));
	bound.length = sizeof(bound.address);
	MUST(getsockname(listener, (struct sockaddr *)&bound.address, &bound.length));
	if (mapped)
		((struct sockaddr_in *)&order.address)->sin_port = ((struct sockaddr_in6 *)&bound.address)->sin6_port;
	else
		memcpy(&order.address, &bound.address, sizeof(order.address));
	if (e->family == AF_UNIX)
		order.length = bound.length;
	order.does = PEER_CONNECT;
	order.flags = e->family == AF_UNIX;
	order.number = e->number;
	quietly();
	peer_ask(order);
	e->fd = (int)MUST(accept(listener, NULL, NULL));
	close(listener);
}

static void ping_pong(struct end *e, unsigned messages);

void open_end_so(struct end *e, int family, bool mapped, bool accepting, unsigned warm)
{
	static _Atomic unsigned ends;

	*e = (struct end){.number = ends++, .family = family};
	if (accepting)
		open_accepting(e, mapped);
	else
		open_connecting(e, mapped);
	/* Else the kernel holds small messages back until others are acknowledged, which takes time. */
	if (family != AF_UNIX)
		MUST(setsockopt(e->fd, SOL_TCP, TCP_NODELAY, &(int){1}, sizeof(int)));
	if (warm)
		ping_pong(e, warm);
}

void open_end(struct end *e, int family, bool mapped)
{
	if (family == AF_INET && !mapped) {
		family = manner.family;
		mapped = manner.mapped;
	}
	open_end_so(e, family, mapped, manner.accepting, 0);
	warm_up(e);
}

/* Something that only the kernel has for all bytes was asked for, by the one end or the other or both, and is not wanted any more. */
static void demote(const struct end *e)
{
	for (int from = 0; from >= -1; from--) {
		if (e->number % 3 != 1)
			MUST(setsockopt(e->fd, SOL_SOCKET, SO_PEEK_OFF, &from, sizeof(from)));
		if (e->number % 3 != 0)
			peer_option(e, SOL_SOCKET, SO_PEEK_OFF, from);
	}
}

/* A ping-pong with some pauses, in which a connection can show that it lives and be moved. */
static void ping_pong(struct end *e, unsigned messages)
{
	quietly();
	later(1);
	peer_ask((struct peer_order){.does = PEER_ECHO, .number = e->number, .count = messages});
	for (unsigned i = 0; i < messages; i++) {
		give(e, 8);
		take(e, 8);
		if (i % 4 == 0 && i < messages * 2 / 3)
			pause_us(1000);
	}
	peer_wait();
}

void warm_up(struct end *e)
{
	if (manner.warm)
		ping_pong(e, manner.warm);
	if (manner.demoted)
		demote(e);
}

static void count_signal(int number)
{
	signals++;
}

void on_signal(int number, int flags)
{
	struct sigaction action = {.sa_handler = count_signal, .sa_flags = flags};

	signals = 0;
	MUST(sigaction(number, &action, NULL));
}

int file_of(size_t count)
{
	int fd = (int)MUST(memfd_create("oracle", MFD_CLOEXEC));

	for (size_t at = 0; at < count;) {
		size_t part = count - at < ROOM ? count - at : ROOM;

		content_fill(0, at, room, part);
		at += (size_t)MUST(write(fd, room, part));
	}
	MUST(lseek(fd, 0, SEEK_SET));
	return fd;
}

#define TRANSCRIPTS 16
static struct {
	pid_t child;
	int fd;
} transcripts[TRANSCRIPTS];

int transcript(void)
{
	return (int)MUST(memfd_create("transcript", MFD_CLOEXEC));
}

void transcript_of(pid_t child, int fd)
{
	for (int i = 0; i < TRANSCRIPTS; i++) {
		if (!transcripts[i].child) {
			transcripts[i].child = child;
			transcripts[i].fd = fd;
			return;
		}
	}
	say("more children than transcripts");
}

static void print_transcript(pid_t child)
{
	char text[4096];
	ssize_t n;

	for (int i = 0; i < TRANSCRIPTS; i++) {
		if (transcripts[i].child != child)
			continue;
		lseek(transcripts[i].fd, 0, SEEK_SET);
		while ((n = read(transcripts[i].fd, text, sizeof(text))) > 0)
			MUST(write(STDOUT_FILENO, text, (size_t)n));
		close(transcripts[i].fd);
		transcripts[i].child = 0;
	}
}

void reap(pid_t child)
{
	int status = 0;

	while (waitpid(child, &status, 0) < 0 && errno == EINTR)
		;
	print_transcript(child);
	if (WIFSIGNALED(status))
		say("child ended by SIG%s", sigabbrev_np(WTERMSIG(status)));
	else
		say("child ended with %d", WEXITSTATUS(status));
}
