/*
 * The differential oracle: small programs that print what they see of the socket calls, run without and with Causeway; the two texts must
 * be the same. A scenario has one end of each connection; the other is the peer's (peer.h), which does what it is told, one thing at a
 * time, so that everything printed is determined by the kernel's rules alone.
 */
#ifndef ORACLE_H
#define ORACLE_H

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

/* The scenario's end of a connection. Content is a function of the direction and the offset, so no byte goes unchecked. */
struct end {
	int fd;
	unsigned number; /* which of the peer's descriptors is the other end */
	int family;
	uint64_t sent, taken;
	uint64_t warmed; /* sent when the scenario began, where it asks */
};

enum needs {
	ALONE = 1,    /* the peer must be another process: the scenario forks, kills or stops */
	KERNEL = 2,   /* nothing here may be moved (no TCP stream, or none that lives) */
	UNOPENED = 4, /* the scenario opens its connections itself */
	ITS_OWN = 8,  /* by addresses of its choice, so the manners that differ in them are one */
};

struct scenario {
	const char *family, *name;
	unsigned needs;
	void (*run)(struct end *e);
};

#define SCENARIO(title, wants)                                                                                                             \
	static void title(struct end *e);                                                                                                  \
	static const struct scenario scenario_##title = {FAMILY, #title, wants, title};                                                    \
	static const struct scenario *const entry_##title __attribute__((used, section("scenarios"))) = &scenario_##title;                 \
	static void title(struct end *e __attribute__((unused)))

/* How this run differs from others that must print the same. */
struct manner {
	enum { PEER_EXEC, PEER_FORK, PEER_THREAD } peer;
	unsigned warm;       /* messages each way before a scenario begins */
	bool accepting;      /* the scenario's end is the accepted one */
	bool still;          /* wait for bytes by sleeping, not by asking */
	int family;          /* of connections, where a scenario doesn't say */
	bool mapped;         /* IPv4 by IPv6 sockets */
	bool demoted;        /* has been moved and has gone back when a scenario begins */
	const char *helper;  /* directory of the helper programs */
	const char *program; /* the peer's, if it is a process of its own */
};
extern struct manner manner;
extern pid_t peer_process;

#define ROOM (1u << 20)
extern __thread unsigned char *room; /* ROOM bytes; the main thread's, but where a thread has got its own */

/* show.c: one line an observable; a line is written whole. */
void say(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* The same, of something that is never right. */
void complain(const char *format, ...) __attribute__((format(printf, 1, 2)));
extern unsigned complaints;
const char *show_result(long result, int error, char text[48]);
const char *show_poll(unsigned mask, char text[96]);
const char *show_epoll(unsigned mask, char text[96]);
#define RESULT(result) show_result(result, errno, (char[48]){0})
#define POLLED(mask)   show_poll(mask, (char[96]){0})
#define EPOLLED(mask)  show_epoll(mask, (char[96]){0})

/* Do it, print it as it is written here with what it returned. */
#define CALL(expression)                                                                                                                   \
	({                                                                                                                                 \
		errno = 0;                                                                                                                 \
		long result_ = (long)(expression);                                                                                         \
		int error_ = errno;                                                                                                        \
		say("%s -> %s", #expression, show_result(result_, error_, (char[48]){0}));                                                 \
		errno = error_;                                                                                                            \
		result_;                                                                                                                   \
	})
/* The same for a call that sends from `room` (count: at most so many bytes), or receives into it. */
#define SEND(e, count, expression)                                                                                                         \
	({                                                                                                                                 \
		fill(e, room, count);                                                                                                      \
		long sent_ = CALL(expression);                                                                                             \
		gave(e, sent_);                                                                                                            \
		sent_;                                                                                                                     \
	})
#define RECV(e, expression)                                                                                                                \
	({                                                                                                                                 \
		long taken_ = CALL(expression);                                                                                            \
		took(e, room, taken_);                                                                                                     \
		taken_;                                                                                                                    \
	})
#define PEEK(e, expression)                                                                                                                \
	({                                                                                                                                 \
		long seen_ = CALL(expression);                                                                                             \
		peeked(e, room, seen_);                                                                                                    \
		seen_;                                                                                                                     \
	})
/* What must not fail for the scenario to make sense. */
#define MUST(expression)                                                                                                                   \
	({                                                                                                                                 \
		long must_ = (long)(expression);                                                                                           \
		if (must_ < 0)                                                                                                             \
			give_up(#expression, __FILE__, __LINE__);                                                                          \
		must_;                                                                                                                     \
	})
void give_up(const char *what, const char *file, int line) __attribute__((noreturn));

/* content.c */
unsigned char content(unsigned direction, uint64_t offset);
void content_fill(unsigned direction, uint64_t offset, void *bytes, size_t count);
size_t content_good(unsigned direction, uint64_t offset, const void *bytes, size_t count); /* how many are as they should be */
void fill(const struct end *e, void *bytes, size_t count);
void gave(struct end *e, long sent);
void took(struct end *e, const void *bytes, long count);
void peeked(const struct end *e, const void *bytes, long count);

/* Wait until so many bytes can be read (limited; a scenario that prints then shows what is missing). */
void arrive(const struct end *e, int bytes);
/* So many messages there and back, each awaited. */
void there_and_back(struct end *e, int bytes, int times);
/* Wait until what the peer did has certainly come, without touching the descriptor. */
void rest(void);
/* The same for waiting out that another thread has gone to sleep in a call. */
void settle_down(void);
bool thread_sleeps(const char *tid); /* true of the calling one too */
uint64_t now_ms(void);

/* Send or receive all of it, without a line if all is well. */
void give(struct end *e, size_t count);
void take(struct end *e, size_t count);
/* Fill the stream until the kernel takes no more; returns whether that happened within 64 MB. Leaves O_NONBLOCK as it was. */
bool stuff(struct end *e);
void nonblocking(int fd, bool on);
void narrow(struct end *e); /* small socket buffers at both ends */

/* Another connection of this scenario, warmed up. AF_INET: of the manner's family. AF_INET6 with mapped gives an IPv4 connection by IPv6
 * sockets. */
void open_end(struct end *e, int family, bool mapped);
void open_end_so(struct end *e, int family, bool mapped, bool accepting, unsigned warm);
void warm_up(struct end *e);
/* An address of this machine, any port, in the manner's family. */
socklen_t loopback(struct sockaddr_storage *address);

/* A handler that counts; flags as in sigaction. */
extern volatile sig_atomic_t signals;
void on_signal(int number, int flags);

/* Files with known content (direction 0 from offset 0), removed already. */
int file_of(size_t count);

/* Run in a child made by fork. What it and what it execs say goes to a transcript, which reap() prints: lines of processes that run at the
 * same time would come in any order. */
#define CHILD(...)                                                                                                                         \
	({                                                                                                                                 \
		int transcript_ = transcript();                                                                                            \
		pid_t child_ = (pid_t)MUST(fork());                                                                                        \
		if (child_ == 0) {                                                                                                         \
			dup2(transcript_, STDOUT_FILENO);                                                                                  \
			close(transcript_);                                                                                                \
			__VA_ARGS__;                                                                                                       \
			_exit(0);                                                                                                          \
		}                                                                                                                          \
		transcript_of(child_, transcript_);                                                                                        \
		child_;                                                                                                                    \
	})
int transcript(void);
void transcript_of(pid_t child, int fd);
void reap(pid_t child);

#endif
