/*
 * Who else holds a socket. A socket may be offered only while one process holds it; which others do can't be asked of the kernel, so every
 * holder that comes by fork is counted: for moved streams in the slot (and by the service, which corrects the count when one is killed),
 * for the others in memory shared by parent and children. A holder that is killed leaves the second count too high: the stream stays on
 * kernel TCP.
 */
#ifndef CW_SOCKETS_FORK_H
#define CW_SOCKETS_FORK_H

#include "stream.h"

bool cw_family_alone(const struct cw_stream *stream);
void cw_family_leave(struct cw_stream *stream);
/* AF_UNIX: what the holders count in common; NULL: there is one holder. */
struct cw_family_book *cw_family_book(const struct cw_stream *stream);
/* This process is about to become a program that doesn't have the socket (exec, close-on-exec); or that failed. */
void cw_family_suspend(struct cw_stream *stream);
void cw_family_resume(struct cw_stream *stream);
/* pthread_atfork handlers. */
void cw_fork_prepare(void);
void cw_fork_parent(void);
void cw_fork_child(void);

#endif
