/* How many bytes wait in a moved stream: FIONREAD, SIOCOUTQ and TCP_INQ. */
#ifndef CW_SOCKETS_PENDING_H
#define CW_SOCKETS_PENDING_H

#include "stream.h"

int cw_pending_in(struct cw_stream *stream, int fd); /* the kernel's and the ring's; fd -1: the ring's */
int cw_pending_out(const struct cw_stream *stream);  /* the ring's alone */
/* TCP_INQ: puts what a receive has left into the message's control data, as the kernel does. */
void cw_pending_tell(struct cw_stream *stream, int fd, struct msghdr *message, void *control, size_t room);

#endif
