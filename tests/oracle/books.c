/* Beyond what the library keeps books of (docs/caveats.md): what there is no room for is the kernel's, and works. */
#define FAMILY "books"
#include "datagrams.h"
#include "sets.h"

#include <sys/resource.h>

static void many_descriptors(rlim_t count)
{
	struct rlimit limit;

	MUST(getrlimit(RLIMIT_NOFILE, &limit));
	if (limit.rlim_max < count + 200)
		limit.rlim_max = count + 200; /* for who may: else it gives up */
	limit.rlim_cur = limit.rlim_max;
	MUST(setrlimit(RLIMIT_NOFILE, &limit));
}

/* Sets that there is no room for in the library's books are as any. */
SCENARIO(more_sets, 0)
{
	enum { COUNT = 1100 };
	static int set[COUNT];

	many_descriptors(COUNT);
	for (int i = 0; i < COUNT; i++)
		set[i] = new_set();
	MUST(control(set[COUNT - 1], EPOLL_CTL_ADD, e->fd, EPOLLIN, 1));
	for (int i = 0; i < 3; i++) {
		later(20);
		peer_send(e, 10);
		look(set[COUNT - 1], 2000);
		peer_wait();
		RECV(e, recv(e->fd, room, 100, 0));
		look(set[COUNT - 1], 0);
	}
	for (int i = 0; i < COUNT; i++)
		close(set[i]);
	there_and_back(e, 10, 5);
}

/* More registrations than there is room for, the last of them of a stream that lives. */
SCENARIO(more_registrations, 0)
{
	enum { SETS = 260, SOCKETS = 256 };
	static int set[SETS];
	int last = new_set();

	many_descriptors(SETS + SOCKETS);
	for (int i = 0; i < SETS; i++)
		set[i] = new_set();
	for (int k = 0; k < SOCKETS; k++) {
		int fd = (int)MUST(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));

		for (int i = 0; i < SETS; i++)
			MUST(control(set[i], EPOLL_CTL_ADD, fd, EPOLLIN | EPOLLET, 1));
	}
	CALL(control(last, EPOLL_CTL_ADD, e->fd, EPOLLIN, 1));
	for (int i = 0; i < 3; i++) {
		later(20);
		peer_send(e, 10);
		look(last, 2000);
		peer_wait();
		RECV(e, recv(e->fd, room, 100, 0));
		look(last, 0);
	}
}

/* More sockets of datagrams. Of streams there is room for more than a process may have descriptors here: tests/unit/book.c. */
SCENARIO(more_datagram_sockets, UNOPENED | ITS_OWN | KERNEL)
{
	enum { COUNT = 4096 };

	many_descriptors(COUNT);
	for (int i = 0; i < COUNT; i++)
		MUST(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
	open_udp(e);
	exchange(e, 60);
	peer_gives(e, 100);
	await(e);
	TAKE(e, recv(e->fd, room, ROOM, 0));
}
