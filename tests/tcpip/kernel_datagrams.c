/*
 * kernel_datagrams: one core against this machine's own network layer, over Ethernet, through a TAP device in a network namespace of its
 * own. Neighbours are found from both sides (ARP, ND), duplicate addresses seen; UDP of all sizes comes back, in fragments where it must;
 * pings, groups, ports that nobody has, and TCP on top.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/ipv6.h>
#include <net/if.h>
#include <netinet/icmp6.h>
#include <netinet/in.h>
#include <netinet/ip_icmp.h>
#include <poll.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "sync/cpu.h"
#include "transport/tcpip/udp.h"
#include "tun.h"

#define RING  (1u << 18)
#define LIMIT 60000000u
#define AGAIN 5000000u /* a datagram may be lost; then it is sent again */
#define ECHO  7u
#define OTHER 9u

struct end {
	struct cw_udp *udp;
	unsigned char *send, *receive;
	uint64_t written, read, received;
	int error;
};

struct run {
	bool ip6;
	struct cw_tcpip *core;
	void *memory;
	struct end end;
	struct cw_tcp *connection;
	unsigned char *tcp_send, *tcp_receive;
	uint64_t tcp_received;
	int fd, echoes;
	char why[200];
};

static int tap, tap_index;

static uint64_t now_us(void)
{
	return cw_monotonic_ns() / 1000;
}

static unsigned char content(uint64_t offset)
{
	return (unsigned char)((offset * 0x9e3779b97f4a7c15ull) >> 33);
}

static void must(bool holds, const char *what)
{
	if (holds)
		return;
	printf("not ok tcpip/kernel_datagrams # %s: %s\n", what, strerror(errno));
	exit(1);
}

static bool fail(struct run *run, const char *format, ...) __attribute__((format(printf, 2, 3)));

static bool fail(struct run *run, const char *format, ...)
{
	va_list list;

	va_start(list, format);
	vsnprintf(run->why, sizeof(run->why), format, list);
	va_end(list);
	return false;
}

static struct cw_ip_address core_address(bool ip6, unsigned host)
{
	return tun_core_end(ip6, host, 0).address;
}

static struct cw_ip_address core_group(bool ip6, unsigned number)
{
	struct cw_ip_address address = core_address(ip6, number);

	address.octet[ip6 ? 0 : 12] = ip6 ? 0xff : 239;
	if (ip6)
		address.octet[1] = 0x15;
	return address;
}

/* The kernel is host 1, the core is host 2. */
static void make_device(void)
{
	struct ifreq request = {.ifr_flags = IFF_TAP | IFF_NO_PI};
	struct cw_ip_address address4 = core_address(false, 1), address6 = core_address(true, 1);
	struct in6_ifreq in6 = {.ifr6_prefixlen = 64};
	struct sockaddr_storage storage;
	int control, control6;

	must(unshare(CLONE_NEWNET) == 0, "a network namespace");
	tap = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
	must(tap >= 0, "/dev/net/tun");
	must(ioctl(tap, TUNSETIFF, &request) == 0, "a TAP device");
	control = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	control6 = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	tun_sockaddr(&address4, false, 0, &storage);
	memcpy(&request.ifr_addr, &storage, sizeof(request.ifr_addr));
	must(ioctl(control, SIOCSIFADDR, &request) == 0, "the device's address");
	inet_pton(AF_INET, "255.255.255.0", &((struct sockaddr_in *)&storage)->sin_addr);
	memcpy(&request.ifr_netmask, &storage, sizeof(request.ifr_netmask));
	must(ioctl(control, SIOCSIFNETMASK, &request) == 0, "the device's netmask");
	request.ifr_flags = IFF_UP | IFF_RUNNING | IFF_BROADCAST | IFF_MULTICAST;
	must(ioctl(control, SIOCSIFFLAGS, &request) == 0, "the device up");
	must(ioctl(control, SIOCGIFINDEX, &request) == 0, "the device's index");
	in6.ifr6_ifindex = tap_index = request.ifr_ifindex;
	memcpy(&in6.ifr6_addr, address6.octet, 16);
	must(ioctl(control6, SIOCSIFADDR, &in6) == 0, "the device's IPv6 address");
	close(control);
	close(control6);
}

static void device_to_core(struct run *run)
{
	static unsigned char bytes[70000];
	ssize_t length;

	for (unsigned i = 0; i < 64 && (length = read(tap, bytes, sizeof(bytes))) > 0; i++) {
		struct cw_frame frame = {.pieces = 1, .length = (uint32_t)length};

		frame.piece[0] = (struct cw_piece){bytes, frame.length};
		cw_tcpip_input(run->core, &frame, now_us());
	}
}

static void core_to_device(struct run *run)
{
	static unsigned char bytes[70000];
	unsigned char headers[CW_HEADER_ROOM];
	struct cw_frame frame;

	while (cw_tcpip_output(run->core, &frame, headers, now_us())) {
		uint32_t at = 0;

		for (uint32_t i = 0; i < frame.pieces; i++) {
			memcpy(bytes + at, frame.piece[i].at, frame.piece[i].length);
			at += frame.piece[i].length;
		}
		if (write(tap, bytes, at) < 0 && errno != EAGAIN && errno != ENOBUFS)
			fail(run, "the device refuses a frame: %s", strerror(errno));
	}
}

static void send_record(struct end *end, const struct cw_udp_record *record)
{
	memcpy(end->send + end->written % RING, record, sizeof(*record));
	end->written += cw_udp_record_space(record->length);
	cw_udp_written(end->udp, end->written, now_us());
}

/* What comes goes back. */
static void echo(struct run *run)
{
	struct end *end = &run->end;

	while (end->read < end->received) {
		struct cw_udp_record record, answer;

		memcpy(&record, end->receive + end->read % RING, sizeof(record));
		answer = (struct cw_udp_record){.remote = record.remote,
						.remote_port = record.remote_port,
						.length = record.length,
						.traffic_class = CW_UDP_DEFAULT_CLASS};
		for (uint32_t i = 0; i < record.length; i++)
			end->send[(end->written + sizeof(record) + i) % RING] = end->receive[(end->read + sizeof(record) + i) % RING];
		end->read += cw_udp_record_space(record.length);
		cw_udp_read(end->udp, end->read, now_us());
		send_record(end, &answer);
		run->echoes++;
	}
}

static void take_events(struct run *run)
{
	struct cw_tcp_event tcp;
	struct cw_udp_event udp;

	while (cw_tcpip_event(run->core, &tcp)) {
		if (tcp.events & CW_TCP_ACCEPTED)
			run->connection = tcp.connection;
		run->tcp_received = tcp.received;
	}
	while (cw_udp_event(run->core, &udp)) {
		run->end.received = udp.received;
		run->end.error = udp.error ? udp.error : run->end.error;
	}
}

static void step(struct run *run)
{
	struct pollfd waits[2] = {{tap, POLLIN, 0}, {run->fd, POLLIN, 0}};

	poll(waits, 2, 2);
	device_to_core(run);
	cw_tcpip_advance(run->core, now_us());
	take_events(run);
	if (run->end.udp)
		echo(run);
	core_to_device(run);
}

static void pass(struct run *run, uint64_t time)
{
	uint64_t until = now_us() + time;

	while (now_us() < until)
		step(run);
}

static void open_end(struct run *run)
{
	struct cw_udp_rings rings = {.send_size = RING, .receive_size = RING};
	struct cw_udp_settings settings = {.fragment = true};
	struct cw_ip_endpoint local = {.port = ECHO};

	rings.send = run->end.send = aligned_alloc(64, RING);
	rings.receive = run->end.receive = aligned_alloc(64, RING);
	run->end.udp = cw_udp_open(run->core, &local, &rings, &settings);
	must(run->end.udp, "the core's socket");
}

static void begin(struct run *run)
{
	struct cw_tcpip_config config = {.connections = 2,
					 .listeners = 1,
					 .half_open = 2,
					 .time_waits = 2,
					 .sent = 128,
					 .blocks = 64,
					 .replies = 16,
					 .mtu = 1500,
					 .addresses = 4,
					 .control_bytes = 1 << 18,
					 .reassemblies = 4,
					 .reassemblies_a_source = 4,
					 .path_mtus = 4,
					 .udp_sockets = 2,
					 .memberships = 4,
					 .groups = 8,
					 .link = CW_LINK_ETHERNET,
					 .link_address = {2, 0, 0, 0, 9, 2},
					 .neighbours = 16,
					 .neighbour_packets = 16};
	size_t size = (cw_tcpip_size(&config) + 63) & ~(size_t)63;

	for (unsigned i = 0; i < 32; i++)
		config.secret[i] = (uint8_t)(i * 7);
	run->memory = aligned_alloc(64, size);
	must(run->memory, "memory");
	memset(run->memory, 0, size);
	run->core = cw_tcpip_init(run->memory, &config, now_us());
}

static void own(struct run *run)
{
	struct cw_ip_address address = core_address(run->ip6, 2);

	must(cw_tcpip_own(run->core, &address, run->ip6 ? 64 : 24, false, now_us()), "the core's address");
}

/* The kernel's address is its own only after it has looked for duplicates itself. */
static bool open_kernel(struct run *run, int type, int protocol, uint16_t bound, uint16_t port)
{
	struct cw_ip_address ours = core_address(run->ip6, 2), theirs = core_address(run->ip6, 1);
	uint64_t until = now_us() + LIMIT;
	struct sockaddr_storage local, remote;
	socklen_t length = tun_sockaddr(&theirs, run->ip6, bound, &local);

	tun_sockaddr(&ours, run->ip6, port, &remote);
	run->fd = socket(run->ip6 ? AF_INET6 : AF_INET, type | SOCK_NONBLOCK | SOCK_CLOEXEC, protocol);
	must(run->fd >= 0, "a socket of the kernel's");
	while (bind(run->fd, (struct sockaddr *)&local, length) != 0) {
		if (errno != EADDRNOTAVAIL || now_us() > until)
			return fail(run, "the kernel doesn't bind: %s", strerror(errno));
		pass(run, 20000);
	}
	if (connect(run->fd, (struct sockaddr *)&remote, length) != 0 && errno != EINPROGRESS)
		return fail(run, "the kernel doesn't connect: %s", strerror(errno));
	return true;
}

/* What the kernel receives next, by a limit. */
static ssize_t hear(struct run *run, void *bytes, size_t size, uint64_t limit)
{
	uint64_t until = now_us() + limit;

	while (now_us() < until) {
		ssize_t length = recv(run->fd, bytes, size, 0);

		if (length >= 0 || errno != EAGAIN)
			return length;
		step(run);
	}
	errno = ETIMEDOUT;
	return -1;
}

static bool comes_back(struct run *run, uint32_t size)
{
	static unsigned char out[65536], in[65536];

	for (uint32_t i = 0; i < size; i++)
		out[i] = content(size + i);
	for (unsigned tries = 0; tries < 4; tries++) {
		ssize_t length;

		if (send(run->fd, out, size, 0) != (ssize_t)size)
			return fail(run, "the kernel doesn't send %u bytes: %s", size, strerror(errno));
		length = hear(run, in, sizeof(in), AGAIN);
		if (length < 0 && errno == ETIMEDOUT)
			continue;
		if (length != (ssize_t)size || memcmp(in, out, size) != 0)
			return fail(run, "of %u bytes %zd came back: %s", size, length, length < 0 ? strerror(errno) : "");
		return true;
	}
	return fail(run, "%u bytes didn't come back", size);
}

static bool all_sizes(struct run *run)
{
	static const uint32_t sizes[] = {0, 1, 100, 1452, 1453, 1472, 1473, 3000, 9001, 40000, 65507};

	own(run);
	open_end(run);
	if (!open_kernel(run, SOCK_DGRAM, 0, 0, ECHO))
		return false;
	for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
		if (!comes_back(run, sizes[i]))
			return false;
	return true;
}

static bool core_begins(struct run *run)
{
	struct cw_udp_record record = {
		.remote = core_address(run->ip6, 1), .remote_port = OTHER, .length = 64, .traffic_class = CW_UDP_DEFAULT_CLASS};
	uint64_t until = now_us() + LIMIT;
	unsigned char bytes[128];
	ssize_t length;

	own(run);
	open_end(run);
	if (!open_kernel(run, SOCK_DGRAM, 0, OTHER, ECHO))
		return false;
	do {
		send_record(&run->end, &record);
		length = hear(run, bytes, sizeof(bytes), AGAIN);
	} while (length < 0 && errno == ETIMEDOUT && now_us() < until);
	if (length != 64)
		return fail(run, "the kernel heard nothing");
	return true;
}

static bool kernel_is_told(struct run *run)
{
	uint64_t until = now_us() + LIMIT;
	unsigned char byte = 0;

	own(run);
	if (!open_kernel(run, SOCK_DGRAM, 0, 0, ECHO))
		return false;
	do
		send(run->fd, &byte, 1, 0);
	while (hear(run, &byte, 1, AGAIN) < 0 && errno == ETIMEDOUT && now_us() < until);
	return errno == ECONNREFUSED || fail(run, "the kernel hears: %s", strerror(errno));
}

static bool core_is_told(struct run *run)
{
	struct cw_ip_endpoint remote = {core_address(run->ip6, 1), OTHER};
	struct cw_udp_record record = {.length = 64, .traffic_class = CW_UDP_DEFAULT_CLASS};
	uint64_t until = now_us() + LIMIT;

	own(run);
	open_end(run);
	must(cw_udp_connect(run->end.udp, NULL, &remote), "the core's connect");
	while (!run->end.error && now_us() < until) {
		send_record(&run->end, &record);
		pass(run, 200000);
	}
	return run->end.error == ECONNREFUSED || fail(run, "the core hears: %s", strerror(run->end.error));
}

static bool ping(struct run *run)
{
	static unsigned char out[2008], in[4096];
	uint64_t until = now_us() + LIMIT;

	own(run);
	if (!open_kernel(run, SOCK_RAW, run->ip6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP, 0, 0))
		return false;
	for (unsigned i = 8; i < sizeof(out); i++)
		out[i] = content(i);
	out[0] = run->ip6 ? ICMP6_ECHO_REQUEST : ICMP_ECHO;
	if (!run->ip6) {
		uint32_t sum = 0;

		for (unsigned i = 0; i < sizeof(out); i += 2)
			sum += (uint32_t)out[i] << 8 | out[i + 1];
		sum = (sum & 0xffff) + (sum >> 16);
		sum = ~((sum & 0xffff) + (sum >> 16));
		out[2] = (unsigned char)(sum >> 8);
		out[3] = (unsigned char)sum;
	}
	while (now_us() < until) {
		ssize_t length, skip = run->ip6 ? 0 : 20;

		if (send(run->fd, out, sizeof(out), 0) != sizeof(out))
			return fail(run, "the kernel doesn't ping: %s", strerror(errno));
		do
			length = hear(run, in, sizeof(in), AGAIN);
		while (length > skip && in[skip] != (run->ip6 ? ICMP6_ECHO_REPLY : ICMP_ECHOREPLY));
		if (length == (ssize_t)sizeof(out) + skip && memcmp(in + skip + 8, out + 8, sizeof(out) - 8) == 0)
			return true;
	}
	return fail(run, "no answer");
}

static bool group_to_core(struct run *run)
{
	struct cw_ip_address group = core_group(run->ip6, 44);
	struct sockaddr_storage to;
	socklen_t length = tun_sockaddr(&group, run->ip6, ECHO, &to);
	struct ip_mreqn interface = {.imr_ifindex = tap_index};
	uint64_t until = now_us() + LIMIT;
	unsigned char byte = 1;

	own(run);
	open_end(run);
	must(cw_udp_join(run->end.udp, &group, now_us()) == 0, "the core's join");
	if (!open_kernel(run, SOCK_DGRAM, 0, 0, OTHER))
		return false;
	must((run->ip6 ? setsockopt(run->fd, IPPROTO_IPV6, IPV6_MULTICAST_IF, &tap_index, sizeof(tap_index))
		       : setsockopt(run->fd, IPPROTO_IP, IP_MULTICAST_IF, &interface, sizeof(interface))) == 0,
	     "the kernel's interface for groups");
	while (!run->echoes && now_us() < until) {
		sendto(run->fd, &byte, 1, 0, (struct sockaddr *)&to, length);
		pass(run, 200000);
	}
	return run->echoes || fail(run, "nothing came");
}

static bool group_to_kernel(struct run *run)
{
	struct cw_ip_address group = core_group(run->ip6, 45);
	struct cw_udp_record record = {.remote = group, .remote_port = OTHER, .length = 64, .traffic_class = CW_UDP_DEFAULT_CLASS};
	struct group_req request = {.gr_interface = (uint32_t)tap_index};
	struct sockaddr_storage any = {.ss_family = run->ip6 ? AF_INET6 : AF_INET};
	uint64_t until = now_us() + LIMIT;
	unsigned char bytes[128];

	own(run);
	open_end(run);
	run->fd = socket(any.ss_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	tun_sockaddr(&group, run->ip6, 0, &request.gr_group);
	((struct sockaddr_in *)&any)->sin_port = htons(OTHER);
	must(bind(run->fd, (struct sockaddr *)&any, sizeof(any)) == 0, "the kernel's bind");
	must(setsockopt(run->fd, run->ip6 ? IPPROTO_IPV6 : IPPROTO_IP, MCAST_JOIN_GROUP, &request, sizeof(request)) == 0,
	     "the kernel's join");
	while (now_us() < until) {
		send_record(&run->end, &record);
		if (hear(run, bytes, sizeof(bytes), 200000) == 64)
			return true;
	}
	return fail(run, "nothing came");
}

/* The kernel answers for its own address. */
static bool duplicate(struct run *run)
{
	struct cw_ip_address taken = core_address(run->ip6, 1), other = core_address(run->ip6, 3);
	uint64_t until = now_us() + LIMIT;

	if (!open_kernel(run, SOCK_DGRAM, 0, 0, OTHER))
		return false;
	must(cw_tcpip_own(run->core, &other, 64, true, now_us()) == run->ip6 || !run->ip6, "an address that nobody has");
	must(cw_tcpip_own(run->core, &taken, 24, true, now_us()), "an address that the kernel has");
	while (!cw_tcpip_duplicate(run->core, &taken) && now_us() < until)
		step(run);
	if (!cw_tcpip_duplicate(run->core, &taken))
		return fail(run, "it isn't found");
	return !cw_tcpip_duplicate(run->core, &other) || fail(run, "another one is found");
}

static bool tcp(struct run *run)
{
	struct cw_ip_endpoint local = {.port = ECHO};
	struct cw_tcp_settings settings = {.receive_size = RING};
	struct cw_tcp_rings rings = {.send_size = RING, .receive_size = RING};
	uint64_t until = now_us() + LIMIT, written = 0, checked = 0;
	unsigned char bytes[1000];

	own(run);
	rings.send = run->tcp_send = calloc(1, RING);
	rings.receive = run->tcp_receive = calloc(1, RING);
	must(cw_tcp_supply(cw_tcp_listen(run->core, &local, &settings), &rings), "the core's listener");
	if (!open_kernel(run, SOCK_STREAM, 0, 0, ECHO))
		return false;
	while (checked < 1 << 20 && now_us() < until) {
		size_t length = written < 1 << 20 ? sizeof(bytes) : 0;
		ssize_t done;

		for (size_t i = 0; i < length; i++)
			bytes[i] = content(written + i);
		done = length ? send(run->fd, bytes, length, MSG_NOSIGNAL) : 0;
		written += done > 0 ? (uint64_t)done : 0;
		if (done <= 0)
			step(run);
		for (; checked < run->tcp_received; checked++)
			if (run->tcp_receive[checked % RING] != content(checked))
				return fail(run, "byte %llu isn't right", (unsigned long long)checked);
		if (run->connection)
			cw_tcp_read(run->connection, checked, now_us());
	}
	return checked >= 1 << 20 || fail(run, "%llu bytes came", (unsigned long long)checked);
}

static bool try_one(const char *name, bool (*trial)(struct run *), bool ip6)
{
	struct run run = {.ip6 = ip6, .fd = -1};
	uint64_t began = now_us();
	bool good;

	begin(&run);
	good = trial(&run);
	if (good)
		printf("ok tcpip/kernel_datagrams: IPv%d, %s\n", ip6 ? 6 : 4, name);
	else
		printf("not ok tcpip/kernel_datagrams: IPv%d, %s # %s\n", ip6 ? 6 : 4, name, run.why);
	printf("    in %.3f s\n", (double)(now_us() - began) / 1e6);
	if (run.fd >= 0)
		close(run.fd);
	if (!good)
		for (int i = 0; i < CW_TCPIP_COUNTERS; i++)
			if (cw_tcpip_counter(run.core, i))
				printf("    %8llu %s\n", (unsigned long long)cw_tcpip_counter(run.core, i), cw_tcpip_counter_name(i));
	free(run.memory);
	free(run.end.send);
	free(run.end.receive);
	free(run.tcp_send);
	free(run.tcp_receive);
	return good;
}

int main(void)
{
	static const struct {
		const char *name;
		bool (*trial)(struct run *);
	} trials[] = {
		{"the kernel finds the core; UDP of all sizes comes back", all_sizes},
		{"the core finds the kernel", core_begins},
		{"the kernel hears that nobody has a port", kernel_is_told},
		{"the core hears that nobody has a port", core_is_told},
		{"the kernel pings, in fragments", ping},
		{"to a group, from the kernel", group_to_core},
		{"to a group, from the core", group_to_kernel},
		{"the core sees that the kernel has an address", duplicate},
		{"TCP", tcp},
	};
	unsigned bad = 0;

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (!tun_possible("kernel_datagrams"))
		return 0;
	make_device();
	for (unsigned i = 0; i < 2 * sizeof(trials) / sizeof(trials[0]); i++)
		bad += !try_one(trials[i / 2].name, trials[i / 2].trial, i % 2);
	return bad != 0;
}
