/* A writer whose ring is full looks for room, and lets whoever makes it have the processor that both are on (sockets/send_look.c). */
#include "pair.h"
#include "turns.h"

#include <fcntl.h>

#include "sockets/sending.h"

static struct pair pair;
static struct cw_stream *writer, *reader;
static _Atomic bool reads, over;
static _Atomic unsigned turns;

/* LIVE, and no room. */
static void fill(void)
{
	char bytes[4096] = {0};

	pair_make(&pair);
	pair_start(0);
	writer = pair_open(&pair, 0);
	reader = pair_open(&pair, 1);
	ck_assert_int_eq(cw_send(writer, pair.fd[0], bytes, 1, 0), 1);
	ck_assert_int_eq(cw_receive(reader, pair.fd[1], bytes, 1, 0), 1);
	do
		ck_assert_int_eq(cw_send(writer, pair.fd[0], bytes, 4096, 0), 4096);
	while (writer->tx->widx - writer->tx->roff < 1ull << writer->tx->ring_bits);
	ck_assert_int_eq(cw_state_of(writer->tx->state), CW_LIVE);
}

static void *takes_turns(void *unused)
{
	char bytes[4096];

	while (!atomic_load(&over)) {
		uint64_t start = cw_ticks();

		while (cw_ticks() - start < 20 * cw_ticks_per_us())
			cw_pause();
		if (atomic_load(&reads))
			cw_receive(reader, pair.fd[1], bytes, sizeof(bytes), MSG_DONTWAIT);
		atomic_fetch_add(&turns, 1);
		sched_yield();
	}
	return unused;
}

START_TEST(who_makes_room_is_let_to)
{
	pthread_t other;

	if (sysconf(_SC_NPROCESSORS_ONLN) < 2)
		return; /* there are no looks */
	fill();
	cw_policy.number[CW_OPTION_spin_us] = 500;
	cw_policy.number[CW_OPTION_give_way] = _i;
	if (!on_one_processor(&other, takes_turns)) {
		printf("# not shown: SCHED_FIFO is not permitted here\n");
		return;
	}
	/* Who has something else to do is not kept from it. */
	ck_assert(!cw_send_look_for_room(writer));
	ck_assert_uint_le(atomic_load(&turns), 1);
	atomic_store(&reads, true);
	ck_assert_int_eq(cw_send_look_for_room(writer), _i);
	atomic_store(&over, true);
	pthread_join(other, NULL);
}
END_TEST

/* Who doesn't wait has its answer in the part that there is room for, and the ring is not left for the rest. */
START_TEST(part_of_a_file)
{
	static char bytes[CW_RING_MAX];
	FILE *file = tmpfile();
	off64_t from = 0;
	ssize_t sent;

	ck_assert_uint_eq(fwrite(bytes, 1, sizeof(bytes), file), sizeof(bytes));
	fflush(file);
	pair_make(&pair);
	pair_start(20);
	writer = pair_open(&pair, 0);
	reader = pair_open(&pair, 1);
	ck_assert_int_eq(fcntl(pair.fd[0], F_SETFL, O_NONBLOCK), 0);
	writer->nonblocking = true;
	ck_assert_int_eq(cw_send(writer, pair.fd[0], bytes, 1, 0), 1);
	ck_assert_int_eq(cw_receive(reader, pair.fd[1], bytes, 1, 0), 1);
	sent = cw_send_file(writer, pair.fd[0], fileno(file), &from, sizeof(bytes));
	ck_assert_int_eq(sent, 1 << writer->tx->ring_bits);
	ck_assert_int_eq(from, sent);
	ck_assert_int_eq(cw_state_of(writer->tx->state), CW_LIVE);
	fclose(file);
}
END_TEST

int main(void)
{
	SRunner *runner;
	TCase *units = units_of("room", 60, &runner);

	tcase_add_loop_test(units, who_makes_room_is_let_to, 0, 2);
	tcase_add_test(units, part_of_a_file);
	return run_units(runner);
}
