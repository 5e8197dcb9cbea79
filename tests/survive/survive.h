/* What the programs of these tests share: content that is a function of the offset, connections on loopback, limits on everything. */
#ifndef SURVIVE_H
#define SURVIVE_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* From tests/oracle/content.c; direction 0 is the connecting end's. */
void content_fill(unsigned direction, uint64_t offset, void *bytes, size_t count);
size_t content_good(unsigned direction, uint64_t offset, const void *bytes, size_t count);

void fail(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));
#define MUST(expression)                                                                                                                   \
	({                                                                                                                                 \
		long must_ = (long)(expression);                                                                                           \
		if (must_ < 0)                                                                                                             \
			fail("%s:%d: %s: %m", __FILE__, __LINE__, #expression);                                                            \
		must_;                                                                                                                     \
	})

int listen_here(uint16_t *port); /* on 127.0.0.1, at a free port if it is 0 */
int connect_there(uint16_t port);
/* The same with other addresses; from: the own port, 0 any. */
int listen_at(const char *address, uint16_t *port);
int connect_to(const char *address, uint16_t port, uint16_t from);
bool send_all(int fd, const void *bytes, size_t count);
bool recv_all(int fd, void *bytes, size_t count);
uint64_t now_us(void);
void pause_us(long us);

/* The program's own file, by a name that tools which run it understand too. */
const char *own_path(void);

/* Enough messages to and fro for a stream to be moved; both ends call it, one with first. */
void warm(int fd, bool first, unsigned messages);

#endif
