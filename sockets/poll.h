/* poll and select over streams that may be moved, event sets and every other kind of descriptor. */
#ifndef CW_SOCKETS_POLL_H
#define CW_SOCKETS_POLL_H

#include <poll.h>
#include <signal.h>
#include <sys/select.h>
#include <time.h>

/* As poll(2) and ppoll(2). timeout NULL: none. by_poll: sleep in poll, not ppoll (the program's own call). */
int cw_poll(struct pollfd *fds, nfds_t count, int timeout_ms);
int cw_ppoll(struct pollfd *fds, nfds_t count, const struct timespec *timeout, const sigset_t *mask);
/* As select(2) (which counts timeout down) and pselect(2). */
int cw_select(int count, fd_set *readable, fd_set *writable, fd_set *urgent, struct timeval *timeout);
int cw_pselect(int count, fd_set *readable, fd_set *writable, fd_set *urgent, const struct timespec *timeout, const sigset_t *mask);

#endif
