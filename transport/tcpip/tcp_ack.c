/* Acknowledgements (RFC 9293 3.10.7.4 step 5, 5961 section 5). */
#include "transport/tcpip/tcp.h"

#define CONFIRM_EVERY 1000000u

/* Once in a while is enough: it holds for 15 seconds at least (RFC 4861 6.3.2). Of what went more than once nobody knows which arrived. */
void cw_tcp_confirm_neighbour(struct cw_tcp *tcp, const struct cw_tcp_acked *acked)
{
	if (tcp->core->config.link != CW_LINK_ETHERNET || !acked->newest || tcp->core->now < tcp->confirm_at)
		return;
	if (cw_link_confirm(tcp->core, &tcp->flow.key.remote, acked->newest))
		tcp->confirm_at = tcp->core->now + CONFIRM_EVERY;
}

/* The window is taken from the newest segment only: older ones may come later (3.10.7.4). */
void cw_tcp_update_window(struct cw_tcp *tcp, const struct cw_segment *segment, uint64_t seq, uint64_t ack)
{
	uint32_t window = (uint32_t)segment->window << (segment->flags & CW_SYN ? 0 : tcp->send_scale);

	if (seq < tcp->snd_wl1 || (seq == tcp->snd_wl1 && ack < tcp->snd_wl2))
		return;
	tcp->snd_wl1 = seq;
	tcp->snd_wl2 = ack;
	if (ack + window > tcp->snd_edge)
		cw_tcp_ready(tcp);
	tcp->snd_edge = ack + window;
	tcp->max_window = cw_max32(tcp->max_window, window);
}

static void take_rtt(struct cw_tcp *tcp, const struct cw_tcp_acked *acked)
{
	uint64_t by_echo = (uint64_t)(cw_tcp_clock(tcp) - acked->echo) * 1000;

	/* Karn's rule, for all that came with a retransmission: it may have waited behind the gap for many time-outs. RFC 7323 4.1: the
	 * echo tells which transmission is answered. No honest one is of long before what is in flight went out. */
	if (acked->oldest && !acked->again)
		cw_tcp_rtt_sample(tcp, tcp->core->now - acked->oldest);
	else if (acked->progress && acked->has_echo && !acked->ambiguous && by_echo <= tcp->core->now - tcp->retransmit_since + tcp->rto)
		cw_tcp_rtt_sample(tcp, by_echo);
}

static void progress(struct cw_tcp *tcp, uint64_t ack)
{
	tcp->backoffs = 0;
	tcp->retransmit_since = cw_tcp_outstanding(tcp) ? tcp->core->now : 0;
	cw_tcp_tell(tcp, CW_TCP_WRITABLE);
	if (ack > tcp->fin_at)
		cw_tcp_finished(tcp);
}

bool cw_tcp_ack(struct cw_tcp *tcp, const struct cw_segment *segment)
{
	uint64_t seq = cw_tcp_position(segment->seq, tcp->rcv_nxt), edge = tcp->snd_edge;
	struct cw_tcp_acked acked = {
		.ack = cw_tcp_position(segment->ack, tcp->snd_una),
		.una = tcp->snd_una,
		.in_flight = cw_tcp_in_flight(tcp),
		.echo = segment->options.echo,
		.has_echo = tcp->timestamps && segment->options.has_timestamp && segment->options.echo,
	};

	/* RFC 5961 5.2: who can't know what we have sent isn't believed; before the first byte we have sent nothing. */
	if (acked.ack > tcp->snd_nxt || acked.ack + tcp->max_window < tcp->snd_una ||
	    acked.ack < cw_min64(tcp->snd_una, tcp->send_origin)) {
		cw_count(tcp->core, CW_TCPIP_BAD_ACK);
		cw_tcp_challenge(tcp);
		return false;
	}
	if (acked.ack < tcp->snd_una)
		return true;
	cw_tcp_update_window(tcp, segment, seq, acked.ack);
	tcp->probes = 0;
	tcp->soft_error = 0;
	acked.progress = acked.ack > tcp->snd_una;
	/* RFC 5681 section 2. */
	acked.duplicate = !acked.progress && !segment->length && tcp->snd_edge == edge && cw_tcp_outstanding(tcp) &&
			  !(segment->flags & (CW_SYN | CW_FIN));
	if (!acked.progress && !acked.duplicate && !segment->options.sacks && !(segment->flags & CW_ECE))
		return true;
	if (acked.progress) {
		cw_sent_acknowledge(tcp, &acked);
		tcp->snd_una = acked.ack;
	}
	if (tcp->sack && segment->options.sacks)
		cw_tcp_sack_take(tcp, segment, &acked);
	cw_tcp_confirm_neighbour(tcp, &acked);
	take_rtt(tcp, &acked);
	if (acked.progress)
		progress(tcp, acked.ack);
	if (tcp->state == CW_TCP_CLOSED)
		return false;
	if (tcp->path.end && tcp->snd_una >= tcp->path.end)
		cw_tcp_path_answered(tcp);
	cw_rack_acknowledged(tcp, &acked);
	cw_tcp_recover(tcp, &acked, tcp->ecn && segment->flags & CW_ECE);
	if (acked.progress || acked.sacked)
		cw_tcp_arm_retransmit(tcp);
	cw_tcp_ready(tcp);
	return true;
}
