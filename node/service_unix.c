/*
 * AF_UNIX streams that programs offer. They have no addresses by which two ends are known to belong together, but the kernel's table
 * (sock_diag) says of each socket who its peer is, by the numbers of their inodes. So the tuple of an offer has those in the place of
 * addresses, and is found like any other; both ends are asked for, with their cookies, before a slot is given.
 */
#include <errno.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <linux/unix_diag.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "service.h"

#define ESTABLISHED 1 /* TCP_ESTABLISHED, which AF_UNIX uses too */

struct question {
	struct nlmsghdr header;
	struct unix_diag_req request;
};

struct socket_state {
	uint32_t inode, peer;
	uint8_t state, shut;
};

static void put_number(struct in6_addr *address, uint64_t inode)
{
	memset(address, 0, sizeof(*address));
	memcpy(address, &inode, sizeof(inode));
}

uint64_t cw_unix_inode(const struct in6_addr *address)
{
	uint64_t inode;

	memcpy(&inode, address, sizeof(inode));
	return inode;
}

static bool take(const struct cw_diag_answer *answer, struct socket_state *found)
{
	const struct unix_diag_msg *message = NLMSG_DATA(&answer->header);
	int left;

	if (answer->header.nlmsg_len < NLMSG_LENGTH(sizeof(*message)) || message->udiag_family != AF_UNIX ||
	    message->udiag_type != SOCK_STREAM)
		return false;
	*found = (struct socket_state){.inode = message->udiag_ino, .state = message->udiag_state};
	left = (int)(answer->header.nlmsg_len - NLMSG_LENGTH(sizeof(*message)));
	for (const struct rtattr *a = (const struct rtattr *)(message + 1); RTA_OK(a, left); a = RTA_NEXT(a, left)) {
		if (a->rta_type == UNIX_DIAG_PEER && RTA_PAYLOAD(a) >= sizeof(found->peer))
			memcpy(&found->peer, RTA_DATA(a), sizeof(found->peer));
		else if (a->rta_type == UNIX_DIAG_SHUTDOWN && RTA_PAYLOAD(a) >= sizeof(found->shut))
			memcpy(&found->shut, RTA_DATA(a), sizeof(found->shut));
	}
	return true;
}

static bool ask(uint64_t inode, uint64_t cookie, struct socket_state *found)
{
	struct question question;
	struct cw_diag_answer answer;

	memset(&question, 0, sizeof(question));
	question.header = (struct nlmsghdr){.nlmsg_len = sizeof(question), .nlmsg_type = SOCK_DIAG_BY_FAMILY, .nlmsg_flags = NLM_F_REQUEST};
	question.request.sdiag_family = AF_UNIX;
	question.request.udiag_states = ~0u;
	question.request.udiag_ino = (uint32_t)inode;
	question.request.udiag_show = UDIAG_SHOW_PEER;
	question.request.udiag_cookie[0] = (uint32_t)cookie;
	question.request.udiag_cookie[1] = (uint32_t)(cookie >> 32);
	return inode && inode <= UINT32_MAX && cw_diag_ask(&question, sizeof(question), &answer) == 0 && take(&answer, found) &&
	       found->inode == inode;
}

enum cw_inspection cw_unix_inspect(int fd, struct cw_tuple *tuple, uint64_t *cookie)
{
	struct socket_state found;
	struct stat status;

	tuple->protocol = CW_TUPLE_UNIX;
	tuple->netns = cw_socket_cookie(fd, SO_NETNS_COOKIE);
	*cookie = cw_socket_cookie(fd, SO_COOKIE);
	if (tuple->netns != service.netns)
		return CW_SOCKET_ELSEWHERE;
	if (!*cookie || fstat(fd, &status) < 0 || !ask(status.st_ino, *cookie, &found) || found.state != ESTABLISHED || !found.peer)
		return CW_SOCKET_ENDED;
	put_number(&tuple->local, status.st_ino);
	put_number(&tuple->remote, found.peer);
	return CW_SOCKET_FINE;
}

/* What one end shuts the other has shut too, so one answer is for both. */
bool cw_unix_lives(const struct cw_tuple *tuple, uint64_t cookie)
{
	struct socket_state found;

	return ask(cw_unix_inode(&tuple->local), cookie, &found) && found.state == ESTABLISHED && !found.shut &&
	       found.peer == cw_unix_inode(&tuple->remote);
}

/* ---- closing ----
 *
 * The program goes on when it is told that we have closed its socket, and its peer is to see the end when it closes: so it is closed before
 * anything else is done. But if we are the last, descriptors in its queue are closed with it, which can block for as long as somebody
 * likes. Another thread does it, and is waited for, for a while. One that doesn't come back is left to itself.
 */

#define PATIENCE_NS 20000000
#define MOST_STUCK  32

static pthread_mutex_t guard = PTHREAD_MUTEX_INITIALIZER;
static unsigned stuck;

static struct closer {
	pthread_cond_t work, done;
	int fd; /* -1: none */
	bool left;
} * closer;

static void *close_what_comes(void *argument)
{
	struct closer *self = argument;

	pthread_mutex_lock(&guard);
	while (!self->left) {
		while (self->fd < 0)
			pthread_cond_wait(&self->work, &guard);
		pthread_mutex_unlock(&guard);
		close(self->fd);
		pthread_mutex_lock(&guard);
		self->fd = -1;
		pthread_cond_signal(&self->done);
	}
	stuck--;
	pthread_mutex_unlock(&guard);
	free(self);
	return NULL;
}

static struct closer *start(void)
{
	struct closer *made = calloc(1, sizeof(*made));
	pthread_condattr_t clock;
	pthread_t thread;

	if (!made)
		return NULL;
	made->fd = -1;
	pthread_condattr_init(&clock);
	pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
	pthread_cond_init(&made->done, &clock);
	pthread_cond_init(&made->work, NULL);
	pthread_condattr_destroy(&clock);
	if (pthread_create(&thread, NULL, close_what_comes, made) == 0) {
		pthread_detach(thread);
		return made;
	}
	free(made);
	return NULL;
}

static void wait_for(struct closer *self)
{
	struct timespec until;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_nsec += PATIENCE_NS;
	if (until.tv_nsec >= 1000000000) {
		until.tv_nsec -= 1000000000;
		until.tv_sec++;
	}
	while (self->fd >= 0 && pthread_cond_timedwait(&self->done, &guard, &until) != ETIMEDOUT)
		;
	if (self->fd < 0)
		return;
	self->left = true;
	stuck++;
	closer = NULL;
}

void cw_close_unix(int fd)
{
	pthread_mutex_lock(&guard);
	if (!closer && stuck < MOST_STUCK)
		closer = start();
	if (closer) {
		closer->fd = fd;
		pthread_cond_signal(&closer->work);
		wait_for(closer);
	} else {
		cw_close_elsewhere(fd);
	}
	pthread_mutex_unlock(&guard);
}
