/* The kernel's clock. A library that is preloaded too may have a clock_gettime of its own, which stands still or runs at another rate
 * (libfaketime): that one is the program's, and what is waited for here would never come, or too early. */
#ifndef CW_SYNC_CLOCK_H
#define CW_SYNC_CLOCK_H

#include <time.h>

extern int (*cw_clock)(clockid_t clock, struct timespec *now);

/* Before this, and where the kernel has none in its vDSO (valgrind hides it), it is clock_gettime. */
void cw_clock_begin(void);

#endif
