/*
 * alike [FIRST [COUNT]]: the same segments to the core and to this kernel's TCP, both roles: after each, what the two let see of themselves
 *must be the same: the state, what their programs have got, what they acknowledge, how much they send, whether they answer by a reset.
 *Segments are right, or wrong in one way. TRACE=1 shows them.
 *
 * Not compared: acknowledgements that say nothing new, which the kernel limits by time; the windows; and what is known to differ:
 *	a duplicate that ends just where the next number is: the kernel takes its acknowledgement, RFC 9293 says no (3.10.7.4): not sent.
 *	data with an acknowledgement that is too old: the kernel's fast path takes them (RFC 5961 5.2 says no): not sent.
 *	the congestion window is of bytes or of packets: it is never reached.
 *	the kernel tells a FIN out of order by SACK, and forgets blocks where there are more than four: behind that these aren't compared.
 *	what counts as a duplicate to be told (RFC 2883), if a part of a segment is one; it takes the place of the last block.
 *	the kernel's segments are smaller while they tell what came out of order: those that agreed on SACK write nothing.
 *	the kernel sends small segments as long as something urgent isn't acknowledged: nothing is written then.
 *	who has closed and is in FIN-WAIT-2 is ended by any reset in the window, and resets at a SYN there, or at data with an
 *	acknowledgement of what wasn't sent: none of them is sent then.
 *	an acknowledgement of what was before the first number: old kernels take it: not sent.
 *	a time stamp that is one older than the newest: the kernel takes it (TCP_PAWS_WINDOW; RFC 7323 5.3 says no): not sent.
 *	the time stamp of a segment whose acknowledgement is old, or of what wasn't sent: the kernel doesn't take it for the newest (RFC
 *7323 4.3 does): such segments repeat the newest. a reset at the right edge of what was SACKed, or just before the next number, ends a
 *connection of the kernel's (RFC 5961 says: a challenge): not sent.
 */
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "alike_end.h"
#include "sync/cpu.h"
#include "transport/tcpip/tcp.h"
#include "tun.h"

#define STEPS         40u
#define KERNEL_BLOCKS 4u

struct pair {
	struct end core, kernel;
	uint64_t random;
	bool crowded; /* more blocks out of order than the kernel remembers */
	bool connects, sacks, stamps, urgent, urgent_sent, fin_sent, shut, trace;
	uint32_t end, fin;                /* behind the last byte that was ever sent to them; where the FIN is */
	uint32_t written, unacknowledged; /* the latter never too little */
	uint32_t clock;
	uint16_t window;
	char last[200];
	uint64_t segments;
};

static uint32_t pick(struct pair *pair, uint32_t bound)
{
	pair->random = pair->random * 6364136223846793005ull + 1442695040888963407ull;
	return (uint32_t)((pair->random >> 33) % bound);
}

/* As far as both tell them. */
static bool alike_blocks(const struct told *a, const struct told *b)
{
	unsigned blocks = a->blocks < b->blocks ? a->blocks : b->blocks;

	return (blocks || (!a->blocks && !b->blocks)) && memcmp(a->block, b->block, blocks * sizeof(a->block[0])) == 0;
}

static bool alike(const struct pair *pair)
{
	const struct told *a = &pair->core.told, *b = &pair->kernel.told;

	if (a->acknowledged != b->acknowledged || a->sent != b->sent || a->resets != b->resets || a->urgent_sent != b->urgent_sent ||
	    a->lingered != b->lingered)
		return false;
	if (a->closed)
		return true;
	if (!pair->fin_sent && !pair->crowded && !alike_blocks(a, b))
		return false;
	return a->state == b->state && a->received == b->received && a->eof == b->eof && a->error == b->error && a->urgent == b->urgent &&
	       !a->wrong && !b->wrong;
}

/* The core has said all that it will; the kernel is given time to say the same. */
static bool settle(struct pair *pair)
{
	uint64_t limit = cw_monotonic_ns() + 60000000000ull;

	end_observe(&pair->core);
	pair->crowded |= pair->core.connection && pair->core.connection->block_count > KERNEL_BLOCKS;
	for (;;) {
		struct pollfd wait = {pair->kernel.tun, POLLIN, 0};

		end_observe(&pair->kernel);
		if (alike(pair))
			return true;
		if (cw_monotonic_ns() > limit)
			return false;
		poll(&wait, 1, 1);
	}
}

static void send_both(struct pair *pair, struct segment *segment)
{
	static const char letters[] = "FSRPAU";
	char flags[8] = "";

	if (segment->ack && segment->has_stamp && pair->core.connection && pair->core.connection->ts_recent)
		segment->stamp = pair->core.connection->ts_recent;
	if ((segment->length || segment->flags & CW_FIN) &&
	    segment->seq + segment->length + !!(segment->flags & CW_FIN) == pair->core.told.acknowledged)
		return;
	for (unsigned i = 0; i < 6; i++)
		if (segment->flags & 1u << i)
			strncat(flags, letters + i, 1);
	snprintf(pair->last, sizeof(pair->last), "< %s %u(%u) ack %+d win %u%s", flags, segment->seq, segment->length, segment->ack,
		 segment->window, segment->bad_sum ? " badsum" : "");
	if (segment->has_stamp)
		snprintf(pair->last + strlen(pair->last), sizeof(pair->last) - strlen(pair->last), " ts %u", segment->stamp);
	if (segment->flags & CW_URG)
		snprintf(pair->last + strlen(pair->last), sizeof(pair->last) - strlen(pair->last), " urg %u", segment->urgent);
	if (pair->trace)
		printf("  %s\n", pair->last);
	end_input(&pair->core, segment);
	end_input(&pair->kernel, segment);
	pair->segments++;
}

static struct segment next_segment(struct pair *pair)
{
	pair->clock += pick(pair, 5);
	pair->clock += !pair->clock; /* 0 means none to the kernel */
	return (struct segment){.flags = CW_ACK,
				.seq = pair->core.told.acknowledged,
				.window = pair->window,
				.has_stamp = pair->stamps,
				.stamp = pair->clock};
}

/* Data anywhere near what is expected next; behind a FIN there are none. */
static void data(struct pair *pair)
{
	struct segment segment = next_segment(pair);
	uint32_t where = pick(pair, 6);

	segment.length = 1 + pick(pair, 1000);
	if (where == 0)
		segment.seq += 1 + pick(pair, 3000);
	else if (where == 1)
		segment.seq -= pick(pair, segment.seq < 500 ? segment.seq : 500);
	else if (where == 2)
		segment.seq = 1 + pick(pair, segment.seq);
	if (pick(pair, 2))
		segment.flags |= CW_PSH;
	if (pair->urgent && !pair->fin_sent && pick(pair, 4) == 0) {
		segment.flags |= CW_URG;
		segment.urgent = (uint16_t)(1 + pick(pair, segment.length + 300));
		if (segment.seq + segment.urgent > pair->end) /* no FIN is where an urgent byte should be */
			pair->end = segment.seq + segment.urgent;
	}
	if (pair->fin_sent && segment.seq >= pair->fin)
		return;
	if (pair->fin_sent && segment.seq + segment.length > pair->fin)
		segment.length = pair->fin - segment.seq;
	if (segment.seq + segment.length > pair->end)
		pair->end = segment.seq + segment.length;
	send_both(pair, &segment);
}

static void fin(struct pair *pair)
{
	struct segment segment = next_segment(pair);

	if (!pair->fin_sent) {
		pair->fin_sent = true;
		pair->fin = pair->end + (pick(pair, 4) ? 0 : pick(pair, 500));
	}
	segment.flags |= CW_FIN;
	segment.seq = pair->fin;
	if (pick(pair, 3) == 0 && pair->fin > 1) {
		segment.length = 1 + pick(pair, pair->fin - 1 < 300 ? pair->fin - 1 : 300);
		segment.seq -= segment.length;
	}
	send_both(pair, &segment);
}

static void acknowledgement(struct pair *pair)
{
	struct segment segment = next_segment(pair);
	uint32_t sent = pair->core.told.sent;

	switch (pick(pair, 6)) {
	case 0:
		segment.ack = -(int32_t)pick(pair, sent);
		break;
	case 1:
		segment.ack = 1 + (int32_t)pick(pair, 100000);
		break;
	case 2:
		segment.ack = -100000 - (int32_t)pick(pair, 1000000);
		break;
	case 3:
		segment.seq -= 1;
		break;
	case 4:
		segment.seq += 1u << 28;
		break;
	default:
		break;
	}
	if (pick(pair, 4) == 0 && !pair->fin_sent && segment.ack > -100000 && !(pair->core.told.closed && segment.ack > 0)) {
		segment.length = 1 + pick(pair, 100);
		if (segment.seq + segment.length > pair->end && segment.seq < 1u << 27)
			pair->end = segment.seq + segment.length;
	}
	send_both(pair, &segment);
}

static void reset(struct pair *pair)
{
	struct segment segment = next_segment(pair);

	segment.flags = pick(pair, 2) ? CW_RST : CW_RST | CW_ACK;
	switch (pick(pair, pair->core.told.closed ? 3 : 5)) {
	case 0:
		break;
	case 1:
		segment.seq -= 2 + pick(pair, 1000);
		break;
	case 2:
		segment.seq += 1u << 28;
		break;
	default:
		segment.seq = (pair->fin_sent ? pair->fin + 1 : pair->end) + 1 + pick(pair, 3000); /* in the window, behind every block */
	}
	send_both(pair, &segment);
}

static void odd(struct pair *pair)
{
	struct segment segment = next_segment(pair);

	uint32_t kind = pick(pair, pair->stamps && !pair->fin_sent ? 5 : 4);

	if (kind == 0 && pair->core.told.closed)
		return;
	switch (kind) {
	case 4: /* PAWS */
		segment.stamp -= 1 + pick(pair, 100000);
		segment.stamp -= pair->core.connection && segment.stamp == pair->core.connection->ts_recent - 1;
		segment.length = 1 + pick(pair, 100);
		segment.flags |= pick(pair, 4) ? 0 : CW_RST;
		break;
	case 0:
		segment.flags = pick(pair, 2) ? CW_SYN : CW_SYN | CW_ACK;
		segment.seq += pick(pair, 3) ? pick(pair, 3000) : 1u << 28;
		break;
	case 1:
		segment.flags = 0;
		segment.length = pick(pair, 100);
		break;
	case 2:
		segment.bad_sum = true;
		segment.length = pick(pair, 100);
		segment.flags |= pick(pair, 2) ? CW_FIN : 0;
		break;
	default:
		pair->window = (uint16_t)(pick(pair, 2) ? 65535 : 20000);
		segment.window = pair->window;
	}
	send_both(pair, &segment);
}

/* Nothing is unread, for the programs read all at once. */
static void close_both(struct pair *pair)
{
	static const char *const names[] = {"close", "close, reset", "close and wait"};
	/* Another thread closes and waits: the FIN shows that it does. */
	enum alike_close how = pick(pair, pair->shut ? 2 : 3);

	snprintf(pair->last, sizeof(pair->last), "%s", names[how]);
	if (pair->trace)
		printf("  %s\n", pair->last);
	end_close(&pair->core, how);
	end_close(&pair->kernel, how);
}

static void program(struct pair *pair)
{
	uint32_t length = 1 + pick(pair, 3000);
	bool urgent = pair->urgent && pick(pair, 3) == 0;

	if (pair->core.told.closed || !pair->core.connection || pair->core.told.error)
		return;
	if (pick(pair, 8) == 0) {
		close_both(pair);
		return;
	}
	if (pair->shut)
		return;
	if (pair->unacknowledged + length > 6000 || pair->urgent_sent) {
		struct segment segment = next_segment(pair);

		pair->unacknowledged = 0;
		pair->urgent_sent = false;
		send_both(pair, &segment);
		return;
	}
	if (pick(pair, 4) == 0) {
		snprintf(pair->last, sizeof(pair->last), "shutdown");
		pair->shut = true;
		end_shutdown(&pair->core);
		end_shutdown(&pair->kernel);
	} else if (pair->written + length < 30000 && !pair->sacks) {
		snprintf(pair->last, sizeof(pair->last), "write %u%s", length, urgent ? ", the last byte urgent" : "");
		pair->written += length;
		pair->unacknowledged += length;
		pair->urgent_sent = urgent;
		end_write(&pair->core, length, urgent);
		end_write(&pair->kernel, length, urgent);
	}
	if (pair->trace)
		printf("  %s\n", pair->last);
}

static void step(struct pair *pair)
{
	struct segment segment;

	switch (pick(pair, 16)) {
	case 0 ... 5:
		data(pair);
		break;
	case 6 ... 7:
		acknowledgement(pair);
		break;
	case 8:
		fin(pair);
		break;
	case 9:
		if (pick(pair, 2))
			reset(pair);
		break;
	case 10 ... 11:
		odd(pair);
		break;
	case 12 ... 13:
		program(pair);
		break;
	default:
		segment = next_segment(pair);
		send_both(pair, &segment);
	}
}

/* Until both are established, or one gave up: the handshake, with something odd before it sometimes. */
static bool handshake(struct pair *pair)
{
	struct segment segment = {
		.flags = CW_SYN, .window = pair->window, .sack = pair->sacks, .has_stamp = pair->stamps, .stamp = pair->clock};

	if (pair->connects) {
		segment.flags |= CW_ACK;
		if (pick(pair, 3) == 0) {
			struct segment wrong = segment;

			wrong.flags = pick(pair, 2) ? CW_ACK : CW_SYN | CW_ACK;
			wrong.ack = pick(pair, 2) ? 5 : -1;
			send_both(pair, &wrong);
			if (!settle(pair))
				return false;
		}
	}
	send_both(pair, &segment);
	if (!settle(pair))
		return false;
	pair->end = 1;
	if (pair->connects)
		return true;
	if (pick(pair, 3) == 0) {
		struct segment wrong = next_segment(pair);

		wrong.ack = pick(pair, 2) ? 5 : -1;
		send_both(pair, &wrong);
		if (!settle(pair))
			return false;
	}
	segment = next_segment(pair);
	send_both(pair, &segment);
	return settle(pair);
}

static void show(const struct end *end)
{
	const struct told *told = &end->told;

	for (unsigned i = 0; i < told->blocks; i++)
		printf("  SACK %u-%u\n", told->block[i][0], told->block[i][1]);
	printf("  %-7s state %u received %u acknowledged %u sent %u resets %u eof %d error %d wrong %d urgent %u sent %u closed %d "
	       "lingered %d\n",
	       end->name, told->state, told->received, told->acknowledged, told->sent, told->resets, told->eof, told->error, told->wrong,
	       told->urgent, told->urgent_sent, told->closed, told->lingered);
}

static bool over(const struct pair *pair)
{
	if (pair->core.told.closed)
		return !pair->core.connection;
	return pair->core.told.state == 7 && pair->kernel.told.state == 7;
}

static bool run(uint64_t seed, int tun, uint64_t *segments)
{
	static struct pair pair;
	bool good;

	memset(&pair, 0, sizeof(pair));
	pair.random = seed * 0x9e3779b97f4a7c15ull;
	pair.trace = getenv("TRACE");
	pair.connects = pick(&pair, 2);
	pair.sacks = pick(&pair, 2);
	pair.stamps = pick(&pair, 2);
	pair.urgent = pick(&pair, 2);
	pair.core.ip6 = pair.kernel.ip6 = pick(&pair, 2);
	pair.clock = 0xfffffff0u; /* it wraps soon */
	pair.window = 65535;
	pair.core.name = "core";
	pair.kernel.name = "kernel";
	pair.kernel.tun = tun;
	pair.core.port = pair.kernel.port = (uint16_t)(1024 + seed % 30000);
	pair.core.peer_port = pair.kernel.peer_port = (uint16_t)(40000 + seed / 30000 % 20000);
	end_open_core(&pair.core, pair.connects, (uint32_t)seed);
	end_open_kernel(&pair.kernel, pair.connects);
	good = settle(&pair) && handshake(&pair);
	for (unsigned i = 0; i < STEPS && good && !over(&pair); i++) {
		step(&pair);
		good = settle(&pair);
	}
	if (!good) {
		printf("  seed %llu, %s, %s, behind: %s\n", (unsigned long long)seed, pair.core.ip6 ? "IPv6" : "IPv4",
		       pair.connects ? "they connect" : "they listen", pair.last);
		show(&pair.core);
		show(&pair.kernel);
	}
	end_free(&pair.core);
	end_free(&pair.kernel);
	*segments += pair.segments;
	return good;
}

/* No timer of the kernel's may run, however long this program is kept waiting: neither for retransmissions nor for tail probes. */
static bool settings(void)
{
	return tun_setting("ipv4/tcp_invalid_ratelimit", "0") && tun_setting("ipv4/tcp_timestamps", "1") &&
	       tun_setting("ipv4/tcp_early_retrans", "0") && tun_setting("ipv4/tcp_no_metrics_save", "1") &&
	       system("ip route replace 10.9.0.0/16 dev tun0 src 10.9.0.1 rto_min 10s") == 0 &&
	       system("ip -6 route replace fd09::/64 dev tun0 rto_min 10s") == 0;
}

int main(int argc, char **argv)
{
	uint64_t first = argc > 1 ? strtoull(argv[1], NULL, 0) : 1, count = argc > 2 ? strtoull(argv[2], NULL, 0) : 1;
	const char *what = NULL;
	uint64_t segments = 0;
	unsigned bad = 0;
	int tun;

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (!tun_possible("alike"))
		return 0;
	tun = unshare(CLONE_NEWNET) == 0 ? tun_make(0, false, &what) : -1;
	if (tun < 0 || !settings()) {
		printf("not ok tcpip/alike # %s\n", what ? what : "the network's settings");
		return 1;
	}
	for (uint64_t seed = first; seed < first + count && bad < 5; seed++)
		bad += !run(seed, tun, &segments);
	printf("%llu segments, seeds from %llu\n", (unsigned long long)segments, (unsigned long long)first);
	if (bad)
		printf("not ok tcpip/alike: the same segments to the core and to the kernel # %u differ; again: alike SEED\n", bad);
	else
		printf("ok tcpip/alike: the same segments to the core and to the kernel\n");
	return bad != 0;
}
