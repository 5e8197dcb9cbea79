/* Loss recovery and the congestion window: fast recovery with SACK (RFC 6675 by RACK's marks) and without (6582), its pace (6937), the
 * time-out (5681), ECN's reductions (3168). */
#include "transport/tcpip/tcp.h"

#define DUPLICATES 3u
#define UNKNOWN    (CW_NEVER / 2) /* the slow start threshold before anything was lost */

/* RFC 6928. */
uint64_t cw_tcp_initial_window(const struct cw_tcp *tcp)
{
	return cw_min64(10ull * tcp->mss, cw_max64(2ull * tcp->mss, 14600));
}

static void choose(struct cw_tcp *tcp)
{
	static const struct cw_congestion *const algorithms[] = {
		[CW_TCP_CUBIC] = &cw_cubic, [CW_TCP_NEWRENO] = &cw_newreno, [CW_TCP_DCTCP] = &cw_dctcp};

	tcp->congestion = algorithms[tcp->settings.congestion];
	tcp->congestion->init(tcp);
}

void cw_tcp_congestion_init(struct cw_tcp *tcp)
{
	tcp->cwnd = cw_tcp_initial_window(tcp);
	tcp->ssthresh = UNKNOWN;
	choose(tcp);
}

bool cw_tcp_set_congestion(struct cw_tcp *tcp, enum cw_tcp_congestion congestion, uint64_t now)
{
	cw_core_clock(tcp->core, now);
	if (congestion == tcp->settings.congestion)
		return true;
	if (tcp->state == CW_TCP_CLOSED || congestion == CW_TCP_DCTCP || tcp->settings.congestion == CW_TCP_DCTCP)
		return false;
	tcp->settings.congestion = congestion;
	if (tcp->congestion)
		choose(tcp);
	return true;
}

static void enter_recovery(struct cw_tcp *tcp, const struct cw_tcp_acked *acked)
{
	cw_count(tcp->core, CW_TCPIP_RECOVERIES);
	cw_tcp_undo_remember(tcp);
	cw_tcp_path_forget(tcp);
	tcp->recovery = CW_TCP_RECOVERY_STATE;
	tcp->recovery_point = tcp->snd_nxt;
	tcp->prr.flight = cw_max64(tcp->snd_nxt - acked->una, 1);
	tcp->prr.delivered = tcp->prr.out = 0;
	tcp->ssthresh = tcp->congestion->reduce(tcp);
	tcp->ecn_reply = tcp->ecn;
	tcp->ecn_reduced = tcp->snd_nxt;
}

/* RFC 6937: what leaves the network in recovery is replaced so that the window ends at ssthresh, whatever was lost. */
static void proportional_rate(struct cw_tcp *tcp, uint64_t delivered, bool partial)
{
	uint64_t pipe = cw_tcp_in_flight(tcp), more;

	tcp->prr.delivered += delivered;
	if (pipe > tcp->ssthresh) {
		uint64_t share = (tcp->prr.delivered * tcp->ssthresh + tcp->prr.flight - 1) / tcp->prr.flight;

		more = share > tcp->prr.out ? share - tcp->prr.out : 0;
	} else {
		uint64_t owed = tcp->prr.delivered > tcp->prr.out ? tcp->prr.delivered - tcp->prr.out : 0;

		more = cw_min64(tcp->ssthresh - pipe, cw_max64(owed, delivered) + tcp->mss);
	}
	/* The first retransmission goes out at once, and without SACK so does each one that a partial acknowledgement asks for (RFC
	 * 6582 3.2). */
	if ((!tcp->prr.out || partial) && more < tcp->mss)
		more = tcp->mss;
	tcp->cwnd = pipe + more;
}

static void leave(struct cw_tcp *tcp)
{
	if (tcp->recovery == CW_TCP_RECOVERY_STATE) {
		tcp->cwnd = cw_max64(tcp->ssthresh, 2ull * tcp->mss);
		if (tcp->rack.window_persists && !--tcp->rack.window_persists)
			tcp->rack.window_steps = 0;
	}
	tcp->recovery = CW_TCP_OPEN;
	cw_tcp_undo_left(tcp);
	if (tcp->path.repairing)
		cw_tcp_path_forget(tcp);
	if (!tcp->sack) {
		tcp->duplicates = 0;
		tcp->sacked = 0;
	}
}

/* Without SACK a duplicate acknowledgement says that one segment more has arrived, whichever. */
static void mark_first_lost(struct cw_tcp *tcp)
{
	struct cw_sent *sent = cw_entry(tcp->sent.next, struct cw_sent, order);

	if (cw_list_empty(&tcp->sent))
		return;
	if (sent->end - sent->start > tcp->mss && !(tcp->path.size && sent->start == tcp->path.start))
		cw_sent_split(tcp, sent, sent->start + tcp->mss);
	cw_sent_mark_lost(tcp, sent);
}

static void without_sack(struct cw_tcp *tcp, const struct cw_tcp_acked *acked)
{
	if (acked->duplicate)
		tcp->duplicates++;
	if (acked->progress) {
		uint64_t segments = (acked->ack - acked->una) / tcp->mss;

		tcp->duplicates =
			tcp->recovery == CW_TCP_RECOVERY_STATE && tcp->duplicates > segments ? tcp->duplicates - (uint32_t)segments : 0;
	}
	/* RFC 6582: the third duplicate, and then each acknowledgement that doesn't cover all of the episode, tell the next loss. Not again
	 * for what was sent before a time-out. */
	if (tcp->recovery == CW_TCP_OPEN && tcp->duplicates >= DUPLICATES && acked->duplicate && tcp->snd_una > tcp->recovery_point)
		mark_first_lost(tcp);
	if ((tcp->recovery == CW_TCP_RECOVERY_STATE || (tcp->path.repairing && tcp->snd_una >= tcp->path.end)) && acked->progress &&
	    tcp->snd_una < tcp->recovery_point)
		mark_first_lost(tcp);
	tcp->sacked = cw_min64((uint64_t)tcp->duplicates * tcp->mss, cw_tcp_outstanding(tcp) - tcp->lost);
}

/* A duplicate stands for a segment, which the acknowledgement that comes in the end tells once more (RFC 6937 section 3). */
static uint64_t delivered_without_sack(const struct cw_tcp *tcp, const struct cw_tcp_acked *acked)
{
	if (acked->progress)
		return acked->ack - acked->una;
	return acked->duplicate ? tcp->mss : 0;
}

static void grow(struct cw_tcp *tcp, const struct cw_tcp_acked *acked)
{
	uint64_t bytes = acked->ack - acked->una;
	bool slow_start = tcp->cwnd < tcp->ssthresh;

	/* A window that isn't in use mustn't grow (RFC 7661's reason). */
	if (!acked->progress || (slow_start ? acked->in_flight * 2 < tcp->cwnd : acked->in_flight + tcp->mss < tcp->cwnd))
		return;
	if (slow_start) {
		uint64_t step = bytes;

		if (tcp->congestion->hystart && tcp->ssthresh == UNKNOWN && !tcp->settings.no_hystart)
			step = cw_hystart_step(tcp, acked);
		step = cw_min64(step, tcp->ssthresh - tcp->cwnd);
		tcp->cwnd += step;
		bytes -= step;
	}
	if (bytes && tcp->recovery == CW_TCP_OPEN && tcp->cwnd >= tcp->ssthresh)
		tcp->congestion->avoid(tcp, bytes);
}

static void reduce_to(struct cw_tcp *tcp, uint64_t ssthresh)
{
	cw_tcp_undo_forget(tcp);
	tcp->ssthresh = ssthresh;
	tcp->cwnd = cw_min64(tcp->cwnd, tcp->ssthresh);
	tcp->ecn_reduced = tcp->snd_nxt;
	tcp->ecn_reply = tcp->ecn;
}

void cw_tcp_reduce(struct cw_tcp *tcp)
{
	reduce_to(tcp, tcp->congestion->reduce(tcp));
}

/* RFC 3168 6.1.2: one reduction a window of data, the next one for data that was sent behind it. */
static void congestion_told(struct cw_tcp *tcp)
{
	if (tcp->recovery == CW_TCP_OPEN && tcp->snd_una > tcp->ecn_reduced)
		reduce_to(tcp, tcp->congestion->marked ? tcp->congestion->marked(tcp) : tcp->congestion->reduce(tcp));
}

void cw_tcp_recover(struct cw_tcp *tcp, const struct cw_tcp_acked *acked, bool congestion_echoed)
{
	bool undone = cw_tcp_undo(tcp, acked), left = false;

	if (tcp->congestion->acknowledged && acked->progress)
		tcp->congestion->acknowledged(tcp, acked->ack - acked->una, congestion_echoed);
	if (!tcp->sack)
		without_sack(tcp, acked);
	if (tcp->recovery != CW_TCP_OPEN && tcp->snd_una >= tcp->recovery_point) {
		left = tcp->recovery == CW_TCP_RECOVERY_STATE; /* what this acknowledgement tells has been used up by the recovery */
		leave(tcp);
	}
	if ((tcp->recovery == CW_TCP_OPEN && tcp->lost && !cw_tcp_path_repair(tcp)) || (tcp->path.repairing && tcp->path.others_lost))
		enter_recovery(tcp, acked);
	else if (congestion_echoed)
		congestion_told(tcp);
	if (tcp->recovery == CW_TCP_RECOVERY_STATE)
		proportional_rate(tcp, tcp->sack ? acked->delivered : delivered_without_sack(tcp, acked), !tcp->sack && acked->progress);
	else if (!undone && !left && !acked->reduced && !(congestion_echoed && tcp->snd_una <= tcp->ecn_reduced))
		grow(tcp, acked);
}

/* RFC 5681 3.1, 6675 5.1. A second time-out of the same data says nothing new about the path. */
void cw_tcp_enter_loss(struct cw_tcp *tcp)
{
	cw_tcp_undo_timeout(tcp, tcp->recovery == CW_TCP_OPEN);
	if (tcp->recovery != CW_TCP_LOSS || tcp->snd_una >= tcp->recovery_point) {
		tcp->ssthresh = tcp->congestion->reduce(tcp);
		tcp->congestion->timeout(tcp);
	}
	tcp->recovery = CW_TCP_LOSS;
	tcp->recovery_point = tcp->snd_nxt;
	tcp->duplicates = 0;
	cw_sent_mark_all_lost(tcp);
	cw_tcp_path_forget(tcp);
	tcp->cwnd = tcp->mss;
	tcp->rack.tail_end = 0;
	tcp->ecn_reduced = tcp->snd_nxt;
	tcp->ecn_reply = tcp->ecn;
}
