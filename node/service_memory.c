/*
 * How much memory arenas may take. A slot may come to use its two rings whole, but most connections never touch more than the smallest
 * class. While what is promised (slots in use, whole) is within the bound nothing is measured; beyond, up to OVERCOMMIT times the bound,
 * what arenas really occupy is asked of the kernel, and that must be within the bound. The same for each user.
 */
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "service.h"
#include "sync/cpu.h"

#define SLOT_BYTES (2ull * CW_RING_MAX)
#define OVERCOMMIT 4
#define MEASURE_NS 100000000ull /* a measure holds so long; slots given since are counted whole */

static struct {
	uint64_t at, resident;
	uint32_t since;
} measured;

/* A device's isn't this machine's. */
static uint64_t resident_of(const struct cw_arena_record *record)
{
	struct stat info;

	return !record->at && fstat(record->fd, &info) == 0 ? (uint64_t)info.st_blocks * 512 : 0;
}

static void add_to_user(uid_t uid, uint64_t bytes)
{
	struct cw_user *user = cw_user_find(uid);

	if (user)
		user->resident += bytes;
}

static uint64_t measure(void)
{
	struct cw_arena_record *record, *next_record;
	struct cw_user *user, *next_user;
	uint64_t resident = 0;

	HASH_ITER(hh, service.users, user, next_user)
	user->resident = 0;
	HASH_ITER(hh, service.arenas, record, next_record)
	{
		uint64_t bytes = resident_of(record);

		resident += bytes;
		add_to_user(record->uid[0], bytes);
		if (record->uid[1] != record->uid[0] && !record->node)
			add_to_user(record->uid[1], bytes);
	}
	return resident;
}

/* Slots that nobody uses keep their pages for the next connection of their pair; not when memory is short. */
static void reclaim(void)
{
	struct cw_arena_record *record, *next;

	HASH_ITER(hh, service.arenas, record, next)
	for (uint32_t i = 0; i < record->frees; i++)
		if (!record->at && record->free[i] < record->touched)
			cw_arena_slot_clear(&record->arena, record->fd, record->free[i]);
}

static bool within_all(void)
{
	return measured.resident + (measured.since + 1) * SLOT_BYTES <= service.memory;
}

static void measure_if_old(void)
{
	uint64_t now = cw_monotonic_ns();

	if (measured.at && now - measured.at < MEASURE_NS)
		return;
	measured.at = now;
	measured.since = 0;
	measured.resident = measure();
	if (within_all())
		return;
	reclaim();
	measured.resident = measure();
}

static uint64_t bound_of(uid_t uid)
{
	return uid == 0 || uid == geteuid() ? service.memory : service.user_memory;
}

static bool admits(uint64_t slots, uint64_t resident, uint64_t bound)
{
	if ((slots + 1) * SLOT_BYTES <= bound)
		return true;
	if ((slots + 1) * SLOT_BYTES > OVERCOMMIT * bound)
		return false;
	return resident + (measured.since + 1) * SLOT_BYTES <= bound;
}

static bool user_admits(uid_t uid)
{
	const struct cw_user *user = cw_user_find(uid);

	return user && admits(user->slots, user->resident, bound_of(uid));
}

static bool promised(uid_t uid)
{
	const struct cw_user *user = cw_user_find(uid);

	return user && (user->slots + 1) * SLOT_BYTES <= bound_of(uid);
}

bool cw_memory_admits(uid_t a, uid_t b)
{
	if ((service.slots + 1) * SLOT_BYTES <= service.memory && promised(a) && promised(b))
		return true;
	if ((service.slots + 1) * SLOT_BYTES > OVERCOMMIT * service.memory)
		return false;
	measure_if_old();
	return admits(service.slots, measured.resident, service.memory) && user_admits(a) && user_admits(b);
}

static void charge(uid_t uid, int slots)
{
	struct cw_user *user = cw_user_find(uid);

	if (!user)
		return;
	user->slots += (uint32_t)slots;
	cw_user_forget_unused(user);
}

static void charge_both(const struct cw_arena_record *record, int slots)
{
	service.slots += (uint32_t)slots;
	charge(record->uid[0], slots);
	if (record->uid[1] != record->uid[0] && !record->node)
		charge(record->uid[1], slots);
}

void cw_memory_charge(const struct cw_arena_record *record)
{
	charge_both(record, 1);
	measured.since++;
}

void cw_memory_return(const struct cw_arena_record *record)
{
	charge_both(record, -1);
}

struct cw_memory_use cw_memory_use(void)
{
	return (struct cw_memory_use){.promised = service.slots * SLOT_BYTES, .resident = measure()};
}
