/* Receiving a datagram: from the rings of this socket's flows and from the kernel's queue, in turn. */
#include "datagram.h"

#include <limits.h>
#include <pthread.h>
#include <string.h>

#include "kernel.h"
#include "looking.h"

#define LEAST_IN_QUEUE 512 /* bytes that the kernel counts for a datagram, at least */
/* What only the kernel has, or refuses (MSG_CMSG_COMPAT); it ignores all others, and so do we. */
#define KERNEL_FLAGS (MSG_ERRQUEUE | (int)0x80000000)

union name {
	struct sockaddr any;
	struct sockaddr_in four;
	struct sockaddr_in6 six;
	struct sockaddr_storage room;
};

/* ---- what a flow has ---- */

/* May the ring be read? Not while datagrams that were sent before are still with the kernel. Called again and again until it may, which
 * comes by the reader's own clock and counts, whatever the slot says. */
static bool passed(struct cw_flow *flow)
{
	uint64_t spell = atomic_load_explicit(&flow->way->seal, memory_order_relaxed);
	uint64_t up = atomic_load_explicit(&flow->way->up, memory_order_relaxed), now;

	if (cw_likely(flow->passed == spell))
		return true;
	if (!flow->synced || flow->seen < up) {
		now = cw_monotonic_ns();
		if (!flow->since)
			flow->since = now;
		if ((int64_t)(now - atomic_load_explicit(&flow->way->tx_credit, memory_order_relaxed)) < CW_FLOW_WAIT_NS &&
		    now - flow->since < CW_FLOW_WAIT_NS)
			return false;
		/* What is not in the queue by now was dropped; and the queue is no longer than this. */
		if (!flow->due)
			flow->due = flow->socket->by_kernel + 1 + flow->socket->rcvbuf / LEAST_IN_QUEUE;
		if (flow->socket->by_kernel < flow->due && cw_raw_readable(flow->socket->entry->fd))
			return false;
	}
	flow->due = 0;
	flow->seen = up;
	flow->synced = true;
	flow->passed = spell;
	return true;
}

bool cw_flow_next(struct cw_flow *flow, uint64_t *at, size_t *length, bool *later)
{
	struct cw_direction *way = flow->way;
	uint64_t word = atomic_load_explicit(&way->state, memory_order_acquire), widx = flow->widx;
	enum cw_state state = cw_state_of(word);

	if (state != CW_LIVE && state != CW_ASLEEP && !(state == CW_TAKEN && (word & CW_MARK_LEFT))) {
		if (cw_unlikely(state == CW_SEALED || state >= CW_STATES))
			cw_flow_break(flow);
		return false;
	}
	*at = atomic_load_explicit(&way->roff, memory_order_relaxed);
	if (*at & CW_CLAIMED)
		return false;
	if ((int64_t)(widx - *at) <= 0)
		flow->widx = widx = atomic_load_explicit(&way->widx, memory_order_acquire);
	if (widx == *at)
		return false;
	if (!passed(flow)) {
		*later = true;
		return false;
	}
	if (cw_unlikely(widx - *at > flow->ring.size || !cw_record_length(&flow->ring, *at, widx - *at, length))) {
		/* Taken back and begun again between the two looks it can be anything; else it is nonsense. */
		if (*at == atomic_load_explicit(&way->roff, memory_order_acquire))
			cw_flow_break(flow);
		return false;
	}
	return true;
}

bool cw_flow_has(struct cw_flow *flow, bool *later)
{
	uint64_t at;
	size_t length;

	return cw_flow_next(flow, &at, &length, later);
}

bool cw_flow_waits(struct cw_flow *flow)
{
	bool later = false;

	return !cw_flow_has(flow, &later) && later;
}

static socklen_t name_of(const struct cw_flow *flow, union name *name)
{
	if (flow->socket->family == AF_INET) {
		name->four = (struct sockaddr_in){.sin_family = AF_INET,
						  .sin_port = htons((uint16_t)flow->peer.port),
						  .sin_addr.s_addr = flow->peer.address.s6_addr32[3]};
		return sizeof(name->four);
	}
	name->six = (struct sockaddr_in6){
		.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)flow->peer.port), .sin6_addr = flow->peer.address};
	return sizeof(name->six);
}

static void tell_name(const struct cw_flow *flow, struct sockaddr *to, socklen_t *size)
{
	union name name;
	socklen_t length;

	if (!to)
		return;
	length = name_of(flow, &name);
	memcpy(to, &name, *size < length ? *size : length);
	*size = length;
}

static void tell(const struct cw_flow *flow, const struct cw_taking *taking, size_t length, size_t copied)
{
	struct msghdr *message = taking->message;

	if (!message) {
		if (taking->size)
			tell_name(flow, taking->name, taking->size);
		return;
	}
	if (message->msg_name)
		tell_name(flow, message->msg_name, &message->msg_namelen);
	message->msg_controllen = 0;
	message->msg_flags = (taking->flags & MSG_CMSG_CLOEXEC) | (copied < length ? MSG_TRUNC : 0);
}

static size_t room_in(const struct cw_taking *taking)
{
	size_t room = 0;

	for (size_t i = 0; i < taking->iovcnt; i++)
		room += taking->iov[i].iov_len;
	return room;
}

/* The flow's next record. -1: somebody was faster. */
static ssize_t take(struct cw_flow *flow, const struct cw_taking *taking, uint64_t at, size_t length)
{
	struct cw_stream *entry = flow->socket->entry;
	size_t room = room_in(taking), copied = room < length ? room : length;
	uint64_t seen = at;

	if (cw_likely(taking->iovcnt == 1))
		cw_ring_get(&flow->ring, at + CW_RECORD_HEADER, taking->iov->iov_base, copied);
	else
		cw_ring_get_iov(&flow->ring, at + CW_RECORD_HEADER, taking->iov, taking->iovcnt, 0, copied);
	if (taking->flags & MSG_PEEK) {
		atomic_thread_fence(memory_order_acquire);
		if (atomic_load_explicit(&flow->way->roff, memory_order_relaxed) != at)
			return -1;
	} else if (!atomic_compare_exchange_strong_explicit(&flow->way->roff, &seen, at + cw_record_room(length), memory_order_acq_rel,
							    memory_order_relaxed)) {
		return -1; /* C: the writer has taken it back, or another process that inherited the ring has it */
	}
	tell(flow, taking, length, copied);
	if (!(taking->flags & MSG_PEEK)) {
		CW_COUNT(entry, bytes_ring_in, length);
		CW_COUNT(entry, messages_in, 1);
	}
	return (ssize_t)(taking->flags & MSG_TRUNC ? length : copied);
}

/* Its writer is gone, or it has left, and all is read. */
static bool is_over(const struct cw_flow *flow)
{
	uint64_t word = atomic_load_explicit(&flow->way->state, memory_order_acquire), roff;

	if (!(word & (CW_MARK_WRITER_GONE | CW_MARK_LEFT)))
		return false;
	roff = atomic_load_explicit(&flow->way->roff, memory_order_relaxed);
	return (roff & CW_CLAIMED) || atomic_load_explicit(&flow->way->widx, memory_order_acquire) == roff;
}

/* Each flow in turn, or each that is kept. *dropped: one has ended, and the last one, that is in its place, may not have had its turn. */
static ssize_t go_over(struct cw_datagram *socket, const struct cw_taking *taking, bool kept, bool *later, bool *dropped)
{
	uint32_t which = socket->next_in;

	*dropped = false;
	for (uint32_t i = 0; i < socket->in_count; i++, which++) {
		struct cw_flow *flow;
		uint64_t at;
		size_t length;
		ssize_t got;

		if (which >= socket->in_count)
			which = 0;
		flow = socket->in[which];
		if ((socket->peeked > 0 && socket->peeked != (int32_t)(flow - cw_flows) + 1) || (kept && !flow->kept))
			continue;
		while (cw_flow_next(flow, &at, &length, later)) {
			got = take(flow, taking, at, length);
			if (got < 0)
				continue;
			socket->peeked = taking->flags & MSG_PEEK ? (int32_t)(flow - cw_flows) + 1 : 0;
			socket->next_in = which + (socket->peeked ? 0 : 1);
			return got;
		}
		if (which < socket->in_count && socket->in[which] == flow && is_over(flow))
			cw_flow_drop(flow);
		*dropped |= which >= socket->in_count || socket->in[which] != flow;
	}
	return -1;
}

static ssize_t from_flows(struct cw_datagram *socket, const struct cw_taking *taking, bool kept, bool *later)
{
	bool dropped;
	ssize_t got;

	do
		got = go_over(socket, taking, kept, later, &dropped);
	while (got < 0 && dropped);
	return got;
}

static ssize_t from_kept(struct cw_datagram *socket, const struct cw_taking *taking, bool *later)
{
	ssize_t got = from_flows(socket, taking, true, later);

	if (got >= 0)
		socket->kept -= !(taking->flags & MSG_PEEK);
	else if (!*later)
		socket->kept = 0;
	return got;
}

/* From the rings. -1: nothing; *later: something that can't be read yet; *kernels: it is the kernel's turn. Under rx_lock. */
static ssize_t from_rings(struct cw_datagram *socket, const struct cw_taking *taking, bool *later, bool *kernels)
{
	ssize_t got = cw_unlikely(socket->kept) && !socket->peeked ? from_kept(socket, taking, later) : -1;

	if (got >= 0)
		return got;
	*kernels = !socket->peeked && ++socket->turn >= CW_KERNEL_TURN;
	return *kernels ? -1 : from_flows(socket, taking, false, later);
}

/* ---- the kernel's queue ---- */

/* A flow that was left, and is read to its end, waits for what its writer had sent by the kernel before. Under rx_lock. */
static void note_kept(struct cw_datagram *socket, const struct cw_peer *peer, const struct cw_flow *but)
{
	for (uint32_t i = 0; i < socket->in_count; i++) {
		struct cw_flow *flow = socket->in[i];

		if (memcmp(&flow->peer, peer, sizeof(*peer)) == 0 && flow != but)
			flow->seen++;
	}
}

/* Whether a flow that was left may be read is seen where the kernel's queue is empty, which it may be for this moment alone: what comes
 * there from now on was sent later. */
static void look_at_kept(struct cw_datagram *socket, const struct cw_flow *but)
{
	for (uint32_t i = 0; i < socket->in_count; i++) {
		struct cw_flow *flow = socket->in[i];

		if (flow != but && (atomic_load_explicit(&flow->way->state, memory_order_relaxed) & CW_MARK_LEFT))
			cw_flow_waits(flow);
	}
}

/* Counted for the flow that it belongs to, or may come to belong to. Not where the number is another's by now: who closes the socket takes
 * it away, and then waits for the lock. */
static void note_source(struct cw_datagram *socket, int fd, const struct sockaddr *name, socklen_t size)
{
	struct cw_peer peer = name && size ? cw_peer_of(name, size) : socket->connected;
	struct cw_flow *flow = NULL;
	uint32_t generation = 0;
	bool locked;

	if (!peer.port)
		return;
	locked = cw_rx_enter(socket);
	if (cw_datagram_at(socket, fd))
		flow = cw_flow_find(socket, &peer, false);
	if (cw_unlikely(socket->kept)) {
		note_kept(socket, &peer, flow);
		look_at_kept(socket, flow);
	}
	if (flow) {
		generation = atomic_load_explicit(&flow->generation, memory_order_relaxed);
		flow->seen++;
		flow->idle = 0;
	}
	cw_rx_exit(socket, locked);
	if (flow)
		cw_flow_counted(flow, generation, fd);
}

static void account(struct cw_datagram *socket, int fd, int flags, ssize_t got, const struct sockaddr *name, socklen_t size)
{
	if (atomic_load_explicit(&socket->orphaned, memory_order_relaxed))
		return; /* fd may be another's by now */
	if (got < 0 || (flags & (MSG_PEEK | MSG_ERRQUEUE))) {
		if (got >= 0 && (flags & MSG_PEEK))
			socket->peeked = -1;
		return;
	}
	socket->peeked = 0;
	socket->by_kernel++;
	CW_COUNT(socket->entry, bytes_kernel_in, (uint64_t)got);
	CW_COUNT(socket->entry, messages_in, 1);
	note_source(socket, fd, name, size);
}

void cw_datagram_received(struct cw_datagram *socket, int fd, size_t length, const struct sockaddr *name, socklen_t size)
{
	account(socket, fd, 0, (ssize_t)length, name, size);
}

/* By the program's own call, but that it always tells the source. */
static ssize_t from_kernel(struct cw_datagram *socket, int fd, const struct cw_taking *taking, int flags)
{
	union name name;
	socklen_t size = sizeof(name), told;
	ssize_t got;

	if (taking->message) {
		struct msghdr copy = *taking->message;

		copy.msg_name = &name;
		copy.msg_namelen = sizeof(name);
		got = cw_kernel.recvmsg(fd, &copy, flags);
		if (got < 0)
			return got;
		size = copy.msg_namelen;
		if (taking->message->msg_name) {
			told = taking->message->msg_namelen;
			memcpy(taking->message->msg_name, &name, told < size ? told : size);
			taking->message->msg_namelen = size;
		}
		taking->message->msg_controllen = copy.msg_controllen;
		taking->message->msg_flags = copy.msg_flags;
	} else if (taking->iovcnt == 1) {
		got = cw_kernel.recvfrom(fd, taking->iov->iov_base, taking->iov->iov_len, flags, &name.any, &size);
	} else {
		struct msghdr message = {.msg_name = &name,
					 .msg_namelen = sizeof(name),
					 .msg_iov = (struct iovec *)taking->iov,
					 .msg_iovlen = taking->iovcnt};

		got = cw_kernel.recvmsg(fd, &message, flags);
		size = message.msg_namelen;
	}
	if (got >= 0 && !taking->message && taking->size && taking->name) {
		told = *taking->size;
		memcpy(taking->name, &name, told < size ? told : size);
		*taking->size = size;
	}
	account(socket, fd, flags, got, &name.any, size);
	return got;
}

/* Of a socket that is held, and not counted asleep. A cancelled thread gives it back. */
static ssize_t look_in_kernel(struct cw_datagram *socket, int fd, const struct cw_taking *taking, int flags)
{
	ssize_t got;

	if (cw_sole_thread())
		return from_kernel(socket, fd, taking, flags);
	pthread_cleanup_push(cw_datagram_cancelled, socket);
	got = from_kernel(socket, fd, taking, flags);
	pthread_cleanup_pop(0);
	return got;
}

/* ---- waiting ---- */

static bool is_blocking(const struct cw_datagram *socket, int fd, const struct cw_taking *taking)
{
	return !(taking->flags & MSG_DONTWAIT) && cw_stream_blocks(socket->entry, fd);
}

/* Something that a receive takes away. */
static bool kernel_answers(const struct cw_datagram *socket, int fd)
{
	long told = cw_raw_poll(fd, POLLIN);

	return told && (told != POLLERR || !socket->reports_errors);
}

/* True: something has come, or may have. */
static bool spin(struct cw_datagram *socket, int fd)
{
	struct cw_look looking;
	uint64_t edge;

	cw_looking(&looking);
	while (cw_look_goes_on(&looking)) {
		bool found = cw_datagram_ready(socket, &edge);

		if (!found && cw_look_asks(&looking))
			found = kernel_answers(socket, fd);
		if (found) {
			CW_COUNT(socket->entry, spins_paid, 1);
			cw_look_paid(&looking, 1);
			return true;
		}
		cw_pause();
	}
	CW_COUNT(socket->entry, spins_lost, looking.budget != 0);
	return false;
}

static void cancelled_asleep(void *argument)
{
	cw_datagram_rise(argument);
	cw_datagram_release(argument);
}

static ssize_t sleep_in_kernel(struct cw_datagram *socket, int fd, const struct cw_taking *taking, uint64_t start)
{
	ssize_t got;
	int error;

	CW_COUNT(socket->entry, sleeps, 1);
	pthread_cleanup_push(cancelled_asleep, socket);
	got = from_kernel(socket, fd, taking, taking->flags);
	pthread_cleanup_pop(0);
	error = errno;
	cw_slept(start, true);
	CW_COUNT(socket->entry, wakeups, got >= 0);
	cw_datagram_rise(socket);
	errno = error;
	return got;
}

/* Without a look at it that the kernel would take for the telling. */
static bool error_is_next(const struct cw_datagram *socket, int fd)
{
	long told;

	if (!socket->connected.port || socket->reports_errors)
		return false;
	told = cw_raw_poll(fd, 0);
	return told > 0 && (told & POLLERR);
}

/* Whom it is connected to has closed, and what was sent there since may have been refused: that comes before what is unread. Under rx_lock.
 */
static bool was_refused(const struct cw_datagram *socket, int fd)
{
	return socket->connected.port && socket->in_count &&
	       cw_unlikely(atomic_load_explicit(&socket->in[0]->way->state, memory_order_relaxed) & CW_MARK_WRITER_GONE) &&
	       error_is_next(socket, fd);
}

/* With flows by ring. */
static ssize_t receive_held(struct cw_datagram *socket, int fd, const struct cw_taking *taking)
{
	uint64_t start = 0;
	int error = errno;
	bool asked = false; /* once: POLLERR may stand for what no receive takes away */

	for (;;) {
		bool locked = cw_rx_enter(socket), later = false;
		bool kernel_first = socket->peeked < 0 || (!asked && was_refused(socket, fd));
		ssize_t got = kernel_first ? -1 : from_rings(socket, taking, &later, &kernel_first);

		cw_rx_exit(socket, locked);
		if (cw_likely(got >= 0))
			return got;
		socket->turn = 0;
		if (cw_unlikely(taking->behind) && error_is_next(socket, fd)) {
			errno = EAGAIN;
			return -1;
		}
		got = look_in_kernel(socket, fd, taking, taking->flags | MSG_DONTWAIT);
		if (got >= 0 || errno != EAGAIN) {
			if (got >= 0)
				cw_datagram_offer(socket);
			return got;
		}
		if (kernel_first) {
			asked = true;
			if (socket->peeked < 0)
				socket->peeked = 0;
			errno = error;
			continue;
		}
		if (later) {
			cw_datagram_nap(socket);
			errno = error;
			continue;
		}
		if (!is_blocking(socket, fd, taking)) {
			cw_datagram_offer(socket);
			errno = EAGAIN;
			return -1;
		}
		errno = error;
		if (!start)
			start = cw_ticks();
		cw_datagram_offer(socket);
		if (spin(socket, fd))
			continue;
		if (cw_datagram_settle(socket, false, 0))
			return sleep_in_kernel(socket, fd, taking, start);
	}
}

static ssize_t simply(int fd, const struct cw_taking *taking)
{
	struct msghdr message = {.msg_iov = (struct iovec *)taking->iov, .msg_iovlen = taking->iovcnt};

	if (taking->message)
		return cw_kernel.recvmsg(fd, taking->message, taking->flags);
	if (taking->iovcnt == 1)
		return cw_kernel.recvfrom(fd, taking->iov->iov_base, taking->iov->iov_len, taking->flags, taking->name, taking->size);
	return cw_kernel.recvmsg(fd, &message, taking->flags);
}

/* S: pairs with the offer, which looks at `asleep` behind `moved_in`: another thread that gets the first flow offers nothing meanwhile. */
bool cw_datagram_enter_kernel(struct cw_datagram *socket)
{
	atomic_fetch_add_explicit(&socket->asleep, 1, memory_order_seq_cst);
	if (cw_likely(!atomic_load_explicit(&socket->moved_in, memory_order_seq_cst)))
		return true;
	cw_datagram_leave_kernel(socket);
	return false;
}

void cw_datagram_leave_kernel(struct cw_datagram *socket)
{
	atomic_fetch_sub_explicit(&socket->asleep, 1, memory_order_seq_cst);
	cw_datagram_awake(socket);
}

static void cancelled_unmoved(void *argument)
{
	cw_datagram_leave_kernel(argument);
	cw_datagram_release(argument);
}

/* It has no flow by ring, or may not be read by one. */
static ssize_t receive_unmoved(struct cw_datagram *socket, int fd, const struct cw_taking *taking)
{
	ssize_t got;
	int error;

	pthread_cleanup_push(cancelled_unmoved, socket);
	got = from_kernel(socket, fd, taking, taking->flags);
	pthread_cleanup_pop(0);
	error = errno;
	cw_datagram_leave_kernel(socket);
	errno = error;
	return got;
}

ssize_t cw_datagram_receive(struct cw_datagram *socket, int fd, const struct cw_taking *taking)
{
	bool by_ring = !(taking->flags & KERNEL_FLAGS), moved;
	ssize_t got;

	if (atomic_load_explicit(&socket->offered, memory_order_relaxed) && cw_service_has_mail())
		cw_service_take_mail();
	moved = cw_likely(atomic_load_explicit(&socket->moved_in, memory_order_acquire)) && by_ring;
	if (!moved && cw_unlikely(taking->behind) && error_is_next(socket, fd)) {
		errno = EAGAIN;
		return -1;
	}
	if (!moved && (atomic_load_explicit(&socket->stays, memory_order_relaxed) || (taking->flags & MSG_ERRQUEUE)))
		return simply(fd, taking);
	/* Another thread may close it meanwhile. */
	if (!cw_datagram_hold(socket, fd))
		return simply(fd, taking);
	if (cw_likely(moved))
		got = receive_held(socket, fd, taking);
	else if (!by_ring)
		got = look_in_kernel(socket, fd, taking, taking->flags);
	else if (cw_datagram_enter_kernel(socket))
		got = receive_unmoved(socket, fd, taking);
	else
		got = receive_held(socket, fd, taking);
	cw_datagram_release(socket);
	return got;
}
