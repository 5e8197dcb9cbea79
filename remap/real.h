/* libc's own functions, behind ours. Found when the library starts, or at the first call if that comes earlier. */
#ifndef CW_REMAP_REAL_H
#define CW_REMAP_REAL_H

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <threads.h>

#include "sockets/kernel.h"
#include "sync/cpu.h"

#include "libc.h"

#define CW_EXPORT __attribute__((visibility("default")))

struct aiocb;
struct gaicb;
struct termios;
struct winsize;
struct sigevent;

/* X(result, name, (parameters)) */
#define CW_REAL_CALLS(X)                                                                                                                   \
	X(ssize_t, read, (int, void *, size_t))                                                                                            \
	X(ssize_t, write, (int, const void *, size_t))                                                                                     \
	X(ssize_t, readv, (int, const struct iovec *, int))                                                                                \
	X(ssize_t, writev, (int, const struct iovec *, int))                                                                               \
	X(ssize_t, preadv64v2, (int, const struct iovec *, int, off64_t, int))                                                             \
	X(ssize_t, pwritev64v2, (int, const struct iovec *, int, off64_t, int))                                                            \
	X(ssize_t, recvfrom, (int, void *, size_t, int, struct sockaddr *, socklen_t *))                                                   \
	X(ssize_t, send, (int, const void *, size_t, int))                                                                                 \
	X(ssize_t, sendto, (int, const void *, size_t, int, const struct sockaddr *, socklen_t))                                           \
	X(int, sendmmsg, (int, struct mmsghdr *, unsigned, int))                                                                           \
	X(int, recvmmsg, (int, struct mmsghdr *, unsigned, int, struct timespec *))                                                        \
	X(ssize_t, splice, (int, off64_t *, int, off64_t *, size_t, unsigned))                                                             \
	X(int, socket, (int, int, int))                                                                                                    \
	X(int, socketpair, (int, int, int, int *))                                                                                         \
	X(int, accept, (int, struct sockaddr *, socklen_t *))                                                                              \
	X(int, accept4, (int, struct sockaddr *, socklen_t *, int))                                                                        \
	X(int, connect, (int, const struct sockaddr *, socklen_t))                                                                         \
	X(int, shutdown, (int, int))                                                                                                       \
	X(int, setsockopt, (int, int, int, const void *, socklen_t))                                                                       \
	X(int, getsockopt, (int, int, int, void *, socklen_t *))                                                                           \
	X(int, close, (int))                                                                                                               \
	X(int, close_range, (unsigned, unsigned, int))                                                                                     \
	X(int, dup, (int))                                                                                                                 \
	X(int, dup2, (int, int))                                                                                                           \
	X(int, dup3, (int, int, int))                                                                                                      \
	X(int, fcntl, (int, int, ...))                                                                                                     \
	X(int, ioctl, (int, unsigned long, ...))                                                                                           \
	X(int, prctl, (int, ...))                                                                                                          \
	X(int, epoll_wait, (int, struct epoll_event *, int, int))                                                                          \
	X(int, epoll_create, (int))                                                                                                        \
	X(int, epoll_create1, (int))                                                                                                       \
	X(int, epoll_ctl, (int, int, int, struct epoll_event *))                                                                           \
	X(int, execve, (const char *, char *const[], char *const[]))                                                                       \
	X(int, execvpe, (const char *, char *const[], char *const[]))                                                                      \
	X(int, fexecve, (int, char *const[], char *const[]))                                                                               \
	X(int, execveat, (int, const char *, char *const[], char *const[], int))                                                           \
	X(int, posix_spawn,                                                                                                                \
	  (pid_t *, const char *, const posix_spawn_file_actions_t *, const posix_spawnattr_t *, char *const[], char *const[]))            \
	X(int, posix_spawnp,                                                                                                               \
	  (pid_t *, const char *, const posix_spawn_file_actions_t *, const posix_spawnattr_t *, char *const[], char *const[]))            \
	X(int, posix_spawn_file_actions_adddup2, (posix_spawn_file_actions_t *, int, int))                                                 \
	X(int, aio_read, (struct aiocb *))                                                                                                 \
	X(int, aio_write, (struct aiocb *))                                                                                                \
	X(int, lio_listio, (int, struct aiocb *const[], int, struct sigevent *))                                                           \
	X(int, timer_create, (clockid_t, struct sigevent *, timer_t *))                                                                    \
	X(int, mq_notify, (int, const struct sigevent *))                                                                                  \
	X(int, getaddrinfo_a, (int, struct gaicb *[], int, struct sigevent *))                                                             \
	X(int, pthread_create, (pthread_t *, const pthread_attr_t *, void *(*)(void *), void *))                                           \
	X(int, pthread_cancel, (pthread_t))                                                                                                \
	X(int, sigaction, (int, const struct sigaction *, struct sigaction *))                                                             \
	X(sighandler_t, signal, (int, sighandler_t))                                                                                       \
	X(int, sigprocmask, (int, const sigset_t *, sigset_t *))                                                                           \
	X(int, pthread_sigmask, (int, const sigset_t *, sigset_t *))                                                                       \
	X(int, sigsuspend, (const sigset_t *))                                                                                             \
	X(int, sigaltstack, (const stack_t *, stack_t *))                                                                                  \
	X(int, thrd_create, (thrd_t *, thrd_start_t, void *))                                                                              \
	X(pid_t, _Fork, (void))                                                                                                            \
	X(int, clone, (int (*)(void *), void *, int, void *, ...))                                                                         \
	X(int, unshare, (int))                                                                                                             \
	X(int, setns, (int, int))                                                                                                          \
	X(int, system, (const char *))                                                                                                     \
	X(FILE *, popen, (const char *, const char *))                                                                                     \
	X(int, openpty, (int *, int *, char *, const struct termios *, const struct winsize *))                                            \
	X(pid_t, forkpty, (int *, char *, const struct termios *, const struct winsize *))                                                 \
	X(int, daemon, (int, int))                                                                                                         \
	X(FILE *, freopen, (const char *, const char *, FILE *))                                                                           \
	CW_REAL_CALLS_OF_THIS_LIBC(X)

struct cw_real {
#define X(result, name, parameters) result(*name) parameters;
	CW_REAL_CALLS(X)
#undef X
};

extern struct cw_real cw_real;

/*
 * In a plain process no descriptor is ours any more (plain.c): what a program calls is what the kernel is called for, by the same call, and
 * nothing else. Asked where a call of ours does more for descriptors that are not ours than to look at them.
 */
enum cw_stage { CW_NOT_STARTED, CW_STARTED, CW_PLAIN };
extern _Atomic uint8_t cw_stage;

void cw_real_find(void);
void cw_start(void); /* start.c; more than once does nothing */

static inline bool cw_is_plain(void)
{
	if (cw_likely(atomic_load_explicit(&cw_stage, memory_order_relaxed) == CW_STARTED))
		return false;
	cw_start();
	return atomic_load_explicit(&cw_stage, memory_order_relaxed) == CW_PLAIN;
}

/* Enough where a descriptor is looked up: in a plain process none is found. */
static inline void cw_ensure_started(void)
{
	if (cw_unlikely(atomic_load_explicit(&cw_stage, memory_order_relaxed) != CW_STARTED))
		cw_start();
}

/* libc's calls act on what is pending before all else, even if they need not wait. So where one begins that may do without libc's: nothing
 * is held there. */
static inline void cw_cancellation_point(void)
{
	if (cw_unlikely(atomic_load_explicit(&cw_cancels, memory_order_relaxed)))
		pthread_testcancel();
}

/* Around calls of ours in a function of libc's that is no cancellation point, and may hold a lock. Returns what was so before. */
static inline int cw_hold_cancellation(void)
{
	int before = PTHREAD_CANCEL_ENABLE;

	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &before);
	return before;
}

static inline void cw_release_cancellation(int before)
{
	pthread_setcancelstate(before, &before);
}

#endif
