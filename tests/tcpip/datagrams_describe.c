/* Words of packets; written without the core's own code. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "datagrams.h"
#include "datagrams_bytes.h"

static void say(struct words *words, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void say(struct words *words, const char *format, ...)
{
	static char text[MOST_WORDS][600];
	va_list list;

	if (words->count == MOST_WORDS)
		return;
	va_start(list, format);
	vsnprintf(text[words->count], sizeof(text[0]), format, list);
	va_end(list);
	words->word[words->count] = text[words->count];
	words->count++;
}

static void say_address(struct words *words, const char *key, const unsigned char *at, bool ip4)
{
	struct cw_ip_address address = {.octet = {[10] = 0xff, [11] = 0xff}};
	char text[64];

	memcpy(address.octet + (ip4 ? 12 : 0), at, ip4 ? 4 : 16);
	name_address(&address, text);
	say(words, "%s=%s", key, text);
}

static void say_mac(struct words *words, const char *key, const unsigned char *mac)
{
	say(words, "%s=%x:%x:%x:%x:%x:%x", key, mac[0], mac[1], mac[2], mac[3], mac[4], mac[5]);
}

static void say_quote(struct wire *wire, struct words *words, const unsigned char *at, uint32_t length)
{
	for (unsigned i = 0; i < KEPT; i++) {
		const struct kept *kept = &wire->kept[i];

		if (length && kept->length >= length && memcmp(kept->at, at, length) == 0) {
			say(words, "quotes=%u", length);
			return;
		}
	}
	say(words, "quotes-other=%u", length);
}

/* RFC 3376 4.2, 3810 5.2. */
static void say_records(struct words *words, const unsigned char *at, uint32_t length, bool ip4)
{
	uint32_t size = ip4 ? 4 : 16, count = get16(at + 6), place = 8;

	for (uint32_t i = 0; i < count && length - place >= 4 + size; i++) {
		uint32_t sources = get16(at + place + 2);
		char text[512], one[64];
		int used;
		struct cw_ip_address address = {.octet = {[10] = 0xff, [11] = 0xff}};

		memcpy(address.octet + 16 - size, at + place + 4, size);
		name_address(&address, one);
		used = snprintf(text, sizeof(text), "record=%u:%s:", at[place], one);
		place += 4 + size;
		for (uint32_t k = 0; k < sources && place + size <= length; k++, place += size) {
			memcpy(address.octet + 16 - size, at + place, size);
			name_address(&address, one);
			if (used < 440)
				used += snprintf(text + used, sizeof(text) - (size_t)used, "%s%s", k ? "," : "", one);
		}
		say(words, "%s", text);
	}
	say(words, "records=%u", count);
	if (place != length)
		say(words, "bytes-behind-records");
}

static void say_icmp(struct wire *wire, struct words *words, const unsigned char *at, uint32_t length, bool ip4)
{
	if (length < 8)
		return;
	say(words, "icmp");
	say(words, "type=%u", at[0]);
	say(words, "code=%u", at[1]);
	say(words, "word=%u", get32(at + 4));
	if (ip4 ? (at[0] == 3 || at[0] == 11 || at[0] == 12) : at[0] < 128)
		say_quote(wire, words, at + 8, length - 8);
	if (!ip4 && at[0] == 143)
		say_records(words, at, length, false);
	if (!ip4 && length >= 24 && at[0] >= 131 && at[0] <= 132)
		say_address(words, "group", at + 8, false);
	if (!ip4 && length >= 24 && (at[0] == 135 || at[0] == 136)) {
		say_address(words, "target", at + 8, false);
		for (uint32_t i = 24; i + 8 <= length && at[i + 1]; i += at[i + 1] * 8u)
			if (at[i] == 1 || at[i] == 2)
				say_mac(words, at[i] == 1 ? "sll" : "tll", at + i + 2);
	}
}

/* The sum is computed where it is partial; then it must be right. */
static const char *judge_sum(const struct cw_frame *frame, unsigned char *packet, uint32_t header, uint32_t length, uint32_t sum_at,
			     uint32_t sum)
{
	unsigned char *message = packet + header;

	if (frame->checksum == CW_CHECKSUM_PARTIAL) {
		if (frame->checksum_start != header || frame->checksum_offset != sum_at || get16(message + sum_at) != add(sum, NULL, 0))
			return "bad";
		return "partial";
	}
	return add(sum, message, length) == 0xffff ? "good" : "bad";
}

static void say_message(struct wire *wire, struct words *words, const struct cw_frame *frame, unsigned char *packet, uint32_t header,
			uint32_t length, uint32_t protocol, bool whole, struct bytes *payload)
{
	bool ip4 = packet[0] >> 4 == 4;
	struct cw_ip_address source = {.octet = {[10] = 0xff, [11] = 0xff}}, destination = source;
	unsigned char *at = packet + header;
	uint32_t skip = 0, sum_at = 2, sum = 0;

	memcpy(source.octet + (ip4 ? 12 : 0), packet + (ip4 ? 12 : 8), ip4 ? 4 : 16);
	memcpy(destination.octet + (ip4 ? 12 : 0), packet + (ip4 ? 16 : 24), ip4 ? 4 : 16);
	if (protocol == UDP && length >= 8) {
		say(words, "udp");
		say(words, "sport=%u", get16(at));
		say(words, "dport=%u", get16(at + 2));
		say(words, "ulen=%u", get16(at + 4));
		say(words, "hexsum=%04x", get16(at + 6));
		sum_at = 6;
		skip = 8;
	} else if (protocol == ICMP || protocol == ICMP6) {
		say_icmp(wire, words, at, length, ip4);
		skip = 8;
	} else if (protocol == IGMP && length >= 8) {
		say(words, "igmp");
		say(words, "type=%u", at[0]);
		if (at[0] == 0x22)
			say_records(words, at, length, true);
		else
			say_address(words, "group", at + 4, true);
		skip = 8;
	}
	if (protocol == UDP || protocol == ICMP6)
		sum = pseudo(&source, &destination, protocol, length);
	if (whole && skip && protocol == UDP && get16(at + 6) == 0)
		say(words, "sum=none");
	else if (whole && skip)
		say(words, "sum=%s", judge_sum(frame, packet, header, length, sum_at, sum));
	payload->length = length > skip ? length - skip : 0;
	memcpy(payload->at, at + skip, payload->length);
}

static bool say_ip4(struct wire *wire, struct words *words, const struct cw_frame *frame, struct bytes *packet, struct bytes *payload)
{
	unsigned char *at = packet->at;
	uint32_t header = (at[0] & 15u) * 4, field = get16(at + 6), offset = (field & 0x1fff) * 8;

	if (get16(at + 2) != packet->length || add(0, at, header) != 0xffff)
		return false;
	say_address(words, "src", at + 12, true);
	say_address(words, "dst", at + 16, true);
	say(words, "ttl=%u", at[8]);
	say(words, "tos=%u", at[1]);
	say(words, "proto=%u", at[9]);
	say(words, "off=%u", offset);
	if (field & 0x4000)
		say(words, "df");
	else
		say(words, "nodf");
	say(words, field & 0x2000 ? "mf" : "last");
	if (header == 24 && get32(at + 20) == 0x94040000)
		say(words, "alert");
	say_message(wire, words, frame, at, header, packet->length - header, offset ? 0xff : at[9], !(field & 0x3fff), payload);
	return true;
}

static bool say_ip6(struct wire *wire, struct words *words, const struct cw_frame *frame, struct bytes *packet, struct bytes *payload)
{
	unsigned char *at = packet->at;
	uint32_t header = 40, next = at[6], offset = 0, more = 0;

	if (get16(at + 4) + 40 != packet->length)
		return false;
	say_address(words, "src", at + 8, false);
	say_address(words, "dst", at + 24, false);
	say(words, "ttl=%u", at[7]);
	say(words, "tos=%u", (at[0] << 4 | at[1] >> 4) & 0xff);
	if (next == 0) {
		if (get32(at + header + 2) == 0x05020000)
			say(words, "alert");
		next = at[header];
		header += (at[header + 1] + 1u) * 8;
	}
	if (next == FRAGMENT) {
		offset = get16(at + header + 2) & 0xfff8;
		more = at[header + 3] & 1;
		say(words, "fragment");
		next = at[header];
		header += 8;
	}
	say(words, "off=%u", offset);
	say(words, more ? "mf" : "last");
	say(words, "proto=%u", next);
	say_message(wire, words, frame, at, header, packet->length - header, offset ? 0xff : next, !offset && !more, payload);
	return true;
}

static void say_arp(struct words *words, const unsigned char *at)
{
	say(words, "arp");
	say(words, "op=%u", get16(at + 6));
	say_mac(words, "sha", at + 8);
	say_address(words, "spa", at + 14, true);
	say_mac(words, "tha", at + 18);
	say_address(words, "tpa", at + 24, true);
}

bool packet_describe(struct wire *wire, const struct cw_frame *frame, struct words *words, struct bytes *payload)
{
	static struct bytes packet;
	uint32_t at = 0, link = wire->ethernet ? 14 : 0;
	struct cw_frame inner = *frame;

	words->count = 0;
	payload->length = 0;
	for (uint32_t i = 0; i < frame->pieces; i++) {
		if (at + frame->piece[i].length > frame->length || at + frame->piece[i].length > MOST_BYTES)
			return false;
		memcpy(packet.at + at, frame->piece[i].at, frame->piece[i].length);
		at += frame->piece[i].length;
	}
	if (at != frame->length || at < link + 20)
		return false;
	if (link) {
		say_mac(words, "edst", packet.at);
		say_mac(words, "esrc", packet.at + 6);
		if (get16(packet.at + 12) == 0x0806) {
			say_arp(words, packet.at + 14);
			return at >= 42;
		}
		memmove(packet.at, packet.at + link, at - link);
	}
	packet.length = at - link;
	inner.checksum_start = (uint16_t)(frame->checksum_start - link);
	say(words, "length=%u", packet.length);
	say(words, "segment=%u", frame->segment_size);
	wire->last.length = packet.length;
	memcpy(wire->last.at, packet.at, packet.length);
	if (packet.at[0] >> 4 == 4)
		return say_ip4(wire, words, &inner, &packet, payload);
	return packet.at[0] >> 4 == 6 && packet.length >= 40 && say_ip6(wire, words, &inner, &packet, payload);
}
