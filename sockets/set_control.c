/* Registrations in event sets: made, changed, forgotten; and what of that the kernel is told later. */
#include "kernel.h"
#include "memory.h"
#include "set_item.h"

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

void cw_item_forget(struct cw_item *item)
{
	struct cw_set *set = item->set;

	cw_item_cool(item);
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
void cw_set_flush(struct cw_set *set)
{
	while (set->dirty) {
		struct cw_item *item = set->dirty;
		struct epoll_event event = {.events = item->events, .data.u64 = item->data};

		set->dirty = item->dirty_next;
		item->dirty = false;
		if (item->gone) {
			cw_raw(SYS_epoll_ctl, set->epfd, EPOLL_CTL_DEL, item->fd, 0, 0, 0);
			cw_item_forget(item);
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
	if (item->hot)
		cw_item_look(item);
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
	locked = cw_set_lock(set);
	item = find(set, stream, NULL, fd);
	*result = 0;
	if (!locked || set->sleepers || set->shared || set->outers || !item || (item->events & IMMEDIATE) ||
	    (operation != EPOLL_CTL_DEL && (event->events & IMMEDIATE))) {
		cw_set_flush(set);
	} else if ((operation == EPOLL_CTL_ADD) != item->gone) {
		/* EEXIST or ENOENT; the kernel may know better of the former, but has not heard of what is gone. */
		cw_set_flush(set);
	} else {
		done = true;
		item->gone = operation == EPOLL_CTL_DEL;
		if (item->gone)
			item->armed = false;
		else
			update(item, event);
		defer(item);
		if (!item->gone && cw_item_awake(stream))
			cw_item_heat(item);
	}
	cw_set_unlock(set, locked);
	return done;
}

void cw_set_flush_all(void)
{
	uint32_t used = atomic_load_explicit(&cw_sets_used, memory_order_relaxed);

	for (uint32_t i = 0; i < used; i++)
		if (cw_sets[i].dirty) {
			bool locked = cw_set_lock(&cw_sets[i]);

			cw_set_flush(&cw_sets[i]);
			cw_set_unlock(&cw_sets[i], locked);
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
	struct cw_set *inner = cw_table_kind(entry) == CW_FD_SET ? &cw_sets[cw_table_index(entry)] : NULL;
	struct cw_item *item;
	bool locked;

	if (!stream && !inner)
		return;
	locked = cw_set_lock(set);
	item = find(set, stream, inner, fd);
	if (operation == EPOLL_CTL_DEL && item) {
		cw_item_forget(item);
		item = NULL;
	} else if (operation == EPOLL_CTL_MOD && item) {
		update(item, event);
		item->in_kernel = event->events;
		item->kernel_data = event->data.u64;
	} else if (operation == EPOLL_CTL_ADD) {
		if (item)
			cw_item_forget(item); /* of an earlier life of the number, that we did not see end */
		add(set, stream, inner, fd, event);
		item = stream ? find(set, stream, inner, fd) : NULL;
	}
	if (item && item->stream)
		cw_item_admit(item, epfd);
	cw_set_unlock(set, locked);
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
			bool locked = cw_set_lock(item->set);

			cw_set_flush(item->set); /* the kernel can't be told by this number later, and may keep the socket */
			cw_set_unlock(item->set, locked);
			break;
		}
	item = atomic_load_explicit(&stream->items, memory_order_acquire);
	/* While another descriptor of the socket lives, the kernel goes on telling of this registration, and so do we. */
	for (; last && item; item = next) {
		struct cw_set *set = item->set;
		bool locked = cw_set_lock(set);

		next = item->of_stream;
		cw_item_forget(item);
		cw_set_unlock(set, locked);
	}
}
