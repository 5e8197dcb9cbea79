/* Registrations of streams (and of inner sets) in event sets, and where they are kept. Fields are guarded by the set's lock. */
#ifndef CW_SOCKETS_SET_ITEM_H
#define CW_SOCKETS_SET_ITEM_H

#include "set.h"
#include "sync/lock.h"

struct cw_item {
	/* These three outlive the use of the item, since looks without a lock follow them: a set, once given, is never NULL again. */
	struct cw_set *_Atomic set;
	struct cw_item *_Atomic of_stream; /* the stream's other registrations */
	struct cw_stream *_Atomic stream;  /* or */
	struct cw_set *inner;              /* or */
	struct cw_datagram *datagram;
	struct cw_item *next_datagram, **before_datagram; /* the set's registrations of datagram sockets */
	struct cw_item *next, **before;                   /* the set's registrations */
	struct cw_item *hot_next, **hot_before;           /* its hot ones */
	struct cw_item *look_next, **look_before;         /* of these, those that are looked at */
	struct cw_board_view *view;                       /* with the stream's bit; NULL: it is looked at always */
	struct cw_item *data_next, **data_before;         /* those with data like its own (cw_item_index) */
	int fd;
	uint32_t events;
	uint64_t data;
	uint64_t seen;                       /* the edge last told */
	uint64_t pulsed;                     /* and last counted in the set's pulses */
	uint32_t seen_offers, pulsed_offers; /* of the stream, then */
	uint64_t told;                       /* in which of the set's answers, by ring */
	/* By the ring, with something behind it in the kernel: the state word then, how much, and with the end? */
	uint64_t word;
	uint32_t behind;
	bool ended, noted;
	uint64_t roff; /* at the last sleep */
	uint32_t idle; /* sleeps since bytes came */
	struct cw_item *dirty_next;
	uint64_t doubted;   /* the set's `doubts` when an arm of it was last taken away by other than being told */
	uint32_t in_kernel; /* the interest that the kernel's set has */
	uint64_t kernel_data;
	uint32_t carried; /* of an inner set: how many of the set's sleepers are counted there */
	bool hot, looked, armed;
	bool settled; /* of a datagram socket: a sleep of its set is counted there */
	bool listed;  /* as ready, in the kernel's words: since an edge of it was counted nobody has found it not ready */
	bool dirty;   /* on the set's list of those whose interest the kernel has not been told */
	bool gone;    /* deleted by the program, and the kernel has not been told */
};

/* A ONESHOT registration that was taken away. */
struct cw_set_gone {
	uint64_t data, when; /* `doubts` behind it; 0: none */
};

#define CW_SET_NOTES 8

/* set_notes.c: a change of a registration, or, if `closed`, the end of a socket. */
struct cw_set_note {
	const void *closed;
	int operation, fd;
	uint32_t entry; /* of the number, then */
	struct epoll_event event;
};

#define CW_SET_GONE      32
#define CW_SET_DATA_BITS 8

struct cw_set {
	struct cw_lock lock;
	_Atomic uint32_t notes;     /* of handlers that came while it was held (set_notes.c) */
	_Atomic int32_t references; /* descriptors of the program; 0: free */
	_Atomic int32_t users;      /* threads that wait for it, in epoll_wait, poll or select */
	_Atomic bool orphaned;      /* its last descriptor is closed: the last of its users ends it */
	_Atomic int epfd;           /* one of its descriptors; of an orphan, one of our own */
	struct cw_item *items, *hot, *look, *dirty, *datagrams;
	struct cw_item *by_data[1 << CW_SET_DATA_BITS];
	struct cw_board_view *views;
	uint64_t swept; /* ticks, when all hot ones were last looked at */
	uint32_t hot_count, nested, oneshots;
	_Atomic uint32_t outers;
	uint64_t pulses;          /* edges of what is in it, as far as somebody around it has looked */
	_Atomic int32_t sleepers; /* threads of this process that sleep in it, or in a set around it */
	_Atomic bool shared;      /* with another process, by fork: its sleepers can't be seen, so nothing in it is looked at */
	_Atomic uint64_t doubts;  /* see cw_set_after_kernel */
	struct cw_set_gone gone[CW_SET_GONE];
	uint32_t gone_next;
	int kicked_by;     /* set_kick.c: the descriptor that is in the kernel's set to wake a sleeper */
	_Atomic bool owed; /* who was woken so has not looked at all of the set since; written under the lock */
	bool kicked;
	bool noted;   /* one of its items may be, or has been */
	bool lingers; /* not settled because of streams that linger (switch.h) */
	bool filled;  /* the last answer had no room for what the kernel was to be asked for */
	bool full;    /* nor for anything else */
	bool repeats; /* what was told in this round already could be told again */
	bool fresh;   /* something is told by ring for the first time in it */
	/*
	 * As long as answers are full, who was told by ring waits until all others have been: a round. Its end is known by what the kernel
	 * told first in it, which comes again when all that the kernel has have had their turn.
	 */
	uint64_t answer, round; /* the number of this one, and of the round's first */
	uint64_t turn;          /* the data that the kernel told first */
	bool turning, turned;   /* it has told something; that one again */
	uint8_t by_kernel;      /* answers in a row that the kernel filled */
	uint64_t asked;         /* ticks, when the kernel was last asked while awake */
	uint64_t inner_round;   /* inner sets that were told in an answer since then wait for the others */
	uint8_t first_kind;     /* with which an answer begins */
	struct cw_set_note note[CW_SET_NOTES];
	uint64_t strangers; /* a bit for the data of each registration that isn't ours (cw_set_stranger) */
};

enum cw_set_kind { CW_SET_STREAMS, CW_SET_DATAGRAMS, CW_SET_INNER, CW_SET_KINDS };

#define CW_SETS      1024
#define CW_SET_DEPTH 6 /* the kernel allows five sets within each other */

extern struct cw_set cw_sets[CW_SETS];
extern _Atomic uint32_t cw_sets_used;

/* Is fd its number? Not while it is changing: who asks may hold what the change waits for. */
static inline bool cw_set_at(const struct cw_set *set, int fd)
{
	return cw_table_peek(fd) == cw_table_entry(CW_FD_SET, (uint32_t)(set - cw_sets));
}

/* The lock is of this process alone. False: a signal handler in the middle of our own hold; pass it on to cw_set_unlock. */
static inline bool cw_set_lock(struct cw_set *set)
{
	return cw_lock_own(&set->lock, cw_thread_id(), NULL) != CW_LOCK_NESTED;
}

void cw_set_catch_up(struct cw_set *set);

static inline void cw_set_unlock(struct cw_set *set, bool locked)
{
	if (!locked)
		return;
	cw_unlock(&set->lock);
	if (cw_unlikely(atomic_load_explicit(&set->notes, memory_order_relaxed) != 0))
		cw_set_catch_up(set);
}

/* All below under the set's lock. */

/*
 * set_list.c. A stream's registrations are read without a lock, and another thread may take one away meanwhile, even after the program has
 * deleted it: what was deferred is done by whoever tells the kernel. cw_item_hold locks the set of one that was found so, and returns it;
 * NULL: it is no longer the stream's, nothing is locked, and the list is to be read anew. While it is held what it leads to is in the list
 * too.
 */
struct cw_set *cw_item_hold(const struct cw_item *item, const struct cw_stream *stream, bool *locked);
struct cw_item *cw_item_first(const struct cw_stream *stream);
/* Each in turn, held, some perhaps again where another was taken away meanwhile. `act` takes none away. */
void cw_item_each(struct cw_stream *stream, void (*act)(struct cw_item *));
struct cw_item *cw_item_find(const struct cw_stream *stream, const struct cw_set *set, int fd);
void cw_item_attach(struct cw_item *item);
void cw_item_detach(struct cw_item *item);

/* set_notes.c: by a handler whose thread holds the lock. False: there is no room for it. */
bool cw_set_note_control(struct cw_set *set, int operation, int fd, const struct epoll_event *event);
bool cw_set_note_closed(struct cw_set *set, const void *closed);

/* set.c: no descriptor of it is left; nor does anybody wait for it any more? */
void cw_set_end_orphan(struct cw_set *set);

/* set_hot.c */
void cw_item_heat(struct cw_item *item);
void cw_item_cool(struct cw_item *item);
bool cw_item_awake(const struct cw_stream *stream); /* CONSENT, LIVE or SEALED */
bool cw_item_stays(const struct cw_stream *stream); /* TAKEN, and not to be offered when the set rises */
void cw_item_admit(struct cw_item *item);           /* a registration that is new, or has changed */
bool cw_item_rx_lock(struct cw_stream *stream, int fd, bool *nested);

/* set_board.c */
void cw_item_look(struct cw_item *item);
void cw_item_unlook(struct cw_item *item);
void cw_item_watch(struct cw_item *item); /* by a board from now on, if there is one for it */
void cw_item_unwatch(struct cw_item *item);
void cw_set_sweep(struct cw_set *set); /* look at what is marked */

/* A set wakes those around it by this alone. */
static inline bool cw_item_waits_for_inner(const struct cw_item *item)
{
	return item->inner && item->armed && (item->events & EPOLLIN);
}

/* set_sleep.c: a registration of an inner set is new or has changed: who sleeps in the set sleeps in the inner one as long as it is waited
 * for. And it is forgotten. */
void cw_item_admit_inner(struct cw_item *item);
void cw_item_release_inner(struct cw_item *item);

/* set_hot.c: a thread sleeps in the set, and must not sleep beside the stream's ring. */
void cw_item_settle_for_sleepers(struct cw_item *item);

/* set_sleep.c: asked for now and then while the set is awake; a stream without bytes for several times is left to the kernel. */
void cw_item_doze(struct cw_item *item);

/*
 * set_control.c. The number that something was registered by may be closed, and another's, while it has others: of such a registration the
 * kernel can be told nothing, and whoever asks for what it is about does so by another descriptor.
 */
bool cw_item_has_number(const struct cw_item *item);
int cw_item_descriptor(const struct cw_item *item);
/* What the kernel has done at a registration is booked. False: there is no room. */
bool cw_set_book(struct cw_set *set, int operation, int fd, const struct epoll_event *event);
/* Who waits in the set asks the kernel alone: what it is to be told of must be there. The set's lock is not held. */
void cw_set_leave_to_kernel(int fd);
void cw_item_forget(struct cw_item *item);
void cw_set_flush(struct cw_set *set); /* tell the kernel what it was not told */

/*
 * set_look.c. The edge changes when there is more. For those around it a set counts the edges of all that is in it, each once, whoever
 * looks first: what is read doesn't change that number.
 */
/* `seen`, or nothing: the ring was offered anew since, and what was told of it before may have been taken out again, and put back. */
uint64_t cw_item_seen(const struct cw_item *item);
bool cw_item_ready(struct cw_item *item, uint64_t *edge);
void cw_item_pulse(struct cw_item *item, uint64_t edge);
/* In an answer of its own set: told, or not ready. What is told but once is no longer listed. */
static inline void cw_item_list_anew(struct cw_item *item, bool ready)
{
	item->listed = ready && !(item->events & (EPOLLET | EPOLLONESHOT));
}
bool cw_set_ready_within(struct cw_set *set, int depth, uint64_t *pulses);
/* What the rings have, up to max events. *ask is set if the kernel's answer belongs to it. */
int cw_set_collect(struct cw_set *set, int epfd, struct epoll_event *events, int max, bool *ask);
int cw_set_collect_streams(struct cw_set *set, int epfd, struct epoll_event *events, int max, bool *ask);

/*
 * set_kick.c: a ring has something for who sleeps in the set, and the kernel does not know. The kick is over when a thread has woken by it,
 * which takes its event out of what the kernel told; or when nobody sleeps. Who was woken, and goes with an answer that had no room for
 * all, wakes the next one (without the lock).
 */
void cw_set_kick(struct cw_set *set);
void cw_set_kick_after_fork(void);
void cw_set_undo_kick(struct cw_set *set);
bool cw_set_is_kick(const struct cw_set *set, const struct epoll_event *event);
void cw_set_take_kick(struct cw_set *set, struct epoll_event *events, int count);
void cw_set_kick_on(struct cw_set *set);
/* Who was woken has looked: if at all of it, nobody else needs to be. Under the set's lock. */
static inline void cw_set_looked(struct cw_set *set, bool at_all)
{
	if (at_all && cw_unlikely(atomic_load_explicit(&set->owed, memory_order_relaxed)))
		atomic_store_explicit(&set->owed, false, memory_order_relaxed);
}

/* set_datagram.c: the same for datagram sockets. */
void cw_set_add_datagram(struct cw_set *set, struct cw_item *item);
void cw_set_remove_datagram(struct cw_item *item);
bool cw_set_has_datagrams(struct cw_set *set); /* with flows by ring */
bool cw_set_datagrams_ready(struct cw_set *set);
int cw_set_collect_datagrams(struct cw_set *set, int epfd, struct epoll_event *events, int max, bool *ask);
void cw_set_offer_datagrams(struct cw_set *set);
bool cw_set_settle_datagrams(struct cw_set *set);
void cw_set_rise_datagrams(struct cw_set *set);
/* A registration is new or has changed; the set's sleepers, if there are any, must not sleep beside its rings. */
void cw_item_admit_datagram(struct cw_item *item);

/*
 * set_kernel.c: what of the kernel's count events is the program's; and one answer of two, the first by_ring of them by ring.
 *
 * The kernel told them before the lock was had. Meanwhile a ONESHOT registration that it told, and so disarmed, may have been armed again
 * (or told by ring, and armed again) by another thread: then nobody knows whether it is armed in the kernel. So each time an arm ends other
 * than by the kernel's telling, it is counted in `doubts`; asked_at is that count before the kernel was asked.
 *
 * It may be gone, too: the ring told it, and the program has closed it since. What the kernel told of it is kept from a program that may
 * use the data for something else by now; the last few are remembered for that, until the data is registered again.
 */
uint32_t cw_item_by_kernel(const struct cw_item *item);
void cw_item_index(struct cw_item *item); /* by its data, which is all that the kernel says of whom it tells */
void cw_item_unindex(struct cw_item *item);
void cw_item_gone(struct cw_item *item);
void cw_set_stranger(struct cw_set *set, uint64_t data); /* such a registration is made, or changed */
void cw_set_registered(struct cw_set *set, uint64_t data);
int cw_set_after_kernel(struct cw_set *set, int epfd, uint64_t asked_at, struct epoll_event *events, int count);
void cw_item_doubt(struct cw_item *item);
void cw_item_disarm(struct cw_item *item, int epfd); /* ONESHOT told by ring: the kernel must not tell it again */
/* An edge is told by ring: the kernel will tell one too of what is behind that, bytes or the end, which is told by this. */
void cw_item_note_behind(struct cw_item *item);
int cw_set_merge(struct cw_set *set, struct epoll_event *events, int by_ring, int count);

struct cw_item *cw_item_new(void); /* zeroed, but for the set and of_stream; the stream is NULL; NULL if there are too many */
void cw_item_free(struct cw_item *item);

/* In a forked child: no thread is left that could hold their locks. */
void cw_item_after_fork(void);
void cw_list_after_fork(void);
void cw_board_after_fork(void);

#endif
