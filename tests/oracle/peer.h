/*
 * The peer: the other end's program, another process or another thread, told what to do over a channel of its own. Each call waits for the
 * answer and prints it; after later(ms) the next one only starts it there, ms later, and peer_wait() prints the answer.
 */
#ifndef ORACLE_PEER_H
#define ORACLE_PEER_H

#include "oracle.h"

enum peer_does {
	PEER_NOTHING,
	PEER_LISTEN,
	PEER_ACCEPT,
	PEER_CONNECT,
	PEER_ECHO,
	PEER_SEND,
	PEER_SEND_ALL,
	PEER_DRIBBLE,
	PEER_RECV,
	PEER_RECV_ALL,
	PEER_RECV_BACK, /* what comes is what it sent last */
	PEER_RECORDS,   /* `count` records of `more` equal bytes each */
	PEER_MIRROR,    /* send back `count` bytes of anything */
	PEER_CROSS,     /* send `count` and receive `more` at the same time */
	PEER_DRAIN,
	PEER_SHUTDOWN,
	PEER_CLOSE,
	PEER_RESET,
	PEER_POLL,
	PEER_PENDING,
	PEER_NONBLOCK,
	PEER_OPTION,
	PEER_SIGNAL,
	PEER_STOP_AND_GO,
	PEER_END,
	PEER_NAME,
	PEER_UDP_OPEN, /* datagrams (peer_udp.c) */
	PEER_UDP_CONNECT,
	PEER_UDP_SEND,
	PEER_UDP_RECV,
	PEER_UDP_ECHO,
	PEER_DOES
};

struct peer_order {
	enum peer_does does;
	unsigned number; /* which end */
	int delay_ms;
	int flags;
	long count, more;
	struct sockaddr_storage address;
	socklen_t length;
};

struct peer_answer {
	long result;
	int error;
	bool bad; /* content that should not be there */
	struct sockaddr_storage address;
	socklen_t length;
};

/* A datagram's content is that of its number, counted from each end. */
#define DATAGRAM_ROOM 70000u
void peer_udp_serve(int *fd, uint64_t *sent, uint64_t *taken, const struct peer_order *order, struct peer_answer *answer);

void peer_start(void);
void peer_start_own(void);    /* one for this thread alone, and a buffer */
void peer_serve(int channel); /* the peer's own loop; returns when the channel ends */

void later(int ms);
void quietly(void); /* no line for the next order if it does what it should */
void peer_wait(void);

struct peer_answer peer_ask(struct peer_order order);
long peer_send(struct end *e, long count);
long peer_send_flags(struct end *e, long count, int flags);
void peer_send_all(struct end *e, long count);
void peer_dribble(struct end *e, long count, long each);
long peer_recv(struct end *e, long count, int flags);
void peer_recv_all(struct end *e, long count);
void peer_recv_back(struct end *e, long count);
void peer_records(struct end *e, long count, long each);
void peer_drain(struct end *e); /* until the end of the stream */
void peer_shutdown(struct end *e, int how);
void peer_close(struct end *e);
void peer_reset(struct end *e);
void peer_poll(struct end *e, int events, int ms);
void peer_pending(struct end *e);
void peer_nonblock(struct end *e, bool on);
void peer_option(const struct end *e, int level, int option, int value);
void peer_signal(int number); /* to the scenario's main thread */
void peer_stop_and_go(void);  /* SIGSTOP, a moment, SIGCONT to the scenario's process */
void peer_end(void);          /* _exit without closing anything; the other process only */
void peer_kill(int number);   /* by the scenario */

#endif
