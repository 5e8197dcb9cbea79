/* The handshake, and which of several connections of two nodes is their channel (cluster_inside.h). */
#include <string.h>

#include "service_channel.h"
#include "sync/cpu.h"
#include "version.h"

#define LONG_NS      10000000000ull
#define MOST_WAITING 4 /* of one member, to be its channel: an honest one has one or two */

/* The node with the smaller id is the one that confirms. */
static bool decides(const struct cw_member *peer)
{
	return cw_cluster.self.id < peer->node.id;
}

/* ---- the handshake ---- */

static void say_hello(struct cw_channel *channel)
{
	struct cw_hello hello = {.map_version = cw_cluster.map->version, .instance = service.instance, .version = CW_VERSION};
	unsigned char words[CW_HELLO_RECORD];

	memcpy(hello.map_hash, cw_cluster.map->hash, sizeof(hello.map_hash));
	memcpy(hello.id, cw_cluster.identity.id, CW_ID);
	cw_hello_make(words, &hello);
	cw_noise_split(&channel->noise, &channel->sending, &channel->receiving);
	channel->phase = CW_CHANNEL_KEYED;
	cw_channel_record(channel, CW_RECORD_HELLO, words, sizeof(words));
}

void cw_meet_open(struct cw_channel *channel)
{
	unsigned char words[CW_PREAMBLE + CW_NOISE_MORE];
	ssize_t length;

	memcpy(words, cw_cluster.preamble, CW_PREAMBLE);
	cw_noise_begin(&channel->noise, true, &cw_cluster.identity.keys, cw_cluster.preamble, CW_PREAMBLE);
	length = cw_noise_write(&channel->noise, NULL, 0, words + CW_PREAMBLE);
	channel->phase = CW_CHANNEL_OPENED;
	cw_channel_frame(channel, CW_FRAME_OPENING, words, CW_PREAMBLE + (size_t)length);
}

static void opening(struct cw_channel *channel, const struct cw_frame *frame)
{
	enum cw_cluster_reason wrong = cw_preamble_check(frame->bytes, frame->length, cw_cluster.preamble);
	unsigned char words[CW_NOISE_MORE], nothing[CW_FRAME_EARLY];
	ssize_t length = -1;

	if (wrong == CW_REFUSED_none) {
		cw_noise_begin(&channel->noise, false, &cw_cluster.identity.keys, cw_cluster.preamble, CW_PREAMBLE);
		if (cw_noise_read(&channel->noise, frame->bytes + CW_PREAMBLE, frame->length - CW_PREAMBLE, nothing) >= 0)
			length = cw_noise_write(&channel->noise, NULL, 0, words);
	}
	if (length < 0) {
		cw_channel_refuse(channel, wrong == CW_REFUSED_none ? CW_REFUSED_nonsense : wrong);
		return;
	}
	channel->phase = CW_CHANNEL_ANSWERED;
	cw_channel_frame(channel, CW_FRAME_ANSWER, words, (size_t)length);
}

static void answer(struct cw_channel *channel, const struct cw_frame *frame)
{
	unsigned char words[CW_NOISE_MORE], nothing[CW_FRAME_EARLY];
	ssize_t length = -1;

	if (cw_noise_read(&channel->noise, frame->bytes, frame->length, nothing) >= 0)
		length = cw_noise_write(&channel->noise, NULL, 0, words);
	if (length < 0) {
		cw_channel_refuse(channel, CW_REFUSED_nonsense);
		return;
	}
	cw_channel_frame(channel, CW_FRAME_PROOF, words, (size_t)length);
	say_hello(channel);
}

static void proof(struct cw_channel *channel, const struct cw_frame *frame)
{
	unsigned char nothing[CW_FRAME_EARLY];

	if (cw_noise_read(&channel->noise, frame->bytes, frame->length, nothing) < 0)
		cw_channel_refuse(channel, CW_REFUSED_nonsense);
	else
		say_hello(channel);
}

/* ---- up and down ---- */

static void come_up(struct cw_channel *channel)
{
	struct cw_member *peer = channel->peer;

	channel->phase = CW_CHANNEL_UP;
	cw_timer_stop(&channel->deadline);
	if (channel->target && channel->target->dialled == channel)
		channel->target->dialled = NULL;
	channel->target = NULL;
	peer->channel = channel;
	peer->refused = CW_REFUSED_none;
	*peer->trouble = 0;
	peer->node.up = true;
	peer->node.since = cw_monotonic_ns();
	peer->node.instance = channel->hello.instance;
	strcpy(peer->node.version, channel->hello.version);
	cw_dial_stop(peer); /* another one that was begun */
	cw_tally(CW_SERVICE_channel_ups);
	cw_tell_addresses(channel);
	cw_cluster_told_state(peer->node.id, true);
}

void cw_channel_down(struct cw_channel *channel)
{
	struct cw_member *peer = channel->peer;

	/* Who comes up and is thrown out at once doesn't try all the time. */
	if (cw_monotonic_ns() - peer->node.since > LONG_NS)
		peer->failures = 0;
	peer->channel = NULL;
	peer->node.up = false;
	peer->node.since = cw_monotonic_ns();
	peer->pinged_at = 0;
	cw_timer_stop(&peer->probe);
	cw_tally(CW_SERVICE_channel_downs);
	cw_cluster_told_state(peer->node.id, false);
	cw_meet_settle(peer);
	if (!peer->channel && cw_member_by_id(peer->node.id) == peer)
		cw_dial_soon(peer);
}

/* ---- which one ---- */

/* For the decider to confirm it; or confirmed, and held as long as there may be a living channel of another instance. */
static struct cw_channel *one_that_waits(const struct cw_member *peer)
{
	struct cw_channel *channel;

	DL_FOREACH(cw_channels, channel)
	if (channel->peer == peer && channel->phase == CW_CHANNEL_GREETED && (decides(peer) ? channel->met : channel->held))
		return channel;
	return NULL;
}

/* One that carries messages already is as good as any later one, if it is alive. */
void cw_meet_settle(struct cw_member *peer)
{
	struct cw_channel *channel = one_that_waits(peer);

	if (!channel)
		return;
	if (peer->channel) {
		cw_cluster_probe(peer->node.id);
	} else if (!decides(peer)) {
		come_up(channel);
		cw_channel_hold(channel, false);
	} else if (cw_channel_record(channel, CW_RECORD_CONFIRM, NULL, 0)) {
		come_up(channel);
	}
}

void cw_meet_superfluous(struct cw_member *peer)
{
	struct cw_channel *channel;

	while (peer->channel && (channel = one_that_waits(peer))) {
		if (channel->hello.instance != peer->channel->hello.instance)
			cw_channel_refuse(channel, CW_REFUSED_twice);
		else
			cw_channel_end(channel, "there is another");
	}
}

/* Another node has the address of the one that we looked for. */
static void found_another(struct cw_channel *channel)
{
	char why[100];

	snprintf(why, sizeof(why), "node %.60s answers there", channel->peer->node.name);
	cw_dial_failed(channel, why);
}

static bool too_many_wait(const struct cw_member *peer)
{
	const struct cw_channel *channel;
	uint32_t count = 0;

	DL_FOREACH(cw_channels, channel)
	count += channel->peer == peer && channel->met && channel->phase == CW_CHANNEL_GREETED;
	return count >= MOST_WAITING;
}

static void meet(struct cw_channel *channel)
{
	const struct cw_hello *hello = &channel->hello;
	struct cw_member *peer = cw_member_by_key(channel->noise.other);
	bool theirs_is_newer = cw_map_newer(hello->map_version, hello->map_hash, cw_cluster.map);

	channel->peer = peer;
	if (!peer) {
		/* Unless the map that it has makes it a member: until the deadline it may show it. */
		if (!theirs_is_newer)
			cw_channel_refuse(channel, cw_map_stranger(cw_cluster.map, channel->noise.other, hello->id));
		return;
	}
	if (memcmp(hello->id, peer->node.full_id, CW_ID) != 0) {
		cw_channel_refuse(channel, CW_REFUSED_nonsense);
		return;
	}
	if (channel->target && channel->target != peer)
		found_another(channel);
	if (theirs_is_newer)
		return;
	if (!channel->met && too_many_wait(peer)) {
		cw_channel_refuse(channel, CW_REFUSED_too_many);
		return;
	}
	if (!channel->met)
		cw_tell_map(channel);
	channel->met = true;
	cw_meet_settle(peer);
}

/* Meeting one can end any other, so the list is begun anew after each. */
void cw_meet_again(void)
{
	static uint32_t round;
	struct cw_channel *channel;

	round++;
	do {
		DL_FOREACH(cw_channels, channel)
		if (channel->phase == CW_CHANNEL_GREETED && !channel->met && channel->round != round)
			break;
		if (channel) {
			channel->round = round;
			meet(channel);
		}
	} while (channel);
}

static void hello(struct cw_channel *channel, const unsigned char *bytes, size_t length)
{
	if (!cw_hello_take(bytes, length, &channel->hello)) {
		cw_channel_refuse(channel, CW_REFUSED_nonsense);
	} else if (memcmp(channel->noise.other, cw_cluster.identity.keys.public, CW_KEY) == 0) {
		cw_channel_refuse(channel, channel->hello.instance == service.instance ? CW_REFUSED_itself : CW_REFUSED_twice);
	} else {
		channel->phase = CW_CHANNEL_GREETED;
		meet(channel);
	}
}

static void confirmed(struct cw_channel *channel)
{
	struct cw_member *peer = channel->peer;

	if (!channel->met || decides(peer)) {
		cw_channel_refuse(channel, CW_REFUSED_nonsense);
		return;
	}
	/* Another instance: it was started anew, and the end of its first connection is on its way; or it is a copy of the node. */
	if (peer->channel && peer->channel->hello.instance != channel->hello.instance) {
		cw_channel_hold(channel, true);
		cw_cluster_probe(peer->node.id);
		return;
	}
	/* It has found the other one dead. */
	if (peer->channel)
		cw_channel_end(peer->channel, "another took its place");
	/* One that was held for it is up now. */
	if (peer->channel)
		cw_channel_refuse(channel, CW_REFUSED_twice);
	else
		come_up(channel);
}

static void refused(struct cw_channel *channel, const unsigned char *bytes, size_t length)
{
	enum cw_cluster_reason reason = cw_refusal_take(bytes, length);
	struct cw_member *peer = channel->peer ? channel->peer : channel->target;

	if (peer && (peer->refused != reason || peer->refused_by_us)) {
		cw_cluster_log("node %s refuses this node: %s; %s", peer->node.name, cw_cluster_reason_text(reason),
			       cw_cluster_reason_remedy(reason));
		peer->refused = reason;
		peer->refused_by_us = false;
	}
	cw_channel_end(channel, cw_cluster_reason_text(reason));
}

static void record(struct cw_channel *channel, const struct cw_frame *frame)
{
	unsigned char *bytes;
	uint16_t type;
	size_t length;

	if (!cw_record_open(&channel->receiving, frame, &type, &bytes, &length)) {
		cw_channel_refuse(channel, CW_REFUSED_nonsense);
	} else if (type == CW_RECORD_REFUSED) {
		refused(channel, bytes, length);
	} else if (channel->phase == CW_CHANNEL_UP) {
		cw_said(channel, type, bytes, length);
	} else if (channel->phase == CW_CHANNEL_GREETED) {
		if (type == CW_RECORD_CONFIRM)
			confirmed(channel);
		else if (type == CW_RECORD_MAP)
			cw_said_map(channel, bytes, length);
		else
			cw_channel_refuse(channel, CW_REFUSED_nonsense);
	} else if (type == CW_RECORD_HELLO) {
		hello(channel, bytes, length);
	} else if (type == CW_RECORD_JOIN && !channel->initiator) {
		cw_join_asked(channel, bytes, length);
	} else if (type == CW_RECORD_LEAVE && !channel->initiator) {
		cw_leave_asked(channel);
	} else {
		cw_channel_refuse(channel, CW_REFUSED_nonsense);
	}
}

void cw_meet_frame(struct cw_channel *channel, const struct cw_frame *frame)
{
	if (channel->phase == CW_CHANNEL_ACCEPTED && frame->kind == CW_FRAME_OPENING)
		opening(channel, frame);
	else if (channel->phase == CW_CHANNEL_OPENED && frame->kind == CW_FRAME_ANSWER)
		answer(channel, frame);
	else if (channel->phase == CW_CHANNEL_OPENED && frame->kind == CW_FRAME_REFUSAL)
		refused(channel, frame->bytes, frame->length);
	else if (channel->phase == CW_CHANNEL_ANSWERED && frame->kind == CW_FRAME_PROOF)
		proof(channel, frame);
	else if (channel->phase >= CW_CHANNEL_KEYED && frame->kind == CW_FRAME_RECORD)
		record(channel, frame);
	else
		cw_channel_refuse(channel, CW_REFUSED_nonsense);
}
