/*
 * Sending on a moved stream. As send(2) and its kin: bytes taken, or -1 with errno; blocking, time-outs, SIGPIPE and EINTR are the kernel's
 * own, since what the ring has no room for goes to the kernel socket. Thread-safe; bytes of one call may be split by another thread's only
 * where TCP's may.
 */
#ifndef CW_SOCKETS_SEND_H
#define CW_SOCKETS_SEND_H

#include "stream.h"

ssize_t cw_send(struct cw_stream *stream, int fd, const void *bytes, size_t count, int flags);
ssize_t cw_send_iov(struct cw_stream *stream, int fd, const struct iovec *iov, size_t iovcnt, int flags);
/* With what the ring can't carry (ancillary data, zero copy): the kernel takes it, after what is in the ring. */
ssize_t cw_send_message(struct cw_stream *stream, int fd, const struct msghdr *message, int flags);
ssize_t cw_send_file(struct cw_stream *stream, int fd, int from, off64_t *offset, size_t count);

#endif
