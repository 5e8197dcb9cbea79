/*
 * How long a stream must have lived before it is offered. A move in vain costs both programs and the service about a millisecond of
 * processor time, and whether connections live is known of the service that they are made to: its port. So what streams of a port did after
 * their offers is remembered: each that ended soon raises the port's score, one that paid sets it to 0, and with the score rise the limits
 * of the options after_messages and after_bytes. Only what has ended is judged, so many new connections at once wait for nothing.
 *
 * Servers that fork for each connection learn in their children: from the first fork on the scores are in memory that all processes share
 * that come from it. Ends by _exit or a signal teach nothing, nor do streams that were demoted or refused, or AF_UNIX streams.
 */
#ifndef CW_SOCKETS_PATIENCE_H
#define CW_SOCKETS_PATIENCE_H

#include "stream.h"

/* How often the limits are to be doubled for this stream now. */
unsigned cw_patience(struct cw_stream *stream, int fd);
/* It is about to be offered. */
void cw_patience_begin(struct cw_stream *stream);
/* It ends, in this phase. Whatever it taught it teaches once. */
void cw_patience_end(struct cw_stream *stream, enum cw_phase phase);
/* exit(), while other threads may go on. */
void cw_patience_exit(void);

/* Before a fork: the scores are to be shared. A stream that the child will have too: nobody sees all of its life any more. */
void cw_patience_share(void);
void cw_patience_inherit(struct cw_stream *stream);
/* In the child, whose counts begin anew. */
void cw_patience_child(struct cw_stream *stream);

#endif
