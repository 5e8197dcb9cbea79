/*
 * Flows of datagrams: a program shows a socket, and says that it sends to an address, or receives from one. Where a datagram from the one
 * to the other would go is the kernel's decision; so when both ends have been shown, the kernel is asked, by the same look-up that it makes
 * for each datagram (sock_diag). That the answer will stay the same is known only of sockets whose address nobody else can bind: those
 * without SO_REUSEADDR and SO_REUSEPORT, whatever others were bound to it before.
 */
#include <linux/filter.h>
#include <netinet/udp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "service.h"
#include "sockets/datagram.h"

#ifndef SO_NETNS_COOKIE
#define SO_NETNS_COOKIE 71
#endif

/* What both ends know of a flow; plain bytes, compared whole. */
struct key {
	struct in6_addr from;
	uint16_t from_port, to_port;
	uint32_t sends; /* who says so */
};

struct cw_flow_offer {
	struct key key;
	struct in6_addr to; /* of a receiver: the address that it is bound to */
	bool anywhere;      /* of a receiver: bound to none */
	uint64_t cookie;
	struct cw_token token;
	struct cw_program *program;
	UT_hash_handle hh, hh_index;
};

static struct cw_flow_offer *offers;

static bool has_filter(int fd)
{
	socklen_t length = 0;

	return getsockopt(fd, SOL_SOCKET, SO_GET_FILTER, NULL, &length) != 0 || length != 0;
}

static bool is_plain(int fd)
{
	int domain = cw_socket_integer(fd, SO_DOMAIN);

	return (domain == AF_INET || domain == AF_INET6) && cw_socket_integer(fd, SO_PROTOCOL) == IPPROTO_UDP &&
	       cw_socket_integer(fd, SO_TYPE) == SOCK_DGRAM && cw_socket_integer(fd, SO_REUSEADDR) == 0 &&
	       cw_socket_integer(fd, SO_REUSEPORT) == 0 && cw_socket_integer(fd, SO_BINDTOIFINDEX) == 0 &&
	       cw_socket_integer(fd, SO_MARK) <= 0 && !has_filter(fd) && cw_socket_cookie(fd, SO_NETNS_COOKIE) == service.netns;
}

/* The address that the kernel writes into what is sent from any address of this node to one of its own. */
static bool source_for(const struct in6_addr *to, uint16_t port, struct in6_addr *from)
{
	struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_port = htons(port), .sin6_addr = *to};
	struct sockaddr_in four = {.sin_family = AF_INET, .sin_port = htons(port)};
	bool is_four = IN6_IS_ADDR_V4MAPPED(to), fine;
	struct sockaddr_storage name;
	socklen_t length = sizeof(name);
	uint16_t ignored;
	int fd = socket(is_four ? AF_INET : AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return false;
	memcpy(&four.sin_addr, &to->s6_addr[12], 4);
	fine = connect(fd, is_four ? (struct sockaddr *)&four : (struct sockaddr *)&six, is_four ? sizeof(four) : sizeof(six)) == 0 &&
	       getsockname(fd, (struct sockaddr *)&name, &length) == 0 && cw_socket_address(&name, from, &ignored);
	close(fd);
	return fine;
}

/* What the kernel says of the descriptor, and the message of the other end. */
static bool inspect(struct cw_flow_offer *offer, const struct cw_message *message, int fd)
{
	const struct in6_addr *other = &message->flow.address;
	uint16_t other_port = (uint16_t)message->flow.port, port;
	struct in6_addr own, connected;
	struct sockaddr_storage name;
	socklen_t length = sizeof(name);

	offer->cookie = cw_socket_cookie(fd, SO_COOKIE);
	if (!is_plain(fd) || offer->cookie != message->flow.cookie || !message->flow.port || message->flow.port > 65535 ||
	    cw_socket_is_any(other) || getsockname(fd, (struct sockaddr *)&name, &length) < 0 || !cw_socket_address(&name, &own, &port) ||
	    !port)
		return false;
	length = sizeof(name);
	if (getpeername(fd, (struct sockaddr *)&name, &length) == 0) {
		uint16_t connected_port;

		if (!cw_socket_address(&name, &connected, &connected_port) || connected_port != other_port ||
		    memcmp(&connected, other, sizeof(connected)) != 0)
			return false;
	}
	offer->key.sends = message->flow.sends != 0;
	if (offer->key.sends) {
		offer->key.from = own;
		if (cw_socket_is_any(&own) && !source_for(other, other_port, &offer->key.from))
			return false;
		offer->key.from_port = port;
		offer->key.to_port = other_port;
		offer->to = *other;
	} else {
		offer->key.from = *other;
		offer->key.from_port = other_port;
		offer->key.to_port = port;
		offer->to = own;
		offer->anywhere = cw_socket_is_any(&own);
	}
	return true;
}

static struct cw_flow_offer *find(const struct key *key)
{
	struct cw_flow_offer *offer;

	HASH_FIND(hh, offers, key, sizeof(*key), offer);
	return offer;
}

static struct cw_flow_offer *find_index(const struct cw_program *program, uint32_t index)
{
	struct cw_flow_offer *offer;

	HASH_FIND(hh_index, program->flow_offers, &index, sizeof(index), offer);
	return offer;
}

static void drop(struct cw_flow_offer *offer)
{
	HASH_DELETE(hh, offers, offer);
	HASH_DELETE(hh_index, offer->program->flow_offers, offer);
	free(offer);
}

static struct cw_offer end_of(const struct cw_flow_offer *offer, const struct cw_tuple *tuple)
{
	return (struct cw_offer){.tuple = *tuple, .cookie = offer->cookie, .token = offer->token, .program = offer->program};
}

/* Would the kernel give this flow's datagrams to that receiver, and what comes back to that sender? */
static bool kernel_agrees(const struct cw_flow_offer *sender, const struct cw_flow_offer *receiver)
{
	struct cw_tuple there = {.local = sender->key.from,
				 .remote = sender->to,
				 .local_port = sender->key.from_port,
				 .remote_port = sender->key.to_port,
				 .netns = service.netns};
	struct cw_tuple back = {.local = sender->to,
				.remote = sender->key.from,
				.local_port = sender->key.to_port,
				.remote_port = sender->key.from_port,
				.netns = service.netns};

	return cw_diag_receives(&there, receiver->cookie) && cw_diag_receives(&back, sender->cookie);
}

static bool match(struct cw_flow_offer *offer)
{
	struct key key = offer->key;
	struct cw_flow_offer *other, *sender, *receiver;
	struct cw_offer ends[2];
	struct cw_tuple tuple;

	key.sends = !key.sends;
	other = find(&key);
	if (!other)
		return false;
	sender = offer->key.sends ? offer : other;
	receiver = offer->key.sends ? other : offer;
	if (!receiver->anywhere && memcmp(&receiver->to, &sender->to, sizeof(sender->to)) != 0)
		return false;
	if (sender->cookie == receiver->cookie || !kernel_agrees(sender, receiver)) {
		cw_tally(CW_SERVICE_offers_stale);
		drop(other);
		return false;
	}
	memset(&tuple, 0, sizeof(tuple));
	tuple.local = sender->key.from;
	tuple.remote = sender->to;
	tuple.local_port = sender->key.from_port;
	tuple.remote_port = sender->key.to_port;
	tuple.protocol = IPPROTO_UDP;
	tuple.netns = service.netns;
	ends[0] = end_of(sender, &tuple);
	ends[1] = end_of(receiver, &tuple);
	if (!cw_slot_give(&ends[0], &ends[1])) {
		cw_tally(CW_SERVICE_no_memory);
		return false;
	}
	drop(other);
	drop(offer);
	return true;
}

void cw_flow_offered(struct cw_program *program, const struct cw_message *message, int fd)
{
	struct cw_flow_offer *offer = calloc(1, sizeof(*offer)), *old;
	bool fine = offer && inspect(offer, message, fd);

	cw_close_foreign(program, fd);
	cw_tally(CW_SERVICE_offers);
	/* What it may be the receiver of is what it says itself: the numbers that a program has bound how many offers there are. */
	if ((message->flow.token.index ^ CW_FLOW_TOKEN) >= CW_FLOWS) {
		free(offer);
		cw_nonsense(program);
		cw_tally(CW_SERVICE_offers_refused);
		return;
	}
	if (!fine) {
		cw_tally(CW_SERVICE_offers_elsewhere);
		free(offer);
		return;
	}
	offer->token = message->flow.token;
	offer->program = program;
	old = find_index(program, offer->token.index);
	if (old)
		drop(old);
	old = find(&offer->key); /* of an earlier socket with this address */
	if (old)
		drop(old);
	HASH_ADD(hh, offers, key, sizeof(offer->key), offer);
	HASH_ADD(hh_index, program->flow_offers, token.index, sizeof(offer->token.index), offer);
	match(offer);
}

void cw_flow_withdrawn(struct cw_program *program, const struct cw_message *message)
{
	struct cw_flow_offer *offer = find_index(program, message->offer.token.index);

	if (offer && offer->token.generation == message->offer.token.generation)
		drop(offer);
}

void cw_flow_offers_drop(struct cw_program *program)
{
	struct cw_flow_offer *offer, *next;

	HASH_ITER(hh_index, program->flow_offers, offer, next)
	drop(offer);
}
