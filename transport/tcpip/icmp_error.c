/* ICMP messages of ours: errors, only to who is certain to have sent what they are about, and answers to echo requests. */
#include "transport/tcpip/icmp_error.h"

#include "transport/tcpip/checksum.h"
#include "transport/tcpip/core.h"
#include "transport/tcpip/frame.h"

#define HEADER    8u
#define MOST_4    576u  /* RFC 1812 4.3.2.3 */
#define MOST_6    1280u /* RFC 4443 3.1 */
#define HOP_LIMIT 64u

enum { UNREACHABLE_4 = 3, ECHO_REPLY_4 = 0, ECHO_4 = 8, UNREACHABLE_6 = 1, PROBLEM_6 = 4, ECHO_6 = 128, ECHO_REPLY_6 = 129 };

uint16_t cw_icmp_sum(const struct cw_ip_address *source, const struct cw_ip_address *destination, const unsigned char *message,
		     uint32_t length)
{
	uint64_t sum = cw_ip_is_4(source) ? 0 : cw_checksum_pseudo(source, destination, CW_PROTOCOL_ICMP6, length);

	return (uint16_t)~cw_checksum_fold(cw_checksum_add(sum, message, length, 0));
}

/* RFC 1122 3.2.2, 4443 2.4(e): errors about errors would never end. What we can't see we take for one. */
static bool is_about_error(const struct cw_frame *frame, const struct cw_packet *packet)
{
	unsigned char type = 3;

	if (packet->protocol != CW_PROTOCOL_ICMP && packet->protocol != CW_PROTOCOL_ICMP6)
		return false;
	if (!packet->length || frame->length <= packet->at)
		return true;
	cw_frame_copy(frame, packet->at, &type, 1);
	if (packet->protocol == CW_PROTOCOL_ICMP6)
		return type < 128 || type == 137; /* redirect: RFC 4443 2.4(e.2) */
	return type != ECHO_4 && type != ECHO_REPLY_4 && type < 13;
}

static bool may_be_told(const struct cw_tcpip *core, const struct cw_frame *frame, const struct cw_packet *packet, bool of_group)
{
	if (!cw_ip_is_host(&packet->source) || cw_address_is_broadcast(core, &packet->source) || cw_ip_is_loopback(&packet->source))
		return false;
	if (!of_group && (packet->link_group || !cw_address_is_own(core, &packet->destination)))
		return false;
	if (cw_ip_is_4(&packet->source) && packet->fragment_offset)
		return false;
	return !is_about_error(frame, packet);
}

static void tell(struct cw_tcpip *core, const struct cw_frame *frame, const struct cw_packet *packet, uint8_t type, uint8_t code,
		 uint32_t word)
{
	bool ip4 = cw_ip_is_4(&packet->source);
	uint32_t most = ip4 ? MOST_4 - 20 : MOST_6 - 40, quote = cw_min32(packet->at + packet->length, most - HEADER);
	const struct cw_ip_address *source = &packet->destination;
	struct cw_control_record *record;
	unsigned char *message;
	uint16_t sum;

	if (!cw_address_is_own(core, source))
		source = cw_address_source(core, &packet->source);
	if (!source)
		return;
	if (!cw_limit_allows(core, &core->error_limit, core->config.icmp_rate)) {
		cw_count(core, CW_TCPIP_ICMP_LIMIT);
		return;
	}
	record = cw_control_add(core, HEADER + quote, &message);
	if (!record)
		return;
	record->source = *source;
	record->destination = packet->source;
	record->protocol = ip4 ? CW_PROTOCOL_ICMP : CW_PROTOCOL_ICMP6;
	record->hop_limit = HOP_LIMIT;
	message[0] = type;
	message[1] = code;
	cw_put16(message + 2, 0);
	cw_put32(message + 4, word);
	cw_frame_copy(frame, 0, message + HEADER, quote);
	sum = cw_icmp_sum(&record->source, &record->destination, message, HEADER + quote);
	memcpy(message + 2, &sum, 2);
	cw_count(core, CW_TCPIP_ICMP_ERRORS_OUT);
}

void cw_icmp_error(struct cw_tcpip *core, const struct cw_frame *frame, const struct cw_packet *packet, uint8_t type, uint8_t code,
		   uint32_t word)
{
	if (may_be_told(core, frame, packet, false))
		tell(core, frame, packet, type, code, word);
}

void cw_icmp_problem(struct cw_tcpip *core, const struct cw_frame *frame, const struct cw_packet *packet, enum cw_packet_problem problem,
		     uint32_t pointer)
{
	static const uint8_t codes[] = {
		[CW_PROBLEM_FIELD] = 0, [CW_PROBLEM_NEXT_HEADER] = 1, [CW_PROBLEM_OPTION] = 2, [CW_PROBLEM_FIRST_FRAGMENT] = 3};

	if (may_be_told(core, frame, packet,
			problem == CW_PROBLEM_OPTION && packet->answer_to_group && cw_ip_is_multicast(&packet->destination)))
		tell(core, frame, packet, PROBLEM_6, codes[problem], pointer);
}

void cw_icmp_port_unreachable(struct cw_tcpip *core, const struct cw_frame *frame, const struct cw_packet *packet)
{
	if (cw_ip_is_4(&packet->source))
		cw_icmp_error(core, frame, packet, UNREACHABLE_4, 3, 0);
	else
		cw_icmp_error(core, frame, packet, UNREACHABLE_6, 4, 0);
}

void cw_icmp_protocol_unknown(struct cw_tcpip *core, const struct cw_frame *frame, const struct cw_packet *packet)
{
	if (cw_ip_is_4(&packet->source))
		cw_icmp_error(core, frame, packet, UNREACHABLE_4, 2, 0);
	else if (packet->protocol != CW_PROTOCOL_NONE6)
		cw_icmp_problem(core, frame, packet, CW_PROBLEM_NEXT_HEADER, packet->pointer);
}

/* RFC 1122 3.2.2.6, 4443 4.2: all of it comes back. To a group only IPv6's are answered, from an address of ours. */
void cw_icmp_echo(struct cw_tcpip *core, const struct cw_frame *frame, const struct cw_packet *packet)
{
	bool ip4 = cw_ip_is_4(&packet->source);
	const struct cw_ip_address *source = &packet->destination;
	struct cw_control_record *record;
	unsigned char *message;
	uint16_t sum;

	if (!cw_ip_is_host(&packet->source) || cw_address_is_broadcast(core, &packet->source))
		return;
	if (!ip4 && cw_ip_is_multicast(source))
		source = cw_address_source(core, &packet->source);
	else if (!cw_address_is_own(core, source))
		return;
	if (!source)
		return;
	if (!cw_limit_allows(core, &core->echo_limit, core->config.icmp_rate)) {
		cw_count(core, CW_TCPIP_ICMP_LIMIT);
		return;
	}
	record = cw_control_add(core, packet->length, &message);
	if (!record)
		return;
	record->source = *source;
	record->destination = packet->source;
	record->protocol = packet->protocol;
	record->hop_limit = HOP_LIMIT;
	record->traffic_class = packet->traffic_class & (uint8_t)~CW_ECN_MASK;
	cw_frame_copy(frame, packet->at, message, packet->length);
	message[0] = ip4 ? ECHO_REPLY_4 : ECHO_REPLY_6;
	cw_put16(message + 2, 0);
	sum = cw_icmp_sum(&record->source, &record->destination, message, packet->length);
	memcpy(message + 2, &sum, 2);
	cw_count(core, CW_TCPIP_ECHO_REPLIES);
}
