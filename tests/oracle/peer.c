/* The peer's side: one order, one answer. */
#include "peer.h"
#include "wire.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <time.h>

#define ENDS 1100

struct peer_end {
	int fd;
	uint64_t sent, taken;
};

static struct peer_end ends[ENDS];
static __thread int listener = -1;
static __thread unsigned char *bytes;

static void pause_ms(int ms)
{
	struct timespec t = {ms / 1000, ms % 1000 * 1000000l};

	while (nanosleep(&t, &t) && errno == EINTR)
		;
}

static long send_some(struct peer_end *e, long count, int flags)
{
	content_fill(1, e->sent, bytes, (size_t)count);
	long sent = send(e->fd, bytes, (size_t)count, flags | MSG_NOSIGNAL);

	if (sent > 0)
		e->sent += (uint64_t)sent;
	return sent;
}

static long send_whole(struct peer_end *e, long count, long each)
{
	long done = 0;

	while (done < count) {
		long part = count - done < each ? count - done : each;
		long sent = send_some(e, part, 0);

		if (sent < 0 && errno == EAGAIN) {
			poll(&(struct pollfd){e->fd, POLLOUT, 0}, 1, 1000);
			continue;
		}
		if (sent < 0)
			return done ? done : -1;
		done += sent;
		if (each < (long)ROOM)
			pause_ms(1);
	}
	return done;
}

static long recv_some(struct peer_end *e, long count, int flags, bool *bad)
{
	long taken = recv(e->fd, bytes, (size_t)count, flags);

	if (taken > 0) {
		*bad |= content_good(0, e->taken, bytes, (size_t)taken) < (size_t)taken;
		if (!(flags & MSG_PEEK))
			e->taken += (uint64_t)taken;
	}
	return taken;
}

/* count < 0: to the end of the stream. The result is the number of bytes; error says how it ended, if not by the count. */
static long recv_whole(struct peer_end *e, long count, bool *bad, int *error)
{
	long done = 0;

	while (count < 0 || done < count) {
		long part = count < 0 || count - done > (long)ROOM ? (long)ROOM : count - done;
		long taken = recv_some(e, part, 0, bad);

		if (taken < 0 && errno == EAGAIN) {
			poll(&(struct pollfd){e->fd, POLLIN, 0}, 1, 1000);
			continue;
		}
		if (taken < 0)
			*error = errno;
		else if (!taken && count >= 0)
			*error = ENODATA;
		if (taken <= 0)
			break;
		done += taken;
	}
	return done;
}

static long recv_back(struct peer_end *e, long count, bool *bad)
{
	long done = 0;

	while (done < count) {
		long taken = recv(e->fd, bytes, (size_t)(count - done < (long)ROOM ? count - done : (long)ROOM), 0);

		if (taken <= 0)
			break;
		*bad |= content_good(1, e->sent - (uint64_t)(count - done), bytes, (size_t)taken) < (size_t)taken;
		done += taken;
	}
	return done;
}

/* How many whole ones of equal bytes there are. */
static long recv_records(struct peer_end *e, long count, long each)
{
	long good = 0;

	for (long i = 0; i < count; i++) {
		if (recv(e->fd, bytes, (size_t)each, MSG_WAITALL) != each)
			break;
		good += !memcmp(bytes, bytes + 1, (size_t)each - 1);
	}
	return good;
}

/* Neither way waits for the other. */
static long cross(struct peer_end *e, long out, long in, bool *bad)
{
	long put = 0, got = 0;

	while (put < out || got < in) {
		struct pollfd p = {e->fd, (short)((put < out ? POLLOUT : 0) | (got < in ? POLLIN : 0)), 0};
		long n = poll(&p, 1, 5000) == 1 ? 0 : -1;

		if (!n && p.revents & POLLIN && (n = recv_some(e, in - got < 50000 ? in - got : 50000, MSG_DONTWAIT, bad)) > 0)
			got += n;
		if (n >= 0 && p.revents & POLLOUT && (n = send_some(e, out - put < 50000 ? out - put : 50000, MSG_DONTWAIT)) > 0)
			put += n;
		if (n < 0 && errno != EAGAIN)
			return -1;
	}
	return put;
}

static long mirror(struct peer_end *e, long count)
{
	long n = recv(e->fd, bytes, (size_t)count, MSG_WAITALL);

	return n > 0 ? send(e->fd, bytes, (size_t)n, MSG_NOSIGNAL) : n;
}

static void listen_at(const struct peer_order *order, struct peer_answer *answer)
{
	if (listener >= 0)
		close(listener);
	listener = socket(order->address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	answer->result = bind(listener, (const struct sockaddr *)&order->address, order->length);
	if (!answer->result)
		answer->result = listen(listener, 64);
	answer->length = sizeof(answer->address);
	if (!answer->result)
		answer->result = getsockname(listener, (struct sockaddr *)&answer->address, &answer->length);
}

static long echo(struct peer_end *e, long messages, bool *bad)
{
	int error = 0;

	for (long i = 0; i < messages; i++) {
		if (recv_whole(e, 8, bad, &error) < 8 || send_some(e, 8, 0) < 8)
			return -1;
	}
	return messages;
}

/* Its number may soon be another's. */
static long close_end(struct peer_end *e)
{
	int fd = e->fd;

	e->fd = -1;
	return close(fd);
}

static long reset(struct peer_end *e)
{
	struct linger now = {1, 0};

	setsockopt(e->fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	return close_end(e);
}

static long query_poll(const struct peer_end *e, const struct peer_order *order)
{
	struct pollfd p = {e->fd, (short)order->flags, 0};
	int n = poll(&p, 1, (int)order->count);

	return n < 0 ? n : p.revents;
}

static void serve_open(struct peer_end *e, const struct peer_order *order, struct peer_answer *answer)
{
	*e = (struct peer_end){.fd = -1};
	if (order->does == PEER_ACCEPT) {
		e->fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	} else {
		e->fd = socket(order->address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
		if (connect(e->fd, (const struct sockaddr *)&order->address, order->length)) {
			close(e->fd);
			e->fd = -1;
		}
	}
	if (e->fd >= 0 && order->flags)
		return;
	answer->result = e->fd < 0 ? -1 : setsockopt(e->fd, SOL_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
}

static void serve_name(const struct peer_end *e, const struct peer_order *order, struct peer_answer *answer)
{
	answer->length = sizeof(answer->address);
	if (order->flags)
		answer->result = getpeername(e->fd, (struct sockaddr *)&answer->address, &answer->length);
	else
		answer->result = getsockname(e->fd, (struct sockaddr *)&answer->address, &answer->length);
}

static void serve_transfer(struct peer_end *e, const struct peer_order *order, struct peer_answer *answer)
{
	switch (order->does) {
	case PEER_ECHO:
		answer->result = echo(e, order->count, &answer->bad);
		break;
	case PEER_SEND:
		answer->result = send_some(e, order->count, order->flags);
		break;
	case PEER_SEND_ALL:
		answer->result = send_whole(e, order->count, ROOM);
		break;
	case PEER_DRIBBLE:
		answer->result = send_whole(e, order->count, order->more);
		break;
	case PEER_RECV:
		answer->result = recv_some(e, order->count, order->flags, &answer->bad);
		break;
	case PEER_RECV_ALL:
		answer->result = recv_whole(e, order->count, &answer->bad, &errno);
		break;
	case PEER_RECV_BACK:
		answer->result = recv_back(e, order->count, &answer->bad);
		break;
	case PEER_MIRROR:
		answer->result = mirror(e, order->count);
		break;
	case PEER_CROSS:
		answer->result = cross(e, order->count, order->more, &answer->bad);
		break;
	case PEER_RECORDS:
		answer->result = recv_records(e, order->count, order->more);
		break;
	default:
		answer->result = recv_whole(e, -1, &answer->bad, &errno);
	}
}

static void serve_state(struct peer_end *e, const struct peer_order *order, struct peer_answer *answer)
{
	int on = order->flags, value = (int)order->more, pending = 0;

	switch (order->does) {
	case PEER_SHUTDOWN:
		answer->result = shutdown(e->fd, order->flags);
		break;
	case PEER_CLOSE:
		answer->result = close_end(e);
		break;
	case PEER_RESET:
		answer->result = reset(e);
		break;
	case PEER_POLL:
		answer->result = query_poll(e, order);
		break;
	case PEER_PENDING:
		answer->result = ioctl(e->fd, FIONREAD, &pending) ? -1 : pending;
		break;
	case PEER_NONBLOCK:
		answer->result = ioctl(e->fd, FIONBIO, &on);
		break;
	default:
		answer->result = setsockopt(e->fd, (int)order->count, order->flags, &value, sizeof(value));
	}
}

/* On a busy machine the call that is to be interrupted may not have begun yet when the delay is over; then nothing would end it. */
static void await_asleep(const struct peer_order *order)
{
	char path[64], text[256];

	snprintf(path, sizeof(path), "/proc/%ld/task/%ld/stat", order->count, order->more);
	for (int i = 0; i < 200; i++) {
		int fd = open(path, O_RDONLY | O_CLOEXEC);
		ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
		const char *state;

		if (fd >= 0)
			close(fd);
		text[n > 0 ? n : 0] = 0;
		state = strrchr(text, ')');
		if (!state || state[2] != 'R')
			return;
		pause_ms(5);
	}
}

static void serve_process(const struct peer_order *order, struct peer_answer *answer)
{
	if (order->does == PEER_SIGNAL) {
		if (order->delay_ms)
			await_asleep(order);
		answer->result = syscall(SYS_tgkill, (pid_t)order->count, (pid_t)order->more, order->flags);
	} else if (order->does == PEER_STOP_AND_GO) {
		answer->result = kill((pid_t)order->count, SIGSTOP);
		pause_ms(50);
		kill((pid_t)order->count, SIGCONT);
	} else if (order->does == PEER_END) {
		_exit(0);
	}
}

static void serve_one(const struct peer_order *order, struct peer_answer *answer)
{
	struct peer_end *e = &ends[order->number % ENDS];

	if (order->delay_ms)
		pause_ms(order->delay_ms);
	errno = 0;
	switch (order->does) {
	case PEER_LISTEN:
		listen_at(order, answer);
		break;
	case PEER_ACCEPT:
	case PEER_CONNECT:
		serve_open(e, order, answer);
		break;
	case PEER_NAME:
		serve_name(e, order, answer);
		break;
	case PEER_UDP_OPEN ... PEER_UDP_ECHO:
		peer_udp_serve(&e->fd, &e->sent, &e->taken, order, answer);
		break;
	case PEER_ECHO ... PEER_DRAIN:
		serve_transfer(e, order, answer);
		break;
	case PEER_SHUTDOWN ... PEER_OPTION:
		serve_state(e, order, answer);
		break;
	default:
		serve_process(order, answer);
	}
	answer->error = errno;
}

void peer_serve(int channel)
{
	struct peer_order order;

	bytes = malloc(ROOM);
	while (wire_take_order(channel, &order)) {
		struct peer_answer answer = {0};

		serve_one(&order, &answer);
		if (!wire_send_answer(channel, &answer))
			break;
	}
}
