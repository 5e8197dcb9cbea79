/* What the bytes are, and how a scenario's bookkeeping follows the calls. */
#include "oracle.h"

unsigned char content(unsigned direction, uint64_t offset)
{
	return (unsigned char)(((offset + 0x51u * direction + 1) * 0x9e3779b97f4a7c15ull) >> 56);
}

void content_fill(unsigned direction, uint64_t offset, void *bytes, size_t count)
{
	unsigned char *to = bytes;

	for (size_t i = 0; i < count; i++)
		to[i] = content(direction, offset + i);
}

size_t content_good(unsigned direction, uint64_t offset, const void *bytes, size_t count)
{
	const unsigned char *from = bytes;
	size_t i = 0;

	while (i < count && from[i] == content(direction, offset + i))
		i++;
	return i;
}

void fill(const struct end *e, void *bytes, size_t count)
{
	content_fill(0, e->sent, bytes, count);
}

void gave(struct end *e, long sent)
{
	if (sent > 0)
		e->sent += (uint64_t)sent;
}

void peeked(const struct end *e, const void *bytes, long count)
{
	if (count <= 0)
		return;
	size_t good = content_good(1, e->taken, bytes, (size_t)count);

	if (good < (size_t)count)
		complain("BAD CONTENT from byte %zu of %ld on", good, count);
}

void took(struct end *e, const void *bytes, long count)
{
	peeked(e, bytes, count);
	if (count > 0)
		e->taken += (uint64_t)count;
}
