/* A connection's timers (RFC 6298 section 5, 8985 7.2, 9293 3.8.3, 3.8.4, 3.8.6.1). They share one entry on the wheel, which runs at the
 * earliest of them or before: putting one off, as nearly each segment does, is a store. */
#include "transport/tcpip/tcp.h"

#include <errno.h>

#define LONGEST      120000000ull
#define SYN_TRIES    6u
#define DATA_TRIES   15u
#define SHRUNK_TRIES 10u
#define PERSIST_MOST 60000000ull

void cw_tcp_deadline(struct cw_tcp *tcp, enum cw_tcp_deadline which, uint64_t when)
{
	tcp->deadline[which] = when;
	if (!cw_timer_running(&tcp->timer) || when < tcp->timer.expiry)
		cw_wheel_start(&tcp->core->wheel, &tcp->timer, when);
}

static uint64_t backed_off(uint64_t time, uint32_t times, uint64_t most)
{
	return times >= 20 ? most : cw_min64(time << times, most);
}

void cw_tcp_arm_retransmit(struct cw_tcp *tcp)
{
	uint64_t timeout = backed_off(tcp->rto, tcp->backoffs, LONGEST), probe;

	tcp->rack.timer_is_probe = false;
	if (!cw_tcp_outstanding(tcp)) {
		cw_tcp_no_deadline(tcp, CW_TCP_RETRANSMIT);
		return;
	}
	if (cw_rack_probe_wanted(tcp)) {
		probe = cw_rack_probe_timeout(tcp);
		if (probe < timeout) {
			tcp->rack.timer_is_probe = true;
			timeout = probe;
		}
	}
	cw_tcp_deadline(tcp, CW_TCP_RETRANSMIT, tcp->core->now + timeout);
}

void cw_tcp_arm_persist(struct cw_tcp *tcp)
{
	cw_tcp_deadline(tcp, CW_TCP_PERSIST, tcp->core->now + backed_off(tcp->rto, tcp->persists, PERSIST_MOST));
}

void cw_tcp_arm_keep_alive(struct cw_tcp *tcp)
{
	if (!tcp->settings.keep_alive)
		cw_tcp_no_deadline(tcp, CW_TCP_KEEP_ALIVE);
	else
		cw_tcp_deadline(tcp, CW_TCP_KEEP_ALIVE, cw_max64(tcp->core->now, tcp->last_heard + 1000000ull * tcp->settings.keep_idle_s));
}

/* RFC 9293 3.8.3: R2, or the user's own limit (3.9.1.1). */
static bool give_up(const struct cw_tcp *tcp, uint32_t tries, uint32_t most)
{
	if (tcp->user_timeout_ms)
		return tcp->retransmit_since && tcp->core->now - tcp->retransmit_since >= 1000ull * tcp->user_timeout_ms;
	return tries >= most;
}

/* RFC 9293 3.9.2.2: what ICMP told says why. */
static int timed_out(const struct cw_tcp *tcp)
{
	return tcp->soft_error ? tcp->soft_error : ETIMEDOUT;
}

static void syn_timeout(struct cw_tcp *tcp)
{
	if (give_up(tcp, tcp->backoffs, SYN_TRIES)) {
		cw_tcp_gone(tcp, timed_out(tcp));
		return;
	}
	tcp->backoffs++;
	tcp->force_retransmit = true;
	cw_count(tcp->core, CW_TCPIP_RETRANSMISSIONS);
	cw_tcp_deadline(tcp, CW_TCP_RETRANSMIT, tcp->core->now + backed_off(tcp->rto, tcp->backoffs, LONGEST));
	cw_tcp_ready(tcp);
}

/* What is in flight isn't in the window any more, and the peer says so each time: no reason to give up (RFC 9293 3.8.6, SHLD-17). */
static bool window_has_shrunk(const struct cw_tcp *tcp)
{
	return tcp->snd_edge <= tcp->snd_una && !tcp->closed && !tcp->user_timeout_ms && tcp->core->now - tcp->last_heard < 2 * LONGEST;
}

static void retransmit_timeout(struct cw_tcp *tcp)
{
	bool shrunk;

	if (tcp->state == CW_TCP_SYN_SENT || tcp->state == CW_TCP_SYN_RECEIVED) {
		syn_timeout(tcp);
		return;
	}
	if (tcp->rack.timer_is_probe) {
		tcp->rack.timer_is_probe = false;
		tcp->tail_probe = true;
		/* If the probe can't go, the time-out still comes. */
		cw_tcp_deadline(tcp, CW_TCP_RETRANSMIT, tcp->core->now + backed_off(tcp->rto, tcp->backoffs, LONGEST));
		cw_tcp_ready(tcp);
		return;
	}
	cw_count(tcp->core, CW_TCPIP_TIMEOUTS);
	shrunk = window_has_shrunk(tcp);
	if (!shrunk && give_up(tcp, tcp->backoffs, DATA_TRIES)) {
		cw_tcp_reset(tcp, timed_out(tcp));
		return;
	}
	cw_tcp_enter_loss(tcp);
	if (!shrunk || tcp->backoffs < SHRUNK_TRIES)
		tcp->backoffs++;
	cw_tcp_path_timed_out(tcp);
	cw_tcp_arm_retransmit(tcp);
	cw_tcp_ready(tcp);
}

/* RACK's window of reordering is over without an acknowledgement. */
static void reorder_timeout(struct cw_tcp *tcp)
{
	struct cw_tcp_acked none = {.ack = tcp->snd_una, .una = tcp->snd_una, .in_flight = cw_tcp_in_flight(tcp)};

	cw_rack_detect(tcp);
	cw_tcp_recover(tcp, &none, false);
	cw_tcp_ready(tcp);
}

static void persist_timeout(struct cw_tcp *tcp)
{
	bool silent = tcp->user_timeout_ms ? tcp->probes && give_up(tcp, 0, 1) : tcp->probes >= DATA_TRIES;

	if (tcp->snd_edge > tcp->snd_nxt) {
		tcp->window_overridden = true;
		cw_tcp_ready(tcp);
		return;
	}
	/* While a probe is answered the connection stays (RFC 9293 3.8.6.1), unless nobody is there any more who could end it (RFC 6429).
	 */
	if (silent || (tcp->closed && tcp->persists >= DATA_TRIES)) {
		cw_tcp_reset(tcp, timed_out(tcp));
		return;
	}
	if (!tcp->probes)
		tcp->retransmit_since = tcp->core->now;
	tcp->probes++;
	tcp->persists++;
	tcp->window_probe = true;
	tcp->ack_now |= tcp->urgent_end > tcp->snd_nxt; /* a probe isn't acceptable, so nobody reads its urgent pointer */
	cw_tcp_arm_persist(tcp);
	cw_tcp_ready(tcp);
}

static void keep_alive_timeout(struct cw_tcp *tcp)
{
	const struct cw_tcp_settings *settings = &tcp->settings;
	uint64_t idle = tcp->core->now - tcp->last_heard;
	bool busy = tcp->snd_end > tcp->snd_una; /* 3.8.4: only where nothing is awaited */

	if (idle < 1000000ull * settings->keep_idle_s || busy) {
		if (!busy)
			tcp->probes = 0;
		cw_tcp_deadline(tcp, CW_TCP_KEEP_ALIVE, tcp->core->now + 1000000ull * settings->keep_idle_s - (busy ? 0 : idle));
		return;
	}
	/* As Linux: the user's own limit counts, if there is one, not the number of probes. */
	if (tcp->user_timeout_ms ? tcp->probes && idle >= 1000ull * tcp->user_timeout_ms : tcp->probes >= settings->keep_count) {
		cw_tcp_reset(tcp, timed_out(tcp));
		return;
	}
	tcp->probes++;
	tcp->keep_probe = true;
	cw_tcp_deadline(tcp, CW_TCP_KEEP_ALIVE, tcp->core->now + 1000000ull * settings->keep_interval_s);
	cw_tcp_ready(tcp);
}

static void run(struct cw_tcp *tcp, enum cw_tcp_deadline which)
{
	switch (which) {
	case CW_TCP_RETRANSMIT:
		retransmit_timeout(tcp);
		break;
	case CW_TCP_REORDER:
		reorder_timeout(tcp);
		break;
	case CW_TCP_PERSIST:
		persist_timeout(tcp);
		break;
	case CW_TCP_DELAYED_ACK:
		tcp->interactive = false; /* no answer came that it could have gone along with */
		cw_tcp_ack_now(tcp);
		break;
	case CW_TCP_KEEP_ALIVE:
		keep_alive_timeout(tcp);
		break;
	case CW_TCP_LINGERING:
		cw_tcp_lingered(tcp);
		break;
	case CW_TCP_PACE:
		cw_tcp_ready(tcp);
		break;
	case CW_TCP_CORK:
		tcp->more = false;
		cw_tcp_ready(tcp);
		break;
	case CW_TCP_DEADLINES:
		break;
	}
}

void cw_tcp_timer_expired(struct cw_tcp *tcp)
{
	uint64_t next = CW_NEVER;

	for (unsigned which = 0; which < CW_TCP_DEADLINES; which++) {
		if (tcp->deadline[which] <= tcp->core->now) {
			tcp->deadline[which] = CW_NEVER;
			run(tcp, which);
			if (tcp->state == CW_TCP_CLOSED)
				return;
		}
		next = cw_min64(next, tcp->deadline[which]);
	}
	for (unsigned which = 0; which < CW_TCP_DEADLINES; which++) /* one may have set another */
		next = cw_min64(next, tcp->deadline[which]);
	if (next != CW_NEVER)
		cw_wheel_start(&tcp->core->wheel, &tcp->timer, next);
}
