/* IPv4 (RFC 791, 1122 3.2.1): headers read and written. */
#include "transport/tcpip/bytes.h"
#include "transport/tcpip/checksum.h"
#include "transport/tcpip/packet.h"

#include <string.h>

#define HEADER        20u
#define DONT_FRAGMENT 0x4000u
#define MORE          0x2000u
#define FRAGMENT_AT   0x1fffu
#define ROUTER_ALERT  148u

/* Options must fit, and mustn't steer: a source route would have our answers sent where the sender likes (RFC 6274 3.13.2.3). */
static bool options_are_harmless(const unsigned char *option, const unsigned char *end, struct cw_packet *packet)
{
	while (option < end) {
		if (option[0] == 0)
			return true;
		if (option[0] == 1) {
			option++;
			continue;
		}
		if (end - option < 2 || option[1] < 2 || option[1] > end - option)
			return false;
		if (option[0] == 131 || option[0] == 137)
			return false;
		if (option[0] == ROUTER_ALERT && option[1] == 4 && cw_get16(option + 2) == 0)
			packet->router_alert = true;
		option += option[1];
	}
	return true;
}

bool cw_ip4_parse(const unsigned char *head, uint32_t head_length, uint32_t frame_length, struct cw_packet *packet)
{
	uint32_t header, total, flags;

	packet->problem = CW_PROBLEM_NONE;
	packet->fragment_at = packet->named_at = 0;
	packet->router_alert = false;
	if (head_length < HEADER || head[0] >> 4 != 4)
		return false;
	header = (head[0] & 15u) * 4;
	total = cw_get16(head + 2);
	/* A frame may be longer than its packet: Ethernet pads. */
	if (header < HEADER || header > head_length || total < header || total > frame_length)
		return false;
	if (cw_checksum_fold(cw_checksum_add(0, head, header, 0)) != 0xffff)
		return false;
	if (header > HEADER && !options_are_harmless(head + HEADER, head + header, packet))
		return false;
	cw_ip_set_4(&packet->source, head + 12);
	cw_ip_set_4(&packet->destination, head + 16);
	packet->at = header;
	packet->length = total - header;
	packet->protocol = head[9];
	packet->traffic_class = head[1];
	packet->ecn = head[1] & CW_ECN_MASK;
	packet->hop_limit = head[8];
	flags = cw_get16(head + 6);
	packet->fragment = (flags & (MORE | FRAGMENT_AT)) != 0;
	packet->more_fragments = (flags & MORE) != 0;
	packet->fragment_offset = (flags & FRAGMENT_AT) * 8;
	packet->fragment_id = cw_get16(head + 4);
	return true;
}

void cw_ip4_sum(unsigned char *at)
{
	uint16_t sum;

	cw_put16(at + 10, 0);
	sum = (uint16_t)~cw_checksum_fold(cw_checksum_add(0, at, (at[0] & 15u) * 4, 0));
	memcpy(at + 10, &sum, 2);
}

static uint32_t ip4_header(unsigned char *at, const struct cw_ip_address *source, const struct cw_ip_address *destination, uint8_t protocol,
			   uint32_t payload, uint8_t ecn, uint16_t id, uint8_t hop_limit)
{
	at[0] = 0x45;
	at[1] = ecn;
	cw_put16(at + 2, HEADER + payload);
	cw_put16(at + 4, id);
	cw_put16(at + 6, DONT_FRAGMENT);
	at[8] = hop_limit;
	at[9] = protocol;
	memcpy(at + 12, source->octet + 12, 4);
	memcpy(at + 16, destination->octet + 12, 4);
	cw_ip4_sum(at);
	return HEADER;
}

static uint32_t ip6_header(unsigned char *at, const struct cw_ip_address *source, const struct cw_ip_address *destination, uint8_t protocol,
			   uint32_t payload, uint8_t ecn, uint8_t hop_limit)
{
	cw_put32(at, 6u << 28 | (uint32_t)ecn << 20);
	cw_put16(at + 4, payload);
	at[6] = protocol;
	at[7] = hop_limit;
	memcpy(at + 8, source->octet, 16);
	memcpy(at + 24, destination->octet, 16);
	return 40;
}

uint32_t cw_ip_header(unsigned char *at, const struct cw_ip_address *source, const struct cw_ip_address *destination, uint8_t protocol,
		      uint32_t payload, uint8_t ecn, uint16_t id, uint8_t hop_limit)
{
	if (cw_ip_is_4(source))
		return ip4_header(at, source, destination, protocol, payload, ecn, id, hop_limit);
	return ip6_header(at, source, destination, protocol, payload, ecn, hop_limit);
}

bool cw_ip_is_host(const struct cw_ip_address *address)
{
	const uint8_t *octet = address->octet;

	if (cw_ip_is_4(address))
		return octet[12] != 0 && octet[12] < 224;
	return octet[0] != 0xff && !cw_ip_is_any(address);
}

bool cw_ip_is_multicast(const struct cw_ip_address *address)
{
	if (cw_ip_is_4(address))
		return address->octet[12] >> 4 == 14;
	return address->octet[0] == 0xff;
}

bool cw_ip_is_loopback(const struct cw_ip_address *address)
{
	static const struct cw_ip_address loopback = {.octet = {[15] = 1}};

	if (cw_ip_is_4(address))
		return address->octet[12] == 127;
	return memcmp(address, &loopback, sizeof(loopback)) == 0;
}

bool cw_ip_is_link_local(const struct cw_ip_address *address)
{
	const uint8_t *octet = address->octet;

	if (cw_ip_is_4(address))
		return octet[12] == 169 && octet[13] == 254;
	return octet[0] == 0xfe && (octet[1] & 0xc0) == 0x80;
}
