/*
 * One transfer over an emulated path: kernel TCP (cubic) at both ends, or the core of transport/tcpip sending to kernel TCP. The path lies
 * between two network namespaces with a TUN device each, and is this program: a rate, a delay, a queue, and losses that follow from a seed,
 * the same for both. What differs is who sends, and so whose congestion control it is.
 *
 * --check runs both until so many bytes have come, and says whether they were right; without it the figures are printed.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <jansson.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sync/cpu.h"
#include "tests/tcpip/tun.h"
#include "transport/tcpip/tcpip.h"

#define MTU     1500u
#define PARCELS 16384u
#define RING    (1u << 22)
#define PERIOD  251u
#define PORT    80u

struct settings {
	double loss, megabits, milliseconds, queue, seconds; /* milliseconds: there and back; queue: of them, at this rate */
	uint64_t bytes;                                      /* it ends when so many have come; 0: after the seconds only */
	uint64_t seed;
};

struct parcel {
	uint64_t arrives;
	uint32_t length;
	unsigned char bytes[MTU];
};

struct way {
	struct parcel *parcel; /* a ring */
	uint32_t first, count;
	uint64_t busy_until, random;
	double loss;
	uint64_t carried, lost, overflowed;
};

struct sent { /* what a run has found */
	bool good;
	char why[120];
	double megabits;
	uint64_t bytes, carried, lost, overflowed, again, timeouts;
};

struct run {
	const struct settings *settings;
	struct way way[2];
	int tun[2], listener, receiver, sender;
	struct cw_tcpip *core;
	struct cw_tcp *connection;
	unsigned char *send;
	uint64_t written, acknowledged, received, kernel_written;
	bool connected;
	struct sent *found;
};

static unsigned char pattern[PERIOD + (1 << 18)]; /* byte n of the stream is pattern[n % PERIOD] */

static uint64_t now_us(void)
{
	return cw_monotonic_ns() / 1000;
}

static void fail(struct run *run, const char *why)
{
	if (!run->found->why[0])
		snprintf(run->found->why, sizeof(run->found->why), "%s (%s)", why, strerror(errno));
}

static void must(struct run *run, bool holds, const char *what)
{
	if (holds)
		return;
	fail(run, what);
	_exit(1);
}

/* A packet enters the path: lost, or behind those that wait, if the queue has room. Acknowledgements go the other way, without loss. */
static void carry(struct run *run, struct way *way, const unsigned char *bytes, uint32_t length, uint64_t now)
{
	const struct settings *settings = run->settings;
	uint64_t start = now > way->busy_until ? now : way->busy_until;
	struct parcel *parcel;

	way->carried++;
	way->random = way->random * 6364136223846793005ull + 1442695040888963407ull;
	if ((double)(way->random >> 40) / (1 << 24) < way->loss) {
		way->lost++;
		return;
	}
	if ((double)(start - now) > settings->queue * 1000 || way->count == PARCELS || length > MTU) {
		way->overflowed++;
		return;
	}
	way->busy_until = start + (uint64_t)(length * 8 / settings->megabits);
	parcel = &way->parcel[(way->first + way->count++) % PARCELS];
	parcel->arrives = way->busy_until + (uint64_t)(settings->milliseconds * 500);
	parcel->length = length;
	memcpy(parcel->bytes, bytes, length);
}

static uint64_t next_arrival(const struct way *way)
{
	return way->count ? way->parcel[way->first].arrives : UINT64_MAX;
}

static void deliver(struct run *run, unsigned to, const struct parcel *parcel, uint64_t now)
{
	struct cw_frame frame = {.pieces = 1, .length = parcel->length, .piece[0] = {parcel->bytes, parcel->length}};

	if (to == 0 && run->core)
		cw_tcpip_input(run->core, &frame, now);
	else if (write(run->tun[to], parcel->bytes, parcel->length) < 0 && errno != EAGAIN && errno != ENOBUFS)
		fail(run, "the device refuses a packet");
}

static void arrive(struct run *run, unsigned to, uint64_t now)
{
	struct way *way = &run->way[1 - to];

	while (next_arrival(way) <= now) {
		const struct parcel *parcel = &way->parcel[way->first];

		way->first = (way->first + 1) % PARCELS;
		way->count--;
		deliver(run, to, parcel, now);
	}
}

static void leave_device(struct run *run, unsigned from, uint64_t now)
{
	unsigned char bytes[MTU + 4];
	ssize_t length;

	while (run->tun[from] >= 0 && (length = read(run->tun[from], bytes, sizeof(bytes))) > 0)
		if (length >= 40 && bytes[0] >> 4 == 4 && bytes[9] == IPPROTO_TCP) /* the kernel has things of its own to say by IPv6 */
			carry(run, &run->way[from], bytes, (uint32_t)length, now);
}

static void leave_core(struct run *run, uint64_t now)
{
	unsigned char headers[CW_HEADER_ROOM], bytes[MTU];
	struct cw_frame frame;

	while (cw_tcpip_output(run->core, &frame, headers, now)) {
		uint32_t at = 0;

		for (uint32_t i = 0; i < frame.pieces && at + frame.piece[i].length <= MTU; at += frame.piece[i++].length)
			memcpy(bytes + at, frame.piece[i].at, frame.piece[i].length);
		carry(run, &run->way[0], bytes, at, now);
	}
}

static void core_writes(struct run *run, uint64_t now)
{
	struct cw_tcp_event event;

	while (cw_tcpip_event(run->core, &event)) {
		run->connected |= !!(event.events & CW_TCP_CONNECTED);
		run->acknowledged = event.acknowledged;
		if (event.events & (CW_TCP_FAILED | CW_TCP_GONE))
			fail(run, "the core's connection failed");
	}
	while (run->connected && run->written < run->acknowledged + RING) {
		uint64_t room = run->acknowledged + RING - run->written, straight = RING - run->written % RING;

		room = room < straight ? room : straight;
		room = room < 1 << 18 ? room : 1 << 18;
		memcpy(run->send + run->written % RING, pattern + run->written % PERIOD, room);
		run->written += room;
	}
	if (run->connected && !run->found->why[0])
		cw_tcp_written(run->connection, run->written, true, now);
}

static void kernel_writes(struct run *run)
{
	ssize_t done;

	while ((done = send(run->sender, pattern + run->kernel_written % PERIOD, 1 << 16, MSG_NOSIGNAL)) > 0)
		run->kernel_written += (uint64_t)done;
	if (done < 0 && errno != EAGAIN && errno != ENOTCONN && errno != EINPROGRESS)
		fail(run, "the kernel's connection failed");
}

static void kernel_reads(struct run *run)
{
	static unsigned char bytes[1 << 18];
	ssize_t length;

	if (run->receiver < 0)
		run->receiver = accept4(run->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	while (run->receiver >= 0 && (length = recv(run->receiver, bytes, sizeof(bytes), 0)) > 0) {
		if (memcmp(bytes, pattern + run->received % PERIOD, (size_t)length) != 0)
			fail(run, "a byte isn't the one that was sent");
		run->received += (uint64_t)length;
	}
}

static void wait_for(struct run *run, uint64_t until)
{
	struct pollfd waits[4] = {{run->tun[0], POLLIN, 0},
				  {run->tun[1], POLLIN, 0},
				  {run->receiver >= 0 ? run->receiver : run->listener, POLLIN, 0},
				  {run->sender, POLLOUT, 0}};
	uint64_t now = now_us(), left;

	if (next_arrival(&run->way[0]) < until)
		until = next_arrival(&run->way[0]);
	if (next_arrival(&run->way[1]) < until)
		until = next_arrival(&run->way[1]);
	if (run->core && cw_tcpip_timer(run->core) < until)
		until = cw_tcpip_timer(run->core);
	left = until > now ? until - now : 0;
	ppoll(waits, 4, &(struct timespec){(time_t)(left / 1000000), (long)(left % 1000000 * 1000)}, NULL);
}

static void transfer(struct run *run)
{
	uint64_t began = now_us(), end = began + (uint64_t)(run->settings->seconds * 1e6), now;

	while ((now = now_us()) < end && !run->found->why[0] && !(run->settings->bytes && run->received >= run->settings->bytes)) {
		for (unsigned side = 0; side < 2; side++) {
			leave_device(run, side, now);
			arrive(run, side, now);
		}
		if (run->core) {
			cw_tcpip_advance(run->core, now);
			core_writes(run, now);
			leave_core(run, now);
		} else {
			kernel_writes(run);
		}
		kernel_reads(run);
		wait_for(run, end);
	}
	run->found->megabits = (double)run->received * 8 / (double)(now - began + 1);
}

static void make_core(struct run *run)
{
	struct cw_tcpip_config config = {
		.connections = 1, .sent = 16384, .sent_a_connection = 16384, .blocks = 64, .replies = 16, .mtu = MTU};
	struct cw_ip_endpoint ours = {.address.octet = {[10] = 0xff, 0xff, 10, 9, 0, 1}, .port = 2000};
	struct cw_ip_endpoint theirs = {.address.octet = {[10] = 0xff, 0xff, 10, 9, 1, 1}, .port = PORT};
	static unsigned char receive[1 << 16];
	size_t size = (cw_tcpip_size(&config) + 63) & ~(size_t)63;
	void *memory = aligned_alloc(64, size);

	run->send = malloc(RING);
	must(run, memory && run->send, "memory");
	for (unsigned i = 0; i < sizeof(config.secret); i++)
		config.secret[i] = (uint8_t)(i * 37 + run->settings->seed);
	run->core = cw_tcpip_init(memset(memory, 0, size), &config, now_us());
	run->connection = cw_tcp_connect(run->core, &ours, &theirs, &(struct cw_tcp_rings){run->send, RING, receive, sizeof(receive), run},
					 NULL, now_us());
	must(run, run->connection, "the core's connection");
}

static struct sockaddr_in kernel_end(void)
{
	return (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(PORT), .sin_addr.s_addr = htonl(0x0a090101)};
}

static int cubic_socket(struct run *run)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	must(run, fd >= 0 && setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "cubic", 5) == 0, "a socket with cubic");
	return fd;
}

/* A namespace of its own; what the process opens from now on is in it. */
static int enter_namespace(struct run *run, unsigned network)
{
	const char *what;
	int tun;

	must(run, unshare(CLONE_NEWNET) == 0, "a network namespace");
	tun = tun_make(network, false, &what);
	must(run, tun >= 0, what ? what : "");
	return tun;
}

static void make_ends(struct run *run, bool core)
{
	struct sockaddr_in end = kernel_end();

	run->tun[0] = run->receiver = run->sender = -1;
	if (!core) {
		run->tun[0] = enter_namespace(run, 0);
		run->sender = cubic_socket(run);
	}
	run->tun[1] = enter_namespace(run, 1);
	run->listener = cubic_socket(run);
	must(run, bind(run->listener, (struct sockaddr *)&end, sizeof(end)) == 0 && listen(run->listener, 1) == 0, "the listener");
	if (core)
		make_core(run);
	else
		must(run, connect(run->sender, (struct sockaddr *)&end, sizeof(end)) == 0 || errno == EINPROGRESS, "connect");
}

static void note(struct run *run)
{
	struct sent *found = run->found;
	struct tcp_info info;
	socklen_t length = sizeof(info);

	found->bytes = run->received;
	found->carried = run->way[0].carried;
	found->lost = run->way[0].lost;
	found->overflowed = run->way[0].overflowed;
	if (run->core) {
		found->again = cw_tcpip_counter(run->core, CW_TCPIP_RETRANSMISSIONS);
		found->timeouts = cw_tcpip_counter(run->core, CW_TCPIP_TIMEOUTS);
	} else if (getsockopt(run->sender, IPPROTO_TCP, TCP_INFO, &info, &length) == 0) {
		found->again = info.tcpi_total_retrans;
	}
	found->good = !found->why[0];
}

static void run_one(const struct settings *settings, bool core, struct sent *found)
{
	struct run run = {.settings = settings, .found = found};

	make_ends(&run, core);
	for (unsigned i = 0; i < 2; i++) {
		run.way[i].parcel = malloc(PARCELS * sizeof(struct parcel));
		run.way[i].random = settings->seed * 2 + i;
		run.way[i].loss = i ? 0 : settings->loss;
		must(&run, run.way[i].parcel, "memory");
	}
	transfer(&run);
	note(&run);
}

/* In a process of its own, so that its namespaces end with it. */
static struct sent measure(const struct settings *settings, bool core)
{
	struct sent *shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0), found;
	pid_t child = fork();

	if (child == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		run_one(settings, core, shared);
		_exit(0);
	}
	waitpid(child, NULL, 0);
	found = *shared;
	if (!found.good && !found.why[0])
		snprintf(found.why, sizeof(found.why), "it ended early");
	munmap(shared, sizeof(*shared));
	return found;
}

static json_t *as_json(const struct sent *found)
{
	return json_pack("{s:f, s:I, s:I, s:I, s:I, s:I}", "megabits_per_second", found->megabits, "packets", (json_int_t)found->carried,
			 "lost", (json_int_t)found->lost, "overflowed", (json_int_t)found->overflowed, "again", (json_int_t)found->again,
			 "timeouts", (json_int_t)found->timeouts);
}

static void show(const char *who, const struct sent *found)
{
	printf("%-8s %8.2f Mb/s, %llu packets, %llu lost, %llu too many for the queue, %llu sent again\n", who, found->megabits,
	       (unsigned long long)found->carried, (unsigned long long)found->lost, (unsigned long long)found->overflowed,
	       (unsigned long long)found->again);
}

/* What came is as it was sent, and all of it comes, however long it takes here: how fast is for who reads the figures. */
static bool check_one(const struct settings *settings, const char *name)
{
	struct sent kernel = measure(settings, false), core = measure(settings, true);
	const struct sent *bad = !kernel.good || kernel.bytes < settings->bytes ? &kernel : &core;

	show("    kernel", &kernel);
	show("    core", &core);
	if (bad->good && bad->bytes >= settings->bytes) {
		printf("ok tcpip/path: %s\n", name);
		return true;
	}
	printf("not ok tcpip/path: %s # the %s: %llu bytes of %llu have come%s%s\n", name, bad == &core ? "core" : "kernel",
	       (unsigned long long)bad->bytes, (unsigned long long)settings->bytes, bad->why[0] ? ": " : "", bad->why);
	return false;
}

static int check(void)
{
	static const struct settings clean = {0, 50, 20, 40, 75, 1500000, 1}, lossy = {0.01, 100, 20, 40, 75, 1500000, 2},
				     small = {0, 20, 20, 5, 75, 1500000, 3};
	unsigned bad = 0;

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (!tun_possible("path"))
		return 0;
	bad += !check_one(&clean, "RFC 9438: beside the kernel's cubic, nothing is lost");
	bad += !check_one(&lossy, "RFC 9438: beside the kernel's cubic, one packet in a hundred is lost, 20 ms");
	bad += !check_one(&small, "RFC 9438: beside the kernel's cubic, a short queue overflows");
	return bad != 0;
}

static int usage(void)
{
	fprintf(stderr, "usage: tcpip_path [--check] [--json] [--sender kernel|core] [--loss SHARE] [--megabits N] [--milliseconds N]\n"
			"                  [--queue MILLISECONDS] [--seconds N] [--seed N]\n");
	return 2;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {{"check", no_argument, NULL, 'c'},          {"json", no_argument, NULL, 'j'},
						{"sender", required_argument, NULL, 'w'},   {"loss", required_argument, NULL, 'l'},
						{"megabits", required_argument, NULL, 'm'}, {"milliseconds", required_argument, NULL, 'd'},
						{"queue", required_argument, NULL, 'q'},    {"seconds", required_argument, NULL, 's'},
						{"seed", required_argument, NULL, 'x'},     {0}};
	struct settings settings = {0.01, 100, 20, 40, 10, 0, 1};
	bool json = false, checks = false, core = true;
	struct sent found;
	int option;

	for (uint32_t i = 0; i < sizeof(pattern); i++)
		pattern[i] = (unsigned char)(i % PERIOD * 7 + 3);
	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (option) {
		case 'c':
			checks = true;
			break;
		case 'j':
			json = true;
			break;
		case 'w':
			core = strcmp(optarg, "core") == 0;
			break;
		case 'l':
			settings.loss = atof(optarg);
			break;
		case 'm':
			settings.megabits = atof(optarg);
			break;
		case 'd':
			settings.milliseconds = atof(optarg);
			break;
		case 'q':
			settings.queue = atof(optarg);
			break;
		case 's':
			settings.seconds = atof(optarg);
			break;
		case 'x':
			settings.seed = strtoull(optarg, NULL, 0);
			break;
		default:
			return usage();
		}
	}
	if (checks)
		return check();
	found = measure(&settings, core);
	if (!found.good) {
		fprintf(stderr, "tcpip_path: %s\n", found.why);
		return 1;
	}
	if (json) {
		json_t *object = as_json(&found);

		json_dumpf(object, stdout, 0);
		printf("\n");
		json_decref(object);
	} else {
		show(core ? "core" : "kernel", &found);
	}
	return 0;
}
