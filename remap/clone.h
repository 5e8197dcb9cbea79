/* Children that libc's fork handlers don't see. */
#ifndef CW_REMAP_CLONE_H
#define CW_REMAP_CLONE_H

#include <stdbool.h>
#include <stdint.h>

/* Before a child with memory of its own is made, by whomever; cw_process_in_parent or cw_process_in_child comes behind. */
void cw_clone_before(uint64_t flags);

/* fork, clone or clone3 by its number. False: it makes a thread, or starts on another stack, and is the kernel's alone. */
bool cw_clone_by_number(long number, const long a[6], long *result);

#endif
