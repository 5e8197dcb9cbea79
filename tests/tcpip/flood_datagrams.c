/* flood_datagrams: what blind attackers send at the network layer and at UDP, half a million times each: tables keep their bounds, answers
 * their rate, and who behaves is served meanwhile. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "transport/tcpip/core.h"
#include "transport/tcpip/udp_socket.h"

#define FLOOD    500000u
#define EVERY    997u /* of these frames one is of who behaves */
#define RATE     100u
#define RING     65536u
#define ETHERNET 14u
#define FRIEND   2u

struct flooded {
	struct cw_tcpip *core;
	void *memory;
	struct cw_udp *udp;
	unsigned char *send, *receive;
	uint64_t now, random, received, read, out, answers, arps, written;
	unsigned char packet[2000];
};

static unsigned bad;

static void result(bool good, const char *name)
{
	printf(good ? "ok tcpip/flood_datagrams: %s\n" : "not ok tcpip/flood_datagrams: %s # it doesn't hold\n", name);
	bad += !good;
}

static uint32_t any(struct flooded *flooded)
{
	flooded->random = flooded->random * 6364136223846793005ull + 1442695040888963407ull;
	return (uint32_t)(flooded->random >> 32);
}

static struct cw_ip_address host(uint32_t number, bool ip4)
{
	struct cw_ip_address address = {.octet = {[0] = 0xfd, [10] = 0xff, 0xff}};

	if (ip4)
		address.octet[0] = 0;
	else
		address.octet[10] = address.octet[11] = 0;
	cw_put32(address.octet + 12, (ip4 ? 0x0a000000u : 0) + number);
	return address;
}

/* Any but ours, the friend's and the network's. */
static uint32_t stranger(struct flooded *flooded)
{
	return 1000 + any(flooded) % 0xfffff0u;
}

static void make(struct flooded *flooded)
{
	struct cw_tcpip_config config = {.connections = 1,
					 .replies = 8,
					 .mtu = 1500,
					 .addresses = 2,
					 .control_bytes = 65536,
					 .icmp_rate = RATE,
					 .reassemblies = 16,
					 .path_mtus = 16,
					 .udp_sockets = 2,
					 .memberships = 8,
					 .groups = 8,
					 .link = CW_LINK_ETHERNET,
					 .link_address = {2, 0, 0, 0, 0, 1},
					 .neighbours = 32,
					 .neighbour_packets = 32};
	size_t size = (cw_tcpip_size(&config) + 63) & ~(size_t)63;
	struct cw_ip_address ours4 = host(1, true), ours6 = host(1, false);
	struct cw_ip_endpoint local = {.port = 7};
	struct cw_udp_rings rings = {.send_size = RING, .receive_size = RING, .owner = flooded};

	memset(flooded, 0, sizeof(*flooded));
	for (unsigned i = 0; i < 32; i++)
		config.secret[i] = (uint8_t)(i * 5);
	flooded->memory = aligned_alloc(64, size);
	rings.send = flooded->send = aligned_alloc(64, RING);
	rings.receive = flooded->receive = aligned_alloc(64, RING);
	if (!flooded->memory || !flooded->send || !flooded->receive)
		abort();
	memset(flooded->memory, 0, size);
	memset(flooded->send, 0, RING);
	flooded->random = 1;
	flooded->now = 1000000;
	flooded->core = cw_tcpip_init(flooded->memory, &config, flooded->now);
	cw_tcpip_own(flooded->core, &ours4, 8, false, flooded->now);
	cw_tcpip_own(flooded->core, &ours6, 64, false, flooded->now);
	flooded->udp = cw_udp_open(flooded->core, &local, &rings, NULL);
}

static void unmake(struct flooded *flooded)
{
	free(flooded->memory);
	free(flooded->send);
	free(flooded->receive);
}

/* What is sent is counted. */
static void drain(struct flooded *flooded)
{
	unsigned char header[CW_HEADER_ROOM];
	struct cw_frame frame;
	struct cw_udp_event event;

	while (cw_tcpip_output(flooded->core, &frame, header, flooded->now)) {
		const unsigned char *at = frame.piece[0].at;

		flooded->out++;
		flooded->arps += cw_get16(at + 12) == 0x0806;
		flooded->answers += cw_get16(at + 12) == 0x0800 && at[5] == FRIEND && at[ETHERNET + 9] == CW_PROTOCOL_UDP;
	}
	while (cw_udp_event(flooded->core, &event))
		flooded->received = event.received;
}

static void feed(struct flooded *flooded, uint32_t length, uint32_t type, bool to_all)
{
	struct cw_frame frame = {.pieces = 1, .length = ETHERNET + length, .checksum = CW_CHECKSUM_VALID};
	unsigned char *at = flooded->packet;

	memset(at, 0, ETHERNET);
	at[0] = at[6] = 2;
	at[5] = 1;
	cw_put32(at + 8, any(flooded));
	if (to_all)
		memset(at, 0xff, 6);
	cw_put16(at + 12, type);
	frame.piece[0] = (struct cw_piece){at, frame.length};
	cw_tcpip_input(flooded->core, &frame, flooded->now);
}

static unsigned char *ip(struct flooded *flooded, uint32_t from, bool ip4, uint8_t protocol, uint32_t length)
{
	struct cw_ip_address source = host(from, ip4), destination = host(1, ip4);
	unsigned char *at = flooded->packet + ETHERNET;

	at += cw_ip_header(at, &source, &destination, protocol, length, 0, (uint16_t)any(flooded), 255);
	memset(at, 0, length);
	return at;
}

static void feed_ip(struct flooded *flooded, bool ip4, uint32_t length)
{
	feed(flooded, (ip4 ? 20 : 40) + length, ip4 ? 0x0800 : 0x86dd, false);
}

static void feed_udp(struct flooded *flooded, uint32_t from, uint16_t port)
{
	unsigned char *udp = ip(flooded, from, true, CW_PROTOCOL_UDP, 100);

	cw_put16(udp, 9);
	cw_put16(udp + 2, port);
	cw_put16(udp + 4, 100);
	feed_ip(flooded, true, 100);
}

static void feed_arp(struct flooded *flooded, uint32_t from, unsigned operation)
{
	unsigned char *at = flooded->packet + ETHERNET;

	memset(at, 0, 28);
	cw_put32(at, 1u << 16 | 0x0800);
	cw_put32(at + 4, 6u << 24 | 4u << 16 | operation);
	at[8] = 2;
	cw_put32(at + 9, from);
	at[13] = (unsigned char)from;
	cw_put32(at + 14, 0x0a000000u + from);
	cw_put32(at + 24, 0x0a000001u);
	feed(flooded, 28, 0x0806, true);
}

static void send_to_friend(struct flooded *flooded)
{
	struct cw_udp_record record = {.remote = host(FRIEND, true), .remote_port = 9, .length = 8, .traffic_class = CW_UDP_DEFAULT_CLASS};

	memcpy(flooded->send + flooded->written % RING, &record, sizeof(record));
	flooded->written += cw_udp_record_space(record.length);
	cw_udp_written(flooded->udp, flooded->written, flooded->now);
}

/* The friend is known, and stays so: each datagram to it goes at once, and nobody asks for it again. */
static void meet(struct flooded *flooded)
{
	send_to_friend(flooded);
	drain(flooded);
	feed_arp(flooded, FRIEND, 2);
	drain(flooded);
}

static void pass(struct flooded *flooded, uint64_t time)
{
	flooded->now += time;
	cw_tcpip_advance(flooded->core, flooded->now);
	drain(flooded);
}

static void flood_arp(struct flooded *flooded)
{
	uint64_t sent = 1;

	meet(flooded);
	for (uint32_t i = 0; i < FLOOD; i++) {
		feed_arp(flooded, stranger(flooded), 1);
		if (i % EVERY == 0) {
			send_to_friend(flooded);
			sent++;
		}
		if (i % 100 == 0)
			drain(flooded);
	}
	drain(flooded);
	result(flooded->answers == sent && cw_tcpip_counter(flooded->core, CW_TCPIP_SOLICITATIONS) == 1,
	       "half a million hosts ask for our address; who is known stays known");
}

/* Each answer needs a neighbour, who isn't there. */
static void flood_echo(struct flooded *flooded)
{
	uint64_t sent = 1;
	bool bounded = true;

	meet(flooded);
	for (uint32_t i = 0; i < FLOOD; i++) {
		bool ip4 = i % 2;
		unsigned char *icmp = ip(flooded, stranger(flooded), ip4, ip4 ? CW_PROTOCOL_ICMP : CW_PROTOCOL_ICMP6, 64);

		icmp[0] = ip4 ? 8 : 128;
		feed_ip(flooded, ip4, 64);
		if (i % EVERY == 0) {
			send_to_friend(flooded);
			sent++;
		}
		pass(flooded, 1000);
		bounded &= flooded->core->link.unanswered_count <= 16 && flooded->core->link.waiting.used <= 32;
		if (i % 20000 == 0)
			feed_arp(flooded, FRIEND, 2);
	}
	result(bounded && flooded->answers == sent, "half a million pings by hosts that aren't there; who is known is served");
	result(cw_tcpip_counter(flooded->core, CW_TCPIP_ECHO_REPLIES) <= RATE * (FLOOD / 1000 + 20), "and answers keep their rate");
}

static void flood_solicitations(struct flooded *flooded)
{
	struct cw_ip_address ours = host(1, false);

	for (uint32_t i = 0; i < FLOOD; i++) {
		unsigned char *nd = ip(flooded, stranger(flooded), false, CW_PROTOCOL_ICMP6, 32);

		nd[0] = i % 2 ? 135 : 136;
		memcpy(nd + 8, ours.octet, 16);
		if (i % 2 == 0) {
			cw_put32(nd + 4, 0x60000000);
			cw_put32(nd + 20, any(flooded));
		}
		nd[24] = i % 2 ? 1 : 2;
		nd[25] = 1;
		nd[26] = 2;
		cw_put32(nd + 27, any(flooded));
		feed_ip(flooded, false, 32);
		if (i % 50 == 0)
			drain(flooded);
	}
	drain(flooded);
	result(flooded->core->link.neighbours.used <= 32 && flooded->out > 1000,
	       "half a million solicitations and advertisements; the table keeps its size");
}

/* Overlapping, and never whole. Now and then a datagram comes in two fragments. */
static void flood_fragments(struct flooded *flooded)
{
	uint64_t wanted = 0;

	for (uint32_t i = 0; i < FLOOD; i++) {
		uint32_t from = stranger(flooded) % 64 + 1000;
		unsigned char *at = ip(flooded, from, true, CW_PROTOCOL_UDP, 104);

		cw_put16(flooded->packet + ETHERNET + 4, any(flooded) % 4);
		cw_put16(flooded->packet + ETHERNET + 6, 0x2000u | any(flooded) % 40);
		cw_ip4_sum(flooded->packet + ETHERNET);
		memset(at, (int)i, 104);
		feed_ip(flooded, true, 104);
		if (i % EVERY == 0) {
			for (unsigned part = 0; part < 2; part++) {
				at = ip(flooded, FRIEND, true, CW_PROTOCOL_UDP, 104);
				cw_put16(at, 9);
				cw_put16(at + 2, 7);
				cw_put16(at + 4, 208);
				cw_put16(flooded->packet + ETHERNET + 4, i);
				cw_put16(flooded->packet + ETHERNET + 6, part ? 13 : 0x2000u);
				cw_ip4_sum(flooded->packet + ETHERNET);
				feed_ip(flooded, true, 104);
			}
			wanted += cw_udp_record_space(200);
			drain(flooded);
			cw_udp_read(flooded->udp, flooded->received, flooded->now);
		}
		if (i % 100 == 0)
			pass(flooded, 10000);
	}
	result(flooded->core->reassemblies.pool.used <= 16 && flooded->received >= wanted,
	       "half a million overlapping fragments; who sends whole datagrams is heard");
	pass(flooded, 120000000);
	result(flooded->core->reassemblies.pool.used == 0, "and nothing of them is kept");
}

static void flood_ports(struct flooded *flooded)
{
	meet(flooded);
	for (uint32_t i = 0; i < FLOOD; i++) {
		feed_udp(flooded, FRIEND, (uint16_t)(8 + any(flooded) % 60000));
		pass(flooded, 100);
	}
	result(cw_tcpip_counter(flooded->core, CW_TCPIP_ICMP_ERRORS_OUT) <= RATE * (FLOOD / 10000 + 2) &&
		       cw_tcpip_counter(flooded->core, CW_TCPIP_ICMP_ERRORS_OUT) >= RATE,
	       "half a million datagrams to ports that nobody has; errors keep their rate");
}

static void flood_socket(struct flooded *flooded)
{
	for (uint32_t i = 0; i < FLOOD; i++)
		feed_udp(flooded, stranger(flooded), 7);
	drain(flooded);
	result(flooded->received <= RING && flooded->received > RING - 1024 &&
		       cw_tcpip_counter(flooded->core, CW_TCPIP_UDP_DROPPED) + cw_tcpip_counter(flooded->core, CW_TCPIP_UDP_IN) == FLOOD,
	       "half a million datagrams that nobody reads; the ring is full, the rest is counted");
}

/* Whatever they quote: nothing of it was sent. */
static void flood_paths(struct flooded *flooded)
{
	struct cw_ip_address friend = host(FRIEND, true), other = host(3, true);

	meet(flooded);
	for (uint32_t i = 0; i < FLOOD; i++) {
		unsigned char *icmp = ip(flooded, stranger(flooded), true, CW_PROTOCOL_ICMP, 36);
		struct cw_ip_address to = host(i % 3 == 0 ? 3 : stranger(flooded), true), from = host(1, true);

		icmp[0] = 3;
		icmp[1] = 4;
		cw_put16(icmp + 6, 600);
		cw_ip_header(icmp + 8, &from, &to, CW_PROTOCOL_UDP, 80, 0, 0, 64);
		cw_put16(icmp + 28, i % 2 ? 7 : 1 + any(flooded) % 65535);
		cw_put16(icmp + 30, 9);
		feed_ip(flooded, true, 36);
	}
	result(flooded->core->paths.pool.used <= 16 && cw_tcpip_path_mtu(flooded->core, &friend) == 1500,
	       "half a million packets that were too big; few paths are kept, that of who behaves isn't touched");
	pass(flooded, 601000000);
	result(cw_tcpip_path_mtu(flooded->core, &other) == 1500, "and they are forgotten");
}

static void flood_queries(struct flooded *flooded)
{
	static const unsigned char group[4] = {239, 1, 2, 3};
	struct cw_ip_address address;

	cw_ip_set_4(&address, group);
	cw_udp_join(flooded->udp, &address, flooded->now);
	pass(flooded, 2000000);
	flooded->out = 0;
	for (uint32_t i = 0; i < FLOOD; i++) {
		unsigned char *at = flooded->packet + ETHERNET, *igmp = at + 24;
		struct cw_ip_address source = host(stranger(flooded), true);

		cw_ip_header(at, &source, &address, CW_PROTOCOL_IGMP, 20, 0, 0, 1);
		at[0] = 0x46;
		cw_put16(at + 2, 44);
		cw_put32(at + 20, 0x94040000);
		cw_ip4_sum(at);
		memset(igmp, 0, 20);
		igmp[0] = 0x11;
		igmp[1] = (unsigned char)(10 + any(flooded) % 100);
		memcpy(igmp + 4, group, 4);
		igmp[8] = 2;
		cw_put16(igmp + 10, 2);
		cw_put32(igmp + 12, any(flooded));
		cw_put32(igmp + 16, any(flooded));
		feed(flooded, 44, 0x0800, false);
		pass(flooded, 100);
	}
	pass(flooded, 20000000);
	result(cw_tcpip_counter(flooded->core, CW_TCPIP_GROUP_QUERIES) == FLOOD && flooded->out >= 1 && flooded->out < FLOOD / 100,
	       "half a million queries; answers are few");
}

int main(void)
{
	static void (*const floods[])(struct flooded *) = {flood_arp,   flood_echo,   flood_solicitations, flood_fragments,
							   flood_ports, flood_socket, flood_paths,         flood_queries};
	static struct flooded flooded;

	setvbuf(stdout, NULL, _IOLBF, 0);
	for (unsigned i = 0; i < sizeof(floods) / sizeof(floods[0]); i++) {
		make(&flooded);
		floods[i](&flooded);
		unmake(&flooded);
	}
	return bad != 0;
}
