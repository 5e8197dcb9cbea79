/* The retransmission time-out (RFC 6298), in microseconds. */
#include "transport/tcpip/tcp.h"

#define FIRST_RTO    1000000u
#define LONGEST_RTO  120000000u
#define GRANULARITY  1000u
#define MIN_RTT_LIFE 300000000u /* as RFC 8985 6.2 step 1 suggests: a path may become longer */

void cw_tcp_rtt_init(struct cw_tcp *tcp)
{
	tcp->rto = FIRST_RTO;
	tcp->min_rtt = CW_NEVER;
	cw_windowed_set(&tcp->rtts, tcp->core->now, CW_NEVER);
}

void cw_tcp_rtt_min(struct cw_tcp *tcp, uint64_t rtt)
{
	tcp->min_rtt = cw_windowed_least(&tcp->rtts, MIN_RTT_LIFE, tcp->core->now, rtt);
}

/* (2.2), (2.3): srtt8 is 8 * SRTT and rttvar4 is 4 * RTTVAR, so that both steps are exact shifts. */
void cw_tcp_rtt_sample(struct cw_tcp *tcp, uint64_t rtt)
{
	uint64_t rto;

	if (rtt == 0)
		rtt = 1;
	if (!tcp->srtt8) {
		tcp->srtt8 = rtt * 8;
		tcp->rttvar4 = rtt * 2;
	} else {
		uint64_t srtt = tcp->srtt8 / 8, error = rtt > srtt ? rtt - srtt : srtt - rtt;

		tcp->rttvar4 += error - tcp->rttvar4 / 4;
		tcp->srtt8 += rtt - tcp->srtt8 / 8;
	}
	/* (2.4): the lower bound is ours; one second would make each lost tail a stall. It bounds the variation, so that a long path keeps
	 * it too. */
	rto = tcp->srtt8 / 8 + cw_max64(cw_max64(GRANULARITY, tcp->settings.rto_min_us), tcp->rttvar4);
	tcp->rto = (uint32_t)cw_min64(rto, LONGEST_RTO);
}
