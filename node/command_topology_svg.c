/* causeway topology --svg: a box for each node, in it its memory nodes and windows; a line from each window to the node that it is shared
 * with. */
#include <stdio.h>
#include <string.h>

#include "command_topology.h"

#define MARGIN  20
#define WIDTH   250 /* of a node's box */
#define GAP     90
#define HEAD    44
#define LINE    26
#define COLUMNS 4

struct place {
	const json_t *node;
	unsigned x, y, height, windows; /* windows drawn so far */
};

struct drawing {
	struct place places[256];
	size_t count;
	unsigned height;
};

static void escaped(const char *text)
{
	for (; *text; text++)
		switch (*text) {
		case '<':
			printf("&lt;");
			break;
		case '&':
			printf("&amp;");
			break;
		case '"':
			printf("&quot;");
			break;
		default:
			putchar((unsigned char)*text < ' ' ? '?' : *text);
		}
}

static void text_at(unsigned x, unsigned y, const char *style, const char *text)
{
	printf("<text x=\"%u\" y=\"%u\" class=\"%s\">", x, y, style);
	escaped(text);
	printf("</text>\n");
}

static void box(unsigned x, unsigned y, unsigned width, unsigned height, const char *style)
{
	printf("<rect x=\"%u\" y=\"%u\" width=\"%u\" height=\"%u\" rx=\"4\" class=\"%s\"/>\n", x, y, width, height, style);
}

static struct place *place_of(struct drawing *drawing, const char *name)
{
	for (size_t i = 0; i < drawing->count; i++) {
		const json_t *node = drawing->places[i].node;

		if (name ? strcmp(name, cw_json_text(node, "name")) == 0 : json_is_true(json_object_get(node, "self")))
			return &drawing->places[i];
	}
	return NULL;
}

static const char *owner_of(const json_t *window)
{
	return json_string_value(json_object_get(window, "owner"));
}

static unsigned rows_of(const json_t *node, const json_t *windows)
{
	unsigned rows = (unsigned)json_array_size(json_object_get(node, "memory_nodes"));
	bool self = json_is_true(json_object_get(node, "self"));
	size_t index;
	json_t *window;

	json_array_foreach(windows, index, window)
	{
		const char *owner = owner_of(window);

		rows += owner ? strcmp(owner, cw_json_text(node, "name")) == 0 : self;
	}
	return rows;
}

/* Rows of boxes; each row as high as its highest. */
static void arrange(struct drawing *drawing, const json_t *nodes, const json_t *windows)
{
	unsigned y = MARGIN, highest = 0;
	size_t index;
	json_t *node;

	json_array_foreach(nodes, index, node)
	{
		struct place *place = &drawing->places[drawing->count];

		if (drawing->count == CW_ARRAY_SIZE(drawing->places))
			break;
		if (index && index % COLUMNS == 0) {
			y += highest + GAP / 2;
			highest = 0;
		}
		place->node = node;
		place->x = MARGIN + (unsigned)(index % COLUMNS) * (WIDTH + GAP);
		place->y = y;
		place->height = HEAD + LINE * rows_of(node, windows) + 10;
		highest = place->height > highest ? place->height : highest;
		drawing->count++;
	}
	drawing->height = y + highest + MARGIN;
}

static void draw_node(struct place *place)
{
	json_t *memory, *list = json_object_get(place->node, "memory_nodes");
	const char *state = json_is_true(json_object_get(place->node, "self")) ? "this node" : cw_json_text(place->node, "state");
	size_t index;

	box(place->x, place->y, WIDTH, place->height, strcmp(cw_json_text(place->node, "state"), "up") == 0 ? "up" : "down");
	text_at(place->x + 10, place->y + 18, "name", cw_json_text(place->node, "name"));
	text_at(place->x + 10, place->y + 34, "small", state);
	json_array_foreach(list, index, memory)
	{
		char line[120], size[32];

		cw_size_text(size, cw_json_number(memory, "memory"));
		snprintf(line, sizeof(line), "memory node %llu: %s, processors %.40s", cw_json_number(memory, "number"), size,
			 cw_json_text(memory, "processors"));
		box(place->x + 8, place->y + HEAD + LINE * (unsigned)index, WIDTH - 16, LINE - 4, "memory");
		text_at(place->x + 14, place->y + HEAD + LINE * (unsigned)index + 15, "small", line);
	}
	place->windows = (unsigned)json_array_size(list);
}

static void draw_link(const struct place *from, unsigned y, const struct place *to)
{
	unsigned x1 = to->x >= from->x ? from->x + WIDTH - 8 : from->x + 8, x2 = to->x > from->x ? to->x : to->x + WIDTH;

	printf("<line x1=\"%u\" y1=\"%u\" x2=\"%u\" y2=\"%u\" class=\"link\"/>\n", x1, y, x2, to->y + 14);
}

static void draw_window(struct drawing *drawing, const json_t *window)
{
	struct place *owner = place_of(drawing, owner_of(window));
	const char *with = json_string_value(json_object_get(window, "with"));
	const struct place *other = with ? place_of(drawing, with) : NULL;
	char line[120], size[32];
	size_t index;
	json_t *grant;
	unsigned y;

	if (!owner)
		return;
	y = owner->y + HEAD + LINE * owner->windows++;
	cw_size_text(size, cw_json_number(window, "size"));
	snprintf(line, sizeof(line), "%.24s  %s", cw_json_text(window, "window"), size);
	if (json_object_get(window, "slots"))
		snprintf(line + strlen(line), sizeof(line) - strlen(line), "  %llu/%llu", cw_json_number(window, "used"),
			 cw_json_number(window, "slots"));
	box(owner->x + 8, y, WIDTH - 16, LINE - 4, strcmp(cw_json_text(window, "state"), "lost") == 0 ? "lost" : "window");
	text_at(owner->x + 14, y + 15, "small", line);
	json_array_foreach(json_object_get(window, "granted"), index, grant)
	{
		const struct place *holder = place_of(drawing, cw_json_text(grant, "node"));

		if (holder && holder != owner && holder != other)
			draw_link(owner, y + LINE / 2 - 2, holder);
	}
	if (other && other != owner)
		draw_link(owner, y + LINE / 2 - 2, other);
}

void cw_topology_svg(const json_t *picture)
{
	static struct drawing drawing;
	const json_t *windows = json_object_get(picture, "windows");
	size_t index, columns;
	json_t *window;

	arrange(&drawing, json_object_get(picture, "nodes"), windows);
	columns = drawing.count < COLUMNS ? drawing.count : COLUMNS;
	printf("<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%zu\" height=\"%u\">\n"
	       "<style>text{font-family:sans-serif;font-size:11px}.name{font-weight:bold;font-size:13px}rect{stroke:#444}.up{fill:#f4f8ff}"
	       ".down{fill:#eee;stroke-dasharray:4}.memory{fill:#dde8d0}.window{fill:#ffe9b8}.lost{fill:#f3b9b0}.link{stroke:#b46a00;"
	       "stroke-width:2}</style>\n",
	       2ul * MARGIN + columns * WIDTH + (columns - 1) * GAP, drawing.height);
	for (size_t i = 0; i < drawing.count; i++)
		draw_node(&drawing.places[i]);
	json_array_foreach(windows, index, window)
	{
		draw_window(&drawing, window);
	}
	printf("</svg>\n");
}
