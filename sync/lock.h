/*
 * A lock in memory that several processes map, one of which may be killed while it holds it, and another of which may
 * write nonsense into it. The word is the holder's thread id. A waiter looks, then sleeps on the word in short turns and asks
 * whether the holder lives; the lock of a dead one is taken over, and the caller is told so that it can mend what the lock
 * protects. No wait is without a limit, but that for a thread of this process whose own memory is slow to come; the limit is of what the
 * waiter itself has waited, not of what it was stopped for.
 *
 * A thread that finds itself the holder is a signal handler on top of its own locked section: it gets CW_LOCK_NESTED and may
 * do only what the section below notices (publish by compare-and-swap).
 */
#ifndef CW_SYNC_LOCK_H
#define CW_SYNC_LOCK_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum cw_lock_result { CW_LOCK_HELD, CW_LOCK_RECOVERED, CW_LOCK_NESTED, CW_LOCK_TIMED_OUT };

struct cw_lock {
	_Atomic uint32_t holder;  /* thread id, 0 free */
	_Atomic uint32_t waiters; /* threads asleep on holder; a hint only, it may be too high after a kill */
};

/* self: the caller's thread id, never 0. *contended is raised by one if the lock was not free. Not async-signal-safe by itself;
 * CW_LOCK_NESTED is how a handler is let through. */
enum cw_lock_result cw_lock_slow(struct cw_lock *lock, uint32_t self, uint64_t *contended);

/* Wait until no other thread of this process is in the section that one was in when this was called; others are not waited for. */
void cw_lock_pass(struct cw_lock *lock, uint32_t self);

/*
 * Held for some instructions by a *guest*, who isn't one of those whose lock it is, and whose thread may have no number where they are: the
 * stream's other end, the service. He is taken for dead when the limit is over. Free, or not to be had; and was it his to the end?
 */
#define CW_LOCK_GUEST (1u << 22) /* PID_MAX_LIMIT: no thread has it */
bool cw_lock_as_guest(struct cw_lock *lock);
bool cw_unlock_as_guest(struct cw_lock *lock);

void cw_unlock_wake(struct cw_lock *lock);

static inline enum cw_lock_result cw_lock(struct cw_lock *lock, uint32_t self, uint64_t *contended)
{
	uint32_t free = 0;

	/* L0: acquire, pairs with the release in cw_unlock (L1). */
	if (__builtin_expect(
		    atomic_compare_exchange_strong_explicit(&lock->holder, &free, self, memory_order_acquire, memory_order_relaxed), 1))
		return CW_LOCK_HELD;
	return cw_lock_slow(lock, self, contended);
}

/*
 * A lock in memory of this process alone, where each number is of a thread that has taken it: one that runs is waited for as long as it
 * takes, on a busy machine or in a debugger. The limit is for who has been interrupted by a handler that waits in a system call, for what
 * the waiter, or somebody behind it, may be to do. contended: as in cw_lock, or NULL.
 */
enum cw_lock_result cw_lock_own_slow(struct cw_lock *lock, uint32_t self, uint64_t *contended);

static inline enum cw_lock_result cw_lock_own(struct cw_lock *lock, uint32_t self, uint64_t *contended)
{
	uint32_t free = 0;

	/* As L0. */
	if (__builtin_expect(
		    atomic_compare_exchange_strong_explicit(&lock->holder, &free, self, memory_order_acquire, memory_order_relaxed), 1))
		return CW_LOCK_HELD;
	return cw_lock_own_slow(lock, self, contended);
}

static inline void cw_unlock(struct cw_lock *lock)
{
	/* L1: release, pairs with L0. A waiter that comes between the two lines sleeps 1 ms at most. */
	atomic_store_explicit(&lock->holder, 0, memory_order_release);
	if (__builtin_expect(atomic_load_explicit(&lock->waiters, memory_order_relaxed) != 0, 0))
		cw_unlock_wake(lock);
}

/* Whose it is may have changed since. */
static inline void cw_unlock_if_held(struct cw_lock *lock, uint32_t self)
{
	if (atomic_load_explicit(&lock->holder, memory_order_relaxed) == self)
		cw_unlock(lock);
}

/* In a child by fork, of a lock of this process alone: whoever held it is not here. Only then is the page written, which would be copied.
 */
static inline void cw_lock_after_fork(struct cw_lock *lock)
{
	if (atomic_load_explicit(&lock->holder, memory_order_relaxed))
		atomic_store_explicit(&lock->holder, 0, memory_order_relaxed);
}

#endif
