/* Questions to the service, for all subcommands but run. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "command.h"

#define WHY_SIZE  200
#define ANSWER_MS 25000 /* a long list takes its time, and the service gives up earlier */

static const struct {
	const char *name, *argument, *text;
} options[] = {
	{"json", NULL, "print JSON"},
	{"service", "NAME", "ask the node service of that name"},
	{"help", NULL, "print this text"},
};

#define OPTIONS CW_ARRAY_SIZE(options)

static void print_help(const char *command, const char *about)
{
	printf("Usage: causeway %s [OPTIONS]\n%s\n\n", command, about);
	for (size_t i = 0; i < OPTIONS; i++) {
		char left[40];

		snprintf(left, sizeof(left), "--%s%s%s", options[i].name, options[i].argument ? " " : "",
			 options[i].argument ? options[i].argument : "");
		printf("  %-18s%s\n", left, options[i].text);
	}
}

int cw_read_asking(struct cw_asking *asking, int argc, char **argv, const char *about)
{
	struct option table[OPTIONS + 1] = {0};
	const char *command = argv[0];
	int key;

	for (size_t i = 0; i < OPTIONS; i++)
		table[i] = (struct option){.name = options[i].name,
					   .has_arg = options[i].argument ? required_argument : no_argument,
					   .val = options[i].name[0]};
	while ((key = getopt_long(argc, argv, "", table, NULL)) != -1) {
		if (key == 'h') {
			print_help(command, about);
			return 1;
		}
		if (key == 'j')
			asking->json = true;
		else if (key == 's')
			asking->service = optarg;
		else
			return -1;
	}
	if (optind == argc)
		return 0;
	cw_complain("%s takes no argument, but was given %s", command, argv[optind]);
	return -1;
}

json_t *cw_ask(int fd, enum cw_message_type type, char why[WHY_SIZE])
{
	struct cw_message question = cw_link_message(type);
	struct cw_received answer = {0};
	json_error_t error;
	json_t *json = NULL;

	if (cw_link_send(fd, &question, NULL, 0) < 0 || !cw_link_answer(fd, type, &answer, ANSWER_MS)) {
		snprintf(why, WHY_SIZE, "the service does not answer: %s", strerror(errno));
		return NULL;
	}
	if (answer.message.magic != CW_MESSAGE_MAGIC + CW_LAYOUT)
		snprintf(why, WHY_SIZE, "the service is of another version");
	else if (answer.message.status || answer.fds != 1)
		snprintf(why, WHY_SIZE, "the service refused: %s", strerror((int)answer.message.status));
	else if (lseek(answer.fd[0], 0, SEEK_SET) < 0 || !(json = json_loadfd(answer.fd[0], 0, &error)))
		snprintf(why, WHY_SIZE, "the service's answer can't be read: %s", error.text);
	cw_received_close(&answer);
	return json;
}

json_t *cw_ask_service(const char *wanted, enum cw_message_type type, char why[WHY_SIZE])
{
	char name[100];
	int fd = cw_service_find(wanted, name, why);
	json_t *json = fd < 0 ? NULL : cw_ask(fd, type, why);

	if (fd >= 0)
		close(fd);
	return json;
}

void cw_print_json(const json_t *json)
{
	json_dumpf(json, stdout, JSON_INDENT(2));
	printf("\n");
}

int cw_show(const struct cw_asking *asking, enum cw_message_type type, void (*print)(const json_t *json))
{
	char why[WHY_SIZE] = "";
	json_t *json = cw_ask_service(asking->service, type, why);

	if (!json) {
		cw_complain("%s", why);
		return 1;
	}
	if (asking->json)
		cw_print_json(json);
	else
		print(json);
	json_decref(json);
	return 0;
}
