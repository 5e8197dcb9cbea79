/* Every call that changes what a socket or its descriptor is, in every state; behind each, what the three simplest calls say. */
#define FAMILY          "controlling"
#define MATRIX_CELLS    controlling
#define MATRIX_TOGETHER false
#include "matrix.h"
#include "peer.h"

#include <fcntl.h>
#include <linux/close_range.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

static long to_family(int fd, sa_family_t family, socklen_t length)
{
	struct sockaddr_storage to;

	loopback(&to);
	to.ss_family = family;
	return connect(fd, (struct sockaddr *)&to, length);
}

static long bind_again(int fd)
{
	struct sockaddr_storage at;
	socklen_t length = loopback(&at);

	return bind(fd, (struct sockaddr *)&at, length);
}

static long accept_one(int fd, int flags)
{
	struct sockaddr_storage from;
	socklen_t length = sizeof(from);
	int got = accept4(fd, (struct sockaddr *)&from, &length, flags), error = errno;

	if (got >= 0) {
		say("  length %u, flags %#x %#x", (unsigned)length, (unsigned)fcntl(got, F_GETFL), (unsigned)fcntl(got, F_GETFD));
		close(got);
	}
	errno = error;
	return got < 0 ? got : 0;
}

static long set(int fd, int level, int name, int value)
{
	return setsockopt(fd, level, name, &value, sizeof(value));
}

static long limit(int fd, int name, long seconds, long us)
{
	struct timeval t = {seconds, us};

	return setsockopt(fd, SOL_SOCKET, name, &t, sizeof(t));
}

/* The end of it, however it lingers. */
static long linger_and_close(struct end *e, int on, int seconds)
{
	struct linger l = {on, seconds};
	long n = setsockopt(e->fd, SOL_SOCKET, SO_LINGER, &l, sizeof(l));

	say("  %s", RESULT(n));
	return close(e->fd);
}

static long put_over(struct end *e, bool onto)
{
	int other = open("/dev/null", O_RDWR);
	long n = onto ? dup2(other, e->fd) : dup2(e->fd, other);
	int error = errno;

	say("  right number: %d, a socket: %d", n == (onto ? e->fd : other), isfdtype((int)n, S_IFSOCK));
	close(other);
	errno = error;
	return n < 0 ? n : 0;
}

static long twin(int fd, int how)
{
	int got = how == 0 ? dup(fd) : how == 1 ? fcntl(fd, F_DUPFD, 300) : fcntl(fd, F_DUPFD_CLOEXEC, 300), error = errno;

	if (got >= 0) {
		say("  flags %d", fcntl(got, F_GETFD));
		close(got);
	}
	errno = error;
	return got < 0 ? got : 0;
}

static long owned(int fd, int type)
{
	struct f_owner_ex owner = {type, type == F_OWNER_TID ? gettid() : getpid()}, got = {9, 9};
	long n = fcntl(fd, F_SETOWN_EX, &owner);
	int error = errno;

	fcntl(fd, F_GETOWN_EX, &got);
	say("  the same: %d", got.type == owner.type && got.pid == owner.pid);
	fcntl(fd, F_SETOWN, 0);
	errno = error;
	return n;
}

static long locked(int fd)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

	return fcntl(fd, F_SETLK, &lock);
}

/* In order, so that each tells what the one before has left. */
static void probe(struct end *e)
{
	struct pollfd p = {e->fd, POLLIN | POLLPRI | POLLOUT | POLLRDHUP, 0};
	int n = poll(&p, 1, 0);
	struct stat info;

	say("  poll %s %s", RESULT(n), POLLED((unsigned)p.revents));
	if (fstat(e->fd, &info) == 0 && !S_ISSOCK(info.st_mode))
		return;
	long got = recv(e->fd, room, 10, MSG_DONTWAIT);

	say("  recv %s", RESULT(got));
	long sent = send(e->fd, room, 0, MSG_DONTWAIT | MSG_NOSIGNAL);

	say("  send %s", RESULT(sent));
	if (sent < 0 && errno == EBADF)
		e->fd = -1; /* the number may be another's soon */
}

#define CONTROL(what, expression)                                                                                                          \
	if (n == i)                                                                                                                        \
		probed = e;                                                                                                                \
	CELL(what, expression)

static unsigned controlling(struct end *e, unsigned i)
{
	struct end *probed = NULL;
	unsigned n = 0;

	CONTROL(TELLS, shutdown(e->fd, SHUT_RD));
	CONTROL(TELLS, shutdown(e->fd, SHUT_WR));
	CONTROL(TELLS, shutdown(e->fd, SHUT_RDWR));
	CONTROL(TELLS, shutdown(e->fd, 3));
	CONTROL(TELLS, shutdown(e->fd, -1));
	CONTROL(TELLS, to_family(e->fd, AF_UNIX, sizeof(struct sockaddr_in6)));
	CONTROL(TELLS, to_family(e->fd, AF_UNSPEC, sizeof(struct sockaddr_in6)));
	CONTROL(TELLS, to_family(e->fd, AF_UNSPEC, sizeof(sa_family_t)));
	CONTROL(TELLS, to_family(e->fd, AF_INET, 1));
	CONTROL(TELLS, listen(e->fd, 3));
	CONTROL(TELLS, accept_one(e->fd, 0));
	CONTROL(TELLS, accept_one(e->fd, SOCK_NONBLOCK | SOCK_CLOEXEC));
	CONTROL(TELLS, accept_one(e->fd, 0x80));
	CONTROL(TELLS, bind_again(e->fd));
	CONTROL(TELLS, set(e->fd, SOL_SOCKET, SO_KEEPALIVE, 1));
	CONTROL(TELLS, set(e->fd, SOL_SOCKET, SO_RCVBUF, 5000));
	CONTROL(TELLS, set(e->fd, SOL_SOCKET, SO_RCVLOWAT, 5));
	CONTROL(TELLS, set(e->fd, SOL_SOCKET, SO_OOBINLINE, 1));
	CONTROL(TELLS, set(e->fd, SOL_SOCKET, SO_PEEK_OFF, 3));
	CONTROL(TELLS, set(e->fd, SOL_SOCKET, SO_TIMESTAMP, 1));
	CONTROL(TELLS, set(e->fd, SOL_SOCKET, SO_ZEROCOPY, 1));
	CONTROL(TELLS, set(e->fd, SOL_SOCKET, SO_REUSEADDR, 1));
	CONTROL(TELLS, set(e->fd, SOL_SOCKET, SO_REUSEPORT, 1));
	CONTROL(TELLS, set(e->fd, SOL_SOCKET, SO_ERROR, 1));
	CONTROL(TELLS, limit(e->fd, SO_RCVTIMEO, 0, 10000));
	CONTROL(TELLS, limit(e->fd, SO_SNDTIMEO, 0, 10000));
	CONTROL(TELLS, limit(e->fd, SO_RCVTIMEO, 0, 1000000));
	CONTROL(TELLS, limit(e->fd, SO_RCVTIMEO, -1, 0));
	CONTROL(TELLS, set(e->fd, IPPROTO_TCP, TCP_NODELAY, 0));
	CONTROL(TELLS, set(e->fd, IPPROTO_TCP, TCP_CORK, 1));
	CONTROL(TELLS, set(e->fd, IPPROTO_TCP, TCP_QUICKACK, 0));
	CONTROL(TELLS, set(e->fd, IPPROTO_TCP, TCP_MAXSEG, 1000));
	CONTROL(TELLS, set(e->fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, 1));
	CONTROL(TELLS, set(e->fd, IPPROTO_TCP, TCP_FASTOPEN, 5));
	CONTROL(TELLS, set(e->fd, IPPROTO_TCP, TCP_FASTOPEN_CONNECT, 1));
	CONTROL(TELLS, set(e->fd, IPPROTO_TCP, TCP_USER_TIMEOUT, 1000));
	CONTROL(TELLS, set(e->fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, 10000));
	CONTROL(TELLS, set(e->fd, IPPROTO_TCP, TCP_WINDOW_CLAMP, 10000));
	CONTROL(TELLS, set(e->fd, IPPROTO_TCP, TCP_INQ, 1));
	CONTROL(TELLS, setsockopt(e->fd, IPPROTO_TCP, TCP_ULP, "nothing", 7));
	CONTROL(TELLS, setsockopt(e->fd, IPPROTO_TCP, TCP_CONGESTION, "nothing", 7));
	CONTROL(TELLS, set(e->fd, IPPROTO_IP, IP_TOS, 16));
	CONTROL(TELLS, setsockopt(e->fd, SOL_SOCKET, SO_KEEPALIVE, NULL, 4));
	CONTROL(TELLS, setsockopt(e->fd, SOL_SOCKET, SO_KEEPALIVE, "", 1));
	CONTROL(TELLS, linger_and_close(e, 0, 0));
	CONTROL(TELLS, linger_and_close(e, 1, 0));
	CONTROL(TELLS, linger_and_close(e, 1, 1));
	CONTROL(TELLS, linger_and_close(e, 1, -1));
	CONTROL(TELLS, close(e->fd));
	CONTROL(TELLS, close_range((unsigned)e->fd, (unsigned)e->fd, 0));
	CONTROL(TELLS, close_range((unsigned)e->fd, (unsigned)e->fd, CLOSE_RANGE_CLOEXEC));
	CONTROL(TELLS, close_range((unsigned)e->fd, (unsigned)e->fd - 1, 0));
	CONTROL(TELLS, close_range((unsigned)e->fd, (unsigned)e->fd, 0x100));
	CONTROL(TELLS, put_over(e, true));
	CONTROL(TELLS, put_over(e, false));
	CONTROL(TELLS, dup2(e->fd, e->fd) != e->fd);
	CONTROL(TELLS, dup3(e->fd, e->fd, O_CLOEXEC));
	CONTROL(TELLS, dup3(e->fd, 400, 0x100));
	CONTROL(TELLS, dup2(e->fd, -1));
	CONTROL(TELLS, twin(e->fd, 0));
	CONTROL(TELLS, twin(e->fd, 1));
	CONTROL(TELLS, twin(e->fd, 2));
	CONTROL(TELLS, fcntl(e->fd, F_DUPFD, -1));
	CONTROL(TELLS, fcntl(e->fd, F_SETFD, FD_CLOEXEC));
	CONTROL(TELLS, fcntl(e->fd, F_SETFL, O_RDWR | O_NONBLOCK));
	CONTROL(TELLS, fcntl(e->fd, F_SETFL, O_RDWR | O_NONBLOCK | O_APPEND));
	CONTROL(TELLS, fcntl(e->fd, F_SETFL, O_RDWR | O_NONBLOCK | O_DIRECT));
	CONTROL(TELLS, fcntl(e->fd, F_SETSIG, 0));
	CONTROL(TELLS, fcntl(e->fd, F_SETSIG, 999));
	CONTROL(TELLS, owned(e->fd, F_OWNER_PID));
	CONTROL(TELLS, owned(e->fd, F_OWNER_TID));
	CONTROL(TELLS, owned(e->fd, 9));
	CONTROL(TELLS, locked(e->fd));
	CONTROL(TELLS, fcntl(e->fd, F_SETLEASE, F_RDLCK));
	CONTROL(TELLS, fcntl(e->fd, F_NOTIFY, DN_MODIFY));
	CONTROL(TELLS, fcntl(e->fd, F_SETPIPE_SZ, 4096));
	CONTROL(TELLS, fcntl(e->fd, F_ADD_SEALS, 1));
	CONTROL(TELLS, flock(e->fd, LOCK_EX | LOCK_NB));
	CONTROL(TELLS, fchmod(e->fd, 0600));
	CONTROL(TELLS, fchdir(e->fd));
	CONTROL(TELLS, ioctl(e->fd, FIONBIO, &(int){1}));
	CONTROL(TELLS, ioctl(e->fd, FIOASYNC, &(int){0}));
	CONTROL(TELLS, ioctl(e->fd, FIOCLEX));
	CONTROL(TELLS, ioctl(e->fd, FIONCLEX));
	CONTROL(TELLS, ioctl(e->fd, FIOSETOWN, &(int){0}));
	CONTROL(TELLS, ioctl(e->fd, 0x5413, NULL));
	if (probed && e)
		probe(probed);
	return n;
}

#define X(name, needs) MATRIX_SCENARIO(name, needs)
STATES_OF_EACH(X)
#undef X
