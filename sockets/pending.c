#include "pending.h"

#include <limits.h>
#include <sys/ioctl.h>

#include "kernel.h"
#include "switch.h"

static uint64_t in_ring(const struct cw_direction *direction)
{
	uint64_t word = atomic_load_explicit(&direction->state, memory_order_acquire);
	uint64_t roff = atomic_load_explicit(&direction->roff, memory_order_relaxed);
	uint64_t up = atomic_load_explicit(&direction->up, memory_order_relaxed);
	uint64_t last = atomic_load_explicit(cw_state_of(word) == CW_SEALED ? &direction->seal : &direction->widx, memory_order_acquire);

	if (cw_state_of(word) == CW_TAKEN || cw_state_of(word) == CW_CONSENT)
		return 0;
	if ((int64_t)(roff - up) < 0)
		roff = up;
	return last - roff > CW_RING_MAX ? 0 : last - roff;
}

int cw_pending_in(struct cw_stream *stream, int fd)
{
	int kernel = 0, ring = 0;
	bool nested;

	if (stream->broken || !cw_rx_lock(stream, fd, &nested))
		return 0;
	ring = (int)in_ring(stream->rx);
	if (fd >= 0)
		cw_raw(SYS_ioctl, fd, FIONREAD, (long)&kernel, 0, 0, 0);
	cw_rx_unlock(stream, nested);
	return kernel > INT_MAX - ring ? INT_MAX : kernel + ring;
}

int cw_pending_out(const struct cw_stream *stream)
{
	return (int)in_ring(stream->tx);
}
