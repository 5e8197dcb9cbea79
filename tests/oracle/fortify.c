/* The calls as they are when a program was compiled with _FORTIFY_SOURCE: __read_chk and its kin. */
#define FAMILY "fortified"
#include "oracle.h"
#include "peer.h"

#include <poll.h>

static volatile size_t unknown;

SCENARIO(transfers, 0)
{
	static unsigned char bytes[5000];

	for (size_t n = 100; n < 5000; n += 700) {
		unknown = n;
		peer_send(e, (long)n);
		arrive(e, (int)n);
		took(e, bytes, CALL(read(e->fd, bytes, unknown / 2)));
		took(e, bytes, CALL(recv(e->fd, bytes, unknown / 4, 0)));
		took(e, bytes, CALL(recvfrom(e->fd, bytes, unknown, 0, NULL, NULL)));
		CALL(recv(e->fd, bytes, unknown, MSG_DONTWAIT));
	}
	struct pollfd p[2] = {{e->fd, POLLIN, 0}, {-1, 0, 0}};
	struct timespec t = {0, 1000000};

	unknown = 2;
	CALL(poll(p, unknown, 1));
	CALL(ppoll(p, unknown, &t, NULL));
	later(30);
	peer_send(e, 10);
	CALL(poll(p, unknown, 5000));
	peer_wait();
	CALL(ppoll(p, unknown, &t, NULL));
	took(e, bytes, CALL(read(e->fd, bytes, unknown)));
}
