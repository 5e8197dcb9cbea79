/* What we tell senders about their packets (RFC 792, 1122 3.2.2, 4443). */
#ifndef CW_TCPIP_ICMP_ERROR_H
#define CW_TCPIP_ICMP_ERROR_H

#include "transport/tcpip/packet.h"

/* An error about this packet, if its sender may be told one. `word` is what is in the header behind the sum. */
void cw_icmp_error(struct cw_tcpip *core, const struct cw_frame *frame, const struct cw_packet *packet, uint8_t type, uint8_t code,
		   uint32_t word);
/* ICMPv6's parameter problem. */
void cw_icmp_problem(struct cw_tcpip *core, const struct cw_frame *frame, const struct cw_packet *packet, enum cw_packet_problem problem,
		     uint32_t pointer);
/* Nobody has this port. */
void cw_icmp_port_unreachable(struct cw_tcpip *core, const struct cw_frame *frame, const struct cw_packet *packet);
/* Nobody here knows this protocol. */
void cw_icmp_protocol_unknown(struct cw_tcpip *core, const struct cw_frame *frame, const struct cw_packet *packet);
void cw_icmp_echo(struct cw_tcpip *core, const struct cw_frame *frame, const struct cw_packet *packet);
/* The sum of a message whose field is two bytes behind its beginning. */
uint16_t cw_icmp_sum(const struct cw_ip_address *source, const struct cw_ip_address *destination, const unsigned char *message,
		     uint32_t length);

#endif
