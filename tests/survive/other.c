/*
 * other.so: a library that is preloaded beside ours, and has a send and a recv of its own, as those that trace, limit or change what a
 * program sends. At the program's exit it says how much has passed by it.
 */
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/types.h>

static uint64_t sent, received;

ssize_t send(int fd, const void *bytes, size_t count, int flags)
{
	ssize_t (*next)(int, const void *, size_t, int);
	ssize_t result;

	*(void **)&next = dlsym(RTLD_NEXT, "send");
	result = next(fd, bytes, count, flags);
	sent += result > 0 ? (uint64_t)result : 0;
	return result;
}

ssize_t recv(int fd, void *bytes, size_t count, int flags)
{
	ssize_t (*next)(int, void *, size_t, int);
	ssize_t result;

	*(void **)&next = dlsym(RTLD_NEXT, "recv");
	result = next(fd, bytes, count, flags);
	received += result > 0 ? (uint64_t)result : 0;
	return result;
}

__attribute__((destructor)) static void say(void)
{
	printf("passed by: %lu sent, %lu received\n", (unsigned long)sent, (unsigned long)received);
	fflush(stdout);
}
