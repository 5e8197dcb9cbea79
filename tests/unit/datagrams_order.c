/* Flows that are left, and what is read first: a ring, another, or the kernel's queue; when a ring may be read at all. */
#include "flow_pair.h"

/* ---- left ---- */

/* The flow is left before its first datagram was read, be it that this was sent just now, and the next one goes by the kernel. */
START_TEST(left_before_it_was_read)
{
	unsigned char bytes[100];

	open_flow(20);
	ck_assert_int_lt(receive_one(bytes, sizeof(bytes), MSG_DONTWAIT), 0);
	ck_assert_int_eq(send_one("12345678", 8), 8);
	ck_assert_uint_eq(cw_counters(ends.socket[0]->entry)[CW_COUNT_bytes_ring_out], 8);
	if (!_i)
		usleep(3 * CW_FLOW_WAIT_NS / 1000);
	cw_datagram_connected(ends.socket[1], ends.fd[1]);
	ck_assert_int_eq(send_one("1234", 4), 4);
	ck_assert_int_eq(receive_one(bytes, sizeof(bytes), MSG_DONTWAIT), 8);
	ck_assert_int_eq(receive_one(bytes, sizeof(bytes), MSG_DONTWAIT), 4);
	close_flow();
}
END_TEST

/* The kernel had one of another's when the flow was left. */
START_TEST(left_behind_anothers)
{
	unsigned char bytes[100];

	open_flow(20);
	open_end(2);
	ck_assert_int_lt(receive_one(bytes, sizeof(bytes), MSG_DONTWAIT), 0);
	ck_assert_int_eq(send_one("12345678", 8), 8);
	ck_assert_uint_eq(cw_counters(ends.socket[0]->entry)[CW_COUNT_bytes_ring_out], 8);
	ck_assert_int_eq(send_from(2, "123", 3), 3);
	usleep(3 * CW_FLOW_WAIT_NS / 1000);
	cw_datagram_connected(ends.socket[1], ends.fd[1]);
	ck_assert_int_eq(receive_one(bytes, sizeof(bytes), MSG_DONTWAIT), 3);
	ck_assert_int_eq(send_one("1234", 4), 4);
	ck_assert_int_eq(receive_one(bytes, sizeof(bytes), MSG_DONTWAIT), 8);
	ck_assert_int_eq(receive_one(bytes, sizeof(bytes), MSG_DONTWAIT), 4);
	close_flow();
}
END_TEST

static void close_its_copy(struct cw_stream *none)
{
	cw_table_take(ends.fd[1]);
	cw_datagram_close(ends.socket[1], ends.fd[1]);
	close(ends.fd[1]);
}

/* The same for a fork; and the child closes the socket, which is no end of it. */
START_TEST(shared_behind_anothers)
{
	unsigned char bytes[100];

	open_ends(20);
	open_end(2);
	attach_between(2, 1, 0);
	attach_between(1, 2, 0);
	ck_assert_int_lt(receive_one(bytes, sizeof(bytes), MSG_DONTWAIT), 0);
	ck_assert_int_eq(send_from(2, "12345678", 8), 8);
	ck_assert_uint_eq(cw_counters(ends.socket[2]->entry)[CW_COUNT_bytes_ring_out], 8);
	ck_assert_int_eq(send_from(0, "123", 3), 3);
	ck_assert_int_eq(in_child(close_its_copy, NULL), 0);
	ck_assert_int_eq(send_from(2, "1234", 4), 4);
	ck_assert_int_eq(receive_one(bytes, sizeof(bytes), MSG_DONTWAIT), 3);
	ck_assert_int_eq(receive_one(bytes, sizeof(bytes), MSG_DONTWAIT), 8);
	ck_assert_int_eq(receive_one(bytes, sizeof(bytes), MSG_DONTWAIT), 4);
	close_flow();
}
END_TEST

/* What was left is read first, and then the rings and the kernel's queue have their turns, though one ring is never empty. */
START_TEST(turns_behind_what_was_kept)
{
	unsigned char bytes[100];
	uint64_t edge;
	int turns = 0;

	open_two_flows();
	ck_assert_int_lt(receive_one(bytes, sizeof(bytes), MSG_DONTWAIT), 0);
	one_by_ring();
	cw_datagram_connected(ends.socket[1], ends.fd[1]);
	cw_datagram_leave_sending(ends.socket[2], ends.fd[2]);
	attach_between(2, 1, 2);
	attach_between(1, 2, 2);
	cw_datagram_offer(ends.socket[1]);
	for (int i = 0; i < 300; i++)
		ck_assert_int_eq(send_from(2, "1234", 4), 4);
	ck_assert_uint_eq(cw_counters(ends.socket[2]->entry)[CW_COUNT_bytes_ring_out], 300 * 4);
	usleep(3 * CW_FLOW_WAIT_NS / 1000);
	ck_assert(cw_datagram_ready(ends.socket[1], &edge));
	ck_assert_int_eq(send_from(0, "123", 3), 3);
	if (_i)
		ck_assert_int_eq(cw_datagram_pending(ends.socket[1], ends.fd[1]), 8);
	ck_assert_int_eq(receive_one(bytes, sizeof(bytes), MSG_DONTWAIT), 8);
	do {
		if (_i)
			cw_datagram_pending(ends.socket[1], ends.fd[1]);
		turns++;
	} while (receive_one(bytes, sizeof(bytes), MSG_DONTWAIT) == 4);
	ck_assert_int_lt(turns, 200);
	close_two_flows();
}
END_TEST

/* ---- a sender that lies ---- */

/* It says all the time that it has just begun. */
static void begin_anew(int signal)
{
	atomic_store(&ends.flow[1]->way->tx_credit, cw_monotonic_ns());
	atomic_fetch_add(&ends.flow[1]->way->seal, 1);
}

START_TEST(waited_for_no_longer_than_by_the_own_clock)
{
	struct itimerval often = {{0, 200}, {0, 200}}, never = {0};
	unsigned char bytes[100];

	open_flow(20);
	ck_assert_int_lt(receive_one(bytes, sizeof(bytes), MSG_DONTWAIT), 0);
	one_by_ring();
	signal(SIGALRM, begin_anew);
	ck_assert_int_eq(setitimer(ITIMER_REAL, &often, NULL), 0);
	ck_assert_int_eq(receive_one(bytes, sizeof(bytes), MSG_DONTWAIT), 8);
	ck_assert_int_eq(setitimer(ITIMER_REAL, &never, NULL), 0);
	close_flow();
}
END_TEST

/* Behind no more of others than the receive buffer can hold, whatever the sender says that it is. */
START_TEST(behind_what_the_own_buffer_holds)
{
	unsigned char bytes[100];
	int least = 4096, turns = 0;

	open_flow(20);
	open_end(2);
	ck_assert_int_eq(setsockopt(ends.fd[1], SOL_SOCKET, SO_RCVBUF, &least, sizeof(least)), 0);
	cw_datagram_option(ends.fd[1], SOL_SOCKET, SO_RCVBUF);
	ck_assert_int_lt(receive_one(bytes, sizeof(bytes), MSG_DONTWAIT), 0);
	one_by_ring();
	atomic_store(&ends.flow[1]->slot->end[1].rcvbuf, UINT32_MAX);
	usleep(3 * CW_FLOW_WAIT_NS / 1000);
	ck_assert_int_eq(send_from(2, "123", 3), 3);
	do
		ck_assert_int_eq(send_from(2, "123", 3), 3);
	while (receive_one(bytes, sizeof(bytes), MSG_DONTWAIT) == 3 && ++turns < 50);
	ck_assert_int_lt(turns, 50);
	close_flow();
}
END_TEST

/* Many flows are left for a fork, and none can be read yet: they are waited for together. */
START_TEST(left_together)
{
	struct cw_flow *flow[MOST_ENDS];
	unsigned char bytes[100];
	bool moved = false;
	int kept = 0;

	open_ends(20);
	for (unsigned end = 2; end < MOST_ENDS; end++) {
		open_end(end);
		attach_between(end, 1, end);
		flow[end] = attach_between(1, end, end);
	}
	ck_assert_int_lt(receive_one(bytes, sizeof(bytes), MSG_DONTWAIT), 0);
	for (unsigned end = 2; end < MOST_ENDS; end++) {
		ck_assert_int_eq(send_from(end, "1234", 4), 4);
		ck_assert_uint_eq(cw_counters(ends.socket[end]->entry)[CW_COUNT_bytes_ring_out], 4);
		atomic_store(&flow[end]->way->tx_credit, INT64_MAX);
	}
	for (unsigned end = 0; end < MOST_ENDS; end++)
		if (end != 1)
			ends.socket[end]->used = false; /* another process's, that is not forked */
	cw_datagrams_before_fork(&moved);
	for (unsigned end = 0; end < MOST_ENDS; end++)
		ends.socket[end]->used = true;
	for (unsigned end = 2; end < MOST_ENDS; end++)
		kept += cw_state_of(atomic_load(&flow[end]->way->state)) == CW_TAKEN;
	ck_assert_int_lt(kept, MOST_ENDS - 2);
	cw_flows_after_fork(false);
	close_flow();
}
END_TEST

/* ---- beside an error ---- */

/* The kernel has told it, and keeps it for who asks for it in particular (IP_RECVERR). */
START_TEST(read_beside_a_kept_error)
{
	struct sockaddr_in nobody = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons(1)};
	unsigned char bytes[100];
	int one = 1;

	open_flow(_i ? 200 : 0);
	ck_assert_int_eq(setsockopt(ends.fd[1], IPPROTO_IP, IP_RECVERR, &one, sizeof(one)), 0);
	cw_datagram_option(ends.fd[1], IPPROTO_IP, IP_RECVERR);
	ck_assert_int_eq(sendto(ends.fd[1], "1", 1, 0, (struct sockaddr *)&nobody, sizeof(nobody)), 1);
	ck_assert_int_lt(receive_one(bytes, sizeof(bytes), MSG_DONTWAIT), 0);
	ck_assert_int_eq(errno, ECONNREFUSED);
	ck_assert_int_lt(receive_one(bytes, sizeof(bytes), 0), 0); /* its time is over, SO_RCVTIMEO */
	ck_assert_int_eq(errno, EAGAIN);
	ck_assert_uint_eq(cw_counters(ends.socket[1]->entry)[CW_COUNT_spins_paid], 0);
	one_by_ring();
	ck_assert_int_eq(receive_one(bytes, sizeof(bytes), MSG_DONTWAIT), 8);
	close_flow();
}
END_TEST

int main(void)
{
	SRunner *runner;
	TCase *units = units_of("datagrams_order", 60, &runner);

	tcase_add_loop_test(units, left_before_it_was_read, 0, 2);
	tcase_add_test(units, left_behind_anothers);
	tcase_add_test(units, shared_behind_anothers);
	tcase_add_loop_test(units, turns_behind_what_was_kept, 0, 2);
	tcase_add_test(units, waited_for_no_longer_than_by_the_own_clock);
	tcase_add_test(units, behind_what_the_own_buffer_holds);
	tcase_add_test(units, left_together);
	tcase_add_loop_test(units, read_beside_a_kept_error, 0, 2);
	return run_units(runner);
}
