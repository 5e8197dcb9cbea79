/* What the kernel's set told, as the program would have been told it. */
#include <linux/sockios.h>
#include <sys/ioctl.h>

#include "kernel.h"
#include "set_item.h"

/* As the kernel would tell it now. */
uint32_t cw_item_by_kernel(const struct cw_item *item)
{
	long told = cw_raw_poll(cw_item_descriptor(item), (short)(item->events & 0x7fff));

	return told > 0 ? (uint32_t)told & (item->events | EPOLLERR | EPOLLHUP) : 0;
}

void cw_item_doubt(struct cw_item *item)
{
	item->doubted = atomic_fetch_add_explicit(&item->set->doubts, 1, memory_order_seq_cst) + 1;
}

static void tell_kernel(const struct cw_item *item, int epfd, uint32_t interest)
{
	struct epoll_event event = {.events = interest, .data.u64 = item->data};

	if (cw_likely(cw_item_has_number(item)))
		cw_raw(SYS_epoll_ctl, epfd, EPOLL_CTL_MOD, item->fd, (long)&event, 0, 0);
}

/* Its own interest again. */
static void arm_anew(const struct cw_item *item, int epfd)
{
	tell_kernel(item, epfd, item->events);
}

void cw_item_disarm(struct cw_item *item, int epfd)
{
	item->armed = false;
	tell_kernel(item, epfd, item->events & (EPOLLET | EPOLLONESHOT | EPOLLWAKEUP));
	cw_item_doubt(item); /* behind it: what is asked for from now on can't be of this one */
}

static uint64_t bits_of(uint64_t data, unsigned bits)
{
	return data * 0x9e3779b97f4a7c15ull >> (64 - bits);
}

static uint64_t bit_of(uint64_t data)
{
	return 1ull << bits_of(data, 6);
}

static struct cw_item **alike(struct cw_set *set, uint64_t data)
{
	return &set->by_data[bits_of(data, CW_SET_DATA_BITS)];
}

void cw_item_index(struct cw_item *item)
{
	struct cw_item **first = alike(item->set, item->data);

	item->data_next = *first;
	if (*first)
		(*first)->data_before = &item->data_next;
	*first = item;
	item->data_before = first;
}

void cw_item_unindex(struct cw_item *item)
{
	if (!item->data_before)
		return;
	*item->data_before = item->data_next;
	if (item->data_next)
		item->data_next->data_before = item->data_before;
	item->data_before = NULL;
}

void cw_set_stranger(struct cw_set *set, uint64_t data)
{
	set->strangers |= bit_of(data);
}

/*
 * A registration that isn't ours may have the same data, such as a connection's timer: the event can be that one's. If nothing is there
 * the arm is made anew all the same, as somebody may have read it since it was told; that changes nothing where it was not told. Room to
 * write the kernel tells alone, whatever we take the arm for: where no more is asked for it is taken as told, for others that send may have
 * filled it since.
 */
static bool is_of_another(struct cw_item *item, int epfd, uint32_t events)
{
	if (!item->armed || (events & ~(item->events | EPOLLERR | EPOLLHUP)))
		return true;
	if (cw_raw_poll(cw_item_descriptor(item), (short)(item->events & 0x7fff)))
		return false;
	if (!(item->events & ~(uint32_t)(EPOLLOUT | EPOLLWRNORM | EPOLLERR | EPOLLHUP | EPOLLONESHOT | EPOLLET)))
		return false;
	arm_anew(item, epfd);
	return true;
}

/*
 * The kernel has told a ONESHOT registration, and disarmed it. In doubt: it may be the arm before that was told; the newest one, if the
 * ring has not told it by now, is made anew, and what is there is told again at once.
 */
static bool told_once(struct cw_item *item, int epfd, uint64_t asked_at, uint32_t events)
{
	bool strangers = item->set->strangers & bit_of(item->data);

	if (item->doubted > asked_at) {
		if (item->armed) {
			arm_anew(item, epfd);
			cw_item_doubt(item); /* behind it: what is asked for from now on is of this arm */
		}
		return false;
	}
	/* Disarmed because the ring told it, which leaves these two on in the kernel. */
	if (!item->armed && (!strangers || !(events & ~(uint32_t)(EPOLLERR | EPOLLHUP))))
		return false;
	if (strangers && is_of_another(item, epfd, events))
		return true;
	item->armed = false;
	if (item->inner)
		cw_item_admit_inner(item);
	return true;
}

static struct cw_item *next_alike(struct cw_item *item, uint64_t data)
{
	while (item && item->data != data)
		item = item->data_next;
	return item;
}

static struct cw_item *first_alike(struct cw_set *set, uint64_t data)
{
	return next_alike(*alike(set, data), data);
}

static bool may_be_of(const struct cw_item *item, uint32_t events)
{
	return item->armed && !(events & ~(item->events | EPOLLERR | EPOLLHUP));
}

/* How many ONESHOT arms the kernel may have told by this; *others: or something that isn't told but once. */
static unsigned suspects(struct cw_set *set, uint64_t data, uint32_t events, bool *others)
{
	unsigned count = 0;

	*others = set->strangers & bit_of(data);
	for (struct cw_item *item = first_alike(set, data); item; item = next_alike(item->data_next, data)) {
		bool once = item->events & EPOLLONESHOT;

		count += once && may_be_of(item, events);
		*others |= !once && may_be_of(item, events);
	}
	return count;
}

static bool is_doubted(struct cw_set *set, uint64_t data, uint64_t asked_at)
{
	for (struct cw_item *item = first_alike(set, data); item; item = next_alike(item->data_next, data))
		if ((item->events & EPOLLONESHOT) && item->doubted > asked_at)
			return true;
	return false;
}

/*
 * Several registrations have the same data, such as two descriptors of one socket, one to read and one to write. What is told says by its
 * bits of whom it can be. Where that leaves more than one, one that is ready is told, in the kernel's set too, and all others are armed
 * anew: whichever it was, what is armed here is armed there, and the others are told next.
 */
static bool one_told_once(struct cw_set *set, int epfd, uint64_t asked_at, uint64_t data, uint32_t events)
{
	bool others, doubted = is_doubted(set, data, asked_at);
	bool sole = suspects(set, data, events, &others) == 1 && !others && !doubted;
	struct cw_item *told = NULL;

	for (struct cw_item *item = first_alike(set, data); item; item = next_alike(item->data_next, data)) {
		if (!may_be_of(item, events) || !(item->events & (EPOLLONESHOT | EPOLLET)))
			continue;
		if (!told && !doubted && (item->events & EPOLLONESHOT) && (sole || cw_item_by_kernel(item))) {
			told = item;
		} else if (doubted || (item->events & EPOLLONESHOT)) {
			arm_anew(item, epfd);
			cw_item_doubt(item);
		}
	}
	if (!told)
		return others && !doubted;
	if (sole)
		told->armed = false;
	else
		cw_item_disarm(told, epfd);
	if (told->inner)
		cw_item_admit_inner(told);
	return true;
}

static bool is_told(struct cw_set *set, int epfd, uint64_t asked_at, const struct epoll_event *event)
{
	struct cw_item *item = first_alike(set, event->data.u64);

	if (!item)
		return true;
	if (next_alike(item->data_next, item->data))
		return one_told_once(set, epfd, asked_at, item->data, event->events);
	return !(item->events & EPOLLONESHOT) || told_once(item, epfd, asked_at, event->events);
}

static void tell_oneshots(struct cw_set *set, int epfd, uint64_t asked_at, struct epoll_event *events, int count)
{
	for (int i = 0; i < count; i++)
		if (events[i].events && !is_told(set, epfd, asked_at, &events[i]))
			events[i].events = 0;
}

static uint32_t in_kernel(const struct cw_item *item)
{
	int unread = 0;

	cw_raw(SYS_ioctl, cw_item_descriptor(item), SIOCINQ, (long)&unread, 0, 0, 0);
	return unread > 0 ? (uint32_t)unread : 0;
}

static bool has_ended(const struct cw_item *item)
{
	return cw_raw_poll(cw_item_descriptor(item), POLLRDHUP) != 0;
}

/* Before `up` the kernel's bytes are read, and others may come behind: then the same number says nothing. */
void cw_item_note_behind(struct cw_item *item)
{
	struct cw_direction *rx = item->stream->rx;
	uint64_t word = atomic_load_explicit(&rx->state, memory_order_acquire);
	int64_t before =
		(int64_t)(atomic_load_explicit(&rx->up, memory_order_relaxed) - atomic_load_explicit(&rx->roff, memory_order_relaxed));

	item->noted = before <= 0 ? cw_state_of(word) == CW_SEALED || (word & (CW_MARK_WRITER_SHUT | CW_MARK_WRITER_GONE))
				  : cw_state_of(word) == CW_LIVE;
	if (!item->noted)
		return;
	item->word = word;
	item->ended = has_ended(item);
	item->behind = in_kernel(item);
	item->set->noted = true;
}

/* Nobody can have read it as long as the state is the same. */
static bool told_by_ring(const struct cw_item *item)
{
	return item->stream->slot && atomic_load_explicit(&item->stream->rx->state, memory_order_acquire) == item->word &&
	       in_kernel(item) == item->behind && has_ended(item) == item->ended;
}

static void drop_told_by_ring(struct cw_set *set, struct epoll_event *events, int count)
{
	for (int i = 0; i < count; i++)
		for (struct cw_item *item = *alike(set, events[i].data.u64); item; item = item->data_next) {
			if (!item->noted || events[i].data.u64 != item->data || (events[i].events & ~(uint32_t)(EPOLLIN | EPOLLRDNORM)))
				continue;
			if (told_by_ring(item))
				events[i].events = 0;
			item->noted = false;
		}
}

/* What is told of those with the same data is not dropped: it may be theirs. */
static bool others_doubted(struct cw_set *set, uint64_t data)
{
	struct cw_item *first = first_alike(set, data);

	for (struct cw_item *item = first; item; item = next_alike(item->data_next, data))
		cw_item_doubt(item);
	return first;
}

void cw_item_gone(struct cw_item *item)
{
	struct cw_set *set = item->set;

	if (others_doubted(set, item->data))
		return;
	cw_item_doubt(item);
	set->gone[set->gone_next++ % CW_SET_GONE] = (struct cw_set_gone){.data = item->data, .when = item->doubted};
}

void cw_set_registered(struct cw_set *set, uint64_t data)
{
	for (unsigned i = 0; i < CW_SET_GONE && i < set->gone_next; i++)
		if (set->gone[i].data == data)
			set->gone[i].when = 0;
}

static void drop_gone(const struct cw_set *set, uint64_t asked_at, struct epoll_event *events, int count)
{
	for (unsigned k = 0; k < CW_SET_GONE && k < set->gone_next; k++)
		for (int i = 0; i < count && set->gone[k].when > asked_at; i++)
			if (events[i].data.u64 == set->gone[k].data)
				events[i].events = 0;
}

static int drop_empty(struct epoll_event *events, int count)
{
	int kept = 0;

	for (int i = 0; i < count; i++)
		if (events[i].events)
			events[kept++] = events[i];
	return kept;
}

int cw_set_after_kernel(struct cw_set *set, int epfd, uint64_t asked_at, struct epoll_event *events, int count)
{
	cw_set_take_kick(set, events, count);
	if (set->oneshots)
		tell_oneshots(set, epfd, asked_at, events, count);
	if (cw_unlikely(set->gone_next))
		drop_gone(set, asked_at, events, count);
	if (cw_unlikely(set->noted))
		drop_told_by_ring(set, events, count);
	return drop_empty(events, count);
}

/* May both be of one registration? Where no other has the data, the program can't tell. */
static bool may_be_of_one(struct cw_set *set, uint64_t data, uint32_t events)
{
	struct cw_item *item = first_alike(set, data);

	if (!item || !next_alike(item->data_next, data))
		return true;
	while (item && (events & ~(item->events | EPOLLERR | EPOLLHUP)))
		item = next_alike(item->data_next, data);
	return item;
}

/* Two answers about one registration become one. */
int cw_set_merge(struct cw_set *set, struct epoll_event *events, int by_ring, int count)
{
	for (int k = by_ring; k < count; k++)
		for (int i = 0; i < by_ring; i++)
			if (events[i].data.u64 == events[k].data.u64 &&
			    may_be_of_one(set, events[i].data.u64, events[i].events | events[k].events)) {
				events[i].events |= events[k].events;
				events[k].events = 0;
				break;
			}
	return by_ring + drop_empty(events + by_ring, count - by_ring);
}
