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
	return atomic_load_explicit(&cw_stage, memory_order_relaxed) == CW_STARTED && !cw_table_peek(fd);
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

/* A call that has found its descriptor to mean something else since it began. */
struct cw_again {
	bool by_kernel; /* it is none of ours now */
	uint8_t tries;
};

/* After EBADF: dup2 has just put another socket in the number's place, whose the call is (not after a close: a call that has waited long
 * would be made on what came there much later). It may have come back; or it was another descriptor of the call that was meant: so not for
 * ever. */
bool cw_call_again(struct cw_again *again, struct cw_stream **stream, int fd);

static inline ssize_t cw_no_longer(void)
{
	errno = EBADF;
	return -1;
}

/* The call by ring if the stream is moved, else the kernel's, counted. */
#define CW_CALL(stream, fd, busy, note, kernel_call, moved_call)                                                                           \
	({                                                                                                                                 \
		ssize_t result_;                                                                                                           \
		struct cw_again again_ = {0};                                                                                              \
		do {                                                                                                                       \
			if (cw_likely(!again_.by_kernel) && (cw_is_moved(stream, fd) || !cw_stream_enter(stream, &(stream)->busy))) {      \
				cw_cancellation_point();                                                                                   \
				result_ = (moved_call);                                                                                    \
			} else {                                                                                                           \
				uint32_t life_ = cw_stream_life(stream);                                                                   \
				result_ = cw_unlikely(again_.by_kernel) || cw_stream_at(stream, fd) ? (kernel_call) : cw_no_longer();      \
				if (cw_likely(!again_.by_kernel) && !cw_stream_ended(stream, life_))                                       \
					note(stream, fd, result_);                                                                         \
			}                                                                                                                  \
		} while (cw_unlikely(result_ < 0) && cw_unlikely(errno == EBADF) && cw_call_again(&again_, &(stream), fd));                \
		result_;                                                                                                                   \
	})
#define CW_RECEIVE(stream, fd, kernel_call, moved_call) CW_CALL(stream, fd, rx_busy, cw_stream_received, kernel_call, moved_call)
#define CW_SEND(stream, fd, kernel_call, moved_call)    CW_CALL(stream, fd, tx_busy, cw_stream_sent, kernel_call, moved_call)

#endif
