/* Ethernet around the segments of a conformance scenario: one peer, whose address is asked for by ARP or ND. */
#ifndef CW_TESTS_TCPIP_SCRIPT_LINK_H
#define CW_TESTS_TCPIP_SCRIPT_LINK_H

#include "script.h"

struct cw_ip_address script_address(const struct script *script, unsigned host);
/* Members of the configuration, and an address of the core's own. */
void script_link_configure(struct script *script);
void script_link_begin(struct script *script);
/* The packet in a frame, which gets its header here: 14 bytes in front of it are free. */
uint32_t script_link_put(const struct script *script, unsigned char *packet, uint32_t length);
/* Take the header off; false: it isn't a packet for the peer. */
bool script_link_take(const struct script *script, struct cw_frame *frame);
/* The next frame out asks for the peer: everybody, or the peer alone. */
bool script_link_asks(struct script *script, bool all);
/* The peer says where it is; `elsewhere`: nobody has asked, and it has another link address now. */
void script_link_tell(struct script *script, bool elsewhere);

#endif
