#include "service_inside.h"

#include "datagram.h"
#include "fork.h"

#define SHORT_PART_NS 20000000u
#define LONG_PART_NS  1000000000u

/* An offer in the making: of a socket that is held, by a flow that is its own as long as it is of this generation. */
struct offering {
	struct cw_flow *flow;
	uint32_t generation;
	struct cw_datagram *socket;
	int fd;
};

static struct cw_token token_in(const struct cw_flow *flow, uint32_t generation)
{
	return (struct cw_token){(uint32_t)(flow - cw_flows) | CW_FLOW_TOKEN, generation};
}

static struct cw_token token_of(const struct cw_flow *flow)
{
	return token_in(flow, atomic_load_explicit(&flow->generation, memory_order_relaxed));
}

static bool admits_flow(const struct cw_flow *flow, int fd)
{
	struct sockaddr_storage local = {0};
	struct in6_addr address;
	socklen_t size = sizeof(local);
	uint16_t port;

	if (cw_raw(SYS_getsockname, fd, (long)&local, (long)&size, 0, 0, 0) < 0)
		return false;
	cw_service_address(&local, &address, &port);
	return cw_policy_admits(&cw_policy, &address, port, &flow->peer.address, (uint16_t)flow->peer.port);
}

static bool steps(const struct offering *o, uint8_t from, uint8_t to)
{
	return cw_flow_step(o->flow, o->generation, from, to);
}

static void say_reason(const struct cw_datagram *socket, enum cw_reason reason)
{
	atomic_store_explicit(&cw_own_book.entry[socket->entry->number].reason, reason, memory_order_relaxed);
}

static void keep_flow(const struct offering *o, enum cw_reason reason)
{
	if (steps(o, CW_FLOW_COUNTING, CW_FLOW_STAYS) && !o->socket->moved_in && !o->socket->moved_out)
		say_reason(o->socket, reason);
}

static void offer_flow_locked(const struct offering *o)
{
	struct cw_flow *flow = o->flow;
	struct cw_stream *entry = o->socket->entry;
	struct cw_message offer = cw_service_message(CW_FLOW);
	socklen_t size = sizeof(entry->cookie);

	if (!cw_service_register_locked()) {
		flow->calls = 0;
		say_reason(o->socket, cw_moving_reason);
		return;
	}
	cw_kept_say(cw_service_say);
	if (!cw_datagram_at(o->socket, o->fd))
		return; /* put over since the call began */
	if (!admits_flow(flow, o->fd)) {
		keep_flow(o, CW_REASON_policy);
		return;
	}
	if (!cw_service_is_own(&flow->peer.address)) {
		keep_flow(o, CW_REASON_remote_host);
		return;
	}
	if (cw_raw_getsockopt(o->fd, SOL_SOCKET, SO_COOKIE, &entry->cookie, &size) < 0) {
		keep_flow(o, CW_REASON_option);
		return;
	}
	offer.flow.token = token_in(flow, o->generation);
	offer.flow.cookie = entry->cookie;
	offer.flow.address = flow->peer.address;
	offer.flow.port = flow->peer.port;
	offer.flow.sends = flow->sends;
	atomic_fetch_add_explicit(&o->socket->offered, 1, memory_order_relaxed);
	if (!steps(o, CW_FLOW_COUNTING, CW_FLOW_OFFERED)) {
		atomic_fetch_sub_explicit(&o->socket->offered, 1, memory_order_relaxed);
		return;
	}
	if (!o->socket->moved_in && !o->socket->moved_out)
		say_reason(o->socket, CW_REASON_peer_absent);
	if (cw_service_send(atomic_load_explicit(&cw_service_fd, memory_order_relaxed), &offer, o->fd, MSG_DONTWAIT)) {
		atomic_store_explicit(&flow->offer, ++cw_service.offers, memory_order_relaxed);
		/* Put over meanwhile: the service may have been given something else. */
		if (!cw_datagram_at(o->socket, o->fd) && steps(o, CW_FLOW_OFFERED, CW_FLOW_STAYS))
			atomic_fetch_sub_explicit(&o->socket->offered, 1, memory_order_relaxed);
		return;
	}
	if (!cw_service_is_there()) {
		cw_service_hang_up();
		return;
	}
	flow->calls = 0; /* it has much to read: later */
	if (steps(o, CW_FLOW_OFFERED, CW_FLOW_COUNTING))
		atomic_fetch_sub_explicit(&o->socket->offered, 1, memory_order_relaxed);
}

void cw_service_offer_flow(struct cw_flow *flow, uint32_t generation, int fd)
{
	struct offering o = {flow, generation, flow->socket, fd};
	int error = errno;

	atomic_thread_fence(memory_order_acquire);
	if (atomic_load_explicit(&flow->generation, memory_order_relaxed) != generation)
		return; /* it may be another socket's */
	if (!cw_moving) {
		keep_flow(&o, cw_moving_reason);
	} else if (!cw_family_alone(o.socket->entry)) {
		flow->calls = 0;
		say_reason(o.socket, CW_REASON_inherited);
	} else if (cw_service_lock()) {
		offer_flow_locked(&o);
		cw_service_unlock();
	}
	errno = error;
}

static bool flow_taken_up(const struct cw_flow *flow)
{
	uint32_t offer = atomic_load_explicit(&flow->offer, memory_order_relaxed);

	return !offer || cw_service_took(&flow->offer);
}

static bool all_taken_up(const struct cw_datagram *socket)
{
	for (uint32_t k = 0; k < CW_FLOW_PEERS; k++)
		if ((socket->to[k] && !flow_taken_up(socket->to[k])) || (socket->from[k] && !flow_taken_up(socket->from[k])))
			return false;
	return true;
}

/*
 * As cw_service_part: the port is bound until the service has closed what it was shown. Nothing but that frees it, so on a busy machine it
 * is waited for longer than there; but not again and again where the service has been stopped.
 */
void cw_service_part_datagram(const struct cw_datagram *socket)
{
	static _Atomic bool stands_still;
	uint64_t patience = atomic_load_explicit(&stands_still, memory_order_relaxed) ? SHORT_PART_NS : LONG_PART_NS,
		 start = cw_monotonic_ns();
	struct timespec turn = {.tv_nsec = 50000};
	bool all = all_taken_up(socket);

	while (!all && cw_monotonic_ns() - start < patience && cw_service_is_there()) {
		cw_raw(SYS_nanosleep, (long)&turn, 0, 0, 0, 0, 0);
		if (cw_monotonic_ns() - start > SHORT_PART_NS)
			turn.tv_nsec = 1000000;
		all = all_taken_up(socket);
	}
	atomic_store_explicit(&stands_still, !all, memory_order_relaxed);
}

void cw_service_withdraw_flow(const struct cw_flow *flow)
{
	struct cw_message message = cw_service_message(CW_WITHDRAW);

	message.offer.token = token_of(flow);
	cw_service_tell(&message);
}

void cw_service_release_flow(const struct cw_flow *flow)
{
	struct cw_token token = token_of(flow);

	cw_service_tell_slot(CW_RELEASE, &token, flow->arena, flow->slot_number, flow->sends ? 0 : 1);
}

void cw_service_ask_resend_flow(const struct cw_flow *flow)
{
	struct cw_token token = token_of(flow);

	cw_service_tell_slot(CW_RESEND, &token, flow->arena, flow->slot_number, 1);
}
