/* How connections end (RFC 9293 3.6, 3.10.4 to 3.10.6). */
#include "transport/tcpip/tcp.h"

#include <errno.h>

#include "transport/tcpip/tcp_time_wait.h"

/* The core lets go of it: rings aren't touched any more, and the last event tells so. */
void cw_tcp_gone(struct cw_tcp *tcp, int error)
{
	if (tcp->state == CW_TCP_CLOSED)
		return;
	tcp->state = CW_TCP_CLOSED;
	cw_flow_remove(&tcp->core->table, &tcp->flow);
	cw_wheel_stop(&tcp->core->wheel, &tcp->timer);
	for (unsigned i = 0; i < CW_TCP_DEADLINES; i++)
		tcp->deadline[i] = CW_NEVER;
	cw_list_remove(&tcp->transmit);
	cw_sent_release(tcp);
	cw_tcp_blocks_release(tcp);
	tcp->error = error;
	cw_tcp_tell(tcp, error ? CW_TCP_GONE | CW_TCP_FAILED : CW_TCP_GONE);
}

void cw_tcp_free(struct cw_tcp *tcp)
{
	cw_pool_give(&tcp->core->connection_pool, tcp);
}

void cw_tcp_reset(struct cw_tcp *tcp, int error)
{
	if (cw_tcp_synchronized(tcp)) {
		cw_count(tcp->core, CW_TCPIP_RESETS_OUT);
		/* At what the peer expects next, for it believes no other (RFC 5961). What it may have lost it asks for again, and is told
		 * by no_flow. */
		cw_reply(tcp->core, &tcp->flow.key, CW_RST | CW_ACK, (uint32_t)tcp->snd_nxt, (uint32_t)tcp->rcv_nxt);
	}
	cw_tcp_gone(tcp, error);
}

static void enter_time_wait(struct cw_tcp *tcp)
{
	cw_flow_remove(&tcp->core->table, &tcp->flow);
	cw_time_wait_enter(tcp);
	cw_tcp_gone(tcp, 0);
}

/* FIN-WAIT-2 of a connection that nobody reads: not forever. */
static void wait_for_peer(struct cw_tcp *tcp)
{
	if (tcp->settings.fin_wait_2_ms == UINT32_MAX)
		cw_tcp_reset(tcp, 0);
	else
		cw_tcp_deadline(tcp, CW_TCP_LINGERING, tcp->core->now + 1000ull * tcp->settings.fin_wait_2_ms);
}

static void tell_lingerer(struct cw_tcp *tcp, int error)
{
	tcp->lingering = false;
	tcp->error = error;
	cw_tcp_tell(tcp, CW_TCP_LINGERED);
}

void cw_tcp_lingered(struct cw_tcp *tcp)
{
	if (tcp->lingering)
		tell_lingerer(tcp, EWOULDBLOCK);
	else
		cw_tcp_gone(tcp, 0);
}

void cw_tcp_finished(struct cw_tcp *tcp)
{
	if (tcp->lingering) {
		cw_tcp_no_deadline(tcp, CW_TCP_LINGERING);
		tell_lingerer(tcp, 0);
	}
	if (tcp->state == CW_TCP_FIN_WAIT_1) {
		tcp->state = CW_TCP_FIN_WAIT_2;
		if (tcp->closed)
			wait_for_peer(tcp);
	} else if (tcp->state == CW_TCP_CLOSING) {
		enter_time_wait(tcp);
	} else if (tcp->state == CW_TCP_LAST_ACK) {
		cw_tcp_gone(tcp, 0);
	}
}

void cw_tcp_peer_finished(struct cw_tcp *tcp)
{
	cw_tcp_tell(tcp, CW_TCP_PEER_CLOSED);
	cw_tcp_ack_now(tcp);
	if (tcp->state == CW_TCP_ESTABLISHED)
		tcp->state = CW_TCP_CLOSE_WAIT;
	else if (tcp->state == CW_TCP_FIN_WAIT_1)
		tcp->state = CW_TCP_CLOSING;
	else if (tcp->state == CW_TCP_FIN_WAIT_2)
		enter_time_wait(tcp);
}

void cw_tcp_shutdown(struct cw_tcp *tcp, uint64_t now)
{
	cw_core_clock(tcp->core, now);
	if (tcp->fin_wanted || tcp->state == CW_TCP_CLOSED)
		return;
	tcp->fin_wanted = true;
	tcp->fin_at = tcp->snd_end++;
	/* While it isn't open the FIN waits behind the SYN; cw_tcp_connected goes on from here. */
	if (tcp->state == CW_TCP_ESTABLISHED)
		tcp->state = CW_TCP_FIN_WAIT_1;
	else if (tcp->state == CW_TCP_CLOSE_WAIT)
		tcp->state = CW_TCP_LAST_ACK;
	cw_tcp_ready(tcp);
}

void cw_tcp_close(struct cw_tcp *tcp, uint64_t now)
{
	cw_core_clock(tcp->core, now);
	if (tcp->state == CW_TCP_CLOSED || tcp->closed)
		return;
	tcp->closed = true;
	if (tcp->state == CW_TCP_SYN_SENT)
		cw_tcp_gone(tcp, 0);
	else if (cw_tcp_unread(tcp))
		cw_tcp_reset(tcp, 0);
	else
		cw_tcp_shutdown(tcp, now);
	if (tcp->state == CW_TCP_FIN_WAIT_2)
		wait_for_peer(tcp);
}

void cw_tcp_linger(struct cw_tcp *tcp, uint32_t ms, uint64_t now)
{
	if (!ms) {
		cw_tcp_abort(tcp, now);
		return;
	}
	cw_tcp_close(tcp, now);
	if (tcp->state == CW_TCP_CLOSED)
		return;
	if (tcp->snd_una > tcp->fin_at) {
		tell_lingerer(tcp, 0);
		return;
	}
	tcp->lingering = true;
	cw_tcp_deadline(tcp, CW_TCP_LINGERING, tcp->core->now + 1000ull * ms);
}

/* RFC 9293 3.10.6: whose FINs have both been sent have nothing to take back. */
void cw_tcp_abort(struct cw_tcp *tcp, uint64_t now)
{
	cw_core_clock(tcp->core, now);
	if ((tcp->state == CW_TCP_CLOSING || tcp->state == CW_TCP_LAST_ACK) && tcp->snd_nxt == tcp->snd_end)
		cw_tcp_gone(tcp, 0);
	else
		cw_tcp_reset(tcp, 0);
}
