/*
 * Datagram sockets (UDP) of this process, and their flows. A *flow* is what one socket sends to another: one direction of a slot,
 * with a ring of records. It begins with the kernel; when it has shown that it lives, the sender's library shows its socket and says
 * where it sends to, the receiver's shows its own and says from where it receives, and the service asks the kernel who would receive
 * such a datagram. So a socket has as many flows as it has peers to send to and to receive from, and everything else of it
 * (addresses and ports, multicast, broadcast, remote hosts, unknown peers) is the kernel's as ever.
 *
 * The state word of a flow (sync/state.h) has the states of a stream's direction but SEALED, and other rules of order, since the
 * kernel may drop datagrams silently, and so no count of them is an offset:
 *
 *	TAKEN	by the kernel.					reader -> CONSENT
 *	CONSENT	the reader is awake and offers the ring.	writer -> LIVE, reader -> TAKEN
 *	LIVE	records are in the ring.			reader -> ASLEEP, writer -> TAKEN
 *	ASLEEP	as LIVE, and the reader waits in the kernel.	reader -> LIVE, writer -> TAKEN (the doorbell)
 *
 * Out of the ring: the writer may leave it at any time. It makes the state TAKEN, then sets CW_CLAIMED in `roff`, which gives it
 * exactly the records that nobody has read, and sends these, in order, through the kernel socket. A reader moves `roff` by compare-
 * and-swap, so it has a record, or the writer has. So no datagram of this sender in the kernel's queue ever comes behind one in the
 * ring.
 *
 * Into the ring: what was sent through the kernel before may still be there, or on its way, or dropped. The writer counts what it
 * sends by the kernel (`woff`) and says how many that were (`up`) when it takes the offer; the reader counts what it has got. Until
 * the two are equal, or CW_FLOW_WAIT_NS have gone by since (`tx_credit` is the time), the reader leaves the ring alone; and the
 * kernel's queue is looked at first.
 *
 * Only the process that made a socket moves flows, and while it holds it alone (fork.h).
 */
#ifndef CW_SOCKETS_DATAGRAM_H
#define CW_SOCKETS_DATAGRAM_H

#include <netinet/in.h>

#include "stream.h"
#include "sync/record.h"

#define CW_CLAIMED      (1ull << 63) /* in roff: what is unread is the writer's again */
#define CW_FLOW_WAIT_NS 2000000u
#define CW_FLOWS        8192u
#define CW_FLOW_TOKEN   (1u << 31) /* in a token's index: a flow's number, not an entry's */
#define CW_FLOW_PEERS   64u        /* places for peers, each way */
#define CW_FLOWS_IN     64u        /* flows that one socket receives by ring */
#define CW_KERNEL_TURN  64u        /* receives by ring for each look at the kernel's queue */

enum cw_flow_stage { CW_FLOW_FREE, CW_FLOW_COUNTING, CW_FLOW_OFFERED, CW_FLOW_MOVED, CW_FLOW_STAYS };

/* An address as flows are known by: IPv4 as v4-mapped. */
struct cw_peer {
	struct in6_addr address;
	uint32_t port; /* 0: no address that a flow can have */
};

struct cw_datagram;

struct cw_flow {
	struct cw_peer peer;
	struct in6_addr own; /* this end's address, once it is moved */
	_Atomic uint8_t stage;
	bool sends;
	_Atomic uint32_t generation;
	_Atomic uint32_t offer; /* as a stream's */
	uint32_t calls;         /* datagrams by the kernel, until it is offered */
	struct cw_datagram *socket;
	struct cw_flow *next; /* free */

	/* Moved. */
	struct cw_slot *slot;
	struct cw_direction *way;
	struct cw_ring ring;
	uint64_t arena;
	uint32_t slot_number;
	uint64_t credit; /* writer: roff as last seen */
	uint64_t passed; /* reader: the spell (`seal` of the direction) in which the ring may be read */
	uint64_t since;  /* reader: it waits for that, from then on, by its own clock; 0: not since it offered the ring */
	uint64_t due;    /* reader: it waits until so many have come by the kernel */
	uint64_t seen;   /* reader: datagrams of this sender that came by the kernel */
	uint64_t widx;   /* reader: as last seen; while it is behind that, it leaves the writer's line alone */
	uint64_t told;   /* reader: widx when it last fell asleep */
	uint32_t idle;   /* reader: sleeps without a record since */
	bool synced;     /* reader: `seen` can be compared with `up` */
	bool kept;       /* reader: it was left, and what is unread stays there */
};

struct cw_datagram {
	_Atomic bool used;
	_Atomic int32_t users; /* that look for its datagrams; the next life's begins beside those who were late for the last */
	/* Read at every call. */
	_Atomic uint32_t moved_in, moved_out; /* flows by ring */
	_Atomic uint32_t offered;
	_Atomic bool stays; /* on the kernel for good */
	uint32_t kept;      /* so many receives at most: what is unread in kept flows comes before all that is in the kernel */
	uint64_t by_kernel; /* datagrams that came by the kernel */
	uint32_t rcvbuf;    /* of the kernel's socket, once it has a flow */
	bool corked;        /* MSG_MORE at the last send */
	bool reports_errors;
	uint16_t family;
	struct cw_stream *entry; /* its book entry, its references, its family of holders */
	struct cw_peer connected;
	uint32_t turn;                   /* receives by ring since the kernel's queue was looked at */
	int32_t peeked;                  /* what the next receive must take: number of the flow and 1, or -1 the kernel; 0 any */
	_Atomic int32_t asleep;          /* threads that wait in the kernel for it */
	_Atomic bool orphaned;           /* closed under them: the last one gives its place back */
	bool peers_left;                 /* by a close on top of a call: forgotten with the socket */
	uint32_t next_in;                /* whose turn it is */
	struct cw_lock tx_lock, rx_lock; /* as `users`, for who comes late */
	_Atomic uint32_t registered;     /* in event sets, so many times */
	uint64_t edges_before;           /* of flows that have ended */
	uint32_t in_count;
	struct cw_flow *in[CW_FLOWS_IN]; /* moved, in_count of them, under rx_lock */
	struct cw_flow *_Atomic to[CW_FLOW_PEERS], *_Atomic from[CW_FLOW_PEERS];
};

#define CW_DATAGRAMS 4096u
extern struct cw_datagram cw_datagrams[CW_DATAGRAMS];
extern struct cw_flow cw_flows[CW_FLOWS];
extern _Atomic uint32_t cw_flows_in; /* of the process, moved */

static inline struct cw_datagram *cw_datagram_of(int fd)
{
	uint32_t entry = cw_table_get(fd);

	return cw_unlikely(cw_table_kind(entry) == CW_FD_DATAGRAM) ? &cw_datagrams[cw_table_index(entry)] : NULL;
}

/* Is fd its number? Not while it is changing: who asks may hold what the change waits for. */
static inline bool cw_datagram_at(const struct cw_datagram *socket, int fd)
{
	return cw_table_peek(fd) == cw_table_entry(CW_FD_DATAGRAM, (uint32_t)(socket - cw_datagrams));
}

/*
 * One side's lock: every flow of that side is its own while it is held, for who closes the socket takes it too. False: a signal handler on
 * top of who holds it. The socket may have ended, if nobody holds it (cw_datagram_hold): it is what the number means, or it is not.
 */
static inline bool cw_datagram_lock(struct cw_datagram *socket, struct cw_lock *lock)
{
	struct cw_stream *entry = __atomic_load_n(&socket->entry, __ATOMIC_RELAXED);

	return cw_lock_own(lock, cw_thread_id(), cw_likely(entry) ? &cw_counters(entry)[CW_COUNT_contended] : NULL) != CW_LOCK_NESTED;
}

static inline bool cw_tx_enter(struct cw_datagram *socket)
{
	return cw_datagram_lock(socket, &socket->tx_lock);
}

static inline bool cw_rx_enter(struct cw_datagram *socket)
{
	return cw_datagram_lock(socket, &socket->rx_lock);
}

static inline void cw_rx_exit(struct cw_datagram *socket, bool locked)
{
	if (locked)
		cw_unlock(&socket->rx_lock);
}

/* ---- datagram.c: its life ---- */
void cw_datagram_open(int fd, int family, bool nonblocking);
void cw_datagram_dup(struct cw_datagram *socket, int fd);
void cw_datagram_close(struct cw_datagram *socket, int fd);
/* While it is held its place and its entry are its own, whoever closes it. False: the number means something else by now. */
bool cw_datagram_hold(struct cw_datagram *socket, int fd);
/* The one that has the number, held; NULL: none has. */
struct cw_datagram *cw_datagram_held(int fd);
void cw_datagram_release(struct cw_datagram *socket);
/* The same of a thread that is cancelled in a call (pthread_cleanup_push). */
void cw_datagram_cancelled(void *socket);
/* Behind each waking: `asleep`, or `users`, has been lowered. */
void cw_datagram_awake(struct cw_datagram *socket);
/* Behind connect, in any of its forms: what it was moved for is over. The socket is held, as in what follows. */
void cw_datagram_connected(struct cw_datagram *socket, int fd);
/* Behind setsockopt, of whatever has the number. */
void cw_datagram_option(int fd, int level, int name);
/* All flows go back to the kernel; from here on, if it is for good. What is unread stays readable here. */
void cw_datagram_leave(struct cw_datagram *socket, int fd, enum cw_reason reason);
/* Another program gets it, that has no ring: what is unread must come by the kernel. Waits a moment for its writers, or the service. */
void cw_datagram_leave_to(struct cw_datagram *socket, int fd, enum cw_reason reason);
void cw_datagram_leave_sending(struct cw_datagram *socket, int fd);
void cw_datagrams_before_fork(bool *moved);
void cw_datagrams_after_fork(void);
bool cw_datagrams_moved(void);
void cw_datagrams_leave_process(enum cw_reason reason);
void cw_datagrams_hang_up(void);
struct cw_datagram *cw_datagram_by_cookie(uint64_t cookie);

/* ---- flow.c: candidates, what the service says, the end ---- */
struct cw_peer cw_peer_of(const struct sockaddr *name, socklen_t size);
/* The flow with a peer, made if it is new; NULL: none. */
struct cw_flow *cw_flow_find(struct cw_datagram *socket, const struct cw_peer *peer, bool sends);
/*
 * A datagram has gone, or come, by the kernel. The socket is held, and had the flow when that was of this generation. No lock is held: what
 * may follow is an offer.
 */
void cw_flow_counted(struct cw_flow *flow, uint32_t generation, int fd);
/* From one stage to another, if it is still of that generation. */
bool cw_flow_step(struct cw_flow *flow, uint32_t generation, uint8_t from, uint8_t to);
bool cw_flow_attach(uint32_t number, uint32_t generation, struct cw_arena *arena, uint32_t slot, uint32_t end, const struct in6_addr *own);
/* Give the slot back, under the lock of its side. */
void cw_flow_drop(struct cw_flow *flow);
void cw_flow_break(struct cw_flow *flow);
/* From the one to the other no grant is taken: there is no flow that the child has too and knows nothing of. */
void cw_flows_before_fork(void);
void cw_flows_after_fork(bool in_child);

/* ---- flow_send.c ---- */
struct cw_giving {
	const struct sockaddr *name;
	socklen_t size;
	const struct iovec *iov;
	size_t iovcnt;
	const struct msghdr *message; /* the program's, if it gave one */
	int flags;
};
ssize_t cw_datagram_send(struct cw_datagram *socket, int fd, const struct cw_giving *giving);
/* One has gone by a call of the kernel's that was made elsewhere, while no flow went by ring. The socket is held. */
void cw_datagram_sent(struct cw_datagram *socket, int fd, size_t length, const struct sockaddr *name, socklen_t size);
/* For a writer that is not in the library (node/service_resend.c): fd is its socket. */
bool cw_flow_resend(struct cw_slot *slot, unsigned char *data, int fd, const struct in6_addr *to, uint16_t port);
/* Under tx_lock: what is in the ring and unread goes through the kernel, and the state is TAKEN. */
void cw_flow_take_back(struct cw_flow *flow, int fd, uint64_t *word);

/* ---- flow_receive.c ---- */
struct cw_taking {
	struct sockaddr *name;
	socklen_t *size; /* of name; NULL: not asked */
	const struct iovec *iov;
	size_t iovcnt;
	struct msghdr *message; /* the program's, if it gave one */
	int flags;
	bool behind; /* others that the same call has taken: an error is left to the next */
};
ssize_t cw_datagram_receive(struct cw_datagram *socket, int fd, const struct cw_taking *taking);
/* Around a call that may wait in the kernel, of a socket without flows by ring, which is held. False: it has some now. */
bool cw_datagram_enter_kernel(struct cw_datagram *socket);
void cw_datagram_leave_kernel(struct cw_datagram *socket);
/* One has come by a call of the kernel's that was made elsewhere. The socket is held. */
void cw_datagram_received(struct cw_datagram *socket, int fd, size_t length, const struct sockaddr *name, socklen_t size);
/* The record that a flow has to be read now. False: none, or not yet (*later), or nonsense (the flow has ended). Under rx_lock. */
bool cw_flow_next(struct cw_flow *flow, uint64_t *at, size_t *length, bool *later);
/* The same for who only asks. */
bool cw_flow_has(struct cw_flow *flow, bool *later);
bool cw_flow_waits(struct cw_flow *flow); /* it has one, but not yet */

/* ---- flow_pending.c ---- */
/* FIONREAD: the size of the next datagram; -1: the kernel's answer holds. */
int cw_datagram_pending(struct cw_datagram *socket, int fd);

/* ---- flow_sleep.c ---- */
bool cw_datagram_ready(struct cw_datagram *socket, uint64_t *edge);
/* The same for who is told by edges and knows of `told`: also of datagrams behind those that are unread in the kernel. */
bool cw_datagram_has_news(struct cw_datagram *socket, uint64_t told, uint64_t *edge);
/* The kernel has nothing to add to what poll says of it: no error can be waiting, and nothing is shut down. */
bool cw_datagram_known(const struct cw_datagram *socket);
/* About to wait in the kernel. told: that much (cw_datagram_ready's edge) the program knows of. False: don't, there is something. */
bool cw_datagram_settle(struct cw_datagram *socket, bool by_edge, uint64_t told);
void cw_datagram_rise(struct cw_datagram *socket);
/* Awake, and about to look: offer the ring to those who sent lately. */
void cw_datagram_offer(struct cw_datagram *socket);
/* Datagrams of a ring may be read when the kernel has had time for those before them: some of that time. True: it has something. */
bool cw_datagram_nap(struct cw_datagram *socket);

#endif
