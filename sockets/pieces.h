/* A part of scattered memory, for a kernel call. */
#ifndef CW_SOCKETS_PIECES_H
#define CW_SOCKETS_PIECES_H

#include <stddef.h>
#include <sys/uio.h>

#define CW_PIECES 64

/* The memory of iov from skip bytes on, at most limit bytes and CW_PIECES pieces of it. Returns how many pieces. */
size_t cw_pieces(const struct iovec *iov, size_t iovcnt, size_t skip, size_t limit, struct iovec pieces[CW_PIECES]);

#endif
