/* What the kernel says of a descriptor that a program sent. Nothing here may block: the descriptor can be anything. */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "service.h"

#define ORIGINAL_DST 80 /* SO_ORIGINAL_DST and IP6T_SO_ORIGINAL_DST; their headers don't go together with netinet's */
#define ALIVE        (1u << TCP_ESTABLISHED | 1u << TCP_CLOSE_WAIT | 1u << TCP_FIN_WAIT1 | 1u << TCP_FIN_WAIT2)

int cw_socket_integer(int fd, int option)
{
	int value = -1;
	socklen_t length = sizeof(value);

	return getsockopt(fd, SOL_SOCKET, option, &value, &length) == 0 ? value : -1;
}

uint64_t cw_socket_cookie(int fd, int option)
{
	uint64_t value = 0;
	socklen_t length = sizeof(value);

	return getsockopt(fd, SOL_SOCKET, option, &value, &length) == 0 ? value : 0;
}

static bool established(int fd)
{
	struct tcp_info info;
	socklen_t length = offsetof(struct tcp_info, tcpi_options); /* only the state, which comes first */

	return getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length) == 0 && info.tcpi_state < 32 && 1u << info.tcpi_state & ALIVE;
}

bool cw_socket_address(const struct sockaddr_storage *from, struct in6_addr *address, uint16_t *port)
{
	if (from->ss_family == AF_INET) {
		const struct sockaddr_in *four = (const struct sockaddr_in *)from;

		memset(address, 0, sizeof(*address));
		address->s6_addr[10] = address->s6_addr[11] = 0xff;
		memcpy(&address->s6_addr[12], &four->sin_addr, 4);
		*port = ntohs(four->sin_port);
		return true;
	}
	if (from->ss_family == AF_INET6) {
		const struct sockaddr_in6 *six = (const struct sockaddr_in6 *)from;

		*address = six->sin6_addr;
		*port = ntohs(six->sin6_port);
		return true;
	}
	return false;
}

bool cw_socket_is_any(const struct in6_addr *address)
{
	return IN6_IS_ADDR_UNSPECIFIED(address) || (IN6_IS_ADDR_V4MAPPED(address) && !address->s6_addr32[3]);
}

static bool read_tuple(int fd, struct cw_tuple *tuple)
{
	struct sockaddr_storage name;
	socklen_t length = sizeof(name);

	if (getsockname(fd, (struct sockaddr *)&name, &length) < 0 || !cw_socket_address(&name, &tuple->local, &tuple->local_port))
		return false;
	length = sizeof(name);
	return getpeername(fd, (struct sockaddr *)&name, &length) == 0 && cw_socket_address(&name, &tuple->remote, &tuple->remote_port);
}

/* Was an address changed on the way? Then the ends' own addresses don't say who is connected to whom, and two connections can look like
 * each other's ends. The kernel knows only if it tracks connections; ENOENT and ENOPROTOOPT are the usual answers. */
static bool translated(int fd, const struct cw_tuple *tuple)
{
	bool four = IN6_IS_ADDR_V4MAPPED(&tuple->local);
	struct sockaddr_storage name = {0};
	socklen_t length = four ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
	struct in6_addr original;
	uint16_t port;

	if (getsockopt(fd, four ? IPPROTO_IP : IPPROTO_IPV6, ORIGINAL_DST, &name, &length) < 0 ||
	    !cw_socket_address(&name, &original, &port))
		return false;
	return !(port == tuple->local_port && memcmp(&original, &tuple->local, sizeof(original)) == 0) &&
	       !(port == tuple->remote_port && memcmp(&original, &tuple->remote, sizeof(original)) == 0);
}

/* Connections that addresses alone don't name: those of a link (the same address on several), of a device, of another namespace. */
static bool ambiguous(int fd, const struct cw_tuple *tuple)
{
	return tuple->netns != service.netns || IN6_IS_ADDR_LINKLOCAL(&tuple->local) || IN6_IS_ADDR_LINKLOCAL(&tuple->remote) ||
	       cw_socket_integer(fd, SO_BINDTOIFINDEX) > 0 || translated(fd, tuple);
}

enum cw_inspection cw_socket_inspect(int fd, struct cw_tuple *tuple, uint64_t *cookie)
{
	int domain = cw_socket_integer(fd, SO_DOMAIN);

	memset(tuple, 0, sizeof(*tuple));
	if (domain == AF_UNIX && cw_socket_integer(fd, SO_TYPE) == SOCK_STREAM)
		return cw_unix_inspect(fd, tuple, cookie);
	if ((domain != AF_INET && domain != AF_INET6) || cw_socket_integer(fd, SO_PROTOCOL) != IPPROTO_TCP ||
	    cw_socket_integer(fd, SO_TYPE) != SOCK_STREAM)
		return CW_SOCKET_OTHER;
	tuple->netns = cw_socket_cookie(fd, SO_NETNS_COOKIE);
	*cookie = cw_socket_cookie(fd, SO_COOKIE);
	if (!*cookie || !established(fd) || !read_tuple(fd, tuple))
		return CW_SOCKET_ENDED;
	if (tuple->local_port == tuple->remote_port && memcmp(&tuple->local, &tuple->remote, sizeof(tuple->local)) == 0)
		return CW_SOCKET_ELSEWHERE; /* one socket connected to itself has no second end */
	return ambiguous(fd, tuple) ? CW_SOCKET_ELSEWHERE : CW_SOCKET_FINE;
}

uint64_t cw_own_netns(void)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	uint64_t value;

	if (fd < 0)
		return 0;
	value = cw_socket_cookie(fd, SO_NETNS_COOKIE);
	close(fd);
	return value;
}
