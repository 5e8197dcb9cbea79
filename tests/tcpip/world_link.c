/* Ethernet between the cores of every fourth world: they have to find each other before anything goes, and what they ask may be lost. */
#include <string.h>

#include "packet_bytes.h"
#include "transport/tcpip/frame.h"
#include "world.h"

#define HEADER 14u

static void link_of(unsigned side, unsigned char link[6])
{
	memset(link, 0, 6);
	link[0] = 2;
	link[5] = (unsigned char)(1 + side);
}

void world_link_configure(struct world *world, unsigned side)
{
	struct cw_tcpip_config *config = &world->config[side];

	if (!world->ethernet)
		return;
	config->link = CW_LINK_ETHERNET;
	link_of(side, config->link_address);
	config->addresses = 2;
	config->neighbours = 1 + (uint32_t)below(world, 4);
	config->neighbour_packets = (uint32_t)below(world, 8);
	config->control_bytes = 4096;
}

static bool is_question_or_answer(const unsigned char *at)
{
	return get16(at + 12) == 0x0806 || (get16(at + 12) == 0x86dd && at[HEADER + 6] == 58);
}

/* Both sides are near, so that only what the network does to TCP's packets takes time. */
static void hand_over(struct world *world, unsigned from, const struct cw_frame *frame)
{
	unsigned char bytes[256];
	struct cw_frame copy = {.pieces = 1, .length = cw_min32(frame->length, sizeof(bytes))};

	if (chance(world, 0.1)) {
		world->path[from].lost++;
		return;
	}
	cw_frame_copy(frame, 0, bytes, copy.length);
	copy.piece[0] = (struct cw_piece){bytes, copy.length};
	cw_tcpip_input(world->core[1 - from], &copy, world->now);
	world->handed_over = true;
}

bool world_link_take(struct world *world, unsigned from, struct cw_frame *frame)
{
	const unsigned char *at = frame->piece[0].at;
	unsigned char link[6];

	if (!world->ethernet)
		return true;
	if (is_question_or_answer(at)) {
		hand_over(world, from, frame);
		return false;
	}
	link_of(1 - from, link);
	if (memcmp(at, link, 6) != 0)
		world_fail(world, "a packet goes to another neighbour");
	frame->piece[0].at += HEADER;
	frame->piece[0].length -= HEADER;
	frame->length -= HEADER;
	frame->checksum_start = (uint16_t)(frame->checksum_start - HEADER);
	return true;
}

void world_link_put(const struct world *world, unsigned to, struct cw_frame *frame, unsigned char header[HEADER])
{
	if (!world->ethernet)
		return;
	link_of(to, header);
	link_of(1 - to, header + 6);
	put16(header + 12, frame->piece[0].at[0] >> 4 == 4 ? 0x0800 : 0x86dd);
	memmove(&frame->piece[1], &frame->piece[0], frame->pieces++ * sizeof(frame->piece[0]));
	frame->piece[0] = (struct cw_piece){header, HEADER};
	frame->length += HEADER;
}
