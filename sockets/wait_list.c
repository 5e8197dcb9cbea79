#include "wait_list.h"

#include <string.h>
#include <sys/mman.h>

#include "datagram.h"
#include "kernel.h"
#include "looking.h"
#include "ready.h"
#include "switch.h"

#define NAP_NS CW_LINGER_NS

void cw_wait_list_begin(struct cw_wait_list *list)
{
	list->entry = list->few;
	list->room = CW_WAIT_ENTRIES;
	list->count = list->moved = list->held = 0;
}

static void unmap(struct cw_wait_list *list)
{
	if (list->entry != list->few)
		cw_raw(SYS_munmap, (long)list->entry, (long)(list->room * sizeof(*list->entry)), 0, 0, 0, 0);
}

void cw_wait_list_end(struct cw_wait_list *list)
{
	for (size_t i = 0; i < list->count && cw_unlikely(list->held); i++)
		if (list->entry[i].set)
			cw_set_release(list->entry[i].set);
		else if (list->entry[i].datagram)
			cw_datagram_release(list->entry[i].datagram);
	unmap(list);
}

/* No malloc: the call may come from a signal handler. */
static bool grow(struct cw_wait_list *list)
{
	size_t room = list->room * 16;
	long memory = cw_raw_map(NULL, room * sizeof(*list->entry), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);

	if (memory < 0 && memory > -4096)
		return false;
	memcpy((void *)memory, list->entry, list->count * sizeof(*list->entry));
	unmap(list);
	list->entry = (struct cw_wait_entry *)memory;
	list->room = room;
	return true;
}

static bool put(struct cw_wait_list *list, const struct cw_wait_entry *entry)
{
	if (list->count == list->room && !grow(list))
		return false;
	list->entry[list->count++] = *entry;
	list->moved += entry->moved;
	list->held += entry->set || entry->datagram;
	return true;
}

/* Is it what the call began to wait for? The kernel, which waits for that, knows of its end. */
static bool is_same(const struct cw_wait_entry *entry)
{
	return !entry->stream || !cw_stream_ended(entry->stream, entry->life);
}

/* One that gets its first flow while somebody sleeps is offered to nobody, as long as the sleep is counted. */
static bool add_datagram(struct cw_wait_list *list, struct cw_wait_entry *entry)
{
	bool fits;

	if (atomic_load_explicit(&entry->datagram->stays, memory_order_relaxed) &&
	    !atomic_load_explicit(&entry->datagram->moved_in, memory_order_relaxed))
		return true;
	if (atomic_load_explicit(&entry->datagram->offered, memory_order_relaxed) && cw_service_has_mail())
		cw_service_take_mail();
	if (!cw_datagram_hold(entry->datagram, entry->fd))
		return true; /* closed meanwhile: the kernel tells it */
	entry->moved = atomic_load_explicit(&entry->datagram->moved_in, memory_order_acquire) != 0;
	fits = put(list, entry);
	if (!fits)
		cw_datagram_release(entry->datagram);
	return fits;
}

bool cw_wait_list_add(struct cw_wait_list *list, int fd, uint32_t index)
{
	struct cw_wait_entry entry = {.stream = cw_stream_of(fd), .set = cw_set_hold(fd), .fd = fd, .index = index};
	uint8_t phase;
	bool fits;

	entry.datagram = cw_datagram_of(fd);
	if (entry.datagram)
		return add_datagram(list, &entry);
	if (!entry.stream && !entry.set)
		return true;
	if (entry.stream)
		entry.life = cw_stream_life(entry.stream);
	phase = entry.stream ? atomic_load_explicit(&entry.stream->phase, memory_order_acquire) : CW_MOVED;
	if (phase == CW_UNBORN || phase == CW_STAYS)
		return true;
	/* In the middle of a grant the phase is there before the slot. */
	entry.moved = entry.set || atomic_load_explicit(&entry.stream->slot, memory_order_acquire);
	fits = put(list, &entry);
	if (!fits && entry.set)
		cw_set_release(entry.set);
	return fits;
}

static bool is_ready(const struct cw_wait_entry *entry)
{
	uint64_t edge;

	if (entry->datagram)
		return cw_datagram_ready(entry->datagram, &edge);
	return entry->set ? cw_set_ready(entry->set) : cw_ready_by_ring(entry->stream, &edge);
}

/* Those who have sent lately may go on by ring while the thread is awake. */
static void offer(struct cw_wait_list *list)
{
	for (size_t i = 0; i < list->count; i++)
		if (list->entry[i].datagram && list->entry[i].moved)
			cw_datagram_offer(list->entry[i].datagram);
}

/* How many are readable by ring now; sets .ready of each. */
static size_t look(struct cw_wait_list *list)
{
	size_t ready = 0;

	for (size_t i = 0; i < list->count; i++) {
		struct cw_wait_entry *entry = &list->entry[i];

		entry->ready = entry->moved && is_same(entry) && is_ready(entry);
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

static bool settle(struct cw_wait_list *list)
{
	bool fine = true;

	for (size_t i = 0; i < list->count && fine; i++) {
		struct cw_wait_entry *entry = &list->entry[i];

		if (cw_unlikely(!is_same(entry)))
			continue;
		if (entry->set) {
			fine = entry->settled = cw_set_settle(entry->set);
			continue;
		}
		if (entry->datagram) {
			fine = entry->settled = cw_datagram_settle(entry->datagram, false, 0);
			entry->moved |= !fine; /* its first flow may have come since the call began */
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
		if (cw_unlikely(!is_same(entry)))
			continue;
		if (entry->set) {
			cw_set_rise(entry->set);
			continue;
		}
		if (entry->datagram) {
			cw_datagram_rise(entry->datagram);
			continue;
		}
		if (!entry->moved) {
			atomic_fetch_sub_explicit(&stream->rx_busy, 1, memory_order_release);
			continue;
		}
		atomic_fetch_sub_explicit(&stream->rx->rx_asleep, 1, memory_order_release);
		if (!cw_ready_rises(stream) || !cw_set_hot_or_none(stream) || !cw_rx_lock(stream, entry->fd, &nested))
			continue;
		if (!cw_switch_others_asleep(stream))
			cw_ready_rise(stream);
		cw_rx_unlock(stream, nested);
	}
}

/* What follows asks the kernel, if need be; or nothing does. */
enum look_first { RINGS_FIRST, BOTH };

/* Rings and kernel, once. */
static int look_both(struct cw_wait_call *call, enum look_first first)
{
	bool some = look(&call->list) > 0, spares = cw_spares_kernel();
	int ready;

	if (some && spares && call->by_ring && (ready = call->by_ring(call)) >= 0)
		return ready;
	if (!some && first == RINGS_FIRST && spares && !call->masks && cw_kernel_is_quiet())
		return 0;
	/* With the mask only if nothing is ready: a signal that it lets through is told as by the call itself. */
	ready = call->ask(call, !some, 0);
	if (!some)
		cw_asked(ready > 0);
	return ready < 0 ? ready : call->merge(call, ready);
}

/* For a while. -1: the kernel says so; 1: there is something; 0: nothing. */
static int spin(struct cw_wait_call *call)
{
	struct cw_look looking;

	cw_looking(&looking);
	while (cw_look_goes_on(&looking)) {
		size_t ready = look(&call->list);

		if (!ready && cw_look_asks(&looking)) {
			int told = call->ask(call, true, 0);

			cw_asked(told > 0);
			if (told < 0)
				return told;
			ready = (size_t)told;
		}
		if (ready) {
			cw_count(CW_COUNT_spins_paid);
			cw_look_paid(&looking, (unsigned)ready);
			return 1;
		}
		cw_pause();
	}
	return 0;
}

/* All are asked, so that they linger together. */
static bool lingers(struct cw_wait_list *list)
{
	bool any = false;

	for (size_t i = 0; i < list->count; i++) {
		struct cw_wait_entry *entry = &list->entry[i];

		if (entry->moved && entry->stream && !entry->stream->broken)
			any |= cw_switch_lingers(entry->stream);
	}
	return any;
}

/* Nobody may sleep while a ring has bytes, but they can't be read yet: what comes before them is on its way through the kernel. Nor while
 * an offer is worth to stand a little longer. */
static int nap(struct cw_wait_call *call)
{
	int64_t ns = NAP_NS, left = call->deadline - (int64_t)cw_monotonic_ns();
	int ready;

	if (call->deadline > 0 && left < ns)
		ns = left < 0 ? 0 : left;
	ready = call->ask(call, true, ns);
	if (ready <= 0)
		return ready;
	look(&call->list);
	return call->merge(call, ready);
}

static bool too_late(const struct cw_wait_call *call)
{
	return call->deadline > 0 && (int64_t)cw_monotonic_ns() >= call->deadline;
}

static int sleep_in_kernel(struct cw_wait_call *call, bool sparse)
{
	uint64_t start = cw_ticks();
	int ready, error;

	cw_count(CW_COUNT_sleeps);
	ready = call->sleep(call);
	error = errno;
	cw_slept(start, !sparse);
	cw_wait_list_rise(&call->list);
	errno = error;
	if (ready > 0)
		cw_count(CW_COUNT_wakeups);
	if (ready > 0 && call->list.moved) {
		look(&call->list);
		ready = call->merge(call, ready);
	}
	return ready;
}

/* Messages are far apart and no ring has one: the sleep itself asks the kernel, and what comes meanwhile is seen as it begins. */
static bool at_once(struct cw_wait_call *call)
{
	return call->deadline && cw_sparse() && !look(&call->list);
}

int cw_wait_list_wait(struct cw_wait_call *call)
{
	bool restless = false, sparse, lingering;
	int ready;

	for (;;) {
		sparse = call->list.moved && !restless && at_once(call);
		if (call->list.moved && !sparse) {
			ready = look_both(call, call->deadline ? RINGS_FIRST : BOTH);
			if (ready || !call->deadline)
				return ready;
			offer(&call->list);
			ready = spin(call);
			if (ready > 0)
				ready = look_both(call, BOTH);
			if (ready)
				return ready;
		}
		lingering = lingers(&call->list);
		if (!lingering && settle(&call->list))
			return sleep_in_kernel(call, sparse);
		call->list.moved = call->list.count;
		ready = restless || lingering ? nap(call) : 0;
		if (ready)
			return ready;
		if (too_late(call))
			return look_both(call, BOTH);
		restless = true;
	}
}
