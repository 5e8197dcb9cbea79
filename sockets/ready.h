/* Is a moved stream readable by ring? What the kernel knows (its own bytes, ends, errors, room to write) the kernel is asked for. */
#ifndef CW_SOCKETS_READY_H
#define CW_SOCKETS_READY_H

#include "stream.h"

/* The ring has bytes to read now, also such as an edge-triggered set sleeps with, having told them. *edge: a number that changes when more
 * have come. */
bool cw_ready_by_ring(const struct cw_stream *stream, uint64_t *edge);
/* The latter. */
bool cw_ready_left(const struct cw_stream *stream);

/* The ring has bytes that can't be read yet: others come before them through the kernel. */
bool cw_ready_later(const struct cw_stream *stream);

/* Whether bytes can be read is known without asking the kernel. */
bool cw_ready_known(const struct cw_stream *stream);

/*
 * About to wait in the kernel for this stream to become readable, under the rx lock: LIVE -> ASLEEP and so on. seen: the edge that the
 * program knows; pass the reader's offset where any unread byte must be told. False: it is readable by ring, or what comes
 * before the ring's bytes is on its way: don't sleep for long.
 */
bool cw_ready_settle(struct cw_stream *stream, uint64_t seen, bool edge_triggered);
/* Awake again, under the rx lock, nobody else asleep: LIVE, or offered again. Who sleeps between messages that are far apart offers when it
 * has read (receive_offer.c): a read under an offer costs two calls more, and nobody would take it before. */
void cw_ready_rise(struct cw_stream *stream);
/* It would do something; without the lock. */
bool cw_ready_rises(const struct cw_stream *stream);
/* Sending would take bytes now. False: or nobody knows without asking the kernel. */
bool cw_ready_to_send(const struct cw_stream *stream);
/* Whoever doesn't ask for room needs not ask the kernel for this direction either. */
bool cw_ready_by_ring_alone(const struct cw_stream *stream);

#endif
