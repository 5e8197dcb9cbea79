/* freopen, daemon, login_tty, forkpty: libc puts the descriptor of what it opens in the place of the old one by itself, where no symbol is
 * called. */
#include "call.h"
#include "process.h"

#include <pty.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <utmp.h>

/* Without a name glibc asks /proc for the socket's, which has none, and closes the descriptor; musl leaves it where it is. */
static bool stays_open(const char *path)
{
#ifdef __GLIBC__
	return false;
#else
	return !path;
#endif
}

static void before_reopening(const char *path, FILE *file)
{
	int fd;

	cw_ensure_started();
	fd = fileno(file);
	if (stays_open(path) || !cw_table_get(fd) || cw_is_other_process())
		return;
	fflush(file);
	cw_forget(fd);
}

CW_EXPORT FILE *freopen(const char *restrict path, const char *restrict mode, FILE *restrict file)
{
	before_reopening(path, file);
	return cw_real.freopen(path, mode, file);
}

#ifdef __GLIBC__
CW_EXPORT FILE *freopen64(const char *restrict path, const char *restrict mode, FILE *restrict file)
{
	before_reopening(path, file);
	return cw_real.freopen64(path, mode, file);
}
#endif

/* A process that is about to end, but for its child, has no more use for them. */
CW_EXPORT int daemon(int stay, int keep)
{
	int nothing = -1;

	cw_ensure_started();
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO && !keep; fd++)
		if (cw_table_get(fd) && (nothing >= 0 || (nothing = open("/dev/null", O_RDWR | O_CLOEXEC)) >= 0))
			dup2(nothing, fd);
	if (nothing > STDERR_FILENO)
		close(nothing);
	return cw_real.daemon(stay, keep);
}

/* The streams' numbers are the terminal's from here on, so libc's own would do, but that it closes them where no symbol is called. */
CW_EXPORT int login_tty(int terminal)
{
	setsid();
	if (ioctl(terminal, TIOCSCTTY, NULL) < 0)
		return -1;
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
		dup2(terminal, fd);
	if (terminal > STDERR_FILENO)
		close(terminal);
	return 0;
}

static bool standard_stream_is_known(void)
{
	return cw_table_get(STDIN_FILENO) || cw_table_get(STDOUT_FILENO) || cw_table_get(STDERR_FILENO);
}

CW_EXPORT pid_t forkpty(int *control, char *name, const struct termios *modes, const struct winsize *size)
{
	int master, terminal;
	pid_t child;

	cw_ensure_started();
	if (!cw_real.forkpty || !cw_real.openpty) {
		errno = ENOSYS; /* before glibc 2.34 they are libutil's, which may be loaded where nobody finds it */
		return -1;
	}
	if (!standard_stream_is_known())
		return cw_real.forkpty(control, name, modes, size);
	if (cw_real.openpty(&master, &terminal, name, modes, size) < 0)
		return -1;
	child = fork();
	if (child == 0) {
		close(master);
		if (login_tty(terminal) < 0)
			_exit(1);
		return 0;
	}
	close(terminal);
	if (child < 0)
		close(master);
	else
		*control = master;
	return child;
}
