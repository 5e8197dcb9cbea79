/* IP packets made of a datagram (RFC 791 3.2, 8200 4.5). */
#include "transport/tcpip/outgoing.h"

#include "transport/tcpip/checksum.h"
#include "transport/tcpip/core.h"
#include "transport/tcpip/packet.h"

#define MORE          0x2000u
#define FRAGMENT      44u
#define FRAGMENT_SIZE 8u

uint32_t cw_ip_identification(struct cw_tcpip *core, const struct cw_ip_address *source, const struct cw_ip_address *destination)
{
	struct cw_ip_address pair[2] = {*source, *destination};
	uint64_t hash = cw_siphash(&core->identification_secret, pair, sizeof(pair));

	return (uint32_t)(hash >> 32) + core->identification[hash % CW_IDENTIFICATIONS]++;
}

uint16_t cw_outgoing_sum(const struct cw_outgoing *out)
{
	uint64_t sum = cw_checksum_pseudo(&out->source, &out->destination, out->protocol, out->length);

	sum = cw_checksum_add(sum, out->head, out->head_length, 0);
	sum = cw_checksum_add(sum, out->piece[0].at, out->piece[0].length, out->head_length & 1);
	sum = cw_checksum_add(sum, out->piece[1].at, out->piece[1].length, (out->head_length + out->piece[0].length) & 1);
	return (uint16_t)~cw_checksum_fold(sum);
}

static uint32_t ip_length(const struct cw_outgoing *out)
{
	if (cw_ip_is_4(&out->destination))
		return 20 + (out->router_alert ? 4 : 0);
	return 40 + (out->router_alert ? 8 : 0);
}

bool cw_outgoing_fits(const struct cw_outgoing *out, uint32_t mtu)
{
	uint32_t most = out->segment_size ? out->segment_size + out->head_length : out->length;

	return ip_length(out) + most <= mtu;
}

/* RFC 2113: routers look at it, whoever it is for. */
static uint32_t put_4(const struct cw_outgoing *out, unsigned char *at, uint32_t length, uint32_t offset, bool more)
{
	uint32_t size = cw_ip_header(at, &out->source, &out->destination, out->protocol, length, 0, (uint16_t)out->id, out->hop_limit);

	at[1] = out->traffic_class;
	if (out->may_fragment)
		cw_put16(at + 6, offset / 8 | (more ? MORE : 0));
	if (out->router_alert) {
		at[0] = 0x46;
		cw_put32(at + size, 148u << 24 | 4u << 16);
		size += 4;
		cw_put16(at + 2, size + length);
	}
	cw_ip4_sum(at);
	return size;
}

static uint32_t put_6(const struct cw_outgoing *out, unsigned char *at, uint32_t length, uint32_t offset, bool more)
{
	bool part = offset || more;
	uint32_t extensions = (out->router_alert ? 8 : 0) + (part ? FRAGMENT_SIZE : 0), size;
	unsigned char *next = at + 6;

	size = cw_ip_header(at, &out->source, &out->destination, out->protocol, length + extensions, 0, 0, out->hop_limit);
	cw_put32(at, 6u << 28 | (uint32_t)out->traffic_class << 20);
	if (out->router_alert) { /* RFC 2711, padded */
		static const unsigned char alert[8] = {0, 0, 5, 2, 0, 0, 1, 0};

		memcpy(at + size, alert, 8);
		*next = 0;
		next = at + size;
		size += 8;
	}
	if (part) {
		cw_put16(at + size, 0);
		cw_put16(at + size + 2, offset | more);
		cw_put32(at + size + 4, out->id);
		*next = FRAGMENT;
		next = at + size;
		size += FRAGMENT_SIZE;
	}
	*next = out->protocol;
	return size;
}

/* Bytes [from, from + length) of the datagram behind the header, which holds those of the transport's that are among them. */
static void put_data(const struct cw_outgoing *out, struct cw_frame *frame, unsigned char *header, uint32_t size, uint32_t from,
		     uint32_t length)
{
	uint32_t head = from < out->head_length ? cw_min32(out->head_length - from, length) : 0;

	memcpy(header + size, out->head + from, head);
	frame->piece[0] = (struct cw_piece){header, size + head};
	frame->pieces = 1;
	frame->length = size + length;
	length -= head;
	from = from > out->head_length ? from - out->head_length : 0;
	for (unsigned i = 0; i < 2 && length; i++) {
		uint32_t take;

		if (from >= out->piece[i].length) {
			from -= out->piece[i].length;
			continue;
		}
		take = cw_min32(out->piece[i].length - from, length);
		frame->piece[frame->pieces++] = (struct cw_piece){out->piece[i].at + from, take};
		length -= take;
		from = 0;
	}
}

static void leave_sum(const struct cw_outgoing *out, struct cw_frame *frame, unsigned char *header, uint32_t size)
{
	uint16_t field = cw_checksum_fold(cw_checksum_pseudo(&out->source, &out->destination, out->protocol, out->length));

	frame->checksum = CW_CHECKSUM_PARTIAL;
	frame->checksum_start = (uint16_t)size;
	frame->checksum_offset = out->sum_at;
	memcpy(header + size + out->sum_at, &field, 2);
}

bool cw_outgoing_next(struct cw_tcpip *core, struct cw_outgoing *out, uint32_t mtu, struct cw_frame *frame, unsigned char *header)
{
	bool ip4 = cw_ip_is_4(&out->destination), whole = !out->offset && cw_outgoing_fits(out, mtu), more;
	uint32_t left = out->length - out->offset, take = left, size;

	if (!whole) {
		uint32_t room = (mtu - ip_length(out) - (ip4 ? 0 : FRAGMENT_SIZE)) & ~7u;

		if (left > room)
			take = room;
	}
	more = take < left;
	if (!out->offset && (more || out->may_fragment))
		out->id = cw_ip_identification(core, &out->source, &out->destination);
	size = ip4 ? put_4(out, header, take, out->offset, more) : put_6(out, header, take, out->offset, more);
	put_data(out, frame, header, size, out->offset, take);
	frame->checksum = CW_CHECKSUM_COMPLETE;
	frame->segment_size = out->segment_size;
	if (whole && out->partial)
		leave_sum(out, frame, header, size);
	out->offset += take;
	return more;
}
