/* A segment for a connection: the steps of RFC 9293 3.10.7.4 in their order, with PAWS (RFC 7323 section 5) and RFC 5961. */
#include "transport/tcpip/tcp.h"

#include <errno.h>

#include "transport/tcpip/tcp_half_open.h"
#include "transport/tcpip/tcp_time_wait.h"

#define PAWS_LIFE (24ull * 24 * 3600 * 1000000) /* RFC 7323 5.5 */

/* RFC 7323 5.3. What is 0 isn't a time: there are peers whose SYN says so, and whose clock begins behind it, at any number. */
static bool before_recent(const struct cw_tcp *tcp, const struct cw_segment *segment)
{
	return tcp->ts_recent && (int32_t)(segment->options.timestamp - tcp->ts_recent) < 0 &&
	       tcp->core->now - tcp->ts_recent_time < PAWS_LIFE;
}

static bool too_old(const struct cw_tcp *tcp, const struct cw_segment *segment)
{
	return tcp->timestamps && segment->options.has_timestamp && before_recent(tcp, segment);
}

/* RFC 7323 4.3: of the segment that the next acknowledgement answers. */
void cw_tcp_take_timestamp(struct cw_tcp *tcp, const struct cw_segment *segment, uint64_t seq)
{
	if (!tcp->timestamps || !segment->options.has_timestamp || seq > tcp->last_ack_sent)
		return;
	if (!before_recent(tcp, segment)) {
		tcp->ts_recent = segment->options.timestamp;
		tcp->ts_recent_time = tcp->core->now;
	}
}

/* Table 6 of 3.10.7.4, for a window that begins at rcv_nxt and ends where it was told to. */
static bool acceptable(const struct cw_tcp *tcp, uint64_t seq, uint32_t space)
{
	uint64_t window = tcp->rcv_adv - tcp->rcv_nxt, last = seq + space - 1;

	if (!space)
		return window ? seq >= tcp->rcv_nxt && seq < tcp->rcv_adv : seq == tcp->rcv_nxt;
	if (!window)
		return false;
	return (seq >= tcp->rcv_nxt && seq < tcp->rcv_adv) || (last >= tcp->rcv_nxt && last < tcp->rcv_adv) ||
	       (seq < tcp->rcv_nxt && last >= tcp->rcv_adv);
}

/* First, its sequence number. A segment that isn't acceptable is answered, or the peer would never learn where we are; duplicates are told
 * (RFC 2883). */
static bool check_sequence(struct cw_tcp *tcp, const struct cw_segment *segment, uint64_t seq)
{
	bool old = !(segment->flags & CW_RST) && too_old(tcp, segment); /* a reset has no time (RFC 7323 5.3 R1) */

	if (!old && acceptable(tcp, seq, cw_segment_space(segment)))
		return true;
	cw_count(tcp->core, old ? CW_TCPIP_PAWS : CW_TCPIP_NOT_IN_WINDOW);
	if (segment->flags & CW_RST)
		return false;
	if (segment->length && seq < tcp->rcv_nxt)
		cw_tcp_dsack(tcp, seq, cw_min64(seq + segment->length, tcp->rcv_nxt));
	/* With data or a FIN it was a retransmission or a probe, which has to be answered; bare ones may be half of an ACK loop, SYNs are
	 * RFC 5961 4.2's. */
	if (!(segment->flags & CW_SYN) && (cw_segment_space(segment) || seq + 1 == tcp->rcv_nxt))
		cw_tcp_ack_now(tcp);
	else
		cw_tcp_challenge(tcp);
	/* The window was zero or full: the acknowledgement and the window that came along hold all the same (3.10.7.4). */
	if (!old && segment->flags & CW_ACK && !(segment->flags & CW_SYN) && seq + segment->length >= tcp->rcv_nxt && seq <= tcp->rcv_adv)
		cw_tcp_ack(tcp, segment);
	return false;
}

/* Second (RFC 5961 3.2): only the reset that hits the very next number is believed. */
static void take_reset(struct cw_tcp *tcp, uint64_t seq)
{
	if (seq != tcp->rcv_nxt) {
		cw_tcp_challenge(tcp);
		return;
	}
	cw_count(tcp->core, CW_TCPIP_RESETS_IN);
	cw_tcp_gone(tcp, tcp->state == CW_TCP_SYN_RECEIVED ? ECONNREFUSED : tcp->state == CW_TCP_CLOSE_WAIT ? EPIPE : ECONNRESET);
}

/* Fifth, for a connection that was opened from both sides. */
static bool finish_open(struct cw_tcp *tcp, const struct cw_segment *segment)
{
	uint64_t ack = cw_tcp_position(segment->ack, tcp->snd_una), seq = cw_tcp_position(segment->seq, tcp->rcv_nxt);

	if (ack <= tcp->snd_una || ack > tcp->snd_nxt) {
		cw_reply_reset(tcp->core, segment);
		return false;
	}
	tcp->snd_wl1 = seq;
	tcp->snd_wl2 = ack;
	tcp->snd_edge = ack + ((uint64_t)segment->window << tcp->send_scale);
	tcp->max_window = cw_max32(tcp->max_window, (uint32_t)segment->window << tcp->send_scale);
	cw_tcp_connected(tcp);
	return true;
}

/* Sixth (RFC 6093): the pointer is behind the urgent byte, which stays in the stream. */
static void take_urgent(struct cw_tcp *tcp, const struct cw_segment *segment, uint64_t seq)
{
	uint64_t behind = seq + segment->urgent;

	if (!(segment->flags & CW_URG) || behind <= tcp->rcv_nxt || behind <= tcp->received_urgent)
		return;
	tcp->received_urgent = behind;
	cw_tcp_tell(tcp, CW_TCP_URGENT);
}

static void take_congestion(struct cw_tcp *tcp, const struct cw_segment *segment)
{
	if (!tcp->ecn || !segment->length)
		return;
	if (tcp->congestion->exact_echo) {
		bool marked = segment->ecn == CW_ECN_CE;

		/* RFC 8257 3.2: one acknowledgement doesn't tell of both. */
		if (marked != tcp->marked && tcp->unacked)
			cw_tcp_ack_before(tcp);
		if (marked != tcp->marked)
			cw_tcp_ack_now(tcp);
		tcp->marked = tcp->ecn_echo = marked;
		return;
	}
	if (segment->flags & CW_CWR)
		tcp->ecn_echo = false;
	if (segment->ecn == CW_ECN_CE) {
		tcp->ecn_echo = true;
		cw_tcp_ack_now(tcp);
	}
}

/* Seventh and eighth. The FIN has its position behind the payload; it counts when all before it is there. */
static void take_data(struct cw_tcp *tcp, const struct cw_segment *segment, uint64_t seq)
{
	uint64_t fin = seq + segment->length;

	if (tcp->closed && !tcp->fin_received && fin > tcp->rcv_nxt) { /* 1122 4.2.2.13: nobody will read what lies before its end */
		cw_count(tcp->core, CW_TCPIP_AFTER_CLOSE);
		cw_tcp_reset(tcp, 0);
		return;
	}
	if (segment->length && !tcp->fin_received)
		cw_tcp_receive(tcp, segment, seq);
	if (segment->flags & CW_FIN && tcp->fin_received_at == CW_NEVER && fin >= tcp->rcv_nxt && fin < tcp->rcv_adv &&
	    (!tcp->blocks || cw_tcp_blocks_end(tcp) <= fin))
		tcp->fin_received_at = fin;
	if (segment->flags & CW_FIN)
		cw_tcp_ack_now(tcp);
	if (!tcp->fin_received && tcp->rcv_nxt == tcp->fin_received_at) {
		tcp->rcv_nxt++;
		tcp->rcv_adv = cw_max64(tcp->rcv_adv, tcp->rcv_nxt);
		tcp->fin_received = true;
		cw_tcp_peer_finished(tcp);
	}
}

void cw_tcp_segment(struct cw_tcp *tcp, const struct cw_segment *segment)
{
	uint64_t seq = cw_tcp_position(segment->seq, tcp->rcv_nxt);

	if (!check_sequence(tcp, segment, seq))
		return;
	if (segment->flags & CW_RST) {
		take_reset(tcp, seq);
		return;
	}
	tcp->last_heard = tcp->core->now;
	if (segment->flags & CW_SYN) { /* fourth: RFC 5961 4.2 */
		cw_tcp_challenge(tcp);
		return;
	}
	if (!(segment->flags & CW_ACK))
		return;
	if (tcp->state == CW_TCP_SYN_RECEIVED && !finish_open(tcp, segment))
		return;
	if (!cw_tcp_ack(tcp, segment))
		return;
	cw_tcp_take_timestamp(tcp, segment, seq); /* not of one who can't know what we have sent */
	take_urgent(tcp, segment, seq);
	take_congestion(tcp, segment);
	if (segment->options.user_timeout)
		cw_tcp_user_timeout_take(tcp, segment->options.user_timeout);
	if (segment->length || segment->flags & CW_FIN)
		take_data(tcp, segment, seq);
}

/* `last`: of the connection of these ends that was before; NULL: there was none. */
static void no_flow(struct cw_tcpip *core, const struct cw_segment *segment, const uint32_t *last)
{
	struct cw_tcp_listener *listener = cw_tcp_listener_find(core, &segment->key);

	if (!listener) {
		cw_count(core, CW_TCPIP_NO_FLOW);
		cw_reply_reset(core, segment);
		return;
	}
	cw_tcp_listener_input(listener, segment, last);
}

void cw_tcp_input(struct cw_tcpip *core, const struct cw_segment *segment)
{
	struct cw_flow *flow = cw_flow_find(&core->table, &segment->key, cw_flow_hash(&core->table, &segment->key));
	uint32_t last;

	if (flow && flow->kind == CW_FLOW_TCP) {
		struct cw_tcp *tcp = cw_entry(flow, struct cw_tcp, flow);

		if (cw_tcp_fast(tcp, segment))
			return;
		if (tcp->state == CW_TCP_SYN_SENT)
			cw_tcp_syn_sent(tcp, segment);
		else
			cw_tcp_segment(tcp, segment);
		return;
	}
	if (flow && flow->kind == CW_FLOW_HALF_OPEN) {
		cw_half_open_input(cw_entry(flow, struct cw_half_open, flow), segment);
		return;
	}
	if (!flow)
		no_flow(core, segment, NULL);
	else if (cw_time_wait_input(cw_entry(flow, struct cw_time_wait, flow), segment, &last))
		no_flow(core, segment, &last);
}
