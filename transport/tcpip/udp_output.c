/* Records of the send ring become datagrams (RFC 768, 8085). What is read from the ring is read once, and believed only as far as it was
 * checked. */
#include "transport/tcpip/udp_socket.h"

#include <errno.h>

#define MOST_4 (CW_FRAME_MAX - 20 - CW_UDP_HEADER)
#define MOST_6 (CW_FRAME_MAX - CW_UDP_HEADER)

static void free_record(struct cw_udp *udp)
{
	udp->sent += cw_udp_record_space(udp->record.length);
	udp->sending = false;
	cw_udp_tell(udp, CW_UDP_WRITABLE);
}

/* Its place is told by `sent`; nothing more is sent until the program knows. */
static void refuse(struct cw_udp *udp, int error)
{
	free_record(udp);
	cw_count(udp->core, CW_TCPIP_UDP_REFUSED);
	if (udp->closing)
		return;
	udp->refusal = error;
	cw_udp_tell(udp, CW_UDP_REFUSED);
}

/* The header of the record at `sent`. False: it can't be. */
static bool take_record(struct cw_udp *udp)
{
	memcpy(&udp->record, udp->rings.send + (udp->sent & (udp->rings.send_size - 1)), sizeof(udp->record));
	return udp->record.length <= CW_FRAME_MAX && cw_udp_record_space(udp->record.length) <= udp->written - udp->sent;
}

/* Where to, and where from. 0, or why not. */
static int route(const struct cw_udp *udp, struct cw_outgoing *out, uint16_t *port)
{
	const struct cw_udp_record *record = &udp->record;
	const struct cw_ip_address *source;

	if (record->remote_port) {
		out->destination = record->remote;
		*port = record->remote_port;
	} else if (udp->connected) {
		out->destination = udp->remote.address;
		*port = udp->remote.port;
	} else {
		return EDESTADDRREQ;
	}
	if (!cw_udp_takes_family(udp, &out->destination))
		return EAFNOSUPPORT;
	if (cw_ip_is_any(&out->destination))
		return EDESTADDRREQ;
	if (cw_address_is_broadcast(udp->core, &out->destination)) {
		if (!udp->settings.broadcast)
			return EACCES;
	} else if (!cw_ip_is_host(&out->destination) && !cw_ip_is_multicast(&out->destination)) {
		return ENETUNREACH;
	}
	if (!cw_ip_is_any(&record->local)) {
		out->source = record->local;
		if (memcmp(&out->source, &udp->local.address, sizeof(out->source)) != 0 && !cw_address_is_own(udp->core, &out->source))
			return EADDRNOTAVAIL;
		if (!cw_ip_is_host(&out->source) || cw_ip_is_4(&out->source) != cw_ip_is_4(&out->destination))
			return EINVAL;
		return 0;
	}
	source = &udp->local.address;
	if (!cw_ip_is_host(source) || cw_address_is_broadcast(udp->core, source))
		source = cw_address_source(udp->core, &out->destination);
	if (!source)
		return ENETUNREACH;
	out->source = *source;
	return 0;
}

/* Bytes [from, from + length) of the record, which may wrap. */
static void set_pieces(const struct cw_udp *udp, struct cw_outgoing *out, uint32_t from, uint32_t length)
{
	uint32_t size = udp->rings.send_size;
	uint32_t at = (uint32_t)((udp->sent + sizeof(struct cw_udp_record) + from) & (size - 1)), first = cw_min32(length, size - at);

	out->piece[0] = (struct cw_piece){udp->rings.send + at, first};
	out->piece[1] = (struct cw_piece){udp->rings.send, length - first};
	out->length = CW_UDP_HEADER + length;
}

/* Who sends to a group hears itself, if it is in it (RFC 1112 6.1). */
static void loop_back(struct cw_udp *udp, const struct cw_outgoing *out, uint16_t port)
{
	struct cw_frame frame = {.pieces = 2, .piece = {out->piece[0], out->piece[1]}, .length = out->length - CW_UDP_HEADER};
	struct cw_udp_arrival arrival = {
		.frame = &frame,
		.length = frame.length,
		.segment_size = out->segment_size,
		.local = {out->destination, port},
		.remote = {out->source, udp->local.port},
		.hop_limit = out->hop_limit,
		.traffic_class = out->traffic_class,
	};

	cw_udp_deliver_to_all(udp->core, &arrival);
}

/* How many bytes of the record go next. 0: they can't. */
static uint32_t next_length(const struct cw_udp *udp, uint32_t left, uint32_t ip, bool *cut)
{
	const struct cw_tcpip_config *config = &udp->core->config;
	uint32_t size = udp->record.segment_size, most;

	*cut = false;
	if (!size || size >= udp->record.length)
		return left;
	if (ip + CW_UDP_HEADER + size > udp->mtu)
		return 0;
	if (!config->udp_segmentation || !config->checksum_offload || left <= size)
		return cw_min32(size, left);
	most = (cw_min32(config->frame_max, CW_FRAME_MAX) - ip - CW_UDP_HEADER) / size * size;
	left = cw_min32(left, cw_max32(most, size));
	*cut = left > size;
	return left;
}

/* The next datagram of the record, or several that the device will cut. 0, or why not. */
static int begin(struct cw_udp *udp)
{
	struct cw_tcpip *core = udp->core;
	struct cw_outgoing *out = &udp->out;
	const struct cw_udp_record *record = &udp->record;
	uint16_t port = 0, sum;
	uint32_t ip, length;
	bool several, cut;
	int error;

	*out = (struct cw_outgoing){.protocol = CW_PROTOCOL_UDP, .sum_at = 6, .head_length = CW_UDP_HEADER};
	error = route(udp, out, &port);
	if (error)
		return error;
	ip = cw_ip_is_4(&out->destination) ? 20 : 40;
	udp->mtu = cw_tcpip_path_mtu(core, &out->destination);
	if (record->length > (ip == 20 ? MOST_4 : MOST_6))
		return EMSGSIZE;
	length = next_length(udp, record->length - udp->done, ip, &cut);
	if (!length && record->length)
		return EMSGSIZE;
	several = cw_ip_is_multicast(&out->destination);
	out->hop_limit = record->hop_limit ? record->hop_limit : several ? udp->settings.group_hop_limit : udp->settings.hop_limit;
	out->traffic_class = record->traffic_class == CW_UDP_DEFAULT_CLASS ? udp->settings.traffic_class : record->traffic_class;
	out->segment_size = cut ? record->segment_size : 0;
	set_pieces(udp, out, udp->done, length);
	if (!cw_outgoing_fits(out, udp->mtu)) {
		if (!udp->settings.fragment)
			return EMSGSIZE;
		out->may_fragment = true;
	}
	cw_put16(out->head, udp->local.port);
	cw_put16(out->head + 2, port);
	cw_put16(out->head + 4, out->length);
	out->partial = core->config.checksum_offload && cw_outgoing_fits(out, udp->mtu);
	if (!out->partial) {
		sum = cw_outgoing_sum(out);
		sum = sum ? sum : 0xffff; /* 0 would say that there is none */
		memcpy(out->head + 6, &sum, 2);
	}
	if (!udp->settings.no_loop && (several || cw_address_is_broadcast(core, &out->destination)))
		loop_back(udp, out, port);
	udp->done += length;
	udp->sending = true;
	return 0;
}

/* False: there is nothing to send, or it may not be sent now. */
static bool next_datagram(struct cw_udp *udp)
{
	while (!udp->sending) {
		int error;

		if (udp->gone || udp->refusal || udp->sent == udp->written)
			return false;
		if (!take_record(udp)) {
			cw_udp_broken(udp);
			return false;
		}
		udp->done = 0;
		error = begin(udp);
		if (error)
			refuse(udp, error);
	}
	return true;
}

bool cw_udp_output(struct cw_udp *udp, struct cw_frame *frame, unsigned char *header)
{
	int error;

	if (!next_datagram(udp))
		return false;
	if (cw_outgoing_next(udp->core, &udp->out, udp->mtu, frame, header))
		return true;
	cw_count(udp->core, CW_TCPIP_UDP_OUT);
	if (udp->done == udp->record.length) {
		free_record(udp);
		return true;
	}
	error = begin(udp);
	if (error)
		refuse(udp, error);
	return true;
}
