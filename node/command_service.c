/* Finding the service, and starting one where none is. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "command.h"
#include "sync/cpu.h"

#define NAME_SIZE    100
#define WHY_SIZE     200
#define READY_MS     2000
#define IDLE_SECONDS "30"

/* Only root's service, or one of this user, is believed. */
static int connect_to(const char *name, char why[WHY_SIZE])
{
	struct ucred owner;
	int fd = cw_link_connect(name);

	if (fd < 0) {
		snprintf(why, WHY_SIZE, "no service answers to the name %s (%s)", name, strerror(errno));
		return -1;
	}
	if (cw_link_peer(fd, &owner) && (owner.uid == 0 || owner.uid == geteuid()))
		return fd;
	snprintf(why, WHY_SIZE, "the service with the name %s is another user's (%d), and not believed", name, (int)owner.uid);
	close(fd);
	errno = EPERM;
	return -1;
}

static void own_name(char name[NAME_SIZE])
{
	if (geteuid() == 0)
		snprintf(name, NAME_SIZE, "%s", CW_SERVICE_SYSTEM);
	else
		snprintf(name, NAME_SIZE, CW_SERVICE_USER, geteuid());
}

int cw_service_find(const char *wanted, char name[NAME_SIZE], char why[WHY_SIZE])
{
	const char *environment = getenv("CAUSEWAY_SERVICE");
	int fd;

	if (!wanted && environment && *environment)
		wanted = environment;
	if (wanted) {
		snprintf(name, NAME_SIZE, "%s", wanted);
		return connect_to(name, why);
	}
	snprintf(name, NAME_SIZE, "%s", CW_SERVICE_SYSTEM);
	fd = connect_to(name, why);
	if (fd >= 0 || geteuid() == 0)
		return fd;
	own_name(name);
	return connect_to(name, why);
}

static void clean_environment(char **environment)
{
	char **to = environment;

	for (char **from = environment; *from; from++)
		if (strncmp(*from, "LD_PRELOAD=", 11) != 0 && strncmp(*from, "CAUSEWAY_", 9) != 0 &&
		    strncmp(*from, "NOTIFY_SOCKET=", 14) != 0)
			*to++ = *from;
	*to = NULL;
}

/* Nothing of the program that happened to come first may stay with the service: its terminal, its pipes, its directory, its signals. */
__attribute__((noreturn)) static void become_daemon(const char *path, const char *name)
{
	char *arguments[] = {(char *)(uintptr_t)path, "--name", (char *)(uintptr_t)name, "--idle-exit", IDLE_SECONDS, NULL};
	sigset_t none;
	int null;

	for (int s = 1; s < NSIG; s++)
		signal(s, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	setsid();
	if (fork() != 0)
		_exit(0);
	null = open("/dev/null", O_RDWR);
	for (int fd = 0; fd < 3 && null >= 0; fd++)
		dup2(null, fd);
	if (chdir("/") < 0 || close_range(3, ~0u, 0) < 0)
		_exit(1);
	clean_environment(environ);
	execv(path, arguments);
	_exit(127);
}

static bool start(const char *name, char why[WHY_SIZE])
{
	char path[4096];
	pid_t child;
	int status;

	if (!cw_find_daemon(path, sizeof(path))) {
		snprintf(why, WHY_SIZE, "no service answers to the name %s, and causewayd is not installed beside causeway", name);
		return false;
	}
	child = fork();
	if (child == 0)
		become_daemon(path, name);
	if (child < 0) {
		snprintf(why, WHY_SIZE, "no service could be started: %s", strerror(errno));
		return false;
	}
	while (waitpid(child, &status, 0) < 0 && errno == EINTR)
		;
	return true;
}

int cw_service_ensure(const char *wanted, char name[NAME_SIZE], char why[WHY_SIZE])
{
	uint64_t end = cw_monotonic_ns() + READY_MS * 1000000ull;
	struct timespec pause = {.tv_nsec = 200000};
	int fd = cw_service_find(wanted, name, why);

	if (fd >= 0 || errno == EPERM || !start(name, why))
		return fd;
	while ((fd = connect_to(name, why)) < 0 && errno != EPERM && cw_monotonic_ns() < end) {
		nanosleep(&pause, NULL);
		if (pause.tv_nsec < 10000000)
			pause.tv_nsec *= 2;
	}
	return fd;
}
