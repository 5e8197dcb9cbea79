/* What goes out next, without link header. */
#ifndef CW_TCPIP_IP_OUTPUT_H
#define CW_TCPIP_IP_OUTPUT_H

#include "transport/tcpip/tcpip.h"

bool cw_ip_output(struct cw_tcpip *core, struct cw_frame *frame, unsigned char *header);

#endif
