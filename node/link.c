#include "link.h"

#include <errno.h>
#include <poll.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include "sync/cpu.h"

bool cw_link_address(const char *name, struct sockaddr_un *address, socklen_t *length)
{
	size_t size = strlen(name);

	*address = (struct sockaddr_un){.sun_family = AF_UNIX};
	if (!size || size > sizeof(address->sun_path) - 1)
		return false;
	memcpy(address->sun_path + 1, name, size);
	*length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + size);
	return true;
}

int cw_link_connect(const char *name)
{
	struct sockaddr_un address;
	socklen_t length;
	int fd, error;

	if (!cw_link_address(name, &address, &length)) {
		errno = ENAMETOOLONG;
		return -1;
	}
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0 || connect(fd, (struct sockaddr *)&address, length) == 0)
		return fd;
	error = errno;
	close(fd);
	errno = error;
	return -1;
}

bool cw_link_peer(int fd, struct ucred *peer)
{
	socklen_t length = sizeof(*peer);

	return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, peer, &length) == 0;
}

struct cw_message cw_link_message(enum cw_message_type type)
{
	struct cw_message message;

	memset(&message, 0, sizeof(message));
	message.magic = CW_MESSAGE_MAGIC + CW_LAYOUT;
	message.type = type;
	return message;
}

int cw_link_send(int fd, const struct cw_message *message, const int *descriptors, unsigned count)
{
	struct iovec part = {(void *)(uintptr_t)message, sizeof(*message)};
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(sizeof(int) * CW_LINK_DESCRIPTORS)];
	} control;
	struct msghdr header = {.msg_iov = &part, .msg_iovlen = 1};

	if (count) {
		memset(&control, 0, sizeof(control));
		control.header.cmsg_level = SOL_SOCKET;
		control.header.cmsg_type = SCM_RIGHTS;
		control.header.cmsg_len = CMSG_LEN(sizeof(int) * count);
		memcpy(CMSG_DATA(&control.header), descriptors, sizeof(int) * count);
		header.msg_control = &control;
		header.msg_controllen = CMSG_SPACE(sizeof(int) * count);
	}
	return sendmsg(fd, &header, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 ? -1 : 0;
}

static void take_control(struct msghdr *header, struct cw_received *received)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(header); c; c = CMSG_NXTHDR(header, c)) {
		if (c->cmsg_level != SOL_SOCKET)
			continue;
		if (c->cmsg_type == SCM_CREDENTIALS && c->cmsg_len >= CMSG_LEN(sizeof(struct ucred))) {
			memcpy(&received->sender, CMSG_DATA(c), sizeof(struct ucred));
			received->known = true;
		}
		if (c->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t at = CMSG_LEN(0); at + sizeof(int) <= c->cmsg_len; at += sizeof(int)) {
			int fd;

			memcpy(&fd, (char *)c + at, sizeof(fd));
			if (received->fds < sizeof(received->fd) / sizeof(received->fd[0]))
				received->fd[received->fds++] = fd;
			else
				close(fd);
		}
	}
}

ssize_t cw_link_receive(int fd, struct cw_received *received)
{
	struct iovec part = {&received->message, sizeof(received->message)};
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(sizeof(struct ucred)) + CMSG_SPACE(sizeof(int) * CW_LINK_MOST)];
	} control;
	struct msghdr header = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};
	ssize_t got = recvmsg(fd, &header, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);

	received->fds = 0;
	received->known = received->truncated = false;
	if (got < 0)
		return got;
	take_control(&header, received);
	received->truncated = header.msg_flags & (MSG_CTRUNC | MSG_TRUNC);
	received->size = (size_t)got;
	return got;
}

void cw_received_close(struct cw_received *received)
{
	while (received->fds)
		close(received->fd[--received->fds]);
}

bool cw_link_answer(int fd, enum cw_message_type type, struct cw_received *received, unsigned limit_ms)
{
	uint64_t end = cw_monotonic_ns() + limit_ms * 1000000ull, now;

	while ((now = cw_monotonic_ns()) < end) {
		struct pollfd look = {.fd = fd, .events = POLLIN};
		ssize_t got;

		if (poll(&look, 1, (int)((end - now) / 1000000 + 1)) < 0 && errno != EINTR)
			return false;
		got = cw_link_receive(fd, received);
		if (got < 0 && errno != EAGAIN && errno != EINTR)
			return false;
		if (got == 0) {
			errno = ECONNRESET;
			return false;
		}
		if (got == (ssize_t)sizeof(struct cw_message) && received->message.type == type)
			return true;
		if (got > 0)
			cw_received_close(received);
	}
	errno = ETIMEDOUT;
	return false;
}
