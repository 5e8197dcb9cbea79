/* TCP headers read (RFC 9293 3.1). */
#include "transport/tcpip/tcp_segment.h"

#include "transport/tcpip/bytes.h"
#include "transport/tcpip/checksum.h"

static bool checksum_is_right(const struct cw_frame *frame, const struct cw_packet *packet)
{
	uint64_t sum = cw_checksum_pseudo(&packet->source, &packet->destination, packet->protocol, packet->length);

	return cw_checksum_fold(cw_checksum_frame(sum, frame, packet->at, packet->length)) == 0xffff;
}

enum cw_segment_fault cw_segment_parse(const struct cw_frame *frame, const struct cw_packet *packet, struct cw_segment *segment)
{
	const unsigned char *tcp = frame->piece[0].at + packet->at;
	uint32_t header;

	if (packet->at + CW_TCP_HEADER > frame->piece[0].length || packet->length < CW_TCP_HEADER)
		return CW_SEGMENT_MALFORMED;
	header = (tcp[12] >> 4) * 4u;
	if (header < CW_TCP_HEADER || header > packet->length || packet->at + header > frame->piece[0].length)
		return CW_SEGMENT_MALFORMED;
	if (frame->checksum == CW_CHECKSUM_COMPLETE && !checksum_is_right(frame, packet))
		return CW_SEGMENT_CHECKSUM;
	segment->frame = frame;
	segment->key.local = packet->destination;
	segment->key.remote = packet->source;
	segment->key.local_port = cw_get16(tcp + 2);
	segment->key.remote_port = cw_get16(tcp);
	segment->seq = cw_get32(tcp + 4);
	segment->ack = cw_get32(tcp + 8);
	segment->flags = tcp[13];
	segment->window = cw_get16(tcp + 14);
	segment->urgent = cw_get16(tcp + 18);
	segment->ecn = packet->ecn;
	segment->at = packet->at + header;
	segment->length = packet->length - header;
	segment->options.has_timestamp = false;
	segment->options.sacks = 0;
	segment->options.user_timeout = 0;
	if (header > CW_TCP_HEADER || segment->flags & CW_SYN)
		cw_tcp_options_parse(tcp + CW_TCP_HEADER, header - CW_TCP_HEADER, segment->flags & CW_SYN, &segment->options);
	return segment->key.local_port && segment->key.remote_port ? CW_SEGMENT_GOOD : CW_SEGMENT_MALFORMED;
}
