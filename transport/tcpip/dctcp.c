/*
 * DCTCP (RFC 8257): the window shrinks by how much of the data was marked, not by half for any mark. For networks of one owner, whose
 * switches mark early. Sections named are of that RFC. Losses, and growth, are Reno's (3.4, 3.5).
 */
#include "transport/tcpip/tcp.h"

#define G (1.0 / 16) /* 4.2: weight of what is new */

static void init(struct cw_tcp *tcp)
{
	tcp->congestion_state = (struct cw_congestion_state){.alpha = 1};
}

/* 3.3: one observation lasts a window of data. */
static void acknowledged(struct cw_tcp *tcp, uint64_t bytes, bool echoed)
{
	struct cw_congestion_state *state = &tcp->congestion_state;

	state->acked += bytes;
	state->marked += echoed ? bytes : 0;
	if (tcp->snd_una <= state->window_end)
		return;
	state->alpha = state->alpha * (1 - G) + G * ((double)state->marked / (double)state->acked);
	state->window_end = tcp->snd_nxt;
	state->acked = state->marked = 0;
}

static void avoid(struct cw_tcp *tcp, uint64_t bytes)
{
	cw_newreno.avoid(tcp, bytes);
}

static uint64_t reduce(struct cw_tcp *tcp)
{
	return cw_newreno.reduce(tcp);
}

/* 3.3, equation (9). */
static uint64_t marked(struct cw_tcp *tcp)
{
	tcp->congestion_state.credit = 0;
	return cw_max64((uint64_t)((double)tcp->cwnd * (1 - tcp->congestion_state.alpha / 2)), 2ull * tcp->mss);
}

static void nothing(struct cw_tcp *tcp)
{
}

const struct cw_congestion cw_dctcp = {
	.name = "dctcp",
	.init = init,
	.avoid = avoid,
	.reduce = reduce,
	.timeout = nothing,
	.undo = nothing,
	.acknowledged = acknowledged,
	.marked = marked,
	.exact_echo = true,
};
