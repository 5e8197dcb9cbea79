/* ICMP errors for connections (RFC 5927, 1122 4.2.3.9, 1191, 8201). */
#ifndef CW_TCPIP_ICMP_H
#define CW_TCPIP_ICMP_H

#include "transport/tcpip/core.h"
#include "transport/tcpip/packet.h"

void cw_icmp_input(struct cw_tcpip *core, const struct cw_frame *frame, const struct cw_packet *packet);
void cw_icmp_host_unreachable(struct cw_tcpip *core, const unsigned char *packet, uint32_t length);

#endif
