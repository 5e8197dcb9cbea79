/* The answer to our SYN (RFC 9293 3.10.7.3), or the peer's own that crossed it (3.5, figure 7). */
#include "transport/tcpip/tcp.h"

#include <errno.h>

static void take_syn(struct cw_tcp *tcp, const struct cw_segment *segment)
{
	struct cw_tcp_options ours;

	cw_tcp_syn_options(&tcp->settings, cw_tcp_largest_segment(tcp->core, &tcp->flow.key.remote), tcp->receive_mask + 1, &ours);
	cw_tcp_agree(tcp, &ours, &segment->options, segment->seq);
	tcp->snd_wl1 = cw_tcp_first_position(segment->seq);
	tcp->snd_wl2 = tcp->snd_una;
	tcp->snd_edge = tcp->snd_una + 1 + segment->window;
	tcp->max_window = segment->window;
}

void cw_tcp_syn_sent(struct cw_tcp *tcp, const struct cw_segment *segment)
{
	uint64_t ack = cw_tcp_position(segment->ack, tcp->snd_una);
	bool acks = segment->flags & CW_ACK;

	if (acks && (ack <= tcp->snd_una || ack > tcp->snd_nxt)) {
		cw_reply_reset(tcp->core, segment);
		return;
	}
	if (segment->flags & CW_RST) {
		if (acks) {
			cw_count(tcp->core, CW_TCPIP_RESETS_IN);
			cw_tcp_gone(tcp, ECONNREFUSED);
		}
		return;
	}
	if (!(segment->flags & CW_SYN))
		return;
	take_syn(tcp, segment);
	tcp->last_heard = tcp->core->now;
	if (acks) {
		tcp->ecn = tcp->settings.ecn && (segment->flags & (CW_ECE | CW_CWR)) == CW_ECE;
		if (!tcp->backoffs)
			cw_tcp_rtt_sample(tcp, tcp->core->now - tcp->last_sent);
		cw_tcp_connected(tcp);
		tcp->snd_una = ack;
		cw_tcp_ack_now(tcp);
		return;
	}
	/* Simultaneous open: our SYN again, with an acknowledgement now. */
	tcp->ecn = false;
	tcp->state = CW_TCP_SYN_RECEIVED;
	tcp->force_retransmit = true;
	cw_tcp_ready(tcp);
}
