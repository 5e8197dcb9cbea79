/* Datagram sockets that another thread closes, and threads that are cancelled in their calls. */
#include "flow_pair.h"

#include "sockets/poll.h"
#include "sockets/wait_list.h"

static _Atomic uint64_t received;

/* ---- closed under a thread that looks ---- */

static void *receive_in_thread(void *argument)
{
	unsigned char bytes[100];

	receive_one(bytes, sizeof(bytes), 0);
	return argument;
}

static void close_end(unsigned end)
{
	cw_table_take(ends.fd[end]);
	cw_datagram_close(ends.socket[end], ends.fd[end]);
}

/* A call has the lock, and does not come back before something is done that the taker of the grant keeps from being done. */
static _Atomic uint32_t has_lock;

static void *hold_lock(void *lock)
{
	uint64_t contended = 0;

	cw_lock(lock, cw_thread_id(), &contended);
	for (has_lock = 1; has_lock == 1;)
		usleep(1000);
	cw_unlock(lock);
	return NULL;
}

START_TEST(granted_under_a_call_that_lasts)
{
	struct cw_peer peer;
	struct cw_flow *flow;
	pthread_t thread;

	open_ends(0);
	peer = cw_peer_of((struct sockaddr *)&ends.name[1 - _i], sizeof(ends.name[0]));
	flow = cw_flow_find(ends.socket[_i], &peer, !_i);
	flow->stage = CW_FLOW_OFFERED;
	ends.socket[_i]->offered++;
	has_lock = 0;
	ck_assert_int_eq(pthread_create(&thread, NULL, hold_lock, _i ? &ends.socket[_i]->rx_lock : &ends.socket[_i]->tx_lock), 0);
	while (!has_lock)
		sched_yield();
	ck_assert(!cw_flow_attach((uint32_t)(flow - cw_flows), flow->generation, ends.mapped, 0, (uint32_t)_i, &peer.address));
	ck_assert_int_eq(flow->stage, CW_FLOW_COUNTING);
	ck_assert_int_eq(ends.socket[_i]->offered, 0);
	has_lock = 2;
	pthread_join(thread, NULL);
	attach((unsigned)_i);
	ck_assert_int_eq(flow->stage, CW_FLOW_MOVED);
}
END_TEST

static bool is_granted(unsigned end, struct cw_flow **flow)
{
	struct cw_peer peer = cw_peer_of((struct sockaddr *)&ends.name[1 - end], sizeof(ends.name[0]));

	*flow = cw_flow_find(ends.socket[end], &peer, !end);
	(*flow)->stage = CW_FLOW_OFFERED;
	ends.socket[end]->offered++;
	return cw_flow_attach((uint32_t)(*flow - cw_flows), (*flow)->generation, ends.mapped, 0, end, &peer.address);
}

static void is_refused(unsigned end)
{
	struct cw_flow *flow;

	ck_assert(!is_granted(end, &flow));
	ck_assert_int_eq(flow->stage, CW_FLOW_COUNTING);
	ck_assert_int_eq(ends.socket[end]->offered, 0);
}

static void are_refused(struct cw_stream *none)
{
	for (unsigned end = 0; end < 2; end++)
		is_refused(end);
}

/* Another thread takes a grant when the flows have been left for a fork, and when there are two processes that have the socket. */
START_TEST(granted_while_it_forks)
{
	bool moved = false;

	open_ends(0);
	cw_datagrams_before_fork(&moved);
	is_refused((unsigned)_i);
	ck_assert_int_eq(in_child(are_refused, NULL), 0);
	cw_flows_after_fork(false);
	attach((unsigned)_i);
	close_flow();
}
END_TEST

START_TEST(closed_while_it_looks)
{
	open_flow(20000);
	for (int i = 0; i < 20; i++) {
		pthread_t thread;

		ck_assert_int_eq(pthread_create(&thread, NULL, receive_in_thread, NULL), 0);
		usleep(200 + (unsigned)i * 100);
		close_end(1);
		pthread_join(thread, NULL);
		ck_assert(!ends.socket[1]->used);
		close(ends.fd[1]);
		cw_datagram_leave_sending(ends.socket[0], ends.fd[0]);
		cw_arena_slot_reset(&ends.arena, 0);
		open_end(1);
		for (unsigned end = 0; end < 2; end++)
			attach(end);
	}
	close_flow();
}
END_TEST

static int ask_kernel(struct cw_wait_call *call, bool signals, int64_t ns)
{
	struct timespec limit = {.tv_nsec = ns};
	struct pollfd readable = {.fd = ends.fd[1], .events = POLLIN};

	(void)call, (void)signals;
	return ppoll(&readable, 1, &limit, NULL);
}

static int merge_rings(struct cw_wait_call *call, int ready)
{
	return ready + (call->list.count && call->list.entry[0].ready);
}

static int sleep_a_little(struct cw_wait_call *call)
{
	return ask_kernel(call, true, 200000000);
}

static struct cw_wait_call a_wait(void)
{
	return (struct cw_wait_call){
		.ask = ask_kernel, .merge = merge_rings, .sleep = sleep_a_little, .deadline = (int64_t)cw_monotonic_ns() + 200000000};
}

static void *wait_in_thread(void *argument)
{
	struct cw_wait_call call = a_wait();

	cw_wait_list_begin(&call.list);
	ck_assert(cw_wait_list_add(&call.list, ends.fd[1], 0));
	atomic_store(&received, 1);
	usleep(1000);
	cw_wait_list_wait(&call);
	cw_wait_list_end(&call.list);
	return argument;
}

START_TEST(closed_while_it_is_waited_for)
{
	pthread_t thread;

	open_flow(20000);
	atomic_store(&received, 0);
	ck_assert_int_eq(pthread_create(&thread, NULL, wait_in_thread, NULL), 0);
	while (!atomic_load(&received))
		sched_yield();
	close_end(1);
	ck_assert(ends.socket[1]->used);
	pthread_join(thread, NULL);
	ck_assert(!ends.socket[1]->used);
}
END_TEST

/* ---- moved while it is waited for ---- */

START_TEST(first_flow_after_the_wait_began)
{
	struct cw_wait_call call;
	unsigned char bytes[100];

	open_ends(20);
	call = a_wait();
	cw_wait_list_begin(&call.list);
	ck_assert(cw_wait_list_add(&call.list, ends.fd[1], 0));
	ck_assert_uint_eq(call.list.moved, 0);
	for (unsigned end = 0; end < 2; end++)
		attach(end);
	ck_assert_int_lt(receive_one(bytes, sizeof(bytes), MSG_DONTWAIT), 0);
	one_by_ring();
	ck_assert_int_eq(cw_wait_list_wait(&call), 1);
	cw_wait_list_end(&call.list);
	take_one();
	close_flow();
}
END_TEST

/* ---- closed before a call has begun ---- */

/* The sender has found the socket by its number, and then it is closed: what it sends goes where the number leads, as by the kernel. */
START_TEST(sent_behind_the_close)
{
	struct cw_datagram *before;
	unsigned char bytes[100];

	open_flow(20);
	ck_assert_int_lt(receive_one(bytes, sizeof(bytes), MSG_DONTWAIT), 0);
	one_by_ring();
	take_one();
	before = ends.socket[0];
	close_end(0);
	ck_assert(!before->used);
	ck_assert_int_eq(send_one("12", 2), 2);
	ck_assert_int_eq(receive_one(bytes, sizeof(bytes), 0), 2);
	/* Its place is another's, with a flow to the same peer, and the number is not. */
	open_end(2);
	ck_assert_ptr_eq(ends.socket[2], before);
	cw_arena_slot_reset(&ends.arena, 1);
	attach_between(2, 1, 1);
	ck_assert_int_eq(send_one("123", 3), 3);
	ck_assert_uint_eq(cw_counters(before->entry)[CW_COUNT_bytes_ring_out], 0);
	ck_assert_uint_eq(cw_counters(before->entry)[CW_COUNT_bytes_kernel_out], 0);
	ck_assert_int_eq(before->users, 0);
}
END_TEST

START_TEST(asked_behind_the_close)
{
	open_flow(20);
	close_end(1);
	cw_datagram_option(ends.fd[1], SOL_SOCKET, SO_RCVBUF);
	ck_assert(!cw_datagram_held(ends.fd[1]));
	ck_assert_int_lt(receive_one((char[1]){0}, 1, MSG_DONTWAIT), 0);
	ck_assert_int_eq(ends.socket[1]->users, 0);
	ck_assert_int_eq(ends.socket[1]->asleep, 0);
	ck_assert(!ends.socket[1]->used);
}
END_TEST

/* ---- cancelled ---- */

static void *send_cancelled(void *argument)
{
	pthread_cancel(pthread_self());
	send_one("1", 1);
	return argument;
}

static void *poll_cancelled(void *argument)
{
	struct pollfd one = {.fd = ends.fd[1], .events = POLLIN};

	pthread_cancel(pthread_self());
	cw_poll(&one, 1, 0);
	return argument;
}

static void *receive_cancelled(void *argument)
{
	pthread_cancel(pthread_self());
	receive_one((char[1]){0}, 1, MSG_DONTWAIT);
	return argument;
}

static void cancel_in(void *(*begin)(void *))
{
	pthread_t thread;
	void *result;

	ck_assert_int_eq(pthread_create(&thread, NULL, begin, NULL), 0);
	usleep(20000);
	pthread_cancel(thread);
	pthread_join(thread, &result);
	ck_assert_ptr_eq(result, PTHREAD_CANCELED);
	for (unsigned end = 0; end < 2; end++) {
		ck_assert_int_eq(ends.socket[end]->users, 0);
		ck_assert_int_eq(ends.socket[end]->asleep, 0);
	}
}

START_TEST(cancelled_unmoved)
{
	open_ends(20);
	for (unsigned end = 0; end < 2; end++)
		ck_assert_int_eq(setsockopt(ends.fd[end], SOL_SOCKET, SO_RCVTIMEO, &(struct timeval){0}, sizeof(struct timeval)), 0);
	cancel_in(receive_in_thread);
	cancel_in(receive_cancelled);
	cancel_in(send_cancelled);
	cancel_in(poll_cancelled);
	close_flow();
}
END_TEST

START_TEST(cancelled_moved)
{
	open_flow(20);
	ck_assert_int_eq(setsockopt(ends.fd[1], SOL_SOCKET, SO_RCVTIMEO, &(struct timeval){0}, sizeof(struct timeval)), 0);
	cancel_in(receive_in_thread);
	cancel_in(receive_cancelled);
	ck_assert_int_lt(receive_one((char[1]){0}, 1, MSG_DONTWAIT), 0);
	one_by_ring();
	take_one();
	close_flow();
}
END_TEST

int main(void)
{
	SRunner *runner;
	TCase *units = units_of("datagrams_closed", 60, &runner);

	tcase_add_loop_test(units, granted_under_a_call_that_lasts, 0, 2);
	tcase_add_loop_test(units, granted_while_it_forks, 0, 2);
	tcase_add_test(units, closed_while_it_looks);
	tcase_add_test(units, closed_while_it_is_waited_for);
	tcase_add_test(units, first_flow_after_the_wait_began);
	tcase_add_test(units, sent_behind_the_close);
	tcase_add_test(units, asked_behind_the_close);
	tcase_add_test(units, cancelled_unmoved);
	tcase_add_test(units, cancelled_moved);
	return run_units(runner);
}
