/* Every call that asks and changes nothing, in every state: one after the other on one end. */
#define FAMILY          "looking"
#define MATRIX_CELLS    looking
#define MATRIX_TOGETHER true
#include "matrix.h"
#include "peer.h"
#include "sets.h"

#include <fcntl.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/select.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>

static long polled(int fd, short events, int ms)
{
	struct pollfd p = {fd, events, 0};
	int n = poll(&p, 1, ms), error = errno;

	say("  %s", POLLED((unsigned)p.revents));
	errno = error;
	return n;
}

static long polled_precisely(int fd, short events, struct timespec limit)
{
	struct pollfd p = {fd, events, 0};
	int n = ppoll(&p, 1, &limit, NULL), error = errno;

	say("  %s", POLLED((unsigned)p.revents));
	errno = error;
	return n;
}

static long selected(int fd, bool precisely, long us)
{
	fd_set sets[3];

	for (int i = 0; i < 3; i++) {
		FD_ZERO(&sets[i]);
		FD_SET(fd, &sets[i]);
	}
	int n = precisely ? pselect(fd + 1, &sets[0], &sets[1], &sets[2], &(struct timespec){0, us * 1000}, NULL)
			  : select(fd + 1, &sets[0], &sets[1], &sets[2], &(struct timeval){0, us});
	int error = errno;

	if (n >= 0)
		say("  %d %d %d", !!FD_ISSET(fd, &sets[0]), !!FD_ISSET(fd, &sets[1]), !!FD_ISSET(fd, &sets[2]));
	errno = error;
	return n;
}

static long registered(int fd, unsigned events, int ms)
{
	int set = new_set();
	long n = control(set, EPOLL_CTL_ADD, fd, events, 1);

	if (n == 0) {
		look(set, ms);
		look(set, 0);
		n = control(set, EPOLL_CTL_MOD, fd, events & ~EPOLLEXCLUSIVE, 2);
		say("  %s", RESULT(n));
		look(set, 0);
	}
	int error = errno;

	close(set);
	errno = error;
	return n;
}

static long waited_precisely(int fd, struct timespec limit)
{
	struct epoll_event event = {0};
	int set = new_set();

	MUST(control(set, EPOLL_CTL_ADD, fd, EPOLLIN, 1));
	int n = epoll_pwait2(set, &event, 1, &limit, NULL), error = errno;

	say("  %s", EPOLLED(event.events));
	close(set);
	errno = error;
	return n;
}

/* Its number, where the kernel's is determined; else whether there is one. */
static long counted(int fd, unsigned long what, bool exactly)
{
	int number = -1, result = ioctl(fd, what, &number), error = errno;

	say("  %d", exactly ? number : number > 0);
	errno = error;
	return result;
}

/* Behind an end or a reset the kernel's own arithmetic isn't of bytes. */
static long queued(int fd, unsigned long what)
{
	struct pollfd p = {fd, POLLRDHUP, 0};
	int number = -1;

	errno = 0;
	int result = ioctl(fd, what, &number), error = errno;

	say("  %d", poll(&p, 1, 0) ? -1 : what == FIONREAD ? number : number > 0);
	errno = error;
	return result;
}

static long named(int fd, int (*name)(int, struct sockaddr *, socklen_t *), socklen_t length)
{
	struct sockaddr_storage at = {.ss_family = 99};
	int result = name(fd, (struct sockaddr *)&at, &length), error = errno;

	say("  length %u, family %d", (unsigned)length, at.ss_family);
	errno = error;
	return result;
}

static void show_stat(const struct stat *info)
{
	say("  mode %o, links %lu, size %ld, blocks %ld, inode %d, device %d", info->st_mode, (unsigned long)info->st_nlink,
	    (long)info->st_size, (long)info->st_blocks, info->st_ino != 0, major(info->st_dev) == 0);
}

static long statted(int fd, int how)
{
	struct statx more;
	struct stat info = {0};
	char path[32];
	long n;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	switch (how) {
	case 0:
		n = fstat(fd, &info);
		break;
	case 1:
		n = fstatat(fd, "", &info, AT_EMPTY_PATH);
		break;
	case 2:
		n = stat(path, &info);
		break;
	default:
		n = statx(fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS, &more);
		info.st_mode = more.stx_mode;
		info.st_nlink = more.stx_nlink;
		info.st_size = (off_t)more.stx_size;
		info.st_ino = more.stx_ino;
	}
	int error = errno;

	show_stat(&info);
	errno = error;
	return n;
}

/* What it is a link to, without the number; that opening it anew fails. */
static long linked(int fd)
{
	char path[32], to[64] = "";

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	long n = readlink(path, to, sizeof(to) - 1);

	say("  %.8s", to);
	n = open(path, O_RDWR);
	return n;
}

static long option(int fd, int level, int name)
{
	int value = -1;
	socklen_t length = sizeof(value);
	int result = getsockopt(fd, level, name, &value, &length), error = errno;

	say("  %d, length %u", value, (unsigned)length);
	errno = error;
	return result;
}

static long state_of_tcp(int fd)
{
	struct tcp_info info = {0};
	socklen_t length = sizeof(info);
	int result = getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length), error = errno;

	/* How far a shut-down has come depends on acknowledgements. */
	if (info.tcpi_state > TCP_SYN_RECV && info.tcpi_state < TCP_CLOSE)
		info.tcpi_state = TCP_CLOSING;
	say("  state %d, all of it: %d", info.tcpi_state, length == sizeof(info));
	errno = error;
	return result;
}

static unsigned looking(struct end *e, unsigned i)
{
	unsigned n = 0;

	CELL(TELLS, polled(e->fd, POLLIN, 0));
	CELL(TELLS, polled(e->fd, POLLIN | POLLOUT | POLLPRI | POLLRDHUP, 0));
	CELL(TELLS, polled(e->fd, POLLRDNORM | POLLRDBAND | POLLWRNORM | POLLWRBAND, 0));
	CELL(TELLS, polled(e->fd, POLLIN, 10));
	CELL(TELLS, polled(e->fd, POLLOUT, 10));
	CELL(TELLS, polled(e->fd, POLLPRI, 10));
	CELL(TELLS, polled(e->fd, POLLRDHUP, 10));
	CELL(TELLS, polled(e->fd, 0, 10));
	CELL(TELLS, polled_precisely(e->fd, POLLIN | POLLRDHUP, (struct timespec){0, 5000000}));
	CELL(TELLS, polled_precisely(e->fd, POLLIN, (struct timespec){0, 1000000000}));
	CELL(TELLS, selected(e->fd, false, 0));
	CELL(TELLS, selected(e->fd, true, 0));
	CELL(TELLS, registered(e->fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLPRI, 0));
	CELL(TELLS, registered(e->fd, EPOLLIN, 10));
	CELL(TELLS, registered(e->fd, EPOLLIN | EPOLLET, 10));
	CELL(TELLS, registered(e->fd, EPOLLIN | EPOLLRDHUP | EPOLLONESHOT, 10));
	CELL(TELLS, registered(e->fd, EPOLLIN | EPOLLOUT | EPOLLET | EPOLLEXCLUSIVE, 10));
	CELL(TELLS, registered(e->fd, EPOLLRDHUP, 10));
	CELL(TELLS, registered(e->fd, 0, 0));
	CELL(TELLS, waited_precisely(e->fd, (struct timespec){0, 5000000}));
	CELL(TELLS, queued(e->fd, FIONREAD));
	CELL(TELLS, queued(e->fd, SIOCOUTQ));
	CELL(TELLS, counted(e->fd, SIOCATMARK, true));
	CELL(TELLS, counted(e->fd, FIOGETOWN, true));
	CELL(TELLS, counted(e->fd, SIOCGPGRP, true));
	CELL(TELLS, counted(e->fd, TIOCGWINSZ, true));
	CELL(TELLS, counted(e->fd, 0x1234, true));
	CELL(TELLS, sockatmark(e->fd));
	CELL(TELLS, named(e->fd, getsockname, sizeof(struct sockaddr_storage)));
	CELL(TELLS, named(e->fd, getpeername, sizeof(struct sockaddr_storage)));
	CELL(TELLS, named(e->fd, getsockname, 4));
	CELL(TELLS, named(e->fd, getpeername, 0));
	CELL(TELLS, named(e->fd, getpeername, (socklen_t)-1));
	CELL(TELLS, statted(e->fd, 0));
	CELL(TELLS, statted(e->fd, 1));
	CELL(TELLS, statted(e->fd, 2));
	CELL(TELLS, statted(e->fd, 3));
	CELL(TELLS, linked(e->fd));
	CELL(TELLS, isatty(e->fd));
	CELL(TELLS, isfdtype(e->fd, S_IFSOCK));
	CELL(TELLS, lseek(e->fd, 0, SEEK_SET));
	CELL(TELLS, fcntl(e->fd, F_GETFD));
	CELL(TELLS, fcntl(e->fd, F_GETFL));
	CELL(TELLS, fcntl(e->fd, F_GETOWN));
	CELL(TELLS, fcntl(e->fd, F_GETSIG));
	CELL(TELLS, fcntl(e->fd, F_GETLEASE));
	CELL(TELLS, fcntl(e->fd, F_GETPIPE_SZ));
	CELL(TELLS, fcntl(e->fd, F_GET_SEALS));
	CELL(TELLS, fcntl(e->fd, 999));
	CELL(TELLS, option(e->fd, SOL_SOCKET, SO_ACCEPTCONN));
	CELL(TELLS, option(e->fd, SOL_SOCKET, SO_TYPE));
	CELL(TELLS, option(e->fd, SOL_SOCKET, SO_RCVLOWAT));
	CELL(TELLS, option(e->fd, IPPROTO_TCP, TCP_NODELAY));
	CELL(TELLS, state_of_tcp(e->fd));
	/* What changes something, last. */
	CELL(TELLS, option(e->fd, SOL_SOCKET, SO_ERROR));
	CELL(TELLS, option(e->fd, SOL_SOCKET, SO_ERROR));
	return n;
}

#define X(name, needs) MATRIX_SCENARIO(name, needs)
STATES(X)
#undef X
