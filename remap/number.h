/* A system call by its number: what syscall(2) is asked for, and what an instruction of the program's own asks the kernel for (raw.h). */
#ifndef CW_REMAP_NUMBER_H
#define CW_REMAP_NUMBER_H

#include <stdbool.h>

/* True: a call of ours has answered, with -1 and errno if it failed. False: it concerns us not, and is the kernel's. */
bool cw_by_number(long number, const long a[6], long *result);

#endif
