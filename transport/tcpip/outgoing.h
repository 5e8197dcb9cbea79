/* A datagram on its way out: whole, or in as many fragments as the path asks for, a frame each. */
#ifndef CW_TCPIP_OUTGOING_H
#define CW_TCPIP_OUTGOING_H

#include "transport/tcpip/tcpip.h"

struct cw_outgoing {
	struct cw_ip_address source, destination;
	uint8_t protocol, traffic_class, hop_limit;
	bool may_fragment; /* on the way, too: IPv4 without DF */
	bool router_alert;
	bool partial;   /* the transport's sum is left to the device if the datagram stays whole */
	uint8_t sum_at; /* where its field is in the transport's header */
	uint8_t head_length;
	unsigned char head[8]; /* the transport's header */
	struct cw_piece piece[2];
	uint32_t length; /* head and pieces */
	uint32_t offset; /* done */
	uint32_t segment_size;
	uint32_t id;
};

/* Does it go as one packet? */
bool cw_outgoing_fits(const struct cw_outgoing *out, uint32_t mtu);
/* Its next frame. False: that was the last one. */
bool cw_outgoing_next(struct cw_tcpip *core, struct cw_outgoing *out, uint32_t mtu, struct cw_frame *frame, unsigned char *header);
/* The sum over pseudo header, head and pieces, for the field in the head. */
uint16_t cw_outgoing_sum(const struct cw_outgoing *out);
/* An identification that isn't soon used again between these two, and that others can't guess (RFC 6864 4.3, 7739). */
uint32_t cw_ip_identification(struct cw_tcpip *core, const struct cw_ip_address *source, const struct cw_ip_address *destination);

#endif
