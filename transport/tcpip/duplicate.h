/* Is an address of ours somebody else's too (RFC 5227, 4862 5.4)? */
#ifndef CW_TCPIP_DUPLICATE_H
#define CW_TCPIP_DUPLICATE_H

#include "transport/tcpip/address.h"

/* A new address: used at once, or probed first. */
void cw_duplicate_begin(struct cw_address *own, bool probe);
void cw_duplicate_end(struct cw_address *own);
void cw_duplicate_expired(struct cw_address *own);
/* An ARP message tells that the sender has its address, or wants the target's. True: that is ours, and nothing else is to be learnt. */
bool cw_duplicate_arp(struct cw_tcpip *core, const struct cw_ip_address *sender, const struct cw_ip_address *target);
/* Somebody else probes this address. True: so do we. */
bool cw_duplicate_probe(struct cw_tcpip *core, const struct cw_ip_address *target);
/* Somebody says that it has it. True: it is ours. */
bool cw_duplicate_claim(struct cw_tcpip *core, const struct cw_ip_address *target);

#endif
