/* What a socket does to a connection, but for opening and closing. */
#include "transport/tcpip/tcp.h"

#include <errno.h>

static void broken(struct cw_tcp *tcp)
{
	cw_count(tcp->core, CW_TCPIP_BROKEN);
	cw_tcp_reset(tcp, EPROTO);
}

void cw_tcp_written(struct cw_tcp *tcp, uint64_t written, bool more, uint64_t now)
{
	uint64_t end = tcp->send_origin + written, first = cw_max64(tcp->snd_una, tcp->send_origin);

	cw_core_clock(tcp->core, now);
	if (tcp->state == CW_TCP_CLOSED)
		return;
	if (tcp->fin_wanted ? end != tcp->fin_at : end < tcp->snd_end || end - first > (uint64_t)tcp->send_mask + 1) {
		broken(tcp);
		return;
	}
	if (!tcp->fin_wanted)
		tcp->snd_end = end;
	if (tcp->settings.send_most > tcp->send_mask)
		cw_tcp_tune_send(tcp);
	tcp->more = more;
	if (!more)
		cw_tcp_no_deadline(tcp, CW_TCP_CORK);
	cw_tcp_ready(tcp);
}

void cw_tcp_read(struct cw_tcp *tcp, uint64_t read, uint64_t now)
{
	uint64_t position = tcp->receive_origin + read;

	cw_core_clock(tcp->core, now);
	if (tcp->state == CW_TCP_CLOSED)
		return;
	if (position < tcp->read || position - tcp->read > cw_tcp_unread(tcp)) {
		broken(tcp);
		return;
	}
	tcp->read = position;
	if (tcp->settings.receive_most > tcp->receive_mask)
		cw_tcp_tune_receive(tcp);
	if (!tcp->fin_received && cw_tcp_window_update_due(tcp))
		cw_tcp_ack_now(tcp);
}

void cw_tcp_urgent(struct cw_tcp *tcp, uint64_t now)
{
	cw_core_clock(tcp->core, now);
	if (tcp->state == CW_TCP_CLOSED)
		return;
	tcp->urgent_end = cw_min64(tcp->snd_end, tcp->fin_at);
	/* RFC 9293 3.8.5: told at once, by an acknowledgement if no window has room for data. */
	if (cw_tcp_synchronized(tcp) && tcp->state != CW_TCP_SYN_RECEIVED && tcp->urgent_end > tcp->snd_nxt)
		tcp->ack_now = true;
	cw_tcp_ready(tcp);
}

void cw_tcp_set_no_delay(struct cw_tcp *tcp, bool on, uint64_t now)
{
	cw_core_clock(tcp->core, now);
	tcp->settings.no_delay = on;
	if (tcp->state != CW_TCP_CLOSED)
		cw_tcp_ready(tcp);
}

/* Until the program answers what comes, or leaves it without an answer, respectively. */
void cw_tcp_set_quick_ack(struct cw_tcp *tcp, bool on, uint64_t now)
{
	cw_core_clock(tcp->core, now);
	tcp->interactive = !on;
	if (on)
		tcp->quick_acks = CW_TCP_QUICK_ACKS;
	if (on && tcp->unacked && cw_tcp_synchronized(tcp))
		cw_tcp_ack_now(tcp);
}

void cw_tcp_set_keep_alive(struct cw_tcp *tcp, bool on, uint64_t now)
{
	cw_core_clock(tcp->core, now);
	tcp->settings.keep_alive = on;
	if (cw_tcp_synchronized(tcp))
		cw_tcp_arm_keep_alive(tcp);
}

void cw_tcp_set_keep_alive_times(struct cw_tcp *tcp, uint32_t idle_s, uint32_t interval_s, uint32_t count, uint64_t now)
{
	struct cw_tcp_settings *settings = &tcp->settings;

	cw_core_clock(tcp->core, now);
	settings->keep_idle_s = idle_s ? idle_s : settings->keep_idle_s;
	settings->keep_interval_s = interval_s ? interval_s : settings->keep_interval_s;
	settings->keep_count = count ? count : settings->keep_count;
	if (cw_tcp_synchronized(tcp) && !tcp->keep_probe && !tcp->probes)
		cw_tcp_arm_keep_alive(tcp);
}

void cw_tcp_set_pacing(struct cw_tcp *tcp, bool on, uint64_t rate, uint64_t now)
{
	cw_core_clock(tcp->core, now);
	tcp->settings.pacing = on;
	tcp->settings.pacing_rate = rate;
	if (!on && tcp->state != CW_TCP_CLOSED)
		cw_tcp_ready(tcp);
}

void cw_tcp_info(const struct cw_tcp *tcp, struct cw_tcp_info *info)
{
	*info = (struct cw_tcp_info){
		.state = tcp->state,
		.sent = cw_min64(tcp->snd_nxt, tcp->fin_at) - tcp->send_origin,
		.acknowledged = cw_tcp_acknowledged(tcp),
		.received = cw_tcp_received(tcp),
		.congestion_window = (uint32_t)cw_min64(tcp->cwnd, UINT32_MAX),
		.slow_start_threshold = (uint32_t)cw_min64(tcp->ssthresh, UINT32_MAX),
		.mss = tcp->mss,
		.send_window = (uint32_t)(tcp->snd_edge > tcp->snd_una ? tcp->snd_edge - tcp->snd_una : 0),
		.receive_window = cw_tcp_window(tcp),
		.smoothed_rtt_us = (uint32_t)(tcp->srtt8 / 8),
		.rtt_variation_us = (uint32_t)(tcp->rttvar4 / 4),
		.rto_us = tcp->rto,
		.in_flight = cw_tcp_in_flight(tcp),
		.retransmissions = tcp->retransmissions,
		.bytes_retransmitted = tcp->bytes_retransmitted,
		.recovering = tcp->recovery != CW_TCP_OPEN,
	};
}
