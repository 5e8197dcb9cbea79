/*
 * heir FD SENT TAKEN STEP...: a program that inherits a stream and goes on with it. Built twice, dynamic and static (which no library can
 * follow). Steps: rN receive N bytes, sN send N bytes, e expect the end, w wait for the end of a pipe at descriptor 9, n say what is
 * unread, d whether TCP_NODELAY is set.
 */
#include "oracle.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/ioctl.h>

static unsigned char bytes[ROOM];

static void receive(struct end *e, size_t count)
{
	size_t done = 0;
	ssize_t n = 1;

	while (done < count && (n = recv(e->fd, bytes, count - done < ROOM ? count - done : ROOM, 0)) > 0) {
		took(e, bytes, n);
		done += (size_t)n;
	}
	say("heir receives %zu%s%s", done, n < 0 ? ", then " : "", n < 0 ? strerrorname_np(errno) : "");
}

static void transmit(struct end *e, size_t count)
{
	fill(e, bytes, count);
	ssize_t n = send(e->fd, bytes, count, MSG_NOSIGNAL);

	gave(e, n);
	say("heir sends %s", RESULT(n));
}

static void step(struct end *e, const char *word)
{
	size_t count = strtoul(word + 1, NULL, 10);
	int unread = -1, nodelay = -1;
	socklen_t size = sizeof(nodelay);

	switch (word[0]) {
	case 'r':
		receive(e, count);
		break;
	case 's':
		transmit(e, count);
		break;
	case 'e':
		say("heir finds the end: %s", RESULT(recv(e->fd, bytes, 1, 0)));
		break;
	case 'w':
		while (read(9, bytes, 1) > 0)
			;
		break;
	case 'd':
		getsockopt(e->fd, IPPROTO_TCP, TCP_NODELAY, &nodelay, &size);
		say("heir has TCP_NODELAY %d", nodelay);
		break;
	case 'n':
		ioctl(e->fd, FIONREAD, &unread);
		say("heir sees %d unread", unread);
		break;
	}
}

int main(int count, char **words)
{
	if (count < 4)
		return 64;
	struct end e = {.fd = atoi(words[1]), .sent = strtoul(words[2], NULL, 10), .taken = strtoul(words[3], NULL, 10)};

	for (int i = 4; i < count; i++)
		step(&e, words[i]);
	return 0;
}
