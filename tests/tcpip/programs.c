/* The programs at both ends of the streams: what they do, and what the cores tell them. */
#include <errno.h>
#include <stdlib.h>

#include "transport/tcpip/tcp.h"
#include "world.h"

static unsigned char content(const struct program *program, uint64_t offset)
{
	uint64_t x = (offset / 7 + 1) * 0x9e3779b97f4a7c15ull + program->stream * 0x1234567ull + program->side * 77u + offset;

	return (unsigned char)(x >> 29 ^ x);
}

void world_fail(struct world *world, const char *why)
{
	if (!world->failure)
		world->failure = why;
}

static void program_write(struct world *world, struct program *program)
{
	uint64_t room = program->send_size - (program->written - program->acknowledged), left = program->to_send - program->written;
	uint64_t some_bytes = cw_min64(cw_min64(room, left), 1 + below(world, program->send_size));
	bool more;

	for (uint64_t i = 0; i < some_bytes; i++)
		program->send[(program->written + i) & (program->send_size - 1)] = content(program, program->written + i);
	program->written += some_bytes;
	more = chance(world, 0.1);
	cw_tcp_written(program->connection, program->written, more, world->now);
	if (some_bytes && program->urgent && chance(world, 0.3)) {
		program->urgent_at = program->written;
		cw_tcp_urgent(program->connection, world->now);
	}
	if (program->written == program->to_send && !program->shut && chance(world, 0.5)) {
		program->shut = true;
		cw_tcp_shutdown(program->connection, world->now);
	}
}

static void program_read(struct world *world, struct program *program)
{
	const struct program *other = program->peer;
	uint64_t unread = program->received - program->read, some_bytes = cw_min64(unread, 1 + below(world, program->receive_size));

	for (uint64_t i = 0; i < some_bytes; i++)
		if (program->receive[(program->read + i) & (program->receive_size - 1)] != content(other, program->read + i)) {
			world_fail(world, "a byte isn't the one that was sent");
			return;
		}
	program->read += some_bytes;
	if (some_bytes && !program->gone)
		cw_tcp_read(program->connection, program->read, world->now);
}

void program_step(struct world *world, struct program *program)
{
	uint64_t before = program->read + program->written;

	program->next = CW_NEVER; /* until an event comes */
	if (program->read < program->received)
		program_read(world, program);
	if (program->gone && program->read < program->received)
		program->next = world->now + 1;
	if (program->gone || !program->connected)
		return;
	program_write(world, program);
	if (program->shut && program->peer_closed && program->read == program->received && !program->closed) {
		program->closed = true;
		program->lingers = chance(world, 0.3);
		if (program->lingers)
			cw_tcp_linger(program->connection, 1 + (uint32_t)below(world, 1u << below(world, 20)), world->now);
		else
			cw_tcp_close(program->connection, world->now);
	}
	if (!program->closed && (program->read + program->written != before || program->written < program->to_send || !program->shut)) {
		program->next = world->now + 1 + below(world, program->pause + 1);
		if (program->read + program->written == before)
			program->next += below(world, 30000);
		if (chance(world, 0.005))
			program->next += below(world, 3000000);
	}
}

/* Rings were supplied before it was known which stream would have them. */
static void take_accepted(struct world *world, struct cw_tcp_event *event)
{
	struct program *program = event->owner, *other = &world->program[event->connection->flow.key.remote_port - 10000u][0];

	/* A cookie has no memory: its acknowledgement, kept back in the network until the connection has ended, begins another one (RFC
	 * 4987 3.6). That takes the rings of a stream to come, so this world says nothing more. */
	if (other->peer) {
		world->ghost = true;
		return;
	}
	program->connection = event->connection;
	program->connected = program->active = true;
	program->peer = other;
	other->peer = program;
	world->accepted++;
}

/*
 * The acknowledgements of its FIN were lost, one after the other, until the other end's TIME-WAIT was over: then a reset answers. Both have
 * all that was sent. No length of TIME-WAIT rules it out, for retransmissions are at last two minutes apart.
 */
static bool outlived_time_wait(const struct world *world, const struct program *program)
{
	const struct program *other = program->peer;
	uint64_t lasts = 1000ull * world->settings[1 - program->side].time_wait_ms;

	return other && other->gone && !other->error && other->received == program->to_send && program->peer_closed &&
	       program->received == other->to_send && world->now - other->gone_at >= lasts;
}

/* Nobody has ever heard of it: all of its SYNs or of the answers to them were lost, or dropped for want of room. */
static bool never_opened(const struct world *world, const struct program *program)
{
	return program->side == 0 && !program->connected && !program->peer && program->error == ETIMEDOUT &&
	       (world->path[0].lost || world->path[1].lost || cw_tcpip_counter(world->core[1], CW_TCPIP_REPLIES_DROPPED) ||
		cw_tcpip_counter(world->core[0], CW_TCPIP_CHECKSUM) || cw_tcpip_counter(world->core[1], CW_TCPIP_CHECKSUM));
}

/* A ring that is to be larger, if this program likes. */
static void grow(struct world *world, struct program *program, const struct cw_tcp_event *event)
{
	const struct cw_tcp_settings *settings = &world->settings[program->side];
	unsigned char *ring;

	if (event->receive_wanted > cw_max32(settings->receive_most, program->receive_size) ||
	    event->send_wanted > cw_max32(settings->send_most, program->send_size))
		world_fail(world, "a ring is asked for that is larger than was allowed");
	if (event->receive_wanted > program->receive_size && chance(world, 0.8)) {
		ring = malloc(event->receive_wanted);
		if (!ring || !cw_tcp_grow_receive(program->connection, ring, event->receive_wanted, world->now))
			world_fail(world, "a ring can't grow");
		free(program->receive);
		program->receive = ring;
		program->receive_size = event->receive_wanted;
		world->grown++;
	}
	if (event->send_wanted > program->send_size && chance(world, 0.8)) {
		ring = malloc(event->send_wanted);
		if (!ring || !cw_tcp_grow_send(program->connection, ring, event->send_wanted, world->now))
			world_fail(world, "a ring can't grow");
		free(program->send);
		program->send = ring;
		program->send_size = event->send_wanted;
		world->grown++;
	}
}

static void take_event(struct world *world, struct cw_tcp_event *event)
{
	struct program *program;

	if (event->events & CW_TCP_UNSUPPLIED)
		return;
	if (event->events & CW_TCP_ACCEPTED)
		take_accepted(world, event);
	/* Who nobody knows, in a world that says nothing more. */
	if (world->ghost)
		return;
	program = event->owner;
	if (program->next == CW_NEVER)
		program->next = world->now + below(world, program->pause + 1);
	if (event->events & CW_TCP_CONNECTED)
		program->connected = true;
	if (event->received < program->received || event->acknowledged < program->acknowledged || event->acknowledged > program->written)
		world_fail(world, "an index told goes back, or too far");
	if (event->urgent < program->urgent_told || (event->urgent && event->urgent > program->peer->urgent_at))
		world_fail(world, "an urgent byte is told that isn't one");
	program->received = event->received;
	program->acknowledged = event->acknowledged;
	program->urgent_told = event->urgent;
	if (event->events & CW_TCP_PEER_CLOSED)
		program->peer_closed = true;
	if (event->events & CW_TCP_GROW && !(event->events & CW_TCP_GONE))
		grow(world, program, event);
	if (event->events & CW_TCP_FAILED) {
		program->error = event->error;
		/* Whose TIME-WAIT had to go early answers the other's FIN with a reset. */
		if (never_opened(world, program))
			world->never_opened++;
		else if (!cw_tcpip_counter(world->core[1 - program->side], CW_TCPIP_TIME_WAIT_RECYCLED) &&
			 !outlived_time_wait(world, program))
			world_fail(world, "a connection failed");
	}
	if (event->events & CW_TCP_LINGERED) {
		if (!program->lingers || (!event->error && program->acknowledged != program->to_send))
			world_fail(world, "it says that all has arrived");
		program->lingers = false;
	}
	if (event->events & CW_TCP_GONE) {
		if (program->lingers && !event->error)
			world_fail(world, "who closed waits in vain");
		program->gone = true;
		program->gone_at = world->now;
		program->connection = NULL;
	}
}

void world_take_events(struct world *world, unsigned side)
{
	struct cw_tcp_event event;

	while (!world->failure && cw_tcpip_event(world->core[side], &event))
		take_event(world, &event);
}
