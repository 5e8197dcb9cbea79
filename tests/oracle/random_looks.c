/* Steps of a random walk: all that tells of readiness, asked at the same time; sets in sets, of other processes, told once. */
#include "walking.h"

#include <poll.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/wait.h>

static unsigned told_by_poll(bool waits)
{
	struct pollfd p[WALKERS];
	unsigned told = 0;

	for (unsigned i = 0; i < WALKERS; i++)
		p[i] = (struct pollfd){walkers[i].open ? any_fd(&walkers[i]) : -1, POLLIN, 0};
	if (any(2))
		poll(p, WALKERS, waits ? 1000 : 0);
	else
		ppoll(p, WALKERS, &(struct timespec){waits ? 1 : 0, 0}, NULL);
	for (unsigned i = 0; i < WALKERS; i++)
		told |= p[i].revents ? 1u << i : 0;
	return told;
}

static unsigned told_by_select(bool waits)
{
	int number[WALKERS], most = 0;
	unsigned told = 0;
	fd_set set;

	FD_ZERO(&set);
	for (unsigned i = 0; i < WALKERS; i++) {
		number[i] = walkers[i].open ? any_fd(&walkers[i]) : -1;
		if (number[i] >= FD_SETSIZE)
			return told_by_poll(waits);
		if (number[i] >= 0)
			FD_SET(number[i], &set);
		most = number[i] > most ? number[i] : most;
	}
	select(most + 1, &set, NULL, NULL, &(struct timeval){waits ? 1 : 0, 0});
	for (unsigned i = 0; i < WALKERS; i++)
		told |= number[i] >= 0 && FD_ISSET(number[i], &set) ? 1u << i : 0;
	return told;
}

/* A first call that waits, and then as many as it takes. */
static unsigned told_by_set(int set, unsigned expected, bool waits, bool once)
{
	struct epoll_event event = {0};
	unsigned first = 0;

	if (waits && epoll_wait(set, &event, 1, 1000) == 1)
		first = 1u << event.data.u32;
	return first | ask_set(set, expected & ~first, once ? 0 : expected, once);
}

static int new_set(void)
{
	return (int)MUST(epoll_create1(EPOLL_CLOEXEC));
}

static void register_at(int set, int fd, unsigned number, unsigned events)
{
	struct epoll_event event = {events, {.u32 = number}};

	if (epoll_ctl(set, EPOLL_CTL_ADD, fd, &event))
		wrong("ADD of %d with %#x: %s", fd, events, RESULT(-1));
}

/* One set in another, or in two. */
static unsigned told_by_outer(unsigned expected, bool waits)
{
	int outer = new_set(), middle = any(2) ? new_set() : -1;
	struct epoll_event event;
	unsigned told = 0;

	if (middle >= 0)
		register_at(middle, level_set, 7, EPOLLIN);
	register_at(outer, middle >= 0 ? middle : level_set, 9, EPOLLIN | (any(2) ? EPOLLET : 0u));
	if (epoll_wait(outer, &event, 1, waits ? 1000 : 0) == 1)
		told = told_by_set(level_set, expected, false, false);
	close(outer);
	if (middle >= 0)
		close(middle);
	return told;
}

/* The set of all, looked at by a child. */
static unsigned told_by_child(unsigned expected, bool waits)
{
	int status = 0;

	if (manner.peer == PEER_THREAD)
		return told_by_set(level_set, expected, waits, false);
	lend_lock();
	pid_t child = walk_fork();

	if (!child)
		_exit((int)told_by_set(level_set, expected, waits, false));
	waitpid(child, &status, 0);
	lend_unlock();
	return WIFEXITED(status) ? (unsigned)WEXITSTATUS(status) : 1000;
}

static unsigned told_by_new(unsigned expected, bool waits)
{
	int set = new_set();
	unsigned told, how = any(2) ? EPOLLIN : EPOLLIN | EPOLLEXCLUSIVE;

	if (any(2))
		how = EPOLLIN | EPOLLET | (any(2) ? EPOLLONESHOT : 0u);
	for (unsigned i = 0; i < WALKERS; i++) {
		if (walkers[i].open)
			register_at(set, any_fd(&walkers[i]), i, how);
	}
	told = told_by_set(set, expected, waits, how & EPOLLET);
	close(set);
	return told;
}

/* Each in turn: all say the same. */
void step_looks(struct walker *w __attribute__((unused)))
{
	unsigned expected = ready_walkers(), told = 0, how = (unsigned)any(6);
	bool waits = expected && any(2);

	doing("looks by %u, ready are %#x", how, expected);
	switch (how) {
	case 0:
		told = told_by_poll(waits);
		break;
	case 1:
		told = told_by_select(waits);
		break;
	case 2:
		told = told_by_outer(expected, waits);
		break;
	case 3:
		told = told_by_child(expected, waits);
		break;
	case 4:
		told = told_by_set(level_set, expected, waits, false);
		break;
	default:
		told = told_by_new(expected, waits);
	}
	if (told != expected)
		wrong("look %u gives %#x and not %#x", how, told, expected);
}

/* Told once, and armed again. */
void step_once(struct walker *w)
{
	unsigned number = (unsigned)(w - walkers), how = EPOLLIN | EPOLLONESHOT | (any(2) ? EPOLLET : 0u);
	int set = new_set(), fd = any_fd(w), outer = any(2) ? new_set() : -1;
	size_t n = 1 + any(300);
	struct epoll_event event = {how, {.u32 = number}};

	if (w->peer_shut || unread(w) + n > UNREAD_MOST) {
		close(set);
		if (outer >= 0)
			close(outer);
		return;
	}
	doing("%u: once, %zu", w->e.number, n);
	register_at(set, fd, number, how);
	if (outer >= 0)
		register_at(outer, set, 7, EPOLLIN);
	if (unread(w)) {
		arrive(&w->e, (int)unread(w));
		if (told_by_set(set, 1u << number, true, true) != 1u << number)
			wrong("%u: a one-shot registration is not told of what was there", w->e.number);
	}
	if (any(2)) {
		later(1 + (int)any(3));
		peer_send(&w->e, (long)n);
	} else {
		peer_send(&w->e, (long)n);
		later(1);
		peer_ask((struct peer_order){.does = PEER_NOTHING});
	}
	if (unread(w)) {
		peer_wait();
		arrive(&w->e, (int)(unread(w) + n));
		if (told_by_set(set, 0, false, true))
			wrong("%u: a one-shot registration is told twice", w->e.number);
		if (epoll_ctl(set, EPOLL_CTL_MOD, fd, &event))
			wrong("%u: armed again: %s", w->e.number, RESULT(-1));
	} else {
		struct epoll_event outside;

		if (outer >= 0 && epoll_wait(outer, &outside, 1, 3000) != 1)
			wrong("%u: the outer set is not told", w->e.number);
	}
	if (told_by_set(set, 1u << number, true, true) != 1u << number)
		wrong("%u: a one-shot registration is not told", w->e.number);
	if (!unread(w))
		peer_wait();
	w->in += n;
	w->edge = true;
	close(set);
	if (outer >= 0)
		close(outer);
}
