/* Every call that moves bytes, and what it returns. */
#define FAMILY "transfer"
#include "oracle.h"
#include "peer.h"

#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>

static const size_t sizes[] = {1, 7, 100, 4096, 16384, 16385, 60000};
#define EACH_SIZE(n)                                                                                                                       \
	for (size_t i_ = 0, n = sizes[0]; i_ < sizeof(sizes) / sizeof(sizes[0]); n = sizes[++i_ % (sizeof(sizes) / sizeof(sizes[0]))])

SCENARIO(send_recv, 0)
{
	EACH_SIZE(n)
	{
		SEND(e, n, send(e->fd, room, n, 0));
		peer_recv_all(e, (long)n);
		peer_send_all(e, (long)n);
		arrive(e, (int)n);
		RECV(e, recv(e->fd, room, ROOM, 0));
	}
}

SCENARIO(read_write, 0)
{
	EACH_SIZE(n)
	{
		SEND(e, n, write(e->fd, room, n));
		peer_recv_all(e, (long)n);
		peer_send_all(e, (long)n);
		arrive(e, (int)n);
		RECV(e, read(e->fd, room, ROOM));
	}
}

SCENARIO(vectors, 0)
{
	EACH_SIZE(n)
	{
		struct iovec v[4] = {{room, n / 3}, {room, 0}, {room + n / 3, n / 2 - n / 3}, {room + n / 2, n - n / 2}};

		SEND(e, n, writev(e->fd, v, 4));
		peer_recv_all(e, (long)n);
		peer_send_all(e, (long)n);
		arrive(e, (int)n);
		RECV(e, readv(e->fd, v, 4));
	}
	struct iovec little[3] = {{room, 3}, {NULL, 0}, {room + 3, 4}};

	peer_send(e, 20);
	arrive(e, 20);
	RECV(e, readv(e->fd, little, 3));
	RECV(e, readv(e->fd, little, 2));
	RECV(e, recv(e->fd, room, 100, 0));
	CALL(readv(e->fd, little, 0));
	CALL(writev(e->fd, little, 0));
	/* Volatile, so that the compiler doesn't see what they are. */
	volatile int less = -1, over = IOV_MAX + 1;

	CALL(readv(e->fd, little, less));
	CALL(writev(e->fd, little, over));
	/* With nothing behind it: how far the kernel comes else depends on what happens to be there. */
	char *page = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct iovec huge[2] = {{page, SSIZE_MAX}, {page, 10}};

	MUST(mprotect(page + 4096, 4096, PROT_NONE));
	CALL(writev(e->fd, huge, 2));
	munmap(page, 8192);
}

SCENARIO(many_vectors, 0)
{
	static struct iovec v[IOV_MAX];

	for (size_t i = 0; i < IOV_MAX; i++)
		v[i] = (struct iovec){room + 3 * i, 3};
	SEND(e, 3 * IOV_MAX, writev(e->fd, v, IOV_MAX));
	peer_recv_all(e, 3 * IOV_MAX);
	peer_send_all(e, 3 * IOV_MAX);
	arrive(e, 3 * IOV_MAX);
	RECV(e, readv(e->fd, v, IOV_MAX));
}

static void print_message(const struct msghdr *m)
{
	say("  name length %u, control length %zu, flags %#x", (unsigned)m->msg_namelen, (size_t)m->msg_controllen, m->msg_flags);
}

SCENARIO(messages, 0)
{
	char control[64] = {0};
	struct sockaddr_storage name;

	EACH_SIZE(n)
	{
		struct iovec v[2] = {{room, n / 2}, {room + n / 2, n - n / 2}};
		struct msghdr m = {.msg_iov = v, .msg_iovlen = 2};

		SEND(e, n, sendmsg(e->fd, &m, 0));
		peer_recv_all(e, (long)n);
		peer_send_all(e, (long)n);
		arrive(e, (int)n);
		m = (struct msghdr){.msg_name = &name,
				    .msg_namelen = sizeof(name),
				    .msg_iov = v,
				    .msg_iovlen = 2,
				    .msg_control = control,
				    .msg_controllen = sizeof(control),
				    .msg_flags = 0x7f};
		RECV(e, recvmsg(e->fd, &m, 0));
		print_message(&m);
	}
}

/* A length without a name stays as it was. */
SCENARIO(messages_without_a_name, 0)
{
	char name;
	struct iovec v = {room, 10};
	struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_namelen = 77, .msg_controllen = 55, .msg_flags = 0x7f};

	for (int i = 0; i < 2; i++) {
		peer_send(e, 10);
		arrive(e, 10);
		RECV(e, recvmsg(e->fd, &m, 0));
		say("  %u %zu %x", (unsigned)m.msg_namelen, (size_t)m.msg_controllen, (unsigned)m.msg_flags);
		m.msg_name = &name;
		m.msg_namelen = 0;
	}
}

SCENARIO(message_controls, 0)
{
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(sizeof(int))];
	} control = {.header = {.cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = 77}};
	struct iovec v = {room, 50};
	struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};

	SEND(e, 50, sendmsg(e->fd, &m, 0));
	control.header.cmsg_level = SOL_TCP;
	SEND(e, 50, sendmsg(e->fd, &m, 0));
	peer_recv_all(e, 50);
	m.msg_control = NULL;
	m.msg_controllen = 0;
	m.msg_iovlen = IOV_MAX + 1;
	CALL(sendmsg(e->fd, &m, 0));
	CALL(recvmsg(e->fd, &m, MSG_DONTWAIT));
	m.msg_iovlen = 0;
	CALL(sendmsg(e->fd, &m, 0));
	peer_send(e, 5);
	arrive(e, 5);
	CALL(recvmsg(e->fd, &m, MSG_DONTWAIT));
	RECV(e, recv(e->fd, room, 100, MSG_DONTWAIT));
}

SCENARIO(to_and_from, 0)
{
	struct sockaddr_in other = {.sin_family = AF_INET, .sin_port = htons(9)};
	struct sockaddr_storage from;

	EACH_SIZE(n)
	{
		socklen_t length = sizeof(from);

		SEND(e, n, sendto(e->fd, room, n, 0, NULL, 0));
		peer_recv_all(e, (long)n);
		peer_send_all(e, (long)n);
		arrive(e, (int)n);
		RECV(e, recvfrom(e->fd, room, ROOM, 0, (struct sockaddr *)&from, &length));
		say("  length %u", (unsigned)length);
	}
	SEND(e, 10, sendto(e->fd, room, 10, 0, (struct sockaddr *)&other, sizeof(other)));
	peer_recv_all(e, 10);
	SEND(e, 10, sendto(e->fd, room, 10, 0, (struct sockaddr *)&other, 3));
	peer_recv_all(e, 10);
	CALL(sendto(e->fd, room, 10, 0, (struct sockaddr *)&other, 1000));
	peer_send(e, 10);
	arrive(e, 10);
	RECV(e, recvfrom(e->fd, room, ROOM, 0, NULL, NULL));
}

SCENARIO(many_messages, 0)
{
	struct iovec v[4] = {{room, 10}, {room + 10, 20}, {room + 30, 1}, {room + 31, 500}};
	struct mmsghdr m[4] = {0};

	for (int i = 0; i < 4; i++)
		m[i].msg_hdr = (struct msghdr){.msg_iov = &v[i], .msg_iovlen = 1};
	fill(e, room, 531);
	CALL(sendmmsg(e->fd, m, 4, 0));
	for (int i = 0; i < 4; i++) {
		say("  %u", m[i].msg_len);
		gave(e, m[i].msg_len);
	}
	peer_recv_all(e, 531);
	peer_send(e, 45);
	arrive(e, 45);
	CALL(recvmmsg(e->fd, m, 4, MSG_DONTWAIT, NULL));
	for (int i = 0; i < 3; i++)
		say("  %u", m[i].msg_len);
	took(e, room, 45);
	CALL(recvmmsg(e->fd, m, 4, MSG_DONTWAIT, NULL));
	peer_send(e, 15);
	arrive(e, 15);
	CALL(recvmmsg(e->fd, m, 4, MSG_WAITFORONE, NULL));
	took(e, room, 15);
	CALL(sendmmsg(e->fd, m, 0, 0));
}

SCENARIO(many_messages_without_room, 0)
{
	static struct iovec v[64];
	struct mmsghdr m[2] = {{.msg_hdr = {.msg_iov = v, .msg_iovlen = 64}}};

	for (int i = 0; i < 64; i++)
		v[i] = (struct iovec){room, ROOM};
	nonblocking(e->fd, true);
	CALL(sendmmsg(e->fd, m, 2, 0));
	say("  a part: %d", m[0].msg_len > 0 && m[0].msg_len < 64 * ROOM);
}

SCENARIO(more_messages_than_the_kernel_sends, 0)
{
	static struct mmsghdr m[1100];
	struct iovec v = {room, 1};

	for (int i = 0; i < 1100; i++)
		m[i].msg_hdr = (struct msghdr){.msg_iov = &v, .msg_iovlen = i < 100};
	fill(e, room, 1);
	say("%d", (int)MUST(sendmmsg(e->fd, m, 1100, 0)));
}

SCENARIO(vectors_at_no_offset, 0)
{
	struct iovec v[2] = {{room, 40}, {room + 40, 60}};

	SEND(e, 100, pwritev2(e->fd, v, 2, -1, 0));
	peer_recv_all(e, 100);
	peer_send(e, 100);
	arrive(e, 100);
	RECV(e, preadv2(e->fd, v, 2, -1, 0));
	CALL(preadv2(e->fd, v, 2, -1, RWF_NOWAIT));
	SEND(e, 100, pwritev2(e->fd, v, 2, -1, RWF_NOWAIT));
	peer_recv_all(e, 100);
	peer_send(e, 30);
	arrive(e, 30);
	RECV(e, preadv2(e->fd, v, 2, -1, RWF_NOWAIT));
	CALL(preadv2(e->fd, v, 2, 0, 0));
	CALL(pwritev2(e->fd, v, 2, 5, 0));
}

SCENARIO(not_a_file, 0)
{
	struct stat status;

	CALL(pread(e->fd, room, 10, 0));
	CALL(pwrite(e->fd, room, 10, 0));
	CALL(lseek(e->fd, 0, SEEK_CUR));
	CALL(ftruncate(e->fd, 0));
	CALL(fsync(e->fd));
	CALL(isatty(e->fd));
	CALL(fstat(e->fd, &status));
	say("  a socket: %d", S_ISSOCK(status.st_mode));
	CALL(connect(e->fd, (struct sockaddr *)&(struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(9)}, 16));
	CALL(listen(e->fd, 5));
	CALL(accept(e->fd, NULL, NULL));
	SEND(e, 5, write(e->fd, room, 5));
	peer_recv_all(e, 5);
}

SCENARIO(file_sent, 0)
{
	int file = file_of(300000);
	off_t at = 300000;

	CALL(sendfile(e->fd, file, NULL, 0));
	CALL(sendfile(e->fd, -1, NULL, 10));
	CALL(sendfile(e->fd, file, &at, 10));
	say("  at %ld", (long)at);
	CALL(lseek(file, 0, SEEK_CUR));
	CALL(sendfile(file, e->fd, NULL, 10));
	close(file);
}

/* Bytes of the file that stand where the stream is, so that the peer finds its content. */
static int file_at(const struct end *e, size_t count)
{
	int file = file_of(e->sent + count);

	lseek(file, (off_t)e->sent, SEEK_SET);
	return file;
}

SCENARIO(file_content, 0)
{
	EACH_SIZE(n)
	{
		int file = file_at(e, n);
		off_t at = (off_t)e->sent;
		long first = CALL(sendfile(e->fd, file, &at, n / 2));

		gave(e, first);
		lseek(file, at, SEEK_SET);
		gave(e, CALL(sendfile(e->fd, file, NULL, n)));
		peer_recv_all(e, (long)n);
		close(file);
	}
}

SCENARIO(file_of_nothing, 0)
{
	off_t at = -1;
	int ends[2], file = file_at(e, 100);

	MUST(pipe(ends));
	CALL(sendfile(e->fd, -1, NULL, 0));
	CALL(sendfile(e->fd, e->fd, NULL, 0));
	CALL(sendfile(e->fd, ends[0], NULL, 0));
	CALL(sendfile(e->fd, ends[1], NULL, 0));
	CALL(sendfile(e->fd, file, NULL, 0));
	CALL(sendfile(e->fd, file, &at, 0));
	close(ends[0]);
	close(ends[1]);
	close(file);
}

SCENARIO(file_large, 0)
{
	size_t n = 4u << 20;
	int file = file_at(e, n);

	later(1);
	peer_recv_all(e, (long)n);
	for (size_t left = n; left;) {
		ssize_t sent = sendfile(e->fd, file, NULL, left);

		if (sent <= 0) {
			say("sendfile: %zu left: %s", left, RESULT(sent));
			break;
		}
		gave(e, sent);
		left -= (size_t)sent;
	}
	peer_wait();
	close(file);
	SEND(e, 100, send(e->fd, room, 100, 0));
	peer_recv_all(e, 100);
}

SCENARIO(spliced, 0)
{
	int pipes[2];

	MUST(pipe(pipes));
	peer_send(e, 10);
	arrive(e, 10);
	CALL(splice(e->fd, NULL, pipes[1], NULL, 1000, 0x100));
	RECV(e, recv(e->fd, room, 1000, 0));
	fill(e, room, 1000);
	MUST(write(pipes[1], room, 1000));
	gave(e, CALL(splice(pipes[0], NULL, e->fd, NULL, 1000, 0)));
	peer_recv_all(e, 1000);
	peer_send(e, 1000);
	arrive(e, 1000);
	CALL(splice(e->fd, NULL, pipes[1], NULL, 1000, 0));
	CALL(read(pipes[0], room, ROOM));
	took(e, room, 1000);
	nonblocking(e->fd, true);
	CALL(splice(e->fd, NULL, pipes[1], NULL, 1000, SPLICE_F_NONBLOCK));
	peer_send(e, 10);
	arrive(e, 10);
	RECV(e, recv(e->fd, room, 100, 0));
	SEND(e, 10, send(e->fd, room, 10, 0));
	peer_recv_all(e, 10);
}

SCENARIO(file_into_a_pipe, 0)
{
	int pipes[2];

	MUST(pipe(pipes));
	nonblocking(pipes[0], true);
	peer_send(e, 1000);
	arrive(e, 1000);
	CALL(sendfile(pipes[1], e->fd, NULL, 600));
	took(e, room, CALL(read(pipes[0], room, ROOM)));
	CALL(sendfile(pipes[1], e->fd, &(off_t){0}, 600));
	nonblocking(pipes[1], true);
	CALL(sendfile(pipes[1], e->fd, NULL, 1000));
	took(e, room, CALL(read(pipes[0], room, ROOM)));
	later(40);
	peer_send(e, 100);
	nonblocking(pipes[1], false);
	CALL(sendfile(pipes[1], e->fd, NULL, 1000));
	peer_wait();
	took(e, room, CALL(read(pipes[0], room, ROOM)));
	CALL(sendfile(pipes[1], e->fd, NULL, 0));
	SEND(e, 10, send(e->fd, room, 10, 0));
	peer_recv_all(e, 10);
	close(pipes[0]);
	close(pipes[1]);
}

SCENARIO(little_reads, 0)
{
	static const size_t steps[] = {1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 1000};

	peer_send(e, 1111);
	arrive(e, 1111);
	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++)
		RECV(e, read(e->fd, room, steps[i]));
	CALL(recv(e->fd, room, 1, MSG_DONTWAIT));
}

SCENARIO(little_writes, 0)
{
	for (size_t n = 1; n < 60; n++) {
		fill(e, room, n);
		gave(e, send(e->fd, room, n, 0));
	}
	peer_recv_all(e, 59 * 60 / 2);
	for (int i = 0; i < 20; i++) {
		quietly();
		peer_send(e, 10);
	}
	arrive(e, 200);
	RECV(e, recv(e->fd, room, ROOM, 0));
}

SCENARIO(both_ways_at_once, 0)
{
	later(1);
	peer_send_all(e, 200000);
	give(e, 150000);
	take(e, 200000);
	peer_wait();
	peer_recv_all(e, 150000);
}

SCENARIO(long_stream_out, 0)
{
	later(1);
	peer_recv_all(e, 16 << 20);
	give(e, 16 << 20);
	peer_wait();
}

SCENARIO(long_stream_in, 0)
{
	later(1);
	peer_send_all(e, 16 << 20);
	take(e, 16 << 20);
	peer_wait();
}

/* Sizes around those of rings and pages, bursts longer than any ring before anything is read. */
SCENARIO(unread_bursts, 0)
{
	static const int burst[] = {16383, 16384, 16385, 32768, 65535, 65536, 65537, 131072, 200000};

	for (size_t i = 0; i < sizeof(burst) / sizeof(burst[0]); i++) {
		peer_send_all(e, burst[i]);
		take(e, (size_t)burst[i]);
		give(e, (size_t)burst[i]);
		peer_recv_all(e, burst[i]);
	}
}

SCENARIO(lengths_of_zero, 0)
{
	CALL(send(e->fd, room, 0, 0));
	CALL(write(e->fd, room, 0));
	CALL(read(e->fd, room, 0));
	CALL(recv(e->fd, room, 0, MSG_DONTWAIT));
	CALL(send(e->fd, NULL, 0, 0));
	peer_send(e, 10);
	arrive(e, 10);
	CALL(recv(e->fd, room, 0, 0));
	CALL(recv(e->fd, room, 0, MSG_PEEK));
	CALL(read(e->fd, room, 0));
	CALL(recv(e->fd, NULL, 0, 0));
	RECV(e, recv(e->fd, room, 100, 0));
	peer_shutdown(e, SHUT_WR);
	rest();
	CALL(recv(e->fd, room, 0, 0));
	CALL(read(e->fd, room, 0));
	CALL(recv(e->fd, room, 10, 0));
}

/* Volatile, so that the compiler doesn't see what they are. */
static volatile size_t most = SIZE_MAX, less_than_most = SIZE_MAX / 2;

SCENARIO(lengths_beyond_all, 0)
{
	size_t lengths[] = {most, less_than_most};

	for (int i = 0; i < 2; i++) {
		peer_send(e, 10);
		arrive(e, 10);
		if (sizeof(long) == 8)
			CALL(read(e->fd, room, lengths[i]));
		RECV(e, recv(e->fd, room, lengths[i], 0));
		peer_send(e, 10);
		arrive(e, 10);
		RECV(e, recvfrom(e->fd, room, lengths[i], MSG_DONTWAIT, NULL, NULL));
		CALL(recv(e->fd, room, lengths[i], MSG_DONTWAIT));
		if (sizeof(long) == 8) /* else it may be memory */
			CALL(write(e->fd, room, lengths[i]));
	}
	int file = file_at(e, 1000);

	if (sizeof(long) == 8)
		CALL(sendfile(e->fd, file, NULL, most));
	gave(e, CALL(sendfile(e->fd, file, NULL, 1 << 30)));
	peer_recv_all(e, 1000);
	close(file);
}

/* Some way into the time that 64 bits of nanoseconds hold, and beyond. */
SCENARIO(many_messages_for_ever, 0)
{
	static const long seconds[] = {1000000000, LONG_MAX / 1000000000 + 1, LONG_MAX};
	struct iovec v[2] = {{room, 10}, {room + 10, 10}};
	struct mmsghdr m[2] = {{.msg_hdr = {.msg_iov = &v[0], .msg_iovlen = 1}}, {.msg_hdr = {.msg_iov = &v[1], .msg_iovlen = 1}}};

	for (size_t i = 0; i < sizeof(seconds) / sizeof(seconds[0]); i++) {
		struct timespec limit = {seconds[i], 0};

		peer_send(e, 20);
		arrive(e, 20);
		say("%d", recvmmsg(e->fd, m, 2, MSG_DONTWAIT, &limit));
		took(e, room, 20);
		say("time left: %d", limit.tv_sec > 900000000);
	}
}

SCENARIO(many_messages_with_time_left, 0)
{
	struct iovec v[2] = {{room, 10}, {room + 10, 10}};
	struct mmsghdr m[2] = {{.msg_hdr = {.msg_iov = &v[0], .msg_iovlen = 1}}, {.msg_hdr = {.msg_iov = &v[1], .msg_iovlen = 1}}};
	struct timespec limit = {50, 0};

	peer_send(e, 20);
	arrive(e, 20);
	say("%d", recvmmsg(e->fd, m, 2, 0, &limit));
	took(e, room, 20);
	say("time left: %d", limit.tv_sec > 0 && limit.tv_sec < 50);
}

/* Proxies: socket to pipe to socket. */
SCENARIO(spliced_through, 0)
{
	struct end other;
	int pipes[2];

	open_end(&other, AF_INET, false);
	MUST(pipe(pipes));
	peer_send_all(e, 30000);
	arrive(e, 30000);
	for (long left = 30000; left > 0;) {
		ssize_t n = splice(e->fd, NULL, pipes[1], NULL, (size_t)left, SPLICE_F_MOVE);

		if (n <= 0) {
			say("splice in: %s", RESULT(n));
			break;
		}
		for (ssize_t m = n; m > 0;) {
			ssize_t out = splice(pipes[0], NULL, other.fd, NULL, (size_t)m, SPLICE_F_MOVE | SPLICE_F_MORE);

			if (out <= 0) {
				say("splice out: %s", RESULT(out));
				return;
			}
			m -= out;
		}
		left -= n;
	}
	e->taken += 30000;
	/* The other peer descriptor has the content of the first one's sender. */
	struct peer_answer answer = peer_ask((struct peer_order){.does = PEER_MIRROR, .number = other.number, .count = 30000});

	say("  %ld", answer.result);
	ssize_t got = 0;

	while (got < 30000) {
		ssize_t n = recv(other.fd, room + got, 30000 - (size_t)got, 0);

		if (n <= 0)
			break;
		got += n;
	}
	say("good %zu", content_good(1, e->taken - 30000, room, (size_t)got));
}

static long writev_parts(struct end *e, size_t count)
{
	struct iovec v[3] = {{room, count / 3}, {room + count / 3, count / 3}, {room + count / 3 * 2, count - count / 3 * 2}};

	fill(e, room, count);
	return writev(e->fd, v, 3);
}

/* Not blocking, each call takes what it takes; no byte may be lost or doubled. */
SCENARIO(parts_of_writes, 0)
{
	nonblocking(e->fd, true);
	for (int way = 0; way < 2; way++) {
		size_t left = 6u << 20;
		int file = file_at(e, left);

		later(20);
		peer_recv_all(e, 6 << 20);
		while (left) {
			size_t part = left < 100000 ? left : 100000;
			ssize_t n = way ? sendfile(e->fd, file, NULL, part) : writev_parts(e, part);

			if (n > 0) {
				gave(e, n);
				left -= (size_t)n;
			} else if (n == 0 || errno != EAGAIN || poll(&(struct pollfd){e->fd, POLLOUT, 0}, 1, 5000) != 1) {
				say("%zu left: %s", left, RESULT(n));
				break;
			}
		}
		peer_wait();
		close(file);
	}
}
