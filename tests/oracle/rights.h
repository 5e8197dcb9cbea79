/* A descriptor over a socket of AF_UNIX, with one byte. */
#ifndef CW_TESTS_RIGHTS_H
#define CW_TESTS_RIGHTS_H

#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

union rights {
	struct cmsghdr header;
	char room[CMSG_SPACE(sizeof(int))];
};

static inline ssize_t pass_right(int channel, int fd, int flags)
{
	union rights control = {.header = {.cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS}};
	char byte = 'p';
	struct iovec v = {&byte, 1};
	struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};

	memcpy(CMSG_DATA(&control.header), &fd, sizeof(fd));
	return sendmsg(channel, &m, flags);
}

/* -1: none came. */
static inline int take_right(int channel, int flags)
{
	union rights control;
	char byte;
	struct iovec v = {&byte, 1};
	struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};
	int fd;

	if (recvmsg(channel, &m, flags) != 1 || m.msg_controllen < sizeof(control))
		return -1;
	memcpy(&fd, CMSG_DATA(&control.header), sizeof(fd));
	return fd;
}

#endif
