/* Asking the kernel's table of TCP connections (sock_diag) whether one still exists. */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <string.h>
#include <unistd.h>

#include "service.h"

static int diag = -1;

struct question {
	struct nlmsghdr header;
	struct inet_diag_req_v2 request;
};

static struct question ask_for(const struct cw_tuple *tuple, uint64_t cookie)
{
	struct question q;
	struct inet_diag_sockid *id = &q.request.id;

	memset(&q, 0, sizeof(q));
	q.header = (struct nlmsghdr){.nlmsg_len = sizeof(q), .nlmsg_type = SOCK_DIAG_BY_FAMILY, .nlmsg_flags = NLM_F_REQUEST};
	q.request.sdiag_protocol = IPPROTO_TCP;
	q.request.idiag_states = ~0u;
	id->idiag_sport = htons(tuple->local_port);
	id->idiag_dport = htons(tuple->remote_port);
	id->idiag_cookie[0] = (uint32_t)cookie;
	id->idiag_cookie[1] = (uint32_t)(cookie >> 32);
	if (IN6_IS_ADDR_V4MAPPED(&tuple->local)) {
		q.request.sdiag_family = AF_INET;
		memcpy(id->idiag_src, &tuple->local.s6_addr[12], 4);
		memcpy(id->idiag_dst, &tuple->remote.s6_addr[12], 4);
	} else {
		q.request.sdiag_family = AF_INET6;
		memcpy(id->idiag_src, &tuple->local, 16);
		memcpy(id->idiag_dst, &tuple->remote, 16);
	}
	return q;
}

/* The kernel answers a question about one socket before send() returns, so nothing waits here. */
static int ask(const struct question *question)
{
	union {
		struct nlmsghdr header;
		char room[1024];
	} answer;
	ssize_t got;

	while (recv(diag, &answer, sizeof(answer), MSG_DONTWAIT) > 0)
		; /* an answer that came too late for an earlier question */
	if (send(diag, question, sizeof(*question), MSG_DONTWAIT) < 0)
		return errno;
	got = recv(diag, &answer, sizeof(answer), MSG_DONTWAIT);
	if (got < (ssize_t)sizeof(struct nlmsghdr))
		return EIO;
	if (answer.header.nlmsg_type == NLMSG_ERROR)
		return got >= (ssize_t)NLMSG_LENGTH(sizeof(struct nlmsgerr)) ? -((struct nlmsgerr *)NLMSG_DATA(&answer))->error : EIO;
	if (answer.header.nlmsg_type == NLMSG_DONE)
		return got >= (ssize_t)NLMSG_LENGTH(sizeof(int)) ? -*(int *)NLMSG_DATA(&answer) : 0;
	return 0;
}

bool cw_diag_begin(void)
{
	static const struct cw_tuple none;
	struct question question = ask_for(&none, 0);

	/* A list of the sockets in no state: empty, but an error where the kernel has no such table. */
	question.header.nlmsg_flags |= NLM_F_DUMP;
	question.request.sdiag_family = AF_INET;
	question.request.idiag_states = 0;
	diag = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
	if (diag >= 0 && ask(&question) == 0)
		return true;
	if (diag >= 0)
		close(diag);
	diag = -1;
	return false;
}

bool cw_diag_lives(const struct cw_tuple *tuple, uint64_t cookie, bool otherwise)
{
	struct question question = ask_for(tuple, cookie);

	return diag >= 0 ? ask(&question) == 0 : otherwise;
}
