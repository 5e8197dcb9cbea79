/*
 * Stacks for signals. Dispatched calls are answered on them, so a thread that libc has not made always has one, and one that is too small
 * for our calls has ours in its place: a room. The program sees those that it has set.
 */
#include "raw_inside.h"

#ifdef CW_RAW_HERE
#include <errno.h>

#include "call.h"
#include "process.h"
#include "raw_jumps.h"

#define SMALL_STACK (32 * 1024) /* what a call of ours may need, in frames of the largest processors */
#define LEAST_STACK 2048

/* -1: it is none of them. */
int cw_raw_room_of(const struct cw_raw_thread *thread, const void *start)
{
	for (int i = 0; start && i < CW_RAW_ROOMS; i++)
		if (thread->rooms[i] == start)
			return i;
	return -1;
}

static bool has_rooms(const struct cw_raw_thread *thread)
{
	for (int i = 0; i < CW_RAW_ROOMS; i++)
		if (thread->rooms[i])
			return true;
	return false;
}

/* Another than this one. A handler that is left by a jump leaves its room held: where all are it is the next one's turn. */
int cw_raw_free_room(struct cw_raw_thread *thread, int but)
{
	unsigned next;

	for (int i = 0; i < CW_RAW_ROOMS; i++)
		if (i != but && !thread->held[i])
			return i;
	next = thread->next_room++ % (CW_RAW_ROOMS - 1);
	return (int)next < but ? (int)next : (int)next + 1;
}

void *cw_raw_make_room(struct cw_raw_thread *thread, int room)
{
	if (!thread->rooms[room])
		thread->rooms[room] = cw_raw_new_stack(0);
	if (!thread->rooms[room])
		return NULL;
	thread->held[room] = false;
	return thread->rooms[room];
}

/* Unless it ends on that very stack. */
void cw_raw_stack_end(void *ignored)
{
	struct cw_raw_thread *thread = cw_raw_self();
	stack_t none = {.ss_flags = SS_DISABLE};

	if (thread)
		cw_raw_direct_end(thread);
	if (!thread || !has_rooms(thread) || cw_raw(SYS_sigaltstack, (long)&none, 0, 0, 0, 0, 0) != 0)
		return;
	for (int i = 0; i < CW_RAW_ROOMS; i++) {
		if (thread->rooms[i])
			cw_raw_free_stack(thread->rooms[i], 0);
		thread->rooms[i] = NULL;
	}
}

/* What the kernel is to be told, who knows of `kernels` now, where the program wants this one. */
static stack_t stack_for(struct cw_raw_thread *thread, const stack_t *wanted, const stack_t *kernels)
{
	bool none = cw_raw_is_none(wanted);
	int own = cw_raw_room_of(thread, kernels->ss_sp);
	void *room;

	if ((none && thread->program_fs == thread->own_fs) || (!none && wanted->ss_size >= SMALL_STACK))
		return *wanted;
	room = cw_raw_make_room(thread, own >= 0 ? own : cw_raw_free_room(thread, -1));
	if (!room)
		return *wanted;
	return (stack_t){.ss_sp = room, .ss_size = CW_RAW_STACK, .ss_flags = none ? 0 : wanted->ss_flags};
}

void cw_raw_settle(struct cw_raw_thread *thread, ucontext_t *context)
{
	thread->stack = context->uc_stack;
	context->uc_stack = stack_for(thread, &thread->stack, &thread->stack);
}

/* As the program has set it; in a dispatched call and beside one. */
static stack_t own_view(const struct cw_raw_thread *thread, const stack_t *kernels, bool on)
{
	stack_t stack = cw_raw_room_of(thread, kernels->ss_sp) >= 0 ? thread->stack : *kernels;

	if (cw_raw_is_none(&stack))
		return (stack_t){.ss_flags = SS_DISABLE};
	if (on)
		stack.ss_flags |= SS_ONSTACK;
	return stack;
}

static long set_stack(struct cw_raw_thread *thread, const stack_t *stack, bool on, const stack_t *kernels, stack_t *wanted)
{
	unsigned mode = (unsigned)stack->ss_flags & ~(1u << 31);

	if (on)
		return -EPERM;
	if (mode != SS_DISABLE && mode != SS_ONSTACK && mode != 0)
		return -EINVAL;
	if (mode != SS_DISABLE && stack->ss_size < LEAST_STACK)
		return -ENOMEM;
	thread->stack = mode == SS_DISABLE ? (stack_t){.ss_flags = SS_DISABLE} : *stack;
	*wanted = stack_for(thread, &thread->stack, kernels);
	return 0;
}

/* A stack can't be changed while the handler is on it, nor by its return: the kernel refuses that silently. */
bool cw_raw_sigaltstack(struct cw_raw_thread *thread, ucontext_t *context, const stack_t *stack, stack_t *old, long *result)
{
	greg_t *registers = context->uc_mcontext.gregs;
	stack_t before = context->uc_stack;
	bool on = cw_raw_lies_on((uintptr_t)registers[REG_RSP], &before);
	struct cw_raw_thread childs;
	struct cw_raw_detour *detour;
	stack_t asked, wanted;

	if (stack && cw_raw_fetch(&asked, stack, sizeof(asked))) {
		*result = -EFAULT;
		return false;
	}
	/* A vfork child's thread is its parent's, who goes on by what is written there. */
	if (cw_is_other_process()) {
		childs = *thread;
		thread = &childs;
	}
	before = own_view(thread, &before, on);
	*result = stack ? set_stack(thread, &asked, on, &context->uc_stack, &wanted) : 0;
	if (*result == 0 && old)
		*result = cw_raw_store(old, &before, sizeof(before));
	if (*result)
		return false;
	if (stack)
		cw_raw_direct_pause(thread);
	if (stack && thread == &childs)
		context->uc_stack = wanted;
	if (!stack || thread == &childs)
		return false;
	detour = cw_raw_detour(thread, context, cw_raw_stack_call);
	detour->saved[0] = (uint64_t)registers[REG_RDI];
	detour->saved[1] = (uint64_t)registers[REG_RSI];
	detour->wanted = wanted;
	registers[REG_RDI] = (greg_t)&detour->wanted;
	registers[REG_RSI] = 0;
	return true;
}

/* Dispatched calls of libc's threads are handled on this stack too. */
CW_EXPORT int sigaltstack(const stack_t *stack, stack_t *old)
{
	struct cw_raw_thread *thread;
	stack_t kernels, before, wanted;
	bool on;
	long result;

	cw_ensure_started();
	thread = cw_raw_on && !cw_is_other_process() ? cw_raw_self() : NULL;
	if (!thread || cw_real.sigaltstack(NULL, &kernels) < 0)
		return cw_real.sigaltstack(stack, old);
	on = kernels.ss_flags & SS_ONSTACK;
	kernels.ss_flags &= ~SS_ONSTACK;
	before = own_view(thread, &kernels, on);
	result = stack ? set_stack(thread, stack, on, &kernels, &wanted) : 0;
	if (stack)
		cw_raw_direct_pause(thread);
	if (result == 0 && stack && cw_real.sigaltstack(&wanted, NULL) < 0)
		return -1;
	if (result < 0) {
		errno = (int)-result;
		return -1;
	}
	if (old)
		*old = before;
	return 0;
}
#endif
