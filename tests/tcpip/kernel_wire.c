/* The wire between the core and the kernel: kernel_wire.h. */
#include "kernel_wire.h"

#include "transport/tcpip/bytes.h"
#include "transport/tcpip/tcp_segment.h"

static uint32_t ip_length(const unsigned char *bytes)
{
	return bytes[0] >> 4 == 4 ? (bytes[0] & 15u) * 4 : 40;
}

static bool is_tcp(const unsigned char *bytes)
{
	return bytes[bytes[0] >> 4 == 4 ? 9 : 6] == 6;
}

static unsigned ecn_of(const unsigned char *bytes)
{
	return bytes[0] >> 4 == 4 ? bytes[1] & 3 : bytes[1] >> 4 & 3;
}

void wire_seen(struct seen *seen, enum from from, const unsigned char *bytes, uint32_t length)
{
	const unsigned char *tcp = bytes + ip_length(bytes);
	unsigned flags = tcp[13];

	if (!is_tcp(bytes))
		return;
	if (flags & CW_ACK)
		seen->ack[from] = cw_get32(tcp + 8);
	if (flags & (CW_SYN | CW_RST))
		return;
	seen->capable[from] += ecn_of(bytes) != 0;
	seen->echoes[from] += !!(flags & CW_ECE);
	seen->reduced[from] += !!(flags & CW_CWR);
	if (length == ip_length(bytes) + (tcp[12] >> 4) * 4u && !(flags & CW_FIN) && cw_get32(tcp + 4) + 1 == seen->ack[1 - from])
		seen->probes[from]++;
}

void wire_mark(struct seen *seen, enum from from, unsigned char *bytes)
{
	if (!is_tcp(bytes) || !ecn_of(bytes))
		return;
	seen->marked[from]++;
	if (bytes[0] >> 4 == 4) { /* RFC 1624: the sum follows the octet */
		uint32_t sum = (~(uint32_t)cw_get16(bytes + 10) & 0xffff) + (~(uint32_t)bytes[1] & 0xffff) + (bytes[1] | 3u);

		sum = (sum & 0xffff) + (sum >> 16);
		cw_put16(bytes + 10, ~(sum + (sum >> 16)) & 0xffff);
		bytes[1] |= 3;
	} else {
		bytes[1] |= 0x30;
	}
}
