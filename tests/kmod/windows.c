/* Windows in memory of this machine: made, seen, refused. */
#include "kmod.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static void versions(void)
{
	struct causeway_version version = {.reserved = {1, 2, 3}};
	int window = window_made(1, 1, NULL), fds[] = {control(), window, grant_made(window, 0, 1, CAUSEWAY_MAY_READ, NULL)};

	for (int i = 0; i < 3; i++) {
		version.version = 0;
		must(ioctl(fds[i], CAUSEWAY_IOC_VERSION, &version) == 0);
		must(version.version == CAUSEWAY_VERSION && version.reserved[2] == 0);
		refused(ioctl(fds[i], CAUSEWAY_IOC_VERSION, NULL), EFAULT);
		/* An argument of another size is another request. */
		refused(ioctl(fds[i], _IOR(CAUSEWAY_IOC_TYPE, 0, char[8]), &version), ENOTTY);
		must(fcntl(fds[i], F_GETFD) == FD_CLOEXEC);
	}
}

static void made(void)
{
	struct causeway_window info, again;
	char name[32], path[64], kind[16] = "";
	struct stat status;
	int window = window_made(5, 3, name), opened;
	FILE *file;

	must(ioctl(window, CAUSEWAY_IOC_WINDOW, &info) == 0);
	must(info.size == 5 * PAGE && info.bells == 3 && info.page_size == PAGE && info.grants == 0);
	must(strcmp(info.name, name) == 0 && strcmp(info.kind, "loop") == 0 && info.memory == CAUSEWAY_WRITE_BACK);
	snprintf(path, sizeof(path), "/dev/causeway/%s", name);
	must(stat(path, &status) == 0 && S_ISCHR(status.st_mode) && (status.st_mode & 0777) == 0600);
	opened = node_opened(name, O_RDWR);
	must(opened >= 0 && ioctl(opened, CAUSEWAY_IOC_WINDOW, &again) == 0);
	must(memcmp(&info, &again, sizeof(info)) == 0);
	snprintf(path, sizeof(path), "/sys/class/causeway/%s/kind", name);
	file = fopen(path, "r");
	must(file && fscanf(file, "%15s", kind) == 1 && strcmp(kind, "loop") == 0);
	fclose(file);
	close(window);
	must(node_exists(name));
	close(opened);
	must(!node_exists(name));
}

static void refused_creations(void)
{
	const struct causeway_create good = {.size = PAGE, .bells = 1, .numa_node = -1};
	struct causeway_create bad[10];
	int fd = control(), reader;

	for (int i = 0; i < 10; i++)
		bad[i] = good;
	bad[0].size = 0;
	bad[1].size = PAGE + 1;
	bad[2].size = UINT64_MAX;
	bad[3].bells = UINT32_MAX;
	bad[4].numa_node = -2;
	bad[5].numa_node = 1 << 20;
	bad[6].flags = 1;
	bad[7].reserved[3] = 1;
	bad[8].size = UINT64_MAX - PAGE + 1;
	bad[9].size = 1ull << 40;
	for (int i = 0; i < 10; i++)
		refused(ioctl(fd, CAUSEWAY_IOC_CREATE, &bad[i]), i == 8 || i == 9 ? ENOMEM : EINVAL);
	refused(ioctl(fd, CAUSEWAY_IOC_CREATE, NULL), EFAULT);
	refused(mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 0) == MAP_FAILED ? -1 : 0, ENODEV);
	reader = open(CAUSEWAY_CONTROL, O_RDONLY);
	bad[0] = good;
	refused(ioctl(reader, CAUSEWAY_IOC_CREATE, &bad[0]), EACCES);
	/* The result can't be given: nothing is left behind. */
	must(mmap((void *)0x10000, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != MAP_FAILED);
	memcpy((void *)0x10000, &good, sizeof(good));
	mprotect((void *)0x10000, PAGE, PROT_READ);
	refused(ioctl(fd, CAUSEWAY_IOC_CREATE, (void *)0x10000), EFAULT);
	must(system("test $(ls /sys/class/causeway | grep -c loop) = 0") == 0);
}

/* All memory that may be used, again and again: what is given back is all of it. */
static void limited(void)
{
	struct causeway_create create = {.size = 200 << 20, .numa_node = -1}, more = {.size = 100 << 20, .numa_node = -1};
	int fd = control();

	for (int i = 0; i < 3; i++) {
		must(ioctl(fd, CAUSEWAY_IOC_CREATE, &create) == 0);
		refused(ioctl(fd, CAUSEWAY_IOC_CREATE, &more), ENOMEM);
		close(create.fd);
	}
}

static void many(void)
{
	struct causeway_create create = {.size = PAGE, .numa_node = -1};
	int fd = control(), window[300], count = 0;

	while (count < 300 && ioctl(fd, CAUSEWAY_IOC_CREATE, &create) == 0)
		window[count++] = create.fd;
	must(count >= 200 && count < 300 && errno == ENOSPC);
	while (count)
		close(window[--count]);
	must(ioctl(fd, CAUSEWAY_IOC_CREATE, &create) == 0);
}

/* The node belongs to who made the window; others are kept out by its mode. */
static void owned(void)
{
	char name[32], path[64];
	struct stat status;
	pid_t pid;

	must(chmod(CAUSEWAY_CONTROL, 0666) == 0);
	pid = child();
	if (!pid) {
		must(setgid(1000) == 0 && setuid(1000) == 0);
		window_made(1, 0, name);
		must(node_opened(name, O_RDWR) >= 0);
		snprintf(path, sizeof(path), "/dev/causeway/%s", name);
		must(stat(path, &status) == 0 && status.st_uid == 1000);
		if (fork() == 0) {
			_exit(0);
		}
		_exit(0);
	}
	must(status_of(pid) == 0);
	must(chmod(CAUSEWAY_CONTROL, 0600) == 0);
	window_made(1, 0, name);
	pid = child();
	if (!pid) {
		must(setgid(1000) == 0 && setuid(1000) == 0);
		refused(open(CAUSEWAY_CONTROL, O_RDONLY), EACCES);
		refused(node_opened(name, O_RDONLY), EACCES);
		_exit(0);
	}
	must(status_of(pid) == 0);
}

/* Who may only look makes, revokes and removes nothing. */
static void lookers(void)
{
	struct causeway_grant grant = grant_of(0, 1, CAUSEWAY_MAY_READ);
	struct causeway_revoke revocation = {.id = CAUSEWAY_NONE};
	struct causeway_grant_info info = {0};
	struct causeway_window window;
	char name[32];
	int fd;

	grant_made(window_made(1, 0, name), 0, 1, CAUSEWAY_MAY_READ, NULL);
	fd = node_opened(name, O_RDONLY);
	must(fd >= 0 && ioctl(fd, CAUSEWAY_IOC_WINDOW, &window) == 0 && window.grants == 1);
	must(ioctl(fd, CAUSEWAY_IOC_NEXT, &info) == 0 && info.length == PAGE);
	refused(ioctl(fd, CAUSEWAY_IOC_GRANT, &grant), EACCES);
	refused(ioctl(fd, CAUSEWAY_IOC_REVOKE, &revocation), EACCES);
	refused(ioctl(fd, CAUSEWAY_IOC_REMOVE, 0), EACCES);
	refused(mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 0) == MAP_FAILED ? -1 : 0, ENODEV);
	must(read(fd, &info, sizeof(info)) == -1 && lseek(fd, 0, SEEK_END) == -1);
}

const struct scenario windows[] = {
	{"versions", versions}, {"window_made", made},   {"window_refused", refused_creations}, {"window_limit", limited},
	{"window_many", many},  {"window_owned", owned}, {"window_lookers", lookers},           {0},
};
