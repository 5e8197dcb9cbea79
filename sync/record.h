/*
 * Records in a byte ring (ring.h): a header of 8 bytes with the length, the bytes, and up to a multiple of 8 nothing. A record's place is
 * its offset, so a header is never split. What a header says is untrusted.
 */
#ifndef CW_SYNC_RECORD_H
#define CW_SYNC_RECORD_H

#include <stdatomic.h>

#include "cpu.h"
#include "ring.h"

#define CW_RECORD_HEADER 8u
#define CW_RECORD_MOST   65000u /* a longer one is not for a ring */

/* What a record of so many bytes takes of the ring. */
static inline uint64_t cw_record_room(size_t length)
{
	return CW_RECORD_HEADER + ((length + 7) & ~(uint64_t)7);
}

static inline _Atomic uint64_t *cw_record_header(const struct cw_ring *ring, uint64_t at)
{
	return (_Atomic uint64_t *)(void *)(ring->data + (at & (ring->size - 1)));
}

/* Into room that the caller knows to be free. */
static inline void cw_record_put(const struct cw_ring *ring, uint64_t at, const struct iovec *iov, size_t iovcnt, size_t length)
{
	atomic_store_explicit(cw_record_header(ring, at), length, memory_order_relaxed);
	if (cw_likely(iovcnt == 1))
		cw_ring_put(ring, at + CW_RECORD_HEADER, iov->iov_base, length);
	else
		cw_ring_put_iov(ring, at + CW_RECORD_HEADER, iov, iovcnt, 0, length);
}

/* The length of the record at an offset, with so many bytes published from there on. False: nonsense. */
static inline bool cw_record_length(const struct cw_ring *ring, uint64_t at, uint64_t published, size_t *length)
{
	uint64_t said = atomic_load_explicit(cw_record_header(ring, at), memory_order_relaxed);

	if ((at & 7) || published > ring->size || said > CW_RECORD_MOST || cw_record_room(said) > published)
		return false;
	*length = said;
	return true;
}

#endif
