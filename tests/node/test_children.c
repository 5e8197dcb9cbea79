/* Children of a run that have nothing to say to the service (sockets/children.h): all of them are counted. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "play_run.h"
#include "sockets/children.h"
#include "sockets/fork.h"
#include "sockets/service.h"
#include "transport/window/window.h"

static pid_t library_forks(void)
{
	pid_t child;

	cw_fork_prepare();
	child = fork();
	if (child)
		cw_fork_parent();
	else
		cw_fork_child();
	return child;
}

/* What a child counts: a socket of its own with 10 bytes, and the one that it has inherited with 1. */
static void count_some(void)
{
	struct cw_stream *stream = cw_stream_open(101, true, false);

	CW_COUNT(stream, bytes_kernel_in, 10);
	CW_COUNT(&cw_streams[0], bytes_kernel_in, 1);
}

static void wait_for_end_of(int fd)
{
	char byte;

	if (read(fd, &byte, 1) != 0)
		_exit(1);
}

enum end { BY_EXIT, CLOSED, BY_SIGNAL, BY_EXEC, AFTER_ITS_CHILD, LAST };

/* orphans: the end of its writing side is the test's word. */
static void be_child(enum end end, const struct service *service, const struct run *run, int orphans)
{
	count_some();
	switch (end) {
	case CLOSED:
		cw_stream_close(cw_stream_of(101), 101);
		_exit(0);
	case BY_SIGNAL:
		kill(getpid(), SIGKILL);
		_exit(1);
	case BY_EXEC:
		cw_children_executes();
		cw_children_executes(); /* the first failed */
		program_of_run(service, run->number);
		_exit(0);
	case AFTER_ITS_CHILD:
		if (library_forks() == 0) {
			count_some();
			_exit(0);
		}
		_exit(wait(NULL) > 0 ? 0 : 1);
	case LAST:
		prctl(PR_SET_PDEATHSIG, 0);
		wait_for_end_of(orphans);
		CW_COUNT(cw_stream_of(101), bytes_kernel_in, 100);
		_exit(0);
	default:
		_exit(0);
	}
}

/* Processes in the report: the parent, and 6 with the grandchild. Each child has its own socket and the parent's; the grandchild two and
 * one. */
START_TEST(children_are_counted_however_they_end)
{
	struct service service = service_start(NULL);
	struct run run = run_start(&service);
	int orphans[2];
	json_t *report;
	pid_t parent;

	ck_assert_int_eq(pipe2(orphans, O_CLOEXEC), 0);
	parent = fork();
	if (parent == 0) {
		close(orphans[1]);
		close(run.end);
		be_library(&service, &run);
		for (enum end end = BY_EXIT; end <= LAST; end++) {
			pid_t child = library_forks();

			if (child == 0)
				be_child(end, &service, &run, orphans[0]);
			if (end != LAST)
				waitpid(child, NULL, 0);
		}
		_exit(0);
	}
	ck_assert_int_eq(waitpid(parent, NULL, 0), parent);
	command_end(&run);
	usleep(400000); /* longer than the grace: the last child is still there */
	ck_assert(report_is_empty(&run));
	ck_assert_int_eq(service_status(&service, "counters.programs"), 2); /* the parent, and what was executed */
	close(orphans[0]);
	close(orphans[1]);
	report = await_report(&run);
	ck_assert_int_eq(value(report, "processes"), 8);
	ck_assert_int_eq(value(report, "sockets.made"), 1 + 6 * 2 + 3);
	ck_assert_int_eq(value(report, "reasons.inherited"), 6 + 2);
	ck_assert_int_eq(value(report, "bytes.kernel_in"), 7 * 11 + 100);
	json_decref(report);
	service_end(&service);
}
END_TEST

/* More than there are places, one after the other and at once: a dead child's place is another's, and who finds none registers. */
START_TEST(many_children_are_counted)
{
	struct service service = service_start(NULL);
	struct run run = run_start(&service);
	const int after = 3 * CW_CHILD_PLACES, at_once = CW_CHILD_PLACES + 40;
	json_t *report;
	pid_t parent;

	parent = fork();
	if (parent == 0) {
		int go[2];

		be_library(&service, &run);
		if (pipe2(go, O_CLOEXEC) < 0)
			_exit(1);
		for (int i = 0; i < after + at_once; i++) {
			pid_t child = library_forks();

			if (child == 0) {
				close(go[1]);
				count_some();
				if (i >= after)
					wait_for_end_of(go[0]);
				kill(getpid(), SIGKILL);
			}
			if (i < after)
				waitpid(child, NULL, 0);
		}
		close(go[1]);
		while (wait(NULL) > 0)
			;
		_exit(0);
	}
	ck_assert_int_eq(waitpid(parent, NULL, 0), parent);
	command_end(&run);
	report = await_report(&run);
	ck_assert_int_eq(value(report, "processes"), 1 + after + at_once);
	ck_assert_int_eq(value(report, "sockets.made"), 1 + 2 * (after + at_once));
	ck_assert_int_eq(value(report, "bytes.kernel_in"), 11 * (after + at_once));
	ck_assert_int_ge(service_status(&service, "counters.programs"), 1 + 40);
	ck_assert_int_lt(service_status(&service, "counters.programs"), at_once);
	json_decref(report);
	service_end(&service);
}
END_TEST

/* A child that registers later, here because it has more sockets than a place has room for, takes its counts along. */
START_TEST(a_child_that_registers_is_counted_once)
{
	struct service service = service_start(NULL);
	struct run run = run_start(&service);
	json_t *report;
	pid_t parent;

	parent = fork();
	if (parent == 0) {
		int status;

		be_library(&service, &run);
		for (int i = 0; i < 2; i++) {
			pid_t child = library_forks();

			if (child == 0) {
				count_some();
				for (int fd = 200; i == 0 && fd < 200 + (int)CW_CHILD_ENTRIES; fd++)
					CW_COUNT(cw_stream_open(fd, true, false), bytes_kernel_in, 1000);
				_exit(i == 0 && cw_service_descriptor() < 0);
			}
			if (waitpid(child, &status, 0) != child || status)
				_exit(1);
		}
		_exit(0);
	}
	{
		int status;

		ck_assert_int_eq(waitpid(parent, &status, 0), parent);
		ck_assert_int_eq(status, 0);
	}
	command_end(&run);
	report = await_report(&run);
	ck_assert_int_eq(value(report, "processes"), 3);
	ck_assert_int_eq(value(report, "sockets.made"), 1 + 2 * 2 + CW_CHILD_ENTRIES);
	ck_assert_int_eq(value(report, "bytes.kernel_in"), 2 * 11 + 1000 * (json_int_t)CW_CHILD_ENTRIES);
	json_decref(report);
	service_end(&service);
}
END_TEST

static int ask_for_children(const struct service *service, uint64_t run, struct cw_received *answer)
{
	struct cw_message question = cw_link_message(CW_CHILDREN);
	int fd = cw_link_connect(service->name);

	question.run.run = run;
	ck_assert_int_eq(cw_link_send(fd, &question, NULL, 0), 0);
	ck_assert(cw_link_answer(fd, CW_CHILDREN, answer, LIMIT_MS));
	return fd;
}

/* Whoever has the memory may write what he likes. */
START_TEST(nonsense_of_children_harms_nobody)
{
	struct service service = service_start(NULL);
	struct run run = run_start(&service);
	struct cw_message more[] = {cw_link_message(CW_HELLO), cw_link_message(CW_CHILDREN), cw_link_message(CW_OFFER)};
	struct cw_received answer = {0};
	struct cw_children_memory *memory;
	unsigned seed = 1;
	json_t *report;
	int fd;

	more[0].hello.run = more[1].run.run = run.number;
	close(ask_for_children(&service, run.number + 1000, &answer));
	ck_assert_uint_eq(answer.message.status, ESRCH);
	ck_assert_uint_eq(answer.fds, 0);
	fd = ask_for_children(&service, run.number, &answer);
	ck_assert_uint_eq(answer.message.status, 0);
	ck_assert_uint_eq(answer.fds, 1);
	memory = cw_window_map(answer.fd[0], sizeof(*memory), true);
	ck_assert_ptr_nonnull(memory);
	cw_received_close(&answer);
	for (unsigned i = 0; i < sizeof(*memory) / sizeof(int); i++)
		((int *)memory)[i] = rand_r(&seed);
	for (unsigned i = 0; i < CW_ARRAY_SIZE(more); i++)
		ck_assert_int_eq(cw_link_send(fd, &more[i], NULL, 0), 0);
	service_await(&service, "counters.misused", CW_ARRAY_SIZE(more));
	close(fd);
	command_end(&run);
	report = await_report(&run);
	ck_assert_int_gt(value(report, "processes"), 0);
	json_decref(report);
	service_end(&service);
}
END_TEST

TCase *children_tests(void)
{
	TCase *tests = tcase_create("children");

	tcase_set_timeout(tests, 60);
	tcase_add_test(tests, children_are_counted_however_they_end);
	tcase_add_test(tests, many_children_are_counted);
	tcase_add_test(tests, a_child_that_registers_is_counted_once);
	tcase_add_test(tests, nonsense_of_children_harms_nobody);
	return tests;
}
