/* An instance: its memory, and what comes in and goes out. */
#include "transport/tcpip/core.h"

#include "transport/tcpip/duplicate.h"
#include "transport/tcpip/ip_input.h"
#include "transport/tcpip/ip_output.h"
#include "transport/tcpip/tcp.h"
#include "transport/tcpip/tcp_half_open.h"
#include "transport/tcpip/tcp_time_wait.h"
#include "transport/tcpip/udp_socket.h"

#define ALIGN 64u

struct layout {
	size_t connections, listeners, half_open, time_waits, sent, blocks, replies, buckets, control, addresses, reassemblies, buffers,
		paths, udp, udp_buckets, groups, memberships, neighbours, waiting, waiting_buffers, size;
	uint32_t bucket_count, udp_bucket_count;
};

static size_t lay(size_t *at, size_t size, size_t count)
{
	size_t place = *at;

	*at += (size * count + ALIGN - 1) & ~(size_t)(ALIGN - 1);
	return place;
}

/* Whole records of the ring: its size is a multiple of their alignment. */
static uint32_t control_bytes(const struct cw_tcpip_config *config)
{
	return config->control_bytes & ~(uint32_t)(ALIGN - 1);
}

static struct layout layout_of(const struct cw_tcpip_config *config)
{
	struct layout layout;
	size_t at = 0;

	layout.bucket_count = cw_flow_table_buckets(config->connections + config->half_open + config->time_waits);
	lay(&at, sizeof(struct cw_tcpip), 1);
	layout.connections = lay(&at, sizeof(struct cw_tcp), config->connections);
	layout.listeners = lay(&at, sizeof(struct cw_tcp_listener), config->listeners);
	layout.half_open = lay(&at, sizeof(struct cw_half_open), config->half_open);
	layout.time_waits = lay(&at, sizeof(struct cw_time_wait), config->time_waits);
	layout.sent = lay(&at, sizeof(struct cw_sent), config->sent);
	layout.blocks = lay(&at, sizeof(struct cw_tcp_block), config->blocks);
	layout.replies = lay(&at, sizeof(struct cw_reply), cw_max32(config->replies, 1));
	layout.buckets = lay(&at, sizeof(struct cw_flow *), layout.bucket_count);
	layout.control = lay(&at, 1, control_bytes(config));
	layout.addresses = lay(&at, sizeof(struct cw_address), config->addresses);
	layout.reassemblies = lay(&at, sizeof(struct cw_reassembly), config->reassemblies);
	layout.buffers = lay(&at, CW_REASSEMBLY_BUFFER, config->reassemblies);
	layout.paths = lay(&at, sizeof(struct cw_path), config->path_mtus);
	layout.udp_bucket_count = cw_flow_table_buckets(config->udp_sockets);
	layout.udp = lay(&at, sizeof(struct cw_udp), config->udp_sockets);
	layout.udp_buckets = lay(&at, sizeof(struct cw_flow *), layout.udp_bucket_count);
	layout.groups = lay(&at, sizeof(struct cw_group), config->groups);
	layout.memberships = lay(&at, sizeof(struct cw_membership), config->memberships);
	layout.neighbours = lay(&at, sizeof(struct cw_neighbour), config->neighbours);
	layout.waiting = lay(&at, sizeof(struct cw_waiting), config->neighbour_packets);
	layout.waiting_buffers = lay(&at, cw_link_buffer(config), config->neighbour_packets);
	layout.size = at;
	return layout;
}

size_t cw_tcpip_size(const struct cw_tcpip_config *config)
{
	return layout_of(config).size;
}

static uint32_t share(uint32_t wanted, uint32_t pool)
{
	return wanted ? wanted : cw_max32(pool / 8, 64);
}

static void complete(struct cw_tcpip_config *config)
{
	config->replies = cw_max32(config->replies, 1);
	config->challenge_rate = config->challenge_rate ? config->challenge_rate : 1000;
	config->icmp_rate = config->icmp_rate ? config->icmp_rate : 1000;
	config->sent_a_connection = share(config->sent_a_connection, config->sent);
	config->blocks_a_connection = share(config->blocks_a_connection, config->blocks);
	config->mtu = config->mtu < 576 ? 576 : config->mtu;
	if (config->frame_max < config->mtu)
		config->frame_max = config->mtu;
}

/* Three keys from one secret, so that what one shows says nothing of the others. */
static struct cw_siphash_key derive(const uint8_t secret[32], uint64_t what)
{
	struct cw_siphash_key from, key;

	memcpy(&from, secret + (what & 1 ? 16 : 0), sizeof(from));
	key.k0 = cw_siphash(&from, &what, sizeof(what));
	what = ~what;
	key.k1 = cw_siphash(&from, &what, sizeof(what));
	return key;
}

struct cw_tcpip *cw_tcpip_init(void *memory, const struct cw_tcpip_config *config, uint64_t now)
{
	struct layout layout = layout_of(config);
	unsigned char *base = memory;
	struct cw_tcpip *core = memory;

	core->config = *config;
	complete(&core->config);
	core->now = now;
	cw_wheel_init(&core->wheel, now);
	cw_pool_init(&core->connection_pool, base + layout.connections, sizeof(struct cw_tcp), config->connections);
	cw_pool_init(&core->listener_pool, base + layout.listeners, sizeof(struct cw_tcp_listener), config->listeners);
	cw_pool_init(&core->half_open_pool, base + layout.half_open, sizeof(struct cw_half_open), config->half_open);
	cw_pool_init(&core->time_wait_pool, base + layout.time_waits, sizeof(struct cw_time_wait), config->time_waits);
	cw_pool_init(&core->sent_pool, base + layout.sent, sizeof(struct cw_sent), config->sent);
	cw_pool_init(&core->block_pool, base + layout.blocks, sizeof(struct cw_tcp_block), config->blocks);
	core->reply = (struct cw_reply *)(void *)(base + layout.replies);
	core->table.bucket = (struct cw_flow **)(void *)(base + layout.buckets);
	core->table.mask = layout.bucket_count - 1;
	core->table.secret = derive(config->secret, 0);
	core->isn_secret = derive(config->secret, 1);
	core->cookie_secret = derive(config->secret, 2);
	core->random = (uint32_t)derive(config->secret, 3).k0;
	core->identification_secret = derive(config->secret, 4);
	core->control.ring = base + layout.control;
	core->control.size = control_bytes(config);
	core->random_secret = derive(config->secret, 6);
	core->reassemblies.secret = derive(config->secret, 8);
	cw_limit_init(&core->error_limit, core->config.icmp_rate, now);
	cw_limit_init(&core->echo_limit, core->config.icmp_rate, now);
	cw_addresses_init(&core->addresses, base + layout.addresses, config->addresses);
	cw_reassembly_init(core, base + layout.reassemblies, base + layout.buffers);
	cw_paths_init(&core->paths, base + layout.paths, config->path_mtus);
	cw_pool_init(&core->udp_pool, base + layout.udp, sizeof(struct cw_udp), config->udp_sockets);
	core->udp_table.bucket = (struct cw_flow **)(void *)(base + layout.udp_buckets);
	core->udp_table.mask = layout.udp_bucket_count - 1;
	core->udp_table.secret = derive(config->secret, 10);
	for (unsigned i = 0; i < CW_UDP_BUCKETS; i++) {
		cw_list_init(&core->udp_ports[i]);
		cw_list_init(&core->udp_bound[i]);
	}
	cw_list_init(&core->udp_transmit);
	cw_list_init(&core->udp_events);
	cw_groups_init(core, base + layout.groups, base + layout.memberships);
	cw_link_init(core, base + layout.neighbours, base + layout.waiting, base + layout.waiting_buffers);
	cw_list_init(&core->transmit);
	cw_list_init(&core->events);
	cw_list_init(&core->time_wait);
	for (unsigned i = 0; i < CW_LISTENER_BUCKETS; i++)
		cw_list_init(&core->listeners[i]);
	return core;
}

void cw_tcpip_input(struct cw_tcpip *core, const struct cw_frame *frame, uint64_t now)
{
	cw_core_clock(core, now);
	cw_count(core, CW_TCPIP_FRAMES_IN);
	cw_link_reclaim(core);
	if (core->config.link == CW_LINK_ETHERNET)
		cw_link_input(core, frame);
	else
		cw_ip_input(core, frame, false);
}

void cw_tcpip_advance(struct cw_tcpip *core, uint64_t now)
{
	struct cw_timer *timer;

	cw_core_clock(core, now);
	cw_link_reclaim(core);
	while ((timer = cw_wheel_expired(&core->wheel, core->now))) {
		switch (timer->owner) {
		case CW_FLOW_TCP:
			cw_tcp_timer_expired(cw_entry(timer, struct cw_tcp, timer));
			break;
		case CW_FLOW_HALF_OPEN:
			cw_half_open_expired(cw_entry(timer, struct cw_half_open, timer));
			break;
		case CW_FLOW_TIME_WAIT:
			cw_time_wait_expired(cw_entry(timer, struct cw_time_wait, timer));
			break;
		case CW_TIMER_ADDRESS:
			cw_duplicate_expired(cw_entry(timer, struct cw_address, timer));
			break;
		case CW_TIMER_GROUP_CHANGE:
			cw_group_change_expired(cw_entry(timer, struct cw_group, change));
			break;
		case CW_TIMER_GROUP_RESPONSE:
			cw_group_response_expired(cw_entry(timer, struct cw_group, response));
			break;
		case CW_TIMER_GROUP_GENERAL:
			cw_group_general_expired(cw_entry(timer, struct cw_group_family, general));
			break;
		case CW_TIMER_NEIGHBOUR:
			cw_neighbour_expired(cw_entry(timer, struct cw_neighbour, timer));
			break;
		case CW_TIMER_REASSEMBLY:
			cw_reassembly_expired(core, cw_entry(timer, struct cw_reassembly, timer));
			break;
		}
	}
}

uint64_t cw_tcpip_timer(const struct cw_tcpip *core)
{
	return cw_wheel_next(&core->wheel);
}

bool cw_tcpip_output(struct cw_tcpip *core, struct cw_frame *frame, unsigned char header[CW_HEADER_ROOM], uint64_t now)
{
	cw_core_clock(core, now);
	if (!(core->config.link == CW_LINK_ETHERNET ? cw_link_output : cw_ip_output)(core, frame, header))
		return false;
	cw_count(core, CW_TCPIP_FRAMES_OUT);
	return true;
}

bool cw_tcpip_event(struct cw_tcpip *core, struct cw_tcp_event *event)
{
	struct cw_tcp *tcp;

	if (core->unsupplied) {
		core->unsupplied = 0;
		*event = (struct cw_tcp_event){.events = CW_TCP_UNSUPPLIED};
		return true;
	}
	if (cw_list_empty(&core->events))
		return false;
	tcp = cw_entry(core->events.next, struct cw_tcp, event);
	cw_list_remove(&tcp->event);
	*event = (struct cw_tcp_event){
		.connection = tcp,
		.owner = tcp->owner,
		.events = tcp->events,
		.received = cw_tcp_received(tcp),
		.acknowledged = cw_tcp_acknowledged(tcp),
		.urgent = tcp->received_urgent ? tcp->received_urgent - tcp->receive_origin : 0,
		.receive_wanted = tcp->tuning.receive_wanted,
		.send_wanted = tcp->tuning.send_wanted,
		.error = tcp->error,
	};
	tcp->events = 0;
	tcp->error = 0;
	if (event->events & CW_TCP_GONE)
		cw_tcp_free(tcp);
	return true;
}

uint64_t cw_tcpip_counter(const struct cw_tcpip *core, enum cw_tcpip_counter which)
{
	return core->counter[which];
}

const char *cw_tcpip_counter_name(enum cw_tcpip_counter which)
{
	static const char *const names[] = {
#define CW_COUNTER(name, text) [CW_TCPIP_##name] = text,
#include "transport/tcpip/counters.def"
#undef CW_COUNTER
	};

	return names[which];
}
