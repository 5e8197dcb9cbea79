/* causeway windows: the memory that streams go by. */
#include <stdio.h>
#include <string.h>

#include "command.h"

static const char *text_of(const json_t *json, const char *key)
{
	const char *text = json_string_value(json_object_get(json, key));

	return text ? text : "-";
}

static unsigned long long number_of(const json_t *json, const char *key)
{
	return (unsigned long long)json_integer_value(json_object_get(json, key));
}

static void print_size(const char *format, unsigned long long bytes)
{
	char text[32];

	if (bytes >= 10ull << 20)
		snprintf(text, sizeof(text), "%lluM", bytes >> 20);
	else
		snprintf(text, sizeof(text), "%lluK", bytes >> 10);
	printf(format, text);
}

static void print_nodes(const json_t *nodes)
{
	char text[64] = "";
	size_t index, length = 0;
	json_t *node;

	json_array_foreach(nodes, index, node)
	{
		if (length < sizeof(text) - 8)
			length += (size_t)snprintf(text + length, sizeof(text) - length, "%s%d", index ? "," : "",
						   (int)json_integer_value(node));
	}
	printf(" %-4s", *text ? text : "-");
}

static void print_users(const json_t *users)
{
	size_t index;
	json_t *user;

	json_array_foreach(users, index, user)
	{
		const char *node = json_string_value(json_object_get(user, "node"));

		if (node)
			printf(" node:%s", node);
		else
			printf(" %s[%llu]", text_of(user, "command"), number_of(user, "pid"));
	}
}

static void print_granted(const json_t *granted)
{
	size_t index;
	json_t *grant;

	json_array_foreach(granted, index, grant)
	{
		printf(" %s%s", text_of(grant, "node"), json_is_true(json_object_get(grant, "writable")) ? "(writes)" : "");
	}
}

static void print_window(const json_t *window)
{
	unsigned long long room = number_of(window, "room");

	printf("%-16s  %-12s %-12s %-8s", text_of(window, "window"), text_of(window, "owner"), text_of(window, "with"),
	       text_of(window, "state"));
	print_size(" %7s", number_of(window, "size"));
	print_size(" %7s", number_of(window, "resident"));
	print_nodes(json_object_get(window, "memory_nodes"));
	if (json_object_get(window, "slots"))
		printf(" %4llu/%-4llu %3llu%% %9llu", number_of(window, "used"), number_of(window, "slots"),
		       room ? number_of(window, "unread") * 100 / room : 0, number_of(window, "doorbells"));
	else
		printf(" %9s %4s %9s", "-", "-", "-");
	printf("  %s ", text_of(window, "generation"));
	print_granted(json_object_get(window, "granted"));
	print_users(json_object_get(window, "mapped_by"));
	printf("\n");
}

static void print_windows(const json_t *windows)
{
	size_t index;
	json_t *window;

	printf("%-16s  %-12s %-12s %-8s %7s %7s %-4s %9s %4s %9s  %-16s  %s\n", "WINDOW", "OWNER", "WITH", "STATE", "SIZE", "HELD", "NUMA",
	       "SLOTS", "FILL", "DOORBELLS", "GENERATION", "MAPPED BY");
	json_array_foreach(windows, index, window)
	{
		print_window(window);
	}
}

int cw_command_windows(int argc, char **argv)
{
	struct cw_asking asking = {0};
	int result;

	if (argc > 1 && argv[1][0] != '-')
		return cw_command_window(argc - 1, argv + 1);
	result = cw_read_asking(&asking, argc, argv,
				"List the memory that streams go by: this node's windows, and those of others that are used here.");
	if (result > 0)
		cw_window_help();
	if (result)
		return result < 0 ? 2 : 0;
	return cw_show(&asking, CW_WINDOWS, print_windows);
}
