/*
 * ICMP errors. Anybody can send one, so it is believed only as far as RFC 5927 goes: the sequence number that it quotes must be in flight
 * (4.1), none ends a connection that is synchronised (5.2), and a path MTU may only fall, and not below what the protocol guarantees.
 */
#include "transport/tcpip/icmp.h"

#include <errno.h>

#include "transport/tcpip/checksum.h"
#include "transport/tcpip/frame.h"
#include "transport/tcpip/icmp_error.h"
#include "transport/tcpip/tcp.h"
#include "transport/tcpip/udp_socket.h"

#define HEADER 8u

enum kind { IGNORED, UNREACHABLE, REFUSED, TOO_BIG };

static enum kind kind_of(bool ip4, uint8_t type, uint8_t code)
{
	if (ip4) {
		if (type == 3)
			return code == 4 ? TOO_BIG : code == 2 || code == 3 ? REFUSED : UNREACHABLE;
		return type == 11 || type == 12 ? UNREACHABLE : IGNORED; /* source quench: RFC 6633 */
	}
	if (type == 2)
		return TOO_BIG;
	if (type == 1)
		return code == 4 ? REFUSED : UNREACHABLE;
	return type == 3 || type == 4 ? UNREACHABLE : IGNORED;
}

/* As Linux tells them. */
static int error_of(bool ip4, uint8_t type, uint8_t code)
{
	static const int unreachable_4[] = {ENETUNREACH, EHOSTUNREACH, ENOPROTOOPT, ECONNREFUSED, EMSGSIZE,    EOPNOTSUPP,   ENETUNREACH,
					    EHOSTDOWN,   ENONET,       ENETUNREACH, EHOSTUNREACH, ENETUNREACH, EHOSTUNREACH, EHOSTUNREACH};
	static const int unreachable_6[] = {ENETUNREACH, EACCES, EHOSTUNREACH, EHOSTUNREACH, ECONNREFUSED, EACCES, EACCES};

	if (type == (ip4 ? 12 : 4))
		return EPROTO;
	if (ip4 && type == 3 && code < sizeof(unreachable_4) / sizeof(*unreachable_4))
		return unreachable_4[code];
	if (!ip4 && type == 1 && code < sizeof(unreachable_6) / sizeof(*unreachable_6))
		return unreachable_6[code];
	return EHOSTUNREACH;
}

static bool checksum_is_right(const struct cw_frame *frame, const struct cw_packet *packet)
{
	uint64_t sum = 0;

	if (frame->checksum != CW_CHECKSUM_COMPLETE)
		return true;
	if (packet->protocol == CW_PROTOCOL_ICMP6)
		sum = cw_checksum_pseudo(&packet->source, &packet->destination, CW_PROTOCOL_ICMP6, packet->length);
	return cw_checksum_fold(cw_checksum_frame(sum, frame, packet->at, packet->length)) == 0xffff;
}

/* The head of the packet of ours that is quoted; it may be cut short behind the ports and the sequence number. */
static bool quoted(const unsigned char *at, uint32_t length, bool ip4, struct cw_flow_key *key, uint32_t *seq, uint8_t *protocol)
{
	uint32_t header = 40;

	if (length < 20 || at[0] >> 4 != (ip4 ? 4 : 6))
		return false;
	if (ip4)
		header = (at[0] & 15u) * 4;
	if (header < 20 || length < header + 8)
		return false;
	*protocol = at[ip4 ? 9 : 6];
	/* The first fragment of a datagram of ours. */
	if (!ip4 && *protocol == 44 && length >= header + 16 && cw_get16(at + header + 2) <= 7) {
		*protocol = at[header];
		header += 8;
	}
	if (*protocol != CW_PROTOCOL_TCP && *protocol != CW_PROTOCOL_UDP)
		return false;
	if (ip4) {
		if (cw_get16(at + 6) & 0x1fff)
			return false;
		cw_ip_set_4(&key->local, at + 12);
		cw_ip_set_4(&key->remote, at + 16);
	} else {
		memcpy(key->local.octet, at + 8, 16);
		memcpy(key->remote.octet, at + 24, 16);
	}
	key->local_port = cw_get16(at + header);
	key->remote_port = cw_get16(at + header + 2);
	*seq = cw_get32(at + header + 4);
	return true;
}

static void tell(struct cw_tcp *tcp, enum kind kind, int error)
{
	if (tcp->state == CW_TCP_SYN_SENT && kind == REFUSED) {
		cw_tcp_gone(tcp, error);
	} else {
		tcp->error = tcp->soft_error = error;
		cw_tcp_tell(tcp, CW_TCP_SOFT_ERROR);
	}
}

/* What a connected socket hears at once, as Linux's (RFC 1122 4.1.3.3): who can never be reached. */
static void tell_udp(struct cw_tcpip *core, const struct cw_flow_key *key, enum kind kind, bool ip4, const unsigned char *icmp)
{
	uint8_t type = icmp[0], code = icmp[1];

	if (kind == TOO_BIG)
		cw_udp_icmp(core, key, EMSGSIZE, false, cw_max32(ip4 ? cw_get16(icmp + 6) : cw_get32(icmp + 4), 1));
	else if (type == (ip4 ? 3 : 1) && code == (ip4 ? 3 : 4))
		cw_udp_icmp(core, key, ECONNREFUSED, true, 0);
	else if (ip4 && type == 3 && code == 2)
		cw_udp_icmp(core, key, ENOPROTOOPT, true, 0);
	else if (ip4 && type == 3)
		cw_udp_icmp(core, key, EHOSTUNREACH, code == 9 || code == 10 || code == 13, 0);
	else if (!ip4 && type == 1 && (code == 1 || code == 5 || code == 6))
		cw_udp_icmp(core, key, EACCES, true, 0);
	else if (type == (ip4 ? 12 : 4))
		cw_udp_icmp(core, key, EPROTO, true, 0);
	else
		cw_udp_icmp(core, key, EHOSTUNREACH, false, 0);
}

/* Nobody answers for the next hop of this packet of ours. */
void cw_icmp_host_unreachable(struct cw_tcpip *core, const unsigned char *packet, uint32_t length)
{
	bool ip4 = packet[0] >> 4 == 4;
	struct cw_flow_key key;
	struct cw_flow *flow;
	uint8_t protocol;
	uint32_t seq;

	if (!quoted(packet, length, ip4, &key, &seq, &protocol))
		return;
	if (protocol == CW_PROTOCOL_UDP) {
		cw_udp_icmp(core, &key, EHOSTUNREACH, true, 0);
		return;
	}
	flow = cw_flow_find(&core->table, &key, cw_flow_hash(&core->table, &key));
	if (flow && flow->kind == CW_FLOW_TCP)
		tell(cw_entry(flow, struct cw_tcp, flow), UNREACHABLE, EHOSTUNREACH);
}

void cw_icmp_input(struct cw_tcpip *core, const struct cw_frame *frame, const struct cw_packet *packet)
{
	const unsigned char *icmp = frame->piece[0].at + packet->at;
	uint32_t length = cw_frame_at_once(frame, packet->at, packet->length), seq;
	bool ip4 = packet->protocol == CW_PROTOCOL_ICMP;
	struct cw_flow_key key;
	struct cw_flow *flow;
	enum kind kind;
	struct cw_tcp *tcp;
	uint64_t position;
	uint8_t protocol;

	if (length < HEADER || ip4 != cw_ip_is_4(&packet->source)) {
		cw_count(core, CW_TCPIP_MALFORMED);
		return;
	}
	if (!checksum_is_right(frame, packet)) {
		cw_count(core, CW_TCPIP_CHECKSUM);
		return;
	}
	if (icmp[0] == (ip4 ? 8 : 128) && icmp[1] == 0) {
		cw_icmp_echo(core, frame, packet);
		return;
	}
	if (!ip4 && icmp[0] >= 130 && icmp[0] <= 132) {
		cw_mld_input(core, frame, packet);
		return;
	}
	if (!ip4 && (icmp[0] == 135 || icmp[0] == 136)) {
		cw_nd_input(core, frame, packet);
		return;
	}
	kind = kind_of(ip4, icmp[0], icmp[1]);
	if (kind == IGNORED || !quoted(icmp + HEADER, length - HEADER, ip4, &key, &seq, &protocol))
		return;
	if (protocol == CW_PROTOCOL_UDP) {
		tell_udp(core, &key, kind, ip4, icmp);
		return;
	}
	flow = cw_flow_find(&core->table, &key, cw_flow_hash(&core->table, &key));
	if (!flow || flow->kind != CW_FLOW_TCP) {
		cw_count(core, CW_TCPIP_ICMP_REFUSED);
		return;
	}
	tcp = cw_entry(flow, struct cw_tcp, flow);
	position = cw_tcp_position(seq, tcp->snd_una);
	if (position < tcp->snd_una || position >= tcp->snd_nxt) {
		cw_count(core, CW_TCPIP_ICMP_REFUSED);
		return;
	}
	cw_count(core, CW_TCPIP_ICMP);
	if (kind == TOO_BIG)
		cw_tcp_path_told(tcp, position, ip4 ? cw_get16(icmp + 6) : cw_get32(icmp + 4));
	else
		tell(tcp, kind, error_of(ip4, icmp[0], icmp[1]));
}
