/* causeway run: set the scene, and become the command. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "command.h"
#include "program.h"
#include "sockets/policy.h"

#define NAME_BYTES 40
#define ANSWER_MS  2000

static const struct setting {
	const char *name, *argument, *text;
} settings[] = {
#define X(name, kind, preset, low, high, argument, text) {#name, argument, text},
#include "sockets/options.def"
#undef X
};

static const struct {
	const char *name, *argument, *text;
	char key;
} others[] = {
#define X(name, key, argument, text) {#name, argument, text, key},
#include "run_options.def"
#undef X
};

#define SETTINGS CW_ARRAY_SIZE(settings)
#define OTHERS   CW_ARRAY_SIZE(others)

struct run {
	const char *report, *service;
	bool verbose, given_up, raw_calls, explain, json, preloaded;
};

static void option_name(char to[NAME_BYTES], const char *name)
{
	size_t i;

	for (i = 0; name[i] && i < NAME_BYTES - 1; i++)
		to[i] = name[i] == '_' ? '-' : name[i];
	to[i] = 0;
}

static void variable_name(char to[NAME_BYTES], const char *name)
{
	size_t at = (size_t)snprintf(to, NAME_BYTES, "CAUSEWAY_");

	for (; *name && at < NAME_BYTES - 1; name++)
		to[at++] = *name >= 'a' && *name <= 'z' ? (char)(*name - 'a' + 'A') : *name;
	to[at] = 0;
}

static void print_option(const char *table_name, const char *argument, char between, const char *text)
{
	char left[80], name[NAME_BYTES];

	option_name(name, table_name);
	snprintf(left, sizeof(left), "--%s%.1s%s", name, argument ? &between : "", argument ? argument : "");
	printf("  %-34s%s\n", left, text);
}

static void print_help(void)
{
	printf("Usage: causeway run [OPTIONS] [--] COMMAND [ARGUMENT...]\n"
	       "Run COMMAND in place; its TCP connections to programs of this node that are run so too move to shared memory.\n\n");
	for (size_t i = 0; i < OTHERS; i++)
		print_option(others[i].name, others[i].argument, ' ', others[i].text);
	printf("\nSettings, also in " CW_POLICY_FILE " (causeway.conf(5)):\n");
	for (size_t i = 0; i < SETTINGS; i++)
		print_option(settings[i].name, settings[i].argument, '=', settings[i].text);
}

/* A value from the command line is checked alone, so that a mistake is the caller's and nothing is run. */
static int set_variable(const struct setting *setting, const char *value)
{
	char name[NAME_BYTES], *text = NULL, *environment[3] = {(char[]){"CAUSEWAY_CONFIG=/dev/null"}, NULL, NULL};
	struct cw_policy policy;
	int result = -1;

	variable_name(name, setting->name);
	if (asprintf(&text, "%s=%s", name, value) < 0)
		return -1;
	environment[1] = text;
	if (cw_policy_read(&policy, NULL, NULL, environment) < 0)
		cw_complain("run: %s", strncmp(policy.error, "environment: ", 13) == 0 ? policy.error + 13 : policy.error);
	else
		result = setenv(name, value, 1);
	free(text);
	return result;
}

static int take_option(struct run *run, int key)
{
	switch (key) {
	case 'r':
		run->report = optarg;
		return 0;
	case 'n':
		return setenv("CAUSEWAY_MOVE", "no", 1);
	case 's':
		run->service = optarg;
		return 0;
	case 'v':
		run->verbose = true;
		return 0;
	case 'e':
		run->explain = true;
		return 0;
	case 'j':
		run->json = true;
		return 0;
	case 'h':
		print_help();
		exit(0);
	case '?':
		return -1;
	default:
		return set_variable(&settings[key - 256], optarg);
	}
}

static int read_options(struct run *run, int argc, char **argv)
{
	static char names[SETTINGS + OTHERS][NAME_BYTES];
	struct option table[SETTINGS + OTHERS + 1] = {0};
	int key;

	for (size_t i = 0; i < SETTINGS; i++) {
		option_name(names[i], settings[i].name);
		table[i] = (struct option){.name = names[i], .has_arg = required_argument, .val = 256 + (int)i};
	}
	for (size_t i = 0; i < OTHERS; i++) {
		option_name(names[SETTINGS + i], others[i].name);
		table[SETTINGS + i] = (struct option){
			.name = names[SETTINGS + i], .has_arg = others[i].argument ? required_argument : no_argument, .val = others[i].key};
	}
	/* glibc names argv[0] in its complaints */
	argv[0] = "causeway run";
	while ((key = getopt_long(argc, argv, "+v", table, NULL)) != -1)
		if (take_option(run, key) < 0)
			return -1;
	return 0;
}

static void check_policy(struct run *run)
{
	struct cw_policy policy;

	if (cw_policy_read(&policy, NULL, NULL, environ) == 0) {
		run->raw_calls = policy.number[CW_OPTION_raw_calls] && policy.number[CW_OPTION_move];
		return;
	}
	cw_complain("%s", policy.error);
	cw_complain("connections stay on kernel TCP");
	setenv("CAUSEWAY_MOVE", "no", 1);
	run->given_up = true;
}

static void report_to(const struct run *run, int service, const char *why)
{
	struct cw_message message = cw_link_message(CW_RUN);
	struct cw_received answer = {0};
	char number[32];
	int fd;

	if (service < 0) {
		cw_complain("no report will be written: %s", why);
		return;
	}
	fd = open(run->report, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOCTTY, 0666);
	if (fd < 0) {
		cw_complain("no report will be written: %s: %s", run->report, strerror(errno));
		return;
	}
	if (cw_link_send(service, &message, &fd, 1) < 0 || !cw_link_answer(service, CW_RUN, &answer, ANSWER_MS))
		cw_complain("no report will be written: the service does not answer: %s", strerror(errno));
	else if (answer.message.status)
		cw_complain("no report will be written: the service refused: %s", strerror((int)answer.message.status));
	else {
		cw_report_keep(service, fd);
		snprintf(number, sizeof(number), "%llu", (unsigned long long)answer.message.run.run);
		setenv("CAUSEWAY_RUN", number, 1);
	}
	close(fd);
}

/* This process becomes the command, and may connect to something much later: an idle service is to wait for its end. */
static void announce(int service)
{
	struct cw_message message = cw_link_message(CW_RUN);

	cw_link_send(service, &message, NULL, 0);
}

static void meet_service(struct run *run)
{
	char name[100], why[200] = "";
	int fd = cw_service_ensure(run->service, name, why);

	if (fd >= 0)
		setenv("CAUSEWAY_SERVICE", name, 1);
	else if (run->verbose)
		cw_complain("connections stay on kernel TCP: %s", why);
	if (run->report)
		report_to(run, fd, why);
	else if (fd >= 0)
		announce(fd);
	if (fd >= 0)
		close(fd);
}

static bool listed(const char *list, const char *path)
{
	size_t length = strlen(path);

	for (const char *at = list; (at = strstr(at, path)); at += length)
		if ((at == list || strchr(" :", at[-1])) && (!at[length] || strchr(" :", at[length])))
			return true;
	return false;
}

static void preload(struct run *run)
{
	const char *before = getenv("LD_PRELOAD");
	char path[4096], *value;

	if (!cw_find_library(path, sizeof(path))) {
		if (run->verbose)
			cw_complain(
				"connections stay on kernel TCP: libcauseway.so is neither beside causeway nor in ../lib (CAUSEWAY_LIBRARY "
				"names another place)");
		return;
	}
	if (strpbrk(path, " :")) {
		cw_complain(
			"connections stay on kernel TCP: the path %s has a blank or colon, which LD_PRELOAD can't have: install elsewhere",
			path);
		return;
	}
	run->preloaded = true;
	if (before && listed(before, path))
		return;
	/* Last: what other libraries do in a call's place they do with kernel TCP too, and what they call then is ours. */
	if (asprintf(&value, "%s%s%s", before ? before : "", before && *before ? ":" : "", path) < 0)
		return;
	setenv("LD_PRELOAD", value, 1);
	free(value);
}

/* A static program has no dynamic linker to load the library: the loader takes its place. */
static void load_static(const struct run *run, char **argv)
{
	struct cw_program program;
	char loader[4096] = "";

	if (!run->preloaded || !run->raw_calls)
		return;
	if (cw_find_loader(loader, sizeof(loader)))
		setenv("CAUSEWAY_LOADER", loader, 1); /* for what COMMAND executes */
	cw_program_read(&program, argv[0], true, false);
	if (program.way != CW_WAY_loader)
		return;
	if (!*loader) {
		if (run->verbose)
			cw_complain("connections stay on kernel TCP: causeway-load is not there, and %s is static", program.path);
		return;
	}
	setenv("CAUSEWAY_LOAD", program.path, 1);
	execv(loader, argv);
	unsetenv("CAUSEWAY_LOAD");
}

int cw_command_run(int argc, char **argv)
{
	struct run run = {0};
	int error;

	if (read_options(&run, argc, argv) < 0)
		return CW_EXIT_FAILED;
	if (optind >= argc) {
		cw_complain("run: no command given: causeway run [OPTIONS] [--] COMMAND [ARGUMENT...]");
		return CW_EXIT_FAILED;
	}
	check_policy(&run);
	if (run.explain)
		return cw_explain(argv[optind], run.raw_calls || run.given_up, run.json);
	meet_service(&run);
	preload(&run);
	load_static(&run, argv + optind);
	execvp(argv[optind], argv + optind);
	error = errno;
	cw_complain("%s: %s", argv[optind], strerror(error));
	return error == ENOENT ? CW_EXIT_NOT_FOUND : CW_EXIT_NOT_EXECUTABLE;
}
