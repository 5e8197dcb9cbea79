/*
 * What each stage of the TCP/IP core does, in calls: `valgrind --tool=callgrind` says how many instructions the functions stage_* take with
 * all they call, and this program how often they were called and how many bytes they moved. Time is virtual, so every run is the same.
 */
#include <string.h>

#include "tcpip_pair.h"

#define ROUNDS  400u
#define WARM    300u
#define MESSAGE 64u

struct stages {
	struct pair_end a, b;
	uint64_t now;
	uint64_t sent, received, acknowledged, acknowledgements; /* frames */
	uint64_t bytes, requests, connections;
};

static struct {
	size_t mtu;
	bool large, offload;
} own = {.mtu = 1500};

static bool stage_send(struct stages *stages, uint64_t length, struct cw_frame *frame, unsigned char *header) __attribute__((noinline));
static void stage_receive(struct stages *stages, const struct cw_frame *frame) __attribute__((noinline));
static bool stage_acknowledge(struct stages *stages, struct cw_frame *frame, unsigned char *header) __attribute__((noinline));
static void stage_acknowledged(struct stages *stages, const struct cw_frame *frame) __attribute__((noinline));
static void stage_request(struct stages *stages) __attribute__((noinline));
static void stage_connection(struct stages *stages, struct cw_tcp_listener *listener, uint16_t port) __attribute__((noinline));

/* What a program writes until it is a frame. */
static bool stage_send(struct stages *stages, uint64_t length, struct cw_frame *frame, unsigned char *header)
{
	struct pair_end *a = &stages->a;

	cw_tcp_written(a->connection, a->written += length, false, stages->now);
	return cw_tcpip_output(a->core, frame, header, stages->now);
}

/* A frame until a program has read it. */
static void stage_receive(struct stages *stages, const struct cw_frame *frame)
{
	struct pair_end *b = &stages->b;

	cw_tcpip_input(b->core, frame, stages->now);
	pair_take_events(b);
	cw_tcp_read(b->connection, b->read = b->received, stages->now);
}

static bool stage_acknowledge(struct stages *stages, struct cw_frame *frame, unsigned char *header)
{
	return cw_tcpip_output(stages->b.core, frame, header, stages->now);
}

/* A pure acknowledgement until a program knows that there is room. */
static void stage_acknowledged(struct stages *stages, const struct cw_frame *frame)
{
	cw_tcpip_input(stages->a.core, frame, stages->now);
	pair_take_events(&stages->a);
}

/* Both ends, there and back. */
static void stage_request(struct stages *stages)
{
	struct pair_end *a = &stages->a, *b = &stages->b;

	cw_tcp_written(a->connection, a->written += MESSAGE, false, stages->now);
	pair_hand_over(a, b, stages->now);
	pair_take_events(b);
	cw_tcp_read(b->connection, b->read = b->received, stages->now);
	cw_tcp_written(b->connection, b->written += MESSAGE, false, stages->now);
	pair_hand_over(b, a, stages->now);
	pair_take_events(a);
	cw_tcp_read(a->connection, a->read = a->received, stages->now);
}

/* Both ends: handshake, both close, TIME-WAIT begins. */
static void stage_connection(struct stages *stages, struct cw_tcp_listener *listener, uint16_t port)
{
	struct pair_end *a = &stages->a, *b = &stages->b;
	struct cw_tcp_rings here = {a->send, PAIR_RING, a->receive, PAIR_RING, a}, there = {b->send, PAIR_RING, b->receive, PAIR_RING, b};
	struct cw_ip_endpoint local = pair_endpoint(1, port), remote = pair_endpoint(2, 80);

	a->connection = b->connection = NULL;
	a->gone = b->gone = 0;
	cw_tcp_supply(listener, &there);
	cw_tcp_connect(a->core, &local, &remote, &here, NULL, stages->now);
	while (!a->gone || !b->gone) {
		pair_hand_over(a, b, stages->now);
		pair_take_events(b);
		pair_hand_over(b, a, stages->now);
		pair_take_events(a);
		if (a->connection && !a->gone)
			cw_tcp_close(a->connection, stages->now);
		if (b->connection && !b->gone)
			cw_tcp_close(b->connection, stages->now);
	}
}

static void pass(struct stages *stages, uint64_t us)
{
	stages->now += us;
	cw_tcpip_advance(stages->a.core, stages->now);
	cw_tcpip_advance(stages->b.core, stages->now);
}

static void make(struct stages *stages, const struct cw_tcpip_config *config)
{
	stages->now = 1000000;
	pair_make(&stages->a, config, true, stages->now);
	pair_make(&stages->b, config, true, stages->now);
}

static void unmake(struct stages *stages)
{
	pair_unmake(&stages->a);
	pair_unmake(&stages->b);
}

/* Until slow start has room for everything. */
static void warm(struct stages *stages, uint64_t length)
{
	for (unsigned i = 0; i < WARM; i++) {
		cw_tcp_written(stages->a.connection, stages->a.written += length, false, stages->now);
		pair_hand_over(&stages->a, &stages->b, stages->now);
		pair_take_events(&stages->b);
		cw_tcp_read(stages->b.connection, stages->b.read = stages->b.received, stages->now);
		pass(stages, 50000);
		pair_hand_over(&stages->b, &stages->a, stages->now);
		pair_take_events(&stages->a);
	}
}

/* A frame a time, each in a stage of its own; the acknowledgements as they come, of every second packet. */
static void stream(struct stages *stages, const struct cw_tcpip_config *config)
{
	unsigned char header[CW_HEADER_ROOM];
	struct cw_tcp_info info;
	struct cw_frame frame;
	uint64_t length;

	make(stages, config);
	pair_connect(&stages->a, &stages->b, stages->now);
	cw_tcp_info(stages->a.connection, &info);
	length = info.mss;
	if (config->frame_max > config->mtu)
		length *= (config->frame_max - 80u) / info.mss;
	warm(stages, length);
	for (unsigned i = 0; i < ROUNDS; i++) {
		for (bool any = stage_send(stages, length, &frame, header); any;
		     any = cw_tcpip_output(stages->a.core, &frame, header, stages->now)) {
			stages->sent++;
			stage_receive(stages, &frame);
		}
		while (stage_acknowledge(stages, &frame, header)) {
			stages->acknowledgements++;
			stage_acknowledged(stages, &frame);
		}
		stages->bytes += length;
		pass(stages, 100);
	}
	/* All that was written has come, a frame each. */
	if (stages->b.received != stages->a.written || stages->sent != ROUNDS || !stages->acknowledgements)
		bench_fail("the stream isn't a frame a time");
	unmake(stages);
}

static void requests(struct stages *stages, const struct cw_tcpip_config *config)
{
	make(stages, config);
	pair_connect(&stages->a, &stages->b, stages->now);
	warm(stages, MESSAGE);
	for (; stages->requests < ROUNDS; stages->requests++) {
		stage_request(stages);
		pass(stages, 100);
	}
	if (stages->a.received != ROUNDS * MESSAGE)
		bench_fail("an answer is missing");
	unmake(stages);
}

static void connections(struct stages *stages, const struct cw_tcpip_config *config)
{
	struct cw_ip_endpoint end = pair_endpoint(2, 80);
	struct cw_tcp_settings settings = {.receive_size = PAIR_RING};
	struct cw_tcp_listener *listener;

	make(stages, config);
	listener = cw_tcp_listen(stages->b.core, &end, &settings);
	for (; stages->connections < ROUNDS; stages->connections++) {
		stage_connection(stages, listener, (uint16_t)(2000 + stages->connections));
		pass(stages, 100);
	}
	unmake(stages);
}

static const struct argp_option options[] = {
	{"mtu", 'm', "N", 0, "size of packets (1500)", 0},
	{"large", 'g', NULL, 0, "frames of up to 64 KiB, with partial checksums", 0},
	{"partial", 'o', NULL, 0, "partial checksums", 0},
	{0},
};

static error_t parse(int key, char *argument, struct argp_state *state)
{
	switch (key) {
	case 'm':
		if (bench_parse_sizes(argument, &own.mtu, 1, state) != 1 || own.mtu < 576 || own.mtu > 16000)
			argp_error(state, "one size, 576 to 16000");
		return 0;
	case 'g':
		own.large = own.offload = true;
		return 0;
	case 'o':
		own.offload = true;
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

int main(int argc, char **argv)
{
	static const struct argp argp = {options, parse, NULL, NULL, NULL, NULL, NULL};
	struct bench bench = {.seconds = 1};
	struct cw_tcpip_config config = pair_config();
	struct stages stages = {0};

	bench_parse(&bench, argc, argv, "Stages of the TCP/IP core, to be counted by callgrind.", &argp);
	config.mtu = (uint16_t)own.mtu;
	config.frame_max = own.large ? CW_FRAME_MAX : 0;
	config.checksum_offload = own.offload;
	stream(&stages, &config);
	requests(&stages, &config);
	connections(&stages, &config);
	bench_print(&bench, json_pack("{ss, s{sI, sI, sI, sI, sI, sI}, sI}", "benchmark", "tcpip_stages", "calls", "stage_send",
				      (json_int_t)stages.sent, "stage_receive", (json_int_t)stages.sent, "stage_acknowledge",
				      (json_int_t)stages.acknowledgements, "stage_acknowledged", (json_int_t)stages.acknowledgements,
				      "stage_request", (json_int_t)stages.requests, "stage_connection", (json_int_t)stages.connections,
				      "bytes_a_frame", (json_int_t)(stages.bytes / stages.sent)));
	return 0;
}
