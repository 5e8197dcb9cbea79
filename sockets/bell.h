/*
 * Bells of causeway.ko: how a reader on another machine is woken without its kernel socket (shared/SWITCH.md, Bells). An arena on a device
 * comes with one: the grant's descriptor, which sleeps for interrupts of this node and rings the other's. It is kept for as long as the
 * process lives, hidden as the service's connection is.
 *
 * A reader asleep on its bell is ASLEEP as any other, and waits for its socket too. In rx_bell it says in which sleep it would rather
 * be rung for; a writer that can't, or has no room, takes the stream back as ever. Whoever else takes the reader's lock ends that wish.
 */
#ifndef CW_SOCKETS_BELL_H
#define CW_SOCKETS_BELL_H

#include "kmod/causeway_ioctl.h"
#include "stream.h"

#define CW_BELL_LIMIT_NS                                                                                                                   \
	200000000ull     /* a sleep that nobody rings for goes on in the kernel: a ring can be lost, an idle program costs nothing */
#define CW_BELLS_LOST 3u /* bytes without a ring, so often: the stream does without */

/* The module, so that units can stand in for it: 0 or -errno. */
struct cw_bell_calls {
	bool (*has)(int fd); /* may that grant wait and ring? */
	long (*ring)(int fd);
	long (*await)(int fd, struct causeway_await *await);
};
extern struct cw_bell_calls cw_bell_calls;

/* The memory behind fd was mapped as that arena; fd stays the caller's. Under the service's lock. */
void cw_bell_keep(struct cw_arena *arena, int fd);
/* Is that number one of them? The program closes all, or wants the number: then it goes elsewhere. */
bool cw_bell_is(int fd);
void cw_bell_move(int fd);

/* Which sleep a word is of, whatever its marks. */
static inline uint64_t cw_bell_sleep_of(uint64_t word)
{
	return word & ~CW_MARKS;
}

/* Writer, under the lock. The reader, asleep by that word, would be rung for. */
bool cw_bell_wanted(const struct cw_stream *stream, uint64_t word);
/* Ring, once a sleep. False: it can't be had; take the stream back. */
bool cw_bell_ring(struct cw_stream *stream, uint64_t word);

/* Reader: the count that was seen last; sleep until it is another, or fd is readable. 0 or -errno. */
bool cw_bell_may_sleep(const struct cw_stream *stream);
uint64_t cw_bell_seen(const struct cw_stream *stream);
long cw_bell_await(struct cw_stream *stream, struct causeway_await *await);
/* There were bytes, and nobody had rung. */
void cw_bell_missed(struct cw_stream *stream);

#endif
