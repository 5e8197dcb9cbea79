/* Runs and their report, lists, and the life of the service itself. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "play_run.h"
#include "sockets/fork.h"
#include "sockets/service.h"

static void fill_book(struct cw_book *book)
{
	book->totals.made = 2; /* ended */
	book->totals.moved = 1;
	book->totals.reasons[CW_REASON_remote_host] = 1;
	book->totals.counter[CW_COUNT_bytes_ring_in] = 1000;
	book->totals.counter[CW_COUNT_messages_in] = 10;
	/* Three are open when the program dies. */
	book->entry[0].kind = CW_ENTRY_MOVED;
	book->entry[0].counter[CW_COUNT_bytes_ring_in] = 234;
	book->entry[0].counter[CW_COUNT_messages_out] = 5;
	book->entry[2].kind = CW_ENTRY_OPEN;
	book->entry[2].reason = CW_REASON_peer_absent;
	book->entry[2].counter[CW_COUNT_bytes_kernel_out] = 77;
	book->entry[3].kind = CW_ENTRY_OPEN; /* the program had no time to say why */
	book->highest = 4;
}

START_TEST(a_report_adds_up_what_ended_and_what_was_open)
{
	struct service service = service_start(NULL);
	struct run run = run_start(&service);
	struct program a = program_of_run(&service, run.number), stranger = program_start(&service);
	json_t *report;

	fill_book(a.book);
	stranger.book->totals.made = 1000;
	program_end(&stranger);
	program_end(&a);
	command_end(&run);
	report = await_report(&run);
	ck_assert_int_eq(value(report, "processes"), 1);
	ck_assert_int_eq(value(report, "sockets.made"), 5);
	ck_assert_int_eq(value(report, "sockets.moved"), 2);
	ck_assert_int_eq(value(report, "sockets.demoted"), 0);
	ck_assert_int_eq(value(report, "sockets.kernel"), 3);
	ck_assert_int_eq(value(report, "reasons.remote_host"), 1);
	ck_assert_int_eq(value(report, "reasons.peer_absent"), 1);
	ck_assert_int_eq(value(report, "reasons.short_lived"), 1);
	ck_assert_uint_eq(json_object_size(json_object_get(report, "reasons")), 3);
	ck_assert_int_eq(value(report, "bytes.ring_in"), 1234);
	ck_assert_int_eq(value(report, "bytes.ring_out"), 0);
	ck_assert_int_eq(value(report, "bytes.kernel_in"), 0);
	ck_assert_int_eq(value(report, "bytes.kernel_out"), 77);
	ck_assert_int_eq(value(report, "messages"), 15);
	for (const char *const *key = (const char *const[]){"marks", "doorbells", "wakeups", "sleeps", "contended", NULL}; *key; key++)
		ck_assert_int_eq(value(report, *key), 0);
	ck_assert_ptr_null(json_object_get(report, "incomplete"));
	json_decref(report);
	service_end(&service);
}
END_TEST

START_TEST(the_report_comes_when_the_last_has_ended)
{
	struct service service = service_start(NULL);
	struct run run = run_start(&service);
	struct program a = program_of_run(&service, run.number), child;
	json_t *report;

	child = program_child(&service, &a, run.number);
	command_end(&run);
	program_end(&a);
	service_await(&service, "programs", 1);
	usleep(400000); /* longer than the grace: the child is still there */
	ck_assert(report_is_empty(&run));
	program_end(&child);
	report = await_report(&run);
	ck_assert_int_eq(value(report, "processes"), 2);
	json_decref(report);
	service_end(&service);
}
END_TEST

/* A process that has the run's number, and has not said hello (yet). */
static pid_t straggler(const struct run *run)
{
	char number[64];
	pid_t pid = fork();

	if (pid == 0) {
		snprintf(number, sizeof(number), "CAUSEWAY_RUN=%llu", (unsigned long long)run->number);
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		execle("/bin/sleep", "sleep", "1000", NULL, (char *[]){number, NULL});
		_exit(127);
	}
	return pid;
}

/* It comes when the straggler has ended, and not before. */
static json_t *report_after(struct run *run, pid_t straggler)
{
	usleep(700000);
	ck_assert(report_is_empty(run));
	kill(straggler, SIGKILL);
	waitpid(straggler, NULL, 0);
	return await_report(run);
}

START_TEST(the_report_waits_for_stragglers)
{
	struct service service = service_start(NULL);
	struct run run = run_start(&service);
	pid_t pid = straggler(&run);
	json_t *report;

	usleep(100000);
	command_end(&run);
	report = report_after(&run, pid);
	ck_assert_int_eq(value(report, "processes"), 0);
	json_decref(report);
	service_end(&service);
}
END_TEST

/* Kills the next child of the service, which it has for work that could block. */
static void kill_worker(const struct service *service)
{
	unsigned long worker;
	int status;

	for (;;) {
		ck_assert_int_eq(waitpid(service->pid, &status, __WALL), service->pid);
		ck_assert(WIFSTOPPED(status));
		if (status >> 16 == PTRACE_EVENT_FORK || status >> 16 == PTRACE_EVENT_CLONE)
			break;
		ck_assert_int_eq(ptrace(PTRACE_CONT, service->pid, 0, status >> 16 ? 0 : WSTOPSIG(status)), 0);
	}
	ck_assert_int_eq(ptrace(PTRACE_GETEVENTMSG, service->pid, 0, &worker), 0);
	ck_assert_int_eq(kill((pid_t)worker, SIGKILL), 0);
	ck_assert_int_eq(ptrace(PTRACE_DETACH, service->pid, 0, 0), 0);
	ck_assert_int_eq(waitpid((pid_t)worker, &status, __WALL), (pid_t)worker);
}

/* A search for stragglers that was killed has found none, and that says nothing. */
START_TEST(a_killed_search_is_made_again)
{
	struct service service = service_start(NULL);
	struct run run = run_start(&service);
	pid_t pid = straggler(&run);
	json_t *report;

	usleep(100000);
	ck_assert_int_eq(ptrace(PTRACE_SEIZE, service.pid, 0, PTRACE_O_TRACEFORK | PTRACE_O_TRACECLONE), 0);
	command_end(&run);
	kill_worker(&service);
	report = report_after(&run, pid);
	ck_assert_ptr_null(json_object_get(report, "incomplete"));
	json_decref(report);
	service_end(&service);
}
END_TEST

START_TEST(connections_without_memory_are_reported_so)
{
	struct service service = service_start("--memory", "0", NULL);
	struct run run = run_start(&service);
	struct program a = program_of_run(&service, run.number), b = program_start(&service);
	struct pair pair = connection(NULL);
	json_t *report;

	offer(&a, pair.end[0], 0);
	offer(&b, pair.end[1], 0);
	ck_assert(!has_message(&service, &a));
	a.book->entry[0].kind = CW_ENTRY_OPEN;
	a.book->entry[0].reason = CW_REASON_peer_absent; /* which is all the program knows */
	a.book->highest = 1;
	program_end(&a);
	command_end(&run);
	report = await_report(&run);
	ck_assert_int_eq(value(report, "reasons.no_memory"), 1);
	ck_assert_ptr_null(json_object_get(json_object_get(report, "reasons"), "peer_absent"));
	json_decref(report);
	service_end(&service);
}
END_TEST

struct listed {
	const struct service *service;
	json_int_t pid;
};

static bool is_listed(void *argument)
{
	const struct listed *wanted = argument;
	json_t *list = service_ask(wanted->service, CW_LIST), *socket;
	bool found = false;
	size_t i;

	json_array_foreach(list, i, socket) found |= json_integer_value(json_object_get(socket, "pid")) == wanted->pid;
	json_decref(list);
	return found;
}

/* A child that may be given what its parent has offered takes over the connection that its parent made for it. It is known by its own
 * process id, and so it is one process in the report, also when it becomes another program. */
START_TEST(a_forked_child_says_who_it_is)
{
	struct service service = service_start(NULL);
	struct run run = run_start(&service);
	struct listed listed = {.service = &service};
	int ends[2], pids[2];
	json_t *report;
	pid_t parent;

	ck_assert_int_eq(pipe2(ends, O_CLOEXEC), 0);
	ck_assert_int_eq(pipe2(pids, O_CLOEXEC), 0);
	parent = fork();
	if (parent == 0) {
		pid_t child;
		char byte;

		close(ends[1]);
		atomic_store(&be_library(&service, &run)->phase, CW_OFFERED);
		cw_fork_prepare();
		child = fork();
		if (child) {
			cw_fork_parent();
			_exit(write(pids[1], &child, sizeof(child)) == sizeof(child) && waitpid(child, NULL, 0) == child ? 0 : 1);
		}
		cw_fork_child();
		if (read(ends[0], &byte, 1) != 0)
			_exit(1);
		close(cw_service_descriptor()); /* as exec does */
		program_of_run(&service, run.number);
		_exit(0);
	}
	ck_assert_int_eq(read(pids[0], &listed.pid, sizeof(pid_t)), sizeof(pid_t));
	await(is_listed, &listed, "the child in the list");
	close(ends[0]);
	close(ends[1]);
	ck_assert_int_eq(waitpid(parent, NULL, 0), parent);
	command_end(&run);
	report = await_report(&run);
	ck_assert_int_eq(value(report, "processes"), 2);
	ck_assert_int_eq(value(report, "sockets.made"), 2);
	json_decref(report);
	service_end(&service);
}
END_TEST

START_TEST(a_service_that_is_ended_reports_what_it_knows)
{
	struct service service = service_start(NULL);
	struct run run = run_start(&service);
	struct program a = program_of_run(&service, run.number);
	json_t *report;

	fill_book(a.book);
	service_end(&service);
	report = await_report(&run);
	ck_assert_int_eq(value(report, "sockets.moved"), 2);
	ck_assert(json_is_true(json_object_get(report, "incomplete")));
	json_decref(report);
	command_end(&run);
}
END_TEST

static const char *text_of(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	ck_assert_msg(text, "no %s in the list", key);
	return text;
}

static void end_text(int fd, bool remote, char text[64])
{
	struct sockaddr_in address;
	socklen_t length = sizeof(address);

	ck_assert_int_eq((remote ? getpeername : getsockname)(fd, (struct sockaddr *)&address, &length), 0);
	snprintf(text, 64, "127.0.0.1:%u", ntohs(address.sin_port));
}

START_TEST(a_moved_socket_is_listed)
{
	struct service service = service_start(NULL);
	struct program a = program_start(&service), b = program_start(&service);
	struct pair pair = connection(NULL);
	struct grant grants[2];
	struct cw_direction *out;
	char text[64];
	json_t *list, *socket;

	move(&a, &b, &pair, 0, grants);
	enter_moved(&a, 0, &grants[0], pair.end[0]);
	a.book->entry[0].counter[CW_COUNT_doorbells] = 3;
	out = &grants[0].slot->direction[grants[0].message.grant.end];
	out->widx = 500;
	out->roff = 100;
	out->state = CW_LIVE;
	list = service_ask(&service, CW_LIST);
	ck_assert_uint_eq(json_array_size(list), 1);
	socket = json_array_get(list, 0);
	ck_assert_int_eq(value(socket, "pid"), getpid());
	ck_assert_str_eq(text_of(socket, "command"), "player");
	ck_assert_str_eq(text_of(socket, "transport"), "shm");
	end_text(pair.end[0], false, text);
	ck_assert_str_eq(text_of(socket, "local"), text);
	end_text(pair.end[0], true, text);
	ck_assert_str_eq(text_of(socket, "remote"), text);
	ck_assert_int_eq(value(socket, "doorbells"), 3);
	ck_assert_int_eq(value(socket, "queue.out"), 400);
	ck_assert_int_eq(value(socket, "queue.in"), 0);
	ck_assert_str_eq(text_of(json_object_get(socket, "state"), "out"), "live");
	ck_assert_str_eq(text_of(json_object_get(socket, "state"), "in"), "taken");
	json_decref(list);
	service_end(&service);
}
END_TEST

START_TEST(a_kernel_socket_is_listed_with_its_reason)
{
	struct service service = service_start(NULL);
	struct program a = program_start(&service);
	struct pair pair = connection(NULL);
	char text[64];
	json_t *list, *socket;

	ck_assert_int_eq(send(pair.end[1], "abc", 3, 0), 3);
	a.book->entry[1].kind = CW_ENTRY_OPEN;
	a.book->entry[1].reason = CW_REASON_peer_absent;
	a.book->entry[1].fd = pair.end[0];
	a.book->highest = 2;
	list = service_ask(&service, CW_LIST);
	ck_assert_uint_eq(json_array_size(list), 1);
	socket = json_array_get(list, 0);
	ck_assert_str_eq(text_of(socket, "transport"), "tcp");
	ck_assert_str_eq(text_of(socket, "reason"), "peer_absent");
	end_text(pair.end[0], false, text);
	ck_assert_str_eq(text_of(socket, "local"), text);
	end_text(pair.end[0], true, text);
	ck_assert_str_eq(text_of(socket, "remote"), text);
	ck_assert_int_eq(value(socket, "queue.in"), 3);
	ck_assert_str_eq(text_of(json_object_get(socket, "state"), "tcp"), "ESTAB");
	json_decref(list);
	service_end(&service);
}
END_TEST

/* An entry that names a slot of somebody else shows nothing of it. */
START_TEST(a_list_shows_no_slot_that_is_not_held)
{
	struct service service = service_start(NULL);
	struct program a = program_start(&service), b = program_start(&service), liar = program_start(&service);
	struct pair pair = connection(NULL);
	struct grant grants[2];
	json_t *list;

	move(&a, &b, &pair, 0, grants);
	enter_moved(&liar, 0, &grants[0], -1);
	for (uint32_t i = 0; i < 4; i++)
		enter_moved(&a, i, &grants[0], -1);
	a.book->entry[0].slot = grants[0].message.grant.slots;
	a.book->entry[1].slot = UINT32_MAX / 4;
	a.book->entry[2].end = 1 - grants[0].message.grant.end;
	a.book->entry[3].end = 2;
	list = service_ask(&service, CW_LIST);
	ck_assert_uint_eq(json_array_size(list), 5);
	for (size_t i = 0; i < 5; i++)
		ck_assert_str_eq(text_of(json_array_get(list, i), "transport"), "tcp");
	json_decref(list);
	service_end(&service);
}
END_TEST

static int exit_status_of(const char *name)
{
	const char *path = getenv("CAUSEWAYD");
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		execl(path ? path : "build/causewayd", "causewayd", "--name", name, NULL);
		_exit(127);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFEXITED(status));
	return WEXITSTATUS(status);
}

START_TEST(a_second_instance_gives_way)
{
	struct service service = service_start(NULL);

	ck_assert_int_eq(exit_status_of(service.name), 0);
	ck_assert_int_eq(service_status(&service, "programs"), 0);
	service_end(&service);
}
END_TEST

static bool ended_well(void *argument)
{
	const struct service *service = argument;
	int status;

	if (waitpid(service->pid, &status, WNOHANG) != service->pid)
		return false;
	ck_assert_int_eq(status, 0);
	return true;
}

START_TEST(an_idle_instance_ends)
{
	struct service service = service_start("--idle-exit", "1", NULL);
	struct program a = program_start(&service);

	sleep(3);
	ck_assert_int_eq(waitpid(service.pid, NULL, WNOHANG), 0); /* not while somebody is there */
	program_end(&a);
	await(ended_well, &service, "an idle service to end");
}
END_TEST

/* `causeway run` says that it begins something, hangs up, and becomes a command that may need the service later. */
START_TEST(an_idle_instance_waits_for_who_asked_for_it)
{
	struct service service = service_start("--idle-exit", "1", NULL);
	pid_t guest = fork();

	if (guest == 0) {
		struct cw_message message = cw_link_message(CW_RUN);
		int fd = cw_link_connect(service.name);

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		cw_link_send(fd, &message, NULL, 0);
		close(fd);
		pause();
	}
	sleep(4);
	ck_assert_int_eq(waitpid(service.pid, NULL, WNOHANG), 0);
	kill(guest, SIGKILL);
	waitpid(guest, NULL, 0);
	await(ended_well, &service, "an idle service to end");
}
END_TEST

START_TEST(its_owner_stops_it)
{
	struct service service = service_start(NULL);
	struct cw_message stop = cw_link_message(CW_STOP);
	int fd = cw_link_connect(service.name);

	ck_assert_int_eq(cw_link_send(fd, &stop, NULL, 0), 0);
	await(ended_well, &service, "a stopped service to end");
	ck_assert_int_lt(cw_link_connect(service.name), 0);
}
END_TEST

TCase *run_tests(void)
{
	TCase *tests = tcase_create("run");

	tcase_set_timeout(tests, 60);
	tcase_add_test(tests, a_report_adds_up_what_ended_and_what_was_open);
	tcase_add_test(tests, the_report_comes_when_the_last_has_ended);
	tcase_add_test(tests, the_report_waits_for_stragglers);
	tcase_add_test(tests, a_killed_search_is_made_again);
	tcase_add_test(tests, connections_without_memory_are_reported_so);
	tcase_add_test(tests, a_forked_child_says_who_it_is);
	tcase_add_test(tests, a_service_that_is_ended_reports_what_it_knows);
	tcase_add_test(tests, a_moved_socket_is_listed);
	tcase_add_test(tests, a_kernel_socket_is_listed_with_its_reason);
	tcase_add_test(tests, a_list_shows_no_slot_that_is_not_held);
	tcase_add_test(tests, a_second_instance_gives_way);
	tcase_add_test(tests, an_idle_instance_ends);
	tcase_add_test(tests, an_idle_instance_waits_for_who_asked_for_it);
	tcase_add_test(tests, its_owner_stops_it);
	return tests;
}
