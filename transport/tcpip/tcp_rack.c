/* RACK-TLP (RFC 8985): loss is told by time, from what was delivered that had been sent later; and a probe for the tail. */
#include "transport/tcpip/tcp.h"

#define LATEST_ACK 200000u /* 7.2: the longest time an acknowledgement is delayed */
#define SLACK      2000u   /* on paths shorter than what a host needs to answer, each burst would be probed */
#define PERSISTS   16u

static bool sent_after(uint64_t time1, uint64_t end1, uint64_t time2, uint64_t end2)
{
	return time1 > time2 || (time1 == time2 && end1 > end2);
}

/* Steps 1 to 3 for a record, up to `end`, that was acknowledged or SACKed for the first time. */
void cw_rack_delivered(struct cw_tcp *tcp, const struct cw_sent *sent, uint64_t end, struct cw_tcp_acked *acked)
{
	uint64_t time = cw_sent_time(sent), rtt = tcp->core->now - time;
	bool again = cw_sent_flags(sent) & CW_SENT_MORE_THAN_ONCE;

	if (again) {
		acked->again = true;
		/* Which transmission arrived? Not the last one, if the echo is older, or if it came back sooner than anything ever did. */
		if (acked->has_echo && (int32_t)(acked->echo - ((uint32_t)(time / 1000) + tcp->ts_offset)) < 0) {
			acked->ambiguous = true;
			return;
		}
		if (rtt < tcp->min_rtt)
			return;
	} else {
		if (!acked->oldest || time < acked->oldest)
			acked->oldest = time;
		if (time > acked->newest)
			acked->newest = time;
		cw_tcp_rtt_min(tcp, rtt);
		if (end < tcp->rack.highest)
			tcp->rack.reordering_seen = true;
	}
	tcp->rack.highest = cw_max64(tcp->rack.highest, end);
	if (sent_after(time, end, tcp->rack.time, tcp->rack.end)) {
		tcp->rack.time = time;
		tcp->rack.end = end;
		tcp->rack.rtt = rtt;
	}
}

/* Step 4: how much later may something come that only took another way? */
static uint64_t reorder_window(const struct cw_tcp *tcp)
{
	if (!tcp->rack.reordering_seen && (tcp->recovery != CW_TCP_OPEN || tcp->sacked > 2ull * tcp->mss))
		return 0;
	if (tcp->min_rtt == CW_NEVER)
		return 0;
	return cw_min64((1 + tcp->rack.window_steps) * tcp->min_rtt / 4, tcp->srtt8 / 8);
}

/* Step 5. A record is lost if one that was sent later has been delivered, and the window of reordering is over. */
void cw_rack_detect(struct cw_tcp *tcp)
{
	uint64_t wait = tcp->rack.rtt + reorder_window(tcp), latest = 0;
	struct cw_list *at = tcp->sent_by_time.next;

	while (at != &tcp->sent_by_time) {
		struct cw_sent *sent = cw_entry(at, struct cw_sent, by_time);
		uint64_t until = cw_sent_time(sent) + wait;

		at = at->next;
		if (!sent_after(tcp->rack.time, tcp->rack.end, cw_sent_time(sent), sent->end))
			break;
		if (until <= tcp->core->now)
			cw_sent_mark_lost(tcp, sent);
		else
			latest = cw_max64(latest, until);
	}
	if (latest)
		cw_tcp_deadline(tcp, CW_TCP_REORDER, latest);
	else
		cw_tcp_no_deadline(tcp, CW_TCP_REORDER);
}

static void adapt_window(struct cw_tcp *tcp, const struct cw_tcp_acked *acked)
{
	if (tcp->rack.dsack_round && tcp->snd_una >= tcp->rack.dsack_round)
		tcp->rack.dsack_round = 0;
	if (acked->dsack && !tcp->rack.dsack_round) {
		tcp->rack.dsack_round = tcp->snd_nxt;
		tcp->rack.window_steps++;
		tcp->rack.window_persists = PERSISTS;
	}
}

/* 7.4: the answer to a probe tells whether the tail had been lost. A loss that the probe repaired is a congestion signal all the same. */
static void probe_answered(struct cw_tcp *tcp, struct cw_tcp_acked *acked)
{
	if (!tcp->rack.tail_end || acked->ack < tcp->rack.tail_end)
		return;
	if (tcp->rack.tail_again && !acked->dsack && acked->ack > tcp->rack.tail_end && tcp->recovery == CW_TCP_OPEN) {
		cw_tcp_reduce(tcp);
		acked->reduced = true;
	} else if (tcp->rack.tail_again && !acked->dsack && !(acked->duplicate && !acked->sacked) && acked->ack == tcp->rack.tail_end) {
		return;
	}
	tcp->rack.tail_end = 0;
}

void cw_rack_acknowledged(struct cw_tcp *tcp, struct cw_tcp_acked *acked)
{
	adapt_window(tcp, acked);
	probe_answered(tcp, acked);
	if (tcp->sack && !cw_list_empty(&tcp->sent_by_time))
		cw_rack_detect(tcp);
	else
		cw_tcp_no_deadline(tcp, CW_TCP_REORDER);
}

/* 7.2. */
uint64_t cw_rack_probe_timeout(const struct cw_tcp *tcp)
{
	uint64_t timeout = 1000000;

	if (tcp->srtt8) {
		timeout = tcp->srtt8 / 4 + (cw_tcp_outstanding(tcp) <= tcp->mss ? LATEST_ACK : SLACK);
	}
	return timeout;
}

bool cw_rack_probe_wanted(const struct cw_tcp *tcp)
{
	return tcp->sack && tcp->recovery == CW_TCP_OPEN && !tcp->sacked && !tcp->lost && !tcp->rack.tail_end && !tcp->backoffs &&
	       !cw_list_empty(&tcp->sent);
}
