/* Names from older days by which libc's users handle or block SIGSYS: as raw_signals.c. And contexts, whose masks libc sets by itself. */
#include "raw_inside.h"

#ifdef CW_RAW_HERE
#include <string.h>

#include "call.h"

#define INT_SIGSYS (1 << (SIGSYS - 1)) /* in a mask of 32 bits */

sighandler_t bsd_signal(int number, sighandler_t handler);
sighandler_t sysv_signal(int number, sighandler_t handler);
sighandler_t __sysv_signal(int number, sighandler_t handler);
int __sigaction(int number, const struct sigaction *action, struct sigaction *old);
int __sigsuspend(const sigset_t *mask);
int __sigpause(int signal_or_mask, int is_signal);

static bool is_ours(int number)
{
	cw_ensure_started();
	return cw_raw_on && number == SIGSYS;
}

static int without(int mask)
{
	cw_ensure_started();
	return cw_raw_on ? mask & ~INT_SIGSYS : mask;
}

CW_EXPORT int __sigaction(int number, const struct sigaction *action, struct sigaction *old)
{
	return sigaction(number, action, old);
}

CW_EXPORT sighandler_t bsd_signal(int number, sighandler_t handler)
{
	return signal(number, handler);
}

CW_EXPORT sighandler_t ssignal(int number, sighandler_t handler)
{
	return signal(number, handler);
}

CW_EXPORT sighandler_t __sysv_signal(int number, sighandler_t handler)
{
	struct sigaction action = {.sa_handler = handler, .sa_flags = (int)SA_RESETHAND | SA_NODEFER}, old;

	if (!is_ours(number))
		return cw_real.__sysv_signal(number, handler);
	sigaction(number, &action, &old);
	return old.sa_handler;
}

CW_EXPORT sighandler_t sysv_signal(int number, sighandler_t handler)
{
	return __sysv_signal(number, handler);
}

CW_EXPORT sighandler_t sigset(int number, sighandler_t handler)
{
	struct sigaction action = {.sa_handler = handler}, old;

	if (!is_ours(number))
		return cw_real.sigset(number, handler);
	sigaction(number, handler == SIG_HOLD ? NULL : &action, &old);
	return old.sa_handler;
}

CW_EXPORT int sigignore(int number)
{
	struct sigaction action = {.sa_handler = SIG_IGN};

	return is_ours(number) ? sigaction(number, &action, NULL) : cw_real.sigignore(number);
}

CW_EXPORT int sighold(int number)
{
	return is_ours(number) ? 0 : cw_real.sighold(number);
}

CW_EXPORT int sigblock(int mask)
{
	mask = without(mask);
	return cw_real.sigblock(mask);
}

CW_EXPORT int sigsetmask(int mask)
{
	mask = without(mask);
	return cw_real.sigsetmask(mask);
}

CW_EXPORT int __sigsuspend(const sigset_t *mask)
{
	return sigsuspend(mask);
}

/* Of a mask; X/Open's, of one signal, is another. The headers give that one the plain name. */
CW_EXPORT int cw_sigpause(int mask) __asm__("sigpause");

int cw_sigpause(int mask)
{
	return __sigpause(mask, 0);
}

CW_EXPORT int __sigpause(int signal_or_mask, int is_signal)
{
	int mask = is_signal ? signal_or_mask : without(signal_or_mask);

	cw_ensure_started();
	return cw_real.__sigpause(mask, is_signal);
}

static void clear_mask(const ucontext_t *context)
{
	cw_ensure_started();
	if (cw_raw_on && sigismember(&context->uc_sigmask, SIGSYS) == 1)
		sigdelset((sigset_t *)&context->uc_sigmask, SIGSYS);
}

/* Jumps to libc's, and no calls: `from` is to be where the caller is, even if it is gone to more than once. */
CW_EXPORT int swapcontext(ucontext_t *from, const ucontext_t *to)
{
	clear_mask(to);
	return cw_real.swapcontext(from, to);
}

CW_EXPORT int setcontext(const ucontext_t *context)
{
	clear_mask(context);
	return cw_real.setcontext(context);
}
#endif
