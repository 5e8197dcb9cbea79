/* CUBIC (RFC 9438). Windows in bytes, times in seconds; sections named are of that RFC. */
#include "transport/tcpip/tcp.h"

#define C     0.4
#define BETA  0.7
#define ALPHA (3 * (1 - BETA) / (1 + BETA)) /* 4.3: as fast as Reno on average, with this beta */

/* Newton's method: libm isn't the same everywhere, and runs have to be repeatable. */
static double cube_root(double x)
{
	double root = x > 1 ? x : 1;

	for (int i = 0; i < 200; i++) {
		double next = (2 * root + x / (root * root)) / 3;

		if (next >= root)
			break;
		root = next;
	}
	return root;
}

static void init(struct cw_tcp *tcp)
{
	tcp->congestion_state = (struct cw_congestion_state){0};
}

/* 4.2: t = 0 is when congestion avoidance begins; K is when the curve is back at W_max. */
static void begin_epoch(struct cw_tcp *tcp, struct cw_congestion_state *state)
{
	double cwnd = (double)tcp->cwnd;

	state->epoch = state->last = tcp->core->now;
	state->w_est = cwnd;
	if (cwnd < state->w_max) {
		state->k = cube_root((state->w_max - cwnd) / tcp->mss / C);
	} else {
		state->k = 0;
		state->w_max = cwnd;
	}
}

static double w_cubic(const struct cw_tcp *tcp, const struct cw_congestion_state *state, double t)
{
	double d = t - state->k;

	return C * d * d * d * tcp->mss + state->w_max;
}

static void avoid(struct cw_tcp *tcp, uint64_t bytes)
{
	struct cw_congestion_state *state = &tcp->congestion_state;
	double cwnd = (double)tcp->cwnd, acked = (double)bytes, rtt = (double)tcp->srtt8 / 8e6, t, target, grown;

	if (!state->epoch)
		begin_epoch(tcp, state);
	/* 5.8: time in which the program was the limit doesn't count. */
	if (tcp->core->now - state->last > tcp->srtt8 / 4 + 100000)
		state->epoch += tcp->core->now - state->last;
	state->last = tcp->core->now;
	t = (double)(tcp->core->now - state->epoch) / 1e6;
	/* 4.3: Reno's window by now; it grows as Reno does once it has what it had before the loss. */
	state->w_est += (state->w_est < state->prior ? ALPHA : 1.0) * acked / cwnd * tcp->mss;
	if (w_cubic(tcp, state, t) < state->w_est) {
		grown = state->w_est;
	} else {
		target = w_cubic(tcp, state, t + rtt);
		if (target > 1.5 * cwnd)
			target = 1.5 * cwnd;
		grown = target > cwnd ? cwnd + (target - cwnd) * acked / cwnd : cwnd;
	}
	if (grown > cwnd)
		tcp->cwnd = (uint64_t)grown > tcp->cwnd + bytes ? tcp->cwnd + bytes : (uint64_t)grown;
}

/* 4.6, and 4.7 fast convergence: who loses before it was back gives room to newcomers. */
static uint64_t reduce(struct cw_tcp *tcp)
{
	struct cw_congestion_state *state = &tcp->congestion_state;
	double cwnd = (double)cw_min64(tcp->cwnd, cw_max64(cw_tcp_outstanding(tcp), 2ull * tcp->mss));

	state->undo_w_max = state->w_max;
	state->prior = cwnd;
	state->w_max = cwnd < state->w_max ? cwnd * (1 + BETA) / 2 : cwnd;
	state->epoch = 0;
	return cw_max64((uint64_t)(cwnd * BETA), 2ull * tcp->mss);
}

/* 4.8: congestion avoidance after a time-out begins anew where slow start ends. */
static void timeout(struct cw_tcp *tcp)
{
	tcp->congestion_state.epoch = 0;
}

static void undo(struct cw_tcp *tcp)
{
	tcp->congestion_state.w_max = tcp->congestion_state.undo_w_max;
	tcp->congestion_state.epoch = 0;
}

const struct cw_congestion cw_cubic = {
	.name = "cubic", .init = init, .avoid = avoid, .reduce = reduce, .timeout = timeout, .undo = undo, .hystart = true};
