/*
 * fuzz_datagrams [FIRST [COUNT [SECONDS]]]: random and half-right packets for one core that has UDP sockets, groups, addresses of its own,
 * fragments to put together and, half of the time, Ethernet and neighbours. Nothing may be read or written that isn't ours (the sanitizers
 * see to that), what is sent must be well formed, memory stays in its bounds, and when all is closed all of it comes back. Programs that
 * write nonsense into their rings are part of it.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz_packets.h"
#include "fuzz_seeds.h"
#include "sync/cpu.h"
#include "transport/tcpip/core.h"
#include "transport/tcpip/udp_socket.h"

#define SOCKETS 6u
#define STEPS   2000u

struct end {
	struct cw_udp *udp;
	unsigned char *send, *receive;
	uint32_t size;
	uint64_t written, read, received;
};

struct target {
	struct packets packets;
	struct cw_tcpip *core;
	void *memory;
	struct end end[SOCKETS];
	uint64_t now;
	const char *failure;
};

static uint64_t pick(struct target *target, uint64_t bound)
{
	return below(target->packets.random, bound);
}

static bool seldom(struct target *target, unsigned of)
{
	return pick(target, of) == 0;
}

static void own(struct target *target)
{
	bool ip4 = pick(target, 2);
	struct cw_ip_address address = packets_host(1 + (unsigned)pick(target, 2), ip4 ? HOST_4 : pick(target, 2) ? HOST_6 : HOST_LINK);

	if (seldom(target, 4))
		cw_tcpip_disown(target->core, &address);
	else
		cw_tcpip_own(target->core, &address, ip4 ? 24 : 64, pick(target, 2), target->now);
	if (seldom(target, 4)) {
		address = packets_host(9, pick(target, 2) ? HOST_4 : HOST_6);
		cw_tcpip_set_router(target->core, &address);
	}
}

static void make(struct target *target)
{
	struct cw_tcpip_config config = {.connections = 1,
					 .replies = 4,
					 .mtu = (uint16_t)(pick(target, 2) ? 1500 : 576 + pick(target, 1500)),
					 .frame_max = (uint16_t)(pick(target, 2) ? 65535 : 1500),
					 .checksum_offload = pick(target, 2),
					 .udp_segmentation = pick(target, 2),
					 .addresses = (uint32_t)(seldom(target, 8) ? 0 : 2 + pick(target, 4)),
					 .control_bytes = (uint32_t)pick(target, 8) * 2000,
					 .icmp_rate = (uint32_t)pick(target, 50),
					 .reassemblies = (uint32_t)pick(target, 5),
					 .path_mtus = (uint32_t)pick(target, 3),
					 .udp_sockets = SOCKETS,
					 .memberships = (uint32_t)pick(target, 6),
					 .groups = (uint32_t)pick(target, 6),
					 .link = pick(target, 2) ? CW_LINK_ETHERNET : CW_LINK_NONE,
					 .link_address = {2, 0, 0, 0, 0, 1},
					 .neighbours = (uint32_t)pick(target, 5),
					 .neighbour_packets = (uint32_t)pick(target, 5)};
	size_t size = (cw_tcpip_size(&config) + 63) & ~(size_t)63;

	target->memory = aligned_alloc(64, size);
	if (!target->memory)
		abort();
	memset(target->memory, 0, size);
	target->now = 1000000;
	target->core = cw_tcpip_init(target->memory, &config, target->now);
	target->packets.ethernet = config.link == CW_LINK_ETHERNET;
	for (unsigned i = 0; i < 6; i++)
		own(target);
}

static void free_end(struct end *end)
{
	free(end->send);
	free(end->receive);
	memset(end, 0, sizeof(*end));
}

static void unmake(struct target *target)
{
	free(target->memory);
	for (unsigned i = 0; i < SOCKETS; i++)
		free_end(&target->end[i]);
}

static struct cw_ip_address any_of(struct target *target)
{
	struct cw_ip_address address = packets_host(1 + (unsigned)pick(target, 3), HOST_6);

	if (seldom(target, 3))
		return packets_address(&target->packets, pick(target, 2));
	memset(address.octet, 0, 16);
	if (seldom(target, 3))
		memset(address.octet + 10, 0xff, 2);
	return address;
}

static void open_end(struct target *target, struct end *end)
{
	struct cw_udp_settings settings = {.reuse = pick(target, 2),
					   .only_ip6 = seldom(target, 4),
					   .broadcast = pick(target, 2),
					   .fragment = pick(target, 2),
					   .merged = pick(target, 2),
					   .only_joined = pick(target, 2),
					   .no_loop = seldom(target, 4),
					   .truncate = (uint32_t)(seldom(target, 4) ? pick(target, 3000) : 0)};
	struct cw_ip_endpoint local = {any_of(target), (uint16_t)(PORT + pick(target, 3))};
	struct cw_udp_rings rings;

	end->size = 4096u << pick(target, 4);
	end->send = aligned_alloc(64, end->size);
	end->receive = aligned_alloc(64, end->size);
	if (!end->send || !end->receive)
		abort();
	memset(end->send, 0, end->size);
	rings = (struct cw_udp_rings){end->send, end->size, end->receive, end->size, end};
	end->udp = cw_udp_open(target->core, &local, &rings, &settings);
	if (!end->udp)
		free_end(end);
}

/* What came lies in whole records, one behind the other. */
static void take_records(struct target *target, struct end *end)
{
	while (end->read < end->received && !target->failure) {
		struct cw_udp_record record;

		memcpy(&record, end->receive + (end->read & (end->size - 1)), sizeof(record));
		if (record.length > record.datagram || record.datagram > CW_FRAME_MAX ||
		    cw_udp_record_space(record.length) > end->received - end->read)
			target->failure = "a record that can't be was received";
		end->read += cw_udp_record_space(record.length);
	}
}

static void take_events(struct target *target)
{
	struct cw_udp_event event;
	struct cw_tcp_event none;

	while (cw_tcpip_event(target->core, &none))
		target->failure = "an event of TCP";
	while (cw_udp_event(target->core, &event)) {
		struct end *end = event.owner;

		if (end->udp != event.socket || event.sent > end->written || event.received - end->read > end->size)
			target->failure = "an event that can't be";
		end->received = event.received;
		if (event.events & CW_UDP_GONE) {
			free_end(end);
		} else if (pick(target, 2)) {
			take_records(target, end);
			cw_udp_read(end->udp, end->read, target->now);
		}
	}
}

static void take_output(struct target *target, unsigned most)
{
	unsigned char header[CW_HEADER_ROOM];
	struct cw_frame frame;

	for (unsigned count = 0; count < most && cw_tcpip_output(target->core, &frame, header, target->now); count++) {
		const char *wrong = packets_check(&target->packets, &target->core->config, &frame);

		if (wrong)
			target->failure = wrong;
	}
}

static void input(struct target *target)
{
	struct cw_frame frame;
	unsigned char *exact;
	uint32_t length = packets_make(&target->packets, &frame);

	exact = malloc(length + 1); /* of its own, so that a byte too far is seen */
	if (!exact)
		abort();
	memcpy(exact, target->packets.bytes, length);
	for (uint32_t i = 0; i < frame.pieces; i++)
		frame.piece[i].at = exact + (frame.piece[i].at - target->packets.bytes);
	cw_tcpip_input(target->core, &frame, target->now);
	free(exact);
}

/* A record that may be right; its bytes are what lies there. */
static void write_record(struct target *target, struct end *end)
{
	struct cw_udp_record record = {.length = (uint32_t)pick(target, seldom(target, 4) ? 9000 : 1600),
				       .traffic_class = CW_UDP_DEFAULT_CLASS};
	uint64_t space = cw_udp_record_space(record.length), sent = end->udp->sent;

	if (end->udp->closing || space > end->size - (end->written - sent))
		return;
	if (pick(target, 4)) {
		record.remote = packets_address(&target->packets, pick(target, 2));
		record.remote_port = (uint16_t)(PORT + pick(target, 3));
	}
	if (seldom(target, 8))
		record.local = packets_address(&target->packets, pick(target, 2));
	if (seldom(target, 3))
		record.segment_size = (uint16_t)pick(target, 1600);
	if (seldom(target, 40))
		record.length = (uint32_t)random_of(target->packets.random);
	memcpy(end->send + (end->written & (end->size - 1)), &record, sizeof(record));
	end->written += space;
	cw_udp_written(end->udp, end->written, target->now);
}

static void filter(struct target *target, struct end *end)
{
	struct cw_ip_address group = packets_group(&target->packets, pick(target, 2)), source[CW_GROUP_SOURCES + 1];
	uint32_t count = (uint32_t)(seldom(target, 4) ? pick(target, CW_GROUP_SOURCES + 2) : pick(target, 4));

	for (uint32_t i = 0; i < count; i++)
		source[i] = packets_host((unsigned)pick(target, 100), cw_ip_is_4(&group) ? HOST_4 : HOST_6);
	cw_udp_filter(end->udp, &group, pick(target, 2), source, count, target->now);
}

static void user(struct target *target)
{
	struct end *end = &target->end[pick(target, SOCKETS)];
	struct cw_ip_endpoint remote = {packets_address(&target->packets, pick(target, 2)), (uint16_t)(PORT + pick(target, 3))};

	if (!end->udp) {
		open_end(target, end);
		return;
	}
	switch (pick(target, 16)) {
	case 0:
		if (seldom(target, 6))
			cw_udp_close(end->udp, target->now);
		break;
	case 1:
		if (seldom(target, 60))
			cw_udp_written(end->udp, random_of(target->packets.random), target->now);
		break;
	case 2:
		if (seldom(target, 60))
			cw_udp_read(end->udp, random_of(target->packets.random), target->now);
		break;
	case 3:
		cw_udp_connect(end->udp, NULL, pick(target, 2) ? &remote : NULL);
		break;
	case 4:
	case 5:
		filter(target, end);
		break;
	case 6:
		own(target);
		break;
	default:
		write_record(target, end);
	}
}

static uint32_t length_of(const struct cw_list *list)
{
	uint32_t count = 0;

	for (const struct cw_list *entry = list->next; entry != list; entry = entry->next)
		count++;
	return count;
}

static void check_neighbours(struct target *target)
{
	const struct cw_link_layer *link = &target->core->link;
	uint32_t waiting = length_of(&link->ready) + length_of(&link->sent), known = length_of(&link->age),
		 unanswered = length_of(&link->unanswered);
	const struct cw_list *lists[2] = {&link->age, &link->unanswered};

	for (unsigned i = 0; i < 2; i++)
		for (const struct cw_list *entry = lists[i]->next; entry != lists[i]; entry = entry->next) {
			const struct cw_neighbour *neighbour = cw_entry(entry, struct cw_neighbour, age);

			waiting += neighbour->waits;
			if (neighbour->waits != length_of(&neighbour->waiting) || (neighbour->state == CW_NEIGHBOUR_INCOMPLETE) != i)
				target->failure = "a neighbour contradicts itself";
		}
	if (known + unanswered != link->neighbours.used || unanswered != link->unanswered_count || waiting != link->waiting.used)
		target->failure = "neighbours contradict their counts";
	if (link->neighbours.limit > 1 && unanswered > link->neighbours.limit / 2)
		target->failure = "who doesn't answer has more than half of the table";
}

static void check_groups(struct target *target)
{
	const struct cw_groups *groups = &target->core->groups;
	uint32_t members = 0;

	for (const struct cw_list *entry = groups->all.next; entry != &groups->all; entry = entry->next) {
		const struct cw_group *group = cw_entry(entry, struct cw_group, all);

		members += length_of(&group->members);
		if (group->count > CW_GROUP_SOURCES || group->asked > CW_GROUP_SOURCES)
			target->failure = "more sources than there is room for";
		if (cw_list_empty(&group->members) && !group->held && !cw_timer_running(&group->change))
			target->failure = "a group that nobody is in stays";
	}
	if (members != groups->memberships.used || length_of(&groups->all) != groups->pool.used)
		target->failure = "groups contradict their counts";
}

static void check(struct target *target)
{
	check_neighbours(target);
	check_groups(target);
	if (cw_tcpip_timer(target->core) <= target->core->now)
		target->failure = "a timer lies in the past";
}

static void pass(struct target *target, uint64_t time)
{
	uint64_t until = target->now + time;

	for (unsigned i = 0; cw_tcpip_timer(target->core) <= until && !target->failure; i++) {
		target->now = cw_tcpip_timer(target->core);
		cw_tcpip_advance(target->core, target->now);
		take_output(target, 10000);
		if (i > 100000)
			target->failure = "a timer runs without end";
	}
	target->now = until;
	cw_tcpip_advance(target->core, target->now);
}

/* All that is closed is given back. */
static void end(struct target *target)
{
	static const enum host kinds[] = {HOST_4, HOST_6, HOST_LINK};
	const struct cw_tcpip *core = target->core;

	for (unsigned i = 0; i < SOCKETS; i++)
		if (target->end[i].udp)
			cw_udp_close(target->end[i].udp, target->now);
	for (unsigned i = 0; i < 3; i++)
		for (unsigned host = 1; host <= 2; host++) {
			struct cw_ip_address address = packets_host(host, kinds[i]);

			cw_tcpip_disown(target->core, &address);
		}
	for (unsigned i = 0; i < 10; i++) {
		take_output(target, 100000);
		take_events(target);
		pass(target, 100000000);
	}
	take_output(target, 100000);
	pass(target, 1);
	if (target->failure)
		return;
	if (core->udp_pool.used || core->groups.pool.used || core->groups.memberships.used || core->addresses.pool.used ||
	    core->reassemblies.pool.used || core->link.waiting.used || core->control.first != core->control.last)
		target->failure = "something wasn't given back";
}

static const char *run(uint64_t seed)
{
	struct target *target = calloc(1, sizeof(*target));
	struct world numbers = {.random = {seed * 0x9e3779b97f4a7c15ull + 1, ~seed}};
	const char *failure;

	if (!target)
		abort();
	target->packets.random = &numbers;
	make(target);
	for (unsigned step = 0; step < STEPS && !target->failure; step++) {
		if (pick(target, 3))
			input(target);
		else
			user(target);
		if (pick(target, 2))
			take_events(target);
		if (pick(target, 3))
			take_output(target, (unsigned)pick(target, 30));
		if (seldom(target, 20))
			pass(target, pick(target, pick(target, 10) ? 300000 : 30000000));
		cw_tcpip_advance(target->core, target->now);
		check(target);
	}
	if (!target->failure)
		end(target);
	if (getenv("TRACE"))
		for (int i = 0; i < CW_TCPIP_COUNTERS; i++)
			if (cw_tcpip_counter(target->core, i))
				printf("%8" PRIu64 " %s\n", cw_tcpip_counter(target->core, i), cw_tcpip_counter_name(i));
	failure = target->failure;
	unmake(target);
	free(target);
	return failure;
}

int main(int argc, char **argv)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	return fuzz_seeds("fuzz_datagrams", STEPS, run, argc, argv);
}
