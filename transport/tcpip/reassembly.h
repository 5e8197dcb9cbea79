/*
 * Fragments put together again (RFC 791 3.2, 815, 8200 4.5, 5722, 8900). Memory is a fixed number of buffers of 64 KiB, and no sender has
 * more than its share: who floods us with fragments loses his own, or the oldest of all.
 *
 * What is there of a datagram is kept as ranges, merged where they meet; a bit tells where each fragment began. So a fragment that comes
 * twice is known for the same one; any other overlap condemns the datagram, and what comes of it later (RFC 5722 section 4).
 */
#ifndef CW_TCPIP_REASSEMBLY_H
#define CW_TCPIP_REASSEMBLY_H

#include "transport/tcpip/list.h"
#include "transport/tcpip/packet.h"
#include "transport/tcpip/pool.h"
#include "transport/tcpip/siphash.h"
#include "transport/tcpip/wheel.h"

#define CW_REASSEMBLY_RANGES  64u
#define CW_REASSEMBLY_BUCKETS 256u

struct cw_reassembly_key {
	struct cw_ip_address source, destination;
	uint32_t id, protocol; /* IPv6 doesn't tell datagrams by their protocol */
};

struct cw_reassembly {
	struct cw_list bucket, age;
	struct cw_timer timer;
	struct cw_reassembly_key key;
	uint32_t total;        /* bytes behind the header; 0: not known */
	uint32_t head;         /* the first fragment's IP header; 0: it isn't there */
	uint32_t first_length; /* what came with it */
	uint32_t fragment_at, named_at;
	uint8_t ecn; /* a bit for each codepoint seen (RFC 3168 5.3) */
	bool condemned;
	uint32_t ranges;
	struct {
		uint32_t from, to;
	} range[CW_REASSEMBLY_RANGES];
};

struct cw_reassemblies {
	struct cw_pool pool;
	unsigned char *buffers;
	struct cw_list age; /* oldest first */
	struct cw_list bucket[CW_REASSEMBLY_BUCKETS];
	struct cw_siphash_key secret;
	uint32_t a_source;
};

/* Memory of one datagram's buffer. */
#define CW_REASSEMBLY_BUFFER (256u + 65536u + 1024u)

void cw_reassembly_init(struct cw_tcpip *core, void *pool, unsigned char *buffers);
/* A fragment came. NULL: its datagram isn't whole. Else `*whole` is a frame of it, until cw_reassembly_free. */
struct cw_reassembly *cw_reassembly_input(struct cw_tcpip *core, const struct cw_frame *frame, const struct cw_packet *packet,
					  struct cw_frame *whole);
void cw_reassembly_free(struct cw_tcpip *core, struct cw_reassembly *reassembly);
void cw_reassembly_expired(struct cw_tcpip *core, struct cw_reassembly *reassembly);

#endif
