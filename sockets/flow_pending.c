/* How long the next datagram is, which the next receive takes. */
#include "datagram.h"

#include <sys/ioctl.h>

#include "kernel.h"

/* Who asks before each receive has had each of them from a ring: it is the kernel's turn here too. Under rx_lock. */
static bool is_kernels_turn(struct cw_datagram *socket, int fd)
{
	if (socket->peeked || ++socket->turn < CW_KERNEL_TURN)
		return false;
	socket->turn = 0;
	return cw_raw_readable(fd);
}

/* Of a flow's next record, which the next receive takes. Under rx_lock. */
static int next_in_rings(struct cw_datagram *socket, bool kept)
{
	for (uint32_t i = 0; i < socket->in_count; i++) {
		struct cw_flow *flow = socket->in[(socket->next_in + i) % socket->in_count];
		bool later;
		uint64_t at;
		size_t length;

		if ((socket->peeked > 0 && socket->peeked != (int32_t)(flow - cw_flows) + 1) || (kept && !flow->kept) ||
		    !cw_flow_next(flow, &at, &length, &later))
			continue;
		socket->peeked = (int32_t)(flow - cw_flows) + 1;
		return (int)length;
	}
	return -1;
}

int cw_datagram_pending(struct cw_datagram *socket, int fd)
{
	int size = -1;
	bool locked;

	if (!atomic_load_explicit(&socket->moved_in, memory_order_acquire) || socket->peeked < 0)
		return -1;
	locked = cw_rx_enter(socket);
	if (cw_unlikely(socket->kept) && !socket->peeked)
		size = next_in_rings(socket, true);
	if (size < 0 && is_kernels_turn(socket, fd)) {
		socket->peeked = -1;
		cw_raw(SYS_ioctl, fd, FIONREAD, (long)&size, 0, 0, 0);
	}
	if (size < 0)
		size = next_in_rings(socket, false);
	cw_rx_exit(socket, locked);
	return size;
}
