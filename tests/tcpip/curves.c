/*
 * curves: the congestion window over time, against what the RFCs' formulas say it is (computed here once more, from the RFCs). Two cores,
 * a path of fixed delay and no other limit between them, in virtual time, so each run is the same. Packets are lost where a curve has to
 * begin, one in so many, or by chance from a fixed seed.
 */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "transport/tcpip/tcp.h"
#include "wire.h"

#define RING    (1u << 24)
#define RECORDS 40000u
#define MSS     1000u
#define FIFO    (1u << 16)

#define C     0.4 /* RFC 9438 section 5 */
#define BETA  0.7
#define ALPHA (3 * (1 - BETA) / (1 + BETA))

struct way {
	struct packet *packet[FIFO];
	uint32_t first, count;
};

struct path {
	struct cw_tcpip *core[2]; /* 0 sends */
	void *memory[2];
	unsigned char *send[2], *receive[2];
	struct cw_tcp *sender;
	struct way way[2];
	uint64_t now, delay, acknowledged, segments, drop, every, random;
	uint32_t ring[2]; /* sizes of the rings that carry the stream: the sender's send ring, the receiver's receive ring */
	bool grows;       /* ... as the cores ask for it */
	double loss;
};

static char why[300];

static bool wrong(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(why, sizeof(why), format, arguments);
	va_end(arguments);
	return false;
}

static struct cw_ip_endpoint end(unsigned host, uint16_t port)
{
	struct cw_ip_endpoint end = {.port = port};
	uint8_t *octet = end.address.octet;

	octet[10] = octet[11] = 0xff;
	octet[12] = 10;
	octet[15] = (uint8_t)host;
	return end;
}

static void *allocate(size_t size)
{
	void *memory = aligned_alloc(64, (size + 63) & ~(size_t)63);

	if (!memory)
		abort();
	return memset(memory, 0, size);
}

/* Rings of that size, which may grow up to RING if that is less. */
static struct path *open_path_with(enum cw_tcp_congestion congestion, uint64_t rtt, uint32_t ring, bool pacing)
{
	static const struct cw_tcpip_config config = {.connections = 2,
						      .listeners = 1,
						      .half_open = 2,
						      .time_waits = 2,
						      .sent = RECORDS,
						      .sent_a_connection = RECORDS,
						      .blocks = RECORDS,
						      .blocks_a_connection = RECORDS,
						      .replies = 8,
						      .mtu = 1500};
	struct cw_tcp_settings settings = {.congestion = congestion,
					   .mss = MSS + 12,
					   .no_hystart = true,
					   .pacing = pacing,
					   .receive_size = ring,
					   .receive_most = ring < RING ? RING : 0,
					   .send_most = ring < RING ? RING : 0};
	struct path *path = allocate(sizeof(*path));
	struct cw_ip_endpoint local[2] = {end(1, 10000), end(2, 80)};
	struct cw_tcp_listener *listener;

	path->now = 1000000;
	path->delay = rtt / 2;
	path->grows = ring < RING;
	path->random = 1;
	for (unsigned side = 0; side < 2; side++) {
		path->memory[side] = allocate(cw_tcpip_size(&config));
		path->core[side] = cw_tcpip_init(path->memory[side], &config, path->now);
		path->ring[side] = ring;
		path->send[side] = allocate(side ? 1024 : ring);
		path->receive[side] = allocate(side ? ring : 1024);
	}
	listener = cw_tcp_listen(path->core[1], &local[1], &settings);
	cw_tcp_supply(listener, &(struct cw_tcp_rings){path->send[1], 1024, path->receive[1], ring, NULL});
	path->sender = cw_tcp_connect(path->core[0], &local[0], &local[1],
				      &(struct cw_tcp_rings){path->send[0], ring, path->receive[0], 1024, NULL}, &settings, path->now);
	if (!path->sender)
		abort();
	return path;
}

static struct path *open_path(enum cw_tcp_congestion congestion, uint64_t rtt)
{
	return open_path_with(congestion, rtt, RING, false);
}

static void close_path(struct path *path)
{
	for (unsigned side = 0; side < 2; side++) {
		struct way *way = &path->way[side];

		for (; way->count; way->count--, way->first++)
			free(way->packet[way->first % FIFO]);
		free(path->memory[side]);
		free(path->send[side]);
		free(path->receive[side]);
	}
	free(path);
}

static bool is_lost(struct path *path, struct packet *packet)
{
	struct view view;

	view_of(packet, &view);
	if (!view.payload_length)
		return false;
	path->segments++;
	if (path->drop) {
		path->drop--;
		return true;
	}
	if (path->every && path->segments % path->every == 0)
		return true;
	path->random = path->random * 6364136223846793005ull + 1442695040888963407ull;
	return (double)(path->random >> 33) / (1u << 31) < path->loss;
}

static void send_all(struct path *path, unsigned side)
{
	struct way *way = &path->way[side];
	unsigned char header[CW_HEADER_ROOM];
	struct cw_frame frame;

	while (way->count < FIFO && cw_tcpip_output(path->core[side], &frame, header, path->now)) {
		struct packet *packet = packet_of(&frame);

		if (side == 0 && is_lost(path, packet)) {
			free(packet);
			continue;
		}
		packet->time = path->now + path->delay;
		way->packet[(way->first + way->count++) % FIFO] = packet;
	}
}

static void grow_ring(struct path *path, unsigned side, const struct cw_tcp_event *event)
{
	uint32_t size = side ? event->receive_wanted : event->send_wanted;
	unsigned char **ring = side ? &path->receive[1] : &path->send[0], *larger;

	if (!path->grows || !(event->events & CW_TCP_GROW) || size <= path->ring[side])
		return;
	larger = allocate(size);
	if (!(side ? cw_tcp_grow_receive(event->connection, larger, size, path->now)
		   : cw_tcp_grow_send(event->connection, larger, size, path->now))) {
		free(larger);
		return;
	}
	free(*ring);
	*ring = larger;
	path->ring[side] = size;
}

/* Who sends always has something to send; who receives reads at once. */
static void run_programs(struct path *path)
{
	struct cw_tcp_event event;

	while (cw_tcpip_event(path->core[0], &event)) {
		grow_ring(path, 0, &event);
		path->acknowledged = event.acknowledged;
		if (event.events & CW_TCP_GONE)
			path->sender = NULL;
		else
			cw_tcp_written(event.connection, event.acknowledged + path->ring[0], false, path->now);
	}
	while (cw_tcpip_event(path->core[1], &event)) {
		grow_ring(path, 1, &event);
		if (!(event.events & CW_TCP_GONE))
			cw_tcp_read(event.connection, event.received, path->now);
	}
}

static void deliver(struct path *path, unsigned side)
{
	struct way *way = &path->way[side];

	while (way->count && way->packet[way->first % FIFO]->time <= path->now) {
		struct packet *packet = way->packet[way->first++ % FIFO];
		struct cw_frame frame;

		way->count--;
		frame_of(packet, 65536, &frame);
		cw_tcpip_input(path->core[1 - side], &frame, path->now);
		run_programs(path);
		send_all(path, 1 - side);
		free(packet);
	}
}

static uint64_t next_time(const struct path *path)
{
	uint64_t next = cw_min64(cw_tcpip_timer(path->core[0]), cw_tcpip_timer(path->core[1]));

	for (unsigned side = 0; side < 2; side++)
		if (path->way[side].count)
			next = cw_min64(next, path->way[side].packet[path->way[side].first % FIFO]->time);
	return next;
}

static void run(struct path *path, uint64_t until)
{
	for (;;) {
		run_programs(path);
		for (unsigned side = 0; side < 2; side++)
			send_all(path, side);
		if (!path->sender || next_time(path) > until)
			break;
		path->now = cw_max64(path->now, next_time(path));
		for (unsigned side = 0; side < 2; side++) {
			cw_tcpip_advance(path->core[side], path->now);
			deliver(path, side);
		}
	}
	path->now = until;
}

static double window(const struct path *path) /* in segments */
{
	return (double)path->sender->cwnd / path->sender->mss;
}

/* In steps of a millisecond, until the window is so large. */
static bool grow_to(struct path *path, double segments, uint64_t longest)
{
	uint64_t until = path->now + longest;

	while (path->now < until && path->sender && (path->sender->recovery != CW_TCP_OPEN || window(path) < segments))
		run(path, path->now + 1000);
	return path->sender && window(path) >= segments;
}

/* One segment is lost; returns when that is repaired. `before` is the window in use then. */
static bool lose_one(struct path *path, double *before)
{
	uint64_t until = path->now + 20 * path->delay;

	path->drop = 1;
	while (path->now < until && path->sender->recovery == CW_TCP_OPEN) {
		*before = window(path);
		run(path, path->now + 1000);
	}
	while (path->now < until && path->sender->recovery != CW_TCP_OPEN)
		run(path, path->now + 1000);
	return path->sender->recovery == CW_TCP_OPEN && path->drop == 0;
}

/* A window of this size that no loss has told anything about yet, as if it had grown so far. */
static bool begin_at(struct path *path, double segments)
{
	run(path, path->now + 4 * path->delay);
	if (!path->sender)
		return wrong("it didn't open");
	path->sender->ssthresh = (uint64_t)(segments * MSS);
	return grow_to(path, segments, 60000000) || wrong("the window stays at %.1f segments", window(path));
}

struct cubic {
	double w_max, prior, begin, k;
};

/* RFC 9438 4.2 and 4.3: the larger one of the cubic function and of Reno's line, which is steeper once it is where it was before. */
static double cubic_window(const struct cubic *cubic, double t, double rtt)
{
	double curve = C * pow(t - cubic->k, 3) + cubic->w_max, back = (cubic->prior - cubic->begin) / ALPHA * rtt, line;

	line = t < back ? cubic->begin + ALPHA * t / rtt : cubic->prior + (t - back) / rtt;
	return curve > line ? curve : line;
}

static struct cubic cubic_after(double before, double w_max_before)
{
	struct cubic cubic = {.w_max = before, .prior = before, .begin = BETA * before};

	if (before < w_max_before) /* 4.7 */
		cubic.w_max = before * (1 + BETA) / 2;
	cubic.k = cbrt((cubic.w_max - cubic.begin) / C);
	return cubic;
}

/* From a loss on, each round trip for so long: within `percent` of the formula, and one segment. */
static bool follows_cubic(struct path *path, const struct cubic *cubic, double seconds, double percent)
{
	double rtt = (double)path->delay * 2 / 1e6;
	uint64_t begin = path->now;

	if (fabs(window(path) - cubic->begin) > 0.01 * cubic->begin + 2)
		return wrong("behind the loss the window is %.1f, not %.1f", window(path), cubic->begin);
	while ((double)(path->now - begin) / 1e6 < seconds) {
		double t, wanted;

		run(path, path->now + 2 * path->delay);
		t = (double)(path->now - begin) / 1e6;
		wanted = cubic_window(cubic, t, rtt);
		if (getenv("TRACE"))
			printf("    %.3f s: %.1f segments, the formula has %.1f\n", t, window(path), wanted);
		if (!path->sender || path->sender->recovery != CW_TCP_OPEN)
			return wrong("a second loss at %.2f s", t);
		if (fabs(window(path) - wanted) > percent / 100 * wanted + 1)
			return wrong("at %.2f s the window is %.1f segments, not %.1f", t, window(path), wanted);
	}
	return true;
}

static bool cubic_curve(double segments, uint64_t rtt, double seconds)
{
	struct path *path = open_path(CW_TCP_CUBIC, rtt);
	struct cubic cubic;
	double before = 0;
	bool good = begin_at(path, segments) && (lose_one(path, &before) || wrong("the loss isn't repaired"));

	if (good) {
		cubic = cubic_after(before, 0);
		good = follows_cubic(path, &cubic, seconds, 2);
	}
	close_path(path);
	return good;
}

static bool cubic_long(void)
{
	return cubic_curve(1000, 100000, 18); /* K is 9.1 s */
}

static bool cubic_longer(void)
{
	return cubic_curve(4000, 200000, 25); /* K is 14.4 s */
}

static bool cubic_as_reno(void)
{
	return cubic_curve(50, 10000, 0.5); /* 15 segments in 28 round trips, and faster behind them */
}

/* A second loss before the window was back where it was. */
static bool cubic_converges(void)
{
	struct path *path = open_path(CW_TCP_CUBIC, 100000);
	struct cubic cubic;
	double first = 0, second = 0;
	bool good = begin_at(path, 1000) && (lose_one(path, &first) || wrong("the loss isn't repaired"));

	if (good) {
		run(path, path->now + 2000000);
		good = lose_one(path, &second) || wrong("the second loss isn't repaired");
		if (good && second >= first)
			good = wrong("the window was back at %.1f already", second);
	}
	if (good) {
		cubic = cubic_after(second, first);
		good = follows_cubic(path, &cubic, 12, 2);
	}
	close_path(path);
	return good;
}

/* RFC 5681: a tooth from half the window to where the next loss is, a segment each round trip. */
static bool reno_teeth(void)
{
	struct path *path = open_path(CW_TCP_NEWRENO, 50000);
	double before = 0;
	bool good = begin_at(path, 100);

	for (unsigned tooth = 0; tooth < 4 && good; tooth++) {
		uint64_t begin;
		double half;

		good = lose_one(path, &before) || wrong("the loss isn't repaired");
		begin = path->now;
		half = window(path);
		if (good && fabs(half - before / 2) > 2)
			good = wrong("tooth %u: the window falls from %.1f to %.1f segments", tooth, before, half);
		while (good && window(path) < 100) {
			double line;

			run(path, path->now + 2 * path->delay);
			line = half + (double)(path->now - begin) / (double)(2 * path->delay);
			if (fabs(window(path) - line) > 2)
				good = wrong("tooth %u: after %.2f s the window is %.1f segments, not %.1f", tooth,
					     (double)(path->now - begin) / 1e6, window(path), line);
		}
	}
	close_path(path);
	return good;
}

/* Each round trip doubles it. */
static bool slow_start(void)
{
	struct path *path = open_path(CW_TCP_NEWRENO, 100000);
	double wanted = 10;
	bool good = true;

	run(path, path->now + 150000); /* the handshake takes a round trip, and the first window is on its way */
	for (unsigned round = 0; round < 8 && good; round++) {
		if (fabs(window(path) - wanted) > 0.01 * wanted)
			good = wrong("after %u round trips the window is %.1f segments, not %.1f", round, window(path), wanted);
		run(path, path->now + 100000);
		wanted *= 2;
	}
	close_path(path);
	return good;
}

/* Segments a round trip, on average, behind a beginning that isn't counted. */
static double average(struct path *path, double seconds)
{
	uint64_t acknowledged;

	run(path, path->now + (uint64_t)(seconds / 5 * 1e6));
	acknowledged = path->acknowledged;
	run(path, path->now + (uint64_t)(seconds * 1e6));
	return (double)(path->acknowledged - acknowledged) / MSS / seconds * (double)(2 * path->delay) / 1e6;
}

/* One packet in so many is lost: the response functions, RFC 9438 5.1 (which has Reno's too). */
static double cubic_response(double p, double rtt)
{
	double curve = pow(C * (3 + BETA) / (4 * (1 - BETA)), 0.25) * pow(rtt, 0.75) / pow(p, 0.75), line = sqrt(3 / (2 * p));

	return curve > line ? curve : line;
}

static bool response(enum cw_tcp_congestion congestion, uint64_t rtt, uint64_t every, double seconds, double least, double most)
{
	struct path *path = open_path(congestion, rtt);
	double p = 1 / (double)every, is, wanted = congestion == CW_TCP_CUBIC ? cubic_response(p, (double)rtt / 1e6) : sqrt(3 / (2 * p));
	bool good = true;

	path->every = every;
	is = average(path, seconds);
	printf("    one in %llu lost, %llu ms: %.1f segments a round trip, the formula has %.1f\n", (unsigned long long)every,
	       (unsigned long long)rtt / 1000, is, wanted);
	if (is < least * wanted || is > most * wanted)
		good = wrong("%.1f segments a round trip, the formula has %.1f", is, wanted);
	close_path(path);
	return good;
}

static bool cubic_responds(void)
{
	return response(CW_TCP_CUBIC, 100000, 10000, 600, 0.85, 1.15) && response(CW_TCP_CUBIC, 100000, 1000, 200, 0.85, 1.3);
}

static bool reno_responds(void)
{
	return response(CW_TCP_NEWRENO, 50000, 1000, 200, 0.85, 1.15) && response(CW_TCP_NEWRENO, 50000, 10000, 400, 0.85, 1.15);
}

/* 1 % lost by chance on a path of 20 ms: no less than RFC 9438's response function has for one in a hundred, at two seeds. */
static bool one_percent(void)
{
	bool good = true;

	for (uint64_t seed = 1; seed <= 2 && good; seed++) {
		struct path *path = open_path(CW_TCP_CUBIC, 20000);
		double is, wanted = cubic_response(0.01, 0.02);

		path->random = seed;
		path->loss = 0.01;
		is = average(path, 100);
		printf("    1 %% lost, 20 ms: %.1f segments a round trip, the formula has %.1f\n", is, wanted);
		if (is < 0.95 * wanted)
			good = wrong("%.1f segments a round trip, the formula has %.1f", is, wanted);
		close_path(path);
	}
	return good;
}

/* Rings of 64 KiB that grow as they are asked for: they never make slow start slower than it is with large ones, but for one round trip in
 * which the sizes are found. */
static bool rings_grow(void)
{
	uint64_t rounds[2] = {0};
	bool good = true;

	for (unsigned small = 0; small < 2 && good; small++) {
		struct path *path = open_path_with(CW_TCP_NEWRENO, 100000, small ? 65536 : RING, false);
		uint64_t begin = path->now;

		while (path->now < begin + 3000000 && path->acknowledged < 4000000)
			run(path, path->now + 10000);
		rounds[small] = (path->now - begin) / 100000;
		if (path->acknowledged < 4000000)
			good = wrong("after 3 s %llu bytes are acknowledged; rings of %u and %u", (unsigned long long)path->acknowledged,
				     path->ring[0], path->ring[1]);
		close_path(path);
	}
	if (good && rounds[1] > rounds[0] + 1)
		good = wrong("4 MB take %u round trips, and %u with large rings", (unsigned)rounds[1], (unsigned)rounds[0]);
	printf("    4 MB over 100 ms: %u round trips with rings that grow, %u with large ones\n", (unsigned)rounds[1], (unsigned)rounds[0]);
	return good;
}

/* No millisecond has more than its share of the window, twice in slow start, and one segment; and the window grows all the same: in nine
 * round trips behind the handshake it would have been 512 times as large, and what is sent late is acknowledged late. */
static bool paced(void)
{
	struct path *path = open_path_with(CW_TCP_NEWRENO, 100000, RING, true);
	bool good = true;

	run(path, path->now + 100000);
	for (unsigned ms = 0; ms < 1100 && good; ms++) {
		uint64_t segments = path->segments;
		double share;

		run(path, path->now + 1000);
		share = 2 * window(path) / 100;
		if ((double)(path->segments - segments) > share + 1.01)
			good = wrong("%u segments in a millisecond, of a window of %.1f", (unsigned)(path->segments - segments),
				     window(path));
	}
	printf("    paced, after 11 round trips: %.1f segments\n", window(path));
	if (good && window(path) < 10 * 512)
		good = wrong("the window is %.1f segments only", window(path));
	close_path(path);
	return good;
}

static const struct {
	const char *name;
	bool (*check)(void);
} checks[] = {
	{"RFC 5681 3.1: slow start doubles the window each round trip", slow_start},
	{"RFC 5681 3.1: four teeth, from half the window up, a segment a round trip", reno_teeth},
	{"RFC 5681 3.1: the window by the rate of losses is Reno's response function", reno_responds},
	{"RFC 9438 4.2: the curve over a path of 100 ms", cubic_long},
	{"RFC 9438 4.2: the curve over a path of 200 ms, and a larger window", cubic_longer},
	{"RFC 9438 4.3: Reno's line where that is above the curve", cubic_as_reno},
	{"RFC 9438 4.7: a loss before the window is back: the curve of a lower one", cubic_converges},
	{"RFC 9438 5.1: the window by the rate of losses is the response function", cubic_responds},
	{"RFC 9438 5.1: one per cent of losses by chance on a path of 20 ms", one_percent},
	{"pacing: no bursts, and the window grows", paced},
	{"rings that grow are as good as large ones", rings_grow},
};

int main(void)
{
	bool bad = false;

	for (unsigned i = 0; i < sizeof(checks) / sizeof(checks[0]); i++) {
		if (checks[i].check()) {
			printf("ok tcpip/curves: %s\n", checks[i].name);
		} else {
			printf("not ok tcpip/curves: %s # %s\n", checks[i].name, why);
			bad = true;
		}
		fflush(stdout);
	}
	return bad;
}
