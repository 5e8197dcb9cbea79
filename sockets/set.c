#include "set.h"

#include <pthread.h>
#include <string.h>

#include "kernel.h"
#include "memory.h"
#include "ready.h"
#include "service.h"
#include "set_item.h"
#include "switch.h"

#define MAX_SETS            1024
#define MAX_DEPTH           6 /* the kernel allows five sets within each other */
#define ASK_KERNEL_EVERY_US 8 /* while streams are served by ring, the kernel's own events wait no longer than this */
#define NAP_NS              1000000
#define IDLE_SLEEPS         3 /* a stream without bytes in so many sleeps of its set is no longer looked at */

static struct cw_set sets[MAX_SETS];
static _Atomic uint32_t sets_used;

/* ---- locks: of this process alone ---- */

static bool lock_set(struct cw_set *set)
{
	uint64_t ignored = 0;

	return cw_lock(&set->lock, cw_thread_id(), &ignored) != CW_LOCK_NESTED;
}

static void unlock_set(struct cw_set *set, bool locked)
{
	if (locked)
		cw_unlock(&set->lock);
}

/* ---- the hot list ---- */

static void cool(struct cw_item *item)
{
	struct cw_set *set = item->set;

	if (!item->hot)
		return;
	*item->hot_before = item->hot_next;
	if (item->hot_next)
		item->hot_next->hot_before = item->hot_before;
	item->hot = false;
	set->hot_count--;
}

static void heat(struct cw_item *item)
{
	struct cw_set *set = item->set;

	item->idle = 0;
	if (item->hot)
		return;
	item->hot_next = set->hot;
	if (set->hot)
		set->hot->hot_before = &item->hot_next;
	set->hot = item;
	item->hot_before = &set->hot;
	item->hot = true;
	set->hot_count++;
}

bool cw_set_enter(struct cw_stream *stream, bool *in_set)
{
	struct cw_item *item = atomic_load_explicit(&stream->items, memory_order_acquire);
	struct cw_set *set;
	bool locked;

	*in_set = false;
	if (!item)
		return true;
	set = item->set;
	locked = lock_set(set);
	if (locked && item == atomic_load_explicit(&stream->items, memory_order_relaxed) && item->set == set && !item->of_stream &&
	    !set->sleepers && !set->shared && (item->hot || set->hot_count < (uint32_t)cw_policy.number[CW_OPTION_hot])) {
		*in_set = true;
		return true;
	}
	unlock_set(set, locked);
	return false;
}

void cw_set_leave(struct cw_stream *stream)
{
	cw_unlock(&atomic_load_explicit(&stream->items, memory_order_relaxed)->set->lock);
}

void cw_set_heat(struct cw_stream *stream)
{
	heat(atomic_load_explicit(&stream->items, memory_order_relaxed));
}

bool cw_set_asleep(const struct cw_stream *stream)
{
	const struct cw_item *item = atomic_load_explicit(&stream->items, memory_order_acquire);

	for (; item; item = item->of_stream)
		if (item->set->sleepers || item->set->shared)
			return true;
	return false;
}

bool cw_set_shared(const struct cw_stream *stream)
{
	const struct cw_item *item = atomic_load_explicit(&stream->items, memory_order_acquire);

	for (; item; item = item->of_stream)
		if (item->set->shared)
			return true;
	return false;
}

bool cw_set_by_edges(const struct cw_stream *stream)
{
	const struct cw_item *item = atomic_load_explicit(&stream->items, memory_order_acquire);

	for (; item; item = item->of_stream)
		if (item->events & EPOLLET)
			return true;
	return false;
}

bool cw_set_hot_or_none(const struct cw_stream *stream)
{
	const struct cw_item *item = atomic_load_explicit(&stream->items, memory_order_acquire);

	for (; item; item = item->of_stream)
		if (!item->hot)
			return false;
	return true;
}

static bool with_rx_lock(struct cw_stream *stream, int fd, bool *nested)
{
	return stream->slot && !stream->broken && cw_rx_lock(stream, fd, nested);
}

/* A thread sleeps in the set already: the stream must be with the kernel, and if it has bytes in its ring that the sleeper would be told
 * of, the sleeper must be woken. */
static void settle_for_sleepers(struct cw_item *item, int epfd)
{
	struct cw_stream *stream = item->stream;
	struct epoll_event kick = {.events = EPOLLOUT, .data.u64 = item->data};
	bool nested, fine = true;

	if (!with_rx_lock(stream, item->fd, &nested))
		return;
	fine = cw_ready_settle(stream, item->seen, item->events & EPOLLET);
	cw_rx_unlock(stream, nested);
	if (!fine && (item->events & (EPOLLIN | EPOLLRDNORM)) && item->armed) {
		/* The socket can be written to, so asking for that wakes the sleeper; it puts the interest back (after_kernel). */
		item->kicked = true;
		item->set->kicked = true;
		cw_raw(SYS_epoll_ctl, epfd, EPOLL_CTL_MOD, item->fd, (long)&kick, 0, 0);
	}
}

static bool awake(const struct cw_stream *stream)
{
	enum cw_state state;

	if (!stream->slot)
		return false;
	state = cw_state_of(atomic_load_explicit(&stream->rx->state, memory_order_seq_cst));
	return state == CW_CONSENT || state == CW_LIVE || state == CW_SEALED;
}

static void admit(struct cw_item *item, int epfd)
{
	if (!awake(item->stream))
		return;
	heat(item);
	if (item->set->sleepers)
		settle_for_sleepers(item, epfd);
}

void cw_set_notice(struct cw_stream *stream)
{
	struct cw_item *item = atomic_load_explicit(&stream->items, memory_order_acquire);

	for (; item; item = item->of_stream) {
		bool locked = lock_set(item->set);

		admit(item, item->set->epfd);
		unlock_set(item->set, locked);
	}
}

/* ---- registrations ---- */

static void detach_from_stream(struct cw_item *item)
{
	struct cw_item *_Atomic *place = &item->stream->items;
	struct cw_item *at;

	while ((at = atomic_load_explicit(place, memory_order_relaxed)) != NULL) {
		if (at == item) {
			atomic_store_explicit(place, item->of_stream, memory_order_release);
			return;
		}
		place = &at->of_stream;
	}
}

static void clean(struct cw_item *item)
{
	struct cw_item **place = &item->set->dirty;

	while (*place && *place != item)
		place = &(*place)->dirty_next;
	if (*place)
		*place = item->dirty_next;
	item->dirty = false;
}

static void forget(struct cw_item *item)
{
	struct cw_set *set = item->set;

	cool(item);
	if (item->dirty)
		clean(item);
	*item->before = item->next;
	if (item->next)
		item->next->before = item->before;
	if (item->stream)
		detach_from_stream(item);
	if (item->inner) {
		set->nested--;
		item->inner->outers--;
	}
	if (item->events & EPOLLONESHOT)
		set->oneshots--;
	cw_item_free(item);
}

/* What the kernel was not told. It can refuse nothing of this: the registrations were there before. */
static void flush(struct cw_set *set)
{
	while (set->dirty) {
		struct cw_item *item = set->dirty;
		struct epoll_event event = {.events = item->events, .data.u64 = item->data};

		set->dirty = item->dirty_next;
		item->dirty = false;
		if (item->gone) {
			cw_raw(SYS_epoll_ctl, set->epfd, EPOLL_CTL_DEL, item->fd, 0, 0, 0);
			forget(item);
		} else if (item->in_kernel != item->events || item->kernel_data != item->data) {
			item->in_kernel = item->events;
			item->kernel_data = item->data;
			cw_raw(SYS_epoll_ctl, set->epfd, EPOLL_CTL_MOD, item->fd, (long)&event, 0, 0);
		}
	}
}

static void defer(struct cw_item *item)
{
	if (item->dirty)
		return;
	item->dirty = true;
	item->dirty_next = item->set->dirty;
	item->set->dirty = item;
}

static struct cw_item *find(struct cw_set *set, struct cw_stream *stream, struct cw_set *inner, int fd)
{
	struct cw_item *item;

	if (stream) {
		for (item = atomic_load_explicit(&stream->items, memory_order_relaxed); item; item = item->of_stream)
			if (item->set == set && item->fd == fd)
				return item;
		return NULL;
	}
	for (item = set->items; item; item = item->next)
		if (item->inner == inner && item->fd == fd)
			return item;
	return NULL;
}

static void update(struct cw_item *item, const struct epoll_event *event)
{
	if (item->events & EPOLLONESHOT)
		item->set->oneshots--;
	item->events = event->events;
	item->data = event->data.u64;
	item->armed = true;
	item->kicked = false;
	item->seen = ~0ull; /* as in the kernel, MOD tells an edge-triggered reader again what is there */
	if (item->events & EPOLLONESHOT)
		item->set->oneshots++;
}

#define IMMEDIATE (EPOLLET | EPOLLONESHOT | EPOLLEXCLUSIVE | EPOLLWAKEUP)

bool cw_set_defer(struct cw_set *set, int operation, int fd, const struct epoll_event *event, int *result)
{
	struct cw_stream *stream = cw_stream_of(fd);
	struct cw_item *item;
	bool locked, done = false;

	if (!stream || !stream->slot || (operation != EPOLL_CTL_ADD && operation != EPOLL_CTL_MOD && operation != EPOLL_CTL_DEL))
		return false;
	if (operation != EPOLL_CTL_DEL && cw_nowhere(event, sizeof(*event)))
		return false;
	locked = lock_set(set);
	item = find(set, stream, NULL, fd);
	*result = 0;
	if (!locked || set->sleepers || set->shared || set->outers || !item || (item->events & IMMEDIATE) ||
	    (operation != EPOLL_CTL_DEL && (event->events & IMMEDIATE))) {
		flush(set);
	} else if ((operation == EPOLL_CTL_ADD) != item->gone) {
		/* EEXIST or ENOENT; the kernel may know better of the former, but has not heard of what is gone. */
		flush(set);
	} else {
		done = true;
		item->gone = operation == EPOLL_CTL_DEL;
		if (item->gone)
			item->armed = false;
		else
			update(item, event);
		defer(item);
		if (!item->gone && awake(stream))
			heat(item);
	}
	unlock_set(set, locked);
	return done;
}

void cw_set_flush_all(void)
{
	uint32_t used = atomic_load_explicit(&sets_used, memory_order_relaxed);

	for (uint32_t i = 0; i < used; i++)
		if (sets[i].dirty) {
			bool locked = lock_set(&sets[i]);

			flush(&sets[i]);
			unlock_set(&sets[i], locked);
		}
}

static void add(struct cw_set *set, struct cw_stream *stream, struct cw_set *inner, int fd, const struct epoll_event *event)
{
	struct cw_item *item = cw_item_new();

	if (!item) {
		if (stream)
			cw_stream_stays(stream, CW_REASON_too_many);
		return;
	}
	item->set = set;
	item->in_kernel = event->events;
	item->kernel_data = event->data.u64;
	item->stream = stream;
	item->inner = inner;
	item->fd = fd;
	item->next = set->items;
	item->before = &set->items;
	if (set->items)
		set->items->before = &item->next;
	set->items = item;
	update(item, event);
	if (inner) {
		set->nested++;
		inner->outers++;
	} else {
		item->of_stream = atomic_load_explicit(&stream->items, memory_order_relaxed);
		atomic_store_explicit(&stream->items, item, memory_order_seq_cst);
	}
}

void cw_set_control(struct cw_set *set, int epfd, int operation, int fd, const struct epoll_event *event)
{
	uint32_t entry = cw_table_get(fd);
	struct cw_stream *stream = cw_table_kind(entry) == CW_FD_STREAM ? &cw_streams[cw_table_index(entry)] : NULL;
	struct cw_set *inner = cw_table_kind(entry) == CW_FD_SET ? &sets[cw_table_index(entry)] : NULL;
	struct cw_item *item;
	bool locked;

	if (!stream && !inner)
		return;
	locked = lock_set(set);
	item = find(set, stream, inner, fd);
	if (operation == EPOLL_CTL_DEL && item) {
		forget(item);
		item = NULL;
	} else if (operation == EPOLL_CTL_MOD && item) {
		update(item, event);
		item->in_kernel = event->events;
		item->kernel_data = event->data.u64;
	} else if (operation == EPOLL_CTL_ADD) {
		if (item)
			forget(item); /* of an earlier life of the number, that we did not see end */
		add(set, stream, inner, fd, event);
		item = stream ? find(set, stream, inner, fd) : NULL;
	}
	if (item && item->stream)
		admit(item, epfd);
	unlock_set(set, locked);
}

void cw_set_leave_all(struct cw_stream *stream)
{
	const struct cw_item *item = atomic_load_explicit(&stream->items, memory_order_acquire);

	for (; item; item = item->of_stream)
		cw_raw(SYS_epoll_ctl, item->set->epfd, EPOLL_CTL_DEL, item->fd, 0, 0, 0);
}

void cw_set_forget_descriptor(struct cw_stream *stream, int fd, bool last)
{
	struct cw_item *item = atomic_load_explicit(&stream->items, memory_order_acquire), *next;

	for (; item; item = item->of_stream)
		if (item->fd == fd && item->dirty) {
			bool locked = lock_set(item->set);

			flush(item->set); /* the kernel can't be told by this number later, and may keep the socket */
			unlock_set(item->set, locked);
			break;
		}
	item = atomic_load_explicit(&stream->items, memory_order_acquire);
	/* While another descriptor of the socket lives, the kernel goes on telling of this registration, and so do we. */
	for (; last && item; item = next) {
		struct cw_set *set = item->set;
		bool locked = lock_set(set);

		next = item->of_stream;
		forget(item);
		unlock_set(set, locked);
	}
}

/* ---- sets ---- */

void cw_set_open(int epfd)
{
	uint32_t used = atomic_load_explicit(&sets_used, memory_order_relaxed);

	for (uint32_t i = 0; i < MAX_SETS; i++) {
		int32_t free = 0;

		if (!atomic_compare_exchange_strong_explicit(&sets[i].references, &free, 1, memory_order_acq_rel, memory_order_relaxed))
			continue;
		while (i >= used &&
		       !atomic_compare_exchange_weak_explicit(&sets_used, &used, i + 1, memory_order_relaxed, memory_order_relaxed))
			;
		sets[i].epfd = epfd;
		sets[i].shared = false;
		cw_table_put(epfd, CW_FD_SET, i);
		return;
	}
}

struct cw_set *cw_set_of(int epfd)
{
	uint32_t entry = cw_table_get(epfd);

	return cw_table_kind(entry) == CW_FD_SET ? &sets[cw_table_index(entry)] : NULL;
}

void cw_set_dup(struct cw_set *set, int epfd)
{
	atomic_fetch_add_explicit(&set->references, 1, memory_order_relaxed);
	cw_table_put(epfd, CW_FD_SET, (uint32_t)(set - sets));
}

void cw_set_close(struct cw_set *set, int epfd)
{
	bool locked;

	if (atomic_load_explicit(&set->references, memory_order_relaxed) > 1) {
		atomic_fetch_sub_explicit(&set->references, 1, memory_order_relaxed);
		return;
	}
	for (uint32_t i = 0; set->outers && i < atomic_load_explicit(&sets_used, memory_order_relaxed); i++) {
		struct cw_item *item, *next;

		if (&sets[i] == set || !sets[i].nested)
			continue;
		locked = lock_set(&sets[i]);
		for (item = sets[i].items; item; item = next) {
			next = item->next;
			if (item->inner == set)
				forget(item);
		}
		unlock_set(&sets[i], locked);
	}
	locked = lock_set(set);
	while (set->items)
		forget(set->items);
	set->sleepers = 0;
	unlock_set(set, locked);
	atomic_store_explicit(&set->references, 0, memory_order_release);
}

void cw_set_after_fork(void)
{
	uint32_t used = atomic_load_explicit(&sets_used, memory_order_relaxed);

	for (uint32_t i = 0; i < used; i++) {
		atomic_store_explicit(&sets[i].lock.holder, 0, memory_order_relaxed);
		sets[i].sleepers = 0;
		sets[i].shared = true;
	}
}

/* ---- looking ---- */

static bool set_ready(struct cw_set *set, int depth, uint64_t *pulse);

/* Level-triggered, and the ring would take bytes: no need to ask the kernel, which may not even have been told of the interest. */
static bool item_writable(const struct cw_item *item)
{
	return item->armed && (item->events & (EPOLLOUT | EPOLLWRNORM)) && !(item->events & EPOLLET) && !item->stream->broken &&
	       cw_ready_to_send(item->stream);
}

static bool item_ready(struct cw_item *item, uint64_t *edge)
{
	if (!item->armed || !(item->events & (EPOLLIN | EPOLLRDNORM)))
		return false;
	if (!cw_ready_by_ring(item->stream, edge))
		return false;
	return !(item->events & EPOLLET) || *edge != item->seen;
}

static bool set_ready(struct cw_set *set, int depth, uint64_t *pulse)
{
	struct cw_item *item;
	uint64_t edge;
	bool ready = false, locked = lock_set(set);

	for (item = set->hot; item; item = item->hot_next)
		if (item_ready(item, &edge)) {
			*pulse += edge + (uint64_t)item->fd;
			ready = true;
		}
	for (item = set->nested && depth < MAX_DEPTH ? set->items : NULL; item; item = item->next)
		if (item->inner && set_ready(item->inner, depth + 1, pulse))
			ready = true;
	unlock_set(set, locked);
	return ready;
}

bool cw_set_ready(struct cw_set *set)
{
	uint64_t pulse = 0;
	bool locked = lock_set(set);

	flush(set); /* its own descriptor is about to be asked for */
	unlock_set(set, locked);
	return set_ready(set, 0, &pulse);
}

/* ONESHOT told by ring: the kernel must not tell it again. */
static void disarm(struct cw_item *item, int epfd)
{
	struct epoll_event nothing = {.events = item->events & (EPOLLET | EPOLLONESHOT | EPOLLWAKEUP), .data.u64 = item->data};

	item->armed = false;
	cw_raw(SYS_epoll_ctl, epfd, EPOLL_CTL_MOD, item->fd, (long)&nothing, 0, 0);
}

static uint32_t told(const struct cw_item *item)
{
	uint32_t events = EPOLLIN | EPOLLRDNORM;
	uint64_t word = atomic_load_explicit(&item->stream->rx->state, memory_order_relaxed);

	if (cw_ready_to_send(item->stream))
		events |= EPOLLOUT | EPOLLWRNORM;
	/* The other bits are the kernel's: asked for where an end is in sight, and where the registration is told but once. */
	if ((word & (CW_MARK_WRITER_SHUT | CW_MARK_WRITER_GONE)) || (item->events & EPOLLONESHOT)) {
		struct pollfd whole = {.fd = item->fd, .events = (short)(item->events & 0x7fff)};
		struct timespec none = {0};

		if (cw_raw(SYS_ppoll, (long)&whole, 1, (long)&none, 0, 0, 0) > 0)
			return (events & item->events) | ((uint32_t)whole.revents & (item->events | EPOLLERR | EPOLLHUP));
	}
	return events & item->events;
}

/* What the rings have, up to max events, under the lock. *ask is set if the kernel's answer belongs to it. */
static int collect(struct cw_set *set, int epfd, struct epoll_event *events, int max, bool *ask)
{
	struct cw_item *item, *next, *last = NULL;
	int count = 0;
	uint64_t edge;

	for (item = set->hot; item && count < max; item = next) {
		next = item->hot_next;
		if (item_ready(item, &edge)) {
			item->seen = edge;
			*ask |= (item->events & EPOLLET) != 0; /* an edge that the kernel may have too is one with this one */
			events[count].events = told(item);
		} else if (item_writable(item)) {
			events[count].events = item->events & (EPOLLOUT | EPOLLWRNORM);
		} else {
			continue;
		}
		events[count++].data.u64 = item->data;
		last = item;
		if (item->events & EPOLLONESHOT)
			disarm(item, epfd);
	}
	/* Full: who was told goes to the end, so that all have their turn. */
	if (count == max && last && last->hot_next) {
		struct cw_item *first = set->hot, *tail = last->hot_next;

		set->hot = tail;
		tail->hot_before = &set->hot;
		while (tail->hot_next)
			tail = tail->hot_next;
		tail->hot_next = first;
		first->hot_before = &tail->hot_next;
		last->hot_next = NULL;
	}
	for (item = set->nested ? set->items : NULL; item && count < max; item = item->next) {
		uint64_t pulse = 0;

		if (!item->inner || !item->armed || !(item->events & EPOLLIN) || !set_ready(item->inner, 1, &pulse))
			continue;
		if ((item->events & EPOLLET) && pulse == item->seen)
			continue;
		item->seen = pulse;
		events[count].events = EPOLLIN;
		events[count++].data.u64 = item->data;
		if (item->events & EPOLLONESHOT)
			disarm(item, epfd);
	}
	return count;
}

/* ---- what the kernel's set told ---- */

/* Registrations whose interest was changed to wake a sleeper get their own back; what they told only because of it is dropped. */
static int undo_kicks(struct cw_set *set, int epfd, struct epoll_event *events, int count)
{
	struct cw_item *item;

	for (item = set->items; item; item = item->next) {
		struct epoll_event own = {.events = item->events, .data.u64 = item->data};

		if (!item->kicked)
			continue;
		item->kicked = false;
		cw_raw(SYS_epoll_ctl, epfd, EPOLL_CTL_MOD, item->fd, (long)&own, 0, 0);
		for (int i = 0; i < count; i++)
			if (events[i].data.u64 == item->data)
				events[i].events &= item->events | EPOLLERR | EPOLLHUP;
	}
	set->kicked = false;
	return count;
}

/* The kernel has told and disarmed a ONESHOT registration; if the ring had told it first, this is the second time. */
static void tell_oneshots(struct cw_set *set, struct epoll_event *events, int count)
{
	for (struct cw_item *item = set->items; item; item = item->next) {
		if (!(item->events & EPOLLONESHOT))
			continue;
		for (int i = 0; i < count; i++) {
			if (events[i].data.u64 != item->data)
				continue;
			if (!item->armed)
				events[i].events = 0;
			item->armed = false;
		}
	}
}

static int drop_empty(struct epoll_event *events, int count)
{
	int kept = 0;

	for (int i = 0; i < count; i++)
		if (events[i].events)
			events[kept++] = events[i];
	return kept;
}

static int after_kernel(struct cw_set *set, int epfd, struct epoll_event *events, int count)
{
	if (set->kicked)
		undo_kicks(set, epfd, events, count);
	if (set->oneshots)
		tell_oneshots(set, events, count);
	return drop_empty(events, count);
}

/* Two answers about one registration become one. Registrations with equal data can't be told apart by the program either. */
static int merge(struct epoll_event *events, int by_ring, int count)
{
	for (int k = by_ring; k < count; k++)
		for (int i = 0; i < by_ring; i++)
			if (events[i].data.u64 == events[k].data.u64) {
				events[i].events |= events[k].events;
				events[k].events = 0;
				break;
			}
	return by_ring + drop_empty(events + by_ring, count - by_ring);
}

/* ---- sleeping ---- */

static void rise(struct cw_set *set)
{
	struct cw_item *item;
	bool nested;

	if (--set->sleepers > 0)
		return;
	set->sleepers = 0;
	for (item = set->hot; item; item = item->hot_next)
		if (with_rx_lock(item->stream, item->fd, &nested)) {
			if (!cw_switch_others_asleep(item->stream))
				cw_ready_rise(item->stream);
			cw_rx_unlock(item->stream, nested);
		}
}

static void rise_nested(struct cw_set *set, struct cw_item *until)
{
	for (struct cw_item *item = set->nested ? set->items : NULL; item && item != until; item = item->next)
		if (item->inner)
			cw_set_rise(item->inner);
}

static bool settle_item(struct cw_item *item)
{
	uint64_t edge, roff;
	bool nested, fine;

	if (!item->armed || !(item->events & (EPOLLIN | EPOLLRDNORM)))
		return true;
	if (item_ready(item, &edge))
		return false;
	if (!with_rx_lock(item->stream, item->fd, &nested))
		return true;
	fine = cw_ready_settle(item->stream, item->seen, item->events & EPOLLET);
	roff = atomic_load_explicit(&item->stream->rx->roff, memory_order_relaxed);
	item->idle = roff == item->roff ? item->idle + 1 : 0;
	item->roff = roff;
	cw_rx_unlock(item->stream, nested);
	return fine;
}

static bool settle(struct cw_set *set, int depth)
{
	struct cw_item *item, *next;

	flush(set);
	set->sleepers++;
	for (item = set->hot; item; item = next) {
		next = item->hot_next;
		if (!settle_item(item)) {
			rise(set);
			return false;
		}
		/* Cold ones stay with the kernel; those that had bytes lately are woken with the set, or offered again. */
		if (item->idle >= IDLE_SLEEPS && !awake(item->stream))
			cool(item);
	}
	for (item = set->nested && depth < MAX_DEPTH ? set->items : NULL; item; item = item->next) {
		bool locked;

		if (!item->inner)
			continue;
		locked = lock_set(item->inner);
		if (!settle(item->inner, depth + 1)) {
			unlock_set(item->inner, locked);
			rise_nested(set, item);
			rise(set);
			return false;
		}
		unlock_set(item->inner, locked);
	}
	return true;
}

bool cw_set_settle(struct cw_set *set)
{
	bool locked = lock_set(set), fine = settle(set, 0);

	unlock_set(set, locked);
	return fine;
}

void cw_set_rise(struct cw_set *set)
{
	bool locked = lock_set(set);

	rise_nested(set, NULL);
	rise(set);
	unlock_set(set, locked);
}

/* ---- waiting ---- */

struct waiting {
	int epfd, max;
	struct epoll_event *events;
	const sigset_t *mask;
	int64_t deadline; /* monotonic ns, -1 none, 0 don't wait */
};

static int wait_in_kernel(const struct waiting *waiting, struct epoll_event *events, int max, bool sleep)
{
	int64_t left;

	if (!sleep || !waiting->deadline) {
		long count = cw_raw(SYS_epoll_pwait, waiting->epfd, (long)events, max, 0, (long)waiting->mask, 8);

		if (count < 0)
			errno = (int)-count;
		return count < 0 ? -1 : (int)count;
	}
	if (waiting->deadline < 0)
		return cw_kernel.epoll_pwait(waiting->epfd, events, max, -1, waiting->mask);
	left = waiting->deadline - (int64_t)cw_monotonic_ns();
	if (left < 0)
		left = 0;
	if (cw_kernel.epoll_pwait2) {
		struct timespec rest = {.tv_sec = left / 1000000000, .tv_nsec = left % 1000000000};
		int count = cw_kernel.epoll_pwait2(waiting->epfd, events, max, &rest, waiting->mask);

		if (count >= 0 || errno != ENOSYS)
			return count;
	}
	/* An old kernel, or a debugger that is one. Whole milliseconds as epoll_wait has them, rounded up: never early. */
	return cw_kernel.epoll_pwait(waiting->epfd, events, max, (int)((left + 999999) / 1000000), waiting->mask);
}

/* What the kernel told and, as far as there is room, what the rings have. 0: all of it was our own knocking. */
static int complete(struct cw_set *set, const struct waiting *waiting, int count)
{
	bool ignored, locked = lock_set(set);

	count = after_kernel(set, waiting->epfd, waiting->events, count);
	if (count && set->hot && count < waiting->max) {
		int by_kernel = count;

		count += collect(set, waiting->epfd, waiting->events + count, waiting->max - count, &ignored);
		count = merge(waiting->events, by_kernel, count);
	}
	unlock_set(set, locked);
	return count;
}

/* The rings alone filled the last answer at a time when the kernel was to be asked: now what it has goes first. */
static int kernel_first(struct cw_set *set, const struct waiting *waiting)
{
	int count;

	set->filled = false;
	set->asked = cw_ticks();
	count = wait_in_kernel(waiting, waiting->events, waiting->max, false);
	return count > 0 ? complete(set, waiting, count) : 0;
}

/* Rings and, if it is time, the kernel. */
static int look(struct cw_set *set, const struct waiting *waiting, bool must_ask)
{
	bool locked;
	int count = cw_unlikely(set->filled) ? kernel_first(set, waiting) : 0, by_ring;
	uint64_t now;

	if (count)
		return count;
	locked = lock_set(set);
	count = by_ring = collect(set, waiting->epfd, waiting->events, waiting->max, &must_ask);
	now = cw_ticks();
	unlock_set(set, locked);
	if (must_ask || (count && now - set->asked > ASK_KERNEL_EVERY_US * cw_ticks_per_us())) {
		set->asked = now;
		if (set->dirty) {
			locked = lock_set(set);
			flush(set);
			unlock_set(set, locked);
		}
		set->filled = count == waiting->max;
		if (!set->filled) {
			int more = wait_in_kernel(waiting, waiting->events + count, waiting->max - count, false);

			if (more < 0)
				return count ? count : more;
			if (more) {
				locked = lock_set(set);
				more = after_kernel(set, waiting->epfd, waiting->events + count, more);
				unlock_set(set, locked);
				count = merge(waiting->events, by_ring, count + more);
			}
		}
	}
	return count;
}

static int spin(struct cw_set *set, const struct waiting *waiting)
{
	uint32_t most = (uint32_t)cw_policy_spin_us();
	uint64_t start = cw_ticks(), budget = cw_spin_budget(&cw_thread.spin, most), asked = start,
		 every = ASK_KERNEL_EVERY_US * cw_ticks_per_us();

	while (cw_ticks() - start < budget) {
		bool ask = cw_ticks() - asked > every;
		int count = look(set, waiting, ask);

		if (count) {
			cw_count(CW_COUNT_spins_paid);
			cw_spin_paid(&cw_thread.spin, most);
			return count;
		}
		if (ask)
			asked = cw_ticks();
		cw_pause();
	}
	return 0;
}

static bool nothing_to_look_at(struct cw_set *set)
{
	return !set->hot && !set->nested;
}

struct sleeping {
	struct cw_set *set;
};

static void cancelled(void *argument)
{
	struct sleeping *sleeping = argument;

	cw_set_rise(sleeping->set);
}

static int sleep_in_kernel(struct cw_set *set, const struct waiting *waiting)
{
	struct sleeping sleeping = {set};
	int count, error;

	cw_count(CW_COUNT_sleeps);
	pthread_cleanup_push(cancelled, &sleeping);
	count = wait_in_kernel(waiting, waiting->events, waiting->max, true);
	pthread_cleanup_pop(0);
	error = errno;
	cw_set_rise(set);
	if (count > 0) {
		cw_count(CW_COUNT_wakeups);
		count = complete(set, waiting, count);
		if (!count)
			count = -2;
	}
	errno = error;
	return count;
}

/* Nobody may sleep while a ring has bytes, but they can't be read yet: what comes before them is on its way through the kernel. */
static int nap(struct cw_set *set, const struct waiting *waiting)
{
	struct waiting turn = *waiting;
	int64_t end = (int64_t)cw_monotonic_ns() + NAP_NS;
	int count;

	if (turn.deadline < 0 || turn.deadline > end)
		turn.deadline = end;
	count = wait_in_kernel(&turn, turn.events, turn.max, true);
	return count > 0 ? complete(set, waiting, count) : count;
}

int cw_set_wait(struct cw_set *set, int epfd, struct epoll_event *events, int max, int64_t timeout_ns, const sigset_t *mask)
{
	struct waiting waiting = {.epfd = epfd,
				  .max = max,
				  .events = events,
				  .mask = mask,
				  .deadline = timeout_ns > 0 ? (int64_t)cw_monotonic_ns() + timeout_ns : timeout_ns};
	uint64_t start = cw_ticks();
	bool restless = false;
	int count;

	for (;;) {
		if (!nothing_to_look_at(set)) {
			count = look(set, &waiting, false);
			if (count)
				return count;
			/* Before looking for a while: what the kernel has goes first. */
			count = look(set, &waiting, true);
			if (count || !waiting.deadline)
				return count;
			count = spin(set, &waiting);
			if (count)
				return count;
		}
		if (!waiting.deadline)
			return wait_in_kernel(&waiting, events, max, false);
		if (!cw_set_settle(set)) {
			count = restless ? nap(set, &waiting) : 0;
			if (count || (waiting.deadline > 0 && (int64_t)cw_monotonic_ns() >= waiting.deadline))
				return count;
			restless = true;
			continue;
		}
		count = sleep_in_kernel(set, &waiting);
		cw_spin_lost(&cw_thread.spin, (uint32_t)cw_policy_spin_us(), cw_ticks() - start);
		if (count != -2)
			return count;
	}
}
