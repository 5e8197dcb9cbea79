/*
 * Going back to kernel TCP for good (demotion). The writer's direction seals its ring, or takes it back; the reader's is never offered
 * again and is drained by whoever reads here. cw_leave_to: the socket goes to a reader that doesn't know the ring (another program by exec,
 * a process that is sent the descriptor): what is unread in the ring must come through the kernel, so the writer is asked to send it again,
 * which it does when it next calls; waits 200 ms at most for that.
 *
 * cw_leave_whole: the same, for a program that goes on but asks for something that only the kernel has for all bytes. If they can't be had
 * the connection lives, and the ring is read to its end first: false. Else the stream is *plain* from then on: a call is what the program
 * made of it, and nothing more.
 */
#ifndef CW_SOCKETS_LEAVE_H
#define CW_SOCKETS_LEAVE_H

#include "stream.h"

void cw_leave(struct cw_stream *stream, enum cw_reason reason);
void cw_leave_to(struct cw_stream *stream, int fd, enum cw_reason reason);
bool cw_leave_whole(struct cw_stream *stream, int fd, enum cw_reason reason);
/* Every stream leaves whole, and none moves any more. False if one still has bytes in its ring. */
bool cw_leave_process(enum cw_reason reason);
/* The socket was disconnected: what is unread in the ring is gone too. The stream is plain. */
void cw_leave_nothing(struct cw_stream *stream, int fd);
/* Before a close: the ring's unread bytes are asked for, and waited for, as above. The writer's direction stays. */
void cw_leave_unread(struct cw_stream *stream, int fd);
/* Only what is sent goes back: what comes next is sent by a bare call of the kernel's. */
void cw_leave_sending(struct cw_stream *stream, int fd, enum cw_reason reason);
/* The same before a send of ours (urgent data), or none: what of the ring has to wait for its reader does that in the next send. */
void cw_leave_sending_by_send(struct cw_stream *stream, int fd, enum cw_reason reason);

#endif
