/* The checked variants that _FORTIFY_SOURCE makes of calls: the check, then the call. */
#include "call.h"

#ifdef __GLIBC__

#include <poll.h>
#include <unistd.h>

void __chk_fail(void) __attribute__((noreturn));
ssize_t __read_chk(int fd, void *bytes, size_t count, size_t room);
ssize_t __recv_chk(int fd, void *bytes, size_t count, size_t room, int flags);
ssize_t __recvfrom_chk(int fd, void *bytes, size_t count, size_t room, int flags, struct sockaddr *address, socklen_t *size);
int __poll_chk(struct pollfd *fds, nfds_t count, int timeout, size_t room);
int __ppoll_chk(struct pollfd *fds, nfds_t count, const struct timespec *timeout, const sigset_t *mask, size_t room);

CW_EXPORT ssize_t __read_chk(int fd, void *bytes, size_t count, size_t room)
{
	if (count > room)
		__chk_fail();
	return read(fd, bytes, count);
}

CW_EXPORT ssize_t __recv_chk(int fd, void *bytes, size_t count, size_t room, int flags)
{
	if (count > room)
		__chk_fail();
	return recv(fd, bytes, count, flags);
}

CW_EXPORT ssize_t __recvfrom_chk(int fd, void *bytes, size_t count, size_t room, int flags, struct sockaddr *address, socklen_t *size)
{
	if (count > room)
		__chk_fail();
	return recvfrom(fd, bytes, count, flags, address, size);
}

CW_EXPORT int __poll_chk(struct pollfd *fds, nfds_t count, int timeout, size_t room)
{
	if (room / sizeof(*fds) < count)
		__chk_fail();
	return poll(fds, count, timeout);
}

CW_EXPORT int __ppoll_chk(struct pollfd *fds, nfds_t count, const struct timespec *timeout, const sigset_t *mask, size_t room)
{
	if (room / sizeof(*fds) < count)
		__chk_fail();
	return ppoll(fds, count, timeout, mask);
}

#endif
