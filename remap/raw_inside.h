/* What the parts of layer 3 know of each other. */
#ifndef CW_REMAP_RAW_INSIDE_H
#define CW_REMAP_RAW_INSIDE_H

#include "raw.h"

#if defined(__x86_64__) && defined(__LP64__) && defined(__GLIBC__)
#define CW_RAW_HERE 1

#include <stdatomic.h>
#include <stddef.h>
#include <ucontext.h>

#include "sockets/kernel.h"

/* The kernel's view of a signal mask. */
#define CW_RAW_MASK_BYTES 8
#define CW_RAW_SIGSYS     (UINT64_C(1) << (SIGSYS - 1))

/*
 * A call that raw_stubs.S makes in the program's place, and what the program goes on with. A signal may come before it does, whose handler
 * makes such calls too: so a thread has several, and raw_stubs.S finds its own by a register that nobody else changes (r12).
 */
struct cw_raw_detour {
	uintptr_t resume; /* 0: free */
	uint64_t r12;     /* the program's */
	uint64_t saved[5];
	long result; /* of a thread's beginning; 0: not known yet */
	struct cw_raw_thread *born;
	stack_t wanted; /* what the kernel is told */
};

#define CW_RAW_DETOURS 8
#define CW_RAW_ROOMS   8

/*
 * Of a thread whose calls are dispatched: part of libc's thread-local memory, found by the gs base, which libc and the compilers leave
 * alone. fs may be the program's own when a call comes (static programs, Go), and is libc's as long as ours is on the way.
 */
struct cw_raw_thread {
	/* raw_stubs.S's: registers until it is dispatched itself, and where it goes on from a call of 32 bits. */
	struct cw_raw_detour beginning;
	uintptr_t resume_32;
	uintptr_t own_fs, program_fs;
	ucontext_t *call; /* the one that is answered now: where it was made */
	/* Of calls by jumps (raw_jumps.h): where; NULL: none, until one has come by signal. The thread pointer that the program had then:
	 * another thread than this one has another. And the stack for signals: what runs there must stay there, or the next one would come
	 * on top. */
	struct cw_raw_direct *direct, *direct_room;
	uintptr_t direct_fs, signals_low, signals_high;
	/* ours */
	bool direct_over; /* the thread ends */
	struct cw_raw_detour detours[CW_RAW_DETOURS];
	unsigned oldest;
	bool births;                /* some detour may be a thread's beginning */
	struct cw_raw_thread *next; /* of those that are free */
	int left;                   /* the thread that had it, and may still be on its way out */
	bool fresh;                 /* has not called yet */
	bool settled;               /* has a signal stack for that */
	stack_t stack;              /* the program's own, where ours stands in for it */
	/* Ours, kept for the next thread. In a held one lies a call that a handler has interrupted, which is elsewhere. */
	void *rooms[CW_RAW_ROOMS];
	bool held[CW_RAW_ROOMS];
	unsigned next_room;
};

_Static_assert(offsetof(struct cw_raw_detour, result) == 56 && offsetof(struct cw_raw_thread, resume_32) == 96 &&
		       offsetof(struct cw_raw_thread, own_fs) == 104 && offsetof(struct cw_raw_thread, call) == 120 &&
		       offsetof(struct cw_raw_thread, direct) == 128 && offsetof(struct cw_raw_thread, signals_high) == 160,
	       "raw_stubs.S knows them");

extern __thread struct cw_raw_thread cw_raw_own;

/* What prctl is given to have calls dispatched; read by raw_stubs.S. */
struct cw_raw_range {
	long how, from, size;
};
extern struct cw_raw_range cw_raw_range;
extern _Atomic uint8_t cw_raw_selector; /* 0: no call is dispatched, in no thread */
extern uint32_t cw_raw_fsgsbase;        /* the processor's instructions may be used */

long cw_raw_arm(void);

static inline uintptr_t cw_raw_fs(void)
{
	uintptr_t fs;

	if (__builtin_expect(cw_raw_fsgsbase, 1))
		__asm__ volatile("rdfsbase %0" : "=r"(fs));
	else
		cw_raw(SYS_arch_prctl, 0x1003, (long)&fs, 0, 0, 0, 0);
	return fs;
}

static inline void cw_raw_set_fs(uintptr_t fs)
{
	if (__builtin_expect(cw_raw_fsgsbase, 1))
		__asm__ volatile("wrfsbase %0" ::"r"(fs) : "memory");
	else
		cw_raw(SYS_arch_prctl, 0x1002, (long)fs, 0, 0, 0, 0);
}

static inline struct cw_raw_thread *cw_raw_self(void)
{
	uintptr_t gs;

	if (__builtin_expect(cw_raw_fsgsbase, 1))
		__asm__ volatile("rdgsbase %0" : "=r"(gs));
	else
		cw_raw(SYS_arch_prctl, 0x1004, (long)&gs, 0, 0, 0, 0);
	return (struct cw_raw_thread *)gs;
}

static inline void cw_raw_set_self(struct cw_raw_thread *thread)
{
	if (cw_raw_fsgsbase)
		__asm__ volatile("wrgsbase %0" ::"r"(thread) : "memory");
	else
		cw_raw(SYS_arch_prctl, 0x1001, (long)thread, 0, 0, 0, 0);
}

/* Of a call by an instruction: its arguments, where the registers are the program's. */
#define CW_RAW_ARGUMENTS(registers)                                                                                                        \
	{                                                                                                                                  \
		(registers)[REG_RDI], (registers)[REG_RSI], (registers)[REG_RDX], (registers)[REG_R10], (registers)[REG_R8],               \
			(registers)[REG_R9]                                                                                                \
	}

/* raw_memory.c: 0 or -EFAULT. */
long cw_raw_fetch(void *to, const void *from, size_t size);
long cw_raw_store(void *to, const void *from, size_t size);
/* So much of a text as is there and finds room, with its end in any case. */
void cw_raw_fetch_text(char *to, const char *from, size_t size);

#define CW_RAW_STACK (1024 * 1024) /* of ours. The program's handlers may be on it too, where they interrupt a call of ours */
/* One, with what lies above it, zeros. NULL: none can be had. Below it lies a guard. */
void *cw_raw_new_stack(size_t above);
void cw_raw_free_stack(void *stack, size_t above);

/* raw_thread.c */
bool cw_raw_threads_start(void);
struct cw_raw_thread *cw_raw_thread_new(void); /* NULL: none can be had */
void cw_raw_thread_give(struct cw_raw_thread *thread, int left);

/* raw_stacks.c: of ours, which one that is, -1 if it is none; one that is not in use, but not this one; its memory, NULL if there is none.
 */
int cw_raw_room_of(const struct cw_raw_thread *thread, const void *start);
int cw_raw_free_room(struct cw_raw_thread *thread, int but);
void *cw_raw_make_room(struct cw_raw_thread *thread, int room);

static inline bool cw_raw_lies_on(uintptr_t pointer, const stack_t *stack)
{
	return !(stack->ss_flags & SS_DISABLE) && pointer - (uintptr_t)stack->ss_sp - 1 < stack->ss_size;
}

static inline bool cw_raw_is_none(const stack_t *stack)
{
	return !stack->ss_size || (stack->ss_flags & SS_DISABLE);
}

/* raw_signals.c, raw_stacks.c: of the context of a dispatched call. The answer, as the kernel gives it. */
long cw_raw_sigaction(int number, const void *action, void *old, size_t size);
long cw_raw_sigprocmask(ucontext_t *context, int how, const uint64_t *set, uint64_t *old, size_t size);
/* True: the program's registers are to be left as they are. */
bool cw_raw_sigaltstack(struct cw_raw_thread *thread, ucontext_t *context, const stack_t *stack, stack_t *old, long *result);
/* The signal stack that dispatched calls of this thread are to be handled on, from the return on. */
void cw_raw_settle(struct cw_raw_thread *thread, ucontext_t *context);
/* The calling thread of libc's ends: what stood in for its signal stack is given back. */
void cw_raw_stack_end(void *ignored);
bool cw_raw_install(void);
/* A SIGSYS that no dispatched call was the reason of. */
void cw_raw_signal(int number, siginfo_t *info, void *context);

/* raw_look.c: before a read. */
void cw_raw_look(int fd);

/* raw_clone.c: the program goes by `call` of raw_stubs.S. */
struct cw_raw_detour *cw_raw_detour(struct cw_raw_thread *thread, ucontext_t *context, const char *call);
/* True if the program's registers are to be left as they are. */
bool cw_raw_clone(struct cw_raw_thread *thread, ucontext_t *context, long number, const long a[6], long *result);
void cw_raw_born(struct cw_raw_thread *thread);

/* raw.c: the call that syscall(2) would be, which is none of those that need more than their arguments. As the kernel answers. */
long cw_raw_by_name(long number, const long a[6]);
/* With the program's thread pointer known, and libc's in its place. */
void cw_raw_answer(struct cw_raw_thread *thread, const siginfo_t *info, ucontext_t *context);
/* The same, where that is not done yet: there are no instructions for it. */
void cw_raw_caught_slowly(int number, siginfo_t *info, void *context);

/* raw_stubs.S */
void cw_raw_caught(int number, siginfo_t *info, void *context);
extern const char cw_raw_caught_1[], cw_raw_caught_2[], cw_raw_caught_3[], cw_raw_over[], cw_raw_over_1[], cw_raw_over_2[], cw_raw_over_3[],
	cw_raw_over_4[], cw_raw_over_end[];
extern const char cw_raw_vfork_call[], cw_raw_thread_call[], cw_raw_stack_call[], cw_raw_call_32[], cw_raw_restore[];
_Noreturn void cw_raw_return(uintptr_t frame);
void cw_raw_call_on(uintptr_t stack, void (*function)(void *), void *argument);
long cw_raw_make_32(const long call[7]);

#endif
#endif
