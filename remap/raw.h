/*
 * System calls by instructions of the program's own (layer 3): Go, static programs, assembler. Syscall User Dispatch turns each of them
 * that lies in the program's text into a SIGSYS, whose handler makes the call that the same number would be for syscall(2), and puts the
 * answer where the kernel would. What libc and this library call by their own instructions is not dispatched. Only in processes whose text
 * needs it (raw_program.c).
 *
 * raw.c		what a dispatched call becomes
 * raw_signals.c	the program's masks and handlers, which must leave SIGSYS alone
 * raw_stacks.c		its signal stacks, on which calls are answered
 * raw_clone.c		calls that return twice
 * raw_thread.c		what a thread has: libc's thread pointer beside the program's own
 * raw_jumps.h		what comes by a jump instead of a signal
 */
#ifndef CW_REMAP_RAW_H
#define CW_REMAP_RAW_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

/* Does the program's text need it? Looked up once. */
bool cw_raw_needed(void);
/* Begin: the text in [low, high), of what has been mapped from `start` on, is dispatched in the calling thread, and in those that come from
 * it. False: it can't be done here. Without jumps: its handlers may look for the program's stack where they run themselves, and nobody
 * leads them there (raw_signals.c does for those that the program sets up by its own instructions). */
bool cw_raw_start(uintptr_t start, uintptr_t low, uintptr_t high, bool jumps);
bool cw_raw_start_program(void);
/* A forked child, or a thread made by libc, isn't dispatched yet. */
void cw_raw_join(void);
/* No call is dispatched any more. */
void cw_raw_end(void);
/* Some thread makes calls of which nothing is known here, perhaps with another's gs: no call comes by a jump any more. */
void cw_raw_jumps_end(void);

extern bool cw_raw_on;

/* libc begins a thread for this of which nobody is told, so that nothing it calls by instructions is dispatched: no stream may be moved. */
void cw_raw_before_notify(const struct sigevent *event);

/* A mask that the program wants for a while, without SIGSYS; room is where it is kept. */
const sigset_t *cw_raw_mask_slow(const sigset_t *mask, sigset_t *room);
static inline const sigset_t *cw_raw_mask(const sigset_t *mask, sigset_t *room)
{
	return cw_raw_on && mask ? cw_raw_mask_slow(mask, room) : mask;
}

#endif
