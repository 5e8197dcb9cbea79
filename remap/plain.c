/*
 * seccomp: a program that installs a filter of system calls has listed those that it makes, not those that the library makes for it. Before
 * the filter holds, every stream leaves, and the process becomes plain: no descriptor is known to us any more, so that each call is the
 * program's own, also close, epoll_wait and fork. Slots stay with the process until it ends, since other threads may be inside a call with
 * one; the service sees the end. If a stream's bytes could not be had from its writer, the process goes on by the library, without moving.
 *
 * The same where threads, or processes in one memory, come to have tables of descriptors of their own: ours is one; and where code is
 * loaded that calls libc past us (deep_binding.c).
 */
#include "plain.h"

#include <linux/seccomp.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/stat.h>

#include "call.h"
#include "process.h"
#include "raw.h"
#include "sockets/leave.h"
#include "sockets/set.h"

static void forget_all(void)
{
	for (uint32_t fd = 0; fd < cw_table_end(); fd++) {
		enum cw_descriptor_kind kind = cw_table_kind(cw_table_get((int)fd));

		if (kind == CW_FD_STREAM || kind == CW_FD_SET || kind == CW_FD_DATAGRAM)
			cw_table_take((int)fd);
	}
}

#define WAIT_TURNS 5000 /* of a millisecond: longer than leaving takes, whatever it waits for */

#define DONE UINT32_MAX

static _Atomic uint32_t beginner; /* the thread that is at it, or DONE; 0: nobody was yet */

/* Another thread's filter must not hold for one that still goes by the library. Not in a signal handler of the same thread, and not in a
 * child, where nobody is at it. */
static void wait_for_beginner(void)
{
	struct timespec turn = {.tv_nsec = 1000000};
	uint32_t thread;

	for (int i = 0; i < WAIT_TURNS && (thread = atomic_load_explicit(&beginner, memory_order_acquire)) != DONE; i++) {
		if (thread == cw_thread_id() || cw_raw(SYS_tgkill, cw_own_pid(), thread, 0, 0, 0, 0) < 0)
			return;
		cw_raw(SYS_nanosleep, (long)&turn, 0, 0, 0, 0, 0);
	}
}

/* Once: the second time there is nothing to leave, or no way to. */
static void become_plain(enum cw_reason reason)
{
	uint32_t nobody = 0;
	int error = errno;

	if (cw_is_plain())
		return;
	if (!atomic_compare_exchange_strong_explicit(&beginner, &nobody, cw_thread_id(), memory_order_acq_rel, memory_order_acquire)) {
		wait_for_beginner();
		return;
	}
	cw_set_flush_all();
	if (cw_leave_process(reason)) {
		atomic_store_explicit(&cw_stage, CW_PLAIN, memory_order_seq_cst);
		cw_raw_end();
		forget_all();
	}
	atomic_store_explicit(&beginner, DONE, memory_order_release);
	errno = error;
}

void cw_before_filter(bool installs)
{
	static _Atomic bool told;

	/* A vfork child's memory is its parent's. */
	if (!installs || cw_is_other_process() || (cw_is_plain() && !atomic_load_explicit(&beginner, memory_order_relaxed)))
		return;
	if (!atomic_exchange_explicit(&told, true, memory_order_relaxed))
		setenv(CW_FILTERED, "1", 1);
	become_plain(CW_REASON_filter);
}

void cw_before_split(void)
{
	if (!cw_is_other_process())
		become_plain(CW_REASON_tables);
}

void cw_before_linked_past(void)
{
	become_plain(CW_REASON_linked_past);
}

#ifndef PR_SET_SYSCALL_USER_DISPATCH
#define PR_SET_SYSCALL_USER_DISPATCH 59
#endif

/* Threads that libc has not made are counted too. */
static bool has_threads(void)
{
	struct stat tasks;
	int error = errno;
	bool alone = stat("/proc/self/task", &tasks) == 0 && tasks.st_nlink == 3;

	errno = error;
	return !alone;
}

void cw_before_unshare(void)
{
	if (!cw_is_plain() && has_threads())
		cw_before_split();
}

CW_EXPORT int prctl(int option, ...)
{
	unsigned long a[4];
	va_list list;

	va_start(list, option);
	for (int i = 0; i < 4; i++)
		a[i] = va_arg(list, unsigned long);
	va_end(list);
	cw_ensure_started();
	if (option == PR_SET_SYSCALL_USER_DISPATCH && cw_raw_on && !cw_is_plain()) {
		errno = EINVAL; /* taken (raw.c) */
		return -1;
	}
	if (option == PR_SET_SECCOMP)
		cw_before_filter(a[0] == SECCOMP_MODE_STRICT || (a[0] == SECCOMP_MODE_FILTER && a[1]));
	return cw_real.prctl(option, a[0], a[1], a[2], a[3]);
}
