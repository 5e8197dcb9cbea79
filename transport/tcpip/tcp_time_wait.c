/* TIME-WAIT. */
#include "transport/tcpip/tcp_time_wait.h"

#include "transport/tcpip/tcp_options.h"

static void answer(struct cw_time_wait *wait)
{
	struct cw_reply *reply = cw_reply(wait->core, &wait->flow.key, CW_ACK, wait->snd_nxt, wait->rcv_nxt);

	if (!reply)
		return;
	reply->window = wait->window;
	if (wait->timestamps)
		reply->options_length = (uint8_t)cw_tcp_options_put_timestamps(
			reply->options, (uint32_t)(wait->core->now / 1000) + wait->ts_offset, wait->ts_recent);
}

static void leave(struct cw_time_wait *wait)
{
	cw_flow_remove(&wait->core->table, &wait->flow);
	cw_wheel_stop(&wait->core->wheel, &wait->timer);
	cw_list_remove(&wait->list);
	cw_pool_give(&wait->core->time_wait_pool, wait);
}

void cw_time_wait_enter(struct cw_tcp *tcp)
{
	struct cw_tcpip *core = tcp->core;
	struct cw_time_wait *wait = cw_pool_take(&core->time_wait_pool);

	if (!wait && !cw_list_empty(&core->time_wait)) {
		cw_count(core, CW_TCPIP_TIME_WAIT_RECYCLED);
		leave(cw_entry(core->time_wait.next, struct cw_time_wait, list));
		wait = cw_pool_take(&core->time_wait_pool);
	}
	if (!wait)
		return;
	wait->flow = tcp->flow;
	wait->flow.kind = CW_FLOW_TIME_WAIT;
	wait->core = core;
	wait->timer.owner = CW_FLOW_TIME_WAIT;
	wait->snd_nxt = (uint32_t)tcp->snd_nxt;
	wait->rcv_nxt = (uint32_t)tcp->rcv_nxt;
	wait->ts_recent = tcp->ts_recent;
	wait->ts_offset = tcp->ts_offset;
	wait->timestamps = tcp->timestamps;
	wait->window = (uint16_t)cw_min32(cw_tcp_window(tcp) >> tcp->receive_scale, 65535);
	wait->lasts = 1000ull * tcp->settings.time_wait_ms;
	cw_list_init(&wait->list);
	cw_list_add_last(&core->time_wait, &wait->list);
	cw_flow_add(&core->table, &wait->flow);
	cw_wheel_start(&core->wheel, &wait->timer, core->now + wait->lasts);
	answer(wait);
}

void cw_time_wait_expired(struct cw_time_wait *wait)
{
	leave(wait);
}

/* RFC 6191 section 2, and RFC 9293 3.10.7.4 (fourth): a SYN that can't be an old duplicate may begin anew. */
static bool may_begin(const struct cw_time_wait *wait, const struct cw_segment *segment)
{
	if (wait->timestamps && segment->options.has_timestamp && segment->options.timestamp != wait->ts_recent)
		return (int32_t)(segment->options.timestamp - wait->ts_recent) > 0;
	return (int32_t)(segment->seq - wait->rcv_nxt) > 0;
}

bool cw_time_wait_input(struct cw_time_wait *wait, const struct cw_segment *segment, uint32_t *last)
{
	struct cw_tcpip *core = wait->core;

	if (segment->flags & CW_RST) /* RFC 1337 */
		return false;
	if ((segment->flags & (CW_SYN | CW_ACK)) == CW_SYN && may_begin(wait, segment) && cw_tcp_listener_exists(core, &segment->key)) {
		cw_count(core, CW_TCPIP_TIME_WAIT_REUSED);
		*last = wait->snd_nxt;
		leave(wait);
		return true;
	}
	/* The peer's FIN again: the time begins again. All else is answered as out of place. */
	if (segment->flags & CW_FIN && segment->seq + segment->length + 1 == wait->rcv_nxt) {
		cw_wheel_start(&core->wheel, &wait->timer, core->now + wait->lasts);
		answer(wait);
	} else if (cw_segment_space(segment) || segment->seq != wait->rcv_nxt) {
		if (cw_challenge_allowed(core))
			answer(wait);
	}
	return false;
}
