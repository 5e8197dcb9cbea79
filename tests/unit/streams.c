/*
 * sockets/: two ends of a moved stream in two processes, over a real connection and without a service. What one writes the other must read,
 * whatever the state goes through; each wait has a limit, after which a signal ends the process that waits.
 */
#include "pair.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>

#include "sockets/leave.h"
#include "sockets/pending.h"
#include "sockets/poll.h"
#include "sockets/receiving.h"
#include "sockets/sending.h"

#define SECONDS 60

static struct pair pair;
/* What the processes tell each other and the test, beside the stream. */
static struct told {
	_Atomic uint64_t sent[2], received[2], ring_in[2], doorbells, seals, switches, slept;
	_Atomic int stop;
} * told;
static uint64_t total;

static void setup(void)
{
	pair_make(&pair);
	told = shared_memory(sizeof(*told));
}

static unsigned char content(unsigned end, uint64_t offset)
{
	return (unsigned char)((offset * 2654435761u >> 13) + end);
}

static void tell(struct cw_stream *stream, unsigned end)
{
	const uint64_t *counter = cw_counters(stream);

	told->ring_in[end] += counter[CW_COUNT_bytes_ring_in];
	told->doorbells += counter[CW_COUNT_doorbells];
	told->seals += counter[CW_COUNT_seals];
	told->switches += counter[CW_COUNT_switches];
	told->slept += counter[CW_COUNT_sleeps];
}

static void ended_well(pid_t child)
{
	int status;

	ck_assert_int_eq(waitpid(child, &status, 0), child);
	if (WIFSIGNALED(status))
		ck_abort_msg("a process was ended by signal %d after %lu and %lu bytes sent, %lu and %lu received", WTERMSIG(status),
			     told->sent[0], told->sent[1], told->received[0], told->received[1]);
	ck_assert_int_eq(WEXITSTATUS(status), 0);
}

/* ---- ping-pong ---- */

static void send_all(struct cw_stream *stream, int fd, const void *bytes, size_t count)
{
	const char *from = bytes;

	while (count) {
		ssize_t sent = cw_send(stream, fd, from, count, MSG_NOSIGNAL);

		if (sent <= 0)
			give_up("send: %zd, %m", sent);
		from += sent;
		count -= (size_t)sent;
	}
}

static int ping(struct cw_stream *stream, int fd, struct pair *unused)
{
	uint64_t seed = 31, answer;

	for (uint64_t message = 1; message <= total; message++) {
		send_all(stream, fd, &message, sizeof(message));
		told->sent[0] += sizeof(message);
		for (uint64_t i = next_random(&seed) % 64; i > 0; i--)
			cw_pause();
		if (cw_receive(stream, fd, &answer, sizeof(answer), MSG_WAITALL) != sizeof(answer) || answer != ~message)
			give_up("a wrong answer to %lu", (unsigned long)message);
		told->received[0] += sizeof(message);
	}
	tell(stream, 0);
	pair_close(stream, fd);
	return 0;
}

static int pong(struct cw_stream *stream, int fd, struct pair *unused)
{
	uint64_t message, before = 0;
	ssize_t got;

	while ((got = cw_receive(stream, fd, &message, sizeof(message), MSG_WAITALL)) == sizeof(message)) {
		if (message != ++before)
			give_up("message %lu instead of %lu", (unsigned long)message, (unsigned long)before);
		told->received[1] += sizeof(message);
		message = ~message;
		send_all(stream, fd, &message, sizeof(message));
		told->sent[1] += sizeof(message);
	}
	tell(stream, 1);
	if (got != 0)
		give_up("%zd at the end, %m", got);
	return 0;
}

static const long looks[] = {50, 0, 3};

START_TEST(ping_pong)
{
	pid_t one, other;

	total = looks[_i] ? 20000 : 3000;
	setup();
	one = pair_child(&pair, 0, looks[_i], SECONDS, ping);
	other = pair_child(&pair, 1, looks[_i], SECONDS, pong);
	pair_leave(&pair);
	ended_well(one);
	ended_well(other);
	if (looks[_i] == 50 && sysconf(_SC_NPROCESSORS_ONLN) > 1) { /* else they may sleep each time */
		ck_assert_uint_gt(told->ring_in[0], 0);
		ck_assert_uint_gt(told->ring_in[1], 0);
		ck_assert_uint_gt(told->switches, 0);
	}
	ck_assert_uint_gt(told->slept, 0);
}
END_TEST

/*
 * Marks come at any time, from a thread of the peer, another holder, or the service. A step that fails because of one has not lost against
 * the other side. The bit is one that means nothing; it is turned on and off, as real ones can't be, so that it comes often.
 */
static void turn_marks(void)
{
	struct cw_slot *slot = cw_arena_slot(&pair.arena, 0);
	uint64_t seed = 5;

	alarm(SECONDS);
	while (!told->stop) {
		struct cw_direction *direction = &slot->direction[next_random(&seed) % 2];

		for (uint64_t i = next_random(&seed) % 16; i > 0; i--)
			atomic_fetch_xor(&direction->state, 1ull << 15);
	}
}

START_TEST(marks_at_any_time)
{
	pid_t one, other, third;

	total = 4000;
	setup();
	one = pair_child(&pair, 0, looks[_i], SECONDS, ping);
	other = pair_child(&pair, 1, looks[_i], SECONDS, pong);
	third = fork();
	if (third == 0) {
		pair_leave(&pair);
		turn_marks();
		_exit(0);
	}
	pair_leave(&pair);
	ended_well(one);
	ended_well(other);
	told->stop = 1;
	ended_well(third);
	ck_assert_uint_gt(told->doorbells + told->slept, 0);
}
END_TEST

/* ---- streams of random calls ---- */

static uint64_t seed_of(unsigned end, unsigned role)
{
	return 1000003 * (uint64_t)(total % 1009 + 1) + 7 * end + role;
}

static size_t some_size(uint64_t *seed)
{
	switch (next_random(seed) % 4) {
	case 0:
		return next_random(seed) % 16 + 1;
	case 1:
		return next_random(seed) % 2000 + 1;
	case 2:
		return next_random(seed) % 40000 + 1;
	default:
		return next_random(seed) % 300000 + 1;
	}
}

#define MOST 300000u

/* One end's writer: a thread beside its reader, as a program may have. */
struct writing {
	struct cw_stream *stream;
	int fd;
	unsigned end;
};

static int file_of(const unsigned char *bytes, size_t count)
{
	int file = memfd_create("unit", MFD_CLOEXEC);

	if (file < 0 || write(file, bytes, count) != (ssize_t)count)
		give_up("no file: %m");
	return file;
}

static ssize_t send_somehow(const struct writing *writing, const unsigned char *bytes, size_t count, uint64_t *seed)
{
	struct iovec iov[3];
	ssize_t sent;
	off_t from = 0;
	int file;

	switch (next_random(seed) % 8) {
	case 0: /* in pieces, one of them empty */
		iov[0] = (struct iovec){(void *)bytes, count / 3};
		iov[1] = (struct iovec){(void *)bytes, 0};
		iov[2] = (struct iovec){(void *)(bytes + count / 3), count - count / 3};
		return cw_send_iov(writing->stream, writing->fd, iov, 3, MSG_NOSIGNAL);
	case 1: /* from a file */
		if (count > 20000)
			count = 20000;
		file = file_of(bytes, count);
		sent = cw_send_file(writing->stream, writing->fd, file, &from, count);
		close(file);
		return sent;
	case 2: /* without waiting */
		sent = cw_send(writing->stream, writing->fd, bytes, count, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (sent >= 0 || errno != EAGAIN)
			return sent;
		struct pollfd writable = {.fd = writing->fd, .events = POLLOUT};
		return cw_poll(&writable, 1, -1) < 0 ? -1 : 0;
	case 3: { /* by a call that only the kernel serves */
		struct msghdr message = {.msg_iov = iov, .msg_iovlen = 1};

		iov[0] = (struct iovec){(void *)bytes, count};
		if (next_random(seed) % 8)
			return cw_send_iov(writing->stream, writing->fd, iov, 1, MSG_NOSIGNAL);
		return cw_send_message(writing->stream, writing->fd, &message, MSG_NOSIGNAL);
	}
	default:
		return cw_send(writing->stream, writing->fd, bytes, count, MSG_NOSIGNAL);
	}
}

static void *write_all(void *argument)
{
	const struct writing *writing = argument;
	static __thread unsigned char bytes[MOST];
	uint64_t seed = seed_of(writing->end, 1), at = 0;

	while (at < total) {
		size_t count = some_size(&seed);
		ssize_t sent;

		if (count > total - at)
			count = total - at;
		for (size_t i = 0; i < count; i++)
			bytes[i] = content(writing->end, at + i);
		sent = send_somehow(writing, bytes, count, &seed);
		if (sent < 0)
			give_up("end %u: send at %lu: %m", writing->end, (unsigned long)at);
		at += (uint64_t)sent;
		told->sent[writing->end] = at;
		if (next_random(&seed) % 64 == 0)
			usleep((useconds_t)(next_random(&seed) % 300));
	}
	return NULL;
}

static ssize_t receive_somehow(struct cw_stream *stream, int fd, unsigned char *bytes, size_t count, uint64_t *seed)
{
	struct iovec iov[3] = {{bytes, count / 4}, {bytes, 0}, {bytes + count / 4, count - count / 4}};
	struct pollfd readable = {.fd = fd, .events = POLLIN};
	ssize_t got;

	switch (next_random(seed) % 8) {
	case 0:
		return cw_receive_iov(stream, fd, iov, 3, 0);
	case 1:
		return cw_receive(stream, fd, bytes, count < 5000 ? count : 5000, MSG_WAITALL);
	case 2:
		got = cw_receive(stream, fd, bytes, count, MSG_DONTWAIT);
		if (got >= 0 || errno != EAGAIN)
			return got;
		return cw_poll(&readable, 1, -1) < 0 ? -1 : -2;
	case 3: /* look at it first: what is there is what then comes */
		got = cw_receive(stream, fd, bytes, count, MSG_PEEK);
		if (got <= 0)
			return got;
		if (cw_pending_in(stream, fd) < (int)(got < 100 ? got : 100))
			give_up("%d bytes wait, of which %zd were seen", cw_pending_in(stream, fd), got);
		unsigned char again[64];
		size_t part = (size_t)got < sizeof(again) ? (size_t)got : sizeof(again);
		if (cw_receive(stream, fd, again, part, MSG_WAITALL) != (ssize_t)part || memcmp(again, bytes, part))
			give_up("other bytes than were seen before");
		return (ssize_t)part;
	default:
		return cw_receive(stream, fd, bytes, count, 0);
	}
}

static uint64_t leave_at = UINT64_MAX;

static void read_all(struct cw_stream *stream, int fd, unsigned end)
{
	static unsigned char bytes[MOST];
	uint64_t seed = seed_of(end, 2), at = 0;

	while (at < total) {
		ssize_t got = receive_somehow(stream, fd, bytes, some_size(&seed), &seed);

		if (got == -2)
			continue;
		if (got <= 0)
			give_up("end %u: %zd after %lu bytes, %m", end, got, (unsigned long)at);
		for (size_t i = 0; i < (size_t)got; i++)
			if (bytes[i] != content(1 - end, at + i))
				give_up("end %u: byte %lu is wrong", end, (unsigned long)(at + i));
		at += (uint64_t)got;
		told->received[end] = at;
		if (at >= leave_at) {
			cw_leave(stream, CW_REASON_option);
			leave_at = UINT64_MAX;
		}
		if (next_random(&seed) % 64 == 0)
			usleep((useconds_t)(next_random(&seed) % 300));
	}
	if (at != total)
		give_up("end %u: %lu bytes too many", end, (unsigned long)(at - total));
}

static int both_ways(struct cw_stream *stream, int fd, unsigned end)
{
	struct writing writing = {stream, fd, end};
	pthread_t writer;

	if (pthread_create(&writer, NULL, write_all, &writing))
		give_up("no thread");
	read_all(stream, fd, end);
	pthread_join(writer, NULL);
	tell(stream, end);
	pair_close(stream, fd);
	return 0;
}

static int first_end(struct cw_stream *stream, int fd, struct pair *unused)
{
	return both_ways(stream, fd, 0);
}

static int second_end(struct cw_stream *stream, int fd, struct pair *unused)
{
	return both_ways(stream, fd, 1);
}

START_TEST(random_calls_both_ways)
{
	int small = 8192;
	pid_t one, other;

	total = 30000000 + (uint64_t)_i;
	setup();
	if (_i % 2) /* the kernel's buffers are soon full */
		for (int end = 0; end < 2; end++)
			ck_assert_int_eq(setsockopt(pair.fd[end], SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)), 0);
	one = pair_child(&pair, 0, looks[_i % 3], SECONDS, first_end);
	other = pair_child(&pair, 1, looks[(_i + 1) % 3], SECONDS, second_end);
	pair_leave(&pair);
	ended_well(one);
	ended_well(other);
	ck_assert_uint_eq(told->received[0], total);
	ck_assert_uint_eq(told->received[1], total);
	ck_assert_uint_gt(told->switches, 0);
}
END_TEST

/* ---- leaving ---- */

/* Its reader leaves while its writer writes. */
static int leaving_end(struct cw_stream *stream, int fd, struct pair *unused)
{
	leave_at = total / 3;
	return both_ways(stream, fd, 0);
}

START_TEST(an_end_leaves_in_the_middle)
{
	struct cw_slot *slot;
	pid_t one, other;

	total = 3000000 + (uint64_t)_i;
	setup();
	one = pair_child(&pair, 0, looks[_i % 3], SECONDS, leaving_end);
	other = pair_child(&pair, 1, looks[_i % 3], SECONDS, second_end);
	pair_leave(&pair);
	ended_well(one);
	ended_well(other);
	ck_assert_uint_eq(told->received[0], total);
	ck_assert_uint_eq(told->received[1], total);
	slot = cw_arena_slot(&pair.arena, 0);
	for (int d = 0; d < 2; d++)
		ck_assert_uint_ne(slot->direction[d].state & CW_MARK_LEFT, 0);
}
END_TEST

/* ---- killed ---- */

static int write_for_ever(struct cw_stream *stream, int fd, struct pair *unused)
{
	uint64_t seed = seed_of(0, 3), at = 0;
	unsigned char bytes[3000];

	for (;;) {
		size_t count = next_random(&seed) % sizeof(bytes) + 1;
		ssize_t sent;

		for (size_t i = 0; i < count; i++)
			bytes[i] = content(0, at + i);
		sent = cw_send(stream, fd, bytes, count, MSG_NOSIGNAL);
		if (sent <= 0)
			return 2;
		at += (uint64_t)sent;
		told->sent[0] = at;
		for (uint64_t i = next_random(&seed) % 256; i > 0; i--)
			cw_pause();
	}
}

/* Reads to the end; all that had been sent, and whose send had returned, must have come. */
static int read_to_the_end(struct cw_stream *stream, int fd, struct pair *unused)
{
	static unsigned char bytes[20000];
	uint64_t seed = seed_of(1, 3), at = 0;
	ssize_t got;

	while ((got = cw_receive(stream, fd, bytes, next_random(&seed) % sizeof(bytes) + 1, 0)) > 0) {
		for (size_t i = 0; i < (size_t)got; i++)
			if (bytes[i] != content(0, at + i))
				give_up("byte %lu is wrong", (unsigned long)(at + i));
		at += (uint64_t)got;
		told->received[1] = at;
		if (next_random(&seed) % 8 == 0)
			usleep((useconds_t)(next_random(&seed) % 200));
	}
	if (got < 0)
		give_up("%m after %lu bytes", (unsigned long)at);
	tell(stream, 1);
	return 0;
}

START_TEST(a_killed_writer_loses_nothing_that_was_sent)
{
	uint64_t seed = 17 + (uint64_t)_i;

	for (int round = 0; round < 60; round++) {
		struct cw_slot *slot;
		pid_t one, other;

		if (round)
			pair_connect(&pair);
		else
			setup();
		total = (uint64_t)round;
		*told = (struct told){0};
		slot = cw_arena_slot(&pair.arena, 0);
		one = pair_child(&pair, 0, looks[_i], SECONDS, write_for_ever);
		other = pair_child(&pair, 1, looks[_i], SECONDS, read_to_the_end);
		pair_leave(&pair);
		for (int wait = 0; wait < 2000 && cw_state_of(slot->direction[0].state) == CW_TAKEN; wait++)
			usleep(100);
		usleep((useconds_t)(next_random(&seed) % 3000));
		ck_assert_int_eq(kill(one, SIGKILL), 0);
		ck_assert_int_eq(waitpid(one, NULL, 0), one);
		ended_well(other);
		ck_assert_uint_ge(told->received[1], told->sent[0]);
	}
}
END_TEST

static int read_for_ever(struct cw_stream *stream, int fd, struct pair *unused)
{
	unsigned char bytes[1000];
	ssize_t got;

	while ((got = cw_receive(stream, fd, bytes, sizeof(bytes), 0)) > 0)
		told->received[1] += (uint64_t)got;
	return 2;
}

static int write_to_the_end(struct cw_stream *stream, int fd, struct pair *unused)
{
	static unsigned char bytes[5000];
	ssize_t sent;

	while ((sent = cw_send(stream, fd, bytes, sizeof(bytes), MSG_NOSIGNAL)) > 0)
		told->sent[0] += (uint64_t)sent;
	if (errno != EPIPE && errno != ECONNRESET)
		give_up("send: %m");
	return 0;
}

START_TEST(who_writes_to_a_killed_reader_is_told)
{
	uint64_t seed = 71 + (uint64_t)_i;

	for (int round = 0; round < 40; round++) {
		pid_t one, other;

		if (round)
			pair_connect(&pair);
		else
			setup();
		*told = (struct told){0};
		one = pair_child(&pair, 0, looks[_i], SECONDS, write_to_the_end);
		other = pair_child(&pair, 1, looks[_i], SECONDS, read_for_ever);
		pair_leave(&pair);
		usleep((useconds_t)(next_random(&seed) % 6000));
		ck_assert_int_eq(kill(other, SIGKILL), 0);
		ck_assert_int_eq(waitpid(other, NULL, 0), other);
		ended_well(one);
	}
}
END_TEST

/* Killed, and no service has said so yet: what is sent behind the end that was read must be answered by the kernel, not lie in the ring. */
START_TEST(nothing_by_ring_behind_an_end_without_a_word)
{
	struct cw_stream *writer, *reader;
	unsigned char byte = 0;
	uint64_t widx;

	setup();
	pair_start(0);
	writer = pair_open(&pair, 0);
	reader = pair_open(&pair, 1);
	for (unsigned turns = 0; cw_state_of(writer->tx->state) != CW_LIVE; turns++) {
		ck_assert_uint_lt(turns, 200);
		ck_assert_int_eq(cw_send(writer, pair.fd[0], &byte, 1, 0), 1);
		ck_assert_int_eq(cw_receive(reader, pair.fd[1], &byte, 1, 0), 1);
	}
	close(pair.fd[1]);
	ck_assert_int_eq(cw_receive(writer, pair.fd[0], &byte, 1, 0), 0);
	widx = writer->tx->widx;
	ck_assert_int_eq(cw_send(writer, pair.fd[0], &byte, 1, MSG_NOSIGNAL), 1);
	ck_assert_uint_eq(writer->tx->widx, widx);
}
END_TEST

static void both_ends(struct cw_stream **writer, struct cw_stream **reader)
{
	char byte = 1;

	pair_make(&pair);
	pair_start(0);
	*writer = pair_open(&pair, 0);
	*reader = pair_open(&pair, 1);
	for (int i = 0; i < 1000 && cw_state_of((*writer)->tx->state) != CW_LIVE; i++) {
		ck_assert_int_eq(cw_send(*writer, pair.fd[0], &byte, 1, 0), 1);
		ck_assert_int_eq(cw_receive(*reader, pair.fd[1], &byte, 1, 0), 1);
	}
}

static void *look_for_all(void *reader)
{
	static long switches;
	struct rusage before, after;
	char bytes[10];

	getrusage(RUSAGE_THREAD, &before);
	if (cw_receive(reader, pair.fd[1], bytes, sizeof(bytes), MSG_PEEK | MSG_WAITALL) != sizeof(bytes))
		return NULL;
	getrusage(RUSAGE_THREAD, &after);
	switches = after.ru_nvcsw - before.ru_nvcsw;
	return &switches;
}

/* Idle is idle: it sleeps, and not a thousand times. */
START_TEST(a_look_for_all_sleeps_for_the_rest)
{
	struct cw_stream *writer, *reader;
	pthread_t thread;
	void *switches;

	both_ends(&writer, &reader);
	ck_assert_int_eq(cw_send(writer, pair.fd[0], "12345", 5, 0), 5);
	ck_assert_int_eq(pthread_create(&thread, NULL, look_for_all, reader), 0);
	usleep(1500000);
	ck_assert_int_eq(cw_send(writer, pair.fd[0], "12345", 5, 0), 5);
	ck_assert_int_eq(pthread_join(thread, &switches), 0);
	ck_assert_ptr_nonnull(switches);
	ck_assert_int_lt(*(long *)switches, 300);
}
END_TEST

static void *send_later(void *unused)
{
	usleep(2000000);
	ck_assert_int_eq(send(pair.fd[0], "12345", 5, 0), 5);
	return NULL;
}

/* SO_RCVTIMEO is over before the call comes to sleep in the kernel, which would count from there. */
START_TEST(a_limit_counts_from_the_first_wait)
{
	struct timeval limit = {10, 0};
	struct cw_stream *writer, *reader;
	char bytes[10];
	struct iovec piece = {bytes, sizeof(bytes)};
	struct cw_receiving request = {.iov = &piece, .iovcnt = 1, .total = sizeof(bytes)};
	pthread_t thread;

	both_ends(&writer, &reader);
	setsockopt(pair.fd[1], SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	request.life = cw_stream_life(reader);
	request.begin = cw_monotonic_ns() - 20 * UINT64_C(1000000000);
	ck_assert_int_eq(pthread_create(&thread, NULL, send_later, NULL), 0);
	ck_assert_int_eq(cw_receive_wait(reader, pair.fd[1], &request, CW_EMPTY), CW_FAILED);
	ck_assert_int_eq(request.error, EAGAIN);
	ck_assert_uint_eq(reader->rx->rx_asleep, 0);
	pthread_join(thread, NULL);
}
END_TEST

/* The writer has no slot: it withdrew when it sent urgent data, and the reader's grant was under way. A call for all ends at the mark. */
START_TEST(urgent_data_of_who_has_no_slot)
{
	struct cw_stream *reader;
	char bytes[10];

	pair_make(&pair);
	pair_start(1000);
	reader = pair_open(&pair, 1);
	ck_assert_int_eq(send(pair.fd[0], "1", 1, 0), 1);
	ck_assert_int_eq(cw_receive(reader, pair.fd[1], bytes, 1, 0), 1);
	ck_assert_uint_eq(reader->rx->rx_attached, 1);
	ck_assert_int_eq(send(pair.fd[0], "12345", 5, MSG_OOB), 5);
	ck_assert_int_eq(cw_receive(reader, pair.fd[1], bytes, sizeof(bytes), MSG_WAITALL), 4);
	ck_assert_int_eq(recv(pair.fd[1], bytes, 1, MSG_OOB), 1);
}
END_TEST

/* The reader has offered the ring when the writer leaves it: what is read under the offer ends at the mark too. */
START_TEST(urgent_data_under_an_offer)
{
	struct cw_stream *writer, *reader;
	char bytes[10] = "x";

	pair_make(&pair);
	pair_start(1000);
	writer = pair_open(&pair, 0);
	reader = pair_open(&pair, 1);
	for (int i = 0; i < 1000 && cw_state_of(reader->rx->state) != CW_CONSENT; i++) {
		ck_assert_int_eq(cw_send(writer, pair.fd[0], bytes, 1, 0), 1);
		ck_assert_int_eq(cw_receive(reader, pair.fd[1], bytes, 1, 0), 1);
	}
	ck_assert_int_eq(cw_state_of(reader->rx->state), CW_CONSENT);
	cw_leave_sending(writer, pair.fd[0], CW_REASON_urgent);
	ck_assert_int_eq(cw_send(writer, pair.fd[0], "12345", 5, MSG_OOB), 5);
	ck_assert_int_eq(cw_receive(reader, pair.fd[1], bytes, sizeof(bytes), MSG_WAITALL), 4);
	ck_assert_int_eq(recv(pair.fd[1], bytes, 1, MSG_OOB), 1);
}
END_TEST

/* The same where it sleeps at once, as messages come far apart, behind a wait that gave nothing. */
START_TEST(a_limit_counts_on_in_a_sleep_at_once)
{
	struct timeval limit = {10, 0};
	struct cw_stream *writer, *reader;
	char bytes[10];
	struct iovec piece = {bytes, sizeof(bytes)};
	struct cw_receiving request = {.iov = &piece, .iovcnt = 1, .total = sizeof(bytes)};
	pthread_t thread;
	uint64_t word;

	both_ends(&writer, &reader);
	setsockopt(pair.fd[1], SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	request.life = cw_stream_life(reader);
	request.begin = cw_monotonic_ns() - 20 * UINT64_C(1000000000);
	word = reader->rx->state;
	ck_assert(cw_switch_fall_asleep(reader, &word, reader->rx->roff));
	ck_assert(cw_switch_count_asleep(reader));
	ck_assert_int_eq(pthread_create(&thread, NULL, send_later, NULL), 0);
	ck_assert_int_eq(cw_receive_sleep(reader, pair.fd[1], &request), CW_FAILED);
	ck_assert_int_eq(request.error, EAGAIN);
	ck_assert_uint_eq(reader->rx->rx_asleep, 0);
	pthread_join(thread, NULL);
}
END_TEST

static void stuff_kernel(void)
{
	static char bytes[1 << 16];

	for (int i = 0; i < 3; i++, usleep(20000))
		while (send(pair.fd[0], bytes, sizeof(bytes), MSG_DONTWAIT) > 0)
			;
	while (send(pair.fd[0], bytes, 1, MSG_DONTWAIT) > 0)
		;
}

static void *drain_later(void *unused)
{
	static char bytes[1 << 16];

	usleep(100000);
	while (recv(pair.fd[1], bytes, sizeof(bytes), MSG_DONTWAIT) > 0)
		;
	return NULL;
}

/* SO_SNDTIMEO, of a call that has waited behind a part already: the kernel's own call would count from there. */
START_TEST(a_send_waits_for_what_is_left)
{
	struct timeval limit = {1000, 0};
	static char bytes[1 << 20];
	struct iovec piece = {bytes, sizeof(bytes)};
	struct cw_sending request = {.iov = &piece, .iovcnt = 1, .total = sizeof(bytes), .done = 1};
	struct cw_stream *writer, *reader;
	pthread_t thread;

	both_ends(&writer, &reader);
	setsockopt(pair.fd[0], SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	request.life = cw_stream_life(writer);
	stuff_kernel();
	ck_assert_int_eq(pthread_create(&thread, NULL, drain_later, NULL), 0);
	writer->tx->tx_in_kernel = 1;
	ck_assert(cw_send_await_room(writer, pair.fd[0], &request));
	pthread_join(thread, NULL);
	stuff_kernel();
	errno = 0;
	ck_assert_int_eq(cw_send_rest(writer, pair.fd[0], &request), -1);
	ck_assert_int_eq(errno, EAGAIN);
	ck_assert_uint_eq(writer->tx->tx_in_kernel, 0);
	/* It is over. */
	request.end = 1;
	writer->tx->tx_in_kernel = 1;
	ck_assert(!cw_send_await_room(writer, pair.fd[0], &request));
	ck_assert_uint_eq(writer->tx->tx_in_kernel, 0);
}
END_TEST

int main(void)
{
	SRunner *runner;
	TCase *units = units_of("streams", 90, &runner);

	tcase_add_loop_test(units, ping_pong, 0, 3);
	tcase_add_loop_test(units, marks_at_any_time, 0, 3);
	tcase_add_loop_test(units, random_calls_both_ways, 0, 4);
	tcase_add_loop_test(units, an_end_leaves_in_the_middle, 0, 3);
	tcase_add_loop_test(units, a_killed_writer_loses_nothing_that_was_sent, 0, 3);
	tcase_add_loop_test(units, who_writes_to_a_killed_reader_is_told, 0, 3);
	tcase_add_test(units, nothing_by_ring_behind_an_end_without_a_word);
	tcase_add_test(units, a_look_for_all_sleeps_for_the_rest);
	tcase_add_test(units, a_limit_counts_from_the_first_wait);
	tcase_add_test(units, urgent_data_of_who_has_no_slot);
	tcase_add_test(units, urgent_data_under_an_offer);
	tcase_add_test(units, a_limit_counts_on_in_a_sleep_at_once);
	tcase_add_test(units, a_send_waits_for_what_is_left);
	return run_units(runner);
}
