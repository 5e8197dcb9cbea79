/*
 * Messages over ZeroMQ's sockets: `messages PATTERN bind|connect PORT`. What each end has received, in which order, is what it prints; each
 * message says what is in it, so a wrong byte is found at once.
 */
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zmq.h>

#include "../numbered.h"

#ifndef TIMES /* as much work and news, for who measures */
#define TIMES 1
#endif
#define REQUESTS    3000
#define WORK        (40000 * TIMES)
#define NEWS        (20000 * TIMES)
#define OUTSTANDING 64

struct heard {
	uint64_t messages, bytes, digest;
};

static void *context;
static char endpoint[64];

static void die(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));
static void die(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vfprintf(stderr, format, arguments);
	va_end(arguments);
	fprintf(stderr, ": %s\n", zmq_strerror(zmq_errno()));
	exit(1);
}

/* Mostly small; one in 500 is of up to a megabyte. */
static size_t size_of(uint64_t number)
{
	uint64_t x = numbered_step(numbered_step(number));

	return 8 + (number % 500 == 499 ? x >> 44 : x >> 56);
}

/* A message must be what its first eight bytes say; returns its number. */
static uint64_t check(struct heard *heard, const unsigned char *p, size_t size)
{
	uint64_t number, x;

	if (size < 8)
		die("a message of %zu bytes", size);
	memcpy(&number, p, 8);
	if (size != size_of(number))
		die("message %llu has %zu bytes", (unsigned long long)number, size);
	x = number;
	for (size_t i = 8; i < size; i++)
		if (p[i] != (unsigned char)((x = numbered_step(x)) >> 56))
			die("byte %zu of message %llu is wrong", i, (unsigned long long)number);
	heard->messages++;
	heard->bytes += size;
	heard->digest = numbered_step(heard->digest ^ number);
	return number;
}

static void tell(const char *who, const struct heard *heard)
{
	printf("%s: %llu messages, %llu bytes, %016llx\n", who, (unsigned long long)heard->messages, (unsigned long long)heard->bytes,
	       (unsigned long long)heard->digest);
}

static void *open_socket(int type, int bind)
{
	void *s = zmq_socket(context, type);
	int unlimited = 0, patience = 60000;

	if (!s || zmq_setsockopt(s, ZMQ_SNDHWM, &unlimited, sizeof(int)) || zmq_setsockopt(s, ZMQ_RCVHWM, &unlimited, sizeof(int)) ||
	    zmq_setsockopt(s, ZMQ_RCVTIMEO, &patience, sizeof(int)))
		die("a socket");
	if (bind ? zmq_bind(s, endpoint) : zmq_connect(s, endpoint))
		die("%s", endpoint);
	return s;
}

static void send_number(void *s, uint64_t number, int flags)
{
	zmq_msg_t message;

	if (zmq_msg_init_size(&message, size_of(number)))
		die("a message");
	numbered_fill(zmq_msg_data(&message), number, size_of(number));
	if (zmq_msg_send(&message, s, flags) < 0)
		die("send of %llu", (unsigned long long)number);
}

static uint64_t receive_number(void *s, struct heard *heard)
{
	zmq_msg_t message;
	uint64_t number;

	zmq_msg_init(&message);
	if (zmq_msg_recv(&message, s, 0) < 0)
		die("receive after %llu", (unsigned long long)heard->messages);
	number = check(heard, zmq_msg_data(&message), zmq_msg_size(&message));
	zmq_msg_close(&message);
	return number;
}

/* REQ and REP: one message there, one back. */
static void replies(void *s, struct heard *heard)
{
	for (int i = 0; i < REQUESTS; i++)
		send_number(s, receive_number(s, heard) + 1, 0);
}

static void requests(void *s, struct heard *heard)
{
	for (uint64_t i = 0; i < REQUESTS; i++) {
		send_number(s, 2 * i, 0);
		if (receive_number(s, heard) != 2 * i + 1)
			die("another answer than to %llu", (unsigned long long)i);
	}
}

/* PUSH and PULL: as fast as it goes, one way. */
static void pushes(void *s)
{
	for (uint64_t i = 0; i < WORK; i++)
		send_number(s, i, 0);
}

static void pulls(void *s, struct heard *heard)
{
	for (uint64_t i = 0; i < WORK; i++)
		if (receive_number(s, heard) != i)
			die("another message than %llu", (unsigned long long)i);
}

/* XPUB and SUB: what begins with an odd number is for nobody; the subscriber is heard before the news begins. */
static void publishes(void *s)
{
	char subscription[16];

	if (zmq_recv(s, subscription, sizeof(subscription), 0) != 2)
		die("a subscription");
	for (uint64_t i = 0; i < NEWS; i++) {
		zmq_send(s, i % 2 ? "b" : "a", 1, ZMQ_SNDMORE);
		send_number(s, i, 0);
	}
	if (zmq_send(s, "a", 1, 0) < 0)
		die("the end");
}

static void subscribes(void *s, struct heard *heard)
{
	char topic[2];

	if (zmq_setsockopt(s, ZMQ_SUBSCRIBE, "a", 1))
		die("subscribe");
	for (;;) {
		int more;
		size_t size = sizeof(more);

		if (zmq_recv(s, topic, sizeof(topic), 0) != 1 || topic[0] != 'a')
			die("a topic");
		if (zmq_getsockopt(s, ZMQ_RCVMORE, &more, &size) || !more)
			return;
		if (receive_number(s, heard) != 2 * (heard->messages - 1))
			die("news out of order");
	}
}

/* ROUTER and DEALER: many requests outstanding, answered in their order. */
static void routes(void *s, struct heard *heard)
{
	char peer[256];

	for (int i = 0; i < WORK; i++) {
		int size = zmq_recv(s, peer, sizeof(peer), 0);

		if (size <= 0)
			die("a peer");
		uint64_t number = receive_number(s, heard);

		if (zmq_send(s, peer, size, ZMQ_SNDMORE) < 0)
			die("an answer");
		send_number(s, number + 1, 0);
	}
}

static void deals(void *s, struct heard *heard)
{
	for (uint64_t sent = 0, received = 0; received < WORK; received++) {
		while (sent < WORK && sent < received + OUTSTANDING)
			send_number(s, sent++, 0);
		if (receive_number(s, heard) != received + 1)
			die("another answer than to %llu", (unsigned long long)received);
	}
}

int main(int argc, char **argv)
{
	struct heard heard = {0};
	int bind;
	void *s;

	if (argc != 4)
		die("usage: %s request|push|publish|deal bind|connect PORT", argv[0]);
	bind = !strcmp(argv[2], "bind");
	snprintf(endpoint, sizeof(endpoint), "tcp://127.0.0.1:%s", argv[3]);
	context = zmq_ctx_new();
	if (!strcmp(argv[1], "request")) {
		s = open_socket(bind ? ZMQ_REP : ZMQ_REQ, bind);
		(bind ? replies : requests)(s, &heard);
	} else if (!strcmp(argv[1], "push")) {
		s = open_socket(bind ? ZMQ_PULL : ZMQ_PUSH, bind);
		if (bind)
			pulls(s, &heard);
		else
			pushes(s);
	} else if (!strcmp(argv[1], "publish")) {
		s = open_socket(bind ? ZMQ_XPUB : ZMQ_SUB, bind);
		if (bind)
			publishes(s);
		else
			subscribes(s, &heard);
	} else {
		s = open_socket(bind ? ZMQ_ROUTER : ZMQ_DEALER, bind);
		(bind ? routes : deals)(s, &heard);
	}
	tell(argv[2], &heard);
	zmq_close(s);
	zmq_ctx_term(context);
	return 0;
}
