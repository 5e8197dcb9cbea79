/*
 * SYN cookies (RFC 4987 3.6): our sequence number says all that has to be kept of a SYN.
 *
 *	bits 31-27	the time, in units of 64 s
 *	bits 26-24	the peer's MSS, the largest of a table that it isn't below
 *	bits 23-0	SipHash of the flow, the peer's sequence number and the upper bits
 *
 * The other options ride in the low six bits of our time stamp, which the peer echoes: window scale (15: none), SACK, and one that is
 *always set.
 */
#include "transport/tcpip/tcp_half_open.h"
#include "transport/tcpip/tcp_options.h"

#define UNIT     64000000ull
#define OPTIONS  0x3fu
#define SACK     0x10u
#define NO_SCALE 15u

static const uint16_t sizes[8] = {216, 536, 1024, 1220, 1360, 1440, 1460, 8960};

static uint32_t make(const struct cw_tcpip *core, const struct cw_flow_key *key, uint32_t irs, uint32_t time, uint32_t size)
{
	struct {
		struct cw_flow_key key;
		uint32_t irs, upper;
	} what = {*key, irs, (time & 31u) << 27 | size << 24};

	return what.upper | (cw_siphash(&core->cookie_secret, &what, sizeof(what)) & 0xffffff);
}

static uint32_t time_of(const struct cw_tcpip *core)
{
	return (uint32_t)(core->now / UNIT);
}

void cw_syn_cookie_send(struct cw_tcp_listener *listener, const struct cw_segment *segment)
{
	struct cw_tcpip *core = listener->core;
	struct cw_tcp_options ours;
	struct cw_reply *reply;
	uint32_t size = 7, told = segment->options.mss ? segment->options.mss : sizes[1], carried;

	while (size && sizes[size] > told)
		size--;
	reply = cw_reply(core, &segment->key, CW_SYN | CW_ACK, make(core, &segment->key, segment->seq, time_of(core), size),
			 segment->seq + 1);
	if (!reply)
		return;
	core->cookies_until = core->now + 2 * UNIT;
	cw_tcp_syn_options(&listener->settings, cw_tcp_largest_segment(core, &segment->key.remote), listener->settings.receive_size, &ours);
	/* Without a time stamp nothing but the MSS can be remembered. */
	ours.has_timestamp &= segment->options.has_timestamp;
	ours.sack_permitted &= ours.has_timestamp && segment->options.sack_permitted;
	ours.has_window_scale &= ours.has_timestamp && segment->options.has_window_scale;
	carried = (ours.has_window_scale ? segment->options.window_scale : NO_SCALE) | (ours.sack_permitted ? SACK : 0);
	ours.timestamp = (uint32_t)(core->now / 1000) + cw_tcp_timestamp_offset(core, &segment->key);
	ours.timestamp = ((ours.timestamp - OPTIONS - 1) & ~OPTIONS) | carried; /* never ahead of the clock */
	ours.echo = segment->options.timestamp;
	reply->window = (uint16_t)cw_min32(listener->settings.receive_size, 65535);
	reply->options_length = (uint8_t)cw_tcp_options_put_syn(reply->options, &ours);
}

bool cw_syn_cookie_check(struct cw_tcp_listener *listener, const struct cw_segment *segment, struct cw_tcp_options *ours,
			 struct cw_tcp_options *theirs)
{
	struct cw_tcpip *core = listener->core;
	uint32_t cookie = segment->ack - 1, size = cookie >> 24 & 7, now = time_of(core), age = (now - (cookie >> 27)) & 31;

	if (core->now >= core->cookies_until || age > 1 || cookie != make(core, &segment->key, segment->seq - 1, cookie >> 27, size)) {
		cw_count(core, CW_TCPIP_COOKIE_BAD);
		return false;
	}
	cw_tcp_syn_options(&listener->settings, cw_tcp_largest_segment(core, &segment->key.remote), listener->settings.receive_size, ours);
	*theirs = (struct cw_tcp_options){.mss = sizes[size]};
	theirs->has_timestamp = segment->options.has_timestamp && !listener->settings.no_timestamps;
	theirs->timestamp = segment->options.timestamp;
	if (theirs->has_timestamp) {
		theirs->sack_permitted = segment->options.echo & SACK;
		theirs->window_scale = segment->options.echo & NO_SCALE;
		theirs->has_window_scale = theirs->window_scale != NO_SCALE;
		theirs->window_scale = theirs->has_window_scale ? theirs->window_scale : 0;
	}
	return true;
}
