/* What the tests of the kernel module have in common. They run as root in a guest. */
#ifndef KMOD_TEST_H
#define KMOD_TEST_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

#include "kmod/causeway_ioctl.h"

#define PAGE 4096ull

#define must(condition)                                                                                                                    \
	do {                                                                                                                               \
		if (!(condition))                                                                                                          \
			failed(__FILE__, __LINE__, #condition);                                                                            \
	} while (0)

/* The call fails, with this error. */
#define refused(call, error)                                                                                                               \
	do {                                                                                                                               \
		errno = 0;                                                                                                                 \
		must((call) == -1);                                                                                                        \
		if (errno != (error))                                                                                                      \
			failed(__FILE__, __LINE__, #call " is not " #error);                                                               \
	} while (0)

void failed(const char *file, int line, const char *what) __attribute__((noreturn));

struct scenario {
	const char *name;
	void (*run)(void);
};
extern const struct scenario windows[], grants[], revocations[], bells[], endings[];

int control(void);
/* A window of so many pages, its count of bells, and its name if wanted. */
int window_made(uint64_t pages, uint32_t count, char name[32]);
int node_opened(const char *name, int flags);
bool node_exists(const char *name);
uint64_t counter(const char *name, const char *counter);

struct causeway_grant grant_of(uint64_t first, uint64_t pages, uint32_t rights);
int grant_made(int window, uint64_t first, uint64_t pages, uint32_t rights, uint32_t *id);
int bell_grant(int window, uint32_t wait, uint32_t ring); /* CAUSEWAY_NONE for no such right; of this node */
void grant_revoked(int window, uint32_t id);
uint32_t state_of(int grant);
volatile unsigned char *mapped(int grant, uint64_t pages, int protection);
short polled(int fd, short events);

void pass(int socket, int fd);
int passed(int socket);
pid_t child(void);
/* The child's exit status; fails if a signal ended it. */
int status_of(pid_t pid);
void naps(unsigned milliseconds);

#endif
