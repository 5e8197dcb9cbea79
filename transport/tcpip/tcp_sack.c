/* Selective acknowledgements (RFC 2018), duplicates among them (2883): taken from the peer, and made for it. */
#include "transport/tcpip/tcp.h"

struct range {
	uint64_t start, end;
};

/* The record that this position lies in. The search begins where the last one ended: blocks come near one another. */
static struct cw_sent *find(struct cw_tcp *tcp, uint64_t position)
{
	struct cw_list *at = tcp->sack_hint ? &tcp->sack_hint->order : tcp->sent.previous;

	while (at != tcp->sent.next && cw_entry(at, struct cw_sent, order)->start > position)
		at = at->previous;
	while (cw_entry(at, struct cw_sent, order)->end <= position)
		at = at->next;
	return cw_entry(at, struct cw_sent, order);
}

static bool sacked(struct cw_tcp *tcp, struct cw_list *entry)
{
	return entry != &tcp->sent && cw_sent_flags(cw_entry(entry, struct cw_sent, order)) & CW_SENT_SACKED;
}

/* Neighbours that are SACKed become one record: so there are at most as many as there are gaps, and frames in flight. */
static struct cw_sent *merge(struct cw_tcp *tcp, struct cw_sent *sent)
{
	if (sacked(tcp, sent->order.next)) {
		struct cw_sent *next = cw_entry(sent->order.next, struct cw_sent, order);

		sent->end = next->end;
		cw_sent_drop(tcp, next);
	}
	if (sacked(tcp, sent->order.previous)) {
		struct cw_sent *previous = cw_entry(sent->order.previous, struct cw_sent, order);

		previous->end = sent->end;
		cw_sent_drop(tcp, sent);
		return previous;
	}
	return sent;
}

static void take(struct cw_tcp *tcp, const struct range *range, struct cw_tcp_acked *acked)
{
	struct cw_sent *sent = find(tcp, range->start);

	for (;;) {
		if (!(cw_sent_flags(sent) & CW_SENT_SACKED)) {
			/* Without a record for the rest the news is left out: the peer tells it again, or the time-out repairs it. */
			if (sent->start < range->start) {
				if (!cw_sent_split(tcp, sent, range->start))
					return;
				sent = cw_entry(sent->order.next, struct cw_sent, order);
			}
			if (sent->end > range->end && !cw_sent_split(tcp, sent, range->end))
				return;
			acked->delivered += sent->end - sent->start;
			acked->sacked = true;
			cw_rack_delivered(tcp, sent, sent->end, acked);
			cw_sent_mark_sacked(tcp, sent);
			sent = merge(tcp, sent);
		}
		tcp->sack_hint = sent;
		if (sent->end >= range->end || sent->order.next == &tcp->sent)
			return;
		sent = cw_entry(sent->order.next, struct cw_sent, order);
	}
}

/* RFC 2883 section 4: the first block tells a duplicate if it lies before the acknowledgement or inside the second. */
static bool is_duplicate(const struct range *first, const struct range *second, uint64_t ack)
{
	return first->end <= ack || (second && first->start >= second->start && first->end <= second->end);
}

void cw_tcp_sack_take(struct cw_tcp *tcp, const struct cw_segment *segment, struct cw_tcp_acked *acked)
{
	struct range range[CW_SACK_BLOCKS], *begin = range;
	unsigned count = segment->options.sacks;

	for (unsigned i = 0; i < count; i++) {
		range[i].start = cw_tcp_position(segment->options.sack[i].start, tcp->snd_una);
		range[i].end = cw_tcp_position(segment->options.sack[i].end, tcp->snd_una);
	}
	if (count && is_duplicate(&range[0], count > 1 ? &range[1] : NULL, acked->ack)) {
		acked->dsack = range[0].end > range[0].start;
		acked->dsack_start = range[0].start;
		acked->dsack_end = range[0].end;
		begin++;
		count--;
	}
	/* From below upwards, or what is told first would make the rest look reordered. */
	for (unsigned i = 1; i < count; i++)
		for (unsigned k = i; k && begin[k].start < begin[k - 1].start; k--) {
			struct range swap = begin[k];

			begin[k] = begin[k - 1];
			begin[k - 1] = swap;
		}
	for (unsigned i = 0; i < count; i++) {
		if (begin[i].end <= tcp->snd_una && begin[i].start < begin[i].end)
			continue; /* an old one, overtaken */
		if (begin[i].start >= begin[i].end || begin[i].end > tcp->snd_nxt) {
			cw_count(tcp->core, CW_TCPIP_BAD_SACK);
			continue;
		}
		begin[i].start = cw_max64(begin[i].start, tcp->snd_una);
		if (!cw_list_empty(&tcp->sent))
			take(tcp, &begin[i], acked);
	}
}

static const struct cw_tcp_block *block_at(const struct cw_tcp *tcp, uint64_t position)
{
	const struct cw_tcp_block *block = tcp->blocks;

	while (block && block->end <= position)
		block = block->next;
	return block && block->start <= position ? block : NULL;
}

static uint32_t put(struct cw_sack_range *range, uint32_t count, uint64_t start, uint64_t end)
{
	range[count].start = (uint32_t)start;
	range[count].end = (uint32_t)end;
	return count + 1;
}

static bool among(const struct cw_tcp_block *const *told, uint32_t blocks, const struct cw_tcp_block *block)
{
	while (blocks)
		if (told[--blocks] == block)
			return true;
	return false;
}

/* RFC 2018 section 4: the block of what came last first, then those told before, so that each is told several times, then others. */
uint32_t cw_tcp_sack_make(struct cw_tcp *tcp, struct cw_sack_range *range, uint32_t most)
{
	const struct cw_tcp_block *told[CW_SACK_BLOCKS];
	uint32_t count = 0, blocks = 0;

	if (tcp->dsack_start != tcp->dsack_end && most) {
		count = put(range, count, tcp->dsack_start, tcp->dsack_end);
		tcp->dsack_start = tcp->dsack_end;
	}
	for (unsigned i = 0; i < CW_SACK_BLOCKS && count < most && tcp->blocks; i++) {
		const struct cw_tcp_block *block = tcp->sack_recent[i] ? block_at(tcp, tcp->sack_recent[i]) : NULL;

		if (!block || among(told, blocks, block))
			continue;
		told[blocks++] = block;
		count = put(range, count, block->start, block->end);
	}
	for (const struct cw_tcp_block *block = tcp->blocks; block && count < most; block = block->next)
		if (!among(told, blocks, block))
			count = put(range, count, block->start, block->end);
	return count;
}
