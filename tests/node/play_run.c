#include "play_run.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sockets/service.h"

struct run run_start(const struct service *service)
{
	struct run run = {.path = "/tmp/causeway-test-XXXXXX"};
	int report = mkstemp(run.path), numbers[2], ends[2];

	ck_assert_int_ge(report, 0);
	ck_assert_int_eq(pipe2(numbers, O_CLOEXEC), 0);
	ck_assert_int_eq(pipe2(ends, O_CLOEXEC), 0);
	run.command = fork();
	if (run.command == 0) {
		struct cw_message question = cw_link_message(CW_RUN);
		struct cw_received answer = {0};
		int fd = cw_link_connect(service->name);
		char byte;

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(ends[1]);
		if (cw_link_send(fd, &question, &report, 1) < 0 || !cw_link_answer(fd, CW_RUN, &answer, LIMIT_MS))
			_exit(1);
		close(fd);
		if (write(numbers[1], &answer.message.run.run, sizeof(uint64_t)) != sizeof(uint64_t))
			_exit(1);
		_exit(read(ends[0], &byte, 1) == 0 ? 0 : 1);
	}
	close(report);
	close(ends[0]);
	close(numbers[1]);
	ck_assert_int_eq(read(numbers[0], &run.number, sizeof(run.number)), sizeof(run.number));
	close(numbers[0]);
	run.end = ends[1];
	ck_assert_uint_ne(run.number, 0);
	return run;
}

void command_end(struct run *run)
{
	int status;

	close(run->end);
	ck_assert_int_eq(waitpid(run->command, &status, 0), run->command);
	ck_assert_int_eq(status, 0);
}

static bool is_written(void *argument)
{
	const struct run *run = argument;
	json_t *json = json_load_file(run->path, 0, NULL);
	bool whole = json != NULL;

	json_decref(json);
	return whole;
}

json_t *await_report(struct run *run)
{
	json_t *json;

	await(is_written, run, "the report");
	json = json_load_file(run->path, 0, NULL);
	unlink(run->path);
	return json;
}

json_int_t value(const json_t *json, const char *path)
{
	char copy[64], *rest = copy, *part;

	snprintf(copy, sizeof(copy), "%s", path);
	while ((part = strsep(&rest, ".")))
		json = json_object_get(json, part);
	ck_assert_msg(json_is_integer(json), "no %s in the report", path);
	return json_integer_value(json);
}

bool report_is_empty(const struct run *run)
{
	struct stat info;

	return stat(run->path, &info) == 0 && info.st_size == 0;
}

struct cw_stream *be_library(const struct service *service, const struct run *run)
{
	struct cw_stream *stream;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	cw_service_start(service->name, run->number);
	if (!cw_service_register() || !(stream = cw_stream_open(100, true, false)))
		_exit(1);
	return stream;
}
