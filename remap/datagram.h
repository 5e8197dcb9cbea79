/* Calls that move bytes, of datagram sockets. NULL: the descriptor is none; the kernel's call does it. */
#ifndef CW_REMAP_DATAGRAM_H
#define CW_REMAP_DATAGRAM_H

#include "call.h"
#include "sockets/memory.h"

static inline ssize_t cw_datagram_put(struct cw_datagram *socket, int fd, const void *bytes, size_t count, int flags,
				      const struct sockaddr *to, socklen_t size)
{
	struct iovec iov = {(void *)bytes, count};
	struct cw_giving giving = {.name = to, .size = to ? size : 0, .iov = &iov, .iovcnt = 1, .flags = flags};

	cw_cancellation_point();
	if (cw_unlikely(cw_nowhere(bytes, count)) || (to && cw_unlikely(cw_nowhere(to, size))))
		return cw_kernel.sendto(fd, bytes, count, flags, to, size); /* the kernel has the errno */
	return cw_datagram_send(socket, fd, &giving);
}

/* The kernel takes a datagram before it looks where to put it. One that would reach into memory that is nowhere is lost. */
ssize_t cw_datagram_lose(struct cw_datagram *socket, int fd, const struct cw_taking *taking);

static inline ssize_t cw_datagram_get(struct cw_datagram *socket, int fd, void *bytes, size_t count, int flags, struct sockaddr *from,
				      socklen_t *size)
{
	struct iovec iov = {bytes, count};
	struct cw_taking taking = {.name = from, .size = size, .iov = &iov, .iovcnt = 1, .flags = flags};

	cw_cancellation_point();
	if (cw_unlikely(cw_nowhere(bytes, count)))
		return cw_datagram_lose(socket, fd, &taking);
	return cw_datagram_receive(socket, fd, &taking);
}

ssize_t cw_datagram_put_iov(struct cw_datagram *socket, int fd, const struct iovec *iov, int count, int flags);
ssize_t cw_datagram_get_iov(struct cw_datagram *socket, int fd, const struct iovec *iov, int count, int flags);
ssize_t cw_datagram_sendmsg(struct cw_datagram *socket, int fd, const struct msghdr *message, int flags);
/* Has it flows by ring? Looks for news of the service. */
bool cw_datagram_begins(struct cw_datagram *socket);
bool cw_datagram_sends_by_ring(struct cw_datagram *socket);
int cw_datagram_sendmmsg(struct cw_datagram *socket, int fd, struct mmsghdr *messages, unsigned count, int flags);
/* One without: several by one call of the kernel. */
int cw_datagram_recvmmsg(struct cw_datagram *socket, int fd, struct mmsghdr *messages, unsigned count, int flags, struct timespec *timeout);
ssize_t cw_datagram_recvmsg(struct cw_datagram *socket, int fd, struct msghdr *message, int flags);
/* The same for one behind others of the same call: EAGAIN where an error is next, which stays with the kernel, for whatever asks next. */
ssize_t cw_datagram_recvmsg_behind(struct cw_datagram *socket, int fd, struct msghdr *message, int flags);

#endif
