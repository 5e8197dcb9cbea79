/* What the scenarios of FILE streams share. */
#ifndef ORACLE_FILES_H
#define ORACLE_FILES_H

#include "oracle.h"
#include "peer.h"

#include <stdio.h>

/* The peer sends back so many bytes; text, so its check of the content is of no use. */
static inline void mirror(struct end *e, long count)
{
	quietly();
	struct peer_answer answer = peer_ask((struct peer_order){.does = PEER_MIRROR, .number = e->number, .count = count});

	say("  mirrored %ld", answer.result);
}

/* What the peer had, as it comes back. */
static inline void echo(struct end *e, long count)
{
	char text[512] = "";

	mirror(e, count);
	for (long done = 0; done < count;) {
		ssize_t n = recv(e->fd, text + done, (size_t)(count - done), 0);

		if (n <= 0)
			break;
		done += n;
	}
	say("  echo: %s", text);
}

static inline void tell(FILE *file)
{
	say("  error %d, end %d", ferror(file) != 0, feof(file) != 0);
	errno = 0;
}

/* Text for the scenario, by way of the peer. */
static inline void bring(struct end *e, const char *text)
{
	long length = (long)strlen(text);

	MUST(send(e->fd, text, (size_t)length, 0));
	mirror(e, length);
	arrive(e, (int)length);
}

#endif
