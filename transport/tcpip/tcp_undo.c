/*
 * Reductions of the window that turn out to have been for nothing, and are taken back (RFC 4015). Three ways to see it:
 *
 * - Eifel (RFC 3522): the first acknowledgement of something sent again echoes the time stamp of the original.
 * - F-RTO (RFC 5682): behind a time-out new data is sent instead of old, and what had been sent once only is acknowledged all the same.
 * - Duplicate SACKs: all that was sent again had arrived already (as RFC 3708 counts, but by bytes).
 */
#include "transport/tcpip/tcp.h"

void cw_tcp_undo_remember(struct cw_tcp *tcp)
{
	tcp->undo.cwnd = tcp->cwnd;
	tcp->undo.ssthresh = tcp->ssthresh;
	tcp->undo.from = tcp->undo.to = tcp->snd_una;
	tcp->undo.again = 0;
	tcp->undo.stamp = cw_tcp_clock(tcp);
	tcp->undo.by_stamp = tcp->timestamps;
	tcp->undo.forward = CW_TCP_NO_FORWARD;
}

void cw_tcp_undo_forget(struct cw_tcp *tcp)
{
	tcp->undo.from = 0;
	tcp->undo.by_stamp = false;
	tcp->undo.forward = CW_TCP_NO_FORWARD;
}

/* The episode is over. Duplicate SACKs may still come. */
void cw_tcp_undo_left(struct cw_tcp *tcp)
{
	tcp->undo.by_stamp = false;
	tcp->undo.forward = CW_TCP_NO_FORWARD;
}

void cw_tcp_undo_count(struct cw_tcp *tcp, uint64_t start, uint64_t end)
{
	if (!tcp->undo.from || tcp->recovery == CW_TCP_OPEN)
		return;
	tcp->undo.again += end - start;
	tcp->undo.to = cw_max64(tcp->undo.to, end);
}

/* Only the first time-out of an episode is looked at: behind others acknowledgements are of who knows what (RFC 5682 2.1 step 1). Time
 * stamps tell sooner. */
void cw_tcp_undo_timeout(struct cw_tcp *tcp, bool anew)
{
	if (anew)
		cw_tcp_undo_remember(tcp);
	tcp->undo.since = tcp->core->now;
	tcp->undo.forward = anew && !tcp->timestamps ? CW_TCP_FORWARD_FIRST : CW_TCP_NO_FORWARD;
}

static bool eifel(struct cw_tcp *tcp, const struct cw_tcp_acked *acked)
{
	if (!tcp->undo.by_stamp || !acked->progress || !acked->again)
		return false;
	tcp->undo.by_stamp = false;
	return acked->has_echo && (int32_t)(acked->echo - tcp->undo.stamp) < 0;
}

/* Step 2: the retransmission has arrived. Whether it was needed is seen best if new data goes next, if there is some. */
static void forward_first(struct cw_tcp *tcp, const struct cw_tcp_acked *acked)
{
	if (!acked->progress) {
		/* Without SACK a duplicate tells of a gap. With it the marks are up to date, and it is waited on (3.1 step 2a). */
		if (!tcp->sack && acked->duplicate)
			tcp->undo.forward = CW_TCP_NO_FORWARD;
	} else if (tcp->snd_una < tcp->recovery_point && cw_tcp_send_limit(tcp) >= tcp->snd_nxt + tcp->mss) {
		tcp->undo.forward = CW_TCP_FORWARD_SECOND;
	} else {
		tcp->undo.forward = CW_TCP_NO_FORWARD;
	}
}

/* Step 3: what went out before the time-out, and not since, has arrived; or a duplicate says that there is a gap indeed. */
static bool forward(struct cw_tcp *tcp, const struct cw_tcp_acked *acked)
{
	if (tcp->recovery != CW_TCP_LOSS || tcp->undo.forward == CW_TCP_NO_FORWARD)
		return false;
	if (tcp->undo.forward == CW_TCP_FORWARD_FIRST) {
		forward_first(tcp, acked);
		return false;
	}
	if (acked->oldest && acked->oldest < tcp->undo.since && !acked->again)
		return true;
	if (acked->progress || acked->sacked || acked->duplicate) {
		tcp->undo.forward = CW_TCP_NO_FORWARD;
		tcp->cwnd = cw_min64(tcp->cwnd, 3ull * tcp->mss);
	}
	return false;
}

static bool all_were_duplicates(struct cw_tcp *tcp, const struct cw_tcp_acked *acked)
{
	if (!acked->dsack || !tcp->undo.from || !tcp->undo.again)
		return false;
	if (acked->dsack_start < tcp->undo.from || acked->dsack_end > tcp->undo.to)
		return false;
	tcp->undo.again -= cw_min64(tcp->undo.again, acked->dsack_end - acked->dsack_start);
	return !tcp->undo.again && !tcp->to_retransmit;
}

bool cw_tcp_undo(struct cw_tcp *tcp, const struct cw_tcp_acked *acked)
{
	/* Each looks at every acknowledgement, also where another has seen enough. */
	bool by_stamp = eifel(tcp, acked), by_new = forward(tcp, acked), by_duplicates = all_were_duplicates(tcp, acked);

	if (!by_stamp && !by_new && !by_duplicates)
		return false;
	cw_count(tcp->core, CW_TCPIP_SPURIOUS);
	cw_sent_unmark_lost(tcp);
	tcp->cwnd = cw_max64(tcp->cwnd, tcp->undo.cwnd);
	tcp->ssthresh = cw_max64(tcp->ssthresh, tcp->undo.ssthresh);
	tcp->congestion->undo(tcp);
	tcp->recovery = CW_TCP_OPEN;
	tcp->duplicates = 0;
	if (!tcp->sack)
		tcp->sacked = 0;
	cw_tcp_undo_forget(tcp);
	return true;
}
