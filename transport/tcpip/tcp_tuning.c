/*
 * How large the rings should be. The receiver's (dynamic right-sizing, as Linux does it): what the program has read in a round trip is what
 * the sender can have sent in one, so a window of twice that never is what limits a sender in slow start. The sender's: twice the
 * congestion window, so that the program can refill what an acknowledgement frees while the rest is in flight. Rings are the caller's: it
 * is asked.
 */
#include "transport/tcpip/tcp.h"

#define STAMPED 16384u /* with time stamps each segment tells a round trip; so often it is looked at */

void cw_tcp_tuning_begin(struct cw_tcp *tcp)
{
	tcp->tuning.rtt_end = CW_NEVER;
	if (tcp->settings.receive_most <= tcp->receive_mask + 1)
		return;
	tcp->tuning.rtt_end = tcp->rcv_nxt + (tcp->timestamps ? 1 : tcp->rcv_adv - tcp->rcv_nxt);
	tcp->tuning.rtt_since = tcp->tuning.since = tcp->core->now;
	tcp->tuning.read = tcp->read;
	tcp->tuning.space = cw_min64(10ull * tcp->receive_mss, tcp->receive_mask + 1);
}

/* By the echo, or by the time that a whole window takes to come: that one is never too small, so the least of them counts. */
void cw_tcp_tuning_rtt(struct cw_tcp *tcp, const struct cw_segment *segment)
{
	uint64_t window = cw_max64(tcp->rcv_adv - cw_min64(tcp->rcv_adv, tcp->rcv_nxt), 1), sample = tcp->core->now - tcp->tuning.rtt_since;
	bool stamped = tcp->timestamps && segment->options.has_timestamp && segment->options.echo;

	if (stamped) {
		sample = (uint64_t)(cw_tcp_clock(tcp) - segment->options.echo) * 1000;
		tcp->tuning.rtt = tcp->tuning.rtt ? (7 * tcp->tuning.rtt + sample) / 8 : sample;
	} else if (!tcp->tuning.rtt || sample < tcp->tuning.rtt) {
		tcp->tuning.rtt = sample;
	}
	tcp->tuning.rtt = cw_max64(tcp->tuning.rtt, 1000);
	tcp->tuning.rtt_end = tcp->settings.receive_most > tcp->receive_mask + 1 ? tcp->rcv_nxt + (stamped ? STAMPED : window) : CW_NEVER;
	tcp->tuning.rtt_since = tcp->core->now;
}

/* The power of two that holds so much, within the bound. */
static uint32_t ring_for(uint64_t bytes, uint32_t most)
{
	uint32_t size = 1024;

	while (size < bytes && size <= most / 2)
		size *= 2;
	return size;
}

/* The program has read. */
void cw_tcp_tune_receive(struct cw_tcp *tcp)
{
	uint64_t copied = tcp->read - tcp->tuning.read, space = tcp->tuning.space, wanted;
	uint64_t rtt = tcp->srtt8 ? cw_min64(tcp->tuning.rtt, tcp->srtt8 / 8) : tcp->tuning.rtt;
	uint32_t size;

	if (!tcp->tuning.rtt || tcp->core->now - tcp->tuning.since < rtt)
		return;
	if (copied > space) {
		/* The sender may double its window each round trip, and grows the faster the more this one grew. */
		wanted = 2 * copied + 16ull * tcp->receive_mss;
		wanted += 2 * wanted * (copied - space) / space;
		tcp->tuning.space = copied;
		size = ring_for(wanted, tcp->settings.receive_most);
		if (size > tcp->receive_mask + 1 && size > tcp->tuning.receive_wanted) {
			tcp->tuning.receive_wanted = size;
			cw_tcp_tell(tcp, CW_TCP_GROW);
		}
	}
	tcp->tuning.since = tcp->core->now;
	tcp->tuning.read = tcp->read;
}

/* The program has written: is its ring what holds the stream back? */
void cw_tcp_tune_send(struct cw_tcp *tcp)
{
	uint64_t kept = cw_min64(tcp->snd_end, tcp->fin_at) - cw_max64(tcp->snd_una, tcp->send_origin);
	uint32_t size;

	if (kept + tcp->mss <= tcp->send_mask || tcp->cwnd * 2 <= (uint64_t)tcp->send_mask + 1)
		return;
	size = ring_for(2 * tcp->cwnd, tcp->settings.send_most);
	if (size <= tcp->send_mask + 1 || size <= tcp->tuning.send_wanted)
		return;
	tcp->tuning.send_wanted = size;
	cw_tcp_tell(tcp, CW_TCP_GROW);
}

static bool is_larger(const struct cw_tcp *tcp, uint32_t size, uint32_t mask)
{
	return tcp->state != CW_TCP_CLOSED && tcp->state != CW_TCP_LISTEN && size > mask && size <= 1u << 30 && (size & (size - 1)) == 0;
}

/* Bytes [from, to) of the stream, from one ring into another. */
static void move(unsigned char *into, uint32_t into_mask, const unsigned char *old, uint32_t old_mask, uint64_t from, uint64_t to)
{
	while (from < to) {
		uint64_t length = cw_min64(to - from, cw_min64(old_mask + 1 - (from & old_mask), into_mask + 1 - (from & into_mask)));

		memcpy(into + (from & into_mask), old + (from & old_mask), length);
		from += length;
	}
}

bool cw_tcp_grow_send(struct cw_tcp *tcp, unsigned char *ring, uint32_t size, uint64_t now)
{
	uint64_t first = cw_max64(tcp->snd_una, tcp->send_origin), end = cw_min64(tcp->snd_end, tcp->fin_at);

	cw_core_clock(tcp->core, now);
	if (!is_larger(tcp, size, tcp->send_mask))
		return false;
	move(ring, size - 1, tcp->send, tcp->send_mask, first - tcp->send_origin, end - tcp->send_origin);
	tcp->send = ring;
	tcp->send_mask = size - 1;
	return true;
}

bool cw_tcp_grow_receive(struct cw_tcp *tcp, unsigned char *ring, uint32_t size, uint64_t now)
{
	uint64_t origin = tcp->receive_origin;

	cw_core_clock(tcp->core, now);
	/* While it opens the scale that the SYN told is still to be found again. */
	if (!is_larger(tcp, size, tcp->receive_mask) || !origin)
		return false;
	move(ring, size - 1, tcp->receive, tcp->receive_mask, tcp->read - origin, tcp->read - origin + cw_tcp_unread(tcp));
	for (const struct cw_tcp_block *block = tcp->blocks; block; block = block->next)
		move(ring, size - 1, tcp->receive, tcp->receive_mask, block->start - origin, block->end - origin);
	tcp->receive = ring;
	tcp->receive_mask = size - 1;
	if (cw_tcp_synchronized(tcp) && !tcp->fin_received && cw_tcp_window_update_due(tcp))
		cw_tcp_ack_now(tcp);
	return true;
}
