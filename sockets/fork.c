#include "fork.h"

#include <sys/mman.h>

#include "kernel.h"
#include "service.h"
#include "set.h"

/* Shared by all processes that come from this one by fork. Index 0 is not used. */
static struct families {
	_Atomic uint32_t holders[CW_BOOK_ENTRIES];
} *families;

static int connection;

bool cw_family_alone(const struct cw_stream *stream)
{
	uint32_t family = atomic_load_explicit(&stream->family, memory_order_acquire);

	return !family || (families && atomic_load_explicit(&families->holders[family], memory_order_acquire) <= 1);
}

void cw_family_leave(struct cw_stream *stream)
{
	uint32_t family = atomic_exchange_explicit(&stream->family, 0, memory_order_relaxed);

	if (family && families)
		atomic_fetch_sub_explicit(&families->holders[family], 1, memory_order_acq_rel);
}

static uint32_t new_family(void)
{
	uint32_t none;

	for (uint32_t i = 1; i < CW_BOOK_ENTRIES; i++) {
		none = 0;
		if (atomic_compare_exchange_strong_explicit(&families->holders[i], &none, 1, memory_order_relaxed, memory_order_relaxed))
			return i;
	}
	return 0;
}

/* One more holder, before the child exists. */
static void share(struct cw_stream *stream)
{
	uint32_t family;

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
		atomic_store_explicit(&stream->family, family, memory_order_relaxed);
	}
	if (family)
		atomic_fetch_add_explicit(&families->holders[family], 1, memory_order_relaxed);
	else
		cw_stream_stays(stream, CW_REASON_inherited);
}

static bool lives(const struct cw_book_entry *entry)
{
	return atomic_load_explicit(&entry->kind, memory_order_acquire) != CW_ENTRY_FREE;
}

static uint32_t highest(void)
{
	uint32_t count = atomic_load_explicit(&cw_own_book.highest, memory_order_relaxed);

	return count < CW_BOOK_ENTRIES ? count : CW_BOOK_ENTRIES;
}

void cw_fork_prepare(void)
{
	bool moved = false;

	for (uint32_t i = 0, count = highest(); i < count; i++) {
		struct cw_stream *stream = &cw_streams[i];
		uint8_t phase;

		if (!lives(&cw_own_book.entry[i]))
			continue;
		phase = atomic_load_explicit(&stream->phase, memory_order_acquire);
		if (phase == CW_KERNEL || phase == CW_OFFERED || phase == CW_MOVED)
			share(stream);
		moved |= phase == CW_MOVED;
	}
	connection = cw_service_before_fork(moved);
}

void cw_fork_parent(void)
{
	cw_service_after_fork(connection, false);
}

void cw_fork_child(void)
{
	uint32_t count = highest();

	cw_thread.tid = 0;
	/* The parent's book stays the parent's. */
	cw_service_after_fork(connection, true);
	cw_set_after_fork();
	atomic_store_explicit(&cw_own_book.highest, count, memory_order_relaxed);
	for (uint32_t i = 0; i < count; i++) {
		struct cw_stream *stream = &cw_streams[i];
		struct cw_book_entry *entry = &cw_own_book.entry[i];

		if (atomic_load_explicit(&stream->references, memory_order_relaxed) <= 0)
			continue;
		atomic_store_explicit(&stream->tx_busy, 0, memory_order_relaxed);
		atomic_store_explicit(&stream->rx_busy, 0, memory_order_relaxed);
		if (atomic_load_explicit(&stream->phase, memory_order_relaxed) == CW_OFFERED)
			atomic_store_explicit(&stream->phase, CW_KERNEL, memory_order_relaxed);	/* the offer is the parent's */
		stream->inherited = stream->slot != NULL;
		/* Another thread may have been counted in the kernel; here there is none, but the slot is shared, so its counts stay. */
		atomic_store_explicit(&entry->fd, stream->fd, memory_order_relaxed);
		atomic_store_explicit(&entry->reason, CW_REASON_inherited, memory_order_relaxed);
		atomic_store_explicit(&entry->kind, stream->slot ? CW_ENTRY_MOVED : CW_ENTRY_OPEN, memory_order_relaxed);
	}
}
