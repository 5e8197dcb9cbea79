/*
 * How large packets may be on a connection's path. Routers may say so (RFC 1191, 8201), but some say nothing, and none says that larger
 *ones would do. So the size is also found by what arrives (RFC 4821): a segment larger than the others is a probe. If it arrives that is
 *the size from now on; if it alone is lost that is no sign of congestion. Probes go
 *
 *	- from a size that does nearly everywhere upwards, where that is asked for,
 *	- behind a black hole: what was sent timed out again and again until it was cut smaller,
 *	- some minutes after the size was last found to be limited: paths change (RFC 1191 6.3, 8201 section 4).
 *
 * `high` is the largest size that isn't known to fail; the search lies between path_mtu, which does, and that.
 */
#include "transport/tcpip/tcp.h"

#define LEAST_4   552u /* below 576 of RFC 791, as Linux has it: who claims less wants many small packets */
#define LEAST_6   1280u
#define BASE_4    1064u /* RFC 4821 7.2: 1024 bytes of payload */
#define NEAR      8u    /* not worth a probe */
#define FAILURES  3u    /* losses of one size that say that it is too large: one may be another's fault */
#define TIMEOUTS  3u    /* in a row, which say that nothing of this size arrives (7.7); twice as many, that of the next smaller one */
#define FOLLOWING 3u    /* full segments behind a probe, so that its loss is found without a time-out */

static uint32_t headers(const struct cw_tcp *tcp)
{
	return (cw_ip_is_4(&tcp->flow.key.remote) ? 20u : 40u) + CW_TCP_HEADER;
}

/* With the option that each segment carries. */
static uint32_t overhead(const struct cw_tcp *tcp)
{
	return headers(tcp) + (tcp->timestamps ? 12 : 0);
}

static uint32_t least(const struct cw_tcp *tcp)
{
	return cw_ip_is_4(&tcp->flow.key.remote) ? LEAST_4 : LEAST_6;
}

static uint32_t base(const struct cw_tcp *tcp)
{
	return cw_ip_is_4(&tcp->flow.key.remote) ? BASE_4 : LEAST_6;
}

/* What both ends could take. */
static uint32_t most(const struct cw_tcp *tcp)
{
	uint32_t segment = tcp->settings.mss ? cw_min32(tcp->settings.mss, tcp->peer_mss) : tcp->peer_mss;

	return cw_min32(tcp->core->config.mtu, segment + headers(tcp));
}

static void search(struct cw_tcp *tcp, uint32_t high, uint64_t when)
{
	tcp->path.high = tcp->settings.mtu_probing != CW_TCP_MTU_NO_PROBES && high > tcp->path_mtu + NEAR ? high : 0;
	tcp->path.again_at = when;
	tcp->path.high_first = true;
	tcp->path.failures = 0;
	tcp->path.size = 0;
}

/* The search is over for now. */
static void rest(struct cw_tcp *tcp)
{
	search(tcp, most(tcp), tcp->core->now + 1000000ull * tcp->settings.mtu_age_s);
}

/* Both ends' largest segments are known. */
void cw_tcp_path_begin(struct cw_tcp *tcp)
{
	if (tcp->settings.mtu_probing == CW_TCP_MTU_PROBES)
		tcp->path_mtu = cw_min32(tcp->path_mtu, base(tcp));
	if (tcp->path_mtu < tcp->core->config.mtu)
		search(tcp, most(tcp), tcp->core->now);
}

/* Payload of the probe that may go now; 0: none (RFC 4821 7.3, 7.4). */
uint32_t cw_tcp_path_probe(struct cw_tcp *tcp)
{
	uint32_t size = tcp->path.high_first ? tcp->path.high : (tcp->path_mtu + tcp->path.high + 1) / 2, payload;
	uint64_t needed;

	if (tcp->path.end || tcp->core->now < tcp->path.again_at || tcp->recovery != CW_TCP_OPEN || tcp->sacked || tcp->lost ||
	    tcp->duplicates || tcp->tail_probe)
		return 0;
	payload = size - overhead(tcp);
	needed = payload + FOLLOWING * (uint64_t)tcp->mss;
	if (cw_tcp_send_limit(tcp) < tcp->snd_nxt + needed || cw_tcp_in_flight(tcp) + needed > tcp->cwnd)
		return 0;
	return payload;
}

/* It goes: [start, end) of the stream. */
void cw_tcp_path_sent(struct cw_tcp *tcp, uint64_t start, uint64_t end)
{
	cw_count(tcp->core, CW_TCPIP_MTU_PROBES);
	tcp->path.size = (uint32_t)(end - start) + overhead(tcp);
	tcp->path.start = start;
	tcp->path.end = end;
}

void cw_tcp_path_forget(struct cw_tcp *tcp)
{
	tcp->path.size = 0;
	tcp->path.start = tcp->path.end = 0;
	tcp->path.lost = tcp->path.others_lost = tcp->path.repairing = false;
}

/* All of the probe's range is acknowledged. If it wasn't sent again that was the probe itself. */
void cw_tcp_path_answered(struct cw_tcp *tcp)
{
	uint32_t size = tcp->path.size;

	if (size) {
		cw_count(tcp->core, CW_TCPIP_MTU_RAISED);
		tcp->path_mtu = size;
		cw_tcp_set_mss(tcp);
		tcp->cwnd = cw_max64(tcp->cwnd, tcp->mss); /* it may have become smaller than that since the probe went */
		tcp->path.failures = 0;
		if (size + NEAR >= tcp->path.high)
			rest(tcp);
	}
	if (!tcp->path.repairing)
		cw_tcp_path_forget(tcp);
}

static void failed(struct cw_tcp *tcp)
{
	uint32_t size = tcp->path.size;

	tcp->path.size = 0;
	tcp->path.lost = true;
	if (++tcp->path.failures < FAILURES)
		return;
	tcp->path.failures = 0;
	tcp->path.high = size - 1;
	tcp->path.high_first = false;
	if (tcp->path.high <= tcp->path_mtu + NEAR)
		rest(tcp);
}

/* A record was found to be lost while a probe was in flight or is being repaired. */
void cw_tcp_path_lost(struct cw_tcp *tcp, const struct cw_sent *sent)
{
	if (sent->end <= tcp->path.start || sent->start >= tcp->path.end)
		tcp->path.others_lost = true;
	else if (tcp->path.size)
		failed(tcp);
}

/* What is lost goes again, and the window stays: its size was the reason (RFC 4821 7.5, 1191 6.4). */
static void repair(struct cw_tcp *tcp)
{
	tcp->recovery = CW_TCP_LOSS;
	tcp->recovery_point = tcp->snd_nxt;
	cw_tcp_undo_forget(tcp);
	cw_tcp_ready(tcp);
}

bool cw_tcp_path_repair(struct cw_tcp *tcp)
{
	if (!tcp->path.lost || tcp->path.others_lost)
		return false;
	tcp->path.repairing = true;
	repair(tcp);
	return true;
}

static void mark_probe_lost(struct cw_tcp *tcp)
{
	for (struct cw_list *at = tcp->sent.next; at != &tcp->sent; at = at->next) {
		struct cw_sent *sent = cw_entry(at, struct cw_sent, order);

		if (sent->start < tcp->path.end && sent->end > tcp->path.start)
			cw_sent_mark_lost(tcp, sent);
	}
}

/* A router tells how large packets may be, of the one that begins at this position. */
void cw_tcp_path_told(struct cw_tcp *tcp, uint64_t position, uint32_t mtu)
{
	uint32_t before = tcp->mss;

	mtu = cw_max32(mtu, least(tcp));
	if (tcp->path.size && position >= tcp->path.start && position < tcp->path.end && mtu >= tcp->path_mtu && mtu < tcp->path.size) {
		if (mtu > tcp->path_mtu + NEAR)
			search(tcp, mtu, tcp->core->now);
		else
			rest(tcp);
		tcp->path.lost = true;
		if (tcp->recovery != CW_TCP_OPEN)
			return;
		mark_probe_lost(tcp);
		cw_tcp_path_repair(tcp);
		return;
	}
	if (mtu >= tcp->path_mtu)
		return;
	cw_count(tcp->core, CW_TCPIP_PATH_MTU);
	tcp->path_mtu = mtu;
	cw_tcp_set_mss(tcp);
	if (!cw_tcp_synchronized(tcp))
		return;
	rest(tcp);
	if (tcp->mss >= before || tcp->recovery != CW_TCP_OPEN || cw_list_empty(&tcp->sent))
		return;
	cw_tcp_path_forget(tcp);
	cw_sent_mark_all_lost(tcp);
	repair(tcp);
}

/* RFC 4821 7.7: nothing of this size arrives, and nobody says so. It may be that nothing arrives at all, so the old size is tried first. */
void cw_tcp_path_timed_out(struct cw_tcp *tcp)
{
	uint32_t before = tcp->path_mtu, smaller = base(tcp) < before ? base(tcp) : least(tcp);
	uint32_t timeouts = base(tcp) < before ? TIMEOUTS : 2 * TIMEOUTS;
	const struct cw_sent *first = cw_entry(tcp->sent.next, struct cw_sent, order);

	if (tcp->settings.mtu_probing == CW_TCP_MTU_NO_PROBES || tcp->backoffs < timeouts || smaller >= before ||
	    cw_list_empty(&tcp->sent) || first->end - first->start + overhead(tcp) <= smaller)
		return;
	cw_count(tcp->core, CW_TCPIP_BLACK_HOLES);
	tcp->path_mtu = smaller;
	cw_tcp_set_mss(tcp);
	search(tcp, before, tcp->core->now);
}
