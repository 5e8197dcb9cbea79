/*
 * What the benchmark's own programs share: one command is both ends. It forks a server, which listens on a free port and serves what
 * connects; the parent is the client and measures. The two processes share no socket, and end by themselves after --limit seconds.
 */
#ifndef CW_BENCHMARKS_COMMON_H
#define CW_BENCHMARKS_COMMON_H

#include <argp.h>
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/types.h>

enum bench_wait { BENCH_RECV, BENCH_POLL, BENCH_EPOLL };

struct bench {
	const char *address;    /* an IPv4 address of this node */
	const char *congestion; /* the kernel's congestion control for this connection; NULL: the machine's */
	enum bench_wait wait;
	bool unix_domain, json, pin, nodelay;
	double seconds;
	unsigned int limit;
	void *own; /* the program's own options */

	pid_t server;
	int port;
	char path[20]; /* abstract name, when unix_domain */
};

/* Parses --address, --wait, --json and so on; `own` adds a program's own options, whose parser finds the bench in state->input. */
void bench_parse(struct bench *bench, int argc, char **argv, const char *doc, const struct argp *own);
size_t bench_parse_sizes(const char *text, size_t *sizes, size_t room, struct argp_state *state);

/* Forks the server, which calls serve(listener) and exits; returns in the client when it listens. */
void bench_start(struct bench *bench, void (*serve)(struct bench *bench, int listener));
int bench_listen(struct bench *bench);
int bench_accept(struct bench *bench, int listener);
int bench_connect(struct bench *bench);
void bench_end(struct bench *bench); /* waits for the server; ends the program if that failed */
void bench_pin(struct bench *bench, int processor);

/* For the machine's own limits: shared memory, and a second process that uses it, on processor 1 if this one is on 0. */
void *bench_shared(size_t size);
void bench_second(struct bench *bench, void (*run)(void *argument), void *argument);

/* Sleeps as `wait` says until fd has bytes; BENCH_RECV leaves it to the receive call. */
struct bench_waiter {
	enum bench_wait how;
	int fd, set;
};
void bench_waiter_open(struct bench_waiter *waiter, enum bench_wait how, int fd);
void bench_waiter_close(struct bench_waiter *waiter);
bool bench_receive(struct bench_waiter *waiter, void *buffer, size_t size); /* all of size; false at the end of the stream */
void bench_send(int fd, const void *buffer, size_t size);

uint64_t bench_ns(void);
double bench_quantile(double *values, size_t count, double quantile); /* sorts */

/* Prints the object as one line of JSON, or as "name value" lines, and releases it. */
void bench_print(const struct bench *bench, json_t *object);
const char *bench_wait_name(enum bench_wait wait);

void bench_fail(const char *what) __attribute__((noreturn)); /* with errno's text */

#endif
