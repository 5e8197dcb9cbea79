/*
 * Children that libc's fork handlers don't see: of _Fork, of clone without CLONE_VM, and of the system calls by their numbers. They are as
 * those of fork: two processes hold what one has held. As _Fork, this may be called by a signal handler: nothing here takes memory, and
 * who is interrupted in the middle of our words with the service goes on without (fork.c).
 */
#include "clone.h"

#include <linux/sched.h>
#include <sched.h>
#include <stdarg.h>
#include <unistd.h>

#include "call.h"
#include "plain.h"
#include "process.h"
#include "raw.h"
#include "sockets/leave.h"
#include "sockets/memory.h"

pid_t _Fork(void);

void cw_clone_before(uint64_t flags)
{
	int error = errno;

	/* Two processes would change one table of descriptors. */
	if ((flags & CLONE_FILES) && !cw_is_plain())
		cw_leave_process(CW_REASON_raw_calls);
	if (flags & CLONE_NEWPID)
		cw_process_before_other_numbers();
	cw_process_before_fork();
	errno = error;
}

static long behind(long child)
{
	int error = errno;

	if (child)
		cw_process_in_parent();
	else
		cw_process_in_child_of_libc();
	errno = error;
	return child;
}

CW_EXPORT pid_t _Fork(void)
{
	cw_ensure_started();
	if (!cw_real._Fork)
		return fork();
	if (cw_process_forks()) /* libc's own fork, which has called the handlers */
		return cw_real._Fork();
	cw_clone_before(0);
	return (pid_t)behind(cw_real._Fork());
}

/* Not a vfork child, whom we wait for. */
static bool splits(uint64_t flags)
{
	return (flags & CLONE_VM) && !(flags & (CLONE_FILES | CLONE_VFORK));
}

struct begun {
	int (*begin)(void *);
	void *argument;
};

static int in_child(void *copy)
{
	struct begun begun = *(struct begun *)copy;

	behind(0);
	return begun.begin(begun.argument);
}

/* In this memory, so all that the library knows is its own too; but its calls aren't dispatched yet. */
static int in_this_memory(void *waited_for)
{
	const struct begun *begun = waited_for;

	cw_raw_join();
	return begun->begin(begun->argument);
}

CW_EXPORT int clone(int (*begin)(void *), void *stack, int flags, void *argument, ...)
{
	struct begun begun = {begin, argument};
	pid_t *parent_tid, *child_tid;
	void *tls;
	va_list list;

	va_start(list, argument);
	parent_tid = va_arg(list, pid_t *);
	tls = va_arg(list, void *);
	child_tid = va_arg(list, pid_t *);
	va_end(list);
	cw_ensure_started();
	if (splits((unsigned)flags))
		cw_before_split();
	if (cw_raw_on && (flags & CLONE_VM) && begin && stack) {
		if (flags & CLONE_VFORK)
			return cw_real.clone(in_this_memory, stack, flags, &begun, parent_tid, tls, child_tid);
		cw_raw_jumps_end();
		cw_leave_process(CW_REASON_raw_calls); /* a thread that libc knows nothing of */
	}
	if ((flags & CLONE_VM) || !begin || !stack)
		return cw_real.clone(begin, stack, flags, argument, parent_tid, tls, child_tid);
	cw_clone_before((unsigned)flags);
	return (int)behind(cw_real.clone(in_child, stack, flags, &begun, parent_tid, tls, child_tid));
}

/* One that returns twice, in memory of its own, and on the same stack. */
static bool forks(long number, const long a[6], uint64_t *flags)
{
	const struct clone_args *wide = (const struct clone_args *)a[0];

	*flags = 0;
#ifdef SYS_fork
	if (number == SYS_fork)
		return true;
#endif
	if (number == SYS_clone) {
		*flags = (unsigned long)a[0];
		return !(*flags & CLONE_VM) && !a[1];
	}
	if ((unsigned long)a[1] < CLONE_ARGS_SIZE_VER0 || cw_nowhere(wide, CLONE_ARGS_SIZE_VER0))
		return false;
	*flags = wide->flags;
	return !(*flags & CLONE_VM) && !wide->stack;
}

bool cw_clone_by_number(long number, const long a[6], long *result)
{
	uint64_t flags;

	if (!forks(number, a, &flags)) {
		if (splits(flags))
			cw_before_split();
		return false;
	}
	cw_clone_before(flags);
	*result = behind(cw_raw(number, a[0], a[1], a[2], a[3], a[4], a[5]));
	if (*result < 0) {
		errno = (int)-*result;
		*result = -1;
	}
	return true;
}

#ifdef __GLIBC__
CW_EXPORT int __clone(int (*begin)(void *), void *stack, int flags, void *argument, ...) __THROW __attribute__((alias("clone")));
#endif
