#include "table.h"

#include "kernel.h"
#include "stream.h"
#include "sync/lock.h"

#define LOOKS   100 /* then it sleeps between them */
#define TURNS   500 /* of a millisecond: the kernel's dup2 may wait for what was closed by it. Less than who changes it waits for a lock */
#define CHANGES 8

static struct cw_lock changing;
static __thread bool held;
static _Atomic int changed[CHANGES]; /* the last of them; 0 may be none */
static _Atomic uint32_t changes;

static bool lock_changing(void)
{
	enum cw_lock_result result = cw_lock_own(&changing, cw_thread_id(), NULL);

	return result == CW_LOCK_HELD || result == CW_LOCK_RECOVERED;
}

uint32_t cw_table_await(int fd)
{
	uint32_t entry = cw_table_peek(fd);

	for (int i = 0; entry == CW_FD_CHANGING && i < LOOKS + TURNS; i++) {
		if (atomic_load_explicit(&changing.holder, memory_order_relaxed) == cw_thread_id())
			break;
		if (i < LOOKS)
			cw_raw(SYS_sched_yield, 0, 0, 0, 0, 0, 0);
		else
			cw_turn();
		entry = cw_table_peek(fd);
	}
	return entry == CW_FD_CHANGING ? 0 : entry;
}

uint32_t cw_table_change(int fd, bool *locked)
{
	*locked = lock_changing();
	if ((unsigned)fd >= CW_DESCRIPTORS)
		return 0;
	atomic_store_explicit(&changed[atomic_fetch_add_explicit(&changes, 1, memory_order_relaxed) % CHANGES], fd, memory_order_relaxed);
	/* Before the counts of who is in a call are looked at (cw_stream_let_pass): who raises one behind that sees the change. */
	return atomic_exchange_explicit(&cw_table[fd], CW_FD_CHANGING, memory_order_seq_cst);
}

void cw_table_changed(int fd, bool locked)
{
	uint32_t entry = CW_FD_CHANGING;

	if ((unsigned)fd < CW_DESCRIPTORS)
		atomic_compare_exchange_strong_explicit(&cw_table[fd], &entry, 0, memory_order_release, memory_order_relaxed);
	if (locked)
		cw_unlock_if_held(&changing, cw_thread_id());
}

void cw_table_hold(void)
{
	held = lock_changing();
}

void cw_table_let_go(void)
{
	if (held)
		cw_unlock_if_held(&changing, cw_thread_id());
}

/* What was changing all the same, since the fork could not wait for it, is nothing. */
void cw_table_after_fork(void)
{
	cw_lock_after_fork(&changing);
	for (int i = 0; i < CHANGES; i++)
		cw_table_changed(atomic_load_explicit(&changed[i], memory_order_relaxed), false);
}

bool cw_table_was_changed(int fd)
{
	for (int i = 0; i < CHANGES; i++)
		if (atomic_load_explicit(&changed[i], memory_order_relaxed) == fd)
			return true;
	return false;
}
