/* FILE streams on moved sockets (streams and datagrams): libc's stdio never calls read or write by a symbol, but through functions that are
 * found in exported tables (glibc, stdio.c) or in each FILE (musl, stdio_musl.c): layer 2. */
#ifndef CW_REMAP_STDIO_H
#define CW_REMAP_STDIO_H

#include <stdbool.h>
#include <stddef.h>

/* Put our functions into the tables, after checking that they look as in the glibc we know. False: they don't, nothing was changed. */
bool cw_stdio_start(void);

/* print.c: by our own write, until all is sent or one fails. *done: so much. */
bool cw_write_all(int fd, const void *bytes, size_t count, size_t *done);

/* A socket has got this number, perhaps one of the three that stdin, stdout and stderr have from the beginning. */
#ifdef __GLIBC__
static inline void cw_stdio_given(int fd)
{
}
#else
void cw_stdio_given(int fd);
#endif

#endif
