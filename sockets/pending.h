/* How many bytes wait in a moved stream: FIONREAD and SIOCOUTQ. */
#ifndef CW_SOCKETS_PENDING_H
#define CW_SOCKETS_PENDING_H

#include "stream.h"

int cw_pending_in(struct cw_stream *stream, int fd); /* the kernel's and the ring's; fd -1: the ring's */
int cw_pending_out(const struct cw_stream *stream);  /* the ring's alone */

#endif
