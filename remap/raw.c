#include "raw_inside.h"

#ifdef CW_RAW_HERE
#include <linux/audit.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <string.h>
#include <sys/prctl.h>

#include "call.h"
#include "number.h"
#include "plain.h"
#include "process.h"
#include "raw_jumps.h"
#include "raw_static.h"
#include "sockets/leave.h"

#ifndef PR_SET_SYSCALL_USER_DISPATCH
#define PR_SET_SYSCALL_USER_DISPATCH 59
#endif
#define EXCLUSIVE     1 /* what lies in the range is not dispatched */
#define INCLUSIVE     2 /* from Linux 6.17: what lies in it is */
#define END_OF_MEMORY 0x7ffffffff000l

struct cw_raw_range cw_raw_range;
/* The kernel reads it before it dispatches a call. It ends that in all threads, by no call that a filter could refuse. */
_Atomic uint8_t cw_raw_selector = 1;

long cw_raw_arm(void)
{
	return cw_raw(SYS_prctl, PR_SET_SYSCALL_USER_DISPATCH, cw_raw_range.how, cw_raw_range.from, cw_raw_range.size,
		      (long)&cw_raw_selector, 0);
}

void cw_raw_end(void)
{
	cw_raw_static_end();
	atomic_store_explicit(&cw_raw_selector, 0, memory_order_relaxed);
}

/* ---- what a call becomes ---- */

long cw_raw_by_name(long number, const long a[6])
{
	long result;
	int cancelled;

	if (cw_raw_static_on && cw_raw_static(number, a, &result))
		return result;
	if (number == SYS_read || number == SYS_recvfrom)
		cw_raw_look((int)a[0]);
	/* A bare system call is no cancellation point. */
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancelled);
	if (!cw_by_number(number, a, &result))
		result = cw_raw(number, a[0], a[1], a[2], a[3], a[4], a[5]);
	else if (result == -1)
		result = -errno;
	pthread_setcancelstate(cancelled, NULL);
	return result;
}

static long sigsuspend_here(const long a[6])
{
	uint64_t mask;

	if (a[1] != CW_RAW_MASK_BYTES)
		return -EINVAL;
	if (cw_raw_fetch(&mask, (const void *)a[0], sizeof(mask)))
		return -EFAULT;
	mask &= ~CW_RAW_SIGSYS;
	return cw_raw(SYS_rt_sigsuspend, (long)&mask, sizeof(mask), 0, 0, 0, 0);
}

static long arch_prctl_here(struct cw_raw_thread *thread, const long a[6])
{
	const uintptr_t none = 0;

	switch (a[0]) {
	case 0x1001: /* ARCH_SET_GS: ours */
		return -EPERM;
	case 0x1002: /* ARCH_SET_FS */
		if ((unsigned long)a[1] >= END_OF_MEMORY)
			return -EPERM;
		thread->program_fs = (uintptr_t)a[1];
		return 0;
	case 0x1003: /* ARCH_GET_FS */
		return cw_raw_store((void *)a[1], &thread->program_fs, sizeof(thread->program_fs));
	case 0x1004: /* ARCH_GET_GS */
		return cw_raw_store((void *)a[1], &none, sizeof(none));
	}
	return cw_raw(SYS_arch_prctl, a[0], a[1], 0, 0, 0, 0);
}

static long exit_here(struct cw_raw_thread *thread, long status)
{
	if (!cw_is_other_process())
		cw_raw_thread_give(thread, (int)cw_raw(SYS_gettid, 0, 0, 0, 0, 0, 0));
	return cw_raw(SYS_exit, status, 0, 0, 0, 0, 0);
}

static _Noreturn void return_here(struct cw_raw_thread *thread, const ucontext_t *context)
{
	uintptr_t frame = (uintptr_t)context->uc_mcontext.gregs[REG_RSP];
	uint64_t mask;

	memcpy(&mask, &((ucontext_t *)frame)->uc_sigmask, sizeof(mask));
	mask &= ~CW_RAW_SIGSYS;
	memcpy(&((ucontext_t *)frame)->uc_sigmask, &mask, sizeof(mask));
	cw_hold_signals();
	if (thread->program_fs != thread->own_fs)
		cw_raw_set_fs(thread->program_fs);
	cw_raw_return(frame);
}

/* The process is plain, or is becoming so: it makes its calls by itself from here on, beginning with this one. */
static bool let_go(ucontext_t *context, long number, const long a[6])
{
	if (number == SYS_seccomp)
		cw_before_filter(a[0] == SECCOMP_SET_MODE_STRICT || (a[0] == SECCOMP_SET_MODE_FILTER && a[2]));
	else if (number == SYS_prctl && a[0] == PR_SET_SECCOMP)
		cw_before_filter(a[1] == SECCOMP_MODE_STRICT || (a[1] == SECCOMP_MODE_FILTER && a[2]));
	if (!cw_is_plain())
		return false;
	context->uc_mcontext.gregs[REG_RIP] -= 2;
	return true;
}

/* True: the registers are to be left as they are. */
static bool answer(struct cw_raw_thread *thread, ucontext_t *context, long number, const long a[6], long *result)
{
	if (let_go(context, number, a))
		return true;
	switch (number) {
	case SYS_rt_sigreturn:
		return_here(thread, context);
	case SYS_rt_sigaction:
		*result = cw_raw_sigaction((int)a[0], (const void *)a[1], (void *)a[2], (size_t)a[3]);
		return false;
	case SYS_rt_sigprocmask:
		*result = cw_raw_sigprocmask(context, (int)a[0], (const uint64_t *)a[1], (uint64_t *)a[2], (size_t)a[3]);
		return false;
	case SYS_sigaltstack:
		return cw_raw_sigaltstack(thread, context, (const stack_t *)a[0], (stack_t *)a[1], result);
	case SYS_rt_sigsuspend:
		*result = sigsuspend_here(a);
		return false;
	case SYS_clone:
	case SYS_clone3:
	case SYS_fork:
	case SYS_vfork:
		return cw_raw_clone(thread, context, number, a, result);
	case SYS_exit:
		*result = exit_here(thread, a[0]);
		return false;
	case SYS_arch_prctl:
		*result = arch_prctl_here(thread, a);
		return false;
	case SYS_prctl:
		if (a[0] == PR_SET_SYSCALL_USER_DISPATCH) {
			*result = -EINVAL; /* taken; as where there is none */
			return false;
		}
		break;
	}
	*result = cw_raw_by_name(number, a);
	return false;
}

/* By the numbers of 32 bits: what returns twice, or changes what the handler's return puts back. None of them waits for anything. */
static bool is_frames_32(long number)
{
	switch (number) {
	case 119: /* sigreturn */
	case 120: /* clone */
	case 126: /* sigprocmask */
	case 173: /* rt_sigreturn */
	case 175: /* rt_sigprocmask */
	case 186: /* sigaltstack */
	case 190: /* vfork */
	case 435: /* clone3 */
		return true;
	}
	return false;
}

/* int 0x80: the numbers are those of 32 bits, which nothing here knows. So nothing is moved any more, and the calls are the kernel's. */
static cw_noinline void dispatched_32(struct cw_raw_thread *thread, ucontext_t *context)
{
	static _Atomic bool left;
	greg_t *registers = context->uc_mcontext.gregs;
	const long call[7] = {registers[REG_RAX], registers[REG_RBX], registers[REG_RCX], registers[REG_RDX],
			      registers[REG_RSI], registers[REG_RDI], registers[REG_RBP]};
	int error = errno;

	if (!cw_is_other_process() && !atomic_exchange_explicit(&left, true, memory_order_relaxed))
		cw_leave_process(CW_REASON_raw_calls);
	if (is_frames_32((int)call[0])) {
		thread->resume_32 = (uintptr_t)registers[REG_RIP];
		registers[REG_RIP] = (greg_t)cw_raw_call_32;
	} else {
		registers[REG_RAX] = cw_raw_make_32(call); /* a handler that interrupts it may make others */
	}
	errno = error;
}

/* With libc's thread pointer. */
static cw_noinline void dispatched(struct cw_raw_thread *thread, ucontext_t *context)
{
	greg_t *registers = context->uc_mcontext.gregs;
	const long a[6] = CW_RAW_ARGUMENTS(registers);
	long result = 0;
	int error = errno;

	if (thread->fresh) {
		thread->fresh = false;
		memset(&cw_thread, 0, sizeof(cw_thread));
	}
	if (thread->births)
		cw_raw_born(thread);
	if (!thread->settled && thread->program_fs != thread->own_fs) {
		thread->settled = true;
		cw_raw_settle(thread, context);
	}
	cw_raw_direct_begin(thread, context);
	/* The kernel looks at the lower half of the number alone. */
	if (!answer(thread, context, (int)registers[REG_RAX], a, &result))
		registers[REG_RAX] = result;
	errno = error;
}

void cw_raw_answer(struct cw_raw_thread *thread, const siginfo_t *info, ucontext_t *context)
{
	if (info->si_arch == AUDIT_ARCH_I386)
		dispatched_32(thread, context);
	else
		dispatched(thread, context);
}

/* Which thread-local memory the thread pointer tells is not known here: nothing of it is used, nor does the compiler. */
void cw_raw_caught_slowly(int number, siginfo_t *info, void *context)
{
	struct cw_raw_thread *thread = cw_raw_self();
	ucontext_t *before = thread->call;
	uintptr_t fs = cw_raw_fs();

	thread->call = context;
	thread->program_fs = fs;
	if (fs != thread->own_fs)
		cw_raw_set_fs(thread->own_fs);
	cw_raw_answer(thread, info, context);
	if (thread->program_fs != thread->own_fs)
		cw_raw_set_fs(thread->program_fs);
	thread->call = before;
}

/* ---- beginning ---- */

void cw_raw_join(void)
{
	uint64_t only = CW_RAW_SIGSYS;

	if (!atomic_load_explicit(&cw_raw_selector, memory_order_relaxed))
		return;
	cw_raw_own.own_fs = cw_raw_own.program_fs = cw_raw_fs();
	cw_raw_set_self(&cw_raw_own);
	cw_raw(SYS_rt_sigprocmask, SIG_UNBLOCK, (long)&only, 0, CW_RAW_MASK_BYTES, 0, 0);
	cw_raw_arm();
}

/* All that makes calls for us must be outside. */
static bool lies_below_us(uintptr_t high)
{
	return high <= (uintptr_t)(void *)cw_real.read && high <= (uintptr_t)cw_raw_restore;
}

static bool choose(uintptr_t low, uintptr_t high)
{
	cw_raw_range = (struct cw_raw_range){INCLUSIVE, (long)low, (long)(high - low)};
	if (cw_raw_arm() == 0)
		return true;
	if (!lies_below_us(high))
		return false;
	cw_raw_range = (struct cw_raw_range){EXCLUSIVE, (long)high, END_OF_MEMORY - (long)high};
	return cw_raw_arm() == 0;
}

bool cw_raw_start(uintptr_t start, uintptr_t low, uintptr_t high, bool jumps)
{
	bool has_threads = cw_raw_threads_start();

	if (jumps && has_threads)
		low = cw_raw_jumps_room(start, low, high);
	if (!has_threads || !cw_raw_install() || !choose(low, high))
		return false;
	cw_raw_jumps_begin();
	cw_raw_on = true;
	cw_raw_join();
	return true;
}
#else
bool cw_raw_start(uintptr_t start, uintptr_t low, uintptr_t high, bool jumps)
{
	return false;
}

void cw_raw_join(void)
{
}

void cw_raw_end(void)
{
}

void cw_raw_jumps_end(void)
{
}
#endif
