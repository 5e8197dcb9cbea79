/*
 * An error of the connection. The kernel forgets one by telling it, so one that is heard in the middle of something, or that comes behind
 * bytes which the ring still has, is kept: the next call that would hear it from the kernel tells it.
 */
#ifndef CW_SOCKETS_ERROR_H
#define CW_SOCKETS_ERROR_H

#include <errno.h>

#include "stream.h"

/* The other errors are the call's own, and said again to the next one. EPIPE comes of what was shut, for as long as it is. */
static inline bool cw_error_of_connection(int error)
{
	switch (error) {
	case 0:
	case EAGAIN:
	case EINTR:
	case EPIPE:
	case EFAULT:
	case EBADF:
	case ENOTSOCK:
	case ENOTCONN:
	case EINVAL:
	case EOPNOTSUPP:
	case ENOMEM:
	case ENOBUFS:
		return false;
	default:
		return true;
	}
}

static inline void cw_error_keep(struct cw_stream *stream, int error)
{
	if (cw_error_of_connection(error))
		atomic_store_explicit(&stream->error, error, memory_order_relaxed);
}

/* Zero: none is kept. One caller gets it. */
static inline int cw_error_take(struct cw_stream *stream)
{
	if (cw_likely(!atomic_load_explicit(&stream->error, memory_order_relaxed)))
		return 0;
	return atomic_exchange_explicit(&stream->error, 0, memory_order_relaxed);
}

#endif
