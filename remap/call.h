/* From a descriptor to its stream, for calls that move bytes. */
#ifndef CW_REMAP_CALL_H
#define CW_REMAP_CALL_H

#include "real.h"
#include "sockets/receive.h"
#include "sockets/send.h"
#include "sockets/stream.h"
#include "sockets/switch.h"

/* NULL: not ours, the kernel's call does it. */
static inline struct cw_stream *cw_stream_for(int fd)
{
	cw_ensure_started();
	return cw_stream_of(fd);
}

/* A child uses what it inherited moved: two processes may wait for the same direction now, and sets of one can't see the other's sleepers.
 */
static inline bool cw_is_moved(struct cw_stream *stream, int fd)
{
	if (!atomic_load_explicit(&stream->slot, memory_order_acquire))
		return false;
	if (cw_unlikely(stream->inherited)) {
		stream->inherited = false;
		cw_switch_share(stream, fd);
	}
	return true;
}

/* The call by ring if the stream is moved, else the kernel's, counted. */
#define CW_RECEIVE(stream, fd, kernel_call, moved_call)                                                                                    \
	({                                                                                                                                 \
		ssize_t result_;                                                                                                           \
		if (cw_is_moved(stream, fd) || !cw_stream_enter(stream, &(stream)->rx_busy)) {                                             \
			result_ = (moved_call);                                                                                            \
		} else {                                                                                                                   \
			result_ = (kernel_call);                                                                                           \
			cw_stream_received(stream, fd, result_);                                                                           \
		}                                                                                                                          \
		result_;                                                                                                                   \
	})

#define CW_SEND(stream, fd, kernel_call, moved_call)                                                                                       \
	({                                                                                                                                 \
		ssize_t result_;                                                                                                           \
		if (cw_is_moved(stream, fd) || !cw_stream_enter(stream, &(stream)->tx_busy)) {                                             \
			result_ = (moved_call);                                                                                            \
		} else {                                                                                                                   \
			result_ = (kernel_call);                                                                                           \
			cw_stream_sent(stream, fd, result_);                                                                               \
		}                                                                                                                          \
		result_;                                                                                                                   \
	})

#endif
