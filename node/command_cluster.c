/* causeway cluster: options, and what its commands have in common. */
#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "command_cluster.h"

#define WHY_SIZE 200

enum { NEEDS_NONE, SHOW = 1, INIT = 2, INVITE = 4, JOIN = 8, LEAVE = 16, EXPORT = 32, REMOVE = 64, ALL = 127 };
enum { CHANGES = INIT | INVITE | JOIN | LEAVE | EXPORT | REMOVE };

static int show(struct cw_cluster_task *task);

static const struct {
	const char *name;
	unsigned which;
	int (*run)(struct cw_cluster_task *task);
	const char *arguments, *text;
	int least, most; /* arguments */
} commands[] = {
	{"init", INIT, cw_cluster_init, "", "make a cluster, with this node as its first; the cluster's key stays here", 0, 0},
	{"invite", INVITE, cw_cluster_invite, "", "make an invitation, with which one node can join", 0, 0},
	{"join", JOIN, cw_cluster_join, "ADDRESS INVITATION | --file FILE", "become a node of a cluster", 0, 2},
	{"leave", LEAVE, cw_cluster_leave, "", "be no node of the cluster any more, and forget its keys", 0, 0},
	{"show", SHOW, show, "", "print the map: which nodes there are, and where", 0, 0},
	{"export", EXPORT, cw_cluster_export, "NAME --file FILE", "add a node that can't reach this one, and write what it joins with", 1,
	 1},
	{"remove", REMOVE, cw_cluster_remove, "NAME", "take a node out of the cluster; its key is refused from then on", 1, 1},
};

static const struct {
	const char *name, *argument, *text;
	unsigned which;
	int key;
} options[] = {
	{"directory", "DIR", "the node's keys and map (default: the service's, else " CW_CLUSTER_DIRECTORY ")", ALL, 'd'},
	{"service", "NAME", "tell the node service of that name", ALL, 's'},
	{"name", "NAME", "this node's name (default: the machine's)", INIT | JOIN, 'n'},
	{"cluster", "NAME", "the cluster's name (default: cluster)", INIT, 'c'},
	{"address", "ADDRESS", "where the node is reached, ADDRESS[:PORT]; may be given several times, best first", INIT | JOIN | EXPORT,
	 'a'},
	{"for", "SECONDS", "how long the invitation is good (default: 3600)", INVITE, 'f'},
	{"file", "FILE", "of export: a secret", JOIN | EXPORT, 'o'},
	{"force", NULL, "even where nobody else can be told, or the cluster's key is lost", LEAVE, 'x'},
	{"dry-run", NULL, "look whether it would do, and change nothing", CHANGES, 'y'},
	{"json", NULL, "print JSON", ALL, 'j'},
	{"help", NULL, "print this text", ALL, 'h'},
};

#define COMMANDS CW_ARRAY_SIZE(commands)
#define OPTIONS  CW_ARRAY_SIZE(options)

static void print_options(unsigned which)
{
	for (size_t i = 0; i < OPTIONS; i++) {
		char left[40];

		if (!(options[i].which & which))
			continue;
		snprintf(left, sizeof(left), "--%s%s%s", options[i].name, options[i].argument ? " " : "",
			 options[i].argument ? options[i].argument : "");
		printf("  %-20s%s\n", left, options[i].text);
	}
}

static void print_help(void)
{
	printf("Usage: causeway cluster COMMAND [OPTIONS]\nNodes whose services know and trust each other.\n\n");
	for (size_t i = 0; i < COMMANDS; i++)
		printf("  %-10s%s\n", commands[i].name, commands[i].text);
	printf("\n`causeway cluster COMMAND --help` tells more; so does causeway-cluster(1).\n");
}

static bool take_seconds(struct cw_cluster_task *task, const char *text)
{
	char *end;
	long seconds = strtol(text, &end, 10);

	if (*text < '0' || *text > '9' || *end || seconds > 10 * 365 * 86400l) {
		cw_complain("--for takes seconds, not %s", text);
		return false;
	}
	task->seconds = seconds;
	return true;
}

static bool take_address(struct cw_cluster_task *task, const char *text)
{
	if (task->addresses == CW_CLUSTER_ADDRESSES)
		cw_complain("a node has at most %d addresses", CW_CLUSTER_ADDRESSES);
	else if (!cw_address_read(text, &task->address[task->addresses]))
		cw_complain("--address takes an address as 10.0.0.1, 10.0.0.1:7929, fd00::1 or [fd00::1]:7929, not %s", text);
	else
		return ++task->addresses;
	return false;
}

static bool take(struct cw_cluster_task *task, int key, const char *value)
{
	switch (key) {
	case 'd':
		if (strlen(value) >= sizeof(task->directory) || !*value) {
			cw_complain("--directory takes a directory");
			return false;
		}
		strcpy(task->directory, value);
		return true;
	case 's':
		task->service = value;
		return true;
	case 'n':
		task->name = value;
		return true;
	case 'c':
		task->cluster = value;
		return true;
	case 'a':
		return take_address(task, value);
	case 'f':
		return take_seconds(task, value);
	case 'o':
		task->file = value;
		return true;
	case 'x':
		return task->force = true;
	case 'y':
		return task->dry_run = true;
	default:
		return task->json = true;
	}
}

/* -1: wrong, and said so; 1: help was printed. */
static int read_options(struct cw_cluster_task *task, size_t command, int argc, char **argv)
{
	struct option table[OPTIONS + 1] = {0};
	size_t known = 0;
	int key;

	for (size_t i = 0; i < OPTIONS; i++)
		if (options[i].which & commands[command].which)
			table[known++] = (struct option){.name = options[i].name,
							 .has_arg = options[i].argument ? required_argument : no_argument,
							 .val = options[i].key};
	while ((key = getopt_long(argc, argv, "", table, NULL)) != -1) {
		if (key == 'h') {
			printf("Usage: causeway cluster %s %s [OPTIONS]\n%c%s.\n\n", commands[command].name, commands[command].arguments,
			       commands[command].text[0] - 'a' + 'A', commands[command].text + 1);
			print_options(commands[command].which);
			return 1;
		}
		if (key == '?' || !take(task, key, optarg))
			return -1;
	}
	task->argument = argv + optind;
	task->arguments = argc - optind;
	if (task->arguments >= commands[command].least && task->arguments <= commands[command].most)
		return 0;
	cw_complain("cluster %s takes %s", commands[command].name,
		    *commands[command].arguments ? commands[command].arguments : "no argument");
	return -1;
}

/* ---- the service ---- */

/* One that was named and isn't there has its own directory, which nobody can tell. */
static bool find_directory(struct cw_cluster_task *task)
{
	const char *named = task->service ? task->service : getenv("CAUSEWAY_SERVICE");
	char why[WHY_SIZE];
	json_t *json = cw_ask_service(task->service, CW_NODES, why);
	const char *said = json_string_value(json_object_get(json, "directory"));

	if (named && *named && (!said || !*said)) {
		cw_complain("%s: give --directory", json ? "the service was started without --cluster" : why);
		json_decref(json);
		return false;
	}
	snprintf(task->directory, sizeof(task->directory), "%s", said && *said ? said : CW_CLUSTER_DIRECTORY);
	json_decref(json);
	return true;
}

void cw_cluster_tell_service(const struct cw_cluster_task *task)
{
	char why[WHY_SIZE] = "";
	json_t *json = cw_ask_service(task->service, CW_CLUSTER, why);
	const char *theirs = json_string_value(json_object_get(json, "directory")),
		   *wrong = json_string_value(json_object_get(json, "why"));

	if (!json)
		cw_complain("%s. It takes effect when one is started with --cluster %s", why, task->directory);
	else if (!theirs || strcmp(theirs, task->directory) != 0)
		cw_complain("the node service doesn't use this directory: start it with --cluster %s", task->directory);
	else if (wrong)
		cw_complain("the node service: %s", wrong);
	json_decref(json);
}

/* ---- what they have in common ---- */

int cw_cluster_done(const struct cw_cluster_task *task, json_t *json, const char *format, ...)
{
	va_list arguments;

	if (task->json) {
		json_object_set_new(json, "done", json_boolean(!task->dry_run));
		cw_print_json(json);
	} else {
		va_start(arguments, format);
		vprintf(format, arguments);
		va_end(arguments);
		printf("%s\n", task->dry_run ? " (not done: --dry-run)" : "");
	}
	json_decref(json);
	return 0;
}

bool cw_cluster_open(const struct cw_cluster_task *task, struct cw_cluster_files *files)
{
	char why[CW_WHY];

	*files = (struct cw_cluster_files){.lock = -1};
	if (!cw_file_exists(task->directory, CW_FILE_NODE)) {
		cw_complain("this node is in no cluster: there is no %s/" CW_FILE_NODE, task->directory);
		return false;
	}
	files->lock = cw_directory_lock(task->directory, true, why);
	if (files->lock >= 0 && cw_identity_load(task->directory, &files->identity, why) == 0)
		files->map = cw_map_load(task->directory, files->identity.cluster, why);
	if (files->map)
		return true;
	cw_complain("%s", why);
	cw_cluster_close(files);
	return false;
}

void cw_cluster_close(struct cw_cluster_files *files)
{
	cw_map_free(files->map);
	if (files->lock >= 0)
		close(files->lock);
	explicit_bzero(files, sizeof(*files));
	files->lock = -1;
}

bool cw_cluster_key(const struct cw_cluster_task *task, const struct cw_cluster_files *files, unsigned char secret[64])
{
	char why[CW_WHY];

	if (!cw_file_exists(task->directory, CW_FILE_CLUSTER))
		cw_complain("the cluster's key is not on this node: do it where `causeway cluster init` was done");
	else if (cw_cluster_key_load(task->directory, files->identity.cluster, secret, why) < 0)
		cw_complain("%s", why);
	else
		return true;
	return false;
}

bool cw_cluster_name(struct cw_cluster_task *task, char name[CW_CLUSTER_NAME])
{
	struct utsname machine;
	const char *wanted = task->name;

	if (!wanted && uname(&machine) == 0)
		wanted = machine.nodename;
	if (!cw_name_is_fine(wanted)) {
		cw_complain("%s is no name for a node: letters, digits, '-', '.' and '_', less than %d of them; give another with --name",
			    wanted ? wanted : "that", CW_CLUSTER_NAME);
		return false;
	}
	strcpy(name, wanted);
	return true;
}

json_t *cw_cluster_addresses(const struct sockaddr_storage *address, uint32_t addresses)
{
	json_t *list = json_array();
	char text[CW_ADDRESS_TEXT];

	for (uint32_t i = 0; i < addresses; i++) {
		cw_address_write(&address[i], text);
		json_array_append_new(list, json_string(text));
	}
	return list;
}

static int show(struct cw_cluster_task *task)
{
	struct cw_cluster_files files;
	json_t *json;

	if (!cw_cluster_open(task, &files))
		return 1;
	json = cw_map_json(files.map);
	json_object_set_new(json, "this", json_string(files.identity.name));
	json_object_set_new(json, "directory", json_string(task->directory));
	json_object_set_new(json, "key_is_here", json_boolean(cw_file_exists(task->directory, CW_FILE_CLUSTER)));
	if (task->json) {
		cw_print_json(json);
	} else {
		printf("cluster %s, map %llu, %s%s\n", files.map->cluster_name, (unsigned long long)files.map->version, task->directory,
		       cw_file_exists(task->directory, CW_FILE_CLUSTER) ? " (with the cluster's key)" : "");
		for (uint32_t i = 0; i < files.map->nodes; i++) {
			const struct cw_map_node *node = &files.map->node[i];
			char text[CW_ADDRESS_TEXT];

			printf("%c %-20s", memcmp(node->id, files.identity.id, CW_ID) == 0 ? '*' : ' ', node->name);
			for (uint32_t k = 0; k < node->addresses; k++) {
				cw_address_write(&node->address[k], text);
				printf(" %s", text);
			}
			printf("\n");
		}
	}
	json_decref(json);
	cw_cluster_close(&files);
	return 0;
}

int cw_command_cluster(int argc, char **argv)
{
	struct cw_cluster_task task = {.seconds = 3600};
	size_t which = 0;
	int result;

	if (argc < 2 || strcmp(argv[1], "--help") == 0) {
		print_help();
		return argc < 2 ? 2 : 0;
	}
	while (which < COMMANDS && strcmp(argv[1], commands[which].name) != 0)
		which++;
	if (which == COMMANDS) {
		cw_complain("there is no command cluster %s: causeway cluster --help lists them", argv[1]);
		return 2;
	}
	result = read_options(&task, which, argc - 1, argv + 1);
	if (result)
		return result < 0 ? 2 : 0;
	if (!cw_noise_ready()) {
		cw_complain("libsodium can't work here");
		return 1;
	}
	task.command = commands[which].name;
	if (!*task.directory && !find_directory(&task))
		return 1;
	return commands[which].run(&task);
}
