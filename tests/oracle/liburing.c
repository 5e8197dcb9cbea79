/* io_uring by its library, whose system calls are instructions of its own. */
#define FAMILY "liburing"
#include "oracle.h"
#include "peer.h"

#include <liburing.h>

static int done(struct io_uring *ring)
{
	struct io_uring_cqe *entry;
	int result;

	MUST(io_uring_submit(ring));
	MUST(-io_uring_wait_cqe(ring, &entry));
	result = entry->res;
	io_uring_cqe_seen(ring, entry);
	errno = result < 0 ? -result : 0;
	return result < 0 ? -1 : result;
}

static int receive(struct io_uring *ring, int fd, size_t count)
{
	io_uring_prep_recv(io_uring_get_sqe(ring), fd, room, count, 0);
	return done(ring);
}

static int send_by(struct io_uring *ring, int fd, size_t count)
{
	io_uring_prep_send(io_uring_get_sqe(ring), fd, room, count, 0);
	return done(ring);
}

static void exchange(struct end *e, struct io_uring *ring)
{
	for (int i = 0; i < 5; i++) {
		peer_send(e, 100);
		arrive(e, 100);
		RECV(e, receive(ring, e->fd, 1000));
		SEND(e, 50, send_by(ring, e->fd, 50));
		peer_recv_all(e, 50);
		peer_send(e, 100);
		RECV(e, recv(e->fd, room, 1000, 0));
		SEND(e, 50, send(e->fd, room, 50, 0));
		peer_recv_all(e, 50);
	}
}

SCENARIO(simple, 0)
{
	struct io_uring ring;

	if (io_uring_queue_init(8, &ring, 0) < 0) {
		say("no io_uring here");
		return;
	}
	exchange(e, &ring);
	io_uring_queue_exit(&ring);
}

SCENARIO(with_parameters, 0)
{
	struct io_uring_params parameters = {0};
	struct io_uring ring;

	peer_send(e, 100);
	arrive(e, 100);
	if (io_uring_queue_init_params(8, &ring, &parameters) < 0) {
		say("no io_uring here");
		return;
	}
	RECV(e, receive(&ring, e->fd, 1000));
	exchange(e, &ring);
	io_uring_queue_exit(&ring);
}
