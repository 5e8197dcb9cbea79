/*
 * The user time-out option (RFC 5482): each end tells how long it would wait for an acknowledgement, and waits as long as the more patient
 * one of both, within bounds. A limit that the program has set itself holds whatever the peer tells (section 3.1: CHANGEABLE).
 */
#include "transport/tcpip/tcp.h"

#define TOLD_S  300u  /* ADV_UTO, if the program says nothing: RFC 9293 3.9.1.1 */
#define LEAST_S 100u  /* L_LIMIT: RFC 9293 3.8.3's R2 */
#define MOST_S  3600u /* U_LIMIT: who tells more mustn't tie up memory for longer */

/* ADV_UTO, in seconds. */
uint32_t cw_tcp_user_timeout_told(const struct cw_tcp_settings *settings)
{
	return settings->user_timeout_ms ? cw_max32(settings->user_timeout_ms / 1000, 1) : TOLD_S;
}

void cw_tcp_user_timeout_take(struct cw_tcp *tcp, uint32_t seconds)
{
	if (!tcp->settings.user_timeout_option || tcp->settings.user_timeout_ms)
		return;
	seconds = cw_max32(seconds, cw_max32(cw_tcp_user_timeout_told(&tcp->settings), LEAST_S));
	tcp->user_timeout_ms = 1000 * cw_min32(seconds, MOST_S);
}

void cw_tcp_set_user_timeout(struct cw_tcp *tcp, uint32_t ms, uint64_t now)
{
	cw_core_clock(tcp->core, now);
	tcp->settings.user_timeout_ms = tcp->user_timeout_ms = ms;
	if (!tcp->settings.user_timeout_option || !cw_tcp_synchronized(tcp) || tcp->state == CW_TCP_SYN_RECEIVED)
		return;
	tcp->user_timeout_due = true;
	cw_tcp_ack_now(tcp);
}
