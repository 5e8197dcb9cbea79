/* From a descriptor to its stream, for calls that move bytes. */
#ifndef CW_REMAP_CALL_H
#define CW_REMAP_CALL_H

#include "real.h"
#include "sockets/datagram.h"
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

/* The kernel's alone. A call that asks this first, and leaves the rest to a function of its own, saves no register for what is only a jump.
 */
static inline bool cw_is_foreign(int fd)
{
	return atomic_load_explicit(&cw_stage, memory_order_relaxed) == CW_STARTED && !cw_table_get(fd);
}

/* A child uses what it inherited moved: two processes may wait for the same direction now, and sets of one can't see the other's sleepers.
 * False: the stream is plain. */
static inline bool cw_is_moved_noted(struct cw_stream *stream, int fd, uint8_t notes)
{
	if (notes & CW_NOTE_PLAIN)
		return false;
	atomic_fetch_and_explicit(&stream->notes, (uint8_t)~CW_NOTE_INHERITED, memory_order_relaxed);
	cw_switch_share(stream, fd);
	return true;
}

static inline bool cw_is_moved(struct cw_stream *stream, int fd)
{
	uint8_t notes;

	if (!atomic_load_explicit(&stream->slot, memory_order_acquire))
		return false;
	notes = atomic_load_explicit(&stream->notes, memory_order_relaxed);
	return cw_likely(!notes) || cw_is_moved_noted(stream, fd, notes);
}

/* datagram.c: fd's datagram socket, if it is one, goes back to the kernel. Another thread may close it meanwhile. */
void cw_datagram_leave_by(int fd, enum cw_reason reason);
/* The same, for another program (cw_datagram_leave_to). */
void cw_datagram_leave_to_by(int fd, enum cw_reason reason);

/* A name of less than nothing: the kernel refuses it before all else. */
static inline bool cw_named_by_less(const struct msghdr *message)
{
	return cw_unlikely((int)message->msg_namelen < 0) && message->msg_name;
}

/* descriptor.c: fd is about to mean nothing any more. */
void cw_forget(int fd);

/* vector.c, transfer.c: with offsets of 64 bits, whatever the program's are. */
ssize_t cw_preadv2(int fd, const struct iovec *iov, int count, off64_t offset, int flags);
ssize_t cw_pwritev2(int fd, const struct iovec *iov, int count, off64_t offset, int flags);
ssize_t cw_sendfile(int fd, int from, off64_t *offset, size_t count);

/* The call by ring if the stream is moved, else the kernel's, counted. */
#define CW_RECEIVE(stream, fd, kernel_call, moved_call)                                                                                    \
	({                                                                                                                                 \
		ssize_t result_;                                                                                                           \
		if (cw_is_moved(stream, fd) || !cw_stream_enter(stream, &(stream)->rx_busy)) {                                             \
			cw_cancellation_point();                                                                                           \
			result_ = (moved_call);                                                                                            \
		} else {                                                                                                                   \
			uint32_t life_ = cw_stream_life(stream);                                                                           \
			result_ = (kernel_call);                                                                                           \
			if (!cw_stream_ended(stream, life_))                                                                               \
				cw_stream_received(stream, fd, result_);                                                                   \
		}                                                                                                                          \
		result_;                                                                                                                   \
	})

#define CW_SEND(stream, fd, kernel_call, moved_call)                                                                                       \
	({                                                                                                                                 \
		ssize_t result_;                                                                                                           \
		if (cw_is_moved(stream, fd) || !cw_stream_enter(stream, &(stream)->tx_busy)) {                                             \
			cw_cancellation_point();                                                                                           \
			result_ = (moved_call);                                                                                            \
		} else {                                                                                                                   \
			uint32_t life_ = cw_stream_life(stream);                                                                           \
			result_ = (kernel_call);                                                                                           \
			if (!cw_stream_ended(stream, life_))                                                                               \
				cw_stream_sent(stream, fd, result_);                                                                       \
		}                                                                                                                          \
		result_;                                                                                                                   \
	})

#endif
