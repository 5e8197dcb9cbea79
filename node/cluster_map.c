/* The map: a line with a signature, then JSON, signed as it stands so that nobody has to agree on how JSON is written. */
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "cluster_inside.h"

#define FORMAT    "causeway-map-1 "
#define HEAD      (sizeof(FORMAT) - 1)
#define SIGNATURE (2 * crypto_sign_BYTES)
#define BODY      (HEAD + SIGNATURE + 1)

void cw_digest16(unsigned char to[16], const void *bytes, size_t length)
{
	crypto_generichash(to, 16, bytes, length, NULL, 0);
}

void cw_hex(char *to, const unsigned char *bytes, size_t length)
{
	sodium_bin2hex(to, 2 * length + 1, bytes, length);
}

bool cw_unhex(unsigned char *to, size_t length, const char *text)
{
	size_t got;

	return text && strlen(text) == 2 * length && sodium_hex2bin(to, length, text, 2 * length, NULL, &got, NULL) == 0 && got == length;
}

bool cw_name_is_fine(const char *name)
{
	size_t length = name ? strlen(name) : 0;

	return length > 0 && length < CW_CLUSTER_NAME && *name != '-' && *name != '.' &&
	       strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._") == length;
}

uint64_t cw_short_id(const unsigned char id[CW_ID])
{
	return cw_number_take(id);
}

static bool read_addresses(const json_t *list, struct cw_map_node *node)
{
	size_t index;
	json_t *text;

	if (!json_is_array(list) || json_array_size(list) > CW_CLUSTER_ADDRESSES)
		return false;
	json_array_foreach(list, index,
			   text) if (!json_is_string(text) ||
				     !cw_address_read(json_string_value(text), &node->address[node->addresses++])) return false;
	return true;
}

static bool read_node(const json_t *json, struct cw_map_node *node, bool addresses)
{
	const char *name = json_string_value(json_object_get(json, "name"));

	if (!cw_name_is_fine(name) || !cw_unhex(node->id, CW_ID, json_string_value(json_object_get(json, "id"))) ||
	    !cw_unhex(node->key, CW_KEY, json_string_value(json_object_get(json, "key"))) || !cw_short_id(node->id))
		return false;
	strcpy(node->name, name);
	return !addresses || read_addresses(json_object_get(json, "addresses"), node);
}

static bool read_nodes(const json_t *json, struct cw_map *map)
{
	json_t *node, *nodes = json_object_get(json, "nodes"), *removed = json_object_get(json, "removed");
	size_t index;

	if (!json_is_array(nodes) || !json_is_array(removed) || json_array_size(nodes) > CW_CLUSTER_NODES ||
	    json_array_size(removed) > CW_MAP_REMOVED)
		return false;
	json_array_foreach(nodes, index, node)
	{
		struct cw_map_node one = {0};

		if (!read_node(node, &one, true) || cw_map_add(map, &one) != CW_REFUSED_none)
			return false;
	}
	json_array_foreach(removed, index, node) if (!read_node(node, &map->gone[map->removed++], false)) return false;
	return true;
}

static bool read_json(struct cw_map *map)
{
	json_t *json = json_loadb(map->text + BODY, map->length - BODY, JSON_REJECT_DUPLICATES, NULL);
	const char *name = json_string_value(json_object_get(json, "cluster"));
	json_int_t version = json_integer_value(json_object_get(json, "version"));
	bool fine = cw_name_is_fine(name) && version > 0 &&
		    cw_unhex(map->cluster, CW_KEY, json_string_value(json_object_get(json, "key"))) && read_nodes(json, map);

	if (fine) {
		strcpy(map->cluster_name, name);
		map->version = (uint64_t)version;
	}
	json_decref(json);
	return fine;
}

static bool is_signed(const struct cw_map *map, const unsigned char *cluster)
{
	unsigned char signature[crypto_sign_BYTES];
	char hex[SIGNATURE + 1] = "";

	memcpy(hex, map->text + HEAD, SIGNATURE);
	return cw_unhex(signature, sizeof(signature), hex) &&
	       crypto_sign_verify_detached(signature, (const unsigned char *)map->text + BODY, map->length - BODY, cluster) == 0;
}

/* A map of another cluster is parsed before its signature is checked only where no cluster is known yet: the key is in it. */
static const char *take(struct cw_map *map, const void *text, size_t length, const unsigned char *cluster)
{
	if (length <= BODY || length > CW_MAP_MOST || memcmp(text, FORMAT, HEAD) != 0 || ((const char *)text)[BODY - 1] != '\n')
		return "it is not a map of a cluster";
	map->text = malloc(length + 1);
	if (!map->text)
		return "there is no memory";
	memcpy(map->text, text, length);
	map->text[length] = 0;
	map->length = length;
	cw_digest16(map->hash, text, length);
	if (cluster && !is_signed(map, cluster))
		return "it is not signed by this cluster's key: somebody changed it, or it is another cluster's";
	if (!read_json(map))
		return "its text is not that of a map";
	if (!is_signed(map, map->cluster) || (cluster && memcmp(cluster, map->cluster, CW_KEY) != 0))
		return "it is not signed by the key that it names: somebody changed it";
	return NULL;
}

struct cw_map *cw_map_read(const void *text, size_t length, const unsigned char *cluster, char why[200])
{
	struct cw_map *map = calloc(1, sizeof(*map));
	const char *wrong = map ? take(map, text, length, cluster) : "there is no memory";

	if (!wrong)
		return map;
	strcpy(why, wrong);
	cw_map_free(map);
	return NULL;
}

void cw_map_free(struct cw_map *map)
{
	if (map)
		free(map->text);
	free(map);
}

struct cw_map *cw_map_begin(const char *cluster_name, const unsigned char cluster[CW_KEY])
{
	struct cw_map *map = calloc(1, sizeof(*map));

	if (!map)
		return NULL;
	strcpy(map->cluster_name, cluster_name);
	memcpy(map->cluster, cluster, CW_KEY);
	return map;
}

static json_t *node_json(const struct cw_map_node *node, bool addresses)
{
	char id[2 * CW_ID + 1], key[2 * CW_KEY + 1], text[CW_ADDRESS_TEXT];
	json_t *json, *list;

	cw_hex(id, node->id, CW_ID);
	cw_hex(key, node->key, CW_KEY);
	json = json_pack("{s:s, s:s, s:s}", "name", node->name, "id", id, "key", key);
	if (!addresses)
		return json;
	list = json_array();
	for (uint32_t i = 0; i < node->addresses; i++) {
		cw_address_write(&node->address[i], text);
		json_array_append_new(list, json_string(text));
	}
	json_object_set_new(json, "addresses", list);
	return json;
}

json_t *cw_map_json(const struct cw_map *map)
{
	char key[2 * CW_KEY + 1];
	json_t *nodes = json_array(), *removed = json_array();

	cw_hex(key, map->cluster, CW_KEY);
	for (uint32_t i = 0; i < map->nodes; i++)
		json_array_append_new(nodes, node_json(&map->node[i], true));
	for (uint32_t i = 0; i < map->removed; i++)
		json_array_append_new(removed, node_json(&map->gone[i], false));
	return json_pack("{s:s, s:s, s:I, s:o, s:o}", "cluster", map->cluster_name, "key", key, "version", (json_int_t)map->version,
			 "nodes", nodes, "removed", removed);
}

bool cw_map_sign(struct cw_map *map, const unsigned char secret[64])
{
	unsigned char signature[crypto_sign_BYTES];
	json_t *json;
	char *body, *text = NULL;
	size_t length;

	map->version++;
	json = cw_map_json(map);
	body = json_dumps(json, JSON_INDENT(1));
	json_decref(json);
	length = body ? BODY + strlen(body) : 0;
	if (body && length <= CW_MAP_MOST)
		text = malloc(length + 1);
	if (text) {
		crypto_sign_detached(signature, NULL, (const unsigned char *)body, length - BODY, secret);
		memcpy(text, FORMAT, HEAD);
		cw_hex(text + HEAD, signature, sizeof(signature));
		text[BODY - 1] = '\n';
		memcpy(text + BODY, body, length - BODY + 1);
		free(map->text);
		map->text = text;
		map->length = length;
		cw_digest16(map->hash, text, length);
	}
	free(body);
	return text != NULL;
}

/* Equal versions come from two who signed at once: all take the same one of them. */
bool cw_map_newer(uint64_t version, const unsigned char hash[16], const struct cw_map *than)
{
	return version != than->version ? version > than->version : memcmp(hash, than->hash, 16) > 0;
}

const struct cw_map_node *cw_map_by_name(const struct cw_map *map, const char *name)
{
	for (uint32_t i = 0; i < map->nodes; i++)
		if (strcmp(map->node[i].name, name) == 0)
			return &map->node[i];
	return NULL;
}

const struct cw_map_node *cw_map_by_key(const struct cw_map *map, const unsigned char key[CW_KEY])
{
	for (uint32_t i = 0; i < map->nodes; i++)
		if (memcmp(map->node[i].key, key, CW_KEY) == 0)
			return &map->node[i];
	return NULL;
}

const struct cw_map_node *cw_map_by_id(const struct cw_map *map, const unsigned char id[CW_ID])
{
	for (uint32_t i = 0; i < map->nodes; i++)
		if (memcmp(map->node[i].id, id, CW_ID) == 0)
			return &map->node[i];
	return NULL;
}

enum cw_cluster_reason cw_map_stranger(const struct cw_map *map, const unsigned char key[CW_KEY], const unsigned char id[CW_ID])
{
	if (cw_map_by_id(map, id))
		return CW_REFUSED_old_key;
	for (uint32_t i = 0; i < map->removed; i++)
		if (memcmp(map->gone[i].key, key, CW_KEY) == 0)
			return CW_REFUSED_removed;
	return CW_REFUSED_unknown;
}

static bool shares_an_address(const struct cw_map_node *one, const struct cw_map_node *other)
{
	for (uint32_t i = 0; i < one->addresses; i++)
		for (uint32_t k = 0; k < other->addresses; k++)
			if (cw_address_same(&one->address[i], &other->address[k]))
				return true;
	return false;
}

enum cw_cluster_reason cw_map_add(struct cw_map *map, const struct cw_map_node *node)
{
	if (map->nodes == CW_CLUSTER_NODES)
		return CW_REFUSED_full;
	if (cw_map_by_name(map, node->name))
		return CW_REFUSED_same_name;
	for (uint32_t i = 0; i < map->nodes; i++) {
		const struct cw_map_node *other = &map->node[i];

		if (cw_short_id(other->id) == cw_short_id(node->id) || memcmp(other->key, node->key, CW_KEY) == 0)
			return CW_REFUSED_nonsense;
		if (shares_an_address(other, node))
			return CW_REFUSED_same_address;
	}
	map->node[map->nodes++] = *node;
	return CW_REFUSED_none;
}

bool cw_map_remove(struct cw_map *map, const unsigned char id[CW_ID])
{
	const struct cw_map_node *node = cw_map_by_id(map, id);
	size_t index = node ? (size_t)(node - map->node) : 0;

	if (!node)
		return false;
	if (map->removed == CW_MAP_REMOVED)
		memmove(&map->gone[0], &map->gone[1], --map->removed * sizeof(map->gone[0]));
	map->gone[map->removed] = *node;
	map->gone[map->removed++].addresses = 0;
	memmove(&map->node[index], &map->node[index + 1], (--map->nodes - index) * sizeof(map->node[0]));
	return true;
}
