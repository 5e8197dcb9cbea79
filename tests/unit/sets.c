/*
 * Event sets: one stream that threads register in sets of their own, and take out again, all at once. Each finds its registration, and
 * none is left over.
 */
#include "pair.h"

#include <errno.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "sockets/fork.h"
#include "sockets/poll.h"
#include "sockets/set_item.h"

#define THREADS 4
#define ROUNDS  (getenv("CW_TEST_LONG") ? 2000 : 100)
#define CHANGES 40

static struct {
	struct cw_stream *stream;
	int fd, epfd[THREADS], rounds;
	pthread_barrier_t barrier;
	_Atomic bool stop;
} test;

/* Who never looks sleeps at once, by another way. */
static const long looks[] = {0, 20};

static void setup(int sets, long spin_us)
{
	pair_start(spin_us);
	test.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	test.stream = cw_stream_open(test.fd, false, false);
	ck_assert_ptr_nonnull(test.stream);
	for (int i = 0; i < sets; i++) {
		test.epfd[i] = epoll_create1(EPOLL_CLOEXEC);
		cw_set_open(test.epfd[i]);
		ck_assert_ptr_nonnull(cw_set_of(test.epfd[i]));
	}
}

static int change(int epfd, int operation)
{
	struct epoll_event event = {.events = EPOLLIN};

	return cw_set_control(cw_set_of(epfd), epfd, operation, test.fd, &event);
}

static unsigned registrations(void)
{
	unsigned count = 0;

	for (const struct cw_item *item = cw_item_first(test.stream); item; item = item->of_stream)
		count++;
	return count;
}

/* The calls of a stream's steps meanwhile. */
static void *look(void *nothing)
{
	struct cw_item *in_set;

	while (!atomic_load(&test.stop)) {
		cw_set_asleep(test.stream);
		cw_set_shared(test.stream);
		cw_set_alone(test.stream);
		if (!cw_set_enter(test.stream, &in_set) || !in_set)
			continue;
		cw_set_heat(in_set);
		cw_item_cool(in_set);
		cw_set_leave(in_set);
	}
	return nothing;
}

static void *change_for_ever(void *argument)
{
	int epfd = *(const int *)argument;

	for (int i = 0; i < test.rounds; i++) {
		const struct cw_set *set = cw_set_of(epfd);

		pthread_barrier_wait(&test.barrier);
		for (int k = 0; k < CHANGES; k++) {
			ck_assert_int_eq(change(epfd, EPOLL_CTL_ADD), 0);
			ck_assert_ptr_nonnull(cw_item_find(test.stream, set, test.fd));
			ck_assert_int_eq(change(epfd, EPOLL_CTL_DEL), 0);
			ck_assert_ptr_null(cw_item_find(test.stream, set, test.fd));
			ck_assert_ptr_null(set->items);
		}
		ck_assert_int_eq(change(epfd, EPOLL_CTL_ADD), 0);
		pthread_barrier_wait(&test.barrier);
		ck_assert_uint_eq(registrations(), THREADS);
		pthread_barrier_wait(&test.barrier);
		ck_assert_int_eq(change(epfd, EPOLL_CTL_DEL), 0);
	}
	return NULL;
}

START_TEST(in_sets_of_many_threads)
{
	pthread_t threads[THREADS], looking;

	setup(THREADS, looks[_i]);
	test.rounds = ROUNDS;
	ck_assert_int_eq(pthread_barrier_init(&test.barrier, NULL, THREADS), 0);
	ck_assert_int_eq(pthread_create(&looking, NULL, look, NULL), 0);
	for (int i = 0; i < THREADS; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, change_for_ever, &test.epfd[i]), 0);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	atomic_store(&test.stop, true);
	pthread_join(looking, NULL);
	ck_assert_uint_eq(registrations(), 0);
	for (int i = 0; i < THREADS; i++)
		ck_assert_uint_eq(cw_set_of(test.epfd[i])->lock.holder, 0);
}
END_TEST

/* As above, without all that takes so long that threads seldom meet in the list. */
static void *attach_for_ever(void *argument)
{
	int epfd = *(const int *)argument;
	struct cw_set *set = cw_set_of(epfd);
	struct cw_item *item = cw_item_new();

	item->set = set;
	item->stream = test.stream;
	item->fd = test.fd;
	for (int i = 0; i < test.rounds * 1000; i++) {
		bool locked;

		if (i % 1000 == 0)
			pthread_barrier_wait(&test.barrier);
		locked = cw_set_lock(set);
		cw_item_attach(item);
		ck_assert_ptr_eq(cw_item_find(test.stream, set, test.fd), item);
		cw_item_detach(item);
		ck_assert_ptr_null(cw_item_find(test.stream, set, test.fd));
		cw_set_unlock(set, locked);
	}
	return NULL;
}

START_TEST(attached_by_many_threads)
{
	pthread_t threads[THREADS], looking;

	setup(THREADS, looks[_i]);
	test.rounds = 2 * ROUNDS;
	ck_assert_int_eq(pthread_barrier_init(&test.barrier, NULL, THREADS), 0);
	ck_assert_int_eq(pthread_create(&looking, NULL, look, NULL), 0);
	for (int i = 0; i < THREADS; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, attach_for_ever, &test.epfd[i]), 0);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	atomic_store(&test.stop, true);
	pthread_join(looking, NULL);
	ck_assert_uint_eq(registrations(), 0);
}
END_TEST

static void *add_second(void *nothing)
{
	ck_assert_int_eq(change(test.epfd[1], EPOLL_CTL_ADD), 0);
	return nothing;
}

START_TEST(registered_elsewhere_while_a_set_is_entered)
{
	struct cw_item *in_set;
	struct cw_set *first, *second;
	pthread_t thread;

	setup(2, looks[_i]);
	first = cw_set_of(test.epfd[0]);
	second = cw_set_of(test.epfd[1]);
	ck_assert_int_eq(change(test.epfd[0], EPOLL_CTL_ADD), 0);
	ck_assert(cw_set_enter(test.stream, &in_set));
	ck_assert_ptr_nonnull(in_set);
	ck_assert_int_eq(pthread_create(&thread, NULL, add_second, NULL), 0);
	pthread_join(thread, NULL);
	ck_assert(!cw_set_alone(test.stream));
	cw_set_heat(in_set);
	cw_set_leave(in_set);
	ck_assert_uint_eq(first->lock.holder, 0);
	ck_assert_uint_eq(first->hot_count, 1);
	ck_assert_uint_eq(second->hot_count, 0);
	ck_assert(!cw_set_enter(test.stream, &in_set));
}
END_TEST

/* ---- sets that are closed while others wait in them, and whose place is used again ---- */

static _Atomic int shown; /* the number to wait by */

static void *wait_for_ever(void *nothing)
{
	struct epoll_event event;

	while (!atomic_load(&test.stop))
		cw_set_wait(shown, &event, 1, 200000, NULL);
	return nothing;
}

static void *poll_for_ever(void *nothing)
{
	while (!atomic_load(&test.stop)) {
		struct pollfd one = {.fd = shown, .events = POLLIN};

		cw_poll(&one, 1, 1);
	}
	return nothing;
}

static void open_another(void)
{
	int epfd = epoll_create1(EPOLL_CLOEXEC);

	cw_set_open(epfd);
	ck_assert_ptr_nonnull(cw_set_of(epfd));
	ck_assert_int_eq(change(epfd, EPOLL_CTL_ADD), 0);
	shown = epfd;
}

static void close_it(void)
{
	int epfd = shown;

	cw_set_close(cw_table_index(cw_table_take(epfd)), epfd);
	close(epfd);
}

START_TEST(closed_under_those_who_wait)
{
	pthread_t threads[THREADS];

	setup(0, looks[_i]);
	open_another();
	for (int i = 0; i < THREADS; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, i % 2 ? wait_for_ever : poll_for_ever, NULL), 0);
	for (int i = 0; i < ROUNDS * 10; i++) {
		close_it();
		if (i % 3 == 0)
			sched_yield();
		open_another();
	}
	atomic_store(&test.stop, true);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	close_it();
	ck_assert_uint_eq(registrations(), 0);
	for (uint32_t i = 0; i < cw_sets_used; i++) {
		ck_assert_int_eq(cw_sets[i].references, 0);
		ck_assert_int_eq(cw_sets[i].users, 0);
		ck_assert_int_eq(cw_sets[i].sleepers, 0);
		ck_assert(!cw_sets[i].orphaned);
		ck_assert_ptr_null(cw_sets[i].items);
	}
	/* No more of them than could be waited for at a time. */
	ck_assert_uint_le(cw_sets_used, THREADS + 2);
	for (int fd = 0; fd < (int)cw_table_end(); fd++)
		ck_assert_int_ne(cw_table_kind(cw_table_get(fd)), CW_FD_OWN);
}
END_TEST

/* ONESHOT: one is told, whether by ring or by the kernel, until it is armed again. */
static void register_once(int operation, int fd, uint64_t data)
{
	struct epoll_event event = {.events = EPOLLIN | EPOLLONESHOT, .data.u64 = data};

	ck_assert_int_eq(cw_set_control(cw_set_of(test.epfd[0]), test.epfd[0], operation, fd, &event), 0);
}

static int told(uint64_t asked_at, uint64_t data)
{
	struct epoll_event event = {.events = EPOLLIN, .data.u64 = data};
	struct cw_set *set = cw_set_of(test.epfd[0]);
	bool locked = cw_set_lock(set);
	int count = cw_set_after_kernel(set, test.epfd[0], asked_at, &event, 1);

	cw_set_unlock(set, locked);
	return count;
}

START_TEST(told_of_what_is_gone)
{
	uint64_t asked_at;
	int ends[2];

	setup(1, looks[_i]);
	ck_assert_int_eq(pipe(ends), 0);
	register_once(EPOLL_CTL_ADD, test.fd, 4711);
	asked_at = cw_set_of(test.epfd[0])->doubts;
	register_once(EPOLL_CTL_DEL, test.fd, 0);
	ck_assert_int_eq(told(asked_at, 4711), 0);
	ck_assert_int_eq(told(asked_at, 4712), 1);
	ck_assert_int_eq(told(cw_set_of(test.epfd[0])->doubts, 4711), 1);
	register_once(EPOLL_CTL_ADD, ends[0], 4711);
	ck_assert_int_eq(told(asked_at, 4711), 1);
}
END_TEST

/* A registration that isn't ours has the same data. One is told of room to write, and before it comes to it others have filled that: the
 * next room is nobody's, until it is asked for. */
START_TEST(room_told_once_beside_a_stranger)
{
	struct epoll_event event = {.events = EPOLLOUT | EPOLLONESHOT, .data.u64 = 4711};
	static char bytes[65536];
	struct cw_set *set;
	struct pair pair;
	int ends[2];

	setup(1, looks[_i]);
	set = cw_set_of(test.epfd[0]);
	pair_make(&pair);
	test.fd = pair.fd[0];
	test.stream = cw_stream_open(test.fd, true, false);
	ck_assert_int_eq(pipe(ends), 0);
	register_once(EPOLL_CTL_ADD, ends[0], 4711);
	ck_assert_int_eq(cw_set_control(set, test.epfd[0], EPOLL_CTL_ADD, test.fd, &event), 0);
	ck_assert_int_eq(epoll_wait(test.epfd[0], &event, 1, 0), 1);
	ck_assert_uint_eq(event.events, EPOLLOUT);
	while (send(test.fd, bytes, sizeof(bytes), MSG_DONTWAIT) > 0)
		;
	ck_assert_int_eq(cw_set_after_kernel(set, test.epfd[0], set->doubts, &event, 1), 1);
	while (recv(pair.fd[1], bytes, sizeof(bytes), MSG_DONTWAIT) > 0 || cw_raw_poll(test.fd, POLLOUT) != POLLOUT)
		;
	ck_assert_int_eq(cw_set_wait(test.epfd[0], &event, 1, 20000000, NULL), 0);
}
END_TEST

START_TEST(told_once_without_waiting)
{
	struct epoll_event event;
	struct pair pair;

	setup(1, looks[_i]);
	pair_make(&pair);
	test.fd = pair.fd[0];
	test.stream = cw_stream_open(test.fd, true, false);
	register_once(EPOLL_CTL_ADD, test.fd, 4711);
	ck_assert(cw_item_first(test.stream)->armed);
	ck_assert_int_eq(send(pair.fd[1], "x", 1, 0), 1);
	while (cw_set_wait(test.epfd[0], &event, 1, 0, NULL) == 0)
		sched_yield();
	ck_assert_uint_eq(event.data.u64, 4711);
	ck_assert(!cw_item_first(test.stream)->armed);
}
END_TEST

/* Of many with data of their own, changed now and then, the one that the kernel told is disarmed, and no other. */
START_TEST(told_once_of_many)
{
	enum { MANY = 40 };
	struct pair pair[MANY];
	struct epoll_event event;

	setup(1, looks[_i]);
	for (int i = 0; i < MANY; i++) {
		pair_make(&pair[i]);
		ck_assert_ptr_nonnull(cw_stream_open(pair[i].fd[0], true, false));
		register_once(EPOLL_CTL_ADD, pair[i].fd[0], 0);
	}
	for (unsigned round = 0; round < 3; round++)
		for (int i = 0; i < MANY; i++) {
			register_once(EPOLL_CTL_MOD, pair[i].fd[0], (uint64_t)round << 32 | (uint64_t)(i + 1));
			ck_assert_int_eq(send(pair[i].fd[1], "x", 1, 0), 1);
			ck_assert_int_eq(cw_set_wait(test.epfd[0], &event, 1, -1, NULL), 1);
			ck_assert_uint_eq(event.data.u64, (uint64_t)round << 32 | (uint64_t)(i + 1));
			for (int k = 0; k < MANY; k++)
				ck_assert(cw_item_first(cw_stream_of(pair[k].fd[0]))->armed == (k > i));
			ck_assert_int_eq(recv(pair[i].fd[0], &(char){0}, 1, 0), 1);
			if (i == MANY - 1 && round < 2)
				for (int k = 0; k < MANY; k++)
					register_once(EPOLL_CTL_MOD, pair[k].fd[0], 0);
		}
	for (int i = 0; i < MANY; i++)
		cw_set_control(cw_set_of(test.epfd[0]), test.epfd[0], EPOLL_CTL_DEL, pair[i].fd[0], NULL);
	for (unsigned i = 0; i < 1 << CW_SET_DATA_BITS; i++)
		ck_assert_ptr_null(cw_set_of(test.epfd[0])->by_data[i]);
}
END_TEST

/*
 * Two threads sleep in a set. One is woken by a kick, and not told of that; if its answer has no room for all that is there, it wakes the
 * other.
 */
START_TEST(woken_by_one_kick)
{
	struct epoll_event told[2], other = {.events = EPOLLIN, .data.u64 = 4712};
	struct cw_set *set;
	struct pair pair;
	uint64_t asked_at;

	setup(1, looks[_i]);
	pair_make(&pair);
	set = cw_set_of(test.epfd[0]);
	ck_assert_int_eq(cw_set_control(set, test.epfd[0], EPOLL_CTL_ADD, pair.fd[0], &other), 0);
	asked_at = set->doubts;
	for (int i = 0; i < 2; i++) {
		set->sleepers = 2;
		cw_set_kick(set);
		cw_set_kick(set);
		ck_assert_int_eq(epoll_wait(test.epfd[0], told, 2, 0), 1);
		ck_assert_int_eq(cw_set_after_kernel(set, test.epfd[0], asked_at, told, 1), 0);
		ck_assert_int_eq(epoll_wait(test.epfd[0], told, 2, 0), 0);
		cw_set_rise(set);
		ck_assert(set->owed);
		cw_set_kick_on(set);
		ck_assert_int_eq(epoll_wait(test.epfd[0], told, 2, 0), 1);
		/* Whose sleep ends otherwise, the last one's. */
		cw_set_rise(set);
		ck_assert_int_eq(epoll_wait(test.epfd[0], told, 2, 0), 0);
		ck_assert_int_eq(cw_set_after_kernel(set, test.epfd[0], asked_at, told, 1), 0);
		cw_set_kick_on(set);
		ck_assert_int_eq(epoll_wait(test.epfd[0], told, 2, 0), 0);
	}
	/* Who was told of all wakes nobody. */
	set->sleepers = 1;
	cw_set_kick(set);
	ck_assert_int_eq(send(pair.fd[1], "x", 1, 0), 1);
	ck_assert_int_eq(cw_set_wait(test.epfd[0], told, 2, -1, NULL), 1);
	ck_assert_uint_eq(told[0].data.u64, 4712);
	ck_assert_int_eq(epoll_wait(test.epfd[0], told, 2, 0), 1);
	ck_assert_uint_eq(told[0].data.u64, 4712);
	/* Nor does a kick take the place of an event. */
	ck_assert_int_eq(recv(pair.fd[0], &(char){0}, 1, 0), 1);
	ck_assert_int_eq(epoll_wait(test.epfd[0], told, 2, 0), 0);
	cw_set_kick(set);
	ck_assert_int_eq(send(pair.fd[1], "x", 1, 0), 1);
	ck_assert_int_eq(cw_set_wait(test.epfd[0], told, 1, 0, NULL), 1);
	ck_assert_uint_eq(told[0].data.u64, 4712);
	set->sleepers = 0;
}
END_TEST

/* A kick in a set that a child has too, by who is killed before he was woken: it must not wake the child for ever. */
static void kicked_by_the_dead(_Atomic int *told)
{
	struct epoll_event event;
	struct cw_set *set;
	int ends[2];
	char end;

	setup(1, looks[0]);
	set = cw_set_of(test.epfd[0]);
	set->sleepers = 1;
	cw_set_kick(set);
	cw_set_undo_kick(set);
	ck_assert_int_eq(pipe(ends), 0);
	cw_fork_prepare();
	if (fork() != 0) {
		cw_fork_parent();
		cw_set_kick(set);
		_exit(epoll_wait(test.epfd[0], &event, 1, 0) != 1);
	}
	cw_fork_child();
	close(ends[1]);
	while (read(ends[0], &end, 1) > 0)
		;
	*told = 1 + epoll_wait(test.epfd[0], &event, 1, 0);
	_exit(0);
}

START_TEST(a_kick_ends_with_its_process)
{
	_Atomic int *told = shared_memory(sizeof(*told));
	pid_t parent = fork();
	int status;

	if (parent == 0)
		kicked_by_the_dead(told);
	ck_assert_int_eq(waitpid(parent, &status, 0), parent);
	ck_assert_int_eq(status, 0);
	while (!*told)
		usleep(1000);
	ck_assert_int_eq(*told, 1);
}
END_TEST

/* A stream's end takes out what was registered by its last number, and nobody who has one that it had before. */
START_TEST(taken_out_by_its_own_number)
{
	struct epoll_event event = {.events = EPOLLIN, .data.u64 = 4712};
	int other, third = eventfd(1, EFD_CLOEXEC);

	setup(1, looks[_i]);
	other = dup(test.fd);
	cw_stream_dup(test.stream, cw_stream_life(test.stream), other);
	ck_assert_int_eq(change(test.epfd[0], EPOLL_CTL_ADD), 0);
	ck_assert_int_eq(cw_set_control(cw_set_of(test.epfd[0]), test.epfd[0], EPOLL_CTL_ADD, other, &event), 0);
	cw_table_take(test.fd);
	cw_stream_close(test.stream, test.fd);
	ck_assert_int_eq(dup2(third, test.fd), test.fd);
	event.data.u64 = 4713;
	ck_assert_int_eq(epoll_ctl(test.epfd[0], EPOLL_CTL_ADD, test.fd, &event), 0);
	cw_table_take(other);
	cw_set_leave_all(test.stream);
	ck_assert_int_eq(epoll_ctl(test.epfd[0], EPOLL_CTL_DEL, other, NULL), -1);
	ck_assert_int_eq(errno, ENOENT);
	ck_assert_int_eq(epoll_ctl(test.epfd[0], EPOLL_CTL_DEL, test.fd, NULL), 0);
	cw_stream_close(test.stream, other);
	close(other);
	close(third);
}
END_TEST

static void without_room(void (*call)(struct cw_set *), struct cw_set *set)
{
	struct rlimit limit, low = {0};

	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
	low.rlim_max = limit.rlim_max;
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &low), 0);
	call(set);
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

static void kicked_with_room_alone(void (*call)(struct cw_set *))
{
	struct epoll_event told;
	struct cw_set *set = cw_set_of(test.epfd[0]);

	set->sleepers = 1;
	set->owed = true;
	without_room(call, set);
	ck_assert_int_eq(epoll_wait(test.epfd[0], &told, 1, 0), 0);
	call(set);
	ck_assert_int_eq(epoll_wait(test.epfd[0], &told, 1, 0), 1);
	cw_set_rise(set);
	ck_assert_int_eq(epoll_wait(test.epfd[0], &told, 1, 0), 0);
}

START_TEST(kicked_when_there_is_room)
{
	setup(1, looks[_i]);
	kicked_with_room_alone(cw_set_kick);
}
END_TEST

/* A sleeper that another one's wake-up was to be handed on to. */
START_TEST(kicked_on_when_there_is_room)
{
	setup(1, looks[_i]);
	kicked_with_room_alone(cw_set_kick_on);
	ck_assert(!cw_set_of(test.epfd[0])->owed);
}
END_TEST

/* A child by fork has the same set in the kernel, and a kick there is for its parent's sleepers. */
START_TEST(kicked_before_a_fork)
{
	struct epoll_event told;
	struct cw_set *set;
	pid_t child;
	int status;

	setup(1, looks[_i]);
	set = cw_set_of(test.epfd[0]);
	set->sleepers = 1;
	cw_set_kick(set);
	child = fork();
	if (!child) {
		cw_fork_child();
		cw_set_wait(test.epfd[0], &told, 1, 1000000, NULL);
		cw_set_close((uint32_t)(set - cw_sets), test.epfd[0]);
		_exit(0);
	}
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert_int_eq(status, 0);
	ck_assert_int_eq(epoll_wait(test.epfd[0], &told, 1, 0), 1);
	ck_assert(cw_set_is_kick(set, &told));
	cw_set_rise(set);
	ck_assert_int_eq(epoll_wait(test.epfd[0], &told, 1, 0), 0);
}
END_TEST

int main(void)
{
	SRunner *runner;
	TCase *units = units_of("sets", 120, &runner);

	tcase_add_loop_test(units, in_sets_of_many_threads, 0, 2);
	tcase_add_loop_test(units, attached_by_many_threads, 0, 2);
	tcase_add_loop_test(units, registered_elsewhere_while_a_set_is_entered, 0, 2);
	tcase_add_loop_test(units, closed_under_those_who_wait, 0, 2);
	tcase_add_loop_test(units, told_of_what_is_gone, 0, 2);
	tcase_add_loop_test(units, room_told_once_beside_a_stranger, 0, 2);
	tcase_add_loop_test(units, told_once_without_waiting, 0, 2);
	tcase_add_loop_test(units, told_once_of_many, 0, 2);
	tcase_add_loop_test(units, woken_by_one_kick, 0, 2);
	tcase_add_test(units, a_kick_ends_with_its_process);
	tcase_add_loop_test(units, kicked_when_there_is_room, 0, 2);
	tcase_add_loop_test(units, kicked_on_when_there_is_room, 0, 2);
	tcase_add_loop_test(units, kicked_before_a_fork, 0, 2);
	tcase_add_loop_test(units, taken_out_by_its_own_number, 0, 2);
	return run_units(runner);
}
