/*
 * HyStart++ (RFC 9406): slow start ends before it overruns the path. A round trip that has become longer says that a queue grows; then the
 * window grows slower for some rounds (conservative slow start), and if the round trip doesn't become shorter again that was the end.
 */
#include "transport/tcpip/tcp.h"

#define LEAST_RISE 4000u /* 4.3 */
#define MOST_RISE  16000u
#define SAMPLES    8u
#define DIVISOR    4u
#define ROUNDS     5u
#define BURST      8u /* segments that one acknowledgement lets the window grow by, unless sending is paced */

static void begin_round(struct cw_tcp *tcp)
{
	struct cw_hystart *state = &tcp->hystart;

	state->window_end = tcp->snd_nxt;
	state->last = state->current;
	state->current = 0;
	state->samples = 0;
	if (state->baseline && ++state->css_rounds >= ROUNDS)
		tcp->ssthresh = tcp->cwnd;
}

static void take_sample(struct cw_tcp *tcp, uint64_t rtt)
{
	struct cw_hystart *state = &tcp->hystart;

	state->current = state->current ? cw_min64(state->current, rtt) : rtt;
	if (++state->samples < SAMPLES)
		return;
	if (state->baseline) {
		if (state->current < state->baseline) /* it wasn't a queue of ours */
			state->baseline = 0;
	} else if (state->last && state->current >= state->last + cw_max64(LEAST_RISE, cw_min64(state->last / 8, MOST_RISE))) {
		state->baseline = state->current;
		state->css_rounds = 0;
	}
}

/* By how much the window grows. */
uint64_t cw_hystart_step(struct cw_tcp *tcp, const struct cw_tcp_acked *acked)
{
	/* What the device takes in one go is a burst anyway. */
	uint64_t burst = cw_max64(BURST * (uint64_t)tcp->mss, tcp->core->config.frame_max), step = acked->ack - acked->una;

	if (acked->newest && !acked->again)
		take_sample(tcp, cw_max64(tcp->core->now - acked->newest, 1));
	if (tcp->snd_una >= tcp->hystart.window_end)
		begin_round(tcp);
	if (!tcp->settings.pacing)
		step = cw_min64(step, burst);
	return tcp->hystart.baseline ? step / DIVISOR : step;
}
