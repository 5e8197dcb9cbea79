/*
 * The common segment, by header prediction: nothing is unusual, and it is either an acknowledgement of new data or the next data. What it
 * does is what the slow path would have done; tests run both. All else goes there.
 */
#include "transport/tcpip/tcp.h"

static bool expected(const struct cw_tcp *tcp, const struct cw_segment *segment)
{
	const struct cw_tcp_options *options = &segment->options;

	return tcp->state == CW_TCP_ESTABLISHED && (segment->flags & ~CW_PSH) == CW_ACK && segment->seq == (uint32_t)tcp->rcv_nxt &&
	       !(options->sacks | options->user_timeout) && (segment->ecn == CW_ECN_CE) == tcp->marked &&
	       options->has_timestamp == tcp->timestamps && (!tcp->timestamps || (int32_t)(options->timestamp - tcp->ts_recent) >= 0) &&
	       tcp->recovery == CW_TCP_OPEN && tcp->fin_received_at == CW_NEVER && tcp->fin_at == CW_NEVER && !tcp->rack.tail_end;
}

static void take_header(struct cw_tcp *tcp, const struct cw_segment *segment, uint64_t ack)
{
	tcp->last_heard = tcp->core->now;
	if (tcp->timestamps && tcp->last_ack_sent == tcp->rcv_nxt) { /* RFC 7323 4.3: else an earlier one is still to be answered */
		tcp->ts_recent = segment->options.timestamp;
		tcp->ts_recent_time = tcp->core->now;
	}
	cw_tcp_update_window(tcp, segment, tcp->rcv_nxt, ack);
	tcp->probes = 0;
	tcp->soft_error = 0;
}

static bool acknowledgement(struct cw_tcp *tcp, const struct cw_segment *segment, uint64_t ack)
{
	struct cw_tcp_acked acked = {.ack = ack, .una = tcp->snd_una, .in_flight = cw_tcp_in_flight(tcp), .progress = true};

	if (ack <= tcp->snd_una || ack > tcp->snd_nxt || tcp->sacked || tcp->lost || tcp->duplicates || tcp->rack.dsack_round ||
	    tcp->path.end)
		return false;
	cw_count(tcp->core, CW_TCPIP_FAST_ACK);
	take_header(tcp, segment, ack);
	acked.echo = segment->options.echo;
	acked.has_echo = tcp->timestamps && acked.echo;
	cw_sent_acknowledge(tcp, &acked);
	tcp->snd_una = ack;
	cw_tcp_confirm_neighbour(tcp, &acked);
	if (acked.oldest && !acked.again)
		cw_tcp_rtt_sample(tcp, tcp->core->now - acked.oldest);
	tcp->backoffs = 0;
	tcp->retransmit_since = cw_tcp_outstanding(tcp) ? tcp->core->now : 0;
	cw_tcp_tell(tcp, CW_TCP_WRITABLE);
	cw_tcp_no_deadline(tcp, CW_TCP_REORDER);
	cw_tcp_recover(tcp, &acked, false);
	cw_tcp_arm_retransmit(tcp);
	cw_tcp_ready(tcp);
	return true;
}

static bool data(struct cw_tcp *tcp, const struct cw_segment *segment, uint64_t ack)
{
	uint32_t size = segment->frame->segment_size ? segment->frame->segment_size : segment->length;

	if (ack != tcp->snd_una || tcp->blocks || tcp->closed || segment->length > tcp->rcv_adv - tcp->rcv_nxt ||
	    size > tcp->core->config.mtu)
		return false;
	cw_count(tcp->core, CW_TCPIP_FAST_DATA);
	take_header(tcp, segment, ack);
	if (size > tcp->receive_mss)
		tcp->receive_mss = (uint16_t)size;
	cw_tcp_copy_in(tcp, segment, 0, tcp->rcv_nxt, segment->length);
	tcp->rcv_nxt += segment->length;
	if (tcp->rcv_nxt >= tcp->tuning.rtt_end)
		cw_tcp_tuning_rtt(tcp, segment);
	cw_tcp_tell(tcp, CW_TCP_READABLE);
	cw_tcp_acknowledge_data(tcp, segment->length);
	return true;
}

bool cw_tcp_fast(struct cw_tcp *tcp, const struct cw_segment *segment)
{
	uint64_t ack;

	if (!expected(tcp, segment))
		return false;
	ack = cw_tcp_position(segment->ack, tcp->snd_una);
	return segment->length ? data(tcp, segment, ack) : acknowledgement(tcp, segment, ack);
}
