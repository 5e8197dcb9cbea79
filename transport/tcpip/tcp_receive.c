/* Data on its way into the receive ring, in order or not, and when it is acknowledged (RFC 9293 3.10.7.4, 5681 4.2, 2018, 2883). */
#include "transport/tcpip/tcp.h"

/*
 * The window from rcv_nxt on, in bytes. Its right edge never goes back, and rises only by a step worth a segment (3.8.6.2.2), and no byte
 * inside it is without room in the ring.
 */
uint32_t cw_tcp_window(const struct cw_tcp *tcp)
{
	uint64_t size = (uint64_t)tcp->receive_mask + 1, edge = tcp->read + size, told = tcp->rcv_adv;

	if (edge - told < cw_min64(size / 2, tcp->receive_mss))
		edge = told;
	if (edge <= tcp->rcv_nxt)
		return 0;
	return (uint32_t)cw_min64(edge - tcp->rcv_nxt, (uint64_t)65535 << tcp->receive_scale);
}

/* The program has read: is it worth a segment to say so? */
bool cw_tcp_window_update_due(const struct cw_tcp *tcp)
{
	uint64_t size = (uint64_t)tcp->receive_mask + 1, rise = tcp->rcv_nxt + cw_tcp_window(tcp), left = tcp->rcv_adv - tcp->rcv_nxt;

	rise = rise > tcp->rcv_adv ? rise - tcp->rcv_adv : 0;
	if (rise >= size / 2)
		return true;
	return rise >= 2ull * tcp->receive_mss && (rise >= size / 4 || left <= size / 8);
}

/* `skip` bytes into the payload, to this position. */
void cw_tcp_copy_in(struct cw_tcp *tcp, const struct cw_segment *segment, uint32_t skip, uint64_t position, uint32_t length)
{
	const struct cw_frame *frame = segment->frame;
	uint32_t offset = segment->at + skip, to = (uint32_t)(position - tcp->receive_origin) & tcp->receive_mask;

	for (uint32_t i = 0; length; i++) {
		const struct cw_piece *piece = &frame->piece[i];
		uint32_t take, until_wrap = tcp->receive_mask + 1 - to;

		if (offset >= piece->length) {
			offset -= piece->length;
			continue;
		}
		take = cw_min32(piece->length - offset, length);
		if (take <= until_wrap) {
			memcpy(tcp->receive + to, piece->at + offset, take);
		} else {
			memcpy(tcp->receive + to, piece->at + offset, until_wrap);
			memcpy(tcp->receive, piece->at + offset + until_wrap, take - until_wrap);
		}
		to = (to + take) & tcp->receive_mask;
		length -= take;
		offset = 0;
	}
}

/* RFC 2883: the next acknowledgement says what came twice. */
void cw_tcp_dsack(struct cw_tcp *tcp, uint64_t start, uint64_t end)
{
	tcp->dsack_start = start;
	tcp->dsack_end = end;
	if (!tcp->sack)
		tcp->dsack_start = end;
}

/* At least every second full segment, and within the delay (RFC 5681 4.2, 9293 3.8.6.3). Who has been silent for longer than a time-out is
 * in slow start again (RFC 5681 4.1), which wants each acknowledgement. */
void cw_tcp_acknowledge_data(struct cw_tcp *tcp, uint32_t length)
{
	if (tcp->core->now - tcp->data_came > tcp->rto)
		tcp->quick_acks = CW_TCP_QUICK_ACKS;
	tcp->data_came = tcp->core->now;
	tcp->unacked += length;
	if ((tcp->quick_acks && !tcp->interactive) || tcp->unacked >= 2u * tcp->receive_mss) {
		if (tcp->quick_acks)
			tcp->quick_acks--;
		cw_tcp_ack_now(tcp);
	} else if (tcp->deadline[CW_TCP_DELAYED_ACK] == CW_NEVER) {
		cw_tcp_deadline(tcp, CW_TCP_DELAYED_ACK, tcp->core->now + tcp->settings.delayed_ack_us);
	}
}

static void drop_block(struct cw_tcp *tcp, struct cw_tcp_block **link)
{
	struct cw_tcp_block *block = *link;

	*link = block->next;
	tcp->block_count--;
	cw_pool_give(&tcp->core->block_pool, block);
}

void cw_tcp_blocks_release(struct cw_tcp *tcp)
{
	while (tcp->blocks)
		drop_block(tcp, &tcp->blocks);
}

uint64_t cw_tcp_blocks_end(const struct cw_tcp *tcp)
{
	uint64_t end = 0;

	for (const struct cw_tcp_block *block = tcp->blocks; block; block = block->next)
		end = block->end;
	return end;
}

/* What had been waiting behind a gap that is filled now. */
static void join_blocks(struct cw_tcp *tcp)
{
	while (tcp->blocks && tcp->blocks->start <= tcp->rcv_nxt) {
		tcp->rcv_nxt = cw_max64(tcp->rcv_nxt, tcp->blocks->end);
		drop_block(tcp, &tcp->blocks);
	}
}

/* Note [start, end) behind a gap. False: no record is left, so it has to come again. */
static bool add_block(struct cw_tcp *tcp, uint64_t start, uint64_t end)
{
	struct cw_tcp_block **link = &tcp->blocks, *block;

	while (*link && (*link)->end < start)
		link = &(*link)->next;
	block = *link;
	if (block && block->start <= start && block->end >= end) {
		cw_tcp_dsack(tcp, start, end);
		return true;
	}
	if (!block || block->start > end) {
		if (tcp->block_count == tcp->core->config.blocks_a_connection)
			return false;
		block = cw_pool_take(&tcp->core->block_pool);
		if (!block)
			return false;
		tcp->block_count++;
		*block = (struct cw_tcp_block){.next = *link, .start = start, .end = end};
		*link = block;
		return true;
	}
	block->start = cw_min64(block->start, start);
	block->end = cw_max64(block->end, end);
	while (block->next && block->next->start <= block->end) {
		block->end = cw_max64(block->end, block->next->end);
		drop_block(tcp, &block->next);
	}
	return true;
}

/* Once for each block, or one that came in many segments would leave no place for others. */
static void remember_recent(struct cw_tcp *tcp, uint64_t start)
{
	const struct cw_tcp_block *block = tcp->blocks;
	uint64_t older = start;

	while (block->end <= start)
		block = block->next;
	for (unsigned i = 0; i < CW_SACK_BLOCKS; i++) {
		uint64_t this = tcp->sack_recent[i];

		tcp->sack_recent[i] = older;
		if (this >= block->start && this < block->end)
			return;
		older = this;
	}
}

static void out_of_order(struct cw_tcp *tcp, const struct cw_segment *segment, uint32_t skip, uint64_t start, uint64_t end)
{
	cw_count(tcp->core, CW_TCPIP_OUT_OF_ORDER);
	cw_tcp_ack_now(tcp); /* RFC 5681 4.2: at once */
	if (!add_block(tcp, start, end)) {
		cw_count(tcp->core, CW_TCPIP_NO_BLOCK);
		return;
	}
	cw_tcp_copy_in(tcp, segment, skip, start, (uint32_t)(end - start));
	remember_recent(tcp, start);
}

static void in_order(struct cw_tcp *tcp, const struct cw_segment *segment, uint32_t skip, uint64_t start, uint64_t end)
{
	bool fills = tcp->blocks;

	cw_tcp_copy_in(tcp, segment, skip, start, (uint32_t)(end - start));
	tcp->rcv_nxt = end;
	join_blocks(tcp);
	if (tcp->rcv_nxt >= tcp->tuning.rtt_end)
		cw_tcp_tuning_rtt(tcp, segment);
	cw_tcp_tell(tcp, CW_TCP_READABLE);
	if (fills)
		cw_tcp_ack_now(tcp);
	else
		cw_tcp_acknowledge_data(tcp, (uint32_t)(end - start));
}

/* The payload, which begins at this position. What lies outside the window, or behind the FIN, is cut off. */
void cw_tcp_receive(struct cw_tcp *tcp, const struct cw_segment *segment, uint64_t start)
{
	uint64_t end = start + segment->length;
	uint32_t skip = 0, size = segment->frame->segment_size ? segment->frame->segment_size : segment->length;

	if (size > tcp->receive_mss && size <= tcp->core->config.mtu)
		tcp->receive_mss = (uint16_t)size;
	end = cw_min64(end, cw_min64(tcp->rcv_adv, tcp->fin_received_at));
	if (start < tcp->rcv_nxt) {
		cw_tcp_dsack(tcp, start, cw_min64(start + segment->length, tcp->rcv_nxt));
		cw_tcp_ack_now(tcp);
		skip = (uint32_t)(tcp->rcv_nxt - start);
		start = tcp->rcv_nxt;
	}
	if (start >= end) {
		cw_count(tcp->core, CW_TCPIP_DUPLICATE);
		cw_tcp_ack_now(tcp);
		return;
	}
	if (start == tcp->rcv_nxt)
		in_order(tcp, segment, skip, start, end);
	else
		out_of_order(tcp, segment, skip, start, end);
}
