/* What the dispatch of system calls needs for itself (docs/caveats.md): a program of raw instructions, which prints what it is answered. */
#define _GNU_SOURCE
#include <asm/prctl.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define BIT_OF(signal) (1ull << ((signal)-1))

static long call(long number, long a, long b, long c, long d)
{
	long result;
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = 0;

	__asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8) : "rcx", "r11", "memory");
	return result;
}

static volatile sig_atomic_t caught;
static char *stack;
static volatile int on_it = -1;

static void catch(int signal)
{
	(void)signal;
	caught++;
}

static void look_where(int signal)
{
	uintptr_t here = (uintptr_t)__builtin_frame_address(0);

	(void)signal;
	on_it = here >= (uintptr_t)stack && here < (uintptr_t)stack + 8192;
}

static unsigned long long blocked(void)
{
	char line[256];
	unsigned long long mask = 0;
	FILE *file = fopen("/proc/self/status", "r");

	while (file && fgets(line, sizeof(line), file))
		if (sscanf(line, "SigBlk: %llx", &mask) == 1)
			break;
	if (file)
		fclose(file);
	return mask;
}

static void try_clone3(void)
{
	struct clone_args arguments = {.exit_signal = SIGCHLD};
	long child = call(SYS_clone3, (long)&arguments, sizeof(arguments), 0, 0);

	if (child == 0)
		call(SYS_exit_group, 0, 0, 0, 0);
	if (child > 0)
		call(SYS_wait4, child, 0, 0, 0);
	printf("clone3: %ld\n", child > 0 ? 0 : child);
}

static void try_sigsys(void)
{
	struct sigaction action = {.sa_handler = catch};
	uint64_t mask = BIT_OF(SIGSYS) | BIT_OF(SIGUSR1);

	sigaction(SIGSYS, &action, NULL);
	call(SYS_kill, getpid(), SIGSYS, 0, 0);
	printf("SIGSYS sent: %d\n", (int)caught);
	call(SYS_rt_sigprocmask, SIG_BLOCK, (long)&mask, 0, 8);
	printf("SIGUSR1 blocked: %d\n", !!(blocked() & BIT_OF(SIGUSR1)));
	printf("SIGSYS blocked: %d\n", !!(blocked() & BIT_OF(SIGSYS)));
}

static void try_small_stack(void)
{
	struct sigaction action = {.sa_handler = look_where, .sa_flags = SA_ONSTACK};
	stack_t small = {.ss_size = 8192};

	small.ss_sp = stack = malloc(small.ss_size);
	call(SYS_sigaltstack, (long)&small, 0, 0, 0);
	sigaction(SIGUSR2, &action, NULL);
	call(SYS_kill, getpid(), SIGUSR2, 0, 0);
	printf("on the small stack: %d\n", on_it);
}

static void try_gs(void)
{
	static long place;

	printf("ARCH_SET_GS: %ld\n", call(SYS_arch_prctl, ARCH_SET_GS, (long)&place, 0, 0));
}

static void try_dispatch(void)
{
	long by_instruction = call(SYS_prctl, 59, 0, 0, 0);

	printf("dispatch of its own: %ld %d\n", by_instruction, prctl(59, 0, 0, 0, 0));
}

static void try_own_name(const char *name)
{
	char path[4096] = "";

	call(SYS_readlink, (long)"/proc/self/exe", (long)path, sizeof(path) - 1, 0);
	printf("/proc/self/exe: %s\n", strcmp(path, name) ? path : "the program");
}

int main(int count, char **words)
{
	if (count != 1)
		return 64;
	setvbuf(stdout, NULL, _IOLBF, 0);
	try_clone3();
	try_sigsys();
	try_small_stack();
	try_gs();
	try_dispatch();
	try_own_name(words[0]);
	return 0;
}
