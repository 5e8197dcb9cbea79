/*
 * A byte ring: one writer at a time, one reader at a time, free-running 64-bit indices that are stream offsets. The indices live in
 * shared memory (struct cw_direction); here is only how bytes go in and out of the data area, and what an index may be.
 */
#ifndef CW_SYNC_RING_H
#define CW_SYNC_RING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

struct cw_ring {
	unsigned char *data; /* in shared memory: its content is untrusted, its place is not */
	uint64_t size;       /* a power of two, from our own table, never from shared memory */
};

/* Indices as read from shared memory: true if they can be those of a ring of this size. */
static inline bool cw_ring_sane(const struct cw_ring *ring, uint64_t widx, uint64_t roff)
{
	return widx - roff <= ring->size;
}

/* Copy count bytes between memory and the ring at an offset; the caller has checked that they are there. */
void cw_ring_put(const struct cw_ring *ring, uint64_t offset, const void *from, size_t count);
void cw_ring_get(const struct cw_ring *ring, uint64_t offset, void *to, size_t count);

/* The at most two pieces of the ring that hold [offset, offset + count), for a kernel call. Returns how many. */
int cw_ring_pieces(const struct cw_ring *ring, uint64_t offset, size_t count, struct iovec pieces[2]);

/* The same for scattered memory, starting skip bytes into it. Return what was copied: the smaller of count and the rest of iov. */
size_t cw_ring_put_iov(const struct cw_ring *ring, uint64_t offset, const struct iovec *iov, size_t iovcnt, size_t skip, size_t count);
size_t cw_ring_get_iov(const struct cw_ring *ring, uint64_t offset, const struct iovec *iov, size_t iovcnt, size_t skip, size_t count);

#endif
