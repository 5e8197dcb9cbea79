/* SYN-RECEIVED of listeners. */
#include "transport/tcpip/tcp_half_open.h"

#include <errno.h>

#include "transport/tcpip/tcp_options.h"

#define FIRST_WAIT 1000000u /* RFC 6298 (2.1) */
#define MOST_TRIES 5u

struct cw_tcp_listener *cw_tcp_listener_find(struct cw_tcpip *core, const struct cw_flow_key *key)
{
	struct cw_list *head = cw_core_listeners(core, key->local_port);
	struct cw_tcp_listener *any = NULL;

	for (struct cw_list *at = head->next; at != head; at = at->next) {
		struct cw_tcp_listener *listener = cw_entry(at, struct cw_tcp_listener, list);

		if (listener->local.port != key->local_port)
			continue;
		if (memcmp(&listener->local.address, &key->local, sizeof(key->local)) == 0)
			return listener;
		if (cw_ip_is_any(&listener->local.address))
			any = listener;
	}
	return any;
}

bool cw_tcp_listener_exists(struct cw_tcpip *core, const struct cw_flow_key *key)
{
	return cw_tcp_listener_find(core, key);
}

static void answer(struct cw_half_open *half)
{
	struct cw_tcp_listener *listener = half->listener;
	struct cw_reply *reply =
		cw_reply(listener->core, &half->flow.key, CW_SYN | CW_ACK | (half->ecn ? CW_ECE : 0), half->isn, half->irs + 1);

	if (!reply)
		return;
	half->ours.timestamp = (uint32_t)(listener->core->now / 1000) + cw_tcp_timestamp_offset(listener->core, &half->flow.key);
	half->ours.echo = half->theirs.timestamp;
	reply->window = half->window;
	reply->options_length = (uint8_t)cw_tcp_options_put_syn(reply->options, &half->ours);
}

void cw_half_open_drop(struct cw_half_open *half)
{
	struct cw_tcpip *core = half->listener->core;

	cw_flow_remove(&core->table, &half->flow);
	cw_wheel_stop(&core->wheel, &half->timer);
	cw_list_remove(&half->list);
	half->listener->half_opens--;
	cw_pool_give(&core->half_open_pool, half);
}

void cw_half_open_expired(struct cw_half_open *half)
{
	struct cw_tcpip *core = half->listener->core;

	if (half->retransmissions == MOST_TRIES) {
		cw_half_open_drop(half);
		return;
	}
	half->retransmissions++;
	cw_count(core, CW_TCPIP_RETRANSMISSIONS);
	cw_wheel_start(&core->wheel, &half->timer, core->now + ((uint64_t)FIRST_WAIT << half->retransmissions));
	answer(half);
}

/* RFC 1122 4.2.2.13: behind the numbers of the connection before, however fast that one went. (A cookie's number says other things.) */
static uint32_t isn_behind(struct cw_tcpip *core, const struct cw_flow_key *key, const uint32_t *last)
{
	uint32_t isn = cw_tcp_isn(core, key);

	return last && (int32_t)(isn - *last) <= 0 ? *last + 65536 : isn;
}

static void begin(struct cw_tcp_listener *listener, const struct cw_segment *segment, const uint32_t *last)
{
	struct cw_tcpip *core = listener->core;
	struct cw_half_open *half = NULL;

	if (!listener->settings.backlog || listener->half_opens < listener->settings.backlog)
		half = cw_pool_take(&core->half_open_pool);
	if (!half) {
		cw_count(core, CW_TCPIP_HALF_OPEN_FULL);
		cw_syn_cookie_send(listener, segment);
		return;
	}
	half->flow.key = segment->key;
	half->flow.hash = cw_flow_hash(&core->table, &segment->key);
	half->flow.kind = half->timer.owner = CW_FLOW_HALF_OPEN;
	half->listener = listener;
	half->since = core->now;
	half->isn = isn_behind(core, &segment->key, last);
	half->irs = segment->seq;
	half->theirs = segment->options;
	half->window = (uint16_t)cw_min32(listener->settings.receive_size, 65535);
	half->ecn = listener->settings.ecn && (segment->flags & (CW_ECE | CW_CWR)) == (CW_ECE | CW_CWR);
	cw_tcp_syn_options(&listener->settings, cw_tcp_largest_segment(core, &segment->key.remote), listener->settings.receive_size,
			   &half->ours);
	half->ours.has_timestamp &= segment->options.has_timestamp;
	half->ours.sack_permitted &= segment->options.sack_permitted;
	half->ours.has_window_scale &= segment->options.has_window_scale;
	cw_list_init(&half->list);
	cw_list_add_last(&listener->half_open, &half->list);
	listener->half_opens++;
	cw_flow_add(&core->table, &half->flow);
	cw_wheel_start(&core->wheel, &half->timer, core->now + FIRST_WAIT);
	answer(half);
}

static void refuse_unsupplied(struct cw_tcpip *core)
{
	cw_count(core, CW_TCPIP_UNSUPPLIED);
	core->unsupplied++;
}

void cw_tcp_listener_input(struct cw_tcp_listener *listener, const struct cw_segment *segment, const uint32_t *last)
{
	struct cw_tcp_options ours, theirs;
	struct cw_tcp *tcp;

	if (segment->flags & CW_RST)
		return;
	if (segment->flags & CW_ACK) {
		if (segment->flags & CW_SYN || !cw_syn_cookie_check(listener, segment, &ours, &theirs)) {
			/* While cookies are out it may be one's data that have overtaken its first segment: a reset would end it. */
			if (segment->flags & CW_SYN || listener->core->now >= listener->core->cookies_until)
				cw_reply_reset(listener->core, segment);
			return;
		}
		tcp = cw_tcp_accept(listener, segment, &ours, &theirs, segment->ack - 1, segment->seq - 1, false);
		if (!tcp) {
			refuse_unsupplied(listener->core);
			return;
		}
		cw_count(listener->core, CW_TCPIP_COOKIE_GOOD);
		cw_tcp_segment(tcp, segment);
		return;
	}
	if ((segment->flags & (CW_SYN | CW_FIN)) == CW_SYN && cw_ip_is_host(&segment->key.remote))
		begin(listener, segment, last);
}

/* It tells the window that the SYN-ACK has told, for a peer that takes the connection for open may go by it. */
static void challenge(const struct cw_half_open *half)
{
	struct cw_tcpip *core = half->listener->core;
	struct cw_reply *reply;

	if (!cw_challenge_allowed(core))
		return;
	reply = cw_reply(core, &half->flow.key, CW_ACK, half->isn + 1, half->irs + 1);
	if (reply)
		reply->window = half->window >> (half->ours.has_window_scale ? half->ours.window_scale : 0);
}

/* RFC 7323 5.3, where 0 isn't a time and resets have none. */
static bool too_old(const struct cw_half_open *half, const struct cw_segment *segment)
{
	return half->ours.has_timestamp && segment->options.has_timestamp && half->theirs.timestamp && !(segment->flags & CW_RST) &&
	       (int32_t)(segment->options.timestamp - half->theirs.timestamp) < 0;
}

/* RFC 9293 3.10.7.4 for SYN-RECEIVED, with RFC 5961. */
void cw_half_open_input(struct cw_half_open *half, const struct cw_segment *segment)
{
	struct cw_tcp_listener *listener = half->listener;
	uint32_t offset = segment->seq - (half->irs + 1);
	struct cw_tcp_options ours, theirs;
	struct cw_tcp *tcp;

	if ((segment->flags & (CW_SYN | CW_ACK | CW_RST)) == CW_SYN && segment->seq == half->irs) { /* it comes again: so does the answer */
		answer(half);
		return;
	}
	if (offset >= cw_max32(half->window, 1) || too_old(half, segment)) {
		if (!(segment->flags & CW_RST))
			challenge(half);
		return;
	}
	if (segment->flags & (CW_RST | CW_SYN)) {
		if (segment->flags & CW_RST && offset == 0)
			cw_half_open_drop(half);
		else
			challenge(half);
		return;
	}
	if (!(segment->flags & CW_ACK))
		return;
	if (segment->ack != half->isn + 1) {
		/* A first SYN may have been answered by a cookie and its duplicate by this entry. */
		if (!cw_syn_cookie_check(listener, segment, &ours, &theirs)) {
			if (listener->core->now >= listener->core->cookies_until) /* else as in cw_tcp_listener_input */
				cw_reply_reset(listener->core, segment);
			return;
		}
		cw_half_open_drop(half);
		cw_tcp_listener_input(listener, segment, NULL);
		return;
	}
	if (cw_list_empty(&listener->supply)) { /* as a full accept queue: the peer sends again what it sent with or after this */
		refuse_unsupplied(listener->core);
		return;
	}
	struct cw_half_open done = *half;

	cw_half_open_drop(half);
	tcp = cw_tcp_accept(listener, segment, &done.ours, &done.theirs, done.isn, done.irs, done.ecn);
	if (!tcp)
		return;
	if (!done.retransmissions)
		cw_tcp_rtt_sample(tcp, tcp->core->now - done.since);
	cw_tcp_opened_late(tcp, done.retransmissions);
	cw_tcp_segment(tcp, segment);
}
