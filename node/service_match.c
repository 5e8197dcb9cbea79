/*
 * The two ends of a connection between two nodes find each other.
 *
 * Addresses say where to look, no more: an address may have been translated on the way, and then two connections can look like each
 * other's ends. So each kernel is asked what it has counted of its end. In the order "leader, follower, leader" the follower has received
 * at least what was acknowledged to the leader before, and at most what the leader has sent after; and the same for what the
 * follower has sent. The options of the handshake must be the same. Bytes of both directions go through the kernel all the time until a
 * stream is moved, so a connection that isn't the same soon says so; and what can't be told apart by it, two programs on nodes of the
 * cluster that sent as many bytes each to somebody else by a translated address, both kernels' tables of translations are asked for before
 * (service_socket.c).
 */
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "service_between.h"

#define MOST_FAR_OFFERS 65536u /* of one node */

/* An end that is offered on the node that follows. */
struct cw_far_offer {
	struct cw_tuple tuple; /* as our end sees it */
	uint64_t number, program;
	uid_t uid;
	UT_hash_handle hh;
};

static struct cw_offer *by_number;

struct cw_offer *cw_match_find(uint64_t number)
{
	struct cw_offer *offer;

	HASH_FIND(hh_number, by_number, &number, sizeof(number), offer);
	return offer;
}

static void say_offer(const struct cw_offer *offer, enum cw_between_kind kind)
{
	struct cw_between words = cw_between_words(kind);

	words.mine = offer->number;
	words.yours = offer->proving;
	words.program = offer->program->number;
	words.offered.local = offer->tuple.local;
	words.offered.remote = offer->tuple.remote;
	words.offered.local_port = offer->tuple.local_port;
	words.offered.remote_port = offer->tuple.remote_port;
	words.offered.uid = offer->program->peer.uid;
	cw_between_say(offer->node, &words);
}

static void refuse(const struct cw_node *node, uint64_t mine, uint64_t yours)
{
	struct cw_between words = cw_between_words(CW_REFUSED);

	words.mine = mine;
	words.yours = yours;
	cw_between_say(node, &words);
}

/* ---- the counts ---- */

/* In bytes_acked an end may count its SYN, in bytes_received its peer's FIN. */
#define HANDSHAKE 2u

static bool not_more(uint64_t a, uint64_t b)
{
	return a <= b || a - b <= HANDSHAKE;
}

bool cw_counts_agree(const struct cw_stream_counts *before, const struct cw_stream_counts *there, const struct cw_stream_counts *after)
{
	return before->options == there->options && before->scale_out == there->scale_in && before->scale_in == there->scale_out &&
	       not_more(before->acknowledged, there->received) && not_more(there->received, after->sent) &&
	       not_more(before->received, there->sent) && not_more(there->acknowledged, after->received);
}

static bool count(const struct cw_offer *offer, struct cw_stream_counts *counts)
{
	return cw_diag_counts(&offer->tuple, offer->cookie, counts);
}

static void say_counts(const struct cw_offer *offer, enum cw_between_kind kind, const struct cw_stream_counts *counts)
{
	struct cw_between words = cw_between_words(kind);

	words.mine = offer->number;
	words.yours = offer->proving;
	words.program = offer->program->number;
	words.counts = *counts;
	cw_between_say(offer->node, &words);
}

/* ---- the leader ---- */

static void far_drop(struct cw_node *node, struct cw_far_offer *far)
{
	HASH_DELETE(hh, node->offers, far);
	free(far);
}

static struct cw_far_offer *far_find(const struct cw_node *node, const struct cw_tuple *tuple)
{
	struct cw_far_offer *far;

	HASH_FIND(hh, node->offers, tuple, sizeof(*tuple), far);
	return far;
}

/* Both ends are offered. */
static void prove(struct cw_offer *offer, const struct cw_far_offer *far)
{
	if (!count(offer, &offer->counts)) {
		cw_tally(CW_SERVICE_offers_stale);
		cw_offer_drop(offer);
		return;
	}
	offer->proving = far->number;
	say_counts(offer, CW_PROVE, &offer->counts);
}

static struct cw_offer *find_own(const struct cw_tuple *tuple)
{
	struct cw_offer *offer;

	HASH_FIND(hh_tuple, service.offers, tuple, sizeof(*tuple), offer);
	return offer;
}

void cw_match_offered_there(struct cw_node *node, const struct cw_between *words)
{
	struct cw_tuple tuple;
	struct cw_far_offer *far;
	struct cw_offer *offer;

	memset(&tuple, 0, sizeof(tuple));
	tuple.local = words->offered.remote;
	tuple.remote = words->offered.local;
	tuple.local_port = words->offered.remote_port;
	tuple.remote_port = words->offered.local_port;
	tuple.netns = service.netns;
	if (node->leads || cw_cluster_node_of_address(&tuple.remote) != node->id) {
		cw_tally(CW_SERVICE_between_misused);
		return;
	}
	far = far_find(node, &tuple);
	if (far)
		far_drop(node, far);
	if (HASH_COUNT(node->offers) >= MOST_FAR_OFFERS)
		far_drop(node, node->offers); /* the oldest */
	far = calloc(1, sizeof(*far));
	if (!far)
		return;
	far->tuple = tuple;
	far->number = words->mine;
	far->program = words->program;
	far->uid = words->offered.uid;
	HASH_ADD(hh, node->offers, tuple, sizeof(far->tuple), far);
	offer = find_own(&tuple);
	if (offer && offer->node == node)
		prove(offer, far);
}

void cw_match_withdrawn_there(struct cw_node *node, const struct cw_between *words)
{
	struct cw_tuple tuple;
	struct cw_far_offer *far;

	memset(&tuple, 0, sizeof(tuple));
	tuple.local = words->offered.remote;
	tuple.remote = words->offered.local;
	tuple.local_port = words->offered.remote_port;
	tuple.remote_port = words->offered.local_port;
	tuple.netns = service.netns;
	far = far_find(node, &tuple);
	if (far && far->number == words->mine)
		far_drop(node, far);
}

/* The slot is of a pair, one of which is a program over there. */
static void give(struct cw_offer *offer, const struct cw_far_offer *far)
{
	struct cw_program *program = cw_stand_in(offer->node, far->program, far->uid, true);
	struct cw_offer other;

	if (!program)
		return;
	memset(&other, 0, sizeof(other));
	other.program = program;
	other.number = offer->number;
	other.proving = far->number;
	if (cw_slot_give(offer, &other))
		cw_tally(CW_SERVICE_between_granted);
	else
		cw_tally(CW_SERVICE_no_memory);
	cw_stand_in_leave(program);
}

void cw_match_proved(struct cw_node *node, const struct cw_between *words)
{
	struct cw_offer *offer = cw_match_find(words->yours);
	struct cw_far_offer *far = offer ? far_find(node, &offer->tuple) : NULL;
	struct cw_stream_counts now;

	if (!far || offer->node != node || far->number != words->mine || offer->proving != words->mine) {
		refuse(node, words->yours, words->mine);
		return;
	}
	if (!count(offer, &now) || !cw_counts_agree(&offer->counts, &words->counts, &now)) {
		cw_tally(CW_SERVICE_between_unproved);
		refuse(node, offer->number, far->number);
		far_drop(node, far);
		offer->proving = 0;
		return;
	}
	give(offer, far);
	far_drop(node, far);
	cw_offer_drop(offer);
}

void cw_match_give(const struct cw_offer *offer, const struct cw_message *grant, struct cw_mapping *mapping)
{
	struct cw_node *node = offer->program->node;
	struct cw_between words = cw_between_words(CW_GIVE);

	words.mine = offer->number;
	words.yours = offer->proving;
	words.program = offer->program->theirs;
	words.slot.arena = grant->grant.arena;
	if (!mapping->record->key && getrandom(&mapping->record->key, sizeof(mapping->record->key), 0) < 0)
		mapping->record->key = cw_new_number();
	words.slot.key = mapping->record->key;
	words.slot.slot = grant->grant.slot;
	words.slot.end = grant->grant.end;
	words.slot.at = mapping->record->at;
	words.slot.length = mapping->record->at ? mapping->record->arena.size : 0;
	if (mapping->record->at)
		cw_device_claim(node, mapping->record);
	if ((mapping->sent || mapping->record->at || cw_windows_pass(node, words.slot.arena, words.slot.key, mapping->record->fd)) &&
	    cw_between_say(node, &words)) {
		mapping->sent = true;
		cw_pulse_needed();
		return;
	}
	cw_tally(CW_SERVICE_between_unpassed);
	cw_slot_let_go(mapping, grant->grant.slot, grant->grant.end);
}

/* ---- the follower ---- */

void cw_match_prove(struct cw_node *node, const struct cw_between *words)
{
	struct cw_offer *offer = cw_match_find(words->yours);
	struct cw_stream_counts now;

	if (!offer || offer->node != node || !node->leads) {
		refuse(node, words->yours, words->mine);
		return;
	}
	/* The leader looks again after us; here "after" is as far as anybody knows. */
	if (!count(offer, &now) || !not_more(words->counts.acknowledged, now.received) || !not_more(words->counts.received, now.sent)) {
		cw_tally(CW_SERVICE_between_unproved);
		refuse(node, offer->number, words->mine);
		return;
	}
	offer->proving = words->mine;
	say_counts(offer, CW_PROVED, &now);
}

/* ---- both ---- */

void cw_match_refused(struct cw_node *node, const struct cw_between *words)
{
	struct cw_offer *offer = cw_match_find(words->yours);
	struct cw_far_offer *far = offer ? far_find(node, &offer->tuple) : NULL;

	if (!offer || offer->node != node)
		return;
	if (far && far->number == words->mine)
		far_drop(node, far);
	offer->proving = 0;
}

void cw_match_offered(struct cw_offer *offer)
{
	uint64_t id = cw_windows_open() ? cw_cluster_node_of_address(&offer->tuple.remote) : 0;
	struct cw_far_offer *far;

	if (!id || id == cw_cluster_self() || !(offer->node = cw_node_of_id(id)))
		return;
	cw_tally(CW_SERVICE_between_offers);
	offer->number = cw_new_number();
	HASH_ADD(hh_number, by_number, number, sizeof(offer->number), offer);
	if (offer->node->leads) {
		say_offer(offer, CW_OFFERED_THERE);
		return;
	}
	far = far_find(offer->node, &offer->tuple);
	if (far)
		prove(offer, far);
}

void cw_match_forget(struct cw_offer *offer)
{
	if (!offer->node)
		return;
	HASH_DELETE(hh_number, by_number, offer);
	if (offer->node->leads)
		say_offer(offer, CW_WITHDRAWN_THERE);
	offer->node = NULL;
}

/* What it was told before it has forgotten. */
void cw_match_node_up(struct cw_node *node)
{
	struct cw_offer *offer, *next;

	HASH_ITER(hh_number, by_number, offer, next)
	if (offer->node == node) {
		offer->proving = 0;
		if (node->leads)
			say_offer(offer, CW_OFFERED_THERE);
	}
}

void cw_match_node_down(struct cw_node *node)
{
	while (node->offers)
		far_drop(node, node->offers);
}
