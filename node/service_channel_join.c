/*
 * Nodes that join and leave: the service whose directory has the cluster's key signs the new map. The command on the other machine speaks
 * (command_cluster_far.c):
 *
 *	JOIN	{"invitation", "name", "id", "addresses", "try"} of whoever has the key that it has shown; answered with JOINED and the
 *		map, without one if it only tried
 *	LEAVE	of a node of the map; answered with LEFT
 *
 * Files are written here, in the loop: it happens once in a node's life, and what programs do meanwhile doesn't need the service.
 */
#include <sodium.h>
#include <string.h>
#include <unistd.h>

#include "service_channel.h"

struct request {
	struct cw_map_node node;
	unsigned char secret[CW_INVITATION_SECRET];
	bool try;
};

static bool read_addresses(const json_t *list, struct cw_map_node *node)
{
	size_t index;
	json_t *text;

	if (!json_is_array(list) || json_array_size(list) == 0 || json_array_size(list) > CW_CLUSTER_ADDRESSES)
		return false;
	json_array_foreach(list, index, text)
	{
		if (!json_is_string(text) || !cw_address_read(json_string_value(text), &node->address[node->addresses++]))
			return false;
	}
	return true;
}

static bool read_request(const unsigned char *bytes, size_t length, struct request *request)
{
	json_t *json = json_loadb((const char *)bytes, length, JSON_REJECT_DUPLICATES, NULL);
	const char *name = json_string_value(json_object_get(json, "name"));
	bool fine = cw_name_is_fine(name) &&
		    cw_unhex(request->secret, sizeof(request->secret), json_string_value(json_object_get(json, "invitation"))) &&
		    cw_unhex(request->node.id, CW_ID, json_string_value(json_object_get(json, "id"))) && cw_short_id(request->node.id) &&
		    read_addresses(json_object_get(json, "addresses"), &request->node);

	if (fine) {
		strcpy(request->node.name, name);
		request->try = json_is_true(json_object_get(json, "try"));
	}
	json_decref(json);
	return fine;
}

/* A copy to change, and the key to sign it with. */
static struct cw_map *begin(unsigned char secret[64], int *lock, enum cw_cluster_reason *reason)
{
	char why[CW_WHY];
	struct cw_map *map = NULL;

	*reason = CW_REFUSED_none;
	*lock = -1;
	if (!cw_file_exists(cw_cluster.directory, CW_FILE_CLUSTER)) {
		*reason = CW_REFUSED_no_key;
		return NULL;
	}
	*lock = cw_directory_lock(cw_cluster.directory, false, why);
	if (*lock < 0) {
		*reason = CW_REFUSED_busy;
	} else if (cw_cluster_key_load(cw_cluster.directory, cw_cluster.identity.cluster, secret, why) < 0 ||
		   !(map = cw_map_load(cw_cluster.directory, cw_cluster.identity.cluster, why))) {
		cw_cluster_log("the map can't be changed: %s", why);
		*reason = CW_REFUSED_failed;
	}
	return map;
}

/* Signs it, and takes it: this node's own first. */
static bool finish(struct cw_map *map, const unsigned char secret[64])
{
	char why[CW_WHY] = "it grew too large";

	if (!cw_map_sign(map, secret) || cw_map_save(cw_cluster.directory, map, why) < 0) {
		cw_cluster_log("the map can't be changed: %s", why);
		cw_map_free(map);
		return false;
	}
	return true;
}

static enum cw_cluster_reason add(struct cw_map *map, const struct request *request, const unsigned char secret[64], bool *taken)
{
	enum cw_cluster_reason reason = cw_invitation_use(cw_cluster.directory, request->secret, false);

	if (reason == CW_REFUSED_none)
		reason = cw_map_add(map, &request->node);
	if (reason != CW_REFUSED_none || request->try)
		return reason;
	reason = cw_invitation_use(cw_cluster.directory, request->secret, true);
	if (reason == CW_REFUSED_none)
		*taken = true;
	return reason;
}

void cw_join_asked(struct cw_channel *channel, const unsigned char *bytes, size_t length)
{
	struct request request = {0};
	unsigned char secret[64];
	enum cw_cluster_reason reason = CW_REFUSED_nonsense;
	struct cw_map *map = NULL;
	bool taken = false;
	int lock = -1;

	if (read_request(bytes, length, &request)) {
		memcpy(request.node.key, channel->noise.other, CW_KEY);
		map = begin(secret, &lock, &reason);
		if (map)
			reason = add(map, &request, secret, &taken);
	}
	if (!taken) {
		cw_map_free(map);
		if (reason == CW_REFUSED_none)
			cw_channel_record(channel, CW_RECORD_JOINED, NULL, 0);
		else
			cw_channel_refuse(channel, reason);
	} else if (finish(map, secret)) {
		cw_cluster_log("node %s has joined", request.node.name);
		cw_channel_record(channel, CW_RECORD_JOINED, map->text, map->length);
		cw_cluster_adopt(map, NULL);
	} else {
		cw_channel_refuse(channel, CW_REFUSED_failed);
	}
	if (lock >= 0)
		close(lock);
	sodium_memzero(secret, sizeof(secret));
}

void cw_leave_asked(struct cw_channel *channel)
{
	const struct cw_member *peer = cw_member_by_key(channel->noise.other);
	enum cw_cluster_reason reason = CW_REFUSED_unknown;
	unsigned char secret[64];
	struct cw_map *map = NULL;
	char name[CW_CLUSTER_NAME];
	int lock = -1;

	if (peer)
		map = begin(secret, &lock, &reason);
	if (!map) {
		cw_channel_refuse(channel, reason);
	} else {
		strcpy(name, peer->node.name);
		cw_map_remove(map, peer->node.full_id);
		if (finish(map, secret)) {
			cw_cluster_log("node %s has left", name);
			cw_channel_record(channel, CW_RECORD_LEFT, NULL, 0);
			cw_cluster_adopt(map, NULL);
		} else {
			cw_channel_refuse(channel, CW_REFUSED_failed);
		}
	}
	if (lock >= 0)
		close(lock);
	sodium_memzero(secret, sizeof(secret));
}
