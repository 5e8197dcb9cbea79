/* `causeway nodes`: what this service knows of the nodes of its cluster; and the command's word that the files have changed. */
#include <errno.h>

#include "service_channel.h"
#include "sync/cpu.h"

static json_t *addresses_of(const struct cw_cluster_node *node)
{
	json_t *list = json_array();
	char text[CW_ADDRESS_TEXT];

	for (uint32_t i = 0; i < node->addresses; i++) {
		cw_address_write(&node->address[i], text);
		json_array_append_new(list, json_string(text));
	}
	return list;
}

static void put_round_trip(json_t *json, const char *name, uint64_t ns)
{
	json_object_set_new(json, name, ns ? json_real((double)ns / 1000) : json_null());
}

static const char *state_of(const struct cw_member *peer)
{
	if (peer->node.up)
		return "up";
	if (peer->refused != CW_REFUSED_none)
		return peer->refused_by_us ? "refused" : "refuses";
	return peer->node.since ? "down" : "never seen";
}

static void put_trouble(json_t *json, const struct cw_member *peer)
{
	if (peer->node.up)
		return;
	if (peer->refused != CW_REFUSED_none) {
		json_object_set_new(json, "reason", json_string(cw_cluster_reason_names[peer->refused]));
		json_object_set_new(json, "trouble", json_string(cw_cluster_reason_text(peer->refused)));
		json_object_set_new(json, "remedy", json_string(cw_cluster_reason_remedy(peer->refused)));
	} else if (*peer->trouble) {
		json_object_set_new(json, "trouble", json_string(peer->trouble));
	}
}

static json_t *node_json(const struct cw_cluster_node *node, const struct cw_member *peer)
{
	char id[2 * CW_ID + 1];
	struct cw_memory_round_trip memory;
	json_t *json;

	cw_hex(id, node->full_id, CW_ID);
	json = json_pack("{s:s, s:s, s:s, s:b, s:o}", "name", node->name, "id", id, "state", peer ? state_of(peer) : "up", "self",
			 (int)node->self, "addresses", addresses_of(node));
	if (*node->version)
		json_object_set_new(json, "version", json_string(node->version));
	if (node->since)
		json_object_set_new(json, "since_seconds", json_integer((json_int_t)((cw_monotonic_ns() - node->since) / 1000000000)));
	if (!peer)
		return json;
	put_round_trip(json, "network_us", node->up ? peer->round_trip : 0);
	memory = node->up ? cw_cluster_memory_round_trip(node->id, false) : (struct cw_memory_round_trip){0};
	put_round_trip(json, "memory_us", memory.ns);
	json_object_set_new(json, "measuring", json_boolean(memory.measuring));
	json_object_set_new(json, "asked", json_integer(peer->pings));
	json_object_set_new(json, "answered", json_integer(peer->pongs));
	put_trouble(json, peer);
	return json;
}

static json_t *list(void)
{
	json_t *nodes = json_array(), *json = json_pack("{s:s}", "directory", cw_cluster.directory);

	if (*cw_cluster.why)
		json_object_set_new(json, "why", json_string(cw_cluster.why));
	if (cw_cluster.map) {
		json_object_set_new(json, "cluster", json_string(cw_cluster.map->cluster_name));
		json_object_set_new(json, "map_version", json_integer((json_int_t)cw_cluster.map->version));
		json_array_append_new(nodes, node_json(&cw_cluster.self, NULL));
	}
	for (uint32_t i = 0; i < cw_cluster.peers; i++)
		json_array_append_new(nodes, node_json(&cw_cluster.peer[i]->node, cw_cluster.peer[i]));
	json_object_set_new(json, "nodes", nodes);
	return json;
}

static void answer(struct cw_program *sender, enum cw_message_type type)
{
	struct cw_message refusal = cw_link_message(type);
	json_t *json = list();

	if (cw_send_text(sender->source.fd, type, json) < 0) {
		refusal.status = ENOMEM;
		cw_link_send(sender->source.fd, &refusal, NULL, 0);
	}
	json_decref(json);
}

void cw_nodes_asked(struct cw_program *sender, const struct cw_message *message)
{
	for (uint32_t i = 0; message->nodes.probe && i < cw_cluster.peers; i++) {
		cw_cluster_memory_round_trip(cw_cluster.peer[i]->node.id, true);
		cw_cluster_probe(cw_cluster.peer[i]->node.id); /* its answer says that the other was heard too */
	}
	answer(sender, CW_NODES);
}

void cw_reload_asked(struct cw_program *sender)
{
	struct cw_message refusal = cw_link_message(CW_CLUSTER);

	if (!cw_may_command(sender)) {
		refusal.status = EPERM;
		cw_link_send(sender->source.fd, &refusal, NULL, 0);
		return;
	}
	if (*cw_cluster.directory)
		cw_cluster_reload();
	answer(sender, CW_CLUSTER);
}
