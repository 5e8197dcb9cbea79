/*
 * The system call instructions that a program makes most of its calls by, led to ours by jumps: a signal for each call (raw.c) takes 1 to 2
 * us, a jump and a change of stacks some 50 ns. What a jump does not serve falls through to a system call instruction beside it, which is
 * dispatched as it was in its first place.
 *
 * raw_jumps.c		which instructions, and what they become
 * raw_direct.c		a call that came by a jump; where it is when a signal comes
 * raw_direct_stubs.S	from the program's registers and stack to ours, and back
 */
#ifndef CW_REMAP_RAW_JUMPS_H
#define CW_REMAP_RAW_JUMPS_H

#include "raw_inside.h"

#ifdef CW_RAW_HERE
/* What becomes of a call by a jump, by its number. */
enum cw_raw_way {
	CW_RAW_BY_SIGNAL, /* it needs the program's registers, its stack, or its masks */
	CW_RAW_BY_NAME,   /* it may be one of a socket */
	CW_RAW_BY_KERNEL, /* nothing here wants to know of it */
	CW_RAW_BY_OPTION, /* by name, but for options of keep-alive, which are the kernel's */
	CW_RAW_BY_NUMBER, /* by name where its descriptor means something to us, else by the kernel */
};

#define CW_RAW_NUMBERS 512
extern uint8_t cw_raw_way[CW_RAW_NUMBERS];

/*
 * Of a thread: what a call by a jump has of its own. It lies above the stack that the call runs on, and below it what was in the
 * processor's wide registers. One such call at a time: what a handler calls meanwhile, or after it has left a call by a jump, goes by
 * signal.
 */
struct cw_raw_direct {
	ucontext_t context; /* the program's registers, as in a signal's frame */
	uintptr_t call;     /* the instruction beside the jump */
	uint64_t taken;
	void *state;
	ucontext_t *before; /* of the thread, as the call came */
};

_Static_assert(offsetof(struct cw_raw_direct, call) == 968 && offsetof(ucontext_t, uc_mcontext) == 40, "raw_direct_stubs.S knows them");

/* Room for what text in [low, high) is led to, of what has been mapped from `start` on. The least address whose instructions are to be
 * dispatched: low, or below it. */
uintptr_t cw_raw_jumps_room(uintptr_t start, uintptr_t low, uintptr_t high);
/* The text may be changed now: nothing of it runs yet. */
void cw_raw_jumps_begin(void);
/* The instruction of the program that a place in that room stands for, or 0: none, or its call has been made already. */
uintptr_t cw_raw_jumps_from(uintptr_t place);
/* The same of any place there. */
uintptr_t cw_raw_jumps_site(uintptr_t place);
extern bool cw_raw_jumps_on;

/* A thread whose call is answered by signal: its next ones may come by jumps. */
void cw_raw_direct_begin(struct cw_raw_thread *thread, const ucontext_t *context);
/* Its stack for signals changes: not until the next call by signal. */
void cw_raw_direct_pause(struct cw_raw_thread *thread);
/* The calling thread of libc's ends. */
void cw_raw_direct_end(struct cw_raw_thread *thread);
bool cw_raw_direct_possible(void);
void cw_raw_direct_answer(struct cw_raw_thread *thread, struct cw_raw_direct *direct);
/* A signal has come: what it interrupted is shown as the program's own where it is on the way to a call, or back. The call that is around
 * it, or NULL; *over: it is answered. */
ucontext_t *cw_raw_direct_around(struct cw_raw_thread *thread, ucontext_t *own, bool *over);
/* What a call's context, for a handler, has of the signal's own: blocked signals, the stack for them, the floating point's state. */
void cw_raw_direct_complete(ucontext_t *call, const ucontext_t *own);
/* Calls by jumps run there. */
bool cw_raw_direct_on_stack(const struct cw_raw_thread *thread, uintptr_t pointer);
/* The handler of the signal whose context is `own` leaves the call behind. */
void cw_raw_direct_leave(struct cw_raw_thread *thread, ucontext_t *own);

static inline bool cw_raw_is_direct(const struct cw_raw_thread *thread, const ucontext_t *call)
{
	return thread->direct_room && call == &thread->direct_room->context;
}

/* raw_direct_stubs.S */
extern const char cw_raw_direct[], cw_raw_direct_taking[], cw_raw_direct_taken[], cw_raw_direct_kept[], cw_raw_direct_over[],
	cw_raw_direct_restore[], cw_raw_direct_back[], cw_raw_direct_end_of[], cw_raw_direct_aside[], cw_raw_direct_aside_end[];
extern uintptr_t cw_raw_beside;  /* from the instruction that is dispatched to the one that is not */
extern uint64_t cw_raw_state;    /* the processor's state that a call by the kernel keeps, for xsavec */
extern uint32_t cw_raw_by_xsave; /* of that: what xsavec alone keeps, if it is in use */
#endif
#endif
