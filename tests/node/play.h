/* Playing programs against a real causewayd: what the library says to the service, said by a test. Whatever should come is waited for with
 * a limit, and fails the test if it doesn't. */
#ifndef CW_TESTS_NODE_PLAY_H
#define CW_TESTS_NODE_PLAY_H

#include <check.h>
#include <jansson.h>
#include <stdint.h>
#include <sys/types.h>

#include "node/link.h"
#include "sockets/book.h"
#include "transport/shm/arena.h"

#define LIMIT_MS 20000

struct service {
	pid_t pid;
	char name[64];
};

/* causewayd on a name of its own, with more options (NULL at the end). It dies with the test. */
struct service service_start(const char *option, ...);
struct service service_start_named(const char *name, const char *option, ...);
/* Ends it, and fails if it doesn't end well. */
void service_end(struct service *service);
void service_kill(struct service *service);
json_int_t service_status(const struct service *service, const char *key); /* "slots", "counters.no_memory" */
/* Waits until the status has that value. */
void service_await(const struct service *service, const char *key, json_int_t value);
json_t *service_ask(const struct service *service, enum cw_message_type type);
unsigned descriptors_of(pid_t pid);

struct program {
	int fd;
	uint64_t number;
	struct cw_book *book;
	struct cw_node_page *node;
	uint32_t status, inherited;
};

struct grant {
	struct cw_message message;
	struct cw_arena *arena; /* mapped */
	struct cw_slot *slot;
	bool came_with_memory;
	int memory; /* descriptor, or -1 */
};

struct program program_start(const struct service *service);
struct program program_of_run(const struct service *service, uint64_t run);
struct program program_child(const struct service *service, const struct program *parent, uint64_t run);
void program_end(struct program *program);

struct pair {
	int end[2];
};

/* A TCP connection; end[0] connected, end[1] was accepted. address NULL: 127.0.0.1. Ports 0: any. */
struct pair connection(const char *address);
struct pair connection_between(const char *address, uint16_t from, uint16_t to);
void connection_end(struct pair *pair);

uint64_t cookie_of(int fd);
void offer(const struct program *program, int fd, uint32_t index);
void offer_saying(const struct program *program, int fd, uint32_t index, uint64_t cookie);
void withdraw(const struct program *program, uint32_t index);
void release(const struct program *program, const struct grant *grant);
struct grant await_grant(const struct program *program);
/* True if something has come. Asked after the service has answered a later question, so that "nothing" is certain. */
bool has_message(const struct service *service, const struct program *program);
/* Both ends offered, both grants fetched. */
void move(const struct program *a, const struct program *b, const struct pair *pair, uint32_t index, struct grant grants[2]);

/* As the library writes it into the program's book. */
void enter_moved(const struct program *program, uint32_t index, const struct grant *grant, int fd);

size_t bytes_that_are(const unsigned char *ring, unsigned char wanted);

void await(bool (*true_now)(void *), void *argument, const char *what);
void await_mail(const struct program *program, uint32_t mail);
void await_marks(_Atomic uint64_t *word, uint64_t marks);

/* It moves a connection of two other programs. */
void check_serves(const struct service *service);
void await_descriptors(const struct service *service, unsigned most);

/* The rest of this test can't be done here, and why. */
#define skip(why) skip_test(__func__, why)
void skip_test(const char *test, const char *why);

TCase *match_tests(void);
TCase *flow_tests(void);
TCase *unix_tests(void);
TCase *slot_tests(void);
TCase *memory_tests(void);
TCase *hostile_tests(void);
TCase *closing_tests(void);
TCase *run_tests(void);
TCase *children_tests(void);
TCase *policy_tests(void);

#endif
