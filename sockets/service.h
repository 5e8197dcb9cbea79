/*
 * The words with the node service. One connection a process, on a high descriptor that the table marks as ours; registered when the first
 * stream is offered, or at the start of a run that is reported (but see children.h). Only registering waits, 200 ms at most; without a
 * service everything stays on kernel TCP and it is asked for again after a second.
 */
#ifndef CW_SOCKETS_SERVICE_H
#define CW_SOCKETS_SERVICE_H

#include <stdbool.h>

#include "policy.h"
#include "stream.h"

extern struct cw_policy cw_policy;
extern bool cw_moving; /* false: nothing is offered; cw_moving_reason says why */
extern enum cw_reason cw_moving_reason;

static inline long cw_policy_spin_us(void)
{
	return cw_policy.number[CW_OPTION_spin_us];
}

/* At the start of the process: what the environment says of the service and the run. */
void cw_service_start(const char *name, uint64_t run);
/*
 * Room for our descriptors, which are high ones. The kernel's table of descriptors grows in some microseconds as long as the program has
 * one thread; with more it waits until no processor looks at the old one (expand_fdtable, fs/file.c): 10 ms and more, in the middle of a
 * call of the program's. So it is made at the start, and in a child, whose table is only as large as what it inherits asks for: at once if
 * its parent had sockets, else with its first one, if it has one thread then.
 */
void cw_service_make_room(void);
extern _Atomic int cw_service_room; /* up to this number; 0: not made */
bool cw_service_register(void);

void cw_service_offer(struct cw_stream *stream, int fd);
void cw_service_withdraw(struct cw_stream *stream);
/*
 * The last descriptor is about to be closed, and an offer of it may still lie unread in the service's queue, which keeps the socket open:
 * wait a moment, or, if the service is stopped, make the end by hand.
 */
void cw_service_part(struct cw_stream *stream, int fd);
void cw_service_release(struct cw_stream *stream);
/* The ring that this stream reads has bytes that must come through the kernel now. */
void cw_service_ask_resend(struct cw_stream *stream);
/* The same for flows of datagrams. */
struct cw_flow;
struct cw_datagram;
void cw_service_offer_flow(struct cw_flow *flow, uint32_t generation, int fd);
void cw_service_withdraw_flow(const struct cw_flow *flow);
void cw_service_release_flow(const struct cw_flow *flow);
void cw_service_ask_resend_flow(const struct cw_flow *flow);
void cw_service_part_datagram(const struct cw_datagram *socket);
void cw_service_take_mail(void);
bool cw_service_has_mail(void);
/* The phase is MOVED, and the slot not there: another thread is taking the grant. Wait for it; false: it is this thread itself, below a
 * signal handler. */
bool cw_service_attached(const struct cw_stream *stream);

/* Around fork (fork.c): no offer is made, and no grant taken, between the two. False: it can't be had. */
bool cw_service_hold(void);
void cw_service_let_go(void);
/* A connection for the child, made by its parent, who holds. -1: none is needed, or none was to be had. */
int cw_service_before_fork(bool needed);
void cw_service_after_fork(int connection, bool in_child);

/* The program wants the number of our descriptor, or closes everything: ours goes elsewhere, or is left alone. */
int cw_service_descriptor(void);
void cw_service_move_descriptor(void);
/* The same for another descriptor of ours, which is closed, and -1, where no number is free. */
void cw_service_make_way(_Atomic int *own);

#endif
