/* Registrations in event sets: made, changed, forgotten; and what of that the kernel is told later. */
#include "datagram.h"
#include "kernel.h"
#include "leave.h"
#include "memory.h"
#include "set_item.h"
#include "switch.h"

static void clean(struct cw_item *item)
{
	struct cw_item **place = &item->set->dirty;

	while (*place && *place != item)
		place = &(*place)->dirty_next;
	if (*place)
		*place = item->dirty_next;
	item->dirty = false;
}

bool cw_item_has_number(const struct cw_item *item)
{
	if (item->stream)
		return cw_stream_at(item->stream, item->fd);
	return item->inner ? cw_set_at(item->inner, item->fd) : cw_datagram_at(item->datagram, item->fd);
}

int cw_item_descriptor(const struct cw_item *item)
{
	const struct cw_stream *stream = item->stream;

	if (cw_likely(cw_item_has_number(item)))
		return item->fd;
	if (item->inner)
		return item->inner->epfd;
	return stream ? stream->fd : item->datagram->entry->fd;
}

void cw_item_forget(struct cw_item *item)
{
	struct cw_set *set = item->set;

	cw_item_cool(item);
	cw_item_unindex(item);
	if (item->dirty)
		clean(item);
	*item->before = item->next;
	if (item->next)
		item->next->before = item->before;
	if (item->stream)
		cw_item_detach(item);
	item->stream = NULL; /* who found it before looks at this, under the lock */
	if (item->datagram)
		cw_set_remove_datagram(item);
	if (item->inner) {
		cw_item_release_inner(item);
		set->nested--;
		item->inner->outers--;
	}
	if (item->events & EPOLLONESHOT) {
		set->oneshots--;
		cw_item_gone(item);
	}
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

/* A datagram socket that had the number before is there as long as it has another. */
static struct cw_item *find(struct cw_set *set, struct cw_stream *stream, struct cw_set *inner, const struct cw_datagram *datagram, int fd)
{
	struct cw_item *item;

	if (!stream && !inner) {
		for (item = set->datagrams; item; item = item->next_datagram)
			if (item->fd == fd && item->datagram == datagram)
				return item;
		return NULL;
	}
	if (stream)
		return cw_item_find(stream, set, fd);
	for (item = set->items; item; item = item->next)
		if (item->inner == inner && item->fd == fd)
			return item;
	return NULL;
}

/* Room is told by edge by the set itself, or by one around it. */
static void note_room(struct cw_item *item)
{
	if (item->stream && (item->events & (EPOLLOUT | EPOLLWRNORM)) && ((item->events & EPOLLET) || item->set->outers))
		atomic_store_explicit(&item->stream->room_by_edge, true, memory_order_relaxed);
}

static void update(struct cw_item *item, const struct epoll_event *event)
{
	if (item->events & EPOLLONESHOT) {
		if (item->armed)
			cw_item_doubt(item);
		item->set->oneshots--;
	}
	item->events = event->events;
	note_room(item);
	cw_item_unindex(item);
	item->data = event->data.u64;
	cw_item_index(item);
	item->armed = true;
	if (item->hot)
		cw_item_look(item);
	item->noted = false;
	item->seen = ~0ull; /* as in the kernel, MOD tells an edge-triggered reader again what is there */
	if (!item->listed)  /* and those around the set */
		item->pulsed = ~0ull;
	if (item->events & EPOLLONESHOT)
		item->set->oneshots++;
}

/* Under its lock: has another thread not closed the number meanwhile, and the set with it? */
static bool set_is(const struct cw_set *set, int epfd)
{
	return cw_likely(cw_set_at(set, epfd));
}

#define MOST_CHANGES 20 /* of a number, by dup2 in turns */
#define IMMEDIATE    (EPOLLET | EPOLLONESHOT | EPOLLEXCLUSIVE | EPOLLWAKEUP)

bool cw_set_defer(struct cw_set *set, int epfd, int operation, int fd, const struct epoll_event *event, int *result)
{
	struct cw_stream *stream = cw_stream_of(fd);
	struct cw_item *item;
	bool locked, done = false;

	if (!stream || !stream->slot || (operation != EPOLL_CTL_ADD && operation != EPOLL_CTL_MOD && operation != EPOLL_CTL_DEL))
		return false;
	if (operation != EPOLL_CTL_DEL && cw_nowhere(event, sizeof(*event)))
		return false;
	locked = cw_set_lock(set);
	item = set_is(set, epfd) ? find(set, stream, NULL, NULL, fd) : NULL;
	*result = 0;
	if (!locked) {
		/* cw_set_control notes it */
	} else if (set->sleepers || set->shared || set->outers || !item || (item->events & IMMEDIATE) ||
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
		if (!item->gone)
			cw_set_registered(set, item->data);
		defer(item);
		if (!item->gone)
			cw_item_admit(item);
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

/* False: no room to note it. */
static bool add(struct cw_set *set, struct cw_stream *stream, struct cw_set *inner, struct cw_datagram *datagram, int fd,
		const struct epoll_event *event)
{
	struct cw_item *item = cw_item_new();

	if (!item)
		return false;
	item->set = set; /* before the stream: cw_item_hold */
	item->in_kernel = event->events;
	item->kernel_data = event->data.u64;
	item->stream = stream;
	item->inner = inner;
	item->datagram = datagram;
	item->fd = fd;
	item->next = set->items;
	item->before = &set->items;
	if (set->items)
		set->items->before = &item->next;
	set->items = item;
	update(item, event);
	if (item->events & EPOLLONESHOT)
		cw_item_doubt(item); /* the same socket may have been in the set before */
	if (inner) {
		set->nested++;
		inner->outers++;
	} else if (datagram) {
		cw_set_add_datagram(set, item);
	} else {
		cw_item_attach(item);
	}
	return true;
}

/* From now on the kernel is asked for what is within it, by others. */
static void enclose(struct cw_set *inner)
{
	bool locked = cw_set_lock(inner);

	cw_set_flush(inner);
	for (struct cw_item *item = inner->items; item; item = item->next)
		note_room(item);
	cw_set_unlock(inner, locked);
}

/* D: pairs with the close, which lowers the references before it looks whether the socket is registered: it forgets this item, or we do. */
static bool is_closed(const struct cw_datagram *datagram)
{
	atomic_thread_fence(memory_order_seq_cst);
	return atomic_load_explicit(&datagram->entry->references, memory_order_relaxed) <= 0;
}

/* datagram: held, NULL none. False: there is no room to note it. */
static bool control_held(struct cw_set *set, int operation, int fd, struct cw_datagram *datagram, const struct epoll_event *event)
{
	uint32_t entry = cw_table_peek(fd);
	struct cw_stream *stream = cw_stream_in(entry);
	struct cw_set *inner = cw_table_kind(entry) == CW_FD_SET ? &cw_sets[cw_table_index(entry)] : NULL;
	struct cw_item *item;
	bool nested;

	if (!stream && !inner && !datagram) {
		if (operation != EPOLL_CTL_DEL)
			cw_set_stranger(set, event->data.u64);
		return true;
	}
	item = find(set, stream, inner, datagram, fd);
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
		if (!add(set, stream, inner, datagram, fd, event))
			return false;
		if (inner)
			enclose(inner);
		item = find(set, stream, inner, datagram, fd);
		if (item && datagram && is_closed(datagram)) {
			cw_item_forget(item);
			return true;
		}
		/* Who woke the stream without having seen this registration has done so behind this. */
		if (item && stream && item->of_stream && cw_item_rx_lock(stream, fd, &nested))
			cw_rx_unlock(stream, nested);
	}
	if (item && item->stream)
		cw_item_admit(item);
	else if (item && item->datagram)
		cw_item_admit_datagram(item);
	else if (item)
		cw_item_admit_inner(item);
	return true;
}

bool cw_set_book(struct cw_set *set, int operation, int fd, const struct epoll_event *event)
{
	struct cw_datagram *datagram = cw_table_peek(fd) == CW_FD_CHANGING ? NULL : cw_datagram_held(fd);
	bool fine = control_held(set, operation, fd, datagram, event);

	if (datagram)
		cw_datagram_release(datagram);
	if (operation != EPOLL_CTL_DEL)
		cw_set_registered(set, event->data.u64);
	return fine;
}

void cw_set_leave_to_kernel(int fd)
{
	struct cw_stream *stream = cw_stream_of(fd);
	struct cw_datagram *datagram = cw_datagram_held(fd);
	struct cw_set *inner = cw_set_of(fd);

	if (stream)
		cw_leave_whole(stream, fd, CW_REASON_unknown_set);
	if (datagram) {
		cw_datagram_leave_to(datagram, fd, CW_REASON_unknown_set);
		cw_datagram_release(datagram);
	}
	if (inner) {
		cw_set_pass(inner);
		cw_set_leave_datagrams(inner);
	}
}

/* A handler in the middle of a hold. Of a deletion that was deferred the kernel knows nothing yet. */
static int control_below(struct cw_set *set, int epfd, int operation, int fd, struct epoll_event *event)
{
	const struct cw_stream *stream = cw_stream_of(fd);
	const struct cw_item *item = stream ? cw_item_find(stream, set, fd) : NULL;
	bool gone = item && item->gone, known = set_is(set, epfd);
	long result = gone && operation != EPOLL_CTL_ADD
			      ? -ENOENT
			      : cw_raw(SYS_epoll_ctl, epfd, gone ? EPOLL_CTL_MOD : operation, fd, (long)event, 0, 0);

	if (result < 0) {
		errno = (int)-result;
		return -1;
	}
	if (known && !cw_set_note_control(set, operation, fd, event)) {
		if (operation == EPOLL_CTL_DEL)
			cw_set_book(set, operation, fd, event);
		else
			cw_set_leave_to_kernel(fd);
	}
	return 0;
}

int cw_set_control(struct cw_set *set, int epfd, int operation, int fd, struct epoll_event *event)
{
	/* Under the lock: who is told of a registration by the kernel finds it here as it is there. */
	bool locked = set && cw_set_lock(set), known = set && set_is(set, epfd);
	long result;

	if (cw_unlikely(set && !locked))
		return control_below(set, epfd, operation, fd, event);
	result = cw_raw(SYS_epoll_ctl, epfd, operation, fd, (long)event, 0, 0);

	/* Who changes it may wait for the set. */
	for (int i = 0; set && i < MOST_CHANGES && cw_unlikely(cw_table_peek(fd) == CW_FD_CHANGING); i++) {
		cw_set_unlock(set, locked);
		cw_table_await(fd);
		locked = cw_set_lock(set);
		known = set_is(set, epfd);
	}
	if (result == 0 && known)
		known = cw_set_book(set, operation, fd, event);
	if (set)
		cw_set_unlock(set, locked);
	if (result == 0 && cw_unlikely(!known) && operation == EPOLL_CTL_ADD)
		cw_set_leave_to_kernel(fd);
	if (result < 0)
		errno = (int)-result;
	return result < 0 ? -1 : 0;
}

static void leave_one(struct cw_item *item)
{
	const struct cw_stream *stream = item->stream;

	if (item->fd == stream->fd) /* its last number; who was registered by another that is gone can't be told of */
		cw_raw(SYS_epoll_ctl, item->set->epfd, EPOLL_CTL_DEL, item->fd, 0, 0, 0);
}

void cw_set_leave_all(struct cw_stream *stream)
{
	cw_item_each(stream, leave_one);
}

/* Of one, at once. */
static void tell_alone(const struct cw_item *item)
{
	struct epoll_event event = {.events = item->events, .data.u64 = item->data};

	cw_raw(SYS_epoll_ctl, item->set->epfd, item->gone ? EPOLL_CTL_DEL : EPOLL_CTL_MOD, item->fd, (long)&event, 0, 0);
}

/* The kernel can't be told by this number later, and may keep the socket. */
static void tell_before_close(struct cw_stream *stream, int fd)
{
	struct cw_item *item = cw_item_first(stream);
	bool locked;

	while (item) {
		struct cw_set *set = cw_item_hold(item, stream, &locked);
		bool dirty = set && item->fd == fd && item->dirty;

		if (dirty && !locked) {
			tell_alone(item);
			dirty = false;
		} else if (dirty) {
			cw_set_flush(set);
		}
		item = !set || dirty ? cw_item_first(stream) : item->of_stream;
		if (set)
			cw_set_unlock(set, locked);
	}
}

void cw_set_forget_descriptor(struct cw_stream *stream, int fd, bool last)
{
	struct cw_item *item;
	bool locked;

	tell_before_close(stream, fd);
	/* While another descriptor of the socket lives, the kernel goes on telling of this registration, and so do we. */
	for (item = last ? cw_item_first(stream) : NULL; item;) {
		struct cw_set *set = cw_item_hold(item, stream, &locked);

		if (set && !locked && cw_set_note_closed(set, stream)) {
			item = item->of_stream;
			continue;
		}
		if (set) {
			cw_item_forget(item);
			cw_set_unlock(set, locked);
		}
		item = cw_item_first(stream);
	}
}
