/* Connections begun: by connect, and by a listener's handshake (RFC 9293 3.5, 3.10.1, 6528). */
#include "transport/tcpip/tcp_half_open.h"

void cw_tcp_defaults(struct cw_tcp_settings *settings)
{
	static const struct cw_tcp_settings defaults = {
		.keep_idle_s = 7200,
		.keep_interval_s = 75,
		.keep_count = 9,
		.rto_min_us = 200000,
		.delayed_ack_us = 40000,
		.time_wait_ms = 60000,
		.mtu_age_s = 600,
		.fin_wait_2_ms = 60000,
	};

#define DEFAULT(field)                                                                                                                     \
	if (!settings->field)                                                                                                              \
	settings->field = defaults.field
	DEFAULT(keep_idle_s);
	DEFAULT(keep_interval_s);
	DEFAULT(keep_count);
	DEFAULT(rto_min_us);
	DEFAULT(delayed_ack_us);
	DEFAULT(time_wait_ms);
	DEFAULT(mtu_age_s);
	DEFAULT(fin_wait_2_ms);
#undef DEFAULT
	if (settings->congestion == CW_TCP_DCTCP)
		settings->ecn = true;
}

/* RFC 6528: a clock of 4 microseconds and a keyed hash of the flow. */
uint32_t cw_tcp_isn(struct cw_tcpip *core, const struct cw_flow_key *key)
{
	return (uint32_t)(core->now / 4 + cw_siphash(&core->isn_secret, key, sizeof(*key)));
}

/* RFC 7323 7.1: time stamps begin anywhere, but for one flow always at the same place, so that TIME-WAIT can tell old from new (RFC 6191).
 */
uint32_t cw_tcp_timestamp_offset(struct cw_tcpip *core, const struct cw_flow_key *key)
{
	return (uint32_t)(cw_siphash(&core->isn_secret, key, sizeof(*key)) >> 32);
}

/* What the interface takes, without options (RFC 6691). */
uint32_t cw_tcp_largest_segment(const struct cw_tcpip *core, const struct cw_ip_address *remote)
{
	return core->config.mtu - (cw_ip_is_4(remote) ? 20u : 40u) - CW_TCP_HEADER;
}

void cw_tcp_syn_options(const struct cw_tcp_settings *settings, uint32_t mss, uint32_t receive_size, struct cw_tcp_options *options)
{
	*options = (struct cw_tcp_options){.mss = (uint16_t)mss};
	if (settings->mss && settings->mss < mss)
		options->mss = settings->mss;
	options->has_timestamp = !settings->no_timestamps;
	options->sack_permitted = !settings->no_sack;
	options->has_window_scale = !settings->no_window_scale;
	options->user_timeout = settings->user_timeout_option ? cw_tcp_user_timeout_told(settings) : 0;
	receive_size = cw_max32(receive_size, settings->receive_most);
	while (options->has_window_scale && options->window_scale < 14 && receive_size >> options->window_scale > 65535)
		options->window_scale++;
}

static bool power_of_two(uint32_t size)
{
	return size >= 1024 && size <= 1u << 30 && (size & (size - 1)) == 0;
}

static bool rings_are_good(const struct cw_tcp_rings *rings)
{
	return rings->send && rings->receive && power_of_two(rings->send_size) && power_of_two(rings->receive_size);
}

void cw_tcp_init(struct cw_tcp *tcp, struct cw_tcpip *core, const struct cw_tcp_rings *rings)
{
	tcp->core = core;
	tcp->flow.kind = tcp->timer.owner = CW_FLOW_TCP;
	tcp->send = rings->send;
	tcp->receive = rings->receive;
	tcp->send_mask = rings->send_size - 1;
	tcp->receive_mask = rings->receive_size - 1;
	tcp->owner = rings->owner;
	cw_list_init(&tcp->transmit);
	cw_list_init(&tcp->event);
	cw_list_init(&tcp->supply);
	cw_list_init(&tcp->sent);
	cw_list_init(&tcp->sent_by_time);
	for (unsigned i = 0; i < CW_TCP_DEADLINES; i++)
		tcp->deadline[i] = CW_NEVER;
	tcp->fin_at = tcp->fin_received_at = CW_NEVER;
	tcp->state = CW_TCP_LISTEN;
}

void cw_tcp_begin(struct cw_tcp *tcp, const struct cw_flow_key *key, uint32_t hash, const struct cw_tcp_settings *settings, uint32_t isn)
{
	tcp->flow.key = *key;
	tcp->flow.hash = hash;
	tcp->settings = *settings;
	cw_tcp_defaults(&tcp->settings);
	tcp->snd_una = tcp->snd_nxt = cw_tcp_first_position(isn);
	tcp->send_origin = tcp->snd_end = tcp->snd_una + 1;
	tcp->small_end = tcp->snd_una;
	tcp->ts_offset = cw_tcp_timestamp_offset(tcp->core, key);
	tcp->path_mtu = tcp->core->config.mtu;
	tcp->peer_mss = cw_ip_is_4(&key->remote) ? 536 : 1220; /* RFC 9293 3.7.1 */
	tcp->receive_mss = 536;
	tcp->user_timeout_ms = tcp->settings.user_timeout_ms;
	tcp->last_heard = tcp->core->now;
	cw_tcp_rtt_init(tcp);
	cw_tcp_set_mss(tcp);
	cw_tcp_congestion_init(tcp);
	cw_flow_add(&tcp->core->table, &tcp->flow);
}

/* Both SYNs are known. */
void cw_tcp_agree(struct cw_tcp *tcp, const struct cw_tcp_options *ours, const struct cw_tcp_options *theirs, uint32_t irs)
{
	tcp->timestamps = ours->has_timestamp && theirs->has_timestamp;
	tcp->sack = ours->sack_permitted && theirs->sack_permitted;
	if (ours->has_window_scale && theirs->has_window_scale) {
		tcp->send_scale = theirs->window_scale;
		tcp->receive_scale = ours->window_scale;
	}
	if (theirs->mss)
		tcp->peer_mss = theirs->mss;
	tcp->ts_recent = theirs->timestamp;
	tcp->ts_recent_time = tcp->core->now;
	tcp->rcv_nxt = tcp->receive_origin = tcp->read = tcp->last_ack_sent = cw_tcp_first_position(irs) + 1;
	tcp->rcv_adv = tcp->rcv_nxt + cw_min32(tcp->receive_mask + 1, 65535);
	tcp->quick_acks = CW_TCP_QUICK_ACKS;
	if (theirs->user_timeout)
		cw_tcp_user_timeout_take(tcp, theirs->user_timeout);
	cw_tcp_tuning_begin(tcp);
	cw_tcp_path_begin(tcp);
	cw_tcp_set_mss(tcp);
	cw_tcp_congestion_init(tcp);
}

/* Our SYN went more than once: it was lost, or the path is slower than we thought (RFC 6298 (5.7)). Only the second time says enough of
 * congestion for the window to be small (RFC 6928 section 2). */
void cw_tcp_opened_late(struct cw_tcp *tcp, uint32_t retransmissions)
{
	if (retransmissions)
		tcp->rto = 3000000;
	if (retransmissions > 1)
		tcp->cwnd = tcp->mss;
}

void cw_tcp_connected(struct cw_tcp *tcp)
{
	tcp->state = CW_TCP_ESTABLISHED;
	if (tcp->fin_wanted)
		tcp->state = CW_TCP_FIN_WAIT_1;
	cw_tcp_tell(tcp, tcp->listener ? CW_TCP_ACCEPTED : CW_TCP_CONNECTED);
	cw_tcp_no_deadline(tcp, CW_TCP_RETRANSMIT);
	cw_tcp_opened_late(tcp, tcp->backoffs);
	tcp->backoffs = 0;
	tcp->retransmit_since = 0;
	tcp->force_retransmit = false;
	tcp->user_timeout_due = tcp->settings.user_timeout_option; /* RFC 5482 3.1: in the first segment behind the SYN, too */
	cw_tcp_arm_keep_alive(tcp);
	cw_tcp_ready(tcp);
}

static struct cw_flow_key key_of(const struct cw_ip_endpoint *local, const struct cw_ip_endpoint *remote)
{
	return (struct cw_flow_key){local->address, remote->address, local->port, remote->port};
}

struct cw_tcp *cw_tcp_connect(struct cw_tcpip *core, const struct cw_ip_endpoint *local, const struct cw_ip_endpoint *remote,
			      const struct cw_tcp_rings *rings, const struct cw_tcp_settings *settings, uint64_t now)
{
	static const struct cw_tcp_settings none;
	struct cw_flow_key key = key_of(local, remote);
	uint32_t hash = cw_flow_hash(&core->table, &key);
	struct cw_tcp *tcp;

	cw_core_clock(core, now);
	if (!rings_are_good(rings) || cw_flow_find(&core->table, &key, hash) || !cw_ip_is_host(&remote->address) || !local->port ||
	    !remote->port)
		return NULL;
	tcp = cw_pool_take(&core->connection_pool);
	if (!tcp)
		return NULL;
	cw_tcp_init(tcp, core, rings);
	cw_tcp_begin(tcp, &key, hash, settings ? settings : &none, cw_tcp_isn(core, &key));
	tcp->state = CW_TCP_SYN_SENT;
	tcp->force_retransmit = true;
	tcp->retransmit_since = core->now;
	cw_tcp_ready(tcp);
	return tcp;
}

struct cw_tcp_listener *cw_tcp_listen(struct cw_tcpip *core, const struct cw_ip_endpoint *local, const struct cw_tcp_settings *settings)
{
	struct cw_list *head = cw_core_listeners(core, local->port);
	struct cw_tcp_listener *listener;

	for (struct cw_list *at = head->next; at != head; at = at->next) {
		listener = cw_entry(at, struct cw_tcp_listener, list);
		if (listener->local.port == local->port && memcmp(&listener->local.address, &local->address, sizeof(local->address)) == 0)
			return NULL;
	}
	listener = cw_pool_take(&core->listener_pool);
	if (!listener)
		return NULL;
	listener->core = core;
	listener->local = *local;
	if (settings)
		listener->settings = *settings;
	cw_tcp_defaults(&listener->settings);
	if (!listener->settings.receive_size)
		listener->settings.receive_size = 65536;
	cw_list_init(&listener->supply);
	cw_list_init(&listener->half_open);
	cw_list_init(&listener->list);
	cw_list_add_last(head, &listener->list);
	return listener;
}

bool cw_tcp_supply(struct cw_tcp_listener *listener, const struct cw_tcp_rings *rings)
{
	struct cw_tcp *tcp;

	/* The window scale was told for this size. */
	if (!rings_are_good(rings) || rings->receive_size != listener->settings.receive_size)
		return false;
	tcp = cw_pool_take(&listener->core->connection_pool);
	if (!tcp)
		return false;
	cw_tcp_init(tcp, listener->core, rings);
	tcp->listener = listener;
	cw_list_add_last(&listener->supply, &tcp->supply);
	return true;
}

void cw_tcp_unlisten(struct cw_tcp_listener *listener, uint64_t now)
{
	cw_core_clock(listener->core, now);
	while (!cw_list_empty(&listener->half_open))
		cw_half_open_drop(cw_entry(listener->half_open.next, struct cw_half_open, list));
	while (!cw_list_empty(&listener->supply)) {
		struct cw_tcp *tcp = cw_entry(listener->supply.next, struct cw_tcp, supply);

		cw_list_remove(&tcp->supply);
		cw_tcp_gone(tcp, 0);
	}
	cw_list_remove(&listener->list);
	cw_pool_give(&listener->core->listener_pool, listener);
}

struct cw_tcp *cw_tcp_accept(struct cw_tcp_listener *listener, const struct cw_segment *segment, const struct cw_tcp_options *ours,
			     const struct cw_tcp_options *theirs, uint32_t isn, uint32_t irs, bool ecn)
{
	struct cw_tcp *tcp;

	if (cw_list_empty(&listener->supply))
		return NULL;
	tcp = cw_entry(listener->supply.next, struct cw_tcp, supply);
	cw_list_remove(&tcp->supply);
	cw_tcp_begin(tcp, &segment->key, cw_flow_hash(&listener->core->table, &segment->key), &listener->settings, isn);
	tcp->snd_una = ++tcp->snd_nxt;
	cw_tcp_agree(tcp, ours, theirs, irs);
	tcp->ecn = ecn;
	cw_tcp_connected(tcp);
	tcp->listener = NULL;
	return tcp;
}
