#include "lock.h"

#include "decimal.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "cpu.h"

#define LOOKS               200           /* about 10 us, longer than any section that makes no system call */
#define TURN_NS             1000000       /* a waiter's sleep between two questions whether the holder lives */
#define TURNS_BEFORE_ZOMBIE 8             /* between two questions whether the holder is a zombie */
#define LIMIT_NS            2000000000ull /* past this the word is nonsense or its holder is stopped: the caller leaves the ring */
#define LONGEST_TURN_NS     10000000      /* a turn counts no more: who is stopped meanwhile has not waited */
#define OF_A_THREAD         "/proc/self/task/4294967295/syscall"

/* A killed one that its parent has not waited for still has its id, but no memory: the kernel says so of any process, before it asks for
 * permission. */
static bool has_no_memory(uint32_t holder)
{
	char byte;
	struct iovec here = {&byte, 1}, there = {NULL, 1};

	return syscall(SYS_process_vm_readv, (pid_t)holder, &here, 1, &there, 1, 0) < 0 && errno == ESRCH;
}

static bool holder_is_dead(uint32_t holder, unsigned turns)
{
	int saved = errno;
	bool dead;

	if (holder == CW_LOCK_GUEST)
		return false;
	dead = syscall(SYS_kill, (pid_t)holder, 0) < 0 && errno == ESRCH;
	if (!dead && turns % TURNS_BEFORE_ZOMBIE == TURNS_BEFORE_ZOMBIE - 1)
		dead = has_no_memory(holder);
	errno = saved;
	return dead || holder > CW_LOCK_GUEST; /* no thread ever has such an id */
}

/* The system call that a thread of this process is in, '-' if it is in none and yet waits, 'r' if it runs, or would; 0: not known. */
static char said_of(uint32_t thread)
{
	static const char before[] = "/proc/self/task/", after[] = "/syscall";
	char path[sizeof(OF_A_THREAD)], said[2] = {0};
	int fd, saved = errno;

	memcpy(path, before, sizeof(before));
	memcpy(cw_put_decimal(path + sizeof(before) - 1, thread), after, sizeof(after));
	fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
	if (fd >= 0) {
		if (syscall(SYS_read, fd, said, sizeof(said)) < 0)
			said[0] = 0;
		syscall(SYS_close, fd);
	}
	errno = saved;
	return said[0] == '-' && said[1] != '1' ? 0 : said[0];
}

/*
 * A thread of this process that copies, and whose memory is slow to come (a file's page on a slow disk, userfaultfd): it is in the kernel,
 * and not by a system call. No peer can feign that, and the kernel's own lock of a socket is held as long. One that runs is believed too
 * where no peer can write.
 */
static bool holder_goes_on(uint32_t holder, bool own)
{
	char said = said_of(holder);

	return said == '-' || (own && said == 'r');
}

static bool try(struct cw_lock *lock, uint32_t from, uint32_t self)
{
	return atomic_compare_exchange_strong_explicit(&lock->holder, &from, self, memory_order_acquire, memory_order_relaxed);
}

static void sleep_a_turn(struct cw_lock *lock, uint32_t holder)
{
	struct timespec turn = {.tv_nsec = TURN_NS};
	int saved = errno;

	atomic_fetch_add_explicit(&lock->waiters, 1, memory_order_seq_cst);
	/* A device's memory has no futexes: then it is a sleep without a waker. */
	if (syscall(SYS_futex, &lock->holder, FUTEX_WAIT, holder, &turn, NULL, 0) < 0 && errno == EFAULT)
		syscall(SYS_clock_nanosleep, CLOCK_MONOTONIC, 0, &turn, NULL);
	atomic_fetch_sub_explicit(&lock->waiters, 1, memory_order_relaxed);
	errno = saved;
}

/* How long the caller has waited, of what has passed since it looked last. */
static uint64_t turn_waited(uint64_t *last)
{
	uint64_t now = cw_monotonic_ns(), turn = *last ? now - *last : 0;

	*last = now;
	return turn < LONGEST_TURN_NS ? turn : LONGEST_TURN_NS;
}

static enum cw_lock_result wait_for(struct cw_lock *lock, uint32_t self, uint64_t *contended, bool own)
{
	uint64_t waited = 0, last = 0;
	unsigned turns = 0;
	uint32_t holder = atomic_load_explicit(&lock->holder, memory_order_relaxed);

	if (holder == self)
		return CW_LOCK_NESTED;
	/* Counted for the stream, which has two locks, and before this one is had. */
	if (contended)
		atomic_fetch_add_explicit((_Atomic uint64_t *)contended, 1, memory_order_relaxed);
	for (int look = 0; look < LOOKS; look++) {
		if (try(lock, 0, self))
			return CW_LOCK_HELD;
		cw_pause();
	}
	for (;;) {
		holder = atomic_load_explicit(&lock->holder, memory_order_relaxed);
		if (!holder && try(lock, 0, self))
			return CW_LOCK_HELD;
		if (holder && holder_is_dead(holder, turns++) && try(lock, holder, self))
			return CW_LOCK_RECOVERED;
		waited += turn_waited(&last);
		if (waited <= LIMIT_NS)
			;
		else if (holder == CW_LOCK_GUEST && try(lock, holder, self))
			return CW_LOCK_RECOVERED;
		else if (holder_goes_on(holder, own))
			waited = 0;
		else
			return CW_LOCK_TIMED_OUT;
		if (holder)
			sleep_a_turn(lock, holder);
	}
}

enum cw_lock_result cw_lock_slow(struct cw_lock *lock, uint32_t self, uint64_t *contended)
{
	return wait_for(lock, self, contended, false);
}

enum cw_lock_result cw_lock_own_slow(struct cw_lock *lock, uint32_t self, uint64_t *contended)
{
	return wait_for(lock, self, contended, true);
}

static bool is_of_this_process(uint32_t thread)
{
	int saved = errno;
	bool is = syscall(SYS_tgkill, getpid(), (pid_t)thread, 0) == 0;

	errno = saved;
	return is;
}

void cw_lock_pass(struct cw_lock *lock, uint32_t self)
{
	uint64_t waited = 0, last = 0;
	uint32_t holder;

	while (!try(lock, 0, self)) {
		holder = atomic_load_explicit(&lock->holder, memory_order_acquire);
		if (holder == self || (holder && !is_of_this_process(holder)))
			return;
		waited += turn_waited(&last);
		if (waited > LIMIT_NS)
			return;
		if (holder)
			sleep_a_turn(lock, holder);
	}
	cw_unlock(lock);
}

void cw_unlock_wake(struct cw_lock *lock)
{
	int saved = errno;

	syscall(SYS_futex, &lock->holder, FUTEX_WAKE, 1, NULL, NULL, 0);
	errno = saved;
}

bool cw_lock_as_guest(struct cw_lock *lock)
{
	return try(lock, 0, CW_LOCK_GUEST);
}

bool cw_unlock_as_guest(struct cw_lock *lock)
{
	uint32_t guest = CW_LOCK_GUEST;

	if (!atomic_compare_exchange_strong_explicit(&lock->holder, &guest, 0, memory_order_acq_rel, memory_order_relaxed))
		return false;
	if (atomic_load_explicit(&lock->waiters, memory_order_relaxed))
		cw_unlock_wake(lock);
	return true;
}
