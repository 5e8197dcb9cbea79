/* Steps of a random walk: event sets by level and by edge, against the model. */
#include "walking.h"

#include <poll.h>
#include <sys/epoll.h>

/* Which of the set are told. One call may tell some and a later one others, but none may be told that isn't ready. */
unsigned ask_set(int set, unsigned expected, unsigned possible, bool once)
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

unsigned ready_walkers(void)
{
	unsigned ready = 0;

	for (unsigned i = 0; i < WALKERS; i++) {
		if (!walkers[i].open)
			continue;
		if (unread(&walkers[i]))
			arrive(&walkers[i].e, (int)unread(&walkers[i]));
		if (unread(&walkers[i]) || walkers[i].peer_shut)
			ready |= 1u << i;
	}
	return ready;
}

void step_level(struct walker *w __attribute__((unused)))
{
	doing("level set");
	unsigned expected = ready_walkers(), got = ask_set(level_set, expected, expected, false);

	if (got != expected)
		wrong("level set gives %#x and not %#x", got, expected);
}

/* An edge is told if something came since the last look and isn't all read. */
void step_edge(struct walker *w __attribute__((unused)))
{
	unsigned expected = 0, possible = 0;

	doing("edge set");
	unsigned ready = ready_walkers();

	for (unsigned i = 0; i < WALKERS; i++) {
		if (walkers[i].edge)
			expected |= ready & 1u << i;
		/* The acknowledgement of our end of the stream, whenever it comes, is an edge too. */
		if (walkers[i].shut || walkers[i].told_again)
			possible |= ready & 1u << i;
		walkers[i].edge = walkers[i].told_again = false;
	}
	unsigned got = ask_set(edge_set, expected & ~possible, possible, true);

	if ((got & ~possible) != (expected & ~possible))
		wrong("edge set gives %#x and not %#x", got, expected);
}

void step_rearm(struct walker *w)
{
	struct epoll_event event = {EPOLLIN | EPOLLET, {.u32 = (unsigned)(w - walkers)}};

	doing("%u: edge set MOD", w->e.number);
	if (unread(w))
		arrive(&w->e, (int)unread(w));
	if (epoll_ctl(edge_set, EPOLL_CTL_MOD, w->e.fd, &event))
		wrong("MOD: %s", RESULT(-1));
	w->edge = w->edge || unread(w) || w->peer_shut;
}

void step_set_polled(struct walker *w __attribute__((unused)))
{
	struct pollfd p = {level_set, POLLIN, 0};
	bool expected = false;

	doing("level set polled");
	for (unsigned i = 0; i < WALKERS; i++) {
		if (!walkers[i].open)
			continue;
		if (unread(&walkers[i]))
			arrive(&walkers[i].e, (int)unread(&walkers[i]));
		expected |= unread(&walkers[i]) || walkers[i].peer_shut;
	}
	int n = poll(&p, 1, 0);

	if (n != expected)
		wrong("poll of the level set gives %d", n);
}
