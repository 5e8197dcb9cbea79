/* Event sets: registrations with the same data, such as two descriptors of a socket, one to read and one to write. */
#include "pair.h"

#include <sched.h>

#include "sockets/set_item.h"

/* Who never looks sleeps at once, by another way. */
static const long looks[] = {0, 20};
static struct pair alike[2];
static struct cw_set *set;
static int epfd;

static void register_alike(int operation, int i, uint32_t events)
{
	struct epoll_event event = {.events = events, .data.u64 = 4711};

	ck_assert_int_eq(cw_set_control(set, epfd, operation, alike[i].fd[0], &event), 0);
}

static bool armed(int i)
{
	return cw_item_first(cw_stream_of(alike[i].fd[0]))->armed;
}

static void setup_alike(long spin_us, uint32_t first, uint32_t second)
{
	pair_start(spin_us);
	epfd = epoll_create1(EPOLL_CLOEXEC);
	cw_set_open(epfd);
	set = cw_set_of(epfd);
	ck_assert_ptr_nonnull(set);
	for (int i = 0; i < 2; i++) {
		pair_make(&alike[i]);
		ck_assert_ptr_nonnull(cw_stream_open(alike[i].fd[0], true, false));
		register_alike(EPOLL_CTL_ADD, i, i ? second : first);
	}
}

static int wait_once(struct epoll_event *event)
{
	return cw_set_wait(epfd, event, 1, -1, NULL);
}

START_TEST(told_once_of_two_alike)
{
	struct epoll_event event;

	setup_alike(looks[_i], EPOLLIN | EPOLLONESHOT, EPOLLOUT | EPOLLONESHOT);
	ck_assert_int_eq(wait_once(&event), 1);
	ck_assert_uint_eq(event.events, EPOLLOUT);
	ck_assert(armed(0) && !armed(1));
	ck_assert_int_eq(send(alike[0].fd[1], "x", 1, 0), 1);
	ck_assert_int_eq(wait_once(&event), 1);
	ck_assert_uint_eq(event.events, EPOLLIN);
	ck_assert(!armed(0));
	register_alike(EPOLL_CTL_MOD, 0, EPOLLIN);
	register_alike(EPOLL_CTL_MOD, 1, EPOLLOUT | EPOLLONESHOT);
	event = (struct epoll_event){EPOLLIN, {.u64 = 4711}};
	ck_assert_int_eq(cw_set_after_kernel(set, epfd, set->doubts, &event, 1), 1);
	ck_assert(armed(1));
}
END_TEST

/* By its bits it is of either: each is told once, of two that are ready. */
START_TEST(told_once_each_of_two_alike)
{
	struct epoll_event event;

	setup_alike(looks[_i], EPOLLIN | EPOLLONESHOT, EPOLLIN | EPOLLONESHOT);
	for (int i = 0; i < 2; i++)
		ck_assert_int_eq(send(alike[i].fd[1], "x", 1, 0), 1);
	while (!(cw_raw_poll(alike[0].fd[0], POLLIN) && cw_raw_poll(alike[1].fd[0], POLLIN)))
		sched_yield();
	ck_assert_int_eq(wait_once(&event), 1);
	ck_assert_int_eq(armed(0) + armed(1), 1);
	ck_assert_int_eq(wait_once(&event), 1);
	ck_assert_int_eq(armed(0) + armed(1), 0);
	ck_assert_int_eq(cw_set_wait(epfd, &event, 1, 20000000, NULL), 0);
}
END_TEST

/* The one is taken away while the kernel's word of the other is on its way: that comes again. */
START_TEST(told_once_beside_one_that_is_gone)
{
	struct epoll_event event;
	uint64_t asked_at;

	setup_alike(looks[_i], EPOLLIN | EPOLLONESHOT, EPOLLPRI | EPOLLONESHOT);
	ck_assert_int_eq(send(alike[0].fd[1], "x", 1, 0), 1);
	asked_at = set->doubts;
	ck_assert_int_eq(epoll_wait(epfd, &event, 1, -1), 1);
	register_alike(EPOLL_CTL_DEL, 1, 0);
	if (!cw_set_after_kernel(set, epfd, asked_at, &event, 1))
		ck_assert_int_eq(cw_set_wait(epfd, &event, 1, 5000000000, NULL), 1);
	ck_assert_uint_eq(event.events, EPOLLIN);
}
END_TEST

/* The ring's word of one, and the kernel's of the other, are two. */
START_TEST(merged_if_of_one)
{
	struct epoll_event apart[] = {{EPOLLIN, {.u64 = 4711}}, {EPOLLOUT, {.u64 = 4711}}},
			   same[] = {{EPOLLIN, {.u64 = 4711}}, {EPOLLIN, {.u64 = 4711}}};

	setup_alike(looks[_i], EPOLLIN | EPOLLONESHOT, EPOLLOUT | EPOLLONESHOT);
	ck_assert_int_eq(cw_set_merge(set, apart, 1, 2), 2);
	ck_assert_int_eq(cw_set_merge(set, same, 1, 2), 1);
	register_alike(EPOLL_CTL_DEL, 1, 0);
	ck_assert_int_eq(cw_set_merge(set, apart, 1, 2), 1);
	ck_assert_uint_eq(apart[0].events, EPOLLIN | EPOLLOUT);
}
END_TEST

int main(void)
{
	SRunner *runner;
	TCase *units = units_of("sets_alike", 120, &runner);

	tcase_add_loop_test(units, told_once_of_two_alike, 0, 2);
	tcase_add_loop_test(units, told_once_each_of_two_alike, 0, 2);
	tcase_add_loop_test(units, told_once_beside_one_that_is_gone, 0, 2);
	tcase_add_loop_test(units, merged_if_of_one, 0, 2);
	return run_units(runner);
}
