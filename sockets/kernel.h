/*
 * The kernel, in two ways. cw_kernel.NAME is libc's own function, found behind ours: for calls that may block, since they are cancellation
 * points. cw_raw() is the bare system call, for those that never block, and for a thread that nobody can cancel (cw_sole_thread): it
 * returns -errno and leaves errno alone.
 */
#ifndef CW_SOCKETS_KERNEL_H
#define CW_SOCKETS_KERNEL_H

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/sendfile.h>
#ifdef __GLIBC__
#include <sys/single_threaded.h>
#endif
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <time.h>

/* X(result, name, (parameters)): what sockets/ and remap/ call behind the program's back. Filled by remap/real.c. */
#define CW_KERNEL_CALLS(X)                                                                                                                 \
	X(ssize_t, sendmsg, (int, const struct msghdr *, int))                                                                             \
	X(ssize_t, sendto, (int, const void *, size_t, int, const struct sockaddr *, socklen_t))                                           \
	X(ssize_t, recvfrom, (int, void *, size_t, int, struct sockaddr *, socklen_t *))                                                   \
	X(ssize_t, recvmsg, (int, struct msghdr *, int))                                                                                   \
	X(ssize_t, recv, (int, void *, size_t, int))                                                                                       \
	X(ssize_t, sendfile64, (int, int, off64_t *, size_t))                                                                              \
	X(int, poll, (struct pollfd *, nfds_t, int))                                                                                       \
	X(int, ppoll, (struct pollfd *, nfds_t, const struct timespec *, const sigset_t *))                                                \
	X(int, select, (int, fd_set *, fd_set *, fd_set *, struct timeval *))                                                              \
	X(int, pselect, (int, fd_set *, fd_set *, fd_set *, const struct timespec *, const sigset_t *))                                    \
	X(int, epoll_pwait, (int, struct epoll_event *, int, int, const sigset_t *))                                                       \
	X(int, epoll_pwait2, (int, struct epoll_event *, int, const struct timespec *, const sigset_t *))

struct cw_kernel {
#define X(result, name, parameters) result(*name) parameters;
	CW_KERNEL_CALLS(X)
#undef X
};

extern struct cw_kernel cw_kernel;

/* pthread_cancel has been called (remap/cancel.c). */
extern _Atomic bool cw_cancels;

/*
 * A thread without others is cancelled by nobody but itself, and libc too asks once, before such a call, whether there are any: a handler
 * that interrupts it may do what it likes. So the call may be a bare one. After a sleep libc's text is cold, and the way through it a good
 * part of what the call costs.
 */
static inline bool cw_sole_thread(void)
{
#ifdef __GLIBC__
	return __libc_single_threaded && !atomic_load_explicit(&cw_cancels, memory_order_relaxed);
#else
	return false;
#endif
}

#if defined(__x86_64__)
static inline long cw_raw(long number, long a, long b, long c, long d, long e, long f)
{
	long result;
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = f;

	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return result;
}
#elif defined(__i386__)
/* The sixth argument's register is the frame pointer, which no constraint can name. */
static inline long cw_raw(long number, long a, long b, long c, long d, long e, long f)
{
	long result;

	__asm__ volatile("pushl %[f]\n\t"
			 "pushl %%ebp\n\t"
			 "movl 4(%%esp), %%ebp\n\t"
			 "int $0x80\n\t"
			 "popl %%ebp\n\t"
			 "addl $4, %%esp"
			 : "=a"(result)
			 : "a"(number), "b"(a), "c"(b), "d"(c), "S"(d), "D"(e), [f] "m"(f)
			 : "memory", "cc");
	return result;
}
#elif defined(__aarch64__)
static inline long cw_raw(long number, long a, long b, long c, long d, long e, long f)
{
	register long x8 __asm__("x8") = number;
	register long x0 __asm__("x0") = a;
	register long x1 __asm__("x1") = b;
	register long x2 __asm__("x2") = c;
	register long x3 __asm__("x3") = d;
	register long x4 __asm__("x4") = e;
	register long x5 __asm__("x5") = f;

	__asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5) : "memory");
	return x0;
}
#else
#error "no bare system call for this processor"
#endif

static inline long cw_raw_sendmsg(int fd, const struct msghdr *message, int flags)
{
	return cw_raw(SYS_sendmsg, fd, (long)message, flags, 0, 0, 0);
}

static inline long cw_raw_recvmsg(int fd, struct msghdr *message, int flags)
{
	return cw_raw(SYS_recvmsg, fd, (long)message, flags, 0, 0, 0);
}

/* At no offset: then the old call of 32 bits, which takes pages, and the new one are the same. */
static inline long cw_raw_map(void *address, size_t size, int protection, int flags, int fd)
{
#ifdef SYS_mmap2
	return cw_raw(SYS_mmap2, (long)address, (long)size, protection, flags, fd, 0);
#else
	return cw_raw(SYS_mmap, (long)address, (long)size, protection, flags, fd, 0);
#endif
}

/* A millisecond, for what somebody else does soon. */
static inline void cw_turn(void)
{
	struct timespec millisecond = {.tv_nsec = 1000000};

	cw_raw(SYS_nanosleep, (long)&millisecond, 0, 0, 0, 0, 0);
}

static inline long cw_raw_fcntl(int fd, int command, long argument)
{
	return cw_raw(SYS_fcntl, fd, command, argument, 0, 0, 0);
}

/* Seconds. A time-out of so many or more is one for ever: in nanoseconds it would be more than a deadline can say. */
#define CW_LIFE_LONG 1000000000

/* As poll(2) wants it, until a time of cw_monotonic_ns. -1: no limit, or longer than poll can say. */
static inline int cw_milliseconds_left(uint64_t end, uint64_t now)
{
	uint64_t left = now < end ? (end - now + 999999) / 1000000 : 0;

	return end && left <= INT_MAX ? (int)left : -1;
}

/* What poll(2) says of one descriptor at this moment: its bits, 0 or -errno. */
static inline long cw_raw_poll(int fd, short events)
{
	struct pollfd one = {.fd = fd, .events = events};
	struct timespec none = {0};
	long ready = cw_raw(SYS_ppoll, (long)&one, 1, (long)&none, 0, 0, 0);

	return ready > 0 ? (unsigned short)one.revents : ready;
}

/* Not by an error alone, which may be one that no receive takes away (IP_RECVERR). */
static inline bool cw_raw_readable(int fd)
{
	long told = cw_raw_poll(fd, POLLIN);

	return told > 0 && (told & POLLIN);
}

static inline long cw_raw_close(int fd)
{
	return cw_raw(SYS_close, fd, 0, 0, 0, 0, 0);
}

static inline long cw_raw_getsockopt(int fd, int level, int name, void *value, socklen_t *size)
{
	return cw_raw(SYS_getsockopt, fd, level, name, (long)value, (long)size, 0);
}

static inline long cw_raw_setsockopt(int fd, int level, int name, const void *value, socklen_t size)
{
	return cw_raw(SYS_setsockopt, fd, level, name, (long)value, size, 0);
}

/* Asked of the kernel each time: a vfork child has its parent's memory, but a number of its own. */
static inline uint32_t cw_own_pid(void)
{
	return (uint32_t)cw_raw(SYS_getpid, 0, 0, 0, 0, 0, 0);
}

/*
 * Around a kernel call that doesn't wait and what is booked of it: a signal handler in between, on the same stream, would go by an offset
 * that no longer holds. SIGSYS is what moves calls of programs without libc, and stays. Returns what was held before.
 */
static inline uint64_t cw_hold_signals(void)
{
	uint64_t all = ~(1ull << (SIGSYS - 1)), before = 0;

	cw_raw(SYS_rt_sigprocmask, SIG_BLOCK, (long)&all, (long)&before, sizeof(all), 0, 0);
	return before;
}

static inline void cw_release_signals(uint64_t before)
{
	cw_raw(SYS_rt_sigprocmask, SIG_SETMASK, (long)&before, 0, sizeof(before), 0, 0);
}

#endif
