/* IP headers, read: who sent what to whom, and where the transport's header is. */
#ifndef CW_TCPIP_PACKET_H
#define CW_TCPIP_PACKET_H

#include <stdbool.h>
#include <stdint.h>

#include "transport/tcpip/tcpip.h"

#define CW_PROTOCOL_ICMP  1u
#define CW_PROTOCOL_IGMP  2u
#define CW_PROTOCOL_TCP   6u
#define CW_PROTOCOL_UDP   17u
#define CW_PROTOCOL_ICMP6 58u
#define CW_PROTOCOL_NONE6 59u /* RFC 8200 4.7: nothing follows */

#define CW_ECN_MASK 3u /* RFC 3168 section 5 */
#define CW_ECN_ECT0 2u
#define CW_ECN_CE   3u

/* What an ICMPv6 parameter problem says (RFC 4443 3.4, 7112), less one. */
enum cw_packet_problem { CW_PROBLEM_NONE, CW_PROBLEM_FIELD, CW_PROBLEM_NEXT_HEADER, CW_PROBLEM_OPTION, CW_PROBLEM_FIRST_FRAGMENT };

struct cw_packet {
	struct cw_ip_address source, destination;
	uint32_t at;     /* offset of the transport header in the frame; of a fragment: of its data */
	uint32_t length; /* of transport header and payload */
	uint32_t fragment_offset, fragment_id;
	uint32_t fragment_at; /* IPv6: where the fragment header is, and the field that says so */
	uint32_t named_at;
	uint32_t pointer; /* where the problem is */
	enum cw_packet_problem problem;
	uint8_t protocol;
	uint8_t ecn;
	uint8_t traffic_class, hop_limit;
	bool fragment, more_fragments;
	bool router_alert;    /* RFC 2113, 2711 */
	bool link_group;      /* the link brought it to several */
	bool answer_to_group; /* the problem is told to senders to a group, too (RFC 8200 4.2) */
};

/* False: not a packet that a host may take. What is behind `head` up to `length` is in the first piece. */
bool cw_ip4_parse(const unsigned char *head, uint32_t head_length, uint32_t frame_length, struct cw_packet *packet);
bool cw_ip6_parse(const unsigned char *head, uint32_t head_length, uint32_t frame_length, struct cw_packet *packet);
/* Does a first fragment hold all headers up to the transport's, and that (RFC 7112)? `next` is what its fragment header names. */
bool cw_ip6_chain_is_whole(const unsigned char *at, uint32_t length, uint8_t next);
/* Neither multicast, broadcast nor nobody: an address that a connection may be with (RFC 1122 4.2.3.10). */
bool cw_ip_is_host(const struct cw_ip_address *address);
bool cw_ip_is_multicast(const struct cw_ip_address *address);
bool cw_ip_is_loopback(const struct cw_ip_address *address);
bool cw_ip_is_link_local(const struct cw_ip_address *address);

/* Write an IP header for a TCP segment of this many bytes; returns its length. */
uint32_t cw_ip_header(unsigned char *at, const struct cw_ip_address *source, const struct cw_ip_address *destination, uint8_t protocol,
		      uint32_t payload, uint8_t ecn, uint16_t id, uint8_t hop_limit);
/* After a change in an IPv4 header of 20 bytes or more. */
void cw_ip4_sum(unsigned char *at);

#endif
