/* Threads that are cancelled while they wait, in a static program of musl or glibc. Prints which were, and went by their clean-up. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <ucontext.h>
#include <unistd.h>

static int listener, stream, cleaned;

static void clean(void *argument)
{
	cleaned++;
}

#define WAITER(name, call)                                                                                                                 \
	static void *name(void *argument)                                                                                                  \
	{                                                                                                                                  \
		pthread_cleanup_push(clean, NULL);                                                                                         \
		call;                                                                                                                      \
		pthread_cleanup_pop(0);                                                                                                    \
		return argument;                                                                                                           \
	}

static char byte;
static struct pollfd readable;

WAITER(reads, (void)!read(stream, &byte, 1))
WAITER(receives, recv(stream, &byte, 1, 0))
WAITER(polls, poll(&readable, 1, -1))
WAITER(accepts, accept(listener, NULL, NULL))
WAITER(sleeps, sleep(1000))
WAITER(pauses, pause())

static void cancel(const char *name, void *(*wait)(void *))
{
	pthread_t thread;
	void *result = NULL;

	pthread_create(&thread, NULL, wait, NULL);
	usleep(50000);
	pthread_cancel(thread);
	pthread_join(thread, &result);
	printf("%s: %d %d\n", name, result == PTHREAD_CANCELED, cleaned);
}

/* What a handler says in its context holds behind it, for the call that it interrupted too. */
static void block_all_behind(int number, siginfo_t *info, void *context)
{
	ucontext_t *at = context;

	memset(&at->uc_sigmask, 0xff, 8); /* so large are the kernel's */
}

static void blocked_behind_a_handler(void)
{
	struct sigaction action = {.sa_sigaction = block_all_behind, .sa_flags = SA_SIGINFO};
	struct itimerval soon = {.it_value = {0, 20000}};
	sigset_t mask;
	long result;

	sigaction(SIGALRM, &action, NULL);
	setitimer(ITIMER_REAL, &soon, NULL);
	result = read(stream, &byte, 1);
	sigprocmask(SIG_BLOCK, NULL, &mask);
	printf("interrupted %ld, blocked %d %d, process %d\n", result, sigismember(&mask, SIGALRM), sigismember(&mask, SIGUSR1), getppid() > 0);
}

int main(int count, char **words)
{
	struct sockaddr_in here = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t length = sizeof(here);

	setvbuf(stdout, NULL, _IOLBF, 0);
	listener = socket(AF_INET, SOCK_STREAM, 0);
	bind(listener, (struct sockaddr *)&here, length);
	listen(listener, 1);
	getsockname(listener, (struct sockaddr *)&here, &length);
	stream = socket(AF_INET, SOCK_STREAM, 0);
	connect(stream, (struct sockaddr *)&here, length);
	accept(listener, NULL, NULL);
	readable = (struct pollfd){stream, POLLIN, 0};
	cancel("read", reads);
	cancel("recv", receives);
	cancel("poll", polls);
	cancel("accept", accepts);
	cancel("sleep", sleeps);
	cancel("pause", pauses);
	blocked_behind_a_handler();
	return 0;
}
