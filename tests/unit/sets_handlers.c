/*
 * Event sets: a signal handler that uses the set in the middle of a call on it, at each instruction of the call in turn. Each call and each
 * handler is of another stream, so that what is registered in the end is the same whichever came first, and is told, and nothing else.
 */
#include "stepped.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>

#include "sockets/set_item.h"

#define ROUNDS  20000
#define STEPS   20000 /* in all, if the form is not the long one, in which the signal comes everywhere */
#define STREAMS 5
#define BARE    4 /* on the kernel; the others go by ring */

/* ---- in the process that is interrupted ---- */

static struct {
	struct pair pair;
	struct cw_stream *reader, *writer;
	bool registered, told;
} streams[STREAMS];

static int epfd;
static struct cw_set *set;

static int control(int operation, int number, uint32_t events)
{
	struct epoll_event event = {.events = events, .data.u64 = (uint64_t)number + 1};
	int fd = streams[number].pair.fd[1];

	/* As the library's own call. */
	int result;

	if (cw_set_defer(set, epfd, operation, fd, &event, &result))
		return result;
	return cw_set_control(set, epfd, operation, fd, &event);
}

static void open_bare(void)
{
	streams[BARE].reader = cw_stream_open(streams[BARE].pair.fd[1], true, false);
}

static void add(void)
{
	if (control(EPOLL_CTL_ADD, 1, EPOLLIN) && epfd >= 0)
		give_up("not added: %m");
	streams[1].registered = true;
}

static void add_other(void)
{
	if (control(EPOLL_CTL_ADD, 3, EPOLLIN | EPOLLRDHUP))
		give_up("not added by the handler: %m");
	streams[3].registered = true;
}

static void take_out(void)
{
	if (control(EPOLL_CTL_DEL, 0, 0) && epfd >= 0)
		give_up("not taken out: %m");
	streams[0].registered = false;
}

static void take_out_other(void)
{
	if (control(EPOLL_CTL_DEL, 2, 0))
		give_up("not taken out by the handler: %m");
	streams[2].registered = false;
}

static void change(void)
{
	if (control(EPOLL_CTL_MOD, 0, EPOLLIN | EPOLLPRI) && epfd >= 0)
		give_up("not changed: %m");
}

static void change_other(void)
{
	if (control(EPOLL_CTL_MOD, 2, EPOLLIN | EPOLLPRI))
		give_up("not changed by the handler: %m");
}

static void wait_a_moment(void)
{
	struct epoll_event told[STREAMS];

	if (cw_set_wait(epfd, told, STREAMS, 0, NULL) < 0 && epfd >= 0)
		give_up("not waited: %m");
}

static void close_one(void)
{
	pair_close(streams[BARE].reader, streams[BARE].pair.fd[1]);
	close(streams[BARE].pair.fd[0]);
	streams[BARE].registered = false;
}

static void close_set(void)
{
	int fd = epfd;

	epfd = -1;
	cw_table_take(fd);
	cw_set_close((uint32_t)(set - cw_sets), fd);
	close(fd);
}

static const struct {
	const char *name;
	void (*call)(void), (*on_top)(void);
} cases[] = {
	{"add, add", add, add_other},
	{"add, take out", add, take_out_other},
	{"add, change", add, change_other},
	{"add, wait", add, wait_a_moment},
	{"add, close", add, close_one},
	{"take out, add", take_out, add_other},
	{"take out, take out", take_out, take_out_other},
	{"take out, change", take_out, change_other},
	{"take out, wait", take_out, wait_a_moment},
	{"take out, close", take_out, close_one},
	{"change, add", change, add_other},
	{"change, take out", change, take_out_other},
	{"change, change", change, change_other},
	{"change, close", change, close_one},
	{"wait, add", wait_a_moment, add_other},
	{"wait, take out", wait_a_moment, take_out_other},
	{"wait, change", wait_a_moment, change_other},
	{"wait, wait", wait_a_moment, wait_a_moment},
	{"wait, close", wait_a_moment, close_one},
	{"close, add", close_one, add_other},
	{"close, take out", close_one, take_out_other},
	{"close, change", close_one, change_other},
	{"close, wait", close_one, wait_a_moment},
	{"add, close the set", add, close_set},
	{"take out, close the set", take_out, close_set},
	{"wait, close the set", wait_a_moment, close_set},
	{"close, close the set", close_one, close_set},
};

#define CASES (sizeof(cases) / sizeof(cases[0]))

static void (*of_handler)(void);

static void on_top(int number)
{
	int saved = errno;

	of_handler();
	errno = saved;
}

static bool is_open(int number)
{
	return number != BARE || cw_stream_of(streams[BARE].pair.fd[1]) == streams[BARE].reader;
}

static void send_to(int number)
{
	ssize_t count = number == BARE ? send(streams[BARE].pair.fd[0], "x", 1, 0)
				       : cw_send(streams[number].writer, streams[number].pair.fd[0], "x", 1, MSG_DONTWAIT);

	if (count != 1)
		give_up("not sent: %m");
}

static ssize_t receive_from(int number)
{
	int fd = streams[number].pair.fd[1];
	char byte;

	return number == BARE ? recv(fd, &byte, 1, MSG_DONTWAIT) : cw_receive(streams[number].reader, fd, &byte, 1, MSG_DONTWAIT);
}

static void take_from(int number)
{
	for (unsigned turns = 0; receive_from(number) != 1; turns++)
		if (turns > 100)
			give_up("the byte doesn't come: %m");
}

static void ask(void)
{
	struct epoll_event told[STREAMS];
	int count = cw_set_wait(epfd, told, STREAMS, 0, NULL);

	if (count < 0)
		give_up("not waited: %m");
	for (int i = 0; i < count; i++) {
		if (!told[i].data.u64 || told[i].data.u64 > STREAMS || told[i].events != EPOLLIN)
			give_up("told %#x of %llu", told[i].events, (unsigned long long)told[i].data.u64);
		streams[told[i].data.u64 - 1].told = true;
	}
}

static void judge(size_t number)
{
	for (int i = 0; i < STREAMS; i++)
		streams[i].told = false;
	ask();
	for (int i = 0; i < STREAMS; i++)
		if (streams[i].told)
			give_up("%s: told of stream %d, which has nothing", cases[number].name, i);
	/* The rings' in one answer, the kernel's in another. */
	for (int i = 0; i < STREAMS; i++)
		if (i != BARE)
			send_to(i);
	ask();
	for (int i = 0; i < STREAMS; i++)
		if (i != BARE)
			take_from(i);
	if (is_open(BARE)) {
		send_to(BARE);
		ask();
		take_from(BARE);
	}
	for (int i = 0; i < STREAMS; i++)
		if (streams[i].told != streams[i].registered)
			give_up("%s: stream %d is registered %d, told %d", cases[number].name, i, streams[i].registered, streams[i].told);
}

/* The lists hold each registration once. */
static void count_items(size_t number)
{
	unsigned wanted = 0, all = 0, dirty = 0, listed = 0;

	for (int i = 0; i < STREAMS; i++)
		wanted += streams[i].registered;
	for (struct cw_item *item = set->items, **before = &set->items; item; before = &item->next, item = item->next) {
		if (item->before != before || all > 100)
			give_up("%s: the list is torn", cases[number].name);
		all += !item->gone;
		dirty += item->dirty;
	}
	for (struct cw_item *item = set->dirty; item && listed < 100; item = item->dirty_next)
		listed++;
	if (all != wanted || dirty != listed)
		give_up("%s: %u of %u registrations, %u of %u to tell", cases[number].name, all, wanted, listed, dirty);
	if (set->lock.holder)
		give_up("%s: the lock is held", cases[number].name);
}

/* Two are in the set, and one that is on the kernel; two are not. */
static void prepare(void)
{
	if (!is_open(BARE)) {
		pair_connect(&streams[BARE].pair);
		open_bare();
	}
	for (int i = 0; i < STREAMS; i++) {
		bool wanted = i != 1 && i != 3;

		if (streams[i].registered)
			control(EPOLL_CTL_DEL, i, 0);
		if (wanted && control(EPOLL_CTL_ADD, i, EPOLLIN))
			give_up("not added first: %m");
		streams[i].registered = wanted;
	}
	wait_a_moment();
}

static void open_set(void)
{
	epfd = epoll_create1(EPOLL_CLOEXEC);
	cw_set_open(epfd);
	set = cw_set_of(epfd);
}

/* Nothing is left of it, and the next one begins anew. */
static void replace(size_t number)
{
	if (set->references || set->items || set->lock.holder || set->notes)
		give_up("%s: %d references, items %p, lock %u", cases[number].name, set->references, (void *)set->items, set->lock.holder);
	for (int i = 0; i < STREAMS; i++) {
		if (is_open(i) && cw_item_first(streams[i].reader))
			give_up("%s: stream %d is registered", cases[number].name, i);
		streams[i].registered = false;
	}
	open_set();
}

static void round_of(size_t number)
{
	prepare();
	in_call = 1;
	kill(getpid(), SIGSTOP);
	cases[number].call();
	in_call = 0;
	kill(getpid(), SIGSTOP);
	if (epfd < 0)
		replace(number);
	judge(number);
	count_items(number);
}

static void interrupted(size_t number)
{
	alarm(getenv("CW_TEST_LONG") ? 1000 : 100);
	pair_start(0);
	open_set();
	for (int i = 0; i < BARE; i++) {
		pair_make_in(&streams[i].pair, (uint64_t)i + 1);
		streams[i].writer = pair_open(&streams[i].pair, 0);
		streams[i].reader = pair_open(&streams[i].pair, 1);
		for (unsigned turns = 0; cw_state_of(streams[i].reader->rx->state) != CW_LIVE; turns++) {
			if (turns > 200)
				give_up("the ring is not taken");
			send_to(i);
			take_from(i);
		}
	}
	pair_make(&streams[BARE].pair);
	open_bare();
	of_handler = cases[number].on_top;
	await_signals(on_top);
	for (unsigned i = 0; i < ROUNDS; i++)
		round_of(number);
	_exit(2);
}

/* ---- who interrupts ---- */

START_TEST(a_handler_at_each_instruction)
{
	pid_t pid = fork();

	if (!pid)
		interrupted((size_t)_i);
	signal_at_each_instruction(pid, (unsigned)_i, getenv("CW_TEST_LONG") ? 0 : STEPS);
}
END_TEST

int main(void)
{
	SRunner *runner;
	TCase *units = units_of("sets_handlers", 120, &runner);

	tcase_add_loop_test(units, a_handler_at_each_instruction, 0, (int)CASES);
	return run_units(runner);
}
