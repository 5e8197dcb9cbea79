/* The link of conformance scenarios. */
#include "script_link.h"

#include <stdio.h>
#include <string.h>

#include "transport/tcpip/bytes.h"
#include "transport/tcpip/checksum.h"
#include "transport/tcpip/frame.h"
#include "transport/tcpip/packet.h"

#define HEADER 14u

static const unsigned char ours[6] = {2, 0, 0, 0, 0, 1};

static void peer_link(const struct script *script, unsigned char link[6])
{
	memset(link, 0, 6);
	link[0] = 2;
	link[5] = (unsigned char)(2 + script->moved);
}

void script_link_configure(struct script *script)
{
	script->config.link = CW_LINK_ETHERNET;
	script->config.addresses = script->config.neighbours = 4;
	script->config.neighbour_packets = 8;
	script->config.control_bytes = 4096;
	memcpy(script->config.link_address, ours, 6);
}

void script_link_begin(struct script *script)
{
	struct cw_ip_address own = script_address(script, 1);

	cw_tcpip_own(script->core, &own, script->ip6 ? 64 : 24, false, script->now);
}

static void put_header(const struct script *script, unsigned char *at, uint32_t type)
{
	memcpy(at, ours, 6);
	peer_link(script, at + 6);
	cw_put16(at + 12, type);
}

uint32_t script_link_put(const struct script *script, unsigned char *packet, uint32_t length)
{
	put_header(script, packet - HEADER, packet[0] >> 4 == 4 ? 0x0800 : 0x86dd);
	return length + HEADER;
}

bool script_link_take(const struct script *script, struct cw_frame *frame)
{
	unsigned char link[6];
	const unsigned char *at = frame->piece[0].at;

	peer_link(script, link);
	if (memcmp(at, link, 6) != 0 || cw_get16(at + 12) == 0x0806)
		return false;
	frame->piece[0].at += HEADER;
	frame->piece[0].length -= HEADER;
	frame->length -= HEADER;
	return true;
}

static bool is_question(const struct script *script, const unsigned char *at)
{
	struct cw_ip_address peer = script_address(script, 2);

	if (script->ip6)
		return cw_get16(at + 12) == 0x86dd && at[HEADER + 6] == CW_PROTOCOL_ICMP6 && at[HEADER + 40] == 135 &&
		       memcmp(at + HEADER + 48, peer.octet, 16) == 0;
	return cw_get16(at + 12) == 0x0806 && cw_get16(at + HEADER + 6) == 1 && memcmp(at + HEADER + 24, peer.octet + 12, 4) == 0;
}

bool script_link_asks(struct script *script, bool all)
{
	unsigned char header[CW_HEADER_ROOM], link[6], at[128] = {0};
	struct cw_frame frame;

	if (!cw_tcpip_output(script->core, &frame, header, script->now)) {
		snprintf(script->why, sizeof(script->why), "nobody is asked");
		return false;
	}
	peer_link(script, link);
	cw_frame_copy(&frame, 0, at, cw_min32(frame.length, sizeof(at)));
	snprintf(script->why, sizeof(script->why), "a frame of type 0x%x was sent to %02x:..:%02x", cw_get16(at + 12), at[0], at[5]);
	return is_question(script, at) && (all ? at[0] & 1 : memcmp(at, link, 6) == 0);
}

static uint32_t put_arp(const struct script *script, unsigned char *at, bool question)
{
	struct cw_ip_address own = script_address(script, 1), peer = script_address(script, 2);

	put_header(script, at, 0x0806);
	at += HEADER;
	cw_put32(at, 1u << 16 | 0x0800);
	cw_put32(at + 4, 6u << 24 | 4u << 16 | (question ? 1 : 2));
	peer_link(script, at + 8);
	memcpy(at + 14, peer.octet + 12, 4);
	memcpy(at + 18, ours, 6);
	memcpy(at + 24, own.octet + 12, 4);
	return HEADER + 28;
}

/* An advertisement of the peer's, or its question for us, which tells its link address too. */
static uint32_t put_nd(const struct script *script, unsigned char *at, bool question)
{
	struct cw_ip_address own = script_address(script, 1), peer = script_address(script, 2);
	uint16_t sum;

	put_header(script, at, 0x86dd);
	at += HEADER;
	cw_ip_header(at, &peer, &own, CW_PROTOCOL_ICMP6, 32, 0, 0, 255);
	at += 40;
	memset(at, 0, 32);
	at[0] = question ? 135 : 136;
	cw_put32(at + 4, question ? 0 : 0x60000000);
	memcpy(at + 8, question ? own.octet : peer.octet, 16);
	at[24] = question ? 1 : 2;
	at[25] = 1;
	peer_link(script, at + 26);
	sum = (uint16_t)~cw_checksum_fold(cw_checksum_add(cw_checksum_pseudo(&peer, &own, CW_PROTOCOL_ICMP6, 32), at, 32, 0));
	memcpy(at + 2, &sum, 2);
	return HEADER + 40 + 32;
}

void script_link_tell(struct script *script, bool elsewhere)
{
	unsigned char bytes[128];
	struct cw_frame frame = {.pieces = 1};

	script->moved |= elsewhere;
	frame.length = (script->ip6 ? put_nd : put_arp)(script, bytes, elsewhere);
	frame.piece[0] = (struct cw_piece){bytes, frame.length};
	cw_tcpip_input(script->core, &frame, script->now);
}
