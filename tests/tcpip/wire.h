/* Frames as packets on a wire: what devices do between two cores, written without the core's own code. */
#ifndef CW_TESTS_TCPIP_WIRE_H
#define CW_TESTS_TCPIP_WIRE_H

#include "transport/tcpip/tcpip.h"

struct packet {
	uint64_t time;  /* of arrival */
	uint64_t order; /* among those of the same time */
	uint32_t length, segment_size;
	enum cw_checksum checksum;
	bool damaged;
	unsigned char bytes[]; /* one packet, or one still to be cut */
};

struct view { /* of a TCP packet */
	unsigned char *ip, *tcp, *payload;
	uint32_t ip_length, header, payload_length;
	uint32_t seq, ack;
};

/* A copy of a frame that a core has sent; aborts if its lengths contradict each other. */
struct packet *packet_of(const struct cw_frame *frame);
struct packet *packet_copy(const struct packet *packet);
void view_of(struct packet *packet, struct view *view);
/* The sum is computed where it is partial. */
void packet_complete(struct packet *packet);
bool packet_sum_is_right(struct packet *packet);
/* Cut into packets of its segment size; returns how many. The original is freed. */
unsigned packet_cut(struct packet *packet, struct packet **out, unsigned most);
/* What a box on the way makes of a packet: two, cut behind so many bytes of its payload, whatever the segment size was. The original is
 * freed. */
void packet_split(struct packet *packet, uint32_t at, struct packet *half[2]);
/* Append the second one's payload to the first if they are neighbours of one stream and alike but for that. The second is left alone.
 * `equal`: by a device, which says what size the parts had, and so takes only such as have one; else by a box on the way. */
struct packet *packet_merge(struct packet *first, struct packet *second, bool equal);
/* An ICMP error that says that this packet was too big. */
struct packet *packet_too_big(struct packet *packet, uint32_t mtu);
/* As a frame in, in pieces of at most this size (the first one holds the headers). */
void frame_of(const struct packet *packet, uint32_t piece, struct cw_frame *frame);

#endif
