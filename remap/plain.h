/* A process that may soon make no other calls than its own, or in which descriptors have no one meaning any more. */
#ifndef CW_REMAP_PLAIN_H
#define CW_REMAP_PLAIN_H

#include <stdbool.h>

/* In the environment of what such a process executes: the filter holds there from the start, where the library would look for the service.
 */
#define CW_FILTERED "CAUSEWAY_FILTERED"

/* A filter of system calls is about to be installed; false: the call only asks what could be. */
void cw_before_filter(bool installs);

/* The next call splits the table of descriptors: one number will mean two things in this memory. */
void cw_before_split(void);
/* The same, if threads share the table at all. */
void cw_before_unshare(void);

/* Code is about to be loaded whose calls come past the library. */
void cw_before_linked_past(void);

#endif
