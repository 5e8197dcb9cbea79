#include <dlfcn.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <gnu/libc-version.h>
#include <hwloc.h>
#include <link.h>
#include <linux/membarrier.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "command.h"
#include "sockets/policy.h"
#include "version.h"

#define NETNS_COOKIE 71 /* SO_NETNS_COOKIE, of Linux 5.14 */

__attribute__((format(printf, 3, 4))) static void found(struct cw_check *check, enum cw_finding finding, const char *format, ...)
{
	va_list arguments;

	check->finding = finding;
	va_start(arguments, format);
	vsnprintf(check->text, sizeof(check->text), format, arguments);
	va_end(arguments);
}

__attribute__((format(printf, 2, 3))) static void advise(struct cw_check *check, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(check->advice, sizeof(check->advice), format, arguments);
	va_end(arguments);
}

static bool read_first_line(const char *path, char *line, size_t size)
{
	FILE *file = fopen(path, "re");
	bool fine = file && fgets(line, (int)size, file);

	if (file)
		fclose(file);
	if (fine)
		line[strcspn(line, "\n")] = 0;
	return fine;
}

static void kernel(struct cw_check *check, const struct cw_asking *asking)
{
	struct utsname name;
	uint64_t cookie;
	socklen_t length = sizeof(cookie);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	bool cookies = fd >= 0 && getsockopt(fd, SOL_SOCKET, NETNS_COOKIE, &cookie, &length) == 0;

	if (fd >= 0)
		close(fd);
	uname(&name);
	found(check, cookies ? CW_FINE : CW_MISSING, "Linux %s on %s%s", name.release, name.machine,
	      cookies ? "" : ": its sockets don't tell their network namespace, so two ends can't be matched");
	if (!cookies)
		advise(check, "use Linux 5.14 or later");
}

static void library(struct cw_check *check, const struct cw_asking *asking)
{
	char path[4096];

	if (!cw_find_library(path, sizeof(path))) {
		found(check, CW_MISSING, "libcauseway.so is neither beside causeway nor in ../lib");
		advise(check, "install it there (make install), or name it in CAUSEWAY_LIBRARY");
	} else if (strpbrk(path, " :")) {
		found(check, CW_MISSING, "%.200s has a blank or colon in its path, which LD_PRELOAD can't have", path);
		advise(check, "install elsewhere");
	} else {
		found(check, CW_FINE, "%.250s", path);
	}
}

static bool known_size(void *table)
{
	Dl_info info;
	const ElfW(Sym) *symbol = NULL;

	return dladdr1(table, &info, (void **)&symbol, RTLD_DL_SYMENT) && symbol && symbol->st_size == 21 * sizeof(void *);
}

/* The same look that the library takes before it hooks them (remap/stdio.c). */
static bool streams_can_be_hooked(void)
{
	void **narrow = dlsym(RTLD_DEFAULT, "_IO_file_jumps"), **wide = dlsym(RTLD_DEFAULT, "_IO_wfile_jumps");
	void *known = dlsym(RTLD_DEFAULT, "_IO_file_read");

	return narrow && wide && known && known_size(narrow) && known_size(wide) && narrow[14] == known && wide[14] == known;
}

static void c_library(struct cw_check *check, const struct cw_asking *asking)
{
	bool fine = streams_can_be_hooked();

	found(check, fine ? CW_FINE : CW_MISSING, "glibc %s, its streams can%s be hooked", gnu_get_libc_version(), fine ? "" : "not");
	if (!fine)
		advise(check, "programs' connections stay on kernel TCP (reason no_stdio): use glibc 2.28 to 2.41, or report this version");
}

static void service(struct cw_check *check, const struct cw_asking *asking)
{
	char name[100], why[200] = "", daemon[4096];
	int fd = cw_service_find(asking->service, name, why);
	json_t *status = fd >= 0 ? cw_ask(fd, CW_STATUS, why) : NULL;
	const char *version = json_string_value(json_object_get(status, "version"));

	if (fd >= 0)
		close(fd);
	if (status && version) {
		bool same = strcmp(version, CW_VERSION) == 0;

		found(check, same ? CW_FINE : CW_NOTE, "%s, version %s, process %d", name, version,
		      (int)json_integer_value(json_object_get(status, "pid")));
		if (!same)
			advise(check, "this command is version %s: stop the service (causeway stop) and start it again", CW_VERSION);
	} else if (fd >= 0) {
		found(check, CW_MISSING, "%s: %s", name, why);
		advise(check, "end it, and start one of version %s", CW_VERSION);
	} else if (cw_find_daemon(daemon, sizeof(daemon))) {
		found(check, CW_NOTE, "%s", why);
		advise(check, "none needed: causeway run starts one. For all users: systemctl enable --now causewayd");
	} else {
		found(check, CW_MISSING, "%s, and causewayd is neither beside causeway nor in ../sbin", why);
		advise(check, "install it there (make install)");
	}
	json_decref(status);
}

static void policy(struct cw_check *check, const struct cw_asking *asking)
{
	const char *file = getenv("CAUSEWAY_CONFIG");
	struct cw_policy read;

	if (!file || !*file)
		file = CW_POLICY_FILE;
	if (cw_policy_read(&read, NULL, NULL, environ) < 0) {
		found(check, CW_MISSING, "%s", read.error);
		advise(check, "correct it; until then connections stay on kernel TCP");
	} else if (!read.number[CW_OPTION_move]) {
		found(check, CW_NOTE, "moving is switched off (move = no)");
		advise(check, "set move = yes in %.100s, or unset CAUSEWAY_MOVE", file);
	} else {
		found(check, CW_FINE, "%.200s%s", file, access(file, R_OK) == 0 ? "" : " is not there: everything has its default");
	}
}

static void processors(struct cw_check *check, const struct cw_asking *asking)
{
	cpu_set_t set;
	int count = sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set) : 1;

	found(check, count > 1 ? CW_FINE : CW_NOTE, "%d to run on", count);
	if (count < 2)
		advise(check, "give programs two or more: with one, a program that looks for bytes keeps its peer from sending them, so it "
			      "sleeps");
}

static void memory_files(struct cw_check *check, const struct cw_asking *asking)
{
	int fd = memfd_create("causeway doctor", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	bool fine = fd >= 0 && ftruncate(fd, 4096) == 0 &&
		    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL) == 0;

	found(check, fine ? CW_FINE : CW_MISSING, fine ? "memfd with seals" : "memfd_create or its seals: %s", strerror(errno));
	if (!fine)
		advise(check, "use Linux 5.1 or later, and a sandbox that allows memfd_create");
	if (fd >= 0)
		close(fd);
}

static void barriers(struct cw_check *check, const struct cw_asking *asking)
{
	long commands = syscall(SYS_membarrier, MEMBARRIER_CMD_QUERY, 0, 0);
	bool fine = commands > 0 && commands & MEMBARRIER_CMD_GLOBAL_EXPEDITED;

	found(check, fine ? CW_FINE : CW_NOTE, fine ? "membarrier, expedited" : "no expedited membarrier: fences are used instead");
}

static void huge_pages(struct cw_check *check, const struct cw_asking *asking)
{
	char line[200], *begin, *end;

	if (!read_first_line("/sys/kernel/mm/transparent_hugepage/shmem_enabled", line, sizeof(line)) || !(begin = strchr(line, '[')) ||
	    !(end = strchr(begin, ']'))) {
		found(check, CW_NOTE, "none for shared memory");
		return;
	}
	*end = 0;
	begin++;
	found(check, CW_NOTE, "for shared memory: %s", begin);
	if (strcmp(begin, "never") == 0 || strcmp(begin, "deny") == 0)
		advise(check,
		       "not needed; to try them: echo advise > /sys/kernel/mm/transparent_hugepage/shmem_enabled, causewayd --huge-pages");
	else
		check->finding = CW_FINE;
}

static void numa(struct cw_check *check, const struct cw_asking *asking)
{
	hwloc_topology_t topology;
	int nodes = 1;

	if (hwloc_topology_init(&topology) == 0) {
		if (hwloc_topology_load(topology) == 0)
			nodes = hwloc_get_nbobjs_by_type(topology, HWLOC_OBJ_NUMANODE);
		hwloc_topology_destroy(topology);
	}
	found(check, CW_FINE, "%d memory node%s%s", nodes, nodes == 1 ? "" : "s", nodes > 1 ? ": rings are placed at their readers'" : "");
}

static void congestion_control(struct cw_check *check, const struct cw_asking *asking)
{
	char line[64];

	if (!read_first_line("/proc/sys/net/ipv4/tcp_congestion_control", line, sizeof(line))) {
		found(check, CW_NOTE, "kernel TCP's congestion control is not known");
		return;
	}
	found(check, strcmp(line, "bbr") == 0 ? CW_NOTE : CW_FINE, "kernel TCP uses %s", line);
	if (check->finding == CW_NOTE)
		advise(check, "for connections that stay on this node's kernel TCP cubic is several times faster");
}

static void descriptors(struct cw_check *check, const struct cw_asking *asking)
{
	struct rlimit limit = {0};

	getrlimit(RLIMIT_NOFILE, &limit);
	found(check, limit.rlim_max < 4096 ? CW_NOTE : CW_FINE, "limit %llu, can be raised to %llu", (unsigned long long)limit.rlim_cur,
	      (unsigned long long)limit.rlim_max);
	if (check->finding == CW_NOTE)
		advise(check, "the service needs one for each program and each pair of programs: raise the hard limit (ulimit -Hn)");
}

static void sandbox(struct cw_check *check, const struct cw_asking *asking)
{
	FILE *file = fopen("/proc/self/status", "re");
	char line[256];
	int seccomp = 0, no_new_privileges = 0, scope = 0;

	while (file && fgets(line, sizeof(line), file)) {
		sscanf(line, "Seccomp: %d", &seccomp);
		sscanf(line, "NoNewPrivs: %d", &no_new_privileges);
	}
	if (file)
		fclose(file);
	if (read_first_line("/proc/sys/kernel/yama/ptrace_scope", line, sizeof(line)))
		scope = atoi(line);
	found(check, seccomp ? CW_NOTE : CW_FINE, "seccomp %s, no_new_privs %d, ptrace_scope %d", seccomp ? "filters this process" : "off",
	      no_new_privileges, scope);
	if (seccomp)
		advise(check, "if connections stay on kernel TCP, let the filter pass memfd_create, futex, sendmsg and recvmsg on AF_UNIX");
}

static void connection_table(struct cw_check *check, const struct cw_asking *asking)
{
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, 4 /* NETLINK_SOCK_DIAG */);

	found(check, fd >= 0 ? CW_FINE : CW_NOTE, fd >= 0 ? "sock_diag" : "sock_diag can't be asked: %s", strerror(errno));
	if (fd >= 0)
		close(fd);
	else
		advise(check, "load inet_diag and tcp_diag: without them only connections between programs of one user move");
}

const struct cw_named_check cw_checks[] = {
	{"kernel", kernel},
	{"memory files", memory_files},
	{"connections", connection_table},
	{"C library", c_library},
	{"library", library},
	{"service", service},
	{"policy", policy},
	{"processors", processors},
	{"membarrier", barriers},
	{"memory nodes", numa},
	{"huge pages", huge_pages},
	{"descriptors", descriptors},
	{"congestion", congestion_control},
	{"sandbox", sandbox},
};

const size_t cw_checks_count = CW_ARRAY_SIZE(cw_checks);
