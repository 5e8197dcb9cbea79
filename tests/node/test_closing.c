/* Descriptors whose close takes as long as somebody likes: the service serves on, and holds few of them. */
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "play.h"

/* One whose close takes until its peer has read all of it, or has gone. Returns how much that is. */
static size_t fill_and_linger(const struct pair *pair)
{
	struct linger linger = {.l_onoff = 1, .l_linger = 1000};
	static char bytes[1 << 16];
	int small = 1 << 14;
	size_t sent = 0;
	ssize_t got;

	ck_assert_int_eq(setsockopt(pair->end[0], SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)), 0);
	setsockopt(pair->end[0], SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
	setsockopt(pair->end[1], SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
	while ((got = send(pair->end[0], bytes, sizeof(bytes), MSG_DONTWAIT)) > 0)
		sent += (size_t)got;
	return sent;
}

static size_t read_to_the_end(int fd)
{
	static char bytes[1 << 16];
	size_t whole = 0;
	ssize_t got;

	while ((got = recv(fd, bytes, sizeof(bytes), 0)) > 0)
		whole += (size_t)got;
	ck_assert_int_eq(got, 0);
	return whole;
}

/* It reads the offers when ours are closed, so that its close is the last. */
static void stop(const struct service *service)
{
	int status;

	kill(service->pid, SIGSTOP);
	ck_assert_int_eq(waitpid(service->pid, &status, WUNTRACED), service->pid);
	ck_assert(WIFSTOPPED(status));
}

struct taken {
	const struct program *program;
	uint32_t offers;
};

static bool are_taken(void *argument)
{
	const struct taken *taken = argument;

	return atomic_load(&taken->program->book->offers) == taken->offers;
}

static bool some_are_taken(void *argument)
{
	return atomic_load(&((const struct taken *)argument)->program->book->offers) > 0;
}

#define LINGERING 60 /* as many as fit into its queue */

/* A program can make the service hold some of its sockets, and is not read any more until they are closed; nobody else notices, and nothing
 * is lost. */
START_TEST(lingering_sockets_are_bounded)
{
	struct service service = service_start(NULL);
	struct program a = program_start(&service);
	struct taken all = {&a, LINGERING};
	struct pair pairs[LINGERING];
	size_t sent[LINGERING];

	stop(&service);
	for (int i = 0; i < LINGERING; i++) {
		uint64_t cookie;

		pairs[i] = connection(NULL);
		cookie = cookie_of(pairs[i].end[0]);
		sent[i] = fill_and_linger(&pairs[i]);
		offer_saying(&a, pairs[i].end[0], 0, i % 2 ? cookie : 1);
		close(pairs[i].end[0]);
	}
	kill(service.pid, SIGCONT);
	service_await(&service, "counters.held", 1);
	check_serves(&service);
	ck_assert_uint_lt(atomic_load(&a.book->offers), LINGERING);
	ck_assert_uint_le(descriptors_of(service.pid), 20 + 32);
	for (int i = 0; i < LINGERING; i++) {
		ck_assert_uint_eq(read_to_the_end(pairs[i].end[1]), sent[i]);
		close(pairs[i].end[1]);
	}
	await(are_taken, &all, "the offers to be read");
	check_serves(&service);
	await_descriptors(&service, 20);
	service_end(&service);
}
END_TEST

#define UNWANTED 8

/* What a message carries beyond what is wanted is closed as the rest, not by the kernel in the middle of the receive. */
START_TEST(more_descriptors_than_are_wanted_stop_nobody)
{
	struct service service = service_start(NULL);
	struct program a = program_start(&service);
	struct cw_message message = cw_link_message(CW_OFFER);
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(sizeof(int) * UNWANTED)];
	} control = {.header = {.cmsg_len = CMSG_LEN(sizeof(int) * UNWANTED), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS}};
	struct iovec part = {&message, sizeof(message)};
	struct msghdr header = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control.room)};
	struct pair pairs[UNWANTED];
	int sent[UNWANTED];

	stop(&service);
	for (int i = 0; i < UNWANTED; i++) {
		pairs[i] = connection(NULL);
		fill_and_linger(&pairs[i]);
		sent[i] = pairs[i].end[0];
	}
	memcpy(CMSG_DATA(&control.header), sent, sizeof(sent));
	ck_assert_int_eq(sendmsg(a.fd, &header, 0), sizeof(message));
	for (int i = 0; i < UNWANTED; i++)
		close(sent[i]);
	kill(service.pid, SIGCONT);
	service_await(&service, "counters.misused", 1);
	check_serves(&service);
	for (int i = 0; i < UNWANTED; i++)
		close(pairs[i].end[1]);
	await_descriptors(&service, 20);
	service_end(&service);
}
END_TEST

static void put_into(int end, int fd)
{
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(sizeof(int))];
	} control = {.header = {.cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS}};
	struct iovec part = {"x", 1};
	struct msghdr header = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control.room)};

	memcpy(CMSG_DATA(&control.header), &fd, sizeof(fd));
	ck_assert_int_eq(sendmsg(end, &header, 0), 1);
}

#define SLOW 40

/* The same by what is in the queue of an AF_UNIX socket, for which its program waits. Another program that comes in between is served
 * before all of these have been waited for. */
START_TEST(slow_unix_sockets_stop_nobody)
{
	struct service service = service_start(NULL);
	struct program a = program_start(&service), b = program_start(&service);
	struct taken all = {&a, SLOW};
	struct pair slow[SLOW], moved = connection(NULL);

	stop(&service);
	for (int i = 0; i < SLOW; i++) {
		int ends[2];

		slow[i] = connection(NULL);
		fill_and_linger(&slow[i]);
		ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
		put_into(ends[1], slow[i].end[0]);
		close(slow[i].end[0]);
		offer(&a, ends[0], (uint32_t)i);
		close(ends[0]);
		close(ends[1]);
	}
	kill(service.pid, SIGCONT);
	await(some_are_taken, &all, "the first offer to be read");
	offer(&b, moved.end[0], 1);
	offer(&b, moved.end[1], 2);
	await_grant(&b);
	await_grant(&b);
	ck_assert_uint_lt(atomic_load(&a.book->offers), SLOW);
	for (int i = 0; i < SLOW; i++)
		close(slow[i].end[1]);
	await(are_taken, &all, "the offers to be read");
	check_serves(&service);
	program_end(&a);
	await_descriptors(&service, 20);
	service_end(&service);
}
END_TEST

#define PROGRAMS 2
#define SLOWLY   64 /* of all of them: each of a user's threads waits for one */

/* One whose close is over at once, but is none that may be done by the loop. */
static void offer_as_nobody(const struct service *service, const struct pair *pair)
{
	struct linger linger = {.l_onoff = 1, .l_linger = 1000};
	struct program program;

	if (setgid(65534) < 0 || setuid(65534) < 0)
		_exit(2);
	setsockopt(pair->end[0], SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
	program = program_start(service);
	offer(&program, pair->end[0], 0);
	close(pair->end[0]);
	while (!atomic_load(&program.book->offers))
		usleep(1000);
	_exit(0);
}

/* A user whose programs have a slow close for each thread that there is. */
START_TEST(one_user_cannot_have_all_that_close)
{
	struct service service;
	struct program program[PROGRAMS];
	struct pair pairs[SLOWLY], pair;
	struct pollfd end;
	int status;
	pid_t child;

	if (geteuid() != 0)
		skip("needs root, to become another user");
	service = service_start(NULL);
	for (int i = 0; i < PROGRAMS; i++)
		program[i] = program_start(&service);
	for (int i = 0; i < SLOWLY; i++) {
		struct taken taken = {&program[i % PROGRAMS], (uint32_t)(i / PROGRAMS + 1)};

		pairs[i] = connection(NULL);
		fill_and_linger(&pairs[i]);
		/* The last to close it is the service: it doesn't read the offer before we have. */
		kill(service.pid, SIGSTOP);
		ck_assert_int_eq(waitpid(service.pid, &status, WUNTRACED), service.pid);
		offer(&program[i % PROGRAMS], pairs[i].end[0], (uint32_t)i);
		close(pairs[i].end[0]);
		kill(service.pid, SIGCONT);
		await(are_taken, &taken, "the offer to be read");
	}
	pair = connection(NULL);
	child = fork();
	if (child == 0)
		offer_as_nobody(&service, &pair);
	close(pair.end[0]);
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert_int_eq(status, 0);
	end = (struct pollfd){.fd = pair.end[1], .events = POLLIN};
	ck_assert_int_eq(poll(&end, 1, LIMIT_MS), 1);
	ck_assert_uint_eq(read_to_the_end(pair.end[1]), 0);
	for (int i = 0; i < SLOWLY; i++)
		close(pairs[i].end[1]);
	service_end(&service);
}
END_TEST

TCase *closing_tests(void)
{
	TCase *tests = tcase_create("closing");

	tcase_set_timeout(tests, 120);
	tcase_add_test(tests, lingering_sockets_are_bounded);
	tcase_add_test(tests, more_descriptors_than_are_wanted_stop_nobody);
	tcase_add_test(tests, slow_unix_sockets_stop_nobody);
	tcase_add_test(tests, one_user_cannot_have_all_that_close);
	return tests;
}
