/*
 * Memory of streams in the device's window is taken away from all programs of this node, by force: causeway.ko shows them zeros from then
 * on, whatever they do. What was unread is lost, so their connections are reset; the other ends, on the other node, see that as any reset.
 * Others between the same programs get other memory.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "service_between.h"
#include "service_named.h"

struct search {
	uint64_t id;
	const struct cw_arena_record *found;
};

static void compare(const struct cw_arena_record *record, void *context)
{
	struct search *search = context;

	if (record->arena.id == search->id)
		search->found = record;
}

static struct cw_arena_record *find(const char *name)
{
	struct search search = {0};
	char *end;

	search.id = strtoull(name, &end, 16);
	if (strlen(name) != 16 || *end)
		return NULL;
	search.found = cw_arena_record_find(search.id);
	if (!search.found)
		cw_between_each(compare, &search);
	return (struct cw_arena_record *)search.found;
}

static uint32_t held_by(const struct cw_mapping *mapping)
{
	uint32_t ends = 0;

	for (uint32_t which = 0; which < 2 * mapping->record->arena.slots; which++)
		ends += cw_mapping_holds(mapping, which / 2, which % 2);
	return ends;
}

/* Programs of this node, and how many of its connections each loses. */
static uint32_t put_broken(const struct cw_arena_record *record, json_t *said)
{
	json_t *list = json_array();
	const struct cw_mapping *mapping;
	uint32_t connections = 0;

	DL_FOREACH2(record->mapped, mapping, arena_next)
	if (!mapping->program->node) {
		uint32_t held = held_by(mapping);

		connections += held;
		json_array_append_new(list, json_pack("{s:s%, s:I, s:I}", "command", mapping->program->command,
						      strnlen(mapping->program->command, sizeof(mapping->program->command)), "pid",
						      (json_int_t)mapping->program->pid, "connections", (json_int_t)held));
	}
	json_object_set_new(said, "breaks", list);
	return connections;
}

int cw_window_take(const struct cw_window_taking *taking, json_t *said, char why[CW_WINDOW_WHY])
{
	struct cw_arena_record *record = find(taking->name);

	if (!record) {
		snprintf(why, CW_WINDOW_WHY, "no streams go by a window %s: causeway windows lists them", taking->name);
		return ENOENT;
	}
	if (!record->at) {
		snprintf(why, CW_WINDOW_WHY, "it is a memory file, which nobody can take from the programs that map it");
		return EOPNOTSUPP;
	}
	if (put_broken(record, said) && !taking->force && !taking->dry) {
		snprintf(why, CW_WINDOW_WHY, "connections go by it, which would be reset (--dry-run names them, --force does it)");
		return EBUSY;
	}
	if (taking->dry || record->revoked)
		return 0;
	cw_tally(CW_SERVICE_windows_taken);
	record->revoked = true;
	if (record->owner)
		cw_foreign_crowded(record); /* it gives no more slots in it */
	cw_device_take_away(record->grant);
	cw_reset_here(record);
	return 0;
}
