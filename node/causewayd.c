/* causewayd, the node service: its options and its beginning. What it does is in service.h. */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "service.h"
#include "service_between.h"
#include "service_channel.h"
#include "sync/cpu.h"
#include "version.h"

struct cw_service service;

static struct cw_source signals = {.fd = -1};
static struct cw_timer idle;

enum {
#define X(name, argument, text, action) OPTION_##name,
#include "service_options.def"
#undef X
	OPTION_COUNT
};

static int complain(const char *format, const char *value)
{
	fprintf(stderr, "causewayd: ");
	fprintf(stderr, format, value);
	fprintf(stderr, "\n");
	return -1;
}

static int set_name(const char *name)
{
	struct sockaddr_un address;
	socklen_t length;

	if (strlen(name) >= sizeof(service.name) || !cw_link_address(name, &address, &length))
		return complain("the name %s is empty or too long", name);
	strcpy(service.name, name);
	return 0;
}

static int set_idle(const char *value)
{
	char *end;
	unsigned long seconds = strtoul(value, &end, 10);

	if (*value < '0' || *value > '9' || *end || seconds > 1000000)
		return complain("--idle-exit takes seconds, not %s", value);
	service.idle_ns = seconds * 1000000000ull;
	return 0;
}

static int set_bytes(const char *option, const char *value, uint64_t *bytes)
{
	static const char units[] = "KMGT";
	char *end;
	unsigned long long number = strtoull(value, &end, 10);
	const char *unit = *end ? strchr(units, *end) : NULL;
	unsigned shift = unit ? 10 * (unsigned)(unit - units + 1) : 0;

	if (*value < '0' || *value > '9' || (*end && (!unit || end[1])) || number > UINT64_MAX >> 1 >> shift) {
		fprintf(stderr, "causewayd: --%s takes bytes, or a number with K, M, G or T, not %s\n", option, value);
		return -1;
	}
	*bytes = number << shift;
	return 0;
}

static int set_huge_pages(void)
{
	service.huge_pages = true;
	return 0;
}

__attribute__((noreturn)) static int print_version(void)
{
	printf("causewayd %s, layout %u\n", CW_VERSION, CW_LAYOUT);
	exit(0);
}

static void dashed(char *to, size_t size, const char *name)
{
	size_t i;

	for (i = 0; name[i] && i < size - 1; i++)
		to[i] = name[i] == '_' ? '-' : name[i];
	to[i] = 0;
}

static const struct {
	const char *name, *argument, *text;
} texts[] = {
#define X(name, argument, text, action) {#name, argument, text},
#include "service_options.def"
#undef X
};

__attribute__((noreturn)) static int print_help(void)
{
	printf("Usage: causewayd [OPTIONS]\nThe node service of Causeway: finds connections with both ends on this node and gives them "
	       "shared "
	       "memory.\n\n");
	for (unsigned i = 0; i < OPTION_COUNT; i++) {
		char name[32], left[48];

		dashed(name, sizeof(name), texts[i].name);
		snprintf(left, sizeof(left), "--%s%s%s", name, texts[i].argument ? " " : "", texts[i].argument ? texts[i].argument : "");
		printf("  %-24s%s\n", left, texts[i].text);
	}
	exit(0);
}

static int apply(int which, const char *value)
{
	switch (which) {
#define X(name, argument, text, action)                                                                                                    \
	case OPTION_##name:                                                                                                                \
		return action;
#include "service_options.def"
#undef X
	default:
		return -1;
	}
}

static int read_options(int argc, char **argv)
{
	static char names[OPTION_COUNT][32];
	struct option table[OPTION_COUNT + 1] = {0};
	int which;

	for (unsigned i = 0; i < OPTION_COUNT; i++) {
		dashed(names[i], sizeof(names[i]), texts[i].name);
		table[i] = (struct option){.name = names[i], .has_arg = texts[i].argument ? required_argument : no_argument, .val = (int)i};
	}
	while ((which = getopt_long(argc, argv, "", table, NULL)) != -1)
		if (which == '?' || apply(which, optarg) < 0)
			return -1;
	return optind == argc ? 0 : complain("takes no arguments, but was given %s", argv[optind]);
}

static void preset(void)
{
	unsigned long long pages = (unsigned long long)sysconf(_SC_PHYS_PAGES), size = (unsigned long long)sysconf(_SC_PAGESIZE);
	uint64_t random = 0;

	/* 31 bits of chance, then a count: positive as a signed number, and not that of an instance before this one. */
	if (getrandom(&random, sizeof(random), 0) != sizeof(random))
		random = cw_monotonic_ns() * 2654435761u;
	service.instance = (random | 1) << 32 & INT64_MAX;
	service.started = cw_monotonic_ns();
	service.memory = pages * size / 4;
	service.user_memory = UINT64_MAX;
	service.node_page = -1;
	if (geteuid() == 0)
		strcpy(service.name, CW_SERVICE_SYSTEM);
	else
		snprintf(service.name, sizeof(service.name), CW_SERVICE_USER, geteuid());
}

static void raise_limits(void)
{
	struct rlimit files;

	if (getrlimit(RLIMIT_NOFILE, &files) < 0)
		return;
	files.rlim_cur = files.rlim_max;
	setrlimit(RLIMIT_NOFILE, &files);
}

static void signals_ready(struct cw_source *source, uint32_t events)
{
	struct signalfd_siginfo info;

	while (read(source->fd, &info, sizeof(info)) == sizeof(info))
		service.stopping = true;
}

static int take_signals(void)
{
	sigset_t wanted;

	sigemptyset(&wanted);
	sigaddset(&wanted, SIGTERM);
	sigaddset(&wanted, SIGINT);
	sigaddset(&wanted, SIGHUP);
	sigprocmask(SIG_BLOCK, &wanted, NULL);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGCHLD, SIG_IGN); /* children write reports and lists, and nobody waits for them */
	signals = (struct cw_source){.ready = signals_ready};
	signals.fd = signalfd(-1, &wanted, SFD_CLOEXEC | SFD_NONBLOCK);
	return signals.fd < 0 ? -1 : cw_loop_add(&signals, EPOLLIN);
}

/* The idle time begins anew whenever it has passed and somebody was there since. */
static void idle_expired(struct cw_timer *timer)
{
	uint64_t busy_until = cw_last_client(), now = cw_monotonic_ns();

	if (cw_accept_waiting() || now - busy_until < service.idle_ns)
		cw_timer_set(timer, now - busy_until < service.idle_ns ? service.idle_ns - (now - busy_until) : service.idle_ns);
	else
		service.stopping = true;
}

/* systemd's readiness protocol; nothing happens elsewhere. */
static void tell_manager(const char *text)
{
	const char *path = getenv("NOTIFY_SOCKET");
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd;

	if (!path || strlen(path) >= sizeof(address.sun_path))
		return;
	strcpy(address.sun_path, path);
	if (*path == '@')
		address.sun_path[0] = 0;
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return;
	sendto(fd, text, strlen(text), MSG_NOSIGNAL | MSG_DONTWAIT, (struct sockaddr *)&address,
	       (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path)));
	close(fd);
}

/* Another instance may serve the name: then there is nothing to do. If it belongs to somebody who is not to be believed, say so. */
static int name_is_taken(void)
{
	int fd = cw_link_connect(service.name);
	struct ucred owner = {.uid = (uid_t)-1};

	if (fd >= 0) {
		cw_link_peer(fd, &owner);
		close(fd);
	}
	if (owner.uid == 0 || owner.uid == geteuid())
		return 0;
	fprintf(stderr, "causewayd: the name %s is taken by a process of user %d: end it, or serve under another --name\n", service.name,
		(int)owner.uid);
	return 1;
}

int main(int argc, char **argv)
{
	preset();
	if (read_options(argc, argv) < 0)
		return 2;
	if (service.user_memory == UINT64_MAX)
		service.user_memory = service.memory / 2;
	raise_limits();
	umask(022);
	service.netns = cw_own_netns();
	if (cw_loop_begin() < 0 || take_signals() < 0 || cw_addresses_begin() < 0) {
		fprintf(stderr, "causewayd: can't start: %s\n", strerror(errno));
		return 1;
	}
	cw_place_begin();
	if (!cw_diag_begin())
		fprintf(stderr,
			"causewayd: this kernel's table of connections can't be asked (inet_diag): only connections between programs "
			"of one user are moved\n");
	if (cw_listen() < 0) {
		if (errno == EADDRINUSE)
			return name_is_taken();
		fprintf(stderr, "causewayd: can't serve the name %s: %s\n", service.name, strerror(errno));
		return 1;
	}
	cw_between_begin();
	if (!*cw_cluster.directory && strcmp(service.name, CW_SERVICE_SYSTEM) == 0)
		cw_cluster_set(CW_CLUSTER_DIRECTORY);
	cw_cluster_start(cw_cluster.directory); /* what is wrong was said; the programs of this node are served all the same */
	if (service.idle_ns) {
		idle.expired = idle_expired;
		cw_timer_set(&idle, service.idle_ns);
	}
	tell_manager("READY=1");
	cw_loop_run();
	cw_cluster_end();
	cw_runs_end();
	tell_manager("STOPPING=1");
	return 0;
}
