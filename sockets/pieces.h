/* A part of scattered memory, for a kernel call. */
#ifndef CW_SOCKETS_PIECES_H
#define CW_SOCKETS_PIECES_H

#include <stddef.h>
#include <sys/uio.h>

#define CW_PIECES      64
#define CW_MOST_PIECES 1024u /* of a program's vector */

/* The memory of iov from skip bytes on, at most limit bytes and CW_PIECES pieces of it. Returns how many pieces. */
size_t cw_pieces(const struct iovec *iov, size_t iovcnt, size_t skip, size_t limit, struct iovec pieces[CW_PIECES]);
/* At most limit bytes of it, iovcnt of CW_MOST_PIECES at most. Returns how many pieces. */
size_t cw_pieces_cut(const struct iovec *iov, size_t iovcnt, size_t limit, struct iovec cut[CW_MOST_PIECES]);

#endif
