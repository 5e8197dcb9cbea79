/* UDP sockets: opened, connected, told, closed. */
#include "transport/tcpip/udp_socket.h"

#include <errno.h>

#include "transport/tcpip/group.h"

#define LEAST_RING 4096u

static bool ring_is_good(const unsigned char *ring, uint32_t size)
{
	return ring && size >= LEAST_RING && (size & (size - 1)) == 0 && (uintptr_t)ring % 8 == 0;
}

static bool is_any(const struct cw_ip_address *address)
{
	static const uint8_t zeroes[4];

	return cw_ip_is_any(address) || (cw_ip_is_4(address) && memcmp(address->octet + 12, zeroes, 4) == 0);
}

bool cw_udp_takes_family(const struct cw_udp *udp, const struct cw_ip_address *address)
{
	if (cw_ip_is_any(&udp->local.address))
		return !cw_ip_is_4(address) || !udp->settings.only_ip6;
	return cw_ip_is_4(&udp->local.address) == cw_ip_is_4(address);
}

/* All that have it share it, so the first tells. */
static bool is_taken(struct cw_tcpip *core, const struct cw_ip_endpoint *local, bool reuse)
{
	struct cw_list *bucket = cw_udp_bound(core, local->port);

	for (struct cw_list *entry = bucket->next; entry != bucket; entry = entry->next) {
		const struct cw_udp *udp = cw_entry(entry, struct cw_udp, same_bound);

		if (udp->bound.port == local->port && memcmp(&udp->bound.address, &local->address, sizeof(local->address)) == 0)
			return !reuse || !udp->settings.reuse;
	}
	return false;
}

struct cw_udp *cw_udp_open(struct cw_tcpip *core, const struct cw_ip_endpoint *local, const struct cw_udp_rings *rings,
			   const struct cw_udp_settings *settings)
{
	static const struct cw_udp_settings none;
	struct cw_udp *udp;

	settings = settings ? settings : &none;
	if (!local->port || is_taken(core, local, settings->reuse) || !ring_is_good(rings->send, rings->send_size) ||
	    !ring_is_good(rings->receive, rings->receive_size))
		return NULL;
	udp = cw_pool_take(&core->udp_pool);
	if (!udp)
		return NULL;
	udp->core = core;
	udp->flow.kind = CW_FLOW_UDP;
	udp->bound = udp->local = *local;
	udp->settings = *settings;
	udp->settings.hop_limit = settings->hop_limit ? settings->hop_limit : 64;
	udp->settings.group_hop_limit = settings->group_hop_limit ? settings->group_hop_limit : 1;
	udp->rings = *rings;
	cw_list_init(&udp->port);
	cw_list_init(&udp->same_bound);
	cw_list_init(&udp->transmit);
	cw_list_init(&udp->event);
	cw_list_init(&udp->memberships);
	cw_list_add_last(cw_udp_port(core, local->port), &udp->port);
	cw_list_add_after(cw_udp_bound(core, local->port), &udp->same_bound);
	return udp;
}

static void unfind(struct cw_udp *udp)
{
	cw_list_remove(&udp->port);
	if (udp->flow.in_table)
		cw_flow_remove(&udp->core->udp_table, &udp->flow);
}

bool cw_udp_connect(struct cw_udp *udp, const struct cw_ip_address *local, const struct cw_ip_endpoint *remote)
{
	struct cw_tcpip *core = udp->core;

	if (udp->closing)
		return false;
	if (remote && (!remote->port || is_any(&remote->address) || !cw_udp_takes_family(udp, &remote->address)))
		return false;
	if (remote && is_any(&udp->bound.address) && !local)
		local = cw_address_source(core, &remote->address);
	if (remote && is_any(&udp->bound.address) && (!local || cw_ip_is_4(local) != cw_ip_is_4(&remote->address) || !cw_ip_is_host(local)))
		return false;
	unfind(udp);
	udp->connected = remote;
	udp->local = udp->bound;
	if (remote) {
		udp->remote = *remote;
		if (is_any(&udp->bound.address))
			udp->local.address = *local;
		udp->flow.key = (struct cw_flow_key){udp->local.address, remote->address, udp->local.port, remote->port};
		udp->flow.hash = cw_flow_hash(&core->udp_table, &udp->flow.key);
		cw_flow_add(&core->udp_table, &udp->flow);
	}
	if (!remote || cw_ip_is_multicast(&udp->local.address))
		cw_list_add_last(cw_udp_port(core, udp->local.port), &udp->port);
	return true;
}

void cw_udp_tell(struct cw_udp *udp, unsigned events)
{
	udp->events |= events;
	if (cw_list_empty(&udp->event))
		cw_list_add_last(&udp->core->udp_events, &udp->event);
}

void cw_udp_ready(struct cw_udp *udp)
{
	if (cw_list_empty(&udp->transmit))
		cw_list_add_last(&udp->core->udp_transmit, &udp->transmit);
}

/* Nobody reaches it any more. */
static void unbind(struct cw_udp *udp)
{
	unfind(udp);
	cw_list_remove(&udp->same_bound);
	cw_group_leave_all(udp);
}

static void gone(struct cw_udp *udp)
{
	if (udp->gone)
		return;
	udp->gone = udp->closing = true;
	unbind(udp);
	cw_list_remove(&udp->transmit);
	cw_udp_tell(udp, CW_UDP_GONE);
}

void cw_udp_broken(struct cw_udp *udp)
{
	cw_count(udp->core, CW_TCPIP_BROKEN);
	udp->error = EPROTO;
	cw_udp_tell(udp, CW_UDP_ERROR);
	gone(udp);
}

void cw_udp_written(struct cw_udp *udp, uint64_t written, uint64_t now)
{
	cw_core_clock(udp->core, now);
	if (udp->closing)
		return;
	if (written < udp->written || written - udp->sent > udp->rings.send_size || written % CW_UDP_RECORD_ALIGN) {
		cw_udp_broken(udp);
		return;
	}
	udp->written = written;
	if (written != udp->sent)
		cw_udp_ready(udp);
}

void cw_udp_read(struct cw_udp *udp, uint64_t read, uint64_t now)
{
	cw_core_clock(udp->core, now);
	if (udp->closing)
		return;
	if (read < udp->read || read > udp->received || read % CW_UDP_RECORD_ALIGN)
		cw_udp_broken(udp);
	else
		udp->read = read;
}

void cw_udp_close(struct cw_udp *udp, uint64_t now)
{
	cw_core_clock(udp->core, now);
	if (udp->closing)
		return;
	udp->closing = true;
	unbind(udp);
	if (udp->sent == udp->written)
		gone(udp);
	else
		cw_udp_ready(udp);
}

bool cw_udp_event(struct cw_tcpip *core, struct cw_udp_event *event)
{
	struct cw_udp *udp;

	if (cw_list_empty(&core->udp_events))
		return false;
	udp = cw_entry(core->udp_events.next, struct cw_udp, event);
	cw_list_remove(&udp->event);
	*event = (struct cw_udp_event){
		.socket = udp,
		.owner = udp->rings.owner,
		.events = udp->events,
		.received = udp->received,
		.sent = udp->sent,
		.dropped = udp->dropped,
		.error = udp->error,
		.refusal = udp->refusal,
	};
	udp->events = 0;
	udp->error = udp->refusal = 0;
	if (event->events & CW_UDP_GONE)
		cw_pool_give(&core->udp_pool, udp);
	else if (udp->closing && udp->sent == udp->written)
		gone(udp);
	else if (udp->sent != udp->written)
		cw_udp_ready(udp);
	return true;
}
