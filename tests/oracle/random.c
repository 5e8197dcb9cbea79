/*
 * A random walk over the socket calls, in lockstep with the peer, against a model of what a stream is: so many bytes in each direction sent
 * and taken, shut or not, an edge told or not. What the model doesn't determine (has it arrived yet?) is waited for or allowed for. A seed
 * gives the same walk again.
 */
#include "walk.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define LOG          40
#define WALK_SECONDS 20

static char done[LOG][128];
static unsigned steps;
static uint64_t seed_of_walk, state;
static bool failed;

static struct walker walkers[WALKERS];
static int level_set, edge_set;

static uint64_t any(uint64_t below)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (state * 0x2545f4914f6cdd1dull >> 11) % below;
}

static void __attribute__((format(printf, 1, 2))) doing(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(done[steps++ % LOG], sizeof(done[0]), format, arguments);
	va_end(arguments);
}

static void __attribute__((format(printf, 1, 2))) wrong(const char *format, ...)
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
	say("WRONG at step %u of seed %lu: %s", steps, seed_of_walk, text);
}

static size_t any_size(void)
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

static int any_fd(const struct walker *w)
{
	return w->fd[any(w->fds)];
}

static uint64_t unread(const struct walker *w)
{
	return w->in - w->e.taken;
}

static void open_walker(struct walker *w)
{
	memset(w, 0, sizeof(*w));
	unsigned warm = manner.warm;

	/* Mostly cold, so that it moves while it is walked. */
	manner.warm = any(3) ? 0 : 20;
	manner.accepting = any(2);
	open_end(&w->e, any(8) ? AF_INET : AF_INET6, false);
	manner.warm = warm;
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

/* By number of walker; the sets are asked through the walker's first descriptor, which is closed last. */
static void close_walker(struct walker *w)
{
	while (w->fds)
		close(w->fd[--w->fds]);
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

static void check_taken(struct walker *w, long n, bool keep)
{
	if (n > 0 && content_good(1, w->e.taken, room, (size_t)n) < (size_t)n)
		wrong("%u: bad content in %ld bytes at %lu", w->e.number, n, w->e.taken);
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
	doing("%u: recv %zu of %lu%s%s%s", w->e.number, n, there, all ? ", all" : "", keep ? ", peek" : "", sure ? ", arrived" : "");
	long got = recv_by(any_fd(w), n, (all ? MSG_WAITALL : 0) | (keep ? MSG_PEEK : 0));
	uint64_t most = n < there ? n : there;

	if (got <= 0 || (uint64_t)got > most || ((all || sure) && (uint64_t)got != most))
		wrong("%u: recv %zu of %lu gives %s", w->e.number, n, there, RESULT(got));
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
		doing("%u: peer takes %zu of %lu", w->e.number, n, there);
		peer_recv_all(&w->e, (long)n);
		w->peer_taken += n;
		return;
	}
	doing("%u: peer receives %zu of %lu", w->e.number, n, there);
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
		wrong("%u: %d unread and not %lu", w->e.number, n, unread(w));
}

/* Which of the set are told. One call may tell some and a later one others, but none may be told that isn't ready. */
static unsigned ask_set(int set, unsigned expected, unsigned possible, bool once)
{
	struct epoll_event events[WALKERS];
	unsigned got = 0;

	for (int turn = 0; turn < 30; turn++) {
		int n = epoll_wait(set, events, WALKERS, 0);

		if (n < 0)
			wrong("epoll_wait: %s", RESULT(n));
		for (int i = 0; i < n; i++) {
			unsigned bit = 1u << events[i].data.u32;

			if (once && (got & bit & ~possible))
				wrong("the same edge twice: %#x after %#x", bit, got);
			got |= bit;
		}
		if ((got & expected) == expected && turn > 1)
			break;
		usleep(200);
	}
	return got;
}

static unsigned ready_walkers(void)
{
	unsigned ready = 0;

	for (unsigned i = 0; i < WALKERS; i++) {
		if (unread(&walkers[i]))
			arrive(&walkers[i].e, (int)unread(&walkers[i]));
		if (unread(&walkers[i]) || walkers[i].peer_shut)
			ready |= 1u << i;
	}
	return ready;
}

static void step_level(struct walker *w __attribute__((unused)))
{
	doing("level set");
	unsigned expected = ready_walkers(), got = ask_set(level_set, expected, expected, false);

	if (got != expected)
		wrong("level set gives %#x and not %#x", got, expected);
}

/* An edge is told if something came since the last look and isn't all read. */
static void step_edge(struct walker *w __attribute__((unused)))
{
	unsigned expected = 0, possible = 0;

	doing("edge set");
	unsigned ready = ready_walkers();

	for (unsigned i = 0; i < WALKERS; i++) {
		if (walkers[i].edge)
			expected |= ready & 1u << i;
		/* The acknowledgement of our end of the stream, whenever it comes, is an edge too. */
		if (walkers[i].shut)
			possible |= ready & 1u << i;
		walkers[i].edge = false;
	}
	unsigned got = ask_set(edge_set, expected & ~possible, possible, true);

	if ((got & ~possible) != (expected & ~possible))
		wrong("edge set gives %#x and not %#x", got, expected);
}

static void step_rearm(struct walker *w)
{
	struct epoll_event event = {EPOLLIN | EPOLLET, {.u32 = (unsigned)(w - walkers)}};

	doing("%u: edge set MOD", w->e.number);
	if (unread(w))
		arrive(&w->e, (int)unread(w));
	if (epoll_ctl(edge_set, EPOLL_CTL_MOD, w->e.fd, &event))
		wrong("MOD: %s", RESULT(-1));
	w->edge = w->edge || unread(w) || w->peer_shut;
}

static void step_set_polled(struct walker *w __attribute__((unused)))
{
	struct pollfd p = {level_set, POLLIN, 0};
	bool expected = false;

	doing("level set polled");
	for (unsigned i = 0; i < WALKERS; i++) {
		if (unread(&walkers[i]))
			arrive(&walkers[i].e, (int)unread(&walkers[i]));
		expected |= unread(&walkers[i]) || walkers[i].peer_shut;
	}
	int n = poll(&p, 1, 0);

	if (n != expected)
		wrong("poll of the level set gives %d", n);
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

/* A child goes on with the stream a little. */
static void step_fork(struct walker *w)
{
	size_t n = unread(w) ? 1 + any(unread(w)) : 0;
	pid_t child;
	int status = 0;

	if (manner.peer == PEER_THREAD || w->shut || w->e.sent - w->peer_taken + 100 > UNREAD_MOST)
		return;
	doing("%u: a child takes %zu, gives 100", w->e.number, n);
	fflush(NULL);
	child = fork();
	if (!child) {
		take(&w->e, n);
		give(&w->e, 100);
		_exit(0);
	}
	waitpid(child, &status, 0);
	if (status)
		wrong("the child ended with %#x", status);
	w->e.taken += n;
	w->e.sent += 100;
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
	while (w->fds)
		close(w->fd[--w->fds]);
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

static void (*const kinds[])(struct walker *) = {
	step_peer_sends, step_peer_sends, step_peer_sends, step_send,       step_send,       step_recv,       step_recv, step_recv,
	step_peer_recv,  step_peer_recv,  step_recv_waits, step_recv_waits, step_peer_waits, step_peer_waits, step_poll, step_pending,
	step_level,      step_level,      step_edge,       step_edge,       step_rearm,      step_set_polled, step_dup,  step_fork,
	step_bulk,       step_shut,       step_renew,      step_pause,      step_time_out,
};

/* A walk that hangs says where. */
static void out_of_time(int number __attribute__((unused)))
{
	wrong("out of time");
	_exit(1);
}

int walk(uint64_t seed, unsigned count)
{
	signal(SIGALRM, out_of_time);
	alarm(WALK_SECONDS);
	seed_of_walk = seed;
	state = seed * 0x9e3779b97f4a7c15ull + 1;
	level_set = (int)MUST(epoll_create1(EPOLL_CLOEXEC));
	edge_set = (int)MUST(epoll_create1(EPOLL_CLOEXEC));
	hush(true);
	for (unsigned i = 0; i < WALKERS; i++)
		open_walker(&walkers[i]);
	for (unsigned i = 0; i < count && !failed; i++) {
		kinds[any(sizeof(kinds) / sizeof(kinds[0]))](&walkers[any(WALKERS)]);
		if (went_wrong())
			wrong("see above");
	}
	for (unsigned i = 0; i < WALKERS && !failed; i++) {
		take(&walkers[i].e, unread(&walkers[i]));
		close_walker(&walkers[i]);
	}
	if (!failed)
		say("seed %lu: %u steps", seed, steps);
	return failed;
}
