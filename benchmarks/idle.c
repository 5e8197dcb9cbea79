/*
 * Two connected programs that have talked and then wait for each other in recv, poll or epoll_wait: what they, and other processes that are
 * named, use of the processor meanwhile. An observer reads it from /proc and uses no socket.
 */
#include "common.h"

#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define ROUND_TRIPS 20000
#define MOST_OTHERS 8

struct usage {
	unsigned long long voluntary, involuntary, cpu_ns;
};

static struct {
	pid_t other[MOST_OTHERS];
	int others;
} own;

static const struct argp_option options[] = {
	{"watch", 'W', "PID", 0, "watch this process too (the node service)", 0},
	{0},
};

static error_t parse(int key, char *argument, struct argp_state *state)
{
	if (key != 'W' || own.others == MOST_OTHERS)
		return ARGP_ERR_UNKNOWN;
	own.other[own.others++] = atoi(argument);
	return 0;
}

static FILE *open_task(pid_t pid, const char *task, const char *file)
{
	char path[64 + sizeof(((struct dirent *)0)->d_name)];

	snprintf(path, sizeof(path), "/proc/%d/task/%s/%s", (int)pid, task, file);
	return fopen(path, "r");
}

static void add_task(pid_t pid, const char *task, struct usage *usage)
{
	FILE *status = open_task(pid, task, "status"), *schedule = open_task(pid, task, "schedstat");
	unsigned long long value;
	char line[256];

	while (status && fgets(line, sizeof(line), status)) {
		if (sscanf(line, "voluntary_ctxt_switches: %llu", &value) == 1)
			usage->voluntary += value;
		if (sscanf(line, "nonvoluntary_ctxt_switches: %llu", &value) == 1)
			usage->involuntary += value;
	}
	if (schedule && fscanf(schedule, "%llu", &value) == 1)
		usage->cpu_ns += value;
	if (!status || !schedule)
		bench_fail("/proc");
	fclose(status);
	fclose(schedule);
}

static struct usage usage_of(pid_t pid)
{
	struct usage usage = {0};
	struct dirent *entry;
	char path[64];
	DIR *tasks;

	snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	tasks = opendir(path);
	if (!tasks)
		bench_fail(path);
	while ((entry = readdir(tasks)) != NULL) {
		if (entry->d_name[0] != '.')
			add_task(pid, entry->d_name, &usage);
	}
	closedir(tasks);
	return usage;
}

static void serve(struct bench *bench, int listener)
{
	struct bench_waiter waiter;
	char byte;

	bench_waiter_open(&waiter, bench->wait, bench_accept(bench, listener));
	while (bench_receive(&waiter, &byte, 1))
		bench_send(waiter.fd, &byte, 1);
}

/* Talks, says so, and waits for what never comes. */
static void wait_for_ever(struct bench *bench, int ready)
{
	struct bench_waiter waiter;
	char byte = 'i';

	bench_waiter_open(&waiter, bench->wait, bench_connect(bench));
	for (int i = 0; i < ROUND_TRIPS; i++) {
		bench_send(waiter.fd, &byte, 1);
		if (!bench_receive(&waiter, &byte, 1))
			exit(1);
	}
	if (write(ready, &byte, 1) != 1)
		exit(1);
	bench_receive(&waiter, &byte, 1);
	exit(1);
}

static json_t *difference(const char *name, struct usage before, struct usage after)
{
	return json_pack("{ss, sI, sI, sf}", "process", name, "voluntary", (json_int_t)(after.voluntary - before.voluntary), "involuntary",
			 (json_int_t)(after.involuntary - before.involuntary), "cpu_us", (double)(after.cpu_ns - before.cpu_ns) / 1000);
}

static json_t *watch(struct bench *bench, pid_t client)
{
	pid_t pid[2 + MOST_OTHERS] = {client, bench->server};
	struct usage before[2 + MOST_OTHERS];
	json_t *results = json_array();
	int count = 2 + own.others;

	memcpy(pid + 2, own.other, sizeof(own.other));
	usleep(300000); /* the last answer has been taken, budgets have run down */
	for (int i = 0; i < count; i++)
		before[i] = usage_of(pid[i]);
	usleep((useconds_t)(bench->seconds * 1e6));
	for (int i = 0; i < count; i++)
		json_array_append_new(results, difference(i == 0 ? "client" : i == 1 ? "server" : "watched", before[i], usage_of(pid[i])));
	return results;
}

int main(int argc, char **argv)
{
	static const struct argp argp = {options, parse, NULL, NULL, NULL, NULL, NULL};
	struct bench bench = {.seconds = 2};
	json_t *results;
	int ready[2];
	pid_t client;
	char byte;

	bench_parse(&bench, argc, argv, "What two idle, connected programs use.", &argp);
	bench_start(&bench, serve);
	if (pipe(ready))
		bench_fail("pipe");
	client = fork();
	if (client < 0)
		bench_fail("fork");
	if (!client) {
		alarm(bench.limit);
		close(ready[0]);
		wait_for_ever(&bench, ready[1]);
	}
	close(ready[1]);
	if (read(ready[0], &byte, 1) != 1) {
		fprintf(stderr, "the client did not get ready\n");
		return 1;
	}
	results = watch(&bench, client);
	kill(client, SIGKILL);
	kill(bench.server, SIGKILL);
	while (wait(NULL) > 0)
		;
	bench_print(&bench, json_pack("{ss, ss, sf, so}", "benchmark", "idle", "wait", bench_wait_name(bench.wait), "seconds",
				      bench.seconds, "processes", results));
	return 0;
}
