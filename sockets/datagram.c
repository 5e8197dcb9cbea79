/* The life of a datagram socket: made, connected, set up, shared with another process, closed. */
#include "datagram.h"

#include <netinet/ip.h>
#include <netinet/udp.h>
#include <stddef.h>
#include <string.h>
#include <sys/ioctl.h>

#include "fork.h"
#include "kernel.h"
#include "service.h"
#include "set.h"

struct cw_datagram cw_datagrams[CW_DATAGRAMS] CW_TABLE;

static _Atomic uint32_t used_up_to;

static uint32_t datagrams_used(void)
{
	uint32_t used = atomic_load_explicit(&used_up_to, memory_order_acquire);

	return used < CW_DATAGRAMS ? used : CW_DATAGRAMS;
}

static struct cw_datagram *take_place(void)
{
	uint32_t used = datagrams_used();

	for (uint32_t i = 0; i < CW_DATAGRAMS; i++) {
		bool free = false;

		if (!atomic_compare_exchange_strong_explicit(&cw_datagrams[i].used, &free, true, memory_order_acq_rel,
							     memory_order_relaxed))
			continue;
		while (i >= used &&
		       !atomic_compare_exchange_weak_explicit(&used_up_to, &used, i + 1, memory_order_release, memory_order_relaxed))
			;
		return &cw_datagrams[i];
	}
	return NULL;
}

static void stays(struct cw_datagram *socket, enum cw_reason reason)
{
	struct cw_book_entry *entry = &cw_own_book.entry[socket->entry->number];
	uint32_t moved = CW_ENTRY_MOVED;

	if (atomic_exchange_explicit(&socket->stays, true, memory_order_relaxed))
		return;
	atomic_store_explicit(&entry->reason, reason, memory_order_relaxed);
	atomic_compare_exchange_strong_explicit(&entry->kind, &moved, CW_ENTRY_DEMOTED, memory_order_relaxed, memory_order_relaxed);
}

/* All but the locks and the users, among which those may be who were late for the last life. */
static void blank(struct cw_datagram *socket)
{
	size_t first = offsetof(struct cw_datagram, moved_in), locks = offsetof(struct cw_datagram, tx_lock),
	       behind = offsetof(struct cw_datagram, registered);

	memset((char *)socket + first, 0, locks - first);
	memset((char *)socket + behind, 0, sizeof(*socket) - behind);
}

void cw_datagram_open(int fd, int family, bool nonblocking)
{
	struct cw_datagram *socket;
	struct cw_stream *entry;

	if (!cw_policy.number[CW_OPTION_datagrams] || (unsigned)fd >= CW_DESCRIPTORS)
		return;
	socket = take_place();
	if (!socket)
		return;
	entry = cw_entry_open(fd);
	if (!entry) {
		atomic_store_explicit(&socket->used, false, memory_order_release);
		return;
	}
	atomic_store_explicit(&cw_own_book.entry[entry->number].protocol, 1, memory_order_relaxed);
	blank(socket);
	socket->family = (uint16_t)family;
	socket->entry = entry;
	atomic_store_explicit(&entry->nonblocking, nonblocking, memory_order_relaxed);
	if (!cw_moving)
		stays(socket, cw_moving_reason);
	cw_table_put(fd, CW_FD_DATAGRAM, (uint32_t)(socket - cw_datagrams));
}

void cw_datagram_dup(struct cw_datagram *socket, int fd)
{
	if ((unsigned)fd >= CW_DESCRIPTORS) {
		cw_datagram_leave(socket, socket->entry->fd, CW_REASON_too_many);
		return;
	}
	if (cw_entry_count(socket->entry)) /* else what is left is the kernel's */
		cw_table_put(fd, CW_FD_DATAGRAM, (uint32_t)(socket - cw_datagrams));
}

/* ---- leaving ---- */

static void each_peer(struct cw_datagram *socket, struct cw_flow *_Atomic *peers, int fd, void (*act)(struct cw_flow *flow, int fd))
{
	for (uint32_t i = 0; i < CW_FLOW_PEERS; i++) {
		struct cw_flow *flow = atomic_load_explicit(&peers[i], memory_order_relaxed);

		if (flow)
			act(flow, fd);
	}
}

static void stop_sending(struct cw_flow *flow, int fd)
{
	uint64_t word;

	if (flow->slot) {
		word = cw_state_mark(&flow->way->state, CW_MARK_LEFT);
		cw_flow_take_back(flow, fd, &word);
	}
	cw_flow_drop(flow);
}

void cw_datagram_leave_sending(struct cw_datagram *socket, int fd)
{
	bool locked = cw_tx_enter(socket);

	if (locked) {
		each_peer(socket, socket->to, fd, stop_sending);
		cw_unlock(&socket->tx_lock);
	}
}

/*
 * Nothing more comes by ring. keep: what is unread stays readable there, for every process that has the ring, and the writer leaves it
 * alone; else the writer sends it again by the kernel, at its next send.
 */
static void stop_receiving(struct cw_flow *flow, bool keep)
{
	enum cw_state state;
	uint64_t word;

	if (!flow->slot) {
		cw_flow_drop(flow);
		return;
	}
	word = cw_state_mark(&flow->way->state, CW_MARK_LEFT);
	while ((state = cw_state_of(word)) == CW_CONSENT || state == CW_LIVE || (keep && state == CW_ASLEEP))
		if (cw_state_step(&flow->way->state, &word, state == CW_LIVE && !keep ? CW_ASLEEP : CW_TAKEN))
			break;
}

#define ORDER_TURNS 4 /* of a millisecond, for all flows that are left at once: more than CW_FLOW_WAIT_NS */

/* Is what is unread there to be read next? The kernel's queue has none yet that was sent later, and nobody knows any more once it has: so
 * what may be on its way to there since before is waited for. False: it has others, which may have come before. */
static bool is_next(struct cw_flow *flow, int fd, int *turns)
{
	while (flow->slot && cw_flow_waits(flow)) {
		if (!*turns || cw_raw_readable(fd))
			return false;
		--*turns;
		cw_turn();
	}
	return true;
}

/* An empty ring is left as one whose reader sleeps: who is putting something there at this moment takes it back. */
static bool has_unread(const struct cw_flow *flow)
{
	return flow->slot && atomic_load_explicit(&flow->way->widx, memory_order_acquire) !=
				     (atomic_load_explicit(&flow->way->roff, memory_order_relaxed) & ~CW_CLAIMED);
}

enum unread {
	SENT_AGAIN,
	KEPT,          /* where it is: what is sent again may find another filter */
	KEPT_IF_IT_CAN /* in its place among what the kernel has */
};

/* More than their rings hold: a peer that puts more there keeps nobody from the kernel's queue. */
static uint32_t most_kept(const struct cw_datagram *socket)
{
	uint32_t most = 0;

	for (uint32_t i = 0; i < socket->in_count; i++)
		if (socket->in[i]->kept)
			most += CW_RING_MAX / CW_RECORD_HEADER + 1;
	return most;
}

/* turns: what the call may still wait. */
static void leave_receiving(struct cw_datagram *socket, enum unread unread, int *turns)
{
	bool locked = cw_rx_enter(socket);

	for (uint32_t i = 0; i < CW_FLOW_PEERS; i++) {
		struct cw_flow *flow = atomic_load_explicit(&socket->from[i], memory_order_relaxed);
		bool keep = flow && unread != SENT_AGAIN && (is_next(flow, socket->entry->fd, turns) || unread == KEPT);

		if (!flow || atomic_load_explicit(&socket->from[i], memory_order_relaxed) != flow)
			continue;
		flow->kept = keep && has_unread(flow);
		stop_receiving(flow, flow->kept);
		atomic_store_explicit(&socket->from[i], NULL, memory_order_relaxed);
	}
	socket->kept = most_kept(socket);
	cw_rx_exit(socket, locked);
}

void cw_datagram_leave(struct cw_datagram *socket, int fd, enum cw_reason reason)
{
	stays(socket, reason);
	cw_datagram_leave_sending(socket, fd);
	leave_receiving(socket, SENT_AGAIN, NULL);
}

static bool all_in_kernel(struct cw_datagram *socket)
{
	bool locked = cw_rx_enter(socket), all = true, later = false;

	for (uint32_t i = 0; i < socket->in_count && all; i++)
		all = !cw_flow_has(socket->in[i], &later) && !later;
	cw_rx_exit(socket, locked);
	return all;
}

void cw_datagram_leave_to(struct cw_datagram *socket, int fd, enum cw_reason reason)
{
	struct timespec turn = {.tv_nsec = 1000000};
	bool locked;

	cw_datagram_leave(socket, fd, reason);
	if (all_in_kernel(socket))
		return;
	locked = cw_rx_enter(socket);
	for (uint32_t i = 0; i < socket->in_count; i++)
		cw_service_ask_resend_flow(socket->in[i]);
	cw_rx_exit(socket, locked);
	for (int i = 0; i < 200 && !all_in_kernel(socket); i++)
		cw_raw(SYS_nanosleep, (long)&turn, 0, 0, 0, 0, 0);
}

void cw_datagrams_leave_process(enum cw_reason reason)
{
	for (uint32_t i = 0; i < datagrams_used(); i++)
		if (cw_datagrams[i].used && cw_datagrams[i].entry)
			cw_datagram_leave(&cw_datagrams[i], cw_datagrams[i].entry->fd, reason);
}

/* ---- options ---- */

/* The same of programs whose time has 64 bits, where long has not. */
#ifndef SO_RCVTIMEO_NEW
#define SO_RCVTIMEO_NEW 66
#define SO_SNDTIMEO_NEW 67
#endif

/* Those that change neither what a datagram looks like to its receiver nor who that is. All others make the socket stay with the kernel. */
static bool harmless(int level, int name)
{
	if (level == SOL_SOCKET)
		return name == SO_RCVBUF || name == SO_SNDBUF || name == SO_RCVBUFFORCE || name == SO_SNDBUFFORCE || name == SO_RCVTIMEO ||
		       name == SO_SNDTIMEO || name == SO_BROADCAST || name == SO_PRIORITY || name == SO_KEEPALIVE || name == SO_LINGER ||
		       name == SO_DONTROUTE || name == SO_REUSEADDR || name == SO_REUSEPORT || name == SO_NO_CHECK ||
		       name == SO_INCOMING_CPU || name == SO_BUSY_POLL || name == SO_RCVTIMEO_NEW || name == SO_SNDTIMEO_NEW;
	if (level == IPPROTO_IP)
		return name == IP_MULTICAST_TTL || name == IP_MULTICAST_LOOP || name == IP_MULTICAST_IF || name == IP_ADD_MEMBERSHIP ||
		       name == IP_DROP_MEMBERSHIP || name == IP_MULTICAST_ALL || name == IP_MTU_DISCOVER || name == IP_RECVERR ||
		       name == IP_TTL || name == IP_TOS;
	if (level == IPPROTO_IPV6)
		return name == IPV6_MULTICAST_HOPS || name == IPV6_MULTICAST_LOOP || name == IPV6_MULTICAST_IF || name == IPV6_JOIN_GROUP ||
		       name == IPV6_LEAVE_GROUP || name == IPV6_MULTICAST_ALL || name == IPV6_MTU_DISCOVER || name == IPV6_RECVERR ||
		       name == IPV6_V6ONLY || name == IPV6_UNICAST_HOPS;
	return false;
}

static void tell_rcvbuf(struct cw_datagram *socket, int fd)
{
	bool locked = cw_rx_enter(socket);
	socklen_t size = sizeof(socket->rcvbuf);

	cw_raw_getsockopt(fd, SOL_SOCKET, SO_RCVBUF, &socket->rcvbuf, &size);
	for (uint32_t i = 0; i < socket->in_count; i++)
		atomic_store_explicit(&socket->in[i]->slot->end[1].rcvbuf, socket->rcvbuf, memory_order_relaxed);
	cw_rx_exit(socket, locked);
}

static void note_option(struct cw_datagram *socket, int fd, int level, int name)
{
	if (!harmless(level, name)) {
		cw_datagram_leave(socket, fd, CW_REASON_option);
		return;
	}
	if (level == SOL_SOCKET && (name == SO_RCVBUF || name == SO_RCVBUFFORCE))
		tell_rcvbuf(socket, fd);
	/* Somebody else may be bound to the same address from now on. */
	if (level == SOL_SOCKET && (name == SO_REUSEADDR || name == SO_REUSEPORT) &&
	    atomic_load_explicit(&socket->moved_in, memory_order_relaxed))
		cw_datagram_leave(socket, fd, CW_REASON_option);
	if ((level == IPPROTO_IP && name == IP_RECVERR) || (level == IPPROTO_IPV6 && name == IPV6_RECVERR))
		socket->reports_errors = true;
}

void cw_datagram_option(int fd, int level, int name)
{
	struct cw_datagram *socket = cw_datagram_held(fd);

	if (!socket)
		return;
	note_option(socket, fd, level, name);
	cw_datagram_release(socket);
}

void cw_datagram_connected(struct cw_datagram *socket, int fd)
{
	struct sockaddr_storage name;
	socklen_t size = sizeof(name);
	int turns = ORDER_TURNS;

	/* Flows are between addresses, and these may be others now; what is unread stays. */
	cw_datagram_leave_sending(socket, fd);
	leave_receiving(socket, KEPT, &turns);
	socket->connected = (struct cw_peer){0};
	if (cw_raw(SYS_getpeername, fd, (long)&name, (long)&size, 0, 0, 0) == 0)
		socket->connected = cw_peer_of((const struct sockaddr *)&name, size);
}

/* ---- the end ---- */

/* The descriptor is gone: what is unread stays in the ring for the reader. */
static void end_sending(struct cw_flow *flow, int fd)
{
	cw_flow_drop(flow);
}

static void end_receiving(struct cw_flow *flow, int fd)
{
	uint64_t word;

	/* Another process that has the socket reads on, or is sent again what is unread. */
	if (flow->slot && cw_family_alone(flow->socket->entry)) {
		word = cw_state_mark(&flow->way->state, CW_MARK_LEFT | CW_MARK_READER_GONE);
		while (cw_state_of(word) != CW_TAKEN && !cw_state_step(&flow->way->state, &word, CW_TAKEN))
			;
	}
	cw_flow_drop(flow);
}

/* Who is bound to the address next begins by the kernel: what is unread goes there before. A handler that closes the socket in the middle
 * of a call of its own thread leaves that call what it uses: the last of the users forgets it (vacate). */
static void forget_peers(struct cw_datagram *socket, int fd)
{
	socket->peers_left = false;
	if (cw_tx_enter(socket)) {
		each_peer(socket, socket->to, fd, fd >= 0 ? stop_sending : end_sending);
		cw_unlock(&socket->tx_lock);
	} else {
		socket->peers_left = true;
	}
	if (!cw_rx_enter(socket)) {
		socket->peers_left = true;
		return;
	}
	each_peer(socket, socket->from, -1, end_receiving);
	while (socket->in_count)
		end_receiving(socket->in[0], -1); /* of an earlier connection */
	cw_rx_exit(socket, true);
}

static int another_descriptor(const struct cw_datagram *socket, int but)
{
	for (int fd = 0; fd < (int)cw_table_end(); fd++)
		if (fd != but && cw_datagram_at(socket, fd))
			return fd;
	return but;
}

static void vacate(struct cw_datagram *socket)
{
	struct cw_stream *entry = socket->entry;

	if (cw_unlikely(socket->peers_left))
		forget_peers(socket, -1);
	socket->entry = NULL;
	cw_entry_close(entry);
	atomic_store_explicit(&socket->used, false, memory_order_release);
}

void cw_datagram_awake(struct cw_datagram *socket)
{
	if (cw_unlikely(atomic_load_explicit(&socket->orphaned, memory_order_seq_cst)) &&
	    !atomic_load_explicit(&socket->asleep, memory_order_seq_cst) && !atomic_load_explicit(&socket->users, memory_order_seq_cst) &&
	    atomic_exchange_explicit(&socket->orphaned, false, memory_order_seq_cst))
		vacate(socket);
}

bool cw_datagram_hold(struct cw_datagram *socket, int fd)
{
	/* As a set (cw_set_hold): counted, then the table is looked at again; who closes takes the number out, then looks at the count. */
	atomic_fetch_add_explicit(&socket->users, 1, memory_order_seq_cst);
	atomic_thread_fence(memory_order_seq_cst);
	if (cw_likely(cw_datagram_at(socket, fd)))
		return true;
	cw_datagram_release(socket);
	return false;
}

struct cw_datagram *cw_datagram_held(int fd)
{
	struct cw_datagram *socket = cw_datagram_of(fd);

	return socket && cw_datagram_hold(socket, fd) ? socket : NULL;
}

void cw_datagram_release(struct cw_datagram *socket)
{
	int32_t users = atomic_load_explicit(&socket->users, memory_order_relaxed);

	/* A handler that forked had the child begin with none. */
	while (users > 0 &&
	       !atomic_compare_exchange_weak_explicit(&socket->users, &users, users - 1, memory_order_seq_cst, memory_order_relaxed))
		;
	cw_datagram_awake(socket);
}

void cw_datagram_cancelled(void *socket)
{
	cw_datagram_release(socket);
}

void cw_datagram_close(struct cw_datagram *socket, int fd)
{
	struct cw_stream *entry = socket->entry;
	int32_t before = atomic_fetch_sub_explicit(&entry->references, 1, memory_order_acq_rel);

	if (before > 1) {
		if (entry->fd == fd)
			entry->fd = another_descriptor(socket, fd);
		cw_set_forget_datagram(socket, fd, false);
		return;
	}
	atomic_thread_fence(memory_order_seq_cst); /* D: set_control.c */
	if (atomic_load_explicit(&socket->offered, memory_order_relaxed))
		cw_service_part_datagram(socket);
	cw_set_forget_datagram(socket, fd, true);
	cw_family_suspend(entry); /* of two that close at once the later one finds itself alone */
	forget_peers(socket, fd);
	/* In the kernel the socket lives on as long as a thread waits for it, and so do its place and its entry here. */
	atomic_store_explicit(&socket->orphaned, true, memory_order_seq_cst);
	atomic_thread_fence(memory_order_seq_cst);
	cw_datagram_awake(socket);
}

/* ---- processes ---- */

bool cw_datagrams_moved(void)
{
	for (uint32_t i = 0; i < datagrams_used(); i++)
		if (cw_datagrams[i].used && (cw_datagrams[i].moved_in || cw_datagrams[i].moved_out))
			return true;
	return false;
}

/* Two processes will hold it: its flows end, until one holds it alone again. */
void cw_datagrams_before_fork(bool *moved)
{
	int turns = ORDER_TURNS;

	cw_flows_before_fork();
	*moved |= cw_datagrams_moved();
	for (uint32_t i = 0; i < datagrams_used(); i++) {
		struct cw_datagram *socket = &cw_datagrams[i];

		if (!socket->used || !socket->entry)
			continue;
		cw_datagram_leave_sending(socket, socket->entry->fd);
		leave_receiving(socket, KEPT_IF_IT_CAN, &turns);
	}
}

static void forget_offer(struct cw_flow *flow, int fd)
{
	if (atomic_load_explicit(&flow->stage, memory_order_relaxed) == CW_FLOW_OFFERED)
		cw_flow_drop(flow);
}

void cw_datagrams_after_fork(void)
{
	for (uint32_t i = 0; i < datagrams_used(); i++) {
		struct cw_datagram *socket = &cw_datagrams[i];

		if (!socket->used || !socket->entry)
			continue;
		cw_lock_after_fork(&socket->tx_lock);
		cw_lock_after_fork(&socket->rx_lock);
		socket->asleep = socket->users = 0;
		if (socket->orphaned) {
			cw_datagram_awake(socket);
			continue;
		}
		each_peer(socket, socket->to, -1, forget_offer);
		each_peer(socket, socket->from, -1, forget_offer);
		atomic_store_explicit(&cw_own_book.entry[socket->entry->number].protocol, 1, memory_order_relaxed);
	}
}

void cw_datagrams_hang_up(void)
{
	for (uint32_t i = 0; i < CW_FLOWS; i++) {
		uint8_t offered = CW_FLOW_OFFERED;
		struct cw_datagram *socket = cw_flows[i].socket; /* once it is a candidate it may make way for another's */

		if (atomic_compare_exchange_strong_explicit(&cw_flows[i].stage, &offered, CW_FLOW_COUNTING, memory_order_relaxed,
							    memory_order_relaxed)) {
			cw_flows[i].calls = 0;
			atomic_fetch_sub_explicit(&socket->offered, 1, memory_order_relaxed);
		}
	}
}

struct cw_datagram *cw_datagram_by_cookie(uint64_t cookie)
{
	for (uint32_t i = 0; i < datagrams_used(); i++) {
		struct cw_datagram *socket = &cw_datagrams[i];

		if (socket->used && socket->entry && (socket->moved_in || socket->moved_out) && socket->entry->cookie == cookie)
			return socket;
	}
	return NULL;
}
