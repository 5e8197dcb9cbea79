/* io_uring, whose requests no library sees, and the kernel's older asynchronous calls. Without liburing: the few lines that are needed. */
#define FAMILY "uring"
#include "oracle.h"
#include "peer.h"

#include <linux/aio_abi.h>
#include <linux/io_uring.h>
#include <poll.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>

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

/* One request of io_submit(2), given by its number. */
static void submit(aio_context_t context, int what, int fd, size_t count)
{
	static struct iocb block;
	struct iocb *list[1] = {&block};

	block = (struct iocb){.aio_lio_opcode = (uint16_t)what, .aio_fildes = (uint32_t)fd};
	block.aio_buf = what == IOCB_CMD_POLL ? POLLIN : (uintptr_t)room;
	block.aio_nbytes = count;
	CALL(syscall(SYS_io_submit, context, 1, list));
}

/* What became of it, within so many milliseconds. */
static long got(aio_context_t context, long ms)
{
	struct timespec limit = {ms / 1000, ms % 1000 * 1000000};
	struct io_event event = {0};
	long events = syscall(SYS_io_getevents, context, 1, 1, &event, &limit);

	say("  %ld done", events);
	errno = event.res < 0 ? (int)-event.res : 0;
	return events != 1 ? 0 : event.res < 0 ? -1 : (long)event.res;
}

static bool open_context(aio_context_t *context)
{
	*context = 0;
	if (syscall(SYS_io_setup, 8, context) == 0)
		return true;
	say("no io_setup here");
	return false;
}

SCENARIO(submitted_poll, 0)
{
	aio_context_t context;

	if (!open_context(&context))
		return;
	for (int i = 0; i < 2; i++) {
		submit(context, IOCB_CMD_POLL, e->fd, 0);
		say("nothing yet: %ld", got(context, 20));
		later(40);
		peer_send(e, 10);
		CALL(got(context, 3000));
		peer_wait();
		RECV(e, recv(e->fd, room, 100, 0));
		SEND(e, 10, send(e->fd, room, 10, 0));
		peer_recv_all(e, 10);
	}
	CALL(syscall(SYS_io_submit, context, 1, NULL));
	CALL(syscall(SYS_io_submit, context, 1, (struct iocb *[1]){NULL}));
	CALL(syscall(SYS_io_submit, context, -1, NULL));
	CALL(syscall(SYS_io_destroy, context));
}

SCENARIO(submitted_bytes, 0)
{
	aio_context_t context;

	if (!open_context(&context))
		return;
	peer_send(e, 10);
	arrive(e, 10);
	submit(context, IOCB_CMD_PREAD, e->fd, 100);
	RECV(e, got(context, 3000));
	SEND(e, 20, send(e->fd, room, 20, 0));
	fill(e, room, 10);
	submit(context, IOCB_CMD_PWRITE, e->fd, 10);
	gave(e, CALL(got(context, 3000)));
	SEND(e, 20, send(e->fd, room, 20, 0));
	peer_recv_all(e, 50);
	peer_send(e, 10);
	arrive(e, 10);
	RECV(e, recv(e->fd, room, 100, 0));
	CALL(syscall(SYS_io_destroy, context));
}
