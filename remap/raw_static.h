/* What a program that was put beside us by the loader has to be told otherwise: its own break, and its own name. */
#ifndef CW_REMAP_RAW_STATIC_H
#define CW_REMAP_RAW_STATIC_H

#include <stdbool.h>

extern bool cw_raw_static_on;

/* True: answered. */
bool cw_raw_static(long number, const long a[6], long *result);
/* Its calls are the kernel's from here on, who is told where its break is. */
void cw_raw_static_end(void);

#endif
