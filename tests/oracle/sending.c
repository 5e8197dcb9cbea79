/* Every call that sends, in every state. */
#define FAMILY          "sending"
#define MATRIX_CELLS    sending
#define MATRIX_TOGETHER false
#include "matrix.h"
#include "peer.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/syscall.h>
#include <sys/uio.h>

static struct iovec two[2];
static struct iovec many[1025];
static volatile int none = -1;

static long by_message(int fd, size_t pieces, int flags)
{
	struct msghdr m = {.msg_iov = two, .msg_iovlen = pieces};

	return sendmsg(fd, &m, flags);
}

/* A control message that a TCP socket has no use for. */
static long with_control(int fd, int level, int type)
{
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(sizeof(int))];
	} control = {.header = {.cmsg_level = level, .cmsg_type = type, .cmsg_len = CMSG_LEN(sizeof(int))}};
	struct msghdr m = {.msg_iov = two, .msg_iovlen = 2, .msg_control = &control, .msg_controllen = sizeof(control)};

	return sendmsg(fd, &m, 0);
}

static long several(int fd, int flags)
{
	struct iovec v[2] = {{room, 10}, {room + 10, 10}};
	struct mmsghdr m[2] = {{.msg_hdr = {.msg_iov = v, .msg_iovlen = 1}}, {.msg_hdr = {.msg_iov = v + 1, .msg_iovlen = 1}}};
	int n = sendmmsg(fd, m, 2, flags), error = errno;

	if (n >= 0)
		say("  messages %d: %u %u", n, m[0].msg_len, m[1].msg_len);
	errno = error;
	return n < 0 ? n : (long)(m[0].msg_len + m[1].msg_len);
}

/* The address is not looked at on a connection that there is. */
static long to_address(int fd, int flags)
{
	struct sockaddr_storage to;
	socklen_t length = loopback(&to);

	return sendto(fd, room, 10, flags, (struct sockaddr *)&to, length);
}

enum source { FROM_FILE, FROM_OFFSET, FROM_PIPE, FROM_DIRECTORY };

static long from_file(struct end *e, enum source source)
{
	int file = source == FROM_DIRECTORY ? open("/", O_RDONLY) : memfd_create("oracle", 0), ends[2];
	off_t offset = 4;
	long n;
	int error;

	MUST(pipe(ends));
	if (source == FROM_OFFSET)
		MUST(pwrite(file, room, 20, 4));
	else if (source == FROM_FILE)
		MUST(pwrite(file, room, 20, 0));
	else
		MUST(write(ends[1], room, 20));
	errno = 0;
	n = sendfile(e->fd, source == FROM_PIPE ? ends[0] : file, source == FROM_OFFSET ? &offset : NULL, 100);
	error = errno;
	say("  offset %d", (int)offset);
	close(file);
	close(ends[0]);
	close(ends[1]);
	errno = error;
	return n;
}

static long from_pipe(int fd, unsigned flags, bool empty, off64_t *offset)
{
	int ends[2];

	MUST(pipe(ends));
	if (!empty)
		MUST(write(ends[1], room, 20));
	errno = 0;
	long n = splice(ends[0], NULL, fd, offset, 100, flags);
	int error = errno;

	close(ends[0]);
	close(ends[1]);
	errno = error;
	return n;
}

static long by_stream(int fd, bool formatted)
{
	long n;

	if (formatted) /* one byte, as it would be from the array */
		return dprintf(fd, "%c", room[0] ? room[0] : 0);
	FILE *out = fdopen(dup(fd), "w");

	setvbuf(out, NULL, _IONBF, 0);
	errno = 0;
	n = (long)fwrite(room, 1, 10, out);
	int error = errno;

	fclose(out);
	errno = error;
	return n ? n : -1;
}

static unsigned sending(struct end *e, unsigned i)
{
	unsigned n = 0;

	two[0] = (struct iovec){room, 7};
	two[1] = (struct iovec){room + 7, 13};
	CELL(GIVES, send(e->fd, room, 10, 0));
	CELL(GIVES, send(e->fd, room, 0, 0));
	CELL(GIVES, send(e->fd, room, 10, MSG_DONTWAIT));
	CELL(GIVES, send(e->fd, room, 10, MSG_NOSIGNAL));
	CELL(GIVES, send(e->fd, room, 0, MSG_NOSIGNAL));
	CELL(GIVES, send(e->fd, room, 10, MSG_MORE));
	CELL(GIVES, send(e->fd, room, 10, MSG_EOR | MSG_CONFIRM | MSG_DONTROUTE));
	CELL(GIVES, send(e->fd, room, 10, MSG_ZEROCOPY));
	CELL(GIVES, send(e->fd, room, 10, 0x20000));
	CELL(TELLS, send(e->fd, room, 10, MSG_FASTOPEN));
	CELL(GIVES, send(e->fd, room, 10, MSG_PEEK | MSG_TRUNC | MSG_WAITALL));
	CELL(URGES, send(e->fd, room, 10, MSG_OOB));
	CELL(URGES, send(e->fd, room, 1, MSG_OOB | MSG_DONTWAIT));
	CELL(GIVES, to_address(e->fd, 0));
	CELL(GIVES, to_address(e->fd, MSG_NOSIGNAL | MSG_DONTWAIT));
	CELL(GIVES, by_message(e->fd, 2, 0));
	CELL(GIVES, by_message(e->fd, 0, 0));
	CELL(GIVES, by_message(e->fd, 2, MSG_NOSIGNAL | MSG_DONTWAIT));
	CELL(TELLS, by_message(e->fd, 1025, 0));
	CELL(GIVES, with_control(e->fd, SOL_SOCKET, SCM_RIGHTS));
	CELL(GIVES, with_control(e->fd, SOL_SOCKET, SCM_TIMESTAMP));
	CELL(GIVES, with_control(e->fd, SOL_SOCKET, SO_MARK));
	CELL(GIVES, with_control(e->fd, IPPROTO_TCP, 1));
	CELL(GIVES, several(e->fd, 0));
	CELL(GIVES, several(e->fd, MSG_DONTWAIT | MSG_NOSIGNAL));
	CELL(GIVES, write(e->fd, room, 10));
	CELL(GIVES, write(e->fd, room, 0));
	CELL(GIVES, writev(e->fd, two, 2));
	CELL(GIVES, writev(e->fd, two, 0));
	CELL(TELLS, writev(e->fd, two, none));
	CELL(TELLS, writev(e->fd, many, 1025));
	CELL(GIVES, pwritev2(e->fd, two, 2, -1, 0));
	CELL(GIVES, pwritev2(e->fd, two, 2, -1, RWF_NOWAIT));
	CELL(GIVES, pwritev2(e->fd, two, 2, -1, RWF_HIPRI));
	CELL(GIVES, pwritev2(e->fd, two, 2, -1, RWF_DSYNC | RWF_SYNC));
	CELL(GIVES, pwritev2(e->fd, two, 2, -1, RWF_APPEND));
	CELL(TELLS, pwritev2(e->fd, two, 2, -1, 0x40000000));
	CELL(TELLS, pwritev2(e->fd, two, 2, 0, 0));
	CELL(TELLS, pwritev(e->fd, two, 2, 0));
	CELL(TELLS, pwrite(e->fd, room, 10, 0));
	CELL(GIVES, from_file(e, FROM_FILE));
	CELL(GIVES, from_file(e, FROM_OFFSET));
	CELL(GIVES, from_file(e, FROM_PIPE));
	CELL(TELLS, from_file(e, FROM_DIRECTORY));
	CELL(TELLS, sendfile(e->fd, -1, NULL, 10));
	CELL(GIVES, from_pipe(e->fd, 0, false, NULL));
	CELL(GIVES, from_pipe(e->fd, SPLICE_F_NONBLOCK | SPLICE_F_MORE, false, NULL));
	CELL(GIVES, from_pipe(e->fd, SPLICE_F_NONBLOCK, true, NULL));
	CELL(TELLS, from_pipe(e->fd, 0, false, &(off64_t){0}));
	CELL(TELLS, splice(e->fd, NULL, e->fd, NULL, 10, SPLICE_F_NONBLOCK));
	CELL(TELLS, tee(e->fd, e->fd, 10, SPLICE_F_NONBLOCK));
	CELL(TELLS, vmsplice(e->fd, two, 2, SPLICE_F_NONBLOCK));
	CELL(GIVES, by_stream(e->fd, true));
	CELL(GIVES, by_stream(e->fd, false));
	CELL(GIVES, syscall(SYS_write, e->fd, room, 10));
	CELL(GIVES, syscall(SYS_sendto, e->fd, room, 10, MSG_DONTWAIT, NULL, 0));
	CELL(TELLS, ftruncate(e->fd, 0));
	CELL(TELLS, fallocate(e->fd, 0, 0, 10));
	CELL(TELLS, fsync(e->fd));
	CELL(TELLS, fdatasync(e->fd));
	return n;
}

#define X(name, needs) MATRIX_SCENARIO(name, needs)
STATES(X)
#undef X
