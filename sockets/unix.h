/*
 * AF_UNIX streams (option unix_sockets): what they have not in common with TCP. The kernel's socket stays below, its switch is the same.
 *
 *	offsets		no counter of the kernel tells where in the stream an end is. So bytes are counted from the socket's birth, here,
 *			and in the slot once it has one (woff, roff). Who can't be sure of the count doesn't move: a socket that this
 *			program did not make, or that others used without counting.
 *	credentials	what SCM_RIGHTS and SCM_CREDENTIALS carry goes by the kernel, in its order with the bytes.
 *	ends		each end's shutdown is felt by the other at once, in both directions; there is no reset.
 */
#ifndef CW_SOCKETS_UNIX_H
#define CW_SOCKETS_UNIX_H

#include "stream.h"

/* One that the program has just made. connected: by accept or socketpair. NULL: no room, or not asked for. */
struct cw_stream *cw_unix_open(int fd, bool connected, bool nonblocking);
/* Of an accepted descriptor whose listener there is no book of. */
bool cw_unix_is_stream(int fd);

/* Bytes by the kernel before there is a slot. out: the writing direction. Around the call, with what it took or gave; what a call counts as
 * its result and did not take (MSG_PEEK, recvmmsg's messages) is corrected before it is booked. */
void cw_unix_enter(struct cw_stream *stream, bool out);
void cw_unix_leave(struct cw_stream *stream, bool out, ssize_t bytes);
void cw_unix_correct(struct cw_stream *stream, ssize_t by);
ssize_t cw_unix_looked(struct cw_stream *stream, int flags, ssize_t result);
int cw_unix_many(struct cw_stream *stream, const struct mmsghdr *messages, int flags, int result);
/* Under the lock of the direction, with no call of this process in the kernel: false if nobody knows. */
bool cw_unix_offset(struct cw_stream *stream, bool out, uint64_t *bytes);
/* Somebody uses the socket, or will, without counting. */
void cw_unix_lose(struct cw_stream *stream);

/* May it be moved? The reason if not. */
enum cw_reason cw_unix_judge(struct cw_stream *stream, int fd);

/* The options that make the kernel tell who has sent what. */
bool cw_unix_tells_sender(int level, int name);
/* The reader wants no more: the writer's next call is the kernel's, which says EPIPE. Before the kernel's shutdown. */
void cw_unix_shut_reading(struct cw_stream *stream, int fd);
/* The address that comes with bytes, into room of *size. */
void cw_unix_name(int fd, struct sockaddr *name, socklen_t *size);
/* Before a close: what is unread in the ring goes to the kernel, whose close then tells the other end ECONNRESET. */
void cw_unix_before_close(struct cw_stream *stream, int fd);
/* In the place of a stream that is broken, for another program: one whose first call is told ECONNRESET. */
void cw_unix_put_reset(int fd);

#endif
