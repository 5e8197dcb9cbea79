/*
 * Random and half-right input for one core that has listeners, connections in all states, half-open ones
 * and TIME-WAITs. Nothing may be read or written that isn't ours (the sanitizers see to that), every sum must hold, and memory stays in its
 * bounds. Packets are made from what the core sends itself, mirrored, then changed; so they go deeper than noise does. Programs that write
 * nonsense into their indices are part of it.
 *
 * Every choice is a number: of a generator with a seed, or of the bytes that a fuzzer made, which sees by them what it has reached.
 */
#include "fuzz.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "transport/tcpip/checksum.h"
#include "transport/tcpip/packet.h"
#include "transport/tcpip/tcp.h"
#include "world.h"

#define STREAMS 8u

struct target {
	struct world *random;       /* for its numbers alone; NULL: they are those of */
	const unsigned char *bytes; /* `left` of them */
	size_t left;
	bool ended; /* there are no more numbers */
	struct cw_tcpip *core;
	void *memory;
	struct cw_tcp *connection[STREAMS];
	unsigned char *send[STREAMS], *receive[STREAMS];
	struct cw_tcp_rings rings[STREAMS];
	struct cw_tcp_listener *listener;
	uint64_t now;
	unsigned char last[70000], guarded[70000];
	uint32_t last_length;
	const char *failure;
};

static uint64_t take(struct target *target, unsigned bytes)
{
	uint64_t number = 0;

	for (; bytes && target->left; bytes--, target->left--)
		number = number << 8 | *target->bytes++;
	target->ended |= bytes;
	return number;
}

static uint64_t any(struct target *target)
{
	return target->random ? random_of(target->random) : take(target, 4);
}

static uint64_t pick(struct target *target, uint64_t bound)
{
	if (target->random)
		return below(target->random, bound);
	return bound ? take(target, bound <= 1 ? 0 : bound <= 256 ? 1 : bound <= 65536 ? 2 : 4) % bound : 0;
}

static struct cw_ip_endpoint endpoint(unsigned host, uint16_t port, bool ip4)
{
	struct cw_ip_endpoint made = {.port = port};

	made.address.octet[0] = ip4 ? 0 : 0xfd;
	made.address.octet[10] = made.address.octet[11] = ip4 ? 0xff : 0;
	made.address.octet[12] = ip4 ? 10 : 0;
	made.address.octet[15] = (uint8_t)host;
	return made;
}

static void make(struct target *target)
{
	struct cw_tcpip_config config = {.connections = STREAMS,
					 .listeners = 2,
					 .half_open = (uint32_t)pick(target, 4),
					 .time_waits = 2,
					 .sent = (uint32_t)pick(target, 100),
					 .blocks = (uint32_t)pick(target, 40),
					 .replies = 4,
					 .mtu = 1500,
					 .frame_max = 65535,
					 .checksum_offload = true};
	struct cw_tcp_settings settings = {.receive_size = 4096,
					   .ecn = pick(target, 2),
					   .keep_alive = pick(target, 2),
					   .keep_idle_s = 5,
					   .no_sack = pick(target, 4) == 0,
					   .no_timestamps = pick(target, 2),
					   .congestion = pick(target, 2) ? CW_TCP_NEWRENO : CW_TCP_CUBIC};
	struct cw_ip_endpoint any = {.port = 80};

	target->memory = aligned_alloc(64, (cw_tcpip_size(&config) + 63) & ~63ull);
	if (!target->memory)
		abort();
	memset(target->memory, 0, cw_tcpip_size(&config));
	target->now = 1000000;
	target->core = cw_tcpip_init(target->memory, &config, target->now);
	target->listener = cw_tcp_listen(target->core, &any, &settings);
	for (unsigned i = 0; i < STREAMS; i++) {
		target->send[i] = calloc(1, 4096);
		target->receive[i] = calloc(1, 4096);
		target->rings[i] = (struct cw_tcp_rings){target->send[i], 4096, target->receive[i], 4096, &target->rings[i]};
		if (i % 2) {
			struct cw_ip_endpoint local = endpoint(1, (uint16_t)(1000 + i), i % 4 == 1), remote = endpoint(2, 90, i % 4 == 1);

			target->connection[i] = cw_tcp_connect(target->core, &local, &remote, &target->rings[i], &settings, target->now);
		} else {
			cw_tcp_supply(target->listener, &target->rings[i]);
		}
	}
}

static void unmake(struct target *target)
{
	free(target->memory);
	for (unsigned i = 0; i < STREAMS; i++) {
		free(target->send[i]);
		free(target->receive[i]);
	}
}

static unsigned index_of(struct target *target, void *owner)
{
	return (unsigned)((struct cw_tcp_rings *)owner - target->rings);
}

/* Rings of a connection that is gone are supplied again. */
static void take_events(struct target *target)
{
	struct cw_tcp_event event;

	while (cw_tcpip_event(target->core, &event)) {
		unsigned i;

		if (event.events & CW_TCP_UNSUPPLIED)
			continue;
		i = index_of(target, event.owner);
		target->connection[i] = event.connection;
		if (event.events & CW_TCP_GONE) {
			target->connection[i] = NULL;
			cw_tcp_supply(target->listener, &target->rings[i]);
		} else if (event.connection->state != CW_TCP_CLOSED && !(event.connection->state == CW_TCP_SYN_SENT) && pick(target, 2)) {
			cw_tcp_read(event.connection, event.received, target->now);
		}
	}
}

static void take_output(struct target *target)
{
	unsigned char header[CW_HEADER_ROOM];
	struct cw_frame frame;

	for (unsigned count = 0; cw_tcpip_output(target->core, &frame, header, target->now); count++) {
		uint32_t at = 0;

		if (count > 10000) {
			target->failure = "it sends without end";
			return;
		}
		for (uint32_t i = 0; i < frame.pieces; i++) {
			memcpy(target->last + at, frame.piece[i].at, frame.piece[i].length);
			at += frame.piece[i].length;
		}
		target->last_length = at;
	}
}

static void swap(unsigned char *a, unsigned char *b, unsigned length)
{
	while (length--) {
		unsigned char byte = a[length];

		a[length] = b[length];
		b[length] = byte;
	}
}

/* An answer to what was sent last: the numbers are right, or nearly. */
static uint32_t mirror(struct target *target, unsigned char *packet)
{
	bool ip4 = target->last[0] >> 4 == 4;
	uint32_t header = ip4 ? 20 : 40, length = target->last_length, seq, ack;
	unsigned char *tcp = packet + header;

	memcpy(packet, target->last, length);
	swap(packet + (ip4 ? 12 : 8), packet + (ip4 ? 16 : 24), ip4 ? 4 : 16);
	swap(tcp, tcp + 2, 2);
	seq = cw_get32(target->last + header + 8);
	ack = cw_get32(target->last + header + 4) + (length - header - (tcp[12] >> 4) * 4u) + !!(tcp[13] & 3);
	if (pick(target, 8) == 0)
		seq += (uint32_t)pick(target, 3000) - 500;
	if (pick(target, 8) == 0)
		ack -= (uint32_t)pick(target, 3000);
	cw_put32(tcp + 4, seq);
	cw_put32(tcp + 8, ack);
	if (tcp[13] & CW_SYN && pick(target, 8))
		tcp[13] |= CW_ACK;
	if (pick(target, 6) == 0)
		tcp[13] = (unsigned char)pick(target, 256);
	if (pick(target, 4) == 0)
		cw_put16(tcp + 14, (uint32_t)pick(target, 65536));
	if ((tcp[12] >> 4) >= 8 && pick(target, 2)) { /* echo the time stamp */
		swap(tcp + 24, tcp + 28, 4);
	}
	return length;
}

/* A duplicate acknowledgement that tells blocks of what was sent last, or before. */
static uint32_t sack(struct target *target, unsigned char *packet)
{
	bool ip4 = target->last[0] >> 4 == 4;
	uint32_t header = ip4 ? 20 : 40, blocks = 1 + (uint32_t)pick(target, 4), sent = cw_get32(target->last + header + 4);
	unsigned char *tcp = packet + header;

	mirror(target, packet);
	tcp[13] = CW_ACK;
	cw_put32(tcp + 8, sent - (uint32_t)pick(target, 3000));
	tcp[12] = (unsigned char)((24 + 8 * blocks) / 4 << 4);
	tcp[20] = tcp[21] = 1;
	tcp[22] = 5;
	tcp[23] = (unsigned char)(2 + 8 * blocks);
	for (uint32_t i = 0; i < blocks; i++) {
		uint32_t start = sent - 1500 + (uint32_t)pick(target, 4000);

		cw_put32(tcp + 24 + 8 * i, start);
		cw_put32(tcp + 28 + 8 * i, start + (uint32_t)pick(target, 1500));
	}
	cw_put16(packet + (ip4 ? 2 : 4), 24 + 8 * blocks + (ip4 ? 20 : 0));
	return header + 24 + 8 * blocks;
}

static uint32_t fresh_syn(struct target *target, unsigned char *packet)
{
	bool ip4 = pick(target, 2);
	struct cw_ip_endpoint from = endpoint(3 + (unsigned)pick(target, 4), (uint16_t)(5000 + pick(target, 10)), ip4),
			      to = endpoint(1, 80, ip4);
	uint32_t options = 4 * (uint32_t)pick(target, 11), header;
	unsigned char *tcp;

	header = cw_ip_header(packet, &from.address, &to.address, CW_PROTOCOL_TCP, 20 + options, 0, 0, 64);
	tcp = packet + header;
	memset(tcp, 0, 20);
	cw_put16(tcp, from.port);
	cw_put16(tcp + 2, to.port);
	cw_put32(tcp + 4, (uint32_t)any(target));
	cw_put32(tcp + 8, (uint32_t)any(target));
	tcp[12] = (unsigned char)((20 + options) / 4 << 4);
	tcp[13] = (unsigned char)(pick(target, 4) ? CW_SYN : pick(target, 256));
	cw_put16(tcp + 14, 4000);
	for (uint32_t i = 0; i < options; i++)
		tcp[20 + i] = (unsigned char)(pick(target, 3) ? pick(target, 12) : pick(target, 256));
	return header + 20 + options;
}

static uint32_t icmp(struct target *target, unsigned char *packet)
{
	bool ip4 = target->last[0] >> 4 == 4;
	struct cw_ip_endpoint from = endpoint(9, 1, ip4), to = endpoint(1, 1, ip4);
	uint32_t quote = cw_min32(target->last_length, (uint32_t)pick(target, 100)), header;

	header = cw_ip_header(packet, &from.address, &to.address, ip4 ? CW_PROTOCOL_ICMP : CW_PROTOCOL_ICMP6, 8 + quote, 0, 0, 64);
	packet[header] = (unsigned char)(ip4 ? 3 : 1 + pick(target, 3));
	packet[header + 1] = (unsigned char)pick(target, 6);
	cw_put16(packet + header + 2, 0);
	cw_put32(packet + header + 4, (uint32_t)pick(target, 2000));
	memcpy(packet + header + 8, target->last, quote);
	return header + 8 + quote;
}

static uint32_t noise(struct target *target, unsigned char *packet)
{
	uint32_t length = 1 + (uint32_t)pick(target, 200);

	for (uint32_t i = 0; i < length; i++)
		packet[i] = (unsigned char)any(target);
	packet[0] = (unsigned char)(pick(target, 2) ? 0x45 + pick(target, 11) : 0x60);
	if (packet[0] >> 4 == 4 && length > 10) {
		cw_put16(packet + 2, length - (uint32_t)pick(target, 3));
		packet[9] = (unsigned char)(pick(target, 2) ? 6 : pick(target, 256));
	} else if (length > 40) {
		static const unsigned char headers[] = {0, 6, 43, 44, 58, 59, 60};

		cw_put16(packet + 4, length - 40);
		packet[6] = headers[pick(target, 7)];
	}
	return length;
}

/* Most of the time what the checksum of IPv4 hides behind is let in. */
static void sum_ip(unsigned char *packet, uint32_t length)
{
	uint32_t header = (packet[0] & 15u) * 4;
	uint16_t sum;

	if (packet[0] >> 4 != 4 || header < 20 || header > length)
		return;
	cw_put16(packet + 10, 0);
	sum = (uint16_t)~cw_checksum_fold(cw_checksum_add(0, packet, header, 0));
	memcpy(packet + 10, &sum, 2);
}

static void input(struct target *target)
{
	unsigned char *packet = target->guarded;
	uint64_t kind = pick(target, 16);
	uint32_t length, changes;
	struct cw_frame frame = {.checksum = pick(target, 10) ? CW_CHECKSUM_VALID : CW_CHECKSUM_COMPLETE};
	unsigned char *exact;

	if (kind < 6 && target->last_length)
		length = mirror(target, packet);
	else if (kind < 9 && target->last_length)
		length = sack(target, packet);
	else if (kind < 12)
		length = fresh_syn(target, packet);
	else if (kind < 13 && target->last_length)
		length = icmp(target, packet);
	else
		length = noise(target, packet);
	changes = pick(target, 3) ? 0 : (uint32_t)pick(target, 4);
	while (changes--)
		packet[pick(target, pick(target, 2) ? length : cw_min32(length, 80))] = (unsigned char)any(target);
	if (pick(target, 20) == 0)
		length = 1 + (uint32_t)pick(target, length);
	if (pick(target, 8))
		sum_ip(packet, length);
	exact = malloc(length); /* of its own, so that a byte too far is seen */
	if (!exact)
		abort();
	memcpy(exact, packet, length);
	frame.pieces = 1;
	frame.length = length;
	frame.segment_size = pick(target, 4) ? 0 : (uint32_t)pick(target, 3000);
	frame.piece[0] = (struct cw_piece){exact, length};
	if (length > 100 && pick(target, 4) == 0) {
		frame.pieces = 2;
		frame.piece[0].length = (uint32_t)pick(target, length);
		frame.piece[1] = (struct cw_piece){exact + frame.piece[0].length, length - frame.piece[0].length};
	}
	cw_tcpip_input(target->core, &frame, target->now);
	free(exact);
}

static void user(struct target *target)
{
	struct cw_tcp *tcp = target->connection[pick(target, STREAMS)];

	if (!tcp || tcp->state == CW_TCP_CLOSED)
		return;
	switch (pick(target, 12)) {
	case 0:
		cw_tcp_shutdown(tcp, target->now);
		break;
	case 1:
		if (pick(target, 4) == 0)
			cw_tcp_close(tcp, target->now);
		break;
	case 2:
		if (pick(target, 16) == 0)
			cw_tcp_abort(tcp, target->now);
		break;
	case 3:
		if (pick(target, 30) == 0)
			cw_tcp_written(tcp, any(target), false, target->now);
		break;
	case 4:
		if (pick(target, 30) == 0)
			cw_tcp_read(tcp, any(target), target->now);
		break;
	case 5:
		cw_tcp_urgent(tcp, target->now);
		break;
	default:
		if (!tcp->fin_wanted) {
			uint64_t written = tcp->snd_end - tcp->send_origin,
				 first = cw_max64(tcp->snd_una, tcp->send_origin) - tcp->send_origin;

			cw_tcp_written(tcp, written + pick(target, first + 4096 - written + 1), pick(target, 10) == 0, target->now);
		}
	}
}

static void check(struct target *target)
{
	const struct cw_tcpip *core = target->core;

	for (unsigned i = 0; i < STREAMS; i++) {
		const struct cw_tcp *tcp = target->connection[i];

		if (!tcp || tcp->state == CW_TCP_CLOSED || tcp->state == CW_TCP_LISTEN)
			continue;
		if (!cw_sent_consistent(tcp) || tcp->snd_una > tcp->snd_nxt || tcp->snd_nxt > tcp->snd_end)
			target->failure = "what is in flight contradicts its sums";
		if (tcp->receive_origin && (tcp->rcv_nxt > tcp->rcv_adv || tcp->rcv_adv - tcp->read > 4096u + tcp->fin_received))
			target->failure = "the window exceeds the ring";
		if (cw_tcp_outstanding(tcp) && tcp->deadline[CW_TCP_RETRANSMIT] == CW_NEVER)
			target->failure = "nothing would send again what is in flight";
	}
	if (cw_tcpip_timer(core) <= core->now)
		target->failure = "a timer lies in the past";
}

static void step(struct target *target)
{
	if (pick(target, 4))
		input(target);
	else
		user(target);
	take_events(target);
	if (pick(target, 3))
		take_output(target);
	if (pick(target, 10) == 0)
		target->now += pick(target, pick(target, 10) ? 300000 : 30000000);
	cw_tcpip_advance(target->core, target->now);
	take_events(target);
	check(target);
}

static const char *run(struct target *target)
{
	make(target);
	take_output(target);
	for (unsigned i = 0; i < FUZZ_STEPS && !target->failure && !target->ended; i++)
		step(target);
	unmake(target);
	return target->failure;
}

const char *fuzz_seed(uint64_t seed)
{
	struct world numbers = {.random = {seed * 0x9e3779b97f4a7c15ull + 1, ~seed}};
	struct target *target = calloc(1, sizeof(*target));
	const char *failure;

	if (!target)
		abort();
	target->random = &numbers;
	failure = run(target);
	free(target);
	return failure;
}

const char *fuzz_bytes(const unsigned char *bytes, size_t length)
{
	struct target *target = calloc(1, sizeof(*target));
	const char *failure;

	if (!target)
		abort();
	target->bytes = bytes;
	target->left = length;
	failure = run(target);
	free(target);
	return failure;
}
