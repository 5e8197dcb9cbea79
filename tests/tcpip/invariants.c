/* What must hold after every step, whatever the network does. */
#include "transport/tcpip/tcp_half_open.h"
#include "transport/tcpip/tcp_time_wait.h"
#include "packet_bytes.h"
#include "world.h"

static const char *sequence_wrong(const struct cw_tcp *tcp)
{
	if (tcp->snd_una > tcp->snd_nxt)
		return "more is acknowledged than was sent";
	if (tcp->snd_nxt > tcp->snd_end)
		return "more was sent than was written";
	if (tcp->snd_end - cw_max64(tcp->snd_una, tcp->send_origin) > (uint64_t)tcp->send_mask + 2)
		return "more is kept than the send ring holds";
	if (tcp->receive_origin && tcp->rcv_nxt > tcp->rcv_adv)
		return "more has come than the window told";
	if (tcp->receive_origin && tcp->rcv_adv - tcp->read > (uint64_t)tcp->receive_mask + 1 + tcp->fin_received)
		return "the window told is larger than the room in the ring";
	if (!cw_sent_consistent(tcp))
		return "the records of what is in flight contradict their sums";
	return NULL;
}

static const char *blocks_wrong(const struct cw_tcp *tcp)
{
	uint64_t at = tcp->rcv_nxt;
	uint32_t count = 0;

	for (const struct cw_tcp_block *block = tcp->blocks; block; block = block->next) {
		if (block->start <= at || block->end <= block->start)
			return "blocks out of order touch or are unordered";
		if (block->end > tcp->rcv_adv)
			return "a block lies outside the window";
		at = block->end;
		count++;
	}
	return count == tcp->block_count && count <= tcp->core->config.blocks_a_connection ? NULL : "blocks aren't counted";
}

static const char *timers_wrong(const struct cw_tcp *tcp)
{
	bool owed = cw_tcp_outstanding(tcp) && tcp->state != CW_TCP_CLOSED;
	bool pending = !cw_list_empty(&tcp->transmit);

	for (unsigned which = 0; which < CW_TCP_DEADLINES; which++) {
		if (tcp->deadline[which] != CW_NEVER && (!cw_timer_running(&tcp->timer) || tcp->timer.expiry > tcp->deadline[which]))
			return "a deadline isn't on the wheel";
		if (tcp->deadline[which] < tcp->core->now)
			return "a deadline lies in the past";
	}
	if (owed && tcp->deadline[CW_TCP_RETRANSMIT] == CW_NEVER)
		return "something is in flight and nothing would send it again";
	if (!owed && !pending && tcp->snd_end > tcp->snd_nxt && tcp->state != CW_TCP_SYN_SENT && tcp->state != CW_TCP_SYN_RECEIVED &&
	    tcp->deadline[CW_TCP_PERSIST] == CW_NEVER && tcp->deadline[CW_TCP_CORK] == CW_NEVER && tcp->deadline[CW_TCP_PACE] == CW_NEVER)
		return "something is to be sent and nothing would send it";
	if (tcp->unacked && !tcp->ack_now && tcp->deadline[CW_TCP_DELAYED_ACK] == CW_NEVER)
		return "something was received and nothing would acknowledge it";
	return NULL;
}

static const char *congestion_wrong(const struct cw_tcp *tcp)
{
	if (tcp->mss < 64 || tcp->mss > 65535)
		return "the segment size can't be";
	if (tcp->recovery == CW_TCP_OPEN && tcp->cwnd < tcp->mss)
		return "the congestion window is below one segment";
	if (tcp->cwnd > 1ull << 40)
		return "the congestion window has run away";
	return NULL;
}

/* Each pool holds what its users have, to the last one: the connections' sums are the pools'. */
static const char *pools_wrong(const struct world *world, unsigned side)
{
	const struct cw_tcpip *core = world->core[side];
	const struct cw_tcp_listener *listener = side ? world->listener : NULL;
	uint64_t connections = 0, sent = 0, blocks = 0, waits = 0, half_opens = 0;

	for (unsigned i = 0; i < world->streams; i++) {
		const struct cw_tcp *tcp = world->program[i][side].connection;

		if (!tcp)
			continue;
		connections++;
		sent += tcp->sent_records - tcp->spare_used;
		blocks += tcp->block_count;
		if (tcp->sent_records > core->config.sent_a_connection + 1)
			return "a connection has more records than it may";
	}
	for (const struct cw_list *at = core->time_wait.next; at != &core->time_wait; at = at->next)
		waits++;
	for (const struct cw_list *at = listener ? listener->supply.next : NULL; at && at != &listener->supply; at = at->next)
		connections++;
	for (const struct cw_list *at = listener ? listener->half_open.next : NULL; at && at != &listener->half_open; at = at->next)
		half_opens++;
	if (connections != core->connection_pool.used || waits != core->time_wait_pool.used || half_opens != core->half_open_pool.used)
		return "connections aren't what their pools say";
	if (sent != core->sent_pool.used || blocks != core->block_pool.used)
		return "records or blocks aren't what their pools say";
	return core->replies <= core->config.replies ? NULL : "more replies than there is room for";
}

static const char *other_timers_wrong(const struct world *world, unsigned side)
{
	const struct cw_tcpip *core = world->core[side];
	const struct cw_tcp_listener *listener = side ? world->listener : NULL;

	if (core->wheel.now != core->now)
		return "the wheel's time isn't the core's";
	if (cw_tcpip_timer(core) <= core->now)
		return "a timer lies in the past";
	for (const struct cw_list *at = core->time_wait.next; at != &core->time_wait; at = at->next) {
		const struct cw_time_wait *wait = cw_entry(at, struct cw_time_wait, list);

		if (!cw_timer_running(&wait->timer) || wait->timer.expiry <= core->now || wait->timer.expiry > core->now + wait->lasts)
			return "nothing would end a TIME-WAIT";
	}
	for (const struct cw_list *at = listener ? listener->half_open.next : NULL; at && at != &listener->half_open; at = at->next) {
		const struct cw_half_open *half = cw_entry(at, struct cw_half_open, list);

		if (!cw_timer_running(&half->timer) || half->timer.expiry <= core->now)
			return "nothing would end a half-open connection";
	}
	return NULL;
}

const char *world_wrong(struct world *world)
{
	const char *wrong = NULL;

	for (unsigned side = 0; side < 2 && !wrong; side++) {
		wrong = other_timers_wrong(world, side);
		wrong = wrong ? wrong : pools_wrong(world, side);
		for (unsigned i = 0; i < world->streams && !wrong; i++) {
			const struct cw_tcp *tcp = world->program[i][side].connection;

			if (!tcp || tcp->state == CW_TCP_LISTEN || tcp->state == CW_TCP_CLOSED)
				continue;
			wrong = sequence_wrong(tcp);
			wrong = wrong ? wrong : blocks_wrong(tcp);
			wrong = wrong ? wrong : timers_wrong(tcp);
			wrong = wrong ? wrong : congestion_wrong(tcp);
		}
	}
	return wrong;
}

/* More than a segment goes only where the congestion window has room for all of it. */
static const char *congestion_exceeded(struct world *world, unsigned from, unsigned stream, uint32_t payload)
{
	const struct program *end = from ? world->program[stream][0].peer : &world->program[stream][0];
	const struct cw_tcp *tcp = end ? end->connection : NULL;

	/* Without a record what is sent again is counted as more than it is. */
	if (!tcp || payload <= tcp->mss || cw_tcpip_counter(tcp->core, CW_TCPIP_NO_SENT) || cw_tcp_in_flight(tcp) <= tcp->cwnd)
		return NULL;
	return "more is sent than the congestion window has room for";
}

/* The factor of the window that a SYN tells; false: none. */
static bool scale_of(const unsigned char *tcp, uint8_t *scale)
{
	const unsigned char *at = tcp + 20, *end = tcp + (tcp[12] >> 4) * 4;

	while (at < end && *at) {
		if (*at == 3)
			*scale = at[2];
		if (*at == 3)
			return true;
		at += *at == 1 ? 1 : at[1];
	}
	return false;
}

/* The right edge of the window that a segment tells never lies before the one told before, but for what the unit of the scale takes away
 * (RFC 9293 3.8.6.2.1, 7323 2.4), while there is something to come. Read off the wire, from the SYNs on. */
static const char *edge_wrong(struct told *told, const struct told *other, const unsigned char *tcp, uint32_t payload)
{
	uint32_t window = (uint32_t)tcp[14] << 8 | tcp[15], edge, unit = 1;

	if (tcp[13] & CW_RST)
		return NULL;
	if (tcp[13] & CW_SYN) {
		/* A cookie and a half-open entry may answer one SYN and its duplicate; which of them holds isn't on this wire. */
		if (told->syn && told->first != get32(tcp + 4))
			told->several = true;
		told->syn = true;
		told->first = get32(tcp + 4);
		told->has_scale = scale_of(tcp, &told->scale);
	} else if (told->has_scale && other->has_scale) {
		unit = 1u << told->scale;
	}
	if (tcp[13] & CW_FIN) {
		told->fin = true;
		told->fin_end = get32(tcp + 4) + payload + 1;
	}
	if (told->several || other->several)
		return NULL;
	if (!(tcp[13] & CW_ACK) || (other->fin && get32(tcp + 8) == other->fin_end))
		return NULL;
	edge = get32(tcp + 8) + window * unit;
	if (!told->syn)
		return "a segment before the SYN";
	if (told->edge_known && (int32_t)(edge + unit - told->edge) <= 0)
		return "the right edge of the window goes back";
	if (!told->edge_known || (int32_t)(edge - told->edge) > 0)
		told->edge = edge;
	told->edge_known = true;
	return NULL;
}

/* A frame on its way out: the other end must have told a window for all of it. */
const char *frame_wrong(struct world *world, unsigned from, const struct cw_frame *frame)
{
	const unsigned char *ip = frame->piece[0].at, *tcp = ip + (ip[0] >> 4 == 4 ? 20 : 40);
	uint32_t header = (uint32_t)(tcp - ip) + (tcp[12] >> 4) * 4u, payload = frame->length - header;
	uint16_t port = (uint16_t)(from ? tcp[2] << 8 | tcp[3] : tcp[0] << 8 | tcp[1]);
	const struct cw_tcp *other;
	const struct program *end;
	const char *wrong = NULL;

	if (frame->length > world->config[from].frame_max && frame->length > world->config[from].mtu)
		return "a frame is longer than the device takes";
	if (header + (frame->segment_size ? frame->segment_size : payload) > world->config[from].mtu)
		return "a packet is longer than the MTU";
	if (port < 10000 || port >= 10000 + world->streams)
		return NULL;
	wrong = edge_wrong(&world->told[port - 10000u][from], &world->told[port - 10000u][1 - from], tcp, payload);
	if (!wrong && payload)
		wrong = congestion_exceeded(world, from, port - 10000u, payload);
	if (wrong)
		return wrong;
	if (!payload)
		return NULL;
	end = from ? &world->program[port - 10000][0] : world->program[port - 10000][0].peer;
	other = end ? end->connection : NULL;
	if (other && other->state != CW_TCP_LISTEN && other->receive_origin &&
	    (int32_t)(get32(tcp + 4) + payload - (uint32_t)other->rcv_adv) > 0)
		return "data beyond the window that the other end has told";
	return NULL;
}
