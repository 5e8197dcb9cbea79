#include "stream.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "children.h"
#include "fork.h"
#include "kernel.h"
#include "leave.h"
#include "patience.h"
#include "service.h"
#include "set.h"
#include "switch.h"
#include "unix.h"

#define LOOKS 20 /* for who is about to enter the kernel */

__thread struct cw_thread cw_thread;
struct cw_stream cw_streams[CW_BOOK_ENTRIES] CW_TABLE;
_Atomic uint32_t cw_table[CW_DESCRIPTORS] CW_FIRST_TABLE;
_Atomic uint32_t cw_table_highest;
struct cw_kernel cw_kernel;
_Atomic bool cw_cancels;
union cw_book_memory cw_book_memory CW_TABLE __attribute__((aligned(CW_BOOK_ALIGNMENT)));

/* The free entries: a stack whose head carries a count of its changes, so that a signal handler or thread in the middle of a take does no
 * harm. */
static _Atomic uint64_t free_head;
static _Atomic uint32_t never_used;

uint32_t cw_thread_id_slow(void)
{
	cw_thread.tid = (uint32_t)cw_raw(SYS_gettid, 0, 0, 0, 0, 0, 0);
	return cw_thread.tid;
}

uint32_t cw_streams_used(void)
{
	uint32_t used = atomic_load_explicit(&never_used, memory_order_acquire);

	return used < CW_BOOK_ENTRIES ? used : CW_BOOK_ENTRIES;
}

/* It only grows, whoever of two threads is the later one. */
static void tell_highest(uint32_t used)
{
	uint32_t told = atomic_load_explicit(&cw_own_book.highest, memory_order_relaxed);

	while (told < used &&
	       !atomic_compare_exchange_weak_explicit(&cw_own_book.highest, &told, used, memory_order_release, memory_order_relaxed))
		;
}

static bool take_entry(uint32_t *number)
{
	uint64_t head = atomic_load_explicit(&free_head, memory_order_acquire), next;

	while ((uint32_t)head) {
		uint32_t first = (uint32_t)head - 1;

		next = (((head >> 32) + 1) << 32) | atomic_load_explicit(&cw_streams[first].next_free, memory_order_relaxed);
		if (atomic_compare_exchange_weak_explicit(&free_head, &head, next, memory_order_acq_rel, memory_order_acquire)) {
			*number = first;
			return true;
		}
	}
	*number = atomic_fetch_add_explicit(&never_used, 1, memory_order_relaxed);
	if (*number < CW_BOOK_ENTRIES) {
		if (cw_children_beyond(*number))
			cw_service_register();
		tell_highest(*number + 1);
		return true;
	}
	atomic_store_explicit(&never_used, CW_BOOK_ENTRIES, memory_order_relaxed);
	return false;
}

static void give_entry(uint32_t number)
{
	uint64_t head = atomic_load_explicit(&free_head, memory_order_relaxed), next;

	do {
		atomic_store_explicit(&cw_streams[number].next_free, (uint32_t)head, memory_order_relaxed);
		next = (((head >> 32) + 1) << 32) | (number + 1);
	} while (!atomic_compare_exchange_weak_explicit(&free_head, &head, next, memory_order_acq_rel, memory_order_relaxed));
}

static void count_total(_Atomic uint64_t *total, uint64_t by)
{
	if (by)
		atomic_fetch_add_explicit(total, by, memory_order_release);
}

void cw_count(enum cw_counter counter)
{
	count_total(&cw_own_book.totals.counter[counter], 1);
}

static struct cw_stream *open_entry(int fd, bool connected, bool nonblocking)
{
	struct cw_stream *stream;
	struct cw_book_entry *entry;
	uint32_t number;

	if (cw_unlikely(!atomic_load_explicit(&cw_service_room, memory_order_relaxed)) && cw_moving && cw_sole_thread())
		cw_service_make_room();
	if ((unsigned)fd >= CW_DESCRIPTORS || !take_entry(&number)) {
		count_total(&cw_own_book.totals.made, 1);
		count_total(&cw_own_book.totals.reasons[CW_REASON_too_many], 1);
		return NULL;
	}
	stream = &cw_streams[number];
	stream->number = number;
	stream->fd = fd;
	stream->tells_unread = stream->reset_told = stream->broken = stream->is_unix = false;
	atomic_store_explicit(&stream->notes, 0, memory_order_relaxed);
	stream->corked = 0;
	stream->shut_writing = stream->shut_reading = stream->clamped = stream->bounded = stream->own_clamp = stream->keeps_unsent = false;
	stream->by_kernel_in = stream->by_kernel_out = stream->offers_missed = 0;
	atomic_store_explicit(&stream->error, 0, memory_order_relaxed);
	stream->most_bits = CW_RING_MAX_BITS;
	stream->lingered = 0;
	atomic_store_explicit(&stream->left_at, 0, memory_order_relaxed);
	stream->linger_shift = 0;
	atomic_store_explicit(&stream->room_by_edge, false, memory_order_relaxed);
	stream->awaited = 0;
	atomic_store_explicit(&stream->offered_up, 0, memory_order_relaxed);
	atomic_store_explicit(&stream->offers_in_vain, 0, memory_order_relaxed);
	atomic_store_explicit(&stream->offers_left_out, 0, memory_order_relaxed);
	stream->cookie = 0;
	stream->accepted = connected;
	atomic_store_explicit(&stream->port, 0, memory_order_relaxed);
	atomic_store_explicit(&stream->teaches, 0, memory_order_relaxed);
	atomic_store_explicit(&stream->offer, 0, memory_order_relaxed);
	stream->rcvbuf = 0;
	atomic_store_explicit(&stream->slot, NULL, memory_order_relaxed);
	atomic_store_explicit(&stream->items, NULL, memory_order_relaxed);
	atomic_store_explicit(&stream->nonblocking, nonblocking, memory_order_relaxed);
	atomic_store_explicit(&stream->lent, false, memory_order_relaxed);
	atomic_store_explicit(&stream->family, 0, memory_order_relaxed);
	atomic_store_explicit(&stream->calls, 0, memory_order_relaxed);
	atomic_store_explicit(&stream->tx_busy, 0, memory_order_relaxed);
	atomic_store_explicit(&stream->rx_busy, 0, memory_order_relaxed);
	atomic_store_explicit(&stream->references, 1, memory_order_relaxed);
	atomic_store_explicit(&stream->phase, connected ? CW_KERNEL : CW_UNBORN, memory_order_relaxed);
	entry = &cw_own_book.entry[number];
	atomic_store_explicit(&entry->fd, fd, memory_order_relaxed);
	atomic_store_explicit(&entry->reason, connected ? CW_REASON_short_lived : CW_REASON_not_connected, memory_order_relaxed);
	atomic_store_explicit(&entry->protocol, 0, memory_order_relaxed);
	atomic_store_explicit(&entry->kind, CW_ENTRY_OPEN, memory_order_release);
	return stream;
}

struct cw_stream *cw_stream_open(int fd, bool connected, bool nonblocking)
{
	struct cw_stream *stream = open_entry(fd, connected, nonblocking);

	if (stream)
		cw_table_put(fd, CW_FD_STREAM, stream->number);
	return stream;
}

struct cw_stream *cw_stream_open_unix(int fd, bool connected, bool nonblocking)
{
	struct cw_stream *stream = open_entry(fd, connected, nonblocking);

	if (!stream)
		return NULL;
	stream->is_unix = true;
	stream->clamped = stream->bounded = true; /* the kernel's buffer is small */
	for (int out = 0; out < 2; out++) {
		atomic_store_explicit(&stream->passed.bytes[out], 0, memory_order_relaxed);
		atomic_store_explicit(&stream->passed.busy[out], 0, memory_order_relaxed);
	}
	atomic_store_explicit(&stream->passed.lost, 0, memory_order_relaxed);
	atomic_store_explicit(&cw_own_book.entry[stream->number].protocol, CW_BOOK_UNIX, memory_order_relaxed);
	cw_table_put(fd, CW_FD_STREAM, stream->number);
	return stream;
}

struct cw_stream *cw_entry_open(int fd)
{
	return open_entry(fd, true, false);
}

void cw_stream_connected(struct cw_stream *stream)
{
	uint8_t unborn = CW_UNBORN;

	if (atomic_compare_exchange_strong_explicit(&stream->phase, &unborn, CW_KERNEL, memory_order_relaxed, memory_order_relaxed))
		atomic_store_explicit(&cw_own_book.entry[stream->number].reason, CW_REASON_short_lived, memory_order_relaxed);
}

bool cw_entry_count(struct cw_stream *entry)
{
	int32_t references = atomic_load_explicit(&entry->references, memory_order_relaxed);

	while (references > 0)
		if (atomic_compare_exchange_weak_explicit(&entry->references, &references, references + 1, memory_order_acq_rel,
							  memory_order_relaxed))
			return true;
	return false;
}

void cw_stream_dup(struct cw_stream *stream, uint32_t life, int fd)
{
	if ((unsigned)fd >= CW_DESCRIPTORS) {
		cw_leave(stream, CW_REASON_too_many);
		return;
	}
	if (!cw_entry_count(stream))
		return;
	if (cw_stream_ended(stream, life))
		cw_stream_close(stream, -1); /* the next one's in its place */
	else
		cw_table_put(fd, CW_FD_STREAM, stream->number);
}

void cw_book_end(struct cw_book *book, uint32_t number)
{
	struct cw_book_entry *entry = &book->entry[number];
	struct cw_book_totals *totals = &book->totals;
	uint32_t kind = atomic_load_explicit(&entry->kind, memory_order_relaxed);
	uint32_t reason = atomic_load_explicit(&entry->reason, memory_order_relaxed);

	/* T: each is a release at least, pairs with the reading of totals in the other order (service_totals.c). */
	atomic_store_explicit(&entry->kind, CW_ENTRY_FREE, memory_order_seq_cst);
	count_total(&totals->made, 1);
	if (kind == CW_ENTRY_MOVED || kind == CW_ENTRY_DEMOTED)
		count_total(&totals->moved, 1);
	if (kind == CW_ENTRY_DEMOTED)
		count_total(&totals->demoted, 1);
	if (kind != CW_ENTRY_MOVED && reason < CW_REASONS)
		count_total(&totals->reasons[reason], 1);
	for (int i = 0; i < CW_COUNTERS; i++) {
		count_total(&totals->counter[i], entry->counter[i]);
		entry->counter[i] = 0;
	}
	atomic_store_explicit(&entry->fd, -1, memory_order_relaxed);
	atomic_store_explicit(&entry->reason, 0, memory_order_relaxed);
	atomic_store_explicit(&entry->arena, 0, memory_order_relaxed);
}

void cw_entry_close(struct cw_stream *entry)
{
	atomic_store_explicit(&entry->phase, CW_STAYS, memory_order_relaxed);
	cw_family_leave(entry);
	cw_book_end(&cw_own_book, entry->number);
	give_entry(entry->number);
}

/* Here, or in the kernel, where they may sleep. */
static bool in_calls(const struct cw_stream *stream)
{
	return atomic_load_explicit(&stream->tx_busy, memory_order_seq_cst) ||
	       atomic_load_explicit(&stream->rx_busy, memory_order_seq_cst) ||
	       (stream->slot && (atomic_load_explicit(&stream->tx->tx_in_kernel, memory_order_acquire) ||
				 atomic_load_explicit(&stream->rx->rx_asleep, memory_order_acquire)));
}

/* Who was counted before the change is in the kernel after a turn: nobody can tell, but what is left to do there is some instructions. */
void cw_stream_let_pass(struct cw_stream *stream)
{
	if (cw_sole_thread())
		return;
	if (stream->slot) {
		cw_lock_pass(&stream->tx->tx_lock, cw_thread_id());
		cw_lock_pass(&stream->rx->rx_lock, cw_thread_id());
	}
	for (int i = 0; i < LOOKS && in_calls(stream); i++)
		cw_raw(SYS_sched_yield, 0, 0, 0, 0, 0, 0);
	if (in_calls(stream))
		cw_turn();
}

static int another_descriptor(const struct cw_stream *stream, int but)
{
	for (int fd = 0; fd < (int)cw_table_end(); fd++)
		if (fd != but && cw_stream_at(stream, fd))
			return fd;
	return but;
}

void cw_stream_close(struct cw_stream *stream, int fd)
{
	int32_t before = atomic_fetch_sub_explicit(&stream->references, 1, memory_order_acq_rel);
	uint8_t phase;

	if (before > 1) {
		if (stream->fd == fd)
			stream->fd = another_descriptor(stream, fd);
		cw_set_forget_descriptor(stream, fd, false);
		return;
	}
	atomic_fetch_add_explicit(&stream->life, 1, memory_order_seq_cst);
	if (atomic_load_explicit(&stream->offer, memory_order_relaxed))
		cw_service_part(stream, fd);
	cw_set_forget_descriptor(stream, fd, true);
	/* A grant that another thread takes at this moment comes too late from here on, or is waited for. */
	phase = atomic_exchange_explicit(&stream->phase, CW_STAYS, memory_order_acq_rel);
	cw_patience_end(stream, phase);
	if (phase == CW_MOVED && (stream->slot || cw_service_attached(stream)))
		cw_switch_close(stream, fd);
	else if (phase == CW_OFFERED)
		cw_service_withdraw(stream);
	cw_family_leave(stream);
	/* A grant that is on its way finds another generation and is given back. */
	atomic_fetch_add_explicit(&stream->generation, 1, memory_order_release);
	atomic_store_explicit(&stream->slot, NULL, memory_order_release);
	cw_book_end(&cw_own_book, stream->number);
	give_entry(stream->number);
}

void cw_stream_stays(struct cw_stream *stream, enum cw_reason reason)
{
	uint8_t phase = atomic_load_explicit(&stream->phase, memory_order_acquire);

	if (stream->is_unix && phase != CW_MOVED)
		cw_unix_lose(stream);
	while (phase != CW_MOVED && phase != CW_STAYS)
		if (atomic_compare_exchange_weak_explicit(&stream->phase, &phase, CW_STAYS, memory_order_acq_rel, memory_order_acquire)) {
			atomic_store_explicit(&cw_own_book.entry[stream->number].reason, reason, memory_order_relaxed);
			if (phase == CW_OFFERED)
				cw_service_withdraw(stream);
			return;
		}
}

/* In other hands too: another process has it, or may have been given it when it left. */
static bool is_held_by_others(const struct cw_stream *stream)
{
	return stream->slot && (atomic_load_explicit(&stream->slot->end[stream->end].holders, memory_order_acquire) != 1 ||
				(atomic_load_explicit(&stream->rx->state, memory_order_relaxed) & CW_MARK_LEFT));
}

bool cw_stream_blocks(struct cw_stream *stream, int fd)
{
	bool held, blocks;

	/* The other way round the kernel's call finds it out. */
	if (cw_likely(!atomic_load_explicit(&stream->nonblocking, memory_order_relaxed)))
		return true;
	held = is_held_by_others(stream);
	if (!held && cw_likely(!atomic_load_explicit(&stream->lent, memory_order_relaxed)))
		return false;
	/* Once more when it is held by us alone again. Who is in a family is not looked for each time (fork.h). */
	if (!held && stream->slot)
		atomic_store_explicit(&stream->lent, false, memory_order_relaxed);
	blocks = !(cw_raw_fcntl(fd, F_GETFL, 0) & O_NONBLOCK);
	if (blocks && !held && stream->slot)
		atomic_store_explicit(&stream->nonblocking, false, memory_order_relaxed);
	return blocks;
}

bool cw_stream_enter(struct cw_stream *stream, _Atomic uint32_t *busy)
{
	uint8_t phase = atomic_load_explicit(&stream->phase, memory_order_relaxed);

	if (phase == CW_OFFERED && cw_service_has_mail())
		cw_service_take_mail();
	/* E0: the count is raised before the slot is looked at; the one that attaches sets the slot before it looks at the count (switch.c,
	 * E1). */
	atomic_fetch_add_explicit(busy, 1, memory_order_seq_cst);
	if (cw_unlikely(stream->is_unix))
		cw_unix_enter(stream, busy == &stream->tx_busy);
	if (cw_likely(!atomic_load_explicit(&stream->slot, memory_order_seq_cst)) ||
	    (atomic_load_explicit(&stream->notes, memory_order_relaxed) & CW_NOTE_PLAIN))
		return true;
	if (cw_unlikely(stream->is_unix))
		cw_unix_leave(stream, busy == &stream->tx_busy, 0);
	atomic_fetch_sub_explicit(busy, 1, memory_order_release);
	return false;
}

static bool lived(uint64_t calls, uint64_t bytes, unsigned doublings)
{
	return calls >= (uint64_t)cw_policy.number[CW_OPTION_after_messages] << doublings ||
	       bytes >= (uint64_t)cw_policy.number[CW_OPTION_after_bytes] << doublings;
}

/* Has it shown that it lives? Called where a call has ended, so an offer (some microseconds, once) delays nobody who waits. */
static void consider(struct cw_stream *stream, int fd)
{
	const uint64_t *counter;
	uint64_t calls, bytes;

	if (atomic_load_explicit(&stream->phase, memory_order_relaxed) != CW_KERNEL)
		return;
	calls = atomic_fetch_add_explicit(&stream->calls, 1, memory_order_relaxed) + 1;
	counter = cw_counters(stream);
	bytes = counter[CW_COUNT_bytes_kernel_in] + counter[CW_COUNT_bytes_kernel_out];
	if (lived(calls, bytes, 0) && lived(calls, bytes, cw_patience(stream, fd)))
		cw_service_offer(stream, fd);
}

void cw_stream_sent(struct cw_stream *stream, int fd, ssize_t result)
{
	if (cw_unlikely(stream->is_unix))
		cw_unix_leave(stream, true, result);
	atomic_fetch_sub_explicit(&stream->tx_busy, 1, memory_order_release);
	if (result <= 0)
		return;
	CW_COUNT(stream, bytes_kernel_out, (uint64_t)result);
	CW_COUNT(stream, messages_out, 1);
	consider(stream, fd);
}

void cw_stream_received(struct cw_stream *stream, int fd, ssize_t result)
{
	if (cw_unlikely(stream->is_unix))
		cw_unix_leave(stream, false, result);
	atomic_fetch_sub_explicit(&stream->rx_busy, 1, memory_order_release);
	if (result <= 0)
		return;
	CW_COUNT(stream, bytes_kernel_in, (uint64_t)result);
	CW_COUNT(stream, messages_in, 1);
	consider(stream, fd);
}
