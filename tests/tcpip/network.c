/* The network: what it loses, keeps back, doubles, damages, cuts and merges. */
#include <stdlib.h>
#include <string.h>

#include "world.h"

static bool before(const struct packet *a, const struct packet *b)
{
	return a->time < b->time || (a->time == b->time && a->order < b->order);
}

static void put(struct world *world, struct path *path, struct packet *packet)
{
	uint32_t at = path->packets++;

	packet->order = world->order++;
	if (path->packets > path->room) {
		path->room = path->room ? path->room * 2 : 64;
		path->heap = realloc(path->heap, path->room * sizeof(*path->heap));
		if (!path->heap)
			abort();
	}
	while (at && before(packet, path->heap[(at - 1) / 2])) {
		path->heap[at] = path->heap[(at - 1) / 2];
		at = (at - 1) / 2;
	}
	path->heap[at] = packet;
}

static struct packet *take(struct path *path)
{
	struct packet *first = path->heap[0], *last = path->heap[--path->packets];
	uint32_t at = 0, child;

	while ((child = 2 * at + 1) < path->packets) {
		if (child + 1 < path->packets && before(path->heap[child + 1], path->heap[child]))
			child++;
		if (!before(path->heap[child], last))
			break;
		path->heap[at] = path->heap[child];
		at = child;
	}
	path->heap[at] = last;
	return first;
}

static bool is_tcp(const struct packet *packet)
{
	return packet->bytes[packet->bytes[0] >> 4 == 4 ? 9 : 6] == 6;
}

uint64_t path_time(const struct path *path)
{
	return path->packets ? path->heap[0]->time : CW_NEVER;
}

void path_free(struct path *path)
{
	while (path->packets)
		free(take(path));
	free(path->heap);
	path->heap = NULL;
}

/* Nothing comes through for a while, and then everything again. */
static bool is_down(struct world *world, struct path *path)
{
	while (path->outage_every && world->now >= path->outage_next) {
		path->outage_until = path->outage_next + below(world, path->outage_most);
		path->outage_next = path->outage_until + path->outage_every / 2 + below(world, path->outage_every) + 1;
		path->outages++;
	}
	return world->now < path->outage_until;
}

static bool is_lost(struct world *world, struct path *path)
{
	/* A burst lasts for a time, not for a number of packets: who is silent doesn't make it longer, and who sends much doesn't bring
	 * more. */
	if (world->now > path->burst_until + 3000000 && chance(world, path->burst))
		path->burst_until = world->now + below(world, 300000);
	return is_down(world, path) || world->now < path->burst_until || chance(world, path->loss);
}

static void damage(struct world *world, struct packet *packet)
{
	packet_complete(packet);
	packet->damaged = true;
	packet->bytes[below(world, packet->length)] ^= (unsigned char)(1u << below(world, 8));
}

static void mark(struct packet *packet)
{
	if (packet->bytes[0] >> 4 == 4 && packet->bytes[1] & 3) {
		uint32_t sum = (uint32_t)packet->bytes[10] << 8 | packet->bytes[11], old = packet->bytes[1];

		packet->bytes[1] |= 3;
		sum = (~sum & 0xffff) + (~old & 0xffff) + packet->bytes[1]; /* RFC 1624 */
		sum = (sum & 0xffff) + (sum >> 16);
		sum = ~((sum & 0xffff) + (sum >> 16));
		packet->bytes[10] = (unsigned char)(sum >> 8);
		packet->bytes[11] = (unsigned char)sum;
	} else if (packet->bytes[0] >> 4 == 6 && packet->bytes[1] & 0x30) {
		packet->bytes[1] |= 0x30;
	}
}

static void refuse(struct world *world, unsigned from, struct packet *packet)
{
	struct packet *error;

	if (world->path[from].silent) {
		world->path[from].lost++;
		free(packet);
		return;
	}
	error = packet_too_big(packet, world->path[from].mtu);
	error->time = world->now + world->path[from].delay;
	if (is_lost(world, &world->path[1 - from]))
		free(error);
	else
		put(world, &world->path[1 - from], error);
	free(packet);
}

/* Where a box on the way may cut it; 0: nowhere. */
static uint32_t split_at(struct world *world, unsigned from, struct packet *packet)
{
	struct view view;

	if (!chance(world, world->path[from].split) || packet->segment_size || packet->damaged || !is_tcp(packet) ||
	    packet->length > world->path[from].mtu)
		return 0;
	view_of(packet, &view);
	/* The urgent pointer counts from the packet's beginning. */
	if (view.tcp[13] & 0x20)
		return 0;
	return view.payload_length > 1 ? 1 + (uint32_t)below(world, view.payload_length - 1) : 0;
}

/* A packet that comes twice comes cut otherwise the second time, so that what comes overlaps with what came. */
static void put_twin(struct world *world, unsigned from, struct packet *twin)
{
	struct path *path = &world->path[from];
	uint32_t at = split_at(world, from, twin);
	struct packet *half[2];

	if (at) {
		unsigned kept = (unsigned)below(world, 2);
		uint64_t time = twin->time;

		packet_split(twin, at, half);
		free(half[1 - kept]);
		twin = half[kept];
		twin->time = time;
	}
	put(world, path, twin);
}

static void carry(struct world *world, unsigned from, struct packet *packet)
{
	struct path *path = &world->path[from];
	uint64_t start = world->now > path->busy_until ? world->now : path->busy_until;

	path->sent++;
	if (packet->segment_size == 0 && packet->length > path->mtu) {
		refuse(world, from, packet);
		return;
	}
	if (is_lost(world, path) || (path->bandwidth && (start - world->now) * path->bandwidth / 1000 > path->queue)) {
		path->lost++;
		free(packet);
		return;
	}
	if (chance(world, path->mark))
		mark(packet);
	if (chance(world, path->corrupt))
		damage(world, packet);
	if (path->bandwidth)
		path->busy_until = start + packet->length * 1000 / path->bandwidth;
	packet->time = (path->bandwidth ? path->busy_until : start) + path->delay;
	if (chance(world, path->reorder)) {
		packet->time += below(world, path->jitter + path->delay + 100);
	} else {
		packet->time += path->jitter ? below(world, path->jitter / 8 + 1) : 0;
		if (packet->time < path->last_arrival)
			packet->time = path->last_arrival;
		path->last_arrival = packet->time;
	}
	if (chance(world, path->duplicate)) {
		struct packet *twin = packet_copy(packet);

		twin->time += below(world, path->jitter + 1000);
		put_twin(world, from, twin);
	}
	put(world, path, packet);
}

/* A frame leaves a core: cut by the device, if the path's packets are, or taken whole, as between neighbours in one memory. */
void path_send(struct world *world, unsigned from, const struct cw_frame *frame)
{
	struct path *path = &world->path[from];
	struct packet *packet = packet_of(frame), *piece[1024];
	unsigned count;

	if (!path->cuts && frame->segment_size && frame->segment_size + 100 < path->mtu) {
		carry(world, from, packet);
		return;
	}
	if (!path->partial && !packet->segment_size)
		packet_complete(packet);
	count = packet_cut(packet, piece, 1024);
	for (unsigned i = 0; i < count; i++) {
		uint32_t at = split_at(world, from, piece[i]);
		struct packet *half[2] = {piece[i], NULL};

		if (at) {
			packet_split(piece[i], at, half);
			path->split_up++;
		}
		carry(world, from, half[0]);
		if (half[1])
			carry(world, from, half[1]);
	}
}

/* The packet that arrives now, merged with its neighbours if the receiving device does so, or a box before it. */
struct packet *path_next(struct world *world, unsigned from)
{
	struct path *path = &world->path[from];
	struct packet *packet = take(path), *next, *merged;
	bool joins = chance(world, path->split);

	while ((path->merges || joins) && path->packets && path->heap[0]->time <= world->now + 200) {
		next = path->heap[0];
		if (!is_tcp(packet) || !is_tcp(next))
			break;
		if (packet->damaged || next->damaged)
			break;
		if (next->segment_size || (joins && packet->segment_size) || !(merged = packet_merge(packet, next, !joins)))
			break;
		path->joined += joins;
		free(packet);
		free(take(path));
		packet = merged;
	}
	return packet;
}
