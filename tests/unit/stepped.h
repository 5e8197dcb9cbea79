/*
 * A call on a stream, single-stepped: for units in which something happens at each instruction of it in turn. Both ends are in one process,
 * and what is sent is one stream of bytes, each of which tells its place in it.
 */
#ifndef CW_TESTS_UNIT_STEPPED_H
#define CW_TESTS_UNIT_STEPPED_H

#include "pair.h"

#include <signal.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>

#define STEPPED_LEAST 7 /* bytes that full() leaves no room for */

static struct pair pair;
static struct cw_stream *writer, *reader;
static struct cw_direction *words;

/* ---- in the process that is stepped ---- */

static uint64_t sent, taken;  /* by writer, by reader */
static volatile long in_call; /* looked at from outside */

static inline unsigned char byte_at(uint64_t place)
{
	return (unsigned char)(place * 7 + (place >> 8));
}

static inline void fill(unsigned char *bytes, size_t count, uint64_t place)
{
	for (size_t i = 0; i < count; i++)
		bytes[i] = byte_at(place + i);
}

static inline bool holds(const unsigned char *bytes, size_t count, uint64_t place)
{
	for (size_t i = 0; i < count; i++)
		if (bytes[i] != byte_at(place + i))
			return false;
	return true;
}

static inline void put(size_t count)
{
	unsigned char bytes[256];

	fill(bytes, count, sent);
	if (cw_send(writer, pair.fd[0], bytes, count, MSG_DONTWAIT) != (ssize_t)count)
		give_up("not sent: %m, %#llx", (unsigned long long)words->state);
	sent += count;
}

static inline void take(size_t count)
{
	unsigned char bytes[256];

	for (unsigned turns = 0; count; turns++) {
		ssize_t got = cw_receive(reader, pair.fd[1], bytes, count, MSG_DONTWAIT);

		if (got <= 0 && turns > 100)
			give_up("%zu bytes are missing at %llu: %m, %#llx", count, (unsigned long long)taken,
				(unsigned long long)words->state);
		if (got <= 0)
			continue;
		if (!holds(bytes, (size_t)got, taken))
			give_up("other bytes at %llu", (unsigned long long)taken);
		taken += (uint64_t)got;
		count -= (size_t)got;
	}
}

static inline uint64_t until(enum cw_state state)
{
	for (unsigned turns = 0; cw_state_of(words->state) != state; turns++) {
		if (turns > 200)
			give_up("the ring doesn't become %d: %#llx", state, (unsigned long long)words->state);
		put(1);
		take(1);
	}
	return words->state;
}

static inline void sealed(void)
{
	uint64_t word = until(CW_LIVE);

	put(20);
	if (!cw_switch_seal(writer, &word))
		give_up("not sealed");
}

static inline void with_kernel(void)
{
	uint64_t word;

	sealed();
	take(20);
	put(1);
	take(1);
	word = words->state;
	if (cw_state_of(word) == CW_CONSENT && !cw_switch_withdraw(reader, &word))
		give_up("not withdrawn");
}

static inline void offered(void)
{
	with_kernel();
	until(CW_CONSENT);
}

static inline void by_ring(void)
{
	until(CW_LIVE);
}

static inline void full(void)
{
	until(CW_LIVE);
	for (uint64_t size = 1ull << words->ring_bits; size - (words->widx - words->roff) >= STEPPED_LEAST;) {
		uint64_t room = size - (words->widx - words->roff);

		put(room < 250 ? room : 250);
	}
}

static inline void asleep(void)
{
	uint64_t word = until(CW_LIVE);

	put(5);
	if (!cw_switch_fall_asleep(reader, &word, words->widx))
		give_up("not asleep");
}

static inline void offered_late(void)
{
	uint64_t word;

	with_kernel();
	put(30);
	word = words->state;
	if (cw_state_of(word) == CW_TAKEN && !cw_state_step(&words->state, &word, CW_CONSENT))
		give_up("not offered");
}

/* The ring is taken while bytes are in the kernel still. */
static inline void behind_kernel(void)
{
	offered_late();
	put(30);
	if (cw_state_of(words->state) != CW_LIVE)
		give_up("not taken: %#llx", (unsigned long long)words->state);
}

/* ---- who steps it ---- */

static unsigned at; /* the instruction */

/* Let it run to the next stop. Returns the signal. */
static inline int stop_of(pid_t pid, int request, int pass)
{
	int status;

	ck_assert_int_eq(ptrace(request, pid, 0, pass), 0);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	if (!WIFSTOPPED(status)) {
		ck_assert_msg(WIFEXITED(status), "ended by signal %d, interrupted at instruction %u", WTERMSIG(status), at);
		ck_assert_msg(false, "interrupted at instruction %u", at);
	}
	return WSTOPSIG(status);
}

/* Single-step so far. False: the call has returned before. */
static inline bool step_to(pid_t pid, unsigned instruction)
{
	for (unsigned i = 0; i < instruction; i++)
		if (stop_of(pid, PTRACE_SINGLESTEP, 0) != SIGTRAP)
			return false;
	return ptrace(PTRACE_PEEKDATA, pid, &in_call, 0) == 1;
}

static inline unsigned instructions_of(pid_t pid)
{
	unsigned instructions = 0;

	while (stop_of(pid, PTRACE_SINGLESTEP, 0) != SIGSTOP)
		instructions++;
	ck_assert_int_eq(stop_of(pid, PTRACE_CONT, 0), SIGSTOP);
	return instructions;
}

/*
 * A signal at each instruction of the calls that the child makes between two stops of its own, one call after the other; about so many
 * steps in all, 0: at every instruction.
 */
static inline void signal_at_each_instruction(pid_t pid, unsigned first, unsigned steps)
{
	unsigned all, stride;
	int status;

	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_msg(WIFSTOPPED(status) && WSTOPSIG(status) == SIGSTOP, "stopped by %#x", status);
	all = instructions_of(pid);
	ck_assert_uint_gt(all, 50);
	stride = steps ? all * all / 2 / steps + 1 : 1;
	for (at = first % stride; step_to(pid, at); at += stride) {
		ck_assert_int_eq(syscall(SYS_tgkill, pid, pid, SIGUSR1), 0);
		ck_assert_int_eq(stop_of(pid, PTRACE_CONT, 0), SIGUSR1);
		ck_assert_int_eq(stop_of(pid, PTRACE_CONT, SIGUSR1), SIGSTOP);
		ck_assert_int_eq(stop_of(pid, PTRACE_CONT, 0), SIGSTOP);
	}
	/* How long a call looks for bytes is a matter of time, and so is how many instructions it has. */
	ck_assert_uint_gt(at, 50);
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
}

/* In the child, before the first call. */
static inline void await_signals(void (*handler)(int))
{
	struct sigaction action = {.sa_handler = handler, .sa_flags = SA_RESTART};

	sigaction(SIGUSR1, &action, NULL);
	if (ptrace(PTRACE_TRACEME, 0, 0, 0))
		give_up("no tracing: %m");
}

#endif
