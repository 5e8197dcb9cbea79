/* ARP (RFC 826), and what RFC 5227 asks of who has an address. */
#include "transport/tcpip/core.h"
#include "transport/tcpip/duplicate.h"
#include "transport/tcpip/frame.h"
#include "transport/tcpip/link.h"

#define LENGTH  28u
#define REQUEST 1u
#define REPLY   2u

static const uint8_t broadcast[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};

static struct cw_arp_message *add(struct cw_tcpip *core)
{
	struct cw_link_layer *link = &core->link;

	if (link->arps == CW_ARP_MESSAGES) {
		cw_count(core, CW_TCPIP_CONTROL_DROPPED);
		return NULL;
	}
	return &link->arp[(link->arp_first + link->arps++) % CW_ARP_MESSAGES];
}

void cw_arp_request(struct cw_tcpip *core, const struct cw_ip_address *sender, const struct cw_ip_address *target, const uint8_t *to)
{
	struct cw_arp_message *message = add(core);

	if (!message)
		return;
	*message = (struct cw_arp_message){.operation = REQUEST};
	memcpy(message->to, to ? to : broadcast, 6);
	memcpy(message->sender, sender->octet + 12, 4);
	memcpy(message->target, target->octet + 12, 4);
}

static void reply(struct cw_tcpip *core, const uint8_t *link, const unsigned char *sender, const unsigned char *target)
{
	struct cw_arp_message *message = add(core);

	if (!message)
		return;
	*message = (struct cw_arp_message){.operation = REPLY};
	memcpy(message->to, link, 6);
	memcpy(message->target_link, link, 6);
	memcpy(message->sender, sender, 4);
	memcpy(message->target, target, 4);
}

bool cw_arp_output(struct cw_tcpip *core, struct cw_frame *frame, unsigned char *header)
{
	struct cw_link_layer *link = &core->link;
	const struct cw_arp_message *message = &link->arp[link->arp_first];
	unsigned char *at = header + CW_ETHERNET_HEADER;

	if (!link->arps)
		return false;
	memcpy(header, message->to, 6);
	memcpy(header + 6, core->config.link_address, 6);
	cw_put16(header + 12, 0x0806);
	cw_put32(at, 1u << 16 | 0x0800);
	cw_put32(at + 4, 6u << 24 | 4u << 16 | message->operation);
	memcpy(at + 8, core->config.link_address, 6);
	memcpy(at + 14, message->sender, 4);
	memcpy(at + 18, message->target_link, 6);
	memcpy(at + 24, message->target, 4);
	*frame = (struct cw_frame){.pieces = 1, .length = CW_ETHERNET_HEADER + LENGTH};
	frame->piece[0] = (struct cw_piece){header, frame->length};
	link->arp_first = (link->arp_first + 1) % CW_ARP_MESSAGES;
	link->arps--;
	return true;
}

/* Who hasn't an address yet asks from nobody (RFC 5227 2.1.1). */
static bool sender_may_be(const struct cw_tcpip *core, const struct cw_ip_address *sender)
{
	if (cw_get32(sender->octet + 12) == 0)
		return true;
	return cw_ip_is_host(sender) && !cw_address_is_broadcast(core, sender) && cw_address_is_near(core, sender);
}

static bool is_well_formed(const unsigned char *at)
{
	return cw_get32(at) == (1u << 16 | 0x0800) && cw_get16(at + 4) == (6u << 8 | 4u) &&
	       (cw_get16(at + 6) == REQUEST || cw_get16(at + 6) == REPLY) && !(at[8] & 1);
}

void cw_arp_input(struct cw_tcpip *core, const struct cw_frame *frame)
{
	unsigned char at[LENGTH];
	struct cw_ip_address sender, target;
	bool is_reply, is_ours;

	if (frame->length < LENGTH) {
		cw_count(core, CW_TCPIP_LINK_REFUSED);
		return;
	}
	cw_frame_copy(frame, 0, at, LENGTH);
	cw_ip_set_4(&sender, at + 14);
	cw_ip_set_4(&target, at + 24);
	if (!is_well_formed(at) || !sender_may_be(core, &sender)) {
		cw_count(core, CW_TCPIP_LINK_REFUSED);
		return;
	}
	if (memcmp(at + 8, core->config.link_address, 6) == 0) /* our own, come back */
		return;
	is_reply = cw_get16(at + 6) == REPLY;
	if (cw_duplicate_arp(core, &sender, &target))
		return;
	is_ours = cw_address_is_own(core, &target);
	if (cw_get32(at + 14) == 0) {
		if (is_ours && !is_reply)
			reply(core, at + 8, at + 24, at + 14);
		return;
	}
	if (is_reply && is_ours) {
		cw_neighbour_answer(core, &sender, at + 8, true, true);
		return;
	}
	cw_neighbour_learn(core, &sender, at + 8, is_ours);
	if (is_ours)
		reply(core, at + 8, at + 24, at + 14);
}
