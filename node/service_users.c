#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "service.h"
#include "sync/cpu.h"

#define SLOT_BYTES (2ull * CW_RING_MAX)
#define RESERVED   64 /* descriptors kept for the service's own use */

static uint64_t last_client; /* when the last one left */

uint64_t cw_last_client(void)
{
	return service.connections || service.runs ? cw_monotonic_ns() : last_client ? last_client : service.started;
}

static struct cw_user *user_find(uid_t uid)
{
	struct cw_user *user;

	HASH_FIND(hh, service.users, &uid, sizeof(uid), user);
	return user;
}

/* Half of the descriptors are for arenas, half for connections. */
uint32_t cw_most_arenas(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur <= RESERVED)
		return 0;
	return (uint32_t)((limit.rlim_cur - RESERVED) / 2);
}

/* Connections a user may have: half of what there is, so that no other user can take the service from root. */
static uint32_t most_connections(uid_t uid)
{
	return uid == 0 || uid == geteuid() ? cw_most_arenas() : cw_most_arenas() / 2;
}

struct cw_user *cw_user_enter(uid_t uid)
{
	struct cw_user *user = user_find(uid);

	if (!user) {
		user = calloc(1, sizeof(*user));
		if (!user)
			return NULL;
		user->uid = uid;
		HASH_ADD(hh, service.users, uid, sizeof(uid), user);
	}
	if (user->connections >= most_connections(uid))
		return NULL;
	user->connections++;
	service.connections++;
	return user;
}

static void forget_if_unused(struct cw_user *user)
{
	if (user->connections || user->slots)
		return;
	HASH_DEL(service.users, user);
	free(user);
}

void cw_user_leave(struct cw_user *user)
{
	user->connections--;
	service.connections--;
	last_client = cw_monotonic_ns();
	forget_if_unused(user);
}

static bool user_admits(uid_t uid)
{
	struct cw_user *user = user_find(uid);
	uint64_t bound = uid == 0 || uid == geteuid() ? service.memory : service.user_memory;

	return ((user ? user->slots : 0) + 1) * SLOT_BYTES <= bound;
}

bool cw_memory_admits(uid_t a, uid_t b)
{
	return (service.slots + 1) * SLOT_BYTES <= service.memory && user_admits(a) && user_admits(b);
}

static void charge(uid_t uid, int slots)
{
	struct cw_user *user = user_find(uid);

	if (!user)
		return;
	user->slots += (uint32_t)slots;
	forget_if_unused(user);
}

void cw_memory_charge(const struct cw_arena_record *record)
{
	service.slots++;
	charge(record->uid[0], 1);
	if (record->uid[1] != record->uid[0])
		charge(record->uid[1], 1);
}

void cw_memory_return(const struct cw_arena_record *record)
{
	service.slots--;
	charge(record->uid[0], -1);
	if (record->uid[1] != record->uid[0])
		charge(record->uid[1], -1);
}
