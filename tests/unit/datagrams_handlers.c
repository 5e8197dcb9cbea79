/*
 * Datagrams: a signal handler that uses the socket in the middle of a call on it, at each instruction of the call in turn. Each message
 * comes once, and whole, whoever took it.
 */
#include "flow_pair.h"

#include <errno.h>

#include "stepped.h"

#define ROUNDS 20000
#define STEPS  20000 /* in all, if the form is not the long one, in which the signal comes everywhere */
#define UNREAD 4     /* messages, before each call */
#define LENGTH 100   /* of a message, at most */

/* ---- in the process that is interrupted ---- */

static _Atomic uint32_t numbered; /* messages so far */
static unsigned char came[8192];  /* of the last ones, by number: how often */
static bool closed;

/* Of each a length of its own, and each byte tells its number. */
static size_t length_of(uint32_t number)
{
	return sizeof(number) + number % (LENGTH - sizeof(number));
}

/* As the library's own calls: who is in one keeps what the number meant. */
static ssize_t call_on(unsigned end, void *bytes, size_t length)
{
	struct iovec iov = {bytes, length};
	struct cw_giving giving = {
		.name = (struct sockaddr *)&ends.name[1], .size = sizeof(ends.name[1]), .iov = &iov, .iovcnt = 1, .flags = MSG_NOSIGNAL};
	struct cw_taking taking = {.iov = &iov, .iovcnt = 1, .flags = MSG_DONTWAIT};
	int fd = ends.fd[end];
	struct cw_datagram *socket = fd < 0 ? NULL : cw_datagram_held(fd);
	ssize_t count;

	if (!socket)
		return -1;
	count = end ? cw_datagram_receive(socket, fd, &taking) : cw_datagram_send(socket, fd, &giving);
	cw_datagram_release(socket);
	return count;
}

static void send_next(void)
{
	unsigned char bytes[LENGTH];
	uint32_t number = atomic_fetch_add(&numbered, 1);
	size_t length = length_of(number);
	ssize_t count;

	memset(bytes, (int)number, sizeof(bytes));
	memcpy(bytes, &number, sizeof(number));
	came[number % sizeof(came)] = 0;
	count = call_on(0, bytes, length);
	if (count != (ssize_t)length && !closed)
		give_up("sent %zd of %zu: %m", count, length);
}

static void receive_next(void)
{
	unsigned char bytes[LENGTH + 1];
	ssize_t got = call_on(1, bytes, sizeof(bytes));
	uint32_t number;

	if (got < 0)
		return;
	memcpy(&number, bytes, sizeof(number));
	if ((size_t)got < sizeof(number) || number >= numbered || (size_t)got != length_of(number))
		give_up("received %zd bytes, number %u of %u", got, number, numbered);
	for (size_t i = sizeof(number); i < (size_t)got; i++)
		if (bytes[i] != (unsigned char)number)
			give_up("other bytes in message %u", number);
	came[number % sizeof(came)]++;
}

static void close_end(unsigned end)
{
	closed = true;
	cw_table_take(ends.fd[end]);
	cw_datagram_close(ends.socket[end], ends.fd[end]);
	close(ends.fd[end]);
	ends.fd[end] = -1;
}

static void close_receiver(void)
{
	close_end(1);
}

static void close_sender(void)
{
	close_end(0);
}

static const struct {
	const char *name;
	void (*call)(void), (*on_top)(void);
} cases[] = {
	{"receive, receive", receive_next, receive_next}, {"send, send", send_next, send_next},
	{"receive, send", receive_next, send_next},       {"send, receive", send_next, receive_next},
	{"receive, close", receive_next, close_receiver}, {"send, close", send_next, close_sender},
};

#define CASES (sizeof(cases) / sizeof(cases[0]))

static void (*of_handler)(void);

static void on_top(int number)
{
	int saved = errno;

	of_handler();
	errno = saved;
}

static void judge(size_t number, uint32_t first)
{
	for (uint32_t i = 0; i < numbered - first + 3; i++)
		receive_next();
	for (uint32_t i = first; i < numbered; i++)
		if (came[i % sizeof(came)] != 1)
			give_up("%s: message %u came %u times", cases[number].name, i - first, came[i % sizeof(came)]);
	if (ends.socket[0]->tx_lock.holder || ends.socket[1]->rx_lock.holder)
		give_up("%s: a lock is held", cases[number].name);
}

static void replace(void)
{
	for (unsigned end = 0; end < 2; end++)
		if (ends.fd[end] >= 0)
			close_end(end);
	closed = false;
	cw_arena_slot_reset(&ends.arena, 0);
	for (unsigned end = 0; end < 2; end++)
		open_end(end);
	for (unsigned end = 0; end < 2; end++)
		attach(end);
}

static void round_of(size_t number)
{
	uint32_t first = numbered;

	for (int i = 0; i < UNREAD; i++)
		send_next();
	in_call = 1;
	kill(getpid(), SIGSTOP);
	cases[number].call();
	in_call = 0;
	kill(getpid(), SIGSTOP);
	if (closed)
		replace();
	else
		judge(number, first);
}

static void interrupted(size_t number)
{
	alarm(getenv("CW_TEST_LONG") ? 1000 : 100);
	open_flow(0);
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
	TCase *units = units_of("datagrams_handlers", 120, &runner);

	tcase_add_loop_test(units, a_handler_at_each_instruction, 0, (int)CASES);
	return run_units(runner);
}
