/*
 * The steps of one direction between the kernel socket and the ring, by the names of shared/SWITCH.md and tests/model. Each is made under
 * the lock of its side (tx_lock for the writer's, rx_lock for the reader's); the state word alone is what the two sides share.
 */
#ifndef CW_SOCKETS_SWITCH_H
#define CW_SOCKETS_SWITCH_H

#include "stream.h"

#define CW_RING_LEAST_BITS 12u /* classes below CW_RING_MIN_BITS are for programs that set small buffers */

/* A ring's class as found in shared memory: false if it is nonsense. */
static inline bool cw_class_sane(uint32_t bits)
{
	return bits - CW_RING_LEAST_BITS <= CW_RING_MAX_BITS - CW_RING_LEAST_BITS;
}

/* A grant has come: from now on every call goes by the slot's words. */
void cw_switch_attach(struct cw_stream *stream, struct cw_arena *arena, uint32_t slot, unsigned end);

/*
 * The kernel's bytes of a moved stream are doorbells: each goes at once. Nagle's rule (RFC 896) would hold the second until the first is
 * acknowledged, which a peer that answers by ring does 40 ms late.
 */
/* The program has set TCP_NODELAY, or taken it away. */
void cw_switch_nagle(struct cw_stream *stream, int fd, bool nagle);
/* Does the program have it off, whatever the socket has? */
bool cw_switch_nagles(const struct cw_stream *stream);
/* The socket gets it as the program left it: both directions are the kernel's for good. */
void cw_switch_put_nagle_back(struct cw_stream *stream, int fd);
/* By the kernel's state of the connection. */
bool cw_switch_fin_received(int fd);

/*
 * A moved stream that goes through the kernel in bulk for a while (its ring was full) comes back only when its reader has come through what
 * the kernel holds: megabytes, by default. So both sides bound that, without touching the buffer sizes that the program sees: the reader by
 * TCP_WINDOW_CLAMP, the writer by TCP_NOTSENT_LOWAT, which POLLOUT follows. Count bytes that went by the kernel; the bound is set after the
 * first 128 KiB, and taken away when the stream leaves the ring for good.
 */
void cw_switch_bound_in(struct cw_stream *stream, int fd, size_t count);
void cw_switch_bound_out(struct cw_stream *stream, int fd, size_t count);
void cw_switch_unbound(struct cw_stream *stream, int fd);

/* Locks. false: the lock was not to be had; the stream has been reset. *nested: a signal handler on top of a locked section of its own
 * thread; then don't unlock. */
bool cw_tx_lock(struct cw_stream *stream, int fd, bool *nested);
bool cw_rx_lock(struct cw_stream *stream, int fd, bool *nested);
void cw_tx_unlock(struct cw_stream *stream, bool nested);
void cw_rx_unlock(struct cw_stream *stream, bool nested);

/* The other end is about to be woken through the kernel: where does it run? */
void cw_switch_note_wake(struct cw_stream *stream);

/* Writer. */
bool cw_switch_accept(struct cw_stream *stream, int fd, uint64_t *word); /* CONSENT -> LIVE */
bool cw_switch_take_back(struct cw_stream *stream, int fd,
			 uint64_t *word); /* ASLEEP -> TAKEN, and what is unread goes through the kernel */
/* The same for who has put the last ones there just now: *last is how many of them are not sent, as the kernel had no room. */
bool cw_switch_take_back_but(struct cw_stream *stream, int fd, uint64_t *word, size_t *last);
bool cw_switch_seal(struct cw_stream *stream, uint64_t *word); /* LIVE -> SEALED */
/*
 * ASLEEP -> SEALED, where an edge has told what the ring has up to `end`, and before it bytes are unread in the kernel, which may have no
 * room for these as long as the reader leaves it so. They stay, and what is sent behind them through the kernel wakes him.
 */
bool cw_switch_seal_asleep(struct cw_stream *stream, uint64_t *word, uint64_t end);
/* In a handler's call: the offer becomes another one, and the interrupted call, whose woff will be too small, can't take it. */
void cw_switch_renew_offer(struct cw_stream *stream, uint64_t *word);
/* ASLEEP: told to a set by edges, and nobody has read it. Nonsense isn't, so that taking it back finds it before anything is put. */
bool cw_switch_told_and_unread(const struct cw_direction *tx);
/* The kernel is full, and the ring can't be sealed beside who reads there at this moment: what has no room must not be taken back. */
bool cw_switch_awaits_reader(const struct cw_direction *tx, int fd, uint64_t word);
/* LIVE or ASLEEP -> SEALED or TAKEN: what is sent from here on goes by the kernel. Under the lock. False: it awaits a reader, and is
 * ASLEEP. */
bool cw_switch_to_kernel(struct cw_stream *stream, int fd, bool nested);

/* A second process begins to use the stream: what it or the other writes goes through the kernel, and nobody offers, until one is left. */
void cw_switch_share(struct cw_stream *stream, int fd);

/* Reader. */
/*
 * Counted in rx_asleep, under the lock, by who reads the kernel without a bound or sleeps there. Beside bytes that were told the sleep
 * becomes another one: a writer that saw nobody counted can't seal the ring any more. False: it has, and nobody is counted.
 */
bool cw_switch_count_asleep(struct cw_stream *stream);
bool cw_switch_others_asleep(const struct cw_stream *stream);
void cw_switch_offer(struct cw_stream *stream, int fd); /* TAKEN -> CONSENT, if nobody waits in the kernel; takes the locks itself */
/* The same under the rx lock (and the set's, if it is in one and on its hot list): who has just woken offers what it withdrew to sleep. */
void cw_switch_offer_again(struct cw_stream *stream);
bool cw_switch_withdraw(struct cw_stream *stream, uint64_t *word); /* CONSENT -> TAKEN */
/* LIVE -> ASLEEP, unless more than seen is in the ring by then (the second look): then it is LIVE again, or TAKEN. CONSENT -> TAKEN. True:
 * wait in the kernel. */
bool cw_switch_fall_asleep(struct cw_stream *stream, uint64_t *word, uint64_t seen);
/* LIVE -> ASLEEP in the same way, to be rung for: true, sleep (receive_bell.c). */
bool cw_switch_fall_asleep_on_bell(struct cw_stream *stream, uint64_t *word, uint64_t seen);
/* CONSENT: whoever takes the offer rings. True: it stands, sleep. */
bool cw_switch_offer_on_bell(struct cw_stream *stream, uint64_t word);
/* Under the lock: whoever sleeps on the bell is woken through the kernel from now on. What is in the ring by then is LIVE, an offer
 * withdrawn. */
void cw_switch_quit_bell(struct cw_stream *stream);
/* ASLEEP, perhaps in an event set that doesn't look at it: awake again, it is among those that the set puts to sleep. Takes the lock. */
void cw_switch_rouse(struct cw_stream *stream, int fd);
bool cw_switch_wake(struct cw_stream *stream, uint64_t *word);    /* ASLEEP -> LIVE */
bool cw_switch_drained(struct cw_stream *stream, uint64_t *word); /* SEALED -> TAKEN */

/*
 * In bulk through the kernel, and all of it read: the writer was woken by that and sends again as soon as it runs, which on a busy machine
 * is later than any look. Who fell asleep now would take the offer back, and so the next time, for ever. True, once for so many bytes: wait
 * for CW_LINGER_NS in the kernel with the offer standing; what comes by ring meanwhile is seen that much later. Once for twice as many, up
 * to 64 MiB, each time that it didn't help: that writer waits for answers.
 */
#define CW_LINGER_NS 1000000
bool cw_switch_lingers(struct cw_stream *stream);
/* It would be true, were there an offer. */
bool cw_switch_linger_due(const struct cw_stream *stream);

/*
 * Bytes of the ring that the reader may read now from roff on, given the word. SIZE_MAX: nonsense. *ring (if not NULL) is what was checked:
 * nobody looks at the words a second time, where they may have changed.
 */
size_t cw_switch_unread(const struct cw_stream *stream, uint64_t word, uint64_t roff, struct cw_ring *ring);

/* Where in the ring its reader is, or will begin. Acquire: what the reader stored before it fell asleep. */
static inline uint64_t cw_switch_reader_at(const struct cw_direction *way)
{
	uint64_t roff = atomic_load_explicit(&way->roff, memory_order_acquire), up = atomic_load_explicit(&way->up, memory_order_relaxed);

	return (int64_t)(roff - up) < 0 ? up : roff;
}

/* In ASLEEP the ring is empty, but for what an edge-triggered set has told and nobody has read, or what is about to be taken back. */
bool cw_switch_unread_asleep(const struct cw_stream *stream);

/* The ring holds bytes that its reader has not read. */
bool cw_switch_leaves_unread(struct cw_stream *stream);
/* The last descriptor of this process is about to be closed. */
void cw_switch_close(struct cw_stream *stream, int fd);
/* Shared memory holds nonsense, or a lock is lost: the connection is reset, in the kernel too. */
void cw_switch_break(struct cw_stream *stream, int fd, enum cw_reason reason);

#endif
