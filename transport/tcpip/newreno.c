/* Reno's window (RFC 5681 section 3.1): one segment more each round trip, half of what is in flight at a loss. */
#include "transport/tcpip/tcp.h"

static void init(struct cw_tcp *tcp)
{
	tcp->congestion_state = (struct cw_congestion_state){0};
}

/* Counting bytes (RFC 3465), so that delayed and merged acknowledgements don't slow it. */
static void avoid(struct cw_tcp *tcp, uint64_t bytes)
{
	struct cw_congestion_state *state = &tcp->congestion_state;

	state->credit += bytes;
	if (state->credit >= tcp->cwnd) {
		state->credit -= tcp->cwnd;
		tcp->cwnd += tcp->mss;
	}
}

/* Equation (4): from what is in flight, not from the window, which may not have been in use. */
static uint64_t reduce(struct cw_tcp *tcp)
{
	tcp->congestion_state.credit = 0;
	return cw_max64(cw_min64(cw_tcp_outstanding(tcp), tcp->cwnd) / 2, 2ull * tcp->mss);
}

static void nothing(struct cw_tcp *tcp)
{
}

const struct cw_congestion cw_newreno = {
	.name = "newreno", .init = init, .avoid = avoid, .reduce = reduce, .timeout = nothing, .undo = nothing};
