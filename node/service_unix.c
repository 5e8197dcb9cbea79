/*
 * AF_UNIX streams that programs offer. They have no addresses by which two ends are known to belong together, but the kernel's table
 * (sock_diag) says of each socket who its peer is, by the numbers of their inodes. So the tuple of an offer has those in the place of
 * addresses, and is found like any other; both ends are asked for, with their cookies, before a slot is given.
 */
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <linux/unix_diag.h>
#include <string.h>
#include <sys/stat.h>

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
