/* Programs of 32 bits whose time has 64 (-D_TIME_BITS=64) call functions of their own names. */
#ifndef CW_REMAP_TIME64_H
#define CW_REMAP_TIME64_H

#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/socket.h>

struct cw_timespec64 {
	int64_t tv_sec;
	int32_t tv_nsec, unused;
};

struct cw_timeval64 {
	int64_t tv_sec, tv_usec;
};

#define CW_TIME64_CALLS(X)                                                                                                                 \
	X(int, __select64, (int, fd_set *, fd_set *, fd_set *, struct cw_timeval64 *))                                                     \
	X(int, __pselect64, (int, fd_set *, fd_set *, fd_set *, const struct cw_timespec64 *, const sigset_t *))                           \
	X(int, __ppoll64, (struct pollfd *, nfds_t, const struct cw_timespec64 *, const sigset_t *))                                       \
	X(int, __epoll_pwait2_time64, (int, struct epoll_event *, int, const struct cw_timespec64 *, const sigset_t *))                    \
	X(int, __recvmmsg64, (int, struct mmsghdr *, unsigned, int, struct cw_timespec64 *))                                               \
	X(int, __sendmmsg64, (int, struct mmsghdr *, unsigned, int))                                                                       \
	X(ssize_t, __recvmsg64, (int, struct msghdr *, int))                                                                               \
	X(ssize_t, __sendmsg64, (int, const struct msghdr *, int))                                                                         \
	X(int, __setsockopt64, (int, int, int, const void *, socklen_t))                                                                   \
	X(int, __getsockopt64, (int, int, int, void *, socklen_t *))                                                                       \
	X(int, __fcntl_time64, (int, int, ...))                                                                                            \
	X(int, __ioctl_time64, (int, unsigned long, ...))                                                                                  \
	X(int, __prctl_time64, (int, ...))

/* X(...) again: what the program calls. */
int __select64(int count, fd_set *readable, fd_set *writable, fd_set *urgent, struct cw_timeval64 *timeout);
int __pselect64(int count, fd_set *readable, fd_set *writable, fd_set *urgent, const struct cw_timespec64 *timeout, const sigset_t *mask);
int __ppoll64(struct pollfd *fds, nfds_t count, const struct cw_timespec64 *timeout, const sigset_t *mask);
int __epoll_pwait2_time64(int epfd, struct epoll_event *events, int max, const struct cw_timespec64 *timeout, const sigset_t *mask);
int __recvmmsg64(int fd, struct mmsghdr *messages, unsigned count, int flags, struct cw_timespec64 *timeout);
int __sendmmsg64(int fd, struct mmsghdr *messages, unsigned count, int flags);
ssize_t __recvmsg64(int fd, struct msghdr *message, int flags);
ssize_t __sendmsg64(int fd, const struct msghdr *message, int flags);
int __setsockopt64(int fd, int level, int name, const void *value, socklen_t size);
int __getsockopt64(int fd, int level, int name, void *value, socklen_t *size);

#endif
