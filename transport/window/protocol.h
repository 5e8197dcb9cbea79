/*
 * What a program and its node service say to each other: messages of one fixed size over an AF_UNIX SOCK_SEQPACKET connection, descriptors
 * beside them by SCM_RIGHTS. Neither side waits for the other but at HELLO, and there with a limit.
 *
 * The service listens on an abstract name, so there is one a network namespace, no file is left behind, and a chroot changes nothing:
 *	causeway/system		owned by root, serves everybody
 *	causeway/user/UID	owned by UID
 * Each side asks the kernel who the other is (SO_PEERCRED): a program believes a service of root or of its own user only.
 *
 *   program       service
 *   HELLO     ->  first message. Runs of `causeway run --report` give their number.
 *             <-  WELCOME + book (memfd), + node page (memfd, read-only). Status 0, or an errno and no descriptors:
 *                 EOVERFLOW another layout, ENOSPC too many programs, EPERM not that parent's child.
 *   HELLO     ->  about to fork: on the connection made for the child, with parent = this program's number. The child
 *                 becomes a holder of each slot end that the parent was granted, by its first `inherited` grants.
 *   HELLO     ->  a second one: the child is there, and names itself. No answer.
 *   CHILDREN  ->  first message of a connection of its own, with a run's number: memory for children that have nothing else to
 *                 say (sockets/children.h). Answered with CHILDREN + memfd, or status ESRCH (no such run) or ENOSPC. They inherit
 *                 the connection: its end is theirs.
 *   OFFER     ->  + the connected socket. The service compares what the kernel says of it and closes it. No answer
 *                 until the other end is offered too.
 *   FLOW      ->  + a datagram socket, and where it sends to or receives from. Closed and answered as an OFFER; the token is
 *                 a flow's (sockets/datagram.h).
 *   WITHDRAW  ->  the program no longer holds the offered socket, or won't move it.
 *             <-  GRANT the slot; + arena (memfd) the first time this program gets a slot in it. The `mail` word of the
 *                 book is raised after a GRANT was sent, so that a program looks for it without a system call.
 *   RELEASE   ->  this program no longer uses this slot end.
 *   RESEND    ->  (as RELEASE, the reader's end) the reader leaves with unread bytes in its ring and marked it
 *                 CW_MARK_RESEND: if the writer doesn't, the service sends them through the writer's kernel socket.
 *   RUN       ->  (the causeway command) begin a run; + the report's file. Answered with RUN and its number. The run
 *                 ends when the sender's process and every program that said HELLO with this number have ended.
 *                 Then the report is written, and RUN is sent again: a connection that ends before is that of a
 *                 service that was killed.
 *                 Without a file there is no answer: a service that ends when idle stays while that process lives.
 *   LIST      ->  (the causeway command) answered with LIST + memfd of JSON text.
 *   STATUS    ->  (the causeway command, doctor) answered with STATUS + memfd of JSON text.
 *   NODES     ->  (the causeway command) answered with NODES + memfd of JSON text; probe: the nodes are asked for a sign of life too.
 *   CLUSTER   ->  (root or the owner) the files of the cluster have changed. Answered with CLUSTER + what NODES answers, or status EPERM.
 *   WINDOWS   ->  (the causeway command) answered with WINDOWS + memfd of JSON text.
 *   WINDOW    ->  (root or the owner) make, grant, take back, read or write a window with a name; + memfd of what is to be written.
 *                 Answered with WINDOW + memfd: of what was read, else JSON, which says why where status is an errno.
 *   STOP      ->  (root or the owner) end the service. Answered with STOP and status EPERM, or the end of the connection.
 */
#ifndef CW_TRANSPORT_PROTOCOL_H
#define CW_TRANSPORT_PROTOCOL_H

#include <stdint.h>
#include <netinet/in.h>

#include "transport/shm/slot.h"

#define CW_SERVICE_SYSTEM "causeway/system"
#define CW_SERVICE_USER   "causeway/user/%u"
#define CW_MESSAGE_MAGIC  0x43570000u /* + layout */

enum cw_message_type {
	CW_HELLO = 1,
	CW_WELCOME,
	CW_OFFER,
	CW_WITHDRAW,
	CW_GRANT,
	CW_RELEASE,
	CW_RUN,
	CW_LIST,
	CW_STATUS,
	CW_STOP,
	CW_RESEND,
	CW_FLOW,
	CW_NODES,
	CW_CLUSTER,
	CW_WINDOWS,
	CW_WINDOW,
	CW_CHILDREN,
	CW_MESSAGE_TYPES
};

enum cw_window_act {
	CW_WINDOW_CREATE,
	CW_WINDOW_REMOVE,
	CW_WINDOW_GRANT,
	CW_WINDOW_REVOKE,
	CW_WINDOW_READ,
	CW_WINDOW_WRITE,
	CW_WINDOW_ACTS
};

#define CW_WINDOW_NAME     24         /* with its end */
#define CW_WINDOW_PIECE    (1u << 20) /* bytes, the most that are read or written at once */
#define CW_WINDOW_DRY_RUN  1u
#define CW_WINDOW_FORCE    2u
#define CW_WINDOW_WRITABLE 4u

/* One end's view of a connection: which stream of the program it is. Echoed in the GRANT. */
struct cw_token {
	uint32_t index;      /* entry in the program's book; with the highest bit, a flow's number */
	uint32_t generation; /* the program's own count of uses of that entry */
};

struct cw_message {
	uint32_t magic; /* CW_MESSAGE_MAGIC + CW_LAYOUT */
	uint32_t type;
	uint32_t status; /* errno, 0 fine */
	uint32_t unused;
	union {
		struct {
			uint64_t run;    /* 0: none */
			uint64_t parent; /* number of the program that forks; 0: none */
			uint32_t pid;
			char command[20];
		} hello;
		struct {
			uint64_t number; /* this program's */
			uint64_t book_size, node_size;
			uint32_t inherited; /* for a child: how many grants its parent had been sent */
			uint32_t unused;
		} welcome;
		struct {
			struct cw_token token;
			uint64_t cookie; /* SO_COOKIE as the program reads it */
		} offer;                 /* WITHDRAW too */
		struct {
			struct cw_token token;
			uint64_t cookie;
			struct in6_addr address; /* of the other end, IPv4 as v4-mapped */
			uint32_t port;
			uint32_t sends; /* 1: to there, 0: from there */
		} flow;
		struct {
			struct cw_token token;
			uint64_t arena;
			uint32_t slot, end, slots, unused;
			struct in6_addr local; /* this end's address, IPv4 as v4-mapped */
		} grant;                       /* RELEASE too (token, arena, slot, end) */
		struct {
			uint64_t run;
		} run;
		struct {
			uint32_t probe;
		} nodes;
		struct {
			uint32_t act, flags;
			uint64_t at; /* offset; of CREATE the size */
			uint32_t length, unused;
			char name[CW_WINDOW_NAME];
			char node[64]; /* whom to grant it; of READ and WRITE its owner; empty: this one */
		} window;
		unsigned char room[112];
	};
};

_Static_assert(sizeof(struct cw_message) == 128, "messages have one size");

/* The node page: what every program may know. Written by the service alone. */
#define CW_NODE_ADDRESSES 500
#define CW_NODE_PEERS     512
struct cw_node_page {
	uint32_t layout;
	_Atomic uint32_t sequence; /* odd while the service writes */
	uint32_t addresses;
	uint32_t peers;
	struct in6_addr address[CW_NODE_ADDRESSES]; /* this node's own, IPv4 as v4-mapped; loopback is not listed */
	struct in6_addr peer[CW_NODE_PEERS];        /* those of nodes that streams can be shared with by windows */
};

#endif
