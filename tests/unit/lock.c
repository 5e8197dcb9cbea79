/* sync/lock: one holder at a time among threads and processes, some of which are killed, and words that are nonsense. */
#include "unit.h"

#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sync/cpu.h"
#include "sync/lock.h"

#define HOLDERS 4
#define TURNS   30000

/* Two counters that differ only inside the lock. */
struct guarded {
	struct cw_lock lock;
	uint64_t first, second;
	_Atomic uint32_t ready;
};

static uint32_t own_id(void)
{
	return (uint32_t)syscall(SYS_gettid);
}

static bool turn(struct guarded *guarded, bool linger)
{
	uint64_t contended = 0;
	enum cw_lock_result result = cw_lock(&guarded->lock, own_id(), &contended);
	bool fine = result == CW_LOCK_HELD && guarded->first == guarded->second;

	guarded->first++;
	if (linger)
		sched_yield();
	guarded->second++;
	cw_unlock(&guarded->lock);
	return fine;
}

static void *take_turns(void *argument)
{
	for (int i = 0; i < TURNS; i++)
		if (!turn(argument, i % 64 == 0))
			return argument;
	return NULL;
}

START_TEST(threads_take_turns)
{
	static struct guarded guarded;
	pthread_t threads[HOLDERS];
	void *failed;

	for (int i = 0; i < HOLDERS; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, take_turns, &guarded), 0);
	for (int i = 0; i < HOLDERS; i++) {
		ck_assert_int_eq(pthread_join(threads[i], &failed), 0);
		ck_assert_ptr_null(failed);
	}
	ck_assert_uint_eq(guarded.first, HOLDERS * TURNS);
	ck_assert_uint_eq(guarded.second, HOLDERS * TURNS);
	ck_assert_uint_eq(guarded.lock.holder, 0);
	ck_assert_uint_eq(guarded.lock.waiters, 0);
}
END_TEST

START_TEST(processes_take_turns)
{
	struct guarded *guarded = shared_memory(sizeof(*guarded));
	int status;

	for (int i = 0; i < HOLDERS; i++)
		if (fork() == 0)
			_exit(take_turns(guarded) != NULL);
	for (int i = 0; i < HOLDERS; i++) {
		ck_assert_int_gt(wait(&status), 0);
		ck_assert_int_eq(status, 0);
	}
	ck_assert_uint_eq(guarded->first, HOLDERS * TURNS);
	ck_assert_uint_eq(guarded->lock.holder, 0);
}
END_TEST

START_TEST(a_free_lock_is_not_contended)
{
	struct cw_lock lock = {0};
	uint64_t contended = 0;

	ck_assert_int_eq(cw_lock(&lock, own_id(), &contended), CW_LOCK_HELD);
	ck_assert_uint_eq(lock.holder, own_id());
	cw_unlock(&lock);
	ck_assert_uint_eq(contended, 0);
}
END_TEST

START_TEST(a_holder_in_its_own_section_is_nested)
{
	struct cw_lock lock = {0};
	uint64_t contended = 0;

	ck_assert_int_eq(cw_lock(&lock, own_id(), &contended), CW_LOCK_HELD);
	ck_assert_int_eq(cw_lock(&lock, own_id(), &contended), CW_LOCK_NESTED);
	ck_assert_uint_eq(contended, 0);
	cw_unlock(&lock);
	ck_assert_int_eq(cw_lock(&lock, own_id(), &contended), CW_LOCK_HELD);
}
END_TEST

/* A child that holds the lock and waits to be killed. */
static pid_t holding_child(struct guarded *guarded)
{
	uint64_t contended = 0;
	pid_t child = fork();

	if (child == 0) {
		cw_lock(&guarded->lock, own_id(), &contended);
		guarded->ready = 1;
		for (;;)
			pause();
	}
	while (!guarded->ready)
		usleep(1000);
	return child;
}

START_TEST(the_lock_of_a_killed_one_is_taken_over)
{
	struct guarded *guarded = shared_memory(sizeof(*guarded));
	uint64_t contended = 0;
	pid_t child = holding_child(guarded);

	ck_assert_int_eq(kill(child, SIGKILL), 0);
	if (_i) /* else it stays a zombie, as long as its parent has not asked for it */
		ck_assert_int_eq(waitpid(child, NULL, 0), child);
	else
		ck_assert_int_eq(waitid(P_PID, (id_t)child, &(siginfo_t){0}, WEXITED | WNOWAIT), 0);
	ck_assert_int_eq(cw_lock(&guarded->lock, own_id(), &contended), CW_LOCK_RECOVERED);
	ck_assert_uint_eq(guarded->lock.holder, own_id());
	ck_assert_uint_eq(contended, 1);
	cw_unlock(&guarded->lock);
	ck_assert_int_eq(cw_lock(&guarded->lock, own_id(), &contended), CW_LOCK_HELD);
}
END_TEST

static void *hold_and_end(void *argument)
{
	uint64_t contended = 0;

	cw_lock(argument, own_id(), &contended);
	return NULL;
}

START_TEST(the_lock_of_an_ended_thread_is_taken_over)
{
	static struct cw_lock lock;
	uint64_t contended = 0;
	pthread_t thread;

	ck_assert_int_eq(pthread_create(&thread, NULL, hold_and_end, &lock), 0);
	ck_assert_int_eq(pthread_join(thread, NULL), 0);
	ck_assert_int_eq(cw_lock(&lock, own_id(), &contended), CW_LOCK_RECOVERED);
}
END_TEST

/* One of those who wait recovers it, the others get it in turn; then again, until all children were killed inside. */
START_TEST(waiters_of_a_killed_one_all_get_it)
{
	struct guarded *guarded = shared_memory(sizeof(*guarded));
	_Atomic uint32_t *recovered = shared_memory(sizeof(*recovered));
	uint64_t contended = 0;
	int status;

	for (int round = 0; round < 5; round++) {
		pid_t child, waiters[HOLDERS];

		guarded->ready = 0;
		child = holding_child(guarded);
		for (int i = 0; i < HOLDERS; i++) {
			waiters[i] = fork();
			if (waiters[i] == 0) {
				enum cw_lock_result result = cw_lock(&guarded->lock, own_id(), &contended);

				if (result == CW_LOCK_RECOVERED)
					++*recovered;
				guarded->first++;
				cw_unlock(&guarded->lock);
				_exit(result == CW_LOCK_TIMED_OUT || result == CW_LOCK_NESTED);
			}
		}
		ck_assert_int_eq(kill(child, SIGKILL), 0);
		ck_assert_int_eq(waitpid(child, &status, 0), child);
		for (int i = 0; i < HOLDERS; i++) {
			ck_assert_int_eq(waitpid(waiters[i], &status, 0), waiters[i]);
			ck_assert_int_eq(status, 0);
		}
		ck_assert_uint_eq(guarded->first, HOLDERS * (round + 1));
		ck_assert_uint_eq(*recovered, round + 1);
		ck_assert_uint_eq(guarded->lock.holder, 0);
	}
}
END_TEST

/* Killed at any instruction: whoever comes next gets the lock, whatever the dead one did. */
START_TEST(killed_at_any_moment)
{
	struct guarded *guarded = shared_memory(sizeof(*guarded));
	uint64_t contended = 0, seed = 424242;

	for (int round = 0; round < 200; round++) {
		pid_t child = fork();
		enum cw_lock_result result;

		if (child == 0)
			for (;;)
				turn(guarded, false);
		for (int i = 0; i < 20; i++)
			turn(guarded, false);
		usleep((useconds_t)(next_random(&seed) % 300));
		ck_assert_int_eq(kill(child, SIGKILL), 0);
		ck_assert_int_eq(waitpid(child, NULL, 0), child);
		result = cw_lock(&guarded->lock, own_id(), &contended);
		ck_assert(result == CW_LOCK_HELD || result == CW_LOCK_RECOVERED);
		guarded->second = guarded->first;
		cw_unlock(&guarded->lock);
	}
}
END_TEST

START_TEST(nobody_has_such_an_id)
{
	static const uint32_t nonsense[] = {UINT32_MAX, 1u << 31, (1u << 22) + 1, 0x7fffffff, UINT32_MAX - 1};
	struct cw_lock lock = {.holder = nonsense[_i], .waiters = UINT32_MAX};
	uint64_t contended = 0;

	ck_assert_int_eq(cw_lock(&lock, own_id(), &contended), CW_LOCK_RECOVERED);
	cw_unlock(&lock);
	ck_assert_int_eq(cw_lock(&lock, own_id(), &contended), CW_LOCK_HELD);
}
END_TEST

/* Somebody who lives and never gives it back: the id of another process, written there by a peer. */
START_TEST(a_holder_that_lives_for_ever_times_out)
{
	struct cw_lock lock = {.holder = (uint32_t)getppid()};
	uint64_t contended = 0;

	ck_assert_int_eq(cw_lock(&lock, own_id(), &contended), CW_LOCK_TIMED_OUT);
	ck_assert_uint_eq(lock.holder, (uint32_t)getppid());
	ck_assert_uint_eq(lock.waiters, 0);
}
END_TEST

/* Nobody can ask whether he lives: he is waited for, as long as anybody. */
START_TEST(a_guest_that_stays_loses_the_lock)
{
	struct cw_lock lock = {0};
	uint64_t contended = 0;

	ck_assert(cw_lock_as_guest(&lock));
	ck_assert(!cw_lock_as_guest(&lock));
	ck_assert(cw_unlock_as_guest(&lock));
	ck_assert(cw_lock_as_guest(&lock));
	ck_assert_int_eq(cw_lock(&lock, own_id(), &contended), CW_LOCK_RECOVERED);
	ck_assert(!cw_unlock_as_guest(&lock));
	ck_assert_uint_eq(lock.holder, own_id());
	cw_unlock(&lock);
}
END_TEST

static void *be_guest_for_long(void *argument)
{
	struct guarded *guarded = argument;

	if (!cw_lock_as_guest(&guarded->lock))
		return argument;
	guarded->ready = 1;
	usleep(200000);
	guarded->first = 1;
	return cw_unlock_as_guest(&guarded->lock) ? NULL : argument;
}

START_TEST(a_guest_is_waited_for)
{
	static struct guarded guarded;
	uint64_t contended = 0;
	pthread_t guest;
	void *failed;

	ck_assert_int_eq(pthread_create(&guest, NULL, be_guest_for_long, &guarded), 0);
	while (!guarded.ready)
		sched_yield();
	ck_assert_int_eq(cw_lock(&guarded.lock, own_id(), &contended), CW_LOCK_HELD);
	ck_assert_uint_eq(guarded.first, 1);
	ck_assert_int_eq(pthread_join(guest, &failed), 0);
	ck_assert_ptr_null(failed);
}
END_TEST

/* A thread with the lock reads memory that comes late, later than any wait would last that nobody vouches for. */
struct slow {
	struct cw_lock lock;
	char *page;
	_Atomic uint32_t reads;
};

static void *read_with_lock(void *argument)
{
	struct slow *slow = argument;
	uint64_t contended = 0;

	cw_lock(&slow->lock, own_id(), &contended);
	slow->reads = 1;
	*(volatile char *)slow->page;
	cw_unlock(&slow->lock);
	return NULL;
}

static void *wait_for_lock(void *argument)
{
	struct slow *slow = argument;
	static enum cw_lock_result result;
	uint64_t contended = 0;

	result = cw_lock(&slow->lock, own_id(), &contended);
	if (result == CW_LOCK_HELD)
		cw_unlock(&slow->lock);
	return &result;
}

static void *wait_for_own_lock(void *argument)
{
	struct slow *slow = argument;
	static enum cw_lock_result result;

	result = cw_lock_own(&slow->lock, own_id(), NULL);
	return &result;
}

static int memory_that_comes_late(char **page)
{
	struct uffdio_api api = {.api = UFFD_API};
	struct uffdio_register all = {.mode = UFFDIO_REGISTER_MODE_MISSING};
	int late = (int)syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY);

	if (late < 0)
		return -1;
	*page = mmap(NULL, (size_t)getpagesize(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	all.range.start = (uintptr_t)*page;
	all.range.len = (uintptr_t)getpagesize();
	ck_assert_int_eq(ioctl(late, UFFDIO_API, &api), 0);
	ck_assert_int_eq(ioctl(late, UFFDIO_REGISTER, &all), 0);
	return late;
}

START_TEST(a_holder_whose_memory_comes_late_is_waited_for)
{
	static struct slow slow;
	int late = memory_that_comes_late(&slow.page);
	struct uffdio_zeropage zero = {.range = {(uintptr_t)slow.page, (uintptr_t)getpagesize()}};
	pthread_t reader, waiter;
	void *result;

	if (late < 0)
		return; /* this kernel has none, or not for us */
	ck_assert_int_eq(pthread_create(&reader, NULL, read_with_lock, &slow), 0);
	while (!slow.reads)
		sched_yield();
	ck_assert_int_eq(pthread_create(&waiter, NULL, wait_for_lock, &slow), 0);
	usleep(3000000);
	ck_assert_int_eq(ioctl(late, UFFDIO_ZEROPAGE, &zero), 0);
	ck_assert_int_eq(pthread_join(reader, NULL), 0);
	ck_assert_int_eq(pthread_join(waiter, &result), 0);
	ck_assert_int_eq(*(enum cw_lock_result *)result, CW_LOCK_HELD);
	close(late);
}
END_TEST

/* A thread of ours that has nothing to do with it: a peer may have written its id there. */
START_TEST(a_thread_that_only_sleeps_times_out)
{
	static struct slow slow;
	uint32_t self = own_id();
	pthread_t waiter;
	void *result;

	slow.lock.holder = self;
	ck_assert_int_eq(pthread_create(&waiter, NULL, wait_for_lock, &slow), 0);
	ck_assert_int_eq(pthread_join(waiter, &result), 0);
	ck_assert_int_eq(*(enum cw_lock_result *)result, CW_LOCK_TIMED_OUT);
}
END_TEST

/* Of a lock in memory of this process alone nobody feigns the holder: one that runs is waited for, however long. */
static void *run_with_lock(void *argument)
{
	struct slow *slow = argument;
	uint64_t contended = 0, end = cw_monotonic_ns() + 3000000000ull;

	cw_lock(&slow->lock, own_id(), &contended);
	slow->reads = 1;
	while (cw_monotonic_ns() < end)
		;
	cw_unlock(&slow->lock);
	return NULL;
}

START_TEST(who_runs_with_a_lock_of_its_own_is_waited_for)
{
	static struct slow slow;
	uint64_t contended = 0;
	pthread_t runner;

	ck_assert_int_eq(pthread_create(&runner, NULL, run_with_lock, &slow), 0);
	while (!slow.reads)
		sched_yield();
	ck_assert_int_eq(cw_lock_own(&slow.lock, own_id(), &contended), CW_LOCK_HELD);
	ck_assert_uint_eq(contended, 1);
	ck_assert_int_eq(cw_lock_own(&slow.lock, own_id(), NULL), CW_LOCK_NESTED);
	cw_unlock(&slow.lock);
	ck_assert_int_eq(pthread_join(runner, NULL), 0);
}
END_TEST

/* It is below a handler that waits, perhaps for the one that wants the lock. */
START_TEST(who_waits_with_a_lock_of_its_own_is_not)
{
	static struct slow slow;
	uint32_t self = own_id();
	pthread_t waiter;
	void *result;

	slow.lock.holder = self;
	ck_assert_int_eq(pthread_create(&waiter, NULL, wait_for_own_lock, &slow), 0);
	ck_assert_int_eq(pthread_join(waiter, &result), 0);
	ck_assert_int_eq(*(enum cw_lock_result *)result, CW_LOCK_TIMED_OUT);
}
END_TEST

/* A job that is stopped for longer than the limit, while one of its threads waits for another. */
struct stopped {
	struct cw_lock lock;
	int go_on[2];
};

static void *hold_until_told(void *argument)
{
	struct stopped *stopped = argument;
	uint64_t contended = 0;
	char told;

	cw_lock(&stopped->lock, own_id(), &contended);
	if (read(stopped->go_on[0], &told, 1) == 1)
		cw_unlock(&stopped->lock);
	return NULL;
}

static _Noreturn void be_stopped(struct stopped *stopped)
{
	uint64_t contended = 0;
	enum cw_lock_result result;
	pthread_t holder;

	if (pthread_create(&holder, NULL, hold_until_told, stopped))
		_exit(99);
	while (!atomic_load(&stopped->lock.holder))
		sched_yield();
	result = cw_lock(&stopped->lock, own_id(), &contended);
	pthread_join(holder, NULL);
	_exit((int)result);
}

START_TEST(the_time_that_a_waiter_is_stopped_for_is_none)
{
	static struct stopped stopped;
	pid_t child;
	int status;

	ck_assert_int_eq(pipe(stopped.go_on), 0);
	child = fork();
	if (!child)
		be_stopped(&stopped);
	usleep(300000);
	ck_assert_int_eq(kill(child, SIGSTOP), 0);
	usleep(2500000);
	ck_assert_int_eq(kill(child, SIGCONT), 0);
	usleep(200000);
	ck_assert_int_eq(write(stopped.go_on[1], "", 1), 1);
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert(WIFEXITED(status));
	ck_assert_int_eq(WEXITSTATUS(status), CW_LOCK_HELD);
	close(stopped.go_on[0]);
	close(stopped.go_on[1]);
}
END_TEST

/* A peer that changes the word as fast as it can: some answer must come. */
static void *write_nonsense(void *argument)
{
	struct guarded *guarded = argument;
	uint64_t seed = 99;

	while (!guarded->ready) {
		atomic_store(&guarded->lock.holder, (uint32_t)(next_random(&seed) % 70000) * (uint32_t)(next_random(&seed) % 2));
		atomic_store(&guarded->lock.waiters, (uint32_t)next_random(&seed));
	}
	return NULL;
}

START_TEST(a_word_full_of_nonsense)
{
	static struct guarded guarded;
	uint64_t contended = 0;
	pthread_t peer;

	ck_assert_int_eq(pthread_create(&peer, NULL, write_nonsense, &guarded), 0);
	for (int i = 0; i < 20000; i++) {
		enum cw_lock_result result = cw_lock(&guarded.lock, own_id(), &contended);

		ck_assert(result == CW_LOCK_HELD || result == CW_LOCK_RECOVERED || result == CW_LOCK_NESTED || result == CW_LOCK_TIMED_OUT);
		cw_unlock(&guarded.lock);
	}
	guarded.ready = 1;
	ck_assert_int_eq(pthread_join(peer, NULL), 0);
}
END_TEST

int main(void)
{
	SRunner *runner;
	TCase *units = units_of("lock", 60, &runner);

	tcase_add_test(units, threads_take_turns);
	tcase_add_test(units, processes_take_turns);
	tcase_add_test(units, a_free_lock_is_not_contended);
	tcase_add_test(units, a_holder_in_its_own_section_is_nested);
	tcase_add_loop_test(units, the_lock_of_a_killed_one_is_taken_over, 0, 2);
	tcase_add_test(units, the_lock_of_an_ended_thread_is_taken_over);
	tcase_add_test(units, waiters_of_a_killed_one_all_get_it);
	tcase_add_test(units, killed_at_any_moment);
	tcase_add_loop_test(units, nobody_has_such_an_id, 0, 5);
	tcase_add_test(units, a_holder_that_lives_for_ever_times_out);
	tcase_add_test(units, a_guest_that_stays_loses_the_lock);
	tcase_add_test(units, a_guest_is_waited_for);
	tcase_add_test(units, a_holder_whose_memory_comes_late_is_waited_for);
	tcase_add_test(units, a_thread_that_only_sleeps_times_out);
	tcase_add_test(units, who_runs_with_a_lock_of_its_own_is_waited_for);
	tcase_add_test(units, who_waits_with_a_lock_of_its_own_is_not);
	tcase_add_test(units, the_time_that_a_waiter_is_stopped_for_is_none);
	tcase_add_test(units, a_word_full_of_nonsense);
	return run_units(runner);
}
