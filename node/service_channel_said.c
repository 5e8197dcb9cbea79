/* What comes over a channel. Its sender is a member of the cluster; nothing else is believed of it. */
#include <string.h>

#include "service_channel.h"
#include "sync/cpu.h"

void cw_tell_map(struct cw_channel *channel)
{
	const struct cw_map *map = cw_cluster.map;
	struct cw_hello *theirs = &channel->hello;

	if (theirs->map_version > map->version || (theirs->map_version == map->version && memcmp(theirs->map_hash, map->hash, 16) >= 0))
		return;
	if (!cw_channel_record(channel, CW_RECORD_MAP, map->text, map->length))
		return;
	theirs->map_version = map->version;
	memcpy(theirs->map_hash, map->hash, sizeof(theirs->map_hash));
}

void cw_said_map(struct cw_channel *channel, const unsigned char *bytes, size_t length)
{
	char why[200];
	struct cw_map *map = cw_map_read(bytes, length, cw_cluster.identity.cluster, why);

	if (!map) {
		cw_cluster_log("a map from another node is not taken: %s", why);
		cw_channel_refuse(channel, CW_REFUSED_nonsense);
		return;
	}
	channel->hello.map_version = map->version;
	memcpy(channel->hello.map_hash, map->hash, sizeof(map->hash));
	if (cw_map_newer(map->version, map->hash, cw_cluster.map)) {
		cw_tally(CW_SERVICE_maps_taken);
		cw_cluster_adopt(map, channel);
		return;
	}
	cw_map_free(map);
	cw_meet_again();
}

/* ---- signs of life ---- */

static void no_answer(struct cw_timer *timer)
{
	struct cw_member *peer = (struct cw_member *)((char *)timer - offsetof(struct cw_member, probe));

	if (peer->channel)
		cw_channel_end(peer->channel, "no answer");
}

void cw_cluster_probe(uint64_t node)
{
	struct cw_member *peer = cw_member_by_id(node);
	unsigned char words[8];

	if (!peer || !peer->channel || peer->pinged_at)
		return;
	peer->pinged_at = cw_monotonic_ns();
	peer->pings++;
	cw_number_put(words, peer->pinged_at);
	peer->probe.expired = no_answer;
	cw_timer_set(&peer->probe, CW_CHANNEL_PROBE_NS);
	cw_channel_record(peer->channel, CW_RECORD_PING, words, sizeof(words));
}

static void pong(struct cw_member *peer, const unsigned char *bytes, size_t length)
{
	if (length != 8 || !peer->pinged_at || cw_number_take(bytes) != peer->pinged_at)
		return;
	peer->round_trip = cw_monotonic_ns() - peer->pinged_at;
	peer->pinged_at = 0;
	peer->pongs++;
	cw_timer_stop(&peer->probe);
	cw_meet_superfluous(peer);
}

/* ---- addresses that are not in the map ---- */

static uint32_t own_addresses(struct in6_addr list[CW_CHANNEL_TOLD])
{
	const struct in6_addr *own;
	uint32_t count = cw_addresses_own(&own);

	if (count > CW_CHANNEL_TOLD)
		count = CW_CHANNEL_TOLD;
	memcpy(list, own, count * sizeof(list[0]));
	return count;
}

void cw_tell_addresses(struct cw_channel *channel)
{
	struct in6_addr list[CW_CHANNEL_TOLD];
	uint32_t count = own_addresses(list);

	cw_channel_record(channel, CW_RECORD_ADDRESSES, list, count * sizeof(list[0]));
}

void cw_channels_addresses(void)
{
	for (uint32_t i = 0; i < cw_cluster.peers; i++)
		if (cw_cluster.peer[i]->channel)
			cw_tell_addresses(cw_cluster.peer[i]->channel);
}

static void addresses(struct cw_member *peer, const unsigned char *bytes, size_t length)
{
	if (length % sizeof(peer->told[0]) || length > sizeof(peer->told))
		return;
	memcpy(peer->told, bytes, length);
	peer->tolds = (uint32_t)(length / sizeof(peer->told[0]));
}

void cw_said(struct cw_channel *channel, uint16_t type, const unsigned char *bytes, size_t length)
{
	if (type >= CW_CLUSTER_TYPE_FIRST)
		cw_cluster_hand(channel->peer, type, bytes, length);
	else if (type == CW_RECORD_MAP)
		cw_said_map(channel, bytes, length);
	else if (type == CW_RECORD_PING && length == 8)
		cw_channel_record(channel, CW_RECORD_PONG, bytes, length);
	else if (type == CW_RECORD_PONG)
		pong(channel->peer, bytes, length);
	else if (type == CW_RECORD_ADDRESSES)
		addresses(channel->peer, bytes, length);
	else
		cw_tally(CW_SERVICE_channel_unknown);
}
