/* causeway nodes: the nodes of the cluster as this node's service sees them. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "command.h"
#include "sync/cpu.h"

#define WHY_SIZE  200
#define ANSWER_NS 1000000000ull /* for the other nodes' signs of life */
#define ANSWER_MS 25000

struct asking {
	const char *service;
	bool json, watch;
};

static void print_help(void)
{
	printf("Usage: causeway nodes [OPTIONS]\nList the nodes of the cluster, as this node's service sees them.\n\n"
	       "  --json            print JSON\n"
	       "  --watch           go on, and print again when something has changed\n"
	       "  --service NAME    ask the node service of that name\n"
	       "  --help            print this text\n");
}

static int read_options(struct asking *asking, int argc, char **argv)
{
	static const struct option table[] = {{.name = "json", .val = 'j'},
					      {.name = "watch", .val = 'w'},
					      {.name = "service", .has_arg = required_argument, .val = 's'},
					      {.name = "help", .val = 'h'},
					      {0}};
	int key;

	while ((key = getopt_long(argc, argv, "", table, NULL)) != -1) {
		if (key == 'h') {
			print_help();
			return 1;
		}
		if (key == '?')
			return -1;
		asking->json |= key == 'j';
		asking->watch |= key == 'w';
		if (key == 's')
			asking->service = optarg;
	}
	if (optind == argc)
		return 0;
	cw_complain("nodes takes no argument, but was given %s", argv[optind]);
	return -1;
}

static json_t *ask(int fd, bool probe, char why[WHY_SIZE])
{
	struct cw_message question = cw_link_message(CW_NODES);
	struct cw_received answer = {0};
	json_t *json = NULL;

	question.nodes.probe = probe;
	if (cw_link_send(fd, &question, NULL, 0) == 0 && cw_link_answer(fd, CW_NODES, &answer, ANSWER_MS) && answer.fds == 1 &&
	    lseek(answer.fd[0], 0, SEEK_SET) == 0)
		json = json_loadfd(answer.fd[0], 0, NULL);
	if (!json)
		snprintf(why, WHY_SIZE, "the service does not answer: %s",
			 answer.message.status ? strerror((int)answer.message.status) : strerror(errno));
	cw_received_close(&answer);
	return json;
}

static bool all_answered(const json_t *json)
{
	size_t index;
	json_t *node;

	json_array_foreach(json_object_get(json, "nodes"), index, node)
	{
		if (strcmp(json_string_value(json_object_get(node, "state")), "up") == 0 &&
		    (json_integer_value(json_object_get(node, "asked")) != json_integer_value(json_object_get(node, "answered")) ||
		     json_is_true(json_object_get(node, "measuring"))))
			return false;
	}
	return true;
}

/* The nodes are asked for a sign of life, and given a moment for it. */
static json_t *look(int fd, char why[WHY_SIZE])
{
	uint64_t end = cw_monotonic_ns() + ANSWER_NS;
	struct timespec pause = {.tv_nsec = 1000000};
	json_t *json = ask(fd, true, why);

	while (json && !all_answered(json) && cw_monotonic_ns() < end) {
		nanosleep(&pause, NULL);
		json_decref(json);
		json = ask(fd, false, why);
		if (pause.tv_nsec < 50000000)
			pause.tv_nsec *= 2;
	}
	return json;
}

/* ---- printing ---- */

static void duration(char text[32], const json_t *seconds)
{
	json_int_t s = json_integer_value(seconds);

	if (!seconds)
		strcpy(text, "-");
	else if (s < 120)
		snprintf(text, 32, "%llds", (long long)s);
	else if (s < 2 * 3600)
		snprintf(text, 32, "%lldm", (long long)s / 60);
	else if (s < 48 * 3600)
		snprintf(text, 32, "%lldh", (long long)s / 3600);
	else
		snprintf(text, 32, "%lldd", (long long)s / 86400);
}

static void microseconds(char text[32], const json_t *us)
{
	if (json_is_real(us))
		snprintf(text, 32, "%.1f us", json_real_value(us));
	else
		strcpy(text, "-");
}

static void print_node(const json_t *node)
{
	char since[32], network[32], memory[32];
	const char *version = json_string_value(json_object_get(node, "version"));
	const char *trouble = json_string_value(json_object_get(node, "trouble")),
		   *remedy = json_string_value(json_object_get(node, "remedy"));
	size_t index;
	json_t *address;

	duration(since, json_object_get(node, "since_seconds"));
	microseconds(network, json_object_get(node, "network_us"));
	microseconds(memory, json_object_get(node, "memory_us"));
	printf("%c %-16s %-11s %-6s %-9s %-12s %-10s", json_is_true(json_object_get(node, "self")) ? '*' : ' ',
	       json_string_value(json_object_get(node, "name")), json_string_value(json_object_get(node, "state")), since,
	       version ? version : "-", network, memory);
	json_array_foreach(json_object_get(node, "addresses"), index, address)
	{
		printf(" %s", json_string_value(address));
	}
	if (trouble)
		printf("  (%s%s%s)", trouble, remedy && *remedy ? "; " : "", remedy ? remedy : "");
	printf("\n");
}

static void print_text(const json_t *json)
{
	const char *cluster = json_string_value(json_object_get(json, "cluster")), *why = json_string_value(json_object_get(json, "why"));
	size_t index;
	json_t *node;

	if (!cluster) {
		printf("this node is in no cluster%s%s\n", why ? ": " : "", why ? why : "");
		return;
	}
	printf("cluster %s, map %lld\n", cluster, (long long)json_integer_value(json_object_get(json, "map_version")));
	printf("  %-16s %-11s %-6s %-9s %-12s %-10s %s\n", "NODE", "STATE", "SINCE", "VERSION", "NETWORK", "MEMORY", "ADDRESSES");
	json_array_foreach(json_object_get(json, "nodes"), index, node)
	{
		print_node(node);
	}
}

static void print(const struct asking *asking, const json_t *json)
{
	if (asking->json)
		json_dumpf(json, stdout, asking->watch ? JSON_COMPACT : JSON_INDENT(2));
	else
		print_text(json);
	if (asking->json || asking->watch)
		printf("\n");
	fflush(stdout);
}

/* What is worth telling: not how long it is so, nor how long a message took. */
static json_t *essence(const json_t *json)
{
	json_t *copy = json_deep_copy(json), *node;
	size_t index;

	json_array_foreach(json_object_get(copy, "nodes"), index, node)
	{
		static const char *const fleeting[] = {"since_seconds", "network_us", "memory_us", "measuring",
						       "asked",         "answered",   "trouble"};

		for (size_t i = 0; i < CW_ARRAY_SIZE(fleeting); i++)
			json_object_del(node, fleeting[i]);
	}
	return copy;
}

static int watch(const struct asking *asking, int fd, char why[WHY_SIZE])
{
	json_t *before = NULL, *json, *now;

	while ((json = ask(fd, false, why))) {
		now = essence(json);
		if (!before || !json_equal(before, now))
			print(asking, json);
		json_decref(before);
		before = now;
		json_decref(json);
		sleep(1);
	}
	json_decref(before);
	cw_complain("%s", why);
	return 1;
}

int cw_command_nodes(int argc, char **argv)
{
	struct asking asking = {0};
	char name[100], why[WHY_SIZE] = "";
	int result = read_options(&asking, argc, argv), fd;
	json_t *json;

	if (result)
		return result < 0 ? 2 : 0;
	fd = cw_service_find(asking.service, name, why);
	if (fd < 0) {
		cw_complain("%s", why);
		return 1;
	}
	if (asking.watch) {
		result = watch(&asking, fd, why);
	} else {
		json = look(fd, why);
		if (json)
			print(&asking, json);
		else
			cw_complain("%s", why);
		result = json ? 0 : 1;
		json_decref(json);
	}
	close(fd);
	return result;
}
