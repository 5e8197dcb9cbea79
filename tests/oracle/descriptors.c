/* Descriptors: twins, closing, ranges of them. */
#define FAMILY "descriptors"
#include "oracle.h"
#include "peer.h"
#include "sets.h"

#include <dirent.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/stat.h>
#include <sys/syscall.h>

static void talk(struct end *e, int fd)
{
	SEND(e, 10, send(fd, room, 10, 0));
	peer_recv_all(e, 10);
	peer_send(e, 20);
	arrive(&(struct end){.fd = fd}, 20);
	RECV(e, recv(fd, room, 100, 0));
}

SCENARIO(twins, 0)
{
	int a = (int)MUST(dup(e->fd)), b = (int)MUST(dup2(e->fd, 300)), c = (int)MUST(dup3(e->fd, 301, O_CLOEXEC));
	int d = (int)MUST(fcntl(e->fd, F_DUPFD, 302)), f = (int)MUST(fcntl(e->fd, F_DUPFD_CLOEXEC, 303));
	int all[] = {a, b, c, d, f, e->fd};

	for (size_t i = 0; i < 6; i++) {
		talk(e, all[i]);
		say("  cloexec %d", fcntl(all[i], F_GETFD));
	}
	peer_send(e, 20);
	arrive(e, 20);
	for (size_t i = 0; i < 4; i++)
		RECV(e, recv(all[i], room, 5, 0));
	for (size_t i = 0; i < 5; i++) {
		CALL(close(all[5 - i]));
		talk(e, a);
	}
	CALL(recv(e->fd, room, 1, 0));
	CALL(close(a));
	peer_drain(e);
}

SCENARIO(twin_of_itself, 0)
{
	CALL(dup2(e->fd, e->fd) == e->fd);
	CALL(dup3(e->fd, e->fd, 0));
	talk(e, e->fd);
	CALL(dup2(-1, e->fd));
	talk(e, e->fd);
	CALL(dup2(e->fd, -1));
	CALL(dup(-1));
	CALL(fcntl(e->fd, F_DUPFD, 1 << 30));
	talk(e, e->fd);
}

SCENARIO(put_over_another, 0)
{
	struct end other;

	open_end(&other, AF_INET, false);
	SEND(&other, 10, send(other.fd, room, 10, 0));
	CALL(dup2(e->fd, other.fd) == other.fd);
	peer_drain(&other);
	talk(e, other.fd);
	CALL(close(e->fd));
	talk(e, other.fd);
	int plain = file_of(100);

	CALL(dup2(plain, other.fd) == other.fd);
	peer_drain(e);
	CALL(read(other.fd, room, 200));
}

struct over {
	int from, to;
	_Atomic bool end;
	long good;
};

/* It gives way, or where there is but one processor nobody else gets on. */
static void *put_over_and_over(void *argument)
{
	struct over *over = argument;

	while (!over->end) {
		over->good += dup2(over->from, over->to) == over->to && dup3(over->from, over->to, O_CLOEXEC) == over->to;
		sched_yield();
	}
	return NULL;
}

/* A twin over the number that another thread is using: it means the same stream at all times. */
SCENARIO(put_over_its_twin_in_traffic, 0)
{
	struct over over = {.from = (int)MUST(dup(e->fd)), .to = e->fd};
	pthread_t thread;

	MUST(-pthread_create(&thread, NULL, put_over_and_over, &over));
	for (int i = 0; i < 10; i++) {
		quietly();
		later(1);
		peer_send_all(e, 300000);
		for (int k = 0; k < 1000; k++)
			take(e, 300);
		peer_wait();
		quietly();
		later(1);
		peer_recv_all(e, 300000);
		for (int k = 0; k < 1000; k++)
			give(e, 300);
		peer_wait();
	}
	over.end = true;
	pthread_join(thread, NULL);
	say("put over: %d", over.good > 0);
	there_and_back(e, 10, 5);
}

SCENARIO(standard_streams, ALONE)
{
	pid_t child = CHILD({
		int before = dup(STDOUT_FILENO);

		fill(e, room, 20);
		dup2(e->fd, STDIN_FILENO);
		dup2(e->fd, STDOUT_FILENO);
		close(e->fd);
		ssize_t n = write(STDOUT_FILENO, room, 20);
		ssize_t m = read(STDIN_FILENO, room, 5);

		dup2(before, STDOUT_FILENO);
		say("wrote %zd, read %zd", n, m);
		took(e, room, m);
	});

	peer_recv_all(e, 20);
	peer_send(e, 5);
	reap(child);
}

static void number_is_free_again(struct end *e)
{
	int was = e->fd;

	close(e->fd);
	open_end(e, AF_INET, false);
	say("the lowest free number is used: %d", e->fd <= was || manner.accepting || manner.peer == PEER_THREAD);
	talk(e, e->fd);
}

SCENARIO(numbers_are_used_again, 0)
{
	for (int i = 0; i < 5; i++)
		number_is_free_again(e);
}

SCENARIO(range_closed, ALONE)
{
	pid_t child = CHILD({
		CALL(dup2(e->fd, 400));
		CALL(dup2(e->fd, 401));
		CALL(close_range(400, 400, 0));
		CALL(recv(400, room, 10, MSG_DONTWAIT));
		CALL(recv(401, room, 10, MSG_DONTWAIT));
		CALL(close_range(401, 500, CLOSE_RANGE_CLOEXEC));
		CALL(fcntl(401, F_GETFD));
		CALL(close_range(e->fd, ~0u, 0));
		CALL(recv(e->fd, room, 10, MSG_DONTWAIT));
		CALL(send(401, room, 10, 0));
		CALL(close_range(5, 4, 0));
		CALL(close_range(1000, 1010, 77));
	});

	reap(child);
	talk(e, e->fd);
}

/* A new connection, made and used by a program that has just closed everything; lower is its way to say something. */
static void start_again(void)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t length = sizeof(at);
	int listener = (int)MUST(socket(AF_INET, SOCK_STREAM, 0));

	say("  listener %d", listener);
	MUST(bind(listener, (struct sockaddr *)&at, sizeof(at)));
	MUST(listen(listener, 5));
	MUST(getsockname(listener, (struct sockaddr *)&at, &length));
	int one = (int)MUST(socket(AF_INET, SOCK_STREAM, 0));

	MUST(connect(one, (struct sockaddr *)&at, sizeof(at)));
	int two = (int)MUST(accept(listener, NULL, NULL));

	say("  ends %d and %d", one, two);
	for (int i = 0; i < 60; i++) {
		unsigned char bytes[100];

		content_fill(0, (uint64_t)i * 100, bytes, 100);
		if (send(i % 2 ? one : two, bytes, 100, 0) != 100 || recv(i % 2 ? two : one, bytes, 100, MSG_WAITALL) != 100 ||
		    content_good(0, (uint64_t)i * 100, bytes, 100) != 100)
			say("  failed at %d", i);
	}
	close(one);
	say("  end %zd", recv(two, room, 10, 0));
}

SCENARIO(all_closed_by_range, ALONE)
{
	pid_t child = CHILD({
		CALL(close_range(3, ~0u, 0));
		start_again();
	});

	reap(child);
	talk(e, e->fd);
}

SCENARIO(all_closed_by_closefrom, ALONE)
{
	pid_t child = CHILD({
		closefrom(3);
		start_again();
		closefrom(3);
		start_again();
	});

	reap(child);
	talk(e, e->fd);
}

SCENARIO(all_closed_by_loop, ALONE)
{
	pid_t child = CHILD({
		struct rlimit limit;

		getrlimit(RLIMIT_NOFILE, &limit);
		for (int fd = 3; fd < (int)limit.rlim_cur; fd++)
			close(fd);
		start_again();
	});

	reap(child);
	talk(e, e->fd);
}

/* As daemons do: whatever /proc/self/fd shows. */
SCENARIO(all_closed_by_directory, ALONE)
{
	pid_t child = CHILD({
		DIR *directory = opendir("/proc/self/fd");
		struct dirent *entry;

		while ((entry = readdir(directory))) {
			int fd = atoi(entry->d_name);

			if (fd > 2 && fd != dirfd(directory))
				close(fd);
		}
		closedir(directory);
		start_again();
	});

	reap(child);
	talk(e, e->fd);
}

/* What a program counts or lists must be what it opened, as far as it looks where descriptors usually are. */
SCENARIO(low_numbers, KERNEL | UNOPENED)
{
	int list[10];

	if (manner.peer == PEER_THREAD)
		return;
	for (int i = 0; i < 10; i++)
		list[i] = (int)MUST(socket(AF_INET, SOCK_STREAM, 0));
	for (int i = 1; i < 10; i++)
		say("%d", list[i] - list[i - 1]);
}

SCENARIO(limit_reached, ALONE)
{
	struct rlimit limit;
	int fds[64], count = 0;

	getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_cur = (rlim_t)e->fd + 10;
	MUST(setrlimit(RLIMIT_NOFILE, &limit));
	while (count < 64 && (fds[count] = dup(e->fd)) >= 0)
		count++;
	say("no more: %s", strerrorname_np(errno));
	CALL(socket(AF_INET, SOCK_STREAM, 0));
	talk(e, e->fd);
	CALL(close(fds[--count]));
	talk(e, fds[count - 1]);
	peer_close(e);
	rest();
	CALL(recv(e->fd, room, 10, 0));
}

/* Nothing can be put over what is beyond a limit that was lowered, and it goes on. */
SCENARIO(put_beyond_the_limit, ALONE)
{
	int high = (int)MUST(dup2(e->fd, 400)), zeros = (int)MUST(open("/dev/zero", O_RDONLY));
	struct rlimit limit;

	talk(e, high);
	getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_cur = 300;
	MUST(setrlimit(RLIMIT_NOFILE, &limit));
	for (int i = 0; i < 2; i++) {
		CALL(dup2(zeros, high));
		CALL(dup3(zeros, high, O_CLOEXEC));
		talk(e, high);
		CALL(i ? close(high) : close(e->fd));
	}
	peer_drain(e);
}

SCENARIO(truth_of_the_file, 0)
{
	struct stat one, two;
	char path[64], link[64] = "";
	int twin = (int)MUST(dup(e->fd));

	MUST(fstat(e->fd, &one));
	MUST(fstat(twin, &two));
	say("same: %d, socket: %d", one.st_ino == two.st_ino, S_ISSOCK(one.st_mode));
	snprintf(path, sizeof(path), "/proc/self/fd/%d", e->fd);
	MUST(readlink(path, link, 7));
	say("%s", link);
	CALL(open(path, O_RDWR));
	close(twin);
}

/* ---- registered in event sets ---- */

SCENARIO(closed_while_its_dup_lives, 0)
{
	int set = new_set(), twin = (int)MUST(dup(e->fd));

	CALL(control(set, EPOLL_CTL_ADD, e->fd, EPOLLIN, 1));
	CALL(close(e->fd));
	e->fd = twin;
	peer_send(e, 10);
	arrive(e, 10);
	look(set, 1000);
	RECV(e, recv(twin, room, 100, 0));
	look(set, 0);
	later(30);
	peer_send(e, 10);
	look(set, 5000);
	peer_wait();
	CALL(control(set, EPOLL_CTL_DEL, twin, 0, 0));
	look(set, 0);
	CALL(close(twin));
	look(set, 0);
	peer_drain(e);
	close(set);
}

SCENARIO(closed_and_gone, 0)
{
	struct end other;
	int set = new_set();

	CALL(control(set, EPOLL_CTL_ADD, e->fd, EPOLLIN, 1));
	peer_send(e, 10);
	arrive(e, 10);
	int was = e->fd;

	CALL(close(was));
	look(set, 0);
	open_end(&other, AF_INET, false);
	/* Perhaps the same number, certainly not the same open file. */
	peer_send(&other, 10);
	arrive(&other, 10);
	look(set, 0);
	CALL(control(set, EPOLL_CTL_ADD, other.fd, EPOLLIN, 2));
	look(set, 0);
	close(set);
}

SCENARIO(both_dups_registered, 0)
{
	int set = new_set(), twin = (int)MUST(dup(e->fd));

	CALL(control(set, EPOLL_CTL_ADD, e->fd, EPOLLIN, 1));
	CALL(control(set, EPOLL_CTL_ADD, twin, EPOLLIN | EPOLLET, 2));
	peer_send(e, 10);
	arrive(e, 10);
	look(set, 0);
	look(set, 0);
	later(40);
	peer_send(e, 10);
	rest();
	rest();
	rest();
	look(set, 1000);
	peer_wait();
	RECV(e, recv(twin, room, 100, 0));
	look(set, 0);
	CALL(close(twin));
	later(40);
	peer_send(e, 10);
	look(set, 5000);
	peer_wait();
	close(set);
}

/* dup2 over a registered descriptor. */
SCENARIO(replaced, 0)
{
	struct end other;
	int set = new_set();

	open_end(&other, AF_INET, false);
	CALL(control(set, EPOLL_CTL_ADD, e->fd, EPOLLIN, 1));
	CALL(dup2(other.fd, e->fd) == e->fd);
	peer_send(&other, 10);
	arrive(&other, 10);
	look(set, 0);
	CALL(control(set, EPOLL_CTL_ADD, e->fd, EPOLLIN, 2));
	look(set, 0);
	RECV(&other, recv(e->fd, room, 100, 0));
	look(set, 0);
	later(30);
	peer_send(&other, 10);
	look(set, 5000);
	peer_wait();
	peer_drain(e);
	close(set);
}

#ifdef __GLIBC__
ssize_t __read(int fd, void *bytes, size_t count);
ssize_t __write(int fd, const void *bytes, size_t count);
ssize_t __send(int fd, const void *bytes, size_t count, int flags);
int __close(int fd);
int __dup2(int from, int to);
int __fcntl(int fd, int command, ...);
int __poll(struct pollfd *fds, nfds_t count, int timeout);
int __select(int count, fd_set *readable, fd_set *writable, fd_set *urgent, struct timeval *timeout);

/* The calls by the other names that glibc has for them. */
SCENARIO(second_names, 0)
{
	struct pollfd p = {e->fd, POLLIN, 0};
	struct timeval limit = {3, 0};
	fd_set set;
	int twin;

	for (int i = 0; i < 3; i++) {
		SEND(e, 10, send(e->fd, room, 10, 0));
		SEND(e, 10, __write(e->fd, room, 10));
		SEND(e, 10, __send(e->fd, room, 10, 0));
		peer_recv_all(e, 30);
		later(20);
		peer_send(e, 20);
		CALL(__poll(&p, 1, 3000));
		peer_wait();
		RECV(e, __read(e->fd, room, 20));
		FD_ZERO(&set);
		FD_SET(e->fd, &set);
		later(20);
		peer_send(e, 20);
		CALL(__select(e->fd + 1, &set, NULL, NULL, &limit));
		peer_wait();
		RECV(e, __read(e->fd, room, 20));
	}
	twin = (int)MUST(__dup2(e->fd, 300));
	MUST(__fcntl(twin, F_SETFL, O_RDWR | O_NONBLOCK));
	CALL(__read(twin, room, 20));
	MUST(__fcntl(twin, F_SETFL, O_RDWR));
	talk(e, twin);
	MUST(__close(e->fd));
	talk(e, twin);
	MUST(__close(twin));
	e->fd = (int)MUST(open("/dev/null", O_RDWR));
	CALL(write(e->fd, "x", 1));
	peer_drain(e);
}
#endif
