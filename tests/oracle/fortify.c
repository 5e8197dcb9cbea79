/* The calls as they are when a program was compiled with _FORTIFY_SOURCE: __read_chk and its kin. */
#define FAMILY "fortified"
#include "files.h"

#include <poll.h>
#include <stdarg.h>

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

static int print(int fd, const char *format, ...)
{
	va_list list;
	int length;

	va_start(list, format);
	length = vdprintf(fd, format, list);
	va_end(list);
	return length;
}

SCENARIO(prints, 0)
{
	CALL(send(e->fd, "sent ", 5, 0));
	CALL(dprintf(e->fd, "%s %d ", "printed", 12));
	CALL(print(e->fd, "%5s|%m ", "there"));
	CALL(send(e->fd, "sent", 4, 0));
	echo(e, 5 + 11 + 14 + 4);
	CALL(dprintf(-1, "%d", 1));
	signal(SIGPIPE, SIG_IGN);
	CALL(shutdown(e->fd, SHUT_WR));
	CALL(dprintf(e->fd, "%d", 1));
	CALL(print(e->fd, "%d", 1));
}
