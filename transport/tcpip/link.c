/* Ethernet headers (RFC 894, 2464): taken off, and put in front. */
#include "transport/tcpip/link.h"

#include "transport/tcpip/core.h"
#include "transport/tcpip/ip_input.h"
#include "transport/tcpip/ip_output.h"

#define TYPE_4   0x0800u
#define TYPE_ARP 0x0806u
#define TYPE_6   0x86ddu

static const uint8_t broadcast[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};

uint32_t cw_link_buffer(const struct cw_tcpip_config *config)
{
	return (CW_LINK_ROOM + (uint32_t)config->mtu + 63) & ~63u;
}

void cw_link_init(struct cw_tcpip *core, void *neighbours, void *waiting, unsigned char *buffers)
{
	struct cw_link_layer *link = &core->link;

	cw_pool_init(&link->neighbours, neighbours, sizeof(struct cw_neighbour), core->config.neighbours);
	cw_pool_init(&link->waiting, waiting, sizeof(struct cw_waiting), core->config.neighbour_packets);
	link->buffers = buffers;
	link->buffer_size = cw_link_buffer(&core->config);
	cw_list_init(&link->age);
	cw_list_init(&link->unanswered);
	cw_list_init(&link->ready);
	cw_list_init(&link->sent);
	for (unsigned i = 0; i < CW_NEIGHBOUR_BUCKETS; i++)
		cw_list_init(&link->bucket[i]);
}

static bool is_for_us(const struct cw_tcpip *core, const unsigned char *head)
{
	if (head[6] & 1) /* nobody sends as a group */
		return false;
	return head[0] & 1 || memcmp(head, core->config.link_address, 6) == 0;
}

void cw_link_input(struct cw_tcpip *core, const struct cw_frame *frame)
{
	const unsigned char *head = frame->piece[0].at;
	struct cw_frame inner;
	uint32_t type;

	if (!frame->pieces || frame->piece[0].length < CW_ETHERNET_HEADER || frame->length < CW_ETHERNET_HEADER || !is_for_us(core, head)) {
		cw_count(core, CW_TCPIP_LINK_REFUSED);
		return;
	}
	type = cw_get16(head + 12);
	inner = *frame;
	inner.length -= CW_ETHERNET_HEADER;
	inner.piece[0].at += CW_ETHERNET_HEADER;
	inner.piece[0].length -= CW_ETHERNET_HEADER;
	if (!inner.piece[0].length)
		memmove(&inner.piece[0], &inner.piece[1], --inner.pieces * sizeof(inner.piece[0]));
	if (type == TYPE_ARP)
		cw_arp_input(core, &inner);
	else if (inner.pieces && inner.piece[0].length && type == (inner.piece[0].at[0] >> 4 == 4 ? TYPE_4 : TYPE_6))
		cw_ip_input(core, &inner, head[0] & 1);
	else
		cw_count(core, CW_TCPIP_LINK_REFUSED);
}

static void destination_of(const unsigned char *ip, struct cw_ip_address *destination, struct cw_ip_address *source)
{
	if (ip[0] >> 4 == 4) {
		cw_ip_set_4(source, ip + 12);
		cw_ip_set_4(destination, ip + 16);
	} else {
		memcpy(source->octet, ip + 8, 16);
		memcpy(destination->octet, ip + 24, 16);
	}
}

/* RFC 1112 6.4, 2464 section 7. */
static void map_group(const struct cw_ip_address *group, uint8_t link[6])
{
	if (cw_ip_is_4(group)) {
		cw_put32(link + 2, cw_get32(group->octet + 12) & 0x7fffff);
		link[0] = 1;
		link[1] = 0;
		link[2] = 0x5e;
	} else {
		link[0] = link[1] = 0x33;
		memcpy(link + 2, group->octet + 12, 4);
	}
}

static void put_header(const struct cw_tcpip *core, unsigned char *at, const uint8_t to[6], uint32_t type)
{
	memcpy(at, to, 6);
	memcpy(at + 6, core->config.link_address, 6);
	cw_put16(at + 12, type);
}

/* The next hop (RFC 1122 3.3.1.1, 4861 5.2). NULL: there is no way. */
static const struct cw_ip_address *next_hop(const struct cw_tcpip *core, const struct cw_ip_address *destination)
{
	bool ip4 = cw_ip_is_4(destination);

	if (cw_address_is_near(core, destination))
		return destination;
	return core->link.has_router[ip4] ? &core->link.router[ip4] : NULL;
}

bool cw_link_confirm(struct cw_tcpip *core, const struct cw_ip_address *destination, uint64_t sent)
{
	const struct cw_ip_address *hop = next_hop(core, destination);

	return hop && cw_neighbour_confirm(core, hop, sent);
}

/* False: it waits, or is dropped. */
static bool address(struct cw_tcpip *core, struct cw_frame *frame)
{
	unsigned char *ip = (unsigned char *)(uintptr_t)frame->piece[0].at;
	struct cw_ip_address destination, source;
	const struct cw_ip_address *hop;
	const uint8_t *to;
	uint8_t group[6];

	destination_of(ip, &destination, &source);
	if (cw_ip_is_multicast(&destination)) {
		map_group(&destination, group);
		to = group;
	} else if (cw_address_is_broadcast(core, &destination)) {
		to = broadcast;
	} else {
		hop = next_hop(core, &destination);
		if (!hop)
			cw_count(core, CW_TCPIP_NO_ROUTE);
		to = hop ? cw_neighbour_resolve(core, hop, &source, frame) : NULL;
	}
	if (!to)
		return false;
	put_header(core, ip - CW_ETHERNET_HEADER, to, ip[0] >> 4 == 4 ? TYPE_4 : TYPE_6);
	frame->piece[0].at -= CW_ETHERNET_HEADER;
	frame->piece[0].length += CW_ETHERNET_HEADER;
	frame->length += CW_ETHERNET_HEADER;
	frame->checksum_start = (uint16_t)(frame->checksum_start + CW_ETHERNET_HEADER);
	return true;
}

/* What has waited is whole, its link header included. */
static bool ready_output(struct cw_tcpip *core, struct cw_frame *frame)
{
	struct cw_link_layer *link = &core->link;
	struct cw_waiting *waiting;
	size_t index;

	if (cw_list_empty(&link->ready))
		return false;
	waiting = cw_entry(link->ready.next, struct cw_waiting, entry);
	cw_list_remove(&waiting->entry);
	cw_list_add_last(&link->sent, &waiting->entry);
	index = (size_t)((unsigned char *)waiting - link->waiting.memory) / link->waiting.size;
	*frame = (struct cw_frame){.pieces = 1,
				   .length = waiting->length + CW_ETHERNET_HEADER,
				   .checksum = waiting->checksum,
				   .checksum_start = (uint16_t)(waiting->checksum_start + CW_ETHERNET_HEADER),
				   .checksum_offset = waiting->checksum_offset};
	frame->piece[0] = (struct cw_piece){link->buffers + index * link->buffer_size + CW_LINK_ROOM - CW_ETHERNET_HEADER, frame->length};
	return true;
}

bool cw_link_output(struct cw_tcpip *core, struct cw_frame *frame, unsigned char *header)
{
	for (;;) {
		if (ready_output(core, frame) || cw_arp_output(core, frame, header))
			return true;
		if (!cw_ip_output(core, frame, header + CW_LINK_ROOM))
			return false;
		if (address(core, frame))
			return true;
	}
}

void cw_link_reclaim(struct cw_tcpip *core)
{
	struct cw_list *sent = &core->link.sent;

	while (!cw_list_empty(sent)) {
		struct cw_waiting *waiting = cw_entry(sent->next, struct cw_waiting, entry);

		cw_list_remove(&waiting->entry);
		cw_pool_give(&core->link.waiting, waiting);
	}
}

void cw_tcpip_set_router(struct cw_tcpip *core, const struct cw_ip_address *router)
{
	bool ip4 = cw_ip_is_4(router);

	core->link.router[ip4] = *router;
	core->link.has_router[ip4] = true;
}
