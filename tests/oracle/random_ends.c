/* How a walker's stream ends: every way of it that is determined, and then another stream begins. */
#include "walking.h"

#include <netinet/in.h>
#include <poll.h>

static void expect_poll(const struct walker *w, unsigned expected)
{
	struct pollfd p = {w->e.fd, POLLIN | POLLOUT | POLLRDHUP, 0};

	poll(&p, 1, 0);
	if ((unsigned)p.revents != expected)
		wrong("%u: at its end poll gives %s", w->e.number, POLLED((unsigned)p.revents));
}

static void expect_error(const struct walker *w, long result, int error)
{
	if (error ? result != -1 || errno != error : result != 0)
		wrong("%u: at its end %s", w->e.number, RESULT(result));
}

/* All that was sent has come: no end that is sent now takes anything with it. */
static void all_come(const struct walker *w)
{
	if (unread(w))
		arrive(&w->e, (int)unread(w));
	rest();
}

static void take_rest(struct walker *w)
{
	take(&w->e, unread(w));
	w->e.taken = w->in;
}

static void peer_finds(const struct walker *w, int error)
{
	uint64_t there = w->e.sent - w->peer_taken;

	quietly();
	struct peer_answer answer = peer_ask((struct peer_order){.does = PEER_DRAIN, .number = w->e.number});

	if ((uint64_t)answer.result != there || answer.error != error)
		wrong("%u: at its end the peer got %ld of %lu, %d", w->e.number, answer.result, (unsigned long)there, answer.error);
}

static void close_with_linger(struct walker *w, int seconds)
{
	struct linger linger = {1, seconds};

	setsockopt(w->e.fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
	close_numbers(w);
}

static void reset_comes(struct walker *w)
{
	rest();
	if (any(2))
		expect_poll(w, POLLIN | POLLOUT | POLLERR | POLLHUP | POLLRDHUP);
	take_rest(w);
	if (any(3)) {
		expect_error(w, recv(w->fd[0], room, 10, any(2) ? MSG_DONTWAIT : 0), ECONNRESET);
		expect_error(w, recv(w->fd[0], room, 10, 0), 0);
	} else {
		expect_error(w, send(w->fd[0], room, 10, MSG_NOSIGNAL), ECONNRESET);
	}
	expect_error(w, send(w->fd[0], room, 10, MSG_NOSIGNAL), EPIPE);
}

static void end_peer_resets(struct walker *w)
{
	all_come(w);
	peer_reset(&w->e);
	reset_comes(w);
}

static void end_peer_closes_with_unread(struct walker *w)
{
	if (w->e.sent == w->peer_taken)
		give(&w->e, 1 + any(3000));
	all_come(w);
	peer_close(&w->e);
	reset_comes(w);
}

static void end_we_reset(struct walker *w)
{
	all_come(w);
	close_with_linger(w, 0);
	peer_finds(w, ECONNRESET);
}

static void end_we_close_with_unread(struct walker *w)
{
	if (!unread(w)) {
		size_t n = 1 + any(3000);

		w->in += n;
		peer_send(&w->e, (long)n);
	}
	all_come(w);
	close_numbers(w);
	peer_finds(w, ECONNRESET);
}

static void end_we_linger(struct walker *w)
{
	take_rest(w);
	close_with_linger(w, 2);
	peer_finds(w, 0);
}

/* What comes behind it is read all the same. */
static void end_we_shut_reading(struct walker *w)
{
	size_t n = 1 + any(3000);

	all_come(w);
	if (shutdown(any_fd(w), SHUT_RD))
		wrong("%u: shutdown for reading: %s", w->e.number, RESULT(-1));
	expect_poll(w, POLLIN | POLLOUT | POLLRDHUP);
	take_rest(w);
	expect_error(w, recv(any_fd(w), room, 10, 0), 0);
	if (any(2)) {
		peer_send(&w->e, (long)n);
		w->in += n;
		arrive(&w->e, (int)n);
		take_rest(w);
	}
	expect_error(w, recv(any_fd(w), room, 10, MSG_DONTWAIT), 0);
	give(&w->e, 10);
	close_numbers(w);
	peer_finds(w, 0);
}

static void end_we_shut_both(struct walker *w)
{
	all_come(w);
	if (shutdown(any_fd(w), SHUT_RDWR))
		wrong("%u: shutdown for both: %s", w->e.number, RESULT(-1));
	expect_poll(w, POLLIN | POLLOUT | POLLRDHUP | POLLHUP);
	take_rest(w);
	expect_error(w, recv(any_fd(w), room, 10, any(2) ? MSG_DONTWAIT : 0), 0);
	expect_error(w, send(any_fd(w), room, 10, MSG_NOSIGNAL), EPIPE);
	if (any(2))
		close_numbers(w);
	peer_finds(w, 0);
}

static void end_we_disconnect(struct walker *w)
{
	struct sockaddr nobody = {.sa_family = AF_UNSPEC};
	int error;

	all_come(w);
	if (connect(any_fd(w), &nobody, sizeof(nobody)))
		wrong("%u: disconnect: %s", w->e.number, RESULT(-1));
	/* What it finds first depends on what was on its way. */
	getsockopt(w->e.fd, SOL_SOCKET, SO_ERROR, &error, &(socklen_t){sizeof(error)});
	expect_error(w, recv(any_fd(w), room, 10, 0), ENOTCONN);
	peer_finds(w, ECONNRESET);
}

void step_end(struct walker *w)
{
	static void (*const ends[])(struct walker *) = {
		end_we_shut_both,  end_we_linger,           end_we_shut_reading, end_peer_resets, end_we_reset, end_peer_closes_with_unread,
		end_we_disconnect, end_we_close_with_unread};
	static const char *const names[] = {
		"we shut both",  "we linger",           "we shut reading", "the peer resets", "we reset", "the peer closes with unread",
		"we disconnect", "we close with unread"};
	uint64_t how = any(w->e.family == AF_UNIX ? 2 : sizeof(ends) / sizeof(ends[0]));

	if (w->shut || w->peer_shut)
		return;
	doing("%u: ends: %s (%lu unread here, %lu there)", w->e.number, names[how], (unsigned long)unread(w),
	      (unsigned long)(w->e.sent - w->peer_taken));
	lend_end(w, any(2));
	ends[how](w);
	close_walker(w);
	open_walker(w);
}
