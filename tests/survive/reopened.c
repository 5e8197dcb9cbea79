/* reopened TURNS: a datagram socket that has been used for some messages is closed, and its port bound again at once, so many times. */
#include "survive.h"

#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define MESSAGES 12

static int bound(struct sockaddr_in *at)
{
	socklen_t size = sizeof(*at);
	int fd = (int)MUST(socket(AF_INET, SOCK_DGRAM, 0));

	MUST(bind(fd, (struct sockaddr *)at, size));
	MUST(getsockname(fd, (struct sockaddr *)at, &size));
	return fd;
}

static void pass(int from, int to, const struct sockaddr_in *at)
{
	char byte = 'x';

	MUST(sendto(from, &byte, 1, 0, (const struct sockaddr *)at, sizeof(*at)));
	if (MUST(recv(to, &byte, 1, 0)) != 1)
		fail("an empty datagram");
}

int main(int count, char **word)
{
	struct sockaddr_in here = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)}, there = here;
	int own = bound(&here);

	for (int turn = count > 1 ? atoi(word[1]) : 1; turn > 0; turn--) {
		int other = bound(&there);

		for (int i = 0; i < MESSAGES; i++) {
			pass(own, other, &there);
			pass(other, own, &here);
		}
		close(other);
	}
	close(own);
	printf("done\n");
	return 0;
}
