#include "part.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "transport/window/window.h"

struct cw_part cw_part_of(const struct cw_device *device, uint32_t parts, uint32_t which)
{
	uint64_t length = parts ? device->size / parts / CW_PART_UNIT * CW_PART_UNIT : 0;

	if (which >= parts || parts > CW_PART_MOST || length < 2 * CW_PART_UNIT)
		return (struct cw_part){0};
	return (struct cw_part){.at = which * length, .length = length};
}

static int map_header(struct cw_own_part *own)
{
	int error;

	own->fd = cw_device_grant(own->device, own->part.at, CW_PART_HEADER, true, NULL, NULL);
	if (own->fd < 0)
		return -1;
	own->header = cw_window_map(own->fd, CW_PART_HEADER, true);
	if (own->header)
		return 0;
	error = errno;
	close(own->fd);
	errno = error;
	return -1;
}

int cw_own_part_open(struct cw_own_part *own, const struct cw_device *device, uint32_t parts, uint32_t which, uint32_t layout)
{
	*own = (struct cw_own_part){.device = device, .part = cw_part_of(device, parts, which)};
	if (!own->part.length) {
		errno = ERANGE;
		return -1;
	}
	own->units = (uint32_t)(own->part.length / CW_PART_UNIT);
	if (own->units > CW_PART_UNITS)
		own->units = CW_PART_UNITS;
	if (map_header(own) < 0)
		return -1;
	if (own->header->magic != CW_PART_MAGIC || own->header->layout != layout || own->header->parts != parts)
		memset(own->header, 0, sizeof(*own->header));
	return 0;
}

void cw_own_part_sign(struct cw_own_part *own, uint32_t parts, uint32_t layout, uint64_t node, uint64_t generation)
{
	own->header->layout = layout;
	own->header->parts = parts;
	own->header->node = node;
	own->header->generation = generation;
	own->header->magic = CW_PART_MAGIC;
}

void cw_own_part_close(struct cw_own_part *own)
{
	if (!own->header)
		return;
	munmap(own->header, CW_PART_HEADER);
	close(own->fd);
	own->header = NULL;
}

/* ---- what is free ---- */

struct search {
	const struct cw_own_part *own;
	bool used[CW_PART_UNITS];
};

static void range(const struct cw_own_part *own, uint64_t at, uint64_t length, uint32_t *first, uint32_t *end)
{
	uint64_t from = at > own->part.at ? at - own->part.at : 0, to = at + length > own->part.at ? at + length - own->part.at : 0;

	*first = from / CW_PART_UNIT < own->units ? (uint32_t)(from / CW_PART_UNIT) : own->units;
	to = (to + CW_PART_UNIT - 1) / CW_PART_UNIT;
	*end = to < own->units ? (uint32_t)to : own->units;
}

static void use(uint64_t at, uint64_t length, void *context)
{
	struct search *search = context;
	uint32_t unit, end;

	for (range(search->own, at, length, &unit, &end); unit < end; unit++)
		search->used[unit] = true;
}

uint64_t cw_own_part_find(const struct cw_own_part *own, uint64_t length)
{
	uint32_t wanted = (uint32_t)((length + CW_PART_UNIT - 1) / CW_PART_UNIT), run = 0;
	static struct search search;

	memset(&search, 0, sizeof(search));
	search.own = own;
	if (!own->header || length > own->part.length || cw_device_grants(own->device, use, &search) < 0)
		return 0;
	for (uint32_t i = 0; i < CW_PART_SHARES; i++)
		use(own->header->share[i].at, own->header->share[i].length, &search);
	for (uint32_t unit = 1; unit < own->units; unit++) {
		run = search.used[unit] || own->header->claim[unit] ? 0 : run + 1;
		if (run == wanted)
			return own->part.at + (uint64_t)(unit + 1 - wanted) * CW_PART_UNIT;
	}
	return 0;
}

/* ---- what other nodes have ---- */

void cw_own_part_claim(struct cw_own_part *own, uint64_t at, uint64_t length, uint64_t node)
{
	uint32_t unit, end;

	for (range(own, at, length, &unit, &end); unit < end; unit++) {
		own->header->claim[unit] = node;
		own->asked[unit] = false;
	}
}

/* The place of that claim, else a free one; CW_PART_SHARES: there is none. */
static uint32_t find_share(const struct cw_part_header *header, uint64_t at, uint64_t node)
{
	uint32_t place = CW_PART_SHARES;

	for (uint32_t i = 0; i < CW_PART_SHARES; i++)
		if (header->share[i].length && header->share[i].at == at && header->share[i].node == node)
			return i;
		else if (!header->share[i].length)
			place = i;
	return place;
}

bool cw_own_part_share(struct cw_own_part *own, uint64_t at, uint64_t length, uint64_t node)
{
	uint32_t place = own->header ? find_share(own->header, at, node) : CW_PART_SHARES;

	if (place == CW_PART_SHARES)
		return false;
	own->header->share[place] = (struct cw_part_share){.at = at, .length = length, .node = node};
	own->asked_share[place] = false;
	return true;
}

void cw_own_part_forget(struct cw_own_part *own, bool (*known)(uint64_t node))
{
	for (uint32_t unit = 0; own->header && unit < own->units; unit++)
		if (own->header->claim[unit] && !known(own->header->claim[unit]))
			own->header->claim[unit] = 0;
	for (uint32_t i = 0; own->header && i < CW_PART_SHARES; i++)
		if (own->header->share[i].length && !known(own->header->share[i].node))
			own->header->share[i].length = 0;
}

bool cw_own_part_claimed(const struct cw_own_part *own, uint64_t node)
{
	for (uint32_t unit = 0; own->header && unit < own->units; unit++)
		if (own->header->claim[unit] == node)
			return true;
	for (uint32_t i = 0; own->header && i < CW_PART_SHARES; i++)
		if (own->header->share[i].length && own->header->share[i].node == node)
			return true;
	return false;
}

void cw_own_part_ask(struct cw_own_part *own, uint64_t node)
{
	for (uint32_t unit = 0; unit < own->units; unit++)
		if (own->header->claim[unit] == node)
			own->asked[unit] = true;
	for (uint32_t i = 0; i < CW_PART_SHARES; i++)
		if (own->header->share[i].node == node)
			own->asked_share[i] = true;
}

void cw_own_part_kept(struct cw_own_part *own, uint64_t at, uint64_t length, uint64_t node)
{
	uint32_t unit, end;

	for (range(own, at, length, &unit, &end); unit < end; unit++)
		if (own->header->claim[unit] == node)
			own->asked[unit] = false;
	for (uint32_t i = 0; i < CW_PART_SHARES; i++)
		if (own->header->share[i].node == node && own->header->share[i].at == at)
			own->asked_share[i] = false;
}

void cw_own_part_answered(struct cw_own_part *own, uint64_t node)
{
	for (uint32_t unit = 0; unit < own->units; unit++)
		if (own->asked[unit] && own->header->claim[unit] == node) {
			own->header->claim[unit] = 0;
			own->asked[unit] = false;
		}
	for (uint32_t i = 0; i < CW_PART_SHARES; i++)
		if (own->asked_share[i] && own->header->share[i].node == node) {
			own->header->share[i].length = 0;
			own->asked_share[i] = false;
		}
}
