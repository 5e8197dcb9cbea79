/* causeway ss: the sockets of running programs, as ss(8) lists the kernel's. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"

#define COLUMNS 12
#define CELL    64

static const char *const titles[COLUMNS] = {"PID",       "COMMAND",  "LOCAL",     "REMOTE",   "TRANSPORT", "BYTES-IN",
					    "BYTES-OUT", "MESSAGES", "DOORBELLS", "QUEUE-IN", "QUEUE-OUT", "STATE"};

/* Text on the left, numbers on the right. */
static const bool numeric[COLUMNS] = {true, false, false, false, false, true, true, true, true, true, true, false};

typedef char row[COLUMNS][CELL];

static json_int_t number(const json_t *object, const char *key)
{
	return json_integer_value(json_object_get(object, key));
}

static const char *text(const json_t *object, const char *key)
{
	const char *value = json_string_value(json_object_get(object, key));

	return value ? value : "-";
}

static void put_number(char cell[CELL], json_int_t value)
{
	snprintf(cell, CELL, "%" JSON_INTEGER_FORMAT, value);
}

static void put_transport(char cell[CELL], const json_t *socket)
{
	if (strcmp(text(socket, "transport"), "shm") != 0)
		snprintf(cell, CELL, "%s (%s)", text(socket, "transport"), text(socket, "reason"));
	else
		snprintf(cell, CELL, "%s", text(socket, "transport"));
}

static void put_state(char cell[CELL], const json_t *state)
{
	if (json_object_get(state, "tcp"))
		snprintf(cell, CELL, "%s", text(state, "tcp"));
	else
		snprintf(cell, CELL, "%s/%s", text(state, "in"), text(state, "out"));
}

static void fill(row cells, const json_t *socket)
{
	const json_t *bytes = json_object_get(socket, "bytes"), *queue = json_object_get(socket, "queue"),
		     *pid = json_object_get(socket, "pid");

	snprintf(cells[0], CELL, "-");
	if (json_is_integer(pid))
		put_number(cells[0], json_integer_value(pid));
	snprintf(cells[1], CELL, "%s", text(socket, "command"));
	snprintf(cells[2], CELL, "%s", text(socket, "local"));
	snprintf(cells[3], CELL, "%s", text(socket, "remote"));
	put_transport(cells[4], socket);
	put_number(cells[5], number(bytes, "ring_in") + number(bytes, "kernel_in"));
	put_number(cells[6], number(bytes, "ring_out") + number(bytes, "kernel_out"));
	put_number(cells[7], number(socket, "messages"));
	put_number(cells[8], number(socket, "doorbells"));
	put_number(cells[9], number(queue, "in"));
	put_number(cells[10], number(queue, "out"));
	put_state(cells[11], json_object_get(socket, "state"));
}

static void print_row(const int widths[COLUMNS], row cells)
{
	for (int c = 0; c < COLUMNS; c++)
		printf("%*s%s", numeric[c] ? widths[c] : c == COLUMNS - 1 ? 0 : -widths[c], cells[c], c == COLUMNS - 1 ? "\n" : "  ");
}

static void print_table(const json_t *sockets)
{
	size_t count = json_array_size(sockets);
	row *rows = calloc(count + 1, sizeof(*rows));
	int widths[COLUMNS] = {0};

	if (!rows)
		return;
	for (int c = 0; c < COLUMNS; c++)
		snprintf(rows[0][c], CELL, "%s", titles[c]);
	for (size_t i = 0; i < count; i++)
		fill(rows[i + 1], json_array_get(sockets, i));
	for (size_t i = 0; i <= count; i++)
		for (int c = 0; c < COLUMNS; c++)
			if ((int)strlen(rows[i][c]) > widths[c])
				widths[c] = (int)strlen(rows[i][c]);
	for (size_t i = 0; i <= count; i++)
		print_row(widths, rows[i]);
	free(rows);
}

int cw_command_ss(int argc, char **argv)
{
	struct cw_asking asking = {0};
	int result = cw_read_asking(&asking, argc, argv, "List every TCP socket of the programs that run under causeway.");

	if (result)
		return result < 0 ? 2 : 0;
	return cw_show(&asking, CW_LIST, print_table);
}
