/* A UDP socket, inside. */
#ifndef CW_TCPIP_UDP_SOCKET_H
#define CW_TCPIP_UDP_SOCKET_H

#include "transport/tcpip/core.h"
#include "transport/tcpip/packet.h"
#include "transport/tcpip/udp.h"

#define CW_UDP_HEADER 8u

struct cw_udp {
	struct cw_flow flow; /* in the table of connected ones */
	struct cw_tcpip *core;
	struct cw_list port;       /* among those of ports that hash alike; not if it is connected, but for who is bound to a group */
	struct cw_list same_bound; /* among those that are bound to ports that hash alike */
	struct cw_list transmit, event;
	struct cw_list memberships;
	struct cw_ip_endpoint bound, local, remote; /* local: bound, or what it is connected from */
	struct cw_udp_settings settings;
	struct cw_udp_rings rings;
	uint64_t received, read;
	uint64_t written, sent;
	uint64_t dropped;
	unsigned events;
	int error, refusal;
	bool connected, closing, gone;
	bool sending; /* the record at `sent`: */
	struct cw_udp_record record;
	struct cw_outgoing out; /* the datagram of it that is on its way */
	uint32_t done;          /* bytes of the record in datagrams before that */
	uint32_t mtu;
};

/* What came, and where: its payload is in a frame from `at` on. */
struct cw_udp_arrival {
	const struct cw_frame *frame;
	uint32_t at, length, segment_size;
	struct cw_ip_endpoint local, remote;
	uint8_t hop_limit, traffic_class;
};

static inline struct cw_list *cw_udp_port(struct cw_tcpip *core, uint16_t port)
{
	return &core->udp_ports[port % CW_UDP_BUCKETS];
}

static inline struct cw_list *cw_udp_bound(struct cw_tcpip *core, uint16_t port)
{
	return &core->udp_bound[port % CW_UDP_BUCKETS];
}

/* May be called for any address: does it take datagrams of that family? */
bool cw_udp_takes_family(const struct cw_udp *udp, const struct cw_ip_address *address);
void cw_udp_input(struct cw_tcpip *core, const struct cw_frame *frame, const struct cw_packet *packet);
/* To all sockets that want it; false: to none. */
bool cw_udp_deliver_to_all(struct cw_tcpip *core, const struct cw_udp_arrival *arrival);
/* An ICMP error quotes a datagram from local to remote. */
void cw_udp_icmp(struct cw_tcpip *core, const struct cw_flow_key *key, int error, bool hard, uint32_t mtu);
bool cw_udp_output(struct cw_udp *udp, struct cw_frame *frame, unsigned char *header);
void cw_udp_tell(struct cw_udp *udp, unsigned events);
void cw_udp_ready(struct cw_udp *udp);
/* An index or record from the program that can't be. */
void cw_udp_broken(struct cw_udp *udp);

#endif
