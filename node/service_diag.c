/* Asking the kernel's table of TCP connections (sock_diag) whether one still exists. */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <linux/tcp.h>
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
int cw_diag_ask(const void *question, size_t size, struct cw_diag_answer *answer)
{
	ssize_t got;

	if (diag < 0)
		return EIO;
	while (recv(diag, answer, sizeof(*answer), MSG_DONTWAIT) > 0)
		; /* an answer that came too late for an earlier question */
	if (send(diag, question, size, MSG_DONTWAIT) < 0)
		return errno;
	got = recv(diag, answer, sizeof(*answer), MSG_DONTWAIT);
	if (got < (ssize_t)sizeof(struct nlmsghdr) || answer->header.nlmsg_len > (size_t)got)
		return EIO;
	if (answer->header.nlmsg_type == NLMSG_ERROR)
		return got >= (ssize_t)NLMSG_LENGTH(sizeof(struct nlmsgerr)) ? -((struct nlmsgerr *)NLMSG_DATA(answer))->error : EIO;
	if (answer->header.nlmsg_type == NLMSG_DONE)
		return got >= (ssize_t)NLMSG_LENGTH(sizeof(int)) ? -*(int *)NLMSG_DATA(answer) : 0;
	return 0;
}

static int ask(const struct question *question)
{
	struct cw_diag_answer answer;

	return cw_diag_ask(question, sizeof(*question), &answer);
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

bool cw_diag_receives(const struct cw_tuple *tuple, uint64_t cookie)
{
	struct question question = ask_for(tuple, cookie);

	question.request.sdiag_protocol = IPPROTO_UDP;
	return diag >= 0 && ask(&question) == 0;
}

bool cw_diag_lives(const struct cw_tuple *tuple, uint64_t cookie, bool otherwise)
{
	struct question question;

	if (tuple->protocol == CW_TUPLE_UNIX)
		return cw_unix_lives(tuple, cookie);
	question = ask_for(tuple, cookie);
	return diag >= 0 ? ask(&question) == 0 : otherwise;
}

static void take_counts(const struct rtattr *attribute, struct cw_stream_counts *counts)
{
	struct tcp_info info = {0};
	size_t size = RTA_PAYLOAD(attribute);

	memcpy(&info, RTA_DATA(attribute), size < sizeof(info) ? size : sizeof(info));
	*counts = (struct cw_stream_counts){.sent = info.tcpi_bytes_sent - info.tcpi_bytes_retrans,
					    .acknowledged = info.tcpi_bytes_acked,
					    .received = info.tcpi_bytes_received,
					    .scale_out = info.tcpi_snd_wscale,
					    .scale_in = info.tcpi_rcv_wscale,
					    .options = info.tcpi_options & (TCPI_OPT_TIMESTAMPS | TCPI_OPT_SACK | TCPI_OPT_WSCALE)};
}

bool cw_diag_counts(const struct cw_tuple *tuple, uint64_t cookie, struct cw_stream_counts *counts)
{
	struct question question = ask_for(tuple, cookie);
	struct cw_diag_answer answer;
	int left;

	question.request.idiag_ext = 1u << (INET_DIAG_INFO - 1);
	if (diag < 0 || cw_diag_ask(&question, sizeof(question), &answer) != 0 ||
	    answer.header.nlmsg_len < NLMSG_LENGTH(sizeof(struct inet_diag_msg)))
		return false;
	left = (int)(answer.header.nlmsg_len - NLMSG_LENGTH(sizeof(struct inet_diag_msg)));
	for (const struct rtattr *a = (const struct rtattr *)((char *)NLMSG_DATA(&answer) + sizeof(struct inet_diag_msg)); RTA_OK(a, left);
	     a = RTA_NEXT(a, left))
		if (a->rta_type == INET_DIAG_INFO) {
			take_counts(a, counts);
			return true;
		}
	return false;
}
