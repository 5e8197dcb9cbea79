/*
 * Somebody writes nonsense into every word of a slot while both ends send and receive. What they get then may be anything, since a peer can
 * send anything, but every call must come back, and the process stay unharmed: it is built with the sanitizers too.
 *
 * Both ends, with two threads each, are in one process, and so is who writes the nonsense. A round is a connection; its numbers come from
 * a seed that is told where it fails: FUZZ_SEED=N runs that round alone, FUZZ_FROM=N begins there. FUZZ_SECONDS: for how long rounds are
 * begun.
 */
#include "pair.h"

#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/select.h>

#include "sockets/leave.h"
#include "sockets/pending.h"
#include "sockets/poll.h"
#include "sockets/set.h"

#define ROUND_SECONDS 40 /* some waits for a lock among them, of 2 s each */
#define THREADS       4
#define MOST          70000u

static struct pair pair;
static struct cw_slot *slot;
static uint64_t round_seed;
static _Atomic bool stop;
static uint64_t rounds, broken, moved;

struct worker {
	pthread_t thread;
	struct cw_stream *stream;
	int fd, set;
	uint64_t seed;
	const char *_Atomic doing;
	_Atomic uint32_t tid;
	unsigned char bytes[MOST];
};
static struct worker workers[THREADS];

static uint32_t thread_id(void)
{
	return (uint32_t)syscall(SYS_gettid);
}

/* ---- the ends ---- */

static bool goes_on(const struct worker *worker, ssize_t result)
{
	if (result < 0 && errno != EAGAIN && errno != EINTR)
		return false;
	return result != 0 && !stop;
}

#define DO(worker, call) (atomic_store(&(worker)->doing, #call), (call))

static ssize_t send_once(struct worker *worker, uint64_t *seed)
{
	size_t count = next_random(seed) % (next_random(seed) % 4 ? 300 : MOST) + 1;
	struct iovec iov[2] = {{worker->bytes, count / 2}, {worker->bytes, count - count / 2}};
	struct pollfd writable = {.fd = worker->fd, .events = POLLOUT};
	off_t from = 0;
	ssize_t sent;
	int file;

	switch (next_random(seed) % 32) {
	case 0:
		return DO(worker, cw_send_iov(worker->stream, worker->fd, iov, 2, MSG_NOSIGNAL));
	case 1:
		file = memfd_create("fuzz", MFD_CLOEXEC);
		if (file < 0 || write(file, worker->bytes, count) < 0)
			return 1;
		sent = DO(worker, cw_send_file(worker->stream, worker->fd, file, &from, count));
		close(file);
		return sent;
	case 2:
		return DO(worker, cw_poll(&writable, 1, 20)) < 0 ? -1 : 1;
	case 3:
		DO(worker, cw_pending_out(worker->stream));
		return 1;
	case 4:
		return DO(worker, cw_send(worker->stream, worker->fd, worker->bytes, count, MSG_NOSIGNAL | MSG_DONTWAIT));
	default:
		return DO(worker, cw_send(worker->stream, worker->fd, worker->bytes, count, MSG_NOSIGNAL));
	}
}

/* A wait in the set, which may change its interest before. */
static int wait_in_set(struct worker *worker, uint64_t *seed)
{
	static const uint32_t interests[] = {EPOLLIN, EPOLLIN | EPOLLOUT, EPOLLIN | EPOLLET, EPOLLIN | EPOLLONESHOT};
	struct epoll_event event = {.events = interests[next_random(seed) % CW_ARRAY_SIZE(interests)], .data.u64 = 1};
	struct cw_set *set = cw_set_of(worker->set);
	int result;

	if (next_random(seed) % 4 == 0 && !DO(worker, cw_set_defer(set, worker->set, EPOLL_CTL_MOD, worker->fd, &event, &result)))
		DO(worker, cw_set_control(set, worker->set, EPOLL_CTL_MOD, worker->fd, &event));
	return DO(worker, cw_set_wait(worker->set, &event, 1, (int64_t)(next_random(seed) % 20) * 1000000, NULL));
}

static int select_once(struct worker *worker)
{
	struct timeval limit = {.tv_usec = 20000};
	fd_set readable;

	FD_ZERO(&readable);
	FD_SET(worker->fd, &readable);
	return DO(worker, cw_select(worker->fd + 1, &readable, NULL, NULL, &limit));
}

static ssize_t receive_once(struct worker *worker, uint64_t *seed)
{
	size_t count = next_random(seed) % (next_random(seed) % 4 ? 300 : MOST) + 1;
	struct iovec iov[2] = {{worker->bytes, count / 2}, {worker->bytes, count - count / 2}};
	struct pollfd readable = {.fd = worker->fd, .events = POLLIN};

	switch (next_random(seed) % 32) {
	case 0:
		return DO(worker, cw_receive_iov(worker->stream, worker->fd, iov, 2, 0));
	case 1:
		return DO(worker, cw_receive(worker->stream, worker->fd, worker->bytes, count, MSG_PEEK));
	case 2:
		return DO(worker, cw_receive(worker->stream, worker->fd, worker->bytes, count, MSG_PEEK | MSG_DONTWAIT));
	case 3:
		return DO(worker, cw_receive(worker->stream, worker->fd, worker->bytes, count, MSG_WAITALL));
	case 4:
		return DO(worker, cw_receive(worker->stream, worker->fd, NULL, count, MSG_TRUNC));
	case 5:
		return DO(worker, cw_poll(&readable, 1, 20)) < 0 ? -1 : 1;
	case 6:
		DO(worker, cw_pending_in(worker->stream, worker->fd));
		return 1;
	case 7:
	case 8:
	case 13:
	case 14:
		if (worker->set < 0)
			return 1;
		return wait_in_set(worker, seed) < 0 ? -1 : 1;
	case 9:
		return DO(worker, cw_receive(worker->stream, worker->fd, worker->bytes, count, MSG_PEEK | MSG_WAITALL));
	case 10:
		return select_once(worker) < 0 ? -1 : 1;
	case 11:
	case 12:
		return DO(worker, cw_receive(worker->stream, worker->fd, worker->bytes, count, MSG_DONTWAIT));
	default:
		return DO(worker, cw_receive(worker->stream, worker->fd, worker->bytes, count, 0));
	}
}

/* Going for good, in every way; or a second process begins to use it. */
static void part(struct worker *worker, uint64_t *seed)
{
	switch (next_random(seed) % 4) {
	case 0:
		DO(worker, cw_leave(worker->stream, CW_REASON_option));
		break;
	case 1:
		DO(worker, cw_leave_to(worker->stream, worker->fd, CW_REASON_executed));
		break;
	case 2:
		DO(worker, cw_leave_whole(worker->stream, worker->fd, CW_REASON_option));
		break;
	default:
		DO(worker, cw_switch_share(worker->stream, worker->fd));
		break;
	}
}

static void *work(void *argument)
{
	struct worker *worker = argument;
	bool sends = (worker - workers) % 2;
	uint64_t seed = worker->seed;

	worker->tid = thread_id();
	while (goes_on(worker, sends ? send_once(worker, &seed) : receive_once(worker, &seed)))
		if (next_random(&seed) % 1000 == 0)
			part(worker, &seed);
	worker->doing = "nothing";
	return NULL;
}

/* ---- the nonsense ---- */

static const size_t long_words[] = {offsetof(struct cw_direction, widx), offsetof(struct cw_direction, roff),
				    offsetof(struct cw_direction, up),   offsetof(struct cw_direction, seal),
				    offsetof(struct cw_direction, woff), offsetof(struct cw_direction, tx_credit)};

static uint64_t some_index(const struct cw_direction *direction, uint64_t *seed)
{
	uint64_t base = atomic_load(next_random(seed) % 2 ? &direction->widx : &direction->roff);

	switch (next_random(seed) % 8) {
	case 0:
		return 0;
	case 1:
		return UINT64_MAX - next_random(seed) % 3;
	case 2:
		return next_random(seed);
	case 3:
		return base + (1ull << next_random(seed) % 64);
	case 4:
		return base - (1ull << next_random(seed) % 64);
	case 5:
		return base + CW_RING_MAX + next_random(seed) % 3 - 1;
	case 6:
		return base - CW_RING_MAX + next_random(seed) % 3 - 1;
	default:
		return base + next_random(seed) % 5 - 2;
	}
}

static uint64_t some_state(const struct cw_direction *direction, uint64_t *seed)
{
	uint64_t word = atomic_load(&direction->state);

	switch (next_random(seed) % 4) {
	case 0:
		return next_random(seed);
	case 1: /* marks too */
		return (word & ~0xffull) | (next_random(seed) & 0xff);
	default:
		return (word & ~CW_STATE_MASK) | (next_random(seed) & CW_STATE_MASK);
	}
}

static uint32_t some_short(uint64_t *seed)
{
	switch (next_random(seed) % 6) {
	case 0:
		return 0;
	case 1:
		return UINT32_MAX - (uint32_t)(next_random(seed) % 3);
	case 2:
		return (uint32_t)next_random(seed);
	case 3:
		return workers[next_random(seed) % THREADS].tid;
	case 4:
		return (uint32_t)(64 * (next_random(seed) % 3) + CW_RING_MIN_BITS - 3 + next_random(seed) % 10);
	default:
		return (uint32_t)(next_random(seed) % 4);
	}
}

/* A lock's holder that lives, or is the one who looks, costs a time-out of 2 s: so it is seldom. */
static uint32_t some_holder(uint64_t *seed)
{
	switch (next_random(seed) % 32) {
	case 0:
		return workers[next_random(seed) % THREADS].tid;
	case 1:
		return some_short(seed);
	default:
		return (1u << 22) + (uint32_t)next_random(seed) % 2 * (1u << 31) + 1;
	}
}

static bool is_holder(size_t place)
{
	size_t in_direction = place * sizeof(uint32_t) % sizeof(struct cw_direction);

	return place < 2 * sizeof(struct cw_direction) / sizeof(uint32_t) &&
	       (in_direction == offsetof(struct cw_direction, tx_lock.holder) ||
		in_direction == offsetof(struct cw_direction, rx_lock.holder));
}

static void write_nonsense(uint64_t *seed)
{
	struct cw_direction *direction = &slot->direction[next_random(seed) % 2];
	size_t place;

	switch (next_random(seed) % 4) {
	case 0:
		place = long_words[next_random(seed) % CW_ARRAY_SIZE(long_words)];
		atomic_store((_Atomic uint64_t *)((char *)direction + place), some_index(direction, seed));
		break;
	case 1:
		atomic_store(&direction->state, some_state(direction, seed));
		break;
	default: /* any word at all */
		place = next_random(seed) % (sizeof(*slot) / sizeof(uint32_t));
		atomic_store((_Atomic uint32_t *)slot + place, is_holder(place) ? some_holder(seed) : some_short(seed));
		break;
	}
}

/* One word once, a few, or as many as there is time for; soon, or when the ends have settled in the ring. */
static void disturb(uint64_t *seed)
{
	uint64_t until, times;

	usleep((useconds_t)(next_random(seed) % 3000));
	if (slot->direction[0].state >> 16)
		moved++;
	switch (next_random(seed) % 3) {
	case 0:
		write_nonsense(seed);
		break;
	case 1:
		for (times = next_random(seed) % 20; times > 0; times--) {
			write_nonsense(seed);
			usleep((useconds_t)(next_random(seed) % 300));
		}
		break;
	default:
		until = cw_monotonic_ns() + next_random(seed) % 3000000;
		while (cw_monotonic_ns() < until)
			write_nonsense(seed);
		break;
	}
	usleep((useconds_t)(next_random(seed) % 2000));
}

/* ---- rounds ---- */

static void too_long(int number)
{
	dprintf(STDERR_FILENO, "# FUZZ_SEED=%lu: a call has not come back:\n", (unsigned long)round_seed);
	for (int i = 0; i < THREADS; i++)
		dprintf(STDERR_FILENO, "#   end %d: %s\n", i / 2, workers[i].doing);
	for (int d = 0; d < 2; d++) {
		const struct cw_direction *words = &slot->direction[d];

		dprintf(STDERR_FILENO,
			"#   direction %d: state %lx widx %lx roff %lx up %lx seal %lx bits %u op %u asleep %u tx_lock %u rx_lock %u\n", d,
			words->state, words->widx, words->roff, words->up, words->seal, words->ring_bits, words->tx_kernel_op,
			words->rx_asleep, words->tx_lock.holder, words->rx_lock.holder);
	}
	abort();
}

/* The sanitizers', where there are any. */
void __sanitizer_set_death_callback(void (*callback)(void)) __attribute__((weak));

static void tell_seed(void)
{
	dprintf(STDERR_FILENO, "# FUZZ_SEED=%lu was the round\n", (unsigned long)round_seed);
}

static void died(int number)
{
	tell_seed();
	signal(number, SIG_DFL);
	raise(number);
}

static void tell_seed_at_death(void)
{
	if (__sanitizer_set_death_callback) {
		__sanitizer_set_death_callback(tell_seed);
		return;
	}
	signal(SIGSEGV, died);
	signal(SIGBUS, died);
	signal(SIGABRT, died);
}

static int set_with(struct worker *worker)
{
	struct epoll_event event = {.events = EPOLLIN, .data.u64 = 1};
	int set = epoll_create1(EPOLL_CLOEXEC);

	cw_set_open(set);
	if (set < 0 || cw_set_control(cw_set_of(set), set, EPOLL_CTL_ADD, worker->fd, &event) < 0)
		give_up("no set: %m");
	return set;
}

static void open_ends(uint64_t *seed)
{
	pair_connect(&pair);
	for (int i = 0; i < THREADS; i++) {
		struct worker *worker = &workers[i];

		worker->fd = pair.fd[i / 2];
		worker->stream = i % 2 ? workers[i - 1].stream : pair_open(&pair, (unsigned)i / 2);
		worker->seed = next_random(seed);
		worker->doing = "nothing";
		worker->set = -1;
		if (i % 2 == 0 && next_random(seed) % 2)
			worker->set = set_with(worker);
	}
}

static void close_ends(void)
{
	for (int i = 0; i < THREADS; i += 2) {
		struct worker *worker = &workers[i];

		broken += worker->stream->broken;
		worker->doing = "close";
		pair_close(worker->stream, worker->fd);
		if (worker->set >= 0) {
			cw_set_close(cw_table_index(cw_table_take(worker->set)), worker->set);
			close(worker->set);
		}
	}
}

static void one_round(uint64_t first)
{
	uint64_t seed = first * 2654435761u + 1;

	round_seed = first;
	rounds++;
	alarm(ROUND_SECONDS);
	cw_policy.number[CW_OPTION_spin_us] = (long)(next_random(&seed) % 3 * 25);
	open_ends(&seed);
	stop = false;
	for (int i = 0; i < THREADS; i++)
		ck_assert_int_eq(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
	disturb(&seed);
	stop = true;
	for (int end = 0; end < 2; end++)
		shutdown(pair.fd[end], SHUT_RDWR); /* whoever waits in the kernel comes out */
	for (int i = 0; i < THREADS; i++)
		ck_assert_int_eq(pthread_join(workers[i].thread, NULL), 0);
	close_ends();
	alarm(0);
}

START_TEST(nonsense_in_every_word)
{
	const char *one = getenv("FUZZ_SEED"), *from = getenv("FUZZ_FROM"), *seconds = getenv("FUZZ_SECONDS");
	uint64_t begin = cw_monotonic_ns(), limit = 12, seed = 1;

	if (seconds)
		limit = strtoull(seconds, NULL, 10);
	else if (getenv("CW_TEST_LONG"))
		limit = 90;
	if (from)
		seed = strtoull(from, NULL, 10);
	tell_seed_at_death();
	signal(SIGALRM, too_long);
	signal(SIGPIPE, SIG_IGN);
	pair_start(50);
	pair.memory = cw_arena_make(&pair.arena, PAIR_ARENA, 1, false);
	ck_assert_int_ge(pair.memory, 0);
	slot = cw_arena_slot(&pair.arena, 0);
	if (one) {
		one_round(strtoull(one, NULL, 10));
		return;
	}
	for (; cw_monotonic_ns() - begin < limit * 1000000000; seed++)
		one_round(seed);
	fprintf(stderr, "# %lu rounds, %lu of them moved before, %lu ends found nonsense\n", (unsigned long)rounds, (unsigned long)moved,
		(unsigned long)broken);
	/* It means nothing if nobody moved, or nobody minded. */
	ck_assert_uint_gt(moved, 0);
	ck_assert_uint_gt(broken, 0);
}
END_TEST

int main(void)
{
	SRunner *runner;
	TCase *units = units_of("fuzz", 180, &runner);

	tcase_add_test(units, nonsense_in_every_word);
	return run_units(runner);
}
