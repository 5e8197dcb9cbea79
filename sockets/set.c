/* The event sets of this process. */
#include <fcntl.h>

#include "kernel.h"
#include "leave.h"
#include "service_inside.h"
#include "set_item.h"

struct cw_set cw_sets[CW_SETS] CW_TABLE;
_Atomic uint32_t cw_sets_used;

void cw_set_open(int epfd)
{
	uint32_t used = atomic_load_explicit(&cw_sets_used, memory_order_relaxed);

	for (uint32_t i = 0; i < CW_SETS; i++) {
		int32_t free = 0;

		if (!atomic_compare_exchange_strong_explicit(&cw_sets[i].references, &free, 1, memory_order_acq_rel, memory_order_relaxed))
			continue;
		while (i >= used &&
		       !atomic_compare_exchange_weak_explicit(&cw_sets_used, &used, i + 1, memory_order_relaxed, memory_order_relaxed))
			;
		cw_sets[i].epfd = epfd;
		cw_sets[i].shared = cw_sets[i].filled = false;
		cw_sets[i].owed = false;
		cw_sets[i].strangers = 0;
		cw_sets[i].notes = 0;
		cw_table_put(epfd, CW_FD_SET, i);
		return;
	}
}

struct cw_set *cw_set_of(int epfd)
{
	uint32_t entry = cw_table_get(epfd);

	return cw_table_kind(entry) == CW_FD_SET ? &cw_sets[cw_table_index(entry)] : NULL;
}

void cw_set_dup(struct cw_set *set, int epfd)
{
	if ((unsigned)epfd >= CW_DESCRIPTORS) {
		cw_set_pass(set);
		cw_set_leave_datagrams(set);
		return;
	}
	atomic_fetch_add_explicit(&set->references, 1, memory_order_relaxed);
	cw_table_put(epfd, CW_FD_SET, (uint32_t)(set - cw_sets));
}

static void leave_outers(struct cw_set *set)
{
	for (uint32_t i = 0; set->outers && i < atomic_load_explicit(&cw_sets_used, memory_order_relaxed); i++) {
		struct cw_item *item, *next;
		bool locked;

		if (&cw_sets[i] == set || !cw_sets[i].nested)
			continue;
		locked = cw_set_lock(&cw_sets[i]);
		for (item = cw_sets[i].items; item; item = next) {
			next = item->next;
			if (item->inner == set)
				cw_item_forget(item);
		}
		cw_set_unlock(&cw_sets[i], locked);
	}
}

/* No descriptor is left, and nobody waits for it. */
static void end(struct cw_set *set)
{
	bool locked;

	leave_outers(set);
	locked = cw_set_lock(set);
	while (set->items)
		cw_item_forget(set->items);
	set->sleepers = 0;
	cw_set_undo_kick(set);
	if (cw_table_kind(cw_table_peek(set->epfd)) == CW_FD_OWN) {
		cw_table_take(set->epfd);
		cw_raw(SYS_close, set->epfd, 0, 0, 0, 0, 0);
	}
	set->epfd = -1;
	cw_set_unlock(set, locked);
	atomic_store_explicit(&set->references, 0, memory_order_release);
}

struct cw_set *cw_set_hold(int epfd)
{
	struct cw_set *set = cw_set_of(epfd);

	if (!set)
		return NULL;
	/* H0: counted, then the table is looked at again; who closes takes the number out of the table, then looks at the count (H1). */
	atomic_fetch_add_explicit(&set->users, 1, memory_order_seq_cst);
	atomic_thread_fence(memory_order_seq_cst);
	if (cw_set_of(epfd) == set)
		return set;
	cw_set_release(set);
	return NULL;
}

void cw_set_end_orphan(struct cw_set *set)
{
	if (cw_unlikely(atomic_load_explicit(&set->orphaned, memory_order_seq_cst)) &&
	    !atomic_load_explicit(&set->users, memory_order_seq_cst) &&
	    atomic_exchange_explicit(&set->orphaned, false, memory_order_seq_cst))
		end(set);
}

void cw_set_release(struct cw_set *set)
{
	if (atomic_fetch_sub_explicit(&set->users, 1, memory_order_seq_cst) == 1)
		cw_set_end_orphan(set);
}

static int another_descriptor(const struct cw_set *set)
{
	for (int fd = 0; fd < (int)cw_table_end(); fd++)
		if (cw_set_at(set, fd))
			return fd;
	return -1;
}

/* What is deferred is told to the kernel by the old number, as long as it is there. */
static void rename_set(struct cw_set *set, int epfd)
{
	bool locked = cw_set_lock(set);

	if (set->epfd == epfd) {
		if (locked)
			cw_set_flush(set);
		set->epfd = another_descriptor(set);
	}
	cw_set_unlock(set, locked);
}

static int own_duplicate(int fd)
{
	long duplicate = cw_raw_fcntl(fd, F_DUPFD_CLOEXEC, 3);

	if (duplicate < 0)
		return -1;
	duplicate = cw_service_move_high((int)duplicate);
	cw_table_put((int)duplicate, CW_FD_OWN, 0);
	return (int)duplicate;
}

/* Who waits goes on to wait in the kernel's set, which has no number of the program's any more. */
static void keep_for_users(struct cw_set *set, int epfd)
{
	bool locked = cw_set_lock(set);

	if (locked)
		cw_set_flush(set);
	set->epfd = own_duplicate(epfd);
	cw_set_unlock(set, locked);
}

void cw_set_close(uint32_t index, int epfd)
{
	struct cw_set *set = &cw_sets[index];
	int32_t before = atomic_load_explicit(&set->references, memory_order_relaxed);
	bool below = atomic_load_explicit(&set->lock.holder, memory_order_relaxed) == cw_thread_id();

	while (before > 1)
		if (atomic_compare_exchange_weak_explicit(&set->references, &before, before - 1, memory_order_acq_rel,
							  memory_order_relaxed)) {
			rename_set(set, epfd);
			return;
		}
	/* H1: see cw_set_hold. */
	atomic_thread_fence(memory_order_seq_cst);
	if (!below && !atomic_load_explicit(&set->users, memory_order_seq_cst)) {
		end(set);
		return;
	}
	keep_for_users(set, epfd);
	atomic_store_explicit(&set->orphaned, true, memory_order_seq_cst);
	if (below)
		cw_set_note_closed(set, set); /* who holds the lock below this handler ends it */
	else
		cw_set_end_orphan(set);
}

#define TOGETHER 256

struct registered {
	struct cw_stream *stream; /* NULL: of something else */
	int fd;
};

/* Some from that number on: who leaves a stream must not hold the lock, and each hold walks the list from its beginning. */
static unsigned registered(struct cw_set *set, unsigned number, struct registered found[TOGETHER])
{
	bool locked = cw_set_lock(set);
	struct cw_item *item = set->items;
	unsigned count = 0;

	while (item && number--)
		item = item->next;
	for (; item && count < TOGETHER; item = item->next)
		found[count++] = (struct registered){item->stream, cw_item_descriptor(item)};
	cw_set_unlock(set, locked);
	return count;
}

void cw_set_pass(struct cw_set *set)
{
	struct registered found[TOGETHER];
	unsigned count;

	cw_set_flush_all();
	set->shared = true;
	for (unsigned begin = 0; (count = registered(set, begin, found)) > 0; begin += count)
		for (unsigned i = 0; i < count; i++)
			if (found[i].stream && cw_stream_at(found[i].stream, found[i].fd))
				cw_leave_whole(found[i].stream, found[i].fd, CW_REASON_passed);
}

void cw_set_after_fork(void)
{
	uint32_t used = atomic_load_explicit(&cw_sets_used, memory_order_relaxed);

	if (!used)
		return;
	cw_set_kick_after_fork();
	cw_item_after_fork();
	cw_list_after_fork();
	cw_board_after_fork();
	for (uint32_t i = 0; i < used; i++) {
		cw_lock_after_fork(&cw_sets[i].lock);
		cw_sets[i].sleepers = 0;
		atomic_store_explicit(&cw_sets[i].users, 0, memory_order_relaxed);
		cw_sets[i].shared = true;
		cw_sets[i].owed = false;
		cw_sets[i].kicked = false; /* for the parent's sleepers, in the kernel's set that both have */
		for (struct cw_item *item = cw_sets[i].items; item; item = item->next)
			if (item->carried || item->settled) {
				item->carried = 0;
				item->settled = false;
			}
	}
	for (uint32_t i = 0; i < used; i++)
		if (atomic_exchange_explicit(&cw_sets[i].orphaned, false, memory_order_relaxed))
			end(&cw_sets[i]);
}
