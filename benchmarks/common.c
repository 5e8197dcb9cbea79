#include "common.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static const char *const wait_names[] = {"recv", "poll", "epoll"};

static const struct argp_option options[] = {
	{"address", 'a', "IP", 0, "listen and connect at this address of this node (127.0.0.1)", 1},
	{"unix", 'u', NULL, 0, "use an AF_UNIX stream instead of TCP", 1},
	{"wait", 'w', "HOW", 0, "wait for bytes in recv, poll or epoll (recv)", 1},
	{"seconds", 's', "S", 0, "measure for so long", 1},
	{"congestion", 'c', "NAME", 0, "kernel TCP's congestion control (the machine's)", 1},
	{"nodelay", 'n', NULL, 0, "set TCP_NODELAY", 1},
	{"pin", 'p', NULL, 0, "client and server each on a processor of its own", 1},
	{"json", 'j', NULL, 0, "print JSON", 1},
	{"limit", 'l', "S", 0, "give up after so many seconds (60)", 1},
	{0},
};

static void parse_wait(struct bench *bench, const char *name, struct argp_state *state)
{
	for (size_t i = 0; i < sizeof(wait_names) / sizeof(wait_names[0]); i++) {
		if (strcmp(name, wait_names[i]))
			continue;
		bench->wait = (enum bench_wait)i;
		return;
	}
	argp_error(state, "%s is not recv, poll or epoll", name);
}

static error_t parse(int key, char *argument, struct argp_state *state)
{
	struct bench *bench = state->input;

	switch (key) {
	case 'a':
		bench->address = argument;
		break;
	case 'u':
		bench->unix_domain = true;
		break;
	case 'w':
		parse_wait(bench, argument, state);
		break;
	case 's':
		bench->seconds = atof(argument);
		if (!(bench->seconds > 0))
			argp_error(state, "%s is not a number of seconds", argument);
		break;
	case 'c':
		bench->congestion = argument;
		break;
	case 'n':
		bench->nodelay = true;
		break;
	case 'p':
		bench->pin = true;
		break;
	case 'j':
		bench->json = true;
		break;
	case 'l':
		bench->limit = (unsigned int)atoi(argument);
		break;
	case ARGP_KEY_INIT:
		if (state->child_inputs)
			state->child_inputs[0] = bench;
		break;
	default:
		return ARGP_ERR_UNKNOWN;
	}
	return 0;
}

void bench_parse(struct bench *bench, int argc, char **argv, const char *doc, const struct argp *own)
{
	const struct argp_child children[] = {{own, 0, NULL, 0}, {0}};
	const struct argp argp = {options, parse, NULL, doc, own ? children : NULL, NULL, NULL};

	if (!bench->address)
		bench->address = "127.0.0.1";
	if (!bench->limit)
		bench->limit = 60;
	argp_parse(&argp, argc, argv, 0, NULL, bench);
	alarm(bench->limit);
	signal(SIGPIPE, SIG_IGN);
}

size_t bench_parse_sizes(const char *text, size_t *sizes, size_t room, struct argp_state *state)
{
	size_t count = 0;

	for (char *end; *text; text = *end ? end + 1 : end) {
		unsigned long size = strtoul(text, &end, 0);

		if (end == text || (*end && *end != ',') || !size || size > 64 << 20 || count == room)
			argp_error(state, "%s: sizes are numbers of bytes with commas between", text);
		sizes[count++] = size;
	}
	return count;
}

void bench_fail(const char *what)
{
	perror(what);
	exit(1);
}

uint64_t bench_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

void bench_pin(struct bench *bench, int processor)
{
	static cpu_set_t all; /* what this program may use before it pins itself */
	int found = 0, last = -1;
	cpu_set_t one;

	if (!bench->pin || (!CPU_COUNT(&all) && sched_getaffinity(0, sizeof(all), &all)))
		return;
	for (int i = 0; i < CPU_SETSIZE; i++) {
		if (!CPU_ISSET(i, &all))
			continue;
		last = i;
		if (found++ == processor)
			break;
	}
	if (found <= processor)
		fprintf(stderr, "only %d processors: both ends share one\n", found);
	CPU_ZERO(&one);
	CPU_SET(last, &one);
	if (sched_setaffinity(0, sizeof(one), &one))
		bench_fail("sched_setaffinity");
}

static socklen_t name(struct bench *bench, struct sockaddr_storage *storage)
{
	struct sockaddr_un *local = (struct sockaddr_un *)storage;
	struct sockaddr_in *inet = (struct sockaddr_in *)storage;

	memset(storage, 0, sizeof(*storage));
	if (bench->unix_domain) {
		local->sun_family = AF_UNIX;
		memcpy(local->sun_path, bench->path, sizeof(bench->path));
		return offsetof(struct sockaddr_un, sun_path) + sizeof(bench->path);
	}
	inet->sin_family = AF_INET;
	inet->sin_port = htons((uint16_t)bench->port);
	if (inet_pton(AF_INET, bench->address, &inet->sin_addr) != 1) {
		fprintf(stderr, "%s is not an IPv4 address\n", bench->address);
		exit(1);
	}
	return sizeof(*inet);
}

static int prepared(struct bench *bench, int fd)
{
	int one = 1;

	if (fd < 0)
		bench_fail("socket");
	if (bench->unix_domain)
		return fd;
	if (bench->congestion && setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, bench->congestion, strlen(bench->congestion)))
		bench_fail("TCP_CONGESTION");
	if (bench->nodelay && setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)))
		bench_fail("TCP_NODELAY");
	return fd;
}

int bench_listen(struct bench *bench)
{
	int fd = prepared(bench, socket(bench->unix_domain ? AF_UNIX : AF_INET, SOCK_STREAM, 0));
	struct sockaddr_storage address;
	socklen_t length = name(bench, &address);

	if (bind(fd, (struct sockaddr *)&address, length) || listen(fd, 4096))
		bench_fail("listen");
	length = sizeof(address);
	if (!bench->unix_domain && !getsockname(fd, (struct sockaddr *)&address, &length))
		bench->port = ntohs(((struct sockaddr_in *)&address)->sin_port);
	return fd;
}

int bench_accept(struct bench *bench, int listener)
{
	int fd;

	do
		fd = accept(listener, NULL, NULL);
	while (fd < 0 && errno == EINTR);
	if (fd < 0)
		bench_fail("accept");
	return prepared(bench, fd);
}

int bench_connect(struct bench *bench)
{
	int fd = prepared(bench, socket(bench->unix_domain ? AF_UNIX : AF_INET, SOCK_STREAM, 0));
	struct sockaddr_storage address;
	socklen_t length = name(bench, &address);

	if (connect(fd, (struct sockaddr *)&address, length))
		bench_fail("connect");
	return fd;
}

void bench_start(struct bench *bench, void (*serve)(struct bench *bench, int listener))
{
	int ready[2], listener;

	snprintf(bench->path + 1, sizeof(bench->path) - 1, "bench/%d", (int)getpid());
	if (pipe(ready))
		bench_fail("pipe");
	bench->server = fork();
	if (bench->server < 0)
		bench_fail("fork");
	if (!bench->server) {
		close(ready[0]);
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		alarm(bench->limit);
		bench_pin(bench, 1);
		listener = bench_listen(bench);
		if (write(ready[1], &bench->port, sizeof(bench->port)) != sizeof(bench->port))
			_exit(1);
		close(ready[1]);
		serve(bench, listener);
		exit(0);
	}
	close(ready[1]);
	bench_pin(bench, 0);
	if (read(ready[0], &bench->port, sizeof(bench->port)) != sizeof(bench->port)) {
		fprintf(stderr, "the server did not start\n");
		exit(1);
	}
	close(ready[0]);
}

void *bench_shared(size_t size)
{
	void *shared = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (shared == MAP_FAILED)
		bench_fail("mmap");
	memset(shared, 0, size);
	return shared;
}

void bench_second(struct bench *bench, void (*run)(void *argument), void *argument)
{
	bench->server = fork();
	if (bench->server < 0)
		bench_fail("fork");
	if (!bench->server) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		alarm(bench->limit);
		bench_pin(bench, 1);
		run(argument);
		exit(0);
	}
	bench_pin(bench, 0);
}

void bench_end(struct bench *bench)
{
	int status;

	if (waitpid(bench->server, &status, 0) != bench->server)
		bench_fail("waitpid");
	if (status) {
		fprintf(stderr, "the server failed (status %#x)\n", status);
		exit(1);
	}
}

void bench_waiter_open(struct bench_waiter *waiter, enum bench_wait how, int fd)
{
	struct epoll_event event = {.events = EPOLLIN};

	*waiter = (struct bench_waiter){.how = how, .fd = fd, .set = -1};
	if (how != BENCH_EPOLL)
		return;
	waiter->set = epoll_create1(EPOLL_CLOEXEC);
	if (waiter->set < 0 || epoll_ctl(waiter->set, EPOLL_CTL_ADD, fd, &event))
		bench_fail("epoll");
}

void bench_waiter_close(struct bench_waiter *waiter)
{
	if (waiter->set >= 0)
		close(waiter->set);
	close(waiter->fd);
}

bool bench_receive(struct bench_waiter *waiter, void *buffer, size_t size)
{
	struct pollfd entry = {.fd = waiter->fd, .events = POLLIN};
	struct epoll_event event;
	size_t done = 0;

	while (done < size) {
		ssize_t got;

		if (waiter->how == BENCH_POLL && poll(&entry, 1, -1) != 1)
			bench_fail("poll");
		if (waiter->how == BENCH_EPOLL && epoll_wait(waiter->set, &event, 1, -1) != 1)
			bench_fail("epoll_wait");
		got = recv(waiter->fd, (char *)buffer + done, size - done, 0);
		if (got < 0)
			bench_fail("recv");
		if (!got && done)
			bench_fail("recv: the stream ended inside a message");
		if (!got)
			return false;
		done += (size_t)got;
	}
	return true;
}

void bench_send(int fd, const void *buffer, size_t size)
{
	for (size_t done = 0; done < size;) {
		ssize_t sent = send(fd, (const char *)buffer + done, size - done, 0);

		if (sent < 0)
			bench_fail("send");
		done += (size_t)sent;
	}
}

static int ascending(const void *left, const void *right)
{
	double a = *(const double *)left, b = *(const double *)right;

	return (a > b) - (a < b);
}

double bench_quantile(double *values, size_t count, double quantile)
{
	qsort(values, count, sizeof(*values), ascending);
	return count ? values[(size_t)(quantile * (double)(count - 1) + 0.5)] : 0;
}

const char *bench_wait_name(enum bench_wait wait)
{
	return wait_names[wait];
}

static void print_text(const char *prefix, const char *key, json_t *value)
{
	char path[128], index[24];

	snprintf(path, sizeof(path), "%s%s%s", prefix, *prefix ? "." : "", key);
	for (void *item = json_object_iter(value); item; item = json_object_iter_next(value, item))
		print_text(path, json_object_iter_key(item), json_object_iter_value(item));
	for (size_t i = 0; i < json_array_size(value); i++) {
		snprintf(index, sizeof(index), "%zu", i);
		print_text(path, index, json_array_get(value, i));
	}
	if (json_is_string(value))
		printf("%-32s %s\n", path, json_string_value(value));
	else if (json_is_number(value))
		printf("%-32s %.10g\n", path, json_number_value(value));
}

void bench_print(const struct bench *bench, json_t *object)
{
	if (!object)
		bench_fail("json");
	if (bench->json)
		json_dumpf(object, stdout, JSON_REAL_PRECISION(10));
	else
		for (void *item = json_object_iter(object); item; item = json_object_iter_next(object, item))
			print_text("", json_object_iter_key(item), json_object_iter_value(item));
	if (bench->json)
		putchar('\n');
	json_decref(object);
	if (fflush(stdout))
		bench_fail("stdout");
}
