/* Every call that waits: interrupted, restarted, cancelled, in each of the ways that there are. */
#define FAMILY "interrupting"
#include "oracle.h"
#include "peer.h"
#include "sets.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/select.h>
#include <sys/time.h>

static int set_of_it;

static long by_vector(int fd)
{
	struct iovec v[2] = {{room, 4}, {room + 4, 96}};

	return readv(fd, v, 2);
}

static long by_message(int fd)
{
	struct iovec v = {room, 100};
	struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1};

	return recvmsg(fd, &m, 0);
}

static long by_messages(int fd)
{
	struct iovec v = {room, 100};
	struct mmsghdr m = {.msg_hdr = {.msg_iov = &v, .msg_iovlen = 1}};

	return recvmmsg(fd, &m, 1, 0, NULL);
}

static long by_select(int fd, bool precisely)
{
	fd_set in;

	FD_ZERO(&in);
	FD_SET(fd, &in);
	return precisely ? pselect(fd + 1, &in, NULL, NULL, NULL, NULL) : select(fd + 1, &in, NULL, NULL, NULL);
}

static long by_splice(int fd)
{
	int ends[2];

	MUST(pipe(ends));
	long n = splice(fd, NULL, ends[1], NULL, 100, 0);
	int error = errno;

	close(ends[0]);
	close(ends[1]);
	errno = error;
	return n;
}

/* X(name, call, it takes bytes). A call that musl has not would be made by its number there, and is no cancellation point then. */
#ifdef __GLIBC__
#define GLIBC_WAITS(X) X(epoll_pwait2, epoll_pwait2(set_of_it, &(struct epoll_event){0}, 1, NULL, NULL), false)
#else
#define GLIBC_WAITS(X)
#endif
#define WAITS(X)                                                                                                                           \
	X(recv, recv(fd, room, 100, 0), true)                                                                                              \
	X(read, read(fd, room, 100), true)                                                                                                 \
	X(readv, by_vector(fd), true)                                                                                                      \
	X(recvmsg, by_message(fd), true)                                                                                                   \
	X(recvmmsg, by_messages(fd), true)                                                                                                 \
	X(peek, recv(fd, room, 100, MSG_PEEK), false)                                                                                      \
	X(all, recv(fd, room, 10, MSG_WAITALL), true)                                                                                      \
	X(poll, poll(&(struct pollfd){fd, POLLIN, 0}, 1, -1), false)                                                                       \
	X(ppoll, ppoll(&(struct pollfd){fd, POLLIN, 0}, 1, NULL, NULL), false)                                                             \
	X(poll_limited, poll(&(struct pollfd){fd, POLLIN, 0}, 1, 5000), false)                                                             \
	X(select, by_select(fd, false), false)                                                                                             \
	X(pselect, by_select(fd, true), false)                                                                                             \
	X(epoll_wait, epoll_wait(set_of_it, &(struct epoll_event){0}, 1, -1), false)                                                       \
	X(epoll_pwait, epoll_pwait(set_of_it, &(struct epoll_event){0}, 1, 5000, NULL), false)                                             \
	GLIBC_WAITS(X)                                                                                                                     \
	X(splice, by_splice(fd), true)

#define X(name, call, takes)                                                                                                               \
	static long wait_by_##name(int fd)                                                                                                 \
	{                                                                                                                                  \
		return call;                                                                                                               \
	}
WAITS(X)
#undef X

static const struct wait {
	const char *name;
	long (*call)(int fd);
} waits[] = {
#define X(name, call, takes) {#name, wait_by_##name},
	WAITS(X)
#undef X
};
#define HOW_MANY (sizeof(waits) / sizeof(*waits))
/* In musl splice, the last of them, is none. */
#ifdef __GLIBC__
#define CANCELLATION_POINTS HOW_MANY
#else
#define CANCELLATION_POINTS (HOW_MANY - 1)
#endif

/* Again and again: on a busy machine the first may come before the call waits. */
static void timer(long us)
{
	struct itimerval t = {{0, us}, {0, us}};

	MUST(setitimer(ITIMER_REAL, &t, NULL));
}

/* Whatever the call has left. */
static void empty(struct end *e, int sent)
{
	peer_wait();
	rest();
	while (recv(e->fd, room, 1000, MSG_DONTWAIT) > 0)
		;
	e->taken += (uint64_t)sent;
	peer_send(e, 5);
	arrive(e, 5);
	RECV(e, recv(e->fd, room, 100, 0));
}

static void send_late(struct end *e, int ms)
{
	later(ms);
	quietly();
	peer_send(e, 10);
}

/* A signal early, bytes late: behind the call where it isn't restarted. */
static void interrupted(struct end *e, int flags, bool limited)
{
	struct timeval limit = {limited ? 5 : 0, 0};

	set_of_it = new_set();
	MUST(control(set_of_it, EPOLL_CTL_ADD, e->fd, EPOLLIN, 1));
	MUST(setsockopt(e->fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)));
	on_signal(SIGALRM, flags);
	for (size_t i = 0; i < HOW_MANY; i++) {
		signals = 0;
		if (flags & SA_RESTART)
			send_late(e, 200);
		timer(30000);
		errno = 0;
		long n = waits[i].call(e->fd);
		int error = errno;

		timer(0);
		errno = error;
		say("%s: %s, %ssignalled", waits[i].name, RESULT(n), signals ? "" : "not ");
		if (!(flags & SA_RESTART))
			send_late(e, 1);
		empty(e, 10);
	}
	close(set_of_it);
}

SCENARIO(at_once, 0)
{
	interrupted(e, 0, false);
}

SCENARIO(restarted, 0)
{
	interrupted(e, SA_RESTART, false);
}

SCENARIO(at_once_with_time, 0)
{
	interrupted(e, 0, true);
}

SCENARIO(restarted_with_time, 0)
{
	interrupted(e, SA_RESTART, true);
}

struct victim {
	const struct wait *wait;
	int fd, type;
};

static void *wait_for_ever(void *argument)
{
	const struct victim *victim = argument;

	pthread_setcanceltype(victim->type, NULL);
	victim->wait->call(victim->fd);
	return NULL;
}

static void cancelled(struct end *e, int type)
{
	size_t many = type == PTHREAD_CANCEL_DEFERRED ? CANCELLATION_POINTS : HOW_MANY;

	set_of_it = new_set();
	MUST(control(set_of_it, EPOLL_CTL_ADD, e->fd, EPOLLIN, 1));
	for (size_t i = 0; i < many; i++) {
		struct victim victim = {&waits[i], e->fd, type};
		pthread_t thread;
		void *result = NULL;

		MUST(-pthread_create(&thread, NULL, wait_for_ever, &victim));
		settle_down();
		MUST(-pthread_cancel(thread));
		MUST(-pthread_join(thread, &result));
		say("%s: cancelled %d", waits[i].name, result == PTHREAD_CANCELED);
		peer_send(e, 5);
		arrive(e, 5);
		RECV(e, recv(e->fd, room, 100, 0));
		SEND(e, 5, send(e->fd, room, 5, 0));
		peer_recv_all(e, 5);
	}
	close(set_of_it);
}

SCENARIO(cancelled_deferred, 0)
{
	cancelled(e, PTHREAD_CANCEL_DEFERRED);
}

SCENARIO(cancelled_asynchronously, 0)
{
	cancelled(e, PTHREAD_CANCEL_ASYNCHRONOUS);
}

static void *wait_once(void *argument)
{
	const struct victim *victim = argument;

	victim->wait->call(victim->fd);
	return NULL;
}

/*
 * Another descriptor of the stream is closed, or something else is put over it, while a thread waits on it: who waits goes on waiting. What
 * looks at the number again when bytes come finds something that can be read.
 */
static void pulled_away(struct end *e, bool over)
{
	int zeros = MUST(open("/dev/zero", O_RDONLY | O_CLOEXEC));

	for (size_t i = 0; i < HOW_MANY; i++) {
		struct victim victim = {&waits[i], dup(e->fd), 0};
		pthread_t thread;

		set_of_it = new_set();
		MUST(control(set_of_it, EPOLL_CTL_ADD, e->fd, EPOLLIN, 1));
		MUST(-pthread_create(&thread, NULL, wait_once, &victim));
		settle_down();
		if (over)
			CALL(dup2(zeros, victim.fd) == victim.fd);
		else
			CALL(close(victim.fd));
		rest();
		peer_send(e, 10);
		MUST(-pthread_join(thread, NULL));
		say("%s: ended", waits[i].name);
		if (over)
			close(victim.fd);
		rest();
		while (recv(e->fd, room, 1000, MSG_DONTWAIT) > 0)
			;
		e->taken += 10;
		peer_send(e, 5);
		arrive(e, 5);
		RECV(e, recv(e->fd, room, 100, 0));
		close(set_of_it);
	}
	close(zeros);
}

SCENARIO(closed_meanwhile, 0)
{
	pulled_away(e, false);
}

SCENARIO(put_over_meanwhile, 0)
{
	pulled_away(e, true);
}

/* Several messages by one call: a signal that comes while it waits for the second ends it with the first. */
SCENARIO(between_messages, 0)
{
	struct iovec v[2] = {{room, 100}, {room + 100, 100}};
	struct mmsghdr m[2] = {{.msg_hdr = {.msg_iov = &v[0], .msg_iovlen = 1}}, {.msg_hdr = {.msg_iov = &v[1], .msg_iovlen = 1}}};

	on_signal(SIGUSR1, SA_RESTART);
	for (int i = 0; i < 2; i++) {
		peer_send(e, 10);
		arrive(e, 10);
		later(60);
		peer_signal(SIGUSR1);
		if (CALL(recvmmsg(e->fd, m, 2, i ? MSG_WAITALL : 0, NULL)) == 1)
			took(e, room, m[0].msg_len);
		peer_wait();
		/* The kernel keeps its own number of an interrupted call for the next one. */
		recv(e->fd, room, 1, MSG_DONTWAIT);
		v[0].iov_len = 10;
	}
}

/* The first has nothing to send, and for the second there is no room. musl sends each by a call of its own, which is restarted. */
#ifdef __GLIBC__
SCENARIO(between_messages_that_are_sent, 0)
{
	struct iovec v[2] = {{room, 0}, {room, 1000}};
	struct mmsghdr m[2] = {{.msg_hdr = {.msg_iov = &v[0], .msg_iovlen = 1}}, {.msg_hdr = {.msg_iov = &v[1], .msg_iovlen = 1}}};

	narrow(e);
	on_signal(SIGUSR1, SA_RESTART);
	say("full: %d", stuff(e));
	later(60);
	peer_signal(SIGUSR1);
	CALL(sendmmsg(e->fd, m, 2, 0));
	peer_wait();
}
#endif
