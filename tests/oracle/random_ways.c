/* Steps of a random walk: bytes that go by pipes, files, FILEs, as urgent ones, both ways at once, and under signals. */
#include "walking.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/syscall.h>
#include <time.h>

#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid
#endif

/* Room for so many bytes more in the peer. */
static bool room_there(const struct walker *w, size_t count)
{
	return !w->shut && w->e.sent - w->peer_taken + count <= UNREAD_MOST;
}

static void splice_in(struct walker *w, int pipe_in, int pipe_out, bool twice)
{
	size_t n = 1 + any(30000);
	int copy[2];

	arrive(&w->e, (int)unread(w));
	doing("%u: splice %zu of %lu%s", w->e.number, n, (unsigned long)unread(w), twice ? ", tee" : "");
	long got = splice(any_fd(w), NULL, pipe_in, NULL, n, any(2) ? SPLICE_F_NONBLOCK : 0);

	if (got <= 0 || (size_t)got > n) {
		wrong("%u: splice gives %s", w->e.number, RESULT(got));
		return;
	}
	if (twice) {
		MUST(pipe2(copy, O_CLOEXEC));
		if (tee(pipe_out, copy[1], (size_t)got, 0) != got || read(copy[0], room, (size_t)got) != got)
			wrong("%u: tee of %ld", w->e.number, got);
		check_taken(w, got, true);
		close(copy[0]);
		close(copy[1]);
	}
	if (read(pipe_out, room, (size_t)got) != got)
		wrong("%u: the pipe has less than %ld", w->e.number, got);
	check_taken(w, got, false);
}

static void splice_out(struct walker *w, int pipe_in, int pipe_out)
{
	size_t n = 1 + any(30000), done = 0;

	if (!room_there(w, n))
		return;
	doing("%u: splice %zu out", w->e.number, n);
	/* Pages of its own, which nobody writes to any more: the pipe has no copy of them. */
	void *pages = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct iovec v = {pages, n};

	MUST(pages == MAP_FAILED ? -1 : 0);
	fill(&w->e, pages, n);
	MUST(any(2) ? vmsplice(pipe_in, &v, 1, 0) : write(pipe_in, pages, n));
	munmap(pages, n);
	while (done < n) {
		long put = splice(pipe_out, NULL, any_fd(w), NULL, n - done, 0);

		if (put <= 0) {
			wrong("%u: splice out gives %s", w->e.number, RESULT(put));
			return;
		}
		done += (size_t)put;
		gave(&w->e, put);
	}
}

void step_splice(struct walker *w)
{
	int ends[2];

	if (any(3))
		return;
	MUST(pipe2(ends, O_CLOEXEC));
	if (unread(w) && any(2))
		splice_in(w, ends[1], ends[0], !any(3));
	else
		splice_out(w, ends[1], ends[0]);
	close(ends[0]);
	close(ends[1]);
}

void step_file(struct walker *w)
{
	size_t n = any_size(), skip = any(5000);
	off_t from = (off_t)skip;
	bool at = any(2);

	if (!room_there(w, n))
		return;
	doing("%u: sendfile %zu", w->e.number, n);
	int file = (int)MUST(memfd_create("walk", MFD_CLOEXEC));

	fill(&w->e, room, n);
	MUST(pwrite(file, room, n, from));
	MUST(lseek(file, from, SEEK_SET));
	for (size_t done = 0; done < n;) {
		long put = sendfile(any_fd(w), file, at ? &from : NULL, n - done + any(2) * 1000);

		if (put <= 0 || done + (size_t)put > n) {
			wrong("%u: sendfile gives %s", w->e.number, RESULT(put));
			break;
		}
		done += (size_t)put;
		gave(&w->e, put);
	}
	if (lseek(file, 0, SEEK_CUR) != (off_t)(at ? skip : skip + n))
		wrong("%u: the file is at another place", w->e.number);
	close(file);
}

/* One that is out of line: with nothing before it, and read past it. */
void step_urgent(struct walker *w)
{
	size_t n = 1 + any(200);
	unsigned char byte;
	int at = 0;

	if (unread(w) || w->peer_shut || w->e.family == AF_UNIX || any(3))
		return;
	doing("%u: urgent, %zu", w->e.number, n);
	if (peer_send_flags(&w->e, (long)n, MSG_OOB) != (long)n)
		wrong("%u: the peer could not send an urgent byte", w->e.number);
	w->in += n;
	w->edge = true;
	struct pollfd p = {any_fd(w), POLLPRI, 0};

	if (poll(&p, 1, 3000) != 1 || p.revents != POLLPRI)
		wrong("%u: poll gives %s", w->e.number, POLLED((unsigned)p.revents));
	if (n > 1) {
		long got = recv(any_fd(w), room, 1000, MSG_WAITALL);

		if (got != (long)n - 1)
			wrong("%u: before the mark %s", w->e.number, RESULT(got));
		check_taken(w, got, false);
	}
	if (ioctl(any_fd(w), SIOCATMARK, &at) || !at)
		wrong("%u: not at the mark", w->e.number);
	if (recv(any_fd(w), &byte, 1, MSG_OOB) != 1 || content_good(1, w->e.taken, &byte, 1) != 1)
		wrong("%u: urgent byte: %s", w->e.number, RESULT(-1));
	w->e.taken++;
	peer_send(&w->e, 10);
	w->in += 10;
	long got = recv(any_fd(w), room, 10, 0);

	if (got != 10)
		wrong("%u: behind the mark %s", w->e.number, RESULT(got));
	check_taken(w, got, false);
}

void step_peek_offset(struct walker *w)
{
	uint64_t there = unread(w), at = 0;
	int from = (int)(there ? any(there) : 0), none = -1;

	/* Behind the end the ring is read first, from its begin: docs/caveats.md. */
	if (there < 2 || w->peer_shut || w->deep || w->e.family == AF_UNIX || any(4))
		return;
	arrive(&w->e, (int)there);
	doing("%u: peek from %d of %lu", w->e.number, from, (unsigned long)there);
	MUST(setsockopt(any_fd(w), SOL_SOCKET, SO_PEEK_OFF, &from, sizeof(from)));
	w->told_again = true;
	for (at = (uint64_t)from; at < there && !went_wrong();) {
		long got = recv(any_fd(w), room, 1 + any(there), MSG_PEEK);

		if (got <= 0 || content_good(1, w->e.taken + at, room, (size_t)got) < (size_t)got) {
			wrong("%u: peek at %lu gives %s", w->e.number, (unsigned long)at, RESULT(got));
			break;
		}
		at += (uint64_t)got;
	}
	MUST(setsockopt(any_fd(w), SOL_SOCKET, SO_PEEK_OFF, &none, sizeof(none)));
}

void step_low_water(struct walker *w)
{
	int mark = 2 + (int)any(3000), one = 1;
	uint64_t there = unread(w);
	struct pollfd p = {any_fd(w), POLLIN, 0};

	if (w->peer_shut || w->deep || w->e.family == AF_UNIX || any(4))
		return;
	if (there)
		arrive(&w->e, (int)there);
	doing("%u: low-water mark %d at %lu", w->e.number, mark, (unsigned long)there);
	MUST(setsockopt(any_fd(w), SOL_SOCKET, SO_RCVLOWAT, &mark, sizeof(mark)));
	if (poll(&p, 1, 0) != (there >= (uint64_t)mark))
		wrong("%u: with a mark of %d poll tells of %lu: %s", w->e.number, mark, (unsigned long)there, POLLED((unsigned)p.revents));
	MUST(setsockopt(any_fd(w), SOL_SOCKET, SO_RCVLOWAT, &one, sizeof(one)));
	/* Each change tells again. */
	w->edge |= there > 0;
}

void step_stdio(struct walker *w)
{
	bool in = unread(w) && any(2);
	size_t n = in ? (size_t)unread(w) : any_size();

	if (!in && !room_there(w, n))
		return;
	FILE *f = fdopen((int)MUST(dup(any_fd(w))), in ? "r" : "w");

	doing("%u: %s %zu by a FILE", w->e.number, in ? "read" : "write", n);
	if (!any(3)) {
		setvbuf(f, NULL, _IONBF, 0);
		if (in)
			n = 1 + any(n);
	}
	if (in) {
		if (fread(room, 1, n, f) != n)
			wrong("%u: fread: %s", w->e.number, RESULT(-1));
		check_taken(w, (long)n, false);
	} else {
		fill(&w->e, room, n);
		if (fwrite(room, 1, n, f) != n || fflush(f))
			wrong("%u: fwrite: %s", w->e.number, RESULT(-1));
		gave(&w->e, (long)n);
	}
	if (fclose(f))
		wrong("%u: fclose: %s", w->e.number, RESULT(-1));
}

static __thread volatile sig_atomic_t heard;

static void hear(int number __attribute__((unused)))
{
	heard++;
}

/* A signal to this thread every half a millisecond. */
static timer_t begin_signals(bool restart)
{
	struct sigaction action = {.sa_handler = hear, .sa_flags = restart ? SA_RESTART : 0};
	struct itimerspec often = {{0, 500000}, {0, 500000}};
	struct sigevent event;
	timer_t timer;

	memset(&event, 0, sizeof(event));
	event.sigev_notify = SIGEV_THREAD_ID;
	event.sigev_signo = SIGUSR2;
	event.sigev_notify_thread_id = (pid_t)syscall(SYS_gettid);
	MUST(sigaction(SIGUSR2, &action, NULL));
	MUST(timer_create(CLOCK_MONOTONIC, &event, &timer));
	MUST(timer_settime(timer, 0, &often, NULL));
	return timer;
}

/* EINTR is no news. */
static void carry(struct walker *w, uint64_t in, uint64_t out)
{
	uint64_t taken_most = w->e.taken + in, sent_most = w->e.sent + out;

	while (w->e.taken < taken_most || w->e.sent < sent_most) {
		short events = (short)((w->e.taken < taken_most ? POLLIN : 0) | (w->e.sent < sent_most ? POLLOUT : 0));
		struct pollfd p = {any_fd(w), events, 0};
		long n = 0;

		if (poll(&p, 1, 5000) == 0) {
			wrong("%u: nothing goes on at %lu in, %lu out", w->e.number, (unsigned long)w->e.taken, (unsigned long)w->e.sent);
			return;
		}
		if (p.revents & POLLIN) {
			n = recv(any_fd(w), room, 1 + any(ROOM), MSG_DONTWAIT);
			check_taken(w, n, false);
		}
		if (n >= 0 && p.revents & POLLOUT) {
			size_t part = 1 + any(100000);

			part = part < sent_most - w->e.sent ? part : (size_t)(sent_most - w->e.sent);
			fill(&w->e, room, part);
			n = send(any_fd(w), room, part, MSG_DONTWAIT);
			gave(&w->e, n);
		}
		if ((n < 0 && errno != EINTR && errno != EAGAIN) || (!n && w->e.taken < taken_most && p.revents & POLLIN)) {
			wrong("%u: on the way: %s", w->e.number, RESULT(n));
			return;
		}
	}
}

void step_both_ways(struct walker *w)
{
	uint64_t in = 1 + any(1000000), out = 1 + any(1000000);
	bool signalled = any(2);
	timer_t timer;

	if (unread(w) || w->e.sent != w->peer_taken || w->shut || w->peer_shut || any(2))
		return;
	doing("%u: both ways: %lu in, %lu out%s", w->e.number, (unsigned long)in, (unsigned long)out, signalled ? ", signals" : "");
	later(1);
	peer_ask((struct peer_order){.does = PEER_CROSS, .number = w->e.number, .count = (long)in, .more = (long)out});
	w->in += in;
	w->edge = true;
	if (signalled)
		timer = begin_signals(any(2));
	carry(w, in, out);
	if (signalled)
		timer_delete(timer);
	peer_wait();
	w->peer_taken += out;
}

void step_interrupted(struct walker *w)
{
	uint64_t n = 100000 + any(1000000);
	bool in = any(2);

	if (unread(w) || w->e.sent != w->peer_taken || w->shut || w->peer_shut || any(2))
		return;
	doing("%u: %lu %s under signals", w->e.number, (unsigned long)n, in ? "in" : "out");
	later(1);
	if (in)
		peer_send_all(&w->e, (long)n);
	else
		peer_recv_all(&w->e, (long)n);
	timer_t timer = begin_signals(any(2));

	if (in) {
		w->in += n;
		w->edge = true;
		while (unread(w)) {
			long got = recv(any_fd(w), room, 1 + any(ROOM), any(3) ? 0 : MSG_WAITALL);

			if (got == 0 || (got < 0 && errno != EINTR)) {
				wrong("%u: under signals: %s", w->e.number, RESULT(got));
				break;
			}
			check_taken(w, got, false);
		}
	} else {
		for (uint64_t most = w->e.sent + n; w->e.sent < most;) {
			size_t part = most - w->e.sent < ROOM ? (size_t)(most - w->e.sent) : ROOM;

			fill(&w->e, room, part);
			long put = send(any_fd(w), room, part, 0);

			if (put == 0 || (put < 0 && errno != EINTR)) {
				wrong("%u: under signals: %s", w->e.number, RESULT(put));
				break;
			}
			gave(&w->e, put);
		}
		w->peer_taken += n;
	}
	timer_delete(timer);
	peer_wait();
}

/* Told by a signal, and then not any more. */
void step_signalled(struct walker *w)
{
	struct sigaction action = {.sa_handler = hear};
	struct f_owner_ex me = {F_OWNER_TID, (pid_t)syscall(SYS_gettid)};
	uint64_t limit = now_ms() + 3000;
	int flags = fcntl(w->e.fd, F_GETFL);
	size_t n = 1 + any(300);

	if (unread(w) || w->peer_shut || any(4))
		return;
	doing("%u: told by a signal of %zu", w->e.number, n);
	MUST(sigaction(SIGIO, &action, NULL));
	MUST(fcntl(w->e.fd, F_SETOWN_EX, &me));
	MUST(fcntl(w->e.fd, F_SETFL, flags | O_ASYNC));
	heard = 0;
	peer_send(&w->e, (long)n);
	w->in += n;
	w->edge = true;
	while (!heard && now_ms() < limit)
		usleep(500);
	if (!heard)
		wrong("%u: no signal", w->e.number);
	MUST(fcntl(w->e.fd, F_SETFL, flags));
}
