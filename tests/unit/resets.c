/*
 * sockets/: the other end resets the connection in the middle of a call, at each instruction of it in turn. As with the kernel, who reads
 * gets the bytes that came before, then one ECONNRESET, then the end; who sends one ECONNRESET, then EPIPE.
 */
#include "stepped.h"

#include <string.h>

#define ROUNDS 20000
#define STEPS  25000 /* in all; ten times as many in the long form */

/* ---- in the process whose call meets a reset ---- */

static bool receives;
static volatile sig_atomic_t reset;

static void reset_by_other(int number)
{
	struct linger now = {.l_onoff = 1};
	int fd = pair.fd[receives ? 0 : 1];

	setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	pair_close(receives ? writer : reader, fd);
	reset = 1;
}

static ssize_t received(int flags, size_t most)
{
	unsigned char bytes[256];
	ssize_t got = cw_receive(reader, pair.fd[1], bytes, most, flags);

	if (got > 0 && !holds(bytes, (size_t)got, taken))
		give_up("other bytes at %llu", (unsigned long long)taken);
	return got;
}

static ssize_t receive_blocking(void)
{
	return received(0, 40);
}

static ssize_t receive_now(void)
{
	return received(MSG_DONTWAIT, 40);
}

static ssize_t receive_all(void)
{
	return received(MSG_WAITALL, 200);
}

static ssize_t look_only(void)
{
	return received(MSG_PEEK, 40) < 0 ? -1 : 0;
}

static ssize_t look_for_all(void)
{
	return received(MSG_PEEK | MSG_WAITALL, 200) < 0 ? -1 : 0;
}

static ssize_t send_some(void)
{
	unsigned char bytes[64];

	fill(bytes, sizeof(bytes), sent);
	return cw_send(writer, pair.fd[0], bytes, sizeof(bytes), MSG_DONTWAIT | MSG_NOSIGNAL);
}

static ssize_t send_much(void)
{
	static unsigned char bytes[200000];

	return cw_send(writer, pair.fd[0], bytes, sizeof(bytes), MSG_DONTWAIT | MSG_NOSIGNAL);
}

static void with_bytes(void)
{
	by_ring();
	put(100);
}

static void offered_with_bytes(void)
{
	offered();
	put(100);
}

static const struct {
	const char *name;
	bool receives, looks;
	void (*prepare)(void);
	ssize_t (*call)(void);
} cases[] = {
	{"receive by the kernel", true, false, with_kernel, receive_blocking},
	{"receive at an offer", true, false, offered, receive_blocking},
	{"receive by ring", true, false, by_ring, receive_blocking},
	{"receive by ring, no waiting", true, false, by_ring, receive_now},
	{"receive from the ring", true, false, with_bytes, receive_blocking},
	{"receive from both", true, false, behind_kernel, receive_now},
	{"receive as a sleeper", true, false, asleep, receive_blocking},
	{"receive all at an offer", true, false, offered_with_bytes, receive_all},
	{"receive all from the ring", true, false, with_bytes, receive_all},
	{"peek at an offer", true, true, offered, look_only},
	{"peek by ring", true, true, by_ring, look_only},
	{"peek for all from both", true, true, behind_kernel, look_for_all},
	{"send by the kernel", false, false, with_kernel, send_some},
	{"send at an offer", false, false, offered, send_some},
	{"send by ring", false, false, by_ring, send_some},
	{"send to a sleeper", false, false, asleep, send_some},
	{"send much", false, false, by_ring, send_much},
};

#define CASES (sizeof(cases) / sizeof(cases[0]))

/* A reset is told once, to whichever call asks first. */
static void expect_end_of_reading(bool told)
{
	while (!told) {
		ssize_t got = received(MSG_DONTWAIT, 250);

		if (got > 0)
			taken += (uint64_t)got;
		told = got < 0 && errno == ECONNRESET;
		if (got == 0 || (got < 0 && !told && errno != EAGAIN))
			give_up("%zd, %m, where a reset is to be told, %llu bytes left, %#llx", got, (unsigned long long)(sent - taken),
				(unsigned long long)words->state);
	}
	if (taken != sent)
		give_up("the reset was told before %llu bytes that came before it", (unsigned long long)(sent - taken));
	if (received(MSG_DONTWAIT, 1) != 0)
		give_up("something behind a reset: %m");
}

static void expect_end_of_sending(bool told)
{
	for (unsigned turns = 0; !told; turns++) {
		told = send_some() < 0 && errno == ECONNRESET;
		if (!told && (errno == EPIPE || turns > 10000))
			give_up("%m, where a reset is to be told");
	}
	if (send_some() >= 0 || errno != EPIPE)
		give_up("sent behind a reset: %m");
}

static void judge(size_t number, ssize_t result, int error)
{
	bool told = result < 0 && error == ECONNRESET;

	if (result < 0 && !told && error != EAGAIN)
		give_up("%s: %s", cases[number].name, strerror(error));
	if (result == 0 && !cases[number].looks)
		give_up("%s: the end, where a reset is to be told", cases[number].name);
	if (result > 0 && receives)
		taken += (uint64_t)result;
	errno = 0;
	if (receives)
		expect_end_of_reading(told);
	else
		expect_end_of_sending(told);
}

/* One call, between two stops, on a connection of its own. */
static void round_of(size_t number)
{
	struct timeval short_time = {.tv_usec = 2000};
	ssize_t result;
	int error;

	pair_connect(&pair);
	writer = pair_open(&pair, 0);
	reader = pair_open(&pair, 1);
	words = writer->tx;
	sent = taken = 0;
	reset = 0;
	/* Who waits for what doesn't come: the steps end there. */
	setsockopt(pair.fd[1], SOL_SOCKET, SO_RCVTIMEO, &short_time, sizeof(short_time));
	cases[number].prepare();
	in_call = 1;
	kill(getpid(), SIGSTOP);
	result = cases[number].call();
	error = errno;
	in_call = 0;
	kill(getpid(), SIGSTOP);
	if (!reset)
		reset_by_other(0);
	judge(number, result, error);
	pair_close(receives ? reader : writer, pair.fd[receives ? 1 : 0]);
}

static void met(size_t number)
{
	alarm(getenv("CW_TEST_LONG") ? 1000 : 100);
	receives = cases[number].receives;
	pair.memory = cw_arena_make(&pair.arena, PAIR_ARENA, 1, false);
	if (pair.memory < 0)
		give_up("no arena: %m");
	pair_start(20);
	await_signals(reset_by_other);
	for (unsigned i = 0; i < ROUNDS; i++)
		round_of(number);
	_exit(2);
}

/* ---- who sends the signal ---- */

START_TEST(a_reset_at_each_instruction)
{
	pid_t pid = fork();

	if (!pid)
		met((size_t)_i);
	signal_at_each_instruction(pid, (unsigned)_i, getenv("CW_TEST_LONG") ? 10 * STEPS : STEPS);
}
END_TEST

int main(void)
{
	SRunner *runner;
	TCase *units = units_of("resets", 120, &runner);

	tcase_add_loop_test(units, a_reset_at_each_instruction, 0, (int)CASES);
	return run_units(runner);
}
