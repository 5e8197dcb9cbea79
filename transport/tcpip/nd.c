/* Neighbour discovery (RFC 4861 section 7), and duplicates found by it (RFC 4862 5.4). Routers are told to us by configuration: their
 * advertisements and redirects are not believed. */
#include "transport/tcpip/core.h"
#include "transport/tcpip/duplicate.h"
#include "transport/tcpip/frame.h"
#include "transport/tcpip/icmp_error.h"
#include "transport/tcpip/link.h"

#define MESSAGE     1500u
#define LEAST       24u
#define SOLICITED   0x40000000u
#define OVERRIDE    0x20000000u
#define SOURCE_LINK 1u
#define TARGET_LINK 2u

enum { SOLICITATION = 135, ADVERTISEMENT = 136 };

struct cw_ip_address cw_nd_group(const struct cw_ip_address *address)
{
	struct cw_ip_address group = {.octet = {0xff, 2, [11] = 1, 0xff}};

	memcpy(group.octet + 13, address->octet + 13, 3);
	return group;
}

static void send_message(struct cw_tcpip *core, uint8_t type, uint32_t flags, const struct cw_ip_address *target, uint8_t option,
			 const struct cw_ip_address *from, const struct cw_ip_address *to)
{
	uint32_t length = LEAST + (option ? 8 : 0);
	unsigned char *at;
	struct cw_control_record *record = cw_control_add(core, length, &at);
	uint16_t sum;

	if (!record)
		return;
	record->source = *from;
	record->destination = *to;
	record->protocol = CW_PROTOCOL_ICMP6;
	record->hop_limit = 255;
	memset(at, 0, length);
	at[0] = type;
	cw_put32(at + 4, flags);
	memcpy(at + 8, target->octet, 16);
	if (option) {
		at[LEAST] = option;
		at[LEAST + 1] = 1;
		memcpy(at + LEAST + 2, core->config.link_address, 6);
	}
	sum = cw_icmp_sum(from, to, at, length);
	memcpy(at + 2, &sum, 2);
}

void cw_nd_solicit(struct cw_tcpip *core, const struct cw_ip_address *source, const struct cw_ip_address *target, bool unicast)
{
	static const struct cw_ip_address nobody;
	struct cw_ip_address group = cw_nd_group(target);

	if (source && !cw_address_is_own(core, source))
		source = cw_address_source(core, target);
	send_message(core, SOLICITATION, 0, target, source ? SOURCE_LINK : 0, source ? source : &nobody, unicast ? target : &group);
}

/* The address in an option of this kind; NULL: none. False: the options can't be. */
static bool find_option(const unsigned char *at, uint32_t length, uint8_t kind, const unsigned char **link)
{
	uint32_t place = LEAST;

	*link = NULL;
	while (place < length) {
		uint32_t size;

		if (length - place < 8)
			return false;
		size = at[place + 1] * 8u;
		if (!size || size > length - place)
			return false;
		if (at[place] == kind && size == 8)
			*link = at + place + 2;
		place += size;
	}
	return true;
}

/* RFC 4861 7.2.4: to who asks from nobody, all nodes are told. */
static void advertise(struct cw_tcpip *core, const struct cw_ip_address *target, const struct cw_ip_address *asker)
{
	static const struct cw_ip_address all_nodes = {.octet = {0xff, 2, [15] = 1}};

	if (cw_ip_is_any(asker))
		send_message(core, ADVERTISEMENT, OVERRIDE, target, TARGET_LINK, target, &all_nodes);
	else
		send_message(core, ADVERTISEMENT, SOLICITED | OVERRIDE, target, TARGET_LINK, target, asker);
}

static bool solicitation(struct cw_tcpip *core, const struct cw_packet *packet, const unsigned char *at, uint32_t length)
{
	struct cw_ip_address target, group;
	const unsigned char *link;
	bool from_nobody = cw_ip_is_any(&packet->source);

	memcpy(target.octet, at + 8, 16);
	group = cw_nd_group(&target);
	if (!find_option(at, length, SOURCE_LINK, &link) || cw_ip_is_multicast(&target) || cw_ip_is_multicast(&packet->source))
		return false;
	if (from_nobody && (link || memcmp(&packet->destination, &group, sizeof(group)) != 0)) /* RFC 4861 7.1.1 */
		return false;
	if (from_nobody && cw_duplicate_probe(core, &target))
		return true;
	if (!cw_address_is_own(core, &target))
		return true;
	if (link)
		cw_neighbour_learn(core, &packet->source, link, true);
	advertise(core, &target, &packet->source);
	return true;
}

static bool advertisement(struct cw_tcpip *core, const struct cw_packet *packet, const unsigned char *at, uint32_t length)
{
	uint32_t flags = cw_get32(at + 4);
	struct cw_ip_address target;
	const unsigned char *link;

	memcpy(target.octet, at + 8, 16);
	if (!find_option(at, length, TARGET_LINK, &link) || cw_ip_is_multicast(&target) ||
	    (cw_ip_is_multicast(&packet->destination) && flags & SOLICITED)) /* RFC 4861 7.1.2 */
		return false;
	if (link && memcmp(link, core->config.link_address, 6) == 0)
		return true;
	if (!cw_duplicate_claim(core, &target))
		cw_neighbour_answer(core, &target, link, flags & SOLICITED, flags & OVERRIDE);
	return true;
}

void cw_nd_input(struct cw_tcpip *core, const struct cw_frame *frame, const struct cw_packet *packet)
{
	unsigned char at[MESSAGE];
	bool good;

	if (core->config.link != CW_LINK_ETHERNET)
		return;
	/* A hop limit of 255 shows that it comes from this link. */
	if (packet->hop_limit != 255 || packet->length < LEAST || packet->length > MESSAGE) {
		cw_count(core, CW_TCPIP_ND_REFUSED);
		return;
	}
	cw_frame_copy(frame, packet->at, at, packet->length);
	good = at[1] == 0 && (at[0] == SOLICITATION ? solicitation : advertisement)(core, packet, at, packet->length);
	if (!good)
		cw_count(core, CW_TCPIP_ND_REFUSED);
}
