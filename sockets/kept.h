/*
 * Words for the service that found its queue full. A slot end that the service is not told of is held as long as the program lives, so
 * they are kept, and said when there is room again. Calls may come from several threads and from signal handlers: no locks, no allocation.
 */
#ifndef CW_SOCKETS_KEPT_H
#define CW_SOCKETS_KEPT_H

#include <stdbool.h>

#include "transport/window/protocol.h"

/* False: too many. */
bool cw_kept_put(const struct cw_message *message);
/* Says them in any order, as long as say() returns true. True if none is left. */
bool cw_kept_say(bool (*say)(const struct cw_message *message));
/* They were for another service. */
void cw_kept_drop(void);

#endif
