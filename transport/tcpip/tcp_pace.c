/* Pacing: a window is sent over its round trip, not at once behind the acknowledgements that allow it. As fast as it may be to let the
 * window grow: twice the window a round trip in slow start, six fifths of it in congestion avoidance (as Linux). */
#include "transport/tcpip/tcp.h"

#define FRAMES_A_SECOND 1000u /* a frame is what goes in a millisecond, so that it isn't a burst itself */

/* Bytes a second. */
static uint64_t rate(const struct cw_tcp *tcp)
{
	uint64_t most = tcp->settings.pacing_rate ? tcp->settings.pacing_rate : CW_NEVER, rate = most;

	if (tcp->srtt8)
		rate = tcp->cwnd * 8000000 / tcp->srtt8 / 100 * (tcp->cwnd < tcp->ssthresh / 2 ? 200 : 120);
	return cw_max64(cw_min64(rate, most), tcp->mss);
}

uint32_t cw_tcp_pace_frame(const struct cw_tcp *tcp)
{
	return (uint32_t)cw_min64(cw_max64(rate(tcp) / FRAMES_A_SECOND, 2ull * tcp->mss), UINT32_MAX);
}

/* In nanoseconds, or at high rates the rounding of each frame's share would make it half as fast or twice. What goes in the microsecond
 * that it was due in isn't late. */
void cw_tcp_pace(struct cw_tcp *tcp, uint64_t bytes)
{
	uint64_t now = tcp->core->now * 1000, due = tcp->pace_next + 1000 > now ? tcp->pace_next : now;

	tcp->pace_next = due + bytes * 1000000000 / rate(tcp);
}

/* Is it too early for what is to be sent? The timer says when it isn't. */
bool cw_tcp_paced(struct cw_tcp *tcp)
{
	if (tcp->core->now * 1000 >= tcp->pace_next)
		return false;
	if (tcp->to_retransmit || cw_tcp_send_limit(tcp) > tcp->snd_nxt)
		cw_tcp_deadline(tcp, CW_TCP_PACE, (tcp->pace_next + 999) / 1000);
	return true;
}
