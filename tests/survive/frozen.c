/*
 * frozen: a program whose clock stands still, as libfaketime lets it. Its waits end all the same, since the kernel's clock goes on. Its
 * peer is a child that sends back what it gets.
 */
#include "survive.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t clock, struct timespec *now)
{
	*now = (struct timespec){.tv_sec = 1000000};
	return 0;
}

static void send_back(int listener)
{
	unsigned char bytes[64];
	int fd = (int)MUST(accept(listener, NULL, NULL));
	ssize_t n;

	prctl(PR_SET_PDEATHSIG, SIGTERM);
	while ((n = recv(fd, bytes, sizeof(bytes), 0)) > 0)
		if (!send_all(fd, bytes, (size_t)n))
			break;
	_exit(0);
}

static void talk(int fd, int messages)
{
	char bytes[8] = "message";

	for (int i = 0; i < messages; i++)
		if (!send_all(fd, bytes, sizeof(bytes)) || !recv_all(fd, bytes, sizeof(bytes)))
			fail("message %d: %m", i);
}

static void wait_in_vain(int fd, int set)
{
	struct timeval limit = {0, 20000};
	struct timespec same = {0, 20000000};
	struct epoll_event event;
	struct pollfd one = {fd, POLLIN, 0};
	char byte;
	fd_set some;

	FD_ZERO(&some);
	FD_SET(fd, &some);
	MUST(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)));
	if (poll(&one, 1, 20) || ppoll(&one, 1, &same, NULL) || select(fd + 1, &some, NULL, NULL, &limit) ||
	    epoll_wait(set, &event, 1, 20) || recv(fd, &byte, 1, 0) >= 0)
		fail("something came");
}

int main(void)
{
	struct epoll_event event = {.events = EPOLLIN};
	uint16_t port = 0;
	int listener = listen_here(&port), fd, set;

	if (!MUST(fork()))
		send_back(listener);
	fd = connect_there(port);
	set = (int)MUST(epoll_create1(0));
	MUST(epoll_ctl(set, EPOLL_CTL_ADD, fd, &event));
	for (int i = 0; i < 10; i++) {
		talk(fd, 50);
		wait_in_vain(fd, set);
	}
	puts("done");
	return 0;
}
