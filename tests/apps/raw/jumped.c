/*
 * Calls by instructions that layer 3 leads to itself by jumps (remap/raw_jumps.c), as Go's are: what they keep, and what a handler sees and
 * may do that comes before, in or behind them. Prints what it found, which is the same with and without.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#define AS_GO
#include "call.h"

/* The shapes that are led elsewhere: any number, then a comparison; a known number, then the function's end. And one that must not be. */
int main(int count, char **words);
long any(long number, long a, long b, long c, long d, long e, long f);
int poll_stored(struct pollfd *polled, unsigned long count, int timeout);
void nap_in_frame(struct timespec *time);
int yield(void);
long jumped_into(long number, long a, long b, long c);
long checked(const unsigned long in[32], unsigned long out[32]);
extern const char any_call[], any_left[];

__asm__(".text\n"
	".balign 64\n"
	"any:	movq %rdi, %rax\n"
	"	movq %rsi, %rdi\n"
	"	movq %rdx, %rsi\n"
	"	movq %rcx, %rdx\n"
	"	movq %r8, %r10\n"
	"	movq %r9, %r8\n"
	"	movq 8(%rsp), %r9\n"
	"any_call:\n"
	"	syscall\n"
	"	cmpq $-4095, %rax\n"
	"	jbe 1f\n"
	"	nop\n"
	"1:	ret\n"
	"any_left:\n"
	"	movq $-125, %rax\n"
	"	ret\n"
	".balign 16, 0xcc\n"
	"poll_stored:\n"
	"	pushq $-1\n"
	"	call 1f\n"
	"	popq %rax\n"
	"	ret\n"
	".balign 16, 0xcc\n"
	"1:	movl $7, %eax\n"
	"	syscall\n"
	"	movl %eax, 8(%rsp)\n"
	"	ret\n"
	".balign 16, 0xcc\n"
	"nap_in_frame:\n"
	"	subq $24, %rsp\n"
	"	movq %rbp, 16(%rsp)\n"
	"	xorl %esi, %esi\n"
	"	movl $35, %eax\n"
	"	syscall\n"
	"	movq 16(%rsp), %rbp\n"
	"	addq $24, %rsp\n"
	"	ret\n"
	".balign 16, 0xcc\n"
	"yield:	movl $24, %eax\n"
	"	syscall\n"
	"	ret\n"
	".balign 16, 0xcc\n"
	"jumped_into:\n"
	"	movq %rdi, %rax\n"
	"	movq %rsi, %rdi\n"
	"	movq %rdx, %rsi\n"
	"	movq %rcx, %rdx\n"
	"	testq %rax, %rax\n"
	"	js 2f\n"
	"	syscall\n"
	"2:	cmpq $-4095, %rax\n"
	"	jbe 3f\n"
	"	negq %rax\n"
	"3:	ret\n"
	/* readv(in[0], in[1], in[2]) with in[3...] in all registers that a call keeps, which go to out. */
	".balign 16, 0xcc\n"
	"checked:\n"
	"	pushq %rbx\n"
	"	pushq %rbp\n"
	"	pushq %r12\n"
	"	pushq %r13\n"
	"	pushq %r14\n"
	"	pushq %r15\n"
	"	pushq %rsi\n"
	"	movq 24(%rdi), %rbx\n"
	"	movq 32(%rdi), %rbp\n"
	"	movq 40(%rdi), %r8\n"
	"	movq 48(%rdi), %r9\n"
	"	movq 56(%rdi), %r10\n"
	"	movq 64(%rdi), %r12\n"
	"	movq 72(%rdi), %r13\n"
	"	movq 80(%rdi), %r14\n"
	"	movq 88(%rdi), %r15\n"
	"	movups 96(%rdi), %xmm0\n"
	"	movups 112(%rdi), %xmm7\n"
	"	movups 128(%rdi), %xmm15\n"
	"	movq 8(%rdi), %rsi\n"
	"	movq 16(%rdi), %rdx\n"
	"	movq (%rdi), %rdi\n"
	"	movl $19, %eax\n"
	"	syscall\n"
	"	cmpq $-4095, %rax\n"
	"	jbe 4f\n"
	"	nop\n"
	"4:	movq (%rsp), %rcx\n"
	"	movq %rdi, (%rcx)\n"
	"	movq %rsi, 8(%rcx)\n"
	"	movq %rdx, 16(%rcx)\n"
	"	movq %rbx, 24(%rcx)\n"
	"	movq %rbp, 32(%rcx)\n"
	"	movq %r8, 40(%rcx)\n"
	"	movq %r9, 48(%rcx)\n"
	"	movq %r10, 56(%rcx)\n"
	"	movq %r12, 64(%rcx)\n"
	"	movq %r13, 72(%rcx)\n"
	"	movq %r14, 80(%rcx)\n"
	"	movq %r15, 88(%rcx)\n"
	"	movups %xmm0, 96(%rcx)\n"
	"	movups %xmm7, 112(%rcx)\n"
	"	movups %xmm15, 128(%rcx)\n"
	"	popq %rsi\n"
	"	popq %r15\n"
	"	popq %r14\n"
	"	popq %r13\n"
	"	popq %r12\n"
	"	popq %rbp\n"
	"	popq %rbx\n"
	"	ret\n");

#define ANY(name, ...)                    ANY_(name, __VA_ARGS__, 0, 0, 0, 0, 0, 0)
#define ANY_(name, a, b, c, d, e, f, ...) any(SYS_##name, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))

static void on(int number, void (*handler)(int, siginfo_t *, void *), int flags)
{
	struct sigaction action = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO | flags};

	sigaction(number, &action, NULL);
}

static void timer(long us, long every_us)
{
	struct itimerval t = {{0, every_us}, {0, us}};

	setitimer(ITIMER_REAL, &t, NULL);
}

/* ---- shapes ---- */

static void shapes(void)
{
	struct timespec moment = {0, 1000};
	struct pollfd polled = {.events = POLLIN};
	char byte = 'a', got = 0;
	int ends[2], ready;
	long count;

	if (ANY(pipe2, ends, 0))
		return;
	polled.fd = ends[0];
	printf("empty: %d\n", poll_stored(&polled, 1, 0));
	printf("write: %ld\n", ANY(write, ends[1], &byte, 1));
	ready = poll_stored(&polled, 1, 1000);
	printf("full: %d %d\n", ready, polled.revents);
	count = ANY(read, ends[0], &got, 1);
	printf("read: %ld %c\n", count, got);
	nap_in_frame(&moment);
	printf("yield: %d\n", yield());
	printf("bad: %ld, no such: %ld, lower half: %d\n", ANY(read, -1, &got, 1), any(4000, 0, 0, 0, 0, 0, 0),
	       any(SYS_getpid | 1l << 40, 0, 0, 0, 0, 0, 0) == getpid());
	printf("jumped into: %ld %ld %ld\n", jumped_into(-3, 0, 0, 0), jumped_into(SYS_read, -1, (long)&got, 1),
	       jumped_into(SYS_write, ends[1], (long)&byte, 1));
	ANY(close, ends[0]);
	ANY(close, ends[1]);
}

/* ---- what a call keeps, while signals come ---- */

/* The wide registers to their first state: no more than the lower halves is in use. */
static void forget_wide(void)
{
	static struct {
		unsigned words[6], mxcsr, rest[121], header[16];
	} __attribute__((aligned(64))) none = {.mxcsr = 0x1f80};

	if (__builtin_cpu_supports("avx"))
		__asm__ volatile("xrstor64 %0" ::"m"(none), "a"(0xe4), "d"(0));
}

static volatile sig_atomic_t came;

static void scribble(int number, siginfo_t *info, void *context)
{
	char from[256], to[256];

	memset(from, (int)++came, sizeof(from));
	memcpy(to, from, sizeof(to));
	__asm__ volatile("pxor %%xmm0, %%xmm0\n\tpxor %%xmm7, %%xmm7\n\tpxor %%xmm15, %%xmm15" ::"r"(to) : "memory", "xmm0", "xmm7", "xmm15");
	ANY(getppid, 0);
	ANY(fcntl, 1, 1 /* F_GETFD */, 0);
}

static void keeps(void)
{
	unsigned long in[32], out[32];
	int ends[2], wrong = 0, rounds = 0;
	char sent[8] = "message", got[8];
	struct iovec room = {got, sizeof(got)};

	if (pipe(ends))
		return;
	on(SIGALRM, scribble, SA_RESTART);
	timer(100, 100);
	for (int i = 3; i < 32; i++)
		in[i] = (unsigned long)i * 0x0101010101010101ul;
	in[0] = (unsigned long)ends[0];
	in[1] = (unsigned long)&room;
	in[2] = 1;
	for (; rounds < 20000 || came < 200; rounds++) {
		long result;

		if (ANY(write, ends[1], sent, sizeof(sent)) != sizeof(sent))
			wrong++;
		memset(got, 0, sizeof(got));
		if (rounds & 1)
			forget_wide();
		result = checked(in, out);
		wrong += result != sizeof(got) || memcmp(got, sent, sizeof(got)) != 0 || memcmp(in, out, 18 * sizeof(in[0])) != 0;
		yield();
	}
	timer(0, 0);
	printf("kept, wrong %d\n", wrong);
}

/* A connection to itself, which goes by ring soon. */
static bool connect_ends(int ends[2])
{
	struct sockaddr_in here = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t length = sizeof(here);
	int listener = socket(AF_INET, SOCK_STREAM, 0);

	ends[0] = socket(AF_INET, SOCK_STREAM, 0);
	if (bind(listener, (struct sockaddr *)&here, length) || listen(listener, 1) ||
	    getsockname(listener, (struct sockaddr *)&here, &length) || connect(ends[0], (struct sockaddr *)&here, length))
		return false;
	ends[1] = accept(listener, NULL, NULL);
	close(listener);
	return ends[1] >= 0;
}

/* What a call leaves in the widest registers, where the upper halves of the first sixteen are in use or not. */
static long wide(long number, const long a[3], long upper, const void *in, void *out)
{
	long result = -1;

	if (__builtin_cpu_supports("avx512f"))
		__asm__ volatile("vmovups (%3), %%zmm5\n\ttestq %7, %7\n\tjnz 6f\n\tvzeroupper\n6:\t"
				 "vmovups (%3), %%zmm17\n\tkmovw (%3), %%k3\n\t"
				 "syscall\n\tcmpq $-4095, %%rax\n\tjbe 7f\n\tnop\n7:\t"
				 "vmovups %%zmm17, (%4)\n\tkmovw %%k3, (%4)\n\tvmovups %%zmm5, 64(%4)\n\tvzeroupper"
				 : "=a"(result)
				 : "0"(number), "D"(a[0]), "r"(in), "r"(out), "S"(a[1]), "d"(a[2]), "r"(upper)
				 : "rcx", "r11", "memory", "xmm5");
	else if (__builtin_cpu_supports("avx"))
		__asm__ volatile("vmovups (%3), %%ymm5\n\ttestq %7, %7\n\tjnz 6f\n\tvzeroupper\n6:\t"
				 "syscall\n\tcmpq $-4095, %%rax\n\tjbe 7f\n\tnop\n7:\t"
				 "vmovups %%ymm5, 64(%4)\n\tvzeroupper"
				 : "=a"(result)
				 : "0"(number), "D"(a[0]), "r"(in), "r"(out), "S"(a[1]), "d"(a[2]), "r"(upper)
				 : "rcx", "r11", "memory", "xmm5");
	else
		result = any(number, a[0], a[1], a[2], 0, 0, 0);
	return result;
}

static void keeps_wide(void)
{
	const bool masks = __builtin_cpu_supports("avx512f");
	const int most = masks ? 64 : __builtin_cpu_supports("avx") ? 32 : 0;
	static char sent[400], got[sizeof(sent)];
	char in[64], out[128], same[128];
	int ends[2], wrong = 0;

	if (!connect_ends(ends))
		return;
	memset(sent, 0x7e, sizeof(sent));
	memset(in, 0x35, sizeof(in));
	for (int i = 0; i < 2000; i++) {
		const long ring[3] = {ends[0], (long)got, sizeof(got)}, kernel[3] = {-1};
		int upper = i >> 1 & 1;

		wrong += ANY(write, ends[1], sent, sizeof(sent)) != sizeof(sent);
		memset(out, 0, sizeof(out));
		memset(same, 0, sizeof(same));
		in[0] = in[5] = in[30] = (char)i;
		if (masks)
			memcpy(same, in, sizeof(in));
		memcpy(same + 64, in, (size_t)(upper || !most ? most : 16));
		if (i & 4)
			forget_wide();
		if (i & 8)
			wide(SYS_lseek, kernel, upper, in, out);
		else
			wrong += wide(SYS_read, ring, upper, in, out) != sizeof(got);
		wrong += memcmp(same, out, sizeof(same)) != 0;
		if (i & 8)
			wrong += ANY(read, ends[0], got, sizeof(got)) != sizeof(got);
		if (i % 100 == 0)
			usleep(1000);
	}
	ANY(close, ends[0]);
	ANY(close, ends[1]);
	printf("kept wide, wrong %d\n", wrong);
}

/* What was in its first state is so again, whatever the call has used. */
static long first_state(int fd, void *to, long size, void *out)
{
	long result = SYS_read;

	forget_wide();
	if (__builtin_cpu_supports("avx512f"))
		__asm__ volatile("syscall\n\tcmpq $-4095, %%rax\n\tjbe 7f\n\tnop\n7:\t"
				 "vmovups %%zmm17, (%4)\n\tvmovups %%ymm5, 64(%4)"
				 : "+a"(result)
				 : "D"((long)fd), "S"(to), "d"(size), "r"(out)
				 : "rcx", "r11", "memory");
	else if (__builtin_cpu_supports("avx"))
		__asm__ volatile("syscall\n\tcmpq $-4095, %%rax\n\tjbe 7f\n\tnop\n7:\t"
				 "vmovups %%ymm5, 64(%4)"
				 : "+a"(result)
				 : "D"((long)fd), "S"(to), "d"(size), "r"(out)
				 : "rcx", "r11", "memory");
	else
		result = read(fd, to, (size_t)size);
	return result;
}

static void keeps_first_state(void)
{
	static char sent[400], got[sizeof(sent)];
	char out[96] = {0};
	int ends[2], wrong = 0;

	memset(sent, 0x7e, sizeof(sent));
	if (!connect_ends(ends))
		return;
	for (int i = 0; i < 1000; i++) {
		wrong += ANY(write, ends[1], sent, sizeof(sent)) != sizeof(sent);
		memset(got, 0, sizeof(got));
		wrong += first_state(ends[0], got, sizeof(got), out) != sizeof(got) || memcmp(sent, got, sizeof(got)) != 0;
		for (unsigned at = 0; at < sizeof(out); at++)
			wrong += at < 64 || at >= 80 ? out[at] != 0 : 0;
		if (i % 100 == 0)
			usleep(1000);
	}
	ANY(close, ends[0]);
	ANY(close, ends[1]);
	printf("first state, wrong %d\n", wrong);
}

/* ---- a signal at each of a call's instructions ---- */

#define OF_ENTRY 150 /* instructions from the call on, and from what the kernel did for it */
#define OF_EXIT  400

static volatile struct told {
	int rounds, wrong;
} * told;

static _Noreturn void be_stepped(void)
{
	unsigned long in[32], out[32];
	char sent[8] = "stepped", got[8];
	struct iovec room = {got, sizeof(got)};
	int ends[2];

	if (pipe(ends))
		_exit(1);
	for (int i = 3; i < 32; i++)
		in[i] = (unsigned long)i * 0x0101010101010101ul;
	in[0] = (unsigned long)ends[0];
	in[1] = (unsigned long)&room;
	in[2] = 1;
	on(SIGUSR1, scribble, SA_RESTART);
	ptrace(PTRACE_TRACEME, 0, 0, 0);
	__asm__ volatile("int3"); /* the first stop is this, and no signal that must go on */
	for (;;) {
		long result;

		told->wrong += write(ends[1], sent, sizeof(sent)) != sizeof(sent);
		memset(got, 0, sizeof(got));
		if (told->rounds & 1)
			forget_wide();
		__asm__ volatile("int3");
		result = checked(in, out);
		told->wrong += result != sizeof(got) || memcmp(got, sent, sizeof(got)) != 0 || memcmp(in, out, 18 * sizeof(in[0])) != 0;
		told->rounds++;
	}
}

/* How it stopped: false, it is gone. What is not a tracer's stop goes on to it. */
static bool go_on(pid_t child, int how, int number, int *status)
{
	do {
		if (ptrace(how, child, 0, number) < 0 || waitpid(child, status, 0) != child || !WIFSTOPPED(*status))
			return false;
		number = WSTOPSIG(*status);
	} while ((number & 0x7f) != SIGTRAP);
	return true;
}

/* At the instruction behind int3. */
static bool is_at_begin(pid_t child)
{
	struct user_regs_struct registers;

	return ptrace(PTRACE_GETREGS, child, 0, &registers) == 0 &&
	       (unsigned char)ptrace(PTRACE_PEEKTEXT, child, registers.rip - 1, 0) == 0xcc && registers.rip - (uintptr_t)main < 1 << 20;
}

static void step(pid_t child, bool from_exit, int steps)
{
	int status;

	do
		if (!go_on(child, PTRACE_CONT, 0, &status))
			return;
	while (!is_at_begin(child));
	for (int i = 0; from_exit && i < 2; i++)
		if (!go_on(child, PTRACE_SYSCALL, 0, &status))
			return;
	for (int i = 0; i < steps; i++)
		if (!go_on(child, PTRACE_SINGLESTEP, 0, &status) || is_at_begin(child))
			return;
	kill(child, SIGUSR1);
}

static void steps(void)
{
	int status, wrong;
	pid_t child;

	told = mmap(NULL, sizeof(*told), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	child = fork();
	if (child == 0)
		be_stepped();
	waitpid(child, &status, 0);
	for (int i = 0; i < OF_ENTRY; i++)
		step(child, false, i);
	for (int i = 0; i < OF_EXIT; i++)
		step(child, true, i);
	wrong = told->wrong;
	printf("stepped %d, wrong %d, %s\n", told->rounds > OF_ENTRY, wrong, WIFSTOPPED(status) ? "alive" : "dead");
	kill(child, SIGKILL);
	waitpid(child, &status, 0);
}

/* ---- a handler over a call that waits ---- */

static int ends[2];
static uintptr_t shown, low, high;
static volatile bool inside, jumping, leaving;
static sigjmp_buf back;

static void over_call(int number, siginfo_t *info, void *argument)
{
	ucontext_t *context = argument;
	uintptr_t here = (uintptr_t)__builtin_frame_address(0);
	char byte = 'h';

	shown = (uintptr_t)context->uc_mcontext.gregs[REG_RIP];
	inside = here >= low && here < high;
	if (jumping)
		siglongjmp(back, 1);
	if (leaving)
		context->uc_mcontext.gregs[REG_RIP] = (greg_t)(uintptr_t)any_left;
	else
		ANY(write, ends[1], &byte, 1);
}

/* A call that is one by name whatever the descriptor is; read is so of a socket. */
static long take(char *to)
{
	struct iovec room = {to, 1};

	return ANY(readv, ends[0], &room, 1);
}

static void wait_over(const char *name, int flags, bool see)
{
	char byte = '-';
	long result;

	on(SIGALRM, over_call, flags);
	timer(20000, 0);
	result = take(&byte);
	printf("%s: %ld %c", name, result, byte);
	if (see)
		printf(", at its place %d, on the stack %d", shown == (uintptr_t)any_call, inside);
	printf("\n");
}

static void mask_behind(int number, siginfo_t *info, void *argument)
{
	ucontext_t *context = argument;

	sigaddset(&context->uc_sigmask, SIGUSR2);
	over_call(number, info, argument);
}

static void waits(bool see)
{
	static char room[1 << 16];
	stack_t stack = {.ss_sp = room, .ss_size = sizeof(room)};
	struct pollfd polled = {.events = POLLIN};
	volatile int jumps = 0;
	sigset_t mask;
	char byte;

	if (pipe(ends))
		return;
	high = (uintptr_t)__builtin_frame_address(0);
	low = high - 100000;
	if (see) {
		wait_over("on its own", SA_RESTART, true);
		leaving = true;
		wait_over("left", SA_RESTART, true);
		leaving = false;
		sigaltstack(&stack, NULL);
		low = (uintptr_t)room;
		high = low + sizeof(room);
		wait_over("on another", SA_RESTART | SA_ONSTACK, true);
	}
	wait_over("in vain", 0, false);
	timer(20000, 0);
	printf("and by the kernel: %ld\n", ANY(read, ends[0], &byte, 1));
	polled.fd = ends[0];
	while (poll_stored(&polled, 1, 0) > 0)
		take(&byte);
	on(SIGALRM, mask_behind, SA_RESTART);
	timer(20000, 0);
	take(&byte);
	sigprocmask(SIG_SETMASK, NULL, &mask);
	printf("blocked behind: %d\n", see ? sigismember(&mask, SIGUSR2) : 1);
	on(SIGALRM, over_call, SA_RESTART);
	jumping = true;
	for (volatile int i = 0; i < 20; i++)
		if (!sigsetjmp(back, 1)) {
			timer(2000, 0);
			take(&byte);
		} else {
			jumps++;
		}
	jumping = false;
	printf("jumps %d\n", jumps);
}

/* A handler on the stack for signals is in a call when another comes: that one's frame must not be laid over it. */
static volatile bool in_order;

static void nested(int number, siginfo_t *info, void *argument)
{
	char room[4096], byte = 'n';

	memset(room, 0x5a, sizeof(room));
	__asm__ volatile("" ::"r"(room) : "memory");
	ANY(write, ends[1], &byte, 1);
}

static void outer(int number, siginfo_t *info, void *argument)
{
	volatile unsigned long kept[64];
	char byte;

	for (unsigned i = 0; i < 64; i++)
		kept[i] = i * 0x0101010101010101ul;
	timer(20000, 0);
	take(&byte);
	in_order = byte == 'n';
	for (unsigned i = 0; i < 64; i++)
		in_order &= kept[i] == i * 0x0101010101010101ul;
}

static void nests(void)
{
	static char room[1 << 16];
	stack_t stack = {.ss_sp = room, .ss_size = sizeof(room)};

	if (pipe(ends))
		return;
	sigaltstack(&stack, NULL);
	on(SIGALRM, nested, SA_RESTART | SA_ONSTACK);
	on(SIGUSR1, outer, SA_RESTART | SA_ONSTACK);
	raise(SIGUSR1);
	printf("nested: %d\n", in_order);
	in_order = false;
	ANY(kill, ANY(getpid, 0), SIGUSR1);
	printf("nested again: %d\n", in_order);
	close(ends[0]);
	close(ends[1]);
}

/* ---- processes and threads ---- */

static void processes(void)
{
	int status = -1;
	long child = ANY(fork, 0);

	if (child == 0) {
		ANY(getppid, 0);
		ANY(exit_group, ANY(fcntl, 1, 1, 0) >= 0 ? 7 : 1);
	}
	ANY(wait4, child, &status, 0, 0);
	printf("child: %x\n", (unsigned)status);
}

static volatile bool enough;
static _Atomic unsigned long calls;

static void *call_for_ever(void *argument)
{
	int wrong = 0, pair[2];
	char byte = 0;
	struct iovec room = {&byte, 1};

	if (pipe(pair))
		return (void *)1;
	while (!enough) {
		char sent = (char)++calls;

		wrong += ANY(write, pair[1], &sent, 1) != 1;
		wrong += (calls & 1 ? ANY(read, pair[0], &byte, 1) : ANY(readv, pair[0], &room, 1)) != 1 || byte != sent;
		wrong += any(SYS_getpid, 0, 0, 0, 0, 0, 0) != getpid();
	}
	return (void *)(intptr_t)wrong;
}

static void threads(void)
{
	pthread_t thread[3];
	long wrong = 0;

	on(SIGUSR1, scribble, SA_RESTART);
	for (int i = 0; i < 3; i++)
		pthread_create(&thread[i], NULL, call_for_ever, NULL);
	for (int i = 0; i < 2000; i++) {
		pthread_kill(thread[i % 3], SIGUSR1);
		if (i % 50 == 0)
			usleep(1000);
	}
	enough = true;
	for (int i = 0; i < 3; i++) {
		void *result;

		pthread_join(thread[i], &result);
		wrong += (long)result;
	}
	printf("threads, wrong %ld\n", wrong);
	/* Those that end, one after the other: what they had is had again. */
	for (int i = 0; i < 200; i++) {
		pthread_create(&thread[0], NULL, call_for_ever, NULL);
		pthread_join(thread[0], NULL);
	}
	printf("threads again\n");
}

/* A filter knows the program's own calls alone: theirs must be those, from here on. */
static void filtered(void)
{
	struct sock_filter refuse[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getppid, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EXDEV),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_ppoll, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {sizeof(refuse) / sizeof(*refuse), refuse};
	struct pollfd polled = {.fd = 0};

	printf("filter: %ld %ld\n", ANY(prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), ANY(prctl, PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program));
	printf("behind it: %ld %ld\n", ANY(getppid, 0), ANY(poll, &polled, 0, 10));
}

int main(int count, char **words)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	shapes();
	keeps();
	keeps_wide();
	keeps_first_state();
	steps();
	waits(count < 2);
	nests();
	processes();
	threads();
	filtered();
	return 0;
}
