/* What the tests of the kernel module have in common. */
#include "kmod.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

void failed(const char *file, int line, const char *what)
{
	printf("%s:%d: %s (%s)\n", file, line, what, strerror(errno));
	fflush(stdout);
	_exit(1);
}

int control(void)
{
	int fd = open(CAUSEWAY_CONTROL, O_RDWR | O_CLOEXEC);

	must(fd >= 0);
	return fd;
}

int window_made(uint64_t pages, uint32_t count, char name[32])
{
	struct causeway_create create = {.size = pages * PAGE, .bells = count, .numa_node = -1};
	int fd = control();

	must(ioctl(fd, CAUSEWAY_IOC_CREATE, &create) == 0);
	close(fd);
	if (name)
		memcpy(name, create.name, 32);
	return create.fd;
}

int node_opened(const char *name, int flags)
{
	char path[64];

	snprintf(path, sizeof(path), "/dev/causeway/%s", name);
	return open(path, flags | O_CLOEXEC);
}

bool node_exists(const char *name)
{
	char path[64];

	snprintf(path, sizeof(path), "/dev/causeway/%s", name);
	return access(path, F_OK) == 0;
}

uint64_t counter(const char *name, const char *which)
{
	char path[128];
	unsigned long long value;
	FILE *file;

	snprintf(path, sizeof(path), "/sys/class/causeway/%s/counters/%s", name, which);
	file = fopen(path, "r");
	must(file && fscanf(file, "%llu", &value) == 1);
	fclose(file);
	return value;
}

struct causeway_grant grant_of(uint64_t first, uint64_t pages, uint32_t rights)
{
	return (struct causeway_grant){
		.offset = first * PAGE,
		.length = pages * PAGE,
		.rights = rights,
		.wait_bell = CAUSEWAY_NONE,
		.ring_peer = CAUSEWAY_NONE,
		.ring_bell = CAUSEWAY_NONE,
	};
}

int grant_made(int window, uint64_t first, uint64_t pages, uint32_t rights, uint32_t *id)
{
	struct causeway_grant grant = grant_of(first, pages, rights);

	must(ioctl(window, CAUSEWAY_IOC_GRANT, &grant) == 0);
	if (id)
		*id = grant.id;
	return grant.fd;
}

int bell_grant(int window, uint32_t wait, uint32_t ring)
{
	struct causeway_window info;
	struct causeway_grant grant = grant_of(0, 0, 0);

	must(ioctl(window, CAUSEWAY_IOC_WINDOW, &info) == 0);
	if (wait != CAUSEWAY_NONE)
		grant.rights |= CAUSEWAY_MAY_WAIT;
	if (ring != CAUSEWAY_NONE) {
		grant.rights |= CAUSEWAY_MAY_RING;
		grant.ring_peer = info.peer;
	}
	grant.wait_bell = wait;
	grant.ring_bell = ring;
	must(ioctl(window, CAUSEWAY_IOC_GRANT, &grant) == 0);
	return grant.fd;
}

void grant_revoked(int window, uint32_t id)
{
	struct causeway_revoke request = {.id = id};

	must(ioctl(window, CAUSEWAY_IOC_REVOKE, &request) == 0);
}

uint32_t state_of(int grant)
{
	struct causeway_grant_info info;

	must(ioctl(grant, CAUSEWAY_IOC_INFO, &info) == 0);
	return info.state;
}

volatile unsigned char *mapped(int grant, uint64_t pages, int protection)
{
	void *at = mmap(NULL, pages * PAGE, protection, MAP_SHARED, grant, 0);

	must(at != MAP_FAILED);
	return at;
}

short polled(int fd, short events)
{
	struct pollfd p = {fd, events, 0};

	must(poll(&p, 1, 0) >= 0);
	return p.revents;
}

void pass(int socket, int fd)
{
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(sizeof(int))];
	} word = {.header = {.cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS}};
	struct iovec byte = {"", 1};
	struct msghdr message = {.msg_iov = &byte, .msg_iovlen = 1, .msg_control = &word, .msg_controllen = sizeof(word)};

	memcpy(CMSG_DATA(&word.header), &fd, sizeof(fd));
	must(sendmsg(socket, &message, 0) == 1);
}

int passed(int socket)
{
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(sizeof(int))];
	} word;
	char room;
	struct iovec byte = {&room, 1};
	struct msghdr message = {.msg_iov = &byte, .msg_iovlen = 1, .msg_control = &word, .msg_controllen = sizeof(word)};
	int fd;

	must(recvmsg(socket, &message, MSG_CMSG_CLOEXEC) == 1 && word.header.cmsg_type == SCM_RIGHTS);
	memcpy(&fd, CMSG_DATA(&word.header), sizeof(fd));
	return fd;
}

pid_t child(void)
{
	pid_t pid = fork();

	must(pid >= 0);
	if (!pid)
		prctl(PR_SET_PDEATHSIG, SIGKILL);
	return pid;
}

int status_of(pid_t pid)
{
	int status;
	pid_t ended;

	do
		ended = waitpid(pid, &status, 0);
	while (ended == -1 && errno == EINTR);
	must(ended == pid);
	if (!WIFEXITED(status))
		printf("a child was ended by signal %d\n", WTERMSIG(status));
	must(WIFEXITED(status));
	return WEXITSTATUS(status);
}

void naps(unsigned milliseconds)
{
	struct timespec time = {milliseconds / 1000, milliseconds % 1000 * 1000000l};

	nanosleep(&time, NULL);
}
