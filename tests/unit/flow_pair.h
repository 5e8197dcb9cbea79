/* One flow between two real sockets of this process, moved without a service: for units that drive datagrams. */
#ifndef CW_TESTS_UNIT_FLOW_PAIR_H
#define CW_TESTS_UNIT_FLOW_PAIR_H

#include "pair.h"

#include <string.h>
#include <sys/time.h>

#include "sockets/datagram.h"

#define MOST_ENDS 8u

static struct {
	struct cw_arena arena, *mapped;
	int memory, fd[MOST_ENDS]; /* from the third on they are other senders, of some tests */
	struct sockaddr_in name[MOST_ENDS];
	struct cw_datagram *socket[MOST_ENDS];
	struct cw_flow *flow[2];
} ends;

static inline void open_end(unsigned end)
{
	struct sockaddr_in any = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct timeval limit = {.tv_usec = 100000};
	socklen_t size = sizeof(any);

	ends.fd[end] = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (bind(ends.fd[end], (struct sockaddr *)&any, sizeof(any)) < 0 ||
	    getsockname(ends.fd[end], (struct sockaddr *)&ends.name[end], &size) < 0 ||
	    setsockopt(ends.fd[end], SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) < 0)
		give_up("no socket: %m");
	cw_datagram_open(ends.fd[end], AF_INET, false);
	ends.socket[end] = cw_datagram_of(ends.fd[end]);
}

/* As a grant does it. */
static inline struct cw_flow *attach_between(unsigned own, unsigned other, uint32_t slot)
{
	struct cw_peer peer = cw_peer_of((struct sockaddr *)&ends.name[other], sizeof(ends.name[0]));
	struct cw_flow *flow = cw_flow_find(ends.socket[own], &peer, own != 1);

	flow->stage = CW_FLOW_OFFERED;
	ends.socket[own]->offered++;
	if (!cw_flow_attach((uint32_t)(flow - cw_flows), flow->generation, ends.mapped, slot, own == 1, &peer.address))
		give_up("end %u was not attached", own);
	return flow;
}

static inline void attach(unsigned end)
{
	ends.flow[end] = attach_between(end, 1 - end, 0);
}

static inline void open_ends(long spin_us)
{
	pair_start(spin_us);
	cw_service_start("nobody's", 0);
	cw_moving = true;
	ends.memory = cw_arena_make(&ends.arena, PAIR_ARENA, MOST_ENDS, false);
	for (uint32_t slot = 0; slot < MOST_ENDS; slot++)
		cw_arena_slot_reset(&ends.arena, slot);
	ends.mapped = cw_arena_map(ends.memory, PAIR_ARENA);
	if (ends.memory < 0 || !ends.mapped)
		give_up("no arena: %m");
	for (unsigned end = 0; end < 2; end++)
		open_end(end);
}

static inline void open_flow(long spin_us)
{
	open_ends(spin_us);
	for (unsigned end = 0; end < 2; end++)
		attach(end);
}

static inline void close_flow(void)
{
	for (unsigned end = 0; end < 2; end++) {
		cw_table_take(ends.fd[end]);
		cw_datagram_close(ends.socket[end], ends.fd[end]);
		close(ends.fd[end]);
	}
}

static inline ssize_t send_from(unsigned end, const void *bytes, size_t length)
{
	struct iovec iov = {(void *)bytes, length};
	struct cw_giving giving = {
		.name = (struct sockaddr *)&ends.name[1], .size = sizeof(ends.name[1]), .iov = &iov, .iovcnt = 1, .flags = MSG_NOSIGNAL};

	return cw_datagram_send(ends.socket[end], ends.fd[end], &giving);
}

static inline ssize_t send_one(const void *bytes, size_t length)
{
	return send_from(0, bytes, length);
}

static inline ssize_t receive_one(void *bytes, size_t room, int flags)
{
	struct iovec iov = {bytes, room};
	struct cw_taking taking = {.iov = &iov, .iovcnt = 1, .flags = flags};

	return cw_datagram_receive(ends.socket[1], ends.fd[1], &taking);
}

static inline void one_by_ring(void)
{
	uint64_t before = cw_counters(ends.socket[0]->entry)[CW_COUNT_bytes_ring_out];

	ck_assert_int_eq(send_one("12345678", 8), 8);
	ck_assert_uint_eq(cw_counters(ends.socket[0]->entry)[CW_COUNT_bytes_ring_out], before + 8);
}

static inline void take_one(void)
{
	unsigned char bytes[100];

	ck_assert_int_eq(receive_one(bytes, sizeof(bytes), MSG_DONTWAIT), 8);
	ck_assert_int_lt(receive_one(bytes, sizeof(bytes), MSG_DONTWAIT), 0);
}

static inline void open_two_flows(void)
{
	open_flow(20);
	open_end(2);
	attach_between(2, 1, 1);
	attach_between(1, 2, 1);
}

static inline void close_two_flows(void)
{
	cw_table_take(ends.fd[2]);
	cw_datagram_close(ends.socket[2], ends.fd[2]);
	close(ends.fd[2]);
	close_flow();
}

#endif
