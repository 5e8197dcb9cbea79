/* The descriptors that are open, as the kernel lists them. */
#ifndef CW_REMAP_LISTED_H
#define CW_REMAP_LISTED_H

#include <stdbool.h>

/* With nothing of libc's, whose memory may be a parent's. act may close the descriptor. False: not all could be listed. */
bool cw_each_open_descriptor(void (*act)(int fd, int argument), int argument);

#endif
