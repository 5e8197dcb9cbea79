/*
 * Flows of datagrams: records in a ring, and one flow between two real sockets of this process, moved without a service. Its two threads
 * sleep and wake as they like, so datagrams go by ring and by the kernel in turn, and must come whole, once, in order. Then the same while
 * somebody writes nonsense into the slot: what comes may be anything, but every call comes back. FUZZ_SEED=N runs that round alone.
 */
#include "flow_pair.h"

#include "sockets/set_item.h"
#include "sockets/wait_list.h"

#define WINDOW 40 /* unread at a time, less than any receive buffer holds */

/* ---- records ---- */

START_TEST(records_of_every_size_at_every_place)
{
	static unsigned char memory[4096] __attribute__((aligned(8)));
	struct cw_ring ring = {memory, sizeof(memory)};
	unsigned char in[1200], out[1200];
	uint64_t at = 0;

	for (size_t length = 0; length < sizeof(in); length++) {
		struct iovec iov[2] = {{in, length / 3}, {in + length / 3, length - length / 3}};
		size_t said = 0;

		for (size_t i = 0; i < length; i++)
			in[i] = (unsigned char)(i * 7 + length);
		cw_record_put(&ring, at, iov, length % 2 ? 1 : 2, length % 2 ? iov[0].iov_len : length);
		ck_assert(cw_record_length(&ring, at, cw_record_room(length), &said));
		ck_assert_uint_eq(said, length % 2 ? iov[0].iov_len : length);
		cw_ring_get(&ring, at + CW_RECORD_HEADER, out, said);
		ck_assert_mem_eq(in, out, said);
		at += cw_record_room(length);
	}
}
END_TEST

START_TEST(headers_of_nonsense)
{
	static unsigned char memory[4096] __attribute__((aligned(8)));
	struct cw_ring ring = {memory, sizeof(memory)};
	struct iovec iov = {(unsigned char[100]){0}, 100};
	size_t said;

	cw_record_put(&ring, 0, &iov, 1, 100);
	ck_assert(cw_record_length(&ring, 0, 112, &said));
	ck_assert(!cw_record_length(&ring, 0, 104, &said));  /* longer than what is published */
	ck_assert(!cw_record_length(&ring, 0, 8192, &said)); /* more than the ring */
	ck_assert(!cw_record_length(&ring, 4, 112, &said));
	*cw_record_header(&ring, 0) = CW_RECORD_MOST + 1ul;
	ck_assert(!cw_record_length(&ring, 0, 4096, &said));
	*cw_record_header(&ring, 0) = ~0ul - 6;
	ck_assert(!cw_record_length(&ring, 0, 4096, &said));
}
END_TEST

/* ---- a flow ---- */

static void dally(uint64_t *seed)
{
	uint64_t how = next_random(seed) % 256;
	struct timespec nap = {.tv_nsec = (long)(how * 1000)};

	if (how == 0)
		nanosleep(&nap, NULL);
	else if (how < 4)
		sched_yield();
}

static _Atomic uint64_t received;
static _Atomic bool stop;
static uint64_t many;

/* A datagram's number, and bytes that follow from it. */
static size_t make(unsigned char *bytes, uint64_t number)
{
	uint64_t seed = number * 2654435761u + 1;
	size_t length = sizeof(number) + next_random(&seed) % 900;

	memcpy(bytes, &number, sizeof(number));
	memset(bytes + sizeof(number), (int)number, length - sizeof(number));
	return length;
}

static void *send_many(void *argument)
{
	unsigned char bytes[1000];
	uint64_t seed = 77;

	for (uint64_t number = 0; number < many; number++) {
		size_t length = make(bytes, number);

		while (number - atomic_load(&received) >= WINDOW && !atomic_load(&stop))
			sched_yield();
		if (send_one(bytes, length) != (ssize_t)length)
			give_up("datagram %llu was not sent: %m", (unsigned long long)number);
		dally(&seed);
		if (next_random(&seed) % 3000 == 0)
			usleep(3000); /* the reader sleeps, and idle flows cool */
	}
	return argument;
}

static void receive_many(void)
{
	unsigned char bytes[1000], expected[1000];
	uint64_t seed = 99;

	for (uint64_t number = 0; number < many;) {
		int flags = next_random(&seed) % 8 ? 0 : next_random(&seed) % 2 ? MSG_DONTWAIT : MSG_PEEK;
		ssize_t got = receive_one(bytes, sizeof(bytes), flags);
		size_t length = make(expected, number);

		if (got < 0 && (errno == EAGAIN || errno == EINTR))
			continue;
		ck_assert_msg(got == (ssize_t)length && memcmp(bytes, expected, length) == 0,
			      "datagram %llu is not what came (%zd bytes, number %llu)", (unsigned long long)number, got,
			      (unsigned long long)*(uint64_t *)(void *)bytes);
		if (flags & MSG_PEEK)
			continue;
		atomic_store(&received, ++number);
		dally(&seed);
	}
}

static const long spins[] = {0, 20, 200};

START_TEST(whole_once_and_in_order)
{
	uint64_t *sender, *receiver;
	pthread_t thread;

	open_flow(spins[_i]);
	many = getenv("CW_TEST_LONG") ? 400000 : 20000;
	atomic_store(&received, 0);
	ck_assert_int_eq(pthread_create(&thread, NULL, send_many, NULL), 0);
	receive_many();
	pthread_join(thread, NULL);
	sender = cw_counters(ends.socket[0]->entry);
	receiver = cw_counters(ends.socket[1]->entry);
	ck_assert_uint_eq(sender[CW_COUNT_dropped], 0);
	ck_assert_uint_eq(receiver[CW_COUNT_messages_in], many);
	ck_assert_uint_gt(receiver[CW_COUNT_bytes_ring_in], 0);
	ck_assert_uint_gt(receiver[CW_COUNT_bytes_kernel_in], 0);
	ck_assert_uint_gt(sender[CW_COUNT_switches], 1);
	close_flow();
}
END_TEST

/* What is unread when the reader leaves, or the writer, comes all the same, and first. */
START_TEST(leaving_with_unread)
{
	unsigned char bytes[1000], expected[1000];
	uint64_t number = 0;

	open_flow(20);
	ck_assert_int_lt(receive_one(bytes, sizeof(bytes), MSG_DONTWAIT), 0); /* offers */
	for (; number < 10; number++)
		ck_assert_int_gt(send_one(bytes, make(bytes, number)), 0);
	ck_assert_uint_gt(cw_counters(ends.socket[0]->entry)[CW_COUNT_bytes_ring_out], 0);
	if (_i == 0)
		cw_datagram_leave_sending(ends.socket[0], ends.fd[0]);
	else
		cw_datagram_leave(ends.socket[1], ends.fd[1], CW_REASON_option);
	for (; number < 20; number++)
		ck_assert_int_gt(send_one(bytes, make(bytes, number)), 0);
	for (number = 0; number < 20; number++) {
		size_t length = make(expected, number);

		ck_assert_int_eq(receive_one(bytes, sizeof(bytes), 0), length);
		ck_assert_mem_eq(bytes, expected, length);
	}
	close_flow();
}
END_TEST

/* A sender that is killed in the middle of taking the ring back (docs/caveats.md): what was in it is lost, and nothing else. */
START_TEST(sender_killed_while_it_takes_back)
{
	struct cw_direction *way;
	unsigned char bytes[100];
	uint64_t word;

	open_flow(20);
	ck_assert_int_lt(receive_one(bytes, sizeof(bytes), MSG_DONTWAIT), 0);
	one_by_ring();
	way = ends.flow[0]->way;
	word = atomic_load(&way->state);
	ck_assert(cw_state_step(&way->state, &word, CW_TAKEN));
	atomic_fetch_or(&way->roff, CW_CLAIMED);
	ck_assert_int_eq(receive_one(bytes, sizeof(bytes), MSG_DONTWAIT), -1);
	ck_assert_int_eq(errno, EAGAIN);
	/* Another of that address, or a child that had it too. */
	ck_assert_int_eq(sendto(ends.fd[0], "1234", 4, 0, (struct sockaddr *)&ends.name[1], sizeof(ends.name[1])), 4);
	ck_assert_int_eq(receive_one(bytes, sizeof(bytes), 0), 4);
	ck_assert_mem_eq(bytes, "1234", 4);
	close_flow();
}
END_TEST

/* As much as the receive buffer is, and no more; what is dropped is the last, as by the kernel. */
START_TEST(dropped_when_full)
{
	uint64_t sent, got = 0, number = 0;
	unsigned char bytes[1000];

	open_flow(20);
	ck_assert_int_lt(receive_one(bytes, sizeof(bytes), MSG_DONTWAIT), 0);
	for (sent = 0; sent < 5000; sent++) {
		memcpy(bytes, &sent, sizeof(sent));
		ck_assert_int_eq(send_one(bytes, 500), 500);
	}
	ck_assert_uint_gt(cw_counters(ends.socket[0]->entry)[CW_COUNT_dropped], 0);
	while (receive_one(bytes, sizeof(bytes), MSG_DONTWAIT) == 500) {
		memcpy(&number, bytes, sizeof(number));
		ck_assert_uint_eq(number, got);
		got++;
	}
	ck_assert_uint_eq(got + cw_counters(ends.socket[0]->entry)[CW_COUNT_dropped], sent);
	ck_assert_uint_gt(got, 100);
	close_flow();
}
END_TEST

/* ---- edges ---- */

/* What the program was told of may stay unread beside a sleeper, and nothing else. */
START_TEST(asleep_beside_what_was_told)
{
	unsigned char bytes[100];
	uint64_t edge, later;

	open_flow(20);
	ck_assert_int_lt(receive_one(bytes, sizeof(bytes), MSG_DONTWAIT), 0);
	one_by_ring();
	ck_assert(!cw_datagram_settle(ends.socket[1], true, 0));
	ck_assert(cw_datagram_has_news(ends.socket[1], 0, &edge));
	ck_assert(!cw_datagram_settle(ends.socket[1], false, edge));
	ck_assert(cw_datagram_settle(ends.socket[1], true, edge));
	cw_datagram_rise(ends.socket[1]);
	ck_assert(!cw_datagram_has_news(ends.socket[1], edge, &later));
	one_by_ring();
	ck_assert(!cw_datagram_settle(ends.socket[1], true, edge));
	ck_assert(cw_datagram_has_news(ends.socket[1], edge, &later));
	ck_assert_uint_ne(edge, later);
	close_flow();
}
END_TEST

/* The kernel told one thread of an arm that the ring then tells another; that one arms it again before the first has come to it. */
START_TEST(told_once_by_ring)
{
	struct epoll_event event = {.events = EPOLLIN | EPOLLONESHOT, .data.u64 = 7}, told = event,
			   before = {.events = EPOLLIN, .data.u64 = 7};
	unsigned char bytes[100];
	struct cw_set *set;
	uint64_t asked_at;
	int epfd;

	open_flow(20);
	ck_assert_int_lt(receive_one(bytes, sizeof(bytes), MSG_DONTWAIT), 0);
	epfd = epoll_create1(EPOLL_CLOEXEC);
	cw_set_open(epfd);
	set = cw_set_of(epfd);
	ck_assert_int_eq(cw_set_control(set, epfd, EPOLL_CTL_ADD, ends.fd[1], &event), 0);
	asked_at = set->doubts;
	one_by_ring();
	ck_assert_int_eq(cw_set_wait(epfd, &told, 1, 0, NULL), 1);
	take_one();
	ck_assert_int_eq(cw_set_control(set, epfd, EPOLL_CTL_MOD, ends.fd[1], &event), 0);
	ck_assert_int_eq(cw_set_after_kernel(set, epfd, asked_at, &before, 1), 0);
	ck_assert(set->items->armed);
	cw_set_close(cw_table_index(cw_table_take(epfd)), epfd);
	close(epfd);
	close_flow();
}
END_TEST

/* A flow ends, and the next one's first datagram is as long as that one's was. */
START_TEST(no_edge_comes_twice)
{
	unsigned char bytes[100];
	uint64_t first, second;

	open_flow(20);
	ck_assert_int_lt(receive_one(bytes, sizeof(bytes), MSG_DONTWAIT), 0);
	one_by_ring();
	ck_assert(cw_datagram_has_news(ends.socket[1], 0, &first));
	take_one();
	cw_datagram_leave_sending(ends.socket[0], ends.fd[0]);
	ck_assert_int_lt(receive_one(bytes, sizeof(bytes), MSG_DONTWAIT), 0);
	ck_assert_uint_eq(ends.socket[1]->moved_in, 0);
	cw_arena_slot_reset(&ends.arena, 0);
	for (unsigned end = 0; end < 2; end++)
		attach(end);
	ck_assert_int_lt(receive_one(bytes, sizeof(bytes), MSG_DONTWAIT), 0);
	one_by_ring();
	ck_assert(cw_datagram_has_news(ends.socket[1], first, &second));
	ck_assert(!cw_datagram_settle(ends.socket[1], true, first));
	close_flow();
}
END_TEST

/* ---- two senders ---- */

/* The flow of the one ends as the reader goes over both; the other's takes its place, and is not passed over. */
START_TEST(heard_behind_one_that_ends)
{
	unsigned char bytes[100];

	open_two_flows();
	ck_assert_int_lt(receive_one(bytes, sizeof(bytes), MSG_DONTWAIT), 0);
	ck_assert_int_eq(send_from(2, "1234", 4), 4);
	ck_assert_uint_eq(cw_counters(ends.socket[2]->entry)[CW_COUNT_bytes_ring_out], 4);
	cw_datagram_leave_sending(ends.socket[0], ends.fd[0]);
	ck_assert_uint_eq(ends.socket[1]->in_count, 2);
	ck_assert_int_eq(receive_one(bytes, sizeof(bytes), MSG_DONTWAIT), 4);
	close_two_flows();
}
END_TEST

/* ---- nonsense ---- */

static uint64_t a_word(uint64_t *seed)
{
	switch (next_random(seed) % 5) {
	case 0:
		return next_random(seed);
	case 1:
		return next_random(seed) % 8;
	case 2:
		return ~0ull - next_random(seed) % 64;
	case 3:
		return CW_CLAIMED | next_random(seed) % 4096;
	default:
		return next_random(seed) % (2 * CW_RING_MAX) & ~7ull;
	}
}

static void *scribble(void *argument)
{
	struct cw_slot *slot = cw_arena_slot(&ends.arena, 0);
	_Atomic uint64_t *words = (_Atomic uint64_t *)(void *)slot;
	_Atomic uint64_t *ring = (_Atomic uint64_t *)(void *)cw_arena_ring(&ends.arena, 0, 0);
	uint64_t seed = *(uint64_t *)argument;
	struct timespec nap = {.tv_nsec = 200000};

	while (!atomic_load(&stop)) {
		if (next_random(&seed) % 2)
			atomic_store(&words[next_random(&seed) % (sizeof(struct cw_direction) / 8)], a_word(&seed));
		else
			atomic_store(&ring[next_random(&seed) % (CW_RING_MAX / 8)], a_word(&seed));
		if (next_random(&seed) % 4 == 0)
			nanosleep(&nap, NULL);
	}
	return NULL;
}

static void *send_anything(void *argument)
{
	static unsigned char bytes[70000];
	uint64_t seed = *(uint64_t *)argument ^ 5;

	while (!atomic_load(&stop)) {
		send_one(bytes, next_random(&seed) % (next_random(&seed) % 16 ? 200 : sizeof(bytes)));
		dally(&seed);
	}
	return NULL;
}

static void receive_anything(uint64_t seed, uint64_t end_ns)
{
	static unsigned char bytes[70000];
	uint64_t edge;

	while (cw_monotonic_ns() < end_ns) {
		receive_one(bytes, sizeof(bytes), next_random(&seed) % 4 ? 0 : MSG_PEEK | MSG_DONTWAIT);
		cw_datagram_pending(ends.socket[1], ends.fd[1]);
		cw_datagram_ready(ends.socket[1], &edge);
		if (cw_datagram_settle(ends.socket[1], next_random(&seed) % 2, edge))
			cw_datagram_rise(ends.socket[1]);
	}
}

/* With indices of nonsense a put and a look meet at the same bytes: that race is what is tried, and the thread sanitizer would tell it. */
#ifdef __SANITIZE_THREAD__
#define TURNS_OF_NONSENSE 0
#else
#define TURNS_OF_NONSENSE (getenv("CW_TEST_LONG") ? 400 : 20)
#endif

START_TEST(nonsense_in_the_slot)
{
	const char *only = getenv("FUZZ_SEED");
	uint64_t seed = only ? strtoull(only, NULL, 0) : 1000 + (uint64_t)_i;
	pthread_t threads[2];

	open_flow(20);
	atomic_store(&stop, false);
	ck_assert_int_eq(pthread_create(&threads[0], NULL, scribble, &seed), 0);
	ck_assert_int_eq(pthread_create(&threads[1], NULL, send_anything, &seed), 0);
	receive_anything(seed ^ 9, cw_monotonic_ns() + 60000000);
	atomic_store(&stop, true);
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	close_flow();
}
END_TEST

int main(void)
{
	SRunner *runner;
	TCase *units = units_of("datagrams", 60, &runner);

	tcase_add_test(units, records_of_every_size_at_every_place);
	tcase_add_test(units, headers_of_nonsense);
	tcase_add_loop_test(units, whole_once_and_in_order, 0, (int)CW_ARRAY_SIZE(spins));
	tcase_add_loop_test(units, leaving_with_unread, 0, 2);
	tcase_add_test(units, sender_killed_while_it_takes_back);
	tcase_add_test(units, dropped_when_full);
	tcase_add_test(units, asleep_beside_what_was_told);
	tcase_add_test(units, told_once_by_ring);
	tcase_add_test(units, no_edge_comes_twice);
	tcase_add_test(units, heard_behind_one_that_ends);
	tcase_add_loop_test(units, nonsense_in_the_slot, 0, TURNS_OF_NONSENSE);
	return run_units(runner);
}
