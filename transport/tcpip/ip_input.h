/* A packet comes in: refused, kept as a fragment, or given to who knows its protocol. */
#ifndef CW_TCPIP_IP_INPUT_H
#define CW_TCPIP_IP_INPUT_H

#include "transport/tcpip/tcpip.h"

/* `link_group`: the link brought it to several. */
void cw_ip_input(struct cw_tcpip *core, const struct cw_frame *frame, bool link_group);

#endif
