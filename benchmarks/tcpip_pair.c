#include "tcpip_pair.h"

#include <string.h>

#define PORT 80u

static void *allocate(size_t size)
{
	void *memory = aligned_alloc(64, (size + 63) & ~(size_t)63);

	if (!memory)
		bench_fail("aligned_alloc");
	return memset(memory, 0, size);
}

void pair_make(struct pair_end *end, const struct cw_tcpip_config *config, bool rings, uint64_t now)
{
	memset(end, 0, sizeof(*end));
	end->memory = allocate(cw_tcpip_size(config));
	end->core = cw_tcpip_init(end->memory, config, now);
	end->send = rings ? allocate(PAIR_RING) : NULL;
	end->receive = rings ? allocate(PAIR_RING) : NULL;
}

void pair_unmake(struct pair_end *end)
{
	free(end->memory);
	free(end->send);
	free(end->receive);
}

struct cw_ip_endpoint pair_endpoint(unsigned host, uint16_t port)
{
	struct cw_ip_endpoint made = {.port = port};

	made.address.octet[10] = made.address.octet[11] = 0xff;
	made.address.octet[12] = 10;
	made.address.octet[13] = (uint8_t)(host >> 16);
	made.address.octet[14] = (uint8_t)(host >> 8);
	made.address.octet[15] = (uint8_t)host;
	return made;
}

void pair_take_events(struct pair_end *end)
{
	struct cw_tcp_event event;

	while (cw_tcpip_event(end->core, &event)) {
		if (event.events & (CW_TCP_CONNECTED | CW_TCP_ACCEPTED))
			end->connection = event.connection;
		end->accepted += !!(event.events & CW_TCP_ACCEPTED);
		end->gone += !!(event.events & CW_TCP_GONE);
		end->received = event.received;
		end->acknowledged = event.acknowledged;
	}
}

uint64_t pair_hand_over(struct pair_end *from, struct pair_end *to, uint64_t now)
{
	unsigned char header[CW_HEADER_ROOM];
	struct cw_frame frame;
	uint64_t frames = 0;

	while (cw_tcpip_output(from->core, &frame, header, now)) {
		cw_tcpip_input(to->core, &frame, now);
		frames++;
	}
	return frames;
}

void pair_connect(struct pair_end *a, struct pair_end *b, uint64_t now)
{
	struct cw_ip_endpoint local = pair_endpoint(1, 2000), remote = pair_endpoint(2, PORT);
	struct cw_tcp_rings here = {a->send, PAIR_RING, a->receive, PAIR_RING, a}, there = {b->send, PAIR_RING, b->receive, PAIR_RING, b};
	struct cw_tcp_settings settings = {.receive_size = PAIR_RING};
	struct cw_tcp_listener *listener = cw_tcp_listen(b->core, &remote, &settings);

	cw_tcp_supply(listener, &there);
	cw_tcp_connect(a->core, &local, &remote, &here, NULL, now);
	while (!a->connection || !b->connection) {
		pair_hand_over(a, b, now);
		pair_hand_over(b, a, now);
		pair_take_events(a);
		pair_take_events(b);
	}
}

struct cw_tcpip_config pair_config(void)
{
	return (struct cw_tcpip_config){.connections = 4,
					.listeners = 1,
					.half_open = 16,
					.time_waits = 4096,
					.sent = 4096,
					.blocks = 64,
					.replies = 64,
					.mtu = 1500};
}
