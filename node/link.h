/* The connection between the service and its clients: abstract names, and messages (transport/window/protocol.h) with descriptors. */
#ifndef CW_NODE_LINK_H
#define CW_NODE_LINK_H

#include <stdbool.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "transport/window/protocol.h"

#define CW_LINK_DESCRIPTORS 2   /* the most that any message carries */
#define CW_LINK_MOST        253 /* that one could carry: what there is no room for the kernel closes in the receive, which can block */

struct cw_received {
	struct cw_message message;
	size_t size; /* of the message; only a full one may be looked into */
	int fd[CW_LINK_MOST];
	unsigned fds;
	bool truncated; /* it was too long, or no descriptor was free */
	bool known;     /* sender is set */
	struct ucred sender;
};

/* False if the name is too long. */
bool cw_link_address(const char *name, struct sockaddr_un *address, socklen_t *length);
/* A connection to the service of that name, non-blocking and close-on-exec, or -1 with errno; never waits. */
int cw_link_connect(const char *name);
/* Who made the other end (SO_PEERCRED). */
bool cw_link_peer(int fd, struct ucred *peer);

struct cw_message cw_link_message(enum cw_message_type type);
/* Never blocks and never raises SIGPIPE. 0, or -1 with errno. */
int cw_link_send(int fd, const struct cw_message *message, const int *descriptors, unsigned count);
/* As recvmsg: bytes, 0 at the end, -1 with errno. Received descriptors are close-on-exec and the caller's. */
ssize_t cw_link_receive(int fd, struct cw_received *received);
void cw_received_close(struct cw_received *received);
/* Waits until the answer of that type is there; false with errno after limit_ms, or at the end of the connection. */
bool cw_link_answer(int fd, enum cw_message_type type, struct cw_received *received, unsigned limit_ms);

#endif
