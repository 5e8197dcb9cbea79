/*
 * Runs: `causeway run --report`. A run is the process that asked for it (it becomes the command), every program that says hello with the
 * run's number, and every process that still has the number in its environment: a command that has just forked, or that has not loaded
 * the library yet, must not be missed. When none of them is left, the report is written.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "service.h"
#include "totals.h"

#define GRACE_NS      100000000ull
#define LOOK_AGAIN_NS 30000000
#define MOST_PIDS     100000
#define MOST_RUNS     1024 /* half of them for a user who doesn't own the service */
#define MOST_SEARCHES 5    /* that failed: then what is known has to do */
#define ENVIRONMENT   (1u << 20)

struct run_pid {
	pid_t pid;
	UT_hash_handle hh;
};

struct cw_run {
	struct cw_source process; /* pidfd: of the command first, then of what was found to be left of the run; -1 none */
	struct cw_timer grace;
	uint64_t number;
	uid_t uid;
	int report;
	bool scanning;
	unsigned searches_failed;
	uint32_t programs; /* living */
	struct run_pid *pids;
	struct cw_program *keeper; /* who began it, while that connection lives */
	struct cw_totals totals;
	UT_hash_handle hh;
};

static struct cw_run *run_of_timer(struct cw_timer *timer)
{
	return (struct cw_run *)((char *)timer - offsetof(struct cw_run, grace));
}

static bool quiet(const struct cw_run *run)
{
	return run->process.fd < 0 && !run->programs && !run->scanning;
}

static void look_for_the_end(struct cw_run *run)
{
	if (quiet(run) && !run->grace.at)
		cw_timer_set(&run->grace, GRACE_NS);
}

static void process_ended(struct cw_source *source, uint32_t events)
{
	struct cw_run *run = (struct cw_run *)source;

	cw_loop_remove(source);
	close(source->fd);
	source->fd = -1;
	look_for_the_end(run);
}

static int watch(struct cw_run *run, pid_t pid)
{
	run->process.fd = (int)syscall(SYS_pidfd_open, pid, 0);
	run->process.ready = process_ended;
	if (run->process.fd >= 0 && cw_loop_add(&run->process, EPOLLIN) == 0)
		return 0;
	if (run->process.fd >= 0)
		close(run->process.fd);
	run->process.fd = -1;
	return -1;
}

/* ---- the report ---- */

static uint64_t write_report(int fd, void *argument)
{
	char *text = json_dumps(argument, JSON_INDENT(2));
	size_t length = text ? strlen(text) : 0, done = 0;

	if (text)
		text[length++] = '\n'; /* over the final 0 */
	while (done < length) {
		ssize_t put = write(fd, text + done, length - done);

		if (put < 0 && errno != EINTR)
			return 0;
		if (put > 0)
			done += (size_t)put;
	}
	return 1;
}

void cw_run_unkept(struct cw_program *keeper)
{
	if (keeper->keeps)
		keeper->keeps->keeper = NULL;
	keeper->keeps = NULL;
}

/* It is not needed: the report is being written. */
static void tell_keeper(const struct cw_run *run)
{
	struct cw_message message = cw_link_message(CW_RUN);

	message.run.run = run->number;
	if (run->keeper)
		cw_link_send(run->keeper->source.fd, &message, NULL, 0);
}

static void free_run(struct cw_run *run)
{
	struct run_pid *pid, *next;

	if (run->keeper)
		cw_run_unkept(run->keeper);
	HASH_ITER(hh, run->pids, pid, next)
	{
		HASH_DEL(run->pids, pid);
		free(pid);
	}
	if (run->process.fd >= 0) {
		cw_loop_remove(&run->process);
		close(run->process.fd);
	}
	cw_timer_stop(&run->grace);
	cw_close_of_user(run->uid, run->report); /* any file's close may have to wait for its file system */
	HASH_DEL(service.runs, run);
	free(run);
}

static void finish(struct cw_run *run, bool complete)
{
	json_t *report = cw_totals_json(&run->totals);
	int started;

	if (!complete)
		json_object_set_new(report, "incomplete", json_true());
	started = cw_worker_asked(run->uid, write_report, report, run->report, NULL, NULL);
	json_decref(report);
	if (started == 0)
		tell_keeper(run);
	if (started < 0 && !service.stopping)
		look_for_the_end(run); /* too much to do just now: later */
	else
		free_run(run);
}

/* ---- what is left of it ---- */

struct search {
	char wanted[48];
	uid_t uid;
};

static bool environment_has(const char *pid, const char *wanted)
{
	static char room[ENVIRONMENT];
	char path[300];
	size_t have = 0, length = strlen(wanted);
	ssize_t got;
	int fd;

	snprintf(path, sizeof(path), "/proc/%s/environ", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	while (have < sizeof(room) - 1 && (got = read(fd, room + have, sizeof(room) - 1 - have)) > 0)
		have += (size_t)got;
	close(fd);
	room[have] = 0;
	for (char *at = room; at < room + have; at += strlen(at) + 1)
		if (strncmp(at, wanted, length + 1) == 0)
			return true;
	return false;
}

static bool may_belong(int proc, const char *pid, uid_t uid)
{
	struct stat info;

	return *pid >= '0' && *pid <= '9' && (uid == 0 || (fstatat(proc, pid, &info, 0) == 0 && info.st_uid == uid));
}

/* 0: none; -1: it can't be told. */
static pid_t search_once(const struct search *search)
{
	DIR *proc = opendir("/proc");
	struct dirent *entry;
	pid_t found = 0;

	if (!proc)
		return -1;
	while (!found && (entry = readdir(proc)))
		if (may_belong(dirfd(proc), entry->d_name, search->uid) && environment_has(entry->d_name, search->wanted))
			found = (pid_t)atoi(entry->d_name);
	closedir(proc);
	return found;
}

/* The process and 1: none isn't a search that failed. */
static uint64_t search_processes(int fd, void *argument)
{
	struct timespec pause = {.tv_nsec = LOOK_AGAIN_NS};
	pid_t found = search_once(argument);

	if (!found) {
		/* In the middle of exec a process has no environment: it has one at the second look. */
		nanosleep(&pause, NULL);
		found = search_once(argument);
	}
	return (uint64_t)found + 1;
}

static void searched(void *context, uint64_t result)
{
	pid_t found = result ? (pid_t)(result - 1) : 0;
	uint64_t number = (uint64_t)(uintptr_t)context;
	struct cw_run *run;

	HASH_FIND(hh, service.runs, &number, sizeof(number), run);
	if (!run)
		return;
	run->scanning = false;
	if (found)
		watch(run, found);
	if (found || (!result && ++run->searches_failed < MOST_SEARCHES))
		look_for_the_end(run);
	else if (quiet(run))
		finish(run, result != 0);
}

static void grace_over(struct cw_timer *timer)
{
	struct cw_run *run = run_of_timer(timer);
	struct search search = {.uid = run->uid};

	if (!quiet(run))
		return;
	snprintf(search.wanted, sizeof(search.wanted), "CAUSEWAY_RUN=%llu", (unsigned long long)run->number);
	run->scanning = cw_worker_asked(run->uid, search_processes, &search, -1, searched, (void *)(uintptr_t)run->number) == 0;
	look_for_the_end(run); /* again, if there was no worker */
}

/* ---- its beginning, and its programs ---- */

static bool may_begin(const struct cw_program *sender)
{
	struct cw_run *run, *next;
	unsigned own = 0;

	if (cw_may_command(sender))
		return HASH_COUNT(service.runs) < MOST_RUNS;
	HASH_ITER(hh, service.runs, run, next)
	own += run->uid == sender->peer.uid;
	return HASH_COUNT(service.runs) < MOST_RUNS && own < MOST_RUNS / 2;
}

static int begin(struct cw_program *sender, int report, uint64_t *number)
{
	struct cw_run *run;

	if (!may_begin(sender))
		return EAGAIN;
	run = calloc(1, sizeof(*run));
	if (!run)
		return ENOMEM;
	if (watch(run, sender->peer.pid) < 0) {
		free(run);
		return ESRCH;
	}
	run->report = report;
	run->uid = sender->peer.uid;
	run->number = *number = cw_new_number();
	run->grace.expired = grace_over;
	cw_run_unkept(sender);
	run->keeper = sender;
	sender->keeps = run;
	HASH_ADD(hh, service.runs, number, sizeof(run->number), run);
	return 0;
}

void cw_run_begin(struct cw_program *sender, struct cw_received *received)
{
	struct cw_message answer = cw_link_message(CW_RUN);
	int error = EINVAL;

	if (!received->fds && !received->truncated) {
		cw_guest(sender);
		return;
	}
	if (received->fds == 1 && !received->truncated)
		error = begin(sender, received->fd[0], &answer.run.run);
	if (!error)
		received->fds = 0;
	answer.status = (uint32_t)error;
	cw_link_send(sender->source.fd, &answer, NULL, 0);
}

void cw_run_join(struct cw_program *program, uint64_t number)
{
	struct cw_run *run;

	HASH_FIND(hh, service.runs, &number, sizeof(number), run);
	if (!run || (program->peer.uid != run->uid && program->peer.uid != 0 && run->uid != 0))
		return;
	program->run = run;
	run->programs++;
	cw_timer_stop(&run->grace);
}

/* A process can be several programs, one after the other, by exec. */
static void count_process(struct cw_run *run, pid_t wanted)
{
	struct run_pid *pid;

	HASH_FIND(hh, run->pids, &wanted, sizeof(wanted), pid);
	if (pid)
		return;
	pid = HASH_COUNT(run->pids) < MOST_PIDS ? calloc(1, sizeof(*pid)) : NULL;
	if (pid) {
		pid->pid = wanted;
		HASH_ADD(hh, run->pids, pid, sizeof(pid->pid), pid);
	}
	run->totals.processes++;
}

static void count_program(struct cw_run *run, const struct cw_program *program)
{
	if (cw_program_silent(program))
		run->totals.processes++;
	else
		count_process(run, program->pid);
	cw_totals_add(&run->totals, program->book, CW_BOOK_ENTRIES, program->refused_memory);
}

static void count_children(struct cw_run *run, const struct cw_children_memory *children)
{
	cw_children_add(&run->totals, children);
	for (uint32_t i = 0; i < cw_children_executed(&children->head); i++)
		count_process(run, (pid_t)atomic_load_explicit(&children->head.executed_pid[i], memory_order_relaxed));
}

void cw_run_leave(struct cw_program *program)
{
	struct cw_run *run = program->run;

	if (!run)
		return;
	program->run = NULL;
	run->programs--;
	if (program->children)
		count_children(run, program->children);
	else
		count_program(run, program);
	look_for_the_end(run);
}

uint32_t cw_runs_count(void)
{
	return HASH_COUNT(service.runs);
}

/* The service ends before the runs do: what is known by now is better than nothing. */
void cw_runs_end(void)
{
	struct cw_program *program, *next_program;
	struct cw_run *run, *next_run;

	DL_FOREACH_SAFE(service.all, program, next_program)
	cw_run_leave(program);
	HASH_ITER(hh, service.runs, run, next_run)
	finish(run, false);
}
