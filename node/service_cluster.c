/* Who is in the cluster: the directory's files, the map and its changes, and what the rest of the service asks (cluster.h). */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "service_channel.h"
#include "sync/cpu.h"
#include "version.h"

#define STATE_HANDLERS 8
#define LOG_NS         60000000000ull
#define LOG_LINES      60

struct cw_cluster_state cw_cluster;
static cw_cluster_handler *handlers[CW_CLUSTER_TYPES];
static cw_cluster_state_handler *state_handlers[STATE_HANDLERS];
static struct cw_memory_round_trip (*memory_round_trip)(uint64_t node, bool measure);

void cw_cluster_log(const char *format, ...)
{
	static uint64_t begin;
	static uint32_t lines;
	uint64_t now = cw_monotonic_ns();
	va_list arguments;

	if (!begin || now - begin > LOG_NS) {
		begin = now;
		lines = 0;
	}
	if (++lines > LOG_LINES)
		return;
	fprintf(stderr, "causewayd: ");
	va_start(arguments, format);
	vfprintf(stderr, format, arguments);
	va_end(arguments);
	fprintf(stderr, "%s\n", lines == LOG_LINES ? " (no more for a minute)" : "");
}

int cw_cluster_set(const char *directory)
{
	if (!*directory || strlen(directory) >= sizeof(cw_cluster.directory)) {
		fprintf(stderr, "causewayd: --cluster takes a directory\n");
		return -1;
	}
	strcpy(cw_cluster.directory, directory);
	return 0;
}

/* ---- handlers ---- */

void cw_cluster_on(uint16_t type, cw_cluster_handler *handler)
{
	if (type < CW_CLUSTER_TYPES)
		handlers[type] = handler;
}

void cw_cluster_on_state(cw_cluster_state_handler *handler)
{
	for (unsigned i = 0; i < STATE_HANDLERS; i++)
		if (!state_handlers[i]) {
			state_handlers[i] = handler;
			return;
		}
}

void cw_cluster_told_state(uint64_t id, bool up)
{
	for (unsigned i = 0; i < STATE_HANDLERS && state_handlers[i]; i++)
		state_handlers[i](id, up);
}

void cw_cluster_hand(const struct cw_member *peer, uint16_t type, const void *bytes, size_t length)
{
	if (type < CW_CLUSTER_TYPES && handlers[type])
		handlers[type](peer->node.id, bytes, (uint32_t)length);
	else
		cw_tally(CW_SERVICE_channel_unknown);
}

bool cw_cluster_send(uint64_t node, uint16_t type, const void *bytes, uint32_t length)
{
	const struct cw_member *peer = cw_member_by_id(node);

	if (!peer || !peer->channel || length > CW_CLUSTER_MESSAGE || type < CW_CLUSTER_TYPE_FIRST)
		return false;
	if (cw_channel_record(peer->channel, type, bytes, length))
		return true;
	cw_tally(CW_SERVICE_channel_full);
	return false;
}

void cw_cluster_on_memory_round_trip(struct cw_memory_round_trip (*ask)(uint64_t node, bool measure))
{
	memory_round_trip = ask;
}

struct cw_memory_round_trip cw_cluster_memory_round_trip(uint64_t node, bool measure)
{
	return memory_round_trip ? memory_round_trip(node, measure) : (struct cw_memory_round_trip){0};
}

/* ---- nodes ---- */

struct cw_member *cw_member_by_key(const unsigned char key[CW_KEY])
{
	for (uint32_t i = 0; i < cw_cluster.peers; i++)
		if (memcmp(cw_cluster.peer[i]->key, key, CW_KEY) == 0)
			return cw_cluster.peer[i];
	return NULL;
}

struct cw_member *cw_member_by_id(uint64_t id)
{
	for (uint32_t i = 0; i < cw_cluster.peers; i++)
		if (cw_cluster.peer[i]->node.id == id)
			return cw_cluster.peer[i];
	return NULL;
}

uint32_t cw_cluster_count(void)
{
	return cw_cluster.map ? cw_cluster.peers + 1 : 0;
}

const struct cw_cluster_node *cw_cluster_node_at(uint32_t index)
{
	if (index >= cw_cluster_count())
		return NULL;
	return index ? &cw_cluster.peer[index - 1]->node : &cw_cluster.self;
}

const struct cw_cluster_node *cw_cluster_node(uint64_t id)
{
	const struct cw_member *peer = cw_member_by_id(id);

	if (cw_cluster.map && id == cw_cluster.self.id)
		return &cw_cluster.self;
	return peer ? &peer->node : NULL;
}

uint64_t cw_cluster_self(void)
{
	return cw_cluster.map ? cw_cluster.self.id : 0;
}

static bool has_address(const struct cw_cluster_node *node, const struct in6_addr *address)
{
	struct in6_addr one;

	for (uint32_t i = 0; i < node->addresses; i++)
		if (cw_address_plain((const struct sockaddr *)&node->address[i], &one) && memcmp(&one, address, sizeof(one)) == 0)
			return true;
	return false;
}

static bool told(const struct in6_addr *list, uint32_t count, const struct in6_addr *address)
{
	for (uint32_t i = 0; i < count; i++)
		if (memcmp(&list[i], address, sizeof(list[i])) == 0)
			return true;
	return false;
}

/* What is in the map before what a node says of itself: none can take another's address. */
uint64_t cw_cluster_node_of_address(const struct in6_addr *address)
{
	const struct in6_addr *own;
	uint32_t count;

	for (uint32_t i = 0; i < cw_cluster_count(); i++)
		if (has_address(cw_cluster_node_at(i), address))
			return cw_cluster_node_at(i)->id;
	if (!cw_cluster.map)
		return 0;
	count = cw_addresses_own(&own);
	if (told(own, count, address))
		return cw_cluster.self.id;
	for (uint32_t i = 0; i < cw_cluster.peers; i++) {
		const struct cw_member *peer = cw_cluster.peer[i];

		if (peer->channel && told(peer->told, peer->tolds, address))
			return peer->node.id;
	}
	return 0;
}

uint64_t cw_cluster_node_of_sockaddr(const struct sockaddr *address)
{
	struct in6_addr plain;

	return cw_address_plain(address, &plain) ? cw_cluster_node_of_address(&plain) : 0;
}

/* ---- the map ---- */

static void take_from_map(struct cw_cluster_node *node, const struct cw_map_node *from)
{
	node->id = cw_short_id(from->id);
	memcpy(node->full_id, from->id, CW_ID);
	strcpy(node->name, from->name);
	node->addresses = from->addresses;
	memcpy(node->address, from->address, sizeof(node->address));
}

/* Those that wait would be confirmed when the channel goes down. */
static void forget_peer(const struct cw_member *peer, const struct cw_channel *but)
{
	struct cw_channel *channel;

	DL_FOREACH(cw_channels, channel)
	if (channel != but && channel->peer == peer) {
		channel->peer = NULL;
		channel->met = false;
	}
}

/* It isn't found any more before anybody hears that it is down. */
static void drop_peer(uint32_t index, enum cw_cluster_reason reason)
{
	struct cw_member *peer = cw_cluster.peer[index];

	cw_cluster.peer[index] = cw_cluster.peer[--cw_cluster.peers];
	forget_peer(peer, peer->channel);
	if (peer->channel && reason != CW_REFUSED_none)
		cw_channel_refuse(peer->channel, reason);
	else if (peer->channel)
		cw_channel_end(peer->channel, "");
	cw_dial_stop(peer);
	cw_timer_stop(&peer->probe);
	forget_peer(peer, NULL);
	cw_member_free(peer);
}

static bool is_of_map(const struct cw_member *peer, const struct cw_map *map)
{
	const struct cw_map_node *node = cw_map_by_id(map, peer->node.full_id);

	return node && memcmp(node->key, peer->key, CW_KEY) == 0;
}

static void add_peer(const struct cw_map_node *node)
{
	struct cw_member *peer = cw_member_by_id(cw_short_id(node->id));

	if (!peer) {
		peer = calloc(1, sizeof(*peer));
		if (!peer)
			return;
		memcpy(peer->key, node->key, CW_KEY);
		cw_cluster.peer[cw_cluster.peers++] = peer;
	}
	take_from_map(&peer->node, node);
}

static void leave(const char *why)
{
	uint64_t self = cw_cluster_self();
	struct cw_channel *channel;

	if (why)
		snprintf(cw_cluster.why, sizeof(cw_cluster.why), "%s", why);
	else
		*cw_cluster.why = 0;
	while (cw_cluster.peers)
		drop_peer(0, CW_REFUSED_none);
	cw_channel_deaf();
	while ((channel = cw_channels))
		cw_channel_end(channel, "");
	if (self)
		cw_cluster_told_state(self, false);
	cw_map_free(cw_cluster.map);
	cw_cluster.map = NULL;
	if (why && self)
		cw_cluster_log("%s", why);
}

static void dial_all(void)
{
	for (uint32_t i = 0; i < cw_cluster.peers; i++)
		if (!cw_cluster.peer[i]->channel) {
			cw_cluster.peer[i]->failures = 0;
			cw_dial(cw_cluster.peer[i]);
		}
}

static void take_nodes(const struct cw_map *map)
{
	for (uint32_t i = 0; i < cw_cluster.peers;)
		if (is_of_map(cw_cluster.peer[i], map))
			i++;
		else
			drop_peer(i, CW_REFUSED_removed);
	for (uint32_t i = 0; i < map->nodes; i++)
		if (memcmp(map->node[i].id, cw_cluster.identity.id, CW_ID) != 0)
			add_peer(&map->node[i]);
}

/* NULL if this node is one of the map's, by its key too. */
static const char *stranger(const struct cw_map *map)
{
	const struct cw_map_node *self = cw_map_by_id(map, cw_cluster.identity.id);

	if (!self)
		return "this node was removed from the cluster: `causeway cluster leave` forgets it here, then it can join again";
	if (memcmp(self->key, cw_cluster.identity.keys.public, CW_KEY) != 0)
		return "the cluster has another key for this node: its directory is an old copy";
	return NULL;
}

static void save(const struct cw_map *map)
{
	char why[CW_WHY];

	if (cw_map_save(cw_cluster.directory, map, why) < 0)
		cw_cluster_log("the new map can't be kept: %s", why);
}

void cw_cluster_adopt(struct cw_map *map, const struct cw_channel *from)
{
	struct cw_map *before = cw_cluster.map;
	const char *why = stranger(map);

	if (from)
		save(map);
	if (why) {
		cw_map_free(map);
		leave(why);
		return;
	}
	cw_cluster.map = map;
	cw_map_free(before);
	take_from_map(&cw_cluster.self, cw_map_by_id(map, cw_cluster.identity.id));
	take_nodes(map);
	cw_channel_listen();
	if (!before)
		cw_cluster_told_state(cw_cluster.self.id, true);
	cw_addresses_peers();
	for (uint32_t i = 0; i < cw_cluster.peers; i++)
		if (cw_cluster.peer[i]->channel)
			cw_tell_map(cw_cluster.peer[i]->channel);
	cw_meet_again();
	dial_all();
}

/* ---- the directory ---- */

static void enter(void)
{
	unsigned char digest[16];

	cw_digest16(digest, cw_cluster.identity.cluster, CW_KEY);
	cw_preamble_make(cw_cluster.preamble, digest);
	cw_cluster.self = (struct cw_cluster_node){
		.self = true, .up = true, .since = cw_monotonic_ns(), .instance = service.instance, .version = CW_VERSION};
}

static int fail(const char *why)
{
	leave(NULL);
	snprintf(cw_cluster.why, sizeof(cw_cluster.why), "%s", why);
	fprintf(stderr, "causewayd: not in a cluster: %s\n", why);
	return -1;
}

static bool is_same(const struct cw_identity *one, const struct cw_identity *other)
{
	return memcmp(one->id, other->id, CW_ID) == 0 && memcmp(&one->keys, &other->keys, sizeof(one->keys)) == 0 &&
	       memcmp(one->cluster, other->cluster, CW_KEY) == 0;
}

int cw_cluster_reload(void)
{
	struct cw_identity identity;
	struct cw_map *map;
	char why[CW_WHY];
	const char *wrong;

	if (!cw_file_exists(cw_cluster.directory, CW_FILE_NODE)) {
		leave(NULL);
		return 0;
	}
	if (!cw_noise_ready())
		return fail("libsodium can't work here");
	if (cw_identity_load(cw_cluster.directory, &identity, why) < 0 || !(map = cw_map_load(cw_cluster.directory, identity.cluster, why)))
		return fail(why);
	if (cw_cluster.map && !is_same(&identity, &cw_cluster.identity))
		leave(NULL);
	cw_cluster.identity = identity;
	wrong = stranger(map);
	if (wrong) {
		cw_map_free(map);
		return fail(wrong);
	}
	*cw_cluster.why = 0;
	if (cw_cluster.map && !cw_map_newer(map->version, map->hash, cw_cluster.map)) {
		if (memcmp(map->hash, cw_cluster.map->hash, sizeof(map->hash)) != 0)
			save(cw_cluster.map); /* an older one was laid over it */
		cw_map_free(map);
		dial_all();
		return 0;
	}
	if (!cw_cluster.map)
		enter();
	cw_cluster_adopt(map, NULL);
	return 0;
}

int cw_cluster_start(const char *directory)
{
	if (directory != cw_cluster.directory && cw_cluster_set(directory) < 0)
		return -1;
	return *cw_cluster.directory ? cw_cluster_reload() : 0;
}

void cw_cluster_end(void)
{
	leave(NULL);
}
