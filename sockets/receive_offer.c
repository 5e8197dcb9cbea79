/*
 * The offer after a read from the kernel. Who sleeps between its messages mostly withdraws it before the writer has seen it, and each time
 * both ends have to fetch the same lines of memory from one another: there it is made more and more seldom, until one has been taken.
 */
#include "looking.h"
#include "receiving.h"
#include "switch.h"

#define BULK          4096 /* bytes in one read: they are worth it */
#define IN_VAIN       4    /* offers in a row, before some are left out; then twice as many each time */
#define MOST_LEFT_OUT 32

/* Other threads that read the same stream may make it a few more or less. */
#define load(from)      atomic_load_explicit(from, memory_order_relaxed)
#define store(to, what) atomic_store_explicit(to, what, memory_order_relaxed)

static unsigned to_leave_out(unsigned in_vain)
{
	unsigned left_out = in_vain > IN_VAIN ? 1u << (in_vain - IN_VAIN) : 0;

	return left_out < MOST_LEFT_OUT ? left_out : MOST_LEFT_OUT;
}

/* Where the ring begins tells whether the last offer was taken. */
static void note(struct cw_stream *stream)
{
	uint64_t up = load(&stream->rx->up);
	unsigned in_vain = load(&stream->offers_in_vain);

	if (up != load(&stream->offered_up))
		in_vain = 0;
	else if (to_leave_out(in_vain) < MOST_LEFT_OUT)
		in_vain++;
	store(&stream->offered_up, up);
	store(&stream->offers_in_vain, (uint8_t)in_vain);
	store(&stream->offers_left_out, 0);
}

static bool is_due(struct cw_stream *stream, size_t got)
{
	unsigned left_out = load(&stream->offers_left_out);

	if (!cw_is_sparse() || got > BULK)
		return true;
	if (!got) /* the sleep that follows would withdraw it */
		return false;
	if (left_out < to_leave_out(load(&stream->offers_in_vain))) {
		store(&stream->offers_left_out, (uint8_t)(left_out + 1));
		return false;
	}
	note(stream);
	return true;
}

void cw_receive_offer(struct cw_stream *stream, int fd, size_t got)
{
	if (is_due(stream, got))
		cw_switch_offer(stream, fd);
}
