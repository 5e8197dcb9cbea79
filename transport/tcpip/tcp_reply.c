/* Segments of no connection wait in a ring of fixed size: who floods us makes us drop, not grow. */
#include "transport/tcpip/tcp.h"

struct cw_reply *cw_reply(struct cw_tcpip *core, const struct cw_flow_key *key, uint8_t flags, uint32_t seq, uint32_t ack)
{
	struct cw_reply *reply;

	if (core->replies == core->config.replies) {
		cw_count(core, CW_TCPIP_REPLIES_DROPPED);
		return NULL;
	}
	reply = &core->reply[(core->reply_first + core->replies++) % core->config.replies];
	reply->key = *key;
	reply->flags = flags;
	reply->seq = seq;
	reply->ack = ack;
	reply->window = 0;
	reply->options_length = 0;
	return reply;
}

void cw_reply_reset(struct cw_tcpip *core, const struct cw_segment *segment)
{
	if (segment->flags & CW_RST)
		return;
	cw_count(core, CW_TCPIP_RESETS_OUT);
	if (segment->flags & CW_ACK)
		cw_reply(core, &segment->key, CW_RST, segment->ack, 0);
	else
		cw_reply(core, &segment->key, CW_RST | CW_ACK, 0, segment->seq + cw_segment_space(segment));
}
