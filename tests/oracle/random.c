/*
 * A random walk over the socket calls, in lockstep with the peer, against a model of what a stream is: so many bytes in each direction sent
 * and taken, shut or not, an edge told or not. What the model doesn't determine (has it arrived yet?) is waited for or allowed for. A seed
 * gives the same walk again.
 */
#include "walking.h"

#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

#define LOG 40

static __thread char done[LOG][128];
static __thread unsigned steps;
static __thread uint64_t seed_of_walk, state;
static __thread bool failed;

__thread struct walker walkers[WALKERS];
__thread int level_set, edge_set;

uint64_t walk_any(uint64_t *from, uint64_t below)
{
	*from ^= *from << 13;
	*from ^= *from >> 7;
	*from ^= *from << 17;
	return (*from * 0x2545f4914f6cdd1dull >> 11) % below;
}

uint64_t any(uint64_t below)
{
	return walk_any(&state, below);
}

void doing(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(done[steps++ % LOG], sizeof(done[0]), format, arguments);
	va_end(arguments);
}

void wrong(const char *format, ...)
{
	char text[256];
	va_list arguments;

	if (failed)
		return;
	failed = true;
	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	for (unsigned i = steps > LOG ? steps - LOG : 0; i < steps; i++)
		say("  %u: %s", i, done[i % LOG]);
	say("WRONG at step %u of seed %lu: %s", steps, (unsigned long)seed_of_walk, text);
}

size_t any_size(void)
{
	switch (any(6)) {
	case 0:
		return 1 + any(3);
	case 1:
		return 1 + any(40000);
	case 2:
		return 1 + any(5000);
	default:
		return 1 + any(200);
	}
}

void open_walker(struct walker *w)
{
	memset(w, 0, sizeof(*w));
	/* Mostly cold, so that it moves while it is walked. */
	unsigned warm = any(3) ? 0 : 20;
	bool accepting = any(2), mapped = false;
	int family = any(4) ? AF_INET : AF_INET6;

	if (manner.family == AF_UNIX)
		family = AF_UNIX;
	if (family == AF_INET6)
		mapped = any(2);
	open_end_so(&w->e, family, mapped, accepting, warm);
	w->open = true;
	w->in = w->e.taken;
	w->peer_taken = w->e.sent;
	w->fd[0] = w->e.fd;
	w->fds = 1;
	unsigned number = (unsigned)(w - walkers);
	struct epoll_event event = {EPOLLIN, {.u32 = number}};

	MUST(epoll_ctl(level_set, EPOLL_CTL_ADD, w->e.fd, &event));
	event.events = EPOLLIN | EPOLLET;
	MUST(epoll_ctl(edge_set, EPOLL_CTL_ADD, w->e.fd, &event));
	/* A warm-up may have left an edge that nobody looked at; an empty stream shows none. */
	w->edge = false;
	doing("%u: open", number);
}

void close_numbers(struct walker *w)
{
	lend_lock();
	while (w->fds)
		close(w->fd[--w->fds]);
	lend_unlock();
}

/* By number of walker; the sets are asked through the walker's first descriptor, which is closed last. */
void close_walker(struct walker *w)
{
	lend_end(w, false);
	close_numbers(w);
	peer_close(&w->e);
}

static void step_peer_sends(struct walker *w)
{
	size_t n = any_size();

	if (w->peer_shut || unread(w) + n > UNREAD_MOST)
		return;
	doing("%u: peer sends %zu", w->e.number, n);
	long sent = peer_send(&w->e, (long)n);

	if (sent <= 0 || (size_t)sent > n)
		wrong("peer sent %ld of %zu", sent, n);
	else
		w->in += (uint64_t)sent;
	w->edge = true;
}

static long send_by(int fd, size_t n)
{
	struct iovec v[2] = {{room, n / 2}, {room + n / 2, n - n / 2}};
	struct msghdr m = {.msg_iov = v, .msg_iovlen = 2};

	switch (any(5)) {
	case 0:
		return write(fd, room, n);
	case 1:
		return writev(fd, v, 2);
	case 2:
		return sendmsg(fd, &m, MSG_NOSIGNAL);
	case 3:
		return syscall(SYS_write, fd, room, n);
	default:
		return send(fd, room, n, any(3) ? 0 : MSG_DONTWAIT);
	}
}

static void step_send(struct walker *w)
{
	size_t n = any_size();

	if (w->shut || w->e.sent - w->peer_taken + n > UNREAD_MOST)
		return;
	doing("%u: send %zu", w->e.number, n);
	fill(&w->e, room, n);
	long sent = send_by(any_fd(w), n);

	if (sent <= 0 || (size_t)sent > n)
		wrong("sent %ld of %zu: %s", sent, n, RESULT(sent));
	gave(&w->e, sent);
}

void check_taken(struct walker *w, long n, bool keep)
{
	if (n > 0 && content_good(1, w->e.taken, room, (size_t)n) < (size_t)n)
		wrong("%u: bad content in %ld bytes at %lu", w->e.number, n, (unsigned long)w->e.taken);
	if (n > 0 && !keep)
		w->e.taken += (uint64_t)n;
}

static long recv_by(int fd, size_t n, int flags)
{
	struct iovec v[2] = {{room, n / 2}, {room + n / 2, n - n / 2}};
	struct msghdr m = {.msg_iov = v, .msg_iovlen = 2};

	if (flags)
		return any(2) ? recv(fd, room, n, flags) : recvmsg(fd, &m, flags);
	switch (any(4)) {
	case 0:
		return read(fd, room, n);
	case 1:
		return readv(fd, v, 2);
	case 2:
		return syscall(SYS_read, fd, room, n);
	default:
		return recv(fd, room, n, 0);
	}
}

/* Nothing there, for certain: EAGAIN, or the end. */
static void recv_nothing(struct walker *w)
{
	int flags = MSG_DONTWAIT | (any(3) ? 0 : MSG_PEEK);

	doing("%u: recv of nothing", w->e.number);
	long n = recv(any_fd(w), room, any_size(), flags);

	if (w->peer_shut ? n != 0 : n != -1 || errno != EAGAIN)
		wrong("%u: nothing to receive, but %s", w->e.number, RESULT(n));
}

static void step_recv(struct walker *w)
{
	size_t n = any_size();
	uint64_t there = unread(w);
	bool all = !any(3), keep = !any(4), sure = !any(3);

	if (!there) {
		recv_nothing(w);
		return;
	}
	if (all && n > there)
		n = there;
	if (sure)
		arrive(&w->e, (int)there);
	doing("%u: recv %zu of %lu%s%s%s", w->e.number, n, (unsigned long)there, all ? ", all" : "", keep ? ", peek" : "",
	      sure ? ", arrived" : "");
	long got = recv_by(any_fd(w), n, (all ? MSG_WAITALL : 0) | (keep ? MSG_PEEK : 0));
	uint64_t most = n < there ? n : there;

	if (got <= 0 || (uint64_t)got > most || ((all || sure) && (uint64_t)got != most))
		wrong("%u: recv %zu of %lu gives %s", w->e.number, n, (unsigned long)there, RESULT(got));
	check_taken(w, got, keep);
}

static void step_peer_recv(struct walker *w)
{
	uint64_t there = w->e.sent - w->peer_taken;
	size_t n = any_size();

	if (!there)
		return;
	if (any(2)) {
		n = n < there ? n : there;
		doing("%u: peer takes %zu of %lu", w->e.number, n, (unsigned long)there);
		peer_recv_all(&w->e, (long)n);
		w->peer_taken += n;
		return;
	}
	doing("%u: peer receives %zu of %lu", w->e.number, n, (unsigned long)there);
	long got = peer_recv(&w->e, (long)n, 0);

	if (got <= 0 || (uint64_t)got > n)
		wrong("%u: the peer received %ld", w->e.number, got);
	else
		w->peer_taken += (uint64_t)got;
}

/* The receiver sleeps, or just doesn't yet. */
static void step_recv_waits(struct walker *w)
{
	size_t n = 1 + any(3000);
	int ms = 1 + (int)any(3);

	if (unread(w) || w->peer_shut)
		return;
	doing("%u: recv waits %d ms for %zu", w->e.number, ms, n);
	later(ms);
	peer_send(&w->e, (long)n);
	w->in += n;
	w->edge = true;
	if (any(2)) {
		struct pollfd p = {any_fd(w), POLLIN, 0};
		int ready = poll(&p, 1, 5000);

		if (ready != 1 || p.revents != POLLIN)
			wrong("%u: poll gives %d %s", w->e.number, ready, POLLED((unsigned)p.revents));
	}
	long got = recv_by(any_fd(w), n, any(2) ? MSG_WAITALL : 0);

	peer_wait();
	if (got <= 0 || (size_t)got > n)
		wrong("%u: recv that waited gives %s", w->e.number, RESULT(got));
	check_taken(w, got, false);
}

static void step_peer_waits(struct walker *w)
{
	size_t n = 1 + any(3000);

	if (w->e.sent != w->peer_taken || w->shut)
		return;
	doing("%u: the peer waits for %zu", w->e.number, n);
	later(1);
	peer_recv_all(&w->e, (long)n);
	if (any(2))
		usleep((useconds_t)any(4000));
	give(&w->e, n);
	peer_wait();
	w->peer_taken += n;
}

static void step_poll(struct walker *w)
{
	struct pollfd p = {any_fd(w), POLLIN | POLLOUT | POLLRDHUP, 0};
	unsigned expected = POLLOUT | (unread(w) || w->peer_shut ? POLLIN : 0u) | (w->peer_shut ? POLLRDHUP : 0u) |
			    (w->peer_shut && w->shut ? POLLHUP : 0u);

	doing("%u: poll", w->e.number);
	if (unread(w))
		arrive(&w->e, (int)unread(w));
	int n = poll(&p, 1, 0);

	if (n != 1 || (unsigned)p.revents != expected)
		wrong("%u: poll gives %d %s and not %s", w->e.number, n, POLLED((unsigned)p.revents), POLLED(expected));
}

static void step_pending(struct walker *w)
{
	int n = -1;

	doing("%u: FIONREAD", w->e.number);
	arrive(&w->e, (int)unread(w));
	if (ioctl(any_fd(w), FIONREAD, &n) || (uint64_t)n != unread(w))
		wrong("%u: %d unread and not %lu", w->e.number, n, (unsigned long)unread(w));
}

static void step_dup(struct walker *w)
{
	if (w->fds < TWINS) {
		doing("%u: dup", w->e.number);
		w->fd[w->fds] = any(2) ? dup(any_fd(w)) : fcntl(any_fd(w), F_DUPFD_CLOEXEC, 100 + (int)any(100));
		w->fds++;
	}
	if (w->fds > 1 && any(2)) {
		doing("%u: close a twin", w->e.number);
		if (close(w->fd[--w->fds]))
			wrong("close: %s", RESULT(-1));
	}
}

static void step_bulk(struct walker *w)
{
	size_t n = 100000 + any(1500000);

	if (unread(w) || w->e.sent != w->peer_taken || w->shut || w->peer_shut)
		return;
	later(1);
	if (any(2)) {
		doing("%u: bulk in %zu", w->e.number, n);
		peer_send_all(&w->e, (long)n);
		w->in += n;
		take(&w->e, n);
		w->edge = true;
	} else {
		doing("%u: bulk out %zu", w->e.number, n);
		peer_recv_all(&w->e, (long)n);
		give(&w->e, n);
		w->peer_taken += n;
	}
	peer_wait();
}

static void step_shut(struct walker *w)
{
	if (any(4))
		return;
	if (any(2) && !w->shut) {
		doing("%u: shutdown", w->e.number);
		w->shut = true;
		if (shutdown(any_fd(w), SHUT_WR))
			wrong("shutdown: %s", RESULT(-1));
	} else if (!w->peer_shut) {
		doing("%u: the peer shuts down", w->e.number);
		w->peer_shut = true;
		w->edge = true;
		peer_shutdown(&w->e, SHUT_WR);
		rest();
	}
}

/* To the end of one stream, and another begins. */
static void step_renew(struct walker *w)
{
	if (any(3) && !(w->shut && w->peer_shut))
		return;
	doing("%u: renew", w->e.number);
	take(&w->e, unread(w));
	w->e.taken = w->in;
	peer_recv_all(&w->e, (long)(w->e.sent - w->peer_taken));
	lend_end(w, any(2));
	close_numbers(w);
	quietly();
	struct peer_answer answer = peer_ask((struct peer_order){.does = PEER_DRAIN, .number = w->e.number});

	if (answer.result || answer.error)
		wrong("%u: at its end the peer got %ld, %d", w->e.number, answer.result, answer.error);
	close_walker(w);
	open_walker(w);
}

static void step_pause(struct walker *w __attribute__((unused)))
{
	doing("a pause");
	usleep((useconds_t)any(5000));
}

static void step_time_out(struct walker *w)
{
	struct timeval limit = {0, 5000}, none = {0, 0};

	if (unread(w) || w->peer_shut)
		return;
	doing("%u: a time-out", w->e.number);
	setsockopt(w->e.fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	long n = recv(any_fd(w), room, 10, 0);

	if (n != -1 || errno != EAGAIN)
		wrong("%u: instead of a time-out: %s", w->e.number, RESULT(n));
	setsockopt(w->e.fd, SOL_SOCKET, SO_RCVTIMEO, &none, sizeof(none));
}

/* X(name, how often). open comes first, and is never drawn. */
#define KINDS(X)                                                                                                                           \
	X(peer_sends, 3)                                                                                                                   \
	X(send, 2)                                                                                                                         \
	X(recv, 3)                                                                                                                         \
	X(peer_recv, 2)                                                                                                                    \
	X(recv_waits, 2)                                                                                                                   \
	X(peer_waits, 2)                                                                                                                   \
	X(poll, 1)                                                                                                                         \
	X(pending, 1)                                                                                                                      \
	X(level, 2)                                                                                                                        \
	X(edge, 2)                                                                                                                         \
	X(rearm, 1)                                                                                                                        \
	X(set_polled, 1)                                                                                                                   \
	X(dup, 1)                                                                                                                          \
	X(fork, 1)                                                                                                                         \
	X(bulk, 1)                                                                                                                         \
	X(shut, 1)                                                                                                                         \
	X(renew, 1)                                                                                                                        \
	X(pause, 1)                                                                                                                        \
	X(time_out, 1)                                                                                                                     \
	X(lend, 1)                                                                                                                         \
	X(demote, 1)                                                                                                                       \
	X(thread, 1)                                                                                                                       \
	X(end, 1)                                                                                                                          \
	X(splice, 1)                                                                                                                       \
	X(file, 1)                                                                                                                         \
	X(urgent, 1)                                                                                                                       \
	X(peek_offset, 1)                                                                                                                  \
	X(low_water, 1)                                                                                                                    \
	X(stdio, 1)                                                                                                                        \
	X(both_ways, 1)                                                                                                                    \
	X(interrupted, 1)                                                                                                                  \
	X(signalled, 1)                                                                                                                    \
	X(over, 1)                                                                                                                         \
	X(pass, 1)                                                                                                                         \
	X(exec, 1)                                                                                                                         \
	X(closed_under, 1)                                                                                                                 \
	X(killed_waiting, 1)                                                                                                               \
	X(looks, 2)                                                                                                                        \
	X(once, 2)                                                                                                                         \
	X(datagrams, 3)

#define OFTEN_1(entry) entry
#define OFTEN_2(entry) entry, entry
#define OFTEN_3(entry) entry, entry, entry
#define X(name, often) OFTEN_##often(#name),
const char *const walk_kinds[] = {"open", KINDS(X) NULL};
#undef X
#define X(name, often) OFTEN_##often(step_##name),
static void (*const kinds[])(struct walker *) = {NULL, KINDS(X)};
#undef X

void walk_begin(uint64_t seed)
{
	if (!seed) {
		wrong("out of time");
		return;
	}
	seed_of_walk = seed;
	level_set = (int)MUST(epoll_create1(EPOLL_CLOEXEC));
	edge_set = (int)MUST(epoll_create1(EPOLL_CLOEXEC));
}

bool walk_step(const struct step *step)
{
	struct walker *w = &walkers[step->walker];

	state = step->seed * 0x9e3779b97f4a7c15ull + 1;
	if (step->kind && w->open)
		kinds[step->kind](w);
	else if (!step->kind && !w->open)
		open_walker(w);
	if (!unread(w) || unread(w) > UNREAD_DEEP)
		w->deep = unread(w) > 0;
	if (went_wrong())
		wrong("see above");
	return !failed;
}

unsigned walk_end(void)
{
	for (unsigned i = 0; i < WALKERS && !failed; i++) {
		if (!walkers[i].open)
			continue;
		take(&walkers[i].e, unread(&walkers[i]));
		close_walker(&walkers[i]);
	}
	for (unsigned i = 0; i < WALKERS; i++)
		lend_end(&walkers[i], true);
	return steps;
}

bool walk_failed(void)
{
	return failed;
}
