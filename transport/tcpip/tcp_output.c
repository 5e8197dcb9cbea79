/* What a connection sends next (RFC 9293 3.8.6): retransmissions, new data, probes, acknowledgements. One frame a call. */
#include "transport/tcpip/tcp.h"

#define CORKED_MOST 200000u /* as long as Linux holds back what the program says it will go on with */

/* Payload of a packet: what the peer takes, what the path takes, less the options that each segment carries (RFC 6691). */
void cw_tcp_set_mss(struct cw_tcp *tcp)
{
	uint32_t headers = (cw_ip_is_4(&tcp->flow.key.remote) ? 20 : 40) + CW_TCP_HEADER;
	uint32_t mss = cw_min32(tcp->peer_mss, tcp->path_mtu - headers);

	if (tcp->settings.mss)
		mss = cw_min32(mss, tcp->settings.mss);
	tcp->mss = cw_max32(mss, 88) - (tcp->timestamps ? 12 : 0);
}

/* Payload of a frame: whole packets, if the device cuts. */
static uint32_t frame_limit(const struct cw_tcp *tcp)
{
	uint32_t headers = (cw_ip_is_4(&tcp->flow.key.remote) ? 20 : 40) + CW_TCP_HEADER + 12;
	const struct cw_tcpip_config *config = &tcp->core->config;
	uint32_t room = config->frame_max - headers;

	/* The urgent pointer counts from each packet's own beginning, and a device that cuts copies it. */
	if (config->frame_max <= config->mtu || room <= tcp->mss || tcp->urgent_end > tcp->snd_una)
		return tcp->mss;
	if (tcp->settings.pacing)
		room = cw_min32(room, cw_tcp_pace_frame(tcp));
	return room - room % tcp->mss;
}

static unsigned data_flags(const struct cw_tcp *tcp, uint64_t end)
{
	return CW_ACK | (end == tcp->snd_end ? CW_PSH : 0u);
}

static bool has_opened(const struct cw_tcp *tcp)
{
	return tcp->state != CW_TCP_SYN_SENT && tcp->state != CW_TCP_SYN_RECEIVED;
}

static bool send_syn(struct cw_tcp *tcp, struct cw_frame *frame, unsigned char *header)
{
	if (!tcp->force_retransmit)
		return false;
	tcp->force_retransmit = false;
	tcp->snd_nxt = tcp->snd_una + 1;
	tcp->last_sent = tcp->core->now;
	cw_tcp_header(tcp, frame, header, tcp->snd_una, tcp->snd_una, tcp->state == CW_TCP_SYN_SENT ? CW_SYN : CW_SYN | CW_ACK);
	cw_tcp_arm_retransmit(tcp);
	return true;
}

static void count_again(struct cw_tcp *tcp, uint64_t bytes)
{
	cw_count(tcp->core, CW_TCPIP_RETRANSMISSIONS);
	tcp->retransmissions++;
	tcp->bytes_retransmitted += bytes;
}

/* The record, or so much of its beginning. Without a record for the rest that counts as sent again too, and waits for RACK or the time-out:
 * slow, but within the congestion window. */
static bool send_again(struct cw_tcp *tcp, struct cw_sent *sent, uint64_t most, struct cw_frame *frame, unsigned char *header)
{
	uint64_t end = cw_min64(sent->end, sent->start + most);

	if (end < sent->end)
		cw_sent_split(tcp, sent, end);
	cw_sent_mark_again(tcp, sent);
	count_again(tcp, end - sent->start);
	cw_tcp_undo_count(tcp, sent->start, end);
	tcp->prr.out += end - sent->start;
	tcp->last_sent = tcp->core->now;
	if (tcp->settings.pacing)
		cw_tcp_pace(tcp, end - sent->start);
	cw_tcp_header(tcp, frame, header, sent->start, end, data_flags(tcp, end));
	cw_tcp_arm_retransmit(tcp);
	return true;
}

static bool retransmit(struct cw_tcp *tcp, struct cw_frame *frame, unsigned char *header)
{
	struct cw_sent *sent = cw_sent_first_lost(tcp);
	uint64_t flight = cw_tcp_in_flight(tcp), room = tcp->cwnd > flight ? tcp->cwnd - flight : 0;

	if (!sent || (room < tcp->mss && flight) || tcp->undo.forward == CW_TCP_FORWARD_SECOND)
		return false;
	room = cw_min64(cw_max64(room - room % tcp->mss, tcp->mss), frame_limit(tcp));
	return send_again(tcp, sent, room, frame, header);
}

/* How far the peer's window lets us go. */
uint64_t cw_tcp_send_limit(const struct cw_tcp *tcp)
{
	return cw_min64(tcp->snd_edge, tcp->snd_end);
}

/*
 * May a segment go that isn't full? The last one before the FIN always; else Nagle's rule with Minshall's change: if no other such one is
 * without its acknowledgement. `more` (cork) holds it back until it is full.
 */
static bool tail_may_go(const struct cw_tcp *tcp)
{
	if (tcp->fin_wanted)
		return true;
	if (tcp->more)
		return false;
	return tcp->settings.no_delay || tcp->small_end <= tcp->snd_una || tcp->urgent_end > tcp->snd_nxt;
}

/* Bytes of new data (and FIN) that may go in one frame now; 0: wait. */
static uint64_t sendable(struct cw_tcp *tcp)
{
	uint64_t limit = cw_tcp_send_limit(tcp), flight = cw_tcp_in_flight(tcp), bytes, whole;
	uint64_t room = tcp->cwnd > flight ? tcp->cwnd - flight : 0;

	if (limit <= tcp->snd_nxt)
		return 0;
	bytes = limit - tcp->snd_nxt;
	if (tcp->tail_probe)
		return cw_min64(bytes, tcp->mss);
	if (room < tcp->mss) {
		if (flight || tcp->to_retransmit)
			return 0;
		room = tcp->mss;
	}
	bytes = cw_min64(bytes, frame_limit(tcp));
	if (bytes > room)
		bytes = room - room % tcp->mss;
	whole = bytes - bytes % tcp->mss;
	if (bytes == whole)
		return bytes;
	if (tcp->snd_nxt + bytes == tcp->snd_end)
		return tail_may_go(tcp) ? bytes : whole;
	/* The window ends inside a segment: not worth one, if it isn't half of what the peer ever had (3.8.6.2.1). */
	if (whole || (bytes < tcp->max_window / 2 && !tcp->window_overridden))
		return whole;
	return bytes;
}

static void idle_restart(struct cw_tcp *tcp)
{
	/* RFC 5681 4.1: after a pause the path is unknown. */
	if (!cw_tcp_outstanding(tcp) && tcp->core->now - tcp->last_sent > tcp->rto)
		tcp->cwnd = cw_min64(tcp->cwnd, cw_tcp_initial_window(tcp));
}

static bool send_new(struct cw_tcp *tcp, struct cw_frame *frame, unsigned char *header)
{
	uint64_t bytes, end, start = tcp->snd_nxt;
	const struct cw_sent *sent;
	uint32_t probe;

	idle_restart(tcp);
	probe = tcp->path.high ? cw_tcp_path_probe(tcp) : 0;
	bytes = probe ? probe : sendable(tcp);
	if (!bytes)
		return false;
	end = start + bytes;
	sent = cw_sent_append(tcp, end);
	if (!sent)
		return false;
	if (probe && sent->start == start) /* else it couldn't be told from what was sent before */
		cw_tcp_path_sent(tcp, start, end);
	if (!cw_tcp_outstanding(tcp))
		tcp->retransmit_since = tcp->core->now;
	tcp->snd_nxt = end;
	tcp->window_overridden = false;
	tcp->persists = 0;
	tcp->prr.out += bytes;
	tcp->last_sent = tcp->core->now;
	if (tcp->core->now - tcp->data_came < tcp->settings.delayed_ack_us)
		tcp->interactive = true;
	if (bytes % tcp->mss && !probe)
		tcp->small_end = end;
	if (tcp->settings.pacing)
		cw_tcp_pace(tcp, bytes);
	cw_tcp_no_deadline(tcp, CW_TCP_PERSIST);
	cw_tcp_no_deadline(tcp, CW_TCP_CORK);
	/* RFC 3168 6.1.5: retransmissions and bare acknowledgements don't say that they are ECN capable. */
	cw_tcp_header(tcp, frame, header, start, end,
		      data_flags(tcp, end) | (tcp->ecn_reply ? CW_CWR : 0u) | (tcp->ecn ? CW_ECN_CAPABLE : 0u) |
			      (probe ? CW_ONE_PACKET : 0u));
	tcp->ecn_reply = false;
	cw_tcp_arm_retransmit(tcp);
	return true;
}

/* RFC 8985 7.3: new data if there is some, else the last segment again. */
static bool send_tail_probe(struct cw_tcp *tcp, struct cw_frame *frame, unsigned char *header)
{
	struct cw_sent *last;
	bool again = false;

	if (!tcp->tail_probe)
		return false;
	if (cw_list_empty(&tcp->sent)) {
		tcp->tail_probe = false;
		return false;
	}
	if (!send_new(tcp, frame, header)) {
		last = cw_entry(tcp->sent.previous, struct cw_sent, order);
		if (last->end - last->start > tcp->mss && cw_sent_split(tcp, last, last->end - tcp->mss))
			last = cw_entry(last->order.next, struct cw_sent, order);
		again = true;
		if (cw_sent_flags(last) & CW_SENT_SACKED) {
			tcp->tail_probe = false;
			return false;
		}
		send_again(tcp, last, tcp->mss, frame, header);
	}
	tcp->tail_probe = false;
	cw_count(tcp->core, CW_TCPIP_TAIL_PROBES);
	tcp->rack.tail_end = tcp->snd_nxt;
	tcp->rack.tail_again = again;
	cw_tcp_arm_retransmit(tcp);
	return true;
}

static bool send_ack(struct cw_tcp *tcp, struct cw_frame *frame, unsigned char *header)
{
	if (!tcp->ack_now)
		return false;
	cw_tcp_header(tcp, frame, header, tcp->snd_nxt, tcp->snd_nxt, CW_ACK);
	return true;
}

/* A segment that isn't acceptable, so that the peer answers with what it expects and its window. It takes no room in any window. What it
 * acknowledges goes unread (RFC 9293 3.10.7.4), so it can't stand for an acknowledgement that is due. */
static bool send_probe(struct cw_tcp *tcp, struct cw_frame *frame, unsigned char *header)
{
	if (!tcp->window_probe && !tcp->keep_probe)
		return false;
	if (tcp->unacked)
		tcp->ack_now = true;
	if (send_ack(tcp, frame, header))
		return true;
	cw_count(tcp->core, tcp->window_probe ? CW_TCPIP_WINDOW_PROBES : CW_TCPIP_KEEP_ALIVE_PROBES);
	tcp->window_probe = tcp->keep_probe = false;
	cw_tcp_header(tcp, frame, header, tcp->snd_una - 1, tcp->snd_una - 1, CW_ACK);
	return true;
}

bool cw_tcp_output(struct cw_tcp *tcp, struct cw_frame *frame, unsigned char *header)
{
	bool early;

	if (tcp->state == CW_TCP_CLOSED)
		return false;
	if (!has_opened(tcp))
		return send_syn(tcp, frame, header) || (tcp->state == CW_TCP_SYN_RECEIVED && send_ack(tcp, frame, header));
	/* Blocks and duplicates are told by bare acknowledgements alone: data leave no room for the option. */
	if (tcp->ack_now && (tcp->blocks || tcp->dsack_start != tcp->dsack_end))
		return send_ack(tcp, frame, header);
	early = tcp->settings.pacing && cw_tcp_paced(tcp);
	if ((!early && retransmit(tcp, frame, header)) || send_tail_probe(tcp, frame, header) || (!early && send_new(tcp, frame, header)) ||
	    send_probe(tcp, frame, header))
		return true;
	if (tcp->more && tcp->snd_end > tcp->snd_nxt && tcp->deadline[CW_TCP_CORK] == CW_NEVER)
		cw_tcp_deadline(tcp, CW_TCP_CORK, tcp->core->now + CORKED_MOST);
	/* Something is left, nothing is in flight that would bring an acknowledgement: the window is what is missing. */
	if (tcp->snd_end > tcp->snd_nxt && !cw_tcp_outstanding(tcp) && tcp->deadline[CW_TCP_PERSIST] == CW_NEVER &&
	    tcp->deadline[CW_TCP_PACE] == CW_NEVER && !(tcp->more && tcp->snd_edge > tcp->snd_nxt))
		cw_tcp_arm_persist(tcp);
	return send_ack(tcp, frame, header);
}
