/* A process that may soon make no other calls than its own. */
#ifndef CW_REMAP_PLAIN_H
#define CW_REMAP_PLAIN_H

#include <stdbool.h>

/* A filter of system calls is about to be installed; false: the call only asks what could be. */
void cw_before_filter(bool installs);

#endif
