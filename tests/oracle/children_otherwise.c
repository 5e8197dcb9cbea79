/* Children that are not made by fork(): by _Fork, by libc's clone, by system calls by their numbers, in a namespace of other numbers. */
#define FAMILY "children"
#include "oracle.h"
#include "peer.h"

#include <fcntl.h>
#include <linux/close_range.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>

static int run_it(void *run)
{
	(*(void (*const *)(void))run)();
	_exit(0);
}

static pid_t by_fork(void (*run)(void))
{
	pid_t child = _Fork();

	if (!child)
		run_it(&run);
	return child;
}

static pid_t by_number(void (*run)(void))
{
#ifdef SYS_fork
	pid_t child = (pid_t)syscall(SYS_fork);
#else
	pid_t child = (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
#endif

	if (!child)
		run_it(&run);
	return child;
}

static pid_t by_clone_number(void (*run)(void))
{
	pid_t child = (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);

	if (!child)
		run_it(&run);
	return child;
}

static pid_t by_clone3_number(void (*run)(void))
{
	uint64_t words[8] = {[4] = SIGCHLD};
	pid_t child = (pid_t)syscall(SYS_clone3, words, sizeof(words));

	if (child < 0 && errno == ENOSYS) /* as where its instruction is caught (docs/caveats.md) */
		return by_clone_number(run);
	if (!child)
		run_it(&run);
	return child;
}

static char stack[256 * 1024] __attribute__((aligned(64)));

static pid_t by_clone(void (*run)(void))
{
	return clone(run_it, stack + sizeof(stack), SIGCHLD, &run);
}

#ifdef __GLIBC__
int __clone(int (*begin)(void *), void *stack, int flags, void *argument, ...);
#else
#define __clone clone
#endif

static pid_t by_second_name(void (*run)(void))
{
	return __clone(run_it, stack + sizeof(stack), SIGCHLD, &run);
}

/* Where that is allowed. */
static pid_t by_clone_elsewhere(void (*run)(void))
{
	pid_t child = clone(run_it, stack + sizeof(stack), SIGCHLD | CLONE_NEWPID, &run);

	return child < 0 ? by_clone(run) : child;
}

static pid_t (*const ways[])(void (*run)(void)) = {by_fork,  by_number,      by_clone_number,   by_clone3_number,
						   by_clone, by_second_name, by_clone_elsewhere};

static struct end *s; /* positions that parent and child both advance */
static int go[2], back[2], text;

static void share(struct end *e)
{
	s = mmap(NULL, sizeof(*s), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	*s = *e;
	MUST(pipe(go));
	MUST(pipe(back));
	text = transcript();
}

static void in_turns(void)
{
	dup2(text, STDOUT_FILENO);
	for (int i = 0; i < 3; i++) {
		MUST(read(go[0], room, 1));
		RECV(s, recv(s->fd, room, 30, 0));
		SEND(s, 10, send(s->fd, room, 10, 0));
		MUST(write(back[1], "b", 1));
	}
}

static pid_t begin(pid_t (*way)(void (*run)(void)), void (*run)(void))
{
	pid_t child = (pid_t)MUST(way(run));

	transcript_of(child, text);
	return child;
}

/* Both use the stream, in turns. */
SCENARIO(otherwise_in_turns, ALONE)
{
	for (size_t k = 0; k < sizeof(ways) / sizeof(*ways); k++) {
		share(e);
		peer_send(s, 150);
		arrive(s, 150);
		pid_t child = begin(ways[k], in_turns);

		for (int i = 0; i < 3; i++) {
			RECV(s, recv(s->fd, room, 20, 0));
			MUST(write(go[1], "g", 1));
			MUST(read(back[0], room, 1));
			SEND(s, 10, send(s->fd, room, 10, 0));
			peer_recv_all(s, 20);
		}
		reap(child);
		peer_send(s, 10);
		arrive(s, 10);
		RECV(s, recv(s->fd, room, 100, 0));
		*e = *s;
	}
}

static void closes_at_once(void)
{
	dup2(text, STDOUT_FILENO);
	CALL(close(s->fd));
}

/* The child closes it, and the parent goes on. */
SCENARIO(otherwise_closed_by_child, ALONE)
{
	for (size_t k = 0; k < sizeof(ways) / sizeof(*ways); k++) {
		share(e);
		pid_t child = begin(ways[k], closes_at_once);

		reap(child);
		there_and_back(s, 10, 20);
		*e = *s;
	}
}

static void puts_a_file_over_it(void)
{
	dup2(text, STDOUT_FILENO);
	RECV(s, recv(s->fd, room, 10, 0));
	SEND(s, 10, send(s->fd, room, 10, 0));
	int nothing = (int)MUST(open("/dev/null", O_RDWR));

	MUST(dup2(nothing, s->fd));
	CALL(write(s->fd, "nothing", 7));
	CALL(read(s->fd, room, 7));
}

/* What the child does with the number then is another file's, and the parent goes on. */
SCENARIO(otherwise_put_over_by_child, ALONE)
{
	for (size_t k = 0; k < sizeof(ways) / sizeof(*ways); k++) {
		share(e);
		peer_send(s, 10);
		reap(begin(ways[k], puts_a_file_over_it));
		peer_recv_all(s, 10);
		there_and_back(s, 50, 3);
		*e = *s;
	}
}

static void goes_on(void)
{
	dup2(text, STDOUT_FILENO);
	MUST(read(go[0], room, 1));
	RECV(s, recv(s->fd, room, 10, 0));
	SEND(s, 10, send(s->fd, room, 10, 0));
	MUST(write(back[1], "b", 1));
	MUST(read(go[0], room, 1));
}

/* The parent closes it, and the child goes on: the peer's end comes with the child's. */
SCENARIO(otherwise_closed_by_parent, ALONE | UNOPENED)
{
	for (size_t k = 0; k < sizeof(ways) / sizeof(*ways); k++) {
		open_end(e, AF_INET, false);
		share(e);
		pid_t child = begin(ways[k], goes_on);

		CALL(close(e->fd));
		peer_send(s, 10);
		MUST(write(go[1], "g", 1));
		MUST(read(back[0], room, 1));
		peer_recv_all(s, 10);
		peer_poll(s, 1, 100);
		MUST(write(go[1], "g", 1));
		reap(child);
		peer_drain(s);
	}
}

static void reads_what_was_there(void)
{
	dup2(text, STDOUT_FILENO);
	MUST(read(go[0], room, 1));
	RECV(s, recv(s->fd, room, 100, 0));
	SEND(s, 10, send(s->fd, room, 10, 0));
	MUST(write(back[1], "b", 1));
	RECV(s, recv(s->fd, room, 100, 0));
}

/* What nobody has read when the parent closes it is the child's. */
SCENARIO(otherwise_with_unread, ALONE | UNOPENED)
{
	for (size_t k = 0; k < sizeof(ways) / sizeof(*ways); k++) {
		open_end(e, AF_INET, false);
		share(e);
		peer_send(s, 100);
		arrive(s, 100);
		pid_t child = begin(ways[k], reads_what_was_there);

		CALL(close(e->fd));
		MUST(write(go[1], "g", 1));
		MUST(read(back[0], room, 1));
		peer_recv_all(s, 10);
		peer_send(s, 10);
		reap(child);
		peer_drain(s);
	}
}

#define RECORDS 600 /* all of them fit the buffers: a send that waits may be cut in two */
#define RECORD  61

static void send_records(int letter)
{
	unsigned char record[RECORD];

	memset(record, letter, sizeof(record));
	for (int i = 0; i < RECORDS; i++)
		MUST(send(s->fd, record, sizeof(record), 0));
}

static void sends_records(void)
{
	send_records('c');
}

/* Both send at the same time, and no record is torn. */
SCENARIO(otherwise_both_send, ALONE)
{
	for (size_t k = 0; k < sizeof(ways) / sizeof(*ways); k++) {
		share(e);
		later(1);
		peer_records(e, 2 * RECORDS, RECORD);
		pid_t child = begin(ways[k], sends_records);

		send_records('p');
		reap(child);
		peer_wait();
	}
}

/* ---- a table of descriptors of its own ---- */

static void by_unshare(void)
{
	CALL(unshare(CLONE_FILES));
}

static void by_close_range(void)
{
	CALL(close_range(1000, 1000, CLOSE_RANGE_UNSHARE));
}

/* What it closes, and what it puts there, is its own. */
static int puts_others_there(void *split)
{
	static int pair[2];

	if (split)
		(*(void (*const *)(void))split)();
	MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	CALL(close(s->fd));
	MUST(dup2(pair[0], s->fd));
	CALL(write(s->fd, "of another table", 16));
	CALL(recv(pair[1], room, 100, 0));
	CALL(close(s->fd));
	return 0;
}

static void *in_a_thread(void *split)
{
	room = malloc(ROOM);
	puts_others_there(split);
	free(room);
	return NULL;
}

static void split_by_a_thread(struct end *e, void (*split)(void))
{
	pthread_t thread;

	s = e;
	there_and_back(e, 10, 2);
	MUST(-pthread_create(&thread, NULL, in_a_thread, &split));
	pthread_join(thread, NULL);
	there_and_back(e, 10, 20);
}

SCENARIO(thread_with_a_table_of_its_own, ALONE)
{
	split_by_a_thread(e, by_unshare);
}

SCENARIO(thread_with_a_table_by_close_range, ALONE)
{
	split_by_a_thread(e, by_close_range);
}

/* In one memory, but not as a vfork child: both go on at once. */
SCENARIO(process_with_a_table_of_its_own, ALONE)
{
	int status;

	s = e;
	there_and_back(e, 10, 2);
	pid_t child = (pid_t)MUST(clone(puts_others_there, stack + sizeof(stack), CLONE_VM | SIGCHLD, NULL));

	MUST(waitpid(child, &status, 0));
	say("status %x", (unsigned)status);
	there_and_back(e, 10, 20);
}

/* Of a single thread nothing is split. */
SCENARIO(table_of_its_own_before, ALONE)
{
	there_and_back(e, 10, 2);
	by_unshare();
	there_and_back(e, 10, 20);
}
