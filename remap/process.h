/* What happens to moved streams when a process makes, becomes or tells another. */
#ifndef CW_REMAP_PROCESS_H
#define CW_REMAP_PROCESS_H

#include <stdbool.h>
#include <sys/socket.h>

/* A vfork child runs in its parent's memory with descriptors of its own: it must change nothing that is the parent's. */
bool cw_is_other_process(void);
void cw_process_start(void);
/* Around a fork, for who makes it by a system call. */
void cw_process_before_fork(void);
void cw_process_in_parent(void);
void cw_process_in_child(void);
void cw_process_in_child_of_libc(void); /* which has lost the dispatch of calls */
bool cw_process_forks(void);            /* this thread, between the two */
/* Of a namespace of its own. */
void cw_process_before_other_numbers(void);
/* A message that may carry descriptors is about to be sent. */
void cw_before_passing(const struct msghdr *message);

#endif
