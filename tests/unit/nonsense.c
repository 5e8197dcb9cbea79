/*
 * One word of a slot alone is wrong, and one call meets it. It ends the connection with ECONNRESET, counted, or it is an ordinary result
 * where the word may have that value; whatever else the stream is asked for then comes back too. Many words at once: fuzz.c.
 */
#include "pair.h"

#include <stddef.h>
#include <sys/epoll.h>

#include "sockets/pending.h"
#include "sockets/poll.h"
#include "sockets/set.h"

#define SIZE    (1ull << CW_RING_MIN_BITS)
#define NOBODY  ((1u << 22) + 1) /* no thread has such an id */
#define LIMIT   1000             /* ms, for waits that must not wait */
#define FOREVER (1ull << 62)

static struct pair pair;
static struct cw_stream *writer, *reader;
static struct cw_direction *words;

/* One direction, LIVE: 1 byte has gone through the kernel, "hello" is in the ring. */
static void setup(void)
{
	char byte;

	if (cw_arena_find(PAIR_ARENA)) /* again in this process */
		pair_connect(&pair);
	else
		pair_make(&pair);
	pair_start(0);
	writer = pair_open(&pair, 0);
	reader = pair_open(&pair, 1);
	words = writer->tx;
	ck_assert_int_eq(cw_send(writer, pair.fd[0], "!", 1, 0), 1);
	ck_assert_int_eq(cw_receive(reader, pair.fd[1], &byte, 1, 0), 1);
	ck_assert_int_eq(cw_send(writer, pair.fd[0], "hello", 5, 0), 5);
	ck_assert_int_eq(cw_state_of(words->state), CW_LIVE);
	ck_assert_uint_eq(words->up, 1);
	ck_assert_uint_eq(words->widx, 6);
	ck_assert_uint_eq(words->roff, 1);
	ck_assert_uint_eq(words->ring_bits, CW_RING_MIN_BITS);
}

static void go_to(enum cw_state state)
{
	words->state = (words->state & ~CW_STATE_MASK) | state;
}

enum word { STATE, WIDX, ROFF, UP, SEAL, CLASS, CREDIT };

static void set(enum word word, uint64_t value)
{
	switch (word) {
	case STATE:
		go_to((enum cw_state)value);
		break;
	case WIDX:
		words->widx = value;
		break;
	case ROFF:
		words->roff = value;
		break;
	case UP:
		words->up = value;
		break;
	case SEAL:
		go_to(CW_SEALED);
		words->seal = value;
		break;
	case CLASS:
		words->ring_bits = (uint32_t)value;
		break;
	case CREDIT:
		words->tx_credit = value;
		break;
	}
}

/* docs/caveats.md: what a reset by us does to the socket's own name. The one that was accepted has its listener's, which was bound. */
static void check_disconnected(int fd)
{
	struct sockaddr_in own;
	socklen_t length = sizeof(own);

	ck_assert_int_eq(getpeername(fd, (struct sockaddr *)&own, &length), -1);
	ck_assert_int_eq(errno, ENOTCONN);
	length = sizeof(own);
	ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&own, &length), 0);
	ck_assert_uint_eq(own.sin_addr.s_addr, htonl(fd == pair.fd[0] ? INADDR_ANY : INADDR_LOOPBACK));
}

static void check_broken(struct cw_stream *stream, int fd, ssize_t result)
{
	char bytes[8];

	ck_assert_int_eq(result, -1);
	ck_assert_int_eq(errno, ECONNRESET);
	ck_assert(stream->broken);
	ck_assert_uint_eq(cw_counters(stream)[CW_COUNT_broken], 1);
	ck_assert_int_eq(cw_own_book.entry[stream->number].kind, CW_ENTRY_DEMOTED);
	ck_assert_int_eq(cw_receive(stream, fd, bytes, sizeof(bytes), 0), -1);
	ck_assert_int_eq(errno, ECONNRESET);
	ck_assert_int_eq(cw_send(stream, fd, "x", 1, MSG_NOSIGNAL), -1);
	ck_assert_int_eq(errno, ECONNRESET);
	ck_assert_uint_eq(cw_counters(stream)[CW_COUNT_broken], 1);
	check_disconnected(fd);
}

static void close_both(void)
{
	pair_close(writer, pair.fd[0]);
	pair_close(reader, pair.fd[1]);
}

/* ---- the reader's ---- */

static const struct wrong {
	enum word word;
	uint64_t value;
} reader_resets[] = {
	{STATE, 5},
	{STATE, 6},
	{STATE, 7},
	{WIDX, 0},
	{WIDX, 1 + SIZE + 1},
	{WIDX, UINT64_MAX},
	{WIDX, FOREVER},
	{ROFF, 7},
	{ROFF, FOREVER},
	{SEAL, 0},
	{SEAL, 1 + SIZE + 1},
	{SEAL, FOREVER},
	{CLASS, 0},
	{CLASS, 11},
	{CLASS, 19},
	{CLASS, 63},
	{CLASS, 64},
	{CLASS, 64 + CW_RING_MIN_BITS},
	{CLASS, UINT32_MAX - 1},
	{CLASS, UINT32_MAX},
};

static const int reader_flags[] = {0, MSG_DONTWAIT, MSG_WAITALL, MSG_TRUNC, MSG_PEEK, MSG_PEEK | MSG_DONTWAIT, MSG_PEEK | MSG_WAITALL};

START_TEST(a_reader_resets)
{
	const struct wrong *wrong = &reader_resets[_i];
	char bytes[64];
	struct iovec iov[2] = {{bytes, 8}, {bytes + 8, 8}};

	for (size_t i = 0; i < CW_ARRAY_SIZE(reader_flags); i++)
		for (int pieces = 0; pieces < 2; pieces++) {
			setup();
			set(wrong->word, wrong->value);
			alarm(20);
			check_broken(reader, pair.fd[1],
				     pieces ? cw_receive_iov(reader, pair.fd[1], iov, 2, reader_flags[i])
					    : cw_receive(reader, pair.fd[1], bytes, sizeof(bytes), reader_flags[i]));
			close_both();
		}
}
END_TEST

/* Who waits is told to look, and asking how much there is harms nobody. */
START_TEST(a_waiter_is_told)
{
	const struct wrong *wrong = &reader_resets[_i];
	struct epoll_event event = {.events = EPOLLIN};
	struct pollfd readable;
	int set_fd = epoll_create1(EPOLL_CLOEXEC);
	char bytes[64];

	setup();
	cw_set_open(set_fd);
	ck_assert_int_eq(cw_set_control(cw_set_of(set_fd), set_fd, EPOLL_CTL_ADD, pair.fd[1], &event), 0);
	set(wrong->word, wrong->value);
	alarm(20);
	readable = (struct pollfd){.fd = pair.fd[1], .events = POLLIN};
	ck_assert_int_eq(cw_poll(&readable, 1, LIMIT), 1);
	ck_assert_int_eq(cw_set_wait(set_fd, &event, 1, LIMIT * 1000000ll, NULL), 1);
	ck_assert_int_ge(cw_pending_in(reader, pair.fd[1]), 0);
	ck_assert_int_ge(cw_pending_out(writer), 0);
	check_broken(reader, pair.fd[1], cw_receive(reader, pair.fd[1], bytes, sizeof(bytes), 0));
	close_both();
}
END_TEST

/* An offset before which all came, or comes, through the kernel: it has nothing. */
START_TEST(a_reader_finds_nothing)
{
	static const struct wrong wrong[] = {{UP, 2}, {UP, 7}, {UP, FOREVER}, {ROFF, 0}, {STATE, CW_TAKEN}, {STATE, CW_CONSENT}};
	struct pollfd readable;
	char bytes[64];

	setup();
	set(wrong[_i].word, wrong[_i].value);
	alarm(20);
	ck_assert_int_eq(cw_receive(reader, pair.fd[1], bytes, sizeof(bytes), MSG_DONTWAIT), -1);
	ck_assert_int_eq(errno, EAGAIN);
	ck_assert_int_eq(cw_receive(reader, pair.fd[1], bytes, sizeof(bytes), MSG_PEEK | MSG_DONTWAIT), -1);
	ck_assert_int_eq(errno, EAGAIN);
	ck_assert(!reader->broken);
	readable = (struct pollfd){.fd = pair.fd[1], .events = POLLIN};
	cw_poll(&readable, 1, 20);
	/* The end of the kernel's part is the end of the stream, for who waits too. */
	shutdown(pair.fd[0], SHUT_WR);
	ck_assert_int_le(cw_receive(reader, pair.fd[1], bytes, sizeof(bytes), MSG_PEEK | MSG_WAITALL), 0);
	ck_assert_int_le(cw_receive(reader, pair.fd[1], bytes, sizeof(bytes), 0), 0);
	close_both();
}
END_TEST

/* Sealed empty, and what is said to be in the kernel is not there: a wait with a limit ends. */
START_TEST(a_poll_beside_an_empty_seal_ends)
{
	struct epoll_event event = {.events = EPOLLIN | (_i ? EPOLLET : 0)};
	struct pollfd readable;
	int set_fd = epoll_create1(EPOLL_CLOEXEC);

	setup();
	cw_set_open(set_fd);
	ck_assert_int_eq(cw_set_control(cw_set_of(set_fd), set_fd, EPOLL_CTL_ADD, pair.fd[1], &event), 0);
	words->up = words->seal = words->widx = words->roff + 1;
	go_to(CW_SEALED);
	alarm(20);
	readable = (struct pollfd){.fd = pair.fd[1], .events = POLLIN};
	ck_assert_int_eq(cw_poll(&readable, 1, 20), 0);
	ck_assert_int_eq(cw_set_wait(set_fd, &event, 1, 20000000, NULL), 0);
	close_both();
}
END_TEST

/* The kernel has bytes that no writer of ours would send there now: they are read, and nobody turns for ever. */
START_TEST(bytes_beside_the_ring_are_read)
{
	static const int flags[] = {MSG_DONTWAIT, 0, MSG_WAITALL, MSG_PEEK | MSG_DONTWAIT, MSG_PEEK};
	char bytes[64];
	size_t wanted = flags[_i] & MSG_WAITALL ? 8 : sizeof(bytes);

	setup();
	alarm(20);
	if (!(flags[_i] & MSG_WAITALL))
		ck_assert_int_eq(cw_receive(reader, pair.fd[1], bytes, 5, 0), 5);
	ck_assert_int_eq(send(pair.fd[0], "abc", 3, 0), 3);
	ck_assert_int_eq(cw_receive(reader, pair.fd[1], bytes, wanted, flags[_i]), flags[_i] & MSG_WAITALL ? 8 : 3);
	close_both();
}
END_TEST

/* ---- the writer's ---- */

static const struct wrong writer_resets[] = {
	{STATE, 5},          {STATE, 6},      {STATE, 7},  {WIDX, SIZE + 2},  {WIDX, 0},
	{WIDX, UINT64_MAX},  {WIDX, FOREVER}, {CREDIT, 7}, {CREDIT, FOREVER}, {CLASS, 0},
	{CLASS, 11},         {CLASS, 19},     {CLASS, 63}, {CLASS, 64},       {CLASS, 64 + CW_RING_MIN_BITS},
	{CLASS, UINT32_MAX},
};

START_TEST(a_writer_resets)
{
	const struct wrong *wrong = &writer_resets[_i];
	char bytes[64];
	struct iovec iov[2] = {{bytes, 8}, {bytes + 8, 8}};
	off_t from = 0;
	FILE *file = tmpfile();

	ck_assert_ptr_nonnull(file);
	ck_assert_int_eq(pwrite(fileno(file), "0123456789", 10, 0), 10);
	for (int how = 0; how < 4; how++) {
		if (how == 3 && wrong->word == STATE)
			continue; /* goes to the kernel by itself: below */
		setup();
		set(wrong->word, wrong->value);
		alarm(20);
		if (how == 2)
			cw_poll(&(struct pollfd){.fd = pair.fd[0], .events = POLLOUT}, 1, LIMIT);
		check_broken(writer, pair.fd[0],
			     how == 0   ? cw_send(writer, pair.fd[0], bytes, sizeof(bytes), 0)
			     : how == 1 ? cw_send_iov(writer, pair.fd[0], iov, 2, 0)
			     : how == 2 ? cw_send(writer, pair.fd[0], bytes, sizeof(bytes), MSG_DONTWAIT)
					: cw_send_file(writer, pair.fd[0], fileno(file), &from, 10));
		close_both();
	}
	fclose(file);
}
END_TEST

/* The reader is said to sleep: what is to be sent again for it is not there. */
START_TEST(a_doorbell_resets)
{
	static const struct wrong wrong[] = {{ROFF, 7},   {ROFF, FOREVER}, {WIDX, 0},   {WIDX, SIZE + 2},   {UP, FOREVER},
					     {CLASS, 11}, {CLASS, 63},     {CLASS, 64}, {CLASS, UINT32_MAX}};

	setup();
	go_to(CW_ASLEEP);
	set(wrong[_i].word, wrong[_i].value);
	alarm(20);
	check_broken(writer, pair.fd[0], cw_send(writer, pair.fd[0], "x", 1, 0));
	close_both();
}
END_TEST

/* ---- what both count, and their locks ---- */

START_TEST(counts_are_not_believed)
{
	static const uint32_t values[] = {1, 7, UINT32_MAX};
	struct cw_slot *slot;
	char bytes[8];

	setup();
	slot = writer->slot;
	for (int i = 0; i < 2; i++) {
		slot->direction[i].rx_asleep = slot->direction[i].tx_in_kernel = values[_i];
		slot->direction[i].rx_shared = slot->direction[i].tx_shared = slot->direction[i].tx_bits = values[_i];
		slot->direction[i].tx_lock.waiters = slot->direction[i].rx_lock.waiters = values[_i];
		slot->end[i].holders = slot->end[i].processor = slot->end[i].rcvbuf = values[_i];
	}
	alarm(20);
	ck_assert_int_eq(cw_receive(reader, pair.fd[1], bytes, sizeof(bytes), 0), 5);
	ck_assert_int_eq(cw_send(writer, pair.fd[0], "again", 5, 0), 5);
	ck_assert_int_eq(cw_receive(reader, pair.fd[1], bytes, sizeof(bytes), 0), 5);
	ck_assert_int_eq(cw_send(reader, pair.fd[1], "and back", 8, 0), 8);
	ck_assert_int_eq(cw_receive(writer, pair.fd[0], bytes, sizeof(bytes), MSG_WAITALL), 8);
	ck_assert(!reader->broken && !writer->broken);
	close_both();
}
END_TEST

START_TEST(a_lock_of_nobody_is_taken)
{
	static const uint32_t holders[] = {NOBODY, 1u << 31, UINT32_MAX};
	char bytes[8];

	setup();
	alarm(20);
	words->rx_lock.holder = words->tx_lock.holder = holders[_i];
	ck_assert_int_eq(cw_receive(reader, pair.fd[1], bytes, sizeof(bytes), 0), 5);
	ck_assert_int_eq(cw_send(writer, pair.fd[0], "again", 5, 0), 5);
	ck_assert_uint_eq(cw_counters(reader)[CW_COUNT_recovered], 1);
	ck_assert_uint_eq(cw_counters(writer)[CW_COUNT_recovered], 1);
	words->rx_lock.holder = holders[_i];
	words->rx_kernel_op = 1; /* in the middle of a call: what it took is not known */
	check_broken(reader, pair.fd[1], cw_receive(reader, pair.fd[1], bytes, sizeof(bytes), 0));
	close_both();
}
END_TEST

START_TEST(a_lock_that_is_not_given_back_resets)
{
	char bytes[8];

	setup();
	alarm(40);
	words->rx_lock.holder = words->tx_lock.holder = (uint32_t)getppid(); /* it lives */
	check_broken(reader, pair.fd[1], cw_receive(reader, pair.fd[1], bytes, sizeof(bytes), 0));
	check_broken(writer, pair.fd[0], cw_send(writer, pair.fd[0], "x", 1, MSG_NOSIGNAL));
	close_both();
}
END_TEST

int main(void)
{
	SRunner *runner;
	TCase *units = units_of("nonsense", 60, &runner);

	tcase_add_loop_test(units, a_reader_resets, 0, CW_ARRAY_SIZE(reader_resets));
	tcase_add_loop_test(units, a_waiter_is_told, 0, CW_ARRAY_SIZE(reader_resets));
	tcase_add_loop_test(units, a_reader_finds_nothing, 0, 6);
	tcase_add_loop_test(units, a_poll_beside_an_empty_seal_ends, 0, 2);
	tcase_add_loop_test(units, bytes_beside_the_ring_are_read, 0, 5);
	tcase_add_loop_test(units, a_writer_resets, 0, CW_ARRAY_SIZE(writer_resets));
	tcase_add_loop_test(units, a_doorbell_resets, 0, 9);
	tcase_add_loop_test(units, counts_are_not_believed, 0, 3);
	tcase_add_loop_test(units, a_lock_of_nobody_is_taken, 0, 3);
	tcase_add_test(units, a_lock_that_is_not_given_back_resets);
	return run_units(runner);
}
