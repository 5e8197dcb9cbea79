/* See survive.h. */
#include "survive.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

void fail(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	printf("FAILED: ");
	vprintf(format, arguments);
	va_end(arguments);
	printf("\n");
	fflush(stdout);
	_exit(1);
}

static struct sockaddr_in name_of(const char *address, uint16_t port)
{
	return (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = inet_addr(address), .sin_port = htons(port)};
}

int listen_at(const char *address, uint16_t *port)
{
	struct sockaddr_in at = name_of(address, *port);
	socklen_t length = sizeof(at);
	int fd = (int)MUST(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));

	MUST(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int)));
	MUST(bind(fd, (struct sockaddr *)&at, sizeof(at)));
	MUST(listen(fd, 1024));
	MUST(getsockname(fd, (struct sockaddr *)&at, &length));
	*port = ntohs(at.sin_port);
	return fd;
}

int connect_to(const char *address, uint16_t port, uint16_t from)
{
	struct sockaddr_in at = name_of(address, port), own = name_of(address, from);
	int fd = (int)MUST(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));

	if (from)
		MUST(bind(fd, (struct sockaddr *)&own, sizeof(own)));
	MUST(connect(fd, (struct sockaddr *)&at, sizeof(at)));
	MUST(setsockopt(fd, SOL_TCP, TCP_NODELAY, &(int){1}, sizeof(int)));
	return fd;
}

int listen_here(uint16_t *port)
{
	return listen_at("127.0.0.1", port);
}

int connect_there(uint16_t port)
{
	return connect_to("127.0.0.1", port, 0);
}

bool send_all(int fd, const void *bytes, size_t count)
{
	const char *from = bytes;

	while (count) {
		ssize_t n = send(fd, from, count, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		from += n;
		count -= (size_t)n;
	}
	return true;
}

bool recv_all(int fd, void *bytes, size_t count)
{
	char *to = bytes;

	while (count) {
		ssize_t n = recv(fd, to, count, 0);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		to += n;
		count -= (size_t)n;
	}
	return true;
}

uint64_t now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

void pause_us(long us)
{
	struct timespec t = {us / 1000000, us % 1000000 * 1000};

	while (nanosleep(&t, &t) && errno == EINTR)
		;
}

const char *own_path(void)
{
	static char path[4096];
	ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 1);

	return n > 0 ? path : "/proc/self/exe";
}

void warm(int fd, bool first, unsigned messages)
{
	char message[8] = "warm up";

	for (unsigned i = 0; i < messages; i++) {
		if (first && !send_all(fd, message, sizeof(message)))
			fail("warming up: %m");
		if (!recv_all(fd, message, sizeof(message)))
			fail("warming up: %m");
		if (!first && !send_all(fd, message, sizeof(message)))
			fail("warming up: %m");
		if (first && i % 4 == 0 && i < messages * 2 / 3)
			pause_us(1000);
	}
}
