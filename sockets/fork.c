#include "fork.h"

#include <sys/mman.h>

#include "datagram.h"
#include "kernel.h"
#include "patience.h"
#include "service.h"
#include "set.h"
#include "unix.h"

/*
 * The processes that hold one socket which is not moved: their ids, in memory shared by all that come from this one by fork. A holder that
 * died is found out by asking for its id; FORKING is a child that has not yet said its own.
 */
#define FAMILY_HOLDERS 8
#define FORKING        1u /* init never comes by our fork */

static struct families {
	_Atomic uint32_t holder[CW_BOOK_ENTRIES][FAMILY_HOLDERS];
	struct cw_family_book book[CW_BOOK_ENTRIES]; /* of AF_UNIX streams: what all of them have counted */
} * families;

static int connection;
static bool held;

static bool replace(uint32_t family, uint32_t from, uint32_t to)
{
	for (int i = 0; i < FAMILY_HOLDERS; i++) {
		uint32_t seen = from;

		if (atomic_compare_exchange_strong_explicit(&families->holder[family][i], &seen, to, memory_order_acq_rel,
							    memory_order_relaxed))
			return true;
	}
	return false;
}

bool cw_family_alone(const struct cw_stream *stream)
{
	uint32_t family = atomic_load_explicit(&stream->family, memory_order_acquire), own = cw_own_pid();

	for (int i = 0; family && i < FAMILY_HOLDERS; i++) {
		uint32_t pid = atomic_load_explicit(&families->holder[family][i], memory_order_acquire);

		if (pid && pid != own && (pid == FORKING || cw_raw(SYS_kill, (long)pid, 0, 0, 0, 0, 0) != -ESRCH))
			return false;
	}
	return true;
}

struct cw_family_book *cw_family_book(const struct cw_stream *stream)
{
	uint32_t family = atomic_load_explicit(&stream->family, memory_order_acquire);

	return family ? &families->book[family] : NULL;
}

/* The count goes on in common. A call that is in the kernel now would book what only this process sees. */
static void open_family_book(struct cw_stream *stream, uint32_t family)
{
	struct cw_family_book *from = &stream->passed, *to = &families->book[family];

	for (int out = 0; out < 2; out++) {
		if (atomic_load_explicit(&from->busy[out], memory_order_acquire))
			atomic_store_explicit(&from->lost, 1, memory_order_relaxed);
		atomic_store_explicit(&to->busy[out], 0, memory_order_relaxed);
		atomic_store_explicit(&to->bytes[out], atomic_load_explicit(&from->bytes[out], memory_order_relaxed), memory_order_relaxed);
	}
	atomic_store_explicit(&to->lost, atomic_load_explicit(&from->lost, memory_order_relaxed), memory_order_relaxed);
}

void cw_family_leave(struct cw_stream *stream)
{
	uint32_t family = atomic_exchange_explicit(&stream->family, 0, memory_order_relaxed);

	if (family)
		replace(family, cw_own_pid(), 0);
}

void cw_family_suspend(struct cw_stream *stream)
{
	uint32_t family = atomic_load_explicit(&stream->family, memory_order_relaxed);

	if (family)
		replace(family, cw_own_pid(), 0);
}

void cw_family_resume(struct cw_stream *stream)
{
	uint32_t family = atomic_load_explicit(&stream->family, memory_order_relaxed);

	if (family && !replace(family, 0, cw_own_pid()))
		cw_stream_stays(stream, CW_REASON_inherited);
}

/* One that nobody is in. The first place is taken by this process. */
static uint32_t new_family(void)
{
	for (uint32_t i = 1; i < CW_BOOK_ENTRIES; i++) {
		uint32_t none = 0;
		bool empty = true;

		for (int k = 0; k < FAMILY_HOLDERS && empty; k++)
			empty = !atomic_load_explicit(&families->holder[i][k], memory_order_relaxed);
		if (empty && atomic_compare_exchange_strong_explicit(&families->holder[i][0], &none, cw_own_pid(), memory_order_relaxed,
								     memory_order_relaxed))
			return i;
	}
	return 0;
}

/* One more holder, before the child exists. */
static void share(struct cw_stream *stream)
{
	uint32_t family;

	/* Closing it here ends nothing any more (cw_service_part). */
	atomic_store_explicit(&stream->offer, 0, memory_order_relaxed);
	atomic_store_explicit(&stream->lent, true, memory_order_relaxed);
	cw_patience_inherit(stream);
	if (stream->slot) {
		atomic_fetch_add_explicit(&stream->slot->end[stream->end].holders, 1, memory_order_relaxed);
		return;
	}
	if (!families) {
		void *memory = mmap(NULL, sizeof(*families), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

		families = memory == MAP_FAILED ? NULL : memory;
	}
	family = atomic_load_explicit(&stream->family, memory_order_relaxed);
	if (!family && families) {
		family = new_family();
		if (family && stream->is_unix)
			open_family_book(stream, family);
		atomic_store_explicit(&stream->family, family, memory_order_relaxed);
	}
	if (!family || !replace(family, 0, FORKING))
		cw_stream_stays(stream, CW_REASON_inherited);
}

/* Has it a slot, or will the service give it one any moment? */
static bool any_with_a_slot(void)
{
	for (uint32_t i = 0, count = cw_streams_used(); i < count; i++) {
		uint8_t phase = atomic_load_explicit(&cw_streams[i].phase, memory_order_acquire);

		if (atomic_load_explicit(&cw_streams[i].references, memory_order_acquire) > 0 && (phase == CW_MOVED || phase == CW_OFFERED))
			return true;
	}
	return false;
}

void cw_fork_prepare(void)
{
	bool datagrams = false;

	cw_table_hold();
	cw_set_flush_all();
	cw_patience_share();
	cw_datagrams_before_fork(&datagrams);
	/* From here to the fork no thread offers a stream, takes a grant or forks: the child's copy is as it was shared. */
	held = cw_service_hold();
	connection = held ? cw_service_before_fork(any_with_a_slot() || datagrams) : -1;
	for (uint32_t i = 0, count = cw_streams_used(); i < count; i++) {
		struct cw_stream *stream = &cw_streams[i];
		uint8_t phase;

		if (atomic_load_explicit(&stream->references, memory_order_acquire) <= 0)
			continue;
		phase = atomic_load_explicit(&stream->phase, memory_order_acquire);
		if (phase == CW_KERNEL || phase == CW_OFFERED || phase == CW_MOVED || (phase == CW_UNBORN && stream->is_unix))
			share(stream);
	}
}

/* AF_UNIX streams that another thread made while the fork was under way: the child has them, and nobody counts what it sends. */
static void lose_unshared(void)
{
	for (uint32_t i = 0, count = cw_streams_used(); i < count; i++)
		if (cw_streams[i].is_unix && atomic_load_explicit(&cw_streams[i].references, memory_order_acquire) > 0 &&
		    !cw_streams[i].slot && !atomic_load_explicit(&cw_streams[i].family, memory_order_relaxed))
			cw_unix_lose(&cw_streams[i]);
}

void cw_fork_parent(void)
{
	lose_unshared();
	cw_flows_after_fork(false); /* it is the family's now */
	cw_service_after_fork(connection, false);
	if (held)
		cw_service_let_go();
	cw_table_let_go();
}

void cw_fork_child(void)
{
	uint32_t count = cw_streams_used();

	cw_thread.tid = 0;
	cw_thread.spin.rest = (struct cw_rest){0};
	cw_table_after_fork();
	/* The parent's book stays the parent's. */
	cw_service_after_fork(connection, true);
	cw_set_after_fork();
	cw_flows_after_fork(true);
	atomic_store_explicit(&cw_own_book.highest, count, memory_order_relaxed);
	for (uint32_t i = 0; i < count; i++) {
		struct cw_stream *stream = &cw_streams[i];
		struct cw_book_entry *entry = &cw_own_book.entry[i];

		if (atomic_load_explicit(&stream->references, memory_order_relaxed) <= 0)
			continue;
		cw_patience_child(stream);
		atomic_store_explicit(&stream->claim, CW_NO_CLAIM, memory_order_relaxed);
		/* A thread of the parent's that is in the kernel since before the slot was there still is, and takes bytes of which nobody
		 * here hears: where it is not attached the parent alone can tell when that is over. */
		if (!stream->slot) {
			atomic_store_explicit(&stream->tx_busy, 0, memory_order_relaxed);
			atomic_store_explicit(&stream->rx_busy, 0, memory_order_relaxed);
		}
		if (atomic_load_explicit(&stream->phase, memory_order_relaxed) == CW_OFFERED)
			atomic_store_explicit(&stream->phase, CW_KERNEL, memory_order_relaxed); /* the offer is the parent's */
		if (stream->slot)
			atomic_fetch_or_explicit(&stream->notes, CW_NOTE_INHERITED, memory_order_relaxed);
		else if (atomic_load_explicit(&stream->family, memory_order_relaxed))
			replace(atomic_load_explicit(&stream->family, memory_order_relaxed), FORKING, cw_own_pid());
		else if (atomic_load_explicit(&stream->phase, memory_order_relaxed) == CW_KERNEL)
			cw_stream_stays(stream, CW_REASON_inherited); /* another thread's, that was made in the meantime */
		atomic_store_explicit(&stream->offer, 0, memory_order_relaxed);
		/* Another thread may have been counted in the kernel; here there is none, but the slot is shared, so its counts stay. */
		atomic_store_explicit(&entry->fd, stream->fd, memory_order_relaxed);
		atomic_store_explicit(&entry->reason, CW_REASON_inherited, memory_order_relaxed);
		atomic_store_explicit(&entry->kind, stream->slot ? CW_ENTRY_MOVED : CW_ENTRY_OPEN, memory_order_relaxed);
	}
	cw_datagrams_after_fork();
}
