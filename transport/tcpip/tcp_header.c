/* Frames made: IP and TCP header in the caller's memory, payload where it lies in the ring. */
#include <arpa/inet.h>

#include "transport/tcpip/checksum.h"
#include "transport/tcpip/tcp.h"
#include "transport/tcpip/tcp_options.h"

#define HOP_LIMIT 64u

static void put_tcp(unsigned char *tcp, const struct cw_flow_key *key, uint32_t seq, uint32_t ack, uint32_t options, unsigned flags,
		    uint32_t window)
{
	cw_put16(tcp, key->local_port);
	cw_put16(tcp + 2, key->remote_port);
	cw_put32(tcp + 4, seq);
	cw_put32(tcp + 8, flags & CW_ACK ? ack : 0);
	tcp[12] = (unsigned char)((CW_TCP_HEADER + options) / 4 << 4);
	tcp[13] = (unsigned char)flags;
	cw_put16(tcp + 14, window);
	cw_put32(tcp + 16, 0);
}

static void put_checksum(const struct cw_tcpip *core, const struct cw_flow_key *key, struct cw_frame *frame, uint32_t at)
{
	uint64_t sum = cw_checksum_pseudo(&key->local, &key->remote, CW_PROTOCOL_TCP, frame->length - at);
	uint16_t field;

	frame->checksum_start = (uint16_t)at;
	frame->checksum_offset = 16;
	if (core->config.checksum_offload) {
		frame->checksum = CW_CHECKSUM_PARTIAL;
		field = cw_checksum_fold(sum);
	} else {
		frame->checksum = CW_CHECKSUM_COMPLETE;
		field = (uint16_t)~cw_checksum_fold(cw_checksum_frame(sum, frame, at, frame->length - at));
	}
	memcpy((unsigned char *)frame->piece[0].at + at + 16, &field, 2);
}

static void put_payload(const struct cw_tcp *tcp, struct cw_frame *frame, uint64_t start, uint32_t length)
{
	uint32_t at = (uint32_t)(start - tcp->send_origin) & tcp->send_mask, until_wrap = tcp->send_mask + 1 - at;

	frame->piece[1] = (struct cw_piece){tcp->send + at, cw_min32(length, until_wrap)};
	frame->pieces = length ? 2 : 1;
	if (length > until_wrap) {
		frame->piece[2] = (struct cw_piece){tcp->send, length - until_wrap};
		frame->pieces = 3;
	}
}

/* The window on the wire. Rounding up to the unit of the scale keeps the right edge from going back; where there is no room for that, it
 * isn't done. */
static uint32_t tell_window(struct cw_tcp *tcp)
{
	uint32_t window = cw_tcp_window(tcp), unit = 1u << tcp->receive_scale;
	uint32_t up = (window + unit - 1) & ~(unit - 1), down = window & ~(unit - 1);

	if (up > down && (tcp->rcv_nxt + up > tcp->read + tcp->receive_mask + 1 || up >> tcp->receive_scale > 65535))
		up = down;
	tcp->rcv_adv = cw_max64(tcp->rcv_adv, tcp->rcv_nxt + up);
	return up >> tcp->receive_scale;
}

static uint32_t put_options(struct cw_tcp *tcp, unsigned char *at, unsigned flags, bool bare, uint32_t payload)
{
	struct cw_sack_range range[CW_SACK_BLOCKS];
	uint32_t length = 0, count;

	if (flags & CW_SYN) {
		struct cw_tcp_options options;

		cw_tcp_syn_options(&tcp->settings, cw_tcp_largest_segment(tcp->core, &tcp->flow.key.remote), tcp->receive_mask + 1,
				   &options);
		if (flags & CW_ACK) { /* simultaneous open: what was agreed */
			options.has_timestamp = tcp->timestamps;
			options.sack_permitted = tcp->sack;
			options.has_window_scale = tcp->receive_scale || tcp->send_scale;
		}
		options.timestamp = cw_tcp_clock(tcp);
		options.echo = tcp->ts_recent;
		return cw_tcp_options_put_syn(at, &options);
	}
	if (tcp->timestamps)
		length = cw_tcp_options_put_timestamps(at, cw_tcp_clock(tcp), tcp->ts_recent);
	if (tcp->user_timeout_due && !tcp->blocks && tcp->dsack_start == tcp->dsack_end && payload + 4 <= tcp->mss) {
		tcp->user_timeout_due = false;
		length += cw_tcp_options_put_user_timeout(at + length, cw_tcp_user_timeout_told(&tcp->settings));
	}
	if (!bare || !tcp->sack || (!tcp->blocks && tcp->dsack_start == tcp->dsack_end))
		return length;
	count = cw_tcp_sack_make(tcp, range, tcp->timestamps ? 3 : 4);
	return count ? length + cw_tcp_options_put_sack(at + length, range, count) : length;
}

/* All that an acknowledgement in this segment settles. */
static void acknowledged(struct cw_tcp *tcp)
{
	tcp->ack_now = false;
	tcp->unacked = 0;
	tcp->last_ack_sent = tcp->rcv_nxt;
	cw_tcp_no_deadline(tcp, CW_TCP_DELAYED_ACK);
}

void cw_tcp_ack_before(struct cw_tcp *tcp)
{
	struct cw_reply *reply = cw_reply(tcp->core, &tcp->flow.key, (uint8_t)(CW_ACK | (tcp->ecn_echo ? CW_ECE : 0u)),
					  (uint32_t)tcp->snd_nxt, (uint32_t)tcp->rcv_nxt);

	if (!reply)
		return;
	reply->window = (uint16_t)tell_window(tcp);
	if (tcp->timestamps)
		reply->options_length = (uint8_t)cw_tcp_options_put_timestamps(reply->options, cw_tcp_clock(tcp), tcp->ts_recent);
	acknowledged(tcp);
}

/* RFC 6093. Further away than the field reaches it points as far as it can, but never into what was sent: that would call an ordinary byte
 * urgent. Behind what was sent it says that urgent data are on their way, and segments to come say better. */
static void put_urgent(const struct cw_tcp *tcp, unsigned char *header, uint64_t start)
{
	uint64_t distance = cw_min64(tcp->urgent_end - start, UINT16_MAX);

	if (tcp->urgent_end <= cw_max64(start, tcp->snd_una) || (start + distance < tcp->urgent_end && start + distance <= tcp->snd_nxt))
		return;
	header[13] |= CW_URG;
	cw_put16(header + 18, (uint32_t)distance);
}

/* The segment [start, end); positions from fin_at on are the FIN. */
void cw_tcp_header(struct cw_tcp *tcp, struct cw_frame *frame, unsigned char *header, uint64_t start, uint64_t end, unsigned flags)
{
	const struct cw_flow_key *key = &tcp->flow.key;
	uint32_t payload = (uint32_t)(cw_min64(end, tcp->fin_at) - cw_min64(start, tcp->fin_at));
	uint32_t ip = cw_ip_is_4(&key->remote) ? 20 : 40, options, window;
	unsigned char *at = header + ip;
	uint8_t ecn = flags & CW_ECN_CAPABLE ? CW_ECN_ECT0 : 0;

	if (end > start && end > tcp->fin_at)
		flags |= CW_FIN;
	options = put_options(tcp, at + CW_TCP_HEADER, flags, end == start, payload);
	window = flags & CW_SYN ? cw_min32(cw_tcp_window(tcp), 65535) : tell_window(tcp);
	if (flags & CW_SYN)
		tcp->rcv_adv = cw_max64(tcp->rcv_adv, tcp->rcv_nxt + window);
	if (tcp->ecn && tcp->ecn_echo && !(flags & CW_SYN))
		flags |= CW_ECE;
	if (flags == CW_SYN && tcp->settings.ecn && !tcp->backoffs)
		flags |= CW_ECE | CW_CWR;
	put_tcp(at, key, (uint32_t)start, (uint32_t)tcp->rcv_nxt, options, flags, window);
	put_urgent(tcp, at, start);
	cw_ip_header(header, &key->local, &key->remote, CW_PROTOCOL_TCP, CW_TCP_HEADER + options + payload, ecn, tcp->ip_id++, HOP_LIMIT);
	frame->piece[0] = (struct cw_piece){header, ip + CW_TCP_HEADER + options};
	frame->length = frame->piece[0].length + payload;
	frame->segment_size = payload > tcp->mss && !(flags & CW_ONE_PACKET) ? tcp->mss : 0;
	put_payload(tcp, frame, start, payload);
	put_checksum(tcp->core, key, frame, ip);
	if (flags & CW_ACK)
		acknowledged(tcp);
}

void cw_reply_frame(struct cw_tcpip *core, const struct cw_reply *reply, struct cw_frame *frame, unsigned char *header)
{
	uint32_t ip = cw_ip_is_4(&reply->key.remote) ? 20 : 40;

	put_tcp(header + ip, &reply->key, reply->seq, reply->ack, reply->options_length, reply->flags, reply->window);
	memcpy(header + ip + CW_TCP_HEADER, reply->options, reply->options_length);
	cw_ip_header(header, &reply->key.local, &reply->key.remote, CW_PROTOCOL_TCP, CW_TCP_HEADER + reply->options_length, 0, 0,
		     HOP_LIMIT);
	frame->piece[0] = (struct cw_piece){header, ip + CW_TCP_HEADER + reply->options_length};
	frame->pieces = 1;
	frame->length = frame->piece[0].length;
	frame->segment_size = 0;
	put_checksum(core, &reply->key, frame, ip);
}
