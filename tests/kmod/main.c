/* scenarios [NAME...]: each in a process of its own, within a limit. Prints `ok kmod/NAME` or `not ok kmod/NAME # why`. */
#include "kmod.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#define LIMIT 40

static bool wanted(const char *name, char **words)
{
	if (!*words)
		return true;
	for (; *words; words++)
		if (strncmp(name, *words, strlen(*words)) == 0)
			return true;
	return false;
}

static bool runs(const struct scenario *scenario)
{
	int status;
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (!pid) {
		setpgid(0, 0);
		alarm(LIMIT);
		scenario->run();
		_exit(0);
	}
	waitpid(pid, &status, 0);
	kill(-pid, SIGKILL);
	if (status == 0)
		printf("ok kmod/%s\n", scenario->name);
	else if (WIFSIGNALED(status))
		printf("not ok kmod/%s # signal %d\n", scenario->name, WTERMSIG(status));
	else
		printf("not ok kmod/%s # see above\n", scenario->name);
	return status == 0;
}

int main(int count, char **words)
{
	const struct scenario *const families[] = {windows, grants, revocations, bells, endings};
	int bad = 0;

	setvbuf(stdout, NULL, _IOLBF, 0);
	for (size_t i = 0; i < sizeof(families) / sizeof(*families); i++)
		for (const struct scenario *scenario = families[i]; scenario->name; scenario++)
			if (wanted(scenario->name, words + 1))
				bad += !runs(scenario);
	return bad != 0;
}
