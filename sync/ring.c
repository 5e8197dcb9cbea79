#include "ring.h"

#include <string.h>

int cw_ring_pieces(const struct cw_ring *ring, uint64_t offset, size_t count, struct iovec pieces[2])
{
	uint64_t at = offset & (ring->size - 1);
	size_t first = ring->size - at < count ? ring->size - at : count;

	pieces[0] = (struct iovec){ring->data + at, first};
	pieces[1] = (struct iovec){ring->data, count - first};
	return count > first ? 2 : 1;
}

void cw_ring_put(const struct cw_ring *ring, uint64_t offset, const void *from, size_t count)
{
	uint64_t at = offset & (ring->size - 1);
	size_t first = ring->size - at;

	if (__builtin_expect(first >= count, 1)) {
		memcpy(ring->data + at, from, count);
		return;
	}
	memcpy(ring->data + at, from, first);
	memcpy(ring->data, (const char *)from + first, count - first);
}

void cw_ring_get(const struct cw_ring *ring, uint64_t offset, void *to, size_t count)
{
	uint64_t at = offset & (ring->size - 1);
	size_t first = ring->size - at;

	if (__builtin_expect(first >= count, 1)) {
		memcpy(to, ring->data + at, count);
		return;
	}
	memcpy(to, ring->data + at, first);
	memcpy((char *)to + first, ring->data, count - first);
}

typedef void transfer(const struct cw_ring *ring, uint64_t offset, void *memory, size_t count);

static void put(const struct cw_ring *ring, uint64_t offset, void *memory, size_t count)
{
	cw_ring_put(ring, offset, memory, count);
}

static size_t walk(transfer *move, const struct cw_ring *ring, uint64_t offset, const struct iovec *iov, size_t iovcnt, size_t skip,
		   size_t count)
{
	size_t done = 0;

	for (size_t i = 0; i < iovcnt && done < count; i++) {
		size_t part = iov[i].iov_len;

		if (skip >= part) {
			skip -= part;
			continue;
		}
		part -= skip;
		if (part > count - done)
			part = count - done;
		move(ring, offset + done, (char *)iov[i].iov_base + skip, part);
		skip = 0;
		done += part;
	}
	return done;
}

size_t cw_ring_put_iov(const struct cw_ring *ring, uint64_t offset, const struct iovec *iov, size_t iovcnt, size_t skip, size_t count)
{
	return walk(put, ring, offset, iov, iovcnt, skip, count);
}

size_t cw_ring_get_iov(const struct cw_ring *ring, uint64_t offset, const struct iovec *iov, size_t iovcnt, size_t skip, size_t count)
{
	return walk(cw_ring_get, ring, offset, iov, iovcnt, skip, count);
}
