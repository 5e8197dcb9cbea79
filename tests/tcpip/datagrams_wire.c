/* Packets made of words; written without the core's own code. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "datagrams.h"
#include "datagrams_bytes.h"

static uint32_t hex_of(const char *hex, unsigned char *at)
{
	uint32_t count = 0;
	unsigned value;

	for (; hex && hex[0] && hex[1] && sscanf(hex, "%2x", &value) == 1; hex += 2)
		at[count++] = (unsigned char)value;
	return count;
}

/* A link-layer address option of ND. */
static uint32_t put_option(const struct words *words, const char *name, unsigned kind, unsigned char *at)
{
	const char *mac = words_value(words, name);

	if (!mac)
		return 0;
	at[0] = (unsigned char)kind;
	at[1] = 1;
	parse_mac(mac, at + 2);
	return 8;
}

static uint32_t put_sources(const struct words *words, unsigned char *at, uint32_t size)
{
	const char *list = words_value(words, "sources");
	char copy[512], *word, *rest;
	uint32_t length = 0;

	if (!list)
		return 0;
	snprintf(copy, sizeof(copy), "%s", list);
	for (word = strtok_r(copy, ",", &rest); word; word = strtok_r(NULL, ",", &rest)) {
		struct cw_ip_address address;

		if (!parse_address(word, &address))
			continue;
		memcpy(at + length, address.octet + 16 - size, size);
		length += size;
	}
	return length;
}

/* IGMP and MLD queries have the same fields, of other widths. */
static uint32_t put_query(const struct words *words, bool mld, unsigned char *at)
{
	uint32_t size = mld ? 16 : 4, head = mld ? 24 : 8, sources;
	struct cw_ip_address group;

	at[0] = (unsigned char)words_number(words, "type", mld ? 130 : 0x11);
	if (mld)
		put16(at + 4, words_number(words, "code", 0));
	else
		at[1] = (unsigned char)words_number(words, "code", 0);
	if (words_value(words, "group") && parse_address(words_value(words, "group"), &group))
		memcpy(at + head - size, group.octet + 16 - size, size);
	if (!words_has(words, "v3"))
		return head;
	at[head] = (unsigned char)((words_has(words, "suppress") ? 8 : 0) | words_number(words, "qrv", 2));
	at[head + 1] = (unsigned char)words_number(words, "qqic", 125);
	sources = put_sources(words, at + head + 4, size);
	put16(at + head + 2, words_number(words, "count", sources / size));
	return head + 4 + sources;
}

static uint32_t put_nd(const struct words *words, unsigned char *at)
{
	struct cw_ip_address target;
	uint32_t length = 24;

	at[0] = (unsigned char)words_number(words, "type", 135);
	at[1] = (unsigned char)words_number(words, "code", 0);
	put32(at + 4, words_number(words, "flags", 0));
	if (words_value(words, "target") && parse_address(words_value(words, "target"), &target))
		memcpy(at + 8, target.octet, 16);
	length += put_option(words, "sll", 1, at + length);
	length += put_option(words, "tll", 2, at + length);
	return length + hex_of(words_value(words, "more"), at + length);
}

/* The message that IP carries, its sum at `*sum_at`. */
static uint32_t put_message(const struct wire *wire, const struct words *words, unsigned char *at, bool ip6, uint32_t *protocol,
			    uint32_t *sum_at)
{
	uint32_t length, quote;

	*sum_at = 2;
	if (words_has(words, "udp")) {
		*protocol = UDP;
		*sum_at = 6;
		put16(at, words_number(words, "sport", 0));
		put16(at + 2, words_number(words, "dport", 0));
		length = 8 + content_of(words, at + 8);
		put16(at + 4, words_number(words, "ulen", length));
		return length;
	}
	if (words_has(words, "icmp")) {
		*protocol = ip6 ? ICMP6 : ICMP;
		at[0] = (unsigned char)words_number(words, "type", 0);
		at[1] = (unsigned char)words_number(words, "code", 0);
		put32(at + 4, words_number(words, "word", 0));
		length = 8 + content_of(words, at + 8);
		quote = words_number(words, "quote", 0);
		quote = quote < wire->last.length ? quote : wire->last.length;
		memcpy(at + length, wire->last.at, quote);
		return length + quote;
	}
	if (words_has(words, "igmp") || words_has(words, "mld")) {
		*protocol = words_has(words, "mld") ? ICMP6 : IGMP;
		length = put_query(words, words_has(words, "mld"), at);
		return length + content_of(words, at + length);
	}
	if (words_has(words, "nd")) {
		*protocol = ICMP6;
		return put_nd(words, at);
	}
	*protocol = words_number(words, "proto", 253);
	*sum_at = 0;
	return content_of(words, at);
}

static void sum_message(const struct words *words, unsigned char *at, uint32_t length, uint32_t protocol, uint32_t sum_at,
			const struct cw_ip_address *source, const struct cw_ip_address *destination)
{
	const char *kind = words_value(words, "sum");
	uint32_t sum = 0;

	if (!sum_at || (kind && strcmp(kind, "none") == 0))
		return;
	if (protocol == UDP || protocol == ICMP6)
		sum = pseudo(source, destination, protocol, protocol == UDP ? get16(at + 4) : length);
	if (protocol == UDP && get16(at + 4) < length && get16(at + 4) >= 8)
		length = get16(at + 4);
	if (words_has(words, "partial")) {
		put16(at + sum_at, sum);
		return;
	}
	sum = ~add(sum, at, length) & 0xffff;
	if (sum == 0 && protocol == UDP)
		sum = 0xffff;
	if (kind && strcmp(kind, "bad") == 0)
		sum ^= 0x0101;
	put16(at + sum_at, sum);
}

static uint32_t put_ip4(const struct words *words, unsigned char *at, const unsigned char *message, uint32_t length, uint32_t protocol,
			const struct cw_ip_address *source, const struct cw_ip_address *destination)
{
	uint32_t offset = words_number(words, "off", 0), take = words_number(words, "take", length - offset), header = 20;

	at[0] = 0x45;
	at[1] = (unsigned char)words_number(words, "tos", 0);
	put16(at + 4, words_number(words, "id", 0));
	put16(at + 6, offset / 8 | (words_has(words, "mf") ? 0x2000u : 0) | (words_has(words, "df") ? 0x4000u : 0));
	at[8] = (unsigned char)words_number(words, "ttl", 64);
	at[9] = (unsigned char)protocol;
	memcpy(at + 12, source->octet + 12, 4);
	memcpy(at + 16, destination->octet + 12, 4);
	if (words_has(words, "alert")) {
		put32(at + 20, 0x94040000);
		header += 4;
	}
	header += hex_of(words_value(words, "options"), at + header);
	at[0] = (unsigned char)(0x40 | header / 4);
	memcpy(at + header, message + offset, take);
	put16(at + 2, header + take);
	put16(at + 10, ~add(0, at, header));
	if (words_has(words, "badsum"))
		at[10] ^= 1;
	return header + take;
}

static uint32_t put_extension(unsigned char *at, uint32_t size, const char *hex, unsigned char **next, unsigned kind)
{
	uint32_t length = hex_of(hex, at + size);

	if (!length)
		return size;
	**next = (unsigned char)kind;
	*next = at + size;
	return size + length;
}

static uint32_t put_ip6(const struct words *words, unsigned char *at, const unsigned char *message, uint32_t length, uint32_t protocol,
			uint32_t first, const struct cw_ip_address *source, const struct cw_ip_address *destination)
{
	uint32_t offset = words_number(words, "off", 0), take = words_number(words, "take", length - offset), size = 40;
	unsigned char *next = at + 6;

	put32(at, 6u << 28 | words_number(words, "tos", 0) << 20);
	at[7] = (unsigned char)words_number(words, "ttl", 64);
	memcpy(at + 8, source->octet, 16);
	memcpy(at + 24, destination->octet, 16);
	if (words_has(words, "alert"))
		size = put_extension(at, size, "0000050200000100", &next, 0);
	size = put_extension(at, size, words_value(words, "hop"), &next, 0);
	size = put_extension(at, size, words_value(words, "options"), &next, DESTINATION);
	size = put_extension(at, size, words_value(words, "routing"), &next, 43);
	if (offset || words_has(words, "mf") || words_value(words, "id")) {
		put32(at + size, offset | words_has(words, "mf"));
		put32(at + size + 4, words_number(words, "id", 0));
		*next = FRAGMENT;
		next = at + size;
		size += 8;
	}
	*next = (unsigned char)(words_value(words, "inner") ? first : protocol);
	memcpy(at + size, message + offset, take);
	put16(at + 4, size + take - 40);
	return size + take;
}

static void keep(struct wire *wire, const struct bytes *packet)
{
	struct kept *kept = &wire->kept[wire->next_kept++ % KEPT];

	kept->length = packet->length < KEPT_LENGTH ? packet->length : KEPT_LENGTH;
	memcpy(kept->at, packet->at, kept->length);
}

static void frame_of_bytes(const struct words *words, const struct bytes *packet, struct cw_frame *frame)
{
	uint32_t piece = words_number(words, "pieces", 0), first = words_number(words, "first", 0), at = 0;

	*frame = (struct cw_frame){.length = packet->length, .segment_size = words_number(words, "segment", 0)};
	if (words_has(words, "partial"))
		frame->checksum = CW_CHECKSUM_PARTIAL;
	if (words_has(words, "valid"))
		frame->checksum = CW_CHECKSUM_VALID;
	while (at < packet->length) {
		uint32_t take = packet->length - at;

		if (piece && take > piece && frame->pieces + 1 < CW_FRAME_PIECES)
			take = frame->pieces ? piece : piece > 128 ? piece : 128 < take ? 128 : take;
		if (first && !frame->pieces)
			take = first;
		frame->piece[frame->pieces++] = (struct cw_piece){packet->at + at, take};
		at += take;
	}
}

static bool build_arp(const struct words *words, struct bytes *packet)
{
	unsigned char *at = packet->at + 14;
	struct cw_ip_address sender = {{0}}, target = {{0}};

	put16(packet->at + 12, 0x0806);
	put16(at, words_number(words, "hardware", 1));
	put16(at + 2, 0x0800);
	at[4] = (unsigned char)words_number(words, "hlen", 6);
	at[5] = 4;
	put16(at + 6, words_number(words, "op", 1));
	if (words_value(words, "sha"))
		parse_mac(words_value(words, "sha"), at + 8);
	if (words_value(words, "tha"))
		parse_mac(words_value(words, "tha"), at + 18);
	if (words_value(words, "spa") && parse_address(words_value(words, "spa"), &sender))
		memcpy(at + 14, sender.octet + 12, 4);
	if (words_value(words, "tpa") && parse_address(words_value(words, "tpa"), &target))
		memcpy(at + 24, target.octet + 12, 4);
	packet->length = 14 + 28;
	return true;
}

bool packet_build(struct wire *wire, const struct words *words, struct bytes *packet, struct cw_frame *frame)
{
	static unsigned char message[MOST_BYTES];
	struct cw_ip_address source, destination;
	uint32_t link = wire->ethernet ? 14 : 0, protocol, sum_at, length, inner;
	unsigned char *at = packet->at + link;

	memset(packet->at, 0, sizeof(packet->at));
	memset(message, 0, sizeof(message));
	if (link) {
		if (!parse_mac(words_value(words, "edst") ? words_value(words, "edst") : "2:0:0:0:0:1", packet->at) ||
		    !parse_mac(words_value(words, "esrc") ? words_value(words, "esrc") : "2:0:0:0:0:2", packet->at + 6))
			return false;
	}
	if (words_has(words, "arp")) {
		build_arp(words, packet);
	} else {
		if (!words_value(words, "src") || !words_value(words, "dst") || !parse_address(words_value(words, "src"), &source) ||
		    !parse_address(words_value(words, "dst"), &destination))
			return false;
		inner = hex_of(words_value(words, "inner"), message);
		length = put_message(wire, words, message + inner, !is_4(&source), &protocol, &sum_at);
		sum_message(words, message + inner, length, protocol, sum_at, &source, &destination);
		message[0] = inner ? (unsigned char)protocol : message[0];
		length += inner;
		if (is_4(&source))
			packet->length = put_ip4(words, at, message, length, protocol, &source, &destination);
		else
			packet->length = put_ip6(words, at, message, length, protocol, DESTINATION, &source, &destination);
		if (words_value(words, "version"))
			at[0] = (unsigned char)(words_number(words, "version", 0) << 4 | (at[0] & 15));
		if (link)
			put16(packet->at + 12, words_number(words, "etype", is_4(&source) ? 0x0800 : 0x86dd));
		packet->length += link + words_number(words, "pad", 0);
	}
	packet->length -= words_number(words, "cut", 0);
	if (!link)
		keep(wire, packet);
	frame_of_bytes(words, packet, frame);
	return true;
}
