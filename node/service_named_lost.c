/* What became of windows that were taken away: who asks for one is told that, not that there is none. The last few. */
#include <string.h>

#include "service_named.h"

#define KEPT 32

static struct {
	uint64_t owner;
	char name[CW_WINDOW_NAME];
	const char *why;
} lost[KEPT];
static unsigned next;

static uint64_t owner_of(const struct cw_named *window)
{
	return window->owner ? cw_node_id(window->owner) : 0;
}

static int find(uint64_t owner, const char *name)
{
	for (int i = 0; i < KEPT; i++)
		if (lost[i].why && lost[i].owner == owner && strcmp(lost[i].name, name) == 0)
			return i;
	return -1;
}

void cw_named_lost(const struct cw_named *window, const char *why)
{
	int place = find(owner_of(window), window->name);

	if (place < 0)
		place = (int)(next++ % KEPT);
	lost[place].owner = owner_of(window);
	memcpy(lost[place].name, window->name, sizeof(lost[place].name));
	lost[place].why = why;
}

void cw_named_found(const struct cw_named *window)
{
	int place = find(owner_of(window), window->name);

	if (place >= 0)
		lost[place].why = NULL;
}

const char *cw_named_why(uint64_t owner, const char *name)
{
	int place = find(owner == cw_cluster_self() ? 0 : owner, name);

	return place < 0 ? NULL : lost[place].why;
}
