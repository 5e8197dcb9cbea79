/*
 * step FROM STRIDE COUNT DEED FATE: kill, or stop, a process after any number of instructions inside a call on a stream.
 *
 * A victim and a survivor, each a program of its own, warm a stream up; then the victim is traced, and runs STEPS instructions of its deed
 * (send, recv, close; first: its first messages to and fro, in which the stream moves). There it is killed (kill), or left stopped while
 * the survivor uses its end, and then goes on (stop). FROM + STRIDE * i, i < COUNT, are the numbers of instructions tried; it is over
 * sooner if the deed was done before. Each trial must end in time, and what the survivor gets must be a prefix of what was sent.
 */
#include "survive.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define MESSAGE  100
#define MESSAGES 3
#define FIRST    12
#define WARMTH   24
#define LIMIT_MS 8000

/* Seen by all three processes. */
struct shared {
	_Atomic uint64_t sent;  /* by the victim, of its deed: calls that have returned */
	_Atomic uint64_t taken; /* by the survivor */
	_Atomic uint64_t heard; /* by the victim, when it is the one to receive */
	_Atomic uint32_t stage; /* of the survivor: 1 warmed up, 2 used its end while the victim was stopped */
	_Atomic uint32_t go;    /* the victim was dealt with */
	char end[32];           /* how the survivor's stream ended */
	char complaint[160];
};

static struct shared *shared;
static const char *deed, *fate;

static void complain(const char *format, long value)
{
	snprintf(shared->complaint, sizeof(shared->complaint), format, value);
}

static int map_shared(void)
{
	int fd = (int)MUST(memfd_create("step", 0));

	MUST(ftruncate(fd, 4096));
	return fd;
}

static void attach_shared(int fd)
{
	shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (shared == MAP_FAILED)
		fail("mmap: %m");
}

/* --- the victim ---------------------------------------------------------------------------------------------------------------- */

static void victim_sends(int fd)
{
	unsigned char bytes[MESSAGE];

	for (unsigned i = 0; i < MESSAGES; i++) {
		content_fill(0, shared->sent, bytes, sizeof(bytes));
		if (send(fd, bytes, sizeof(bytes), MSG_NOSIGNAL) != sizeof(bytes))
			return;
		shared->sent += sizeof(bytes);
	}
}

static void victim_receives(int fd)
{
	unsigned char bytes[MESSAGE];

	for (unsigned i = 0; i < MESSAGES; i++) {
		ssize_t n = recv(fd, bytes, sizeof(bytes), 0);

		if (n <= 0)
			return;
		if (content_good(1, shared->heard, bytes, (size_t)n) < (size_t)n)
			complain("the victim got a wrong byte after %ld", (long)shared->heard);
		shared->heard += (uint64_t)n;
	}
}

/* To and fro, from the first byte on. */
static void victim_begins(int fd)
{
	unsigned char bytes[MESSAGE];

	for (unsigned i = 0; i < FIRST; i++) {
		content_fill(0, shared->sent, bytes, sizeof(bytes));
		if (send(fd, bytes, sizeof(bytes), MSG_NOSIGNAL) != sizeof(bytes))
			return;
		shared->sent += sizeof(bytes);
		if (!recv_all(fd, bytes, sizeof(bytes)))
			return;
		if (content_good(1, shared->heard, bytes, sizeof(bytes)) < sizeof(bytes))
			complain("the victim got a wrong byte after %ld", (long)shared->heard);
		shared->heard += sizeof(bytes);
	}
}

/* What the survivor sent while this one stood still. */
static void victim_catches_up(int fd)
{
	unsigned char bytes[MESSAGE];

	if (strcmp(fate, "stop") || !strcmp(deed, "close"))
		return;
	if (!recv_all(fd, bytes, sizeof(bytes)) || content_good(1, shared->heard, bytes, sizeof(bytes)) < sizeof(bytes))
		complain("what was sent to the stopped victim did not come, or came wrong, after %ld", (long)shared->heard);
}

static void victim_does(int fd)
{
	if (!strcmp(deed, "first"))
		victim_begins(fd);
	else if (!strcmp(deed, "recv"))
		victim_receives(fd);
	else if (!strcmp(deed, "close"))
		close(fd);
	else
		victim_sends(fd);
}

static int victim(uint16_t port)
{
	int fd = connect_there(port);

	if (strcmp(deed, "first"))
		warm(fd, true, WARMTH);
	/* From here on the tracer counts; it sees the second signal, and nobody else does. */
	signal(SIGUSR2, SIG_IGN);
	ptrace(PTRACE_TRACEME, 0, 0, 0);
	raise(SIGSTOP);
	victim_does(fd);
	raise(SIGUSR2);
	/* Not killed before it was done. */
	victim_catches_up(fd);
	if (strcmp(deed, "close"))
		close(fd);
	return 0;
}

/* --- the survivor -------------------------------------------------------------------------------------------------------------- */

static void wait_for(_Atomic uint32_t *word, uint32_t value)
{
	while (*word < value)
		pause_us(500);
}

/* Its end must not be held up for long by a victim that stands still. */
static void use_while_stopped(int fd, uint64_t *given)
{
	unsigned char bytes[MESSAGE];
	struct pollfd p = {fd, POLLIN | POLLOUT, 0};
	uint64_t begin = now_us();

	content_fill(1, *given, bytes, sizeof(bytes));
	poll(&p, 1, 0);
	ssize_t n = send(fd, bytes, sizeof(bytes), MSG_NOSIGNAL | MSG_DONTWAIT);

	if (n > 0)
		*given += (uint64_t)n;
	else if (strcmp(deed, "close"))
		complain("send to a stopped peer: errno %ld", errno);
	recv(fd, bytes, sizeof(bytes), MSG_PEEK | MSG_DONTWAIT);
	if (now_us() - begin > 3000000)
		complain("held up for %ld us by a stopped peer", (long)(now_us() - begin));
}

/* How far the survivor is. */
struct stage {
	int fd;
	uint64_t given, back;
};

/* One receive, its bytes checked; in the deed `first` each message is answered. */
static ssize_t take_some(struct stage *s)
{
	unsigned char bytes[4096];
	ssize_t n = recv(s->fd, bytes, sizeof(bytes), 0);
	size_t good = n > 0 ? content_good(0, shared->taken, bytes, (size_t)n) : 0;

	if (n <= 0)
		return n;
	if (good < (size_t)n)
		complain("the survivor got a wrong byte at %ld", (long)(shared->taken + good));
	shared->taken += (uint64_t)n;
	for (; !strcmp(deed, "first") && s->back < shared->taken / MESSAGE; s->back++) {
		content_fill(1, s->given, bytes, MESSAGE);
		if (send_all(s->fd, bytes, MESSAGE))
			s->given += MESSAGE;
	}
	return n;
}

static void take_to_the_end(struct stage *s)
{
	ssize_t n;

	while ((n = take_some(s)) > 0)
		;
	snprintf(shared->end, sizeof(shared->end), "%s", n ? strerrorname_np(errno) : "EOF");
}

/* Until the victim stands still: it goes only as far as it is answered. */
static void answer_meanwhile(struct stage *s)
{
	while (!shared->go) {
		struct pollfd p = {s->fd, POLLIN, 0};

		if (strcmp(deed, "first"))
			pause_us(500);
		else if (poll(&p, 1, 1) > 0 && take_some(s) <= 0)
			return;
	}
}

static int survivor(int listener)
{
	int fd = (int)MUST(accept4(listener, NULL, NULL, SOCK_CLOEXEC));
	unsigned char bytes[MESSAGE];
	struct stage s = {fd, 0, 0};

	if (strcmp(deed, "first"))
		warm(fd, false, WARMTH);
	shared->stage = 1;
	if (!strcmp(deed, "recv")) {
		for (unsigned i = 0; i < MESSAGES; i++) {
			content_fill(1, s.given, bytes, sizeof(bytes));
			if (!send_all(fd, bytes, sizeof(bytes)))
				break;
			s.given += sizeof(bytes);
		}
	}
	if (!strcmp(fate, "stop")) {
		answer_meanwhile(&s);
		use_while_stopped(fd, &s.given);
		shared->stage = 2;
	}
	take_to_the_end(&s);
	return 0;
}

/* --- the tracer ---------------------------------------------------------------------------------------------------------------- */

static pid_t start(const char *role, const char *argument, int shared_fd, int keep)
{
	pid_t child = (pid_t)MUST(fork());
	char number[16];

	if (child)
		return child;
	snprintf(number, sizeof(number), "%d", shared_fd);
	fcntl(shared_fd, F_SETFD, 0);
	if (keep >= 0)
		fcntl(keep, F_SETFD, 0);
	execl(own_path(), "step", role, argument, number, deed, fate, NULL);
	fail("exec: %m");
}

/* 0: ended, 1: it stands still. */
static int stopped(pid_t pid, int *signal)
{
	int status;

	if (MUST(waitpid(pid, &status, __WALL)) != pid || !WIFSTOPPED(status))
		return 0;
	*signal = WSTOPSIG(status);
	return 1;
}

/*
 * Runs up to `steps` instructions; true if it stands there, false if its deed was done before. A step into a system call that sleeps takes
 * as long as that sleeps: for the deeds of this test, nothing does for long.
 */
static bool run_steps(pid_t pid, unsigned long steps)
{
	int signal = 0;

	if (!stopped(pid, &signal) || signal != SIGSTOP)
		fail("the victim was not there to be traced: signal %d", signal);
	for (unsigned long i = 0; i < steps; i++) {
		if (ptrace(PTRACE_SINGLESTEP, pid, 0, 0) || !stopped(pid, &signal) || signal == SIGUSR2)
			return false;
	}
	return true;
}

static bool ended_in_time(pid_t pid, const char *who)
{
	int status;

	for (int i = 0; i < LIMIT_MS; i++) {
		if (waitpid(pid, &status, WNOHANG) == pid) {
			if (status && WIFEXITED(status))
				complain("a program ended with %ld", status);
			return true;
		}
		pause_us(1000);
	}
	snprintf(shared->complaint, sizeof(shared->complaint), "the %s hangs (taken %lu of %lu)", who, shared->taken, shared->sent);
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	return false;
}

static void let_go(pid_t pid)
{
	uint64_t begin = now_us();

	shared->go = 1;
	while (shared->stage < 2 && now_us() - begin < LIMIT_MS * 1000ull)
		pause_us(500);
	if (shared->stage < 2)
		complain("the survivor is held up by a stopped peer (%ld)", 0);
	ptrace(PTRACE_DETACH, pid, 0, 0);
}

/* The kernel's rules: what send() has taken arrives, unless there was something unread at the victim, which makes a reset. */
static void judge(bool killed)
{
	bool stop = !strcmp(fate, "stop"), first = !strcmp(deed, "first"), sends = first || !strcmp(deed, "send");
	uint64_t sent = shared->sent, most = first ? FIRST * MESSAGE : sends ? MESSAGES * MESSAGE : 0;

	if (shared->complaint[0])
		return;
	if (!shared->end[0])
		complain("the survivor does not say how it ended (%ld)", 0);
	else if (strcmp(shared->end, "EOF") && strcmp(shared->end, "ECONNRESET"))
		snprintf(shared->complaint, sizeof(shared->complaint), "the stream ended by %s", shared->end);
	else if (shared->taken > most)
		complain("more came than was sent: %ld", (long)shared->taken);
	else if (!strcmp(shared->end, "EOF") && shared->taken < sent)
		snprintf(shared->complaint, sizeof(shared->complaint), "a clean end after %lu of %lu bytes", shared->taken, sent);
	else if (!strcmp(deed, "send") && strcmp(shared->end, "EOF"))
		snprintf(shared->complaint, sizeof(shared->complaint), "a reset though the victim had nothing unread (%s)",
			 killed ? "killed" : "not killed");
	else if (sends && stop && shared->taken != most)
		complain("not all came: %ld", (long)shared->taken);
}

/* Returns true if the deed took more instructions than that. */
static bool trial(unsigned long steps, unsigned *bad)
{
	int fd = map_shared();
	uint16_t port = 0;
	int listener = listen_here(&port);
	char number[16], at[16];
	bool inside;

	attach_shared(fd);
	snprintf(number, sizeof(number), "%d", listener);
	snprintf(at, sizeof(at), "%u", port);
	pid_t alive = start("survivor", number, fd, listener), dead = start("victim", at, fd, -1);

	close(listener);
	wait_for(&shared->stage, 1);
	inside = run_steps(dead, steps);
	if (inside && !strcmp(fate, "kill")) {
		kill(dead, SIGKILL);
		waitpid(dead, &(int){0}, __WALL);
	} else {
		if (inside && !strcmp(fate, "stop")) {
			let_go(dead);
		} else {
			shared->go = 1;
			ptrace(PTRACE_DETACH, dead, 0, 0);
		}
		ended_in_time(dead, "victim");
	}
	ended_in_time(alive, "survivor");
	judge(inside && !strcmp(fate, "kill"));
	if (shared->complaint[0]) {
		printf("after %lu instructions of %s, %s: %s\n", steps, deed, fate, shared->complaint);
		++*bad;
	}
	munmap(shared, 4096);
	close(fd);
	return inside;
}

int main(int count, char **words)
{
	if (count != 6)
		fail("step FROM STRIDE COUNT send|recv|close|first kill|stop");
	deed = words[4];
	fate = words[5];
	if (!strcmp(words[1], "victim") || !strcmp(words[1], "survivor")) {
		attach_shared(atoi(words[3]));
		return !strcmp(words[1], "victim") ? victim((uint16_t)atoi(words[2])) : survivor(atoi(words[2]));
	}
	unsigned long from = strtoul(words[1], NULL, 10), stride = strtoul(words[2], NULL, 10), trials = strtoul(words[3], NULL, 10), i;
	unsigned bad = 0;

	setvbuf(stdout, NULL, _IOLBF, 0);
	for (i = 0; i < trials && bad < 5; i++)
		if (!trial(from + i * stride, &bad))
			break;
	printf("trials %lu, bad %u\n", i, bad);
	return bad ? 1 : 0;
}
