/* Children whose process numbers are of another namespace than their parent's, and what is inherited there. */
#define FAMILY "namespaces"
#include "oracle.h"
#include "peer.h"

#include <sched.h>

#define RECORDS 600 /* all of them fit the buffers: a send that waits may be cut in two */
#define RECORD  61

static void send_records(int fd, int letter)
{
	unsigned char record[RECORD];

	memset(record, letter, sizeof(record));
	for (int i = 0; i < RECORDS; i++)
		if (send(fd, record, sizeof(record), MSG_NOSIGNAL) != RECORD)
			complain("send");
}

static void send_together(struct end *e, bool other_numbers)
{
	say("unshare -> %d", other_numbers ? unshare(CLONE_NEWPID) : 0);
	later(1);
	peer_records(e, 2 * RECORDS, RECORD);
	pid_t child = CHILD(send_records(e->fd, 'c'));

	send_records(e->fd, 'p');
	peer_wait();
	reap(child);
}

SCENARIO(parent_and_child_send, ALONE)
{
	send_together(e, false);
}

/* What one holds a lock with means nothing, or something else, to the other. */
SCENARIO(both_send_with_other_numbers, ALONE)
{
	send_together(e, true);
}

SCENARIO(child_of_other_numbers_goes_on, ALONE)
{
	say("unshare -> %d", unshare(CLONE_NEWPID));
	pid_t child = CHILD({
		peer_send(e, 100);
		arrive(e, 100);
		RECV(e, recv(e->fd, room, 1000, 0));
		SEND(e, 100, send(e->fd, room, 100, 0));
		peer_recv_all(e, 100);
	});

	reap(child);
	e->taken += 100;
	e->sent += 100;
	peer_send(e, 10);
	arrive(e, 10);
	RECV(e, recv(e->fd, room, 100, 0));
}
