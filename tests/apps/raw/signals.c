/*
 * Signals, filters and threads of a program of raw instructions: what layer 3 handles for itself, or must leave as it is. No sockets. Prints
 * what it saw, which is the same with and without.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#include "call.h"

#define OF_THREAD (CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM)

static volatile sig_atomic_t told;

/* A thread that makes one call and ends, without any stack to speak of. */
static long begin_and_end_thread(void)
{
	static long stack[1024];
	long result;
	register long r10 __asm__("r10") = 0;
	register long r8 __asm__("r8") = 0;

	__asm__ volatile("syscall\n\t"
			 "testq %%rax, %%rax\n\t"
			 "jnz 1f\n\t"
			 "movl $110, %%eax\n\t" /* getppid */
			 "syscall\n\t"
			 "xorl %%edi, %%edi\n\t"
			 "movl $60, %%eax\n\t"
			 "syscall\n"
			 "1:"
			 : "=a"(result)
			 : "a"(SYS_clone), "D"(OF_THREAD), "S"(stack + 1024), "d"(0), "r"(r10), "r"(r8)
			 : "rcx", "r11", "memory");
	return result;
}

/* What is done by an instruction in the program's place, while another such call is not over. */
static void call_all_kinds(int number)
{
	static char room[65536];
	stack_t stack = {.ss_sp = room, .ss_size = sizeof(room)}, none = {.ss_flags = SS_DISABLE};
	long child;

	for (int i = 0; i < 3; i++) {
		told += CALL(sigaltstack, &stack, NULL) == 0;
		told += CALL(sigaltstack, &none, NULL) == 0;
	}
	told += begin_and_end_thread() > 0;
	child = CALL(vfork, 0);
	if (!child)
		CALL(exit_group, 0);
	told += CALL(wait4, child, NULL, 0, NULL) == child;
}

/* The parent's signal waits until the child has gone, and comes before the parent goes on. */
static void handler_before_a_parent_goes_on(void)
{
	struct sigaction action = {.sa_handler = call_all_kinds};
	long child, us = getpid();
	int status = 0;

	sigaction(SIGUSR1, &action, NULL);
	child = CALL(vfork, 0);
	if (!child) {
		CALL(kill, us, SIGUSR1);
		CALL(exit_group, 5);
	}
	printf("told %d\n", (int)told);
	CALL(wait4, child, &status, 0, NULL);
	printf("child %d\n", WEXITSTATUS(status));
}

/* ---- a handler that needs room ---- */

static void need_room(int number)
{
	volatile char room[600000];

	for (size_t i = 0; i < sizeof(room); i += 4096)
		room[i] = 1;
	told += room[4096];
}

static void handler_with_much_stack(void)
{
	struct sigaction action = {.sa_handler = need_room};
	struct itimerval soon = {.it_value = {0, 20000}};
	struct timespec long_time = {20, 0};

	told = 0;
	sigaction(SIGALRM, &action, NULL);
	setitimer(ITIMER_REAL, &soon, NULL);
	printf("interrupted %ld", CALL(nanosleep, &long_time, NULL));
	printf(", told %d\n", (int)told);
}

/* ---- memory that isn't there ---- */

static void bad_memory(void)
{
	char *pages = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *bad = pages + 4096, *edge = bad - 4;
	uint64_t mask = 1u << (SIGUSR2 - 1), before = 0;
	struct {
		void *handler;
		unsigned long flags;
		void *restorer;
		uint64_t mask;
	} action;

	mprotect(bad, 4096, PROT_NONE);
	/* Only the lower half of a number counts. */
	call(SYS_rt_sigprocmask | 1l << 40, SIG_BLOCK, (long)&mask, 0, 8, 0, 0);
	CALL(rt_sigprocmask, SIG_UNBLOCK, &mask, &before, 8);
	printf("blocked %d\n", before == mask);
	printf("mask: %ld %ld %ld", CALL(rt_sigprocmask, -1, bad, NULL, 8), CALL(rt_sigprocmask, -1, &mask, NULL, 8),
	       CALL(rt_sigprocmask, SIG_BLOCK, edge, NULL, 8));
	printf(" %ld", CALL(rt_sigprocmask, SIG_BLOCK, &mask, bad, 8));
	printf(" %ld", CALL(rt_sigprocmask, SIG_UNBLOCK, &mask, &before, 8));
	printf(" %d\n", before == mask);
	printf("action: %ld %ld %ld %ld\n", CALL(rt_sigaction, SIGUSR2, bad, NULL, 8), CALL(rt_sigaction, SIGUSR2, edge, NULL, 8),
	       CALL(rt_sigaction, SIGUSR2, NULL, bad, 8), CALL(rt_sigaction, SIGUSR2, NULL, &action, 8));
	printf("stack: %ld %ld %ld\n", CALL(sigaltstack, bad, NULL), CALL(sigaltstack, edge, NULL), CALL(sigaltstack, NULL, bad));
	printf("suspend: %ld\n", CALL(rt_sigsuspend, bad, 8));
	printf("thread pointer: %ld %ld\n", CALL(arch_prctl, 0x1003, bad), CALL(arch_prctl, 0x1004, edge));
	memcpy(edge, "/pro", 4);
	printf("names: %ld %ld %ld %ld %ld\n", CALL(open, bad, O_RDONLY), CALL(openat, AT_FDCWD, edge, O_RDONLY),
	       CALL(readlink, edge, pages, 100), CALL(readlink, "/proc/self/exe", bad, 100), CALL(execve, bad, NULL, NULL));
	munmap(pages, 8192);
}

/* ---- in processes of their own: filters, and other ways to SIGSYS ---- */

static void say(const char *text)
{
	CALL(write, 1, text, strlen(text));
}

static void in_child(const char *name, void (*act)(void))
{
	int status = 0;
	pid_t child;

	fflush(stdout);
	child = fork();
	if (!child) {
		alarm(10);
		act();
		CALL(exit_group, 0);
	}
	waitpid(child, &status, 0);
	printf("%s: %x\n", name, (unsigned)status);
}

/* All but these calls are answered so; or these alone, where the others are allowed. */
static void filter(uint32_t listed, uint32_t otherwise, const int *numbers, unsigned flags, bool by_libc)
{
	struct sock_filter code[64] = {BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr))};
	struct sock_fprog program = {.filter = code};
	unsigned short at = 1;

	for (; *numbers >= 0; numbers++) {
		code[at++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)*numbers, 0, 1);
		code[at++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, listed);
	}
	code[at++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, otherwise);
	program.len = at;
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	if (by_libc ? prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) : CALL(seccomp, SECCOMP_SET_MODE_FILTER, flags, &program))
		say("no filter\n");
}

static const int few[] = {SYS_write, SYS_exit_group, -1}, few_more[] = {SYS_write, SYS_exit_group, SYS_getppid, SYS_brk, SYS_mmap, SYS_munmap, -1};
static const int ours[] = {SYS_prctl, SYS_arch_prctl, SYS_sigaltstack, SYS_process_vm_readv, SYS_process_vm_writev, -1};

static void kill_others(void)
{
	filter(SECCOMP_RET_ALLOW, SECCOMP_RET_KILL_PROCESS, few, 0, false);
	say("behind the filter\n");
}

static void kill_others_by_libc(void)
{
	filter(SECCOMP_RET_ALLOW, SECCOMP_RET_KILL_PROCESS, few, 0, true);
	say("behind the filter\n");
}

static void refuse_others(void)
{
	filter(SECCOMP_RET_ALLOW, SECCOMP_RET_ERRNO | EPERM, few, 0, false);
	say("behind the filter\n");
}

static void strictly(void)
{
	prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT);
	say("strictly\n");
	CALL(exit, 0);
}

static void take_memory(void)
{
	filter(SECCOMP_RET_ALLOW, SECCOMP_RET_KILL_PROCESS, few_more, 0, false);
	for (size_t i = 0; i < 100; i++) {
		char *memory = malloc(40000);

		memset(memory, (int)i, 40000);
	}
	say("memory\n");
}

static _Atomic int turn;

static void *wait_and_call(void *argument)
{
	turn = 1;
	while (turn == 1)
		;
	turn = CALL(getppid, 0) > 0 ? 3 : 4;
	for (;;)
		;
	return NULL;
}

/* The others are under it too. */
static void filter_all_threads(void)
{
	pthread_t thread;

	pthread_create(&thread, NULL, wait_and_call, NULL);
	while (turn != 1)
		;
	filter(SECCOMP_RET_ALLOW, SECCOMP_RET_KILL_PROCESS, few_more, SECCOMP_FILTER_FLAG_TSYNC, false);
	turn = 2;
	while (turn == 2)
		;
	say(turn == 3 ? "the other too\n" : "not the other\n");
}

static void *call_once(void *argument)
{
	return (void *)(intptr_t)(CALL(getppid, 0) > 0); // NOLINT
}

static void go_on_by_libc(void)
{
	pthread_t thread;
	void *result = NULL;
	int status = 0;
	pid_t child;

	filter(SECCOMP_RET_KILL_PROCESS, SECCOMP_RET_ALLOW, ours, 0, true);
	child = fork();
	if (!child)
		CALL(exit_group, CALL(getppid, 0) > 0 ? 4 : 5);
	waitpid(child, &status, 0);
	pthread_create(&thread, NULL, call_once, NULL);
	pthread_join(thread, &result);
	say(status == 0x400 && result ? "goes on\n" : "does not go on\n");
}

static void trapped(int number, siginfo_t *info, void *context)
{
	ucontext_t *at = context;

	told = info->si_syscall == SYS_getppid && info->si_code == 1;
	at->uc_mcontext.gregs[REG_RAX] = 1234;
}

static void trap(void)
{
	static const int trap[] = {SYS_getppid, -1};
	struct sigaction action = {.sa_sigaction = trapped, .sa_flags = SA_SIGINFO};
	long result;

	told = 0;
	sigaction(SIGSYS, &action, NULL);
	filter(SECCOMP_RET_TRAP, SECCOMP_RET_ALLOW, trap, 0, false);
	result = CALL(getppid, 0);
	say(told && result == 1234 ? "trapped\n" : "not trapped\n");
}

/* ---- SIGSYS by names that are out of fashion ---- */

static void tell(int number)
{
	told++;
	CALL(getppid, 0);
}

sighandler_t sysv_signal(int number, sighandler_t handler);
sighandler_t bsd_signal(int number, sighandler_t handler);

static void handled_by_system_v(void)
{
	sysv_signal(SIGSYS, tell);
	CALL(getppid, 0);
	raise(SIGSYS);
	say(told == 1 ? "told\n" : "not told\n");
	raise(SIGSYS);
}

static void handled_by_bsd(void)
{
	bsd_signal(SIGSYS, tell);
	CALL(getppid, 0);
	raise(SIGSYS);
	raise(SIGSYS);
	say(told == 2 ? "told\n" : "not told\n");
}

#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
static void handled_by_sigset(void)
{
	sighandler_t before = sigset(SIGSYS, tell);

	CALL(getppid, 0);
	raise(SIGSYS);
	say(told == 1 && before == SIG_DFL && sigset(SIGSYS, SIG_IGN) == tell ? "told\n" : "not told\n");
	raise(SIGSYS);
	sigignore(SIGSYS);
	CALL(getppid, 0);
	say("ignored\n");
}

static void blocked(void)
{
	sigblock(~0);
	CALL(getppid, 0);
	sigsetmask(~0);
	CALL(getppid, 0);
	sighold(SIGSYS);
	CALL(getppid, 0);
	say("blocked\n");
}

int pause_with(int mask) __asm__("sigpause");

static void paused(void)
{
	struct itimerval soon = {.it_value = {0, 20000}};

	signal(SIGVTALRM, tell);
	signal(SIGALRM, tell);
	setitimer(ITIMER_REAL, &soon, NULL);
	pause_with(~(1 << (SIGALRM - 1)));
	say(told == 1 ? "paused\n" : "not paused\n");
}

static ucontext_t here, there;

static void be_there(void)
{
	CALL(getppid, 0);
	say("there\n");
	swapcontext(&there, &here);
	say("there again\n");
	setcontext(&here);
}

static void switched(void)
{
	static char stack[65536];
	static volatile int back;

	getcontext(&there);
	there.uc_stack.ss_sp = stack;
	there.uc_stack.ss_size = sizeof(stack);
	sigfillset(&there.uc_sigmask);
	makecontext(&there, be_there, 0);
	swapcontext(&here, &there);
	say("here\n");
	if (back++ == 0)
		swapcontext(&here, &there);
	CALL(getppid, 0);
	sigfillset(&here.uc_sigmask);
	if (back++ == 1)
		setcontext(&here);
	CALL(getppid, 0);
	say("here for good\n");
}

int main(int count, char **words)
{
	if (count != 1)
		return 64;
	setvbuf(stdout, NULL, _IOLBF, 0);
	handler_before_a_parent_goes_on();
	handler_with_much_stack();
	bad_memory();
	told = 0;
	in_child("killed for others", kill_others);
	in_child("killed for others, by libc", kill_others_by_libc);
	in_child("others refused", refuse_others);
	in_child("strictly", strictly);
	in_child("memory behind a filter", take_memory);
	in_child("all threads", filter_all_threads);
	in_child("libc behind a filter", go_on_by_libc);
	in_child("trapped", trap);
	in_child("as in System V", handled_by_system_v);
	in_child("as in BSD", handled_by_bsd);
	in_child("sigset", handled_by_sigset);
	in_child("blocked", blocked);
	in_child("paused", paused);
	in_child("contexts", switched);
	return 0;
}
