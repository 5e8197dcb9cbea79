/* What comes in. */
#include "transport/tcpip/ip_input.h"

#include "transport/tcpip/core.h"
#include "transport/tcpip/icmp.h"
#include "transport/tcpip/icmp_error.h"
#include "transport/tcpip/tcp.h"
#include "transport/tcpip/udp_socket.h"

static void tcp_input(struct cw_tcpip *core, const struct cw_frame *frame, const struct cw_packet *packet)
{
	struct cw_segment segment;
	enum cw_segment_fault fault;

	/* RFC 1122 4.2.3.10 */
	if (!cw_ip_is_host(&packet->source) || !cw_ip_is_host(&packet->destination) || cw_address_is_broadcast(core, &packet->source) ||
	    cw_address_is_broadcast(core, &packet->destination)) {
		cw_count(core, CW_TCPIP_MALFORMED);
		return;
	}
	fault = cw_segment_parse(frame, packet, &segment);
	if (fault == CW_SEGMENT_GOOD)
		cw_tcp_input(core, &segment);
	else
		cw_count(core, fault == CW_SEGMENT_CHECKSUM ? CW_TCPIP_CHECKSUM : CW_TCPIP_MALFORMED);
}

static void deliver(struct cw_tcpip *core, const struct cw_frame *frame, const struct cw_packet *packet)
{
	/* What the link brought to several is for several (RFC 1122 3.3.6). */
	if (packet->link_group && !cw_ip_is_multicast(&packet->destination) && !cw_address_is_broadcast(core, &packet->destination)) {
		cw_count(core, CW_TCPIP_MALFORMED);
		return;
	}
	if (packet->protocol == CW_PROTOCOL_TCP) {
		tcp_input(core, frame, packet);
	} else if (packet->protocol == CW_PROTOCOL_ICMP || packet->protocol == CW_PROTOCOL_ICMP6) {
		cw_icmp_input(core, frame, packet);
	} else if (packet->protocol == CW_PROTOCOL_UDP) {
		cw_udp_input(core, frame, packet);
	} else if (packet->protocol == CW_PROTOCOL_IGMP && cw_ip_is_4(&packet->source)) {
		cw_igmp_input(core, frame, packet);
	} else {
		cw_count(core, CW_TCPIP_NOT_TCP);
		cw_icmp_protocol_unknown(core, frame, packet);
	}
}

static bool parse(const struct cw_frame *frame, struct cw_packet *packet, bool link_group)
{
	const struct cw_piece *head = &frame->piece[0];

	packet->link_group = link_group;
	packet->problem = CW_PROBLEM_NONE;
	if (!frame->pieces || !head->length)
		return false;
	if (head->at[0] >> 4 == 4)
		return cw_ip4_parse(head->at, head->length, frame->length, packet);
	return cw_ip6_parse(head->at, head->length, frame->length, packet);
}

static void refuse(struct cw_tcpip *core, const struct cw_frame *frame, struct cw_packet *packet)
{
	cw_count(core, CW_TCPIP_MALFORMED);
	if (packet->problem != CW_PROBLEM_NONE)
		cw_icmp_problem(core, frame, packet, packet->problem, packet->pointer);
}

/* A datagram put together may not itself be a fragment. */
static void fragment_input(struct cw_tcpip *core, const struct cw_frame *frame, struct cw_packet *packet)
{
	struct cw_frame whole;
	struct cw_reassembly *reassembly = cw_reassembly_input(core, frame, packet, &whole);

	if (!reassembly)
		return;
	if (!parse(&whole, packet, packet->link_group))
		refuse(core, &whole, packet);
	else if (packet->fragment)
		cw_count(core, CW_TCPIP_MALFORMED);
	else
		deliver(core, &whole, packet);
	cw_reassembly_free(core, reassembly);
}

void cw_ip_input(struct cw_tcpip *core, const struct cw_frame *frame, bool link_group)
{
	struct cw_packet packet;

	if (!parse(frame, &packet, link_group))
		refuse(core, frame, &packet);
	else if (packet.fragment)
		fragment_input(core, frame, &packet);
	else
		deliver(core, frame, &packet);
}
