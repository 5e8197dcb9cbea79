/* Streams of programs that are executed, by exec, vfork and posix_spawn: what the next program has of them. */
#define FAMILY "children"
#include "oracle.h"
#include "peer.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>

extern char **environ;

static char *heir_words[16];
static char numbers[3][24], path[512];

/* The words to start an heir with; its number of steps is limited by the array. */
static char **heir(const struct end *e, const char *program, const char *steps)
{
	static char copy[128];
	int count = 0;

	snprintf(path, sizeof(path), "%s/%s", manner.helper, program);
	snprintf(numbers[0], sizeof(numbers[0]), "%d", e->fd);
	snprintf(numbers[1], sizeof(numbers[1]), "%lu", (unsigned long)e->sent);
	snprintf(numbers[2], sizeof(numbers[2]), "%lu", (unsigned long)e->taken);
	snprintf(copy, sizeof(copy), "%s", steps);
	heir_words[count++] = path;
	for (int i = 0; i < 3; i++)
		heir_words[count++] = numbers[i];
	for (char *rest_of = copy, *word; (word = strsep(&rest_of, " ")) && count < 15;)
		heir_words[count++] = word;
	heir_words[count] = NULL;
	return heir_words;
}

static void exec_heir(struct end *e, const char *program, int unread)
{
	peer_send_all(e, unread);
	arrive(e, unread);
	char steps[64];

	snprintf(steps, sizeof(steps), "r%d s10 r10 s20 e", unread);
	char **words = heir(e, program, unread ? steps : "s10 r10 s20 e");
	pid_t child = CHILD({
		execv(path, words);
		say("execv: %s", RESULT(-1));
	});

	close(e->fd);
	peer_recv_all(e, 10);
	peer_send(e, 10);
	peer_recv_all(e, 20);
	peer_shutdown(e, SHUT_WR);
	reap(child);
	peer_drain(e);
}

SCENARIO(exec_dynamic, ALONE)
{
	exec_heir(e, "heir", 0);
}

SCENARIO(exec_static, ALONE)
{
	exec_heir(e, "heir-static", 0);
}

SCENARIO(exec_dynamic_with_unread, ALONE)
{
	exec_heir(e, "heir", 100);
}

SCENARIO(exec_static_with_unread, ALONE)
{
	exec_heir(e, "heir-static", 100);
}

static int nodelay_of(const struct end *e)
{
	int value = -1;
	socklen_t size = sizeof(value);

	getsockopt(e->fd, IPPROTO_TCP, TCP_NODELAY, &value, &size);
	return value;
}

static void set_nodelay(const struct end *e, int value)
{
	CALL(setsockopt(e->fd, IPPROTO_TCP, TCP_NODELAY, &value, sizeof(value)));
}

SCENARIO(exec_with_nagle, ALONE)
{
	set_nodelay(e, 0);
	there_and_back(e, 10, 1);
	pid_t child = CHILD({
		execv(heir(e, "heir", "d")[0], heir_words);
		say("execv: %s", RESULT(-1));
	});

	reap(child);
	say("TCP_NODELAY %d", nodelay_of(e));
	set_nodelay(e, 1);
	say("TCP_NODELAY %d", nodelay_of(e));
	set_nodelay(e, 0);
	say("TCP_NODELAY %d", nodelay_of(e));
}

SCENARIO(nagle_of_parent_and_child, ALONE)
{
	set_nodelay(e, 0);
	there_and_back(e, 10, 1);
	pid_t child = CHILD({ set_nodelay(e, 1); });

	reap(child);
	say("TCP_NODELAY %d", nodelay_of(e));
	child = CHILD({ set_nodelay(e, 0); });
	reap(child);
	say("TCP_NODELAY %d", nodelay_of(e));
	there_and_back(e, 10, 1);
}

/* Bytes lie in both directions when the program is replaced. */
static void exec_between(struct end *e, const char *program)
{
	SEND(e, 200, send(e->fd, room, 200, 0));
	peer_send_all(e, 300);
	arrive(e, 300);
	char **words = heir(e, program, "n r300 s10 r10 e");
	pid_t child = CHILD({
		execv(path, words);
		say("execv: %s", RESULT(-1));
	});

	close(e->fd);
	rest();
	peer_recv_all(e, 200);
	peer_recv_all(e, 10);
	peer_send(e, 10);
	peer_shutdown(e, SHUT_WR);
	reap(child);
	peer_drain(e);
}

SCENARIO(exec_dynamic_with_unread_both_ways, ALONE)
{
	exec_between(e, "heir");
}

SCENARIO(exec_static_with_unread_both_ways, ALONE)
{
	exec_between(e, "heir-static");
}

SCENARIO(exec_dynamic_with_much_unread, ALONE)
{
	exec_heir(e, "heir", 60000);
}

SCENARIO(exec_static_with_much_unread, ALONE)
{
	exec_heir(e, "heir-static", 60000);
}

/* The peer has shut its side down: what the kernel has of it is the end. */
SCENARIO(exec_behind_the_end, ALONE)
{
	peer_send_all(e, 100);
	peer_shutdown(e, SHUT_WR);
	arrive(e, 100);
	char **words = heir(e, "heir", "r100 e");
	pid_t child = CHILD({
		execv(path, words);
		say("execv: %s", RESULT(-1));
	});

	close(e->fd);
	reap(child);
	peer_drain(e);
}

/* In the same process, no fork: the stream's only holder becomes another program. */
static void exec_in_place(struct end *e, const char *program)
{
	pid_t child = CHILD({
		/* A child so that the scenario can go on; it opens its stream after the fork. */
		struct end mine;

		open_end(&mine, AF_INET, false);
		later(150);
		peer_send(&mine, 10);
		execv(heir(&mine, program, "s10 r10 s10")[0], heir_words);
	});

	reap(child);
}

SCENARIO(exec_dynamic_in_place, ALONE)
{
	exec_in_place(e, "heir");
}

SCENARIO(exec_static_in_place, ALONE)
{
	exec_in_place(e, "heir-static");
}

static void spawn_heir(struct end *e, const char *program)
{
	posix_spawn_file_actions_t actions;
	struct end there = *e;
	pid_t child;

	peer_send(e, 30);
	arrive(e, 30);
	there.fd = 27;
	int said = transcript();

	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, said, STDOUT_FILENO);
	posix_spawn_file_actions_adddup2(&actions, e->fd, 27);
	posix_spawn_file_actions_addclose(&actions, e->fd);
	CALL(posix_spawn(&child, heir(&there, program, "r30 s10 r10 s20")[0], &actions, NULL, heir_words, environ));
	transcript_of(child, said);
	peer_recv_all(e, 10);
	peer_send(e, 10);
	peer_recv_all(e, 20);
	reap(child);
	e->sent += 30;
	e->taken += 40;
	SEND(e, 10, send(e->fd, room, 10, 0));
	peer_recv_all(e, 10);
	peer_send(e, 10);
	arrive(e, 10);
	RECV(e, recv(e->fd, room, 100, 0));
	posix_spawn_file_actions_destroy(&actions);
}

SCENARIO(spawn_dynamic, ALONE)
{
	spawn_heir(e, "heir");
}

SCENARIO(spawn_static, ALONE)
{
	spawn_heir(e, "heir-static");
}

static void vfork_heir(struct end *e, const char *program)
{
	char **words = heir(e, program, "s10 r10 s20");
	int said = transcript();
	pid_t child = vfork();

	if (!child) {
		dup2(said, STDOUT_FILENO);
		execv(path, words);
		_exit(127);
	}
	MUST(child);
	transcript_of(child, said);
	peer_recv_all(e, 10);
	peer_send(e, 10);
	peer_recv_all(e, 20);
	reap(child);
	e->sent += 30;
	e->taken += 10;
	there_and_back(e, 10, 5);
}

SCENARIO(vfork_dynamic, ALONE)
{
	vfork_heir(e, "heir");
}

SCENARIO(vfork_static, ALONE)
{
	vfork_heir(e, "heir-static");
}

SCENARIO(vfork_with_a_high_number, ALONE)
{
	struct rlimit limit;

	MUST(getrlimit(RLIMIT_NOFILE, &limit));
	limit.rlim_cur = limit.rlim_max;
	MUST(setrlimit(RLIMIT_NOFILE, &limit));
	MUST(dup2(e->fd, 5000));
	close(e->fd);
	e->fd = 5000;
	vfork_heir(e, "heir-static");
}

/* A child made by vfork closes and moves descriptors of its own; the parent's tables must not be touched. */
SCENARIO(vfork_closes, ALONE)
{
	pid_t child = vfork();

	if (!child) {
		close_range(3, ~0u, 0);
		_exit(0);
	}
	reap(child);
	child = vfork();
	if (!child) {
		dup2(STDOUT_FILENO, e->fd);
		execl("/bin/true", "true", NULL);
		_exit(127);
	}
	reap(child);
	there_and_back(e, 10, 5);
}

/* /bin/cat between two streams, as inetd would start it. */
SCENARIO(spawn_cat, ALONE)
{
	posix_spawn_file_actions_t actions;
	char *words[] = {"cat", NULL};
	pid_t child;

	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, e->fd, STDIN_FILENO);
	posix_spawn_file_actions_adddup2(&actions, e->fd, STDOUT_FILENO);
	CALL(posix_spawnp(&child, "cat", &actions, NULL, words, environ));
	peer_send(e, 1000);
	peer_recv_back(e, 1000);
	later(1);
	peer_send_all(e, 100000);
	peer_wait();
	peer_recv_back(e, 100000);
	peer_shutdown(e, SHUT_WR);
	reap(child);
	say("nothing unread: %s", RESULT(recv(e->fd, room, 10, MSG_DONTWAIT)));
	posix_spawn_file_actions_destroy(&actions);
}

SCENARIO(close_on_exec, ALONE)
{
	MUST(fcntl(e->fd, F_SETFD, FD_CLOEXEC));
	pid_t child = CHILD({ execv(heir(e, "heir", "s10")[0], heir_words); });

	reap(child);
	SEND(e, 10, send(e->fd, room, 10, 0));
	peer_recv_all(e, 10);
	child = CHILD({
		struct end mine;

		open_end(&mine, AF_INET, false);
		give(&mine, 10);
		fcntl(mine.fd, F_SETFD, FD_CLOEXEC);
		int out = dup(STDOUT_FILENO);

		(void)out;
		execl("/bin/true", "true", NULL);
	});
	reap(child);
	SEND(e, 10, send(e->fd, room, 10, 0));
	peer_recv_all(e, 10);
}

SCENARIO(failed_exec, ALONE)
{
	peer_send(e, 100);
	arrive(e, 100);
	CALL(execl("/nonexistent", "x", NULL));
	CALL(execl("/etc/hostname", "x", NULL));
	RECV(e, recv(e->fd, room, 1000, 0));
	there_and_back(e, 10, 5);
}
