/*
 * The inside of `causeway topology`: a picture of nodes, memory nodes, windows and links, as JSON:
 *
 *	{"cluster", "nodes": [{"name", "self", "state", "network_us", "memory_nodes": [{"number", "memory", "processors"}]}],
 *	 "windows": as `causeway windows` has them, "links": [{"to", "state", "windows", "size", "connections", "doorbells"}]}
 *
 *	command_topology.c	what is known, put together; as text
 *	command_topology_svg.c	as a drawing
 */
#ifndef CW_NODE_COMMAND_TOPOLOGY_H
#define CW_NODE_COMMAND_TOPOLOGY_H

#include "command.h"

void cw_topology_svg(const json_t *picture);
const char *cw_json_text(const json_t *json, const char *key); /* "-" where there is none */
unsigned long long cw_json_number(const json_t *json, const char *key);
void cw_size_text(char text[32], unsigned long long bytes);

#endif
