/* WINDOWS: the memory that streams go by, as JSON: arenas made here, and those of other nodes. Made by a child, as LIST is. */
#include <errno.h>
#include <jansson.h>
#include <numa.h>
#include <numaif.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "service.h"
#include "service_between.h"
#include "service_named.h"

#define MOST_PAGES 512 /* of one window that are asked for their memory node */

struct question {
	bool all;
	uid_t uid;
	json_t *list;
};

static void put(json_t *object, const char *key, uint64_t value)
{
	json_object_set_new(object, key, json_integer((json_int_t)(value & INT64_MAX)));
}

static json_t *name_of(uint64_t node)
{
	const struct cw_cluster_node *known = node ? cw_cluster_node(node) : NULL;
	char id[20];

	if (known)
		return json_string(known->name);
	snprintf(id, sizeof(id), "%016llx", (unsigned long long)node);
	return node ? json_string(id) : json_null();
}

static json_t *hex(uint64_t number)
{
	char text[20];

	snprintf(text, sizeof(text), "%016llx", (unsigned long long)number);
	return json_string(text);
}

/* ---- where its pages are ---- */

/* A page that nobody has touched yet is on no node, and isn't to be made by looking. */
static bool add_page(void **pages, unsigned long *count, unsigned char *at)
{
	unsigned char there = 0;

	if (*count == MOST_PAGES || mincore(at, 1, &there) < 0 || !(there & 1))
		return *count < MOST_PAGES;
	*(volatile unsigned char *)at; /* this process's own tables know it from now on */
	pages[(*count)++] = at;
	return true;
}

/* A child has the mapping, but not the descriptor. */
static uint64_t resident_of(unsigned char *base, uint64_t size)
{
	unsigned char there[1024];
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE), bytes = 0;

	for (uint64_t at = 0; at < size; at += sizeof(there) * page) {
		uint64_t pages = (size - at + page - 1) / page;

		if (pages > sizeof(there))
			pages = sizeof(there);
		if (mincore(base + at, pages * page, there) < 0)
			break;
		for (uint64_t i = 0; i < pages; i++)
			bytes += there[i] & 1 ? page : 0;
	}
	return bytes;
}

/* The first page of each step. */
static json_t *memory_nodes(unsigned char *base, uint64_t size, uint64_t step)
{
	void *pages[MOST_PAGES];
	int where[MOST_PAGES];
	unsigned long count = 0;
	uint64_t seen = 0;
	json_t *nodes = json_array();

	for (uint64_t at = 0; at < size && add_page(pages, &count, base + at); at += step)
		;
	if (numa_available() < 0 || move_pages(0, count, pages, NULL, where, 0) < 0)
		return nodes;
	for (unsigned long i = 0; i < count; i++)
		if (where[i] >= 0 && where[i] < 64 && !(seen >> where[i] & 1)) {
			seen |= 1ull << where[i];
			json_array_append_new(nodes, json_integer(where[i]));
		}
	return nodes;
}

/* ---- who uses it, and how ---- */

static uint64_t counted_of(const struct cw_program *program, uint64_t arena, enum cw_counter counter)
{
	uint64_t sum = 0;

	for (uint32_t i = 0; program->book && i < cw_book_used(program->book); i++) {
		const struct cw_book_entry *entry = &program->book->entry[i];

		if (atomic_load_explicit(&entry->kind, memory_order_acquire) == CW_ENTRY_MOVED &&
		    atomic_load_explicit(&entry->arena, memory_order_relaxed) == arena)
			sum += entry->counter[counter];
	}
	return sum;
}

static json_t *program_json(const struct cw_program *program)
{
	json_t *json = json_object();

	if (program->node) {
		json_object_set_new(json, "node", name_of(cw_node_id(program->node)));
		return json;
	}
	if (cw_program_silent(program))
		json_object_set_new(json, "pid", json_null());
	else
		put(json, "pid", (uint64_t)program->pid);
	json_object_set_new(json, "command", json_string_nocheck(program->command));
	return json;
}

static void put_users(json_t *json, const struct cw_arena_record *record)
{
	json_t *users = json_array();
	const struct cw_mapping *mapping;
	uint64_t bells = 0, rings = 0;

	for (mapping = record->mapped; mapping; mapping = mapping->arena_next) {
		json_array_append_new(users, program_json(mapping->program));
		bells += counted_of(mapping->program, record->arena.id, CW_COUNT_doorbells);
		rings += counted_of(mapping->program, record->arena.id, CW_COUNT_rings);
	}
	if (record->owner) {
		json_t *owner = json_object();

		json_object_set_new(owner, "node", name_of(cw_node_id(record->owner)));
		json_array_append_new(users, owner);
	}
	json_object_set_new(json, "mapped_by", users);
	put(json, "doorbells", bells);
	put(json, "rings", rings);
}

static void put_fill(json_t *json, const struct cw_arena_record *record)
{
	uint64_t unread = 0, used = 0;

	for (uint32_t slot = 0; slot < record->arena.slots; slot++) {
		const struct cw_slot *words = cw_arena_slot(&record->arena, slot);

		if (!record->holders[2 * slot] && !record->holders[2 * slot + 1])
			continue;
		used++;
		unread += cw_unread(&words->direction[0]) + cw_unread(&words->direction[1]);
	}
	put(json, "slots", record->arena.slots);
	put(json, "used", used);
	put(json, "unread", unread);
	put(json, "room", used * 2 * CW_RING_MAX);
}

static const char *state_of(const struct cw_arena_record *record)
{
	if (record->lost)
		return "lost";
	if (record->revoked)
		return "revoked";
	return record->crowded ? "crowded" : "shared";
}

static json_t *window_json(const struct cw_arena_record *record)
{
	json_t *json = json_object();
	uint64_t self = cw_cluster_self(), owner = record->owner ? cw_node_id(record->owner) : self;

	json_object_set_new(json, "window", hex(record->arena.id));
	json_object_set_new(json, "owner", name_of(owner));
	json_object_set_new(json, "here", json_boolean(!record->owner));
	json_object_set_new(json, "with", record->owner ? name_of(self) : name_of(record->node));
	json_object_set_new(json, "state", json_string(state_of(record)));
	json_object_set_new(json, "generation", hex(record->owner ? record->generation : service.instance));
	put(json, "size", record->arena.size);
	if (record->at) {
		json_object_set_new(json, "device", json_string(cw_device_name()));
		put(json, "at", record->at);
	}
	put(json, "resident", resident_of(record->arena.base, record->arena.size));
	json_object_set_new(json, "memory_nodes", memory_nodes(record->arena.base, record->arena.size, CW_RING_MAX));
	put_fill(json, record);
	put_users(json, record);
	return json;
}

static json_t *named_json(const struct cw_named *window)
{
	json_t *json = json_object(), *granted = json_array();
	uint64_t owner = window->owner ? cw_node_id(window->owner) : cw_cluster_self(), page = (uint64_t)sysconf(_SC_PAGESIZE);

	json_object_set_new(json, "window", json_string(window->name));
	json_object_set_new(json, "owner", name_of(owner));
	json_object_set_new(json, "here", json_boolean(!window->owner));
	json_object_set_new(json, "with",
			    window->owner    ? name_of(cw_cluster_self())
			    : window->grants ? name_of(window->grant[0].node)
					     : json_null());
	json_object_set_new(json, "state", json_string(window->owner ? window->writable ? "granted" : "read only" : "made"));
	json_object_set_new(json, "generation", hex(window->generation));
	put(json, "size", window->size);
	if (window->at) {
		json_object_set_new(json, "device", json_string(cw_device_name()));
		put(json, "at", window->at);
	}
	put(json, "resident", resident_of(window->base, window->size));
	/* Of a large one samples. */
	json_object_set_new(json, "memory_nodes", memory_nodes(window->base, window->size, (window->size / page / MOST_PAGES + 1) * page));
	for (uint32_t i = 0; i < window->grants; i++)
		json_array_append_new(granted, json_pack("{s:o, s:b}", "node", name_of(window->grant[i].node), "writable",
							 (int)window->grant[i].writable));
	json_object_set_new(json, "granted", granted);
	return json;
}

/* What belongs to others is told to those alone who may ask for everything. */
static bool is_of(const struct cw_arena_record *record, uid_t uid)
{
	const struct cw_mapping *mapping;

	DL_FOREACH2(record->mapped, mapping, arena_next)
	if (!mapping->program->node && mapping->program->peer.uid == uid)
		return true;
	return false;
}

static void add(const struct cw_arena_record *record, void *context)
{
	const struct question *question = context;

	if (question->all || is_of(record, question->uid))
		json_array_append_new(question->list, window_json(record));
}

static uint64_t list(int fd, void *argument)
{
	struct question *question = argument;
	struct cw_arena_record *record, *next;
	const struct cw_named *window;

	question->list = json_array();
	HASH_ITER(hh, service.arenas, record, next)
	add(record, question);
	cw_between_each(add, question);
	DL_FOREACH(cw_named, window)
	if (question->all)
		json_array_append_new(question->list, named_json(window));
	return cw_send_text(fd, CW_WINDOWS, question->list) == 0;
}

void cw_windows_list(struct cw_program *sender)
{
	struct question question = {.all = cw_may_command(sender), .uid = sender->peer.uid};
	struct cw_message refusal = cw_link_message(CW_WINDOWS);

	if (cw_worker_asked(sender->peer.uid, list, &question, sender->source.fd, NULL, NULL) == 0)
		return;
	refusal.status = EAGAIN;
	cw_link_send(sender->source.fd, &refusal, NULL, 0);
}
