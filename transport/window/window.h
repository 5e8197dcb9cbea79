/* A window: memory that another process or node made, mapped here after it was checked. */
#ifndef CW_TRANSPORT_WINDOW_H
#define CW_TRANSPORT_WINDOW_H

#include <stdbool.h>
#include <stdint.h>

/* Map size bytes of a sealed memfd (it can neither shrink nor grow under us), or of a grant of causeway.ko. NULL with errno: EPROTO if it
 * is smaller than size, or neither. */
void *cw_window_map(int fd, uint64_t size, bool writable);
bool cw_window_is_granted(int fd); /* by causeway.ko */
uint64_t cw_window_size(int fd);   /* 0 if fd is neither a sealed memory file nor a living grant */

#endif
