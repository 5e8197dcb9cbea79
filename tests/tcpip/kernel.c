/*
 * kernel: one core against this machine's own TCP, through a TUN device in a network namespace of its own: both roles, IPv4 and IPv6, with
 * and without loss, frames of up to 64 KiB with partial checksums. Both ends send content that is checked, close half by half, reset,
 * refuse.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "kernel_wire.h"
#include "sync/cpu.h"
#include "transport/tcpip/tcpip.h"
#include "tun.h"

#define RING      (1u << 18)
#define CORE_PORT 80u

enum ending {
	BOTH_CLOSE,
	KERNEL_RESETS,
	CORE_RESETS,
	REFUSED,
	CORE_STALLS,   /* doesn't read until its window, which is closed, was probed */
	KERNEL_STALLS, /* the same */
	REQUESTS,      /* `bytes` of them, each answered before the next */
	CORE_PROBES,   /* keep-alive: half of the bytes, then nothing until it was probed twice, then the rest */
	KERNEL_PROBES,
	SILENCE, /* the same, but nothing comes through any more: both give up */
	MARKED   /* one frame in eight says congestion, both ways */
};

struct trial {
	const char *name;
	bool ip6, core_connects;
	double loss;
	uint64_t bytes;
	enum ending ending;
};

/* Requests and answers: how far one end is, in bytes asked and answered. */
struct exchange {
	uint64_t round, asked, answered;
};

struct run {
	const struct trial *trial;
	struct cw_tcpip *core;
	void *memory;
	struct cw_tcp *connection;
	unsigned char *send, *receive;
	uint64_t written, acknowledged, received, read, kernel_written, kernel_read, began;
	bool connected, peer_closed, shut, closed, gone, kernel_connecting, kernel_shut, kernel_eof;
	int error, kernel_error, socket, listener;
	uint64_t random;
	struct seen seen;
	struct exchange core_exchange, kernel_exchange;
	bool silent;
	char why[200];
};

static int tun;

static uint64_t now_us(void)
{
	return cw_monotonic_ns() / 1000;
}

static unsigned char content(unsigned side, uint64_t offset)
{
	uint64_t x = (offset + side * 1000003u) * 0x9e3779b97f4a7c15ull;

	return (unsigned char)(x >> 33);
}

static void must(bool holds, const char *what)
{
	if (holds)
		return;
	printf("not ok tcpip/kernel # %s: %s\n", what, strerror(errno));
	exit(1);
}

static bool chance(struct run *run, double share)
{
	run->random = run->random * 6364136223846793005ull + 1442695040888963407ull;
	return (double)(run->random >> 40) / (1 << 24) < share;
}

/* On its way: lost, or marked, or seen as it is. */
static bool lost(struct run *run, enum from from, unsigned char *bytes, uint32_t length)
{
	if (run->silent || chance(run, run->trial->loss))
		return true;
	if (run->trial->ending == MARKED && run->seen.capable[from] % 8 == 7)
		wire_mark(&run->seen, from, bytes);
	wire_seen(&run->seen, from, bytes, length);
	return false;
}

/* In a namespace of its own the kernel is at 10.9.0.1 and fd09::1; the core is .2. */
static void make_device(void)
{
	const char *what = NULL;

	must(unshare(CLONE_NEWNET) == 0, "a network namespace");
	tun = tun_make(0, true, &what);
	must(tun >= 0, what);
	must(tun_setting("ipv4/tcp_ecn", "1"), "ECN in the kernel");
}

static void device_to_core(struct run *run)
{
	static unsigned char bytes[70000];
	struct cw_frame frame;

	for (unsigned i = 0; i < 64 && tun_read(tun, bytes, sizeof(bytes), &frame); i++)
		if (frame.length >= 40 && !lost(run, FROM_KERNEL, bytes, frame.length))
			cw_tcpip_input(run->core, &frame, now_us());
}

static void core_to_device(struct run *run)
{
	unsigned char headers[CW_HEADER_ROOM];
	struct cw_frame frame;

	while (cw_tcpip_output(run->core, &frame, headers, now_us()))
		if (!lost(run, FROM_CORE, headers, frame.length) && !tun_write(tun, &frame))
			snprintf(run->why, sizeof(run->why), "the device refuses a frame: %s", strerror(errno));
}

static void take_events(struct run *run)
{
	struct cw_tcp_event event;

	while (cw_tcpip_event(run->core, &event)) {
		if (event.owner != run || event.events & CW_TCP_UNSUPPLIED)
			continue;
		if (event.events & (CW_TCP_CONNECTED | CW_TCP_ACCEPTED)) {
			run->connection = event.connection;
			run->connected = true;
		}
		run->received = event.received;
		run->acknowledged = event.acknowledged;
		run->peer_closed |= !!(event.events & CW_TCP_PEER_CLOSED);
		if (event.error)
			run->error = event.error;
		if (event.events & CW_TCP_GONE) {
			run->gone = true;
			run->connection = NULL;
		}
	}
}

/* The first one counts: once it is told, a socket that was reset says EPIPE. */
static void kernel_failed(struct run *run)
{
	if (errno != EAGAIN && errno != ENOTCONN && !run->kernel_error)
		run->kernel_error = errno;
}

/* Sizes of the round's request and answer. */
static uint64_t asked_in(uint64_t round)
{
	return 1 + round * 7919 % 3000;
}

static uint64_t answered_in(uint64_t round)
{
	return 1 + round * 104729 % 20000;
}

/* All that an end will have written. */
static uint64_t whole(const struct trial *trial, bool core)
{
	uint64_t bytes = 0;

	if (trial->ending != REQUESTS)
		return trial->bytes;
	for (uint64_t round = 0; round < trial->bytes; round++)
		bytes += core ? asked_in(round) : answered_in(round);
	return bytes;
}

static bool was_probed(const struct run *run)
{
	switch (run->trial->ending) {
	case CORE_STALLS:
	case KERNEL_PROBES:
		return run->seen.probes[FROM_KERNEL] >= 2;
	case KERNEL_STALLS:
		return cw_tcpip_counter(run->core, CW_TCPIP_WINDOW_PROBES) >= 2;
	case CORE_PROBES:
		return cw_tcpip_counter(run->core, CW_TCPIP_KEEP_ALIVE_PROBES) >= 2;
	default:
		return false;
	}
}

static bool probes_idle(const struct trial *trial)
{
	return trial->ending == CORE_PROBES || trial->ending == KERNEL_PROBES || trial->ending == SILENCE;
}

/* How far the core may write now, of requests or of all. */
static uint64_t core_limit(struct run *run)
{
	struct exchange *exchange = &run->core_exchange;

	if (probes_idle(run->trial) && !was_probed(run))
		return run->trial->bytes / 2;
	if (run->trial->ending != REQUESTS)
		return run->trial->bytes;
	if (run->read == exchange->answered && exchange->round < run->trial->bytes) {
		exchange->asked += asked_in(exchange->round);
		exchange->answered += answered_in(exchange->round++);
	}
	return exchange->asked;
}

static uint64_t kernel_limit(struct run *run)
{
	struct exchange *exchange = &run->kernel_exchange;

	if (probes_idle(run->trial) && !was_probed(run))
		return run->trial->bytes / 2;
	if (run->trial->ending != REQUESTS)
		return run->trial->bytes;
	while (exchange->round < run->trial->bytes && run->kernel_read >= exchange->asked + asked_in(exchange->round)) {
		exchange->asked += asked_in(exchange->round);
		exchange->answered += answered_in(exchange->round++);
	}
	return exchange->answered;
}

static void core_reads(struct run *run)
{
	for (; run->read < run->received; run->read++) {
		if (run->trial->ending == CORE_STALLS && run->read >= RING / 2 && !was_probed(run))
			break;
		if (run->receive[run->read % RING] != content(1, run->read))
			snprintf(run->why, sizeof(run->why), "byte %llu that the core received isn't right", (unsigned long long)run->read);
	}
}

static void core_program(struct run *run)
{
	const struct trial *trial = run->trial;
	uint64_t now = now_us(), limit;

	core_reads(run);
	if (!run->connection || !run->connected)
		return;
	cw_tcp_read(run->connection, run->read, now);
	limit = core_limit(run);
	for (; run->written < run->acknowledged + RING && run->written < limit; run->written++)
		run->send[run->written % RING] = content(0, run->written);
	cw_tcp_written(run->connection, run->written, false, now);
	if (trial->ending == CORE_RESETS && run->read > trial->bytes / 2) {
		cw_tcp_abort(run->connection, now);
		run->connection = NULL;
		return;
	}
	/* A reset behind a FIN is EPIPE to the kernel's programs, not ECONNRESET. */
	if (run->written == whole(trial, true) && !run->shut && trial->ending != KERNEL_RESETS && trial->ending != CORE_RESETS) {
		run->shut = true;
		cw_tcp_shutdown(run->connection, now);
	}
	if (run->peer_closed && run->read == run->received && run->shut && !run->closed) {
		run->closed = true;
		cw_tcp_close(run->connection, now);
	}
}

static void kernel_close(struct run *run)
{
	if (run->socket >= 0)
		close(run->socket);
	run->socket = -1;
}

static void kernel_write(struct run *run)
{
	unsigned char bytes[16384];
	uint64_t left = kernel_limit(run) - run->kernel_written;
	size_t length = left < sizeof(bytes) ? left : sizeof(bytes);
	ssize_t done;

	for (size_t i = 0; i < length; i++)
		bytes[i] = content(1, run->kernel_written + i);
	done = length ? send(run->socket, bytes, length, MSG_NOSIGNAL) : 0;
	if (done < 0)
		kernel_failed(run);
	else
		run->kernel_written += (uint64_t)done;
	if (run->kernel_written == whole(run->trial, false) && !run->kernel_shut)
		run->kernel_shut = shutdown(run->socket, SHUT_WR) == 0;
}

static void kernel_read(struct run *run)
{
	unsigned char bytes[16384];
	ssize_t length;

	if (run->trial->ending == KERNEL_STALLS && run->kernel_read >= RING / 2 && !was_probed(run))
		return;
	length = recv(run->socket, bytes, sizeof(bytes), 0);
	if (length < 0)
		kernel_failed(run);
	run->kernel_eof |= length == 0;
	for (ssize_t i = 0; i < length; i++, run->kernel_read++)
		if (bytes[i] != content(0, run->kernel_read))
			snprintf(run->why, sizeof(run->why), "byte %llu that the kernel received isn't right",
				 (unsigned long long)run->kernel_read);
}

static void set_keep_alive(const struct run *run)
{
	static const int one = 1, three = 3;

	if (run->trial->ending != KERNEL_PROBES && run->trial->ending != SILENCE)
		return;
	must(setsockopt(run->socket, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one)) == 0 &&
		     setsockopt(run->socket, IPPROTO_TCP, TCP_KEEPIDLE, &one, sizeof(one)) == 0 &&
		     setsockopt(run->socket, IPPROTO_TCP, TCP_KEEPINTVL, &one, sizeof(one)) == 0 &&
		     setsockopt(run->socket, IPPROTO_TCP, TCP_KEEPCNT, &three, sizeof(three)) == 0,
	     "the kernel's keep-alive");
}

/* Nothing is in flight any more: from now on nothing comes through. */
static void fall_silent(struct run *run)
{
	uint64_t half = run->trial->bytes / 2;
	int unacknowledged = 1;

	if (run->trial->ending == SILENCE && run->acknowledged == half && run->kernel_written == half && run->read == half &&
	    run->kernel_read == half && run->socket >= 0 && ioctl(run->socket, SIOCOUTQ, &unacknowledged) == 0 && !unacknowledged)
		run->silent = true;
}

static void kernel_program(struct run *run)
{
	if (run->socket < 0 && run->listener >= 0) {
		run->socket = accept4(run->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (run->socket < 0)
			return;
		set_keep_alive(run);
	}
	if (run->socket < 0)
		return;
	if (run->trial->ending == KERNEL_RESETS && run->kernel_read > run->trial->bytes / 2) {
		struct linger linger = {.l_onoff = 1};

		setsockopt(run->socket, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
		kernel_close(run);
		close(run->listener);
		run->listener = -1;
		return;
	}
	if (!run->kernel_eof)
		kernel_read(run);
	if (!run->kernel_error)
		kernel_write(run);
	if (run->kernel_error || (run->kernel_eof && run->kernel_shut)) {
		kernel_close(run);
		if (run->listener >= 0)
			close(run->listener);
		run->listener = -1;
	}
}

static void begin(struct run *run)
{
	static uint16_t port = 20000;
	const struct trial *trial = run->trial;
	struct cw_tcpip_config config = {.connections = 4,
					 .listeners = 2,
					 .half_open = 8,
					 .time_waits = 8,
					 .sent = 4096,
					 .blocks = 512,
					 .replies = 64,
					 .mtu = 1500,
					 .frame_max = 65535,
					 .checksum_offload = true};
	struct cw_tcp_settings settings = {.receive_size = RING,
					   .ecn = trial->ending == MARKED,
					   .keep_alive = trial->ending == CORE_PROBES || trial->ending == SILENCE,
					   .keep_idle_s = 1,
					   .keep_interval_s = 1,
					   .keep_count = 3};
	struct cw_tcp_rings rings = {run->send, RING, run->receive, RING, run};
	struct cw_ip_endpoint ours = tun_core_end(trial->ip6, 2, CORE_PORT), theirs = tun_core_end(trial->ip6, 1, ++port);
	struct sockaddr_storage address;
	socklen_t length;
	int family = trial->ip6 ? AF_INET6 : AF_INET;

	for (unsigned i = 0; i < 32; i++)
		config.secret[i] = (uint8_t)(i * 11 + port);
	run->memory = calloc(1, cw_tcpip_size(&config) + 64);
	run->core = cw_tcpip_init((void *)(((uintptr_t)run->memory + 63) & ~(uintptr_t)63), &config, now_us());
	if (trial->core_connects) {
		length = tun_kernel_end(trial->ip6, 1, port, &address);
		if (trial->ending != REFUSED) {
			run->listener = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
			must(bind(run->listener, (struct sockaddr *)&address, length) == 0 && listen(run->listener, 4) == 0,
			     "the kernel's listener");
		}
		ours.port = port;
		run->connection = cw_tcp_connect(run->core, &ours, &theirs, &rings, &settings, now_us());
		return;
	}
	ours.port = port;
	if (trial->ending != REFUSED)
		cw_tcp_supply(cw_tcp_listen(run->core, &ours, &settings), &rings);
	run->socket = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	length = tun_kernel_end(trial->ip6, 2, port, &address);
	set_keep_alive(run);
	must(connect(run->socket, (struct sockaddr *)&address, length) == 0 || errno == EINPROGRESS, "the kernel's connect");
}

static bool ended(const struct run *run)
{
	if (run->trial->ending == REFUSED)
		return run->trial->core_connects ? run->gone : run->kernel_error != 0;
	if (run->trial->ending == CORE_RESETS)
		return run->kernel_error || run->kernel_eof;
	if (run->trial->ending == SILENCE)
		return run->gone && run->kernel_error;
	return run->gone && run->socket < 0 && run->listener < 0;
}

/* RFC 3168 6.1: what was marked on its way from this end was told to it, and it said that it has heard. */
static bool echoed(const struct run *run, enum from from)
{
	const struct seen *seen = &run->seen;

	if (seen->marked[from] && seen->echoes[1 - from] && seen->reduced[from])
		return true;
	printf("    %u capable, %u marked, %u echoes, %u reductions\n", seen->capable[from], seen->marked[from], seen->echoes[1 - from],
	       seen->reduced[from]);
	return false;
}

static void judge(struct run *run)
{
	const struct trial *trial = run->trial;
	bool right;

	if (run->why[0])
		return;
	switch (trial->ending) {
	case KERNEL_RESETS:
		right = run->error == ECONNRESET;
		break;
	case CORE_RESETS:
		right = run->kernel_error == ECONNRESET;
		break;
	case REFUSED:
		right = (trial->core_connects ? run->error : run->kernel_error) == ECONNREFUSED;
		break;
	case SILENCE:
		right = run->error == ETIMEDOUT && run->kernel_error == ETIMEDOUT;
		break;
	default:
		right = !run->error && !run->kernel_error && run->read == whole(trial, false) && run->kernel_read == whole(trial, true);
	}
	if (right && trial->ending == MARKED)
		right = echoed(run, FROM_CORE) && echoed(run, FROM_KERNEL);
	if (!right)
		snprintf(run->why, sizeof(run->why), "errors %d and %d, received %llu and %llu of %llu", run->error, run->kernel_error,
			 (unsigned long long)run->read, (unsigned long long)run->kernel_read, (unsigned long long)trial->bytes);
}

static bool try_one(const struct trial *trial)
{
	struct run *run = calloc(1, sizeof(*run));
	uint64_t limit = 120000000;
	bool good;

	run->trial = trial;
	run->socket = run->listener = -1;
	run->send = malloc(RING);
	run->receive = malloc(RING);
	run->random = 1;
	run->began = now_us();
	begin(run);
	while (!ended(run) && !run->why[0]) {
		struct pollfd waits[3] = {
			{tun, POLLIN, 0}, {run->socket, (short)(POLLIN | (run->kernel_shut ? 0 : POLLOUT)), 0}, {run->listener, POLLIN, 0}};

		poll(waits, 3, 1);
		device_to_core(run);
		cw_tcpip_advance(run->core, now_us());
		take_events(run);
		core_program(run);
		core_to_device(run);
		take_events(run);
		kernel_program(run);
		fall_silent(run);
		if (now_us() - run->began > limit)
			snprintf(run->why, sizeof(run->why), "no end after %llu s: errors %d %d, received %llu %llu, gone %d",
				 (unsigned long long)limit / 1000000, run->error, run->kernel_error, (unsigned long long)run->read,
				 (unsigned long long)run->kernel_read, run->gone);
	}
	judge(run);
	good = !run->why[0];
	if (good)
		printf("ok tcpip/kernel: %s\n", trial->name);
	else
		printf("not ok tcpip/kernel: %s # %s\n", trial->name, run->why);
	printf("    in %.3f s, %llu time-outs, %llu sent again, %llu tail probes, %llu fast\n", (double)(now_us() - run->began) / 1e6,
	       (unsigned long long)cw_tcpip_counter(run->core, CW_TCPIP_TIMEOUTS),
	       (unsigned long long)cw_tcpip_counter(run->core, CW_TCPIP_RETRANSMISSIONS),
	       (unsigned long long)cw_tcpip_counter(run->core, CW_TCPIP_TAIL_PROBES),
	       (unsigned long long)(cw_tcpip_counter(run->core, CW_TCPIP_FAST_ACK) + cw_tcpip_counter(run->core, CW_TCPIP_FAST_DATA)));
	if (run->socket >= 0)
		close(run->socket);
	if (run->listener >= 0)
		close(run->listener);
	free(run->memory);
	free(run->send);
	free(run->receive);
	free(run);
	return good;
}

int main(void)
{
	static const struct trial trials[] = {
		{"IPv4, the core connects", false, true, 0, 20 << 20, BOTH_CLOSE},
		{"IPv4, the kernel connects", false, false, 0, 20 << 20, BOTH_CLOSE},
		{"IPv6, the core connects", true, true, 0, 20 << 20, BOTH_CLOSE},
		{"IPv6, the kernel connects", true, false, 0, 20 << 20, BOTH_CLOSE},
		{"IPv4, one frame in fifty is lost", false, true, 0.02, 5 << 20, BOTH_CLOSE},
		{"IPv4, the kernel connects, one frame in fifty is lost", false, false, 0.02, 5 << 20, BOTH_CLOSE},
		{"IPv6, one frame in ten is lost", true, true, 0.1, 1 << 20, BOTH_CLOSE},
		{"IPv6, the kernel connects, one frame in ten is lost", true, false, 0.1, 1 << 20, BOTH_CLOSE},
		{"IPv4, nothing to send", false, true, 0, 0, BOTH_CLOSE},
		{"IPv4, the core's window closes and opens", false, true, 0, 2 << 20, CORE_STALLS},
		{"IPv6, the core's window closes and opens, one frame in ten is lost", true, false, 0.1, 1 << 20, CORE_STALLS},
		{"IPv4, the kernel's window closes and opens", false, false, 0, 16 << 20, KERNEL_STALLS},
		{"IPv6, the kernel's window closes and opens, one frame in twenty is lost", true, true, 0.05, 16 << 20, KERNEL_STALLS},
		{"IPv4, 500 requests", false, true, 0, 500, REQUESTS},
		{"IPv6, 500 requests, the kernel connects", true, false, 0, 500, REQUESTS},
		{"IPv4, 100 requests, the kernel connects, one frame in fifty is lost", false, false, 0.02, 100, REQUESTS},
		{"IPv6, 100 requests, one frame in fifty is lost", true, true, 0.02, 100, REQUESTS},
		{"IPv4, the core keeps alive", false, true, 0, 1000, CORE_PROBES},
		{"IPv6, the kernel keeps alive", true, false, 0, 1000, KERNEL_PROBES},
		{"IPv4, both find that nothing comes through any more", false, false, 0, 1000, SILENCE},
		{"RFC 3168: congestion marked, IPv4", false, true, 0, 20 << 20, MARKED},
		{"RFC 3168: congestion marked, IPv6, the kernel connects", true, false, 0, 20 << 20, MARKED},
		{"RFC 3168: congestion marked, IPv6, one frame in fifty is lost", true, true, 0.02, 20 << 20, MARKED},
		{"IPv4, the kernel resets", false, true, 0, 1 << 20, KERNEL_RESETS},
		{"IPv4, the core resets", false, true, 0, 1 << 20, CORE_RESETS},
		{"IPv6, the kernel refuses", true, true, 0, 0, REFUSED},
		{"IPv4, the core refuses", false, false, 0, 0, REFUSED},
	};
	unsigned bad = 0;

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (!tun_possible("kernel"))
		return 0;
	make_device();
	for (unsigned i = 0; i < sizeof(trials) / sizeof(trials[0]); i++)
		bad += !try_one(&trials[i]);
	return bad != 0;
}
