/* causeway windows COMMAND: windows with a name are made, granted, taken back, read, written and watched. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "command.h"

#define WHY_SIZE  200
#define ANSWER_MS 25000
#define PAUSE_NS  20000000 /* between two looks of watch */
#define WATCHED   64       /* bytes, where no length is given */

struct task {
	const char *service;
	int fd;
	bool json;
	uint64_t at, length, count; /* length and count 0: not given */
	bool bounded;
	struct cw_message question;
};

static int change(struct task *task);
static int do_read(struct task *task);
static int do_write(struct task *task);
static int watch(struct task *task);

enum { OF_CREATE = 1, OF_REMOVE = 2, OF_GRANT = 4, OF_REVOKE = 8, OF_READ = 16, OF_WRITE = 32, OF_WATCH = 64, OF_ALL = 127 };

static const struct command {
	const char *name, *arguments, *text;
	unsigned which;
	enum cw_window_act act;
	int needed, most; /* arguments */
	int (*run)(struct task *task);
} commands[] = {
	{"create", "NAME SIZE", "make a window of this node", OF_CREATE, CW_WINDOW_CREATE, 2, 2, change},
	{"remove", "NAME", "give its memory back", OF_REMOVE, CW_WINDOW_REMOVE, 1, 1, change},
	{"grant", "NAME NODE", "let another node read it", OF_GRANT, CW_WINDOW_GRANT, 2, 2, change},
	{"revoke", "NAME [NODE]", "take it from that node; of streams: from the programs here", OF_REVOKE, CW_WINDOW_REVOKE, 1, 2, change},
	{"read", "[NODE/]NAME", "write what is in it to standard output", OF_READ, CW_WINDOW_READ, 1, 1, do_read},
	{"write", "[NODE/]NAME", "write standard input into it", OF_WRITE, CW_WINDOW_WRITE, 1, 1, do_write},
	{"watch", "[NODE/]NAME", "print what is in it each time that it has changed", OF_WATCH, CW_WINDOW_READ, 1, 1, watch},
};

static const struct {
	const char *name, *argument, *text;
	unsigned which;
	int key;
} options[] = {
	{"writable", NULL, "let it write too", OF_GRANT, 'w'},
	{"force", NULL, "even if other nodes lose it, or connections are reset", OF_REMOVE | OF_REVOKE, 'f'},
	{"at", "OFFSET", "begin there; K, M, G may follow", OF_READ | OF_WRITE | OF_WATCH, 'a'},
	{"length", "BYTES", "so many (default: to its end; of watch: 64)", OF_READ | OF_WATCH, 'l'},
	{"count", "TIMES", "end when it was printed so often", OF_WATCH, 'c'},
	{"dry-run", NULL, "look whether it would do, and change nothing", OF_CREATE | OF_REMOVE | OF_GRANT | OF_REVOKE | OF_WRITE, 'y'},
	{"json", NULL, "print JSON", OF_ALL, 'j'},
	{"service", "NAME", "ask the node service of that name", OF_ALL, 's'},
	{"help", NULL, "print this text", OF_ALL, 'h'},
};

#define OPTIONS CW_ARRAY_SIZE(options)

void cw_window_help(void)
{
	printf("\nUsage: causeway windows COMMAND [OPTIONS]\nWindows with a name, for administrators.\n\n");
	for (size_t i = 0; i < CW_ARRAY_SIZE(commands); i++)
		printf("  %-8s%-13s%s\n", commands[i].name, commands[i].arguments, commands[i].text);
}

static void print_help(const struct command *command)
{
	printf("Usage: causeway windows %s %s [OPTIONS]\n%c%s.\n\n", command->name, command->arguments, command->text[0] - 'a' + 'A',
	       command->text + 1);
	for (size_t i = 0; i < OPTIONS; i++)
		if (options[i].which & command->which)
			printf("  --%-10s%-8s%s\n", options[i].name, options[i].argument ? options[i].argument : "", options[i].text);
}

static bool take_number(const char *text, uint64_t *number)
{
	static const char units[] = "KMG";
	unsigned long long value;
	const char *unit;
	char *end;

	errno = 0;
	value = strtoull(text, &end, 10);
	unit = *end ? strchr(units, *end) : NULL;
	if (*text < '0' || *text > '9' || errno || (*end && (!unit || end[1])) || value >> 33) {
		cw_complain("%s is no number of bytes", text);
		return false;
	}
	*number = value << (unit ? 10 * (unit - units + 1) : 0);
	return true;
}

static bool take(struct task *task, int key, const char *value)
{
	switch (key) {
	case 'w':
		task->question.window.flags |= CW_WINDOW_WRITABLE;
		return true;
	case 'f':
		task->question.window.flags |= CW_WINDOW_FORCE;
		return true;
	case 'y':
		task->question.window.flags |= CW_WINDOW_DRY_RUN;
		return true;
	case 'a':
		return take_number(value, &task->at);
	case 'l':
		return task->bounded = take_number(value, &task->length);
	case 'c':
		return take_number(value, &task->count);
	case 's':
		task->service = value;
		return true;
	default:
		return task->json = true;
	}
}

static bool put(char *to, size_t room, const char *text, size_t length)
{
	if (!length || length >= room)
		return false;
	memcpy(to, text, length);
	to[length] = 0;
	return true;
}

/* NAME, NODE/NAME; then a size or a node. */
static bool take_arguments(struct task *task, const struct command *command, int count, char **argument)
{
	const char *slash = strchr(argument[0], '/'), *name = slash ? slash + 1 : argument[0];
	char *node = task->question.window.node;

	if (slash && (!(command->which & (OF_READ | OF_WRITE | OF_WATCH)) ||
		      !put(node, sizeof(task->question.window.node), argument[0], (size_t)(slash - argument[0])))) {
		cw_complain("%s is no window of this node", argument[0]);
		return false;
	}
	if (!put(task->question.window.name, CW_WINDOW_NAME, name, strlen(name))) {
		cw_complain("%s is no name for a window: less than %d characters", name, CW_WINDOW_NAME);
		return false;
	}
	if (command->which == OF_CREATE)
		return take_number(argument[1], &task->question.window.at);
	if (count == 2 && !put(node, sizeof(task->question.window.node), argument[1], strlen(argument[1]))) {
		cw_complain("%s is no name of a node", argument[1]);
		return false;
	}
	return true;
}

/* -1: wrong, and said so; 1: help was printed. */
static int read_options(struct task *task, const struct command *command, int argc, char **argv)
{
	struct option table[OPTIONS + 1] = {0};
	size_t known = 0;
	int key;

	for (size_t i = 0; i < OPTIONS; i++)
		if (options[i].which & command->which)
			table[known++] = (struct option){.name = options[i].name,
							 .has_arg = options[i].argument ? required_argument : no_argument,
							 .val = options[i].key};
	while ((key = getopt_long(argc, argv, "", table, NULL)) != -1) {
		if (key == 'h') {
			print_help(command);
			return 1;
		}
		if (key == '?' || !take(task, key, optarg))
			return -1;
	}
	if (argc - optind >= command->needed && argc - optind <= command->most)
		return take_arguments(task, command, argc - optind, argv + optind) ? 0 : -1;
	cw_complain("windows %s takes %s", command->name, command->arguments);
	return -1;
}

/* ---- asking ---- */

/* True: done; the answer's descriptor is there. */
static bool ask(const struct task *task, int file, struct cw_received *answer)
{
	json_t *said = NULL;

	*answer = (struct cw_received){0};
	if (cw_link_send(task->fd, &task->question, &file, file >= 0) < 0 || !cw_link_answer(task->fd, CW_WINDOW, answer, ANSWER_MS)) {
		cw_complain("the service does not answer: %s", strerror(errno));
		return false;
	}
	if (answer->message.magic == CW_MESSAGE_MAGIC + CW_LAYOUT && !answer->message.status && answer->fds == 1 &&
	    lseek(answer->fd[0], 0, SEEK_SET) == 0)
		return true;
	if (answer->fds == 1 && lseek(answer->fd[0], 0, SEEK_SET) == 0)
		said = json_loadfd(answer->fd[0], 0, NULL);
	cw_complain("%s", json_is_string(json_object_get(said, "why")) ? json_string_value(json_object_get(said, "why"))
								       : strerror((int)answer->message.status));
	json_decref(said);
	cw_received_close(answer);
	return false;
}

static void print_broken(const json_t *said, bool dry)
{
	size_t index;
	json_t *node;

	json_array_foreach(json_object_get(said, "breaks"), index, node)
	{
		if (json_is_string(node))
			printf("node %s %s it\n", json_string_value(node), dry ? "would lose" : "has lost");
		else
			printf("%s[%lld] %s it, and %lld connections\n", json_string_value(json_object_get(node, "command")),
			       json_integer_value(json_object_get(node, "pid")), dry ? "would lose" : "has lost",
			       json_integer_value(json_object_get(node, "connections")));
	}
}

static int change(struct task *task)
{
	bool dry = task->question.window.flags & CW_WINDOW_DRY_RUN;
	struct cw_received answer;
	json_t *said;

	if (!ask(task, -1, &answer))
		return 1;
	said = json_loadfd(answer.fd[0], 0, NULL);
	cw_received_close(&answer);
	if (task->json) {
		json_object_set_new(said, "done", json_boolean(!dry));
		cw_print_json(said);
	} else {
		print_broken(said, dry);
		printf("%s%s\n", task->question.window.name, dry ? ": it would do (not done: --dry-run)" : ": done");
	}
	json_decref(said);
	return 0;
}

/* ---- reading ---- */

/* A piece of at most `length` bytes; -1 and said why. */
static ssize_t read_piece(struct task *task, uint64_t at, uint64_t length, unsigned char *to)
{
	struct cw_received answer;
	ssize_t got;

	task->question.window.at = at;
	task->question.window.length = (uint32_t)(length < CW_WINDOW_PIECE ? length : CW_WINDOW_PIECE);
	if (!ask(task, -1, &answer))
		return -1;
	got = read(answer.fd[0], to, CW_WINDOW_PIECE);
	cw_received_close(&answer);
	return got;
}

static void print_hex(const unsigned char *bytes, size_t length)
{
	for (size_t i = 0; i < length; i++)
		printf("%02x", bytes[i]);
}

static void print_json_piece(uint64_t at, const unsigned char *bytes, size_t length)
{
	printf("{\"at\": %llu, \"bytes\": \"", (unsigned long long)at);
	print_hex(bytes, length);
	printf("\"}\n");
}

static int do_read(struct task *task)
{
	unsigned char *bytes = malloc(CW_WINDOW_PIECE);
	uint64_t left = task->bounded ? task->length : UINT64_MAX;
	ssize_t got = bytes ? 1 : -1;

	while (left && got > 0 && (got = read_piece(task, task->at, left, bytes)) > 0) {
		if (task->json)
			print_json_piece(task->at, bytes, (size_t)got);
		else if (fwrite(bytes, 1, (size_t)got, stdout) != (size_t)got)
			got = -1;
		task->at += got > 0 ? (uint64_t)got : 0;
		left -= got > 0 ? (uint64_t)got : 0;
	}
	free(bytes);
	return got < 0 || fflush(stdout) ? 1 : 0;
}

static int watch(struct task *task)
{
	unsigned char *bytes = malloc(2 * CW_WINDOW_PIECE), *before = bytes ? bytes + CW_WINDOW_PIECE : NULL;
	uint64_t length = task->bounded ? task->length : WATCHED;
	ssize_t got = bytes ? 0 : -1, had = -1;

	for (uint64_t printed = 0; bytes && (!task->count || printed < task->count);) {
		got = read_piece(task, task->at, length, bytes);
		if (got < 0)
			break;
		if (got != had || memcmp(bytes, before, (size_t)got) != 0) {
			if (task->json)
				print_json_piece(task->at, bytes, (size_t)got);
			else
				print_hex(bytes, (size_t)got);
			printf(task->json ? "" : "\n");
			fflush(stdout);
			memcpy(before, bytes, (size_t)got);
			had = got;
			printed++;
			continue;
		}
		nanosleep(&(struct timespec){.tv_nsec = PAUSE_NS}, NULL);
	}
	free(bytes);
	return got < 0 ? 1 : 0;
}

/* ---- writing ---- */

static ssize_t fill(int from, unsigned char *to)
{
	size_t have = 0;
	ssize_t got = 1;

	while (have < CW_WINDOW_PIECE && (got = read(from, to + have, CW_WINDOW_PIECE - have)) > 0)
		have += (size_t)got;
	return got < 0 ? -1 : (ssize_t)have;
}

static bool write_piece(struct task *task, const unsigned char *bytes, size_t length)
{
	int file = memfd_create("causeway window", MFD_CLOEXEC);
	struct cw_received answer;
	bool fine = file >= 0 && write(file, bytes, length) == (ssize_t)length;

	task->question.window.at = task->at;
	task->question.window.length = (uint32_t)length;
	if (!fine)
		cw_complain("no memory: %s", strerror(errno));
	else if ((fine = ask(task, file, &answer)))
		cw_received_close(&answer);
	if (file >= 0)
		close(file);
	return fine;
}

static int do_write(struct task *task)
{
	unsigned char *bytes = malloc(CW_WINDOW_PIECE);
	uint64_t begin = task->at;
	ssize_t got = -1;
	bool fine = bytes;

	while (fine && (got = fill(STDIN_FILENO, bytes)) > 0) {
		fine = write_piece(task, bytes, (size_t)got);
		task->at += (uint64_t)got;
	}
	free(bytes);
	if (fine && got < 0)
		cw_complain("standard input: %s", strerror(errno));
	if (!fine || got < 0)
		return 1;
	if (task->json)
		printf("{\"at\": %llu, \"written\": %llu}\n", (unsigned long long)begin, (unsigned long long)(task->at - begin));
	return 0;
}

int cw_command_window(int argc, char **argv)
{
	struct task task = {.question = cw_link_message(CW_WINDOW)};
	char name[100], why[WHY_SIZE] = "";
	const struct command *command = NULL;
	int result;

	for (size_t i = 0; i < CW_ARRAY_SIZE(commands) && !command; i++)
		if (strcmp(argv[0], commands[i].name) == 0)
			command = &commands[i];
	if (!command) {
		cw_complain("there is no command windows %s: causeway windows --help lists them", argv[0]);
		return 2;
	}
	result = read_options(&task, command, argc, argv);
	if (result)
		return result < 0 ? 2 : 0;
	task.question.window.act = command->act;
	task.fd = cw_service_find(task.service, name, why);
	if (task.fd < 0) {
		cw_complain("%s", why);
		return 1;
	}
	result = command->run(&task);
	close(task.fd);
	return result;
}
