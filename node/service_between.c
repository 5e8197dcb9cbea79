/* Other nodes: stand-ins for their programs, what their services say, and what happens when nothing is heard of one any more. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "service_between.h"
#include "service_named.h"

static struct cw_node *nodes;

struct cw_node *cw_node_of_id(uint64_t id)
{
	struct cw_node *node;

	HASH_FIND(hh, nodes, &id, sizeof(id), node);
	if (node)
		return node;
	node = calloc(1, sizeof(*node));
	if (!node)
		return NULL;
	node->id = id;
	node->leads = id < cw_cluster_self();
	node->link = -1;
	HASH_ADD(hh, nodes, id, sizeof(node->id), node);
	return node;
}

void cw_between_each(void (*each)(const struct cw_arena_record *record, void *context), void *context)
{
	struct cw_arena_record *record, *next_record;
	struct cw_node *node, *next;

	HASH_ITER(hh, nodes, node, next)
	HASH_ITER(hh, node->imported, record, next_record)
	each(record, context);
}

bool cw_between_shares(void (*each)(struct cw_node *node))
{
	struct cw_node *node, *next;
	bool shares = false;

	HASH_ITER(hh, nodes, node, next)
	{
		const struct cw_cluster_node *known = cw_cluster_node(node->id);

		if (!known || !known->up || (!node->programs && !node->imported))
			continue;
		shares = true;
		each(node);
	}
	return shares;
}

struct cw_between cw_between_words(enum cw_between_kind kind)
{
	struct cw_between words;

	memset(&words, 0, sizeof(words));
	words.magic = CW_BETWEEN_MAGIC + CW_LAYOUT;
	words.kind = kind;
	return words;
}

bool cw_between_say(const struct cw_node *node, const struct cw_between *words)
{
	return cw_cluster_send(node->id, CW_BETWEEN, words, sizeof(*words));
}

/* ---- stand-ins ---- */

struct cw_program *cw_stand_in(struct cw_node *node, uint64_t number, uid_t uid, bool make)
{
	struct cw_program *program;

	HASH_FIND(hh, node->programs, &number, sizeof(number), program);
	if (program || !make)
		return program;
	program = calloc(1, sizeof(*program));
	if (!program)
		return NULL;
	program->source.fd = -1;
	program->peer.uid = uid;
	program->number = cw_new_number();
	program->node = node;
	program->theirs = number;
	HASH_ADD(hh, node->programs, theirs, sizeof(program->theirs), program);
	return program;
}

void cw_stand_in_leave(struct cw_program *program)
{
	if (program->mappings)
		return;
	cw_place_forget(program);
	HASH_DEL(program->node->programs, program);
	free(program);
}

static void lose_stand_in(struct cw_program *program)
{
	struct cw_mapping *mapping, *next;

	HASH_ITER(hh, program->mappings, mapping, next)
	{
		cw_mapping_lose(mapping);
		cw_mapping_drop(mapping);
	}
	cw_stand_in_leave(program);
}

/* ---- what a leader is told of its memory ---- */

static struct cw_mapping *mapping_of(struct cw_node *node, const struct cw_between *words)
{
	struct cw_program *program = cw_stand_in(node, words->program, 0, false);

	return program ? cw_mapping_find(program, words->slot.arena) : NULL;
}

static void released(struct cw_node *node, const struct cw_between *words)
{
	struct cw_mapping *mapping = mapping_of(node, words);

	if (!mapping)
		return; /* of an earlier instance of ours, or of before the node was down */
	if (!cw_mapping_holds(mapping, words->slot.slot, words->slot.end)) {
		cw_tally(CW_SERVICE_misused);
		return;
	}
	cw_slot_let_go(mapping, words->slot.slot, words->slot.end);
	cw_arena_emptied(mapping->record);
}

static void crowded(struct cw_node *node, const struct cw_between *words)
{
	struct cw_mapping *mapping = mapping_of(node, words);

	if (mapping)
		mapping->record->crowded = true;
}

static void unmapped(struct cw_node *node, const struct cw_between *words)
{
	struct cw_program *program = cw_stand_in(node, words->program, 0, false);
	struct cw_mapping *mapping = program ? cw_mapping_find(program, words->slot.arena) : NULL;

	if (mapping) {
		if (mapping->record->at)
			cw_device_ask(node);
		for (uint32_t which = 0; which < 2 * mapping->record->arena.slots; which++)
			if (cw_mapping_holds(mapping, which / 2, which % 2))
				cw_slot_let_go(mapping, which / 2, which % 2);
		mapping->record->crowded = false;
		cw_mapping_drop(mapping);
	}
	if (program)
		cw_stand_in_leave(program);
}

/* ---- leaving with unread bytes ---- */

static struct cw_mapping *holder_there(const struct cw_arena_record *record, uint32_t slot, uint32_t end)
{
	struct cw_mapping *mapping;

	DL_FOREACH2(record->mapped, mapping, arena_next)
	if (mapping->program->node && cw_mapping_holds(mapping, slot, end))
		return mapping;
	return NULL;
}

void cw_between_ask_resend(const struct cw_arena_record *record, uint32_t slot, uint32_t end)
{
	struct cw_between words = cw_between_words(CW_RESEND_THERE);
	const struct cw_mapping *there = record->owner ? NULL : holder_there(record, slot, end);

	words.slot.arena = record->arena.id;
	words.slot.slot = slot;
	words.slot.end = end;
	if (record->owner)
		cw_between_say(record->owner, &words);
	else if (there)
		cw_between_say(there->program->node, &words);
}

/* Who asks must be at the other end. */
static void resend(struct cw_node *node, const struct cw_between *words)
{
	uint64_t id = words->slot.arena;
	struct cw_arena_record *record;
	uint32_t slot = words->slot.slot, end = words->slot.end;
	const struct cw_mapping *there;

	HASH_FIND(hh, node->imported, &id, sizeof(id), record);
	if (record) {
		if (slot < record->arena.slots && end < 2)
			cw_resend_here(record, slot, end);
		return;
	}
	record = cw_arena_record_find(id);
	if (!record || slot >= record->arena.slots || end > 1)
		return;
	there = holder_there(record, slot, 1 - end);
	if (there && there->program->node == node)
		cw_resend_here(record, slot, end);
}

/* ---- the channel ---- */

static void said(uint64_t id, const void *bytes, uint32_t length)
{
	struct cw_node *node = cw_node_of_id(id);
	struct cw_between words;

	if (!node || !cw_windows_open())
		return;
	memset(&words, 0, sizeof(words));
	if (length == sizeof(words))
		memcpy(&words, bytes, sizeof(words));
	if (words.magic != CW_BETWEEN_MAGIC + CW_LAYOUT) {
		cw_tally(CW_SERVICE_between_misused);
		return;
	}
	if (cw_device_said(node, &words) || cw_echo_said(node, &words))
		return;
	switch (words.kind) {
	case CW_OFFERED_THERE:
		cw_match_offered_there(node, &words);
		break;
	case CW_WITHDRAWN_THERE:
		cw_match_withdrawn_there(node, &words);
		break;
	case CW_PROVE:
		cw_match_prove(node, &words);
		break;
	case CW_PROVED:
		cw_match_proved(node, &words);
		break;
	case CW_REFUSED:
		cw_match_refused(node, &words);
		break;
	case CW_GIVE:
		cw_foreign_give(node, &words);
		break;
	case CW_RELEASED_THERE:
		released(node, &words);
		break;
	case CW_CROWDED:
		crowded(node, &words);
		break;
	case CW_UNMAPPED:
		unmapped(node, &words);
		break;
	case CW_WINDOW_GRANTED:
		cw_named_granted(node, &words);
		break;
	case CW_WINDOW_REVOKED:
		cw_named_revoked(node, &words);
		break;
	case CW_PULSE:
		cw_pulse_heard(node, &words);
		break;
	case CW_RESEND_THERE:
		resend(node, &words);
		break;
	default:
		cw_tally(CW_SERVICE_between_misused);
	}
}

void cw_between_lose(struct cw_node *node)
{
	struct cw_program *program, *next;

	cw_match_node_down(node);
	cw_foreign_node_down(node);
	HASH_ITER(hh, node->programs, program, next)
	lose_stand_in(program);
	cw_pulse_down(node);
}

static void state_changed(uint64_t id, bool up)
{
	struct cw_node *node;

	/* Before any other node is up: as soon as it is for them, they pass memory. */
	if (id == cw_cluster_self()) {
		if (up)
			cw_windows_begin();
		else
			cw_windows_end();
		return;
	}
	if (cw_windows_begin() < 0 || !cw_windows_open())
		return;
	cw_addresses_peers();
	node = cw_node_of_id(id);
	if (!node)
		return;
	if (up) {
		node->leads = id < cw_cluster_self(); /* this node may have joined as another one since */
		cw_match_node_up(node);
		cw_pulse_up(node);
		cw_device_node_up(node);
		cw_named_node_up(node);
		return;
	}
	if (node->programs || node->imported)
		cw_tally(CW_SERVICE_between_lost);
	cw_between_lose(node);
	cw_echo_node_down(node);
	cw_device_node_down(node);
	cw_named_node_down(node);
	cw_windows_node_down(node);
}

void cw_between_begin(void)
{
	cw_cluster_on(CW_BETWEEN, said);
	cw_cluster_on_state(state_changed);
	cw_echo_begin();
}
