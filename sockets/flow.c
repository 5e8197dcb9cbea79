/* Flows from the first datagram to the slot, and their end. */
#include "datagram.h"

#include <stddef.h>
#include <string.h>

#include "fork.h"
#include "kernel.h"
#include "service.h"

struct cw_flow cw_flows[CW_FLOWS] CW_TABLE;
_Atomic uint32_t cw_flows_in;

/* Guards the pool, and candidates: they are made, replaced and dropped seldom. */
static struct cw_lock pool_lock;
static struct cw_flow *free_flows;
static uint32_t flows_used;

static bool pool_enter(void)
{
	return cw_lock_own(&pool_lock, cw_thread_id(), NULL) != CW_LOCK_NESTED;
}

static void pool_exit(void)
{
	cw_unlock(&pool_lock);
}

/* A flow that is attached while a fork is under way would be the child's too. */
static _Atomic uint32_t forks;

void cw_flows_before_fork(void)
{
	atomic_fetch_add_explicit(&forks, 1, memory_order_seq_cst);
}

void cw_flows_after_fork(bool in_child)
{
	if (!in_child) {
		atomic_fetch_sub_explicit(&forks, 1, memory_order_seq_cst);
		return;
	}
	atomic_store_explicit(&forks, 0, memory_order_relaxed);
	cw_lock_after_fork(&pool_lock);
}

struct cw_peer cw_peer_of(const struct sockaddr *name, socklen_t size)
{
	struct cw_peer peer = {0};

	if (name && size >= sizeof(struct sockaddr_in) && name->sa_family == AF_INET) {
		const struct sockaddr_in *four = (const struct sockaddr_in *)name;

		peer.address.s6_addr16[5] = 0xffff;
		memcpy(&peer.address.s6_addr[12], &four->sin_addr, 4);
		peer.port = ntohs(four->sin_port);
	} else if (name && size >= offsetof(struct sockaddr_in6, sin6_scope_id) && name->sa_family == AF_INET6) {
		const struct sockaddr_in6 *six = (const struct sockaddr_in6 *)name;

		peer.address = six->sin6_addr;
		/* The same address may be on several links. The scope of any other says nothing, and an old name has none. */
		peer.port = IN6_IS_ADDR_LINKLOCAL(&six->sin6_addr) ? 0 : ntohs(six->sin6_port);
	}
	return peer;
}

static bool same(const struct cw_peer *a, const struct cw_peer *b)
{
	return memcmp(a, b, sizeof(*a)) == 0;
}

static uint32_t place_of(const struct cw_peer *peer)
{
	uint32_t hash = (peer->address.s6_addr32[3] ^ peer->address.s6_addr32[1] ^ peer->port * 0x10001u) * 2654435761u;

	return hash >> 26;
}

static struct cw_flow *take(void)
{
	struct cw_flow *flow = free_flows;

	if (flow)
		free_flows = flow->next;
	else if (flows_used < CW_FLOWS)
		flow = &cw_flows[flows_used++];
	return flow;
}

static void give(struct cw_flow *flow)
{
	atomic_fetch_add_explicit(&flow->generation, 1, memory_order_release);
	if (atomic_exchange_explicit(&flow->stage, CW_FLOW_FREE, memory_order_relaxed) == CW_FLOW_OFFERED)
		atomic_fetch_sub_explicit(&flow->socket->offered, 1, memory_order_relaxed);
	flow->next = free_flows;
	free_flows = flow;
}

/* Two places for each peer; the second's tenant makes way if it is only a candidate. */
static struct cw_flow *make(struct cw_datagram *socket, const struct cw_peer *peer, bool sends, struct cw_flow *_Atomic *peers)
{
	uint32_t first = place_of(peer), place = first;
	struct cw_flow *flow, *tenant;
	bool locked;

	if (atomic_load_explicit(&peers[place], memory_order_relaxed))
		place = first ^ 1;
	locked = pool_enter();
	if (!locked)
		return NULL;
	tenant = atomic_load_explicit(&peers[place], memory_order_relaxed);
	flow = tenant && tenant->stage != CW_FLOW_COUNTING && tenant->stage != CW_FLOW_STAYS ? NULL : take();
	if (flow) {
		if (tenant)
			give(tenant);
		flow->peer = *peer;
		flow->sends = sends;
		flow->socket = socket;
		flow->calls = 0;
		flow->slot = NULL;
		flow->way = NULL;
		atomic_store_explicit(&flow->offer, 0, memory_order_relaxed);
		atomic_store_explicit(&flow->stage, CW_FLOW_COUNTING, memory_order_relaxed);
		atomic_store_explicit(&peers[place], flow, memory_order_release);
	}
	pool_exit();
	return flow;
}

struct cw_flow *cw_flow_find(struct cw_datagram *socket, const struct cw_peer *peer, bool sends)
{
	struct cw_flow *_Atomic *peers = sends ? socket->to : socket->from;
	uint32_t place = place_of(peer);

	for (uint32_t i = 0; i < 2; i++) {
		struct cw_flow *flow = atomic_load_explicit(&peers[place ^ i], memory_order_acquire);

		if (flow && same(&flow->peer, peer))
			return flow;
	}
	if (!peer->port || atomic_load_explicit(&socket->stays, memory_order_relaxed))
		return NULL;
	return make(socket, peer, sends, peers);
}

void cw_flow_counted(struct cw_flow *flow, uint32_t generation, int fd)
{
	uint8_t stage = atomic_load_explicit(&flow->stage, memory_order_relaxed);

	if (generation != atomic_load_explicit(&flow->generation, memory_order_acquire))
		return;
	if (stage == CW_FLOW_COUNTING && ++flow->calls >= (uint32_t)cw_policy.number[CW_OPTION_after_messages])
		cw_service_offer_flow(flow, generation, fd);
}

/* Whoever drops it, closing its socket, does it under the pool's lock. */
bool cw_flow_step(struct cw_flow *flow, uint32_t generation, uint8_t from, uint8_t to)
{
	bool locked = pool_enter(), fine;

	fine = atomic_load_explicit(&flow->generation, memory_order_relaxed) == generation &&
	       atomic_compare_exchange_strong_explicit(&flow->stage, &from, to, memory_order_acq_rel, memory_order_relaxed);
	if (locked)
		pool_exit();
	return fine;
}

/* ---- moved ---- */

static bool join_in(struct cw_flow *flow)
{
	struct cw_datagram *socket = flow->socket;
	socklen_t size = sizeof(socket->rcvbuf);

	cw_raw_getsockopt(socket->entry->fd, SOL_SOCKET, SO_RCVBUF, &socket->rcvbuf, &size);
	atomic_store_explicit(&flow->slot->end[1].rcvbuf, socket->rcvbuf, memory_order_relaxed);
	if (socket->in_count >= CW_FLOWS_IN)
		return false;
	socket->in[socket->in_count++] = flow;
	atomic_fetch_add_explicit(&socket->moved_in, 1, memory_order_seq_cst);
	atomic_fetch_add_explicit(&cw_flows_in, 1, memory_order_relaxed);
	return true;
}

static void book(const struct cw_flow *flow)
{
	struct cw_book_entry *entry = &cw_own_book.entry[flow->socket->entry->number];

	atomic_store_explicit(&entry->arena, flow->arena, memory_order_relaxed);
	atomic_store_explicit(&entry->slot, flow->slot_number, memory_order_relaxed);
	atomic_store_explicit(&entry->end, flow->sends ? 0 : 1, memory_order_relaxed);
	atomic_store_explicit(&entry->reason, CW_REASON_none, memory_order_relaxed);
	atomic_store_explicit(&entry->kind, CW_ENTRY_MOVED, memory_order_relaxed);
}

static bool is_offered(const struct cw_flow *flow, uint32_t generation)
{
	return atomic_load_explicit(&flow->generation, memory_order_acquire) == generation &&
	       atomic_load_explicit(&flow->stage, memory_order_relaxed) == CW_FLOW_OFFERED;
}

/* The grant is given back; the flow may be offered again. */
static void count_anew(struct cw_flow *flow, uint32_t generation)
{
	if (!cw_flow_step(flow, generation, CW_FLOW_OFFERED, CW_FLOW_COUNTING))
		return;
	flow->calls = 0;
	atomic_store_explicit(&flow->offer, 0, memory_order_relaxed);
	atomic_fetch_sub_explicit(&flow->socket->offered, 1, memory_order_relaxed);
}

/* Under the lock of its side, unless a signal handler takes the grant on top of it. */
static bool attach(struct cw_flow *flow, bool locked, struct cw_arena *arena, uint32_t slot, const struct in6_addr *own)
{
	struct cw_datagram *socket = flow->socket;

	if (socket->stays)
		return false;
	/* Who forks leaves all flows under this lock, behind `forks`. */
	if (atomic_load_explicit(&forks, memory_order_seq_cst) || !cw_family_alone(socket->entry)) {
		count_anew(flow, atomic_load_explicit(&flow->generation, memory_order_relaxed));
		return false;
	}
	flow->own = *own;
	flow->arena = arena->id;
	flow->slot_number = slot;
	flow->ring = (struct cw_ring){cw_arena_ring(arena, slot, 0), CW_RING_MAX};
	flow->credit = flow->passed = flow->since = flow->due = flow->seen = flow->told = flow->widx = flow->idle = 0;
	flow->synced = flow->kept = false;
	flow->slot = cw_arena_slot(arena, slot);
	flow->way = &flow->slot->direction[0];
	if (!flow->sends && !(locked && join_in(flow))) {
		flow->slot = NULL;
		flow->stage = CW_FLOW_STAYS;
		atomic_fetch_sub_explicit(&socket->offered, 1, memory_order_relaxed);
		return false;
	}
	if (flow->sends)
		atomic_fetch_add_explicit(&socket->moved_out, 1, memory_order_relaxed);
	atomic_fetch_sub_explicit(&socket->offered, 1, memory_order_relaxed);
	atomic_store_explicit(&flow->offer, 0, memory_order_relaxed);
	book(flow);
	atomic_store_explicit(&flow->stage, CW_FLOW_MOVED, memory_order_release);
	return true;
}

#define BRIEF_TURNS 20 /* of a millisecond */

/* Who takes grants has the service's lock, and he who holds the socket's may be below a signal handler that waits for that. */
static enum cw_lock_result enter_briefly(struct cw_lock *lock)
{
	struct timespec turn = {.tv_nsec = 1000000};

	for (int i = 0; i < BRIEF_TURNS; i++) {
		uint32_t holder = 0;

		if (atomic_compare_exchange_strong_explicit(&lock->holder, &holder, cw_thread_id(), memory_order_acquire,
							    memory_order_relaxed))
			return CW_LOCK_HELD;
		if (holder == cw_thread_id())
			return CW_LOCK_NESTED;
		cw_raw(SYS_nanosleep, (long)&turn, 0, 0, 0, 0, 0);
	}
	return CW_LOCK_TIMED_OUT;
}

bool cw_flow_attach(uint32_t number, uint32_t generation, struct cw_arena *arena, uint32_t slot, uint32_t end, const struct in6_addr *own)
{
	struct cw_flow *flow = number < CW_FLOWS ? &cw_flows[number] : NULL;
	struct cw_datagram *socket;
	struct cw_lock *lock;
	enum cw_lock_result result;
	bool fine;

	if (!flow || !is_offered(flow, generation) || end != (flow->sends ? 0 : 1))
		return false;
	socket = flow->socket;
	lock = end ? &socket->rx_lock : &socket->tx_lock;
	result = enter_briefly(lock);
	if (result == CW_LOCK_TIMED_OUT) {
		count_anew(flow, generation);
		return false;
	}
	/* Who closes the socket, or has closed it, drops the flow under this lock. */
	fine = is_offered(flow, generation) && attach(flow, result == CW_LOCK_HELD, arena, slot, own);
	if (result == CW_LOCK_HELD)
		cw_unlock(lock);
	return fine;
}

static void forget(struct cw_flow *_Atomic *peers, const struct cw_flow *flow)
{
	uint32_t place = place_of(&flow->peer);

	for (uint32_t i = 0; i < 2; i++)
		if (atomic_load_explicit(&peers[place ^ i], memory_order_relaxed) == flow)
			atomic_store_explicit(&peers[place ^ i], NULL, memory_order_relaxed);
}

void cw_flow_drop(struct cw_flow *flow)
{
	struct cw_datagram *socket = flow->socket;
	bool locked;

	forget(flow->sends ? socket->to : socket->from, flow);
	if (flow->slot) {
		struct cw_book_entry *entry = &cw_own_book.entry[socket->entry->number];

		if (!flow->sends) /* the next one begins at 0, and no edge may be as one before it */
			socket->edges_before += atomic_load_explicit(&flow->way->widx, memory_order_relaxed);
		cw_service_release_flow(flow);
		flow->slot = NULL;
		flow->way = NULL;
		atomic_store_explicit(&entry->arena, 0, memory_order_relaxed);
		if (!atomic_load_explicit(&entry->reason, memory_order_relaxed))
			atomic_store_explicit(&entry->reason, CW_REASON_peer_left, memory_order_relaxed);
		if (flow->sends) {
			atomic_fetch_sub_explicit(&socket->moved_out, 1, memory_order_relaxed);
		} else {
			for (uint32_t i = 0; i < socket->in_count; i++)
				if (socket->in[i] == flow)
					socket->in[i] = socket->in[--socket->in_count];
			if (socket->peeked == (int32_t)(flow - cw_flows) + 1)
				socket->peeked = 0;
			atomic_fetch_sub_explicit(&socket->moved_in, 1, memory_order_relaxed);
			atomic_fetch_sub_explicit(&cw_flows_in, 1, memory_order_relaxed);
		}
	} else if (atomic_load_explicit(&flow->stage, memory_order_relaxed) == CW_FLOW_OFFERED) {
		cw_service_withdraw_flow(flow);
	}
	locked = pool_enter();
	give(flow);
	if (locked)
		pool_exit();
}

void cw_flow_break(struct cw_flow *flow)
{
	CW_COUNT(flow->socket->entry, broken, 1);
	cw_state_mark(&flow->way->state, CW_MARK_LEFT | (flow->sends ? CW_MARK_WRITER_GONE : CW_MARK_READER_GONE));
	cw_flow_drop(flow);
}
