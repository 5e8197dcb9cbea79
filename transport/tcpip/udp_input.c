/* Datagrams in (RFC 768, 1122 4.1.3): which socket, and into its ring. */
#include "transport/tcpip/udp_socket.h"

#include <errno.h>

#include "transport/tcpip/checksum.h"
#include "transport/tcpip/frame.h"
#include "transport/tcpip/group.h"
#include "transport/tcpip/icmp_error.h"

static void copy_in(struct cw_udp *udp, uint64_t place, const struct cw_frame *frame, uint32_t at, uint32_t length)
{
	uint32_t size = udp->rings.receive_size, from = (uint32_t)(place & (size - 1)), first = cw_min32(length, size - from);

	cw_frame_copy(frame, at, udp->rings.receive + from, first);
	cw_frame_copy(frame, at + first, udp->rings.receive, length - first);
}

static void put(struct cw_udp *udp, const struct cw_udp_arrival *arrival, uint32_t skip, uint32_t length, uint32_t segment_size)
{
	uint32_t most = udp->settings.truncate ? udp->settings.truncate : length, kept = cw_min32(length, most);
	struct cw_udp_record record = {
		.time = udp->core->now,
		.remote = arrival->remote.address,
		.local = arrival->local.address,
		.length = kept,
		.datagram = length,
		.remote_port = arrival->remote.port,
		.segment_size = (uint16_t)segment_size,
		.hop_limit = arrival->hop_limit,
		.traffic_class = arrival->traffic_class,
	};
	uint64_t space = cw_udp_record_space(kept);

	if (space > udp->rings.receive_size - (udp->received - udp->read)) {
		udp->dropped++;
		cw_count(udp->core, CW_TCPIP_UDP_DROPPED);
		cw_udp_tell(udp, CW_UDP_DROPPED);
		return;
	}
	memcpy(udp->rings.receive + (udp->received & (udp->rings.receive_size - 1)), &record, sizeof(record));
	copy_in(udp, udp->received + sizeof(record), arrival->frame, arrival->at + skip, kept);
	udp->received += space;
	cw_count(udp->core, CW_TCPIP_UDP_IN);
	cw_udp_tell(udp, CW_UDP_READABLE);
}

/* Several datagrams in one frame are one record for who wants that. */
static void deliver(struct cw_udp *udp, const struct cw_udp_arrival *arrival)
{
	uint32_t size = arrival->segment_size;

	if (!size || size >= arrival->length) {
		put(udp, arrival, 0, arrival->length, 0);
		return;
	}
	if (udp->settings.merged && !udp->settings.truncate) {
		put(udp, arrival, 0, arrival->length, size);
		return;
	}
	for (uint32_t done = 0; done < arrival->length; done += size)
		put(udp, arrival, done, cw_min32(size, arrival->length - done), 0);
}

/* How well an unconnected socket fits; 0: not at all. */
static unsigned fit(const struct cw_udp *udp, const struct cw_ip_endpoint *local)
{
	if (udp->local.port != local->port || !cw_udp_takes_family(udp, &local->address))
		return 0;
	if (cw_ip_is_any(&udp->local.address))
		return 1;
	if (memcmp(&udp->local.address, &local->address, sizeof(local->address)) == 0)
		return 3;
	return cw_ip_is_4(&udp->local.address) && cw_get32(udp->local.address.octet + 12) == 0 ? 2 : 0;
}

/* Those that share an endpoint share its senders, by a hash: each sender always meets the same one while they stay. */
static struct cw_udp *choose(struct cw_tcpip *core, const struct cw_udp_arrival *arrival, unsigned best, uint32_t count)
{
	struct cw_flow_key key = {arrival->local.address, arrival->remote.address, arrival->local.port, arrival->remote.port};
	uint32_t index = count > 1 ? cw_flow_hash(&core->udp_table, &key) % count : 0;
	struct cw_list *bucket = cw_udp_port(core, arrival->local.port);

	for (struct cw_list *entry = bucket->next; entry != bucket; entry = entry->next) {
		struct cw_udp *udp = cw_entry(entry, struct cw_udp, port);

		if (!udp->connected && fit(udp, &arrival->local) == best && index-- == 0)
			return udp;
	}
	return NULL;
}

static struct cw_udp *find(struct cw_tcpip *core, const struct cw_udp_arrival *arrival)
{
	struct cw_flow_key key = {arrival->local.address, arrival->remote.address, arrival->local.port, arrival->remote.port};
	struct cw_flow *flow = cw_flow_find(&core->udp_table, &key, cw_flow_hash(&core->udp_table, &key));
	struct cw_list *bucket = cw_udp_port(core, arrival->local.port);
	unsigned best = 0;
	uint32_t count = 0;

	if (flow)
		return cw_entry(flow, struct cw_udp, flow);
	for (struct cw_list *entry = bucket->next; entry != bucket; entry = entry->next) {
		const struct cw_udp *udp = cw_entry(entry, struct cw_udp, port);
		unsigned score = udp->connected ? 0 : fit(udp, &arrival->local);

		if (score > best) {
			best = score;
			count = 0;
		}
		count += score == best;
	}
	return best ? choose(core, arrival, best, count) : NULL;
}

bool cw_udp_deliver_to_all(struct cw_tcpip *core, const struct cw_udp_arrival *arrival)
{
	struct cw_list *bucket = cw_udp_port(core, arrival->local.port);
	bool group = cw_ip_is_multicast(&arrival->local.address), some = false;

	for (struct cw_list *entry = bucket->next; entry != bucket; entry = entry->next) {
		struct cw_udp *udp = cw_entry(entry, struct cw_udp, port);

		if (!fit(udp, &arrival->local) || (group && !cw_group_takes(udp, &arrival->local.address, &arrival->remote.address)))
			continue;
		if (udp->connected && (udp->remote.port != arrival->remote.port ||
				       memcmp(&udp->remote.address, &arrival->remote.address, sizeof(udp->remote.address)) != 0))
			continue;
		deliver(udp, arrival);
		some = true;
	}
	return some;
}

/* RFC 768, 8200 8.1: a sum of zero means none was made, which IPv6 doesn't allow. */
static bool checksum_is_right(const struct cw_frame *frame, const struct cw_packet *packet, uint32_t length, uint16_t field)
{
	uint64_t sum;

	if (field == 0 && frame->checksum != CW_CHECKSUM_PARTIAL)
		return cw_ip_is_4(&packet->source);
	if (frame->checksum != CW_CHECKSUM_COMPLETE)
		return true;
	sum = cw_checksum_pseudo(&packet->source, &packet->destination, CW_PROTOCOL_UDP, length);
	return cw_checksum_fold(cw_checksum_frame(sum, frame, packet->at, length)) == 0xffff;
}

/* A sender is one host, or nobody: who has no address yet (RFC 1122 3.2.1.3) asks all. */
static bool sender_may_be(const struct cw_tcpip *core, const struct cw_packet *packet, bool several)
{
	if (cw_ip_is_multicast(&packet->source) || cw_address_is_broadcast(core, &packet->source))
		return false;
	if (!cw_ip_is_host(&packet->source))
		return several && cw_ip_is_4(&packet->source) && cw_get32(packet->source.octet + 12) == 0;
	return true;
}

void cw_udp_input(struct cw_tcpip *core, const struct cw_frame *frame, const struct cw_packet *packet)
{
	const unsigned char *head = frame->piece[0].at + packet->at;
	bool several = cw_ip_is_multicast(&packet->destination) || cw_address_is_broadcast(core, &packet->destination);
	struct cw_udp_arrival arrival;
	struct cw_udp *udp;
	uint32_t length;

	if (packet->length < CW_UDP_HEADER || cw_frame_at_once(frame, packet->at, CW_UDP_HEADER) < CW_UDP_HEADER) {
		cw_count(core, CW_TCPIP_MALFORMED);
		return;
	}
	length = cw_get16(head + 4);
	if (length < CW_UDP_HEADER || length > packet->length || !cw_get16(head + 2) || !sender_may_be(core, packet, several)) {
		cw_count(core, CW_TCPIP_MALFORMED);
		return;
	}
	if (!checksum_is_right(frame, packet, length, cw_get16(head + 6))) {
		cw_count(core, CW_TCPIP_CHECKSUM);
		return;
	}
	arrival = (struct cw_udp_arrival){
		.frame = frame,
		.at = packet->at + CW_UDP_HEADER,
		.length = length - CW_UDP_HEADER,
		.segment_size = frame->segment_size,
		.local = {packet->destination, cw_get16(head + 2)},
		.remote = {packet->source, cw_get16(head)},
		.hop_limit = packet->hop_limit,
		.traffic_class = packet->traffic_class,
	};
	if (several) {
		if (!cw_udp_deliver_to_all(core, &arrival))
			cw_count(core, CW_TCPIP_UDP_NO_SOCKET);
		return;
	}
	udp = find(core, &arrival);
	if (udp) {
		deliver(udp, &arrival);
		return;
	}
	cw_count(core, CW_TCPIP_UDP_NO_SOCKET);
	cw_icmp_port_unreachable(core, frame, packet);
}

/* RFC 8085 5.2, 1122 4.1.3.3: only who is connected can be told, as only then it is certain who it is about; of the path, all hear. */
void cw_udp_icmp(struct cw_tcpip *core, const struct cw_flow_key *key, int error, bool hard, uint32_t mtu)
{
	struct cw_flow *flow = cw_flow_find(&core->udp_table, key, cw_flow_hash(&core->udp_table, key));
	struct cw_udp_arrival arrival = {.local = {key->local, key->local_port}, .remote = {key->remote, key->remote_port}};
	struct cw_udp *udp = find(core, &arrival);

	if (!udp || !udp->sent) {
		cw_count(core, CW_TCPIP_ICMP_REFUSED);
		return;
	}
	cw_count(core, CW_TCPIP_ICMP);
	if (mtu) {
		cw_path_mtu_lower(core, &key->remote, mtu);
		hard = !udp->settings.fragment;
		error = EMSGSIZE;
	}
	if (!flow || !hard)
		return;
	udp->error = error;
	cw_udp_tell(udp, CW_UDP_ERROR);
}
