/*
 * sockets/: single steps of a stream with both its ends in one process, for what two processes meet too seldom.
 */
#include "full_kernel.h"

#include <signal.h>
#include <sys/epoll.h>
#include <sys/mman.h>

#include "sockets/leave.h"
#include "sockets/sending.h"
#include "sockets/set_item.h"

START_TEST(a_mark_does_not_silence_the_doorbell)
{
	uint64_t word = asleep_with("hello");

	cw_state_mark(&words->state, CW_MARK_READER_GONE);
	ck_assert(cw_switch_take_back(writer, pair.fd[0], &word));
	ck_assert_int_eq(cw_state_of(words->state), CW_TAKEN);
	ck_assert_uint_eq(words->tx_kernel_op, 0);
	comes_by_kernel("hello");
}
END_TEST

START_TEST(a_mark_does_not_keep_asleep)
{
	uint64_t word = asleep_with("hello");
	char got[8];

	cw_state_mark(&words->state, CW_MARK_WRITER_GONE);
	ck_assert(cw_switch_wake(reader, &word));
	ck_assert_int_eq(cw_state_of(words->state), CW_LIVE);
	ck_assert_int_eq(cw_receive(reader, pair.fd[1], got, sizeof(got), 0), 5);
}
END_TEST

START_TEST(who_has_woken_needs_no_doorbell)
{
	uint64_t word = asleep_with("hello"), stale = word;

	ck_assert(cw_switch_wake(reader, &word));
	ck_assert(!cw_switch_take_back(writer, pair.fd[0], &stale));
	ck_assert_int_eq(cw_state_of(words->state), CW_LIVE);
	ck_assert_uint_eq(words->tx_kernel_op, 0);
	ck_assert_int_eq(recv(pair.fd[1], &stale, 1, MSG_DONTWAIT), -1);
	ck_assert(!writer->broken);
}
END_TEST

/* The second look finds more than was seen. */
START_TEST(nobody_sleeps_beside_bytes)
{
	uint64_t word = asleep_with("hello");

	ck_assert(cw_switch_wake(reader, &word));
	ck_assert(!cw_switch_fall_asleep(reader, &word, words->widx - 1));
	ck_assert_int_eq(cw_state_of(words->state), CW_LIVE);
}
END_TEST

START_TEST(a_closing_writer_sends_again_what_is_asked_for)
{
	char got;

	asleep_with("hello");
	cw_state_mark(&words->state, CW_MARK_LEFT | CW_MARK_RESEND);
	pair_close(writer, pair.fd[0]);
	ck_assert_uint_ne(words->state & CW_MARK_WRITER_SHUT, 0);
	comes_by_kernel("hello");
	ck_assert_int_eq(recv(pair.fd[1], &got, 1, MSG_DONTWAIT), 0);
}
END_TEST

/* ---- a reader that leaves unread what it was told of ---- */

START_TEST(what_was_told_stays_behind_a_full_kernel)
{
	asleep_behind_a_full_kernel(true);
	ck_assert_int_eq(put_some(100), -1);
	ck_assert_int_eq(errno, EAGAIN);
	ck_assert_int_eq(cw_state_of(words->state), CW_SEALED);
	the_rest_comes_in_order();
}
END_TEST

/* The reader fell asleep while they were put. */
START_TEST(what_a_full_kernel_does_not_take_is_not_sent)
{
	uint64_t live = asleep_behind_a_full_kernel(_i), widx = words->widx;
	struct cw_ring ring = cw_stream_ring(writer->tx_data, words->ring_bits);
	unsigned char bytes[100];
	uint64_t word = words->state;
	bool nested;

	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = content(written + i);
	ck_assert(cw_tx_lock(writer, pair.fd[0], &nested));
	ck_assert(cw_switch_wake(reader, &word));
	live = words->state;
	ck_assert(cw_send_claim(writer, widx, live));
	cw_ring_put(&ring, widx, bytes, sizeof(bytes));
	ck_assert(cw_switch_fall_asleep(reader, &word, widx));
	ck_assert_uint_eq(cw_send_publish(writer, pair.fd[0], widx, sizeof(bytes)), 0);
	cw_tx_unlock(writer, nested);
	ck_assert_int_eq(cw_state_of(words->state), _i ? CW_SEALED : CW_TAKEN);
	ck_assert_uint_eq(words->widx, widx);
	the_rest_comes_in_order();
}
END_TEST

/* What was taken out of the ring again was told; the next time that it is there it is told again. */
START_TEST(what_was_told_and_not_sent_is_told_again)
{
	struct epoll_event event = {.events = EPOLLIN | EPOLLET};
	int set = epoll_create1(EPOLL_CLOEXEC);
	uint64_t word, widx;
	bool nested;

	asleep_behind_a_full_kernel(_i);
	widx = words->widx;
	word = words->state;
	cw_set_open(set);
	ck_assert(cw_switch_wake(reader, &word));
	ck_assert_int_eq(cw_set_control(cw_set_of(set), set, EPOLL_CTL_ADD, pair.fd[1], &event), 0);
	ck_assert(cw_tx_lock(writer, pair.fd[0], &nested));
	words->widx = widx + 100;
	while (cw_set_wait(set, &event, 1, 0, NULL) > 0)
		;
	ck_assert(cw_set_settle(cw_set_of(set)));
	ck_assert_int_eq(cw_state_of(words->state), CW_ASLEEP);
	ck_assert_uint_eq(cw_send_call(writer, pair.fd[0], words->state, widx, 100), 0);
	cw_tx_unlock(writer, nested);
	cw_set_rise(cw_set_of(set));
	while (get_some(4096))
		;
	ck_assert_uint_eq(read_so_far, written);
	while (cw_set_wait(set, &event, 1, 0, NULL) > 0)
		;
	cw_switch_offer(reader, pair.fd[1]);
	ck_assert_int_eq(cw_state_of(words->state), CW_CONSENT);
	ck_assert_int_eq(put_some(100), 100);
	ck_assert_uint_eq(words->widx, widx + 100);
	ck_assert_int_eq(cw_set_wait(set, &event, 1, 20000000, NULL), 1);
	the_rest_comes_in_order();
	close(set);
}
END_TEST

/* Another waits in poll: so the kernel is read without a bound, beside a writer that has not seen him there. */
START_TEST(who_reads_beside_what_was_told_is_not_sealed)
{
	uint64_t word;

	asleep_behind_a_full_kernel(true);
	word = words->state;
	words->rx_asleep++;
	ck_assert(get_some(10));
	words->rx_asleep--;
	ck_assert(!cw_state_step(&words->state, &word, CW_SEALED));
	ck_assert_int_eq(cw_state_of(words->state), CW_ASLEEP);
	the_rest_comes_in_order();
}
END_TEST

/* He is in the middle of a read of the kernel, and nobody knows for how long. */
START_TEST(nothing_is_taken_back_beside_who_reads_a_full_kernel)
{
	asleep_behind_a_full_kernel(true);
	words->rx_asleep++;
	ck_assert_int_eq(put_some(100), -1);
	ck_assert_int_eq(errno, EAGAIN);
	ck_assert_int_eq(cw_state_of(words->state), CW_ASLEEP);
	words->rx_asleep--;
	ck_assert_int_eq(put_some(100), -1);
	ck_assert_int_eq(cw_state_of(words->state), CW_SEALED);
	the_rest_comes_in_order();
}
END_TEST

static void drain(void)
{
	while (read_so_far < written)
		get_some(4096);
}

/* A stream in bulk: what may wait in the kernel is bounded, and the ring, in use and empty, is of the largest class. */
static void in_bulk(void)
{
	open_both();
	written = read_so_far = 0;
	words = writer->tx;
	for (int i = 0; words->ring_bits != CW_RING_MAX_BITS || cw_state_of(words->state) != CW_LIVE; i++) {
		ck_assert_int_lt(i, 1000);
		while (put_some(4096) > 0 && (written < 1 << 20 || cw_state_of(words->state) != CW_LIVE))
			;
		drain();
	}
	ck_assert(writer->bounded && reader->clamped);
	ck_assert_uint_eq(words->roff, words->widx);
}

/* All of a ring was told, and the kernel has less room than that. */
START_TEST(what_the_kernel_has_no_room_for_stays_in_the_ring)
{
	uint64_t word;

	in_bulk();
	while (CW_RING_MAX - (words->widx - words->roff) >= 4096)
		ck_assert_int_eq(put_some(4096), 4096);
	word = words->state;
	ck_assert(cw_switch_fall_asleep(reader, &word, words->widx));
	words->rx_asleep = (uint32_t)_i; /* another reads there, too slow to wait for */
	for (int i = 0; put_some(4096) > 0; i++)
		ck_assert_int_lt(i, 1000);
	ck_assert_int_eq(errno, EAGAIN);
	ck_assert(!writer->broken);
	words->rx_asleep = 0;
	the_rest_comes_in_order();
}
END_TEST

static void *put_one(void *ignored)
{
	while (!(words->state & CW_MARK_RESEND))
		sched_yield();
	put_some(100);
	return NULL;
}

/* What a reader asks for that leaves is not kept back by our bound of what may wait in the kernel. */
START_TEST(room_is_made_for_what_is_asked_for)
{
	pthread_t other;

	asleep_behind_a_full_kernel(true);
	ck_assert_int_eq(pthread_create(&other, NULL, put_one, NULL), 0);
	ck_assert(cw_leave_whole(reader, pair.fd[1], CW_REASON_option));
	pthread_join(other, NULL);
	the_rest_comes_in_order();
}
END_TEST

/* A reader that leaves while a take back has begun and not ended: the next program would read a gap. */
START_TEST(who_leaves_waits_for_the_end_of_a_take_back)
{
	uint64_t word = asleep_with("hello");

	ck_assert(cw_state_step(&words->state, &word, CW_TAKEN));
	if (_i)
		words->tx_kernel_op = CW_TAKING_BACK; /* and its writer was killed */
	cw_leave_to(reader, pair.fd[1], CW_REASON_executed);
	ck_assert_int_eq(reader->broken, _i);
}
END_TEST

static unsigned char *hidden;
static ssize_t sent_by_handler;

static void send_on_top(int number)
{
	mprotect(hidden, 4096, PROT_READ | PROT_WRITE);
	sent_by_handler = cw_send(writer, pair.fd[0], "handler", 7, 0);
}

/* A signal handler sends while the send below it copies: the first byte that is copied faults, and the handler is on top of that. */
START_TEST(a_handler_sends_in_the_middle_of_a_copy)
{
	static const size_t sizes[] = {100, 4096, 20000};
	size_t size = sizes[_i % 3], all = size + 7, got = 0;
	unsigned char wanted[2][20007], taken[20007];

	uint64_t word = asleep_with("!");
	char first;

	ck_assert(cw_switch_wake(reader, &word));
	ck_assert_int_eq(cw_receive(reader, pair.fd[1], &first, 1, 0), 1);
	signal(SIGSEGV, send_on_top);
	for (int round = 0; round < 3; round++) {
		/* The ring is LIVE again: the reader offers it, and the writer takes it. */
		for (int turns = 0; cw_state_of(words->state) != CW_LIVE && turns < 100; turns++) {
			ck_assert_int_eq(cw_send(writer, pair.fd[0], "!", 1, 0), 1);
			ck_assert_int_eq(cw_receive(reader, pair.fd[1], &first, 1, 0), 1);
		}
		ck_assert_int_eq(cw_state_of(words->state), CW_LIVE);
		hidden = mmap(NULL, 20480, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		for (size_t i = 0; i < size; i++)
			hidden[i] = (unsigned char)(i * 7 + (size_t)round);
		memcpy(wanted[0], hidden, size);
		memcpy(wanted[0] + size, "handler", 7);
		memcpy(wanted[1], "handler", 7);
		memcpy(wanted[1] + 7, hidden, size);
		mprotect(hidden, 4096, PROT_NONE);
		sent_by_handler = 0;
		if (_i < 3) {
			ck_assert_int_eq(cw_send(writer, pair.fd[0], hidden, size, 0), (ssize_t)size);
		} else {
			struct iovec iov[2] = {{hidden, size / 2}, {hidden + size / 2, size - size / 2}};

			ck_assert_int_eq(cw_send_iov(writer, pair.fd[0], iov, 2, 0), (ssize_t)size);
		}
		ck_assert_int_eq(sent_by_handler, 7);
		for (got = 0; got < all;) {
			ssize_t part = cw_receive(reader, pair.fd[1], taken + got, all - got, 0);

			ck_assert_int_gt(part, 0);
			got += (size_t)part;
		}
		ck_assert(memcmp(taken, wanted[0], all) == 0 || memcmp(taken, wanted[1], all) == 0);
		munmap(hidden, 20480);
	}
}
END_TEST

/* ---- offers of who always sleeps ---- */

/* A byte through the kernel. True: and then the reader offers, and takes it back, as it does before it sleeps. */
static bool offers_after_one(void)
{
	uint64_t word;
	char byte;

	ck_assert_int_eq(cw_send(writer, pair.fd[0], "!", 1, 0), 1);
	ck_assert_int_eq(cw_receive(reader, pair.fd[1], &byte, 1, 0), 1);
	word = words->state;
	return cw_state_of(word) == CW_CONSENT && cw_switch_withdraw(reader, &word);
}

static unsigned offers_after(unsigned messages)
{
	unsigned offers = 0;

	for (unsigned i = 0; i < messages; i++)
		offers += offers_after_one();
	return offers;
}

START_TEST(offers_in_vain_become_rarer)
{
	uint64_t word;
	char byte;

	asleep_with("hello");
	word = words->state;
	ck_assert(cw_switch_take_back(writer, pair.fd[0], &word));
	comes_by_kernel("hello");
	words->roff = words->woff; /* as if it had been read by us */
	ck_assert_uint_ge(offers_after(5), 4);
	ck_assert_uint_le(offers_after(100), 10);
	ck_assert_uint_ge(offers_after(100), 2);
	/* One that is taken. */
	do {
		ck_assert_int_eq(cw_send(writer, pair.fd[0], "!", 1, 0), 1);
		ck_assert_int_eq(cw_receive(reader, pair.fd[1], &byte, 1, 0), 1);
	} while (cw_state_of(words->state) == CW_TAKEN);
	ck_assert_int_eq(cw_send(writer, pair.fd[0], "!", 1, 0), 1);
	ck_assert_int_eq(cw_state_of(words->state), CW_LIVE);
	ck_assert_int_eq(cw_receive(reader, pair.fd[1], &byte, 1, 0), 1);
	word = words->state;
	ck_assert(cw_switch_fall_asleep(reader, &word, words->widx));
	while (!offers_after_one())
		;
	ck_assert_uint_ge(offers_after(4), 3);
	ck_assert(!writer->broken && !reader->broken);
}
END_TEST

/* A socket that comes to the same place begins anew. */
START_TEST(a_stream_does_not_inherit_what_was_learned)
{
	asleep_with("hello");
	reader->offers_in_vain = writer->offers_in_vain = reader->linger_shift = 9;
	pair_close(reader, pair.fd[1]);
	pair_close(writer, pair.fd[0]);
	pair_connect(&pair);
	reader = pair_open(&pair, 1);
	ck_assert_uint_eq(reader->offers_in_vain, 0);
	ck_assert_uint_eq(reader->linger_shift, 0);
}
END_TEST

/* ---- an offer that stands ---- */

/* So many bytes in messages of this size, an offer standing each time that all is read; how often it would be waited for. */
static unsigned waits_in(uint64_t bytes, size_t message, bool by_kernel)
{
	unsigned waits = 0;

	for (uint64_t i = 0; i < bytes / message; i++) {
		words->roff += message;
		if (by_kernel)
			cw_switch_bound_in(reader, pair.fd[1], message);
		waits += cw_switch_lingers(reader);
	}
	return waits;
}

/* Who waits for answers doesn't send while its reader waits: a millisecond each 64 KiB was half as much again of each round of 64 bytes. */
START_TEST(an_offer_is_not_waited_for_in_vain)
{
	unsigned waits;
	char byte;

	open_both();
	words = writer->tx;
	ck_assert_int_eq(cw_send(writer, pair.fd[0], "!", 1, 0), 1);
	ck_assert_int_eq(cw_receive(reader, pair.fd[1], &byte, 1, 0), 1);
	ck_assert_int_eq(cw_state_of(words->state), CW_CONSENT);
	waits = waits_in(1 << 20, 64, true);
	ck_assert_uint_ge(waits, 1);
	ck_assert_uint_le(waits, 6);
	ck_assert_uint_le(waits_in(64 << 20, 4096, true), 12);
	/* Where it helps, which shows in most coming by ring afterwards, it is done as often as before. */
	waits_in(128 << 20, 4096, false);
	ck_assert_uint_ge(waits_in(1 << 20, 4096, false), 8);
}
END_TEST

int main(void)
{
	SRunner *runner;
	TCase *units = units_of("steps", 30, &runner);

	tcase_add_test(units, a_mark_does_not_silence_the_doorbell);
	tcase_add_test(units, a_mark_does_not_keep_asleep);
	tcase_add_test(units, who_has_woken_needs_no_doorbell);
	tcase_add_test(units, nobody_sleeps_beside_bytes);
	tcase_add_test(units, a_closing_writer_sends_again_what_is_asked_for);
	tcase_add_test(units, what_was_told_stays_behind_a_full_kernel);
	tcase_add_loop_test(units, what_a_full_kernel_does_not_take_is_not_sent, 0, 2);
	tcase_add_loop_test(units, what_was_told_and_not_sent_is_told_again, 0, 2);
	tcase_add_test(units, who_reads_beside_what_was_told_is_not_sealed);
	tcase_add_test(units, nothing_is_taken_back_beside_who_reads_a_full_kernel);
	tcase_add_loop_test(units, what_the_kernel_has_no_room_for_stays_in_the_ring, 0, 2);
	tcase_add_test(units, room_is_made_for_what_is_asked_for);
	tcase_add_loop_test(units, who_leaves_waits_for_the_end_of_a_take_back, 0, 2);
	tcase_add_loop_test(units, a_handler_sends_in_the_middle_of_a_copy, 0, 6);
	tcase_add_test(units, offers_in_vain_become_rarer);
	tcase_add_test(units, a_stream_does_not_inherit_what_was_learned);
	tcase_add_test(units, an_offer_is_not_waited_for_in_vain);
	return run_units(runner);
}
