#include "wait_list.h"

#include <string.h>
#include <sys/mman.h>

#include "kernel.h"
#include "ready.h"
#include "service.h"
#include "switch.h"

#define ASK_KERNEL_EVERY_US 8

void cw_wait_list_begin(struct cw_wait_list *list)
{
	list->entry = list->few;
	list->room = CW_WAIT_ENTRIES;
	list->count = list->moved = 0;
}

void cw_wait_list_end(struct cw_wait_list *list)
{
	if (list->entry != list->few)
		cw_raw(SYS_munmap, (long)list->entry, (long)(list->room * sizeof(*list->entry)), 0, 0, 0, 0);
}

/* No malloc: the call may come from a signal handler. */
static bool grow(struct cw_wait_list *list)
{
	size_t room = list->room * 16;
	long memory = cw_raw(SYS_mmap, 0, (long)(room * sizeof(*list->entry)), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (memory < 0 && memory > -4096)
		return false;
	memcpy((void *)memory, list->entry, list->count * sizeof(*list->entry));
	cw_wait_list_end(list);
	list->entry = (struct cw_wait_entry *)memory;
	list->room = room;
	return true;
}

bool cw_wait_list_add(struct cw_wait_list *list, int fd, uint32_t index)
{
	struct cw_wait_entry entry = {.stream = cw_stream_of(fd), .set = cw_set_of(fd), .fd = fd, .index = index};
	uint8_t phase;

	if (!entry.stream && !entry.set)
		return true;
	phase = entry.stream ? atomic_load_explicit(&entry.stream->phase, memory_order_acquire) : CW_MOVED;
	if (phase == CW_UNBORN || phase == CW_STAYS)
		return true;
	entry.moved = phase == CW_MOVED;
	if (list->count == list->room && !grow(list))
		return false;
	list->entry[list->count++] = entry;
	list->moved += entry.moved;
	return true;
}

size_t cw_wait_list_look(struct cw_wait_list *list)
{
	size_t ready = 0;

	for (size_t i = 0; i < list->count; i++) {
		struct cw_wait_entry *entry = &list->entry[i];

		entry->ready = entry->moved && (entry->set ? cw_set_ready(entry->set) : cw_ready_to_read(entry->stream));
		ready += entry->ready;
	}
	return ready;
}

static bool settle_unmoved(struct cw_wait_entry *entry)
{
	if (cw_stream_enter(entry->stream, &entry->stream->rx_busy))
		return true;
	entry->moved = true; /* it has a slot by now */
	return false;
}

static bool settle_moved(struct cw_wait_entry *entry)
{
	struct cw_stream *stream = entry->stream;
	bool nested, fine;

	if (stream->broken || !cw_rx_lock(stream, entry->fd, &nested))
		return false;
	fine = cw_ready_settle(stream, 0, false);
	if (fine)
		atomic_fetch_add_explicit(&stream->rx->rx_asleep, 1, memory_order_relaxed);
	cw_rx_unlock(stream, nested);
	return fine;
}

bool cw_wait_list_settle(struct cw_wait_list *list)
{
	bool fine = true;

	for (size_t i = 0; i < list->count && fine; i++) {
		struct cw_wait_entry *entry = &list->entry[i];

		if (entry->set) {
			fine = entry->settled = cw_set_settle(entry->set);
			continue;
		}
		if (entry->stream->broken)
			continue; /* the kernel has the hang-up */
		if (!entry->moved && settle_unmoved(entry)) {
			entry->settled = true;
			continue;
		}
		fine = entry->settled = settle_moved(entry);
	}
	if (!fine)
		cw_wait_list_rise(list);
	return fine;
}

void cw_wait_list_rise(struct cw_wait_list *list)
{
	bool nested;

	for (size_t i = 0; i < list->count; i++) {
		struct cw_wait_entry *entry = &list->entry[i];
		struct cw_stream *stream = entry->stream;

		if (!entry->settled)
			continue;
		entry->settled = false;
		if (entry->set) {
			cw_set_rise(entry->set);
			continue;
		}
		if (!entry->moved) {
			atomic_fetch_sub_explicit(&stream->rx_busy, 1, memory_order_release);
			continue;
		}
		atomic_fetch_sub_explicit(&stream->rx->rx_asleep, 1, memory_order_release);
		if (!cw_set_hot_or_none(stream) || !cw_rx_lock(stream, entry->fd, &nested))
			continue;
		if (!cw_switch_others_asleep(stream))
			cw_ready_rise(stream);
		cw_rx_unlock(stream, nested);
	}
}

bool cw_wait_list_spin(struct cw_wait_list *list, bool (*ask)(void *), void *argument)
{
	uint32_t most = (uint32_t)cw_policy_spin_us();
	uint64_t start = cw_ticks(), budget = cw_spin_budget(&cw_thread.spin, most), asked = start,
		 every = ASK_KERNEL_EVERY_US * cw_ticks_per_us();

	while (cw_ticks() - start < budget) {
		bool ready = cw_wait_list_look(list) > 0;

		if (!ready && cw_ticks() - asked > every) {
			ready = ask(argument);
			asked = cw_ticks();
		}
		if (ready) {
			cw_count(CW_COUNT_spins_paid);
			cw_spin_paid(&cw_thread.spin, most);
			return true;
		}
		cw_pause();
	}
	return false;
}
