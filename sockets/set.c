/* The event sets of this process. */
#include "set_item.h"

struct cw_set cw_sets[CW_SETS];
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
		cw_sets[i].shared = false;
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
	atomic_fetch_add_explicit(&set->references, 1, memory_order_relaxed);
	cw_table_put(epfd, CW_FD_SET, (uint32_t)(set - cw_sets));
}

void cw_set_close(struct cw_set *set, int epfd)
{
	bool locked;

	if (atomic_load_explicit(&set->references, memory_order_relaxed) > 1) {
		atomic_fetch_sub_explicit(&set->references, 1, memory_order_relaxed);
		return;
	}
	for (uint32_t i = 0; set->outers && i < atomic_load_explicit(&cw_sets_used, memory_order_relaxed); i++) {
		struct cw_item *item, *next;

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
	locked = cw_set_lock(set);
	while (set->items)
		cw_item_forget(set->items);
	set->sleepers = 0;
	cw_set_unlock(set, locked);
	atomic_store_explicit(&set->references, 0, memory_order_release);
}

void cw_set_after_fork(void)
{
	uint32_t used = atomic_load_explicit(&cw_sets_used, memory_order_relaxed);

	cw_item_after_fork();
	cw_board_after_fork();
	for (uint32_t i = 0; i < used; i++) {
		atomic_store_explicit(&cw_sets[i].lock.holder, 0, memory_order_relaxed);
		cw_sets[i].sleepers = 0;
		cw_sets[i].shared = true;
	}
}
