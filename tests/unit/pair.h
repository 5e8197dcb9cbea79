/* Two streams of one real loopback connection, moved without a service: for units that drive sockets/ in two processes or threads. */
#ifndef CW_TESTS_UNIT_PAIR_H
#define CW_TESTS_UNIT_PAIR_H

#include "unit.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/sendfile.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sockets/fork.h"
#include "sockets/kernel.h"
#include "sockets/receive.h"
#include "sockets/send.h"
#include "sockets/service.h"
#include "sockets/switch.h"

#define PAIR_ARENA 1

struct pair {
	struct cw_arena arena;
	int memory, fd[2];
};

/* In a child: what is wrong, and the end. */
__attribute__((format(printf, 1, 2), noreturn)) static inline void give_up(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	fprintf(stderr, "# ");
	vfprintf(stderr, format, arguments);
	fprintf(stderr, "\n");
	va_end(arguments);
	_exit(1);
}

/* Once a process, before any stream: what the library does when it is loaded. */
static inline void pair_start(long spin_us)
{
	char *nothing[] = {NULL};

#define X(result, name, parameters) cw_kernel.name = name;
	CW_KERNEL_CALLS(X)
#undef X
	if (cw_policy_read(&cw_policy, "/dev/null", "unit", nothing) < 0)
		give_up("no policy: %s", cw_policy.error);
	cw_policy.number[CW_OPTION_spin_us] = spin_us;
}

static inline void pair_connect(struct pair *pair)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t size = sizeof(address);
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	pair->fd[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (bind(listener, (struct sockaddr *)&address, sizeof(address)) < 0 || listen(listener, 1) < 0 ||
	    getsockname(listener, (struct sockaddr *)&address, &size) < 0 ||
	    connect(pair->fd[0], (struct sockaddr *)&address, sizeof(address)) < 0)
		give_up("no connection: %m");
	pair->fd[1] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	close(listener);
	cw_arena_slot_reset(&pair->arena, 0);
}

static inline void pair_make_in(struct pair *pair, uint64_t arena)
{
	pair->memory = cw_arena_make(&pair->arena, arena, 1, false);
	if (pair->memory < 0)
		give_up("no arena: %m");
	pair_connect(pair);
}

static inline void pair_make(struct pair *pair)
{
	pair_make_in(pair, PAIR_ARENA);
}

/* This process or thread takes one end: as a grant does. */
static inline struct cw_stream *pair_open(struct pair *pair, unsigned end)
{
	struct cw_arena *arena = cw_arena_map(pair->memory, pair->arena.id);
	struct cw_stream *stream = arena ? cw_stream_open(pair->fd[end], true, false) : NULL;
	struct cw_book_entry *entry = stream ? &cw_own_book.entry[stream->number] : NULL;

	if (!stream)
		give_up("no stream: %m");
	atomic_store(&stream->phase, CW_MOVED);
	atomic_store(&entry->arena, arena->id);
	atomic_store(&entry->reason, CW_REASON_none);
	atomic_store(&entry->kind, CW_ENTRY_MOVED);
	cw_switch_attach(stream, arena, 0, end);
	return stream;
}

/* As close(2) of the library. */
static inline void pair_close(struct cw_stream *stream, int fd)
{
	cw_table_take(fd);
	cw_stream_close(stream, fd);
	close(fd);
}

/* A process with one end; the other descriptor is closed there. Ends with what body returns, or by a signal after so many seconds. */
static inline pid_t pair_child(struct pair *pair, unsigned end, long spin_us, unsigned seconds,
			       int (*body)(struct cw_stream *, int, struct pair *))
{
	pid_t child = fork();

	if (child != 0)
		return child;
	alarm(seconds);
	close(pair->fd[1 - end]);
	pair_start(spin_us);
	_exit(body(pair_open(pair, end), pair->fd[end], pair));
}

/* Both descriptors are the children's alone. */
static inline void pair_leave(struct pair *pair)
{
	close(pair->fd[0]);
	close(pair->fd[1]);
}

/* In a child by the library's fork: body, and its end as the test sees it. */
static inline int in_child(void (*body)(struct cw_stream *), struct cw_stream *stream)
{
	int status;
	pid_t child;

	cw_fork_prepare();
	child = fork();
	if (child == 0) {
		alarm(20);
		cw_fork_child();
		body(stream);
		_exit(0);
	}
	cw_fork_parent();
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	return status;
}

#endif
