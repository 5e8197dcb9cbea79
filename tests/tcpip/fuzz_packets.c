/* Packets that come to a fuzzed core. */
#include "fuzz_packets.h"

#include <string.h>

#include "transport/tcpip/bytes.h"
#include "transport/tcpip/checksum.h"
#include "transport/tcpip/packet.h"

#define ETHERNET 14u

static uint64_t pick(struct packets *packets, uint64_t bound)
{
	return below(packets->random, bound);
}

static uint8_t octet(struct packets *packets)
{
	return (uint8_t)random_of(packets->random);
}

struct cw_ip_address packets_host(unsigned number, enum host kind)
{
	struct cw_ip_address address = {.octet = {[15] = (uint8_t)number}};

	if (kind == HOST_4) {
		address.octet[10] = address.octet[11] = 0xff;
		address.octet[12] = 10;
	} else {
		address.octet[0] = kind == HOST_6 ? 0xfd : 0xfe;
		address.octet[1] = kind == HOST_6 ? 0 : 0x80;
	}
	return address;
}

struct cw_ip_address packets_group(struct packets *packets, bool ip4)
{
	struct cw_ip_address group = {.octet = {0xff, (uint8_t)(pick(packets, 2) ? 2 : 0x15)}};

	group.octet[15] = (uint8_t)(1 + pick(packets, 4));
	if (ip4) {
		memset(group.octet, 0, 10);
		memset(group.octet + 10, 0xff, 2);
		group.octet[12] = pick(packets, 2) ? 224 : 239;
	}
	return group;
}

struct cw_ip_address packets_address(struct packets *packets, bool ip4)
{
	struct cw_ip_address address = packets_host((unsigned)pick(packets, 8), ip4 ? HOST_4 : pick(packets, 2) ? HOST_6 : HOST_LINK);

	switch (pick(packets, 12)) {
	case 0:
	case 1:
		return packets_group(packets, ip4);
	case 2:
		address.octet[15] = 255;
		break;
	case 3:
		address.octet[ip4 ? 12 : 0] = octet(packets);
		break;
	case 4:
		memset(address.octet + (ip4 ? 12 : 0), pick(packets, 2) ? 0xff : 0, ip4 ? 4 : 16);
		break;
	case 5:
		if (ip4)
			break;
		address = (struct cw_ip_address){.octet = {0xff, 2, [11] = 1, 0xff, 0, 0, (uint8_t)pick(packets, 4)}};
		break;
	default:
		break;
	}
	return address;
}

/* An address of the core, mostly. */
static struct cw_ip_address here(struct packets *packets, bool ip4)
{
	if (pick(packets, 3) == 0)
		return packets_address(packets, ip4);
	return packets_host(1 + (unsigned)pick(packets, 2), ip4 ? HOST_4 : pick(packets, 2) ? HOST_6 : HOST_LINK);
}

static struct cw_ip_address there(struct packets *packets, bool ip4)
{
	if (pick(packets, 8) == 0)
		return packets_address(packets, ip4);
	return packets_host(3 + (unsigned)pick(packets, 5), ip4 ? HOST_4 : pick(packets, 2) ? HOST_6 : HOST_LINK);
}

static uint32_t noise(struct packets *packets, unsigned char *at, uint32_t length)
{
	for (uint32_t i = 0; i < length; i++)
		at[i] = octet(packets);
	return length;
}

/* Behind an IP header that was written with room for `payload` bytes. */
static uint32_t put_alert(unsigned char *at, uint32_t header, uint32_t payload, bool ip4)
{
	static const unsigned char alert_4[4] = {148, 4, 0, 0}, alert_6[8] = {CW_PROTOCOL_ICMP6, 0, 5, 2, 0, 0, 1, 0};
	uint32_t size = ip4 ? 4 : 8;

	memcpy(at + header, ip4 ? alert_4 : alert_6, size);
	if (ip4) {
		at[0] = 0x46;
		cw_put16(at + 2, header + size + payload);
	} else {
		at[6] = 0;
		cw_put16(at + 4, size + payload);
	}
	return header + size;
}

static uint32_t udp(struct packets *packets, unsigned char *at)
{
	bool ip4 = pick(packets, 2);
	struct cw_ip_address from = there(packets, ip4), to = here(packets, ip4);
	uint32_t length = 8 + (uint32_t)pick(packets, pick(packets, 4) ? 200 : 5000),
		 header = cw_ip_header(at, &from, &to, CW_PROTOCOL_UDP, length, 0, 0, 64);

	noise(packets, at + header, length);
	cw_put16(at + header, PORT + (uint32_t)pick(packets, 3));
	cw_put16(at + header + 2, PORT + (uint32_t)pick(packets, 4));
	cw_put16(at + header + 4, pick(packets, 10) ? length : (uint32_t)pick(packets, length + 4));
	return header + length;
}

static uint32_t icmp(struct packets *packets, unsigned char *at)
{
	bool ip4 = pick(packets, 2), quoting = pick(packets, 2) && packets->last_length;
	struct cw_ip_address from, to;
	uint32_t length, header;

	if (quoting)
		ip4 = packets->last[0] >> 4 == 4;
	from = there(packets, ip4);
	to = here(packets, ip4);
	length = (uint32_t)(quoting ? cw_min64(packets->last_length, pick(packets, 200)) : pick(packets, 300));
	header = cw_ip_header(at, &from, &to, ip4 ? CW_PROTOCOL_ICMP : CW_PROTOCOL_ICMP6, 8 + length, 0, 0,
			      (uint8_t)(pick(packets, 2) ? 255 : 64));
	noise(packets, at + header, 8);
	at[header] = (unsigned char)(quoting ? ip4 ? 3 : 1 + pick(packets, 4) : ip4 ? pick(packets, 16) : pick(packets, 4) + 128);
	at[header + 1] = (unsigned char)pick(packets, 6);
	cw_put16(at + header + 6, (uint32_t)pick(packets, 2000));
	if (quoting)
		memcpy(at + header + 8, packets->last, length);
	else
		noise(packets, at + header + 8, length);
	return header + 8 + length;
}

/* A query or a report, of any version. */
static uint32_t membership(struct packets *packets, unsigned char *at)
{
	bool ip4 = pick(packets, 2), new = pick(packets, 2);
	uint32_t size = ip4 ? 4 : 16, head = ip4 ? 8 : 24, sources = new ? (uint32_t)pick(packets, pick(packets, 4) ? 4 : 80) : 0;
	uint32_t length = head + (new ? 4 + sources *size : 0), header;
	struct cw_ip_address group = packets_group(packets, ip4), to = pick(packets, 2) ? group : packets_host(1, HOST_4),
			     from = packets_host(3, ip4 ? HOST_4 : HOST_LINK);

	if (pick(packets, 2)) {
		to = packets_group(packets, ip4);
		to.octet[ip4 ? 12 : 1] = ip4 ? 224 : 2;
		to.octet[15] = 1;
	} else if (cw_ip_is_4(&to) != ip4) {
		to = group;
	}
	header = cw_ip_header(at, &from, &to, ip4 ? CW_PROTOCOL_IGMP : CW_PROTOCOL_ICMP6, length, 0, 0, 1);
	if (pick(packets, 8))
		header = put_alert(at, header, length, ip4);
	memset(at + header, 0, length);
	at[header] = ip4 ? 0x11 : 130;
	if (pick(packets, 4) == 0)
		at[header] = (unsigned char)(ip4 ? 0x12 + pick(packets, 6) : 130 + pick(packets, 3));
	at[header + 1] = (unsigned char)(ip4 ? pick(packets, 256) : 0);
	if (!ip4)
		cw_put16(at + header + 4, (uint32_t)pick(packets, 65536));
	if (pick(packets, 2))
		memcpy(at + header + head - size, group.octet + 16 - size, size);
	if (new) {
		at[header + head] = octet(packets);
		at[header + head + 1] = octet(packets);
		cw_put16(at + header + head + 2, pick(packets, 10) ? sources : (uint32_t)pick(packets, 100));
		for (uint32_t i = 0; i < sources; i++) {
			struct cw_ip_address source = packets_host((unsigned)pick(packets, 100), ip4 ? HOST_4 : HOST_6);

			memcpy(at + header + head + 4 + i * size, source.octet + 16 - size, size);
		}
	}
	return header + length;
}

static void put_option(struct packets *packets, unsigned char *at)
{
	at[0] = (unsigned char)(1 + pick(packets, 2));
	at[1] = (unsigned char)(pick(packets, 10) ? 1 : pick(packets, 4));
	memset(at + 2, 0, 6);
	at[2] = (unsigned char)(2 + (pick(packets, 20) == 0));
	at[7] = (unsigned char)pick(packets, 6);
}

static uint32_t neighbour(struct packets *packets, unsigned char *at)
{
	struct cw_ip_address from = there(packets, false), to = here(packets, false), target = here(packets, false);
	uint32_t options = (uint32_t)pick(packets, 3), length = 24 + 8 * options, header;

	if (pick(packets, 2))
		target = from;
	header = cw_ip_header(at, &from, &to, CW_PROTOCOL_ICMP6, length, 0, 0, (uint8_t)(pick(packets, 16) ? 255 : 64));
	memset(at + header, 0, length);
	at[header] = (unsigned char)(133 + pick(packets, 5));
	at[header + 4] = octet(packets);
	memcpy(at + header + 8, target.octet, 16);
	for (uint32_t i = 0; i < options; i++)
		put_option(packets, at + header + 24 + 8 * i);
	return header + length;
}

/* A piece of a datagram that is the same for a while, anywhere in it. */
static uint32_t fragment(struct packets *packets, unsigned char *at)
{
	uint32_t from, take, header;
	struct cw_ip_address source, destination;

	if (!packets->datagram_length || pick(packets, 20) == 0) {
		packets->datagram_length = 9 + (uint32_t)pick(packets, sizeof(packets->datagram) - 9);
		noise(packets, packets->datagram, packets->datagram_length);
		cw_put16(packets->datagram + 2, PORT);
		cw_put16(packets->datagram + 4, packets->datagram_length);
		packets->datagram_id = (uint32_t)pick(packets, 6);
		packets->datagram_4 = pick(packets, 2);
	}
	from = (uint32_t)pick(packets, packets->datagram_length) / 1480 * 1480;
	if (pick(packets, 10) == 0)
		from = (uint32_t)pick(packets, packets->datagram_length) & ~7u;
	take = cw_min32(1480, packets->datagram_length - from);
	source = packets_host(3, packets->datagram_4 ? HOST_4 : HOST_6);
	destination = packets_host(1, packets->datagram_4 ? HOST_4 : HOST_6);
	header = cw_ip_header(at, &source, &destination, CW_PROTOCOL_UDP, take + (packets->datagram_4 ? 0 : 8), 0,
			      (uint16_t)packets->datagram_id, 64);
	if (packets->datagram_4) {
		cw_put16(at + 6, from / 8 | (from + take < packets->datagram_length ? 0x2000u : 0));
	} else {
		at[6] = 44;
		at[header] = CW_PROTOCOL_UDP;
		at[header + 1] = 0;
		cw_put16(at + header + 2, from | (from + take < packets->datagram_length));
		cw_put32(at + header + 4, packets->datagram_id);
		header += 8;
	}
	memcpy(at + header, packets->datagram + from, take);
	return header + take;
}

/* What came out last, sent back. */
static uint32_t mirror(struct packets *packets, unsigned char *at)
{
	bool ip4 = packets->last[0] >> 4 == 4;
	uint32_t size = ip4 ? 4 : 16, source = ip4 ? 12 : 8;

	memcpy(at, packets->last, packets->last_length);
	memcpy(at + source, packets->last + source + size, size);
	memcpy(at + source + size, packets->last + source, size);
	return packets->last_length;
}

static uint32_t garbage(struct packets *packets, unsigned char *at)
{
	static const unsigned char headers[] = {0, 17, 43, 44, 58, 59, 60};
	uint32_t length = noise(packets, at, 1 + (uint32_t)pick(packets, 300));

	at[0] = (unsigned char)(pick(packets, 2) ? 0x45 + pick(packets, 11) : 0x60);
	if (at[0] >> 4 == 4 && length > 10) {
		cw_put16(at + 2, length);
		at[9] = (unsigned char)(pick(packets, 2) ? 17 : pick(packets, 3));
	} else if (length > 40) {
		cw_put16(at + 4, length - 40);
		at[6] = headers[pick(packets, 7)];
	}
	return length;
}

static uint32_t arp(struct packets *packets, unsigned char *at)
{
	struct cw_ip_address sender = there(packets, true), target = here(packets, true);

	if (pick(packets, 8) == 0)
		sender = target;
	memset(at, 0, 28);
	cw_put32(at, 1u << 16 | 0x0800);
	cw_put32(at + 4, 6u << 24 | 4u << 16 | (1 + (uint32_t)pick(packets, 2)));
	at[8] = 2;
	at[13] = (unsigned char)pick(packets, 6);
	memcpy(at + 14, sender.octet + 12, 4);
	memcpy(at + 24, target.octet + 12, 4);
	return 28;
}

/* Most of the time what the sum of IPv4 hides is let in. */
static void sum_ip(unsigned char *at, uint32_t length)
{
	uint32_t header = (at[0] & 15u) * 4;

	if (at[0] >> 4 != 4 || header < 20 || header > length)
		return;
	cw_ip4_sum(at);
}

static void put_ethernet(struct packets *packets, unsigned char *at, uint32_t type)
{
	static const unsigned char groups[3][6] = {{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, {0x33, 0x33, 0, 0, 0, 1}, {1, 0, 0x5e, 0, 0, 1}};

	memset(at, 0, ETHERNET);
	at[0] = at[6] = 2;
	at[5] = 1;
	at[11] = (unsigned char)pick(packets, 6);
	if (pick(packets, 20) == 0 || (type == 0x0800 ? at[ETHERNET + 16] >> 4 == 14 : at[ETHERNET + 24] == 0xff))
		memcpy(at, groups[pick(packets, 3)], 6);
	cw_put16(at + 12, type);
	if (pick(packets, 50) == 0)
		at[pick(packets, ETHERNET)] = octet(packets);
}

static uint32_t make_packet(struct packets *packets, unsigned char *at)
{
	uint64_t kind = pick(packets, 20);

	if (kind < 4)
		return udp(packets, at);
	if (kind < 7)
		return icmp(packets, at);
	if (kind < 10)
		return membership(packets, at);
	if (kind < 13)
		return neighbour(packets, at);
	if (kind < 16)
		return fragment(packets, at);
	if (kind < 18 && packets->last_length)
		return mirror(packets, at);
	return garbage(packets, at);
}

static void cut_in_pieces(struct packets *packets, struct cw_frame *frame, uint32_t length)
{
	uint32_t first = pick(packets, 4) || length < 2 ? length : 1 + (uint32_t)pick(packets, length - 1);

	frame->length = length;
	frame->pieces = first < length ? 2 : 1;
	frame->piece[0] = (struct cw_piece){packets->bytes, first};
	frame->piece[1] = (struct cw_piece){packets->bytes + first, length - first};
}

uint32_t packets_make(struct packets *packets, struct cw_frame *frame)
{
	uint32_t link = packets->ethernet ? ETHERNET : 0, length, changes = pick(packets, 3) ? 0 : (uint32_t)pick(packets, 4);
	unsigned char *at = packets->bytes + link;
	bool is_arp = link && pick(packets, 8) == 0;

	length = is_arp ? arp(packets, at) : make_packet(packets, at);
	while (changes--)
		at[pick(packets, pick(packets, 2) ? length : cw_min32(length, 80))] = octet(packets);
	if (pick(packets, 20) == 0)
		length = 1 + (uint32_t)pick(packets, length);
	if (!is_arp && pick(packets, 8))
		sum_ip(at, length);
	if (link)
		put_ethernet(packets, packets->bytes, is_arp ? 0x0806 : at[0] >> 4 == 4 ? 0x0800 : 0x86dd);
	*frame = (struct cw_frame){.checksum = pick(packets, 10) ? CW_CHECKSUM_VALID : CW_CHECKSUM_COMPLETE,
				   .segment_size = pick(packets, 8) ? 0 : (uint32_t)pick(packets, 3000)};
	cut_in_pieces(packets, frame, link + length);
	return link + length;
}

static bool sums_are_right(const struct packets *packets, const struct cw_frame *frame, uint32_t link)
{
	const unsigned char *at = packets->last;
	struct cw_packet packet;
	uint64_t sum = 0;
	bool good = at[0] >> 4 == 4 ? cw_ip4_parse(at, packets->last_length, packets->last_length, &packet)
				    : cw_ip6_parse(at, packets->last_length, packets->last_length, &packet);

	if (!good)
		return false;
	if (packet.fragment)
		return true;
	if (frame->checksum == CW_CHECKSUM_PARTIAL)
		return frame->checksum_start == packet.at + link && frame->checksum_offset + 2u <= packet.length;
	if (packet.protocol != CW_PROTOCOL_ICMP && packet.protocol != CW_PROTOCOL_IGMP)
		sum = cw_checksum_pseudo(&packet.source, &packet.destination, packet.protocol, packet.length);
	return cw_checksum_fold(cw_checksum_add(sum, at + packet.at, packet.length, 0)) == 0xffff;
}

const char *packets_check(struct packets *packets, const struct cw_tcpip_config *config, const struct cw_frame *frame)
{
	uint32_t link = packets->ethernet ? ETHERNET : 0, at = 0;
	static unsigned char bytes[70100];

	if (frame->length > link + (frame->segment_size ? config->frame_max : config->mtu))
		return "a frame is longer than the link takes";
	for (uint32_t i = 0; i < frame->pieces; i++) {
		if (at + frame->piece[i].length > frame->length)
			return "a frame is longer than it says";
		memcpy(bytes + at, frame->piece[i].at, frame->piece[i].length);
		at += frame->piece[i].length;
	}
	if (at != frame->length || at < link + 20)
		return "a frame is shorter than it says";
	if (link && cw_get16(bytes + 12) == 0x0806)
		return at == ETHERNET + 28 ? NULL : "an ARP message of another length";
	if (link && cw_get16(bytes + 12) != (bytes[link] >> 4 == 4 ? 0x0800 : 0x86dd))
		return "a frame's type isn't that of its packet";
	packets->last_length = at - link;
	memcpy(packets->last, bytes + link, packets->last_length);
	return sums_are_right(packets, frame, link) ? NULL : "a packet isn't well formed, or its sum is wrong";
}
