/* IPv6 (RFC 8200): the chain of headers down to the transport's, with limits. */
#include "transport/tcpip/bytes.h"
#include "transport/tcpip/packet.h"

#include <string.h>

#define HEADER       40u
#define HOP_BY_HOP   0u
#define ROUTING      43u
#define FRAGMENT     44u
#define DESTINATION  60u
#define MOST_HEADERS 8u
#define ROUTER_ALERT 5u

static bool is_extension(uint8_t next)
{
	return next == HOP_BY_HOP || next == ROUTING || next == FRAGMENT || next == DESTINATION;
}

static bool wrong(struct cw_packet *packet, enum cw_packet_problem problem, uint32_t pointer)
{
	packet->problem = problem;
	packet->pointer = pointer;
	return false;
}

/* Options (4.2): who doesn't know one acts by its two highest bits; we know padding, and the router alert. */
static bool options_are_harmless(const unsigned char *head, uint32_t at, uint32_t end, struct cw_packet *packet)
{
	while (at < end) {
		const unsigned char *option = head + at;

		if (option[0] == 0) {
			at++;
			continue;
		}
		if (end - at < 2 || option[1] > end - at - 2)
			return false;
		if (option[0] == ROUTER_ALERT && option[1] == 2 && cw_get16(option + 2) == 0)
			packet->router_alert = true;
		if (option[0] >> 6 == 1)
			return false;
		packet->answer_to_group = option[0] >> 6 == 2;
		if (option[0] >> 6 != 0)
			return wrong(packet, CW_PROBLEM_OPTION, at);
		at += 2u + option[1];
	}
	return true;
}

static void take_fragment(const unsigned char *head, uint32_t at, uint32_t named_at, struct cw_packet *packet)
{
	uint32_t field = cw_get16(head + at + 2);

	packet->fragment_offset = field & 0xfff8u;
	packet->more_fragments = field & 1;
	packet->fragment = packet->fragment_offset || packet->more_fragments; /* else it is a whole packet (RFC 6946) */
	packet->fragment_id = cw_get32(head + at + 4);
	packet->fragment_at = at;
	packet->named_at = named_at;
}

/* From `at` on, where a header of kind `next` begins, which is named at `named_at`. */
static bool walk(const unsigned char *head, uint32_t length, uint32_t at, uint8_t next, uint32_t named_at, struct cw_packet *packet)
{
	bool first = at == HEADER;

	for (unsigned count = 0; is_extension(next); count++) {
		uint32_t size;

		if (next == HOP_BY_HOP && !first)
			return wrong(packet, CW_PROBLEM_NEXT_HEADER, named_at);
		if (count == MOST_HEADERS || length < at || length - at < 8)
			return false;
		size = next == FRAGMENT ? 8 : (head[at + 1] + 1u) * 8;
		if (size > length - at)
			return false;
		if (next == ROUTING && head[at + 3] != 0) /* segments left: not for us to forward (4.4) */
			return wrong(packet, CW_PROBLEM_FIELD, at + 2);
		if (next == FRAGMENT)
			take_fragment(head, at, named_at, packet);
		if ((next == HOP_BY_HOP || next == DESTINATION) && !options_are_harmless(head, at + 2, at + size, packet))
			return false;
		next = head[at];
		named_at = at;
		at += size;
		first = false;
		if (packet->fragment)
			break;
	}
	packet->protocol = next;
	packet->at = at;
	packet->pointer = named_at;
	return true;
}

/* A header is wrong. Whether an error may be told of it depends on what lies behind (RFC 4443 2.4(e)), if that can be seen. */
static void look_behind(const unsigned char *head, uint32_t length, uint32_t end, struct cw_packet *packet)
{
	uint32_t at = HEADER;
	uint8_t next = head[6];

	for (unsigned count = 0; is_extension(next) && count < MOST_HEADERS; count++) {
		uint32_t size;

		if (length - at < 8 || (next == FRAGMENT && cw_get16(head + at + 2) >= 8))
			return;
		size = next == FRAGMENT ? 8 : (head[at + 1] + 1u) * 8;
		if (size > length - at)
			return;
		next = head[at];
		at += size;
	}
	if (next != CW_PROTOCOL_ICMP6 || at == length)
		return;
	packet->protocol = next;
	packet->at = at;
	packet->length = end - at;
}

bool cw_ip6_parse(const unsigned char *head, uint32_t head_length, uint32_t frame_length, struct cw_packet *packet)
{
	uint32_t end;

	packet->problem = CW_PROBLEM_NONE;
	packet->protocol = CW_PROTOCOL_NONE6;
	packet->at = HEADER;
	packet->length = 0;
	packet->fragment_offset = 0;
	packet->fragment = packet->more_fragments = packet->router_alert = packet->answer_to_group = false;
	if (head_length < HEADER || head[0] >> 4 != 6)
		return false;
	end = HEADER + cw_get16(head + 4);
	if (end > frame_length)
		return false;
	packet->length = end - HEADER;
	memcpy(packet->source.octet, head + 8, 16);
	memcpy(packet->destination.octet, head + 24, 16);
	/* Mapped addresses are our own way to write IPv4: on the wire they mean somebody tries to be taken for one. */
	if (cw_ip_is_4(&packet->source) || cw_ip_is_4(&packet->destination))
		return false;
	packet->traffic_class = (uint8_t)(head[0] << 4 | head[1] >> 4);
	packet->ecn = packet->traffic_class & CW_ECN_MASK;
	packet->hop_limit = head[7];
	head_length = cw_min32(head_length, end);
	if (!walk(head, head_length, HEADER, head[6], 6, packet)) {
		look_behind(head, head_length, end, packet);
		return false;
	}
	packet->length = end - packet->at;
	return true;
}

bool cw_ip6_chain_is_whole(const unsigned char *at, uint32_t length, uint8_t next)
{
	uint32_t least = 0;

	for (unsigned count = 0; is_extension(next) && count < MOST_HEADERS; count++) {
		uint32_t size = 8;

		if (length < 8)
			return false;
		if (next != FRAGMENT)
			size = (at[1] + 1u) * 8;
		if (size > length)
			return false;
		next = at[0];
		at += size;
		length -= size;
	}
	if (next == CW_PROTOCOL_TCP)
		least = 20;
	else if (next == CW_PROTOCOL_UDP || next == CW_PROTOCOL_ICMP6)
		least = 8;
	return length >= least;
}
