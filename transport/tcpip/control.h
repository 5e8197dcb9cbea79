/* What the network layer says of itself (ICMP, reports of membership). It waits in a ring of fixed size: who floods us makes us drop. */
#ifndef CW_TCPIP_CONTROL_H
#define CW_TCPIP_CONTROL_H

#include "transport/tcpip/outgoing.h"

struct cw_control_record {
	uint32_t size; /* in the ring, header and all; 0: the rest of it is unused */
	uint32_t length;
	struct cw_ip_address source, destination;
	uint8_t protocol, hop_limit, traffic_class;
	bool router_alert;
};

struct cw_control {
	unsigned char *ring;
	uint32_t size;
	uint64_t first, last;   /* free-running */
	struct cw_outgoing out; /* the record that is being sent in fragments */
	uint32_t mtu;
	bool sending;
};

/* Room for a message of this many bytes, which is filled at `*at`; NULL: there is none. It is sent later than what is there already. */
struct cw_control_record *cw_control_add(struct cw_tcpip *core, uint32_t length, unsigned char **at);
bool cw_control_output(struct cw_tcpip *core, struct cw_frame *frame, unsigned char *header);

#endif
