#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "service.h"
#include "sync/cpu.h"

#define RESERVED 64         /* descriptors kept for the service's own use */
#define PAUSE_NS 100000000u /* without asking: what was asked for before is forgotten */

static uint64_t last_client; /* when the last one left */

uint64_t cw_last_client(void)
{
	return service.connections || service.runs ? cw_monotonic_ns() : last_client ? last_client : service.started;
}

struct cw_user *cw_user_find(uid_t uid)
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

bool cw_user_owns(uid_t uid)
{
	return uid == 0 || uid == geteuid();
}

/* Connections a user may have: half of what there is, so that no other user can take the service from root. What is being closed counts. */
bool cw_user_is_full(const struct cw_user *user)
{
	return user->connections + user->closing >= (cw_user_owns(user->uid) ? cw_most_arenas() : cw_most_arenas() / 2);
}

bool cw_user_must_rest(struct cw_user *user, uint64_t entries)
{
	uint64_t now = cw_monotonic_ns();

	if (now - user->worked_at > PAUSE_NS)
		user->work = 0;
	user->worked_at = now;
	user->work += entries;
	if (user->work < CW_MUCH_WORK)
		return false;
	user->work = 0;
	return true;
}

struct cw_user *cw_user_of(uid_t uid)
{
	struct cw_user *user = cw_user_find(uid);

	if (user || !(user = calloc(1, sizeof(*user))))
		return user;
	user->uid = uid;
	HASH_ADD(hh, service.users, uid, sizeof(uid), user);
	return user;
}

struct cw_user *cw_user_enter(uid_t uid)
{
	struct cw_user *user = cw_user_of(uid);

	if (!user || cw_user_is_full(user))
		return NULL;
	user->connections++;
	service.connections++;
	return user;
}

void cw_user_forget_unused(struct cw_user *user)
{
	if (user->connections || user->closing || user->slots)
		return;
	HASH_DEL(service.users, user);
	free(user);
}

void cw_user_leave(struct cw_user *user)
{
	user->connections--;
	service.connections--;
	last_client = cw_monotonic_ns();
	cw_user_forget_unused(user);
}
