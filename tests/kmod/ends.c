/* Ends: of processes, of windows, of the module. */
#include "kmod.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define BOTH (CAUSEWAY_MAY_READ | CAUSEWAY_MAY_WRITE)

/* What a process that is killed has held is gone with it; what others hold is not. */
static void killed(void)
{
	char name[32];
	int ends[2], grant, fd;
	struct causeway_window info;
	volatile unsigned char *at;
	pid_t pid;

	must(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
	pid = child();
	if (!pid) {
		int window = window_made(4, 1, name);

		for (int i = 0; i < 20; i++)
			at = mapped(grant_made(window, 0, 4, BOTH, NULL), 4, PROT_READ | PROT_WRITE);
		at[0] = 5;
		pass(ends[1], grant_made(window, 0, 4, BOTH, NULL));
		must(write(ends[1], name, 32) == 32);
		for (;;)
			at[PAGE]++;
	}
	grant = passed(ends[0]);
	must(read(ends[0], name, 32) == 32);
	at = mapped(grant, 4, PROT_READ | PROT_WRITE);
	must(at[0] == 5);
	kill(pid, SIGKILL);
	must(waitpid(pid, NULL, 0) == pid);
	/* A successor finds it by its name while a grant lives. */
	fd = node_opened(name, O_RDWR);
	must(fd >= 0 && ioctl(fd, CAUSEWAY_IOC_WINDOW, &info) == 0 && info.grants == 1 && at[0] == 5);
	close(fd);
	close(grant);
	must(node_exists(name) && at[0] == 5);
	munmap((void *)at, 4 * PAGE);
	must(!node_exists(name));
}

/* A window is removed under those who write to it, and those who wait. */
static void removed(void)
{
	char name[32];
	int window = window_made(16, 1, name), waiter = bell_grant(window, 0, 0), grant = grant_made(window, 0, 16, BOTH, NULL);
	volatile unsigned char *at = mapped(grant, 16, PROT_READ | PROT_WRITE);
	struct causeway_grant more = grant_of(0, 1, BOTH);
	struct causeway_window info;
	struct pollfd p = {waiter, POLLIN, 0};
	uint64_t rings;
	pid_t pid[3];

	for (int i = 0; i < 3; i++) {
		pid[i] = child();
		if (pid[i])
			continue;
		if (i == 0)
			_exit(read(waiter, &rings, 8) != -1 || errno != ENODEV);
		if (i == 1)
			_exit(poll(&p, 1, -1) != 1 || p.revents != (POLLERR | POLLHUP));
		for (;;)
			for (int page = 0; page < 16; page++)
				at[page * PAGE]++;
	}
	at[1] = 1;
	naps(300);
	must(ioctl(window, CAUSEWAY_IOC_REMOVE, 0) == 0);
	must(!node_exists(name) && status_of(pid[0]) == 0 && status_of(pid[1]) == 0);
	must(at[1] == 0 && state_of(grant) == CAUSEWAY_GONE);
	refused(ioctl(window, CAUSEWAY_IOC_WINDOW, &info), ENODEV);
	refused(ioctl(window, CAUSEWAY_IOC_GRANT, &more), ENODEV);
	refused(ioctl(waiter, CAUSEWAY_IOC_RING, 0), ENODEV);
	must(mmap(NULL, PAGE, PROT_READ, MAP_SHARED, grant, 0) == MAP_FAILED && errno == ENODEV);
	must(ioctl(window, CAUSEWAY_IOC_REMOVE, 0) == 0);
	must(waitpid(pid[2], NULL, WNOHANG) == 0);
	kill(pid[2], SIGKILL);
	waitpid(pid[2], NULL, 0);
}

/* Those who open, make and remove at the same time. */
static void met(void)
{
	pid_t pid[4];

	for (int i = 0; i < 4; i++) {
		pid[i] = child();
		if (pid[i])
			continue;
		for (int n = 0; n < 150; n++) {
			char name[32];

			if (i < 2) {
				struct causeway_create create = {.size = 2 * PAGE, .bells = 1, .numa_node = -1};
				struct causeway_grant grant = grant_of(0, 1, BOTH);
				volatile unsigned char *at = MAP_FAILED;
				int fd = control(), window;

				/* Another may remove it before we have it, or use it. */
				if (ioctl(fd, CAUSEWAY_IOC_CREATE, &create) != 0) {
					must(errno == ENODEV);
					close(fd);
					continue;
				}
				close(fd);
				window = create.fd;
				if (ioctl(window, CAUSEWAY_IOC_GRANT, &grant) == 0) {
					at = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, grant.fd, 0);
					close(grant.fd);
				}
				must(n % 3 || ioctl(window, CAUSEWAY_IOC_REMOVE, 0) == 0);
				must(at == MAP_FAILED || (at[0] == 0 && munmap((void *)at, PAGE) == 0));
				close(window);
				continue;
			}
			for (int number = 0; number < 4; number++) {
				int window;

				snprintf(name, sizeof(name), "loop%d", number);
				window = node_opened(name, O_RDWR);
				if (window >= 0) {
					struct causeway_grant grant = grant_of(0, 1, BOTH);

					if (ioctl(window, CAUSEWAY_IOC_GRANT, &grant) == 0)
						close(grant.fd);
					if (n % 5 == 0)
						ioctl(window, CAUSEWAY_IOC_REMOVE, 0);
					close(window);
				}
			}
		}
		_exit(0);
	}
	for (int i = 0; i < 4; i++)
		must(status_of(pid[i]) == 0);
}

static bool unload(void)
{
	return syscall(SYS_delete_module, "causeway", O_NONBLOCK) == 0;
}

static bool load(void)
{
	int fd = open("/modules.d/causeway.ko", O_RDONLY | O_CLOEXEC);
	bool good = syscall(SYS_finit_module, fd, "", 0) == 0;

	close(fd);
	return good;
}

/* The module stays while anything of it is in use, even if it is only mapped. */
static void module_in_use(void)
{
	int window = window_made(4, 1, NULL), grant = grant_made(window, 0, 4, BOTH, NULL), fd;
	volatile unsigned char *at = mapped(grant, 4, PROT_READ | PROT_WRITE);
	pid_t pid = child();

	if (!pid)
		for (;;)
			at[PAGE]++;
	must(!unload() && errno == EWOULDBLOCK);
	close(window);
	must(!unload());
	close(grant);
	must(!unload());
	munmap((void *)at, 4 * PAGE);
	must(!unload());
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	fd = control();
	must(!unload());
	close(fd);
	must(unload() && access(CAUSEWAY_CONTROL, F_OK) == -1);
	must(load() && access(CAUSEWAY_CONTROL, F_OK) == 0);
}

static void come_and_go(void)
{
	for (;;) {
		int fd = open(CAUSEWAY_CONTROL, O_RDWR | O_CLOEXEC);
		struct causeway_create create = {.size = 4 * PAGE, .bells = 1, .numa_node = -1};
		struct causeway_grant grant = grant_of(0, 4, BOTH);
		volatile unsigned char *at;

		if (fd < 0)
			continue;
		if (ioctl(fd, CAUSEWAY_IOC_CREATE, &create) == 0) {
			if (ioctl(create.fd, CAUSEWAY_IOC_GRANT, &grant) == 0) {
				at = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, grant.fd, 0);
				if (at != MAP_FAILED) {
					at[PAGE] = 1;
					munmap((void *)at, 4 * PAGE);
				}
				close(grant.fd);
			}
			close(create.fd);
		}
		close(fd);
		naps(20);
	}
}

/* Loaded and unloaded under programs that use it whenever it is there. */
static void module_comes_and_goes(void)
{
	int gone = 0;
	pid_t pid[2];

	for (int i = 0; i < 2; i++) {
		pid[i] = child();
		if (!pid[i])
			come_and_go();
	}
	while (gone < 8) {
		if (!unload()) {
			must(errno == EWOULDBLOCK);
			naps(1);
			continue;
		}
		gone++;
		must(load());
	}
	for (int i = 0; i < 2; i++) {
		kill(pid[i], SIGKILL);
		waitpid(pid[i], NULL, 0);
	}
	must(unload() && load());
}

const struct scenario endings[] = {
	{"end_killed", killed},
	{"end_removed", removed},
	{"end_met", met},
	{"end_module_in_use", module_in_use},
	{"end_module_comes_and_goes", module_comes_and_goes},
	{0},
};
