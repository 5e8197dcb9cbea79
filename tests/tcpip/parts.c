/* parts: what the core is built of, each against something simpler. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "transport/tcpip/checksum.h"
#include "transport/tcpip/packet.h"
#include "transport/tcpip/siphash.h"
#include "transport/tcpip/outgoing.h"
#include "transport/tcpip/tcp.h"
#include "transport/tcpip/udp.h"
#include "transport/tcpip/wheel.h"

#define TIMERS 300u

static unsigned bad;
static uint64_t state = 88172645463325252ull;

static uint64_t next(void)
{
	state ^= state << 13;
	state ^= state >> 7;
	return state ^= state << 17;
}

static void result(bool good, const char *name)
{
	printf(good ? "ok tcpip/parts: %s\n" : "not ok tcpip/parts: %s # it differs\n", name);
	bad += !good;
}

/* A wheel against a plain list of expiries: the same timers at the same times, never early, never late, whatever their distance. */
static bool wheel_is_right(uint64_t now)
{
	static struct cw_wheel wheel;
	static struct cw_timer timer[TIMERS];
	uint64_t expiry[TIMERS];

	cw_wheel_init(&wheel, now);
	memset(timer, 0, sizeof(timer));
	for (unsigned i = 0; i < TIMERS; i++)
		expiry[i] = CW_NEVER;
	for (unsigned step = 0; step < 20000; step++) {
		unsigned i = (unsigned)(next() % TIMERS);
		struct cw_timer *expired;

		if (next() % 3) {
			expiry[i] = now + next() % (1ull << next() % 44);
			cw_wheel_start(&wheel, &timer[i], expiry[i]);
		} else {
			expiry[i] = CW_NEVER;
			cw_wheel_stop(&wheel, &timer[i]);
		}
		for (unsigned k = 0; k < TIMERS; k++)
			if (expiry[k] < cw_wheel_next(&wheel) && expiry[k] > now)
				return false;
		now += next() % (1ull << next() % 34);
		while ((expired = cw_wheel_expired(&wheel, now))) {
			unsigned which = (unsigned)(expired - timer);

			if (expiry[which] > now)
				return false;
			expiry[which] = CW_NEVER;
		}
		for (unsigned k = 0; k < TIMERS; k++)
			if (expiry[k] <= now || (expiry[k] != CW_NEVER) != cw_timer_running(&timer[k]))
				return false;
	}
	return true;
}

/* Values from the authors' paper and reference code (appendix A of the paper has the second one). */
static bool siphash_is_right(void)
{
	unsigned char bytes[16];
	struct cw_siphash_key key;

	for (unsigned i = 0; i < 16; i++)
		bytes[i] = (unsigned char)i;
	memcpy(&key, bytes, sizeof(key));
	return cw_siphash(&key, bytes, 0) == 0x726fdb47dd0e0e31ull && cw_siphash(&key, bytes, 15) == 0xa129ca6149be45e5ull;
}

static uint16_t slow_sum(const unsigned char *bytes, uint32_t length)
{
	uint32_t sum = 0;

	for (uint32_t i = 0; i < length; i++)
		sum += i & 1 ? bytes[i] : (uint32_t)bytes[i] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)sum;
}

/* Any bytes in any pieces, odd ones too, against a byte at a time. */
static bool checksum_is_right(void)
{
	unsigned char bytes[3000];

	for (unsigned round = 0; round < 3000; round++) {
		struct cw_frame frame = {.length = (uint32_t)(next() % sizeof(bytes))};
		uint32_t at = 0, from, length;
		uint16_t sum;

		for (uint32_t i = 0; i < frame.length; i++)
			bytes[i] = (unsigned char)next();
		while (at < frame.length) {
			uint32_t take =
				frame.pieces == CW_FRAME_PIECES - 1 ? frame.length - at : 1 + (uint32_t)(next() % (frame.length - at));

			frame.piece[frame.pieces++] = (struct cw_piece){bytes + at, take};
			at += take;
		}
		from = frame.length ? (uint32_t)(next() % frame.length) : 0;
		length = frame.length - from ? (uint32_t)(next() % (frame.length - from + 1)) : 0;
		sum = cw_checksum_fold(cw_checksum_frame(0, &frame, from, length));
		sum = (uint16_t)(sum << 8 | sum >> 8);
		if (sum % 0xffff != slow_sum(bytes + from, length) % 0xffff)
			return false;
	}
	return true;
}

/* RFC 9293 3.4: numbers compare rightly within half of their space, across the wrap. */
static bool positions_are_right(void)
{
	for (unsigned i = 0; i < 100000; i++) {
		uint64_t near = (1ull << 32) + next() % (1ull << 40), position = near + (int64_t)(int32_t)next() / 2;

		if (cw_tcp_position((uint32_t)position, near) != position)
			return false;
	}
	return true;
}

/* RFC 791 3.1, 2113: fragments told by place and identification; options that steer are refused, the router alert is told. */
static bool ip4_is_right(void)
{
	static const struct {
		uint16_t flags;
		uint8_t option[4];
		bool good, fragment, more, alert;
		uint32_t offset;
	} cases[] = {
		{0x4000, {1, 1, 1, 0}, true, false, false, false, 0},    /* don't fragment */
		{0x2000, {1, 1, 1, 0}, true, true, true, false, 0},      /* the first one */
		{0x2003, {1, 1, 1, 0}, true, true, true, false, 24},     /* one between */
		{0x1fff, {1, 1, 1, 0}, true, true, false, false, 65528}, /* the last one there can be */
		{0, {148, 4, 0, 0}, true, false, false, true, 0},        /* router alert */
		{0, {148, 4, 0, 1}, true, false, false, false, 0},       /* a value that isn't defined */
		{0, {131, 3, 4, 0}, false, false, false, false, 0},      /* loose source route */
		{0, {148, 5, 0, 0}, false, false, false, false, 0},      /* longer than the header */
	};

	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		unsigned char bytes[44] = {0x46, 3, [4] = 0x12, 0x34, [8] = 7, 17, [12] = 10, 0, 0, 1, 10, 0, 0, 2};
		struct cw_packet packet;
		bool good;

		cw_put16(bytes + 2, sizeof(bytes));
		cw_put16(bytes + 6, cases[i].flags);
		memcpy(bytes + 20, cases[i].option, 4);
		cw_ip4_sum(bytes);
		good = cw_ip4_parse(bytes, sizeof(bytes), sizeof(bytes), &packet);
		if (good != cases[i].good)
			return false;
		if (good && (packet.fragment != cases[i].fragment || packet.more_fragments != cases[i].more ||
			     packet.router_alert != cases[i].alert || packet.fragment_offset != cases[i].offset))
			return false;
		if (good && (packet.fragment_id != 0x1234 || packet.hop_limit != 7 || packet.ecn != CW_ECN_CE || packet.protocol != 17 ||
			     packet.at != 24 || packet.length != 20))
			return false;
	}
	return true;
}

/* RFC 4443 3.4, 8200 4.2: what a refused packet is to be answered by, and where the problem is. */
static bool ip6_problems_are_right(void)
{
	static const struct {
		uint8_t next, extension[16];
		uint32_t length;
		enum cw_packet_problem problem;
		uint32_t pointer;
		bool to_group;
	} cases[] = {
		{60, {6, 0, 0x41, 4}, 8, CW_PROBLEM_NONE, 0, false},    /* 01: dropped in silence */
		{60, {6, 0, 0x81, 4}, 8, CW_PROBLEM_OPTION, 42, true},  /* 10: told to whoever it came from */
		{60, {6, 0, 0xc1, 4}, 8, CW_PROBLEM_OPTION, 42, false}, /* 11: not if it was sent to a group */
		{60, {6, 0, 0, 0, 0xc1, 2}, 8, CW_PROBLEM_OPTION, 44, false},
		{43, {6, 0, 9, 1}, 8, CW_PROBLEM_FIELD, 42, false}, /* a routing header with segments left */
		{60, {0, 0, 1, 4, 0, 0, 0, 0, 6, 0, 1, 4}, 16, CW_PROBLEM_NEXT_HEADER, 40, false},
		{60, {6, 9, 1, 4}, 8, CW_PROBLEM_NONE, 0, false}, /* longer than the packet: nothing is certain */
	};

	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		unsigned char bytes[100] = {0x60, [8] = 0xfd, [23] = 1, [24] = 0xfd, [39] = 2};
		struct cw_packet packet;

		cw_put16(bytes + 4, cases[i].length + 20);
		bytes[6] = cases[i].next;
		memcpy(bytes + 40, cases[i].extension, cases[i].length);
		if (cw_ip6_parse(bytes, 60 + cases[i].length, 60 + cases[i].length, &packet) || packet.problem != cases[i].problem)
			return false;
		if (packet.problem && (packet.pointer != cases[i].pointer || packet.answer_to_group != cases[i].to_group))
			return false;
	}
	return true;
}

/* RFC 7112: the first fragment holds all headers; 8200 4.5: where a fragment lies. */
static bool ip6_fragments_are_right(void)
{
	unsigned char bytes[56] = {
		0x60, [5] = 16, [6] = 44, [8] = 0xfd, [23] = 1, [24] = 0xfd, [39] = 2, [40] = 17, [42] = 5, [43] = 0x81, [47] = 9};
	unsigned char chain[24] = {17, 0, 1, 4};
	struct cw_packet packet;

	if (!cw_ip6_parse(bytes, 56, 56, &packet) || !packet.fragment || !packet.more_fragments || packet.fragment_offset != 0x580 ||
	    packet.fragment_id != 9 || packet.fragment_at != 40 || packet.named_at != 6 || packet.protocol != 17 || packet.at != 48 ||
	    packet.length != 8)
		return false;
	return cw_ip6_chain_is_whole(chain, 16, 60) && !cw_ip6_chain_is_whole(chain, 15, 60) && !cw_ip6_chain_is_whole(chain, 7, 60) &&
	       cw_ip6_chain_is_whole(chain, 20, 6) && !cw_ip6_chain_is_whole(chain, 19, 6) && cw_ip6_chain_is_whole(chain, 0, 59);
}

/* Fragments of one datagram as they come out: put together, and compared with what was to be sent. */
static bool fragments_are_right(struct cw_tcpip *core, const unsigned char *sent, uint32_t length, bool ip4, uint32_t mtu, bool alert)
{
	static unsigned char got[65536], packet[65536];
	unsigned char header[CW_HEADER_ROOM];
	uint32_t done = 0, id = 0;
	struct cw_frame frame;

	while (done < length) {
		struct cw_packet read;
		uint32_t at = 0;

		if (!cw_tcpip_output(core, &frame, header, 0) || frame.length > mtu)
			return false;
		for (uint32_t i = 0; i < frame.pieces; at += frame.piece[i++].length)
			memcpy(packet + at, frame.piece[i].at, frame.piece[i].length);
		if (at != frame.length || !(ip4 ? cw_ip4_parse : cw_ip6_parse)(packet, at, at, &read))
			return false;
		if (read.protocol != 17 || read.hop_limit != 9 || read.router_alert != alert || read.traffic_class != 0xa4)
			return false;
		if (read.fragment ? read.fragment_offset != done : done || read.length != length)
			return false;
		if (read.fragment && (read.more_fragments != (done + read.length < length) || (done && read.fragment_id != id)))
			return false;
		if (read.fragment && read.more_fragments && read.length + 8 + (read.at) <= mtu)
			return false; /* not as full as it could be */
		id = read.fragment_id;
		memcpy(got + done, packet + read.at, read.length);
		done += read.length;
	}
	return done == length && memcmp(got, sent, length) == 0;
}

static bool add_message(struct cw_tcpip *core, const unsigned char *bytes, uint32_t length, bool ip4, bool alert)
{
	unsigned char *at;
	struct cw_control_record *record = cw_control_add(core, length, &at);

	if (!record)
		return false;
	memcpy(at, bytes, length);
	record->protocol = 17;
	record->hop_limit = 9;
	record->traffic_class = 0xa4;
	record->router_alert = alert;
	record->source.octet[0] = record->destination.octet[0] = ip4 ? 0 : 0xfd;
	for (unsigned i = 10; i < 12; i++)
		record->source.octet[i] = record->destination.octet[i] = ip4 ? 0xff : 0;
	record->destination.octet[15] = 1;
	return true;
}

static struct cw_tcpip *new_core(const struct cw_tcpip_config *config)
{
	void *memory = aligned_alloc(64, (cw_tcpip_size(config) + 63) & ~(size_t)63);

	if (!memory)
		abort();
	memset(memory, 0, cw_tcpip_size(config));
	return cw_tcpip_init(memory, config, 0);
}

/* RFC 791 3.2, 8200 4.5: datagrams of any length over any MTU, while the ring of messages goes round. */
static bool fragmentation_is_right(bool ip4)
{
	static unsigned char sent[65536];
	bool good = true;

	for (uint32_t i = 0; i < sizeof(sent); i++)
		sent[i] = (unsigned char)next();
	for (unsigned round = 0; round < 100 && good; round++) {
		struct cw_tcpip_config config = {.control_bytes = 150000, .mtu = (uint16_t)((ip4 ? 576 : 1280) + next() % 2000)};
		struct cw_tcpip *core = new_core(&config);

		for (unsigned i = 0; i < 12 && good; i++) {
			uint32_t length = 8 + (uint32_t)(next() % (next() % 4 ? 4000 : 65400));
			bool alert = next() % 2;

			good = add_message(core, sent, length, ip4, alert) && add_message(core, sent + 77, 40, ip4, !alert) &&
			       fragments_are_right(core, sent, length, ip4, config.mtu, alert) &&
			       fragments_are_right(core, sent + 77, 40, ip4, config.mtu, !alert);
		}
		free(core);
	}
	return good;
}

/* What doesn't fit is dropped and counted; what was there before is sent, in order, and then there is room again. */
static bool messages_are_bounded(void)
{
	struct cw_tcpip_config config = {.control_bytes = 5000, .mtu = 1500};
	static unsigned char sent[2000];
	struct cw_tcpip *core = new_core(&config);
	uint64_t dropped = 0;
	bool good = true;

	for (unsigned round = 0; round < 1000 && good; round++) {
		unsigned lengths[200], count = 0;

		for (uint32_t i = 0; i < sizeof(sent); i++)
			sent[i] = (unsigned char)(i + round);
		for (;;) {
			lengths[count] = 8 + (unsigned)(next() % 1400);
			if (!add_message(core, sent, lengths[count], true, false))
				break;
			count++;
		}
		dropped++;
		good = count >= 2 && count < 200 && cw_tcpip_counter(core, CW_TCPIP_CONTROL_DROPPED) == dropped;
		for (unsigned i = 0; i < count && good; i++)
			good = fragments_are_right(core, sent, lengths[i], true, config.mtu, false);
	}
	free(core);
	return good;
}

/* RFC 7739: neither the same twice in a row nor to be guessed by who sees those of another pair. */
static bool identifications_are_right(void)
{
	struct cw_tcpip_config config = {.mtu = 1500};
	struct cw_tcpip *core = new_core(&config);
	struct cw_ip_address one = {{0xfd, 1}}, two = {{0xfd, 2}}, three = {{0xfd, 3}};
	uint32_t first = cw_ip_identification(core, &one, &two), other = cw_ip_identification(core, &one, &three);
	bool good = cw_ip_identification(core, &one, &two) != first && other != first && other != first + 1;

	free(core);
	return good;
}

/* RFC 8200 4: extension headers are passed over, fragments told, and what can't be refused. */
static bool ip6_is_right(void)
{
	static const struct {
		uint8_t next, extension[24];
		uint32_t length;
		bool good, fragment;
	} cases[] = {
		{6, {0}, 0, true, false},
		{0, {6, 0, 1, 4}, 8, true, false},                            /* hop by hop, padded */
		{0, {6, 0, 0xc2, 4}, 8, false, false},                        /* an option that is to be known */
		{60, {6, 0, 1, 4}, 8, true, false},                           /* destination options */
		{60, {0, 0, 1, 4, 0, 0, 0, 0, 6, 0, 1, 4}, 16, false, false}, /* hop by hop, not first */
		{43, {6, 0, 0, 0}, 8, true, false},                           /* routing, nothing left */
		{43, {6, 0, 0, 1}, 8, false, false},                          /* routing, to be forwarded */
		{44, {6, 0, 0, 0}, 8, true, false},                           /* atomic fragment: RFC 6946 */
		{44, {6, 0, 0, 1}, 8, true, true},                            /* more fragments */
		{44, {6, 0, 0, 8}, 8, true, true},                            /* not the first one */
		{60, {6, 9, 1, 4}, 8, false, false},                          /* longer than the packet */
		{60, {6, 0, 1, 5}, 8, false, false},                          /* an option longer than its header */
	};

	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		unsigned char bytes[100] = {0x60, [8] = 0xfd, [23] = 1, [24] = 0xfd, [39] = 2};
		struct cw_packet packet;
		bool good;

		cw_put16(bytes + 4, cases[i].length + 20);
		bytes[6] = cases[i].next;
		memcpy(bytes + 40, cases[i].extension, cases[i].length);
		good = cw_ip6_parse(bytes, 60 + cases[i].length, 60 + cases[i].length, &packet);
		if (good != cases[i].good || (good && packet.fragment != cases[i].fragment))
			return false;
		if (good && (packet.protocol != 6 || packet.at != 40 + cases[i].length || packet.length != 20))
			return false;
	}
	return true;
}

/* The filter against all samples: what it says is a sample of the window, none of the last quarter of it is better, and what comes as the
 * best so far is said at once. */
static bool windowed_is_right(bool most)
{
	enum { SAMPLES = 20000, WINDOW = 1000 };
	static uint64_t times[SAMPLES], values[SAMPLES];
	struct cw_windowed windowed;
	uint64_t time = 5, said;

	cw_windowed_set(&windowed, time, most ? 0 : UINT64_MAX);
	for (unsigned i = 0; i < SAMPLES; i++) {
		bool is_sample = false;

		time += next() % 8 ? next() % 20 : next() % 400;
		times[i] = time;
		values[i] = 1000 + (i / 1000 % 2 ? i : SAMPLES - i) + next() % 500;
		said = (most ? cw_windowed_most : cw_windowed_least)(&windowed, WINDOW, time, values[i]);
		for (unsigned k = i + 1; k-- > 0 && time - times[k] <= WINDOW;) {
			is_sample |= values[k] == said;
			if (time - times[k] <= WINDOW / 4 && (most ? values[k] > said : values[k] < said))
				return false;
		}
		if (!is_sample)
			return false;
	}
	return true;
}

static void put_datagrams(struct cw_udp *udp, unsigned char *ring, const struct cw_ip_address *to, unsigned count)
{
	struct cw_udp_record record = {.remote = *to, .remote_port = 9, .length = 1};

	for (unsigned i = 0; i < count; i++)
		memcpy(ring + i * CW_UDP_RECORD_ALIGN, &record, sizeof(record));
	cw_udp_written(udp, count * CW_UDP_RECORD_ALIGN, 1);
}

/* Connections and datagram sockets that all have something to send: a frame of one kind, then one of the other. */
static bool turns_are_right(void)
{
	static unsigned char rings[4][4096] __attribute__((aligned(64)));
	static const unsigned char wanted[6] = {CW_PROTOCOL_TCP, CW_PROTOCOL_UDP, CW_PROTOCOL_TCP,
						CW_PROTOCOL_UDP, CW_PROTOCOL_UDP, CW_PROTOCOL_UDP};
	struct cw_tcpip_config config = {.connections = 2, .sent = 8, .mtu = 1500, .addresses = 1, .udp_sockets = 1};
	struct cw_ip_endpoint local = {.port = 7}, remote = {.port = 9};
	struct cw_tcp_rings tcp_rings = {rings[0], 4096, rings[1], 4096, NULL};
	struct cw_udp_rings udp_rings = {rings[2], 4096, rings[3], 4096, NULL};
	size_t size = (cw_tcpip_size(&config) + 63) & ~(size_t)63;
	unsigned char *memory = aligned_alloc(64, size), header[CW_HEADER_ROOM];
	struct cw_tcpip *core;
	struct cw_frame frame;
	bool good = true;

	if (!memory)
		return false;
	memset(memory, 0, size);
	core = cw_tcpip_init(memory, &config, 1);
	cw_ip_set_4(&local.address, (const unsigned char[]){10, 0, 0, 1});
	cw_ip_set_4(&remote.address, (const unsigned char[]){10, 0, 0, 2});
	put_datagrams(cw_udp_open(core, &local, &udp_rings, NULL), rings[2], &remote.address, 4);
	for (uint16_t i = 0; i < 2; i++) {
		local.port = (uint16_t)(100 + i);
		good &= cw_tcp_connect(core, &local, &remote, &tcp_rings, NULL, 1) != NULL;
	}
	for (unsigned i = 0; i < sizeof(wanted) && good; i++)
		good = cw_tcpip_output(core, &frame, header, 1) && frame.piece[0].at[9] == wanted[i];
	good &= !cw_tcpip_output(core, &frame, header, 1);
	free(memory);
	return good;
}

int main(void)
{
	result(turns_are_right(), "TCP and UDP send in turns");
	result(windowed_is_right(false) && windowed_is_right(true), "RFC 8985 6.2 step 1: the least and the most of a window of time");
	result(wheel_is_right(0) && wheel_is_right(123456789012345ull) && wheel_is_right((1ull << 62) - 5), "timers");
	result(siphash_is_right(), "SipHash-2-4");
	result(checksum_is_right(), "checksums of pieces");
	result(positions_are_right(), "RFC 9293 3.4: sequence numbers");
	result(ip6_is_right(), "RFC 8200 4: extension headers");
	result(ip6_problems_are_right(), "RFC 8200 4.2: problems, and where they are");
	result(ip6_fragments_are_right(), "RFC 8200 4.5, 7112: fragments");
	result(fragmentation_is_right(true), "RFC 791 3.2: fragments made");
	result(fragmentation_is_right(false), "RFC 8200 4.5: fragments made");
	result(messages_are_bounded(), "messages of the network layer are bounded");
	result(identifications_are_right(), "RFC 7739: identifications");
	result(ip4_is_right(), "RFC 791 3.1: fragments and options");
	return bad != 0;
}
