/* Every call that receives, in every state. */
#define FAMILY          "receiving"
#define MATRIX_CELLS    receiving
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

static long by_message(int fd, int flags)
{
	struct sockaddr_storage from;
	char control[64];
	struct msghdr m = {.msg_name = &from,
			   .msg_namelen = sizeof(from),
			   .msg_iov = two,
			   .msg_iovlen = 2,
			   .msg_control = control,
			   .msg_controllen = 64};
	long n = recvmsg(fd, &m, flags);
	int error = errno;

	if (n >= 0)
		say("  name %u, control %zu, flags %#x", (unsigned)m.msg_namelen, (size_t)m.msg_controllen, (unsigned)m.msg_flags);
	errno = error;
	return n;
}

static long with_address(int fd)
{
	struct sockaddr_storage from;
	socklen_t length = sizeof(from);
	long n = recvfrom(fd, room, 10, 0, (struct sockaddr *)&from, &length);
	int error = errno;

	if (n >= 0)
		say("  length %u", (unsigned)length);
	errno = error;
	return n;
}

/* Two messages of 10 bytes; the result is their bytes, or -1. */
static long several(int fd, int flags, struct timespec *limit)
{
	struct iovec v[2] = {{room, 10}, {room + 10, 10}};
	struct mmsghdr m[2] = {{.msg_hdr = {.msg_iov = v, .msg_iovlen = 1}}, {.msg_hdr = {.msg_iov = v + 1, .msg_iovlen = 1}}};
	int n = recvmmsg(fd, m, 2, flags, limit), error = errno;

	if (n >= 0)
		say("  messages %d: %u %u", n, m[0].msg_len, m[1].msg_len);
	errno = error;
	return n < 0 ? n : (long)(m[0].msg_len + m[1].msg_len);
}

static long into_pipe(int fd, unsigned flags, off64_t *offset)
{
	int ends[2];

	MUST(pipe(ends));
	long n = splice(fd, offset, ends[1], NULL, 100, flags);
	int error = errno;

	if (n > 0 && read(ends[0], room, ROOM) != n)
		complain("not in the pipe");
	close(ends[0]);
	close(ends[1]);
	errno = error;
	return n;
}

static long into_file(int fd, bool send)
{
	int file = memfd_create("oracle", 0);
	long n = send ? sendfile(file, fd, NULL, 10) : copy_file_range(fd, NULL, file, NULL, 10, 0);
	int error = errno;

	close(file);
	errno = error;
	return n;
}

static long by_tee(int fd)
{
	int ends[2];

	MUST(pipe(ends));
	long n = tee(fd, ends[1], 10, 0);
	int error = errno;

	close(ends[0]);
	close(ends[1]);
	errno = error;
	return n;
}

/* One character, by a stream of its own that reads no more than that. */
static long by_stream(int fd)
{
	FILE *in = fdopen(dup(fd), "r");

	setvbuf(in, NULL, _IONBF, 0);
	errno = 0;
	int c = getc(in), error = errno;

	room[0] = (unsigned char)c;
	fclose(in);
	errno = error;
	return c >= 0 ? 1 : error ? -1 : 0;
}

/* As for TCP_ZEROCOPY_RECEIVE; a mapping holds the socket open. */
static long mapped(int fd)
{
	void *pages = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);

	return pages == MAP_FAILED ? -1 : munmap(pages, 4096);
}

static unsigned receiving(struct end *e, unsigned i)
{
	struct timespec limit = {5, 0}, bad = {0, -1};
	unsigned n = 0;

	two[0] = (struct iovec){room, 7};
	two[1] = (struct iovec){room + 7, 13};
	CELL(TAKES, recv(e->fd, room, 10, 0));
	CELL(TAKES, recv(e->fd, room, 0, 0));
	CELL(TAKES, recv(e->fd, room, 10, MSG_DONTWAIT));
	CELL(SEES, recv(e->fd, room, 10, MSG_PEEK));
	CELL(SEES, recv(e->fd, room, 100, MSG_PEEK | MSG_DONTWAIT));
	CELL(SEES, recv(e->fd, room, 100, MSG_PEEK | MSG_WAITALL));
	CELL(TAKES, recv(e->fd, room, 10, MSG_WAITALL));
	CELL(TAKES, recv(e->fd, room, 100, MSG_WAITALL));
	CELL(DROPS, recv(e->fd, NULL, 10, MSG_TRUNC));
	CELL(TELLS, recv(e->fd, room, 10, MSG_OOB));
	CELL(TELLS, recv(e->fd, room, 10, MSG_OOB | MSG_PEEK));
	CELL(TELLS, recv(e->fd, room, 10, MSG_OOB | MSG_DONTWAIT));
	CELL(TELLS, recv(e->fd, room, 10, MSG_ERRQUEUE));
	CELL(TAKES, recv(e->fd, room, 10, 0x10000000));
	CELL(TAKES, with_address(e->fd));
	CELL(TAKES, by_message(e->fd, 0));
	CELL(TAKES, by_message(e->fd, MSG_DONTWAIT | MSG_CMSG_CLOEXEC));
	CELL(SEES, by_message(e->fd, MSG_PEEK));
	CELL(TELLS, by_message(e->fd, MSG_ERRQUEUE));
	CELL(TAKES, several(e->fd, 0, NULL));
	CELL(TAKES, several(e->fd, MSG_DONTWAIT, NULL));
	CELL(TAKES, several(e->fd, MSG_WAITFORONE, NULL));
	CELL(TAKES, several(e->fd, 0, &limit));
	CELL(TAKES, several(e->fd, MSG_DONTWAIT, &limit));
	CELL(TELLS, several(e->fd, 0, &bad));
	CELL(TAKES, read(e->fd, room, 10));
	CELL(TAKES, read(e->fd, room, 0));
	CELL(TAKES, readv(e->fd, two, 2));
	CELL(TAKES, readv(e->fd, two, 0));
	CELL(TELLS, readv(e->fd, two, none));
	CELL(TELLS, readv(e->fd, many, 1025));
	CELL(TAKES, preadv2(e->fd, two, 2, -1, 0));
	CELL(TAKES, preadv2(e->fd, two, 2, -1, RWF_NOWAIT));
	CELL(TAKES, preadv2(e->fd, two, 2, -1, RWF_HIPRI));
	CELL(TAKES, preadv2(e->fd, two, 2, -1, RWF_DSYNC));
	CELL(TELLS, preadv2(e->fd, two, 2, -1, 0x40000000));
	CELL(TELLS, preadv2(e->fd, two, 2, 0, 0));
	CELL(TELLS, preadv(e->fd, two, 2, 0));
	CELL(TELLS, pread(e->fd, room, 10, 0));
	CELL(TAKES, into_pipe(e->fd, 0, NULL));
	CELL(TAKES, into_pipe(e->fd, SPLICE_F_NONBLOCK, NULL));
	CELL(TAKES, into_pipe(e->fd, SPLICE_F_MOVE | SPLICE_F_MORE, NULL));
	CELL(TELLS, into_pipe(e->fd, 0, &(off64_t){0}));
	CELL(TELLS, into_file(e->fd, true));
	CELL(TELLS, into_file(e->fd, false));
	CELL(TELLS, by_tee(e->fd));
	CELL(TELLS, vmsplice(e->fd, two, 2, 0));
	CELL(TAKES, by_stream(e->fd));
	CELL(TAKES, syscall(SYS_read, e->fd, room, 10));
	CELL(TAKES, syscall(SYS_recvfrom, e->fd, room, 10, MSG_DONTWAIT, NULL, NULL));
	CELL(TELLS, lseek(e->fd, 0, SEEK_CUR));
	CELL(TELLS, mapped(e->fd));
	CELL(TELLS, (int)readahead(e->fd, 0, 10));
	return n;
}

#define X(name, needs) MATRIX_SCENARIO(name, needs)
STATES(X)
#undef X
