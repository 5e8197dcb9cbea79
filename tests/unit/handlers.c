/*
 * sockets/: a signal handler that uses the stream in the middle of a call on it, at each instruction of the call in turn. The call is
 * single-stepped so far, then the signal comes; what is read in the end has to be what two calls after each other would have given.
 */
#include "stepped.h"

#include <string.h>

#define BYTES   64 /* of the interrupted call */
#define HANDLED STEPPED_LEAST
#define ROUNDS  20000
#define STEPS   40000 /* in all, if the form is not the long one, in which the signal comes everywhere */

/* ---- in the process that is interrupted ---- */

static ssize_t of_handler;
static volatile sig_atomic_t handled;

static const struct {
	const char *name;
	bool sends;
	void (*prepare)(void);
} cases[] = {
	{"send by the kernel", true, with_kernel},
	{"send at an offer", true, offered},
	{"send by ring", true, by_ring},
	{"send to a sleeper", true, asleep},
	{"send to a full ring", true, full},
	{"send after a seal", true, sealed},
	{"receive by the kernel", false, with_kernel},
	{"receive with an offer", false, offered_late},
	{"receive by ring", false, by_ring},
	{"receive from both", false, behind_kernel},
	{"receive after a seal", false, sealed},
	{"receive as a sleeper", false, asleep},
};

#define CASES (sizeof(cases) / sizeof(cases[0]))

static unsigned char of_call[BYTES], from_handler[HANDLED];

static void send_on_top(int number)
{
	of_handler = cw_send(writer, pair.fd[0], from_handler, HANDLED, MSG_DONTWAIT);
	handled = 1;
}

static void receive_on_top(int number)
{
	of_handler = cw_receive(reader, pair.fd[1], from_handler, HANDLED, MSG_DONTWAIT);
	handled = 1;
}

/* The handler's bytes are another's: which came first is found out by the first byte. */
static void judge_sending(ssize_t result)
{
	unsigned char got[BYTES + HANDLED], wanted[BYTES + HANDLED];
	size_t all = BYTES + (handled ? HANDLED : 0);

	if (result != BYTES || (handled && of_handler != HANDLED))
		give_up("sent %zd and %zd: %m", result, of_handler);
	while (taken != sent)
		take(sent - taken < 250 ? sent - taken : 250);
	for (size_t count = 0, turns = 0; count < all; turns++) {
		ssize_t part = cw_receive(reader, pair.fd[1], got + count, all - count, MSG_DONTWAIT);

		if (part > 0)
			count += (size_t)part;
		else if (turns > 100)
			give_up("%zu of %zu bytes came: %m, %#llx", count, all, (unsigned long long)words->state);
	}
	memcpy(wanted, got[0] == from_handler[0] ? from_handler : of_call, got[0] == from_handler[0] ? HANDLED : BYTES);
	if (got[0] == from_handler[0])
		memcpy(wanted + HANDLED, of_call, BYTES);
	else
		memcpy(wanted + BYTES, from_handler, HANDLED);
	if (memcmp(got, wanted, all))
		give_up("the bytes of two sends are mixed");
}

static void judge_receiving(ssize_t result)
{
	size_t first = result > 0 ? (size_t)result : 0, second = handled && of_handler > 0 ? (size_t)of_handler : 0;

	if (result <= 0 || (handled && of_handler <= 0))
		give_up("received %zd and %zd: %m, %#llx", result, of_handler, (unsigned long long)words->state);
	if (!(holds(of_call, first, taken) && holds(from_handler, second, taken + first)) &&
	    !(holds(from_handler, second, taken) && holds(of_call, first, taken + second)))
		give_up("received what is not next: %zd and %zd", result, of_handler);
	taken += first + second;
}

/* One call, between two stops. */
static void round_of(size_t number)
{
	size_t unread;
	ssize_t result;

	cases[number].prepare();
	unread = (size_t)(sent - taken);
	if (!cases[number].sends && unread < 30) {
		put(40);
		unread += 40;
	}
	if (cases[number].sends) {
		memset(of_call, 'c', BYTES);
		memset(from_handler, 'h', HANDLED);
	}
	handled = 0;
	in_call = 1;
	kill(getpid(), SIGSTOP);
	result = cases[number].sends ? cw_send(writer, pair.fd[0], of_call, BYTES, MSG_DONTWAIT)
				     : cw_receive(reader, pair.fd[1], of_call, 15, MSG_DONTWAIT);
	in_call = 0;
	kill(getpid(), SIGSTOP);
	if (cases[number].sends)
		judge_sending(result);
	else
		judge_receiving(result);
	take(sent - taken);
	/* The stream goes on. */
	for (unsigned i = 0; i < 3; i++) {
		put(50);
		take(50);
	}
}

static void interrupted(size_t number)
{
	alarm(getenv("CW_TEST_LONG") ? 1000 : 100);
	pair_make(&pair);
	pair_start(0);
	writer = pair_open(&pair, 0);
	reader = pair_open(&pair, 1);
	words = writer->tx;
	await_signals(cases[number].sends ? send_on_top : receive_on_top);
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
	TCase *units = units_of("handlers", 120, &runner);

	tcase_add_loop_test(units, a_handler_at_each_instruction, 0, (int)CASES);
	return run_units(runner);
}
