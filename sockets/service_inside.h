/*
 * The words with the node service, between their own files.
 *
 *	service.c		who it is, whether it is there, and what of it a child has
 *	service_link.c	a message, with descriptors
 *	service_offer.c	streams are offered, withdrawn, released
 *	service_flow.c	the same of flows of datagrams
 *	service_grant.c	what it gives
 */
#ifndef CW_SOCKETS_SERVICE_INSIDE_H
#define CW_SOCKETS_SERVICE_INSIDE_H

#include <netinet/in.h>
#include <string.h>

#include "kernel.h"
#include "kept.h"
#include "service.h"
#include "transport/window/window.h"

#define CW_SERVICE_LIMIT_US 200000
#define CW_LOST_OFFER       (~0u) /* on a connection that was given up with it */

struct cw_service {
	struct cw_lock lock;
	char name[64];
	uint64_t run, number;
	uint32_t owner; /* pid that registered: a vfork child must not speak */
	_Atomic uint32_t mail_seen;
	uint32_t offers; /* sent on this connection */
	uint64_t next_try;
	struct cw_node_page *node;
};

extern struct cw_service cw_service;
/* -1 not registered. Alone, since all else is zero at first, and so lies with the small variables (CW_TABLE). */
extern _Atomic int cw_service_fd;

/* False: this is a signal handler in the middle of our words with the service. What it wanted is done at another call. */
bool cw_service_lock(void);
static inline void cw_service_unlock(void)
{
	cw_unlock(&cw_service.lock);
}

/* Under the lock. */
bool cw_service_register_locked(void);
void cw_service_take_mail_locked(int fd);
/* It is gone: what is moved goes on, and the next offer looks for its successor. */
void cw_service_hang_up(void);

/* An offer of that number has been read. */
bool cw_service_took(const _Atomic uint32_t *offer);
bool cw_service_is_own(const struct in6_addr *address);
bool cw_service_is_near(const struct in6_addr *address); /* own, or of a node that memory is shared with */
void cw_service_address(const struct sockaddr_storage *from, struct in6_addr *address, uint16_t *port);

/* service_link.c */
static inline struct cw_message cw_service_message(uint32_t type)
{
	return (struct cw_message){.magic = CW_MESSAGE_MAGIC + CW_LAYOUT, .type = type};
}

int cw_service_open(void);
int cw_service_move_high(int fd);
bool cw_service_send(int fd, const struct cw_message *message, int descriptor, int flags);
/* Returns the number of descriptors that came, or -errno. All of them are the caller's to close. */
int cw_service_receive(int fd, struct cw_message *message, int descriptors[2], int flags);
/* The queue may be full, but somebody is there to read it. */
bool cw_service_is_there(void);
bool cw_service_say(const struct cw_message *message);
/* What must not be lost: kept where the queue is full (kept.c). */
void cw_service_tell(struct cw_message *message);
void cw_service_tell_slot(uint32_t type, const struct cw_token *token, uint64_t arena, uint32_t slot, uint32_t end);

#endif
