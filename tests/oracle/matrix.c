/* The states of the matrix, and how a cell is made. */
#include "matrix.h"
#include "peer.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/time.h>

#define PATIENCE_US 30000 /* of a blocking call */
#define MOST_ENDS   200
#define UNREAD      30

static void send_unread(struct end *ends, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		quietly();
		peer_send(&ends[i], UNREAD);
	}
}

static void each(struct end *ends, unsigned count, void (*act)(struct end *e))
{
	for (unsigned i = 0; i < count; i++) {
		quietly();
		act(&ends[i]);
	}
}

static void fresh(struct end *ends, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		ends[i] = (struct end){.fd = (int)MUST(socket(manner.family, SOCK_STREAM, 0)), .family = manner.family};
}

static void bind_each(struct end *ends, unsigned count)
{
	struct sockaddr_storage at;
	socklen_t length = loopback(&at);

	fresh(ends, count);
	for (unsigned i = 0; i < count; i++)
		MUST(bind(ends[i].fd, (struct sockaddr *)&at, length));
}

/* A listener whose queue is full: what connects to it goes on connecting. */
static int full_listener(struct sockaddr_storage *at, socklen_t *length)
{
	int listener = (int)MUST(socket(manner.family, SOCK_STREAM, 0)), first = (int)MUST(socket(manner.family, SOCK_STREAM, 0));

	*length = loopback(at);
	MUST(bind(listener, (struct sockaddr *)at, *length));
	MUST(listen(listener, 0));
	MUST(getsockname(listener, (struct sockaddr *)at, length));
	MUST(connect(first, (struct sockaddr *)at, *length));
	return listener;
}

static void connect_each(struct end *ends, unsigned count, const struct sockaddr_storage *at, socklen_t length)
{
	fresh(ends, count);
	for (unsigned i = 0; i < count; i++) {
		nonblocking(ends[i].fd, true);
		if (connect(ends[i].fd, (const struct sockaddr *)at, length) == 0 || errno != EINPROGRESS)
			complain("connect: %s", RESULT(-1));
		nonblocking(ends[i].fd, false);
	}
}

static void make_connecting(struct end *ends, unsigned count)
{
	struct sockaddr_storage at;
	socklen_t length;

	full_listener(&at, &length);
	connect_each(ends, count, &at, length);
}

/* To a port that is bound, and so nobody else's, but doesn't listen. */
static void make_refused(struct end *ends, unsigned count)
{
	int closed = (int)MUST(socket(manner.family, SOCK_STREAM, 0));
	struct sockaddr_storage at;
	socklen_t length = loopback(&at);

	MUST(bind(closed, (struct sockaddr *)&at, length));
	MUST(getsockname(closed, (struct sockaddr *)&at, &length));
	connect_each(ends, count, &at, length);
	rest();
}

static void make_listening(struct end *ends, unsigned count)
{
	bind_each(ends, count);
	for (unsigned i = 0; i < count; i++)
		MUST(listen(ends[i].fd, 4));
}

static void make_listening_with_one(struct end *ends, unsigned count)
{
	struct sockaddr_storage at;

	make_listening(ends, count);
	for (unsigned i = 0; i < count; i++) {
		socklen_t length = sizeof(at);
		int fd = (int)MUST(socket(manner.family, SOCK_STREAM, 0));

		MUST(getsockname(ends[i].fd, (struct sockaddr *)&at, &length));
		MUST(connect(fd, (struct sockaddr *)&at, length));
	}
}

static void leave_idle(struct end *ends __attribute__((unused)), unsigned count __attribute__((unused)))
{
}

static void make_full(struct end *ends, unsigned count __attribute__((unused)))
{
	narrow(ends);
	say("full: %d", stuff(ends));
}

static void make_urgent(struct end *ends, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		quietly();
		peer_send(&ends[i], 5);
		quietly();
		peer_send_flags(&ends[i], 1, MSG_OOB);
		quietly();
		peer_send(&ends[i], 5);
	}
}

static void we_shut(struct end *ends, unsigned count, int how)
{
	for (unsigned i = 0; i < count; i++)
		MUST(shutdown(ends[i].fd, how));
}

static void make_we_shut_writing(struct end *ends, unsigned count)
{
	we_shut(ends, count, SHUT_WR);
}

static void make_we_shut_reading(struct end *ends, unsigned count)
{
	we_shut(ends, count, SHUT_RD);
}

static void make_we_shut_both(struct end *ends, unsigned count)
{
	we_shut(ends, count, SHUT_RDWR);
}

static void shut_by_peer(struct end *e)
{
	peer_shutdown(e, SHUT_WR);
}

static void make_peer_shut(struct end *ends, unsigned count)
{
	each(ends, count, shut_by_peer);
}

static void make_peer_shut_unread(struct end *ends, unsigned count)
{
	send_unread(ends, count);
	each(ends, count, shut_by_peer);
}

static void make_both_shut(struct end *ends, unsigned count)
{
	we_shut(ends, count, SHUT_WR);
	each(ends, count, shut_by_peer);
}

static void make_peer_closed(struct end *ends, unsigned count)
{
	each(ends, count, peer_close);
}

static void give_each(struct end *ends, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		give(&ends[i], UNREAD);
	rest();
}

static void make_peer_closed_before_reading(struct end *ends, unsigned count)
{
	give_each(ends, count);
	each(ends, count, peer_close);
}

static void make_reset(struct end *ends, unsigned count)
{
	each(ends, count, peer_reset);
}

static void make_reset_unread(struct end *ends, unsigned count)
{
	send_unread(ends, count);
	rest();
	each(ends, count, peer_reset);
}

/* A busy service may hold a connection that is being moved a little longer. */
static void kill_peer(const struct end *ends, unsigned count)
{
	peer_kill(SIGKILL);
	for (unsigned i = 0; i < count; i++)
		poll(&(struct pollfd){ends[i].fd, POLLRDHUP, 0}, 1, 2000);
}

static void make_peer_dead(struct end *ends, unsigned count)
{
	kill_peer(ends, count);
}

static void make_disconnected(struct end *ends, unsigned count)
{
	struct sockaddr none = {.sa_family = AF_UNSPEC};

	for (unsigned i = 0; i < count; i++)
		MUST(connect(ends[i].fd, &none, sizeof(none)));
}

const struct state state_unconnected = {fresh, 0}, state_bound = {bind_each, 0}, state_connecting = {make_connecting, 0},
		   state_refused = {make_refused, 0}, state_listening = {make_listening, 0},
		   state_listening_with_one = {make_listening_with_one, 0}, state_idle = {leave_idle, CONNECTED | PEER_LIVES | TOLD},
		   state_readable = {send_unread, CONNECTED | PEER_LIVES | TOLD}, state_full = {make_full, CONNECTED | PEER_LIVES | SHARED},
		   state_urgent = {make_urgent, CONNECTED | PEER_LIVES | TOLD | UNCHECKED},
		   state_we_shut_writing = {make_we_shut_writing, CONNECTED | PEER_LIVES | TOLD},
		   state_we_shut_reading = {make_we_shut_reading, CONNECTED | PEER_LIVES | TOLD},
		   state_we_shut_both = {make_we_shut_both, CONNECTED | PEER_LIVES | TOLD},
		   state_peer_shut = {make_peer_shut, CONNECTED | PEER_LIVES | TOLD},
		   state_peer_shut_unread = {make_peer_shut_unread, CONNECTED | PEER_LIVES | TOLD},
		   state_both_shut = {make_both_shut, CONNECTED | PEER_LIVES | TOLD}, state_peer_closed = {make_peer_closed, CONNECTED},
		   state_peer_closed_before_reading = {make_peer_closed_before_reading, CONNECTED}, state_reset = {make_reset, CONNECTED},
		   state_reset_unread = {make_reset_unread, CONNECTED}, state_peer_dead = {make_peer_dead, CONNECTED | PEER_DIES},
		   state_disconnected = {make_disconnected, CONNECTED};

static bool unchecked, patient;

static void stop_waiting(int number __attribute__((unused)))
{
}

static void patience(long us)
{
	struct itimerval t = {{0, us}, {0, us}}; /* again and again: the first may come before the call waits */

	MUST(setitimer(ITIMER_REAL, &t, NULL));
}

void cell_begin(struct end *e)
{
	fill(e, room, 200);
	signals = 0;
	if (patient)
		patience(PATIENCE_US);
}

void cell_end(struct end *e, enum cell what, const char *text, long result, int error)
{
	struct pollfd p = {e->fd, POLLIN | POLLPRI | POLLOUT | POLLRDHUP, 0};

	patience(0);
	poll(&p, 1, 0);
	say("%s -> %s, then %s%s", text, show_result(result, error, (char[48]){0}), POLLED((unsigned)p.revents),
	    signals ? ", SIGPIPE" : "");
	if (unchecked && what < GIVES)
		return;
	if (what == TAKES)
		took(e, room, result);
	else if (what == SEES)
		peeked(e, room, result);
	else if (what == DROPS && result > 0)
		e->taken += (uint64_t)result;
	else if (what == GIVES)
		gave(e, result);
	else if (what == URGES && result > 0)
		gave(e, result - 1); /* not one of the stream's bytes */
}

/* All are warmed up in turns, so that what goes on behind one goes on while the others talk. */
static void open_ends(struct end *ends, unsigned count)
{
	unsigned warm = manner.warm;
	bool demoted = manner.demoted;

	if (count == 1) {
		open_end(&ends[0], AF_INET, false);
		return;
	}
	manner.warm = 0;
	manner.demoted = false;
	for (unsigned i = 0; i < count; i++)
		open_end(&ends[i], AF_INET, false);
	for (unsigned turn = 0; turn < 3 && warm; turn++) {
		manner.warm = turn == 2 ? 2 : 5;
		for (unsigned i = 0; i < count; i++)
			warm_up(&ends[i]);
	}
	manner.warm = 0;
	manner.demoted = demoted;
	for (unsigned i = 0; i < count; i++)
		warm_up(&ends[i]);
	manner.warm = warm;
}

/* What the peer gets in the end: all that the cell's results say, and nothing else. */
static void finish(const struct state *state, struct end *e)
{
	while (recv(e->fd, room, ROOM, MSG_DONTWAIT) > 0)
		; /* else the end would be a reset */
	close(e->fd);
	if (!(state->what & PEER_LIVES))
		return;
	quietly();
	if (!(state->what & TOLD))
		peer_close(e);
	else if (peer_ask((struct peer_order){.does = PEER_DRAIN, .number = e->number}).result != (long)(e->sent - e->warmed))
		complain("the peer got another number of bytes than %lu", (unsigned long)(e->sent - e->warmed));
}

static void make_cells(const struct state *state, cells *calls, bool together, bool waiting)
{
	unsigned count = calls(NULL, -1u), number = together || (state->what & SHARED) ? 1 : count;
	struct end *ends = calloc(number, sizeof(*ends));

	if (state->what & CONNECTED)
		open_ends(ends, number);
	for (unsigned i = 0; i < number; i++)
		ends[i].warmed = ends[i].sent;
	state->make(ends, number);
	unchecked = state->what & UNCHECKED;
	patient = !together;
	rest();
	for (unsigned i = 0; i < number; i++)
		nonblocking(ends[i].fd, !waiting);
	say(waiting ? "waiting:" : "not waiting:");
	for (unsigned i = 0; i < count; i++)
		calls(&ends[number == 1 ? 0 : i], i);
	for (unsigned i = 0; i < number; i++)
		finish(state, &ends[i]);
	free(ends);
	if (state->what & PEER_DIES)
		peer_start();
}

void matrix(const struct state *state, cells *calls, bool together)
{
	struct sigaction action = {.sa_handler = stop_waiting};

	on_signal(SIGPIPE, 0);
	MUST(sigaction(SIGALRM, &action, NULL));
	make_cells(state, calls, together, true);
	make_cells(state, calls, together, false);
}
