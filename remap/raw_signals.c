/*
 * Signals of a program whose calls are dispatched. SIGSYS must never be blocked (the kernel would end the process), its handler stays ours,
 * and what the program asks of masks and signal stacks in a dispatched call is put into the frame that the handler returns by. Handlers
 * that the program sets up by its own instructions get the thread pointer that they had set (libc's is there while a call is on its way).
 */
#include "raw_inside.h"

#include <string.h>

#include "call.h"
#include "process.h"
#include "raw_jumps.h"

bool cw_raw_on;

const sigset_t *cw_raw_mask_slow(const sigset_t *mask, sigset_t *room)
{
	memcpy(room, mask, 8); /* the kernel's sets are no larger, and a caller's may not be */
	sigdelset(room, SIGSYS);
	return room;
}

#ifdef CW_RAW_HERE
#include <errno.h>
#include <unistd.h>

#define SIGNALS  64
#define RESTORER 0x04000000ul

/* The kernel's struct sigaction. */
struct action {
	void (*handler)(int, siginfo_t *, void *);
	unsigned long flags;
	const void *restorer;
	uint64_t mask;
};

/* What the program has set up by its own instructions, and its SIGSYS however it did it. */
static struct action shadow[SIGNALS + 1] CW_TABLE;

static bool is_function(const struct action *action)
{
	return (uintptr_t)action->handler > (uintptr_t)SIG_IGN;
}

/* What the program left to the kernel, though we handle it. */
static void end_by(int number)
{
	struct action none = {0};

	cw_raw(SYS_rt_sigaction, number, (long)&none, 0, CW_RAW_MASK_BYTES, 0, 0);
	cw_raw(SYS_tgkill, cw_raw(SYS_getpid, 0, 0, 0, 0, 0, 0), cw_raw(SYS_gettid, 0, 0, 0, 0, 0, 0), number, 0, 0, 0);
}

/* A handler may say in its context what is blocked behind it. */
static void keep_sigsys(ucontext_t *context)
{
	sigdelset(&context->uc_sigmask, SIGSYS);
}

/* ---- handlers ---- */

/* The kernel's part of a context; ucontext_t is larger than what lies in a frame. */
#define CONTEXT_BYTES (offsetof(ucontext_t, uc_sigmask) + CW_RAW_MASK_BYTES)
#define RED_ZONE      128

struct handling {
	const struct action *action;
	int number;
	siginfo_t *info;
	ucontext_t *seen;
	uintptr_t fs, own_fs; /* in the handler, and behind it */
	struct cw_raw_thread *thread;
	ucontext_t *answered;
	stack_t meanwhile; /* for the calls that it makes itself */
	uint64_t mask;
};

/* In the few instructions before and behind our part of a call (raw_stubs.S), where it lies on the stack; *over: it is answered. NULL:
 * elsewhere. */
static ucontext_t *call_around(const ucontext_t *own, bool *over)
{
	static const struct {
		const void *from;
		int deep;
	} place[] = {{(const void *)cw_raw_caught, 8},
		     {cw_raw_caught_1, 16},
		     {cw_raw_caught_2, 24},
		     {cw_raw_caught_3, 32},
		     {cw_raw_over, 32},
		     {cw_raw_over_1, 24},
		     {cw_raw_over_2, 16},
		     {cw_raw_over_3, 8},
		     {cw_raw_over_4, 0},
		     {cw_raw_over_end, 0}};
	uintptr_t at = (uintptr_t)own->uc_mcontext.gregs[REG_RIP];
	int i = 0;

	if (at < (uintptr_t)cw_raw_caught || at >= (uintptr_t)cw_raw_over_end)
		return NULL;
	while (at >= (uintptr_t)place[i + 1].from)
		i++;
	*over = at >= (uintptr_t)cw_raw_over;
	return (ucontext_t *)(own->uc_mcontext.gregs[REG_RSP] + place[i].deep);
}

static void leave_handler(const struct handling *handling)
{
	handling->thread->call = handling->answered;
	cw_raw_set_fs(handling->own_fs);
}

static void handle(void *argument)
{
	const struct handling *handling = argument;

	cw_raw_set_fs(handling->fs);
	handling->action->handler(handling->number, handling->info, handling->seen);
	leave_handler(handling);
}

static void handle_there(void *argument)
{
	const struct handling *handling = argument;

	if (handling->meanwhile.ss_sp)
		cw_raw(SYS_sigaltstack, (long)&handling->meanwhile, 0, 0, 0, 0, 0);
	cw_raw_set_fs(handling->fs);
	cw_release_signals(handling->mask);
	handling->action->handler(handling->number, handling->info, handling->seen);
	leave_handler(handling);
}

/* The kernel would have a handler run where the program is, unless both want another stack. The calls that it makes need a room then. */
static bool belongs_to_program(struct cw_raw_thread *thread, struct handling *handling, const ucontext_t *call)
{
	int here = cw_raw_room_of(thread, call->uc_stack.ss_sp);

	if (cw_raw_direct_on_stack(thread, (uintptr_t)__builtin_frame_address(0)))
		return true;
	if (here < 0 || !cw_raw_lies_on((uintptr_t)__builtin_frame_address(0), &call->uc_stack) ||
	    cw_raw_lies_on((uintptr_t)call->uc_mcontext.gregs[REG_RSP], &call->uc_stack) ||
	    ((handling->action->flags & SA_ONSTACK) && !cw_raw_is_none(&thread->stack)))
		return false;
	handling->meanwhile.ss_sp = cw_raw_make_room(thread, cw_raw_free_room(thread, here));
	handling->meanwhile.ss_size = CW_RAW_STACK;
	return handling->meanwhile.ss_sp;
}

/* On the program's stack, with its registers: collectors of garbage look there for what is in use. The call stays where it is. No signal
 * comes until no other is put on top of it. */
static void handle_on_programs(struct cw_raw_thread *thread, struct handling *handling, const ucontext_t *call)
{
	uintptr_t stack = ((uintptr_t)call->uc_mcontext.gregs[REG_RSP] - RED_ZONE - sizeof(ucontext_t)) & ~(uintptr_t)63;
	int here = handling->meanwhile.ss_sp ? cw_raw_room_of(thread, call->uc_stack.ss_sp) : -1;

	if (here >= 0)
		thread->held[here] = true;
	handling->mask = cw_hold_signals();
	memcpy((void *)stack, handling->seen, CONTEXT_BYTES);
	handling->seen = (ucontext_t *)stack;
	cw_raw_call_on(stack, handle_there, handling);
	if (here >= 0)
		thread->held[here] = false;
}

/* Left, as by a jump; the frame holds what is blocked there. */
static _Noreturn void leave_call(struct cw_raw_thread *thread, const ucontext_t *call, ucontext_t *own, uintptr_t fs)
{
	cw_hold_signals();
	if (cw_raw_is_direct(thread, call))
		cw_raw_direct_leave(thread, own);
	cw_raw_set_fs(fs);
	cw_raw_return((uintptr_t)call);
}

/* The instruction may stand elsewhere for one of the program's. */
static greg_t place_of_call(greg_t call)
{
	greg_t site = (greg_t)cw_raw_jumps_from((uintptr_t)call);

	return site ? site : call;
}

/*
 * The handler of a program that is in a call of ours sees it at its own instruction, as where the kernel waits and will begin the call
 * anew: some go by that (musl's pthread_cancel). If it sends the program elsewhere our call is left. What is over is not begun anew.
 */
static void handle_in_call(struct cw_raw_thread *thread, struct handling *handling, ucontext_t *call, bool over, ucontext_t *own)
{
	ucontext_t copy;
	greg_t behind = call->uc_mcontext.gregs[REG_RIP], shown = over ? behind : place_of_call(behind - 2);
	uint64_t before, mask;

	if (cw_raw_is_direct(thread, call))
		cw_raw_direct_complete(call, own);
	memcpy(&before, &call->uc_sigmask, sizeof(before));
	memcpy(&copy, call, CONTEXT_BYTES);
	copy.uc_mcontext.gregs[REG_RIP] = shown;
	handling->seen = &copy;
	if (belongs_to_program(thread, handling, call))
		handle_on_programs(thread, handling, call);
	else
		handle(handling);
	keep_sigsys(handling->seen);
	memcpy(call, handling->seen, CONTEXT_BYTES);
	if (!over && call->uc_mcontext.gregs[REG_RIP] != shown)
		leave_call(thread, call, own, handling->fs);
	if (!over)
		call->uc_mcontext.gregs[REG_RIP] = behind;
	memcpy(&mask, &call->uc_sigmask, sizeof(mask));
	if (mask != before)
		memcpy(&own->uc_sigmask, &mask, sizeof(mask));
}

/* Without thread-local memory until the thread pointer is known to be libc's. */
void cw_raw_signal(int number, siginfo_t *info, void *context)
{
	struct cw_raw_thread *thread = cw_raw_self();
	struct action action = shadow[number];
	uintptr_t fs = cw_raw_fs();
	struct handling handling = {.action = &action, .number = number, .info = info, .fs = fs, .own_fs = fs, .thread = thread};
	bool over = false;
	ucontext_t *call = thread ? cw_raw_direct_around(thread, context, &over) : NULL;

	if (thread && !call)
		call = call_around(context, &over);

	if (action.flags & SA_RESETHAND)
		shadow[number] = (struct action){0};
	if (!is_function(&action)) {
		if (number == SIGSYS && action.handler != (void *)SIG_IGN)
			end_by(number);
		return;
	}
	if (thread && fs == thread->own_fs && thread->program_fs && thread->program_fs != fs) {
		handling.fs = thread->program_fs;
		if (!call)
			call = thread->call;
	}
	if (call) {
		handling.answered = thread->call;
		handle_in_call(thread, &handling, call, over, context);
	} else {
		action.handler(number, info, context);
	}
	keep_sigsys(context);
}

static long set(int number, const struct action *action)
{
	struct action own = *action, none = {0};
	long result;

	/* A vfork child has its own actions, but its parent's memory. */
	if (cw_is_other_process())
		return number == SIGSYS ? 0 : cw_raw(SYS_rt_sigaction, number, (long)action, 0, CW_RAW_MASK_BYTES, 0, 0);
	if (number == SIGSYS) {
		shadow[number] = *action;
		return 0;
	}
	own.mask &= ~CW_RAW_SIGSYS;
	if (is_function(action)) {
		/* Between the two another signal may come: what was set before is still there, but no handler is called for nothing. */
		shadow[number] = *action;
		own.handler = cw_raw_signal;
		own.flags |= SA_SIGINFO | RESTORER;
		own.restorer = cw_raw_restore;
	}
	result = cw_raw(SYS_rt_sigaction, number, (long)&own, 0, CW_RAW_MASK_BYTES, 0, 0);
	if (result == 0 && !is_function(action))
		shadow[number] = none;
	return result;
}

static long get(int number, struct action *old)
{
	long result = cw_raw(SYS_rt_sigaction, number, 0, (long)old, CW_RAW_MASK_BYTES, 0, 0);

	if (result)
		return result;
	if (number == SIGSYS || old->handler == cw_raw_signal)
		*old = shadow[number];
	return 0;
}

long cw_raw_sigaction(int number, const void *action, void *old, size_t size)
{
	struct action before, wanted;
	long result;

	if (size != CW_RAW_MASK_BYTES)
		return -EINVAL;
	if (action && cw_raw_fetch(&wanted, action, sizeof(wanted)))
		return -EFAULT;
	if (number < 1 || number > SIGNALS)
		return -EINVAL;
	result = get(number, &before);
	if (result == 0 && action)
		result = number == SIGKILL || number == SIGSTOP ? -EINVAL : set(number, &wanted);
	if (result == 0 && old)
		result = cw_raw_store(old, &before, sizeof(before));
	return result;
}

long cw_raw_sigprocmask(ucontext_t *context, int how, const uint64_t *wanted, uint64_t *old, size_t size)
{
	uint64_t mask, before, with = 0;

	if (size != CW_RAW_MASK_BYTES)
		return -EINVAL;
	if (wanted && cw_raw_fetch(&with, wanted, sizeof(with)))
		return -EFAULT;
	with &= ~CW_RAW_SIGSYS;
	memcpy(&mask, &context->uc_sigmask, sizeof(mask));
	before = mask;
	if (wanted) {
		switch (how) {
		case SIG_BLOCK:
			mask |= with;
			break;
		case SIG_UNBLOCK:
			mask &= ~with;
			break;
		case SIG_SETMASK:
			mask = with;
			break;
		default:
			return -EINVAL;
		}
		memcpy(&context->uc_sigmask, &mask, sizeof(mask));
	}
	return old ? cw_raw_store(old, &before, sizeof(before)) : 0;
}

bool cw_raw_install(void)
{
	struct action action = {
		.handler = cw_raw_caught, .flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER | SA_RESTART | RESTORER, .restorer = cw_raw_over_4};
	uint64_t only = CW_RAW_SIGSYS;

	return cw_raw(SYS_rt_sigaction, SIGSYS, (long)&action, (long)&shadow[SIGSYS], CW_RAW_MASK_BYTES, 0, 0) == 0 &&
	       cw_raw(SYS_rt_sigprocmask, SIG_UNBLOCK, (long)&only, 0, CW_RAW_MASK_BYTES, 0, 0) == 0;
}

/* ---- the same by libc's names ---- */

static const sigset_t *without(const sigset_t *set, sigset_t *room)
{
	return cw_raw_mask(set, room);
}

CW_EXPORT int sigprocmask(int how, const sigset_t *wanted, sigset_t *old)
{
	sigset_t room = {0};

	cw_ensure_started();
	return cw_real.sigprocmask(how, how == SIG_UNBLOCK ? wanted : without(wanted, &room), old);
}

CW_EXPORT int pthread_sigmask(int how, const sigset_t *wanted, sigset_t *old)
{
	sigset_t room = {0};

	cw_ensure_started();
	return cw_real.pthread_sigmask(how, how == SIG_UNBLOCK ? wanted : without(wanted, &room), old);
}

CW_EXPORT int sigsuspend(const sigset_t *mask)
{
	sigset_t room = {0};

	cw_ensure_started();
	return cw_real.sigsuspend(without(mask, &room));
}

/* The program's SIGSYS, which is kept here alone. libc's struct has its set's size, not the kernel's. */
static int own_sigsys(const struct sigaction *action, struct sigaction *old)
{
	struct action before = shadow[SIGSYS];

	if (action) {
		struct action wanted = {.handler = action->sa_sigaction, .flags = (unsigned long)(unsigned)action->sa_flags};

		memcpy(&wanted.mask, &action->sa_mask, sizeof(wanted.mask));
		set(SIGSYS, &wanted);
	}
	if (old) {
		memset(old, 0, sizeof(*old));
		old->sa_sigaction = before.handler;
		old->sa_flags = (int)(before.flags & ~RESTORER);
		memcpy(&old->sa_mask, &before.mask, sizeof(before.mask));
	}
	return 0;
}

CW_EXPORT int sigaction(int number, const struct sigaction *action, struct sigaction *old)
{
	struct sigaction wanted;

	cw_ensure_started();
	if (!cw_raw_on)
		return cw_real.sigaction(number, action, old);
	if (number == SIGSYS)
		return own_sigsys(action, old);
	if (action) {
		wanted = *action;
		sigdelset(&wanted.sa_mask, SIGSYS);
		action = &wanted;
	}
	return cw_real.sigaction(number, action, old);
}

CW_EXPORT sighandler_t signal(int number, sighandler_t handler)
{
	struct sigaction action = {.sa_handler = handler, .sa_flags = SA_RESTART}, old;

	cw_ensure_started();
	if (!cw_raw_on || number != SIGSYS)
		return cw_real.signal(number, handler);
	own_sigsys(&action, &old);
	return old.sa_handler;
}
#endif
