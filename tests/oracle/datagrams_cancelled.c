/* UDP: threads that are cancelled in calls of datagrams, and what they leave behind. */
#define FAMILY "datagrams"
#include "datagrams.h"

#include <pthread.h>

struct cancelled {
	int fd, how;
};

static void *begin_cancelled(void *argument)
{
	const struct cancelled *c = argument;
	char bytes[10] = "";
	struct iovec iov = {bytes, sizeof(bytes)};

	pthread_cancel(pthread_self());
	if (c->how == 0)
		recv(c->fd, bytes, sizeof(bytes), 0);
	else if (c->how == 1)
		sendto(c->fd, bytes, sizeof(bytes), 0, at(&theirs), theirs.length);
	else if (c->how == 2)
		recvmsg(c->fd, &(struct msghdr){.msg_iov = &iov, .msg_iovlen = 1}, 0);
	else
		sendmsg(c->fd, &(struct msghdr){.msg_iov = &iov, .msg_iovlen = 1, .msg_name = at(&theirs), .msg_namelen = theirs.length},
			0);
	return NULL;
}

/* What is pending is done at the beginning of a call, though it need not wait. */
SCENARIO(cancelled_at_the_beginning, UNOPENED | ITS_OWN)
{
	struct cancelled c = {0};

	open_udp(e);
	for (c.fd = e->fd; c.how < 4; c.how++) {
		pthread_t thread;
		void *result = NULL;

		peer_gives(e, 10);
		await(e);
		MUST(-pthread_create(&thread, NULL, begin_cancelled, &c));
		CALL(pthread_join(thread, &result));
		say("cancelled: %d", result == PTHREAD_CANCELED);
		TAKE(e, recv(e->fd, room, 100, MSG_DONTWAIT));
		GIVE(e, 10, sendto(e->fd, room, 10, 0, at(&theirs), theirs.length));
		peer_takes(e, 10);
	}
}

static struct iovec parts[2];
static struct mmsghdr many[2] = {{.msg_hdr = {.msg_iov = &parts[0], .msg_iovlen = 1}},
				 {.msg_hdr = {.msg_iov = &parts[1], .msg_iovlen = 1}}};

static void *receive_many(void *fd)
{
	recvmmsg((int)(intptr_t)fd, many, 2, 0, NULL);
	return NULL;
}

static void say_names(void)
{
	for (int i = 0; i < 2; i++)
		say("  name: %d, %u", many[i].msg_hdr.msg_name != NULL, (unsigned)many[i].msg_hdr.msg_namelen);
}

/* Its messages ask for no names, and are as they were: the next call may be another thread's. */
SCENARIO(cancelled_in_many, UNOPENED | ITS_OWN)
{
	void *result = NULL;
	pthread_t thread;

	open_udp(e);
	for (unsigned i = 0; i < 2; i++) {
		parts[i] = (struct iovec){room + (size_t)10 * i, 10};
		many[i].msg_hdr.msg_namelen = 77;
	}
	MUST(-pthread_create(&thread, NULL, receive_many, (void *)(intptr_t)e->fd)); // NOLINT
	settle_down();
	pthread_cancel(thread);
	CALL(pthread_join(thread, &result));
	say("cancelled: %d", result == PTHREAD_CANCELED);
	say_names();
	for (int i = 0; i < 2; i++) {
		peer_gives(e, 10);
		await(e);
		TAKE(e, recvmmsg(e->fd, many, 2, MSG_DONTWAIT, NULL));
		say_names();
		exchange(e, 60);
	}
}
