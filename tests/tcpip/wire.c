/* Packets: cut, merged, summed (RFC 1071, by the book and slowly). */
#include "packet_bytes.h"
#include "wire.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void must(bool holds, const char *what)
{
	if (holds)
		return;
	printf("a frame that can't be: %s\n", what);
	abort();
}

static struct packet *fresh(uint32_t length)
{
	struct packet *packet = calloc(1, sizeof(*packet) + length);

	if (!packet)
		abort();
	packet->length = length;
	return packet;
}

struct packet *packet_copy(const struct packet *packet)
{
	struct packet *copy = fresh(packet->length);

	memcpy(copy, packet, sizeof(*packet) + packet->length);
	return copy;
}

struct packet *packet_of(const struct cw_frame *frame)
{
	struct packet *packet = fresh(frame->length);
	uint32_t at = 0;

	for (uint32_t i = 0; i < frame->pieces; i++) {
		must(at + frame->piece[i].length <= frame->length, "pieces longer than the frame");
		memcpy(packet->bytes + at, frame->piece[i].at, frame->piece[i].length);
		at += frame->piece[i].length;
	}
	must(at == frame->length, "pieces shorter than the frame");
	packet->segment_size = frame->segment_size;
	packet->checksum = frame->checksum;
	return packet;
}

void view_of(struct packet *packet, struct view *view)
{
	bool ip4 = packet->bytes[0] >> 4 == 4;

	view->ip = packet->bytes;
	view->ip_length = ip4 ? (packet->bytes[0] & 15u) * 4 : 40;
	must(ip4 ? get16(packet->bytes + 2) == packet->length : get16(packet->bytes + 4) + 40 == packet->length, "length in the IP header");
	view->tcp = packet->bytes + view->ip_length;
	view->header = view->ip_length + (view->tcp[12] >> 4) * 4u;
	view->payload = packet->bytes + view->header;
	view->payload_length = packet->length - view->header;
	view->seq = get32(view->tcp + 4);
	view->ack = get32(view->tcp + 8);
}

static uint32_t pseudo(struct packet *packet, uint32_t ip_length)
{
	bool ip4 = ip_length != 40;
	uint32_t length = packet->length - ip_length;

	return add(add(0, packet->bytes + (ip4 ? 12 : 8), ip4 ? 8 : 32) + (length >> 16) + (length & 0xffff) + 6, NULL, 0);
}

static void sum_ip(struct packet *packet)
{
	if (packet->bytes[0] >> 4 != 4)
		return;
	put16(packet->bytes + 10, 0);
	put16(packet->bytes + 10, ~add(0, packet->bytes, 20));
}

void packet_complete(struct packet *packet)
{
	struct view view;

	if (packet->checksum == CW_CHECKSUM_COMPLETE)
		return;
	view_of(packet, &view);
	if (packet->checksum == CW_CHECKSUM_PARTIAL && !packet->segment_size)
		must(get16(view.tcp + 16) == pseudo(packet, view.ip_length), "the pseudo header's sum");
	put16(view.tcp + 16, 0);
	put16(view.tcp + 16, ~add(pseudo(packet, view.ip_length), view.tcp, packet->length - view.ip_length));
	packet->checksum = CW_CHECKSUM_COMPLETE;
}

bool packet_sum_is_right(struct packet *packet)
{
	struct view view;

	view_of(packet, &view);
	return add(pseudo(packet, view.ip_length), view.tcp, packet->length - view.ip_length) == 0xffff &&
	       (packet->bytes[0] >> 4 == 6 || add(0, packet->bytes, view.ip_length) == 0xffff);
}

static void set_length(struct packet *packet)
{
	if (packet->bytes[0] >> 4 == 4)
		put16(packet->bytes + 2, packet->length);
	else
		put16(packet->bytes + 4, packet->length - 40);
	sum_ip(packet);
}

unsigned packet_cut(struct packet *packet, struct packet **out, unsigned most)
{
	struct view whole;
	unsigned count = 0;
	uint32_t done = 0;

	if (!packet->segment_size) {
		out[0] = packet;
		return 1;
	}
	must(packet->checksum == CW_CHECKSUM_PARTIAL, "to be cut, with a complete sum");
	view_of(packet, &whole);
	while (done < whole.payload_length) {
		uint32_t take = whole.payload_length - done < packet->segment_size ? whole.payload_length - done : packet->segment_size;
		struct packet *piece = fresh(whole.header + take);
		struct view view;

		must(count < most, "cut into too many");
		memcpy(piece->bytes, packet->bytes, whole.header);
		memcpy(piece->bytes + whole.header, whole.payload + done, take);
		piece->time = packet->time;
		set_length(piece);
		view_of(piece, &view);
		put32(view.tcp + 4, whole.seq + done);
		if (done + take < whole.payload_length)
			view.tcp[13] &= (unsigned char)~0x09; /* FIN and PSH on the last */
		if (done)
			view.tcp[13] &= (unsigned char)~0x80; /* CWR on the first */
		if (piece->bytes[0] >> 4 == 4) {
			put16(piece->bytes + 4, get16(piece->bytes + 4) + count);
			sum_ip(piece);
		}
		piece->checksum = CW_CHECKSUM_VALID; /* anything but complete, so that it is summed */
		packet_complete(piece);
		out[count++] = piece;
		done += take;
	}
	free(packet);
	return count;
}

/* The urgent pointer counts from the segment's number, which is `by` more now. */
static void move_urgent(unsigned char *tcp, uint32_t by)
{
	uint32_t urgent = (uint32_t)tcp[18] << 8 | tcp[19], left = urgent > by ? urgent - by : 0;

	if (!left)
		tcp[13] &= (unsigned char)~0x20;
	tcp[18] = (unsigned char)(left >> 8);
	tcp[19] = (unsigned char)left;
}

void packet_split(struct packet *packet, uint32_t at, struct packet *half[2])
{
	struct view whole;

	view_of(packet, &whole);
	must(at && at < whole.payload_length && !packet->segment_size, "split where it has no payload");
	for (unsigned i = 0; i < 2; i++) {
		uint32_t length = i ? whole.payload_length - at : at;
		struct view view;

		half[i] = fresh(whole.header + length);
		memcpy(half[i]->bytes, packet->bytes, whole.header);
		memcpy(half[i]->bytes + whole.header, whole.payload + (i ? at : 0), length);
		set_length(half[i]);
		view_of(half[i], &view);
		put32(view.tcp + 4, whole.seq + (i ? at : 0));
		view.tcp[13] &= (unsigned char)~(i ? 0x80 : 0x09); /* CWR on the first, FIN and PSH on the last */
		if (i)
			move_urgent(view.tcp, at);
		half[i]->checksum = CW_CHECKSUM_VALID;
		packet_complete(half[i]);
	}
	free(packet);
}

struct packet *packet_merge(struct packet *first, struct packet *second, bool equal)
{
	struct view a, b;
	struct packet *merged;

	view_of(first, &a);
	view_of(second, &b);
	if (a.header != b.header || a.ip_length != b.ip_length || !a.payload_length || !b.payload_length ||
	    a.seq + a.payload_length != b.seq)
		return NULL;
	if (memcmp(a.tcp, b.tcp, 4) != 0 || memcmp(a.tcp + 8, b.tcp + 8, 5) != 0 || (a.tcp[13] & ~8) != 0x10 || (b.tcp[13] & ~8) != 0x10 ||
	    memcmp(a.tcp + 14, b.tcp + 14, 2) != 0 || memcmp(a.tcp + 20, b.tcp + 20, a.header - a.ip_length - 20) != 0 ||
	    a.ip[1] != b.ip[1] || memcmp(a.ip + 12, b.ip + 12, 8) != 0)
		return NULL;
	if (first->length + b.payload_length > 65535)
		return NULL;
	if (equal && (b.payload_length > (first->segment_size ? first->segment_size : a.payload_length) ||
		      (first->segment_size && a.payload_length % first->segment_size)))
		return NULL;
	merged = fresh(first->length + b.payload_length);
	memcpy(merged, first, sizeof(*first) + first->length);
	merged->length = first->length + b.payload_length;
	memcpy(merged->bytes + first->length, b.payload, b.payload_length);
	merged->segment_size = !equal ? 0 : first->segment_size ? first->segment_size : a.payload_length;
	merged->checksum = CW_CHECKSUM_VALID;
	set_length(merged);
	return merged;
}

struct packet *packet_too_big(struct packet *packet, uint32_t mtu)
{
	bool ip4 = packet->bytes[0] >> 4 == 4;
	uint32_t header = ip4 ? 20 : 40, quote = packet->length < 64 ? packet->length : 64, sum = 0;
	struct packet *error = fresh(header + 8 + quote);
	unsigned char *icmp = error->bytes + header;

	error->checksum = CW_CHECKSUM_COMPLETE;
	error->bytes[0] = ip4 ? 0x45 : 0x60;
	error->bytes[ip4 ? 8 : 7] = 64;
	error->bytes[ip4 ? 9 : 6] = ip4 ? 1 : 58;
	memcpy(error->bytes + (ip4 ? 12 : 8), packet->bytes + (ip4 ? 16 : 24), ip4 ? 4 : 16);
	memcpy(error->bytes + (ip4 ? 16 : 24), packet->bytes + (ip4 ? 12 : 8), ip4 ? 4 : 16);
	set_length(error);
	icmp[0] = ip4 ? 3 : 2;
	icmp[1] = ip4 ? 4 : 0;
	put32(icmp + 4, mtu);
	memcpy(icmp + 8, packet->bytes, quote);
	if (!ip4)
		sum = add(add(0, error->bytes + 8, 32) + 8 + quote + 58, NULL, 0);
	put16(icmp + 2, ~add(sum, icmp, 8 + quote));
	return error;
}

void frame_of(const struct packet *packet, uint32_t piece, struct cw_frame *frame)
{
	uint32_t at = 0;

	*frame = (struct cw_frame){.length = packet->length, .segment_size = packet->segment_size, .checksum = packet->checksum};
	while (at < packet->length) {
		uint32_t take = packet->length - at;

		if (frame->pieces == 0 && take > 128 && piece < take)
			take = piece < 128 ? 128 : piece;
		else if (frame->pieces + 1 < CW_FRAME_PIECES && piece < take)
			take = piece;
		frame->piece[frame->pieces++] = (struct cw_piece){packet->bytes + at, take};
		at += take;
	}
}
