#include "play.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "sync/cpu.h"
#include "transport/window/window.h"

static void pause_ms(long ms)
{
	struct timespec time = {.tv_nsec = ms * 1000000};

	nanosleep(&time, NULL);
}

void await(bool (*true_now)(void *), void *argument, const char *what)
{
	uint64_t end = cw_monotonic_ns() + LIMIT_MS * 1000000ull;

	while (!true_now(argument)) {
		ck_assert_msg(cw_monotonic_ns() < end, "waited too long for %s", what);
		pause_ms(2);
	}
}

/* ---- the service ---- */

static void be_service(const char *name, va_list options, const char *option)
{
	const char *path = getenv("CAUSEWAYD");
	char *arguments[32] = {"causewayd", "--name", (char *)(uintptr_t)name};
	int count = 3;

	for (; option && count < 31; option = va_arg(options, const char *))
		arguments[count++] = (char *)(uintptr_t)option;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	execv(path ? path : "build/causewayd", arguments);
	perror("causewayd");
	_exit(127);
}

struct service_name {
	const char *name;
	pid_t pid;
};

static bool answers(void *argument)
{
	const struct service_name *wanted = argument;
	struct ucred peer;
	int fd = cw_link_connect(wanted->name);
	bool right = fd >= 0 && cw_link_peer(fd, &peer) && peer.pid == wanted->pid;

	ck_assert_msg(waitpid(wanted->pid, NULL, WNOHANG) == 0, "causewayd ended instead of serving");
	if (fd >= 0)
		close(fd);
	return right;
}

static struct service start(const char *name, const char *option, va_list options)
{
	struct service service;
	struct service_name wanted;

	snprintf(service.name, sizeof(service.name), "%s", name);
	service.pid = fork();
	ck_assert_int_ge(service.pid, 0);
	if (service.pid == 0)
		be_service(service.name, options, option);
	wanted = (struct service_name){service.name, service.pid};
	await(answers, &wanted, "causewayd to serve");
	return service;
}

struct service service_start_named(const char *name, const char *option, ...)
{
	struct service service;
	va_list options;

	va_start(options, option);
	service = start(name, option, options);
	va_end(options);
	return service;
}

struct service service_start(const char *option, ...)
{
	struct service service;
	char name[64];
	va_list options;

	snprintf(name, sizeof(name), "causeway/test/%d", (int)getpid());
	va_start(options, option);
	service = start(name, option, options);
	va_end(options);
	return service;
}

static bool has_ended(void *argument)
{
	struct service *service = argument;
	int status;

	if (waitpid(service->pid, &status, WNOHANG) != service->pid)
		return false;
	ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "causewayd ended badly: wait status %#x", status);
	return true;
}

void service_end(struct service *service)
{
	kill(service->pid, SIGTERM);
	await(has_ended, service, "causewayd to end");
}

void service_kill(struct service *service)
{
	kill(service->pid, SIGKILL);
	waitpid(service->pid, NULL, 0);
}

json_t *service_ask(const struct service *service, enum cw_message_type type)
{
	struct cw_message question = cw_link_message(type);
	struct cw_received answer = {0};
	int fd = cw_link_connect(service->name);
	json_t *json;

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(cw_link_send(fd, &question, NULL, 0), 0);
	ck_assert(cw_link_answer(fd, type, &answer, LIMIT_MS));
	ck_assert_uint_eq(answer.message.status, 0);
	ck_assert_uint_eq(answer.fds, 1);
	ck_assert(lseek(answer.fd[0], 0, SEEK_SET) == 0);
	json = json_loadfd(answer.fd[0], 0, NULL);
	ck_assert_ptr_nonnull(json);
	cw_received_close(&answer);
	close(fd);
	return json;
}

json_int_t service_status(const struct service *service, const char *key)
{
	json_t *status = service_ask(service, CW_STATUS), *at = status;
	char path[64], *rest = path, *part;
	json_int_t value;

	snprintf(path, sizeof(path), "%s", key);
	while ((part = strsep(&rest, ".")))
		at = json_object_get(at, part);
	ck_assert_msg(json_is_integer(at), "status has no %s", key);
	value = json_integer_value(at);
	json_decref(status);
	return value;
}

struct wanted {
	const struct service *service;
	const char *key;
	json_int_t value;
};

static bool has_value(void *argument)
{
	const struct wanted *wanted = argument;

	return service_status(wanted->service, wanted->key) == wanted->value;
}

void service_await(const struct service *service, const char *key, json_int_t value)
{
	struct wanted wanted = {service, key, value};

	await(has_value, &wanted, key);
}

unsigned descriptors_of(pid_t pid)
{
	char path[64];
	unsigned count = 0;
	DIR *folder;

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	folder = opendir(path);
	ck_assert_ptr_nonnull(folder);
	while (readdir(folder))
		count++;
	closedir(folder);
	return count - 2;
}

/* ---- programs ---- */

static struct program hello(const struct service *service, uint64_t parent, uint64_t run)
{
	struct program program = {.fd = cw_link_connect(service->name)};
	struct cw_message message = cw_link_message(CW_HELLO);
	struct cw_received answer = {0};

	ck_assert_int_ge(program.fd, 0);
	message.hello.parent = parent;
	message.hello.run = run;
	message.hello.pid = (uint32_t)getpid();
	strcpy(message.hello.command, "player");
	ck_assert_int_eq(cw_link_send(program.fd, &message, NULL, 0), 0);
	ck_assert(cw_link_answer(program.fd, CW_WELCOME, &answer, LIMIT_MS));
	program.status = answer.message.status;
	if (program.status) {
		ck_assert_uint_eq(answer.fds, 0);
		return program;
	}
	ck_assert_uint_eq(answer.fds, 2);
	ck_assert_uint_eq(answer.message.welcome.book_size, sizeof(struct cw_book));
	ck_assert_uint_eq(answer.message.welcome.node_size, sizeof(struct cw_node_page));
	program.number = answer.message.welcome.number;
	program.inherited = answer.message.welcome.inherited;
	program.book = cw_window_map(answer.fd[0], sizeof(struct cw_book), true);
	program.node = cw_window_map(answer.fd[1], sizeof(struct cw_node_page), false);
	ck_assert_ptr_nonnull(program.book);
	ck_assert_ptr_nonnull(program.node);
	ck_assert_ptr_eq(mmap(NULL, sizeof(*program.node), PROT_READ | PROT_WRITE, MAP_SHARED, answer.fd[1], 0), MAP_FAILED);
	cw_received_close(&answer);
	return program;
}

struct program program_start(const struct service *service)
{
	return hello(service, 0, 0);
}

struct program program_of_run(const struct service *service, uint64_t run)
{
	return hello(service, 0, run);
}

struct program program_child(const struct service *service, const struct program *parent, uint64_t run)
{
	return hello(service, parent->number, run);
}

void program_end(struct program *program)
{
	if (program->book)
		munmap(program->book, sizeof(*program->book));
	if (program->node)
		munmap(program->node, sizeof(*program->node));
	close(program->fd);
	program->fd = -1;
}

/* ---- connections ---- */

static socklen_t address_of(const char *text, uint16_t port, struct sockaddr_storage *address)
{
	struct sockaddr_in *four = (struct sockaddr_in *)address;
	struct sockaddr_in6 *six = (struct sockaddr_in6 *)address;

	memset(address, 0, sizeof(*address));
	if (inet_pton(AF_INET, text, &four->sin_addr) == 1) {
		four->sin_family = AF_INET;
		four->sin_port = htons(port);
		return sizeof(*four);
	}
	ck_assert_int_eq(inet_pton(AF_INET6, text, &six->sin6_addr), 1);
	six->sin6_family = AF_INET6;
	six->sin6_port = htons(port);
	return sizeof(*six);
}

struct pair connection_between(const char *text, uint16_t from, uint16_t to)
{
	struct sockaddr_storage address;
	socklen_t length = address_of(text, to, &address);
	int one = 1, listener = socket(address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct pair pair = {.end[0] = socket(address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0)};

	ck_assert_int_ge(listener, 0);
	ck_assert_int_ge(pair.end[0], 0);
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	ck_assert_msg(bind(listener, (struct sockaddr *)&address, length) == 0, "bind %s: %s", text, strerror(errno));
	ck_assert_int_eq(listen(listener, 16), 0);
	length = sizeof(address);
	ck_assert_int_eq(getsockname(listener, (struct sockaddr *)&address, &length), 0);
	if (from) {
		struct sockaddr_storage own;
		socklen_t own_length = address_of(text, from, &own);

		setsockopt(pair.end[0], SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
		ck_assert_int_eq(bind(pair.end[0], (struct sockaddr *)&own, own_length), 0);
	}
	ck_assert_int_eq(connect(pair.end[0], (struct sockaddr *)&address, length), 0);
	pair.end[1] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	ck_assert_int_ge(pair.end[1], 0);
	close(listener);
	return pair;
}

struct pair connection(const char *address)
{
	return connection_between(address ? address : "127.0.0.1", 0, 0);
}

void connection_end(struct pair *pair)
{
	close(pair->end[0]);
	close(pair->end[1]);
}

/* ---- words ---- */

uint64_t cookie_of(int fd)
{
	uint64_t cookie = 0;
	socklen_t length = sizeof(cookie);

	ck_assert_int_eq(getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &length), 0);
	return cookie;
}

void offer_saying(const struct program *program, int fd, uint32_t index, uint64_t cookie)
{
	struct cw_message message = cw_link_message(CW_OFFER);
	struct pollfd room = {.fd = program->fd, .events = POLLOUT};

	message.offer.token.index = index;
	message.offer.token.generation = index + 1000;
	message.offer.cookie = cookie;
	ck_assert_int_eq(poll(&room, 1, LIMIT_MS), 1);
	ck_assert_msg(cw_link_send(program->fd, &message, &fd, 1) == 0, "offer: %s", strerror(errno));
}

void offer(const struct program *program, int fd, uint32_t index)
{
	offer_saying(program, fd, index, cookie_of(fd));
}

void withdraw(const struct program *program, uint32_t index)
{
	struct cw_message message = cw_link_message(CW_WITHDRAW);

	message.offer.token.index = index;
	message.offer.token.generation = index + 1000;
	ck_assert_int_eq(cw_link_send(program->fd, &message, NULL, 0), 0);
}

void release(const struct program *program, const struct grant *grant)
{
	struct cw_message message = cw_link_message(CW_RELEASE);

	message.grant = grant->message.grant;
	ck_assert_int_eq(cw_link_send(program->fd, &message, NULL, 0), 0);
}

struct grant await_grant(const struct program *program)
{
	struct cw_received received = {0};
	struct grant grant = {.memory = -1};

	ck_assert_msg(cw_link_answer(program->fd, CW_GRANT, &received, LIMIT_MS), "no grant came: %s", strerror(errno));
	ck_assert_uint_eq(received.message.status, 0);
	ck_assert_uint_le(received.fds, 1);
	grant.message = received.message;
	grant.came_with_memory = received.fds == 1;
	if (received.fds)
		grant.memory = received.fd[0];
	grant.arena = received.fds ? cw_arena_map(received.fd[0], grant.message.grant.arena) : cw_arena_find(grant.message.grant.arena);
	ck_assert_msg(grant.arena, "the arena can't be mapped: %s", strerror(errno));
	ck_assert_uint_eq(grant.arena->slots, grant.message.grant.slots);
	grant.slot = cw_arena_slot(grant.arena, grant.message.grant.slot);
	ck_assert_ptr_nonnull(grant.slot);
	return grant;
}

bool has_message(const struct service *service, const struct program *program)
{
	struct pollfd look = {.fd = program->fd, .events = POLLIN};

	/* One thread reads all connections in turns: when it has answered twice, what was sent before the first question has been read. */
	service_status(service, "slots");
	service_status(service, "slots");
	return poll(&look, 1, 0) > 0;
}

void move(const struct program *a, const struct program *b, const struct pair *pair, uint32_t index, struct grant grants[2])
{
	offer(a, pair->end[0], index);
	offer(b, pair->end[1], index);
	grants[0] = await_grant(a);
	grants[1] = await_grant(b);
}

void enter_moved(const struct program *program, uint32_t index, const struct grant *grant, int fd)
{
	struct cw_book_entry *entry = &program->book->entry[index];

	entry->fd = fd;
	entry->arena = grant->message.grant.arena;
	entry->slot = grant->message.grant.slot;
	entry->end = grant->message.grant.end;
	entry->kind = CW_ENTRY_MOVED;
	program->book->highest = index + 1;
}

size_t bytes_that_are(const unsigned char *ring, unsigned char wanted)
{
	size_t count = 0;

	for (size_t i = 0; i < CW_RING_MAX; i++)
		count += ring[i] == wanted;
	return count;
}

struct mail {
	const struct program *program;
	uint32_t mail;
};

static bool has_mail(void *argument)
{
	const struct mail *wanted = argument;

	return atomic_load(&wanted->program->book->mail) == wanted->mail;
}

/* The word is raised after the message has come. */
void await_mail(const struct program *program, uint32_t mail)
{
	struct mail wanted = {program, mail};

	await(has_mail, &wanted, "the mail word");
}

struct marks {
	_Atomic uint64_t *word;
	uint64_t marks;
};

static bool marked(void *argument)
{
	const struct marks *wanted = argument;

	return (atomic_load(wanted->word) & wanted->marks) == wanted->marks;
}

void await_marks(_Atomic uint64_t *word, uint64_t marks)
{
	struct marks wanted = {word, marks};

	await(marked, &wanted, "marks on a state word");
}

void check_serves(const struct service *service)
{
	struct program a = program_start(service), b = program_start(service);
	struct pair pair = connection(NULL);
	struct grant grants[2];

	move(&a, &b, &pair, 0, grants);
	close(grants[0].memory);
	close(grants[1].memory);
	connection_end(&pair);
	program_end(&a);
	program_end(&b);
}

struct shown {
	pid_t pid;
	unsigned most;
};

static bool few_descriptors(void *argument)
{
	const struct shown *shown = argument;

	return descriptors_of(shown->pid) <= shown->most;
}

void await_descriptors(const struct service *service, unsigned most)
{
	struct shown shown = {service->pid, most};

	await(few_descriptors, &shown, "the service to close what it was sent");
}

void skip_test(const char *test, const char *why)
{
	const char *file = getenv("CAUSEWAY_TEST_SKIPS");
	FILE *skips = file ? fopen(file, "ae") : NULL;

	if (skips) {
		fprintf(skips, "%s\t%s\n", test, why);
		fclose(skips);
	}
	fprintf(stderr, "skipped: %s\n", why);
	exit(0);
}
