/* The program's memory, as the kernel reads and writes it for a call: what isn't there is EFAULT. And stacks of ours. */
#include "raw_inside.h"

#ifdef CW_RAW_HERE
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>

#define GUARD 4096

static long copied(long number, const void *ours, const void *theirs, size_t size)
{
	struct iovec here = {(void *)ours, size}, there = {(void *)theirs, size};

	return cw_raw(number, cw_own_pid(), (long)&here, 1, (long)&there, 1, 0);
}

static bool is_refused(long result)
{
	return result < 0 && result != -EFAULT;
}

long cw_raw_fetch(void *to, const void *from, size_t size)
{
	long done = copied(SYS_process_vm_readv, to, from, size);

	if (is_refused(done))
		memcpy(to, from, size);
	return is_refused(done) || done == (long)size ? 0 : -EFAULT;
}

long cw_raw_store(void *to, const void *from, size_t size)
{
	long done = copied(SYS_process_vm_writev, from, to, size);

	if (is_refused(done))
		memcpy(to, from, size);
	return is_refused(done) || done == (long)size ? 0 : -EFAULT;
}

void cw_raw_fetch_text(char *to, const char *from, size_t size)
{
	long done = copied(SYS_process_vm_readv, to, from, size - 1);

	if (is_refused(done))
		strncpy(to, from, size - 1), done = (long)size - 1;
	to[done < 0 ? 0 : done] = 0;
}

void *cw_raw_new_stack(size_t above)
{
	long size = (long)(GUARD + CW_RAW_STACK + above), flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
	long memory = cw_raw(SYS_mmap, 0, size, PROT_READ | PROT_WRITE, flags, -1, 0);

	if (memory < 0 && memory > -4096)
		return NULL;
	cw_raw(SYS_mprotect, memory, GUARD, PROT_NONE, 0, 0, 0);
	return (void *)(memory + GUARD); // NOLINT
}

void cw_raw_free_stack(void *stack, size_t above)
{
	cw_raw(SYS_munmap, (long)stack - GUARD, (long)(GUARD + CW_RAW_STACK + above), 0, 0, 0, 0);
}
#endif
