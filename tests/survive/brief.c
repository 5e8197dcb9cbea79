/*
 * brief CONNECTIONS ROUNDS ...: so many connections, one after the other, of so many messages to and fro, then so many of the next kind.
 * The server is a program of its own that forks for each, and whose children leave the closing to exit(), as PostgreSQL's do. After three
 * rounds there is a moment in which a stream may be moved. SERVER_PATIENCE: the server's setting, where it is not the client's.
 */
#include "survive.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define MESSAGE   64
#define BEFORE    3 /* rounds */
#define MOMENT_US 3000

static void answer(int fd)
{
	unsigned char bytes[MESSAGE];
	ssize_t n;

	while ((n = recv(fd, bytes, sizeof(bytes), 0)) > 0)
		if (!send_all(fd, bytes, (size_t)n))
			fail("server: send: %m");
	exit(n ? 1 : 0);
}

static void serve(int listener)
{
	signal(SIGCHLD, SIG_IGN);
	for (;;) {
		int fd = (int)MUST(accept4(listener, NULL, NULL, SOCK_CLOEXEC));

		if (!MUST(fork())) {
			close(listener);
			answer(fd);
		}
		close(fd);
	}
}

static void talk(uint16_t port, unsigned rounds)
{
	int fd = connect_there(port);
	unsigned char out[MESSAGE], in[MESSAGE];

	for (unsigned i = 0; i < rounds; i++) {
		content_fill(0, (uint64_t)i * MESSAGE, out, sizeof(out));
		if (!send_all(fd, out, sizeof(out)) || !recv_all(fd, in, sizeof(in)))
			fail("round %u: %m", i);
		if (memcmp(in, out, sizeof(in)))
			fail("round %u: wrong content", i);
		if (i + 1 == BEFORE)
			pause_us(MOMENT_US);
	}
	close(fd);
}

int main(int count, char **word)
{
	uint16_t port = 0;

	if (count == 3 && !strcmp(word[1], "serve"))
		serve(atoi(word[2]));
	if (count < 3 || count % 2 == 0)
		fail("brief CONNECTIONS ROUNDS ...");
	int listener = listen_here(&port);
	pid_t server = (pid_t)MUST(fork());

	if (!server) {
		char number[16];

		snprintf(number, sizeof(number), "%d", listener);
		fcntl(listener, F_SETFD, 0);
		if (getenv("SERVER_PATIENCE"))
			MUST(setenv("CAUSEWAY_PATIENCE", getenv("SERVER_PATIENCE"), 1));
		execl(own_path(), "brief", "serve", number, NULL);
		fail("exec: %m");
	}
	close(listener);
	for (int i = 1; i < count; i += 2)
		for (long n = atol(word[i]); n > 0; n--)
			talk(port, (unsigned)atoi(word[i + 1]));
	kill(server, SIGTERM);
	MUST(waitpid(server, NULL, 0));
	printf("done\n");
	return 0;
}
