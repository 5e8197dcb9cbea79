#include "pending.h"

#include <limits.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/ioctl.h>

#include "kernel.h"
#include "switch.h"

/* What comes before the ring's through the kernel. */
static uint64_t before_ring(const struct cw_direction *direction)
{
	uint64_t roff = atomic_load_explicit(&direction->roff, memory_order_relaxed);
	uint64_t up = atomic_load_explicit(&direction->up, memory_order_relaxed);

	return (int64_t)(up - roff) > 0 ? up - roff : 0;
}

static uint64_t in_ring(const struct cw_direction *direction)
{
	uint64_t word = atomic_load_explicit(&direction->state, memory_order_acquire);
	uint64_t at = cw_switch_reader_at(direction);
	uint64_t last = atomic_load_explicit(cw_state_of(word) == CW_SEALED ? &direction->seal : &direction->widx, memory_order_acquire);

	if (cw_state_of(word) == CW_TAKEN || cw_state_of(word) == CW_CONSENT)
		return 0;
	return last - at > CW_RING_MAX ? 0 : last - at;
}

int cw_pending_in(struct cw_stream *stream, int fd)
{
	int kernel = 0, ring = 0;
	bool nested;

	if (stream->broken || !cw_rx_lock(stream, fd, &nested))
		return 0;
	if (fd >= 0)
		cw_raw(SYS_ioctl, fd, FIONREAD, (long)&kernel, 0, 0, 0);
	/* Nothing can be read past what is still on its way through the kernel. */
	if (fd < 0 || (uint64_t)kernel >= before_ring(stream->rx))
		ring = (int)in_ring(stream->rx);
	cw_rx_unlock(stream, nested);
	return kernel > INT_MAX - ring ? INT_MAX : kernel + ring;
}

int cw_pending_out(const struct cw_stream *stream)
{
	return (int)in_ring(stream->tx);
}

/* The peer's FIN has come. A reset shows as the end of the stream too, and so does our own shutdown. */
static bool end_has_come(const struct cw_stream *stream, int fd)
{
	long told = cw_raw_poll(fd, POLLRDHUP);

	if (told <= 0 || (told & (POLLRDHUP | POLLERR)) != POLLRDHUP)
		return false;
	return !stream->shut_reading || cw_switch_fin_received(fd);
}

/* The kernel counts the end as a byte, so that nobody who has read all waits for what will not come. It is looked for first: once it is
 * there nothing comes behind what is counted. */
static int left_unread(struct cw_stream *stream, int fd)
{
	int end = end_has_come(stream, fd);
	int unread = cw_pending_in(stream, fd);

	return unread > INT_MAX - end ? INT_MAX : unread + end;
}

/* As put_cmsg() of the kernel. */
void cw_pending_tell(struct cw_stream *stream, int fd, struct msghdr *message, void *control, size_t room)
{
	struct cmsghdr header = {.cmsg_level = IPPROTO_TCP, .cmsg_type = TCP_CM_INQ, .cmsg_len = CMSG_LEN(sizeof(int))};
	int unread;

	if (!control || room < sizeof(header)) {
		message->msg_flags |= MSG_CTRUNC;
		return;
	}
	if (room < CMSG_LEN(sizeof(unread))) {
		message->msg_flags |= MSG_CTRUNC;
		header.cmsg_len = (__typeof__(header.cmsg_len))room;
	}
	unread = left_unread(stream, fd);
	memcpy(control, &header, sizeof(header));
	memcpy((char *)control + CMSG_LEN(0), &unread, header.cmsg_len - CMSG_LEN(0));
	message->msg_controllen =
		(__typeof__(message->msg_controllen))(room < CMSG_SPACE(sizeof(unread)) ? room : CMSG_SPACE(sizeof(unread)));
}
