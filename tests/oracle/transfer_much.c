/* More by one call than a call moves. */
#define FAMILY "transfer"
#include "oracle.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sys/mman.h>

#define PIECE  (8u << 20)
#define PIECES 260

static int ends[2];
static long moved;

static void join_ends(void)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t length = sizeof(at);
	int listener = (int)MUST(socket(AF_INET, SOCK_STREAM, 0));

	MUST(bind(listener, (struct sockaddr *)&at, sizeof(at)));
	MUST(listen(listener, 5));
	MUST(getsockname(listener, (struct sockaddr *)&at, &length));
	ends[0] = (int)MUST(socket(AF_INET, SOCK_STREAM, 0));
	MUST(connect(ends[0], (struct sockaddr *)&at, sizeof(at)));
	ends[1] = (int)MUST(accept(listener, NULL, NULL));
	close(listener);
	for (int i = 0; i < 60 && manner.warm; i++) {
		MUST(send(ends[i % 2], room, 10, 0));
		MUST(recv(ends[1 - i % 2], room, 10, MSG_WAITALL));
		if (i % 4 == 0)
			usleep(1000);
	}
}

static void *drop_all(void *unused)
{
	ssize_t n;

	while ((n = recv(ends[1], NULL, 1 << 20, MSG_TRUNC)) > 0)
		moved += n;
	return unused;
}

/* It ends where the kernel's would, though there is room for more. */
SCENARIO(more_than_a_call_moves, UNOPENED | ITS_OWN)
{
	static struct iovec v[PIECES];
	pthread_t thread;
	void *memory;
	long sent;

	join_ends();
	if (sizeof(long) < 8)
		return; /* which is no such vector */
	memory = mmap(NULL, PIECE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	for (int i = 0; i < PIECES; i++)
		v[i] = (struct iovec){memory, PIECE};
	MUST(-pthread_create(&thread, NULL, drop_all, NULL));
	sent = writev(ends[0], v, PIECES);
	say("sent %ld", sent);
	CALL(shutdown(ends[0], SHUT_WR));
	MUST(-pthread_join(thread, NULL));
	say("all came: %d", moved == sent);
}
