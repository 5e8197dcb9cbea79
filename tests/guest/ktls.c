/*
 * ktls SCENARIO: kernel TLS on a stream that has been in use for a while, between this program and a copy of itself (ktls SCENARIO PORT).
 * Prints what it sees of the calls; what it prints must be the same without and with Causeway.
 */
#include <errno.h>
#include <linux/tls.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifndef SOL_TLS
#define SOL_TLS 282
#endif
#ifndef TCP_ULP
#define TCP_ULP 31
#endif

#define ROOM     100000
#define MESSAGES 60

static unsigned char room[ROOM];
static bool first; /* of the two ends; the other is silent if all is well */

static void line(const char *what, long result)
{
	int error = errno;

	if (first)
		printf("%s -> %ld%s%s\n", what, result, result < 0 ? " " : "", result < 0 ? strerrorname_np(error) : "");
}

#define CALL(expression)                                                                                                                   \
	({                                                                                                                                 \
		long result_ = (long)(expression);                                                                                         \
		line(#expression, result_);                                                                                                \
		result_;                                                                                                                   \
	})

static void must(bool good, const char *what)
{
	if (good)
		return;
	printf("%s: %s: %s\n", first ? "here" : "there", what, strerrorname_np(errno));
	exit(1);
}

static unsigned char content(size_t at)
{
	return (unsigned char)(at * 7 + at / 251);
}

static void send_whole(int fd, const void *bytes, size_t count)
{
	for (size_t done = 0; done < count;) {
		ssize_t n = send(fd, (const char *)bytes + done, count - done, MSG_NOSIGNAL);

		must(n > 0, "send");
		done += (size_t)n;
	}
}

static void recv_whole(int fd, void *bytes, size_t count)
{
	for (size_t done = 0; done < count;) {
		ssize_t n = recv(fd, (char *)bytes + done, count - done, 0);

		must(n > 0, "recv");
		done += (size_t)n;
	}
}

static void send_content(int fd, size_t count)
{
	for (size_t i = 0; i < count; i++)
		room[i] = content(i);
	send_whole(fd, room, count);
}

static void recv_content(int fd, size_t count)
{
	size_t good = 0;

	memset(room, 0, count);
	recv_whole(fd, room, count);
	for (size_t i = 0; i < count; i++)
		good += room[i] == content(i);
	line("content that came", (long)good);
}

static void ping_pong(int fd, int messages, size_t size)
{
	for (int i = 0; i < messages; i++) {
		if (first)
			send_content(fd, size);
		else
			recv_whole(fd, room, size);
		if (first)
			recv_whole(fd, room, size);
		else
			send_content(fd, size);
		if (i % 4 == 0)
			usleep(1000);
	}
}

/* The other end's word that it has come so far. */
static void meet(int fd)
{
	ping_pong(fd, 1, 1);
}

static struct tls12_crypto_info_aes_gcm_128 keys(bool of_first)
{
	struct tls12_crypto_info_aes_gcm_128 info = {.info = {TLS_1_2_VERSION, TLS_CIPHER_AES_GCM_128}};

	memset(info.key, of_first ? 1 : 2, sizeof(info.key));
	memset(info.iv, of_first ? 3 : 4, sizeof(info.iv));
	memset(info.salt, of_first ? 5 : 6, sizeof(info.salt));
	return info;
}

static void set_layer(int fd)
{
	CALL(setsockopt(fd, SOL_TCP, TCP_ULP, "tls", sizeof("tls")));
}

static void set_sending(int fd)
{
	struct tls12_crypto_info_aes_gcm_128 info = keys(first);

	CALL(setsockopt(fd, SOL_TLS, TLS_TX, &info, sizeof(info)));
}

static void set_receiving(int fd)
{
	struct tls12_crypto_info_aes_gcm_128 info = keys(!first);

	CALL(setsockopt(fd, SOL_TLS, TLS_RX, &info, sizeof(info)));
}

static void send_file(int fd, size_t count)
{
	int file = memfd_create("file", MFD_CLOEXEC);

	for (size_t i = 0; i < count; i++)
		room[i] = content(i);
	must(write(file, room, count) == (ssize_t)count && lseek(file, 0, SEEK_SET) == 0, "file");
	for (size_t done = 0; done < count;) {
		ssize_t n = sendfile(fd, file, NULL, count - done);

		must(n > 0, "sendfile");
		done += (size_t)n;
	}
	close(file);
}

/* After a handshake, as it were: all that was sent is read. */
static void both_ways(int fd)
{
	meet(fd);
	set_layer(fd);
	set_sending(fd);
	set_receiving(fd);
	ping_pong(fd, 20, 100);
	if (first) {
		send_content(fd, 50000);
		recv_content(fd, 50000);
		send_file(fd, 40000);
		CALL(shutdown(fd, SHUT_WR));
		CALL(recv(fd, room, 10, 0));
	} else {
		recv_content(fd, 50000);
		send_content(fd, 50000);
		recv_content(fd, 40000);
		must(recv(fd, room, 10, 0) == 0, "end");
	}
}

/* A record of another kind says so beside its bytes. */
static void other_records(int fd)
{
	unsigned char kind = 21;
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(1)];
	} control = {.header = {.cmsg_len = CMSG_LEN(1), .cmsg_level = SOL_TLS, .cmsg_type = TLS_SET_RECORD_TYPE}};
	struct iovec bytes = {room, 2};
	struct msghdr message = {.msg_iov = &bytes, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};

	meet(fd);
	set_layer(fd);
	if (first) {
		set_receiving(fd);
		bytes.iov_len = 100;
		CALL(recvmsg(fd, &message, 0));
		if (message.msg_controllen >= CMSG_LEN(1))
			line("kind", *CMSG_DATA(&control.header));
		CALL(recv(fd, room, 10, 0));
	} else {
		set_sending(fd);
		*CMSG_DATA(&control.header) = kind;
		must(sendmsg(fd, &message, 0) == 2, "sendmsg");
		send_content(fd, 7);
		recv(fd, room, 1, 0); /* a layer can be set while both are there only */
	}
}

static int connect_to(uint16_t port)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = port, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	must(connect(fd, (struct sockaddr *)&to, sizeof(to)) == 0, "connect");
	setsockopt(fd, SOL_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
	return fd;
}

static int listen_at(uint16_t *port)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t length = sizeof(at);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	must(bind(fd, (struct sockaddr *)&at, length) == 0 && listen(fd, 2) == 0, "listen");
	must(getsockname(fd, (struct sockaddr *)&at, &length) == 0, "name");
	*port = at.sin_port;
	return fd;
}

/* What a library that encrypts by itself would have made of the content: taken from a connection whose kernel did it. */
static size_t sealed_content(unsigned char *to, size_t count)
{
	uint16_t port;
	int listener = listen_at(&port), writer = connect_to(port), reader = accept(listener, NULL, NULL);
	struct tls12_crypto_info_aes_gcm_128 info = keys(false);
	size_t done = 0;
	ssize_t n;

	must(setsockopt(writer, SOL_TCP, TCP_ULP, "tls", 4) == 0 && setsockopt(writer, SOL_TLS, TLS_TX, &info, sizeof(info)) == 0, "seal");
	send_content(writer, count);
	close(writer);
	while ((n = recv(reader, to + done, ROOM - done, 0)) > 0)
		done += (size_t)n;
	close(reader);
	close(listener);
	return done;
}

/* The other end has no kernel TLS: its records come as any bytes do, and some are unread when the layer is set. */
static void records_unread(int fd)
{
	static unsigned char sealed[ROOM];
	struct pollfd p = {fd, POLLIN, 0};

	if (first) {
		meet(fd);
		must(poll(&p, 1, 10000) == 1, "poll");
		usleep(200000);
		set_layer(fd);
		set_receiving(fd);
		recv_content(fd, 6000);
	} else {
		size_t count = sealed_content(sealed, 6000);

		meet(fd);
		for (size_t done = 0; done < count; done += count - done < 1000 ? count - done : 1000)
			send_whole(fd, sealed + done, count - done < 1000 ? count - done : 1000);
		/* Alive, but not in a call: what is unread must come without its help. */
		usleep(1500000);
		recv(fd, room, 1, 0);
	}
}

static const struct {
	const char *name;
	void (*run)(int fd);
} scenarios[] = {{"both_ways", both_ways}, {"other_records", other_records}, {"records_unread", records_unread}};

int main(int count, char **words)
{
	size_t which = 0;
	uint16_t port;
	int listener, fd, status = 0;
	char number[16];
	pid_t child;

	while (which < 3 && (count < 2 || strcmp(words[1], scenarios[which].name) != 0))
		which++;
	if (which == 3)
		return 64;
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (count == 3) {
		fd = connect_to((uint16_t)atoi(words[2]));
		ping_pong(fd, MESSAGES, 8);
		scenarios[which].run(fd);
		return 0;
	}
	first = true;
	listener = listen_at(&port);
	snprintf(number, sizeof(number), "%u", port);
	child = fork();
	if (!child) {
		execl("/proc/self/exe", "ktls", words[1], number, NULL);
		_exit(127);
	}
	fd = accept(listener, NULL, NULL);
	setsockopt(fd, SOL_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
	ping_pong(fd, MESSAGES, 8);
	scenarios[which].run(fd);
	close(fd);
	waitpid(child, &status, 0);
	printf("the other end: %d\n", status);
	return 0;
}
