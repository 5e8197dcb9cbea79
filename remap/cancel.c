/* pthread_cancel: from now on each call that may block is libc's own, which knows what is pending (cw_sole_thread). In musl
 * they are so always. */
#include <pthread.h>

#include "call.h"

CW_EXPORT int pthread_cancel(pthread_t thread)
{
	cw_ensure_started();
	atomic_store_explicit(&cw_cancels, true, memory_order_relaxed);
	return cw_real.pthread_cancel(thread);
}
