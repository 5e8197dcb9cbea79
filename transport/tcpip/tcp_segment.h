/* A TCP segment as it came: header and options read, payload still in its frame. */
#ifndef CW_TCPIP_TCP_SEGMENT_H
#define CW_TCPIP_TCP_SEGMENT_H

#include "transport/tcpip/flow_table.h"
#include "transport/tcpip/packet.h"
#include "transport/tcpip/tcpip.h"

#define CW_TCP_HEADER 20u

#define CW_FIN 0x01u
#define CW_SYN 0x02u
#define CW_RST 0x04u
#define CW_PSH 0x08u
#define CW_ACK 0x10u
#define CW_URG 0x20u
#define CW_ECE 0x40u
#define CW_CWR 0x80u

#define CW_SACK_BLOCKS 4u

struct cw_sack_range {
	uint32_t start, end;
};

/* What a segment's options say of its sender (RFC 9293 3.2, 7323, 2018, 5482). */
struct cw_tcp_options {
	uint16_t mss; /* 0: not given */
	uint8_t window_scale;
	bool has_window_scale, sack_permitted, has_timestamp;
	uint32_t timestamp, echo;
	uint32_t user_timeout; /* seconds; 0: not given (RFC 5482) */
	uint8_t sacks;
	struct cw_sack_range sack[CW_SACK_BLOCKS];
};

struct cw_segment {
	const struct cw_frame *frame;
	struct cw_flow_key key;
	uint32_t seq, ack;
	uint32_t at;     /* offset of the payload in the frame */
	uint32_t length; /* of the payload */
	uint16_t window, urgent;
	uint8_t flags;
	uint8_t ecn;
	struct cw_tcp_options options;
};

enum cw_segment_fault { CW_SEGMENT_GOOD, CW_SEGMENT_MALFORMED, CW_SEGMENT_CHECKSUM };

enum cw_segment_fault cw_segment_parse(const struct cw_frame *frame, const struct cw_packet *packet, struct cw_segment *segment);
/* Unknown options are skipped; one that can't be as it is ends the look, and those before it hold (RFC 9293 3.1: MUST-6, MUST-7). */
void cw_tcp_options_parse(const unsigned char *option, uint32_t length, bool syn, struct cw_tcp_options *options);

/* What a segment takes of the sequence space. */
static inline uint32_t cw_segment_space(const struct cw_segment *segment)
{
	return segment->length + !!(segment->flags & CW_SYN) + !!(segment->flags & CW_FIN);
}

#endif
