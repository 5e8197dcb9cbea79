/* causeway topology: this machine by hwloc, the nodes of the cluster and the windows between them by the service. */
#include <getopt.h>
#include <hwloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>

#include "command_topology.h"

#define WHY_SIZE 200

struct asking {
	const char *service;
	bool json, svg;
};

static const struct {
	const char *name, *argument, *text;
} options[] = {
	{"json", NULL, "print JSON"},
	{"svg", NULL, "print a drawing (SVG)"},
	{"service", "NAME", "ask the node service of that name"},
	{"help", NULL, "print this text"},
};

#define OPTIONS CW_ARRAY_SIZE(options)

static void print_help(void)
{
	printf("Usage: causeway topology [OPTIONS]\nPicture the nodes, this one's memory nodes, and the windows between them.\n\n");
	for (size_t i = 0; i < OPTIONS; i++)
		printf("  --%-8s%-8s%s\n", options[i].name, options[i].argument ? options[i].argument : "", options[i].text);
}

static int read_options(struct asking *asking, int argc, char **argv)
{
	struct option table[OPTIONS + 1] = {0};
	int key;

	for (size_t i = 0; i < OPTIONS; i++)
		table[i] = (struct option){
			.name = options[i].name, .has_arg = options[i].argument ? required_argument : no_argument, .val = (int)i + 1};
	while ((key = getopt_long(argc, argv, "", table, NULL)) != -1) {
		if (key == 4) {
			print_help();
			return 1;
		}
		if (key == '?')
			return -1;
		asking->json |= key == 1;
		asking->svg |= key == 2;
		if (key == 3)
			asking->service = optarg;
	}
	if (optind == argc && !(asking->json && asking->svg))
		return 0;
	if (optind < argc)
		cw_complain("topology takes no argument, but was given %s", argv[optind]);
	else
		cw_complain("topology takes --json or --svg, not both");
	return -1;
}

/* ---- what is known ---- */

const char *cw_json_text(const json_t *json, const char *key)
{
	const char *text = json_string_value(json_object_get(json, key));

	return text ? text : "-";
}

unsigned long long cw_json_number(const json_t *json, const char *key)
{
	return (unsigned long long)json_integer_value(json_object_get(json, key));
}

void cw_size_text(char text[32], unsigned long long bytes)
{
	if (bytes >= 10ull << 30)
		snprintf(text, 32, "%llu GiB", bytes >> 30);
	else if (bytes >= 10ull << 20)
		snprintf(text, 32, "%llu MiB", bytes >> 20);
	else
		snprintf(text, 32, "%llu KiB", bytes >> 10);
}

static json_t *memory_node(hwloc_obj_t node)
{
	char *processors = NULL;
	json_t *json;

	if (hwloc_bitmap_list_asprintf(&processors, node->cpuset) < 0)
		processors = NULL;
	json = json_pack("{s:i, s:I, s:s}", "number", (int)node->os_index, "memory",
			 (json_int_t)(node->attr->numanode.local_memory & INT64_MAX), "processors", processors ? processors : "");
	free(processors);
	return json;
}

static json_t *memory_nodes(void)
{
	hwloc_topology_t topology;
	json_t *list = json_array();
	hwloc_obj_t node = NULL;

	if (hwloc_topology_init(&topology) < 0)
		return list;
	if (hwloc_topology_load(topology) == 0)
		while ((node = hwloc_get_next_obj_by_type(topology, HWLOC_OBJ_NUMANODE, node)))
			json_array_append_new(list, memory_node(node));
	hwloc_topology_destroy(topology);
	return list;
}

/* A node that is in no cluster has no name but its machine's. */
static json_t *alone(void)
{
	struct utsname machine;

	return json_pack("{s:s, s:b, s:s}", "name", uname(&machine) == 0 ? machine.nodename : "this node", "self", 1, "state", "up");
}

static json_t *node_of(const json_t *from)
{
	json_t *node = json_object();
	static const char *const kept[] = {"name", "self", "state", "network_us", "version"};

	for (size_t i = 0; i < CW_ARRAY_SIZE(kept); i++)
		if (json_object_get(from, kept[i]))
			json_object_set(node, kept[i], json_object_get(from, kept[i]));
	return node;
}

static json_t *nodes_of(const json_t *said)
{
	json_t *list = json_array(), *from;
	size_t index;

	json_array_foreach(json_object_get(said, "nodes"), index, from)
	{
		json_t *node = node_of(from);

		if (json_is_true(json_object_get(node, "self")))
			json_object_set_new(node, "memory_nodes", memory_nodes());
		json_array_append_new(list, node);
	}
	if (json_array_size(list) == 0) {
		json_array_append_new(list, alone());
		json_object_set_new(json_array_get(list, 0), "memory_nodes", memory_nodes());
	}
	return list;
}

/* With the node of that name: it was granted the window, or is at its other end. */
static bool is_shared(const json_t *window, const char *name)
{
	const char *other = json_string_value(json_object_get(window, json_is_true(json_object_get(window, "here")) ? "with" : "owner"));
	json_t *granted = json_object_get(window, "granted"), *grant;
	size_t index;

	json_array_foreach(granted, index, grant)
	{
		if (strcmp(cw_json_text(grant, "node"), name) == 0)
			return true;
	}
	return other && strcmp(other, name) == 0;
}

static json_t *link_to(const json_t *node, const json_t *windows)
{
	unsigned long long count = 0, size = 0, connections = 0, bells = 0;
	const char *name = cw_json_text(node, "name");
	size_t index;
	json_t *window;

	json_array_foreach(windows, index, window)
	{
		if (!is_shared(window, name))
			continue;
		count++;
		size += cw_json_number(window, "size");
		connections += cw_json_number(window, "used");
		bells += cw_json_number(window, "doorbells");
	}
	return json_pack("{s:s, s:s, s:I, s:I, s:I, s:I}", "to", name, "state", cw_json_text(node, "state"), "windows", (json_int_t)count,
			 "size", (json_int_t)size, "connections", (json_int_t)connections, "doorbells", (json_int_t)bells);
}

static json_t *picture_of(const json_t *said, json_t *windows)
{
	json_t *nodes = nodes_of(said), *links = json_array(), *cluster = json_object_get(said, "cluster"), *node;
	size_t index;

	json_array_foreach(nodes, index, node)
	{
		if (!json_is_true(json_object_get(node, "self")))
			json_array_append_new(links, link_to(node, windows));
	}
	return json_pack("{s:o, s:o, s:o, s:o}", "cluster", cluster ? json_incref(cluster) : json_null(), "nodes", nodes, "windows",
			 windows, "links", links);
}

/* ---- as text ---- */

static void print_memory_node(const json_t *node)
{
	char size[32];

	cw_size_text(size, cw_json_number(node, "memory"));
	printf("  memory node %llu: %s, processors %s\n", cw_json_number(node, "number"), size, cw_json_text(node, "processors"));
}

static void print_window(const json_t *window)
{
	const char *with = json_string_value(json_object_get(window, "with"));
	json_t *granted = json_object_get(window, "granted"), *grant;
	size_t index;
	char size[32];

	cw_size_text(size, cw_json_number(window, "size"));
	printf("  window %s: %s, ", cw_json_text(window, "window"), size);
	if (json_object_get(window, "slots"))
		printf("%llu of %llu connections, ", cw_json_number(window, "used"), cw_json_number(window, "slots"));
	printf("%s", cw_json_text(window, "state"));
	json_array_foreach(granted, index, grant)
	{
		printf("%s %s", index ? "," : ", granted to", cw_json_text(grant, "node"));
	}
	printf("%s%s\n", with && !granted ? " with " : "", with && !granted ? with : "");
}

static bool lies_on(const json_t *window, const json_t *node)
{
	const char *owner = json_string_value(json_object_get(window, "owner"));

	return owner ? strcmp(owner, cw_json_text(node, "name")) == 0 : json_is_true(json_object_get(node, "self"));
}

static void print_node(const json_t *node, const json_t *windows)
{
	size_t index;
	json_t *one;

	printf("%s: %s\n", cw_json_text(node, "name"),
	       json_is_true(json_object_get(node, "self")) ? "this node" : cw_json_text(node, "state"));
	json_array_foreach(json_object_get(node, "memory_nodes"), index, one)
	{
		print_memory_node(one);
	}
	json_array_foreach(windows, index, one)
	{
		if (lies_on(one, node))
			print_window(one);
	}
}

static void print_link(const json_t *link)
{
	char size[32];

	cw_size_text(size, cw_json_number(link, "size"));
	printf("link to %s: %s, %llu windows of %s, %llu connections, %llu doorbells\n", cw_json_text(link, "to"),
	       cw_json_text(link, "state"), cw_json_number(link, "windows"), size, cw_json_number(link, "connections"),
	       cw_json_number(link, "doorbells"));
}

static void print_text(const json_t *picture)
{
	size_t index;
	json_t *one;

	if (json_is_string(json_object_get(picture, "cluster")))
		printf("cluster %s\n", cw_json_text(picture, "cluster"));
	json_array_foreach(json_object_get(picture, "nodes"), index, one)
	{
		print_node(one, json_object_get(picture, "windows"));
	}
	json_array_foreach(json_object_get(picture, "links"), index, one)
	{
		print_link(one);
	}
}

int cw_command_topology(int argc, char **argv)
{
	struct asking asking = {0};
	char why[WHY_SIZE] = "";
	int result = read_options(&asking, argc, argv);
	json_t *nodes, *windows, *picture;

	if (result)
		return result < 0 ? 2 : 0;
	nodes = cw_ask_service(asking.service, CW_NODES, why);
	windows = nodes ? cw_ask_service(asking.service, CW_WINDOWS, why) : NULL;
	if (!windows) {
		cw_complain("%s: this machine alone is shown", why);
		windows = json_array();
	}
	picture = picture_of(nodes, windows);
	if (asking.json)
		cw_print_json(picture);
	else if (asking.svg)
		cw_topology_svg(picture);
	else
		print_text(picture);
	json_decref(picture);
	json_decref(nodes);
	return 0;
}
