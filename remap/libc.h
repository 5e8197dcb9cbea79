/*
 * What the C libraries differ in. glibc and musl are known. A call that one lacks is made by its system call (absent.c), so that the rest
 * need not ask which one it stands before; what only one has is found in CW_REAL_CALLS_OF_THIS_LIBC.
 */
#ifndef CW_REMAP_LIBC_H
#define CW_REMAP_LIBC_H

#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>

#ifdef __GLIBC__
#include <signal.h>
#include <ucontext.h>
#define CW_GLIBC_PRINTS(X)                                                                                                                 \
	X(int, vdprintf, (int, const char *, va_list))                                                                                     \
	X(int, __vdprintf_chk, (int, int, const char *, va_list))                                                                          \
	X(void, perror, (const char *))                                                                                                    \
	X(void, herror, (const char *))                                                                                                    \
	X(void, backtrace_symbols_fd, (void *const *, int, int))
#if __SIZEOF_LONG__ == 4
#include "time64.h"
struct aiocb64;
#define CW_REAL_CALLS_OF_THIS_LIBC(X)                                                                                                      \
	CW_GLIBC_PRINTS(X)                                                                                                                 \
	X(FILE *, freopen64, (const char *, const char *, FILE *))                                                                         \
	X(int, aio_read64, (struct aiocb64 *))                                                                                             \
	X(int, aio_write64, (struct aiocb64 *))                                                                                            \
	X(int, lio_listio64, (int, struct aiocb64 *const[], int, struct sigevent *))                                                       \
	X(int, fcntl64, (int, int, ...))                                                                                                   \
	CW_TIME64_CALLS(X)
#else
#define CW_REAL_CALLS_OF_THIS_LIBC(X)                                                                                                      \
	CW_GLIBC_PRINTS(X)                                                                                                                 \
	X(FILE *, freopen64, (const char *, const char *, FILE *))                                                                         \
	X(sighandler_t, __sysv_signal, (int, sighandler_t))                                                                                \
	X(sighandler_t, sigset, (int, sighandler_t))                                                                                       \
	X(int, sigignore, (int))                                                                                                           \
	X(int, sighold, (int))                                                                                                             \
	X(int, sigblock, (int))                                                                                                            \
	X(int, sigsetmask, (int))                                                                                                          \
	X(int, __sigpause, (int, int))                                                                                                     \
	X(int, swapcontext, (ucontext_t *, const ucontext_t *))                                                                            \
	X(int, setcontext, (const ucontext_t *))
#endif
typedef int cw_message_flags; /* of sendmmsg, recvmmsg */
#define CW_RESTRICT
#else
typedef unsigned cw_message_flags;
#define CW_RESTRICT restrict
#define CW_REAL_CALLS_OF_THIS_LIBC(X)                                                                                                      \
	X(FILE *, fdopen, (int, const char *))                                                                                             \
	X(int, vdprintf, (int, const char *, va_list))

#define __SOCKADDR_ARG       struct sockaddr *restrict
#define __CONST_SOCKADDR_ARG const struct sockaddr *

int close_range(unsigned first, unsigned last, int flags);
void closefrom(int low);
int execveat(int fd, const char *path, char *const arguments[], char *const environment[], int flags);
int epoll_pwait2(int epfd, struct epoll_event *events, int max, const struct timespec *timeout, const sigset_t *mask);
ssize_t preadv2(int fd, const struct iovec *iov, int count, off_t offset, int flags);
ssize_t pwritev2(int fd, const struct iovec *iov, int count, off_t offset, int flags);
#ifndef RWF_HIPRI
#define RWF_HIPRI 1
#endif
#ifndef RWF_NOWAIT
#define RWF_NOWAIT 8
#define RWF_DSYNC  2
#define RWF_SYNC   4
#define RWF_APPEND 16
#endif
#endif

/* absent.c: stand-ins for what libc hasn't. */
void cw_real_stand_in(void);
int cw_epoll_pwait2(int epfd, struct epoll_event *events, int max, const struct timespec *timeout, const sigset_t *mask);

#endif
