/*
 * Memory from node to node by a device that both have: a window of causeway.ko, divided into parts (transport/pci/part.h). What a node's
 * programs share with another's lies in the part of the node that leads. It is said by its place, and each service makes a grant of it
 * from its own kernel: programs get descriptors of their own connections' pages, and no service reaches into another machine.
 *
 * That two services speak of one device is seen by its memory: a node is believed to be there when what it wrote into its part, as seen
 * from here, names it and its instance.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <unistd.h>

#include "service_between.h"
#include "service_channel.h"
#include "service_named.h"
#include "transport/window/window.h"

#define DEFAULT_PARTS 8
#define AGAIN_NS      3000000000ull
#define BY_PEER       UINT32_MAX

static char path[64];
static uint32_t parts = DEFAULT_PARTS, which = BY_PEER;
static struct cw_device device = {.fd = -1};
static struct cw_own_part own;
static bool complained;
static struct cw_source life = {.fd = -1};

/* ---- options ---- */

int cw_device_set(const char *name)
{
	const char *directory = strchr(name, '/') ? "" : "/dev/causeway/";

	if (*name && (size_t)snprintf(path, sizeof(path), "%s%s", directory, name) < sizeof(path))
		return 0;
	fprintf(stderr, "causewayd: --device takes the name of a window in /dev/causeway\n");
	return -1;
}

static int set_number(const char *option, const char *value, uint32_t least, uint32_t *to)
{
	char *end;
	unsigned long number = strtoul(value, &end, 10);

	if (*value < '0' || *value > '9' || *end || number < least || number > CW_PART_MOST) {
		fprintf(stderr, "causewayd: %s takes a number from %u to %u, not %s\n", option, least, CW_PART_MOST, value);
		return -1;
	}
	*to = (uint32_t)number;
	return 0;
}

int cw_device_set_parts(const char *value)
{
	return set_number("--device-parts", value, 1, &parts);
}

int cw_device_set_part(const char *value)
{
	return set_number("--device-part", value, 0, &which);
}

/* ---- the device ---- */

bool cw_device_is_open(void)
{
	return own.header;
}

const char *cw_device_name(void)
{
	return device.name;
}

static void complain(const char *what)
{
	if (!complained)
		cw_cluster_log("can't share memory by %s: %s", path, what);
	complained = true;
}

static int open_part(void)
{
	uint32_t part = which == BY_PEER ? device.peer : which;

	if (part == CW_DEVICE_NOBODY) {
		complain("it has no peer number, so --device-part must say which part is this node's");
		return -1;
	}
	if (cw_own_part_open(&own, &device, parts, part, CW_LAYOUT) == 0)
		return 0;
	complain(errno == ERANGE ? "there is no such part (--device-parts), or it is too small" : strerror(errno));
	return -1;
}

static void gone(struct cw_source *source, uint32_t events);
static void look_again(struct cw_timer *timer);

static struct cw_timer again = {.expired = look_again};

static int open_device(void)
{
	if (cw_device_open(&device, path) < 0) {
		complain(errno == EMEDIUMTYPE ? "its memory isn't cached, as compare-and-swap from both sides needs it" : strerror(errno));
		return -1;
	}
	if (open_part() < 0) {
		cw_device_close(&device);
		return -1;
	}
	life = (struct cw_source){.fd = own.fd, .ready = gone};
	cw_loop_add(&life, 0);
	complained = false;
	return 0;
}

/* Without it nodes can still speak, and share memory otherwise; and it may come. */
void cw_device_begin(void)
{
	if (*path && cw_cluster_self() && !cw_device_is_open() && open_device() < 0)
		cw_timer_set(&again, AGAIN_NS);
}

void cw_device_end(void)
{
	cw_timer_stop(&again);
	if (!own.header)
		return;
	cw_loop_remove(&life);
	cw_own_part_close(&own);
	cw_device_close(&device);
}

static void look_again(struct cw_timer *timer)
{
	cw_device_begin();
	if (!own.header)
		return;
	cw_addresses_peers();
	for (uint32_t i = 0; i < cw_cluster_count(); i++) {
		const struct cw_cluster_node *known = cw_cluster_node_at(i);
		struct cw_node *node = known->up && !known->self ? cw_node_of_id(known->id) : NULL;

		if (node)
			cw_device_node_up(node);
	}
}

static void reset_streams(const struct cw_arena_record *record, void *context)
{
	if (record->at)
		cw_reset_here(record);
}

/*
 * Unplugged, or taken away by whoever may: programs find zeros where their rings were, and what was unread is lost. Those that sleep find
 * nothing, so their connections are reset; a program that is awake may have done that by itself.
 */
static void gone(struct cw_source *source, uint32_t events)
{
	struct cw_between words = cw_between_words(CW_PART);
	struct cw_arena_record *record, *next;

	cw_cluster_log("%s is gone: streams by it are reset", device.name);
	cw_tally(CW_SERVICE_device_gone);
	HASH_ITER(hh, service.arenas, record, next)
	reset_streams(record, NULL);
	cw_between_each(reset_streams, NULL);
	cw_named_device_gone(NULL);
	cw_device_end();
	for (uint32_t i = 0; i < cw_cluster_count(); i++) {
		const struct cw_cluster_node *known = cw_cluster_node_at(i);
		struct cw_node *node = known->self ? NULL : cw_node_of_id(known->id);

		if (!node || !node->part.length)
			continue;
		cw_between_say(node, &words);
		cw_device_node_down(node);
		cw_between_lose(node);
	}
	cw_timer_set(&again, AGAIN_NS);
}

void cw_device_beat(void)
{
	if (own.header)
		atomic_fetch_add_explicit(&own.header->beat, 1, memory_order_relaxed);
}

struct cw_echo *cw_device_echoes(void)
{
	return own.header ? own.header->echo : NULL;
}

/* ---- who else has it ---- */

static struct cw_between words_of(enum cw_between_kind kind, uint64_t at, uint64_t length)
{
	struct cw_between words = cw_between_words(kind);

	words.slot.at = at;
	words.slot.length = length;
	return words;
}

void cw_device_node_up(struct cw_node *node)
{
	struct cw_between words = cw_between_words(CW_PART);

	if (!own.header)
		return;
	words.part.at = own.part.at;
	words.part.length = own.part.length;
	words.part.peer = device.peer;
	words.part.bells = device.bells;
	/* Each time: a node that has gone mad can write here too. */
	cw_own_part_sign(&own, parts, CW_LAYOUT, cw_cluster_self(), service.instance);
	cw_between_say(node, &words);
	if (cw_own_part_claimed(&own, node->id))
		cw_device_ask(node);
}

void cw_device_node_down(struct cw_node *node)
{
	node->part.length = 0;
}

static bool is_a_part(uint64_t at, uint64_t length)
{
	for (uint32_t i = 0; i < parts; i++) {
		struct cw_part part = cw_part_of(&device, parts, i);

		if (part.length && part.at == at && part.length == length)
			return at != own.part.at;
	}
	return false;
}

static bool shows_itself(const struct cw_node *node, const struct cw_part_header *header)
{
	const struct cw_cluster_node *known = cw_cluster_node(node->id);

	return known && header->magic == CW_PART_MAGIC && header->layout == CW_LAYOUT && header->parts == parts &&
	       header->node == node->id && header->generation == known->instance;
}

/* Its memory is gone, so its programs find nothing in ours either. */
static void part_gone(struct cw_node *node)
{
	if (!node->part.length)
		return;
	cw_device_node_down(node);
	cw_named_device_gone(node);
	cw_between_lose(node);
}

static void part_heard(struct cw_node *node, uint64_t at, uint64_t length)
{
	struct cw_part_header *header = NULL;
	bool anew;
	int fd = own.header && is_a_part(at, length) ? cw_device_grant(&device, at, CW_PART_HEADER, false, NULL, NULL) : -1;

	if (fd >= 0) {
		header = cw_window_map(fd, CW_PART_HEADER, false);
		close(fd);
	}
	if (header && shows_itself(node, header)) {
		anew = !node->part.length;
		cw_pulse_watch(node, header, CW_PART_HEADER, &header->beat, header->echo);
		node->part = (struct cw_part){.at = at, .length = length};
		if (anew) { /* it may have forgotten ours when its device was gone */
			cw_device_node_up(node);
			cw_named_device_up(node);
		}
		return;
	}
	cw_tally(CW_SERVICE_device_refused);
	if (header)
		munmap(header, CW_PART_HEADER);
}

/* ---- memory ---- */

static bool is_known(uint64_t node)
{
	return cw_cluster_node(node);
}

/* Who was taken out of the cluster has nothing of it any more; words that nobody of it has written mean nothing. */
static uint64_t find_room(uint64_t size)
{
	uint64_t at = own.header ? cw_own_part_find(&own, size) : 0;

	if (at || !own.header)
		return at;
	cw_own_part_forget(&own, is_known);
	return cw_own_part_find(&own, size);
}

/* Both services know an arena by the same number, so each knows which bell of the other its programs wait for. False: one has none. */
static bool bells_of(const struct cw_node *node, uint64_t arena, struct cw_device_bells *bells)
{
	if (!arena || !node || !node->bells || !device.bells)
		return false;
	*bells = (struct cw_device_bells){
		.wait = (uint32_t)(arena % device.bells), .peer = node->peer, .ring = (uint32_t)(arena % node->bells)};
	return true;
}

static int take_for(const struct cw_node *node, uint64_t arena, uint64_t size, uint64_t *at, uint32_t *grant)
{
	struct cw_device_bells bells;

	*at = find_room(size);
	if (*at)
		return cw_device_grant(&device, *at, size, true, bells_of(node, arena, &bells) ? &bells : NULL, grant);
	errno = ENOSPC;
	return -1;
}

int cw_device_take(uint64_t size, uint64_t *at, uint32_t *grant)
{
	return take_for(NULL, 0, size, at, grant);
}

int cw_device_make(struct cw_arena_record *record, uint64_t id, uint32_t slots, const struct cw_node *node)
{
	record->fd = take_for(node, id, cw_arena_size(slots), &record->at, &record->grant);
	if (record->fd >= 0 && cw_arena_make_in(&record->arena, record->fd, id, slots) == 0)
		return 0;
	cw_tally(CW_SERVICE_device_full);
	return -1;
}

bool cw_device_has_room(uint64_t size)
{
	return find_room(size);
}

int cw_device_reach(const struct cw_node *node, uint64_t at, uint64_t length, bool writable, uint64_t arena, uint32_t *grant)
{
	const struct cw_part *part = &node->part;
	struct cw_device_bells bells;

	if (at < part->at + CW_PART_HEADER || at - part->at > part->length || length > part->length - (at - part->at)) {
		cw_tally(CW_SERVICE_between_misused);
		return -1;
	}
	return cw_device_grant(&device, at, length, writable, bells_of(node, arena, &bells) ? &bells : NULL, grant);
}

void cw_device_take_away(uint32_t grant)
{
	if (device.fd >= 0)
		cw_device_revoke(&device, grant);
}

/* ---- what others still have of ours ---- */

void cw_device_claim(const struct cw_node *node, const struct cw_arena_record *record)
{
	if (own.header)
		cw_own_part_claim(&own, record->at, record->arena.size, node->id);
}

bool cw_device_share(const struct cw_node *node, uint64_t at, uint64_t size)
{
	if (cw_own_part_share(&own, at, size, node->id))
		return true;
	cw_own_part_forget(&own, is_known);
	return cw_own_part_share(&own, at, size, node->id);
}

void cw_device_ask(struct cw_node *node)
{
	struct cw_between words = cw_between_words(CW_KEPT_ASKED);

	if (!own.header)
		return;
	cw_own_part_ask(&own, node->id);
	cw_between_say(node, &words);
}

static void tell_kept(uint64_t at, uint64_t length, void *context)
{
	const struct cw_node *node = context;
	struct cw_between words = words_of(CW_KEPT, at, length);

	if (at + length > node->part.at && at < node->part.at + node->part.length)
		cw_between_say(node, &words);
}

/* Not known: then nothing is said, and nothing freed. */
static void answer(struct cw_node *node)
{
	struct cw_between words = cw_between_words(CW_KEPT_END);

	if (own.header && node->part.length && cw_device_grants(&device, tell_kept, node) == 0)
		cw_between_say(node, &words);
}

bool cw_device_said(struct cw_node *node, const struct cw_between *words)
{
	switch (words->kind) {
	case CW_PART:
		node->peer = words->part.peer;
		node->bells = words->part.bells;
		if (words->part.length)
			part_heard(node, words->part.at, words->part.length);
		else
			part_gone(node);
		return true;
	case CW_KEPT_ASKED:
		answer(node);
		return true;
	case CW_KEPT:
		if (own.header)
			cw_own_part_kept(&own, words->slot.at, words->slot.length, node->id);
		return true;
	case CW_KEPT_END:
		if (own.header)
			cw_own_part_answered(&own, node->id);
		return true;
	default:
		return false;
	}
}
