/* Sending a datagram: by ring, or by the kernel. */
#include "datagram.h"

#include <pthread.h>

#include "kernel.h"
#include "service.h"

#define RING_FLAGS (MSG_DONTWAIT | MSG_NOSIGNAL | MSG_CONFIRM | MSG_EOR)
#define FULL_NS    3000u /* about what the kernel takes to send one */

static ssize_t by_kernel(int fd, const struct cw_giving *giving)
{
	struct msghdr message = {.msg_name = (void *)giving->name,
				 .msg_namelen = giving->size,
				 .msg_iov = (struct iovec *)giving->iov,
				 .msg_iovlen = giving->iovcnt};

	if (giving->message)
		return cw_kernel.sendmsg(fd, giving->message, giving->flags);
	if (giving->iovcnt == 1)
		return cw_kernel.sendto(fd, giving->iov->iov_base, giving->iov->iov_len, giving->flags, giving->name, giving->size);
	return cw_kernel.sendmsg(fd, &message, giving->flags);
}

/* ---- the writer's steps ---- */

static void note_wake(struct cw_flow *flow)
{
	uint32_t here;

	if (!cw_policy.number[CW_OPTION_step_aside])
		return;
	here = cw_aside_here();
	atomic_store_explicit(&flow->slot->end[0].processor, here, memory_order_relaxed);
	cw_aside_note(&cw_thread.spin.aside, atomic_load_explicit(&flow->slot->end[1].processor, memory_order_relaxed), here);
}

/* One record, by the socket's own name for where the flow goes. An error that was waiting for the program is told in its place. */
static void resend_one(struct cw_flow *flow, int fd, uint64_t at, size_t length)
{
	struct sockaddr_in four = {.sin_family = AF_INET, .sin_port = htons((uint16_t)flow->peer.port)};
	struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)flow->peer.port), .sin6_addr = flow->peer.address};
	struct iovec pieces[2];
	struct msghdr message = {.msg_iov = pieces, .msg_name = &six, .msg_namelen = sizeof(six)};

	if (flow->socket->family == AF_INET) {
		four.sin_addr.s_addr = flow->peer.address.s6_addr32[3];
		message.msg_name = &four;
		message.msg_namelen = sizeof(four);
	}
	message.msg_iovlen = length ? (size_t)cw_ring_pieces(&flow->ring, at + CW_RECORD_HEADER, length, pieces) : 0;
	for (int tries = 0; tries < 2; tries++)
		if (cw_raw_sendmsg(fd, &message, MSG_NOSIGNAL) != -ECONNREFUSED)
			break;
}

void cw_flow_take_back(struct cw_flow *flow, int fd, uint64_t *word)
{
	struct cw_direction *way = flow->way;
	uint64_t widx = atomic_load_explicit(&way->widx, memory_order_relaxed), at;
	size_t length;

	for (;;) {
		enum cw_state state = cw_state_of(*word);

		if (state != CW_LIVE && state != CW_ASLEEP)
			return;
		if (state == CW_ASLEEP) {
			CW_COUNT(flow->socket->entry, doorbells, 1);
			note_wake(flow);
		}
		if (cw_state_step(&way->state, word, CW_TAKEN))
			break;
	}
	/* What a reader that is gone has not read is gone with it; another may be bound there now. */
	if (*word & CW_MARK_READER_GONE)
		return;
	/* C: pairs with the reader's compare-and-swap of roff: a record is the reader's, or ours. */
	at = atomic_fetch_or_explicit(&way->roff, CW_CLAIMED, memory_order_seq_cst) & ~CW_CLAIMED;
	while (at != widx && cw_record_length(&flow->ring, at, widx - at, &length)) {
		atomic_fetch_add_explicit(&way->woff, 1, memory_order_relaxed);
		resend_one(flow, fd, at, length);
		CW_COUNT(flow->socket->entry, bytes_ring_out, -(uint64_t)length);
		CW_COUNT(flow->socket->entry, bytes_kernel_out, length);
		at += cw_record_room(length);
	}
}

/* CONSENT: from here on by ring. */
static bool accept_ring(struct cw_flow *flow, uint64_t *word)
{
	struct cw_direction *way = flow->way;

	flow->credit = atomic_load_explicit(&way->widx, memory_order_relaxed);
	/* The reader looks at these when it has seen LIVE. */
	atomic_store_explicit(&way->roff, flow->credit, memory_order_relaxed);
	atomic_store_explicit(&way->up, atomic_load_explicit(&way->woff, memory_order_relaxed), memory_order_relaxed);
	atomic_store_explicit(&way->tx_credit, cw_monotonic_ns(), memory_order_relaxed);
	atomic_store_explicit(&way->seal, atomic_load_explicit(&way->seal, memory_order_relaxed) + 1, memory_order_relaxed);
	if (!cw_state_step(&way->state, word, CW_LIVE))
		return false;
	CW_COUNT(flow->socket->entry, switches, 1);
	return true;
}

/* What may be unread: as much as the reader's socket would hold, or the ring. */
static uint64_t room_in_all(const struct cw_flow *flow)
{
	uint32_t rcvbuf = atomic_load_explicit(&flow->slot->end[1].rcvbuf, memory_order_relaxed);

	return rcvbuf && rcvbuf < flow->ring.size ? rcvbuf : flow->ring.size;
}

static bool has_room(struct cw_flow *flow, uint64_t widx, uint64_t need)
{
	uint64_t most = room_in_all(flow);

	if (widx - flow->credit + need <= most)
		return true;
	flow->credit = atomic_load_explicit(&flow->way->roff, memory_order_acquire) & ~CW_CLAIMED;
	/* One is always taken, as by the kernel. Nonsense is no room. */
	return widx - flow->credit + need <= most || widx == flow->credit;
}

/* A reader that is awake may be about to read. */
static bool room_comes(struct cw_flow *flow, uint64_t widx, uint64_t need)
{
	uint64_t start = cw_ticks(), most = FULL_NS * cw_ticks_per_us() / 1000;

	while (cw_ticks() - start < most) {
		if (has_room(flow, widx, need))
			return true;
		if (cw_state_of(atomic_load_explicit(&flow->way->state, memory_order_relaxed)) != CW_LIVE)
			return false;
		cw_pause();
	}
	return false;
}

enum outcome { SENT, DROPPED, BY_KERNEL };

static enum outcome by_ring(struct cw_flow *flow, int fd, const struct cw_giving *giving, size_t length, uint64_t *word)
{
	struct cw_direction *way = flow->way;
	uint64_t widx = atomic_load_explicit(&way->widx, memory_order_relaxed), need = cw_record_room(length);

	if (cw_unlikely(!has_room(flow, widx, need)) && !room_comes(flow, widx, need)) {
		*word = atomic_load_explicit(&way->state, memory_order_acquire);
		if (cw_state_of(*word) == CW_LIVE && room_in_all(flow) < flow->ring.size) {
			CW_COUNT(flow->socket->entry, dropped, 1);
			return DROPPED;
		}
		return BY_KERNEL;
	}
	cw_record_put(&flow->ring, widx, giving->iov, giving->iovcnt, length);
	/* A: sequentially consistent, pairs with B of the reader that falls asleep: it sees the record, or we see that it sleeps. */
	atomic_exchange_explicit(&way->widx, widx + need, memory_order_seq_cst);
	*word = atomic_load_explicit(&way->state, memory_order_seq_cst);
	CW_COUNT(flow->socket->entry, bytes_ring_out, length);
	if (cw_unlikely(cw_state_of(*word) == CW_ASLEEP))
		cw_flow_take_back(flow, fd, word);
	return SENT;
}

static enum outcome send_moved(struct cw_flow *flow, int fd, const struct cw_giving *giving, size_t length, bool fits)
{
	uint64_t word = atomic_load_explicit(&flow->way->state, memory_order_acquire);

	for (;;) {
		if (cw_unlikely(word & (CW_MARK_LEFT | CW_MARK_READER_GONE)) || !fits) {
			cw_flow_take_back(flow, fd, &word);
			if (word & (CW_MARK_LEFT | CW_MARK_READER_GONE))
				cw_flow_drop(flow);
			return BY_KERNEL;
		}
		switch (cw_state_of(word)) {
		case CW_LIVE: {
			enum outcome outcome = by_ring(flow, fd, giving, length, &word);

			if (outcome != BY_KERNEL)
				return outcome;
			cw_flow_take_back(flow, fd, &word);
			return BY_KERNEL;
		}
		case CW_CONSENT:
			accept_ring(flow, &word);
			continue;
		case CW_ASLEEP:
			cw_flow_take_back(flow, fd, &word);
			continue;
		case CW_TAKEN:
			note_wake(flow);
			return BY_KERNEL;
		default:
			cw_flow_break(flow);
			return BY_KERNEL;
		}
	}
}

static size_t length_of(const struct cw_giving *giving)
{
	size_t length = 0;

	if (cw_likely(giving->iovcnt == 1))
		return giving->iov->iov_len;
	for (size_t i = 0; i < giving->iovcnt; i++)
		length = giving->iov[i].iov_len > CW_RECORD_MOST ? CW_RECORD_MOST + 1ul : length + giving->iov[i].iov_len;
	return length;
}

/* One that goes by the kernel: its socket is held, and what it was counted for may end meanwhile. */
struct passage {
	struct cw_datagram *socket;
	struct cw_flow *flow; /* NULL: none */
	uint32_t generation;
	bool counted;
};

/* It did not go after all. */
static void uncount(const struct passage *passage)
{
	struct cw_flow *flow = passage->flow;

	if (!passage->counted || !cw_tx_enter(passage->socket))
		return;
	if (flow->slot && passage->generation == atomic_load_explicit(&flow->generation, memory_order_relaxed))
		atomic_fetch_sub_explicit(&flow->way->woff, 1, memory_order_relaxed);
	cw_unlock(&passage->socket->tx_lock);
}

static ssize_t pass(struct cw_datagram *socket, int fd, const struct cw_giving *giving)
{
	ssize_t result;

	if (cw_sole_thread())
		return by_kernel(fd, giving);
	pthread_cleanup_push(cw_datagram_cancelled, socket);
	result = by_kernel(fd, giving);
	pthread_cleanup_pop(0);
	return result;
}

/* Under tx_lock, which it gives back: in the flow's count before it is sent, for who takes the offer meanwhile counts it in. */
static ssize_t send_counted(struct cw_datagram *socket, struct cw_flow *flow, int fd, const struct cw_giving *giving)
{
	struct passage passage = {.socket = socket, .flow = flow};
	ssize_t result;
	int error;

	if (flow)
		passage.generation = atomic_load_explicit(&flow->generation, memory_order_relaxed);
	passage.counted = flow && flow->slot;
	if (passage.counted)
		atomic_fetch_add_explicit(&flow->way->woff, 1, memory_order_relaxed);
	/* Who closes it waits for the lock, and then sees it held. */
	atomic_fetch_add_explicit(&socket->users, 1, memory_order_relaxed);
	cw_unlock(&socket->tx_lock);
	result = pass(socket, fd, giving);
	error = errno;
	if (result < 0)
		uncount(&passage);
	if (result >= 0 && flow)
		cw_flow_counted(flow, passage.generation, fd);
	if (result >= 0) {
		CW_COUNT(socket->entry, bytes_kernel_out, (uint64_t)result);
		CW_COUNT(socket->entry, messages_out, 1);
	}
	cw_datagram_release(socket);
	errno = error;
	return result;
}

/* To whom it is connected. By a socket of IPv6 the kernel sends so without a family too, but not to an address of IPv4. */
static bool names_nobody(const struct cw_datagram *socket, const struct cw_giving *giving)
{
	return !giving->name || (socket->family == AF_INET6 && giving->size >= sizeof(giving->name->sa_family) &&
				 giving->name->sa_family == AF_UNSPEC && !IN6_IS_ADDR_V4MAPPED(&socket->connected.address));
}

static ssize_t send_to_peer(struct cw_datagram *socket, int fd, const struct cw_giving *giving, struct cw_peer *peer)
{
	size_t length = length_of(giving);
	bool plain = !(giving->flags & ~RING_FLAGS) && !(giving->message && giving->message->msg_controllen) && !socket->corked;
	struct cw_flow *flow;

	if (!cw_tx_enter(socket))
		return by_kernel(fd, giving); /* a signal handler in the middle of a send */
	/* Another thread may have closed it; who closes it takes the number away, and then waits for the lock. */
	if (cw_unlikely(!cw_datagram_at(socket, fd))) {
		cw_unlock(&socket->tx_lock);
		return by_kernel(fd, giving);
	}
	if (names_nobody(socket, giving))
		*peer = socket->connected;
	flow = cw_flow_find(socket, peer, true);
	if (flow && flow->slot && flow->stage == CW_FLOW_MOVED) {
		enum outcome outcome = send_moved(flow, fd, giving, length, plain && length <= CW_RECORD_MOST);

		if (outcome != BY_KERNEL) {
			CW_COUNT(socket->entry, messages_out, 1);
			cw_unlock(&socket->tx_lock);
			return (ssize_t)length;
		}
		flow = cw_flow_find(socket, peer, true);
	}
	return send_counted(socket, flow, fd, giving);
}

/* None that a flow can have: the kernel's to take, or to refuse. */
static struct cw_peer peer_of(const struct cw_datagram *socket, const struct cw_giving *giving)
{
	struct cw_peer peer;

	if (names_nobody(socket, giving))
		return socket->connected;
	peer = cw_peer_of(giving->name, giving->size);
	if (giving->size >= sizeof(struct sockaddr_in) && cw_unlikely(giving->name->sa_family != socket->family) &&
	    socket->family == AF_INET) {
		struct sockaddr_in four = *(const struct sockaddr_in *)giving->name;

		peer.port = 0;
		if (four.sin_family == AF_UNSPEC) { /* the kernel takes it for its own */
			four.sin_family = AF_INET;
			peer = cw_peer_of((const struct sockaddr *)&four, sizeof(four));
		}
	}
	return peer;
}

static bool is_any(const struct in6_addr *address)
{
	return !address->s6_addr32[3] && !address->s6_addr32[0] && !address->s6_addr32[1] &&
	       (!address->s6_addr32[2] || address->s6_addr32[2] == htonl(0xffff));
}

/* To this machine, by an address that the kernel chooses: what is unread by that one comes first. */
static void make_way(struct cw_datagram *socket, int fd)
{
	if (!atomic_load_explicit(&socket->moved_out, memory_order_relaxed) || !cw_datagram_hold(socket, fd))
		return;
	cw_datagram_leave_sending(socket, fd);
	cw_datagram_release(socket);
}

static ssize_t send_by_name(struct cw_datagram *socket, int fd, const struct cw_giving *giving)
{
	struct cw_peer peer = peer_of(socket, giving);

	if (cw_unlikely(is_any(&peer.address)) && peer.port)
		make_way(socket, fd);
	return peer.port ? send_to_peer(socket, fd, giving, &peer) : by_kernel(fd, giving);
}

/* With MSG_MORE, or behind one with it. Another thread may close the socket meanwhile, and `corked` be the next one's. */
static cw_noinline ssize_t send_in_parts(struct cw_datagram *socket, int fd, const struct cw_giving *giving)
{
	ssize_t result;
	int error;

	if (!cw_datagram_hold(socket, fd))
		return by_kernel(fd, giving);
	pthread_cleanup_push(cw_datagram_cancelled, socket);
	result = send_by_name(socket, fd, giving);
	pthread_cleanup_pop(0);
	error = errno;
	socket->corked = (giving->flags & MSG_MORE) != 0;
	cw_datagram_release(socket);
	errno = error;
	return result;
}

ssize_t cw_datagram_send(struct cw_datagram *socket, int fd, const struct cw_giving *giving)
{
	if (atomic_load_explicit(&socket->stays, memory_order_relaxed))
		return by_kernel(fd, giving);
	if (atomic_load_explicit(&socket->offered, memory_order_relaxed) && cw_service_has_mail())
		cw_service_take_mail();
	if (cw_unlikely(socket->corked || (giving->flags & MSG_MORE)))
		return send_in_parts(socket, fd, giving);
	return send_by_name(socket, fd, giving);
}

bool cw_flow_resend(struct cw_slot *slot, unsigned char *data, int fd, const struct in6_addr *to, uint16_t port)
{
	struct cw_datagram socket = {.family = AF_INET6, .entry = &cw_streams[0]};
	struct cw_flow flow = {.peer = {*to, port},
			       .socket = &socket,
			       .slot = slot,
			       .way = &slot->direction[0],
			       .ring = {data, CW_RING_MAX},
			       .sends = true};
	uint64_t word = atomic_load_explicit(&flow.way->state, memory_order_acquire);
	socklen_t size = sizeof(int);
	int family = 0;

	if (cw_raw_getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &family, &size) < 0)
		return false;
	socket.family = (uint16_t)family;
	if (cw_state_of(word) != CW_ASLEEP || !(word & CW_MARK_LEFT))
		return false;
	cw_flow_take_back(&flow, fd, &word);
	return true;
}

void cw_datagram_sent(struct cw_datagram *socket, int fd, size_t length, const struct sockaddr *name, socklen_t size)
{
	struct cw_peer peer = name && size ? cw_peer_of(name, size) : socket->connected;
	struct cw_flow *flow;
	uint32_t generation = 0;

	CW_COUNT(socket->entry, bytes_kernel_out, length);
	CW_COUNT(socket->entry, messages_out, 1);
	if (!peer.port || !cw_tx_enter(socket))
		return;
	flow = cw_datagram_at(socket, fd) ? cw_flow_find(socket, &peer, true) : NULL;
	if (flow)
		generation = atomic_load_explicit(&flow->generation, memory_order_relaxed);
	if (flow && flow->slot)
		atomic_fetch_add_explicit(&flow->way->woff, 1, memory_order_relaxed);
	cw_unlock(&socket->tx_lock);
	if (flow)
		cw_flow_counted(flow, generation, fd);
}
