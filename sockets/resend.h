/*
 * Sending a ring's unread bytes again through the kernel, for a writer that isn't in the library to do it (it computes, waits for something
 * else, or is stopped) while the reading end goes to a program that knows no ring. The node service does it, with the writer's own socket
 * (node/service_resend.c).
 */
#ifndef CW_SOCKETS_RESEND_H
#define CW_SOCKETS_RESEND_H

#include "transport/shm/arena.h"

/* data: the ring that end writes. fd: its socket. False: there was nothing to do, or the writer holds its lock, that is, is about to see it
 * by itself. */
bool cw_resend(struct cw_slot *slot, unsigned end, unsigned char *data, int fd);

#endif
