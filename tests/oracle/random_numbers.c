/* Steps of a random walk: numbers of a stream, handed over, put over each other, closed while somebody waits there; programs that go on. */
#include "rights.h"
#include "walking.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>

void step_over(struct walker *w)
{
	int old = any_fd(w), other;

	doing("%u: put over", w->e.number);
	switch (any(4)) {
	case 0: /* the same, over itself and over its twin */
		other = any_fd(w);
		if ((old == other || any(2) ? dup2(old, other) : dup3(old, other, O_CLOEXEC)) != other)
			wrong("%u: dup2: %s", w->e.number, RESULT(-1));
		break;
	case 1: /* over something else, which is a twin from now on */
		if (w->fds == TWINS)
			break;
		other = any(2) ? open("/dev/null", O_RDWR | O_CLOEXEC) : (int)socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		MUST(other);
		if ((any(2) ? dup2(old, other) : dup3(old, other, O_CLOEXEC)) != other)
			wrong("%u: dup2: %s", w->e.number, RESULT(-1));
		w->fd[w->fds++] = other;
		break;
	case 2: /* something else over a twin */
		if (w->fds == 1)
			break;
		int null = (int)MUST(open("/dev/null", O_RDWR | O_CLOEXEC));

		other = w->fd[--w->fds];
		if (dup2(null, other) != other || read(other, room, 1) != 0)
			wrong("%u: what was put over a twin is not there", w->e.number);
		close(other);
		close(null);
		break;
	default: /* another stream's number, for a moment */
		if (w->fds == 1)
			break;
		struct walker *v = &walkers[any(WALKERS)];
		struct pollfd p;

		if (!v->open || v == w)
			break;
		other = w->fd[--w->fds];
		if (dup2(v->fd[0], other) != other)
			wrong("%u: dup2: %s", w->e.number, RESULT(-1));
		if (unread(v))
			arrive(&v->e, (int)unread(v));
		p = (struct pollfd){other, POLLIN, 0};
		if (poll(&p, 1, 0) != (unread(v) || v->peer_shut))
			wrong("%u: as another's number poll gives %s", v->e.number, POLLED((unsigned)p.revents));
		if (unread(v)) {
			long got = recv(other, room, any_size(), 0);

			if (got <= 0)
				wrong("%u: by the other's number %s", v->e.number, RESULT(got));
			check_taken(v, got, false);
		}
		close(other);
	}
}

/* ---- handed over ---- */

/* The child has no stream but what comes by the line, uses it, and gives it back. */
static void borrow(struct end e, int line, size_t in, size_t out)
{
	e.fd = (int)MUST(take_right(line, 0));
	take(&e, in);
	give(&e, out);
	MUST(pass_right(line, e.fd, 0));
	_exit(went_wrong());
}

static void pass_by_child(struct walker *w, int line, int there, size_t in, size_t out)
{
	int status = 0;

	lend_lock();
	pid_t child = walk_fork();

	if (!child) {
		close_all_but(there, line);
		close(line);
		MUST(write(there, "r", 1));
		borrow(w->e, there, in, out);
	}
	MUST(read(line, room, 1));
	lend_unlock();
	MUST(pass_right(line, any_fd(w), 0));
	w->fd[w->fds++] = (int)MUST(take_right(line, 0));
	waitpid(child, &status, 0);
	if (status)
		wrong("%u: handed over, it could not be used: %#x", w->e.number, (unsigned)status);
	w->e.taken += in;
	w->e.sent += out;
}

void step_pass(struct walker *w)
{
	size_t in = unread(w) ? any(unread(w)) : 0, out = w->shut ? 0 : any(1000);
	int line[2];

	/* What is unread behind the peer's end is lost then (docs/caveats.md). */
	if (w->fds == TWINS || (w->peer_shut && unread(w)) || any(3))
		return;
	MUST(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, line));
	w->told_again |= !w->deep;
	if (w->deep) {
		doing("%u: not passed", w->e.number);
	} else if (any(2) || manner.peer == PEER_THREAD || w->e.sent - w->peer_taken + out > UNREAD_MOST) {
		doing("%u: passed to oneself", w->e.number);
		MUST(pass_right(line[0], any_fd(w), 0));
		w->fd[w->fds++] = (int)MUST(take_right(line[1], 0));
	} else {
		doing("%u: passed on and back: %zu in, %zu out", w->e.number, in, out);
		pass_by_child(w, line[0], line[1], in, out);
	}
	close(line[0]);
	close(line[1]);
}

/* Another program goes on with it for a while, which may have no library. */
void step_exec(struct walker *w)
{
	size_t in = unread(w) ? any(unread(w) < 10000 ? unread(w) : 10000) : 0, out = w->shut ? 0 : any(1000);
	char path[512], words[5][24], expected[160] = "", got[200] = "";
	int said[2], status = 0;

	if (any(6) || manner.peer == PEER_THREAD || w->child || w->deep || w->peer_shut || w->e.sent - w->peer_taken + out > UNREAD_MOST)
		return;
	w->told_again = true;
	doing("%u: another program: %zu in, %zu out", w->e.number, in, out);
	snprintf(path, sizeof(path), "%s/%s", manner.helper, any(2) ? "heir" : "heir-static");
	snprintf(words[0], sizeof(words[0]), "%d", w->e.fd);
	snprintf(words[1], sizeof(words[1]), "%lu", (unsigned long)w->e.sent);
	snprintf(words[2], sizeof(words[2]), "%lu", (unsigned long)w->e.taken);
	snprintf(words[3], sizeof(words[3]), "r%zu", in);
	snprintf(words[4], sizeof(words[4]), "s%zu", out);
	snprintf(expected, sizeof(expected), "heir receives %zu\n%s", in, "heir sends ");
	MUST(pipe2(said, O_CLOEXEC));
	lend_lock();
	pid_t child = walk_fork();

	if (!child) {
		MUST(dup2(said[1], STDOUT_FILENO));
		close_all_but(w->e.fd, w->e.fd);
		fcntl(w->e.fd, F_SETFD, 0);
		execl(path, "heir", words[0], words[1], words[2], words[3], out ? words[4] : NULL, NULL);
		_exit(127);
	}
	close(said[1]);
	for (size_t at = 0; at < sizeof(got) - 1;) {
		ssize_t n = read(said[0], got + at, sizeof(got) - 1 - at);

		if (n <= 0)
			break;
		at += (size_t)n;
	}
	waitpid(child, &status, 0);
	lend_unlock();
	close(said[0]);
	if (out)
		snprintf(expected + strlen(expected), sizeof(expected) - strlen(expected), "%zu\n", out);
	else
		expected[strlen(expected) - strlen("heir sends ")] = 0;
	if (status || strcmp(got, expected))
		wrong("%u: another program ended with %#x: %s", w->e.number, (unsigned)status, got);
	w->e.taken += in;
	w->e.sent += out;
}

/* ---- somebody waits there ---- */

struct waiter {
	int fd;
	size_t count;
	unsigned char *bytes;
	ssize_t got;
	_Atomic int tid;
};

static void *wait_there(void *argument)
{
	struct waiter *waiter = argument;

	waiter->tid = gettid();
	waiter->got = recv(waiter->fd, waiter->bytes, waiter->count, MSG_WAITALL);
	return NULL;
}

/* Not in the call yet, it would find nothing there. */
static void await_asleep(const struct waiter *waiter)
{
	char tid[16];

	while (!waiter->tid)
		usleep(100);
	snprintf(tid, sizeof(tid), "%d", waiter->tid);
	do
		rest();
	while (!thread_sleeps(tid));
}

/* Its number is closed, or put over: it receives all the same. */
void step_closed_under(struct walker *w)
{
	struct waiter waiter = {.count = 1 + any(3000)};
	pthread_t thread;

	if (unread(w) || w->peer_shut || w->fds == TWINS || any(3))
		return;
	waiter.fd = (int)MUST(dup(any_fd(w)));
	waiter.bytes = malloc(waiter.count);
	doing("%u: a number is closed under who waits for %zu", w->e.number, waiter.count);
	MUST(-pthread_create(&thread, NULL, wait_there, &waiter));
	await_asleep(&waiter);
	if (any(2)) {
		MUST(close(waiter.fd));
	} else {
		int null = (int)MUST(open("/dev/null", O_RDWR | O_CLOEXEC));

		MUST(dup2(null, waiter.fd));
		close(null);
		close(waiter.fd);
	}
	if (any(2))
		usleep((useconds_t)any(3000));
	peer_send(&w->e, (long)waiter.count);
	w->in += waiter.count;
	w->edge = true;
	pthread_join(thread, NULL);
	if (waiter.got != (ssize_t)waiter.count || content_good(1, w->e.taken, waiter.bytes, waiter.count) < waiter.count)
		wrong("%u: who waited there got %zd", w->e.number, waiter.got);
	w->e.taken += waiter.count;
	free(waiter.bytes);
}

/* A process that waits is killed: what comes then is for the others. */
void step_killed_waiting(struct walker *w)
{
	size_t n = 1 + any(3000);

	if (unread(w) || w->peer_shut || manner.peer == PEER_THREAD || any(3))
		return;
	doing("%u: a process is killed that waits, then %zu come", w->e.number, n);
	lend_lock();
	pid_t child = walk_fork();

	if (!child) {
		close_all_but(w->e.fd, w->e.fd);
		recv(w->e.fd, room, 100, 0);
		_exit(1);
	}
	rest();
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	lend_unlock();
	peer_send(&w->e, (long)n);
	w->in += n;
	w->edge = true;
	long got = recv(any_fd(w), room, n, MSG_WAITALL);

	if (got != (long)n)
		wrong("%u: after a process was killed: %s", w->e.number, RESULT(got));
	check_taken(w, got, false);
}
