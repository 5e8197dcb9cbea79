/*
 * Who holds a lock for longer than any of its sections lasts. A process that shares the stream's end, by fork, may be stopped in one, or
 * wait for a processor or for its memory: it goes on some time, or dies. No other end can feign it but by naming such a process, which
 * stands still at that time.
 */
#ifndef CW_SOCKETS_SHARER_H
#define CW_SOCKETS_SHARER_H

#include <stdbool.h>
#include <stdint.h>

/* Is that thread of a process that has the socket fd too, and does it stand still elsewhere than in a system call that sleeps? */
bool cw_sharer_stands(int fd, uint32_t thread);

#endif
