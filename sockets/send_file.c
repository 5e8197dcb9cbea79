#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "sending.h"

#ifndef RWF_NOWAIT
#define RWF_NOWAIT 8
#endif

#define AHEAD (128u << 10) /* as the kernel reads ahead, by default */

struct source {
	int fd;
	off64_t *offset;
	size_t ahead; /* bytes of the call, from its beginning, that were waited for */
};

static long read_file(const struct source *source, const struct iovec *pieces, int count, off64_t at, int flags)
{
	return cw_raw(SYS_preadv2, source->fd, (long)pieces, count, (long)at, (long)(at >> 31 >> 1), flags); /* halves, on 32 bits */
}

/* Who has the lock doesn't wait for a disk: others would take it for dead. */
static void wait_for_file(struct source *source, const struct cw_sending *request)
{
	size_t left = request->total - request->done, count = left < AHEAD ? left : AHEAD;
	off64_t at = source->offset ? *source->offset : lseek64(source->fd, 0, SEEK_CUR);
	char byte;
	struct iovec piece = {&byte, 1};

	source->ahead = request->done + count;
	if (at < 0)
		return;
	readahead(source->fd, at, count);
	read_file(source, &piece, 1, at, 0);
	read_file(source, &piece, 1, at + (off64_t)count - 1, 0);
}

static enum cw_sent put_file(struct cw_stream *stream, int fd, const struct source *source, const struct cw_sending *request, uint64_t live,
			     size_t *done)
{
	struct cw_direction *tx = stream->tx;
	uint32_t bits = atomic_load_explicit(&tx->ring_bits, memory_order_relaxed);
	uint64_t widx = atomic_load_explicit(&tx->widx, memory_order_relaxed);
	size_t left = request->total - request->done, count = left < CW_PUBLISH_EVERY ? left : CW_PUBLISH_EVERY, free;
	bool waits = request->done < source->ahead;
	struct cw_ring ring;
	struct iovec pieces[2];
	long got;
	int used;

	if (cw_unlikely(!cw_class_sane(bits)))
		return cw_send_broken(stream, fd);
	ring = cw_stream_ring(stream->tx_data, bits);
	free = cw_send_room(tx, widx, ring.size, count);
	if (cw_unlikely(free == SIZE_MAX))
		return cw_send_broken(stream, fd);
	if (!free)
		return CW_NO_ROOM;
	if (!cw_send_claim(stream, widx, live))
		return CW_USE_KERNEL;
	used = cw_ring_pieces(&ring, widx, count < free ? count : free, pieces);
	got = read_file(source, pieces, used, source->offset ? *source->offset : -1, waits ? 0 : RWF_NOWAIT);
	if (got <= 0)
		cw_send_unclaim(stream);
	if (got < 0)
		return waits ? CW_USE_KERNEL : CW_AWAIT_FILE; /* no file: the kernel's sendfile has the errno */
	*done = got ? cw_send_publish(stream, fd, widx, (size_t)got) : 0;
	if (source->offset)
		*source->offset += (off64_t)*done;
	else if (*done < (size_t)got)
		cw_raw(SYS_lseek, source->fd, (long)*done - got, SEEK_CUR, 0, 0, 0);
	return *done || !got ? CW_SENT_PART : CW_USE_KERNEL;
}

/* Only what can be read at a place is copied by us; for the rest the kernel's sendfile knows what is right. */
static bool is_file(int fd)
{
	struct stat64 info;

	return fstat64(fd, &info) == 0 && S_ISREG(info.st_mode);
}

/* One look under the lock; *part: what was put into the ring. */
static enum cw_sent step_file(struct cw_stream *stream, int fd, const struct source *source, const struct cw_sending *request,
			      unsigned looked, size_t *part, int *error)
{
	enum cw_sent outcome = CW_USE_KERNEL;
	uint64_t word;
	bool nested;
	int locked = cw_send_lock(stream, fd, request->life, &nested);

	*error = locked ? locked : ECONNRESET;
	if (locked)
		return CW_SEND_BROKEN;
	word = atomic_load_explicit(&stream->tx->state, memory_order_acquire);
	if (cw_state_of(word) == CW_CONSENT && !nested)
		cw_switch_accept(stream, fd, &word);
	if ((word & (CW_STATE_MASK | CW_MARK_LEFT | CW_MARK_READER_GONE)) == CW_LIVE && !nested) {
		outcome = put_file(stream, fd, source, request, word, part);
		cw_send_call_offerer(stream, word);
	} else if (cw_state_of(word) == CW_TAKEN && !nested && !(looked & CW_LOOKED_FOR_OFFER) && cw_send_offer_expected(stream, word)) {
		outcome = CW_AWAIT_OFFER;
	}
	cw_tx_unlock(stream, nested);
	return outcome;
}

/* Pieces only between streams that hope for the ring, as in send_request. */
static size_t file_piece(const struct cw_stream *stream, size_t left)
{
	uint64_t word = atomic_load_explicit(&stream->tx->state, memory_order_relaxed);

	return left > CW_SEND_PIECE && cw_send_in_bulk(stream, word) ? CW_SEND_PIECE : left;
}

static ssize_t file_by_kernel(struct cw_stream *stream, int fd, int from, off64_t *offset, size_t count)
{
	struct cw_send_sleeper sleeper = {stream, cw_stream_life(stream)};
	ssize_t sent;

	pthread_cleanup_push(cw_send_cancelled, &sleeper);
	sent = cw_kernel.sendfile64(fd, from, offset, count);
	pthread_cleanup_pop(0);
	if (!cw_stream_ended(stream, sleeper.life))
		cw_send_book(stream, fd, sent);
	return sent;
}

ssize_t cw_send_file(struct cw_stream *stream, int fd, int from, off64_t *offset, size_t count)
{
	struct cw_sending request = {.total = count, .life = cw_stream_life(stream)};
	struct source source = {.fd = from, .offset = offset};
	bool file = is_file(from), once = false, looked_once = false; /* as in send.c */
	unsigned looked = 0;

	while (request.done < count) {
		enum cw_sent outcome = CW_USE_KERNEL;
		size_t part = 0, piece;
		ssize_t sent;
		int error = 0;

		if (file)
			outcome = step_file(stream, fd, &source, &request, looked, &part, &error);
		switch (outcome) {
		case CW_SEND_BROKEN:
			return cw_send_fail(&request, error);
		case CW_SENT_PART:
			if (!part)
				return cw_send_finish(stream, &request, 0); /* end of the file */
			request.done += part;
			looked = 0;
			continue;
		case CW_AWAIT_OFFER:
			cw_send_look_for_offer(stream);
			looked |= CW_LOOKED_FOR_OFFER;
			continue;
		case CW_AWAIT_FILE:
			wait_for_file(&source, &request);
			continue;
		case CW_NO_ROOM:
			if (looked & CW_LOOKED_FOR_ROOM)
				break;
			if (request.done && cw_send_nonblocking(stream, fd, &request)) {
				if (!cw_stream_makes_edges(stream))
					return cw_send_finish(stream, &request, 0);
				once = looked_once;
				looked_once = true;
			}
			if (once || !cw_send_look_for_room(stream))
				looked |= CW_LOOKED_FOR_ROOM;
			continue;
		case CW_AWAIT_READER:
			error = cw_send_await_reader(stream, fd, &request);
			if (error)
				return cw_send_fail_late(stream, &request, error);
			continue;
		case CW_USE_KERNEL:
			break;
		}
		if (!cw_send_to_kernel(stream, fd, &request))
			return cw_send_finish(stream, &request, -1);
		if ((request.done || request.end) && !cw_send_await_room(stream, fd, &request))
			return cw_send_finish(stream, &request, -1);
		piece = file ? file_piece(stream, count - request.done) : count - request.done;
		sent = file_by_kernel(stream, fd, from, offset, piece);
		if (sent < (ssize_t)piece || piece == count - request.done || cw_stream_ended(stream, request.life))
			return cw_send_finish(stream, &request, sent);
		request.done += (size_t)sent;
		looked = 0;
	}
	return cw_send_finish(stream, &request, 0);
}
