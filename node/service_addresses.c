/*
 * The node page: this node's own addresses, so that a program knows without asking which connections can have both ends here. Read from
 * the kernel's table (rtnetlink) at the start and again whenever the kernel says that an address came or went.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "service.h"
#include "service_between.h"
#include "service_channel.h"

static struct cw_node_page *page;
static struct cw_source news = {.fd = -1};

static bool loopback(const struct in6_addr *address)
{
	return IN6_IS_ADDR_LOOPBACK(address) || (IN6_IS_ADDR_V4MAPPED(address) && address->s6_addr[12] == 127);
}

static void add(const struct ifaddrmsg *about, const void *bytes, size_t size, struct in6_addr *list, uint32_t *count)
{
	struct in6_addr address = {0};

	if (about->ifa_family == AF_INET && size >= 4) {
		address.s6_addr[10] = address.s6_addr[11] = 0xff;
		memcpy(&address.s6_addr[12], bytes, 4);
	} else if (about->ifa_family == AF_INET6 && size >= 16) {
		memcpy(&address, bytes, 16);
	} else {
		return;
	}
	if (*count < CW_NODE_ADDRESSES && !loopback(&address))
		list[(*count)++] = address;
}

static void read_one(const struct nlmsghdr *header, struct in6_addr *list, uint32_t *count)
{
	const struct ifaddrmsg *about = NLMSG_DATA(header);
	const struct rtattr *own = NULL;
	int left = (int)header->nlmsg_len - (int)NLMSG_LENGTH(sizeof(*about));

	/* IFA_LOCAL is this side's; IFA_ADDRESS is too, but for the peer's on a point-to-point device. */
	for (const struct rtattr *a = IFA_RTA(about); RTA_OK(a, left); a = RTA_NEXT(a, left))
		if (a->rta_type == IFA_LOCAL || (a->rta_type == IFA_ADDRESS && !own))
			own = a;
	if (own)
		add(about, RTA_DATA(own), RTA_PAYLOAD(own), list, count);
}

/* 0 at the end of the list, 1 for more, -1 with errno. */
static int read_some(int fd, struct in6_addr *list, uint32_t *count)
{
	union {
		struct nlmsghdr header;
		char room[32768];
	} answer;
	ssize_t got = recv(fd, &answer, sizeof(answer), 0);
	int left = (int)got;

	if (got < 0)
		return errno == EINTR ? 1 : -1;
	for (const struct nlmsghdr *header = &answer.header; NLMSG_OK(header, (unsigned)left); header = NLMSG_NEXT(header, left)) {
		if (header->nlmsg_type == NLMSG_DONE)
			return 0;
		if (header->nlmsg_type == NLMSG_ERROR) {
			errno = EIO;
			return -1;
		}
		if (header->nlmsg_type == RTM_NEWADDR)
			read_one(header, list, count);
	}
	return 1;
}

static int read_all(struct in6_addr *list, uint32_t *count)
{
	struct {
		struct nlmsghdr header;
		struct ifaddrmsg about;
	} request = {.header = {.nlmsg_len = NLMSG_LENGTH(sizeof(struct ifaddrmsg)),
				.nlmsg_type = RTM_GETADDR,
				.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP}};
	struct timeval limit = {.tv_sec = 2};
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE), result = -1;

	if (fd < 0)
		return -1;
	*count = 0;
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	if (send(fd, &request, request.header.nlmsg_len, 0) >= 0)
		do
			result = read_some(fd, list, count);
		while (result > 0);
	close(fd);
	return result;
}

/* Addresses of nodes that are up, and that we can share memory with. */
static uint32_t list_peers(struct in6_addr list[CW_NODE_PEERS])
{
	uint32_t count = 0;

	for (uint32_t i = 0; cw_windows_open() && i < cw_cluster_count(); i++) {
		const struct cw_cluster_node *node = cw_cluster_node_at(i);

		for (uint32_t k = 0; !node->self && node->up && k < node->addresses && k < CW_CLUSTER_ADDRESSES; k++) {
			struct in6_addr address;
			uint16_t port;

			if (count < CW_NODE_PEERS && cw_socket_address(&node->address[k], &address, &port) && !loopback(&address))
				list[count++] = address;
		}
	}
	return count;
}

static void publish(void)
{
	struct in6_addr list[CW_NODE_ADDRESSES], peers[CW_NODE_PEERS];
	uint32_t count, others = list_peers(peers), sequence = atomic_load_explicit(&page->sequence, memory_order_relaxed);

	if (read_all(list, &count) < 0)
		return;
	/* N0: odd before the change, N1: even after it; a program that saw two different, or an odd one, reads again. */
	atomic_store_explicit(&page->sequence, sequence + 1, memory_order_relaxed);
	atomic_thread_fence(memory_order_release);
	memcpy(page->address, list, count * sizeof(list[0]));
	page->addresses = count;
	memcpy(page->peer, peers, others * sizeof(peers[0]));
	page->peers = others;
	atomic_store_explicit(&page->sequence, sequence + 2, memory_order_release);
}

static void news_ready(struct cw_source *source, uint32_t events)
{
	char room[8192];

	while (recv(source->fd, room, sizeof(room), MSG_DONTWAIT) >= 0 || errno == ENOBUFS || errno == EINTR)
		; /* what exactly changed doesn't matter, nor what was lost */
	publish();
	cw_channels_addresses();
}

static int listen_to_news(void)
{
	struct sockaddr_nl address = {.nl_family = AF_NETLINK, .nl_groups = RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR};

	news = (struct cw_source){.ready = news_ready};
	news.fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);
	if (news.fd < 0 || bind(news.fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		return -1;
	return cw_loop_add(&news, EPOLLIN);
}

static int make_page(void)
{
	int fd = memfd_create("causeway node", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (fd < 0 || ftruncate(fd, sizeof(*page)) < 0)
		return -1;
	page = mmap(NULL, sizeof(*page), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (page == MAP_FAILED)
		return -1;
	page->layout = CW_LAYOUT;
	/* From here on nobody can map it for writing. */
	if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL) < 0)
		return -1;
	return fd;
}

void cw_addresses_peers(void)
{
	if (page)
		publish();
}

uint32_t cw_addresses_own(const struct in6_addr **list)
{
	*list = page->address;
	return page->addresses;
}

int cw_addresses_begin(void)
{
	service.node_page = make_page();
	if (service.node_page < 0 || listen_to_news() < 0)
		return -1;
	publish();
	return 0;
}
