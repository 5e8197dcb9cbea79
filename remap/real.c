#include "real.h"

#include <dlfcn.h>

struct cw_real cw_real;

void cw_real_find(void)
{
#define X(result, name, parameters) *(void **)&cw_real.name = dlsym(RTLD_NEXT, #name);
	CW_REAL_CALLS(X)
#undef X
#define X(result, name, parameters) *(void **)&cw_kernel.name = dlsym(RTLD_NEXT, #name);
	CW_KERNEL_CALLS(X)
#undef X
	cw_real_stand_in();
}
