#include "process.h"

#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "call.h"
#include "environment.h"
#include "execute.h"
#include "listed.h"
#include "plain.h"
#include "raw.h"
#include "sockets/children.h"
#include "sockets/datagram.h"
#include "sockets/fork.h"
#include "sockets/leave.h"
#include "sockets/service.h"
#include "sockets/set.h"

#define MOST_INHERITED 4096 /* descriptors looked at before a vfork child's exec, if it can't see which there are */

static _Atomic uint32_t owner;

bool cw_is_other_process(void)
{
	uint32_t pid = atomic_load_explicit(&owner, memory_order_relaxed);

	return pid && pid != cw_own_pid();
}

/* Of the fork that is being made: a thread may make the process plain in the middle. */
static bool plain_fork;
static __thread bool forking;

bool cw_process_forks(void)
{
	return forking;
}

void cw_process_before_fork(void)
{
	forking = true;
	plain_fork = cw_is_plain();
	if (!plain_fork)
		cw_fork_prepare();
}

void cw_process_in_parent(void)
{
	forking = false;
	if (!plain_fork)
		cw_fork_parent();
}

void cw_process_in_child(void)
{
	forking = false;
	if (plain_fork)
		return;
	atomic_store_explicit(&owner, cw_own_pid(), memory_order_relaxed);
	cw_fork_child();
}

void cw_process_in_child_of_libc(void)
{
	if (cw_raw_on)
		cw_raw_join();
	cw_process_in_child();
}

void cw_process_start(void)
{
	atomic_store_explicit(&owner, cw_own_pid(), memory_order_relaxed);
	pthread_atfork(cw_process_before_fork, cw_process_in_parent, cw_process_in_child_of_libc);
}

/* ---- exec: the program that comes knows nothing of rings ---- */

/* AF_UNIX: who comes after us counts nothing (unix.h), moved or not. */
static bool concerns(const struct cw_stream *stream)
{
	return stream->slot || stream->is_unix;
}

static bool any_moved(void)
{
	if (cw_datagrams_moved())
		return true;
	uint32_t count = atomic_load_explicit(&cw_own_book.highest, memory_order_relaxed);

	for (uint32_t i = 0; i < count && i < CW_BOOK_ENTRIES; i++)
		if (atomic_load_explicit(&cw_streams[i].references, memory_order_relaxed) > 0 && concerns(&cw_streams[i]))
			return true;
	return false;
}

static bool survives_exec(int fd)
{
	long flags = cw_raw_fcntl(fd, F_GETFD, 0);

	return flags >= 0 && !(flags & FD_CLOEXEC);
}

/* Another process may hold our sockets now: closing them ends nothing (cw_service_part). */
static void hold_in_common(void)
{
	uint32_t count = atomic_load_explicit(&cw_own_book.highest, memory_order_relaxed);

	for (uint32_t i = 0; i < count && i < CW_BOOK_ENTRIES; i++)
		atomic_store_explicit(&cw_streams[i].offer, 0, memory_order_relaxed);
}

static void leave_inherited(void)
{
	for (unsigned fd = 0; fd < cw_table_end(); fd++) {
		struct cw_stream *stream = cw_stream_of((int)fd);

		if (stream && concerns(stream) && survives_exec((int)fd))
			cw_leave_to(stream, (int)fd, CW_REASON_executed);
		else if (cw_datagram_of((int)fd) && survives_exec((int)fd))
			cw_datagram_leave_to_by((int)fd, CW_REASON_executed);
	}
}

static struct cw_stream *by_cookie(uint64_t cookie)
{
	uint32_t count = atomic_load_explicit(&cw_own_book.highest, memory_order_relaxed);

	for (uint32_t i = 0; i < count && i < CW_BOOK_ENTRIES; i++)
		if (atomic_load_explicit(&cw_streams[i].references, memory_order_relaxed) > 0 && concerns(&cw_streams[i]) &&
		    cw_streams[i].cookie == cookie)
			return &cw_streams[i];
	return NULL;
}

static void leave_by_cookie(int fd, int ignored)
{
	uint64_t cookie;
	socklen_t size = sizeof(cookie);
	struct cw_stream *stream;
	struct cw_datagram *datagram;

	if (!survives_exec(fd) || cw_raw_getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &size) < 0)
		return;
	stream = by_cookie(cookie);
	datagram = cw_datagram_by_cookie(cookie);
	if (stream)
		cw_leave_to(stream, fd, CW_REASON_executed);
	else if (datagram)
		cw_datagram_leave_to(datagram, fd, CW_REASON_executed);
}

/* In a vfork child the numbers are its own: sockets are known by their cookies. */
static void leave_inherited_by_cookie(void)
{
	if (cw_each_open_descriptor(leave_by_cookie, 0))
		return;
	for (int fd = 0; fd < MOST_INHERITED; fd++)
		leave_by_cookie(fd, 0);
}

/* A child that execs lets go of what is closed by that; if the exec fails it holds it again. */
static void each_closed_by_exec(void (*act)(struct cw_stream *stream))
{
	for (unsigned fd = 0; fd < cw_table_end(); fd++) {
		struct cw_stream *stream = cw_stream_of((int)fd);

		if (stream && atomic_load_explicit(&stream->family, memory_order_relaxed) && !survives_exec((int)fd))
			act(stream);
	}
}

static int after_exec(int result, struct cw_environment *room)
{
	int error = errno;

	cw_environment_end(room);
	if (!cw_is_plain() && !cw_is_other_process())
		each_closed_by_exec(cw_family_resume);
	errno = error;
	return result;
}

/* path: what is to be executed, if it is known; an exec that is sure to fail changes nothing. */
static void before_exec(const char *path)
{
	uint32_t tid = cw_thread.tid;

	if (cw_is_plain())
		return;
	hold_in_common();
	cw_children_executes();
	if (!cw_is_other_process()) {
		cw_set_flush_all();
		each_closed_by_exec(cw_family_suspend);
	}
	if (!any_moved() || (path && cw_raw(SYS_faccessat, AT_FDCWD, (long)path, X_OK, 0, 0, 0) < 0))
		return;
	if (!cw_is_other_process()) {
		leave_inherited();
		return;
	}
	/* The thread's own number is another here; its parent's comes back with it. */
	cw_thread.tid = 0;
	leave_inherited_by_cookie();
	cw_thread.tid = tid;
}

static int exec_path(const char *path, char *const arguments[], char *const environment[])
{
	struct cw_environment room;

	before_exec(path);
	return after_exec(cw_execute(path, arguments, cw_environment_begin(&room, environment)), &room);
}

static int exec_file(const char *file, char *const arguments[], char *const environment[])
{
	struct cw_environment room;

	before_exec(strchr(file, '/') ? file : NULL);
	return after_exec(cw_real.execvpe(file, arguments, cw_environment_begin(&room, environment)), &room);
}

CW_EXPORT int execve(const char *path, char *const arguments[], char *const environment[])
{
	return exec_path(path, arguments, environment);
}

CW_EXPORT int execv(const char *path, char *const arguments[])
{
	return exec_path(path, arguments, environ);
}

CW_EXPORT int execvp(const char *file, char *const arguments[])
{
	return exec_file(file, arguments, environ);
}

CW_EXPORT int execvpe(const char *file, char *const arguments[], char *const environment[])
{
	return exec_file(file, arguments, environment);
}

CW_EXPORT int fexecve(int fd, char *const arguments[], char *const environment[])
{
	struct cw_environment room;

	before_exec(NULL);
	return after_exec(cw_real.fexecve(fd, arguments, cw_environment_begin(&room, environment)), &room);
}

CW_EXPORT int execveat(int fd, const char *path, char *const arguments[], char *const environment[], int flags)
{
	struct cw_environment room;

	before_exec(NULL);
	return after_exec(cw_real.execveat(fd, path, arguments, cw_environment_begin(&room, environment), flags), &room);
}

/* The list forms: as an array on the stack, as libc itself does it. */
#define COUNT_LIST(first, count)                                                                                                           \
	do {                                                                                                                               \
		va_list list_;                                                                                                             \
		va_start(list_, first);                                                                                                    \
		for (count = 1; va_arg(list_, const char *); count++)                                                                      \
			;                                                                                                                  \
		va_end(list_);                                                                                                             \
	} while (0)

#define TAKE_LIST(first, array, count, list)                                                                                               \
	do {                                                                                                                               \
		va_start(list, first);                                                                                                     \
		array[0] = (char *)first;                                                                                                  \
		for (size_t i_ = 1; i_ <= count; i_++)                                                                                     \
			array[i_] = va_arg(list, char *);                                                                                  \
	} while (0)

CW_EXPORT int execl(const char *path, const char *first, ...)
{
	va_list list;
	size_t count;

	COUNT_LIST(first, count);
	char *arguments[count + 1];
	TAKE_LIST(first, arguments, count, list);
	va_end(list);
	return exec_path(path, arguments, environ);
}

CW_EXPORT int execlp(const char *file, const char *first, ...)
{
	va_list list;
	size_t count;

	COUNT_LIST(first, count);
	char *arguments[count + 1];
	TAKE_LIST(first, arguments, count, list);
	va_end(list);
	return exec_file(file, arguments, environ);
}

CW_EXPORT int execle(const char *path, const char *first, ...)
{
	va_list list;
	size_t count;
	char *const *environment;

	COUNT_LIST(first, count);
	char *arguments[count + 1];
	TAKE_LIST(first, arguments, count, list);
	environment = va_arg(list, char *const *);
	va_end(list);
	return exec_path(path, arguments, environment);
}

/* ---- spawning: the child's exec happens inside libc, so what it will inherit is decided before ---- */

static void before_spawn(void)
{
	if (cw_is_plain())
		return;
	hold_in_common();
	if (any_moved() && !cw_is_other_process())
		leave_inherited();
}

CW_EXPORT int posix_spawn(pid_t *pid, const char *path, const posix_spawn_file_actions_t *actions, const posix_spawnattr_t *attributes,
			  char *const arguments[], char *const environment[])
{
	struct cw_environment room;
	int result;

	before_spawn();
	result = cw_execute_spawn(pid, path, actions, attributes, arguments, cw_environment_begin(&room, environment));
	cw_environment_end(&room);
	return result;
}

CW_EXPORT int posix_spawnp(pid_t *pid, const char *file, const posix_spawn_file_actions_t *actions, const posix_spawnattr_t *attributes,
			   char *const arguments[], char *const environment[])
{
	struct cw_environment room;
	int result;

	before_spawn();
	result = cw_real.posix_spawnp(pid, file, actions, attributes, arguments, cw_environment_begin(&room, environment));
	cw_environment_end(&room);
	return result;
}

CW_EXPORT int posix_spawn_file_actions_adddup2(posix_spawn_file_actions_t *actions, int fd, int to)
{
	struct cw_stream *stream = cw_stream_for(fd);

	if (stream)
		cw_leave_to(stream, fd, CW_REASON_executed);
	else
		cw_datagram_leave_to_by(fd, CW_REASON_executed);
	return cw_real.posix_spawn_file_actions_adddup2(actions, fd, to);
}

CW_EXPORT int system(const char *command)
{
	before_spawn();
	cw_environment_mend();
	return cw_real.system(command);
}

CW_EXPORT FILE *popen(const char *command, const char *mode)
{
	before_spawn();
	cw_environment_mend();
	return cw_real.popen(command, mode);
}

/* ---- other namespaces ---- */

/*
 * Locks in a slot hold the numbers of threads. Children in another namespace have numbers of their own, which would be taken for those of
 * dead or foreign threads, so nothing that they will inherit may be moved.
 */
void cw_process_before_other_numbers(void)
{
	if (cw_is_plain() || cw_is_other_process())
		return;
	cw_children_stop();
	cw_leave_process(CW_REASON_inherited);
}

CW_EXPORT int unshare(int flags)
{
	if (flags & CLONE_NEWPID)
		cw_process_before_other_numbers();
	if (flags & CLONE_FILES)
		cw_before_unshare();
	return cw_real.unshare(flags);
}

CW_EXPORT int setns(int fd, int kind)
{
	/* Without a kind the descriptor says it. */
	if (!kind || (kind & CLONE_NEWPID))
		cw_process_before_other_numbers();
	return cw_real.setns(fd, kind);
}

/* ---- passing ---- */

static void pass_set(struct cw_set *set)
{
	cw_set_pass(set);
	cw_set_leave_datagrams(set);
}

void cw_before_passing(const struct msghdr *message)
{
	for (struct cmsghdr *header = CMSG_FIRSTHDR(message); header; header = CMSG_NXTHDR((struct msghdr *)message, header)) {
		size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS || header->cmsg_len < CMSG_LEN(0))
			continue;
		for (size_t i = 0; i < count; i++) {
			struct cw_stream *stream;
			int fd;

			memcpy(&fd, CMSG_DATA(header) + i * sizeof(int), sizeof(fd));
			stream = cw_stream_of(fd);
			if (stream)
				atomic_store_explicit(&stream->offer, 0, memory_order_relaxed);
			if (stream)
				cw_leave_to(stream, fd, CW_REASON_passed);
			else if (cw_datagram_of(fd))
				cw_datagram_leave_to_by(fd, CW_REASON_passed);
			else if (cw_set_of(fd))
				pass_set(cw_set_of(fd));
		}
	}
}
