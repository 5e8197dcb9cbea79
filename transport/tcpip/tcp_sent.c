/* The records of what is in flight, and their sums (tcp.h). */
#include "transport/tcpip/tcp.h"

static void set_flags(struct cw_sent *sent, unsigned flags)
{
	sent->time = (sent->time & ~0xffull) | flags;
}

static void set_time(struct cw_sent *sent, uint64_t time)
{
	sent->time = time << 8 | cw_sent_flags(sent);
}

static uint64_t length(const struct cw_sent *sent)
{
	return sent->end - sent->start;
}

static struct cw_sent *take(struct cw_tcp *tcp)
{
	struct cw_sent *sent = NULL;

	if (tcp->sent_records < tcp->core->config.sent_a_connection)
		sent = cw_pool_take(&tcp->core->sent_pool);
	if (!sent && !tcp->spare_used) {
		sent = &tcp->spare;
		tcp->spare_used = true;
	}
	if (!sent) {
		cw_count(tcp->core, CW_TCPIP_NO_SENT);
		return NULL;
	}
	tcp->sent_records++;
	return sent;
}

static void give(struct cw_tcp *tcp, struct cw_sent *sent)
{
	cw_list_remove(&sent->order);
	cw_list_remove(&sent->by_time);
	if (tcp->sack_hint == sent)
		tcp->sack_hint = NULL;
	if (tcp->lost_hint == sent)
		tcp->lost_hint = NULL;
	tcp->sent_records--;
	if (sent == &tcp->spare)
		tcp->spare_used = false;
	else
		cw_pool_give(&tcp->core->sent_pool, sent);
}

/* Of so many bytes with these flags, what each sum holds, taken away. */
static void subtract(struct cw_tcp *tcp, unsigned flags, uint64_t bytes)
{
	if (flags & CW_SENT_SACKED)
		tcp->sacked -= bytes;
	if (flags & CW_SENT_LOST)
		tcp->lost -= bytes;
	if (flags & CW_SENT_AGAIN)
		tcp->retransmitted -= bytes;
	if ((flags & (CW_SENT_LOST | CW_SENT_AGAIN)) == CW_SENT_LOST)
		tcp->to_retransmit -= bytes;
}

static void add(struct cw_tcp *tcp, unsigned flags, uint64_t bytes)
{
	subtract(tcp, flags, 0 - bytes);
}

static void change(struct cw_tcp *tcp, struct cw_sent *sent, unsigned flags)
{
	subtract(tcp, cw_sent_flags(sent), length(sent));
	add(tcp, flags, length(sent));
	set_flags(sent, flags);
}

/* New data [snd_nxt, end) goes out. Without a record left the last one grows, if it is like new; NULL: it can't. */
struct cw_sent *cw_sent_append(struct cw_tcp *tcp, uint64_t end)
{
	struct cw_sent *sent = take(tcp);

	if (sent) {
		sent->start = tcp->snd_nxt;
		sent->time = 0;
		cw_list_init(&sent->by_time);
		cw_list_add_last(&tcp->sent, &sent->order);
	} else {
		sent = cw_entry(tcp->sent.previous, struct cw_sent, order);
		if (cw_sent_flags(sent))
			return NULL;
		cw_list_remove(&sent->by_time);
	}
	sent->end = end;
	set_time(sent, tcp->core->now);
	cw_list_add_last(&tcp->sent_by_time, &sent->by_time);
	return sent;
}

/* Both parts keep the record's marks. False: no record is left. */
bool cw_sent_split(struct cw_tcp *tcp, struct cw_sent *sent, uint64_t at)
{
	struct cw_sent *rest = take(tcp);

	if (!rest)
		return false;
	rest->start = at;
	rest->end = sent->end;
	rest->time = sent->time;
	sent->end = at;
	cw_list_add_after(&sent->order, &rest->order);
	if (cw_list_empty(&sent->by_time))
		cw_list_init(&rest->by_time);
	else
		cw_list_add_after(&sent->by_time, &rest->by_time);
	return true;
}

void cw_sent_mark_lost(struct cw_tcp *tcp, struct cw_sent *sent)
{
	unsigned flags = cw_sent_flags(sent);

	if (flags & CW_SENT_SACKED || (flags & (CW_SENT_LOST | CW_SENT_AGAIN)) == CW_SENT_LOST)
		return;
	change(tcp, sent, (flags | CW_SENT_LOST) & ~CW_SENT_AGAIN);
	cw_list_remove(&sent->by_time);
	if (!tcp->sack) /* duplicates tell how much has arrived, not what: none of it is what is lost */
		tcp->sacked = cw_min64(tcp->sacked, cw_tcp_outstanding(tcp) - tcp->lost);
	if (tcp->path.end)
		cw_tcp_path_lost(tcp, sent);
	if (tcp->lost_hint && sent->start < tcp->lost_hint->start)
		tcp->lost_hint = sent;
	cw_tcp_ready(tcp);
}

void cw_sent_mark_sacked(struct cw_tcp *tcp, struct cw_sent *sent)
{
	change(tcp, sent, (cw_sent_flags(sent) | CW_SENT_SACKED) & ~(CW_SENT_LOST | CW_SENT_AGAIN));
	cw_list_remove(&sent->by_time);
}

void cw_sent_mark_again(struct cw_tcp *tcp, struct cw_sent *sent)
{
	change(tcp, sent, cw_sent_flags(sent) | CW_SENT_AGAIN | CW_SENT_MORE_THAN_ONCE);
	set_time(sent, tcp->core->now);
	cw_list_remove(&sent->by_time);
	cw_list_add_last(&tcp->sent_by_time, &sent->by_time);
}

/* Time-out (RFC 6675 5.1): all that isn't SACKed is taken for lost; SACKs too if the peer took the first one back (RFC 2018 section 8). */
void cw_sent_mark_all_lost(struct cw_tcp *tcp)
{
	struct cw_sent *first = cw_entry(tcp->sent.next, struct cw_sent, order);
	bool reneged = tcp->sack && !cw_list_empty(&tcp->sent) && cw_sent_flags(first) & CW_SENT_SACKED;

	if (reneged)
		cw_count(tcp->core, CW_TCPIP_SACK_RENEGED);
	for (struct cw_list *at = tcp->sent.next; at != &tcp->sent; at = at->next) {
		struct cw_sent *sent = cw_entry(at, struct cw_sent, order);

		if (reneged)
			change(tcp, sent, cw_sent_flags(sent) & ~CW_SENT_SACKED);
		cw_sent_mark_lost(tcp, sent);
	}
	tcp->lost_hint = NULL;
	if (!tcp->sack)
		tcp->sacked = 0;
}

/* Nothing had been lost: what is marked so is in flight as before. */
void cw_sent_unmark_lost(struct cw_tcp *tcp)
{
	struct cw_list *place = &tcp->sent_by_time;

	for (struct cw_list *at = tcp->sent.next; at != &tcp->sent; at = at->next) {
		struct cw_sent *sent = cw_entry(at, struct cw_sent, order);
		unsigned flags = cw_sent_flags(sent);

		if (!(flags & CW_SENT_LOST))
			continue;
		change(tcp, sent, flags & ~CW_SENT_LOST);
		if (!(flags & CW_SENT_AGAIN)) { /* its time is older than all others' that are on the list, or nearly */
			cw_list_remove(&sent->by_time);
			cw_list_add_after(place, &sent->by_time);
			place = &sent->by_time;
		}
	}
	tcp->lost_hint = NULL;
}

struct cw_sent *cw_sent_first_lost(struct cw_tcp *tcp)
{
	struct cw_list *at = tcp->lost_hint ? &tcp->lost_hint->order : tcp->sent.next;

	if (!tcp->to_retransmit)
		return NULL;
	for (; at != &tcp->sent; at = at->next) {
		struct cw_sent *sent = cw_entry(at, struct cw_sent, order);

		if ((cw_sent_flags(sent) & (CW_SENT_LOST | CW_SENT_AGAIN)) == CW_SENT_LOST)
			return tcp->lost_hint = sent;
	}
	return NULL;
}

/* Everything before acked->ack has arrived. A record that is acknowledged in part is cut. */
void cw_sent_acknowledge(struct cw_tcp *tcp, struct cw_tcp_acked *acked)
{
	while (!cw_list_empty(&tcp->sent)) {
		struct cw_sent *sent = cw_entry(tcp->sent.next, struct cw_sent, order);
		uint64_t end = cw_min64(sent->end, acked->ack);

		if (sent->start >= acked->ack)
			break;
		if (!(cw_sent_flags(sent) & CW_SENT_SACKED)) {
			acked->delivered += end - sent->start;
			cw_rack_delivered(tcp, sent, end, acked);
		}
		subtract(tcp, cw_sent_flags(sent), end - sent->start);
		if (end < sent->end) {
			sent->start = end;
			break;
		}
		give(tcp, sent);
	}
}

/* This one and the next are one from now on; they touch, and have the same marks. */
void cw_sent_drop(struct cw_tcp *tcp, struct cw_sent *sent)
{
	give(tcp, sent);
}

void cw_sent_release(struct cw_tcp *tcp)
{
	while (!cw_list_empty(&tcp->sent))
		give(tcp, cw_entry(tcp->sent.next, struct cw_sent, order));
	tcp->sacked = tcp->lost = tcp->retransmitted = tcp->to_retransmit = 0;
}

bool cw_sent_consistent(const struct cw_tcp *tcp)
{
	uint64_t at = tcp->snd_una, sacked = 0, lost = 0, again = 0, owed = 0;
	uint32_t records = 0, timed = 0, on_list = 0;

	if (cw_list_empty(&tcp->sent))
		return !tcp->lost && !tcp->retransmitted && (!tcp->sack || !tcp->sacked);
	for (const struct cw_list *entry = tcp->sent.next; entry != &tcp->sent; entry = entry->next) {
		const struct cw_sent *sent = cw_entry(entry, struct cw_sent, order);
		unsigned flags = cw_sent_flags(sent);
		uint64_t bytes = sent->end - sent->start;

		if (sent->start != at || sent->end <= sent->start)
			return false;
		at = sent->end;
		records++;
		sacked += flags & CW_SENT_SACKED ? bytes : 0;
		lost += flags & CW_SENT_LOST ? bytes : 0;
		again += flags & CW_SENT_AGAIN ? bytes : 0;
		owed += (flags & (CW_SENT_LOST | CW_SENT_AGAIN)) == CW_SENT_LOST ? bytes : 0;
		on_list += !cw_list_empty(&sent->by_time);
		if (flags & CW_SENT_SACKED && flags & (CW_SENT_LOST | CW_SENT_AGAIN))
			return false;
	}
	for (const struct cw_list *entry = tcp->sent_by_time.next; entry != &tcp->sent_by_time; entry = entry->next)
		timed++;
	return at == tcp->snd_nxt && records == tcp->sent_records && timed == on_list && lost == tcp->lost && again == tcp->retransmitted &&
	       owed == tcp->to_retransmit && (!tcp->sack || sacked == tcp->sacked) &&
	       tcp->sacked + tcp->lost <= tcp->snd_nxt - tcp->snd_una;
}
