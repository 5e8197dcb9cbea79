/*
 * The report's keeper. `causeway run --report` becomes the command, and the service writes the report: if that is killed, nobody is left
 * who would say so, and who waits for the report would wait for ever. So a process of its own keeps the file and the connection that the
 * run was begun on, sleeps, and ends when the service says that it writes. If the service is gone without a word, it writes that.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "command.h"

static const char lost[] =
	"{\n  \"incomplete\": true,\n  \"error\": \"causewayd was killed before the run ended; what it knew of the run is "
	"lost\"\n}\n";

static void write_lost(int report)
{
	size_t done = 0;

	while (done < sizeof(lost) - 1) {
		ssize_t put = write(report, lost + done, sizeof(lost) - 1 - done);

		if (put < 0 && errno != EINTR)
			return;
		done += put > 0 ? (size_t)put : 0;
	}
}

/* True if the service has said that it writes. */
static bool is_told(int service)
{
	struct pollfd look = {.fd = service, .events = POLLIN};
	struct cw_received received = {0};

	for (;;) {
		ssize_t got;

		poll(&look, 1, -1);
		got = cw_link_receive(service, &received);
		cw_received_close(&received);
		if (got > 0)
			return true;
		if (got == 0 || (errno != EAGAIN && errno != EINTR))
			return false;
	}
}

/* Nothing of the command may stay with it: its terminal, its pipes, its directory, its signals. */
__attribute__((noreturn)) static void be_keeper(int service, int report)
{
	int null;

	for (int s = 1; s < NSIG; s++)
		signal(s, SIG_DFL);
	setsid();
	if (_Fork() != 0)
		_exit(0);
	prctl(PR_SET_NAME, "causeway-keeper");
	service = fcntl(service, F_DUPFD, 5);
	report = fcntl(report, F_DUPFD, 5);
	null = open("/dev/null", O_RDWR);
	if (service < 0 || report < 0 || null < 0 || dup2(service, 3) < 0 || dup2(report, 4) < 0)
		_exit(1);
	for (int fd = 0; fd < 3; fd++)
		dup2(null, fd);
	if (close_range(5, ~0u, 0) < 0 || chdir("/") < 0)
		_exit(1);
	if (!is_told(3))
		write_lost(4);
	_exit(0);
}

void cw_report_keep(int service, int report)
{
	pid_t child = _Fork(); /* none of a preloaded library's handlers: the run that this one is in must not count it */

	if (child == 0)
		be_keeper(service, report);
	while (child > 0 && waitpid(child, NULL, 0) < 0 && errno == EINTR)
		;
}
