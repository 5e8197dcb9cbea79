#include "resend.h"

#include "kernel.h"
#include "stream.h"
#include "switch.h"

bool cw_resend(struct cw_slot *slot, unsigned end, unsigned char *data, int fd)
{
	struct cw_direction *tx = &slot->direction[end];
	struct cw_stream writer = {.slot = slot, .tx = tx, .rx = &slot->direction[1 - end], .tx_data = data, .end = (uint8_t)end, .fd = fd};
	uint64_t word;
	bool done = false;
	int domain = 0;
	socklen_t size = sizeof(domain);

	writer.is_unix = cw_raw_getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size) == 0 && domain == AF_UNIX;
	if (!cw_lock_as_guest(&tx->tx_lock))
		return false;
	word = atomic_load_explicit(&tx->state, memory_order_acquire);
	if (cw_state_of(word) == CW_ASLEEP && (word & CW_MARK_RESEND))
		done = cw_switch_take_back(&writer, fd, &word);
	cw_unlock_as_guest(&tx->tx_lock);
	return done;
}
