/* The peer's datagrams. */
#include "peer.h"

#include <poll.h>
#include <sys/time.h>

static __thread unsigned char bytes[DATAGRAM_ROOM];

static void open_at(int *fd, const struct peer_order *order, struct peer_answer *answer)
{
	struct timeval limit = {3, 0};

	*fd = socket(order->address.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	setsockopt(*fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	answer->result = bind(*fd, (const struct sockaddr *)&order->address, order->length);
	answer->length = sizeof(answer->address);
	if (!answer->result)
		answer->result = getsockname(*fd, (struct sockaddr *)&answer->address, &answer->length);
}

static long give_one(int fd, uint64_t *sent, const struct peer_order *order)
{
	long done;

	content_fill(1, *sent * DATAGRAM_ROOM, bytes, (size_t)order->count);
	done = sendto(fd, bytes, (size_t)order->count, order->flags | MSG_NOSIGNAL,
		      order->length ? (const struct sockaddr *)&order->address : NULL, order->length);
	*sent += done >= 0;
	return done;
}

static long take_one(int fd, uint64_t *taken, const struct peer_order *order, struct peer_answer *answer)
{
	long done;

	answer->length = sizeof(answer->address);
	done = recvfrom(fd, bytes, sizeof(bytes), order->flags, (struct sockaddr *)&answer->address, &answer->length);
	if (done >= 0) {
		answer->bad |= content_good(0, *taken * DATAGRAM_ROOM, bytes, (size_t)done) < (size_t)done;
		*taken += !(order->flags & MSG_PEEK);
	}
	return done;
}

void peer_udp_serve(int *fd, uint64_t *sent, uint64_t *taken, const struct peer_order *order, struct peer_answer *answer)
{
	struct peer_order back = *order;

	switch (order->does) {
	case PEER_UDP_OPEN:
		*sent = *taken = 0;
		open_at(fd, order, answer);
		break;
	case PEER_UDP_CONNECT:
		answer->result = connect(*fd, (const struct sockaddr *)&order->address, order->length);
		break;
	case PEER_UDP_SEND:
		for (long i = 0; i <= order->more && answer->result >= 0; i++)
			answer->result = give_one(*fd, sent, order);
		break;
	case PEER_UDP_RECV:
		answer->result = take_one(*fd, taken, order, answer);
		break;
	default:
		for (long i = 0; i < order->count; i++) {
			if (take_one(*fd, taken, order, answer) < 0)
				break;
			back.address = answer->address;
			back.length = answer->length;
			back.count = 8;
			if (give_one(*fd, sent, &back) == 8)
				answer->result++;
		}
	}
}
