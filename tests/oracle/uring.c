/* io_uring, whose requests no library sees. Without liburing: the few lines that are needed. */
#define FAMILY "uring"
#include "oracle.h"
#include "peer.h"

#include <linux/io_uring.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/syscall.h>

struct uring {
	int fd;
	struct io_uring_params parameters;
	unsigned char *submissions, *completions;
	struct io_uring_sqe *entries;
};

static bool open_uring(struct uring *u)
{
	memset(u, 0, sizeof(*u));
	u->fd = (int)syscall(SYS_io_uring_setup, 8, &u->parameters);
	if (u->fd < 0) {
		say("no io_uring here");
		return false;
	}
	u->submissions = mmap(NULL, u->parameters.sq_off.array + 64, PROT_READ | PROT_WRITE, MAP_SHARED, u->fd, IORING_OFF_SQ_RING);
	u->completions = mmap(NULL, u->parameters.cq_off.cqes + 16 * sizeof(struct io_uring_cqe), PROT_READ | PROT_WRITE, MAP_SHARED, u->fd,
			      IORING_OFF_CQ_RING);
	u->entries = mmap(NULL, 8 * sizeof(*u->entries), PROT_READ | PROT_WRITE, MAP_SHARED, u->fd, IORING_OFF_SQES);
	return true;
}

/* One request, waited for. */
static int request(struct uring *u, unsigned char what, int fd, size_t count)
{
	_Atomic unsigned *tail = (_Atomic unsigned *)(u->submissions + u->parameters.sq_off.tail);
	_Atomic unsigned *head = (_Atomic unsigned *)(u->completions + u->parameters.cq_off.head);
	unsigned mask = *(unsigned *)(u->submissions + u->parameters.sq_off.ring_mask), at = *tail & mask;
	unsigned done = *(unsigned *)(u->completions + u->parameters.cq_off.ring_mask);

	u->entries[at] = (struct io_uring_sqe){.opcode = what, .fd = fd, .addr = (uintptr_t)room, .len = (unsigned)count};
	((unsigned *)(u->submissions + u->parameters.sq_off.array))[at] = at;
	atomic_store(tail, *tail + 1);
	MUST(syscall(SYS_io_uring_enter, u->fd, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0));
	int result = ((struct io_uring_cqe *)(u->completions + u->parameters.cq_off.cqes))[*head & done].res;

	atomic_store(head, *head + 1);
	errno = result < 0 ? -result : 0;
	return result < 0 ? -1 : result;
}

SCENARIO(receive_and_send, 0)
{
	struct uring u;

	if (!open_uring(&u))
		return;
	for (int i = 0; i < 5; i++) {
		peer_send(e, 100);
		arrive(e, 100);
		RECV(e, request(&u, IORING_OP_RECV, e->fd, 1000));
		SEND(e, 50, request(&u, IORING_OP_SEND, e->fd, 50));
		peer_recv_all(e, 50);
		peer_send(e, 100);
		arrive(e, 100);
		RECV(e, recv(e->fd, room, 1000, 0));
		SEND(e, 50, send(e->fd, room, 50, 0));
		peer_recv_all(e, 50);
	}
	later(40);
	peer_send(e, 100);
	RECV(e, request(&u, IORING_OP_READ, e->fd, 1000));
	peer_wait();
}
