/* A storm's single calls: sending, receiving and waiting in many ways, each checked. */
#include "storm.h"

#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/select.h>
#include <sys/sendfile.h>
#include <sys/syscall.h>

static size_t some_size(void)
{
	switch (draw(8)) {
	case 0:
		return 1 + draw(3);
	case 1:
		return 1 + draw(STORM_ROOM - 1);
	case 2:
	case 3:
		return 1 + draw(40000);
	case 4:
		return 4096;
	default:
		return 1 + draw(2000);
	}
}

static unsigned content_of(unsigned stream, unsigned way)
{
	return stream * 2 + way;
}

/* ---- waiting ---- */

static bool by_poll(int fd, short events, int ms)
{
	struct pollfd p[2] = {{fd, events, 0}, {-1, POLLIN, 0}};
	struct timespec t = {0, ms * 1000000l};

	return (draw(2) ? poll(p, 1 + draw(2), ms) : ppoll(p, 1, &t, NULL)) > 0;
}

static bool by_select(int fd, short events, int ms)
{
	struct timeval t = {0, ms * 1000l};
	fd_set set;

	if (fd >= FD_SETSIZE)
		return by_poll(fd, events, ms);
	FD_ZERO(&set);
	FD_SET(fd, &set);
	return select(fd + 1, events & POLLIN ? &set : NULL, events & POLLOUT ? &set : NULL, NULL, &t) > 0;
}

/* A set, or one in another. */
static bool by_new_set(int fd, short events, int ms)
{
	struct epoll_event event = {(uint32_t)events, {.u64 = 7}};
	int set = (int)MUST(epoll_create1(EPOLL_CLOEXEC)), outer = -1;
	bool told;

	if (!draw(3))
		event.events |= EPOLLET;
	if (!draw(4))
		event.events |= EPOLLONESHOT;
	MUST(epoll_ctl(set, EPOLL_CTL_ADD, fd, &event));
	if (!draw(3)) {
		outer = (int)MUST(epoll_create1(EPOLL_CLOEXEC));
		event.events = EPOLLIN | (draw(2) ? EPOLLET : 0u);
		MUST(epoll_ctl(outer, EPOLL_CTL_ADD, set, &event));
		told = epoll_wait(outer, &event, 1, ms) > 0;
		/* An outer set may be told of what the inner one finds gone. */
		told = told && epoll_wait(set, &event, 1, 0) > 0;
		close(outer);
	} else {
		told = epoll_wait(set, &event, 1, ms) > 0;
	}
	close(set);
	return told;
}

/* Who told that fd can be read, or written, and was not right; NULL: nobody. */
static const char *told_of(int fd, short events)
{
	int ms = draw(2) ? 0 : (int)draw(30);

	switch (draw(4)) {
	case 0:
		return by_select(fd, events, ms) ? "told in vain by select" : NULL;
	case 1:
		return by_new_set(fd, events, ms) ? "told in vain by a set" : NULL;
	default:
		return by_poll(fd, events, ms) ? "told in vain by poll" : NULL;
	}
}

/* ---- sending ---- */

static ssize_t by_file(int fd, const unsigned char *bytes, size_t count)
{
	int file = (int)MUST(memfd_create("storm", MFD_CLOEXEC));
	off_t from = 0;
	ssize_t n;

	MUST(write(file, bytes, count));
	MUST(lseek(file, 0, SEEK_SET));
	n = sendfile(fd, file, draw(2) ? &from : NULL, count);
	int error = errno;

	close(file);
	errno = error;
	return n;
}

/* What is in the pipe has to go somewhere, whatever happens. */
static ssize_t by_pipe(int fd, const unsigned char *bytes, size_t count)
{
	int ends[2];
	size_t done = 0;

	if (count > 30000)
		count = 30000;
	MUST(pipe2(ends, O_CLOEXEC));
	MUST(write(ends[1], bytes, count));
	while (done < count) {
		ssize_t n = splice(ends[0], NULL, fd, NULL, count - done, draw(2) ? SPLICE_F_MOVE : 0);

		if (n < 0 && errno == EAGAIN)
			poll(&(struct pollfd){fd, POLLOUT, 0}, 1, 10);
		else if (n <= 0 && errno != EINTR)
			break;
		done += n > 0 ? (size_t)n : 0;
	}
	int error = errno;

	close(ends[0]);
	close(ends[1]);
	errno = error;
	return done ? (ssize_t)done : -1;
}

static ssize_t send_by(int fd, unsigned char *bytes, size_t n, bool waits)
{
	struct iovec v[3] = {{bytes, n / 3}, {bytes + n / 3, n / 2}, {bytes + n / 3 + n / 2, n - n / 3 - n / 2}};
	struct mmsghdr m = {.msg_hdr = {.msg_iov = v, .msg_iovlen = 3}};
	int flags = MSG_NOSIGNAL | (waits ? 0 : MSG_DONTWAIT) | (draw(20) ? 0 : MSG_MORE);

	switch (waits ? draw(12) : 6 + draw(3)) {
	case 0:
		return write(fd, bytes, n);
	case 1:
		return writev(fd, v, 3);
	case 2:
		return syscall(SYS_write, fd, bytes, n);
	case 3:
		return draw(8) || !storm->spliced ? write(fd, bytes, n) : by_pipe(fd, bytes, n);
	case 4:
		return draw(3) ? write(fd, bytes, n) : by_file(fd, bytes, n);
	case 6:
		return sendmsg(fd, &m.msg_hdr, flags);
	case 7:
		return sendmmsg(fd, &m, 1, flags) == 1 ? (ssize_t)m.msg_len : -1;
	default:
		return send(fd, bytes, n, flags);
	}
}

/* To the other program, which is killed: how it may end. The error is told once, whatever call it is, and then there is an end. */
static bool may_end_so(unsigned stream, int error)
{
	if (!storm->doomed || (error != ECONNRESET && error != EPIPE))
		return false;
	storm->told[stream] = true;
	return true;
}

static bool was_told(unsigned stream)
{
	for (int i = 0; i < 100 && !storm->told[stream]; i++)
		usleep(1000); /* another's call */
	return storm->told[stream];
}

/* Room that was there goes where the ring's bytes are sent by the kernel meanwhile, as they are for an option or a child. */
static bool room_is_promised(unsigned stream)
{
	return !storm->demotes[stream] && !storm->helped;
}

bool storm_send(unsigned stream, unsigned side, bool waits)
{
	struct way *way = &storm->way[stream][side];
	int fd = ends_here[stream][side].fd;
	uint64_t left = way->total - way->sent;
	size_t n = some_size();
	const char *told = !waits && draw(2) ? told_of(fd, POLLOUT) : NULL;

	if (way->broken || way->shut)
		return false;
	if (!left) {
		way->shut = true;
		if (shutdown(fd, SHUT_WR) && !(storm->doomed && errno == ENOTCONN))
			storm_wrong("shutdown", stream, side, -1);
		return true;
	}
	if (n > left)
		n = left;
	content_fill(content_of(stream, side), way->sent, storm_room, n);
	ssize_t sent = send_by(fd, storm_room, n, waits);

	if (sent > 0) {
		way->sent += (uint64_t)sent;
		return true;
	}
	if (sent < 0 && may_end_so(stream, errno))
		way->broken = true;
	else if (sent == 0 || (errno != EAGAIN && errno != EINTR))
		storm_wrong("send", stream, side, sent);
	else if (errno == EAGAIN && (waits || (told && room_is_promised(stream))))
		storm_wrong(waits ? "blocking send" : told, stream, side, sent);
	return false;
}

/* ---- receiving ---- */

/* Which bytes of all those sent came in their stead. Fewer than this are found in many places. */
#define SURELY 4000

static void tell_origin(uint64_t expected, const unsigned char *bytes, size_t count)
{
	for (unsigned way = 0; way < STREAMS * 2; way++) {
		for (uint64_t from = 0; from < storm->way[way / 2][way % 2].sent; from++) {
			size_t good = content_good(way, from, bytes, count);

			if (good >= SURELY)
				say("  %zu of %zu bytes, expected those from %" PRIu64 " on, are those of stream %u, side %u, from %" PRIu64
				    " on",
				    good, count, expected, way / 2, way % 2, from);
		}
	}
}

static void check(unsigned stream, unsigned side, size_t count, const char *what)
{
	const struct way *way = &storm->way[stream][!side];
	size_t good = content_good(content_of(stream, !side), way->taken, storm_room, count);

	if (good == count)
		return;
	tell_origin(way->taken + good, storm_room + good, count - good);
	storm_wrong(what, stream, side, (long)good);
}

static ssize_t into_pipe(int fd, size_t n)
{
	struct pollfd readable = {fd, POLLIN, 0};
	int ends[2];
	ssize_t got;

	/* It would wait. */
	if (poll(&readable, 1, 0) != 1)
		return recv(fd, storm_room, n, MSG_DONTWAIT);
	MUST(pipe2(ends, O_CLOEXEC));
	got = splice(fd, NULL, ends[1], NULL, n < 30000 ? n : 30000, SPLICE_F_NONBLOCK);
	int error = errno;

	if (got > 0)
		MUST(read(ends[0], storm_room, (size_t)got));
	close(ends[0]);
	close(ends[1]);
	errno = error;
	return got;
}

static ssize_t receive_by(int fd, size_t n, bool waits)
{
	struct iovec v[2] = {{storm_room, n / 2}, {storm_room + n / 2, n - n / 2}};
	struct mmsghdr m = {.msg_hdr = {.msg_iov = v, .msg_iovlen = 2}};
	int flags = waits ? 0 : MSG_DONTWAIT;

	switch (waits ? draw(9) : 6 + draw(4)) {
	case 0:
		return read(fd, storm_room, n);
	case 1:
		return readv(fd, v, 2);
	case 2:
		return syscall(SYS_read, fd, storm_room, n);
	case 3:
		return recv(fd, storm_room, n < 3000 ? n : 3000, MSG_WAITALL);
	case 6:
		return recvmsg(fd, &m.msg_hdr, flags);
	case 7:
		return recvmmsg(fd, &m, 1, flags, NULL) == 1 ? (ssize_t)m.msg_len : -1;
	case 9:
		return draw(10) || !storm->spliced ? recv(fd, storm_room, n, flags) : into_pipe(fd, n);
	default:
		return recv(fd, storm_room, n, flags);
	}
}

static void look_before(unsigned stream, unsigned side, int fd, const char **told)
{
	const struct way *way = &storm->way[stream][!side];
	int unread = 0;

	if (!draw(4) && ioctl(fd, FIONREAD, &unread) == 0) {
		if (unread < 0 || (uint64_t)unread > way->total - way->taken)
			storm_wrong("FIONREAD", stream, side, unread);
		*told = unread > 0 ? "told in vain by FIONREAD" : *told;
	}
	if (!draw(5)) {
		ssize_t n = recv(fd, storm_room, some_size(), MSG_PEEK | MSG_DONTWAIT);

		if (n > 0)
			check(stream, side, (size_t)n, "bad content in what was peeked");
		if (n < 0 && may_end_so(stream, errno))
			return;
		if (n < 0 && errno == EAGAIN && *told)
			storm_wrong(*told, stream, side, n);
		*told = n > 0 ? "told in vain by a peek" : *told;
	}
}

static void end_of_way(unsigned stream, unsigned side)
{
	struct way *way = &storm->way[stream][!side];

	if (storm->doomed ? way->taken < way->sent && !was_told(stream) : way->taken < way->total || !way->shut)
		storm_wrong("an end too early", stream, side, 0);
	way->ended = true;
}

bool storm_receive(unsigned stream, unsigned side, bool waits)
{
	const char *told = NULL;
	struct way *way = &storm->way[stream][!side];
	int fd = ends_here[stream][side].fd;

	if (way->ended || way->broken)
		return false;
	if (draw(3) == 0)
		told = told_of(fd, POLLIN);
	look_before(stream, side, fd, &told);
	ssize_t got = receive_by(fd, some_size(), waits);

	if (got > 0) {
		check(stream, side, (size_t)got, "bad content");
		way->taken += (uint64_t)got;
		return true;
	}
	if (got == 0)
		end_of_way(stream, side);
	else if (may_end_so(stream, errno))
		way->ended = true;
	else if (errno != EAGAIN && errno != EINTR)
		storm_wrong("receive", stream, side, got);
	else if (errno == EAGAIN && (waits || told))
		storm_wrong(waits ? "blocking receive" : told, stream, side, got);
	return false;
}
