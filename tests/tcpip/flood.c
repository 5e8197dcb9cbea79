/* flood: what blind attackers send, a million times: the core's memory stays what it was, its answers stay bounded, and others are served
 * meanwhile. */
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "transport/tcpip/checksum.h"
#include "transport/tcpip/packet.h"
#include "transport/tcpip/tcp.h"

#define MILLION 1000000u

struct flooded {
	struct cw_tcpip *core;
	unsigned char *memory, send[2][4096], receive[2][4096];
	size_t size;
	struct cw_tcp *victim;
	uint64_t now, frames;
	uint32_t isn;
};

static unsigned bad;

static void result(bool good, const char *name)
{
	printf(good ? "ok tcpip/flood: %s\n" : "not ok tcpip/flood: %s # it doesn't hold\n", name);
	bad += !good;
}

static struct cw_ip_address host(uint32_t number)
{
	struct cw_ip_address address = {.octet = {[10] = 0xff, [11] = 0xff}};

	cw_put32(address.octet + 12, 0x0a000000u + number % 0xffffff);
	return address;
}

static void feed_window(struct flooded *flooded, uint32_t from, uint16_t port, unsigned flags, uint32_t seq, uint32_t ack, uint32_t bytes,
			uint16_t window)
{
	static unsigned char packet[2000];
	struct cw_ip_address source = host(from), destination = host(1);
	struct cw_frame frame = {.pieces = 1, .length = 40 + bytes, .checksum = CW_CHECKSUM_VALID};
	unsigned char *tcp = packet + 20;

	cw_ip_header(packet, &source, &destination, CW_PROTOCOL_TCP, 20 + bytes, 0, 0, 64);
	memset(tcp, 0, 20);
	cw_put16(tcp, port);
	cw_put16(tcp + 2, 80);
	cw_put32(tcp + 4, seq);
	cw_put32(tcp + 8, ack);
	tcp[12] = 0x50;
	tcp[13] = (unsigned char)flags;
	cw_put16(tcp + 14, window);
	frame.piece[0] = (struct cw_piece){packet, frame.length};
	cw_tcpip_input(flooded->core, &frame, flooded->now);
}

static void feed(struct flooded *flooded, uint32_t from, uint16_t port, unsigned flags, uint32_t seq, uint32_t ack, uint32_t bytes)
{
	feed_window(flooded, from, port, flags, seq, ack, bytes, 4096);
}

/* What is sent is counted; the last SYN-ACK's number is kept. */
static uint64_t drain(struct flooded *flooded)
{
	unsigned char header[CW_HEADER_ROOM];
	struct cw_tcp_event event;
	struct cw_frame frame;
	uint64_t frames = 0;

	cw_tcpip_advance(flooded->core, flooded->now);
	while (cw_tcpip_output(flooded->core, &frame, header, flooded->now)) {
		frames++;
		if ((header[33] & (CW_SYN | CW_ACK)) == (CW_SYN | CW_ACK))
			flooded->isn = cw_get32(header + 24);
	}
	while (cw_tcpip_event(flooded->core, &event))
		if (event.events & CW_TCP_ACCEPTED)
			flooded->victim = event.connection;
	return frames;
}

static void begin(struct flooded *flooded)
{
	struct cw_tcpip_config config = {
		.connections = 4, .listeners = 1, .half_open = 100, .time_waits = 4, .sent = 64, .blocks = 64, .replies = 64, .mtu = 1500};
	struct cw_ip_endpoint end = {host(1), 80};
	struct cw_tcp_settings settings = {.receive_size = 4096};
	struct cw_tcp_listener *listener;

	memset(flooded, 0, sizeof(*flooded));
	flooded->size = cw_tcpip_size(&config);
	/* Behind the block lies what must never change. */
	flooded->memory = aligned_alloc(64, ((flooded->size + 63) & ~(size_t)63) + 4096);
	if (!flooded->memory)
		abort();
	memset(flooded->memory, 0, flooded->size);
	memset(flooded->memory + flooded->size, 0xa5, 4096);
	flooded->now = 1000000;
	flooded->core = cw_tcpip_init(flooded->memory, &config, flooded->now);
	listener = cw_tcp_listen(flooded->core, &end, &settings);
	for (unsigned i = 0; i < 2; i++) {
		struct cw_tcp_rings rings = {flooded->send[i], 4096, flooded->receive[i], 4096, flooded};

		cw_tcp_supply(listener, &rings);
	}
}

static bool memory_is_whole(struct flooded *flooded)
{
	for (unsigned i = 0; i < 4096; i++)
		if (flooded->memory[flooded->size + i] != 0xa5)
			return false;
	return true;
}

/* A connection by handshake; its number is the peer's port. */
static bool connects(struct flooded *flooded, uint16_t port)
{
	flooded->victim = NULL;
	feed(flooded, 2, port, CW_SYN, 1000, 0, 0);
	drain(flooded);
	feed(flooded, 2, port, CW_ACK, 1001, flooded->isn + 1, 0);
	drain(flooded);
	return flooded->victim;
}

static void syns(void)
{
	static struct flooded flooded;
	struct cw_pool connections, sent, blocks;
	bool bounded = true, flat;
	size_t allocated;

	begin(&flooded);
	connections = flooded.core->connection_pool;
	sent = flooded.core->sent_pool;
	blocks = flooded.core->block_pool;
	allocated = mallinfo2().uordblks;
	for (uint32_t i = 0; i < MILLION; i++) {
		flooded.now += 2;
		feed(&flooded, 100 + i * 7919u, (uint16_t)(1 + i % 65000), CW_SYN, i, 0, 0);
		bounded &= flooded.core->half_open_pool.used <= 100;
		flooded.frames += drain(&flooded);
	}
	flat = mallinfo2().uordblks == allocated && memcmp(&connections, &flooded.core->connection_pool, sizeof(connections)) == 0 &&
	       memcmp(&sent, &flooded.core->sent_pool, sizeof(sent)) == 0 &&
	       memcmp(&blocks, &flooded.core->block_pool, sizeof(blocks)) == 0;
	result(flat, "a million half-open attempts take nothing from heap or pools");
	result(bounded && memory_is_whole(&flooded), "a million SYNs are kept in a hundred entries");
	result(cw_tcpip_counter(flooded.core, CW_TCPIP_HALF_OPEN_FULL) > 9 * MILLION / 10, "the rest are answered by cookies");
	result(connects(&flooded, 3000), "another connects meanwhile");
	flooded.now += 200000000;
	drain(&flooded);
	for (unsigned i = 0; i < 10; i++) {
		flooded.now += 60000000;
		drain(&flooded);
	}
	result(flooded.core->half_open_pool.used == 0, "half-open ones end by themselves");
	free(flooded.memory);
}

/* Blind resets, SYNs, data and acknowledgements for a connection whose four-tuple is known (RFC 5961). */
static void blind(void)
{
	static const struct {
		unsigned flags;
		uint32_t bytes;
		const char *name;
	} kinds[] = {
		{CW_RST, 0, "a million blind resets"},
		{CW_SYN, 0, "a million blind SYNs"},
		{CW_ACK, 0, "a million blind acknowledgements"},
		{CW_ACK, 100, "a million blind data segments"},
	};

	for (unsigned kind = 0; kind < 4; kind++) {
		static struct flooded flooded;
		uint32_t state = 12345;
		uint64_t frames = 0;

		begin(&flooded);
		if (!connects(&flooded, 3000)) {
			result(false, kinds[kind].name);
			continue;
		}
		for (uint32_t i = 0; i < MILLION; i++) {
			uint32_t seq, ack;

			state = state * 1664525u + 1013904223u;
			seq = state;
			state = state * 1664525u + 1013904223u;
			ack = state;
			if (seq == 1001) /* the one number in 2^32 that may be believed */
				continue;
			flooded.now += 2;
			feed(&flooded, 2, 3000, kinds[kind].flags, seq, ack, kinds[kind].bytes);
			frames += drain(&flooded);
		}
		/* Only data is answered a segment each (RFC 9293 3.10.7.4); all else is held to the limit of challenges, 10 a second. */
		result(flooded.victim->state == CW_TCP_ESTABLISHED && cw_tcp_unread(flooded.victim) == 0 &&
			       (kinds[kind].bytes || frames < 100) && memory_is_whole(&flooded),
		       kinds[kind].name);
		free(flooded.memory);
	}
}

/* Blocks of one byte each, as far apart as the ring allows. */
static void silly(void)
{
	static struct flooded flooded;
	bool bounded = true;

	begin(&flooded);
	if (!connects(&flooded, 3000)) {
		result(false, "bytes far apart");
		return;
	}
	for (uint32_t i = 0; i < MILLION; i++) {
		flooded.now += 2;
		feed(&flooded, 2, 3000, CW_ACK, 1001 + 2 + i * 2 % 4000, flooded.isn + 1, 1);
		drain(&flooded);
		bounded &= flooded.core->block_pool.used <= 64;
	}
	result(bounded && flooded.victim->state == CW_TCP_ESTABLISHED && memory_is_whole(&flooded),
	       "a million bytes far apart are kept in 64 blocks");
	free(flooded.memory);
}

/* Something of ours is in flight: four segments. */
static bool sends(struct flooded *flooded)
{
	if (!connects(flooded, 3000))
		return false;
	cw_tcp_written(flooded->victim, 4 * 536, false, flooded->now);
	return drain(flooded) == 4 && cw_tcp_outstanding(flooded->victim) == 4 * 536;
}

/* Acknowledgements of a peer that never stops: each is right, or right but for one thing. What they make the core send stays bounded by the
 * time that goes by, not by their number. */
static void ack_storms(void)
{
	static const struct {
		uint32_t seq, ack; /* from the right ones */
		uint64_t most;
		const char *name;
	} kinds[] = {
		{0, 0, 40, "a million duplicate acknowledgements"},
		{0, 100000, 60, "a million acknowledgements of what wasn't sent"},
		{0u - 1, 0, MILLION, "a million keep-alive probes, answered one by one"},
		{5000, 0, 60, "a million acknowledgements beyond the window"},
	};

	for (unsigned kind = 0; kind < 4; kind++) {
		static struct flooded flooded;
		uint64_t frames = 0;

		begin(&flooded);
		if (!sends(&flooded)) {
			result(false, kinds[kind].name);
			continue;
		}
		for (uint32_t i = 0; i < MILLION; i++) {
			flooded.now += 2;
			feed(&flooded, 2, 3000, CW_ACK, 1001 + kinds[kind].seq, flooded.isn + 1 + kinds[kind].ack, 0);
			frames += drain(&flooded);
		}
		printf("    %llu frames sent\n", (unsigned long long)frames);
		result(flooded.victim->state == CW_TCP_ESTABLISHED && frames <= kinds[kind].most &&
			       flooded.core->sent_pool.used + flooded.victim->spare_used <= 5 && cw_sent_consistent(flooded.victim) &&
			       memory_is_whole(&flooded),
		       kinds[kind].name);
		free(flooded.memory);
	}
}

/* SACK blocks that can't be, or of single bytes: the records stay few, and no block is believed that lies outside what is in flight. */
static void sack_storm(void)
{
	static struct flooded flooded;
	static unsigned char packet[64];
	struct cw_ip_address source = host(2), destination = host(1);
	struct cw_frame frame = {.pieces = 1, .length = 52, .checksum = CW_CHECKSUM_VALID, .piece[0] = {packet, 52}};
	unsigned char *tcp = packet + 20;
	bool bounded = true;

	begin(&flooded);
	if (!sends(&flooded)) {
		result(false, "a million SACK blocks");
		return;
	}
	flooded.victim->sack = true; /* as if the SYNs had agreed on it */
	cw_ip_header(packet, &source, &destination, CW_PROTOCOL_TCP, 32, 0, 0, 64);
	cw_put16(tcp, 3000);
	cw_put16(tcp + 2, 80);
	cw_put32(tcp + 4, 1001);
	cw_put32(tcp + 8, flooded.isn + 1);
	cw_put32(tcp + 12, 0x80101000);
	cw_put32(tcp + 20, 0x0101050a);
	for (uint32_t i = 0; i < MILLION && bounded; i++) {
		uint32_t start = flooded.isn + 1 + (i % 3 ? i * 7919u % 2600 : i * 2654435761u);

		flooded.now += 2;
		cw_put32(tcp + 24, start);
		cw_put32(tcp + 28, start + 1 + (i % 5 ? 0 : i % 900));
		cw_tcpip_input(flooded.core, &frame, flooded.now);
		drain(&flooded);
		bounded = flooded.core->sent_pool.used <= 64 && cw_sent_consistent(flooded.victim);
	}
	result(bounded && flooded.victim->state == CW_TCP_ESTABLISHED && memory_is_whole(&flooded), "a million SACK blocks");
	free(flooded.memory);
}

/* RFC 9293 3.8.6.2.1: a peer that tells windows of a few bytes is sent no segments of a few bytes; one whose window jumps, once closed and
 * once open, is sent nothing twice. */
static void silly_windows(bool jumps, const char *name)
{
	static struct flooded flooded;
	uint64_t frames = 0;

	begin(&flooded);
	if (!connects(&flooded, 3000)) {
		result(false, name);
		return;
	}
	cw_tcp_written(flooded.victim, 4096, false, flooded.now);
	drain(&flooded);
	for (uint32_t i = 0; i < MILLION; i++) {
		flooded.now += 2;
		feed_window(&flooded, 2, 3000, CW_ACK, 1001, (uint32_t)flooded.victim->snd_nxt, 0,
			    (uint16_t)(jumps ? (i % 2 ? 65535 : 0) : i % 100));
		if (!jumps && cw_tcp_outstanding(flooded.victim) == 0 && flooded.victim->snd_end - flooded.victim->snd_una < 2048)
			cw_tcp_written(flooded.victim, flooded.victim->snd_end - flooded.victim->send_origin + 1024, false, flooded.now);
		frames += drain(&flooded);
	}
	printf("    %llu frames sent\n", (unsigned long long)frames);
	result(flooded.victim->state == CW_TCP_ESTABLISHED && frames < 40 && cw_sent_consistent(flooded.victim) &&
		       memory_is_whole(&flooded),
	       name);
	free(flooded.memory);
}

/* Data out of order that overlap with what has come, at any boundary: kept once, within the blocks. */
static void overlaps(void)
{
	static struct flooded flooded;
	uint32_t state = 7;
	bool bounded = true;

	begin(&flooded);
	if (!connects(&flooded, 3000)) {
		result(false, "overlapping segments");
		return;
	}
	for (uint32_t i = 0; i < MILLION; i++) {
		state = state * 1664525u + 1013904223u;
		flooded.now += 2;
		feed(&flooded, 2, 3000, CW_ACK, 1003 + (state >> 8) % 4090, flooded.isn + 1, 1 + (state >> 20) % 1000);
		drain(&flooded);
		bounded &= flooded.core->block_pool.used <= 64 && cw_tcp_unread(flooded.victim) == 0;
	}
	result(bounded && flooded.victim->state == CW_TCP_ESTABLISHED && memory_is_whole(&flooded),
	       "a million segments that overlap are kept once");
	free(flooded.memory);
}

int main(void)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	syns();
	blind();
	silly();
	ack_storms();
	sack_storm();
	silly_windows(false, "a million windows of a few bytes");
	silly_windows(true, "a million windows that jump");
	overlaps();
	return bad != 0;
}
