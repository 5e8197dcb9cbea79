/*
 * The patterns of nanomsg: `patterns bind|connect PORT` does them all, one after the other, each with a connection of its own. Built with
 * libnanomsg and with nng's copy of its interface (NNG), whose ends understand each other. Every byte that arrives is compared.
 */
#ifdef NNG
#include <nng/compat/nanomsg/nn.h>
#include <nng/compat/nanomsg/pair.h>
#include <nng/compat/nanomsg/pipeline.h>
#include <nng/compat/nanomsg/pubsub.h>
#include <nng/compat/nanomsg/reqrep.h>
#include <nng/compat/nanomsg/survey.h>
#else
#include <nanomsg/nn.h>
#include <nanomsg/pair.h>
#include <nanomsg/pipeline.h>
#include <nanomsg/pubsub.h>
#include <nanomsg/reqrep.h>
#include <nanomsg/survey.h>
#endif
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "numbered.h"

#define LARGEST   (512 << 10)
#define ROUNDS    1500
#define WORK      20000
#define RESPONSES 2

static bool binding;
static int port;
static uint64_t messages, bytes, digest;

static void die(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));
static void die(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vfprintf(stderr, format, arguments);
	va_end(arguments);
	fprintf(stderr, ": %s\n", nn_strerror(nn_errno()));
	exit(1);
}

static size_t size_of(uint64_t number)
{
	uint64_t x = numbered_step(numbered_step(number));

	return 8 + (number % 300 == 299 ? x >> 46 : x >> 55);
}

static int open_socket(int domain, int protocol, int at)
{
	int s = nn_socket(domain, protocol), patience = 60000, again = 20;
	char url[64];

	snprintf(url, sizeof(url), "tcp://127.0.0.1:%d", port + at);
	if (s < 0 || nn_setsockopt(s, NN_SOL_SOCKET, NN_RCVTIMEO, &patience, sizeof(int)) ||
	    nn_setsockopt(s, NN_SOL_SOCKET, NN_SNDTIMEO, &patience, sizeof(int)) ||
	    nn_setsockopt(s, NN_SOL_SOCKET, NN_RECONNECT_IVL, &again, sizeof(int)))
		die("a socket");
	if ((binding ? nn_bind : nn_connect)(s, url) < 0)
		die("%s", url);
	return s;
}

static void give(int s, const char *topic, uint64_t number)
{
	static unsigned char data[16 + LARGEST];
	size_t before = strlen(topic);

	memcpy(data, topic, before);
	numbered_fill(data + before, number, size_of(number));
	if (nn_send(s, data, before + size_of(number), 0) < 0)
		die("message %llu isn't sent", (unsigned long long)number);
}

static void take(int s, const char *topic, uint64_t number)
{
	static unsigned char wanted[LARGEST];
	unsigned char *data = NULL;
	size_t before = strlen(topic), size = size_of(number);
	int got = nn_recv(s, &data, NN_MSG, 0);

	if (got < 0)
		die("instead of message %llu", (unsigned long long)number);
	if ((size_t)got != before + size || memcmp(data, topic, before) || memcmp(data + before, numbered_fill(wanted, number, size), size))
		die("message %llu of %zu bytes came as another of %d", (unsigned long long)number, size, got);
	nn_freemsg(data);
	messages++;
	bytes += got;
	digest = numbered_step(digest ^ number);
}

/* Each end says that it has come so far, and waits for the other: a close takes what is unsent with it. */
static void meet(int pair)
{
	give(pair, "", 1);
	take(pair, "", 1);
}

static void requests(void)
{
	int s = open_socket(AF_SP, binding ? NN_REP : NN_REQ, 0);

	for (uint64_t i = 0; i < ROUNDS; i++) {
		if (binding) {
			take(s, "", 2 * i);
			give(s, "", 2 * i + 1);
		} else {
			give(s, "", 2 * i);
			take(s, "", 2 * i + 1);
		}
	}
}

static void work(void)
{
	int s = open_socket(AF_SP, binding ? NN_PULL : NN_PUSH, 1);

	for (uint64_t i = 0; i < WORK; i++) {
		if (binding)
			take(s, "", i);
		else
			give(s, "", i);
	}
}

static void pairs(void)
{
	int s = open_socket(AF_SP, NN_PAIR, 2);

	for (uint64_t i = 0; i < ROUNDS; i++) {
		give(s, "", 3 * i + binding);
		take(s, "", 3 * i + !binding);
	}
}

/* A publisher drops what its subscriber has no room for at that moment, so it publishes each again until that one has it. */
static void publish(int pair)
{
	int s = open_socket(AF_SP, NN_PUB, 3), soon = 50, patience = 60000;

	nn_setsockopt(pair, NN_SOL_SOCKET, NN_RCVTIMEO, &soon, sizeof(int));
	for (uint64_t i = 0; i < ROUNDS; i++) {
		uint64_t has = -1;

		give(s, "news", i);
		while (has != i)
			if (nn_recv(pair, &has, sizeof(has), 0) < 0)
				give(s, "news", i);
	}
	nn_setsockopt(pair, NN_SOL_SOCKET, NN_RCVTIMEO, &patience, sizeof(int));
	meet(pair);
}

static void subscribe(int pair)
{
	int s = open_socket(AF_SP, NN_SUB, 3);
	static unsigned char wanted[LARGEST];

	if (nn_setsockopt(s, NN_SUB, NN_SUB_SUBSCRIBE, "news", 4))
		die("subscribe");
	for (uint64_t next = 0; next < ROUNDS;) {
		unsigned char *data = NULL;
		uint64_t number;
		int got = nn_recv(s, &data, NN_MSG, 0);

		if (got < 12)
			die("news of %d bytes", got);
		memcpy(&number, data + 4, 8);
		if (number > next || got != (int)(4 + size_of(number)) ||
		    memcmp(data + 4, numbered_fill(wanted, number, size_of(number)), size_of(number)))
			die("news %llu instead of %llu", (unsigned long long)number, (unsigned long long)next);
		nn_freemsg(data);
		if (number == next)
			digest = numbered_step(digest ^ next++);
		if (nn_send(pair, &number, sizeof(number), 0) < 0)
			die("an acknowledgement");
	}
	meet(pair);
}

int main(int argc, char **argv)
{
	sigset_t end;
	int got;

	if (argc != 3)
		die("usage: %s bind|connect PORT", argv[0]);
	sigemptyset(&end);
	sigaddset(&end, SIGTERM);
	sigprocmask(SIG_BLOCK, &end, NULL);
	binding = !strcmp(argv[1], "bind");
	port = atoi(argv[2]);
	int pair = open_socket(AF_SP, NN_PAIR, 4);

	requests();
	meet(pair);
	work();
	meet(pair);
	pairs();
	meet(pair);
	(binding ? publish : subscribe)(pair);
	if (binding)
		give(pair, "", 5);
	else
		take(pair, "", 5);
	printf("%s: %llu messages, %llu bytes, %016llx\n", argv[1], (unsigned long long)messages, (unsigned long long)bytes,
	       (unsigned long long)digest);
	fflush(stdout);
	/* Who has sent last stays until it is told that this has come. */
	return binding ? sigwait(&end, &got) : 0;
}
