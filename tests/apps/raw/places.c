/* Where handlers of a static program run: on its own stack, from which they may also never come back, or much later. Prints what they found. */
#define _GNU_SOURCE
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#define IN_REGISTER 0x1234567ul

static void timer(long us, long every_us)
{
	struct itimerval t = {{0, every_us}, {0, us}};

	setitimer(ITIMER_REAL, &t, NULL);
}

/* ---- what a collector of garbage would see ---- */

static uintptr_t low, high;
static volatile int is_near, found;

static void look(int number)
{
	uintptr_t here = (uintptr_t)__builtin_frame_address(0) & ~7ul;

	is_near = here >= low && here < high;
	found = 0;
	for (uintptr_t at = here; is_near && at < high; at += 8)
		found |= *(volatile uintptr_t *)at == IN_REGISTER;
}

static long nap(void)
{
	long result;
	struct timespec time = {5, 0};
	register unsigned long rbx __asm__("rbx") = IN_REGISTER;

	__asm__ volatile("syscall" : "=a"(result), "+r"(rbx) : "a"(SYS_nanosleep), "D"(&time), "S"(0) : "rcx", "r11", "memory");
	return result;
}

static void nap_and_tell(const char *name)
{
	long result;

	high = (uintptr_t)__builtin_frame_address(0);
	low = high - 60000;
	result = nap();
	printf("%s: %ld, on its stack %d, register found %d\n", name, result, is_near, found);
}

static void *nap_in_thread(void *process)
{
	nap_and_tell("thread");
	return NULL;
}

static void looks(void)
{
	struct sigaction action = {.sa_handler = look};
	pthread_t thread;

	sigaction(SIGALRM, &action, NULL);
	timer(20000, 0);
	nap_and_tell("process");
	sigaction(SIGUSR1, &action, NULL);
	pthread_create(&thread, NULL, nap_in_thread, NULL);
	usleep(50000);
	pthread_kill(thread, SIGUSR1);
	pthread_join(thread, NULL);
}

/* Wherever in a call, or between two, the signal comes. */
static volatile sig_atomic_t looked, elsewhere;

static void look_again(int number)
{
	uintptr_t here = (uintptr_t)__builtin_frame_address(0);

	elsewhere += here < low || here >= high;
	looked++;
}

static volatile int enough;

static void *call_again_and_again(void *process)
{
	high = (uintptr_t)__builtin_frame_address(0);
	low = high - 60000;
	while (!enough)
		getppid();
	return NULL;
}

static void looks_all_over(void)
{
	struct sigaction action = {.sa_handler = look_again};
	pthread_t thread;

	sigaction(SIGUSR1, &action, NULL);
	pthread_create(&thread, NULL, call_again_and_again, NULL);
	usleep(20000);
	for (int i = 1; i <= 1000; i++) {
		pthread_kill(thread, SIGUSR1);
		while (looked < i)
			;
	}
	enough = 1;
	pthread_join(thread, NULL);
	printf("looked %d times, elsewhere %d\n", (int)looked, (int)elsewhere);
}

/* ---- handlers that don't come back ---- */

static sigjmp_buf back;

static void jump(int number)
{
	siglongjmp(back, 1);
}

static void jumps(void)
{
	volatile int count = 0;

	signal(SIGALRM, jump);
	for (volatile int i = 0; i < 30; i++)
		if (!sigsetjmp(back, 1)) {
			timer(2000, 0);
			pause();
		} else {
			count++;
		}
	printf("jumps %d\n", count);
}

/* ---- handlers that come back later: threads of the program's own, which a timer switches ---- */

#define THREADS 3

static ucontext_t context[THREADS];
static int own, good[THREADS];
static volatile sig_atomic_t switches;

static void go_on_elsewhere(int number)
{
	int before = own;

	if (switches++ >= 60)
		return;
	own = (own + 1) % THREADS;
	swapcontext(&context[before], &context[own]);
}

static void work(int thread)
{
	struct timespec while_away = {0, 3000000};
	char sent[64], got[64];
	int ends[2];

	if (pipe(ends))
		return;
	for (int i = 0; i < 40; i++) {
		memset(sent, thread * 40 + i, sizeof(sent));
		while (write(ends[1], sent, sizeof(sent)) < 0)
			;
		nanosleep(&while_away, NULL);
		while (read(ends[0], got, sizeof(got)) < 0)
			;
		good[thread] += memcmp(sent, got, sizeof(sent)) == 0;
	}
}

static void work_for_ever(int thread)
{
	for (;;)
		work(thread);
}

static void switched(void)
{
	static char stack[THREADS][1 << 18];
	struct sigaction action = {.sa_handler = go_on_elsewhere, .sa_flags = SA_RESTART};

	for (int i = 1; i < THREADS; i++) {
		getcontext(&context[i]);
		context[i].uc_stack.ss_sp = stack[i];
		context[i].uc_stack.ss_size = sizeof(stack[i]);
		makecontext(&context[i], (void (*)(void))work_for_ever, 1, i);
	}
	sigaction(SIGALRM, &action, NULL);
	timer(5000, 5000);
	work(0);
	timer(0, 0);
	printf("switched %d, good %d %d %d\n", switches > 0, good[0], good[1] > 0, good[2] > 0);
}

int main(int count, char **words)
{
	if (count != 1)
		return 64;
	setvbuf(stdout, NULL, _IOLBF, 0);
	looks();
	looks_all_over();
	jumps();
	switched();
	return 0;
}
