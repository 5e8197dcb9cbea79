/* FILE streams on moved sockets: glibc's stdio never calls read or write by a symbol, but through exported tables of functions (layer 2).
 */
#ifndef CW_REMAP_STDIO_H
#define CW_REMAP_STDIO_H

#include <stdbool.h>

/* Put our functions into the tables, after checking that they look as in the glibc we know. False: they don't, nothing was changed. */
bool cw_stdio_start(void);

#endif
