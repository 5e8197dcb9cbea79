/*
 * Receiving on a moved stream. As recv(2) and its kin: bytes, 0 at the end, or -1 with errno. It looks for a while before it sleeps, and
 * sleeps in the program's own kind of kernel call, so signals, time-outs, cancellation and O_NONBLOCK are the kernel's own.
 */
#ifndef CW_SOCKETS_RECEIVE_H
#define CW_SOCKETS_RECEIVE_H

#include "stream.h"

ssize_t cw_receive(struct cw_stream *stream, int fd, void *bytes, size_t count, int flags);
ssize_t cw_receive_iov(struct cw_stream *stream, int fd, const struct iovec *iov, size_t iovcnt, int flags);
/* As cw_receive_iov; name, control data and flags of the message are answered as TCP answers them (empty). */
ssize_t cw_receive_message(struct cw_stream *stream, int fd, struct msghdr *message, int flags);

#endif
