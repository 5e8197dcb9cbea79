/*
 * crowd COUNT CYCLES: COUNT connections at once between two processes, both on epoll; each is used, then all are closed; CYCLES times.
 * After each cycle both print what they hold: "client|server: descriptors D, resident R kB, mappings M".
 */
#include "survive.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define MESSAGE 64
#define TURNS   8

struct connection {
	int fd;
	uint64_t number, in, out;
	unsigned turns;
};

static unsigned descriptors(void)
{
	DIR *directory = opendir("/proc/self/fd");
	unsigned count = 0;

	while (directory && readdir(directory))
		count++;
	if (directory)
		closedir(directory);
	return count;
}

static unsigned long number_in(const char *path, const char *word)
{
	FILE *file = fopen(path, "r");
	char line[512];
	unsigned long value = 0;

	while (file && fgets(line, sizeof(line), file)) {
		if (!word)
			value++;
		else if (!strncmp(line, word, strlen(word)))
			value = strtoul(line + strlen(word), NULL, 10);
	}
	if (file)
		fclose(file);
	return value;
}

static void tell(const char *who)
{
	printf("%s: descriptors %u, resident %lu kB, mappings %lu\n", who, descriptors(), number_in("/proc/self/status", "VmRSS:"),
	       number_in("/proc/self/maps", NULL));
}

/* Sends back what comes. Tells what it holds each time that the last connection of a cycle has gone, for which the client waits. */
static void serve(int listener, int told, unsigned count, unsigned cycles)
{
	struct epoll_event events[256], event = {EPOLLIN, {.u64 = 0}};
	int set = (int)MUST(epoll_create1(EPOLL_CLOEXEC));
	unsigned seen = 0, open = 0;
	unsigned char bytes[4096];

	event.data.fd = listener;
	MUST(epoll_ctl(set, EPOLL_CTL_ADD, listener, &event));
	while (cycles) {
		int n = epoll_wait(set, events, 256, 60000);

		if (n <= 0 && errno != EINTR)
			fail("server: %d events, %u open", n, open);
		for (int i = 0; i < n; i++) {
			int fd = events[i].data.fd;

			if (fd == listener) {
				event.data.fd = (int)MUST(accept4(listener, NULL, NULL, SOCK_CLOEXEC));
				MUST(epoll_ctl(set, EPOLL_CTL_ADD, event.data.fd, &event));
				seen++;
				open++;
				continue;
			}
			ssize_t got = recv(fd, bytes, sizeof(bytes), 0);

			if (got > 0 && !send_all(fd, bytes, (size_t)got))
				fail("server: send: %m");
			if (got > 0)
				continue;
			if (got < 0)
				fail("server: recv: %m");
			close(fd);
			open--;
			if (!open && seen == count) {
				seen = 0;
				cycles--;
				tell("server");
				MUST(write(told, "t", 1));
			}
		}
	}
}

static void say_something(struct connection *c)
{
	unsigned char bytes[MESSAGE];

	content_fill((unsigned)c->number, c->out, bytes, sizeof(bytes));
	if (!send_all(c->fd, bytes, sizeof(bytes)))
		fail("client %lu: send: %m", c->number);
	c->out += sizeof(bytes);
}

static void hear(struct connection *c)
{
	unsigned char bytes[MESSAGE];
	ssize_t n = recv(c->fd, bytes, sizeof(bytes), 0);

	if (n <= 0)
		fail("client %lu: recv: %zd %m", c->number, n);
	if (content_good((unsigned)c->number, c->in, bytes, (size_t)n) < (size_t)n)
		fail("client %lu: wrong content at %lu", c->number, c->in);
	c->in += (uint64_t)n;
}

/* Turns of one message to and fro on all of them; up to 64 are under way at a time. */
static void use(struct connection *all, unsigned count, int set)
{
	unsigned next = 0, under_way = 0, finished = 0;
	struct epoll_event events[64];

	for (unsigned i = 0; i < count; i++)
		all[i].turns = 0;
	while (finished < count) {
		while (next < count && under_way < 64) {
			say_something(&all[next++]);
			under_way++;
		}
		int n = epoll_wait(set, events, 64, 30000);

		if (n <= 0 && errno != EINTR)
			fail("client: nothing comes, %u of %u finished", finished, count);
		for (int i = 0; i < n; i++) {
			struct connection *c = &all[events[i].data.u32];

			hear(c);
			if (c->in < c->out)
				continue;
			if (++c->turns < TURNS) {
				say_something(c);
			} else {
				finished++;
				under_way--;
			}
		}
	}
}

static void cycle(struct connection *all, unsigned count, uint16_t port)
{
	int set = (int)MUST(epoll_create1(EPOLL_CLOEXEC));

	for (unsigned i = 0; i < count; i++) {
		struct epoll_event event = {EPOLLIN, {.u32 = i}};

		all[i] = (struct connection){.fd = connect_there(port), .number = i};
		MUST(epoll_ctl(set, EPOLL_CTL_ADD, all[i].fd, &event));
	}
	use(all, count, set);
	use(all, count, set);
	for (unsigned i = 0; i < count; i++)
		close(all[i].fd);
	close(set);
}

int main(int words, char **word)
{
	unsigned count = words > 2 ? (unsigned)strtoul(word[1], NULL, 10) : 0,
		 cycles = words > 2 ? (unsigned)strtoul(word[2], NULL, 10) : 0;
	struct rlimit limit;
	uint16_t port = 0;
	int status;

	if (!count || !cycles)
		fail("crowd COUNT CYCLES");
	setvbuf(stdout, NULL, _IOLBF, 0);
	getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
	if (words > 4) {
		serve(atoi(word[3]), atoi(word[4]), count, cycles);
		return 0;
	}
	int told[2];

	MUST(pipe2(told, O_CLOEXEC));
	int listener = listen_here(&port);
	pid_t server = (pid_t)MUST(fork());

	if (!server) {
		char number[2][16];

		snprintf(number[0], sizeof(number[0]), "%d", listener);
		snprintf(number[1], sizeof(number[1]), "%d", told[1]);
		fcntl(listener, F_SETFD, 0);
		fcntl(told[1], F_SETFD, 0);
		execl(own_path(), "crowd", word[1], word[2], number[0], number[1], NULL);
		fail("exec: %m");
	}
	close(listener);
	close(told[1]);
	struct connection *all = calloc(count, sizeof(*all));

	for (unsigned i = 0; i < cycles; i++) {
		char byte;

		cycle(all, count, port);
		if (read(told[0], &byte, 1) != 1)
			fail("the server is gone");
		tell("client");
	}
	MUST(waitpid(server, &status, 0));
	if (status)
		fail("the server ended with %#x", status);
	printf("done\n");
	free(all);
	return 0;
}
