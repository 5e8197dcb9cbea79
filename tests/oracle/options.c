/* Socket options: all there are, set and asked; those that change what a call does. */
#define FAMILY "options"
#include "oracle.h"
#include "peer.h"

#include <fcntl.h>
#include <linux/filter.h>
#include <linux/tls.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>

#define NAMES 80

static const int levels[] = {SOL_SOCKET,  IPPROTO_TCP, IPPROTO_IP,        IPPROTO_IPV6,
			     IPPROTO_UDP, IPPROTO_RAW, 282 /* SOL_TLS */, 284 /* SOL_MPTCP */};

/* Numbers that tell of time, of traffic, or of which processor it was. */
static bool varies(int level, int name)
{
	static const int
		socket[] = {SO_PEERSEC, SO_INCOMING_CPU, SO_COOKIE, SO_INCOMING_NAPI_ID, SO_MEMINFO, SO_RCVBUF, SO_SNDBUF, 71, 76},
		tcp[] = {TCP_INFO, TCP_MAXSEG, TCP_CC_INFO, TCP_TIMESTAMP, TCP_WINDOW_CLAMP, TCP_NOTSENT_LOWAT, TCP_QUICKACK, TCP_SAVED_SYN,
			 44,       45,         46};
	const int *of = level == SOL_SOCKET ? socket : tcp;
	size_t count = level == SOL_SOCKET ? sizeof(socket) / sizeof(*socket) : sizeof(tcp) / sizeof(*tcp);

	if (level == IPPROTO_IPV6 && (name == IPV6_MULTICAST_IF || name == IPV6_MULTICAST_HOPS))
		return true;
	if (level == IPPROTO_IP && (name == 52 || name == IP_MULTICAST_IF ||
				    name == IP_MULTICAST_TTL)) /* of which not all bytes are written; another where it was accepted */
		return true;
	if (level == SOL_SOCKET && name == SO_PEERCRED && manner.family == AF_UNIX)
		return true; /* a process */
	for (size_t i = 0; i < count && (level == SOL_SOCKET || level == IPPROTO_TCP); i++)
		if (of[i] == name)
			return true;
	return false;
}

static void ask_all(int fd)
{
	for (size_t l = 0; l < sizeof(levels) / sizeof(*levels); l++)
		for (int name = 0; name <= NAMES; name++) {
			unsigned char value[64] = {0};
			socklen_t length = sizeof(value);

			/* This one moves bytes, and is asked with an order. */
			if (levels[l] == IPPROTO_TCP && name == TCP_ZEROCOPY_RECEIVE)
				continue;
			errno = 0;
			int result = getsockopt(fd, levels[l], name, value, &length), error = errno;
			unsigned long sum = 0;

			for (socklen_t i = 0; i < length && i < sizeof(value) && result == 0; i++)
				sum = sum * 31 + value[i];
			if (result || !varies(levels[l], name))
				say("%d %d: %s, length %u, sum %#lx", levels[l], name, show_result(result, error, (char[48]){0}),
				    result ? 0 : (unsigned)length, sum);
			else
				say("%d %d: some", levels[l], name);
		}
}

SCENARIO(all_asked, 0)
{
	ask_all(e->fd);
	SEND(e, 10, send(e->fd, room, 10, 0));
	peer_recv_all(e, 10);
}

/* As many bytes of the answer as there is room for. */
SCENARIO(asked_with_little_room, 0)
{
	static const struct {
		int level, name;
	} option[] = {{SOL_SOCKET, SO_ERROR}, {IPPROTO_TCP, TCP_NODELAY}, {IPPROTO_TCP, TCP_NOTSENT_LOWAT}, {IPPROTO_TCP, TCP_CORK}};

	CALL(setsockopt(e->fd, IPPROTO_TCP, TCP_NODELAY, &(int){0}, sizeof(int)));
	for (size_t i = 0; i < sizeof(option) / sizeof(*option); i++)
		for (int length = -1; length <= 8; length++) {
			unsigned char value[8] = {1, 2, 3, 4, 5, 6, 7, 8};
			socklen_t size = (socklen_t)length;

			say("room for %d", length);
			CALL(getsockopt(e->fd, option[i].level, option[i].name, value, &size));
			say("  %d: %d %d %d %d %d", (int)size, value[0], value[1], value[2], value[3], value[4]);
		}
	SEND(e, 10, send(e->fd, room, 10, 0));
	peer_recv_all(e, 10);
}

SCENARIO(all_asked_unconnected, KERNEL | UNOPENED)
{
	ask_all((int)MUST(socket(manner.family, SOCK_STREAM, 0)));
}

/* What would take the stream away from TCP, or from the machine. */
static bool left_out(int level, int name)
{
	if (level == SOL_SOCKET)
		return name == SO_MAX_PACING_RATE || name == SO_BINDTODEVICE || name == SO_ATTACH_FILTER || name == SO_ATTACH_BPF ||
		       name == SO_MARK || name == 62 || name == SO_LINGER;
	if (level == IPPROTO_TCP)
		return name == TCP_REPAIR || name == TCP_MD5SIG || name == TCP_MD5SIG_EXT || name == TCP_ULP || name == TCP_WINDOW_CLAMP ||
		       name >= 38;
	return name == IP_TTL || name == IP_MINTTL || name == IP_TRANSPARENT || name == 16 /* IPV6_UNICAST_HOPS */ ||
	       name == IPV6_MINHOPCOUNT || name == IPV6_HOPLIMIT || name == IPV6_ADDRFORM || name >= 30;
}

/* Each option is set to 1, and the stream goes on; what was left unread before is there still. */
static void set_all(struct end *e, int level)
{
	for (int name = 0; name <= 60; name++) {
		int value = 1;

		if (left_out(level, name))
			continue;
		quietly();
		peer_send(e, 20);
		arrive(e, 20);
		errno = 0;
		int result = setsockopt(e->fd, level, name, &value, sizeof(value));

		say("%d %d: %s", level, name, RESULT(result));
		if (result == 0 && level == SOL_SOCKET && name == SO_PEEK_OFF)
			MUST(setsockopt(e->fd, level, name, &(int){-1}, sizeof(int)));
		took(e, room, recv(e->fd, room, 20, MSG_WAITALL));
	}
	there_and_back(e, 50, 2);
}

SCENARIO(socket_options_set, 0)
{
	set_all(e, SOL_SOCKET);
}

SCENARIO(tcp_options_set, 0)
{
	set_all(e, IPPROTO_TCP);
}

SCENARIO(ip_options_set, 0)
{
	set_all(e, IPPROTO_IP);
}

/* An option a stream: before, the stream has moved; behind, it is used in both directions and closed. */
static void with_option(const char *text, int level, int name, const void *value, socklen_t size)
{
	struct end e;

	open_end(&e, AF_INET, false);
	peer_send(&e, 10);
	arrive(&e, 10);
	errno = 0;
	int result = setsockopt(e.fd, level, name, value, size);

	say("%s: %s", text, RESULT(result));
	RECV(&e, recv(e.fd, room, 100, 0));
	there_and_back(&e, 50, 2);
	close(e.fd);
	peer_drain(&e);
}

#define WITH(level, name, value) with_option(#name " " #value, level, name, &(int){value}, sizeof(int))

SCENARIO(each_for_a_stream, UNOPENED)
{
	WITH(IPPROTO_TCP, TCP_QUICKACK, 0);
	WITH(IPPROTO_TCP, TCP_QUICKACK, 1);
	WITH(IPPROTO_TCP, TCP_USER_TIMEOUT, 500);
	WITH(IPPROTO_TCP, TCP_MAXSEG, 600);
	WITH(IPPROTO_TCP, TCP_KEEPIDLE, 1);
	WITH(IPPROTO_TCP, TCP_KEEPINTVL, 1);
	WITH(IPPROTO_TCP, TCP_KEEPCNT, 2);
	WITH(IPPROTO_TCP, TCP_NOTSENT_LOWAT, 1000);
	WITH(IPPROTO_TCP, TCP_NODELAY, 0);
	WITH(IPPROTO_TCP, TCP_WINDOW_CLAMP, 8000);
	WITH(SOL_SOCKET, SO_KEEPALIVE, 1);
	WITH(SOL_SOCKET, SO_TIMESTAMP, 1);
	WITH(SOL_SOCKET, SO_TIMESTAMPNS, 1);
	WITH(SOL_SOCKET, SO_TIMESTAMPING, 0x18);
	WITH(SOL_SOCKET, SO_BUSY_POLL, 10);
	WITH(SOL_SOCKET, SO_PRIORITY, 3);
	WITH(SOL_SOCKET, SO_RCVLOWAT, 1);
	WITH(IPPROTO_IP, IP_RECVTTL, 1);
	with_option("TCP_CONGESTION reno", IPPROTO_TCP, TCP_CONGESTION, "reno", 4);
}

/* So few bytes a second that the second part does not come while we look. */
SCENARIO(paced, 0)
{
	unsigned fast = 1000000000, slow = 100;

	CALL(setsockopt(e->fd, SOL_SOCKET, SO_MAX_PACING_RATE, &fast, sizeof(fast)));
	there_and_back(e, 50, 20); /* a connection's first ten segments are never paced */
	CALL(setsockopt(e->fd, SOL_SOCKET, SO_MAX_PACING_RATE, &slow, sizeof(slow)));
	SEND(e, 1000, send(e->fd, room, 1000, 0));
	SEND(e, 1000, send(e->fd, room, 1000, 0));
	rest();
	peer_pending(e);
}

/* What comes behind it is dropped, until the filter is gone and the kernel sends it again. */
SCENARIO(filtered, 0)
{
	struct sock_filter none[] = {{BPF_RET | BPF_K, 0, 0, 0}};
	struct sock_fprog program = {1, none};

	peer_send(e, 10);
	arrive(e, 10);
	CALL(setsockopt(e->fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program)));
	peer_send(e, 20);
	rest();
	RECV(e, recv(e->fd, room, 100, MSG_DONTWAIT));
	CALL(recv(e->fd, room, 100, MSG_DONTWAIT));
	CALL(setsockopt(e->fd, SOL_SOCKET, SO_DETACH_FILTER, &program, sizeof(program)));
	RECV(e, recv(e->fd, room, 100, 0));
	there_and_back(e, 50, 2);
}

/* What went in bulk is bounded by us, and the program sees its own bound. */
SCENARIO(unsent_bound, 0)
{
	static const int bounds[] = {-1, 16384, 100000};

	for (int i = 0; i < 3; i++) {
		uint64_t before = e->sent;
		int bound = bounds[i];
		socklen_t size = sizeof(bound);

		if (bound >= 0)
			MUST(setsockopt(e->fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &bound, size));
		say("full: %d", stuff(e));
		quietly();
		peer_recv_all(e, (long)(e->sent - before));
		MUST(getsockopt(e->fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &bound, &size));
		say("bound %d", bound);
	}
}

SCENARIO(unsent_bound_from_the_beginning, UNOPENED)
{
	int bound = 16384;
	socklen_t size = sizeof(bound);

	open_end(e, AF_INET, false);
	MUST(setsockopt(e->fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &bound, size));

	uint64_t before = e->sent;

	say("full: %d", stuff(e));
	quietly();
	peer_recv_all(e, (long)(e->sent - before));
	MUST(getsockopt(e->fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &bound, &size));
	say("bound %d", bound);
}

/* The same of what comes in, where no growth of the buffer changes it. */
SCENARIO(window_clamped, 0)
{
	static char bytes[1 << 18];
	int value = 200000;
	socklen_t size = sizeof(value);

	MUST(setsockopt(e->fd, SOL_SOCKET, SO_RCVBUF, &value, size));
	for (int i = 0; i < 2; i++) {
		value = 90000 + i * 10000;
		MUST(setsockopt(e->fd, IPPROTO_TCP, TCP_WINDOW_CLAMP, &value, size));
		for (int j = 0; j < 2; j++) {
			later(1);
			peer_send(e, 400000);
			for (ssize_t n, left = 400000; left; left -= n) {
				n = recv(e->fd, bytes, left < (long)sizeof(bytes) ? (size_t)left : sizeof(bytes), 0);
				MUST(n);
				took(e, bytes, n);
			}
			peer_wait();
		}
		MUST(getsockopt(e->fd, IPPROTO_TCP, TCP_WINDOW_CLAMP, &value, &size));
		/* The kernel changes it, too, when it learns how much of a buffer is bytes. */
		say("a bound of nobody here: %d", value == 128 << 10);
	}
}

/* What this kernel answers to kTLS: without the module ENOENT, with it the record layer. */
SCENARIO(kernel_tls, 0)
{
	struct tls12_crypto_info_aes_gcm_128 keys = {.info = {TLS_1_2_VERSION, TLS_CIPHER_AES_GCM_128}};
	int result;

	peer_send(e, 10);
	arrive(e, 10);
	result = setsockopt(e->fd, IPPROTO_TCP, TCP_ULP, "tls", 4);
	say("TCP_ULP: %s", RESULT(result));
	result = setsockopt(e->fd, SOL_TLS, TLS_TX, &keys, 1);
	say("TLS_TX, cut short: %s", RESULT(result));
	RECV(e, recv(e->fd, room, 100, 0));
	there_and_back(e, 50, 2);
}

SCENARIO(cork_and_more, 0)
{
	for (int i = 0; i < 3; i++) {
		int on = 1, off = 0;

		CALL(setsockopt(e->fd, IPPROTO_TCP, TCP_CORK, &on, sizeof(on)));
		SEND(e, 10, send(e->fd, room, 10, 0));
		SEND(e, 10, send(e->fd, room, 10, MSG_MORE));
		CALL(setsockopt(e->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)));
		SEND(e, 10, write(e->fd, room, 10));
		CALL(setsockopt(e->fd, IPPROTO_TCP, TCP_CORK, &off, sizeof(off)));
		peer_recv_all(e, 30);
		/* What is corked comes after 200 ms at most. */
		CALL(setsockopt(e->fd, IPPROTO_TCP, TCP_CORK, &on, sizeof(on)));
		SEND(e, 10, send(e->fd, room, 10, 0));
		peer_recv_all(e, 10);
		CALL(setsockopt(e->fd, IPPROTO_TCP, TCP_CORK, &off, sizeof(off)));
	}
}

/* Each form of lingering, with all taken, and with bytes of the peer's unread. */
SCENARIO(lingering, UNOPENED)
{
	static const struct linger forms[] = {{0, 0}, {0, 5}, {1, 0}, {1, 1}, {1, 1000}};

	for (size_t i = 0; i < sizeof(forms) / sizeof(*forms); i++)
		for (int unread = 0; unread < 2; unread++) {
			struct end one;
			uint64_t begin;

			open_end(&one, AF_INET, false);
			say("linger %d %d, unread %d", forms[i].l_onoff, forms[i].l_linger, unread);
			CALL(setsockopt(one.fd, SOL_SOCKET, SO_LINGER, &forms[i], sizeof(forms[i])));
			SEND(&one, 100, send(one.fd, room, 100, 0));
			if (unread) {
				peer_send(&one, 10);
				arrive(&one, 10);
			} else {
				peer_recv_all(&one, 100);
			}
			begin = now_ms();
			CALL(close(one.fd));
			say("  at once: %d", now_ms() - begin < 900); /* not a second */
			/* A reset takes away what the peer had not read, or not: the kernel keeps it. */
			peer_drain(&one);
		}
}

SCENARIO(zero_copy_completions, 0)
{
	char control[128];
	struct msghdr m = {0};
	struct pollfd p = {e->fd, 0, 0};
	int on = 1;

	CALL(setsockopt(e->fd, SOL_SOCKET, SO_ZEROCOPY, &on, sizeof(on)));
	for (int i = 0; i < 3; i++) {
		SEND(e, 30000, send(e->fd, room, 30000, MSG_ZEROCOPY));
		peer_recv_all(e, 30000);
		CALL(poll(&p, 1, 2000));
		say("  %s", POLLED((unsigned)p.revents));
		m = (struct msghdr){.msg_control = control, .msg_controllen = sizeof(control)};
		CALL(recvmsg(e->fd, &m, MSG_ERRQUEUE));
		say("  control %d, flags %#x", m.msg_controllen > 0, (unsigned)m.msg_flags);
	}
	CALL(recvmsg(e->fd, &m, MSG_ERRQUEUE));
	there_and_back(e, 50, 2);
}

SCENARIO(zero_copy_receive, 0)
{
	struct {
		uint64_t address;
		uint32_t length, skip, inq;
		int32_t err;
		uint64_t copybuf;
		int32_t copied;
	} order = {0};
	socklen_t size = sizeof(order);

	peer_send(e, 100);
	arrive(e, 100);
	order.copybuf = (uint64_t)(uintptr_t)room;
	order.copied = 1000;
	CALL(getsockopt(e->fd, IPPROTO_TCP, TCP_ZEROCOPY_RECEIVE, &order, &size));
	say("  length %u, copied %d", order.length, order.copied);
	if (order.copied > 0)
		took(e, room, order.copied);
	while (recv(e->fd, room, 1000, MSG_DONTWAIT) > 0)
		;
	e->taken = (e->taken + 99) / 100 * 100;
}
