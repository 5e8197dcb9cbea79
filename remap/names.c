/* Second names of glibc's calls, from when its headers and other libraries used them (__poll: libnsl). */
#include "call.h"

#ifdef __GLIBC__

#include <unistd.h>

ssize_t __read(int fd, void *bytes, size_t count);
ssize_t __write(int fd, const void *bytes, size_t count);
ssize_t __send(int fd, const void *bytes, size_t count, int flags);
int __connect(int fd, const struct sockaddr *address, socklen_t size);
int __close(int fd);
int __dup2(int from, int to);
int __poll(struct pollfd *fds, nfds_t count, int timeout);
int __select(int count, fd_set *readable, fd_set *writable, fd_set *urgent, struct timeval *timeout);

CW_EXPORT ssize_t __read(int fd, void *bytes, size_t count)
{
	return read(fd, bytes, count);
}

CW_EXPORT ssize_t __write(int fd, const void *bytes, size_t count)
{
	return write(fd, bytes, count);
}

CW_EXPORT ssize_t __send(int fd, const void *bytes, size_t count, int flags)
{
	return send(fd, bytes, count, flags);
}

CW_EXPORT int __connect(int fd, const struct sockaddr *address, socklen_t size)
{
	return connect(fd, address, size);
}

CW_EXPORT int __close(int fd)
{
	return close(fd);
}

CW_EXPORT int __dup2(int from, int to)
{
	return dup2(from, to);
}

CW_EXPORT int __poll(struct pollfd *fds, nfds_t count, int timeout)
{
	return poll(fds, count, timeout);
}

CW_EXPORT int __select(int count, fd_set *readable, fd_set *writable, fd_set *urgent, struct timeval *timeout)
{
	return select(count, readable, writable, urgent, timeout);
}

int cw_fcntl(int fd, int command, void *argument) __asm__("fcntl");
CW_EXPORT int cw_fcntl_second(int fd, int command, void *argument) __asm__("__fcntl");

int cw_fcntl_second(int fd, int command, void *argument)
{
	return cw_fcntl(fd, command, argument);
}

#endif
