/* Calls that return twice: fork, vfork, and threads that libc does not make. */
#include "raw_inside.h"

#ifdef CW_RAW_HERE
#include <sched.h>
#include <signal.h>
#include <string.h>

#include "call.h"
#include "clone.h"
#include "plain.h"
#include "process.h"
#include "sockets/leave.h"

/* A handler that is left by a jump leaves its detour behind: where all are taken it is the oldest's turn. */
static struct cw_raw_detour *free_detour(struct cw_raw_thread *thread)
{
	for (int i = 0; i < CW_RAW_DETOURS; i++)
		if (!thread->detours[i].resume)
			return &thread->detours[i];
	return &thread->detours[thread->oldest++ % CW_RAW_DETOURS];
}

struct cw_raw_detour *cw_raw_detour(struct cw_raw_thread *thread, ucontext_t *context, const char *call)
{
	greg_t *registers = context->uc_mcontext.gregs;
	struct cw_raw_detour *detour = free_detour(thread);

	detour->born = NULL;
	detour->result = 0;
	detour->r12 = (uint64_t)registers[REG_R12];
	detour->resume = (uintptr_t)registers[REG_RIP];
	registers[REG_R12] = (greg_t)detour;
	registers[REG_RIP] = (greg_t)call;
	return detour;
}

/* The child has a copy of everything, this handler's frame too: it goes on from here. */
static long fork_here(ucontext_t *context, unsigned long flags, const long a[6])
{
	long result;

	cw_clone_before(flags);
	result = cw_raw(SYS_clone, (long)flags, 0, a[2], a[3], a[4], 0);
	if (result) {
		cw_process_in_parent();
		return result;
	}
	cw_process_in_child();
	cw_raw_arm();
	if (a[1])
		context->uc_mcontext.gregs[REG_RSP] = a[1];
	return 0;
}

/*
 * By a vfork child. Its thread is its parent's, who goes on by what is written there, so the two can't have places to go on at the same
 * time: the child's child gets memory of its own, which a vfork may give, and begins here.
 */
static long nested_vfork(ucontext_t *context, unsigned long flags, const long a[6])
{
	long result = cw_raw(SYS_clone, (long)(flags & ~(unsigned long)CLONE_VM), 0, a[2], a[3], a[4], 0);

	if (result)
		return result;
	cw_raw_arm();
	if (a[1])
		context->uc_mcontext.gregs[REG_RSP] = a[1];
	return 0;
}

static long thread_here(struct cw_raw_thread *thread, ucontext_t *context, const long a[6])
{
	greg_t *registers = context->uc_mcontext.gregs;
	uintptr_t *stack = (uintptr_t *)a[1];
	struct cw_raw_thread *child;

	if (!stack)
		return -EINVAL;
	if (!(a[0] & CLONE_FILES))
		cw_before_split();
	child = cw_raw_thread_new();
	if (!child) {
		cw_raw_jumps_end();
		cw_leave_process(CW_REASON_raw_calls);
	}
	stack[-3] = (uintptr_t)child;
	stack[-2] = (uintptr_t)registers[REG_R12];
	stack[-1] = (uintptr_t)registers[REG_RIP];
	registers[REG_RSI] = (greg_t)(stack - 3);
	cw_raw_detour(thread, context, cw_raw_thread_call)->born = child;
	thread->births = true;
	return 0;
}

void cw_raw_born(struct cw_raw_thread *thread)
{
	thread->births = false;
	for (int i = 0; i < CW_RAW_DETOURS; i++) {
		struct cw_raw_detour *detour = &thread->detours[i];

		if (!detour->resume)
			continue;
		if (!detour->result) { /* not yet */
			thread->births = true;
			continue;
		}
		if (detour->result < 0 && detour->born)
			cw_raw_thread_give(detour->born, 0);
		detour->resume = 0;
	}
}

bool cw_raw_clone(struct cw_raw_thread *thread, ucontext_t *context, long number, const long a[6], long *result)
{
	const long none[6] = {0};
	unsigned long flags = (unsigned long)a[0];

	if (number == SYS_clone3) {
		*result = -ENOSYS; /* as before Linux 5.3: clone is asked for then */
		return false;
	}
	if (number == SYS_fork || number == SYS_vfork) {
		flags = number == SYS_fork ? SIGCHLD : CLONE_VM | CLONE_VFORK | SIGCHLD;
		a = none;
	}
	if (!(flags & CLONE_VM)) {
		*result = fork_here(context, flags, a);
		return false;
	}
	if ((flags & CLONE_VFORK) && cw_is_other_process()) {
		*result = nested_vfork(context, flags, a);
		return false;
	}
	if (flags & CLONE_VFORK) {
		cw_raw_detour(thread, context, cw_raw_vfork_call);
		return true;
	}
	*result = thread_here(thread, context, a);
	return *result == 0;
}
#endif
