/* What the TCP/IP core of transport/tcpip does in a second, both ends on one processor. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "tcpip_pair.h"

#define SMALL 1024u

static unsigned char elsewhere[PAIR_RING];

static uint64_t now_us(void)
{
	return bench_ns() / 1000;
}

static uint64_t end_of(const struct bench *bench)
{
	return bench_ns() + (uint64_t)(bench->seconds * 1e9);
}

static void copy(unsigned char *ring, bool out, uint64_t from, uint64_t to)
{
	while (from < to) {
		uint64_t at = from % PAIR_RING, length = to - from < PAIR_RING - at ? to - from : PAIR_RING - at;

		if (out)
			memcpy(elsewhere + at, ring + at, length);
		else
			memcpy(ring + at, elsewhere + at, length);
		from += length;
	}
}

/* One stream, one way; gigabits a second. `copies`: the two programs copy in and out of the rings too, as send and recv do. */
static double stream(const struct bench *bench, const struct cw_tcpip_config *config, bool copies)
{
	struct pair_end a, b;
	uint64_t start, end, last;

	pair_make(&a, config, true, now_us());
	pair_make(&b, config, true, now_us());
	pair_connect(&a, &b, now_us());
	start = last = bench_ns();
	end = end_of(bench);
	while (last < end) {
		uint64_t now = last / 1000, before = a.written;

		a.written = a.acknowledged + PAIR_RING;
		if (copies)
			copy(a.send, false, before, a.written);
		cw_tcp_written(a.connection, a.written, false, now);
		pair_hand_over(&a, &b, now);
		pair_take_events(&b);
		if (copies)
			copy(b.receive, true, b.read, b.received);
		b.read = b.received;
		cw_tcp_read(b.connection, b.read, now);
		pair_hand_over(&b, &a, now);
		pair_take_events(&a);
		cw_tcpip_advance(a.core, now);
		cw_tcpip_advance(b.core, now);
		last = bench_ns();
	}
	pair_unmake(&a);
	pair_unmake(&b);
	return (double)b.received * 8 / (double)(last - start);
}

/* A request of 64 bytes and an answer of 64 bytes, in turn; so many a second. */
static double requests(const struct bench *bench, const struct cw_tcpip_config *config)
{
	struct pair_end a, b;
	uint64_t start, end, last, rounds = 0;

	pair_make(&a, config, true, now_us());
	pair_make(&b, config, true, now_us());
	pair_connect(&a, &b, now_us());
	start = last = bench_ns();
	end = end_of(bench);
	while (last < end) {
		uint64_t now = last / 1000;

		cw_tcp_written(a.connection, a.written += 64, false, now);
		pair_hand_over(&a, &b, now);
		pair_take_events(&b);
		cw_tcp_read(b.connection, b.read = b.received, now);
		cw_tcp_written(b.connection, b.written += 64, false, now);
		pair_hand_over(&b, &a, now);
		pair_take_events(&a);
		cw_tcp_read(a.connection, a.read = a.received, now);
		cw_tcpip_advance(a.core, now);
		cw_tcpip_advance(b.core, now);
		rounds++;
		last = bench_ns();
	}
	if (a.received != rounds * 64)
		bench_fail("an answer is missing");
	pair_unmake(&a);
	pair_unmake(&b);
	return (double)rounds * 1e9 / (double)(last - start);
}

/* Both ends of connections that nobody writes to have the same rings. */
struct small_rings {
	unsigned char ring[4][SMALL];
	struct cw_tcp_rings here, there;
};

static void make_small(struct small_rings *small, struct pair_end *a, struct pair_end *b)
{
	small->here = (struct cw_tcp_rings){small->ring[0], SMALL, small->ring[1], SMALL, a};
	small->there = (struct cw_tcp_rings){small->ring[2], SMALL, small->ring[3], SMALL, b};
}

static struct cw_ip_endpoint client(uint64_t number)
{
	return pair_endpoint(1 + (unsigned)(number / 60000) * 256, (uint16_t)(1024 + number % 60000));
}

/* Connections opened, closed from both sides, and gone but for the TIME-WAIT, which is the client's; so many a second. */
static double connections(const struct bench *bench, const struct cw_tcpip_config *config)
{
	static struct small_rings small;
	struct cw_tcp_settings settings = {.receive_size = SMALL};
	struct cw_ip_endpoint remote = pair_endpoint(2, 80);
	struct cw_tcp_listener *listener;
	struct pair_end a, b;
	uint64_t start, end, last, count = 0;

	pair_make(&a, config, false, now_us());
	pair_make(&b, config, false, now_us());
	make_small(&small, &a, &b);
	listener = cw_tcp_listen(b.core, &remote, &settings);
	start = last = bench_ns();
	end = end_of(bench);
	for (; last < end; count++) {
		struct cw_ip_endpoint local = client(count);
		uint64_t now = last / 1000;

		a.connection = b.connection = NULL;
		a.gone = b.gone = 0;
		cw_tcp_supply(listener, &small.there);
		cw_tcp_connect(a.core, &local, &remote, &small.here, NULL, now);
		while (!a.gone || !b.gone) {
			pair_hand_over(&a, &b, now);
			pair_take_events(&b);
			pair_hand_over(&b, &a, now);
			pair_take_events(&a);
			if (a.connection && !a.gone)
				cw_tcp_close(a.connection, now);
			if (b.connection && !b.gone)
				cw_tcp_close(b.connection, now);
		}
		last = bench_ns();
	}
	pair_unmake(&a);
	pair_unmake(&b);
	return (double)count * 1e9 / (double)(last - start);
}

/* So many connections that do nothing: what they take, and what an hour of them costs. */
static json_t *idle(uint64_t count)
{
	static struct small_rings small;
	struct cw_tcpip_config with = pair_config(), without;
	struct cw_tcp_settings settings = {.receive_size = SMALL};
	struct cw_ip_endpoint remote = pair_endpoint(2, 80);
	struct cw_tcp_listener *listener;
	struct pair_end a, b;
	uint64_t now = now_us(), start, timers = 0;

	without = with;
	without.connections = 0;
	with.connections = (uint32_t)count;
	pair_make(&a, &with, false, now);
	pair_make(&b, &with, false, now);
	make_small(&small, &a, &b);
	listener = cw_tcp_listen(b.core, &remote, &settings);
	for (uint64_t i = 0; i < count; i++) {
		struct cw_ip_endpoint local = client(i);

		cw_tcp_supply(listener, &small.there);
		cw_tcp_connect(a.core, &local, &remote, &small.here, NULL, now);
		pair_hand_over(&a, &b, now);
		pair_hand_over(&b, &a, now);
		pair_hand_over(&a, &b, now);
		pair_take_events(&a);
		pair_take_events(&b);
	}
	start = bench_ns();
	for (uint64_t hour = now + 3600000000ull; cw_tcpip_timer(b.core) < hour; timers++)
		cw_tcpip_advance(b.core, cw_tcpip_timer(b.core));
	start = bench_ns() - start;
	pair_unmake(&a);
	pair_unmake(&b);
	return json_pack("{sI, sI, sI, sf}", "idle_connections", (json_int_t)b.accepted, "idle_bytes_each",
			 (json_int_t)((cw_tcpip_size(&with) - cw_tcpip_size(&without)) / count), "idle_timers_in_an_hour",
			 (json_int_t)timers, "idle_us_in_an_hour", (double)start / 1000);
}

static struct {
	const char *only;
} own;

static bool wanted(const char *name)
{
	return !own.only || strcmp(own.only, name) == 0;
}

static void measure(const struct bench *bench, json_t *found)
{
	struct cw_tcpip_config packets = pair_config(), offload = packets, large;

	offload.checksum_offload = true;
	large = offload;
	large.frame_max = CW_FRAME_MAX;
	if (wanted("large"))
		json_object_set_new(found, "gigabits_per_second_64k", json_real(stream(bench, &large, false)));
	if (wanted("copies"))
		json_object_set_new(found, "gigabits_per_second_64k_with_copies", json_real(stream(bench, &large, true)));
	if (wanted("packets"))
		json_object_set_new(found, "gigabits_per_second_packets", json_real(stream(bench, &packets, false)));
	if (wanted("offload"))
		json_object_set_new(found, "gigabits_per_second_packets_partial", json_real(stream(bench, &offload, false)));
	if (wanted("requests"))
		json_object_set_new(found, "requests_per_second", json_real(requests(bench, &packets)));
	if (wanted("connections"))
		json_object_set_new(found, "connections_per_second", json_real(connections(bench, &packets)));
	if (wanted("idle"))
		json_object_update_new(found, idle(100000));
}

static const struct argp_option options[] = {
	{"only", 'o', "NAME", 0, "large, copies, packets, offload, requests, connections or idle", 0},
	{0},
};

static error_t parse(int key, char *argument, struct argp_state *state)
{
	if (key != 'o')
		return ARGP_ERR_UNKNOWN;
	own.only = argument;
	return 0;
}

int main(int argc, char **argv)
{
	static const struct argp argp = {options, parse, NULL, NULL, NULL, NULL, NULL};
	struct bench bench = {.seconds = 1};
	json_t *found = json_pack("{ss}", "benchmark", "tcpip");

	bench_parse(&bench, argc, argv, "Two TCP/IP cores in one process: 64 KiB frames with partial checksums, packets of 1500.", &argp);
	measure(&bench, found);
	bench_print(&bench, found);
	return 0;
}
