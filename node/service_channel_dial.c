/*
 * Listening and dialling. Both nodes of a pair dial, since one of them may stand behind a translator or a filter; which of two connections
 * is kept is decided when they meet. A node that comes back dials at once, so whoever waits for it may try seldom.
 */
#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <unistd.h>

#include "service_channel.h"

#define CONNECT_NS      2000000000ull /* then the next address */
#define FIRST_PAUSE_NS  200000000ull
#define LONGEST_SHIFTS  7 /* 25 s */
#define LISTEN_AGAIN_NS 2000000000ull
#define STRANGERS       64 /* connections of whom we don't know yet who they are; */
#define OF_ONE_ADDRESS  8  /* of those, from one address (of IPv6: one network) */
#define TURN            16

/* ---- listening ---- */

static struct cw_source doors[CW_CLUSTER_ADDRESSES];
static struct sockaddr_storage heard[CW_CLUSTER_ADDRESSES]; /* the addresses that the doors are for */
static uint32_t wanted;
static bool complained;

static void listen_again(struct cw_timer *timer)
{
	cw_channel_listen();
}

static struct cw_timer again = {.expired = listen_again};

/* Whom is it that floods: an address of IPv4, or what one has of IPv6. */
static bool same_origin(const struct sockaddr_storage *one, const struct sockaddr_storage *other)
{
	struct in6_addr a, b;

	if (!cw_address_plain((const struct sockaddr *)one, &a) || !cw_address_plain((const struct sockaddr *)other, &b))
		return false;
	return memcmp(&a, &b, IN6_IS_ADDR_V4MAPPED(&a) ? 16 : 8) == 0;
}

static bool of_a_node(const struct sockaddr_storage *address)
{
	struct in6_addr plain;

	return cw_address_plain((const struct sockaddr *)address, &plain) && cw_cluster_node_of_address(&plain);
}

/* Nodes' own addresses keep their share when strangers have taken all of theirs. */
static bool too_many(const struct sockaddr_storage *address)
{
	uint32_t strangers = 0, alike = 0;
	const struct cw_channel *channel;

	DL_FOREACH(cw_channels, channel)
	if (!channel->initiator && channel->phase != CW_CHANNEL_UP && !channel->met) {
		strangers++;
		alike += same_origin(&channel->address, address);
	}
	return alike >= OF_ONE_ADDRESS || (strangers >= STRANGERS && !of_a_node(address));
}

static void set_options(int fd)
{
	int one = 1, idle = 10, pause = 5, tries = 3, limit = 20000;

	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	/* The kernel looks whether the other machine is there, so that an idle service sleeps. */
	setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof(idle));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &pause, sizeof(pause));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &tries, sizeof(tries));
	setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &limit, sizeof(limit));
}

static void turn_away(int fd)
{
	unsigned char frame[CW_FRAME_HEAD + CW_REFUSAL];

	cw_frame_head(frame, CW_FRAME_REFUSAL, CW_REFUSAL);
	cw_refusal_make(frame + CW_FRAME_HEAD, CW_REFUSED_too_many);
	if (send(fd, frame, sizeof(frame), MSG_DONTWAIT | MSG_NOSIGNAL) > 0)
		shutdown(fd, SHUT_WR);
	close(fd);
	cw_tally(CW_SERVICE_channel_strangers);
}

static void door_ready(struct cw_source *door, uint32_t events)
{
	for (int turn = 0; turn < TURN; turn++) {
		struct sockaddr_storage address = {0};
		socklen_t length = sizeof(address);
		struct cw_channel *channel = NULL;
		int fd = accept4(door->fd, (struct sockaddr *)&address, &length, SOCK_CLOEXEC | SOCK_NONBLOCK);

		if (fd < 0)
			break;
		if (too_many(&address)) {
			turn_away(fd);
			continue;
		}
		set_options(fd);
		channel = cw_channel_make(fd, CW_CHANNEL_ACCEPTED, &address);
		if (channel)
			cw_timer_set(&channel->deadline, CW_CHANNEL_DEADLINE_NS);
		else
			close(fd);
	}
}

static int bind_to(const struct sockaddr_storage *address)
{
	int fd = socket(address->ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), one = 1, error;

	if (fd < 0)
		return -1;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (address->ss_family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one));
	if (bind(fd, (const struct sockaddr *)address, cw_address_length(address)) == 0 && listen(fd, 256) == 0)
		return fd;
	error = errno;
	close(fd);
	errno = error;
	return -1;
}

static struct sockaddr_storage any_like(const struct sockaddr_storage *address)
{
	struct sockaddr_storage any = {.ss_family = address->ss_family};

	if (any.ss_family == AF_INET)
		((struct sockaddr_in *)&any)->sin_port = ((const struct sockaddr_in *)address)->sin_port;
	else
		((struct sockaddr_in6 *)&any)->sin6_port = ((const struct sockaddr_in6 *)address)->sin6_port;
	return any;
}

/* An address that others know this node by may be a translator's, or not be there yet: then all that are there. */
static int open_door(const struct sockaddr_storage *address)
{
	struct sockaddr_storage any = any_like(address);
	int fd = bind_to(address);

	if (fd < 0 && errno == EADDRNOTAVAIL)
		fd = bind_to(&any);
	return fd;
}

void cw_channel_deaf(void)
{
	for (uint32_t i = 0; i < wanted; i++)
		if (doors[i].fd >= 0) {
			cw_loop_remove(&doors[i]);
			close(doors[i].fd);
		}
	wanted = 0;
	cw_timer_stop(&again);
}

static bool as_before(void)
{
	const struct cw_cluster_node *self = &cw_cluster.self;

	for (uint32_t i = 0; i < self->addresses; i++)
		if (i >= wanted || !cw_address_same(&heard[i], &self->address[i]))
			return false;
	return wanted == self->addresses;
}

static void complain(const struct sockaddr_storage *address)
{
	char text[CW_ADDRESS_TEXT];

	cw_address_write(address, text);
	if (!complained)
		cw_cluster_log("can't listen at %s: %s (it will be tried again)", text, strerror(errno));
}

int cw_channel_listen(void)
{
	bool failed = false;

	if (!as_before())
		cw_channel_deaf();
	for (; wanted < cw_cluster.self.addresses; wanted++) {
		heard[wanted] = cw_cluster.self.address[wanted];
		doors[wanted] = (struct cw_source){.fd = -1, .ready = door_ready};
	}
	for (uint32_t i = 0; i < wanted; i++) {
		if (doors[i].fd >= 0)
			continue;
		doors[i].fd = open_door(&heard[i]);
		if (doors[i].fd >= 0 && cw_loop_add(&doors[i], EPOLLIN) == 0)
			continue;
		complain(&heard[i]);
		failed = true;
	}
	complained = failed;
	if (failed)
		cw_timer_set(&again, LISTEN_AGAIN_NS);
	return failed ? -1 : 0;
}

/* ---- dialling ---- */

static void redial(struct cw_timer *timer)
{
	cw_dial((struct cw_member *)((char *)timer - offsetof(struct cw_member, redial)));
}

static uint64_t with_jitter(uint64_t ns)
{
	uint32_t random = 0;

	if (getrandom(&random, sizeof(random), GRND_NONBLOCK) < 0)
		random = 0;
	return ns / 4 * 3 + ns / 2 * (random >> 16) / 65536;
}

void cw_dial_soon(struct cw_member *peer)
{
	unsigned shifts = peer->failures < LONGEST_SHIFTS ? peer->failures : LONGEST_SHIFTS;

	peer->failures++;
	peer->next_address = 0;
	peer->redial.expired = redial;
	cw_timer_set(&peer->redial, with_jitter(FIRST_PAUSE_NS << shifts));
}

static void note(struct cw_member *peer, const struct sockaddr_storage *address, const char *why)
{
	char text[CW_ADDRESS_TEXT];

	cw_address_write(address, text);
	snprintf(peer->trouble, sizeof(peer->trouble), "%.50s: %.60s", text, why);
}

/* NULL: this address is no good now. */
static struct cw_channel *dial_one(struct cw_member *peer, const struct sockaddr_storage *address)
{
	int fd = socket(address->ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct cw_channel *channel = NULL;

	if (fd >= 0) {
		set_options(fd);
		if (connect(fd, (const struct sockaddr *)address, cw_address_length(address)) == 0 || errno == EINPROGRESS)
			channel = cw_channel_make(fd, CW_CHANNEL_CONNECTING, address);
	}
	if (!channel) {
		note(peer, address, strerror(errno));
		if (fd >= 0)
			close(fd);
		return NULL;
	}
	channel->initiator = true;
	channel->target = peer;
	cw_timer_set(&channel->deadline, CONNECT_NS);
	return channel;
}

static void dial_next(struct cw_member *peer)
{
	while (peer->next_address < peer->node.addresses && !peer->dialled)
		peer->dialled = dial_one(peer, &peer->node.address[peer->next_address++]);
	if (!peer->dialled)
		cw_dial_soon(peer);
}

void cw_dial(struct cw_member *peer)
{
	cw_timer_stop(&peer->redial);
	if (peer->channel || peer->dialled)
		return;
	peer->next_address = 0;
	dial_next(peer);
}

void cw_dial_stop(struct cw_member *peer)
{
	cw_timer_stop(&peer->redial);
	if (peer->dialled) {
		peer->dialled->target = NULL;
		cw_channel_end(peer->dialled, "");
		peer->dialled = NULL;
	}
}

void cw_dial_failed(struct cw_channel *channel, const char *why)
{
	struct cw_member *peer = channel->target;

	channel->target = NULL;
	if (peer->dialled != channel)
		return;
	peer->dialled = NULL;
	if (!peer->channel) {
		note(peer, &channel->address, why);
		dial_next(peer);
	}
}

void cw_channel_connected(struct cw_channel *channel)
{
	int error = cw_socket_integer(channel->source.fd, SO_ERROR);

	if (error) {
		cw_channel_end(channel, strerror(error));
		return;
	}
	cw_timer_set(&channel->deadline, CW_CHANNEL_DEADLINE_NS);
	cw_loop_change(&channel->source, EPOLLIN);
	cw_meet_open(channel);
}
