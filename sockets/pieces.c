#include "pieces.h"

size_t cw_pieces(const struct iovec *iov, size_t iovcnt, size_t skip, size_t limit, struct iovec pieces[CW_PIECES])
{
	size_t used = 0;

	for (size_t i = 0; i < iovcnt && used < CW_PIECES && limit; i++) {
		size_t part = iov[i].iov_len;

		if (skip >= part) {
			skip -= part;
			continue;
		}
		part = part - skip < limit ? part - skip : limit;
		pieces[used].iov_base = (char *)iov[i].iov_base + skip;
		pieces[used++].iov_len = part;
		limit -= part;
		skip = 0;
	}
	return used;
}

size_t cw_pieces_cut(const struct iovec *iov, size_t iovcnt, size_t limit, struct iovec cut[CW_MOST_PIECES])
{
	size_t used = 0;

	for (; used < iovcnt && used < CW_MOST_PIECES && limit; used++) {
		cut[used] = iov[used];
		if (cut[used].iov_len > limit)
			cut[used].iov_len = limit;
		limit -= cut[used].iov_len;
	}
	return used;
}
