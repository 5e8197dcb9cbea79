/* The two kinds of ends: alike_end.h. */
#include "alike_end.h"

#include <errno.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "transport/tcpip/bytes.h"
#include "transport/tcpip/checksum.h"
#include "transport/tcpip/packet.h"
#include "transport/tcpip/tcp_segment.h"
#include "tun.h"

#define LINGER 1000 /* seconds: longer than anything takes here */

unsigned char alike_content(uint32_t position)
{
	return (unsigned char)(position * 2654435761u >> 13);
}

static void must(bool holds, const char *what)
{
	if (holds)
		return;
	printf("not ok tcpip/alike # %s: %s\n", what, strerror(errno));
	exit(1);
}

void end_open_core(struct end *end, bool connects, uint32_t seed)
{
	struct cw_tcpip_config config = {
		.connections = 2, .listeners = 1, .half_open = 4, .time_waits = 4, .sent = 256, .blocks = 256, .replies = 16, .mtu = 1500};
	struct cw_tcp_settings settings = {
		.receive_size = ALIKE_RING, .congestion = CW_TCP_NEWRENO, .delayed_ack_us = 1, .rto_min_us = 10000000};
	struct cw_tcp_rings rings = {end->send, ALIKE_RING, end->receive, ALIKE_RING, end};
	struct cw_ip_endpoint ours = tun_core_end(end->ip6, 1, end->port), theirs = tun_core_end(end->ip6, 2, end->peer_port);

	for (unsigned i = 0; i < sizeof(config.secret); i++)
		config.secret[i] = (uint8_t)(seed >> i % 24);
	end->memory = aligned_alloc(64, (cw_tcpip_size(&config) + 63) & ~(size_t)63);
	must(end->memory, "memory");
	end->now = 1000000;
	end->core = cw_tcpip_init(memset(end->memory, 0, cw_tcpip_size(&config)), &config, end->now);
	if (connects)
		end->connection = cw_tcp_connect(end->core, &ours, &theirs, &rings, &settings, end->now);
	else
		cw_tcp_supply(cw_tcp_listen(end->core, &ours, &settings), &rings);
}

void end_open_kernel(struct end *end, bool connects)
{
	struct sockaddr_storage address;
	socklen_t length = tun_kernel_end(end->ip6, 1, end->port, &address);
	int one = 1, fd = socket(end->ip6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	must(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) == 0 &&
		     setsockopt(fd, SOL_SOCKET, SO_OOBINLINE, &one, sizeof(one)) == 0 &&
		     setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "reno", 4) == 0 && bind(fd, (struct sockaddr *)&address, length) == 0,
	     "a socket");
	end->listener = connects ? -1 : fd;
	end->socket = connects ? fd : -1;
	if (!connects) {
		must(listen(fd, 4) == 0, "a listener");
		return;
	}
	length = tun_kernel_end(end->ip6, 2, end->peer_port, &address);
	must(connect(fd, (struct sockaddr *)&address, length) == 0 || errno == EINPROGRESS, "connect");
}

static void linger(struct end *end, int seconds)
{
	struct linger linger = {.l_onoff = 1, .l_linger = seconds};

	setsockopt(end->socket, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
}

static uint32_t make_options(const struct end *end, const struct segment *segment, unsigned char *at)
{
	static const unsigned char sack[4] = {1, 1, 4, 2};
	uint32_t length = 0;

	if (segment->flags & CW_SYN) {
		cw_put32(at, 0x020403e8); /* an MSS of 1000 */
		length = 4;
	}
	if (segment->flags & CW_SYN && segment->sack) {
		memcpy(at + length, sack, 4);
		length += 4;
	}
	if (segment->has_stamp) {
		cw_put32(at + length, 0x0101080a);
		cw_put32(at + length + 4, segment->stamp);
		cw_put32(at + length + 8, end->stamp);
		length += 12;
	}
	return length;
}

static uint32_t make_packet(const struct end *end, const struct segment *segment, unsigned char *packet)
{
	struct cw_ip_address from = tun_core_end(end->ip6, 2, 0).address, to = tun_core_end(end->ip6, 1, 0).address;
	unsigned char option[40];
	uint32_t options = make_options(end, segment, option), length = 20 + options + segment->length;
	unsigned char *tcp = packet + cw_ip_header(packet, &from, &to, CW_PROTOCOL_TCP, length, 0, 0, 64);
	uint16_t sum;

	memset(tcp, 0, 20);
	memcpy(tcp + 20, option, options);
	cw_put16(tcp, end->peer_port);
	cw_put16(tcp + 2, end->port);
	cw_put32(tcp + 4, ALIKE_FIRST + segment->seq);
	if (segment->flags & CW_ACK)
		cw_put32(tcp + 8, end->isn + end->told.sent + (uint32_t)segment->ack);
	tcp[12] = (unsigned char)((20 + options) / 4 << 4);
	tcp[13] = (unsigned char)segment->flags;
	cw_put16(tcp + 14, segment->window);
	cw_put16(tcp + 18, segment->urgent);
	for (uint32_t i = 0; i < segment->length; i++)
		tcp[20 + options + i] = alike_content(segment->seq + i);
	sum = (uint16_t)~cw_checksum_fold(cw_checksum_add(cw_checksum_pseudo(&from, &to, CW_PROTOCOL_TCP, length), tcp, length, 0));
	sum = segment->bad_sum ? (uint16_t)(sum ^ 0x101) : sum;
	memcpy(tcp + 16, &sum, 2);
	return (uint32_t)(tcp - packet) + length;
}

void end_input(struct end *end, const struct segment *segment)
{
	unsigned char packet[2000];
	uint32_t length = make_packet(end, segment, packet);
	struct cw_frame frame = {.pieces = 1, .length = length, .piece[0] = {packet, length}};

	if (end->core)
		cw_tcpip_input(end->core, &frame, end->now);
	else
		must(write(end->tun, packet, length) == (ssize_t)length, "a packet to the kernel");
}

static void saw_blocks(struct told *told, const unsigned char *option, uint32_t acknowledged)
{
	const unsigned char *block = option + 2, *behind = option + option[1];
	uint32_t first[2] = {cw_get32(block) - ALIKE_FIRST, cw_get32(block + 4) - ALIKE_FIRST};

	/* A first block below what is acknowledged, or inside the second, tells of a duplicate. */
	if (first[0] < acknowledged ||
	    (block + 16 <= behind && first[0] >= cw_get32(block + 8) - ALIKE_FIRST && first[1] <= cw_get32(block + 12) - ALIKE_FIRST))
		block += 8;
	for (; block + 8 <= behind; block += 8) {
		told->block[told->blocks][0] = cw_get32(block) - ALIKE_FIRST;
		told->block[told->blocks++][1] = cw_get32(block + 4) - ALIKE_FIRST;
	}
}

static void saw_options(struct end *end, const unsigned char *tcp, bool bare)
{
	const unsigned char *behind = tcp + (tcp[12] >> 4) * 4u, *option = tcp + 20;

	if (bare) {
		end->told.blocks = 0;
		memset(end->told.block, 0, sizeof(end->told.block));
	}
	for (; option + 1 < behind && option[0]; option += option[0] == 1 || !option[1] ? 1 : option[1])
		if (option[0] == 8)
			end->stamp = cw_get32(option + 2);
		else if (option[0] == 5 && bare)
			saw_blocks(&end->told, option, cw_get32(tcp + 8) - ALIKE_FIRST);
}

static void saw(struct end *end, const unsigned char *packet, uint32_t total)
{
	const unsigned char *tcp = packet + (end->ip6 ? 40u : (packet[0] & 15u) * 4);
	uint32_t seq, ack, length, behind;

	if (packet[0] >> 4 != (end->ip6 ? 6 : 4) || packet[end->ip6 ? 6 : 9] != CW_PROTOCOL_TCP || cw_get16(tcp) != end->port ||
	    cw_get16(tcp + 2) != end->peer_port)
		return;
	if (tcp[13] & CW_RST) {
		end->told.resets++;
		return;
	}
	seq = cw_get32(tcp + 4);
	ack = cw_get32(tcp + 8) - ALIKE_FIRST;
	if (tcp[13] & CW_SYN && !end->knows_isn) {
		end->knows_isn = true;
		end->isn = seq;
	}
	length = total - (uint32_t)(tcp - packet) - (tcp[12] >> 4) * 4u;
	saw_options(end, tcp, !length && !(tcp[13] & (CW_SYN | CW_FIN)));
	if (tcp[13] & CW_URG && (int32_t)(seq + cw_get16(tcp + 18) - end->isn - end->told.urgent_sent) > 0)
		end->told.urgent_sent = seq + cw_get16(tcp + 18) - end->isn;
	behind = seq + length + !!(tcp[13] & CW_SYN) + !!(tcp[13] & CW_FIN) - end->isn;
	if ((int32_t)(behind - end->told.sent) > 0)
		end->told.sent = behind;
	if (tcp[13] & CW_ACK && (int32_t)(ack - end->told.acknowledged) > 0)
		end->told.acknowledged = ack;
}

/* The urgent byte stays where it is; what is read ends before it (SO_OOBINLINE). */
static void read_kernel(struct end *end)
{
	unsigned char bytes[4096];
	ssize_t length = 1;
	int mark;

	while (length > 0) {
		if (ioctl(end->socket, SIOCATMARK, &mark) == 0 && mark)
			end->told.urgent = end->told.received + 1;
		length = recv(end->socket, bytes, sizeof(bytes), 0);
		for (ssize_t i = 0; i < length; i++, end->told.received++)
			end->told.wrong |= bytes[i] != alike_content(1 + end->told.received);
	}
	end->told.eof = length == 0;
	if (length < 0 && errno != EAGAIN && errno != ENOTCONN)
		end->told.error = errno;
}

static void observe_kernel(struct end *end)
{
	struct tcp_info info;
	int one = 1, error = 0;
	socklen_t size = sizeof(error);
	unsigned char bytes[4096];
	ssize_t length;

	while ((length = read(end->tun, bytes, sizeof(bytes))) > 0)
		saw(end, bytes, (uint32_t)length);
	end->told.lingered = end->has_lingered;
	if (end->told.closed)
		return;
	if (end->socket < 0)
		end->socket = accept4(end->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (end->socket < 0)
		return;
	if (!end->told.eof)
		read_kernel(end);
	if (!end->told.error && getsockopt(end->socket, SOL_SOCKET, SO_ERROR, &error, &size) == 0 && error)
		end->told.error = error;
	size = sizeof(info);
	setsockopt(end->socket, IPPROTO_TCP, TCP_QUICKACK, &one, sizeof(one));
	if (getsockopt(end->socket, IPPROTO_TCP, TCP_INFO, &info, &size) == 0)
		end->told.state = info.tcpi_state;
}

/* A closed connection of the kernel's goes on; a reset ends it, and who waits for it. */
static void end_closed(struct end *end)
{
	struct segment reset = {.flags = CW_RST};

	do {
		observe_kernel(end);
		reset.seq = end->told.acknowledged;
		end_input(end, &reset);
		if (!end->has_lingered)
			usleep(1000);
	} while (!end->has_lingered);
	if (end->closing)
		pthread_join(end->closer, NULL);
}

void end_free(struct end *end)
{
	if (end->core) {
		free(end->memory);
		return;
	}
	if (end->told.closed) {
		end_closed(end);
	} else if (end->socket >= 0) {
		linger(end, 0);
		close(end->socket);
	}
	if (end->listener >= 0)
		close(end->listener);
}

static void take_event(struct end *end, const struct cw_tcp_event *event)
{
	if (event->events & CW_TCP_UNSUPPLIED)
		return;
	if (event->events & (CW_TCP_CONNECTED | CW_TCP_ACCEPTED))
		end->connection = event->connection;
	for (; end->told.received < event->received; end->told.received++)
		end->told.wrong |= end->receive[end->told.received % ALIKE_RING] != alike_content(1 + end->told.received);
	if (event->urgent && event->received >= event->urgent - 1)
		end->told.urgent = (uint32_t)event->urgent;
	if (end->told.closed)
		end->told.lingered |= event->events & (CW_TCP_LINGERED | CW_TCP_GONE);
	end->told.eof |= !!(event->events & CW_TCP_PEER_CLOSED);
	if (event->error && !(event->events & CW_TCP_SOFT_ERROR))
		end->told.error = event->error;
	if (event->events & CW_TCP_GONE) {
		end->connection = NULL;
		end->told.state = 7;
	}
}

static void observe_core(struct end *end)
{
	unsigned char header[CW_HEADER_ROOM];
	struct cw_tcp_event event;
	struct cw_tcp_info info;
	struct cw_frame frame;

	/* The handshake takes so long that no timer runs later but that of delayed acknowledgements; nor does one of the kernel's. */
	end->now += end->connection && end->told.state ? 2 : 300000;
	cw_tcpip_advance(end->core, end->now);
	for (unsigned i = 0; i < 2; i++) {
		while (cw_tcpip_event(end->core, &event))
			take_event(end, &event);
		if (end->connection)
			cw_tcp_read(end->connection, end->told.received, end->now);
		while (cw_tcpip_output(end->core, &frame, header, end->now))
			saw(end, header, frame.length);
	}
	if (!end->connection)
		return;
	cw_tcp_info(end->connection, &info);
	end->told.state = info.state;
}

void end_observe(struct end *end)
{
	if (end->core)
		observe_core(end);
	else
		observe_kernel(end);
}

void end_write(struct end *end, uint32_t length, bool urgent)
{
	static const unsigned char zeroes[8192];

	if (!end->core) {
		must(send(end->socket, zeroes, length, MSG_NOSIGNAL | (urgent ? MSG_OOB : 0)) == (ssize_t)length, "send");
		return;
	}
	cw_tcp_written(end->connection, end->written += length, false, end->now);
	if (urgent)
		cw_tcp_urgent(end->connection, end->now);
}

void end_shutdown(struct end *end)
{
	if (!end->core)
		must(shutdown(end->socket, SHUT_WR) == 0, "shutdown");
	else
		cw_tcp_shutdown(end->connection, end->now);
}

static void *close_and_wait(void *context)
{
	struct end *end = context;

	close(end->socket);
	end->has_lingered = true;
	return NULL;
}

void end_close(struct end *end, enum alike_close how)
{
	end->told.closed = true;
	end->has_lingered = how != ALIKE_LINGER;
	end->told.lingered = how != ALIKE_LINGER;
	if (end->core) {
		if (how == ALIKE_CLOSE)
			cw_tcp_close(end->connection, end->now);
		else
			cw_tcp_linger(end->connection, how == ALIKE_LINGER ? 1000 * LINGER : 0, end->now);
		return;
	}
	if (how != ALIKE_CLOSE)
		linger(end, how == ALIKE_LINGER ? LINGER : 0);
	if (how != ALIKE_LINGER) {
		close(end->socket);
		return;
	}
	end->closing = pthread_create(&end->closer, NULL, close_and_wait, end) == 0;
	must(end->closing, "a thread");
}
